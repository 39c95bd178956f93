"""Several sizes have a limit N → ∞, several steps dt → 0, which are set against a reference here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import xarray as xr

from langevin.errors import UserError
from langevin.observables.fits.curves import MeasuredCurve, matching
from langevin.observables.fits.extrapolation import Fit, extrapolate_both
from langevin.observables.fits.extrapolation import extrapolate as fit_in_inverse_n
from langevin.speech import option

from . import files
from .files import Curves
from .pairwise import MATCH, choose_quantity, compare_curves
from .results import Array, Comparison, Extrapolation


def extrapolate(
    datasets: Sequence[xr.Dataset],
    quantity: str | None = None,
    match: float = MATCH,
    order: int | None = None,
    step_order: int | None = None,
) -> Comparison:
    """Extrapolate files that differ in system.n alone to N → ∞, and compare the limit with a reference.

    At each time that all finite-N files have, y(N) = y_∞ + c/N (+ c₂/N²) is fitted; y_∞ is B, and its error
    follows from those of the files, with the degrees of freedom that it has
    (`langevin.observables.fits.extrapolation`). Where files differ in dynamics.dt, too, the bias of the step
    is fitted with it, + b dt (+ b₂ dt²): averages at a finite time are off by O(dt) with either scheme.

    Parameters
    ----------
    datasets : sequence of Dataset
        One file without system.n, the reference A; the others with it.
    quantity, match
        As for `compare`.
    order : int, optional
        Order of the polynomial in 1/N; default: 2 from four sizes on, else 1.
    step_order : int, optional
        Of that in dt, if that varies; default: 2 from four steps on, else 1.

    Raises
    ------
    UserError
        If the files are no such set, or there is nothing to compare.
    """
    reference, finite, sizes = _sorted_by_size(datasets)
    law = _law(finite, sizes, order, step_order)
    files.same_physics(finite, {files.STEP} if law.steps is not None else set())
    name, note = choose_quantity([reference, *finite], quantity)
    taken = [files.curves(dataset, name, "") for dataset in finite]
    fits, unmatched = _fits(finite, taken, name, law)
    limit = Curves(
        law.label(),
        next((_limit(f) for f in fits if f.waiting is None), None),
        {f.waiting: _limit(f) for f in fits if f.waiting is not None},
    )
    comparison = compare_curves(
        files.curves(reference, name, files.labels([reference])[0]), limit, name, match
    )
    comparison.unmatched[:0] = unmatched
    notes = [*files.differing(reference, finite[0]), *note]
    notes += [w for k, d in enumerate(finite) if (w := files.few(d, "energy", law.member(k)))]
    comparison.notes[:0] = [*notes, *files.same_seed(finite)]
    comparison.fits.extend(fits)
    return comparison


class _Law(NamedTuple):
    """What is fitted: N and dt of each file, and the orders in 1/N and in dt; steps None if dt is one."""

    sizes: Array
    steps: Array | None
    order: int
    step_order: int

    def fit(self, values: Array, errors: Array, degrees: Array) -> Fit:
        if self.steps is None:
            return fit_in_inverse_n(self.sizes, values, errors, self.order, degrees)
        powers = [float(k + 1) for k in range(self.step_order)]
        try:
            return extrapolate_both(
                self.sizes, self.steps, values, errors, order=self.order, powers=powers, degrees=degrees
            )
        except ValueError as error:
            raise UserError(f"{option('extrapolate')}: {error}") from None

    def label(self) -> str:
        sizes = f"from N = {', '.join(f'{n:g}' for n in np.unique(self.sizes))}"
        if self.steps is None:
            return f"N → ∞ {sizes}"
        return f"N → ∞, dt → 0 {sizes}, dt = {', '.join(f'{s:g}' for s in np.unique(self.steps))}"

    def member(self, k: int) -> str:
        return f"N = {self.sizes[k]:g}" + ("" if self.steps is None else f", dt = {self.steps[k]:g}")


def _law(finite: Sequence[xr.Dataset], sizes: Array, order: int | None, step_order: int | None) -> _Law:
    """Choose the orders by how many sizes and steps there are."""
    given = [files.step(dataset) for dataset in finite]
    known = [s for s in given if s is not None]
    steps = np.array(known) if len(known) == len(given) and len(set(known)) > 1 else None
    in_step = 0
    if steps is not None:
        in_step = step_order or (2 if np.unique(steps).size >= 4 else 1)
    elif step_order is not None:
        raise UserError(f"{option('extrapolate')}: an order in dt needs files that differ in dynamics.dt")
    different = np.unique(sizes).size
    if order is None:
        order = 2 if different >= 4 and sizes.size >= 3 + in_step else 1
    if different < order + 1:
        raise UserError(
            f"{option('extrapolate')}: order {order} in 1/N needs {order + 1} different "
            f"system.n; there are {different}"
        )
    return _Law(sizes, steps, order, in_step)


def _sorted_by_size(datasets: Sequence[xr.Dataset]) -> tuple[xr.Dataset, list[xr.Dataset], Array]:
    sizes = [files.size(dataset) for dataset in datasets]
    without = [d for d, n in zip(datasets, sizes, strict=True) if n is None]
    if len(without) != 1:
        named = f": {', '.join(files.source(d) for d in without)}" if without else ""
        raise UserError(
            f"{option('extrapolate')} needs one reference, a file without system.n, and several with it; "
            f"without it are {len(without)}{named}"
        )
    pairs = sorted(((n, k) for k, n in enumerate(sizes) if n is not None))
    return without[0], [datasets[k] for _, k in pairs], np.array([n for n, _ in pairs], dtype=float)


def _fits(
    datasets: Sequence[xr.Dataset], taken: Sequence[Curves], quantity: str | None, law: _Law
) -> tuple[list[Extrapolation], list[str]]:
    """Fit the energy and each waiting time that all files have; the others are said."""
    fits, unmatched = [], []
    energies = [c.energy for c in taken if c.energy is not None]
    if len(energies) == len(taken):
        fits.append(_fit(datasets, energies, "energy", None, law))
    waiting = [np.array(list(c.two_time)) for c in taken]
    everywhere = reduce(_shared, waiting)
    for w in sorted({w for c in taken for w in c.two_time}):
        if not matching(np.array([w]), everywhere)[0].size:
            unmatched.append(f"t_w = {w:g}: not in all finite-N files")
    places = [matching(everywhere, w)[1] for w in waiting]
    for k, w in enumerate(everywhere):
        members = [list(c.two_time.values())[place[k]] for c, place in zip(taken, places, strict=True)]
        fits.append(_fit(datasets, members, str(quantity), float(w), law))
    return fits, unmatched


def _fit(
    datasets: Sequence[xr.Dataset],
    members: Sequence[MeasuredCurve],
    quantity: str,
    waiting: float | None,
    law: _Law,
) -> Extrapolation:
    x = reduce(_shared, [c.x for c in members])
    if x.size == 0:
        raise UserError(
            f"{option('extrapolate')}: the finite-N files share no time of {quantity}; "
            "give them the same [record]"
        )
    chosen = [matching(x, c.x)[1] for c in members]
    values = np.array([c.mean[k] for c, k in zip(members, chosen, strict=True)])
    errors = np.array([c.error[k] for c, k in zip(members, chosen, strict=True)])
    freedom = np.array([c.part(k).degrees for c, k in zip(members, chosen, strict=True)])
    for dataset, row in zip(datasets, errors, strict=True):
        if np.isnan(row).all():
            raise UserError(
                f"{option('extrapolate')}: {files.source(dataset)} has no error bar of {quantity} "
                "(one replica); the fit is weighted by error bars"
            )
    fit = law.fit(values, errors, freedom)
    return Extrapolation(quantity, waiting, x, law.sizes, values, errors, freedom, fit, law.order, law.steps)


def _limit(fitted: Extrapolation) -> MeasuredCurve:
    """Return the limit N → ∞ as a curve."""
    mean, error = fitted.fit.coefficients[0], fitted.fit.errors[0]
    # NaN where a value is known without error (a start that is no random variable): nothing is fitted.
    known = np.isfinite(mean)
    return MeasuredCurve(fitted.x, mean, error, fitted.fit.error_degrees[0]).part(known)


def _shared(a: Array, b: Array) -> Array:
    return a[matching(a, b)[0]]
