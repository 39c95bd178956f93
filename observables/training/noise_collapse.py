r"""Displacements of many waiting times, divided by the gradient noise, are collapsed onto one curve here.

Stochastic gradient descent takes steps w ← w − α g_B, g_B the mean gradient of a batch of B examples. Its
variance per weight is D/B with the gradient noise

    D(t_w) = (1/M) Σ_i [⟨(∂_i ℓ)²⟩ − ⟨∂_i ℓ⟩²],

the average over examples at the weights of t_w (eq. 4 of Baity-Jesi et al. 2018, arXiv:1803.06969). Where the
mean gradient vanishes and the noise changes neither with time nor with the weights, t steps of independent
batches add up to

    Δ(t_w, t_w + t) = α² D(t_w) t/B:

diffusion, and Δ/D is one curve for all t_w. This is found at the bottom of the landscape, t_w > t₂ (Fig. 4);
in an under-parametrised network at short lags alone (Fig. 5). Batches drawn without replacement from P
examples have the variance (D/B)(P − B)/(P − 1), and those of one epoch are not independent: Δ lies lower.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..fits.regression import line, windows
from ..pairs import positive_lags, require_dimensions
from ..statistics import Array, Estimate, jackknife, replica_mean, tabulate
from .curve_families import CurveFamily
from .regimes import regimes

#: Waiting times until t₂, and after it.
GROUPS = ("before", "after")

_ABOUT = {
    "spread": "rms spread of ln(msd/D) over the waiting times, at equal lags",
    "spread_msd": "rms spread of ln(msd) over the waiting times, at equal lags",
    "ratio": "spread of ln(msd/D) over that of ln(msd)",
    "exponent": "power of the lag in msd",
    "prefactor": "geometric mean of msd/(D lag)",
}
_EXPECTED = "spread that the errors alone make of one curve"

METHOD = (
    "spread: root of the mean squared deviation of ln(msd/D) from its mean over the waiting times of a "
    "group, n - 1 of n counted at every lag with n > 1 curves, lags weighted by their share of ln(lag)"
)


def msd_over_noise(dataset: xr.Dataset) -> Estimate:
    """Return Δ(t_w, t_w + t)/D(t_w), the ratio of the averages over replicas, and its standard error.

    Parameters
    ----------
    dataset : Dataset
        With msd(replica, waiting_time, lag) and gradient_noise(replica, waiting_time); a noise without
        replica is that of all.

    Returns
    -------
    Estimate
        Dimensions (waiting_time, lag), at lags > 0; NaN where D is not positive, as when it has underflowed
        together with the loss. The error is over samples (jackknife). For a single replica it is that of
        `gradient_noise_error` alone where the dataset has it, without the scatter of Δ, else NaN.

    Raises
    ------
    ValueError
        If msd or gradient_noise is missing, or has other dimensions.
    """
    msd, noise = _both(dataset)
    value, error = jackknife(lambda d, n: np.exp(_log_ratio(d, n)), msd, noise)
    if "gradient_noise_error" in dataset and not np.isfinite(error).any():
        of_noise = dataset["gradient_noise_error"]
        error = value * (replica_mean(of_noise) / replica_mean(noise)).to_numpy()[:, None]
    like = replica_mean(msd).drop_attrs()
    return Estimate(like.copy(data=value), like.copy(data=error))


def collapse(
    dataset: xr.Dataset,
    *,
    t2: float | None = None,
    lags: tuple[float, float] = (0.0, math.inf),
    decades: float = 0.5,
) -> xr.Dataset:
    r"""Say how well dividing by the gradient noise brings Δ(t_w, t_w + t) of many t_w onto one curve.

    Two groups are judged, each by itself: t_w ≤ t₂ (`regime` "before") and t_w > t₂ ("after"). With y_w = Δ/D
    of curve w, and n curves of the group known at a lag, the spread is

        s² = Σ_t ω_t Σ_w (ln y_w − mean of ln y)² / Σ_t ω_t (n_t − 1),

    ω_t the share of the lag on the axis of ln t, lags with n < 2 left out: curves that differ by independent
    factors e^ε have s² = ⟨ε²⟩, whatever their number. 0.1 is a spread of 10 %.

    Parameters
    ----------
    dataset : Dataset
        As for `msd_over_noise`. The learning rate α and the batch size B are the attributes `learning_rate`
        and `batch_size` of gradient_noise, where there are.
    t2 : float, optional
        In the unit of time; by default that of `regimes`. If it is NaN, there is no group "after".
    lags : (float, float)
        First and last lag to judge.
    decades : float
        Window in log10 of the lag for the local slope.

    Returns
    -------
    Dataset
        By `waiting_time` and `lag`: msd_over_noise; local_exponent, d ln Δ/d ln t of the straight line
        through the window about each lag, NaN where that reaches beyond the data. after_t2(waiting_time). By
        `regime`, of the lags in question: curves, how many; spread, spread_msd (the same for Δ), ratio of the
        two, spread_by_lag; spread_expected (that which errors alone make of one curve, if those of different
        t_w are independent); exponent, the common power of t in Δ (curves may differ by factors); prefactor,
        the geometric mean of Δ/(D t); and prefactor_ratio, the same in units of α²/B, 1 for diffusion in
        frozen noise (attribute `reason` where α or B is missing or α changes). Each with its standard error
        over samples as `<name>_error` (jackknife; NaN for a single replica). NaN where a group has not enough
        curves.

    Raises
    ------
    ValueError
        As `msd_over_noise`; if `lags` or `decades` make no window; without energy, if t2 is not given.
    """
    if not 0 <= lags[0] < lags[1]:
        raise ValueError(f"lags = {lags}: must be (first, last) with 0 ≤ first < last")
    if not decades > 0:
        raise ValueError(f"decades = {decades}: must be > 0 (window in log10 of the lag)")
    if t2 is None:
        t2 = float(regimes(dataset)["t2"])
    scaled, (msd, noise) = msd_over_noise(dataset), _both(dataset)
    lag = msd["lag"].to_numpy().astype(float)
    mean, error = scaled.mean.to_numpy(), scaled.error.to_numpy()
    judged = np.isfinite(mean) & (lag >= lags[0]) & (lag <= lags[1])
    after = msd["waiting_time"].to_numpy() > t2
    groups = [CurveFamily(np.log(lag), judged & member[:, None]) for member in (~after, after)]

    table = _judgement(msd, noise, groups)
    expected = np.array([g.expected(error / mean) for g in groups])
    table["spread_expected"] = ("regime", expected, {"long_name": _EXPECTED, "units": "1"})
    table["curves"] = ("regime", [g.curves for g in groups], {"long_name": "waiting times in the group"})
    table = table.merge(_frozen_noise(table, dataset["gradient_noise"].attrs), compat="no_conflicts")
    table["msd_over_noise"], table["msd_over_noise_error"] = scaled
    table["after_t2"] = ("waiting_time", after, {"long_name": "whether the waiting time is after t2"})
    return table.merge(_local_exponent(msd, decades), compat="no_conflicts").assign_attrs(
        t2=t2, method=METHOD
    )


def _judgement(msd: xr.DataArray, noise: xr.DataArray, groups: Sequence[CurveFamily]) -> xr.Dataset:
    """Return the numbers of `_ABOUT` by regime, and the spread at each lag."""

    def quality(d: Array, n: Array) -> Array:
        log_d, log_y = _log_ratio(d, np.ones_like(n)), _log_ratio(d, n)
        return np.array([g.quality(log_d, log_y) for g in groups]).T

    values, errors = jackknife(quality, msd, noise)
    regime = xr.DataArray(
        list(GROUPS), dims="regime", attrs={"long_name": "waiting times until t2, after t2"}
    )
    by_group = xr.DataArray(np.zeros(2), {"regime": regime}, ("regime",))
    table = tabulate({n: (values[k], errors[k]) for k, n in enumerate(_ABOUT)}, by_group, _ABOUT)
    by_lag = by_group.expand_dims(lag=msd["lag"], axis=1)
    spread = jackknife(lambda d, n: np.array([g.by_lag(_log_ratio(d, n)) for g in groups]), msd, noise)
    about = {"spread_by_lag": "spread of ln(msd/D) over the waiting times at each lag"}
    return table.merge(tabulate({"spread_by_lag": spread}, by_lag, about), compat="no_conflicts")


def _local_exponent(msd: xr.DataArray, decades: float) -> xr.Dataset:
    """Return d ln Δ/d ln t in windows of the lag."""
    mean = replica_mean(msd)
    x = np.log(mean["lag"].to_numpy().astype(float))
    known = np.isfinite(_log_ratio(mean.to_numpy(), np.ones(mean.shape[0])))
    inside, full = windows(x, known, decades * math.log(10) / 2)

    def slope(d: Array) -> Array:
        log_d = _log_ratio(d, np.ones(d.shape[0]))
        return line(x, log_d[:, None, :], inside)[0]

    value, error = (np.where(full, part, np.nan) for part in jackknife(slope, msd))
    about = {"local_exponent": "local power d ln(msd)/d ln(lag)"}
    return tabulate({"local_exponent": (value, error)}, mean, about)


def _frozen_noise(table: xr.Dataset, attributes: Mapping[str, Any]) -> xr.Dataset:
    """Return the prefactor in units of α²/B, NaN where one of these is not known."""
    missing = [name for name in ("learning_rate", "batch_size") if name not in attributes]
    scale = math.nan
    if not missing:
        scale = float(attributes["batch_size"]) / float(attributes["learning_rate"]) ** 2
    label = "prefactor over that of diffusion in frozen noise, learning_rate^2/batch_size"
    about = {"prefactor_ratio": {"long_name": label}}
    if missing:
        reason = f"gradient_noise has no attribute {', '.join(missing)}"
        if "rate_factors" in attributes:
            reason = "parameters differ in their learning rates"
        if "optimiser" in attributes:
            reason = f"the steps of {attributes['optimiser']} are not the learning rate times a gradient"
        if "schedule" in attributes:
            reason = f"the learning rate is not constant (schedule {attributes['schedule']})"
        about["prefactor_ratio"]["reason"] = reason
    pair = (scale * table["prefactor"].to_numpy(), scale * table["prefactor_error"].to_numpy())
    return tabulate({"prefactor_ratio": pair}, table["prefactor"], about)


def _log_ratio(msd: Array, noise: Array) -> Array:
    """Return ln(Δ/D), shape (waiting_time, lag); NaN where one of them is not positive."""
    noise = noise[:, None]
    good = (msd > 0) & (noise > 0)
    ratio = np.divide(msd, noise, out=np.full(msd.shape, np.nan), where=good)
    return np.log(ratio)


def _both(dataset: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return msd at lags > 0 and gradient noise, both with a replica or both without."""
    dims = {"msd": ("lag", "waiting_time"), "gradient_noise": ("waiting_time",)}
    for name, wanted in dims.items():
        if name not in dataset:
            raise ValueError(f"no {name} in the dataset")
        require_dimensions(dataset[name], *wanted, of=f" of {name}")
    msd, noise = (dataset[name].transpose("replica", ..., missing_dims="ignore") for name in dims)
    msd = positive_lags(msd)
    if "replica" in msd.dims and "replica" not in noise.dims:
        noise = noise.broadcast_like(msd.isel(lag=0, drop=True)).transpose("replica", "waiting_time")
    elif "replica" in noise.dims and "replica" not in msd.dims:
        noise = replica_mean(noise)
    return msd, noise
