"""What `langevin compare` does: open the files, compare, write the figure and the table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from langevin.errors import UserError
from langevin.files import storage
from langevin.files.destinations import check_output
from langevin.plotting import check_format
from langevin.results.members import sweep_dims

from . import figure, files, report
from .limit import extrapolate
from .pairwise import compare


def carry_out(
    paths: Sequence[Path],
    output: Path | None,
    table: Path | None,
    *,
    quantity: str | None,
    match: float,
    limit: bool,
    order: int | None,
    force: bool,
) -> str:
    """Compare the first file with each other one (or with the limit of all others) and write what is asked.

    Returns
    -------
    str
        The tables and the paths of what was written.

    Raises
    ------
    UserError
        Before anything is written.
    """
    _check_inputs(paths)
    if order is not None and not limit:
        raise UserError("--order is the order of the fit in 1/N: it needs --extrapolate")
    output = output or default_figure(paths)
    check_format(output)
    for path in (output, *([table] if table else [])):
        check_output(path, paths, force)
    if table and table.resolve() == output.resolve():
        raise UserError(f"{table}: figure and table cannot be one file")
    with ExitStack() as opened:
        datasets = [opened.enter_context(storage.open_result(path)) for path in paths]
        for path, dataset in zip(paths, datasets, strict=True):
            if swept := sweep_dims(dataset):
                raise UserError(
                    f"{path} holds a sweep over {', '.join(swept)}: compare takes single results; "
                    "select with `langevin.members` and call `langevin.compare` (docs/sweeps.md)"
                )
        if limit:
            made = [extrapolate(datasets, quantity, match, order)]
        else:
            names = files.labels(datasets)
            made = [
                compare(datasets[0], other, quantity, match, (names[0], name), files.letter(k))
                for k, (other, name) in enumerate(zip(datasets[1:], names[1:], strict=True))
            ]
    lines = [report.text(made), ""]
    lines.append(f"figure  {figure.save(made, output)}")
    if table:
        lines.append(f"table   {report.write_csv(made, table)}")
    return "\n".join(lines)


def default_figure(paths: Sequence[Path]) -> Path:
    """Return where the figure goes: beside the first file, named after both, or after it and their number."""
    first, *others = paths
    rest = others[0].stem if len(others) == 1 else f"{len(others)}-others"
    return first.with_name(f"{first.stem}-{rest}.png")


def _check_inputs(paths: Sequence[Path]) -> None:
    if len(paths) < 2:
        raise UserError(f"compare needs two files or more; given: {len(paths)}")
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path} is a folder; give result files")
        if path.resolve() in seen:
            raise UserError(f"{path}: the same file twice")
        seen[path.resolve()] = path
