r"""Two-time curves of many waiting times on one: collapse by t/t_w^μ.

With T the geometric mean of the n waiting times, the curves are compared at equal scaled lags
s = t (T/t_w)^μ, in units of time. In this form t* ~ t_w^μ makes all curves cross Δ* at one s, and the
geometric mean over t_w of the s at which they do is the same for every μ. So a range of thresholds gives one
range of s for all μ: from the geometric mean of t* at its lower end to that at its upper end. Comparing
different μ over different parts of the curves would favour those with little overlap.

With y = ln Δ of each curve, linear in ln t between its lags, the spread is (`spread.Family`)

    S² = Σ_s ω_s Σ_w (y_w − mean of y)² / Σ_s ω_s (n_s − 1),

ω_s the share of s on the axis of ln s: the rms deviation from a common curve, 0.1 for 10 %.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .crossings import Curves
from .spread import Family
from .statistics import Array, Mask, Resampled, bootstrap, tabulate
from .thresholds import exponent_by_threshold

#: Scaled lags of the comparison, evenly in ln s.
_POINTS = 60
#: Exponents that the smallest spread is looked for among; S² is close to a parabola in μ.
_TRIED = np.linspace(-0.5, 2.0, 51)
#: An exponent is judged if this part of all curves is known in the range: else only neighbours overlap.
_KNOWN = 0.5

METHOD = (
    "rms deviation of ln(value) (of the value, if it falls) from its mean over the waiting times at equal "
    "scaled lags t/t_w^mu, n - 1 of n counted, between the geometric means of t* at both thresholds; _error: "
    "bootstrap over samples"
)

_ABOUT = {
    "spread": "rms spread of ln(value) over the waiting times at equal t/t_w^mu",
    "spread_stationary": "the same at equal t (mu = 0)",
    "spread_full": "the same at equal t/t_w (mu = 1)",
    "spread_best": "the same at exponent_best",
    "exponent_best": "exponent with the smallest spread",
}


def aging_collapse(
    values: xr.DataArray,
    exponent: float,
    *,
    between: tuple[float, float] | None = None,
    falling: bool = False,
    waiting_times: tuple[float, float] = (0.0, math.inf),
    least: int = 4,
    resamples: int = 500,
    seed: int = 0,
) -> xr.Dataset:
    """Say how well Δ(t_w, t_w + t) of many t_w lie on one curve when drawn against t/t_w^μ.

    Parameters
    ----------
    values : DataArray
        As for `subaging.relaxation_times`.
    exponent : float
        μ.
    between : (float, float), optional
        Thresholds that bound the part of the curves that is judged; by default the plateau that
        `thresholds.exponent_by_threshold` finds, or without one all thresholds that age.
    falling, waiting_times, least, resamples, seed
        As for `subaging.aging_exponent`; `waiting_times` that do not cross both thresholds are left out.

    Returns
    -------
    Dataset
        spread at μ; for comparison spread_stationary (μ = 0), spread_full (μ = 1), and spread_best with
        exponent_best, the μ of the smallest spread (NaN unless inside (−0.5, 2)). Each with its standard
        error over samples as `<name>_error` (NaN where a wrong μ moves more than half of the curves out of
        what is known; where it moves less, what is left spreads less). A spread is never negative: where it
        is of noise alone, its error says little. spread_expected: what noise alone makes of one curve, from
        the resamples about their average; the replicas that waiting times share are thereby counted (NaN
        for a single sample).
        fitted(waiting_time): which are judged; scaled_lag_low and scaled_lag_high, in units of time;
        `threshold_low`, `threshold_high`. NaN, with the attribute `reason` of spread, without enough
        waiting times.

    Raises
    ------
    ValueError
        If the dimensions are others, or an argument is out of range.
    """
    if not math.isfinite(exponent):
        raise ValueError(f"exponent = {exponent}: must be finite")
    curves = Curves(values, falling=falling)
    chosen = curves.chosen(waiting_times)
    if between is None:
        scan = exponent_by_threshold(
            values, falling=falling, waiting_times=waiting_times, least=least, resamples=resamples, seed=seed
        )
        chosen, between = scan["fitted"].to_numpy(), (float(scan["low"]), float(scan["high"]))
    else:
        for threshold in between:
            curves.check(threshold)
        if not between[0] < between[1]:
            raise ValueError(f"between = {between}: must be (lowest, highest threshold)")
    log_times = curves.log_times(between, 2, seed).value
    used = chosen & np.isfinite(log_times).all(0)
    if used.sum() < max(least, 2):
        return _nothing(curves, between, least)
    ends = np.sort(log_times[:, used].mean(1))
    comparison = _Comparison(curves, used, np.linspace(ends[0], ends[1], _POINTS))
    return _report(curves, comparison, between, exponent, resamples, seed)


class _Place(NamedTuple):
    """Scaled lags between two lags of each curve, shape (waiting_time, scaled lag) each."""

    below: NDArray[np.int_]
    above: NDArray[np.int_]
    part: Array
    judged: Mask


class _Comparison:
    """Curves of the waiting times that are used, at equal scaled lags.

    Parameters
    ----------
    curves : Curves
    used : ndarray of bool, shape (waiting_time,)
    s : ndarray
        ln of the scaled lags.
    """

    def __init__(self, curves: Curves, used: Mask, s: Array) -> None:
        self.x, self.used, self.s = curves.x, used, s
        log_waiting = np.log(curves.waiting[used])
        self.shift = log_waiting - log_waiting.mean()
        # What is known of the average of all: a resample that lacks it has no spread.
        self.known = np.isfinite(curves.height(curves.mean.to_numpy())[used])
        #: By exponent; the same for every resample.
        self.places: dict[float, _Place] = {}

    def spread(self, heights: Array, exponent: float) -> Array:
        """Return the spread at μ; `heights` of all lags and of the waiting times used, any leading axes."""
        if exponent not in self.places:
            self.places[exponent] = self._place(exponent)
        place = self.places[exponent]
        if place.judged.mean() < _KNOWN:
            return np.full(heights.shape[:-2], np.nan)
        rows = np.arange(self.shift.size)[:, None]
        y = (1 - place.part) * heights[..., rows, place.below] + place.part * heights[..., rows, place.above]
        return Family(self.s, place.judged).spread(y)

    def _place(self, exponent: float) -> _Place:
        """Find the scaled lags among those of each curve."""
        shape = (self.shift.size, self.s.size)
        part, judged = np.empty(shape), np.empty(shape, bool)
        below, above = np.empty(shape, int), np.empty(shape, int)
        for w, shift in enumerate(self.shift):
            lags = np.flatnonzero(self.known[w])
            wanted = self.s + exponent * shift
            k = np.clip(np.searchsorted(self.x[lags], wanted, side="right"), 1, lags.size - 1)
            below[w], above[w] = lags[k - 1], lags[k]
            # To rounding: the ends of the range may be the ends of a curve.
            slack = 1e-9 * (1 + abs(self.x[lags[-1]]))
            judged[w] = (wanted >= self.x[lags[0]] - slack) & (wanted <= self.x[lags[-1]] + slack)
            part[w] = (wanted - self.x[below[w]]) / (self.x[above[w]] - self.x[below[w]])
        return _Place(below, above, part, judged)

    def all(self, heights: Array, exponent: float) -> Array:
        """Return the numbers of `_ABOUT`, shape (…, 5)."""
        given = [self.spread(heights, mu) for mu in (exponent, 0.0, 1.0)]
        tried = np.stack([self.spread(heights, mu) for mu in _TRIED.tolist()], axis=-1)
        best, least = _lowest(tried**2)
        return np.stack([*given, np.sqrt(np.maximum(least, 0.0)), best], axis=-1)


def _lowest(squares: Array) -> tuple[Array, Array]:
    """Return the vertex (μ, S²) of the parabola about the lowest of the tried exponents; NaN at the ends."""
    known = np.where(np.isfinite(squares), squares, np.inf)
    k = np.clip(known.argmin(-1), 1, _TRIED.size - 2)
    before, here, after = (np.take_along_axis(squares, (k + d)[..., None], -1)[..., 0] for d in (-1, 0, 1))
    inside = (here <= before) & (here <= after) & (before + after > 2 * here)
    bend = np.where(inside, before - 2 * here + after, np.nan)
    step = (before - after) / (2 * bend)
    return _TRIED[k] + step * (_TRIED[1] - _TRIED[0]), here - (before - after) ** 2 / (8 * bend)


def _report(
    curves: Curves,
    comparison: _Comparison,
    between: tuple[float, float],
    exponent: float,
    resamples: int,
    seed: int,
) -> xr.Dataset:
    average = curves.height(curves.mean.to_numpy())[comparison.used]

    def judge(averages: Array) -> Array:
        heights = curves.height(averages)[:, comparison.used]
        # By resample: its spread at μ, and that of its deviation from the average of all.
        noise = comparison.spread(heights - average, exponent) ** 2
        return np.concatenate([comparison.all(heights, exponent), noise[:, None]], axis=1)

    found = bootstrap(judge, curves.values, resamples=resamples, seed=seed)
    noise = found.again[:, -1]
    noise = noise[np.isfinite(noise)]
    factor = found.samples / max(found.samples - 1, 1)
    expected = math.sqrt(factor * noise.mean()) if noise.size else math.nan
    used, s = comparison.used, np.exp(comparison.s)
    return _tabulate(curves, found, used, between, (float(s[0]), float(s[-1])), expected, "").assign_attrs(
        exponent=exponent, seed=seed
    )


def _tabulate(
    curves: Curves,
    found: Resampled,
    used: Mask,
    between: tuple[float, float],
    scaled: tuple[float, float],
    expected: float,
    reason: str,
) -> xr.Dataset:
    error = found.error()
    pairs = {name: (found.value[k], error[k]) for k, name in enumerate(_ABOUT)}
    about = {name: {"long_name": meaning} for name, meaning in _ABOUT.items()}
    if reason:
        about["spread"]["reason"] = reason
    made = tabulate(pairs, xr.DataArray(0.0), about).assign_coords(waiting_time=curves.mean["waiting_time"])
    made["spread_expected"] = ((), expected, {"long_name": "spread that noise alone makes of one curve"})
    made["fitted"] = ("waiting_time", used, {"long_name": "whether the waiting time is judged"})
    for k, end in enumerate(("low", "high")):
        unit = {"units": curves.mean["lag"].attrs.get("units", "1")}
        made[f"scaled_lag_{end}"] = ((), scaled[k], {"long_name": f"{end} end of the scaled lags", **unit})
        unit = {"units": curves.values.attrs.get("units", "1")}
        made[f"threshold_{end}"] = ((), between[k], {"long_name": f"{end} end of the thresholds", **unit})
    return made.assign_attrs(method=METHOD, samples=found.samples, resamples=len(found.again))


def _nothing(curves: Curves, between: tuple[float, float], least: int) -> xr.Dataset:
    """Return a dataset of NaN that says why."""
    size = len(_ABOUT)
    nothing = Resampled(np.full(size, np.nan), np.empty((0, size)), 1)
    reason = f"fewer than {least} waiting times > 0 cross all of the thresholds"
    used, ends = np.full(curves.waiting.size, False), (math.nan, math.nan)
    return _tabulate(curves, nothing, used, between, ends, math.nan, reason)
