r"""How far what the long-time solver finds may be off, time by time and pair by pair.

Two errors make those of E and μ. With δC and δR those of the slice at t, n its nodes and w_n their weights,

    E = −Σ_n w_n f'(C_n) R_n − β_i f(C_0),
    δE = −∫_0^t ds [f'(C) δR + f''(C) R δC] − β_i f'(C_0) δC_0 + (the rule's own error, of panels)
         + (that of interpolation between slices),

and μ likewise; for a pure model δμ = −p δE identically, as both are the same sums. None of the terms can be
had from one solution. The companion (`companion`) has all of them, each k times as large, k ≈ 10 early and 4
late: it integrates its own C and R with its own weights, and interpolates between its own slices. The
distance of the two is then d = (k − 1) δ; less in the first decade, where neither has long left its start.

The parts differ in sign, though, and their sum passes through zero: in t, along the lag and along t_w. At
such a place d says nothing, but d near it does. What is stated is the largest d at a few times within a
factor two before t (`PAST`), or at a few pairs near the pair (`_around`), divided by `EARLY_SAFE` up to
t = `EARLY` and by `SAFE` (of E and μ `SAFE_ALONE`) from t = `LATE` on; by nothing from the end of `ROUGH` on.
No less is stated than

- rounding, `SPACINGS` of floating-point numbers: at short lags 1 − C and χ are small;
- what Newton's iteration leaves, `REST`·tolerance, times the lag where that is short;
- in C, what is known of the slope at τ = 0. It is −T exactly; the solver prescribes the value there, 1, and
  the slope is that of a polynomial. With δ its defect and τ₁ the first node beside τ = 0, the error is
  δ min(τ, τ₁) to begin with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from langevin.core.system import Array

from .collocation import KNOWN, NODES, PANEL
from .companion import Companion
from .history import clock_of, slab_of
from .longtime import LongTime
from .panels import SCALE, SlabGrid

#: Times whose distances count for t, in units of t.
PAST = (1.0, 0.84, 0.71, 0.6, 0.5)
#: Lags and waiting times of pairs beside a pair, in units of its own.
SHORTER, LONGER, BEFORE = 0.71, 1.41, (0.84, 0.71)
SPACINGS = 32
#: What a distance is divided by, early and late: of pairs, and of E and μ. Late more than k − 1: what is
#: divided is the largest of several, half the time back among them, and the companion's clock is rougher.
#: Measured, so that the truth is within a factor of three. Pairs of a short lag are early, whenever that is:
#: their errors are those of the panel beside τ = 0, not of the clock.
EARLY_SAFE, SAFE, SAFE_ALONE, EARLY, LATE = 1.3, 7.0, 11.0, 3.0, 1e3
#: Between these times the errors of both solutions become those of a rough clock, and alike.
ROUGH = (1e8, 1e9)
#: In units of the tolerance: Newton's updates end below 10⁻³ of a step's local error.
REST = 1e-4

Solutions = tuple[LongTime, Companion]
Sizes = tuple[int, ...]


class TimePair(NamedTuple):
    """Two times, and their difference, which they have to rounding only."""

    later: float
    earlier: float
    lag: float


def one_time(solvers: Solutions, sizes: Sizes, t: float) -> tuple[Array, Array]:
    """Return (E, μ) at a time, and their errors.

    Parameters
    ----------
    solvers : (LongTime, Companion)
    sizes : tuple of int
        How many slices of each are known.
    t : float
    """
    values = np.array(solvers[0].one_time(t, sizes[0]))
    apart = []
    for part in PAST:
        found = [s.one_time(part * t, size) for s, size in zip(solvers, sizes, strict=True)]
        apart.append(np.abs(np.subtract(found[0], found[1])))
    least = _least(solvers[0], t) * np.maximum(1.0, np.abs(values))
    return values, np.maximum(np.max(apart, axis=0) / _safe(t, SAFE_ALONE), least)


def two_time(solvers: Solutions, sizes: Sizes, pair: TimePair) -> tuple[Array, Array]:
    """Return (C, R, χ) of a pair, and their errors.

    Parameters
    ----------
    solvers, sizes
        As in `one_time`.
    pair : TimePair
    """
    near = np.array(_around(pair))
    values, others = (s.two_times(near, size) for s, size in zip(solvers, sizes, strict=True))
    least = _least(solvers[0], pair.lag) * np.array([1.0, 1.0, abs(values[0, 2])])
    errors = np.maximum(
        np.max(np.abs(values - others), axis=0) / _safe(min(pair.later, 10 * pair.lag), SAFE), least
    )
    slope, first = _defect(solvers[0], pair.later, sizes[0])
    errors[0] = max(errors[0], slope * min(pair.lag, first))
    return values[0], errors


def _safe(t: float, late: float) -> float:
    return float(np.interp(np.log(max(t, EARLY)), np.log([EARLY, LATE, *ROUGH]), [EARLY_SAFE, late, late, 1]))


def _least(solution: LongTime, lag: float) -> float:
    return SPACINGS * float(np.finfo(float).eps) + REST * solution.tolerance_at(lag) * min(lag, 1.0)


def _around(pair: TimePair) -> list[TimePair]:
    """Return the pair, and others: of the same later time, of the same waiting time, of the same lag.

    Of lag and waiting time the shorter one is varied at the same later time: C(t, t_w) for t_w ≪ t is small,
    and so is its error, which that at a larger part of t says nothing of.
    """
    t, w, lag = pair
    starting = [TimePair(w + SHORTER * lag, w, SHORTER * lag)]
    if w == 0:
        return [pair, *starting, *(TimePair(x * t, 0.0, x * t) for x in BEFORE[:1])]
    before = [TimePair(x * w + lag, x * w, lag) for x in BEFORE]
    if lag <= w:
        ending = [TimePair(t, t - x * lag, x * lag) for x in (SHORTER, LONGER)]
    else:
        ending = [TimePair(t, x * w, t - x * w) for x in (SHORTER, LONGER)]
    return [pair, *ending, *starting, *before]


def _defect(solution: LongTime, t: float, size: int) -> tuple[float, float]:
    """Return by how much ∂_τC at τ = 0 differs from −T in the slab about t, and τ of the first node."""
    history = solution.history
    k = int(slab_of(history.arrays(), size, clock_of(t)))
    if k not in history.slopes:
        slab = history.slabs[k]
        grid = SlabGrid.at(SCALE * np.expm1(slab.level[KNOWN:]), slab.zones)
        # τ = 0 is x = 1 at all times: ∂_τ C there is −∂_x C dx/dt, of dx/dt at fixed t'.
        slopes = slab.values[KNOWN:, 0, -NODES:] @ PANEL.derivative[-1] * _slope(grid)
        defect = np.max(np.abs(slopes - solution.problem.bath(grid.t)))
        history.slopes[k] = float(defect), float(grid.lag[:, -2].max())
    return history.slopes[k]


def _slope(grid: SlabGrid) -> Array:
    """Return dx/dt' at τ = 0, x the coordinate inside the last panel."""
    width = grid.half * (1 - grid.x[-NODES]) / 2
    return np.asarray(1 / (width * grid.density[:, -1]))
