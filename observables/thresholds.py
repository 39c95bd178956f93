r"""Over which thresholds the exponent of aging is the same, and which threshold to take.

t*(t_w) solves Δ(t_w, t_w + t*) = Δ*, and t* ~ t_w^μ. A law of the whole aging regime, Δ = g(t/t_w^μ), has
one μ for every Δ*. Displacements within a cage have μ = 0, early ones are not yet a power, and the largest
are reached from few waiting times. So μ(Δ*) is looked at first:

1. Waiting times and thresholds. Of all runs of consecutive waiting times, each with the range of ln Δ* that
   every one of them crosses, the one with the largest rectangle (ln t_w from first to last) × (ln Δ* from
   lowest to highest) is taken. All thresholds are then judged by the same waiting times.
2. Aging. Thresholds count where μ is at least half of the largest one that is sure, max (μ − 2 errors).
3. Plateau. The widest window in ln Δ* in which no μ is further from the mean of the window than
   `tolerance` + 2 standard errors of this difference. Neighbouring thresholds share their data, so the error
   of a difference is that of the resamples, not of independent numbers. Of windows equally wide the flattest.
4. The recommended threshold is the geometric middle of the plateau, or, without one, of those that age.

For a correlation that falls, ln Δ* is C* instead.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from .crossings import Curves, fit_power, fitted
from .statistics import Array, Mask, Resampled, tabulate

#: Thresholds in a window that is called a plateau, at least.
_PLATEAU = 4
#: Standard errors that μ may differ by.
_SIGMAS = 2.0

METHOD = (
    "slope of ln t* against ln t_w at each threshold, the same waiting times for all; plateau: widest window "
    "of thresholds in which no slope differs from their mean by more than tolerance + 2 standard errors "
    "(bootstrap over samples); recommended: its geometric middle"
)

_ABOUT = {
    "exponent": "exponent mu of t* ~ t_w^mu",
    "exponent_scatter": "standard error of mu from the scatter of ln t* about the fit",
}


class Rectangle(NamedTuple):
    """Waiting times, and heights between which each of them crosses every one."""

    members: Mask
    low: float
    high: float


def exponent_by_threshold(
    values: xr.DataArray,
    *,
    between: tuple[float, float] | None = None,
    falling: bool = False,
    waiting_times: tuple[float, float] = (0.0, math.inf),
    least: int = 4,
    tolerance: float = 0.02,
    points: int = 40,
    resamples: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """Return μ(Δ*), the plateau on which it does not depend on Δ*, and a threshold in the middle of it.

    Parameters
    ----------
    values : DataArray
        As for `subaging.relaxation_times`.
    between : (float, float), optional
        Lowest and highest threshold; the waiting times are then those that cross all between. By default as
        the module says.
    falling : bool
        For a correlation.
    waiting_times : (float, float)
        First and last to use.
    least : int
        Waiting times that a fit needs, at least 2.
    tolerance : float
        By how much μ may vary on a plateau, besides its statistical errors.
    points, resamples, seed : int
        Number of thresholds, evenly in ln Δ* (in C* if falling); of resamples of the bootstrap, and its seed.

    Returns
    -------
    Dataset
        By `threshold`: exponent with its standard error over samples, exponent_scatter (see
        `subaging.aging_exponent`), and on_plateau. fitted(waiting_time). Scalars: plateau_low and
        plateau_high, its first and last threshold; plateau_exponent, the mean of μ over it, with error;
        recommended, a threshold; low and high, the ends of the plateau, or without one those of the
        thresholds that age. NaN where there is none; the attribute `reason` of `recommended` or of
        `plateau_low` then says why.

    Raises
    ------
    ValueError
        If the dimensions are others, or an argument is out of range.
    """
    curves = Curves(values, falling=falling)
    _check(least, tolerance, points)
    chosen = curves.chosen(waiting_times)
    area = _rectangle(curves, chosen, least) if between is None else _covering(curves, chosen, between, least)
    if area is None:
        return _nothing(curves, least, points)
    # The middles of equal steps: at the ends themselves a resample may not cross.
    heights = area.low + (area.high - area.low) * (np.arange(points) + 0.5) / points
    thresholds = curves.threshold(heights)
    log_times = curves.log_times(thresholds, resamples, seed)
    whole = np.asarray(fitted(log_times, area.members)[:, area.members].all(-1))
    used = np.where(whole[:, None], area.members, False)
    fit = fit_power(curves.waiting, log_times, used)
    window, candidates = _plateau(fit.slope, fit.scatter, tolerance)
    made = _tabulate(curves, thresholds, fit.slope, fit.scatter)
    made["fitted"] = ("waiting_time", area.members, {"long_name": "whether the waiting time is fitted"})
    return made.merge(
        _plateau_numbers(curves, heights, fit.slope, window, candidates, made), compat="override"
    )


def _check(least: int, tolerance: float, points: int) -> None:
    if least < 2:
        raise ValueError(f"least = {least}: must be 2 or more (waiting times)")
    if not tolerance >= 0:
        raise ValueError(f"tolerance = {tolerance}: must be ≥ 0 (of the exponent)")
    if points < _PLATEAU:
        raise ValueError(f"points = {points}: must be {_PLATEAU} or more (thresholds)")


def _reach(curves: Curves) -> tuple[Array, Array]:
    """Return the heights that each average curve crosses: above its first, up to its highest; NaN: none."""
    y = curves.height(curves.mean.to_numpy())
    known = np.isfinite(y)
    first = np.take_along_axis(y, known.argmax(-1)[:, None], -1)[:, 0]
    highest = np.where(known, y, -np.inf).max(-1, initial=-np.inf)
    crosses = known.any(-1) & (highest > first)
    return np.where(crosses, first, np.nan), np.where(crosses, highest, np.nan)


def _rectangle(curves: Curves, chosen: Mask, least: int) -> Rectangle | None:
    """Return the largest rectangle in the plane of ln t_w and height; None if there is none."""
    low, high = _reach(curves)
    at = np.flatnonzero(chosen & np.isfinite(low))
    x = np.log(curves.waiting[at])
    best, found = 0.0, None
    for first in range(at.size - least + 1):
        bottom, top = (f.accumulate(v[at[first:]]) for f, v in ((np.maximum, low), (np.minimum, high)))
        area = (x[first:] - x[first]) * (top - bottom)
        area[: least - 1] = 0.0
        last = int(np.argmax(area))
        if area[last] > best:
            members = np.isin(np.arange(low.size), at[first : first + last + 1])
            best, found = area[last], Rectangle(members, float(bottom[last]), float(top[last]))
    return found


def _covering(curves: Curves, chosen: Mask, between: tuple[float, float], least: int) -> Rectangle | None:
    for threshold in between:
        curves.check(threshold)
    if not between[0] < between[1]:
        raise ValueError(f"between = {between}: must be (lowest, highest threshold)")
    bottom, top = sorted(curves.height(between).tolist())
    low, high = _reach(curves)
    members = chosen & (low <= bottom) & (high >= top)
    return Rectangle(members, bottom, top) if members.sum() >= least else None


def _plateau(slope: Resampled, scatter: Array, tolerance: float) -> tuple[slice | None, Mask]:
    """Return the window in which the slopes are the same, and which thresholds age."""
    mu = slope.value
    error = np.fmax(slope.error(), scatter)
    sure = mu - _SIGMAS * np.nan_to_num(error)
    top = np.max(sure[np.isfinite(mu)], initial=0.0)
    ages = np.isfinite(mu) & (mu >= top / 2 if top > 0 else True)
    covariance = _covariance(slope)
    for size in range(mu.size, _PLATEAU - 1, -1):
        flattest, window = math.inf, None
        for first in range(mu.size - size + 1):
            part = slice(first, first + size)
            if not ages[part].all():
                continue
            c = covariance[part, part]
            off = np.abs(mu[part] - mu[part].mean())
            variance = np.diag(c) - 2 * c.mean(1) + c.mean()
            allowed = tolerance + _SIGMAS * np.sqrt(np.maximum(variance, 0.0))
            if (off <= allowed).all() and off.max() < flattest:
                flattest, window = float(off.max()), part
        if window is not None:
            return window, ages
    return None, ages


def _covariance(slope: Resampled) -> Array:
    """Return the covariance of the slopes at two thresholds, 0 for a single sample."""
    k = slope.value.size
    # Thresholds without a fit are never compared.
    known = np.isfinite(slope.value)
    again = slope.again[:, known]
    again = again[np.isfinite(again).all(1)]
    made = np.zeros((k, k))
    if len(again) > 1 and known.any():
        factor = slope.samples / (slope.samples - 1)
        made[np.ix_(known, known)] = factor * np.atleast_2d(np.cov(again, rowvar=False))
    return made


def _tabulate(curves: Curves, thresholds: Array, slope: Resampled, scatter: Array) -> xr.Dataset:
    unit = curves.values.attrs.get("units", "1")
    about = {"long_name": "threshold", "units": unit}
    like = xr.DataArray(thresholds, {"threshold": ("threshold", thresholds, about)}, ("threshold",))
    found = {"exponent": (slope.value, slope.error()), "exponent_scatter": (scatter, None)}
    made = tabulate(found, like, {n: {"long_name": a} for n, a in _ABOUT.items()})
    made = made.assign_coords(waiting_time=curves.mean["waiting_time"])
    return made.assign_attrs(method=METHOD, samples=slope.samples, resamples=len(slope.again))


def _plateau_numbers(
    curves: Curves, heights: Array, slope: Resampled, window: slice | None, ages: Mask, like: xr.Dataset
) -> xr.Dataset:
    """Return the scalars, and which thresholds lie on the plateau."""
    unit = {"units": curves.values.attrs.get("units", "1")}
    low = high = lowest = highest = middle = math.nan
    mean = slope.apply(lambda s: np.full(len(s), np.nan))
    why: dict[str, Any] = {}
    if window is None:
        why["reason"] = f"the exponent is not the same at any {_PLATEAU} neighbouring thresholds"
    else:
        ends = np.sort(curves.threshold(heights[window][[0, -1]]))
        low, high = (float(v) for v in ends)
        mean = slope.apply(lambda s: s[:, window].mean(1))
    inside = ages if window is None else np.isin(np.arange(ages.size), np.arange(ages.size)[window])
    if inside.any():
        middle = float(curves.threshold(heights[inside][[0, -1]].mean()))
        lowest, highest = np.sort(curves.threshold(heights[inside][[0, -1]])).tolist()
    made = xr.Dataset(
        {
            "on_plateau": (
                "threshold",
                inside & (window is not None),
                {"long_name": "whether on the plateau"},
            ),
            "plateau_low": ((), low, {"long_name": "first threshold of the plateau", **unit, **why}),
            "plateau_high": ((), high, {"long_name": "last threshold of the plateau", **unit, **why}),
            "low": ((), lowest, {"long_name": "first threshold to judge a collapse by", **unit}),
            "high": ((), highest, {"long_name": "last threshold to judge a collapse by", **unit}),
            "recommended": ((), middle, {"long_name": "recommended threshold", **unit}),
        },
        {"threshold": like["threshold"]},
    )
    labels = {"plateau_exponent": {"long_name": "mean of mu over the plateau"}}
    scalar = xr.DataArray(0.0)
    return made.merge(tabulate({"plateau_exponent": (mean.value, mean.error())}, scalar, labels))


def _nothing(curves: Curves, least: int, points: int) -> xr.Dataset:
    """Return a dataset of NaN that says why."""
    empty = np.full(points, np.nan)
    slope = Resampled(empty, np.empty((0, points)), 1)
    made = _tabulate(curves, empty, slope, empty)
    made["fitted"] = ("waiting_time", np.full(curves.waiting.size, False))
    none = np.full(points, False)
    made = made.merge(_plateau_numbers(curves, empty, slope, None, none, made), compat="override")
    made["recommended"].attrs["reason"] = f"no threshold that {least} or more waiting times > 0 cross"
    return made
