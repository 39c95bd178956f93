"""Sweeps are compared by the energies that their members end at, against the number that all sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from langevin.errors import UserError
from langevin.observables.fits.curves import MeasuredCurve
from langevin.plotting.final import lines_of, swept_label, swept_numbers
from langevin.results.kinds import ONE_TIME, has, require_run
from langevin.results.members import members, shortened_labels, sweep_dims, text
from langevin.speech import option

from . import files
from .files import Curves
from .pairwise import MATCH, compare_curves
from .results import Comparison

#: A last energy: the swept number, mean, error, degrees of freedom, the time.
_Point = tuple[float, float, float, float, float]


def compare(
    datasets: Sequence[xr.Dataset], quantity: str | None = None, match: float = MATCH, limit: bool = False
) -> list[Comparison]:
    """Compare the final energies of sweeps over the same number; the first curve of the first file is A.

    Where a sweep has other keys besides, such as N, each of their values is a curve of its own. Of a member
    that did not come to its end there is no point.

    Parameters
    ----------
    datasets : sequence of Dataset
    quantity : str, optional
        "energy" or None.
    match : float
        It pairs waiting times, of which final energies have none; ≥ 1 all the same.
    limit : bool
        Whether an extrapolation was asked for: it takes single runs.

    Raises
    ------
    UserError
        If one of them is no sweep, they share no swept number, or there is nothing to compare.
    """
    axis = _common_axis(datasets)
    if limit:
        raise UserError(
            f"{option('extrapolate')} takes files of single runs; sweeps are compared as they are"
        )
    if quantity not in (None, "energy"):
        raise UserError(
            f"{option('quantity', quantity)}: of sweeps the final energy alone is compared; allowed: energy"
        )
    own = [
        curves
        for dataset, name in zip(datasets, files.labels(datasets), strict=True)
        for curves in _curves(dataset, axis, name)
    ]
    if len(own) < 2:
        raise UserError("nothing to compare: no second curve of final energies")
    comparisons = []
    for k, other in enumerate(own[1:]):
        comparison = compare_curves(own[0], other, None, match, files.letter(k))
        comparison.notes[:0] = _notes(datasets, comparison) if k == 0 else []
        comparisons.append(comparison)
    return comparisons


def _common_axis(datasets: Sequence[xr.Dataset]) -> str:
    """Return the swept number that all files have, of several the one with most values in the first."""
    for dataset in datasets:
        if not sweep_dims(dataset):
            one = next(d for d in datasets if sweep_dims(d))
            hint = f"; sweeps are compared with sweeps ({option('at')} chooses members of one)"
            require_run(one, files.source(one), hint)
    sizes = [swept_numbers(dataset) for dataset in datasets]
    common = [name for name in sizes[0] if all(name in other for other in sizes[1:])]
    if not common:
        said = "; ".join(
            f"{files.source(d)}: {', '.join(s) or 'none'}" for d, s in zip(datasets, sizes, strict=True)
        )
        raise UserError(f"the sweeps share no number that both sweep: {said}")
    return max(common, key=lambda name: sizes[0][name])


def _curves(dataset: xr.Dataset, axis: str, name: str) -> Iterator[Curves]:
    """Yield a curve of final energies for each value of the other swept keys."""
    dim = str(dataset[axis].dims[0])
    points: dict[str, list[_Point]] = {}
    first: dict[str, xr.Dataset] = {}
    for labels, member in members(dataset):
        short = shortened_labels(dataset, {key: v for key, v in labels.items() if key != dim})
        others = ", ".join([name, *(f"{key} = {text(v)}" for key, v in short.items())])
        point = _last(member, float(member[axis]))
        if point is not None:
            points.setdefault(others, []).append(point)
            first.setdefault(others, member)
    for others, own in points.items():
        x, mean, error, degrees, _ = (np.array(column) for column in zip(*sorted(own), strict=True))
        yield Curves(
            others,
            MeasuredCurve(x, mean, error, degrees),
            source=files.source(dataset),
            along=axis,
            words=swept_label(dataset[axis]),
            lines=lines_of([first[others]["energy"].attrs]),
            **_meaning(first[others]),
        )


def _meaning(member: xr.Dataset) -> dict[str, Any]:
    known = files.curves(member, None, "")
    return {name: getattr(known, name) for name in ("meanings", "symbols", "identities", "time_unit")}


def _last(member: xr.Dataset, value: float) -> _Point | None:
    """Return the energy at the end of a member; None where it did not come to it."""
    if not has(member, "energy", *ONE_TIME) or not member.sizes["time"]:
        return None
    end = float(member["time"].max())
    energy = files.curves(member, None, "").energy
    if energy is None or energy.x[-1] != end:
        return None
    degrees = float(np.broadcast_to(energy.degrees, energy.x.shape)[-1])
    return value, float(energy.mean[-1]), float(energy.error[-1]), degrees, end


def _notes(datasets: Sequence[xr.Dataset], comparison: Comparison) -> list[str]:
    """Return what a reader must know: what else differs, few samples, seeds that are shared."""
    said = [f"final energies, against {comparison.a.along}"]
    for k, dataset in enumerate(datasets[1:]):
        (_, a), (_, b) = next(members(datasets[0])), next(members(dataset))
        swept = [
            str(c.attrs["sweep_key"])
            for d in (datasets[0], dataset)
            for c in d.coords.values()
            if "sweep_key" in c.attrs
        ]
        said += [
            line.replace(" in A, ", " in file 1, ")
            for line in files.differing(a, b, f"file {k + 2}")
            if not any(
                key == (name := line.partition(" = ")[0]) or key.startswith(f"{name}.") for key in swept
            )
        ]
    return said
