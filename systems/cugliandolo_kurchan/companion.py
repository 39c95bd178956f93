r"""A second solution of the same equations, coarser by a known factor everywhere: its distance is an error.

Two solutions with different tolerances are not different by themselves: at early times both have the fewest
panels that are allowed, and steps that grow at their largest rate. There they are one solution, and their
distance is rounding. So the companion has no control of its own. It follows a guide:

- its steps in λ are `STRIDE` times the guide's, at the same time;
- its panels are `WIDER` than the guide's, at the same time;
- it starts with fewer slabs of the power series, each longer.

Both solutions have errors of the same form, a(t)h⁸ of the steps and c(t)w¹³ of the panels. The companion's are
larger by k = `STRIDE`⁸ and by `WIDER`¹³, both about ten. With δ the error of the guide, the distance is
(k − 1)δ, k ≈ 10, along all of time: an error of the integrals is one of the clock, which stays, and grows, in
the same proportion.

The two are independent but for the steps, and the companion needs to know only those that are behind it: with two
threads or more they are computed side by side.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future

import numpy as np

from langevin.errors import Diverged
from langevin.systems.threads import ALONE, Pool, single_blas

from .collocation import KNOWN
from .history import History, clock_of, time_of
from .longtime import LARGEST, SHRINKAGE, LongTime
from .stepping import Equations

#: Steps and panels of the companion in units of its guide's.
STRIDE, WIDER = 1.34, 1.2
#: What the distance is in units of the guide's error: STRIDE⁸ − 1.
APART = STRIDE**8 - 1


class Companion(LongTime):
    """C(t, t') and R(t, t') on slabs that follow those of another solution.

    Parameters
    ----------
    guide : LongTime
        The solution whose errors are wanted.
    crew : Pool
        Threads that share a slab.
    side_by_side : bool
        Compute the guide's slabs in another thread at the same time.
    """

    def __init__(self, guide: LongTime, crew: Pool = ALONE, side_by_side: bool = False) -> None:
        self.guide = guide
        self._thread = Pool(1) if side_by_side else None
        super().__init__(guide.problem, 10 * guide.tolerance, crew)

    def _start(self) -> History:
        """Return slabs of the power series, up to the same time as the guide's."""
        return self._laid(self.guide.history.slabs[self.guide.laid - 1].end, KNOWN, WIDER * self.guide.first_width())

    def reach(self, t: float) -> int:
        """Compute slabs until one lies at or beyond t, of the guide, too; return how many there are."""
        if self._thread is None:
            self.guide.reach(t)
            return super().reach(t)
        others = self._thread.executor.submit(self.guide.reach, t)
        try:
            size = self._follow(others, t)
        except BaseException:
            self.guide.leave = True
            others.exception()
            self.guide.leave = False
            raise
        others.result()
        return size

    def _follow(self, others: Future[int], t: float) -> int:
        """Compute slabs as soon as the guide's are known that lie at the same time."""
        with single_blas():
            while time_of(self.history.end) < t:
                with self.guide.progress:
                    while self.guide.history.end <= self.history.end and not others.done():
                        self.guide.progress.wait(0.05)
                if self.guide.history.end <= self.history.end:
                    others.result()  # It has failed: with its own words.
                self._advance()
        return super().reach(t)

    def _advance(self) -> None:
        step, width = self._guided(self.history.end)
        least = step / (2 * STRIDE)
        while step > least:
            taken, _ = self.take(step, WIDER * width)
            if math.isfinite(taken.in_time):
                self.history.append(taken.slab, np.array([step, width]))
                return
            step *= SHRINKAGE
        raise Diverged(
            f"the long-time solver cannot estimate its error beyond t = {time_of(self.history.end):g}, tolerance = "
            f"{self.guide.tolerance:g}: end the run before (dynamics.t_max), or try another dynamics.tolerance"
        )

    def _guided(self, clock: float) -> tuple[float, float]:
        """Return the companion's step at a clock time, and the guide's width of panels. It is ahead."""
        history = self.guide.history
        ends = history.ends()
        k = min(int(np.searchsorted(ends, clock, side="right")), len(ends) - 1)
        slab = history.slabs[k]
        width = float(history.control[k - 1][1]) if k else self.guide.first_width()
        return min(STRIDE * (slab.end - slab.start), STRIDE * LARGEST), width


__all__ = ["APART", "Companion", "Equations", "clock_of", "threading"]
