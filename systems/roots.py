"""Roots of a function of one variable, without scipy: its solvers take longer to load than to find them."""

from __future__ import annotations

import math
from collections.abc import Callable

#: Relative accuracy: four spacings of floating-point numbers.
RELATIVE = 4 * 2.0**-52
#: Evaluations before a search counts as failed; bisection alone needs about 60.
MOST = 100


def brentq(f: Callable[[float], float], low: float, high: float, xtol: float = 2e-12) -> float:
    """Return a root between two ends where f differs in sign.

    Secants and inverse quadratic interpolation, safeguarded by bisection, in the same order as in
    ``scipy.optimize.brentq``, so that the roots are the same, bit by bit.

    Parameters
    ----------
    f : callable
    low, high : float
    xtol : float
        Error allowed beside `RELATIVE`.

    Raises
    ------
    ValueError
        If f has the same sign at both ends.

    References
    ----------
    R. P. Brent, Algorithms for Minimization Without Derivatives (1973), chapter 4.
    """
    before, now = float(low), float(high)
    f_before, f_now = float(f(before)), float(f(now))
    if f_before == 0:
        return before
    if f_now == 0:
        return now
    if (f_before < 0) == (f_now < 0):
        raise ValueError(f"no change of sign between {low:g} and {high:g}")
    # The root lies between `now`, the better end, and `other`.
    other = f_other = step = last_step = 0.0
    for _ in range(MOST):
        if f_before != 0 and f_now != 0 and (f_before < 0) != (f_now < 0):
            other, f_other = before, f_before
            step = last_step = now - before
        if abs(f_other) < abs(f_now):
            before, now, other = now, other, now
            f_before, f_now, f_other = f_now, f_other, f_now
        accuracy = (xtol + RELATIVE * abs(now)) / 2
        half = (other - now) / 2
        if f_now == 0 or abs(half) < accuracy:
            return now
        following = half, half
        if abs(last_step) > accuracy and abs(f_now) < abs(f_before):
            tried = _interpolated((before, f_before), (now, f_now), (other, f_other))
            if 2 * abs(tried) < min(abs(last_step), 3 * abs(half) - accuracy):
                following = step, tried
        last_step, step = following
        before, f_before = now, f_now
        now += step if abs(step) > accuracy else math.copysign(accuracy, half)
        f_now = float(f(now))
    raise ValueError(f"no root within {MOST} evaluations between {low:g} and {high:g}")


def _interpolated(before: tuple[float, float], now: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the step from `now` to the root of the secant, or of the inverse parabola through all three."""
    (x0, f0), (x1, f1), (x2, f2) = before, now, other
    if x0 == x2:
        return -f1 * (x1 - x0) / (f1 - f0)
    slope_0, slope_2 = (f0 - f1) / (x0 - x1), (f2 - f1) / (x2 - x1)
    return -f1 * (f2 * slope_2 - f0 * slope_0) / (slope_2 * slope_0 * (f2 - f0))
