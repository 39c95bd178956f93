"""Averages over replicas and samples, with their standard errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Estimate(NamedTuple):
    """A mean and its standard error (NaN where there is a single independent value)."""

    mean: xr.DataArray
    error: xr.DataArray


def average(values: xr.DataArray) -> Estimate:
    """Average over replicas.

    Replicas of one quenched sample share its disorder and are not independent: the mean of each sample
    is one value, and the standard error is that of the samples' means. With a single sample the error is
    over its replicas, that is, for this sample only.

    Parameters
    ----------
    values : DataArray
        With dimension replica, and coordinate sample(replica) where samples are known.
    """
    alone, dim = _independent(values)
    count = alone.sizes[dim]
    mean = alone.mean(dim, keep_attrs=True)
    if count == 1:
        return Estimate(mean, xr.full_like(mean, np.nan))
    return Estimate(mean, alone.std(dim, ddof=1) / np.sqrt(count))


def _independent(values: xr.DataArray) -> tuple[xr.DataArray, str]:
    """Return the values that are independent of each other, and the dimension that counts them."""
    if "sample" in values.coords and np.unique(values["sample"]).size > 1:
        return values.groupby("sample").mean("replica"), "sample"
    return values, "replica"


def jackknife(function: Callable[..., Any], *values: xr.DataArray) -> tuple[Array, Array]:
    r"""Return a function of averages, and its standard error by leaving out each sample in turn.

    A function g of averages, such as a ratio or a fit, is not the average of the function: g is taken of
    the averages over all samples, which is off by O(1/n), not of each sample. With g₍ₖ₎ its value without
    sample k, the squared error is (n − 1)/n Σ_k (g₍ₖ₎ − mean of g₍ₖ₎)²; for a linear g this is the error of
    `average` (Efron 1982, The jackknife, the bootstrap and other resampling plans, ch. 3).

    Parameters
    ----------
    function : callable
        Of arrays without the dimension replica, one for each of `values`, to an array; its windows and other
        choices must not depend on what it is given.
    values : DataArray
        With dimension replica (without it, the error is NaN), of the same samples.

    Returns
    -------
    ndarray, ndarray
        Value and error; the error is NaN where there is a single independent value. Samples are those of
        `average`: replicas of one sample count once.
    """
    alone = [_independent(v if "replica" in v.dims else v.expand_dims("replica")) for v in values]
    arrays = [v.transpose(dim, ...).to_numpy() for v, dim in alone]
    counts = {a.shape[0] for a in arrays}
    if len(counts) > 1:
        raise ValueError(f"independent samples: {sorted(counts)}; needed: the same number in all arguments")
    n = counts.pop()
    found = [np.isfinite(a).sum(0) for a in arrays]
    total = [np.nansum(a, 0) for a in arrays]

    def without(k: int) -> Array:
        return np.asarray(
            function(
                *(
                    _ratio(t - np.nan_to_num(a[k]), c - np.isfinite(a[k]))
                    for a, t, c in zip(arrays, total, found, strict=True)
                )
            )
        )

    value = np.asarray(function(*(_ratio(t, c) for t, c in zip(total, found, strict=True))), dtype=float)
    if n == 1:
        return value, np.full_like(value, np.nan)
    left_out = np.array([without(k) for k in range(n)])
    return value, np.sqrt((n - 1) / n * np.sum((left_out - left_out.mean(0)) ** 2, 0))


def _ratio(total: Array, count: Any) -> Array:
    """Return total/count, NaN where nothing was counted."""
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def tabulate(
    found: Mapping[str, tuple[Array, Array | None]],
    like: xr.DataArray,
    about: Mapping[str, Mapping[str, Any]],
) -> xr.Dataset:
    """Return values, and their errors as `<name>_error`, on the dimensions of `like`; `about`: attributes."""
    coordinates = {d: like[d] for d in like.dims if d in like.coords}
    made = xr.Dataset(coords=coordinates)
    for name, (value, error) in found.items():
        attributes = {"units": "1", **about[name]}
        made[name] = (like.dims, value, attributes)
        if error is not None:
            made[f"{name}_error"] = (like.dims, error, {"long_name": f"error of {name}", "units": "1"})
    return made
