r"""Waiting times and thresholds of an exponent of aging are chosen here, by the mean curves alone.

t*(t_w) solves Δ(t_w, t_w + t*) = Δ*, and t* ~ t_w^μ. A law of the whole aging regime, Δ = g(t/t_w^μ), has
one μ for every Δ*. Displacements within a cage have μ = 0, early ones are not yet a power, and the largest
are reached from few waiting times. So waiting times and thresholds have to be chosen; and a choice that the
data make has to tend to something with more of them. No statistical error enters it here: the
choice made of the averages over n samples tends to that of the population for n → ∞, and can be made again of
every resample, as part of the analysis whose error is sought.

1. Waiting times. Each run of consecutive waiting times has a range of heights (ln Δ*, or −C* of a
   correlation, which falls) that every one of them crosses. The run with the largest rectangle is taken: (ln
   t_w from first to last) × (height from lowest to highest). Where the file knows the plateau of Δ for t_w →
   ∞, the range begins above it: by a tenth, Δ* ≥ 1.1 Δ_p (C* ≤ 0.9 C_p), as t* close to the plateau is the
   time to leave it, the power of which is another one.
2. Thresholds. The range is cut into equal steps, and each height h has its μ(h) and the weight

       w(h) = ε + (1 − ε) μ⁴/(μ⁴ + m⁴),   m = 0.3, ε = 10⁻³,

   1 where it ages and 0 within a cage, without a step between that noise would have to decide; its floor is
   for systems that do not age at any height. The threshold is the mean height with these weights, and the
   range that counts is the mean ± one standard deviation: where μ is the same everywhere, the middle of the
   rectangle, and 58 % of its height. The ends are left out: there t* is of the first lags, or of the last.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..fits.regression import inverse
from ..statistics import Array, Mask
from .crossings import AgingCurves, Rising, slopes

#: Thresholds lie above the plateau that the file knows by this part of it.
MARGIN = 0.1
#: Thresholds that the range is cut into.
POINTS = 20
#: Exponent at which half of the weight is reached, and the least weight.
_AGING, _FLOOR = 0.3, 1e-3


class AgingChoice(NamedTuple):
    """Waiting times and thresholds, chosen for each of B averages. NaN where there is no rectangle.

    Attributes
    ----------
    members : ndarray of bool, shape (B, waiting_time)
        The waiting times.
    heights : ndarray, shape (B, points)
        Thresholds, as heights (`crossings.AgingCurves`).
    slopes, weights : ndarray, shape (B, points)
        μ there, and w.
    centre, low, high : ndarray, shape (B,)
        Height of the threshold, and the ends of the range that counts.
    """

    members: Mask
    heights: Array
    slopes: Array
    weights: Array
    centre: Array
    low: Array
    high: Array


class Rectangle(NamedTuple):
    """Waiting times, shape (B, waiting_time), and heights between which each of them crosses every one."""

    members: Mask
    low: Array
    high: Array


def lowest_height(curves: AgingCurves) -> float:
    """Return the height above which thresholds lie, by the plateau that the file knows; −inf: not known."""
    plateau = float(curves.values.attrs.get("plateau", math.nan))
    if not math.isfinite(plateau) or not (curves.falling or plateau > 0):
        return -math.inf
    factor = 1 - math.copysign(MARGIN, plateau) if curves.falling else 1 + MARGIN
    return float(curves.height(plateau * factor))


def choose(curves: AgingCurves, averages: Array, chosen: Mask, least: int, points: int) -> AgingChoice:
    """Choose waiting times and thresholds for averages, shape (B, waiting_time, lag).

    Parameters
    ----------
    curves : AgingCurves
    averages : ndarray
    chosen : ndarray of bool, shape (waiting_time,)
        Which are allowed.
    least, points : int
        Waiting times at least; number of thresholds.
    """
    y = curves.height(averages)
    area = rectangle(curves.waiting, *reach(y), chosen, least, lowest_height(curves))
    return _scan(curves, y, area, points)


def around(
    curves: AgingCurves, averages: Array, chosen: Mask, least: int, points: int, levels: tuple[float, ...]
) -> AgingChoice:
    """Return the choice where the threshold, or a lowest and a highest one, are given.

    The waiting times are those that cross all of them. A single one has the range that all of these waiting
    times cross, above the plateau if the threshold is; two have the range between them. The centre of a
    single one is the threshold itself. Parameters otherwise as of `choose`; `levels` are heights, ascending.
    """
    y = curves.height(averages)
    low, high = reach(y)
    # A single threshold is passed; of a range the ends themselves are not asked for.
    members = chosen & (low <= levels[0] if len(levels) > 1 else low < levels[0]) & (levels[-1] <= high)
    members &= (members.sum(-1) >= least)[:, None]
    known = members.any(-1)
    if len(levels) > 1:
        bottom, top = (np.where(known, level, np.nan) for level in (levels[0], levels[-1]))
    else:
        bottom = np.where(members, low, -np.inf).max(-1)
        top = np.where(members, high, np.inf).min(-1)
        floor = lowest_height(curves)
        bottom = np.maximum(bottom, floor) if levels[0] > floor else bottom
        bottom, top = (np.where(known, end, np.nan) for end in (bottom, top))
    choice = _scan(curves, y, Rectangle(members, bottom, top), points)
    if len(levels) > 1:
        return choice._replace(low=bottom, high=top)
    return choice._replace(centre=np.where(known, levels[0], np.nan))


def _scan(curves: AgingCurves, y: Array, area: Rectangle, points: int) -> AgingChoice:
    heights = grid(area.low, area.high, points)
    times = Rising(curves.x, y).crossings(heights)
    return weigh(area, heights, slopes(curves.log_waiting, times, area.members[:, None])[0])


def grid(low: Array, high: Array, points: int) -> Array:
    """Return the middles of equal steps, shape (B, points): at the ends themselves little is known."""
    part = (np.arange(points) + 0.5) / points
    return np.asarray(low)[..., None] + (np.asarray(high) - low)[..., None] * part


def weigh(area: Rectangle, heights: Array, mu: Array) -> AgingChoice:
    """Return the choice from the slopes at all heights, shape (B, points)."""
    power = np.where(np.isfinite(mu), mu, 0.0) ** 4
    weight = np.where(np.isfinite(mu), _FLOOR + (1 - _FLOOR) * power / (power + _AGING**4), 0.0)
    total = weight.sum(-1)
    part = weight / np.where(total > 0, total, np.nan)[..., None]
    centre = (part * np.where(weight > 0, heights, 0.0)).sum(-1)
    step = (area.high - area.low) / heights.shape[-1]
    # Each height stands for its step.
    variance = (part * np.where(weight > 0, heights - centre[..., None], 0.0) ** 2).sum(-1) + step**2 / 12
    half = np.sqrt(variance)
    low, high = np.maximum(centre - half, area.low), np.minimum(centre + half, area.high)
    return AgingChoice(area.members, heights, mu, weight, centre, low, high)


def within(choice: AgingChoice) -> Array:
    """Return the weights of the thresholds in the range that counts, shape (B, points); their sum is 1."""
    half = np.abs(choice.heights[:, 1:2] - choice.heights[:, :1]) / 2
    first = np.maximum(choice.heights - half, choice.low[:, None])
    last = np.minimum(choice.heights + half, choice.high[:, None])
    # Of a step in which the range ends, the part that is inside.
    part = np.maximum(last - first, 0.0) * choice.weights
    return part * inverse(part.sum(-1))[:, None]


def reach(y: Array) -> tuple[Array, Array]:
    """Return the heights that each curve y(…, lag) crosses: above its first, up to its highest; NaN: none."""
    known = np.isfinite(y)
    first = np.take_along_axis(y, known.argmax(-1)[..., None], -1)[..., 0]
    highest = np.where(known, y, -np.inf).max(-1, initial=-np.inf)
    crosses = known.any(-1) & (highest > first)
    return np.where(crosses, first, np.nan), np.where(crosses, highest, np.nan)


def rectangle(
    waiting: Array, low: Array, high: Array, chosen: Mask, least: int, floor: float = -math.inf
) -> Rectangle:
    """Return the largest rectangle in the plane of ln t_w and height, for each of B; NaN: there is none.

    Parameters
    ----------
    waiting : ndarray, shape (waiting_time,)
    low, high : ndarray, shape (B, waiting_time)
        As of `reach`; a waiting time without is passed over.
    chosen : ndarray of bool, shape (waiting_time,)
    least : int
        Waiting times in a rectangle, at least 2.
    floor : float
        No height below this counts.
    """
    order = np.argsort(waiting, kind="stable")
    x = np.log(np.where(waiting > 0, waiting, 1.0))[order]
    there = (np.isfinite(low) & chosen)[:, order]
    bottom = np.where(there, np.maximum(low[:, order], floor), -np.inf)
    top = np.where(there, high[:, order], np.inf)
    before = np.cumsum(there, -1)
    rows, size = np.arange(len(low)), x.size
    best, ends = np.zeros(len(low)), np.full((2, len(low)), -1)
    heights = np.full((2, len(low)), np.nan)
    for first in range(size - least + 1):
        lowest = np.maximum.accumulate(bottom[:, first:], -1)
        highest = np.minimum.accumulate(top[:, first:], -1)
        count = before[:, first:] - before[:, [first]] + 1
        enough = (count >= least) & there[:, first:] & there[:, [first]]
        spans = np.where(enough, highest - lowest, 0.0)
        area = np.maximum(spans, 0.0) * (x[first:] - x[first])
        last = area.argmax(-1)
        better = area[rows, last] > best
        best = np.where(better, area[rows, last], best)
        ends = np.where(better, [np.full(len(low), first), first + last], ends)
        heights = np.where(better, [lowest[rows, last], highest[rows, last]], heights)
    index = np.arange(size)
    inside = there & (index >= ends[0][:, None]) & (index <= ends[1][:, None]) & (best > 0)[:, None]
    members = np.empty_like(inside)
    members[:, order] = inside
    return Rectangle(members, heights[0], heights[1])
