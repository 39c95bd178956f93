r"""Exponents of power laws near 0 are estimated here, such as those of gaps and forces at jamming.

If P(x) ∝ x^a between two ends, u = ln(x/low)/L with L = ln(high/low) has the density ∝ e^{ku} on [0, 1], with
k = (1 + a) L. The likelihood of values in the window depends on their mean ū alone, and is largest where

    ū = m(k) = 1/(1 − e^{−k}) − 1/k,

which grows with k (Aban, Meerschaert & Panorska, J. Am. Stat. Assoc. 101, 270 (2006), for this truncated
law). The number of values and Σu of each sample are all that a resample needs. Values of one sample may
depend on each other: whole samples are drawn with replacement.

**The window is checked**: both halves of it, on a logarithmic scale, have an estimate each. Where they differ
by more than their errors the window holds more than one power law.

**A threshold** at which √E vanishes is found from runs above it (`vanishing`).
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from .statistics import Array, bootstrap

#: Bisections of k/(1 + |k|) in (−1, 1): to rounding.
_BISECTIONS = 52


def power_law(
    values: xr.DataArray, between: tuple[float, float], *, resamples: int = 1000, seed: int = 0
) -> xr.Dataset:
    """Return the exponent a of P(x) ∝ x^a in a window, by maximum likelihood.

    Parameters
    ----------
    values : DataArray
        With dimension replica, coordinate sample(replica) where samples are known, and one more. NaN: no
        value.
    between : tuple of float
        Ends of the window, 0 < low < high.
    resamples : int
    seed : int

    Returns
    -------
    Dataset
        `exponent`, `exponent_error` (standard error, of whole samples drawn with replacement; NaN for one),
        `count` of values in the window; `half_exponent`, `half_exponent_error` and `half_difference` (upper
        less lower half, over its error), with dimension `half`. NaN where the window holds no value. The
        attribute `samples` of errors is the number of independent samples.

    Raises
    ------
    ValueError
        If the window has no two ends above 0.
    """
    low, high = between
    if not 0 < low < high < np.inf:
        raise ValueError(f"between = {between}: must be two numbers, 0 < low < high")
    (other,) = [str(dim) for dim in values.dims if dim != "replica"]
    middle = float(np.sqrt(low * high))
    windows = [(low, high), (low, middle), (middle, high)]
    parts = [part for window in windows for part in _sufficient(values, other, *window)]
    found = bootstrap(
        lambda averages: _exponents(averages, windows),
        xr.concat(parts, "part", coords="minimal").transpose("replica", "part"),
        resamples=resamples,
        seed=seed,
    )
    error = found.error()
    halves = found.apply(lambda exponents: exponents[:, 2] - exponents[:, 1])
    about = {"samples": found.samples}
    return xr.Dataset(
        {
            "exponent": found.value[0],
            "exponent_error": ((), error[0], about),
            "count": int(parts[0].sum()),
            "half_exponent": ("half", found.value[1:]),
            "half_exponent_error": ("half", error[1:], about),
            "half_difference": float(halves.value / halves.error()),
        },
        {"half": ["lower", "upper"]},
        {"low": low, "high": high},
    )


def _sufficient(values: xr.DataArray, dim: str, low: float, high: float) -> list[xr.DataArray]:
    """Return how many values of each replica are in a window, and their Σu."""
    inside = (values >= low) & (values < high)
    place = np.log(values.where(inside, low) / low) / np.log(high / low)
    return [inside.sum(dim).astype(float), place.sum(dim)]


def _exponents(averages: Array, windows: list[tuple[float, float]]) -> Array:
    """Return exponents, shape (any number, windows), from averages of counts and Σu."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = averages[..., 1::2] / averages[..., ::2]
    lengths = np.array([np.log(high / low) for low, high in windows])
    return _steepness(means) / lengths - 1


def _steepness(mean: Array) -> Array:
    """Return the k with m(k) = mean, by bisection; NaN where mean is not in (0, 1)."""
    low, high = np.full(mean.shape, -1.0), np.full(mean.shape, 1.0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = _mean_place(middle / (1 - np.abs(middle))) > mean
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    middle = (low + high) / 2
    return np.where((mean > 0) & (mean < 1), middle / (1 - np.abs(middle)), np.nan)


def _mean_place(k: Array) -> Array:
    """Return m(k); near 0 it is 1/2 + k/12, where the closed form is a difference of large numbers."""
    small = np.abs(k) < 1e-4
    safe = np.clip(np.where(small, 1.0, k), -700, None)
    return np.where(small, 0.5 + k / 12, -1 / np.expm1(-safe) - 1 / safe)


def cumulative(values: xr.DataArray) -> xr.DataArray:
    """Return the share of all values that are ≤ x, at each of them; dimension and coordinate `x`, ascending.

    Parameters
    ----------
    values : DataArray
        NaN: no value. Those that are 0 or less are left out, but counted.
    """
    flat = values.to_numpy().ravel()
    ordered = np.sort(flat[np.isfinite(flat)])
    share = np.arange(1, ordered.size + 1) / max(ordered.size, 1)
    kept = ordered > 0
    return xr.DataArray(share[kept], {"x": ordered[kept]}, ["x"], "cumulative")


def vanishing(
    energy: xr.DataArray, along: str, *, by: ArrayLike | None = None, resamples: int = 2000, seed: int = 0
) -> xr.Dataset:
    """Return where √E of a sweep vanishes: where a straight line through √E comes to 0.

    For the energy of harmonic constraints, √E is linear above the threshold. Members whose energy is 0 in any
    sample are not above it, and must not be given.

    Parameters
    ----------
    energy : DataArray
        With dimensions replica and `along`, at least two members.
    along : str
        What was swept.
    by : array_like, shape (members,), optional
        In what √E is linear, in place of the swept number, growing with it. The threshold is in these units.
    resamples, seed : int

    Returns
    -------
    Dataset
        `threshold`, `threshold_error` (standard error, of samples drawn with replacement).

    Raises
    ------
    ValueError
        If there are fewer than two members, or an energy is not above 0.
    """
    root = energy.transpose("replica", along) ** 0.5
    if root.sizes[along] < 2 or not bool((energy > 0).all()):
        raise ValueError(f"energy: must have at least two members along {along}, all above 0 in every sample")
    x = np.asarray(energy[along] if by is None else by, dtype=float)
    offset = x - x.mean()

    def crossing(averages: Array) -> Array:
        slope = averages @ offset / (offset @ offset)
        found: Array = (x.mean() - averages.mean(axis=-1) / slope)[:, None]
        return found

    found = bootstrap(crossing, root, resamples=resamples, seed=seed)
    about = {"samples": found.samples}
    return xr.Dataset({"threshold": found.value[0], "threshold_error": ((), found.error()[0], about)})
