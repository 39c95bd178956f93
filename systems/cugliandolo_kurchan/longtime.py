r"""The long-time solver: slices at times that grow like a geometric series, each solved implicitly.

At late times C(t, t') changes on the scale of ln t only, and so does the step: the cost grows with the number
of decades. One `tolerance` sets all else:

- the step in λ: the local error in C, and in R dt'/du, stays near `LOCAL`·tolerance. The step grows and
  shrinks smoothly, as the stability of a backward differentiation formula asks for;
- the panels: their interpolation error decreases with the eighth power of their width, so the width goes like
  tolerance^{1/8};
- two rules that no local error can see. Errors of neighbouring slices and nodes feed back through the soft
  clock of the aging solution, the more strongly the later: steps do not fall below `least_step`, which grows
  slowly from `LATE` on (smaller ones resolve, and amplify, what larger ones damp), and panels stay narrower
  than `PANELS_PER_STEP` steps. This bounds the tolerance that can be had at late times, and the time that can
  be reached: where the local error runs away, the solver stops and says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.errors import Diverged
from langevin.machine.interruption import heed
from langevin.systems.compiling import njit
from langevin.systems.threads import ALONE, Pool

from .history import CLOCK, SPAN, History, clock_of, lagrange, lookup
from .panels import GAUSS, GAUSS_POINTS, GAUSS_WEIGHTS, SCALE, PanelGrid
from .series import Series
from .stepping import ORDER, Equations, SliceStepper

#: Local error of a step, in units of the tolerance.
LOCAL = 0.1
#: Width of panels at tolerance 10⁻⁷.
WIDTH = 0.55
LATE, SMALLEST, PANELS_PER_STEP = 1e4, 0.05, 6.0
#: Widest panels from `LATE` on.
LATE_WIDTH = 0.45
#: Local error at which the solver has lost control.
LOST = 1e-3
#: Limits of a step in λ, and of its change from one step to the next.
LARGEST, GROWTH, SHRINKAGE = 0.2, 1.15, 0.6
#: Degree of the power series that starts the solution.
SERIES_DEGREE = 20


@lru_cache(maxsize=16)
def series_of(problem: Equations) -> Series:
    """Return the power series of a problem."""
    return Series(problem.covariance, problem.temperature, problem.beta, SERIES_DEGREE)


def least_step(t: float) -> float:
    """Return the smallest step in λ at time t."""
    if t < 10:
        return 0.0
    return SMALLEST * min((t / LATE) ** 0.25, (t / LATE) ** 0.05)


class LongTime:
    """C(t, t') and R(t, t') from t = 0 to any time, to a tolerance.

    Parameters
    ----------
    problem : Equations
    tolerance : float
    crew : Pool
        Threads that share a slice.
    """

    def __init__(self, problem: Equations, tolerance: float, crew: Pool = ALONE) -> None:
        self.problem, self.tolerance = problem, tolerance
        self.width = WIDTH * (tolerance / 1e-7) ** 0.125
        self.stepper = SliceStepper(problem, crew)
        self.history = self._start()
        self.laid = self.history.size

    def _start(self) -> History:
        """Return slices of the power series, as far as it holds to rounding."""
        series = series_of(self.problem)
        end = clock_of(series.radius(1e-14))
        count = max(SPAN + ORDER, math.ceil(end / (0.012 * (self.tolerance / 1e-7) ** 0.2)))
        history = History()
        for clock in end * np.arange(count + 1) / count:
            t = CLOCK * math.expm1(clock)
            grid = PanelGrid.at(t, self.width) if t else PanelGrid.of(0.0, 1)
            c, r = series.at(t, grid.earlier)
            history.append(grid, c, r, *series.one_time(t), step=end / count)
        return history

    def reach(self, t: float) -> int:
        """Compute slices until one lies at or beyond t; return how many there are then.

        Raises
        ------
        Diverged
            If no step is small enough.
        """
        history = self.history
        while history.grids[-1].t < t:
            # Slices are only added: a state that has been returned stays what it was.
            heed()
            self._advance()
        # The series' slices belong to every state: without them a restored one would go on in another way.
        return max(self.laid, int(np.searchsorted(history.slices().time[: history.size], t)) + 1)

    def _advance(self) -> None:
        history = self.history
        before = clock_of(history.grids[-1].t)
        step = history.step[-1]
        target = LOCAL * self.tolerance
        while True:
            t = CLOCK * math.expm1(before + step)
            least = least_step(t)
            grid = PanelGrid.at(t, self.panel_width(t, step))
            taken = self.stepper.step(history.slices(), history.size, before + step, grid, 1e-3 * target)
            factor = 0.9 * (target / max(taken.error, 1e-30)) ** (1 / (ORDER + 1))
            following = step * min(max(factor, SHRINKAGE), GROWTH)
            if taken.error > max(LOST, 3 * target) and (step <= least or step < 1e-6):
                break
            if taken.error < 3 * target or step <= least:
                following = min(max(following, least), LARGEST)
                energy, mu = (
                    f(taken.c, taken.r, grid.weight) for f in (self.problem.energy, self.problem.mu)
                )
                history.append(grid, taken.c, taken.r, energy, mu, following)
                return
            step = max(following, least)
        raise Diverged(
            f"the long-time solver lost control of its error at t = {history.grids[-1].t:g}, tolerance = "
            f"{self.tolerance:g}: end the run before (dynamics.t_max), or try another dynamics.tolerance"
        )

    def panel_width(self, t: float, step: float) -> float:
        """Return how wide panels may be at time t, after a step in λ."""
        if t < 10:
            return self.width
        narrow = PANELS_PER_STEP * max(step, least_step(t)) * max(1.0, math.sqrt(LATE / t))
        return min(self.width, narrow, LATE_WIDTH if t > LATE else math.inf)

    def one_time(self, t: float, size: int) -> tuple[float, float]:
        """Return E(t) and μ(t), interpolated between the first `size` slices."""
        times = self.history.slices().time[:size]
        first = max(0, min(int(np.searchsorted(times, t)) - SPAN // 2, size - SPAN))
        weights = np.empty(SPAN)
        lagrange(clock_of(t), self.history.slices().clock, first, SPAN, weights)
        around = slice(first, first + SPAN)
        return float(weights @ self.history.energy[around]), float(weights @ self.history.mu[around])

    def two_time(
        self, later: float, earlier: float, size: int, lag: float | None = None
    ) -> tuple[float, float, float]:
        """Return C, R and χ = ∫_{earlier}^{later} ds R(later, s).

        `lag` is their difference, where it is known better than the two times tell.
        """
        lag = later - earlier if lag is None else lag
        values: tuple[float, float, float] = _two_time(
            self.history.slices(), size, later, earlier, lag, self.width
        )
        return values

    def state_dict(self, size: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of the first `size` slices."""
        return self.history.state_dict(size)

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take over the slices that `state_dict` saved."""
        self.history = History.load(saved)


@njit(error_model="numpy")
def _two_time(slices, size, later, earlier, lag, width):  # type: ignore[no-untyped-def]
    c, r = lookup(slices, size, later, earlier, lag)
    half = math.log1p(lag / SCALE)
    panels = max(2, math.ceil(2 * half / width))
    span = lag + 2 * SCALE
    chi = 0.0
    for k in range(panels * GAUSS):
        panel = k // GAUSS
        u = -half + (panel + 0.5 * (1 + GAUSS_POINTS[k - panel * GAUSS])) * 2 * half / panels
        low, high = span / (1 + math.exp(-u)), span / (1 + math.exp(u))
        weight = GAUSS_WEIGHTS[k - panel * GAUSS] * half / panels * low * high / span
        chi += weight * lookup(slices, size, later, earlier + low - SCALE, high - SCALE)[1]
    return c, r, chi
