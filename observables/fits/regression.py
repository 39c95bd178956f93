"""Slopes of sampled curves are taken here, of three points or of straight lines. NaN where there is none."""

from __future__ import annotations

import numpy as np

from ..statistics import Array, Mask


def three_points(x: Array, y: Array) -> Array:
    """Return dy/dx of the parabola through each point (last axis) and its neighbours; NaN at the ends."""
    x = np.broadcast_to(x, np.shape(y))
    slope = np.full(np.shape(y), np.nan)
    step = np.diff(x)
    secant = np.diff(y) * inverse(step)
    before, after = step[..., :-1], step[..., 1:]
    slope[..., 1:-1] = (secant[..., :-1] * after + secant[..., 1:] * before) * inverse(before + after)
    return slope


def near(x: Array, known: Mask, reach: float) -> Mask:
    """Say which known points (last axis) lie within `reach` in x of each known point (axis before)."""
    with np.errstate(invalid="ignore"):
        # To rounding: the ends of a window are points of the grid as often as not.
        within: Mask = np.abs(x[..., :, None] - x[..., None, :]) <= reach * (1 + 1e-9)
    return within & known[..., None, :] & known[..., :, None]


def windows(x: Array, known: Mask, reach: float) -> tuple[Mask, Mask]:
    """Say which known points lie within `reach` of each, and around which points such a window is whole.

    It is whole if it does not go beyond the known points, and holds three of them.

    Parameters
    ----------
    x : ndarray, shape (points,)
    known : ndarray of bool, shape (..., points)
    reach : float
    """
    inside = near(np.where(known, x, np.nan), known, reach)
    first = np.where(known, x, np.inf).min(-1, keepdims=True)
    last = np.where(known, x, -np.inf).max(-1, keepdims=True)
    # To rounding, as in `near`.
    least = reach * (1 - 1e-9)
    whole: Mask = known & (x - first >= least) & (last - x >= least) & (inside.sum(-1) >= 3)
    return inside, whole


def mean_where(values: Array, chosen: Mask) -> Array:
    """Return the mean over the chosen points of the last axis; NaN where none is."""
    return np.where(chosen, values, 0.0).sum(-1) * inverse(chosen.sum(-1).astype(float))


def line(x: Array, y: Array, chosen: Mask) -> tuple[Array, Array, Array]:
    """Return slope and centre (x, y) of the least-squares line through the chosen points of the last axis."""
    x, y = (np.where(chosen, v, 0.0) for v in (x, y))
    count = inverse(chosen.sum(-1).astype(float))
    centre, height = x.sum(-1) * count, y.sum(-1) * count
    # About the centre: the difference of two large sums would lose digits.
    dx, dy = (np.where(chosen, v - m[..., None], 0.0) for v, m in ((x, centre), (y, height)))
    return (dx * dy).sum(-1) * inverse((dx * dx).sum(-1)), centre, height


def inverse(values: Array) -> Array:
    """Return 1/values, NaN where they are 0."""
    return np.divide(1.0, values, out=np.full(np.shape(values), np.nan), where=np.asarray(values) != 0)


def shares(x: Array) -> Array:
    """Return the length of the axis that belongs to each of two or more ascending points.

    As weights these make a sum over points an integral over x, however dense they are.
    """
    step = np.diff(x)
    return np.concatenate([step[:1], step[:-1] + step[1:], step[-1:]]) / 2
