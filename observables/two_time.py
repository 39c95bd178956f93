"""Two-time observables from stored configurations, after the run; equal to those computed while running."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Array = NDArray[np.float64]


def msd(configuration: xr.DataArray, waiting_times: Any, lags: Any) -> xr.DataArray:
    """Mean square displacement Δ(t_w, t_w + t) = (1/M) Σ_i (x_i(t_w) − x_i(t_w + t))².

    Parameters
    ----------
    configuration : DataArray
        Dimensions time, replica, dof; may be lazy: one configuration is read at a time.
    waiting_times, lags : array_like, shape (waiting_time,) and (lag,)

    Returns
    -------
    DataArray
        Dimensions replica, waiting_time, lag; NaN where t_w or t_w + t was not stored.
    """
    return over_pairs(configuration, waiting_times, lags, lambda a, b: np.mean((a - b) ** 2, axis=1), "msd")


def correlation(configuration: xr.DataArray, waiting_times: Any, lags: Any) -> xr.DataArray:
    """Correlation C(t_w, t_w + t) = (1/M) Σ_i x_i(t_w) x_i(t_w + t); arguments as for `msd`."""
    return over_pairs(configuration, waiting_times, lags, lambda a, b: np.mean(a * b, axis=1), "correlation")


def over_pairs(
    stored: xr.DataArray,
    waiting_times: Any,
    lags: Any,
    pair: Callable[[Array, Array], Array],
    name: str,
) -> xr.DataArray:
    """Take a function of what is stored at t_w and at t_w + t, for every pair of times.

    Parameters
    ----------
    stored : DataArray
        Dimensions time, replica and one more; may be lazy: one time is read at a time.
    waiting_times, lags : array_like, shape (waiting_time,) and (lag,)
    pair : callable
        Two arrays of shape (R, size), at t_w and at t_w + t → shape (R,).
    name : str
        Name of the result.

    Returns
    -------
    DataArray
        Dimensions replica, waiting_time, lag; NaN where t_w or t_w + t was not stored.
    """
    x = stored.transpose("time", "replica", ...)
    times = x["time"].to_numpy()
    waiting, lag = np.asarray(waiting_times, dtype=float), np.asarray(lags, dtype=float)
    out = np.full((x.sizes["replica"], waiting.size, lag.size), np.nan)
    for i, start in enumerate(waiting):
        first = index_of(times, start)
        if first is None:
            continue
        reference = x[first].to_numpy()
        for j, t in enumerate(lag):
            last = index_of(times, start + t)
            if last is not None:
                out[:, i, j] = pair(reference, x[last].to_numpy())
    coordinates = {"replica": x["replica"], "waiting_time": waiting, "lag": lag}
    return xr.DataArray(out, coordinates, ("replica", "waiting_time", "lag"), name)


def index_of(times: Array, t: float) -> int | None:
    """Return the index of `t` in ascending `times`, to rounding; None if it is not there."""
    k = int(np.searchsorted(times, t - 1e-9 * max(abs(t), 1.0)))
    return k if k < times.size and abs(times[k] - t) <= 1e-9 * max(abs(t), 1.0) else None
