"""draft"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from langevin.system import Array

from .companion import Companion
from .longtime import LongTime

SPACINGS = 32
PAST = (1.0, 0.84, 0.71, 0.6, 0.5)
AROUND = (0.5, 0.71, 1.41, 2.0)
REST = 1e-4

class Pair(NamedTuple):
    """Two times, and their difference, which they have to rounding only."""

    later: float
    earlier: float
    lag: float

Solutions = tuple[LongTime, Companion]

def one_time(solvers, sizes, t: float) -> tuple[Array, Array]:
    fine = solvers[0]
    values = np.array(fine.one_time(t, sizes[0]))
    apart = []
    for part in PAST:
        f, c = (np.array(s.one_time(part * t, n)) for s, n in zip(solvers, sizes, strict=True))
        apart.append(np.abs(f - c))
    least = SPACINGS * np.finfo(float).eps * np.maximum(1.0, np.abs(values)) + REST * fine.tolerance * min(t, 1.0)
    return values, np.maximum(np.max(apart, axis=0), least)


def two_time(solvers, sizes, pair: Pair) -> tuple[Array, Array]:
    fine = solvers[0]
    values = np.array(fine.two_time(pair.later, pair.earlier, sizes[0], pair.lag))
    apart = [_distance(solvers, sizes, near) for near in _around(pair)]
    least = SPACINGS * np.finfo(float).eps + REST * fine.tolerance * min(pair.lag, 1.0)
    return values, np.maximum(np.max(apart, axis=0), least * np.array([1.0, 1.0, abs(values[2])]))


def _around(pair: Pair) -> list[Pair]:
    t, lags = pair.later, [min(pair.lag * x, pair.later) for x in AROUND]
    return [pair, *(Pair(t, t - lag, lag) for lag in lags), *(Pair(pair.earlier+x*pair.lag, pair.earlier, x*pair.lag) for x in (.5,.71))]


def _distance(solvers, sizes, pair: Pair) -> Array:
    found = [
        s.two_time(pair.later, pair.earlier, size, pair.lag) for s, size in zip(solvers, sizes, strict=True)
    ]
    return np.asarray(np.abs(np.array(found[0]) - np.array(found[1])))
