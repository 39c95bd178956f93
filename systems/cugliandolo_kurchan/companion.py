r"""A second solution of the same equations, coarser by a known factor everywhere: its distance is an error.

Two solutions with different tolerances are not different by themselves: at early times both begin with the
same slices of the power series, have the fewest panels that are allowed, and steps that grow at their largest
rate. There they are one solution, and their distance is rounding. So the companion has no control of its own.
It follows a guide:

- its steps in λ are `STRIDE` times the guide's, at the same time;
- its slices have fewer panels than the guide's at the same time, by a factor `WIDER`, and two where the
  guide has three;
- late steps are no longer than `LARGEST`, where longer ones are not stable. Where the guide's are as long
  already, so that nothing is left to stretch, the companion's are `STRIDE` times shorter;
- it starts with fewer slices of the power series, `STRIDE` times as far apart.

Both solutions have errors of the same form, a(t)h⁴ + b(t)h⁶ of the steps (the backward differentiation
formula, interpolation between slices) and c(t)w⁸ of the panels. The companion's are then larger by `STRIDE`⁴
to `STRIDE`⁶ and by about `WIDER`⁸: all by more than five. With δ the error of the guide, the distance is
(k − 1)δ, k ≥ 5. Where its steps are the shorter ones, its own error is δ/k, and the distance
(1 − 1/k)δ: it counts k times (`share`), so that either is four δ.
"""

from __future__ import annotations

import math

import numpy as np

from langevin.errors import Diverged

from .history import CLOCK, SPAN, History, clock_of
from .longtime import LARGEST, LATE, LOCAL, LOST, SHRINKAGE, LongTime, series_of
from .panels import PanelGrid
from .stepping import ORDER

#: Steps of the companion in units of its guide's: eight times the local error, of fifth order.
STRIDE = 8.0 ** (1 / 5)
#: Panels of the guide in units of the companion's.
WIDER = 8.0 ** (1 / 8)
#: Less than this is no stretch: 1.25⁴ = 2.4, and the distance 1.4 δ.
STRETCH = 1.25


class Companion(LongTime):
    """C(t, t') and R(t, t') on slices that follow those of another solution.

    Parameters
    ----------
    guide : LongTime
        The solution whose errors are wanted.
    """

    def __init__(self, guide: LongTime) -> None:
        self.guide = guide
        super().__init__(guide.problem, 8 * guide.tolerance, guide.stepper.crew)

    def _start(self) -> History:
        """Return slices of the power series, up to the same time as the guide's."""
        series = series_of(self.problem)
        times = self.guide.history.slices().time[: self.guide.laid]
        count = max(SPAN + 1, round((len(times) - 1) / STRIDE))
        end = clock_of(times[-1])
        history = History()
        for clock in end * np.arange(count + 1) / count:
            t = CLOCK * math.expm1(clock)
            grid = self._grid(t) if t else PanelGrid.of(0.0, 1)
            c, r = series.at(t, grid.earlier)
            history.append(grid, c, r, *series.one_time(t), step=end / count)
        return history

    def reach(self, t: float) -> int:
        """Compute slices until one lies at or beyond t, of the guide first; return how many there are."""
        self.guide.reach(t)
        return super().reach(t)

    def _advance(self) -> None:
        history, guide = self.history, self.guide
        before = clock_of(history.grids[-1].t)
        step = self._other(before)
        least = step / (2 * STRIDE)
        allowed = max(LOST, 3 * LOCAL * self.tolerance)
        while step > least:
            t = CLOCK * math.expm1(before + step)
            grid = self._grid(t)
            made = self.stepper.step(
                history.slices(), history.size, before + step, grid, 1e-3 * LOCAL * self.tolerance
            )
            if made.error < allowed:
                energy, mu = (f(made.c, made.r, grid.weight) for f in (self.problem.energy, self.problem.mu))
                history.append(grid, made.c, made.r, energy, mu, step)
                return
            step *= SHRINKAGE
        raise Diverged(
            f"the long-time solver cannot estimate its error beyond t = {history.grids[-1].t:g}, tolerance = "
            f"{guide.tolerance:g}: end the run before (dynamics.t_max), or try another dynamics.tolerance"
        )

    def _other(self, clock: float) -> float:
        """Return the companion's step at a clock time: longer than the guide's, or else shorter."""
        step = self._guided(clock)
        if clock < clock_of(LATE):
            return STRIDE * step
        longer = min(STRIDE * step, LARGEST)
        return longer if longer >= STRETCH * step else step / STRIDE

    def share(self, t: float) -> float:
        """Return what a distance at time t counts: 1, and k where the companion's steps are shorter.

        They have to be so for a decade: until then errors of the longer steps before are still there.
        """
        shorter = True
        for time in (t, t / 10):
            clock = float(np.nextafter(clock_of(time), 0.0))
            shorter = shorter and self._other(clock) < self._guided(clock)
        return STRIDE**ORDER if shorter else 1.0

    def _guided(self, clock: float) -> float:
        """Return the guide's step in λ that holds a clock time. There is one: the guide is ahead."""
        clocks = self.guide.history.slices().clock[: self.guide.history.size]
        k = max(1, min(int(np.searchsorted(clocks, clock, side="right")), len(clocks) - 1))
        return float(clocks[k] - clocks[k - 1])

    def _grid(self, t: float) -> PanelGrid:
        guide = self.guide
        panels = PanelGrid.at(t, guide.panel_width(t, self._guided(clock_of(t)))).panels
        return PanelGrid.of(t, max(2, min(panels - 1, round(panels / WIDER))))
