r"""Aging by a threshold: t*(t_w) with Δ(t_w, t_w + t*) = Δ*, and the exponent μ of t* ~ t_w^μ.

μ = 1 is full (simple) aging, μ < 1 subaging (Herrera Segura, Montoya & Tapias 2022, arXiv:2209.02517:
0.709 ± 0.017 for small networks that learn MNIST), μ = 0 none. The threshold may be passed by any two-time
observable: displacements rise through Δ*, a correlation falls through C*. For spherical spins Δ = 2(1 − C),
and both say the same; of weights, whose length is not fixed, they do not.

The fit is of ln t* against ln t_w by least squares, every t_w with the same weight. Weights 1/σ² would be
best if the errors were all that keeps t* from a power and were independent. They are neither: the same
replicas give t* at every t_w, and μ is a property of many decades, which small σ at one end must not decide.
The error bar is right with any weights, since the whole fit is repeated for every resample of the samples.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from .crossings import Curves, Power, fit_power, fitted
from .regression import three_points
from .statistics import Array, Mask, Resampled, tabulate
from .thresholds import exponent_by_threshold

METHOD = (
    "t*: first crossing of the threshold by the average over samples, straight in ln(value) (in the value, "
    "if it falls) against ln(lag); exponent: least squares on ln t* against ln t_w, equal weights; _error: "
    "bootstrap over samples"
)

_TIMES = {
    "relaxation_time": "lag t* at which the threshold is crossed",
    "relaxation_time_low": "lower end of the interval of t*",
    "relaxation_time_high": "upper end of the interval of t*",
    "reached": "part of the resamples in which the threshold is crossed",
}
_FIT = {
    "exponent": "exponent mu of t* ~ t_w^mu",
    "exponent_low": "lower end of the interval of mu",
    "exponent_high": "upper end of the interval of mu",
    "exponent_scatter": "standard error of mu from the scatter of ln t* about the fit",
    "exponent_early": "mu of the first half of the waiting times",
    "exponent_late": "mu of the second half of the waiting times",
    "exponent_drift": "mu of the second half minus that of the first",
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
        Of the bootstrap over samples (`statistics.bootstrap`; replicas of one sample count once).
    confidence : float
        Of the interval.

    Returns
    -------
    Dataset
        By `waiting_time`, in the unit of the lag: relaxation_time, its standard error (that of ln t*, times
        t*), relaxation_time_low and _high; `reached`, the part of the resamples that cross. t* is NaN where
        the threshold is not reached, and where the curve is on or above it at its first known lag already:
        the crossing is before that. A single sample has no errors (NaN). Errors and intervals are of the
        resamples that cross: too small where `reached` is well below 1.

    Raises
    ------
    ValueError
        If the dimensions are others, or an argument is out of range.
    """
    curves = Curves(values, falling=falling)
    log_times = _log_times(curves, threshold, resamples, confidence, seed)
    return _tabulate_times(curves, log_times, threshold, confidence).assign_attrs(method=METHOD, seed=seed)


def aging_exponent(
    values: xr.DataArray,
    threshold: float | None = None,
    *,
    falling: bool = False,
    waiting_times: tuple[float, float] = (0.0, math.inf),
    least: int = 4,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Return the exponent μ of t* ~ t_w^μ, with what there is to judge it by.

    Parameters
    ----------
    values, falling, resamples, confidence, seed
        As for `relaxation_times`.
    threshold : float, optional
        By default the one that `thresholds.exponent_by_threshold` recommends, with its waiting times.
    waiting_times : (float, float)
        First and last to fit.
    least : int
        Waiting times that a fit needs, at least 2; with fewer μ is NaN.

    Returns
    -------
    Dataset
        What `relaxation_times` returns, `fitted(waiting_time)` (in range, > 0, and reached in 95 % of the
        resamples), `local_exponent(waiting_time)`, d ln t*/d ln t_w by three points; and the scalars

        exponent : μ, with standard error and interval [exponent_low, exponent_high] over samples.
        exponent_scatter : standard error of μ from the scatter of ln t* about the line, if that were
            independent at every t_w. All that a deterministic file, one replica, has; bending shows in it
            too. NaN for two waiting times.
        exponent_early, exponent_late, exponent_drift : μ of the first and of the second half of the waiting
            times (the middle one in both) and their difference: by how much μ is not yet a limit.
        prefactor : A in t* = A t_w^μ.
        threshold : Δ* (or C*).
        resamples_lost : resamples without a fit, as t* is not reached at one of the waiting times.

        Each with `<name>_error` over samples where it has one. Where there is no fit the attribute `reason`
        of exponent says why.

    Raises
    ------
    ValueError
        If the dimensions are others, or an argument is out of range.
    """
    if least < 2:
        raise ValueError(f"least = {least}: must be 2 or more (waiting times)")
    curves = Curves(values, falling=falling)
    allowed = curves.chosen(waiting_times)
    if threshold is None:
        scan = exponent_by_threshold(
            values, falling=falling, waiting_times=waiting_times, least=least, resamples=resamples, seed=seed
        )
        allowed, threshold = scan["fitted"].to_numpy(), float(scan["recommended"])
        if not math.isfinite(threshold):
            return _nothing(curves, confidence, seed, scan["recommended"].attrs["reason"])
    log_times = _log_times(curves, threshold, resamples, confidence, seed)
    used = fitted(log_times, allowed)
    reason = ""
    if used.sum() < least:
        reason = f"{used.sum()} waiting times reach the threshold {threshold:.4g}; needed: {least} or more"
        used = np.zeros_like(used)
    made = _tabulate_times(curves, log_times, threshold, confidence)
    return _report(made, curves, log_times, used, confidence, reason).assign_attrs(seed=seed)


def _log_times(curves: Curves, threshold: float, resamples: int, confidence: float, seed: int) -> Resampled:
    """Return ln t*, shape (waiting_time,)."""
    curves.check(threshold)
    if not resamples >= 2:
        raise ValueError(f"resamples = {resamples}: must be 2 or more")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: must be between 0 and 1")
    return curves.log_times(threshold, resamples, seed).apply(lambda y: y[:, 0])


def _tabulate_times(curves: Curves, log_times: Resampled, threshold: float, confidence: float) -> xr.Dataset:
    like = curves.mean.isel(lag=0, drop=True).drop_attrs()
    times, (low, high) = np.exp(log_times.value), log_times.interval(confidence)
    found = {
        "relaxation_time": (times, times * log_times.error()),
        "relaxation_time_low": (np.exp(low), None),
        "relaxation_time_high": (np.exp(high), None),
        "reached": (log_times.share(), None),
    }
    unit = curves.mean["lag"].attrs.get("units", "1")
    about = {n: {"long_name": a, "units": "1" if n == "reached" else unit} for n, a in _TIMES.items()}
    made = tabulate(found, like, about)
    made["relaxation_time_error"].attrs["units"] = unit
    value_unit = curves.values.attrs.get("units", "1")
    made["threshold"] = ((), float(threshold), {"long_name": "threshold", "units": value_unit})
    counts = {"samples": log_times.samples, "resamples": len(log_times.again)}
    return made.assign_attrs(method=METHOD, confidence=confidence, **counts)


def _report(
    made: xr.Dataset, curves: Curves, log_times: Resampled, used: Mask, confidence: float, reason: str
) -> xr.Dataset:
    """Add the fit to what is known of t*."""
    waiting = curves.waiting
    fit = fit_power(waiting, log_times, used)
    early, late = (fit_power(waiting, log_times, part).slope for part in _halves(used))
    drift = Resampled(late.value - early.value, late.again - early.again, fit.slope.samples)
    scalars = _scalars(fit, early, late, drift, confidence)
    about: dict[str, dict[str, Any]] = {name: {"long_name": meaning} for name, meaning in _FIT.items()}
    if reason:
        about["exponent"]["reason"] = reason
    made = made.merge(tabulate(scalars, xr.DataArray(0.0), about), compat="override")
    local = log_times.apply(lambda y: _local(waiting, np.where(used, y, np.nan), used))
    like = curves.mean.isel(lag=0, drop=True)
    labels = {"local_exponent": {"long_name": "local exponent d ln t*/d ln t_w"}}
    pair = {"local_exponent": (local.value, local.error())}
    made = made.merge(tabulate(pair, like, labels), compat="override")
    made["fitted"] = ("waiting_time", used, {"long_name": "whether the waiting time is fitted"})
    lost = int(np.isnan(fit.slope.again).sum())
    made["resamples_lost"] = ((), lost, {"long_name": "resamples without a fit"})
    return made


def _scalars(
    fit: Power, early: Resampled, late: Resampled, drift: Resampled, confidence: float
) -> dict[str, tuple[Array, Array | None]]:
    low, high = fit.slope.interval(confidence)
    factor = np.exp(fit.at_one.value)
    parts = {"exponent_early": early, "exponent_late": late, "exponent_drift": drift}
    return {
        "exponent": (fit.slope.value, fit.slope.error()),
        "exponent_low": (low, None),
        "exponent_high": (high, None),
        "exponent_scatter": (fit.scatter, None),
        **{name: (part.value, part.error()) for name, part in parts.items()},
        "prefactor": (factor, factor * fit.at_one.error()),
    }


def _halves(used: Mask) -> tuple[Mask, Mask]:
    """Return the first and the second half of the waiting times; of an odd number the middle is in both."""
    at, index = np.flatnonzero(used), np.arange(used.size)
    half = math.ceil(at.size / 2)
    return np.isin(index, at[:half]), np.isin(index, at[at.size - half :])


def _local(waiting: Array, log_times: Array, used: Mask) -> Array:
    """Return d ln t*/d ln t_w at the waiting times that are fitted, but for the first and the last."""
    slope = np.full(log_times.shape, np.nan)
    if used.sum() >= 3:
        slope[:, used] = three_points(np.log(waiting[used]), log_times[:, used])
    return slope


def _nothing(curves: Curves, confidence: float, seed: int, reason: str) -> xr.Dataset:
    """Return a dataset of NaN that says why."""
    size = curves.waiting.size
    log_times = Resampled(np.full(size, np.nan), np.empty((0, size)), 1)
    made = _tabulate_times(curves, log_times, math.nan, confidence)
    return _report(made, curves, log_times, np.full(size, False), confidence, reason).assign_attrs(seed=seed)
