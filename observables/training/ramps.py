"""Ramps are fitted to sampled points here by least squares: a level, a descent, a lower level.

The descent of a `Ramp` is straight, and the fit exact. That of a `KneedRamp` has two straight parts of
different slope, which meet at the knee.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..fits.regression import inverse
from ..statistics import Array

#: Corners are tried at this many quantiles of the points; the search starts from the best few triples.
_QUANTILES, _STARTS = 14, 4


class Ramp(NamedTuple):
    """y = high up to x = begin, low from x = end on, straight between them.

    Attributes
    ----------
    begin, end : float
        begin < end, both within the range of the data.
    high, low : float
        high > low.
    unexplained : float
        Weighted sum of squared residuals, as a part of that about the mean: 0 for a perfect ramp, 1 for none.
    """

    begin: float
    end: float
    high: float
    low: float
    unexplained: float


class KneedRamp(NamedTuple):
    """y = high up to x = begin, height at x = knee, low from x = end on, straight between them.

    Attributes
    ----------
    begin, knee, end : float
        Ascending, within the range of the data.
    high, height, low : float
        Descending.
    unexplained : float
        Weighted sum of squared residuals, as a part of that about the mean.
    """

    begin: float
    knee: float
    end: float
    high: float
    height: float
    low: float
    unexplained: float


def fit_ramp(x: Array, y: Array, weights: Array) -> Ramp | None:
    """Return the descending ramp with the smallest Σ w (y − ramp(x))², the global minimum.

    For given corners the ramp is linear in its two levels. As a function of the corners the sum is smooth
    while each stays between two neighbouring x, so the minimum has every corner either at an x or inside an
    interval with zero derivative, and there the parts that meet at it are fitted independently (Hudson 1966,
    J. Am. Stat. Assoc. 61, 1097). All pairs of points and intervals are tried, each in closed form from
    running sums: O(points²) operations.

    Parameters
    ----------
    x, y, weights : ndarray, shape (points,)
        x strictly ascending; all finite, weights > 0.

    Returns
    -------
    Ramp or None
        None if no ramp that descends is a minimum: fewer than two points, or values that rise.
    """
    if x.size < 2:
        return None
    # About the mean: the running sums would lose digits.
    centre, level = (float(np.average(v, weights=weights)) for v in (x, y))
    x, y = x - centre, y - level
    total = float(np.sum(weights * y**2))
    forward, backward = _Sums(x, y, weights), _Sums(-x[::-1], y[::-1], weights[::-1])
    end, begin, low, high, gain = _corner_at_point(backward)
    mirrored = np.array([-begin, -end, high, low, gain])
    kinds = (_corners_between(forward), _corner_at_point(forward), mirrored, _corners_at_points(forward))
    tried = np.concatenate(kinds, axis=1)
    tried = tried[:, np.isfinite(tried).all(0) & (tried[2] > tried[3])]
    if not tried.shape[1]:
        return None
    begin, end, high, low, gain = tried[:, np.argmax(tried[4])]
    unexplained = max(0.0, 1 - float(gain) / total)
    return Ramp(begin + centre, end + centre, high + level, low + level, unexplained)


class _Sums:
    """Running sums of w, wx, wx², wy, wxy; the gain of a fit is Σwy² minus its squared residuals."""

    def __init__(self, x: Array, y: Array, w: Array) -> None:
        self.x, self.size = x, x.size
        terms = np.array([w, w * x, w * x * x, w * y, w * x * y])
        self.until = np.concatenate([np.zeros((5, 1)), np.cumsum(terms, axis=1)], axis=1)

    def between(self, start: NDArray[np.intp], stop: NDArray[np.intp] | int) -> Array:
        """Return the sums over start ≤ k < stop."""
        sums: Array = self.until[:, np.broadcast_to(stop, start.shape)] - self.until[:, start]
        return sums

    def about(self, start: NDArray[np.intp], stop: NDArray[np.intp]) -> Array:
        """Return Σ w h, w h², w h y over start ≤ k < stop, h = x − x[start]."""
        w, wx, wxx, wy, wxy = self.between(start, stop)
        at = self.x[start]
        return np.array([wx - at * w, wxx - 2 * at * wx + at**2 * w, wxy - at * wy])


def _corners_between(s: _Sums) -> Array:
    """Both corners inside intervals: mean of [0, i), line through [i, j), mean of [j, n)."""
    i, j = np.triu_indices(s.size, 2)
    i, j = i[i > 0], j[i > 0]
    first, middle, last = s.until[:, i], s.between(i, j), s.between(j, s.size)
    high, low = first[3] / first[0], last[3] / last[0]
    at, height = middle[1] / middle[0], middle[3] / middle[0]
    product = middle[4] - at * middle[3]
    slope = product * inverse(middle[2] - at * middle[1])
    begin, end = (at + (edge - height) * inverse(slope) for edge in (high, low))
    gain = high * first[3] + height * middle[3] + slope * product + low * last[3]
    ok = (begin >= s.x[i - 1]) & (begin <= s.x[i]) & (end >= s.x[j - 1]) & (end <= s.x[j])
    return np.array([begin, end, high, low, gain])[:, ok]


def _corner_at_point(s: _Sums) -> Array:
    """Begin at x[k], end inside an interval: level and slope from [0, j), mean of [j, n)."""
    k, j = np.triu_indices(s.size, 2)
    h, hh, hy = s.about(k, j)
    last = s.between(j, s.size)
    weight, sum_y = s.until[0, j], s.until[3, j]
    slope = (weight * hy - h * sum_y) * inverse(weight * hh - h * h)
    high, low = (sum_y - slope * h) / weight, last[3] / last[0]
    end = s.x[k] + (low - high) * inverse(slope)
    gain = high * sum_y + slope * hy + low * last[3]
    ok = (end >= s.x[j - 1]) & (end <= s.x[j])
    return np.array([s.x[k], end, high, low, gain])[:, ok]


def _corners_at_points(s: _Sums) -> Array:
    """Begin at x[k] and end at x[m]: only the two levels are free."""
    k, m = np.triu_indices(s.size, 1)
    width = s.x[m] - s.x[k]
    h, hh, hy = s.about(k, m)
    last, (weight, _, _, sum_y, _) = s.between(m, s.size), s.until[:, -1]
    # The part of the way down: 0 before x[k], 1 from x[m] on.
    down, squared, down_y = h / width + last[0], hh / width**2 + last[0], hy / width + last[3]
    drop = (weight * down_y - down * sum_y) * inverse(weight * squared - down * down)
    high = (sum_y - drop * down) / weight
    return np.array([s.x[k], s.x[m], high, high + drop, high * sum_y + drop * down_y])


def fit_kneed_ramp(x: Array, y: Array, weights: Array, near: KneedRamp | None = None) -> KneedRamp | None:
    """Return the ramp with a knee that has the smallest Σ w (y − ramp(x))².

    For given corners it is linear in its three heights. The corners are found by the simplex method from the
    best of the triples of quantiles, or from `near`: the minimum is a local one, the best of several.

    Parameters
    ----------
    x, y, weights : ndarray, shape (points,)
        x strictly ascending; all finite, weights > 0.
    near : KneedRamp, optional
        Where to look, for data that differ little from those of `near`.

    Returns
    -------
    KneedRamp or None
        None if there are too few points, or the best one does not descend twice.
    """
    if x.size < 6:
        return None
    root = np.sqrt(weights)
    total = float(np.sum(weights * (y - np.average(y, weights=weights)) ** 2))

    def heights(corners: Array) -> tuple[Array, float]:
        # A column holds the part of a unit of its height at every point.
        parts = np.stack([np.interp(x, corners, unit) for unit in np.eye(3)], 1)
        best = np.linalg.lstsq(parts * root[:, None], y * root, rcond=None)[0].astype(np.float64)
        return best, float(np.sum(weights * (y - parts @ best) ** 2))

    def residual(corners: Array) -> float:
        ascending = x[0] <= corners[0] < corners[1] < corners[2] <= x[-1]
        return heights(corners)[1] if ascending else math.inf

    if near is not None:
        starts = [np.array(near[:3])]
    else:
        places = np.interp(np.linspace(0, 1, _QUANTILES), np.linspace(0, 1, x.size), x)[1:-1]
        triples = [np.array(c) for c in combinations(places, 3)]
        starts = sorted(triples, key=residual)[:_STARTS]
    options = {"xatol": 1e-5, "fatol": 1e-9 * total, "maxiter": 600}
    from scipy.optimize import minimize

    tried = (minimize(residual, s, method="Nelder-Mead", options=options) for s in starts)
    best = min(tried, key=lambda minimum: float(minimum.fun))
    (high, height, low), left = heights(best.x)
    if not (math.isfinite(left) and high > height > low and total > 0):
        return None
    begin, knee, end = (float(c) for c in best.x)
    return KneedRamp(begin, knee, end, float(high), float(height), float(low), left / total)
