"""Results are compared here: the first with each other one, or with the limit of all others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langevin.errors import UserError
from langevin.results.kinds import require_run
from langevin.results.members import sweep_dims
from langevin.speech import command, option

from ..shell import Output, Source, check_inputs, figure, reading
from . import figure as drawing
from . import files, report, sweeps
from .limit import extrapolate
from .pairwise import MATCH, compare
from .results import Comparison


def comparisons(
    sources: Sequence[Source],
    *,
    quantity: str | None = None,
    match: float = MATCH,
    limit: bool = False,
    order: int | None = None,
) -> list[Comparison]:
    """Compare the first of several results with each other one, or with the limit N → ∞ of all others.

    Sweeps are compared by their final energies, against what they sweep (`sweeps.compare`).

    Arguments and errors are those of `langevin.compare`; `limit` is what it calls `extrapolate`.
    """
    check_inputs("compare", sources, least=2)
    if order is not None and not limit:
        raise UserError(f"{option('order')} is the order of the fit in 1/N: it needs {option('extrapolate')}")
    with reading(sources) as datasets:
        if any(sweep_dims(dataset) for dataset in datasets):
            return sweeps.compare(datasets, quantity, match, limit)
        for dataset in datasets:
            hint = f"; {command('members')} gives those of a sweep (docs/sweeps.md)"
            require_run(dataset, files.source(dataset), hint)
        if limit:
            return [extrapolate(datasets, quantity, match, order)]
        names = files.labels(datasets)
        return [
            compare(datasets[0], other, quantity, match, (names[0], name), files.letter(k))
            for k, (other, name) in enumerate(zip(datasets[1:], names[1:], strict=True))
        ]


def outputs(output: Path | None, table: Path | None) -> list[Output]:
    """Return the outputs of a comparison: the figure, and a table of every compared point."""
    return [
        *([figure(output, drawing.figure)] if output else []),
        *([Output("table", table, report.write_csv)] if table else []),
    ]


def default_figure(sources: Sequence[Source]) -> Path:
    """Return where the figure goes: beside the first file, named after both, or after it and their number."""
    first, *others = (Path(str(source)) for source in sources)
    rest = others[0].stem if len(others) == 1 else f"{len(others)}-others"
    return first.with_name(f"{first.stem}-{rest}.png")
