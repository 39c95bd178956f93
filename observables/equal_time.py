r"""C(t, t), the correlation at equal times, follows from the two-time observables of a file.

The theorem at fixed t, R(t, t_w) = β ∂C(t, t_w)/∂t_w, integrates to χ(t, t_w) = β [C(t, t) − C(t, t_w)]: the
line of a plot of χ against C begins at C = C(t, t), not at 1, and moves with t where C(t, t) does. Divided by
C(t, t), at the later time, both are on the line (1 − C)/T at every t and t_w (Fielding & Sollich 2002, PRL
88, 050603). On a sphere C(t, t) = 1.

A file holds C and the msd Δ at lags t > 0. Their sum knows it,

    Δ(t_w, t_w + t) + 2 C(t_w, t_w + t) = C(t_w, t_w) + C(t_w + t, t_w + t),

and its limit at short lags is 2 C(t_w, t_w).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from . import pieces
from .pairs import check_same_axes, ordered
from .statistics import Array

#: How much longer than the first lag the second one is, at least, that the line to lag 0 goes through.
_LONGER = 2.0


def equal_time(correlation: xr.DataArray, msd: xr.DataArray) -> xr.Dataset:
    """Return C(t, t) at the waiting times and at the later times of all pairs.

    Parameters
    ----------
    correlation, msd : DataArray
        C and Δ per degree of freedom, Δ = C(t, t) + C(t_w, t_w) − 2C; dimension lag and any others, the same
        for both.

    Returns
    -------
    Dataset
        at_waiting, C(t_w, t_w): half of Δ + 2C on the straight line through the first known lag and the first
        that is twice as long, at lag 0: off by O(t²) of these lags. at_end, C(t_w + t, t_w + t): Δ + 2C less
        this. Each replica has its own. NaN where nothing is known.
    """
    check_same_axes(correlation, msd, ("correlation", "msd"))
    given, correlation = correlation["lag"], ordered(correlation, "lag")
    total = (ordered(msd, "lag") + 2 * correlation).transpose(..., "lag")
    lag = total["lag"].to_numpy()
    if pieces.is_chunked(total):
        begun = xr.apply_ufunc(
            at_waiting,
            total.chunk(lag=-1).variable,
            lag,
            input_core_dims=[["lag"], ["lag"]],
            dask="parallelized",
            output_dtypes=[np.float64],
        ).data
    else:
        begun = at_waiting(total.to_numpy(), lag)
    start = total.isel(lag=0, drop=True).copy(data=begun)
    about = {"long_name": "correlation at equal times", "units": correlation.attrs.get("units", "1")}
    end = (total - start).sel(lag=given)
    return xr.Dataset({"at_waiting": start.assign_attrs(about), "at_end": end.assign_attrs(about)})


def at_waiting(values: Array, lag: Array) -> Array:
    """Return half of the limit at short lags of Δ + 2C, shape (…, lag): C(t_w, t_w), shape (…).

    Parameters
    ----------
    values : ndarray, shape (…, lag)
    lag : ndarray, shape (lag,)
        > 0, ascending.
    """
    known = np.isfinite(values)
    first = np.argmax(known, axis=-1)
    further = known & (lag >= _LONGER * lag[first][..., None])
    second = np.where(further.any(-1), np.argmax(further, axis=-1), first)
    near, far = (np.take_along_axis(values, k[..., None], -1)[..., 0] for k in (first, second))
    reach = lag[second] - lag[first]
    share = np.divide(lag[first], reach, out=np.zeros(reach.shape), where=reach > 0)
    return np.asarray((near - (far - near) * share) / 2)
