r"""The exponent of aging is scanned over thresholds here: some share one μ, others do not.

A law of the whole aging regime, Δ = g(t/t_w^μ), has one μ for every Δ*; most data have not. Waiting times and
the range of thresholds that counts are those of `choice`. Beside them a plateau is described, which decides
nothing: the widest window in ln Δ* (C* of a correlation) in which every μ is within `tolerance` of the
window's mean, of windows equally wide the flattest.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from ..statistics import Array, Mask, Resampled, tabulate
from ..sufficiency import too_few
from .choice import POINTS, AgingChoice, around, choose, grid, reach, rectangle
from .crossings import AgingCurves, fit_power
from .exponent_error import QUANTITY

#: Thresholds in a window that is called a plateau, at least.
_PLATEAU = 4

METHOD = (
    "slope of ln t* against ln t_w at each threshold, the same waiting times for all; recommended: mean of "
    "the threshold's logarithm (of the threshold, if the values fall) where it ages; _error: bootstrap over "
    "samples, waiting times and thresholds fixed"
)

_ABOUT = {
    "exponent": "exponent mu of t* ~ t_w^mu",
    "exponent_scatter": "standard error of mu from the scatter of ln t* about the fit",
}


def exponent_by_threshold(
    values: xr.DataArray,
    *,
    between: tuple[float, float] | None = None,
    falling: bool = False,
    waiting_times: tuple[float, float] = (0.0, math.inf),
    least: int = 4,
    tolerance: float = 0.02,
    points: int = 40,
    resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Return μ(Δ*), the range of thresholds that counts, and the threshold in the middle of it.

    Parameters
    ----------
    values : DataArray
        As for `relaxation_times`; the attribute `plateau` is that of the values for t_w → ∞.
    between : (float, float), optional
        Lowest and highest threshold; the waiting times are then those that cross all between. By default as
        `choice` says.
    falling : bool
        For a correlation.
    waiting_times : (float, float)
        First and last to use.
    least : int
        Waiting times that a fit needs, at least 2.
    tolerance : float
        By how much μ may vary on a plateau.
    points, resamples, seed : int
        Number of thresholds, evenly in ln Δ* (in C* if falling), over all that these waiting times cross; of
        resamples of the bootstrap, and its seed.

    Returns
    -------
    Dataset
        By `threshold`: exponent with its standard error over samples (NaN for too few of them),
        exponent_scatter (see `aging_exponent`), and on_plateau. fitted(waiting_time). Scalars:
        recommended, the threshold that `aging_exponent` takes; low and high, the range that counts;
        plateau_low and plateau_high, first and last threshold of the plateau; plateau_exponent, the mean of μ
        over it. NaN where there is none; the attribute `reason` of `recommended` or of `plateau_low` then
        says why.

    Raises
    ------
    ValueError
        If the dimensions are others, or an argument is out of range.
    """
    curves = AgingCurves(values, falling=falling)
    _check(least, tolerance, points)
    chosen, whole = curves.chosen(waiting_times), curves.mean.to_numpy()[None]
    if between is None:
        choice = choose(curves, whole, chosen, least, POINTS)
        members, bottom, top = _all_of_them(curves, whole, chosen, choice.members[0], least)
    else:
        choice = around(curves, whole, chosen, least, POINTS, heights_of(curves, between))
        members, (bottom, top) = choice.members[0], sorted(curves.height(between).tolist())
    if not members.any():
        return _nothing(curves, least, points)
    heights = grid(np.array(bottom), np.array(top), points)
    thresholds = curves.threshold(heights)
    log_times = curves.log_times(thresholds, resamples, seed)
    fit = fit_power(curves.log_waiting, log_times, np.broadcast_to(members, (points, members.size)))
    table = _tabulate(curves, thresholds, fit.slope, fit.scatter)
    table["fitted"] = ("waiting_time", members, {"long_name": "whether the waiting time is fitted"})
    window = _plateau(fit.slope.value, tolerance)
    return table.merge(_scalars(curves, heights, fit.slope.value, window, choice, table), compat="override")


def heights_of(curves: AgingCurves, between: tuple[float, float]) -> tuple[float, float]:
    """Return the heights of a lowest and a highest threshold, ascending; ValueError if they are not that."""
    for threshold in between:
        curves.check(threshold)
    if not between[0] < between[1]:
        raise ValueError(f"between = {between}: must be (lowest, highest threshold)")
    low, high = sorted(curves.height(between).tolist())
    return low, high


def _all_of_them(
    curves: AgingCurves, whole: Array, chosen: Mask, members: Mask, least: int
) -> tuple[Mask, float, float]:
    """Return waiting times, and all heights that they cross, below the plateau, too."""
    low, high = reach(curves.height(whole))
    if not members.any():
        area = rectangle(curves.waiting, low, high, chosen, least)
        return area.members[0], float(area.low[0]), float(area.high[0])
    return members, float(low[0, members].max()), float(high[0, members].min())


def _check(least: int, tolerance: float, points: int) -> None:
    if least < 2:
        raise ValueError(f"least = {least}: must be 2 or more (waiting times)")
    if not tolerance >= 0:
        raise ValueError(f"tolerance = {tolerance}: must be ≥ 0 (of the exponent)")
    if points < _PLATEAU:
        raise ValueError(f"points = {points}: must be {_PLATEAU} or more (thresholds)")


def _plateau(mu: Array, tolerance: float) -> slice | None:
    """Return the widest window in which the slopes are the same."""
    for size in range(mu.size, _PLATEAU - 1, -1):
        windows = np.lib.stride_tricks.sliding_window_view(mu, size)
        off = np.abs(windows - windows.mean(-1, keepdims=True)).max(-1)
        off = np.where(np.isfinite(off), off, np.inf)
        first = int(off.argmin())
        if off[first] <= tolerance:
            return slice(first, first + size)
    return None


def _tabulate(curves: AgingCurves, thresholds: Array, slope: Resampled, scatter: Array) -> xr.Dataset:
    unit = curves.values.attrs.get("units", "1")
    about = {"long_name": "threshold", "units": unit}
    like = xr.DataArray(thresholds, {"threshold": ("threshold", thresholds, about)}, ("threshold",))
    error = slope.error() if not too_few(QUANTITY, slope.samples) else np.full_like(slope.value, np.nan)
    numbers = {"exponent": (slope.value, error), "exponent_scatter": (scatter, None)}
    table = tabulate(numbers, like, _ABOUT)
    table = table.assign_coords(waiting_time=curves.mean["waiting_time"])
    return table.assign_attrs(method=METHOD, samples=slope.samples, resamples=len(slope.again))


def _scalars(
    curves: AgingCurves,
    heights: Array,
    mu: Array,
    window: slice | None,
    choice: AgingChoice,
    like: xr.Dataset,
) -> xr.Dataset:
    """Return the scalars, and which thresholds lie on the plateau."""
    unit = {"units": curves.values.attrs.get("units", "1")}
    inside = np.full(mu.size, False)
    plateau, mean = [math.nan, math.nan], math.nan
    why: dict[str, str] = {}
    if window is None:
        why["reason"] = f"the exponent is not the same at any {_PLATEAU} neighbouring thresholds"
    else:
        inside[window] = True
        plateau, mean = np.sort(curves.threshold(heights[window][[0, -1]])).tolist(), float(mu[window].mean())
    ends = np.sort(curves.threshold([choice.low[0], choice.high[0]])).tolist()
    middle = float(curves.threshold(choice.centre[0]))
    named = {
        "plateau_low": (plateau[0], "first threshold of the plateau", {**unit, **why}),
        "plateau_high": (plateau[1], "last threshold of the plateau", {**unit, **why}),
        "plateau_exponent": (mean, "mean of mu over the plateau", {"units": "1"}),
        "low": (ends[0], "first threshold of the range that counts", unit),
        "high": (ends[1], "last threshold of the range that counts", unit),
        "recommended": (middle, "recommended threshold", dict(unit)),
    }
    table = xr.Dataset(coords={"threshold": like["threshold"]})
    table["on_plateau"] = ("threshold", inside, {"long_name": "whether on the plateau"})
    for name, (value, meaning, attributes) in named.items():
        table[name] = ((), value, {"long_name": meaning, **attributes})
    if not math.isfinite(middle):
        table["recommended"].attrs["reason"] = "no common threshold beyond the plateau of the values"
    return table


def _nothing(curves: AgingCurves, least: int, points: int) -> xr.Dataset:
    """Return a dataset of NaN that says why."""
    empty = np.full(points, np.nan)
    slope = Resampled(empty, np.empty((0, points)), 1)
    table = _tabulate(curves, empty, slope, empty)
    table["fitted"] = ("waiting_time", np.full(curves.waiting.size, False))
    none = np.full(1, np.nan)
    choice = AgingChoice(np.full((1, curves.waiting.size), False), *(none[:, None],) * 3, *(none,) * 3)
    table = table.merge(_scalars(curves, empty, empty, None, choice, table), compat="override")
    table["recommended"].attrs["reason"] = f"no threshold that {least} or more waiting times > 0 cross"
    return table
