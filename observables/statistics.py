"""Averages over replicas and samples, with their standard errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr


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
    if "sample" in values.coords and np.unique(values["sample"]).size > 1:
        independent = values.groupby("sample").mean("replica")
        dim = "sample"
    else:
        independent, dim = values, "replica"
    count = independent.sizes[dim]
    mean = independent.mean(dim, keep_attrs=True)
    if count == 1:
        return Estimate(mean, xr.full_like(mean, np.nan))
    return Estimate(mean, independent.std(dim, ddof=1) / np.sqrt(count))
