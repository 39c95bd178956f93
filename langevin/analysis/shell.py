"""Commands that work on results share a shell: it checks where they write, reads, writes and reports.

A command says which files it reads and which outputs it has; `carry_out` does the rest in one order. Nothing
is computed before all outputs are known to be allowed, and nothing is left half-written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr

from langevin import plotting
from langevin.errors import UserError
from langevin.files import storage, zarr_folder
from langevin.files.destinations import check_output
from langevin.machine import bars
from langevin.machine.interruption import interruptible, listening
from langevin.results.at_hand import at_hand
from langevin.results.open import open_result

Product = TypeVar("Product")

#: A file, or what was opened or computed already.
Source = str | Path | xr.Dataset


@dataclass(frozen=True)
class Output:
    """A file that a command writes.

    Attributes
    ----------
    name : str
        What the report calls it: "result", "figure", "table".
    write : callable
        Writes the product of the command to a path.
    check : callable
        Raises `UserError` if the path has an ending that cannot be written.
    what : {"a file", "a folder"}
        What it is.
    """

    name: str
    path: Path
    write: Callable[[Any, Path], object]
    check: Callable[[Path], None] = lambda path: None
    what: str = "a file"


def result(path: Path) -> Output:
    """Return the output of a dataset as a result file."""
    return Output("result", path, storage.write_result, ending(".nc"))


def figure(path: Path, draw: Callable[[Any], plotting.Figure] | None = None) -> Output:
    """Return the output of a figure: that of the dataset, or what `draw` makes of the product."""
    if draw is None:
        return Output("figure", path, lambda dataset, to: plotting.save(dataset, to), plotting.check_format)
    return Output(
        "figure", path, lambda product, to: plotting.write(draw(product), to), plotting.check_format
    )


def ending(*allowed: str) -> Callable[[Path], None]:
    """Return a check that a name has one of these endings."""

    def check(path: Path) -> None:
        if path.suffix not in allowed:
            raise UserError(f"{path}: unknown format {path.suffix!r}; allowed: {', '.join(allowed)}")

    return check


def check_outputs(outputs: Sequence[Output], inputs: Sequence[Source], force: bool) -> None:
    """Make sure that a command may write its outputs; with `force` they may replace what is there.

    Raises
    ------
    UserError
        If one has an unknown ending, is a folder, has no folder, is one of the inputs or of the other
        outputs, or would overwrite something.
    """
    paths = [Path(source) for source in inputs if not isinstance(source, xr.Dataset)]
    seen: dict[Path, str] = {}
    for output in outputs:
        output.check(output.path)
        check_output(output.path, paths, force, output.what)
        other = seen.setdefault(output.path.resolve(), output.name)
        if other != output.name:
            raise UserError(f"{output.path}: {other} and {output.name} cannot be one file")


def check_inputs(command: str, sources: Sequence[Source], least: int = 1) -> None:
    """Make sure that there are enough files to read, no folder among them, and none twice.

    Raises
    ------
    UserError
        Otherwise.
    """
    if len(sources) < least:
        number = {1: "a file", 2: "two files"}[least]
        raise UserError(f"{command} needs {number} or more; given: {len(sources)}")
    seen: set[Path] = set()
    for path in (Path(source) for source in sources if not isinstance(source, xr.Dataset)):
        if path.is_dir() and path.suffix != zarr_folder.ENDING:
            raise UserError(f"{path} is a folder; give result files")
        if path.resolve() in seen:
            raise UserError(f"{path}: the same file twice")
        seen.add(path.resolve())


@contextmanager
def reading(sources: Sequence[Source]) -> Iterator[list[xr.Dataset]]:
    """Give the datasets of files, opened lazily; those that were opened before stay open."""
    with ExitStack() as opened:
        yield [
            at_hand(source if isinstance(source, xr.Dataset) else opened.enter_context(open_result(source)))
            for source in sources
        ]


def carry_out(
    compute: Callable[[], Product], outputs: Sequence[Output], inputs: Sequence[Source], force: bool
) -> Product:
    """Check the outputs, compute what they are made of, write them.

    Parameters
    ----------
    compute : callable
        Returns the product.
    inputs : sequence
        What is read, and must not be written over.
    force : bool
        Replace what is there.

    Returns
    -------
    Whatever `compute` returned.

    Raises
    ------
    UserError
        Before anything is written.
    """
    check_outputs(outputs, inputs, force)
    product = compute()
    for output in outputs:
        output.write(product, output.path)
    return product


def reported(lines: str, outputs: Sequence[Output]) -> str:
    """Return what a command prints: what came out, and a line for each file that was written."""
    return "\n".join([lines, *(f"{output.name:7} {output.path}" for output in outputs)])


@contextmanager
def bar(total: int, title: str, unit: str, shown: bool) -> Iterator[Callable[[int], object]]:
    """Show how far a command has come; a request to stop is heard at once, and leaves nothing.

    Yields
    ------
    callable
        Takes how many units were done since the last call.

    Raises
    ------
    Interrupted
        By Ctrl-C or another signal.
    """
    with (
        bars.bar(shown, total=total, desc=title[:40], unit=unit) as drawn,
        listening() as stop,
        interruptible(stop, lambda: "; nothing was written"),
    ):
        yield drawn.update
