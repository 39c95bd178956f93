"""Two-time observables are taken at a fixed observation time t = t_w + lag, with t_w as the parameter."""

from __future__ import annotations

from itertools import compress

import numpy as np
import xarray as xr

from .pairs import StoredTimes, ordered
from .pieces import computed

#: Waiting times with a value at the observation time, at least: a slope needs them.
PAIRS = 3


def at_observation_time(values: xr.DataArray, observation_time: float) -> xr.DataArray:
    """Return a two-time observable at a fixed later time t = t_w + lag, with t_w the parameter.

    Parameters
    ----------
    values : DataArray
        Dimensions waiting_time, lag and any others.
    observation_time : float
        t > 0. A lag t − t_w that is in the file is taken as it is; between two others the value is on the
        straight line in ln(lag). C and χ then both move along the chord of their curve, so that a plot of one
        against the other is off by the second order only.

    Returns
    -------
    DataArray
        Dimensions of `values` without waiting_time: lag = t − t_w, ascending, for each waiting time before t
        with a value there, which stands as the coordinate waiting_time(lag). Of Dask if the values are, with
        the same bits; which have a value there is computed.

    Raises
    ------
    ValueError
        If fewer than three waiting times have a value there: no slope can be taken.
    """
    if not {"waiting_time", "lag"} <= set(values.dims):
        raise ValueError(f"dimensions {values.dims}: waiting_time and lag must be among them")
    if not (np.isfinite(observation_time) and observation_time > 0):
        raise ValueError(f"observation_time = {observation_time}: must be finite and > 0")
    values = ordered(ordered(values, "lag"), "waiting_time")
    waiting, lags = values["waiting_time"].to_numpy(), values["lag"].to_numpy()
    stored = StoredTimes(lags, "lag")
    taken, times = [], []
    for i in reversed(range(waiting.size)):
        lag = observation_time - float(waiting[i])
        if not lag > 0:
            continue
        curve, exact = values.isel(waiting_time=i, drop=True), stored.index(lag, lag)
        k = int(np.searchsorted(lags, lag))
        if exact is not None:
            value = curve.isel(lag=exact, drop=True)
        elif 0 < k < lags.size:
            share = np.log(lag / lags[k - 1]) / np.log(lags[k] / lags[k - 1])
            before, after = (curve.isel(lag=j, drop=True) for j in (k - 1, k))
            value = (1 - share) * before + share * after
        else:
            continue
        taken.append(value)
        times.append(float(waiting[i]))
    known = [bool(k) for k in computed([value.notnull().any() for value in taken])]
    taken, times = list(compress(taken, known)), list(compress(times, known))
    if len(taken) < PAIRS:
        raise ValueError(
            f"observation_time = {observation_time:g}: {len(taken)} waiting times have a pair (t_w, "
            f"t_w + lag) there, or lags on both sides of one; needed: {PAIRS} at least"
        )
    since = observation_time - np.array(times)
    along = xr.concat(taken, xr.DataArray(since, {"lag": since}, "lag", attrs=values["lag"].attrs))
    along = along.assign_coords(waiting_time=("lag", times, values["waiting_time"].attrs))
    return along.transpose(*(d for d in values.dims if d != "waiting_time")).assign_attrs(values.attrs)
