r"""A second solution of the same equations, coarser by a known factor everywhere: its distance is an error.

Two solutions with different tolerances are not different by themselves: at early times both have the fewest
panels that are allowed, and steps that grow at their largest rate. There they are one solution, and their
distance is rounding. So the companion has no control of its own. It follows a guide:

- each of its steps in λ goes as far as `STRIDE` of the guide's, counted in parts of steps, at the same time;
- its panels are `WIDER` than the guide's, at the same time;
- it starts with fewer slabs of the power series, each longer.

Both solutions have errors of the same form, a(t)h⁸ of the steps and c(t)w¹³ of the panels. The companion's
are
larger by k = `STRIDE`⁸ and by `WIDER`¹³, both about ten. With δ the error of the guide, the distance is
(k − 1)δ, k ≈ 10, along all of time: an error of the integrals is one of the clock, which stays, and grows, in
the same proportion.

The two are independent but for the steps, of which the companion needs to know the next two: with two
threads or
more they are computed side by side.
"""

from __future__ import annotations

import math
from concurrent.futures import Future

import numpy as np

from langevin.errors import Diverged
from langevin.systems.threads import ALONE, Pool, single_blas

from .collocation import KNOWN
from .history import History, time_of
from .longtime import SHRINKAGE, LongTime

#: Steps and panels of the companion in units of its guide's.
STRIDE, WIDER = 1.34, 1.2


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
        return self._laid(
            self.guide.history.slabs[self.guide.laid - 1].end, KNOWN, WIDER * self.guide.first_width()
        )

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
                    while self._step() is None and not others.done():
                        self.guide.progress.wait(0.05)
                if others.done():
                    others.result()  # If it has failed, with its own words.
                    break
                self._advance()
        return super().reach(t)

    def _advance(self) -> None:
        step = self._step()
        while step is None:
            self.guide._advance()
            step = self._step()
        width = self._width()
        least = step / (2 * STRIDE)
        while step > least:
            taken, _ = self.take(step, WIDER * width)
            if math.isfinite(taken.in_time):
                self.history.append(taken.slab, np.array([step, width]))
                return
            step *= SHRINKAGE
        raise Diverged(
            f"the long-time solver cannot estimate its error beyond t = {time_of(self.history.end):g}, "
            f"tolerance = {self.guide.tolerance:g}: end the run before (dynamics.t_max), or try another "
            "dynamics.tolerance"
        )

    def _step(self) -> float | None:
        """Return the companion's next step; nothing if the guide has not come as far."""
        ends = np.append(0.0, self.guide.history.ends())
        counts = np.arange(len(ends))
        aim = float(np.interp(self.history.end, ends, counts)) + STRIDE
        return float(np.interp(aim, counts, ends)) - self.history.end if aim <= counts[-1] else None

    def _width(self) -> float:
        """Return the width of the guide's panels, at the companion's time."""
        history = self.guide.history
        k = int(np.searchsorted(history.ends(), self.history.end, side="right"))
        return float(history.control[min(k, history.size - 1)][1])
