r"""Two-time curves of many waiting times are collapsed onto one by t/t_w^μ here.

With T the geometric mean of the n waiting times, the curves are compared at equal scaled lags
s = t (T/t_w)^μ, in units of time. In this form t* ~ t_w^μ makes all curves cross Δ* at one s, and the
geometric mean over t_w of the s at which they do is the same for every μ. So a range of thresholds gives one
range of s for all μ: from the geometric mean of t* at its lower end to that at its upper end. Comparing
different μ over different parts of the curves would favour those with little overlap.

With y = ln Δ of each curve, linear in ln t between its lags, the mean square deviation from a common curve is

    S² = Σ_s ω_s Σ_w (y_w − mean of y)² / Σ_s ω_s (n_s − 1),

ω_s the share of s on the axis of ln s. Noise adds to it: S² of y + η has the expectation S²(y) + S²(η), since
noise has no sign. S²(η) is the mean over resamples of S² of their deviation from the average of all, times
n/(n − 1); the replicas that waiting times share are thereby counted. The spread is the root of the rest,
0.1 for 10 %. A standard error σ of S² gives the interval of the spread: the roots of S² ± σ, 0 for a
negative one.

Waiting times, range of thresholds, and by default μ are choices of the data (`choice`): each resample makes
its own.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from ..fits.regression import inverse, mean_where
from ..statistics import Array, Mask, Resampled, bootstrap, check_confidence, interval, tabulate
from ..sufficiency import too_few
from .choice import AgingChoice
from .crossings import AgingCurves, Rising
from .exponent_error import Analysis, standard_error
from .thresholds import heights_of

#: Name of the spreads in `sufficiency.LEAST`.
SPREAD, BEST = "collapse_spread", "collapse_exponent"
#: Scaled lags of the comparison, evenly in ln s.
_POINTS = 60
#: Exponents that the smallest spread is looked for among: coarsely, and about the lowest finely. S² is close
#: to a parabola in μ.
_TRIED, _FINE = np.linspace(-0.5, 2.0, 11), np.linspace(-0.3, 0.3, 13)
#: An exponent is judged if this part of all curves is known in the range: else only neighbours overlap.
_KNOWN = 0.5

METHOD = (
    "rms deviation of ln(value) (of the value, if it falls) from its mean over the waiting times at equal "
    "scaled lags t/t_w^mu, n - 1 of n counted, noise deducted, between the geometric means of t* at both "
    "thresholds; _low, _high: Student's interval of the square, error by bootstrap of the whole analysis"
)

_ABOUT = {
    "spread": "rms spread of ln(value) over the waiting times at equal t/t_w^mu",
    "spread_stationary": "the same at equal t (mu = 0)",
    "spread_full": "the same at equal t/t_w (mu = 1)",
    "spread_best": "the same at exponent_best",
}
_BESIDE = {
    "exponent_best": "exponent with the smallest spread",
    "spread_expected": "spread that noise alone makes of one curve",
}


def aging_collapse(
    values: xr.DataArray,
    exponent: float | None = None,
    *,
    between: tuple[float, float] | None = None,
    falling: bool = False,
    waiting_times: tuple[float, float] = (0.0, math.inf),
    least: int = 4,
    resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
    accuracy: xr.DataArray | float | None = None,
) -> xr.Dataset:
    """Say how well Δ(t_w, t_w + t) of many t_w lie on one curve when drawn against t/t_w^μ.

    Parameters
    ----------
    values : DataArray
        As for `relaxation_times`.
    exponent : float, optional
        μ; by default that of t* at the threshold of `choice`, in each resample its own.
    between : (float, float), optional
        Thresholds that bound the part of the curves that is judged; by default the range of `choice`, in each
        resample its own.
    falling, waiting_times, least, resamples, seed, accuracy
        As for `aging_exponent`; `waiting_times` that do not cross both thresholds are left out.
    confidence : float
        Confidence of the intervals.

    Returns
    -------
    Dataset
        spread at μ; for comparison spread_stationary (μ = 0), spread_full (μ = 1), and spread_best with
        exponent_best, the μ of the smallest spread (NaN unless inside (−0.5, 2)). Noise is deducted: a spread
        of 0 is one that noise explains. Each with `<name>_low` and `<name>_high`, the ends of its interval,
        and `<name>_error`, half the width of that of one standard error (NaN where a wrong μ moves more than
        half of the curves out of the known range; where it moves fewer, the rest spreads less).
        spread_expected: the spread that noise alone makes of one curve at μ (NaN for a single sample).
        exponent: μ. fitted(waiting_time): which are judged; scaled_lag_low and scaled_lag_high, in units of
        time; `threshold_low`, `threshold_high`. NaN, with the attribute `reason` of spread, without enough
        waiting times or samples.

    Raises
    ------
    ValueError
        If the dimensions are others, or an argument is out of range.
    """
    if exponent is not None and not math.isfinite(exponent):
        raise ValueError(f"exponent = {exponent}: must be finite")
    check_confidence(confidence)
    curves = AgingCurves(values, falling=falling)
    levels: tuple[float, ...] = () if between is None else heights_of(curves, between)
    analysis = Analysis(curves, curves.chosen(waiting_times), levels, max(least, 2))
    whole = _Comparison(analysis, curves.mean.to_numpy()[None], exponent)
    reason = ""
    if not whole.choice.members.any():
        reason = f"fewer than {least} waiting times > 0 cross all of the thresholds"
    counted = "replica" in values.dims and accuracy is None
    judge = CollapseJudge(analysis, exponent)
    squares = bootstrap(judge, curves.values, resamples=resamples, seed=seed)
    reason = reason or (
        (too_few(SPREAD, squares.samples) or too_few(BEST, squares.samples)) if counted else ""
    )
    table = _tabulate(squares, standard_error(squares, judge, curves.values), confidence, reason)
    return _describe(table, curves, whole, between, reason).assign_attrs(
        method=METHOD, samples=squares.samples, resamples=len(squares.again), confidence=confidence, seed=seed
    )


class _Comparison:
    """AgingCurves at equal scaled lags, for each of B averages with its own choice.

    Parameters
    ----------
    analysis : Analysis
    averages : ndarray, shape (B, waiting_time, lag)
    exponent : float, optional
        By default that of the analysis.
    """

    def __init__(self, analysis: Analysis, averages: Array, exponent: float | None) -> None:
        curves = analysis.curves
        self.x, self.choice = curves.x, analysis.choice(averages)
        self.given = exponent
        self.exponent = analysis(averages)[:, 0] if exponent is None else np.full(len(averages), exponent)
        self.s = self._scaled_lags(curves, averages, self.choice)
        self.shift = curves.log_waiting - mean_where(curves.log_waiting, self.choice.members)[:, None]
        # The pairs that the average of all has: a resample that lacks one has no spread.
        self.known = np.isfinite(curves.height(curves.mean.to_numpy()))

    @staticmethod
    def _scaled_lags(curves: AgingCurves, averages: Array, choice: AgingChoice) -> Array:
        """Return ln s between the mean ln t* at both ends of the range, shape (B, points)."""
        rising = Rising(curves.x, curves.height(averages))
        low, high = (mean_where(rising.crossing(e), choice.members) for e in (choice.low, choice.high))
        return np.asarray(low[:, None] + np.linspace(0, 1, _POINTS) * (high - low)[:, None])

    def squares(self, heights: Array, exponents: Array) -> Array:
        """Return S² at one μ for each of B, of heights of shape (B, waiting_time, lag)."""
        rows = np.arange(len(heights))[:, None]
        y = np.empty((*self.shift.shape, _POINTS))
        judged = np.zeros(y.shape, bool)
        for w in np.flatnonzero(self.choice.members.any(0)).tolist():
            lags = np.flatnonzero(self.known[w])
            if lags.size < 2:
                continue
            x = self.x[lags]
            wanted = self.s + (exponents * self.shift[:, w])[:, None]
            k = np.clip(np.searchsorted(x, wanted, side="right"), 1, lags.size - 1)
            part = (wanted - x[k - 1]) / (x[k] - x[k - 1])
            y[:, w] = (1 - part) * heights[rows, w, lags[k - 1]] + part * heights[rows, w, lags[k]]
            # To rounding: the ends of the range may be the ends of a curve.
            slack = 1e-9 * (1 + abs(x[-1]))
            inside = (wanted >= x[0] - slack) & (wanted <= x[-1] + slack)
            judged[:, w] = inside & self.choice.members[:, w, None]
        return self._mean_square(y, judged)

    def _mean_square(self, y: Array, judged: Mask) -> Array:
        share = np.ones(_POINTS)
        share[[0, -1]] = 0.5
        count = judged.sum(1)
        mean = np.where(judged, y, 0.0).sum(1) / np.maximum(count, 1)
        off = (np.where(judged, y - mean[:, None], 0.0) ** 2).sum(1)
        square = (off * share).sum(-1) * inverse((share * np.maximum(count - 1, 0)).sum(-1))
        part = count.sum(-1) * inverse(self.choice.members.sum(-1) * float(_POINTS))
        return np.where(part >= _KNOWN, square, np.nan)

    def lowest(self, heights: Array) -> Array:
        """Return the exponent of the smallest S², shape (B,); NaN at the ends of the range that is tried."""
        coarse = np.stack([self.squares(heights, np.full(len(heights), mu)) for mu in _TRIED], axis=-1)
        known = np.isfinite(coarse)
        at = _TRIED[np.where(known, coarse, np.inf).argmin(-1)]
        tried = at[:, None] + _FINE
        fine = np.stack([self.squares(heights, mu) for mu in tried.T], axis=-1)
        k = np.clip(np.where(np.isfinite(fine), fine, np.inf).argmin(-1), 1, _FINE.size - 2)
        before, here, after = (np.take_along_axis(fine, (k + d)[:, None], -1)[:, 0] for d in (-1, 0, 1))
        inside = (here <= before) & (here <= after) & (before + after > 2 * here)
        bend = np.where(inside, before - 2 * here + after, np.nan)
        best = tried[np.arange(len(tried)), k] + (before - after) / (2 * bend) * (_FINE[1] - _FINE[0])
        return np.where((best > _TRIED[0]) & (best < _TRIED[-1]), best, np.nan)


class CollapseJudge:
    """Function of averages: S² at all exponents of `_ABOUT`, the noise in each, and the best exponent."""

    def __init__(self, analysis: Analysis, exponent: float | None) -> None:
        self.analysis, self.given = analysis, exponent
        self.mean = analysis.curves.height(analysis.curves.mean.to_numpy())

    def __call__(self, averages: Array) -> Array:
        """Return these numbers, shape (B, numbers), of averages, shape (B, waiting_time, lag)."""
        compared = _Comparison(self.analysis, averages, self.given)
        heights = self.analysis.curves.height(averages)
        best = compared.lowest(heights)
        constant = (np.full(len(averages), mu) for mu in (0.0, 1.0))
        exponents = [compared.exponent, *constant, best]
        squares = [compared.squares(heights, mu) for mu in exponents]
        noise = [compared.squares(heights - self.mean, mu) for mu in exponents]
        return np.stack([*squares, *noise, best], axis=-1)


def _tabulate(squares: Resampled, error: Array, confidence: float, reason: str) -> xr.Dataset:
    """Return the spreads and the best exponent, with their errors and intervals."""
    count, degrees = len(_ABOUT), max(squares.samples - 1, 1)
    numbers: dict[str, list[float | None]] = {}
    noise = _noise(squares)
    for k, name in enumerate(_ABOUT):
        square = float(squares.value[k]) - (0.0 if math.isnan(noise[k]) else noise[k])
        low, high = (math.sqrt(max(e, 0.0)) if e == e else e for e in (square - error[k], square + error[k]))
        ends = (_root(float(e)) for e in interval(square, error[k], degrees, confidence))
        numbers[name] = [_root(square), float(high - low) / 2, *ends]
    best, of_best = float(squares.value[2 * count]), float(error[2 * count])
    numbers["exponent_best"] = [best, of_best, *map(float, interval(best, of_best, degrees, confidence))]
    numbers["spread_expected"] = [_root(noise[0]), None]
    if reason:
        numbers = {n: [None if v is None else math.nan for v in values] for n, values in numbers.items()}
    table = tabulate(numbers, xr.DataArray(0.0), _ABOUT | _BESIDE)
    if reason:
        table["spread"].attrs["reason"] = reason
    return table


def _noise(squares: Resampled) -> list[float]:
    """Return the part of each S² that is noise; NaN for a single sample."""
    noise = squares.again[:, len(_ABOUT) : 2 * len(_ABOUT)]
    factor = squares.samples / max(squares.samples - 1, 1)
    known = [column[np.isfinite(column)] for column in noise.T]
    return [factor * float(column.mean()) if column.size else math.nan for column in known]


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0)) if math.isfinite(square) else math.nan


def _describe(
    table: xr.Dataset,
    curves: AgingCurves,
    whole: _Comparison,
    between: tuple[float, float] | None,
    reason: str,
) -> xr.Dataset:
    """Add μ, waiting times, scaled lags and thresholds of the comparison."""
    table = table.assign_coords(waiting_time=curves.mean["waiting_time"])
    used = whole.choice.members[0] & (not reason)
    scaled = np.where(reason, math.nan, np.exp(whole.s[0, [0, -1]]))
    chosen = np.sort(curves.threshold([whole.choice.low[0], whole.choice.high[0]]))
    thresholds = chosen if between is None else np.asarray(between)
    table["exponent"] = ((), math.nan if reason else float(whole.exponent[0]), {"long_name": "exponent mu"})
    table["fitted"] = ("waiting_time", used, {"long_name": "whether the waiting time is judged"})
    for k, end in enumerate(("low", "high")):
        unit = {"units": curves.mean["lag"].attrs.get("units", "1")}
        table[f"scaled_lag_{end}"] = ((), scaled[k], {"long_name": f"{end} end of the scaled lags", **unit})
        unit = {"units": curves.values.attrs.get("units", "1")}
        table[f"threshold_{end}"] = ((), thresholds[k], {"long_name": f"{end} end of the thresholds", **unit})
    return table
