r"""Curves of different systems come on one axis when each is divided by a scale of its own.

Lengths and energies of a glass and of a network have nothing in common but this: both have a start, an end,
and a time t_w at which one begins to watch. So

    e(t) = [E(t) − E_∞] / [E(t_0) − E_∞]        falls from 1 to 0,
    c    = C(t_w, t_w + t) / C(t_w, t_w)        falls from 1, to 0 where memory is lost,
    δ    = Δ(t_w, t_w + t) / Δ(t_w, ∞)          rises from 0, to 1 where memory is lost,

with Δ(t_w, ∞) = C(t_w, t_w) + C(∞, ∞), the msd of two configurations of these lengths that have nothing in
common, for Δ(t_w, t') = C(t_w, t_w) + C(t', t') − 2C(t_w, t'). On a sphere of radius √N it is 2. Particles
that diffuse have no such limit, and no C that belongs to Δ: there is

    Δ(t_w, t_w + t) / Δ(t_w, 2t_w),

1 at t = t_w. It needs no C at all, and is one function of t/t_w for all t_w where aging is simple,
Δ = f(t/t_w).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from . import clocks
from .equal_time import at_waiting
from .pairs import ROUNDING, check_same_axes, positive_lags, require_dimensions
from .statistics import Array, Estimate, jackknife, sample_count


def energy_fraction(energy: xr.DataArray, start: float, limit: float) -> xr.DataArray:
    """Return (E − E_∞)/(E₀ − E_∞), the part of the descent that is still to come.

    Parameters
    ----------
    energy : DataArray
        Any dimensions.
    start, limit : float
        E₀ and E_∞, in the unit of the energy; not the same. E₀ may be the lower one, of what is heated.

    Returns
    -------
    DataArray
        Without unit; 1 at E₀, 0 at E_∞.
    """
    if not (np.isfinite(start) and np.isfinite(limit) and start != limit):
        raise ValueError(f"start = {start}, limit = {limit}: must be two finite energies that differ")
    about = {"long_name": "part of the descent still to come", "units": "1"}
    return ((energy - limit) / (start - limit)).assign_attrs(about)


def half_time(energy: xr.DataArray, start: float, limit: float) -> float:
    """Return the time τ₀ at which the mean energy has made half of its way from E₀ to E_∞.

    Parameters
    ----------
    energy : DataArray, shape (replica, time)
    start, limit : float
        As for `energy_fraction`.

    Returns
    -------
    float
        On the straight line between the two measurements around it; of harmonic oscillators of stiffness k
        (ln 2)/(2k). NaN where half of the way is not made, or is made at the first time.
    """
    passed = clocks.age_at(energy_fraction(energy, start, limit), 0.5)
    return passed if passed > 0 else np.nan


def correlation_fraction(correlation: xr.DataArray, msd: xr.DataArray) -> Estimate:
    """Return C(t_w, t_w + t)/C(t_w, t_w), with C(t_w, t_w) as `equal_time` finds it.

    Parameters
    ----------
    correlation, msd : DataArray
        C and Δ per degree of freedom, Δ = C(t, t) + C(t_w, t_w) − 2C; dimensions waiting_time, lag, and
        replica where there is one.

    Returns
    -------
    Estimate
        The ratio of averages and its standard error by the jackknife, dimensions waiting_time and lag.
    """

    def ratio(c: Array, delta: Array, lag: Array, _: Array) -> Array:
        return np.asarray(c / at_waiting(delta + 2 * c, lag)[:, None])

    return _of_averages(ratio, correlation, msd)


def msd_fraction(msd: xr.DataArray, correlation: xr.DataArray) -> Estimate:
    """Return Δ(t_w, t_w + t)/Δ(t_w, ∞), Δ(t_w, ∞) = C(t_w, t_w) + C(T, T), with T the last time reached.

    Parameters
    ----------
    msd, correlation : DataArray
        As for `correlation_fraction`.

    Returns
    -------
    Estimate
        The ratio of averages and its standard error by the jackknife, dimensions waiting_time and lag.
    """

    def ratio(delta: Array, c: Array, lag: Array, waiting: Array) -> Array:
        total = delta + 2 * c
        begun = at_waiting(total, lag)
        later = np.where(np.isfinite(total), waiting[:, None] + lag, -np.inf)
        last = np.unravel_index(np.argmax(later), later.shape)
        return np.asarray(delta / (begun + total[last] - begun[last[0]])[:, None])

    return _of_averages(ratio, msd, correlation)


def msd_over_waiting(msd: xr.DataArray) -> Estimate:
    """Return Δ(t_w, t_w + t)/Δ(t_w, 2t_w).

    Parameters
    ----------
    msd : DataArray
        Dimensions waiting_time, lag, and replica where there is one.

    Returns
    -------
    Estimate
        The ratio of averages and its standard error by the jackknife, dimensions waiting_time and lag; both
        NaN of waiting times whose lags do not reach t_w, or begin after it. Between lags Δ(t_w, 2t_w) is on
        the straight line in ln Δ and ln t.
    """

    def ratio(delta: Array, lag: Array, waiting: Array) -> Array:
        doubled = [_at(w, lag, row) for w, row in zip(waiting, delta, strict=True)]
        return np.asarray(delta / np.array(doubled)[:, None])

    return _of_averages(ratio, msd)


def _at(t: float, lag: Array, row: Array) -> float:
    """Return Δ at a lag, on the straight line in logarithms; NaN outside of the lags."""
    known = np.isfinite(row) & (row > 0)
    if not (t > 0 and known.any()):
        return np.nan
    x = np.log(lag[known])
    # A lag that is t_w to rounding is t_w.
    at = float(np.log(t))
    inner = min(max(at, x[0]), x[-1])
    if not np.isclose(at, inner, rtol=0, atol=ROUNDING):
        return np.nan
    return float(np.exp(np.interp(inner, x, np.log(row[known]))))


def _of_averages(ratio: Callable[..., Array], *values: xr.DataArray) -> Estimate:
    """Return a ratio of averages over replicas, of arrays (waiting_time, lag), and its error."""
    require_dimensions(values[0], "waiting_time", "lag")
    for other in values[1:]:
        check_same_axes(values[0], other, ("correlation", "msd"))
    given = [positive_lags(v) for v in values]
    lag, waiting = (given[0][name] for name in ("lag", "waiting_time"))
    times = lag.to_numpy().astype(float), waiting.to_numpy().astype(float)
    value, error = jackknife(lambda *arrays: ratio(*arrays, *times), *given)
    axes: Any = {"waiting_time": waiting.variable, "lag": lag.variable}
    mean = xr.DataArray(value, axes, ("waiting_time", "lag"), attrs={"units": "1"})
    return Estimate(mean, mean.copy(data=error).assign_attrs(samples=sample_count(given[0])))
