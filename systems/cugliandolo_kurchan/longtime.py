r"""The long-time solver: slabs as long as a part of ln t, all slices of one solved at once.

At late times C(t, t') changes on the scale of ln t only, and so does the step: the cost grows with the number
of decades. One `tolerance` sets all else:

- the step in λ: what the last degree of the polynomials in time contributes stays near `LOCAL`·tolerance;
- the panels: they are as wide as lets the last degree in a panel contribute `PANEL_PART`·tolerance.

Late the tolerance falls like t^−κ, for the reason below.

**The clock.** For t, t' late and τ ~ t the equations hold for C(h(t')/h(t)), R dt' likewise, with any
increasing h: what sets the clock h are terms smaller by t^−κ (docs/cugliandolo_kurchan.md has κ, measured).
An error ε of the integrals becomes one of the clock of ε t^κ. Errors of the clock on the scale of a slab have
to be resolved in t' better than they are in t, or the equations are singular for them: between the times
`LATE` panels about t' ~ t go over to a width of no more than some steps (`LongTime.fine`). And a kink of the
clock at the end of a slab is seen, at lags τ, for the time τ: short against a long step, and as long as a
short one. Read by the polynomial in time it grows from slab to slab, by five with steps of 0.4 and not at all
with steps of 0.6 (T = 0, t > 5·10⁸): late in time steps have a least length (`SMALLEST`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.core.system import Array
from langevin.errors import Diverged
from langevin.machine.blas import single_blas
from langevin.machine.interruption import heed
from langevin.systems.threads import ALONE, Pool

from .collocation import DEGREE, KNOWN, LEVELS, interpolation
from .history import History, Slab, clock_of, slab_of, stages_of, time_of, two_times
from .panels import SCALE, SlabGrid, Zones, zones_of
from .series import Series
from .stepping import Equations, SlabStepper, Step
from .theory import dynamic_temperature

#: Contributions of the last degree, in units of the tolerance.
LOCAL, PANEL_PART = 1.0, 0.1
#: Limits of a step in λ, and of its change from one step to the next.
LARGEST, GROWTH, SHRINKAGE = 0.65, 1.25, 0.6
#: Limits of the panels' width in u.
WIDEST, NARROWEST, LATE_NARROWEST = 2.5, 0.3, (0.6, 0.48)
#: From when on panels are fine about t' ~ t, and from when on they, and the narrowest ones, are finer.
LATE, LATER = (1e3, 1e6), (1e7, 1e8)
#: Times, and the smallest steps of aging solutions there: short ones feed roughness of the clock back, long
#: ones do not. Of others from the first of these times on.
SOFT, SMALLEST, OTHERS = (1e4, 1e8, 1e9), (0.4, 0.4, 0.6), 0.2
#: From when on the tolerance is divided by (t/`CLOCKED`)^`KAPPA`, and the least it becomes.
CLOCKED, KAPPA, FINEST = 1e3, 0.7, 1e-12
#: Steps that are thrown away in a row before the solver gives up.
TRIALS = 12
#: Slabs of the power series that starts the solution.
LAID = KNOWN + 2
#: Degree of the power series that starts the solution.
SERIES_DEGREE = 24


@lru_cache(maxsize=16)
def series_of(problem: Equations) -> Series:
    """Return the power series of a problem."""
    return Series(problem.covariance, problem.temperature, problem.beta, SERIES_DEGREE, problem.slope)


def _later(t: float, limits: tuple[float, float]) -> float:
    """Return what goes, in ln t, from the first value to the second while `LATER` passes."""
    return float(np.interp(np.log(t), np.log(LATER), limits)) if t > 0 else limits[0]


def _ages(problem: Equations) -> bool:
    """Return whether the bath is below T_d, and colder than the start."""
    f = problem.covariance
    if min(f.powers) == 2 or problem.slope != 0 or problem.beta * problem.temperature >= 1:
        return False
    return problem.temperature < dynamic_temperature(f)


class LongTime:
    """C(t, t') and R(t, t') from t = 0 to any time, to a tolerance.

    Parameters
    ----------
    problem : Equations
    tolerance : float
    crew : Pool
        Threads that share a slab.
    """

    #: Widths of panels about t' ~ t in units of the step, before and after `LATER`.
    fine = (1.5, 1.2)

    def __init__(self, problem: Equations, tolerance: float, crew: Pool = ALONE) -> None:
        self.problem, self.tolerance = problem, tolerance
        #: Whether it ages, with a clock that nothing holds but terms that fall with t.
        self.ages = _ages(problem)
        self.stepper = SlabStepper(problem, crew)
        self.history = self._start()
        self.laid = self.history.size
        #: Told of every slab.
        self.progress = threading.Condition()

    def _start(self) -> History:
        """Return slabs of the power series, as far as it holds to rounding."""
        end = clock_of(series_of(self.problem).radius(1e-15))
        return self._laid(end, LAID, self.first_width())

    def first_width(self) -> float:
        """Return the panels' width to begin with."""
        return float(np.clip(1.2 * (self.tolerance / 1e-9) ** (1 / DEGREE), NARROWEST, WIDEST))

    def _laid(self, end: float, count: int, width: float) -> History:
        series, history, step = series_of(self.problem), History(), end / count
        for k in range(count):
            start = end * k / count
            # The series holds before t = 0, too, where the first levels are.
            level = np.concatenate([start - step * np.arange(KNOWN - 1, -1, -1), stages_of(start, step)])
            level[KNOWN - 1] = start
            times = np.array([time_of(x) for x in level])
            zones = Zones(*zones_of(clock_of(float(times[-1])), width, width))
            values = np.ones((LEVELS, 2, sum(zones[2:]) * DEGREE + 1))
            for out, t in zip(values, times, strict=True):
                if t == 0:
                    out[1] = SCALE / 2
                    continue
                grid = SlabGrid.at(np.array([t]), zones)
                out[:] = series.at(float(t), grid.earlier[0])
                out[1] *= grid.density[0]
            one_time = np.array([series.one_time(float(t)) for t in times])
            history.append(Slab(level, zones, values, one_time), np.array([step, width]))
        return history

    def reach(self, t: float) -> int:
        """Compute slabs until one lies at or beyond t; return how many there are then.

        Raises
        ------
        Diverged
            If no step is small enough.
        """
        history = self.history
        with single_blas():
            while time_of(history.end) < t:
                # Slabs are only added: a state that has been returned stays what it was.
                heed()
                self.take_next()
        # The series' slabs belong to every state: without them a restored one would go on in another way.
        return max(self.laid, int(np.searchsorted(history.ends(), clock_of(t))) + 1)

    def take_next(self) -> None:
        """Add the next slab, and tell those who wait for it."""
        self._advance()
        with self.progress:
            self.progress.notify_all()

    def halt(self) -> None:
        """Stop what runs ahead: nothing does of a solution alone."""

    def take(self, step: float, width: float) -> tuple[Step, float]:
        """Return a slab of a given length and width of panels, and that width."""
        end = self.history.end + step
        # From none to all of it, in ln t.
        part = float(np.interp(np.log(time_of(end)), np.log(LATE), [0.0, 1.0]))
        # Steps that fail become ever shorter, and panels with them would fill the memory.
        widest = _later(time_of(end), self.fine) * max(step, OTHERS)
        fine = width * min(1.0, widest / width) ** part
        zones = Zones(*zones_of(end, width, fine))
        rest = max(1e-3 * LOCAL * self.tolerance_at(time_of(self.history.end)), 1e-13)
        return self.stepper.step(self.history, step, zones, (width, fine), rest), width

    def tolerance_at(self, t: float) -> float:
        """Return the tolerance of slabs at t: errors of the clock are those of integrals times t^κ."""
        late = (CLOCKED / t) ** KAPPA if t > 0 else 1.0
        return max(self.tolerance * min(1.0, late), min(self.tolerance, FINEST))

    def _advance(self) -> None:
        step, width = (float(x) for x in self.history.control[-1])
        # A bath that changes sets the clock itself.
        soft = time_of(self.history.end) > SOFT[0] and self.problem.slope == 0
        least, narrowest = 0.0, NARROWEST
        if soft:
            least, narrowest = self._smallest(), _later(time_of(self.history.end), LATE_NARROWEST)
        tolerance = self.tolerance_at(time_of(self.history.end))
        local, narrow = LOCAL * tolerance, max(PANEL_PART * tolerance, FINEST)
        for _ in range(TRIALS):
            taken, width = self.take(step, width)
            factor = 0.9 * (local / max(taken.in_time, 1e-30)) ** (1 / (LEVELS - 1))
            following = max(min(step * min(max(factor, SHRINKAGE), GROWTH), LARGEST), least)
            thin = taken.in_panel > 10 * narrow and width > narrowest
            good = taken.in_time < 4 * local or (step <= least and math.isfinite(taken.in_time))
            if good and not thin:
                wider = 0.95 * (narrow / max(taken.in_panel, 1e-30)) ** (1 / DEGREE)
                width = float(np.clip(width * min(max(wider, 0.9), 1.05), narrowest, WIDEST))
                self.history.append(taken.slab, np.array([following, width]))
                return
            if thin:
                width = max(0.8 * width, narrowest)
            if not good:
                step = following if math.isfinite(taken.in_time) else SHRINKAGE * step
        raise Diverged(
            f"the long-time solver lost control of its error at t = {time_of(self.history.end):g}, "
            f"tolerance = {self.tolerance:g}: end the run before (dynamics.t_max), or try another "
            "dynamics.tolerance"
        )

    def _smallest(self) -> float:
        if not self.ages:
            return OTHERS
        return float(np.interp(np.log(time_of(self.history.end)), np.log(SOFT), SMALLEST))

    def one_time(self, t: float, size: int) -> tuple[float, float]:
        """Return E(t) and μ(t), from the first `size` slabs."""
        clock = clock_of(t)
        slab = self.history.slabs[slab_of(self.history.arrays(), size, clock)]
        values = interpolation(slab.level, np.array([clock]))[0] @ slab.one_time
        return float(values[0]), float(values[1])

    def two_time(
        self, later: float, earlier: float, size: int, lag: float | None = None
    ) -> tuple[float, float, float]:
        """Return C, R and χ = ∫_{earlier}^{later} ds R(later, s).

        `lag` is their difference, where it is known better than the two times tell.
        """
        lag = later - earlier if lag is None else lag
        row = self.two_times(np.array([[later, earlier, lag]]), size)[0]
        return float(row[0]), float(row[1]), float(row[2])

    def two_times(self, pairs: Array, size: int) -> Array:
        """Return C, R and χ of pairs (later, earlier, lag), shape (pairs, 3) both."""
        most = max(slab.values.shape[-1] for slab in self.history.slabs[:size])
        out = np.empty((len(pairs), 3))
        later, earlier, lag = np.ascontiguousarray(pairs.T)
        two_times(self.history.arrays(), size, later, earlier, lag, most, out)
        return out

    def state_dict(self, size: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of the first `size` slabs."""
        return self.history.state_dict(size)

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take over the slabs that `state_dict` saved."""
        self.history = History.load(saved)
