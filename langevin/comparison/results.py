"""What a comparison holds: differences, their summary, and one table of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from langevin.comparison.files import Curves
from langevin.observables.curves import Aligned
from langevin.observables.extrapolation import Fit

Array = NDArray[np.float64]


class Difference(NamedTuple):
    """One curve of two files, at common times.

    Attributes
    ----------
    quantity : str
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
    """

    points: int
    with_error: int
    rms_z: float
    largest: float
    at: float
    waiting: tuple[float, float] | None


class Extrapolation(NamedTuple):
    """A fit in 1/N at every common time of several sizes.

    Attributes
    ----------
    quantity : str
    waiting : float or None
    x : ndarray, shape (points,)
    sizes : ndarray, shape (files,)
    values, errors : ndarray, shape (files, points)
    fit : Fit
        Coefficients of 1, 1/N, …
    """

    quantity: str
    waiting: float | None
    x: Array
    sizes: Array
    values: Array
    errors: Array
    fit: Fit


@dataclass(frozen=True)
class Comparison:
    """Two files (or a reference and a limit N → ∞), A and B.

    Attributes
    ----------
    a, b : Curves
    quantity : str or None
        The two-time observable; None if there is none.
    differences : list of Difference
    unmatched : list of str
        Waiting times of either file that are not compared, and why.
    notes : list of str
        What a reader must know of the comparison.
    fits : list of Extrapolation
        Behind B, if it is a limit.
    """

    a: Curves
    b: Curves
    quantity: str | None
    differences: list[Difference]
    unmatched: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fits: list[Extrapolation] = field(default_factory=list)

    def of(self, quantity: str) -> list[Difference]:
        """Return the differences of one quantity, by waiting time."""
        return [d for d in self.differences if d.quantity == quantity]

    def summary(self, quantity: str) -> Summary:
        """Return the rms and the largest z of one quantity (the largest |B − A| where there is no σ)."""
        return summarise(self.of(quantity))

    def table(self) -> xr.Dataset:
        """Return every compared point as a row of a dataset; see `table`."""
        return table([self])


def summarise(differences: Sequence[Difference]) -> Summary:
    """Return the rms and the largest of z over several curves."""
    z = np.concatenate([d.points.z for d in differences])
    plain = np.concatenate([d.points.difference for d in differences])
    x = np.concatenate([d.points.x for d in differences])
    waiting = [d.waiting for d in differences for _ in d.points.x]
    known = np.isfinite(z)
    shown = z if known.any() else plain
    k = int(np.nanargmax(np.abs(shown)))
    rms = float(np.sqrt(np.mean(z[known] ** 2))) if known.any() else math.nan
    return Summary(z.size, int(known.sum()), rms, float(shown[k]), float(x[k]), waiting[k])


def table(comparisons: Sequence[Comparison]) -> xr.Dataset:
    """Return every compared point as a row.

    Returns
    -------
    Dataset
        Dimension row; variables a, b (names of the files), quantity, waiting_time_a, waiting_time_b, time,
        lag (NaN where a quantity has none), value_a, error_a, value_b, error_b, interpolated ("A", "B"
        or ""), interpolation_error, difference (b − a), sigma (its standard error), z.
    """
    rows: dict[str, list[Any]] = {}
    for comparison in comparisons:
        for d in comparison.differences:
            p, n = d.points, d.points.x.size
            u, w = d.waiting or (math.nan, math.nan)
            nothing = np.full(n, math.nan)
            columns: dict[str, Any] = {
                "a": [comparison.a.label] * n,
                "b": [comparison.b.label] * n,
                "quantity": [d.quantity] * n,
                "waiting_time_a": np.full(n, u),
                "waiting_time_b": np.full(n, w),
                "time": nothing if d.waiting else p.x,
                "lag": p.x if d.waiting else nothing,
                "value_a": p.a,
                "error_a": p.a_error,
                "value_b": p.b,
                "error_b": p.b_error,
                "interpolated": p.interpolated,
                "interpolation_error": p.interpolation,
                "difference": p.difference,
                "sigma": p.sigma,
                "z": p.z,
            }
            for name, column in columns.items():
                rows.setdefault(name, []).extend(column)
    return xr.Dataset({name: ("row", np.array(column)) for name, column in rows.items()})
