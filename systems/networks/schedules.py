r"""Learning rates that change with the step: α(n) of step n, which leads from time n to time n + 1.

A rate follows from the number of the step alone, so that no run depends on where it was interrupted.
Published formulas count iterations from 1: iteration i is step n = i − 1 here.

piecewise_linear
    With a budget of T steps: α to T/2, from there linear in n down to α/100 at 0.9 T, and α/100 after that.
    Garipov et al., Loss surfaces, mode connectivity, and fast ensembling of DNNs, NeurIPS 2018 (their program
    changes it once an epoch).
triangular
    Cycles of c iterations between α₁ = α and α₂, of fast geometric ensembling (Garipov et al. 2018,
    section 4): with t(i) = (mod(i − 1, c) + 1)/c,

        α(i) = (1 − 2 t) α₁ + 2 t α₂        for t ≤ 1/2,
        α(i) = (2 − 2 t) α₂ + (2 t − 1) α₁  after.

    Models are collected in the middle, t = 1/2, where the rate is α₂.
cosine
    M cycles in a budget of T: with p = ⌈T/M⌉,

        α(i) = (α/2) (cos(π mod(i − 1, p)/p) + 1).

    Models are collected at the end of each. Huang et al., Snapshot ensembles: train 1, get M for free,
    ICLR 2017, eq. (2).
divided
    Divided by ten every D steps, down to the lowest rate α₂: max(α 10^(−⌊n/D⌋), α₂). Spigler et al. 2018
    (arXiv:1810.09665) go from 10⁻⁴ down to 10⁻⁷ so, with D = 2.5·10⁵.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langevin.core.schedule import Schedule
from langevin.core.system import Coordinates

Rates = NDArray[np.float64]
Steps = NDArray[np.int64]

#: Steps whose rates are held at once when they are added up.
HELD = 2**20
#: Divisions by ten after which nothing is left of any rate.
MOST_DIVISIONS = 300


def piecewise_linear(step: ArrayLike, rate: float, budget: int) -> Rates:
    """Return the rate of steps, any shape: constant to half of the budget, 1 % of it from 90 % on."""
    part = np.asarray(step) / budget
    return np.asarray(rate * np.clip(1 - 0.99 * (part - 0.5) / 0.4, 0.01, 1))


def triangular(step: ArrayLike, highest: float, lowest: float, cycle: int) -> Rates:
    """Return the rate of steps, any shape: from the highest to the lowest and back in `cycle` steps."""
    t = (np.mod(step, cycle) + 1) / cycle
    down = (1 - 2 * t) * highest + 2 * t * lowest
    up = (2 - 2 * t) * lowest + (2 * t - 1) * highest
    return np.where(t <= 0.5, down, up)


def cosine(step: ArrayLike, rate: float, period: int) -> Rates:
    """Return the rate of steps, any shape: half a cosine from `rate` towards 0, again and again."""
    return np.asarray(rate / 2 * (np.cos(np.pi * np.mod(step, period) / period) + 1))


def divided(step: ArrayLike, rate: float, lowest: float, division: int) -> Rates:
    """Return the rate of steps, any shape: divided by ten every `division` steps, down to the lowest."""
    # No power is larger than floating point knows; by then the rate is the lowest.
    times = np.minimum(np.asarray(step) // division, MOST_DIVISIONS)
    # A division, not a power of 0.1, which is no number of floating point.
    return np.asarray(np.maximum(rate / 10.0**times, lowest))


@dataclass(frozen=True)
class RateSchedule:
    """The learning rate as a function of the step.

    Attributes
    ----------
    learning_rate : float
        α: of a constant schedule the rate, of the others the highest.
    name : {"constant", "piecewise_linear", "triangular", "cosine", "divided"}
    budget : int
        Steps T for which piecewise_linear and cosine are laid out.
    lowest : float
        α₂ of triangular and divided.
    cycle : int
        Steps c of one cycle of triangular, an even number.
    cycles : int
        Cycles M of cosine in the budget.
    division : int
        Steps D of divided.
    """

    learning_rate: float
    name: str = "constant"
    budget: int = 1
    lowest: float = 0.0
    cycle: int = 2
    cycles: int = 1
    division: int = 1

    @property
    def constant(self) -> bool:
        """Whether the rate is the same at every step."""
        return self.name == "constant"

    @property
    def period(self) -> int:
        """Steps p = ⌈T/M⌉ of one cycle of cosine."""
        return -(-self.budget // self.cycles)

    def rates(self, step: ArrayLike) -> Rates:
        """Return the learning rate of steps, in their shape.

        Raises
        ------
        ValueError
            If there is no schedule of this name.
        """
        if self.constant:
            return np.full(np.shape(step), self.learning_rate)
        if self.name == "piecewise_linear":
            return piecewise_linear(step, self.learning_rate, self.budget)
        if self.name == "triangular":
            return triangular(step, self.learning_rate, self.lowest, self.cycle)
        if self.name == "cosine":
            return cosine(step, self.learning_rate, self.period)
        if self.name == "divided":
            return divided(step, self.learning_rate, self.lowest, self.division)
        raise ValueError(f"schedule = {self.name!r}: there is no such schedule")

    def between(self, first: int, last: int) -> Rates:
        """Return the rates of the steps first … last − 1."""
        return self.rates(np.arange(first, last))

    def collected(self, last: int) -> Steps:
        """Return the times, in steps and up to `last`, at which a model joins the ensemble.

        Those are the middles of triangular cycles, after the step at the lowest rate; the ends of cosine
        cycles; none of the other schedules.
        """
        if self.name == "triangular":
            return np.arange(self.cycle // 2, last + 1, self.cycle)
        if self.name == "cosine":
            return np.arange(self.period, last + 1, self.period)
        return np.empty(0, np.int64)

    def elapsed(self, times: ArrayLike) -> Rates:
        """Return Σ_{n < t} α(n), the time of gradient flow, at ascending times t in steps, shape (times,)."""
        at = np.asarray(times, dtype=float)
        if self.constant:
            return self.learning_rate * at
        sums, total, place = np.empty(at.shape), 0.0, 0
        for k, end in enumerate(at.round().astype(int)):
            while place < end:
                stop = min(place + HELD, int(end))
                total += float(self.between(place, stop).sum())
                place = stop
            sums[k] = total
        return sums

    def attributes(self) -> dict[str, Any]:
        """Return what says in a file which schedule it was: the name, and the numbers that it uses."""
        used = {
            "constant": (),
            "piecewise_linear": ("budget",),
            "triangular": ("lowest", "cycle"),
            "cosine": ("budget", "cycles"),
            "divided": ("lowest", "division"),
        }[self.name]
        own = {name: getattr(self, name) for name in used}
        return {"schedule": self.name, "highest": self.learning_rate, **own}


def scaled_times(rates: RateSchedule, schedule: Schedule, one_rate: bool = True) -> Coordinates:
    """Return the time of gradient flow, the sum of the learning rates of all steps before, as coordinates.

    If the rate changes, it is a coordinate, too: that of the step that begins at each time. The time of
    gradient flow of a lag then depends on the waiting time, and there is none. Without `one_rate` some
    parameters descend at multiples of it, which the attributes say.
    """
    base = {} if one_rate else {"comment": "of the base rate; dynamics.rate_factors multiplies it for some"}
    axes = {"time": schedule.times, "waiting_time": schedule.waiting_times, "lag": schedule.lags}
    if not rates.constant:
        del axes["lag"]
    elapsed = {name: rates.elapsed(values) for name, values in axes.items()}
    # Summed from stop to stop: the last bits do not depend on what is measured at which of them.
    stops = np.array([stop.time for stop in schedule.stops])
    elapsed["time"] = rates.elapsed(stops)[np.isin(stops, schedule.times)]
    way = "times learning rate" if rates.constant else "summed over learning rates"
    found: Coordinates = {
        f"scaled_{name}": (
            name,
            elapsed[name],
            {"long_name": f"{name.replace('_', ' ')} {way}", "units": "1", **base},
        )
        for name in axes
    }
    if rates.constant:
        return found
    about = {"long_name": "learning rate of the next step", "units": "1", **base, **rates.attributes()}
    return {**found, "learning_rate": ("time", rates.rates(schedule.times), about)}
