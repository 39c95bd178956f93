r"""A ratio u/v of two correlated noisy numbers has an interval that holds it, also where v may be 0.

Fieller's theorem (Fieller 1954, J. R. Stat. Soc. B 16, 175): for the true ratio q the number u − q v has mean
0 and the variance σ_uu − 2q σ_uv + q² σ_vv. The ratios that a t-test at this level does not refuse,

    (u − q v)² ≤ t² (σ_uu − 2q σ_uv + q² σ_vv),

are with a = v² − t² σ_vv, b = u v − t² σ_uv, c = u² − t² σ_uu those with a q² − 2b q + c ≤ 0: an interval
where v differs from 0 (a > 0; q = u/v is in it, so that b² ≥ a c), else all but an open interval, or every
number. For normal u and v it covers exactly, however small v is; u/v ± σ does not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..statistics import Array, Mask


class RatioCovariance(NamedTuple):
    """σ_uu, σ_uv, σ_vv of two numbers."""

    uu: Array
    uv: Array
    vv: Array

    @classmethod
    def polarised(cls, u: Array, v: Array, both: Array) -> RatioCovariance:
        """Return it from standard errors of u, v and u + v: a jackknife error is the root of a form."""
        return cls(u**2, (both**2 - u**2 - v**2) / 2, v**2)

    def of(self, q: Array) -> Array:
        """Return the variance of u − q v."""
        return np.asarray(np.maximum(self.uu - 2 * q * self.uv + q**2 * self.vv, 0.0))


def fieller(u: Array, v: Array, spread: RatioCovariance, t: Array | float) -> tuple[Array, Array, Mask]:
    """Return the set of ratios u/v that agree with the data to t standard errors.

    Returns
    -------
    low, high : ndarray
        Its ends, where `bounded`. Else the set is all but the numbers between them; (NaN, NaN): all numbers.
    bounded : ndarray of bool
    """
    a, b, c = v**2 - t**2 * spread.vv, u * v - t**2 * spread.uv, u**2 - t**2 * spread.uu
    with np.errstate(divide="ignore", invalid="ignore"):
        # Rounding may take the root below 0 where the interval is a point.
        root = np.sqrt(np.where(a > 0, np.maximum(b * b - a * c, 0.0), b * b - a * c))
        ends = np.sort([(b - root) / a, (b + root) / a], axis=0)
    bounded: Mask = np.asarray(a > 0)
    return ends[0], ends[1], bounded


def within(
    u: Array,
    v: Array,
    spread: RatioCovariance,
    t: Array | float,
    allowed: tuple[Array | float, Array | float],
) -> tuple[Array, Array]:
    """Return the smallest interval that holds all ratios of Fieller's set which are allowed.

    Where none is allowed, it is Fieller's own interval, outside of the range; if that has none, the whole
    range.
    """
    low, high, bounded = fieller(u, v, spread, t)
    least, most = (np.broadcast_to(np.asarray(end, dtype=float), low.shape) for end in allowed)
    everything = ~bounded & np.isnan(low)
    below, above = everything | (~bounded & (low >= least)), everything | (~bounded & (high <= most))
    # The ends of the allowed interval within two rays.
    first = np.where(below, least, np.maximum(high, least))
    last = np.where(above, most, np.minimum(low, most))
    neither = ~bounded & ~below & ~above
    rays = np.where(neither, least, first), np.where(neither, most, last)
    outside = (high < least) | (low > most)
    cut = np.where(outside, low, np.maximum(low, least)), np.where(outside, high, np.minimum(high, most))
    known = np.isfinite(u) & np.isfinite(v) & np.isfinite(spread.uu + spread.vv) & np.isfinite(t)
    ends = [np.where(known, np.where(bounded, c, r), np.nan) for c, r in zip(cut, rays, strict=True)]
    return ends[0], ends[1]


def likeliest(
    u: Array, v: Array, spread: RatioCovariance, allowed: tuple[Array | float, Array | float]
) -> tuple[Array, Array]:
    """Return the allowed ratio that agrees best with the data, and its standard error.

    It is u/v, or the end at which (u − q v)²/⟨(u − q v)²⟩ is smallest: between its one zero and its one
    maximum that is monotonic. The error is √(σ_uu − 2q σ_uv + q² σ_vv)/|v|: of use where it is small against
    the interval that is allowed, and else large, as it should be.
    """
    least, most = (np.broadcast_to(np.asarray(end, dtype=float), np.shape(u)) for end in allowed)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = u / v
        off = [(u - q * v) ** 2 / spread.of(q) for q in (least, most)]
        best = np.where(off[0] <= off[1], least, most)
        value = np.where((ratio >= least) & (ratio <= most), ratio, best)
        return value, np.sqrt(spread.of(value)) / np.abs(v)
