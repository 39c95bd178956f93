"""Functions of times say which are the same to rounding, and which whole step one means.

All tolerances are multiples of the distance between neighbouring floating-point numbers, or parts of a step:
never parts of the time itself. At t_w = 10⁶ a part of 10⁻¹² would be a lag of 10⁻⁶, which may have been asked
for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

#: Numbers so many spacings apart are the same time, reached in two ways: sums and products are each off by
#: half a spacing, and there are few of them.
SAME = 4

#: Lags of so many spacings at t_w and more are told from nothing: t_w + t is off by half of one.
LEAST_LAG = 16

#: Part of a step by which a time may miss a step and still mean it: division of decimals, single precision.
OFF_STEP = 1e-6

#: Most steps of a run: numbers of steps are then exact as floating-point numbers, and so are their halves.
MOST_STEPS = 2**50


def significant(value: float) -> float:
    """Round to 12 significant digits: logarithmic grids that should meet then meet exactly."""
    return float(f"{value:.11e}")


def tidy(value: float) -> float:
    """Return the number of 12 significant digits that a time is to rounding; if there is none, the time.

    0.1 + 0.2 is 0.3, and 10⁶ + 10⁻⁸ stays what it is.
    """
    short = significant(value)
    return short if abs(short - value) <= SAME / 2 * math.ulp(value) else value


def whole(steps: float) -> int:
    """Return the nearest whole number, of two the larger, also if division left a little less than a half."""
    if steps >= MOST_STEPS:
        return int(steps)
    return math.floor(steps + SAME / 2 * math.ulp(steps) + 0.5)


def is_whole(steps: float) -> bool:
    """Return whether a number of steps is a whole one, up to what division may leave."""
    return abs(steps - whole(steps)) <= OFF_STEP + SAME * math.ulp(steps)


def met(times: Iterable[float], anchors: Iterable[float] = ()) -> dict[float, float]:
    """Return which time stands for each: one for all that are the same to rounding.

    Parameters
    ----------
    times : iterable of float
        ≥ 0, finite.
    anchors : iterable of float
        Further times, none of them the same as another. They stand for themselves.

    Returns
    -------
    dict
        Every time and every anchor → what stands for it, an anchor where there is one.
    """
    kept = set(anchors)
    groups: list[list[float]] = []
    for t in sorted({*times, *kept}):
        if groups and t - groups[-1][0] <= SAME * math.ulp(t):
            groups[-1].append(t)
        else:
            groups.append([t])
    stands_for = {}
    for group in groups:
        best = next((t for t in group if t in kept), None)
        if best is None:
            best = tidy(group[0])
        stands_for.update(dict.fromkeys(group, best))
    return stands_for
