"""Functions of what is stored at two times, for every pair of a waiting time and a lag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Array = NDArray[np.float64]


def over_pairs(
    stored: xr.DataArray,
    waiting_times: Any,
    lags: Any,
    pair: Callable[[Array, Array], Array],
    name: str,
    further: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Take a function of what is stored at t_w and at t_w + t, for every pair of times.

    Parameters
    ----------
    stored : DataArray
        Dimensions time, replica and one more; may be lazy: one time is read at a time.
    waiting_times, lags : array_like, shape (waiting_time,) and (lag,)
    pair : callable
        Two arrays of shape (R, size), at t_w and at t_w + t → shape (R, …).
    name : str
        Name of the result.
    further : mapping, optional
        Further dimensions of the result, in the order of the axes that `pair` returns → their coordinates.

    Returns
    -------
    DataArray
        Dimensions replica, waiting_time, lag, …; NaN where t_w or t_w + t was not stored.
    """
    x = stored.transpose("time", "replica", ...)
    further = {} if further is None else further
    times = x["time"].to_numpy()
    waiting, lag = np.asarray(waiting_times, dtype=float), np.asarray(lags, dtype=float)
    out = np.full((x.sizes["replica"], waiting.size, lag.size, *map(len, further.values())), np.nan)
    for i, start in enumerate(waiting):
        first = index_of(times, start)
        if first is None:
            continue
        reference = x[first].to_numpy()
        for j, t in enumerate(lag):
            last = index_of(times, start + t)
            if last is not None:
                out[:, i, j] = pair(reference, x[last].to_numpy())
    coordinates = {"replica": x["replica"], "waiting_time": waiting, "lag": lag, **further}
    return xr.DataArray(out, coordinates, ("replica", "waiting_time", "lag", *further), name)


def index_of(times: Array, t: float) -> int | None:
    """Return the index of `t` in ascending `times`, to rounding; None if it is not there."""
    k = int(np.searchsorted(times, t - 1e-9 * max(abs(t), 1.0)))
    return k if k < times.size and abs(times[k] - t) <= 1e-9 * max(abs(t), 1.0) else None
