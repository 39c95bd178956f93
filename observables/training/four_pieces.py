"""The least-squares ramp with a knee: a level, two straight descents of different slope, a lower level."""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ..statistics import Array

#: Corners are tried at this many quantiles of the points; the search starts from the best few triples.
_QUANTILES, _STARTS = 14, 4


class Bent(NamedTuple):
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


def fit_bent(x: Array, y: Array, weights: Array, near: Bent | None = None) -> Bent | None:
    """Return the ramp with a knee that has the smallest Σ w (y − bent(x))².

    For given corners it is linear in its three heights. The corners are found by the simplex method from the
    best of the triples of quantiles, or from `near`: the minimum is a local one, the best of several.

    Parameters
    ----------
    x, y, weights : ndarray, shape (points,)
        x strictly ascending; all finite, weights > 0.
    near : Bent, optional
        Where to look, for data that differ little from those of `near`.

    Returns
    -------
    Bent or None
        None if there are too few points, or the best one does not descend twice.
    """
    if x.size < 6:
        return None
    root = np.sqrt(weights)
    total = float(np.sum(weights * (y - np.average(y, weights=weights)) ** 2))

    def heights(corners: Array) -> tuple[Array, float]:
        # Columns: what a unit of each height adds at every point.
        parts = np.stack([np.interp(x, corners, unit) for unit in np.eye(3)], 1)
        found = np.linalg.lstsq(parts * root[:, None], y * root, rcond=None)[0].astype(np.float64)
        return found, float(np.sum(weights * (y - parts @ found) ** 2))

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
    best = min(tried, key=lambda found: float(found.fun))
    (high, height, low), left = heights(best.x)
    if not (math.isfinite(left) and high > height > low and total > 0):
        return None
    begin, knee, end = (float(c) for c in best.x)
    return Bent(begin, knee, end, float(high), float(height), float(low), left / total)
