"""Two-time observables follow from stored configurations, after the run, and equal those of the run.

The attributes of the configurations describe them: with `species_counts` among them they are positions of
particles, and `observables.particles` defines msd and correlation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from . import particles
from .pairs import over_pairs


def msd(configuration: xr.DataArray, waiting_times: Any, lags: Any) -> xr.DataArray:
    """Mean square displacement Δ(t_w, t_w + t) = (1/M) Σ_i (x_i(t_w) − x_i(t_w + t))².

    For particles it is per particle, without the displacement of the centre of mass (`particles.compare`).

    Parameters
    ----------
    configuration : DataArray
        Dimensions configuration_time, replica, dof; may be lazy: one configuration is read at a time.
    waiting_times, lags : array_like, shape (waiting_time,) and (lag,)

    Returns
    -------
    DataArray
        Dimensions replica, waiting_time, lag; NaN where t_w or t_w + t was not stored.
    """
    if particles.are_in(configuration):
        return particles.two_time(configuration, waiting_times, lags, "msd")
    return over_pairs(configuration, waiting_times, lags, lambda a, b: np.mean((a - b) ** 2, axis=1), "msd")


def correlation(configuration: xr.DataArray, waiting_times: Any, lags: Any) -> xr.DataArray:
    """Correlation C(t_w, t_w + t) = (1/M) Σ_i x_i(t_w) x_i(t_w + t); arguments as for `msd`.

    For particles it is the self-intermediate scattering function at the first wavenumber
    (`particles.compare`).
    """
    if particles.are_in(configuration):
        return particles.two_time(configuration, waiting_times, lags, "correlation")
    return over_pairs(configuration, waiting_times, lags, lambda a, b: np.mean(a * b, axis=1), "correlation")
