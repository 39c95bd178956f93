r"""A second solution of the same equations, coarser by a known factor everywhere: its distance is an error.

Two solutions with different tolerances are not different by themselves: at early times both have the fewest
panels that are allowed, and steps that grow at their largest rate. There they are one solution, and their
distance is rounding. So the companion has no control of its own. It follows a guide:

- each of its steps in λ goes as far as `STRIDE` of the guide's, counted in parts of steps, at the same time;
- its panels are `WIDER` than the guide's, at the same time;
- it starts with fewer slabs of the power series, each longer.

Both solutions have errors of the same form, a(t)h⁹ of the steps and c(t)w¹³ of the panels. The companion's
are larger by k = `STRIDE`⁹ and by `WIDER`¹³, early both about ten, late four. With δ the error of the guide,
the distance is (k − 1)δ: an error of the integrals is one of the clock, which stays, and grows, in the same
proportion. That ends about t = 10⁹, where both clocks are rough on the scale of a slab: there the distance is
the error.

The two are independent but for the steps, of which the companion needs to know the next two: with two
threads or more they are computed side by side.
"""

from __future__ import annotations

import math
import os
import threading

import numpy as np

from langevin.errors import Diverged
from langevin.machine.blas import single_blas
from langevin.machine.interruption import heed
from langevin.systems.threads import ALONE, Pool

from .collocation import KNOWN
from .history import History, time_of
from .longtime import SHRINKAGE, LongTime

#: Steps and panels of the companion in units of its guide's, up to the first of these times and from the
#: second on: late in time those of early times would leave it a clock far rougher than its guide's.
BETWEEN, STRIDE, WIDER = (1e2, 1e3), (1.3, 1.2), (1.2, 1.1)


class Companion(LongTime):
    """C(t, t') and R(t, t') on slabs that follow those of another solution.

    Parameters
    ----------
    guide : LongTime
        The solution whose errors are wanted.
    crew : Pool
        Threads that share a slab.
    until : float, optional
        Compute the guide's slabs in a thread of its own, ahead of what is asked for, up to this time.
    """

    #: Late, panels about t' ~ t are `WIDER` than the guide's, as the others, though steps are longer still.
    fine = (LongTime.fine[0], LongTime.fine[1] * WIDER[1] / STRIDE[1])

    def __init__(self, guide: LongTime, crew: Pool = ALONE, until: float | None = None) -> None:
        self._ahead: _Ahead | None = None
        self.guide, self.until = guide, until
        super().__init__(guide.problem, 10 * guide.tolerance, crew)

    def __del__(self) -> None:
        """Stop what runs ahead: nobody wants its slabs any more."""
        if self._ahead is not None:
            self._ahead.leave = True

    def _start(self) -> History:
        """Return slabs of the power series, up to the same time as the guide's."""
        return self._laid(
            self.guide.history.slabs[self.guide.laid - 1].end, KNOWN, WIDER[0] * self.guide.first_width()
        )

    def reach(self, t: float) -> int:
        """Compute slabs until one lies at or beyond t, of the guide, too; return how many there are."""
        if self.until is None:
            self.guide.reach(t)
            return super().reach(t)
        if self._ahead is None or not self._ahead.serves(t):
            self._ahead = _Ahead(self.guide, max(t, self.until))
        size = super().reach(t)
        while time_of(self.guide.history.end) < t:
            self._ahead.wait()
        return size

    def halt(self) -> None:
        """Stop what runs ahead."""
        if self._ahead is not None:
            self._ahead.halt()
            self._ahead = None

    def _advance(self) -> None:
        step = self._step()
        while step is None:
            if self._ahead is not None and self._ahead.is_alive():
                self._ahead.wait()
            elif self._ahead is not None and self._ahead.failure is not None:
                raise self._ahead.failure
            else:
                self.guide.take_next()
            step = self._step()
        width = self._width()
        least = step / (2 * self._ratio(STRIDE))
        while step > least:
            taken, _ = self.take(step, self._ratio(WIDER) * width)
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
        aim = float(np.interp(self.history.end, ends, counts)) + self._ratio(STRIDE)
        return float(np.interp(aim, counts, ends)) - self.history.end if aim <= counts[-1] else None

    def _ratio(self, limits: tuple[float, float]) -> float:
        return float(np.interp(np.log(time_of(self.history.end)), np.log(BETWEEN), limits))

    def _width(self) -> float:
        """Return the width of the guide's panels, at the companion's time."""
        history = self.guide.history
        k = int(np.searchsorted(history.ends(), self.history.end, side="right"))
        return float(history.control[min(k, history.size - 1)][1])


class _Ahead(threading.Thread):
    """A solution goes on to a time by itself, in a daemon: it keeps no process from ending."""

    def __init__(self, solution: LongTime, until: float) -> None:
        super().__init__(name="langevin-ahead", daemon=True)
        self.solution, self.until, self.process = solution, until, os.getpid()
        self.failure: BaseException | None = None
        #: Asks to stop after the slab in work.
        self.leave = False
        self.start()

    def run(self) -> None:
        """Go on until the time, or until `leave`; keep what is raised for those who wait."""
        try:
            with single_blas():
                while time_of(self.solution.history.end) < self.until and not self.leave:
                    self.solution.take_next()
        except BaseException as failure:  # noqa: BLE001 -- raised again where it is waited for
            self.failure = failure
        with self.solution.progress:
            self.solution.progress.notify_all()

    def serves(self, t: float) -> bool:
        """Return whether it has come, or will come, as far as t; of a parent's threads none lives in a
        child."""
        here = self.process == os.getpid()
        return here and t <= self.until and (self.is_alive() or self.failure is not None or self._arrived(t))

    def _arrived(self, t: float) -> bool:
        return time_of(self.solution.history.end) >= t

    def wait(self) -> None:
        """Wait a moment for the next slab.

        Raises
        ------
        Exception
            What ended the thread.
        """
        heed()
        with self.solution.progress:
            if self.is_alive():
                self.solution.progress.wait(0.05)
        if not self.is_alive() and self.failure is not None:
            raise self.failure

    def halt(self) -> None:
        """Stop after the slab in work."""
        self.leave = True
        self.join()
