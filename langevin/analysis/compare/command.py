"""Results are compared here: the first with each other one, or with the limit of all others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import xarray as xr

from langevin.errors import UserError, shortened
from langevin.plotting.sheet import SHEETS
from langevin.results import words
from langevin.results.kinds import ONE_TIME, TWO_TIME, has, require_run
from langevin.results.members import sweep_dims
from langevin.speech import command, option

from ..shell import Output, Source, check_inputs, figure, reading
from . import files, overlay_report, report, sweeps
from . import scales as scaling
from .common_times import on_common_times
from .compared import Compared
from .limit import extrapolate
from .overlay import Overlay, overlay, same_quantities
from .pairwise import MATCH, compare
from .results import Comparison
from .selection import selected

__all__ = ["compared", "default_figure", "laid_over", "on_common_times", "outputs"]


def compared(
    sources: Sequence[Source],
    *,
    quantity: str | None = None,
    match: float = MATCH,
    limit: bool = False,
    order: int | None = None,
    overlaid: bool = False,
    scale: Mapping[str, str] | Iterable[str] | None = None,
    at: Sequence[str] = (),
    labels: Sequence[str] = (),
    width: str = "column",
) -> Compared:
    """Compare the first of several results with each other one, or with the limit N → ∞ of all others.

    Where they are not of the same quantities, or where it is asked for, they are laid over each other
    (`overlay`). Sweeps are compared by their final energies, against what they sweep (`sweeps.compare`),
    unless members are asked for.

    Arguments and errors are those of `langevin.compare`; `limit` is what it calls `extrapolate`, `overlaid`
    `overlay`, `labels` `label`.
    """
    check_inputs("compare", sources, least=1 if at or overlaid else 2)
    if order is not None and not limit:
        raise UserError(f"{option('order')} is the order of the fit in 1/N: it needs {option('extrapolate')}")
    if not match >= 1:
        raise UserError(f"{option('match', f'{match:g}')}: a factor, so it must be ≥ 1")
    if width not in SHEETS:
        known = ", ".join(SHEETS)
        raise UserError(f"{option('width', repr(shortened(str(width))))}: allowed: {known}")
    scales = scaling.parsed(scale)
    overlaid = overlaid or bool(scale) or (quantity is not None and "," in quantity)
    if limit and (overlaid or at or labels):
        others = ", ".join(option(name) for name in ("overlay", "scale", "at"))
        raise UserError(f"{option('extrapolate')} takes no {others} and {option('label')}")
    with reading(sources) as datasets:
        if at or overlaid:
            datasets = selected(datasets, at)
        elif any(sweep_dims(dataset) for dataset in datasets):
            return Compared(sweeps.compare(datasets, quantity, match, limit))
        if len(datasets) < 2:
            raise UserError(f"compare needs two results or more; given: {len(datasets)}")
        for dataset in datasets:
            hint = f"; {command('members')} gives those of a sweep (docs/sweeps.md)"
            require_run(dataset, files.source(dataset), hint)
        if limit:
            return Compared([extrapolate(datasets, quantity, match, order)])
        asked = [quantity or "msd", "energy"]
        alike = [not same_quantities(datasets[0], other, asked) for other in datasets[1:]]
        if overlaid or not all(alike):
            found = overlay(datasets, quantity, scales, labels)
            return Compared(_beside(datasets, alike, found, match), found, width)
        names = _names(datasets, labels)
        return Compared(
            compare(datasets[0], other, quantity, match, (names[0], name), files.letter(k))
            for k, (other, name) in enumerate(zip(datasets[1:], names[1:], strict=True))
        )


def laid_over(
    datasets: Sequence[xr.Dataset],
    quantity: str | None = None,
    scale: Mapping[str, str] | Iterable[str] | None = None,
    at: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> Overlay:
    """Return an overlay of results, and of members of sweeps; arguments and errors as `langevin.scaled`."""
    chosen = selected(datasets, at)
    if not chosen:
        raise UserError("scaled needs a file or more; given: 0")
    for dataset in chosen:
        require_run(dataset, files.source(dataset))
    return overlay(chosen, quantity, scaling.parsed(scale), labels)


def _names(datasets: Sequence[xr.Dataset], labels: Sequence[str]) -> list[str]:
    if labels and len(labels) != len(datasets):
        raise UserError(
            f"{option('label')}: {len(labels)} given; allowed: one for each of {len(datasets)} results"
        )
    return list(labels) or files.labels(datasets)


def _beside(
    datasets: Sequence[xr.Dataset], alike: Sequence[bool], found: Overlay, match: float
) -> list[Comparison]:
    """Return the differences from the first result of those that are of the same quantities."""
    names = [words.plain(result.name) for result in found.results]
    two_time = next((q for q in found.quantities if q != "energy"), None)
    comparisons = []
    for k, (same, other) in enumerate(zip(alike, datasets[1:], strict=True)):
        both = (datasets[0], other)
        shared = two_time if two_time and all(has(d, two_time, *TWO_TIME) for d in both) else "energy"
        if same and all(has(d, "energy", *ONE_TIME) for d in both):
            pair = (names[0], names[k + 1])
            comparisons.append(compare(*both, shared, match, pair, files.letter(k)))
    return comparisons


def outputs(output: Path | None, table: Path | None) -> list[Output]:
    """Return the outputs of a comparison: the figure, and a table of every compared point."""
    return [
        *([figure(output, Compared.figure)] if output else []),
        *([Output("table", table, _write_table)] if table else []),
    ]


def _write_table(found: Compared, path: Path) -> Path:
    if found.overlay is None:
        return report.write_csv(found, path)
    return overlay_report.write_csv(found.overlay, path)


def default_figure(sources: Sequence[Source]) -> Path:
    """Return where the figure goes: beside the first file, named after both, or it and how many others."""
    first, *others = (Path(str(source)) for source in sources)
    rest = {0: "members", 1: others[-1].stem if others else ""}.get(len(others), f"{len(others)}-others")
    return first.with_name(f"{first.stem}-{rest}.png")
