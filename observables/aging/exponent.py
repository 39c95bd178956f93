r"""Aging is measured by a threshold here: t*(t_w) with Δ(t_w, t_w + t*) = Δ*, and the μ of t* ~ t_w^μ.

μ = 1 is full (simple) aging, μ < 1 subaging (Herrera Segura, Montoya & Tapias 2022, arXiv:2209.02517:
0.709 ± 0.017 for small networks that learn MNIST), μ = 0 none. The threshold may be passed by any two-time
observable: displacements rise through Δ*, a correlation falls through C*. For spherical spins Δ = 2(1 − C),
and both say the same; for weights, whose length is not fixed, they do not.

The fit is of ln t* against ln t_w by least squares, every t_w with the same weight. Weights 1/σ² would be
best if the errors were all that keeps t* from a power and were independent. They are neither: the same
replicas give t* at every t_w, and μ is a property of many decades, which small σ at one end must not decide.

`choice` takes waiting times and threshold by no statistical error, so that μ tends to one number the more
samples there are. `exponent_error` has the error of μ; the whole analysis is repeated for every resample.

Values of a solution (the Cugliandolo-Kurchan equations) have no samples: `accuracy` is their numerical error.
That of ln t* is accuracy/(dΔ/d ln t) where the curve crosses, and a third of the change of ln t* if every
second lag is left out, since the error of straight pieces falls with the square of their length. That
of μ = Σ c_w ln t* is at most Σ |c_w| times these.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from ..fits.regression import inverse, three_points
from ..statistics import Array, Mask, check_confidence, interval, tabulate
from ..sufficiency import too_few
from .crossings import AgingCurves, Rising
from .exponent_error import QUANTITY, Analysis, ExponentParts, halves, parts, standard_error

METHOD = (
    "t*: first crossing of the threshold by the average over samples, straight in ln(value) (in the value, "
    "if it falls) against ln(lag); exponent: least squares on ln t* against ln t_w, equal weights, waiting "
    "times and threshold from the largest rectangle of both; _error: bootstrap over samples of the whole "
    "analysis, or the jackknife, if larger"
)
#: Name of t* in `sufficiency.LEAST`.
TIME = "relaxation_time"
#: Errors and interval of t* are those of its resamples: there are none if fewer than this part cross.
_REACHED = 0.95

_TIMES = {
    "relaxation_time": "lag t* at which the threshold is crossed",
    "relaxation_time_low": "lower end of the interval of t*",
    "relaxation_time_high": "upper end of the interval of t*",
    "reached": "part of the resamples in which the threshold is crossed",
}
_FIT = {
    "exponent": "exponent mu of t* ~ t_w^mu",
    "exponent_low": "lower end of the statistical interval of mu",
    "exponent_high": "upper end of the statistical interval of mu",
    "exponent_threshold_error": "error of mu from the choice of the threshold",
    "exponent_drift_error": "error of mu from its change with the waiting time",
    "exponent_total_error": "error of mu from statistics, threshold and drift",
    "exponent_scatter": "standard error of mu from the scatter of ln t* about the fit",
    "exponent_early": "mu of the first half of the waiting times",
    "exponent_late": "mu of the second half of the waiting times",
    "exponent_drift": "mu of the second half minus that of the first",
    "exponent_drift_statistical_error": "statistical error of exponent_drift",
    "prefactor": "factor of the power, t* at t_w = 1",
}


def relaxation_times(
    values: xr.DataArray,
    threshold: float,
    *,
    falling: bool = False,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    accuracy: xr.DataArray | float | None = None,
) -> xr.Dataset:
    """Return t*(t_w), the lag at which a two-time observable first crosses a threshold.

    Parameters
    ----------
    values : DataArray
        Dimensions waiting_time, lag, and replica where there is one: the average over replicas is taken
        first. NaN where a run did not go.
    threshold : float
        Δ* > 0 (or C*), in the unit of `values`.
    falling : bool
        False: the curve rises through the threshold, and ln Δ is interpolated linearly in ln t between the
        last lag before and the first one on or above. True: it falls through it (a correlation), and the
        value itself is interpolated.
    resamples, seed : int
        Resamples of the bootstrap over samples, and its seed (`statistics.bootstrap`; replicas of one sample
        count once).
    confidence : float
        Confidence of the interval.
    accuracy : DataArray or float, optional
        Numerical error of `values`, if they are a solution and no samples; its errors are then bounds.

    Returns
    -------
    Dataset
        By `waiting_time`, in the unit of the lag: relaxation_time, its standard error (that of ln t*, times
        t*), relaxation_time_low and _high (Student's interval of ln t*); `reached`, the part of the resamples
        that cross. t* is NaN where the threshold is not reached, and where the curve is on or above it at its
        first known lag already: the crossing is before that. Errors are NaN where less than 95 % of the
        resamples cross, as those are the fast ones, and for fewer samples than `sufficiency.LEAST` asks for.

    Raises
    ------
    ValueError
        If the dimensions are others, or an argument is out of range.
    """
    curves = AgingCurves(values, falling=falling)
    _check(resamples, confidence)
    curves.check(threshold)
    return _times(curves, threshold, resamples, confidence, seed, accuracy).assign_attrs(seed=seed)


def aging_exponent(
    values: xr.DataArray,
    threshold: float | None = None,
    *,
    falling: bool = False,
    waiting_times: tuple[float, float] = (0.0, math.inf),
    least: int = 4,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    accuracy: xr.DataArray | float | None = None,
) -> xr.Dataset:
    """Return the exponent μ of t* ~ t_w^μ with its errors, or why there is none.

    Parameters
    ----------
    values, falling, resamples, confidence, seed
        As for `relaxation_times`.
    threshold : float, optional
        By default it is chosen, with the waiting times, as `choice` says: anew in every resample. With a
        threshold the waiting times are those that cross it.
    waiting_times : (float, float)
        First and last to fit.
    least : int
        Waiting times that a fit needs, at least 2.
    accuracy : DataArray or float, optional
        Numerical error of `values`, of the same dimensions or one number for all: they are then a solution,
        such as that of the Cugliandolo-Kurchan equations (`msd_error` in its file), and no samples are asked
        for. Without it, and with the dimension replica, values are samples, be it a single one.

    Returns
    -------
    Dataset
        That of `relaxation_times`, `fitted(waiting_time)`, `local_exponent(waiting_time)`,
        d ln t*/d ln t_w by three points; and the scalars

        - `exponent`: μ; `exponent_error` is its statistical standard error, of the whole analysis (with
          `accuracy`: a bound of the numerical error), and [exponent_low, exponent_high] Student's interval.
        - `exponent_threshold_error`, `exponent_drift_error`, `exponent_total_error`: the other parts of the
          error of μ, and all three together; see `exponent_error`.
        - `exponent_scatter`: standard error of μ from the scatter of ln t* about the line, if that were
          independent at every t_w. NaN for two waiting times.
        - `exponent_early`, `exponent_late`, `exponent_drift`: μ of the first and of the second half of the
          waiting times (the middle one in both) and their difference: by how much μ is not yet a limit. Each
          has a statistical error; that of the drift is `exponent_drift_statistical_error`.
        - `prefactor`: A in t* = A t_w^μ.
        - `threshold`, `threshold_low`, `threshold_high`: Δ* (or C*), and the range that counts.
        - `resamples_lost`: resamples without a fit.

        With too few samples, or where the points miss the line (`exponent_error`), exponent, its errors and
        the prefactor are NaN, and the attribute `reason` of exponent says why; t*, local exponents and those
        of the halves are still there. Values without the dimension replica are taken as they are: without
        statistical, and hence without total error (NaN), unless there is an `accuracy`.

    Raises
    ------
    ValueError
        If the dimensions are others, or an argument is out of range.
    """
    if least < 2:
        raise ValueError(f"least = {least}: must be 2 or more (waiting times)")
    curves = AgingCurves(values, falling=falling)
    _check(resamples, confidence)
    levels: tuple[float, ...] = ()
    if threshold is not None:
        curves.check(threshold)
        levels = (float(curves.height(threshold)),)
    analysis = Analysis(curves, curves.chosen(waiting_times), levels, least)
    sampled, choice = "replica" in curves.values.dims, analysis.choice(curves.mean.to_numpy()[None])
    used, fit = choice.members[0], parts(analysis, resamples, seed)
    level = math.nan if not used.any() else float(curves.threshold(choice.centre[0]))
    level = level if threshold is None else float(threshold)
    reason = fit.fault(counted=sampled and accuracy is None)
    if not used.any():
        reason = _missing(curves, analysis, threshold)
    times = _times(curves, level, resamples, confidence, seed, accuracy)
    ends = np.sort(curves.threshold([choice.low[0], choice.high[0]])).tolist()
    exact = accuracy is not None or not sampled
    numbers = _numbers(curves, fit, times, used, ends, confidence, reason, exact)
    return times.merge(numbers, compat="override").assign_attrs(seed=seed)


def _check(resamples: int, confidence: float) -> None:
    if not resamples >= 2:
        raise ValueError(f"resamples = {resamples}: must be 2 or more")
    check_confidence(confidence)


def _missing(curves: AgingCurves, analysis: Analysis, threshold: float | None) -> str:
    """Say why there are no waiting times to fit."""
    least = analysis.least
    if threshold is None:
        plateau = curves.values.attrs.get("plateau")
        beyond = "" if plateau is None else f" beyond the plateau {float(plateau):.4g}"
        return f"no threshold{beyond} that {least} or more waiting times > 0 cross"
    times = Rising(curves.x, curves.height(curves.mean.to_numpy())).crossing(float(curves.height(threshold)))
    count = int((np.isfinite(times) & analysis.chosen).sum())
    return f"{count} waiting times reach the threshold {threshold:.4g}; needed: {least} or more"


def _times(
    curves: AgingCurves,
    threshold: float,
    resamples: int,
    confidence: float,
    seed: int,
    accuracy: xr.DataArray | float | None,
) -> xr.Dataset:
    """Return t* of every waiting time with its errors; NaN for the threshold NaN."""
    level = float(curves.height(threshold))

    def crossings(averages: Array) -> Array:
        return Rising(curves.x, curves.height(averages)).crossing(level)

    log_times = curves.log_times(threshold, resamples, seed).apply(lambda y: y[:, 0])
    known = np.isfinite(log_times.value) & (curves.waiting > 0)
    local = log_times.apply(lambda y: _local(curves.waiting, y, known))
    error, local_error = log_times.error(), local.error()
    if accuracy is not None:
        error = _numerical_error(curves, threshold, accuracy)
        ends = log_times.value - error, log_times.value + error
    else:
        if too_few(TIME, log_times.samples):
            error, local_error = np.full_like(error, np.nan), np.full_like(error, np.nan)
        else:
            error = standard_error(log_times, crossings, curves.values)
        error = np.where(log_times.share() >= _REACHED, error, np.nan)
        ends = interval(log_times.value, error, max(log_times.samples - 1, 1), confidence)
    times = np.exp(log_times.value)
    numbers = {
        "relaxation_time": (times, times * error),
        "relaxation_time_low": (np.exp(ends[0]), None),
        "relaxation_time_high": (np.exp(ends[1]), None),
        "reached": (log_times.share(), None),
        "local_exponent": (local.value, local_error),
    }
    unit = curves.mean["lag"].attrs.get("units", "1")
    about = {n: {"long_name": a, "units": "1" if n == "reached" else unit} for n, a in _TIMES.items()}
    about["local_exponent"] = {"long_name": "local exponent d ln t*/d ln t_w"}
    table = tabulate(numbers, curves.mean.isel(lag=0, drop=True).drop_attrs(), about)
    table["relaxation_time_error"].attrs["units"] = unit
    value_unit = curves.values.attrs.get("units", "1")
    table["threshold"] = ((), float(threshold), {"long_name": "threshold", "units": value_unit})
    counts = {"samples": log_times.samples, "resamples": len(log_times.again)}
    return table.assign_attrs(method=METHOD, confidence=confidence, **counts)


def _numerical_error(curves: AgingCurves, threshold: float, accuracy: xr.DataArray | float) -> Array:
    """Return a bound of the numerical error of ln t* of a solution, by waiting time."""
    given = _like(curves, accuracy).to_numpy()
    y, level = curves.height(curves.mean.to_numpy()), float(curves.height(threshold))
    value = np.abs(curves.mean.to_numpy())
    error = np.abs(given) if curves.falling else np.abs(given) * inverse(value)
    time = Rising(curves.x, y).crossing(level)
    steepness = np.diff(y, axis=-1) * inverse(np.diff(curves.x))
    after = np.clip(np.searchsorted(curves.x, time), 1, curves.x.size - 1)[:, None]
    near = np.fmax(*(np.take_along_axis(error, k, -1) for k in (after - 1, after)))
    moved = (near * inverse(np.abs(np.take_along_axis(steepness, after - 1, -1))))[:, 0]
    coarse = [Rising(curves.x[k::2], y[:, k::2]).crossing(level) for k in (0, 1)]
    return np.asarray(moved + np.fmax(*(np.abs(c - time) for c in coarse)) / 3)


def _like(curves: AgingCurves, accuracy: xr.DataArray | float) -> xr.DataArray:
    """Return the accuracy on the dimensions of the average."""
    if not isinstance(accuracy, xr.DataArray):
        return xr.full_like(curves.mean, float(accuracy))
    largest = accuracy.max("replica") if "replica" in accuracy.dims else accuracy
    return largest.broadcast_like(curves.mean).reindex_like(curves.mean).transpose(*curves.mean.dims)


def _numbers(
    curves: AgingCurves,
    fit: ExponentParts,
    times: xr.Dataset,
    used: Mask,
    ends: list[float],
    confidence: float,
    reason: str,
    exact: bool,
) -> xr.Dataset:
    """Return the scalars of the fit, and which waiting times are fitted."""
    x, value, error = curves.log_waiting, dict(fit.value), dict(fit.error)
    if exact:
        relative = (times["relaxation_time_error"] / times["relaxation_time"]).to_numpy()
        weights = {"exponent": used, **dict(zip(("early", "late"), halves(used), strict=True))}
        error = {name: _bound(x, part, relative) for name, part in weights.items()}
        error["drift"] = error["early"] + error["late"]
        error["at_one"] = math.nan
    mu, statistical = value["exponent"], error["exponent"]
    total = math.sqrt(statistical**2 + fit.threshold**2 + fit.drift**2)
    low, high = interval(mu, statistical, math.inf if exact else max(fit.samples - 1, 1), confidence)
    factor = math.exp(value["at_one"]) if math.isfinite(value["at_one"]) else math.nan
    scalars: dict[str, tuple[Any, Any]] = {
        "exponent": (mu, statistical),
        "exponent_low": (low, None),
        "exponent_high": (high, None),
        "exponent_threshold_error": (fit.threshold, None),
        "exponent_drift_error": (fit.drift, None),
        "exponent_total_error": (total, None),
        "exponent_scatter": (_scatter(x, np.log(times["relaxation_time"].to_numpy()), used), None),
        "prefactor": (factor, factor * error["at_one"]),
    }
    if reason:
        scalars = {n: (math.nan, None if e is None else math.nan) for n, (_, e) in scalars.items()}
    few = bool(too_few(QUANTITY, fit.samples)) and not exact
    for name in ("early", "late"):
        scalars[f"exponent_{name}"] = (value[name], math.nan if few else error[name])
    scalars["exponent_drift"] = (value["drift"], None)
    scalars["exponent_drift_statistical_error"] = (math.nan if few else error["drift"], None)
    table = tabulate(scalars, xr.DataArray(0.0), _FIT)
    if reason:
        table["exponent"].attrs["reason"] = reason
    table["fitted"] = ("waiting_time", used, {"long_name": "whether the waiting time is fitted"})
    unit = curves.values.attrs.get("units", "1")
    for end, name in zip(ends, ("first", "last"), strict=True):
        key = f"threshold_{'low' if name == 'first' else 'high'}"
        table[key] = ((), end, {"long_name": f"{name} threshold of the range that counts", "units": unit})
    table["resamples_lost"] = ((), fit.lost, {"long_name": "resamples without a fit"})
    return table


def _bound(x: Array, used: Mask, error: Array) -> float:
    """Return the largest error of a slope whose points are off by no more than `error`."""
    if used.sum() < 2:
        return math.nan
    off = x[used] - x[used].mean()
    return float(np.abs(off) @ error[used] / (off @ off))


def _scatter(x: Array, y: Array, used: Mask) -> float:
    """Return the standard error of the slope from the scatter of the points about their line."""
    if used.sum() < 3:
        return math.nan
    x, y = x[used] - x[used].mean(), y[used] - y[used].mean()
    slope = x @ y / (x @ x)
    return math.sqrt(float(np.sum((y - slope * x) ** 2)) / (x.size - 2) / float(x @ x))


def _local(waiting: Array, log_times: Array, known: Mask) -> Array:
    """Return d ln t*/d ln t_w at the waiting times that have a t*, but for the first and the last."""
    slope = np.full(log_times.shape, np.nan)
    if known.sum() >= 3:
        slope[:, known] = three_points(np.log(waiting[known]), log_times[:, known])
    return slope
