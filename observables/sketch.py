"""The msd of any pair of stored times is estimated from stored sketches (`record.sketch = k`).

A sketch s is k numbers that stand for the M degrees of freedom of a configuration x, and linear in x.
|s(t) − s(t')|²/M estimates the msd without bias, with a relative standard error of at most √(2/k); the
derivation stands in `langevin.record.sketch`. The error is that of the hash, one for the whole run: replicas
err independently where their displacements are uncorrelated, neighbouring lags of one replica err together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from . import pieces
from .pairs import over_pairs, time_axis
from .statistics import Array


def msd(sketch: xr.Dataset | xr.DataArray, waiting_times: Any, lags: Any) -> xr.DataArray:
    """Estimate the mean square displacement Δ(t_w, t_w + t) = (1/M) Σ_i (x_i(t_w) − x_i(t_w + t))².

    Parameters
    ----------
    sketch : Dataset or DataArray
        A result, or its variable `sketch`, dimensions configuration_time, replica, sketch_component. Up to
        `pieces.HELD` bytes of a file it is loaded whole; of Dask, the result is, too.
    waiting_times, lags : array_like, shape (waiting_time,) and (lag,)

    Returns
    -------
    DataArray
        Dimensions replica, waiting_time, lag; NaN where t_w or t_w + t was not stored. The attribute
        `relative_error` is the relative standard error of every value, at most √(2/k).

    Raises
    ------
    ValueError
        If there is no sketch.
    """
    stored = _sketch_of(sketch)
    dof = float(stored.attrs["degrees_of_freedom"])

    def pair(a: Array, b: Array) -> Array:
        return np.asarray(np.sum((a - b) ** 2, axis=1) / dof)

    whole = not (pieces.is_chunked(stored) or pieces.is_large(stored))
    estimate = over_pairs(stored.compute() if whole else stored, waiting_times, lags, pair, "msd")
    estimate.attrs = {
        "long_name": "mean square displacement per degree of freedom, estimated from sketches",
        "units": "1",
        "relative_error": float(np.sqrt(2 / stored.sizes["sketch_component"])),
    }
    return estimate


def _sketch_of(given: xr.Dataset | xr.DataArray) -> xr.DataArray:
    if isinstance(given, xr.Dataset):
        if "sketch" not in given:
            raise ValueError("no variable 'sketch' in this dataset; needed: a run with record.sketch = k > 0")
        given = given["sketch"]
    own = {"replica", "sketch_component"}
    if not own < set(given.dims) or len(given.dims) != 3 or "degrees_of_freedom" not in given.attrs:
        raise ValueError(
            f"{given.name!r} with dimensions {given.dims} is no sketch; needed: (configuration_time, "
            "replica, sketch_component), with the attribute degrees_of_freedom"
        )
    time_axis(given)
    return given
