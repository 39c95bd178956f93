"""A comparison holds differences, their summary, and one table of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from langevin.observables.fits.curves import Aligned
from langevin.observables.fits.extrapolation import Fit
from langevin.observables.fits.freedom import combined, expected_rms

from .files import Curves

Array = NDArray[np.float64]


class Difference(NamedTuple):
    """One curve of two files, at common times.

    Attributes
    ----------
    waiting : (float, float) or None
        Waiting time t_w in A and in B; None for the energy.
    points : Aligned
        Values, errors, difference B − A, σ and z, by time (energy) or lag (two-time observables).
    """

    quantity: str
    waiting: tuple[float, float] | None
    points: Aligned


class Summary(NamedTuple):
    """What a quantity's differences amount to. Neighbouring times are correlated: no p-value follows.

    Attributes
    ----------
    points, with_error : int
        Times compared, and those with an error bar.
    rms_z : float
        Root mean square of z; NaN without error bars. Near 1 for equal curves.
    largest : float
        z of the largest |z|; without error bars B − A of the largest |B − A|.
    at : float
        Time or lag of it.
    waiting : (float, float) or None
        Waiting times of it.
    expected_rms : float
        rms z of equal curves: 1 where errors are known, √(ν/(ν − 2)) with ν degrees of freedom; inf where
        ν ≤ 2.
    rms_deviate : float
        Root mean square of z as normal deviates: near 1 for equal curves, from however few samples.
    degrees : float
        Degrees of freedom ν of σ, the smallest of the curves.
    deviate : float
        The largest z as a normal deviate.
    """

    points: int
    with_error: int
    rms_z: float
    largest: float
    at: float
    waiting: tuple[float, float] | None
    expected_rms: float
    rms_deviate: float
    degrees: float
    deviate: float


class Extrapolation(NamedTuple):
    """A fit in 1/N, and in the step dt where that varies, at every common time of several runs.

    Attributes
    ----------
    x : ndarray, shape (points,)
    sizes : ndarray, shape (files,)
    values, errors, degrees : ndarray, shape (files, points)
        Means, standard errors, and their degrees of freedom.
    fit : Fit
        Coefficients of 1, 1/N, …, dt, …
    order : int
        Order in 1/N.
    steps : ndarray, shape (files,), or None
        Time steps, where these are extrapolated, too.
    """

    quantity: str
    waiting: float | None
    x: Array
    sizes: Array
    values: Array
    errors: Array
    degrees: Array
    fit: Fit
    order: int
    steps: Array | None = None

    @property
    def without_bias(self) -> Array:
        """Values less the fitted bias of the step, shape (files, points): what is a function of N alone."""
        if self.steps is None:
            return self.values
        slopes = self.fit.coefficients[self.order + 1 :]
        powers = np.arange(1, slopes.shape[0] + 1)
        return np.asarray(self.values - self.steps[:, None] ** powers @ slopes)


@dataclass(frozen=True)
class Comparison:
    """Two files (or a reference and a limit N → ∞), A and B.

    Attributes
    ----------
    quantity : str or None
        The two-time observable; None if there is none.
    differences : list of Difference
    unmatched : list of str
        Waiting times of either file that are not compared, and why.
    notes : list of str
        What a reader must know of the comparison.
    fits : list of Extrapolation
        Behind B, if it is a limit.
    letter : str
        What the second file is called: B, C, … beside one reference.
    """

    a: Curves
    b: Curves
    quantity: str | None
    differences: list[Difference]
    unmatched: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fits: list[Extrapolation] = field(default_factory=list)
    letter: str = "B"

    def of(self, quantity: str) -> list[Difference]:
        """Return the differences of one quantity, by waiting time."""
        return [d for d in self.differences if d.quantity == quantity]

    def alike(self, quantity: str) -> bool:
        """Return whether A and B mean one quantity by this name; if not, no z is given."""
        return self.a.alike(self.b, quantity)

    def summary(self, quantity: str) -> Summary:
        """Return the rms and the largest z of one quantity (the largest |B − A| where there is no σ)."""
        return summarise(self.of(quantity), self.alike(quantity))

    def table(self) -> xr.Dataset:
        """Return every compared point as a row of a dataset; see `table`."""
        return table([self])


def summarise(differences: Sequence[Difference], alike: bool = True) -> Summary:
    """Return the rms and the largest of z over several curves.

    Parameters
    ----------
    alike : bool
        Whether A and B are one quantity; if not, there is no z.
    """
    z = np.concatenate([d.points.z for d in differences])
    deviates = np.concatenate([d.points.deviate for d in differences])
    plain = np.concatenate([d.points.difference for d in differences])
    x = np.concatenate([d.points.x for d in differences])
    waiting = [d.waiting for d in differences for _ in d.points.x]
    known = np.isfinite(z) & alike
    shown = z if known.any() else plain
    k = int(np.nanargmax(np.abs(shown)))
    largest = Summary(z.size, 0, math.nan, float(shown[k]), float(x[k]), waiting[k], *[math.nan] * 4)
    if not known.any():
        return largest
    freedom = np.concatenate([_freedom(d.points) for d in differences])[known]
    return largest._replace(
        with_error=int(known.sum()),
        rms_z=float(np.sqrt(np.mean(z[known] ** 2))),
        expected_rms=expected_rms(freedom),
        rms_deviate=float(np.sqrt(np.mean(deviates[known] ** 2))),
        degrees=float(freedom.min()),
        deviate=float(deviates[k]),
    )


def _freedom(points: Aligned) -> Array:
    """Return the degrees of freedom of σ, from shares of the errors that are averaged along the curve.

    Those of a single point scatter, downwards: √(ν/(ν − 2)) would come out too large.
    """
    parts = np.stack([points.a_error, points.b_error, points.interpolation]) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(points.sigma > 0, parts / points.sigma**2, np.nan)
        shares = np.nanmean(ratios, axis=1, keepdims=True)
    known = np.full(points.x.shape, np.inf)
    degrees = np.stack([points.a_degrees, points.b_degrees, known])
    return combined(np.broadcast_to(shares, degrees.shape), degrees)


def table(comparisons: Sequence[Comparison]) -> xr.Dataset:
    """Return every compared point as a row.

    Returns
    -------
    Dataset
        Dimension row; variables a, b (names of the files), quantity, waiting_time_a, waiting_time_b, time,
        lag, swept (of sweeps the number that is swept; NaN where a quantity has none), value_a, error_a,
        value_b, error_b, interpolated ("A", "B" or ""), interpolation_error, difference (b − a), sigma (its
        standard error), z, degrees (of freedom of sigma; inf where it is known), deviate (z as a normal
        deviate), p (two-sided probability of z). z and what follows from it are NaN where a and b are not one
        quantity.
    """
    rows: dict[str, list[Any]] = {}
    for comparison in comparisons:
        for d in comparison.differences:
            p, n = d.points, d.points.x.size
            u, w = d.waiting or (math.nan, math.nan)
            nothing = np.full(n, math.nan)
            swept = comparison.a.along != "time"
            alike = comparison.alike(d.quantity)
            columns: dict[str, Any] = {
                "a": [comparison.a.label] * n,
                "b": [comparison.b.label] * n,
                "quantity": [d.quantity] * n,
                "waiting_time_a": np.full(n, u),
                "waiting_time_b": np.full(n, w),
                "time": nothing if d.waiting or swept else p.x,
                "lag": p.x if d.waiting else nothing,
                "swept": p.x if swept else nothing,
                "value_a": p.a,
                "error_a": p.a_error,
                "value_b": p.b,
                "error_b": p.b_error,
                "interpolated": p.interpolated,
                "interpolation_error": p.interpolation,
                "difference": p.difference,
                "sigma": p.sigma,
                "z": p.z if alike else nothing,
                "degrees": p.degrees if alike else nothing,
                "deviate": p.deviate if alike else nothing,
                "p": p.probability if alike else nothing,
            }
            for name, column in columns.items():
                rows.setdefault(name, []).extend(column)
    return xr.Dataset({name: ("row", np.array(column)) for name, column in rows.items()})
