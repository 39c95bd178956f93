r"""How far C, R and χ of the long-time solver may be off, pair by pair.

A companion with a larger tolerance solves the same equations. Its distance is several times the solution's
own error (measured: 5 to 7), but it changes sign, along the lag and along t_w, and where it does it says
nothing. What is stated is therefore the whole distance, the largest within a factor `AROUND` of the lag at
the same later time, and no less than four things that the distance does not see:

- rounding, `SPACINGS` of floating-point numbers: at short lags 1 − C and χ are small;
- `PART`·tolerance·τ (up to τ = 1), and three times tolerance·τ up to t = `EARLY`, where both begin with the same power
  series and have the same few panels;
- the distance to that power series, as far as it holds to a part of the tolerance;
- in C, the slope at τ = 0. It is −T exactly, of both solutions nearly so, and as far off in either: of the
  polynomial next to τ = 0 the solver prescribes the value, 1. With δ the defect of the slope and τ₁ the first
  node beside τ = 0, the error is δ min(τ, τ₁) to begin with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from langevin.system import Array

from .history import SPAN, History
from .longtime import LongTime, series_of
from .panels import DERIVATIVE, NODES

AROUND = 2.0
SPACINGS = 32
PART, EARLY = 0.03, 10.0
#: Part of the tolerance to which the power series holds where it is compared with.
HOLDS = 1e-3


class Pair(NamedTuple):
    """Two times, and their difference, which they have to rounding only."""

    later: float
    earlier: float
    lag: float


def two_time(solvers: tuple[LongTime, LongTime], sizes: tuple[int, int], pair: Pair) -> tuple[Array, Array]:
    """Return (C, R, χ) of a pair, and their errors.

    Parameters
    ----------
    solvers : tuple of LongTime
        The solution and its companion.
    sizes : tuple of int
        How many slices of each are known.
    pair : Pair
    """
    fine, size = solvers[0], sizes[0]
    values = np.array(fine.two_time(pair.later, pair.earlier, size, pair.lag))
    apart = [_distance(solvers, sizes, near) for near in _around(pair)]
    part = fine.tolerance * (PART if pair.later > EARLY else 3.0)
    least = SPACINGS * np.finfo(float).eps + part * min(pair.lag, 1.0)
    errors = np.maximum(np.max(apart, axis=0), least * np.array([1.0, 1.0, abs(values[2])]))
    series = series_of(fine.problem)
    if pair.later <= series.radius(HOLDS * fine.tolerance):
        known = series.at(pair.later, np.array([pair.earlier]))
        off = [abs(float(k[0]) - v) for k, v in zip(known, values[:2], strict=True)]
        errors = np.maximum(errors, [*off, off[1] * pair.lag])
    slope, first = _defect(fine.history, pair.later, size, fine.problem.temperature)
    errors[0] = max(errors[0], slope * min(pair.lag, first))
    return values, errors


def _around(pair: Pair) -> list[Pair]:
    t, lags = pair.later, (pair.lag / AROUND, min(pair.lag * AROUND, pair.later))
    return [pair, *(Pair(t, t - lag, lag) for lag in lags)]


def _distance(solvers: tuple[LongTime, LongTime], sizes: tuple[int, int], pair: Pair) -> Array:
    found = [
        s.two_time(pair.later, pair.earlier, size, pair.lag) for s, size in zip(solvers, sizes, strict=True)
    ]
    return np.abs(np.subtract(*found))


def _defect(history: History, t: float, size: int, temperature: float) -> tuple[float, float]:
    """Return by how much ∂_τC at τ = 0 differs from −T in the slices about t, and τ of the first node."""
    times = history.slices().time[:size]
    middle = int(np.searchsorted(times, t))
    # The first slice is the start, a point.
    nearby = range(max(1, min(middle - SPAN // 2, size - SPAN)), min(middle + SPAN // 2, size))
    slopes = [float(DERIVATIVE[-1] @ history.c[k][-NODES:] * history.grids[k].slope[-1]) for k in nearby]
    return max(abs(s - temperature) for s in slopes), max(float(history.grids[k].lag[-2]) for k in nearby)
