r"""A protocol is a bath temperature that changes with time, T(t): cooling, heating, jumps, cycles.

It consists of stretches. On each, T is constant, linear in t, or linear in ln t; where two stretches meet it
may jump. At a jump T(t) is the value from there on, and `before` the value that ends.

*The noise of a step.* With additive noise, the increment of √(2T) dW over a step from t to t + dt is Gaussian
of mean 0 and variance

    2 ∫_t^{t+dt} T(s) ds = 2 ⟨T⟩ dt,

whatever the course of T inside the step. So a step that uses the mean ⟨T⟩ over itself (`Protocol.mean`, in
closed form) draws its noise exactly, at kinks inside a step, too, and no term of order dt comes from the
protocol. The value at the beginning of the step would be off by dt T'/2. A scheme that spreads a kick over
two steps centres it on the end of the first (`langevin.core.dynamics`): its mean is over dt/2 to 3dt/2.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .times import is_whole, tidy, whole

Course: TypeAlias = Literal["constant", "linear", "logarithmic"]

#: Points that a protocol may have, and so its cycles.
MOST_POINTS = 100_000
#: Relative length of a step below which the mean of ln t over it is taken from a series, of TERMS terms.
SHORT, TERMS = 0.05, 12


@dataclass(frozen=True)
class Stretch:
    """T from `start` to `end`, with the values at both ends; the last stretch is constant, and never ends."""

    start: float
    end: float
    first: float
    last: float
    course: Course = "constant"

    def at(self, t: float) -> float:
        """Return T(t) inside the stretch or at its ends."""
        if self.first == self.last or t <= self.start:
            return self.first
        if t >= self.end:
            return self.last
        if self.course == "logarithmic":
            part = math.log(t / self.start) / math.log(self.end / self.start)
        else:
            part = (t - self.start) / (self.end - self.start)
        return self.first + (self.last - self.first) * part

    def mean(self, a: float, b: float) -> float:
        """Return the mean of T over a … b, inside the stretch."""
        if self.first == self.last:
            return self.first
        if self.course == "linear":
            return 0.5 * (self.at(a) + self.at(b))
        slope = (self.last - self.first) / math.log(self.end / self.start)
        return self.at(a) + slope * _mean_logarithm((b - a) / a)

    @property
    def constant(self) -> bool:
        """Whether T is the same all along."""
        return self.first == self.last


def _mean_logarithm(h: float) -> float:
    """Return the mean of ln(1 + x) over 0 … h: ((1 + h) ln(1 + h) − h)/h."""
    if h > SHORT:
        return ((1 + h) * math.log1p(h) - h) / h
    # The closed form loses the digits of h² to its two terms.
    return sum((-h) ** (k + 1) / (k * (k + 1)) for k in range(1, TERMS + 1)) / h if h > 0 else 0.0


class Leg(NamedTuple):
    """Steps first … last − 1, which one temperature drives."""

    first: int
    last: int
    temperature: float


@dataclass(frozen=True)
class Protocol:
    """A bath temperature T(t) for t ≥ 0, with the text that gave it.

    Attributes
    ----------
    stretches : tuple of Stretch
        The first starts at 0, each where the one before ends; the last one is constant, and ends at inf.
    given : list or dict
        What a run file said.
    """

    stretches: tuple[Stretch, ...]
    given: Any = field(default=None, compare=False)

    @classmethod
    def parse(cls, given: Any) -> Protocol:
        """Read what a run file says: a list of [time, temperature], or a table with `protocol`.

        Raises
        ------
        ValueError
            With a message for the user.
        """
        if isinstance(given, Protocol):
            return given
        if isinstance(given, Mapping):
            return _of_table(given)
        return cls(tuple(_stretches(given, "constant", "")), given)

    def stretch(self, t: float) -> Stretch:
        """Return the stretch that T follows from t on."""
        return next(s for s in reversed(self.stretches) if s.start <= t)

    def at(self, t: float) -> float:
        """Return T(t); at a jump the value from there on."""
        return self.stretch(t).at(t)

    def before(self, t: float) -> float:
        """Return T(t⁻); at a jump the value that ends there. At t = 0 that is T(0)."""
        return next(s for s in self.stretches if s.end >= t).at(t)

    def along(self, times: ArrayLike) -> NDArray[np.float64]:
        """Return T at times, in their shape."""
        given = np.asarray(times, dtype=float)
        return np.array([self.at(float(t)) for t in given.ravel()]).reshape(given.shape)

    def mean(self, a: float, b: float) -> float:
        """Return (1/(b − a)) ∫_a^b T dt, in closed form; a < b."""
        inside = self.stretch(a)
        if b <= inside.end:
            return inside.mean(a, b)
        total = 0.0
        for stretch in self.stretches:
            low, high = max(a, stretch.start), min(b, stretch.end)
            if low < high:
                total += (high - low) * stretch.mean(low, high)
        return total / (b - a)

    @property
    def jumps(self) -> list[float]:
        """Times at which T jumps, ascending."""
        return [b.start for a, b in pairwise(self.stretches) if a.last != b.first]

    @property
    def breaks(self) -> list[float]:
        """Times at which T jumps or its course changes, ascending."""
        return [s.start for s in self.stretches[1:]]

    def bounds(self, t_max: float) -> tuple[float, float]:
        """Return the least and the greatest T up to a time."""
        there = [s for s in self.stretches if s.start < t_max]
        values = [*(s.first for s in there), *(s.at(min(s.end, t_max)) for s in there)]
        return min(values), max(values)

    def counted(self, dt: float) -> Protocol:
        """Return the protocol with time counted in steps: breaks that mean a step are whole numbers."""
        return _counted(self, dt)

    def legs(self, first: int, last: int, dt: float, late: float = 0.0) -> Iterator[Leg]:
        """Yield the steps first … last − 1 with their temperatures: for each the mean over its time.

        The time of step n is from n + late to n + 1 + late, in steps. Neighbouring steps of one constant
        stretch are one leg; every step of a ramp is a leg of its own. How steps are grouped never changes a
        temperature.
        """
        counted, n = self.counted(dt), first
        while n < last:
            stretch, end = counted.stretch(n + late), n + 1
            if stretch.constant and stretch.end >= end + late:
                end = last if stretch.end >= last + late else math.floor(stretch.end - late)
            yield Leg(n, end, counted.mean(n + late, end + late) if end == n + 1 else stretch.first)
            n = end


@cache
def _counted(protocol: Protocol, dt: float) -> Protocol:
    def steps(t: float) -> float:
        return float(whole(t / dt)) if math.isfinite(t) and is_whole(t / dt) else t / dt

    return replace(
        protocol,
        stretches=tuple(replace(s, start=steps(s.start), end=steps(s.end)) for s in protocol.stretches),
    )


#: What [dynamics] may say of the bath: one temperature, or a protocol.
Temperature: TypeAlias = float | Protocol


def bounds(temperature: Temperature, t_max: float) -> tuple[float, float]:
    """Return the least and the greatest temperature of a run."""
    return temperature.bounds(t_max) if isinstance(temperature, Protocol) else (temperature, temperature)


def _number(what: str, value: Any, least: float = 0.0, more: bool = False) -> float:
    """Return a finite number ≥ least, or > least; a ValueError says what it is not."""
    sign = ">" if more else "≥"
    wrong = ValueError(f"{what} = {reprlib.repr(value)}: must be a finite number {sign} {least:g}")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong
    try:
        number = float(value)
    except OverflowError:
        raise wrong from None
    if not math.isfinite(number) or number < least or (more and number == least):
        raise wrong
    return number


def _stretches(points: Any, course: Course, name: str) -> Iterator[Stretch]:
    """Yield the stretches through points: two at one time are a jump, and what follows the last stays."""
    ramps = course != "constant"
    known = list(_points(points, name))
    if known[0][0] != 0:
        raise ValueError(f"{name}the first time is {known[0][0]:g}; must be 0, where the run begins")
    for k, ((start, first), (end, after)) in enumerate(pairwise(known)):
        last = after if ramps else first
        if end < start or (end == start and (not ramps or (k and known[k - 1][0] == start))):
            twice = "at most two at one time, a jump" if ramps else "each once"
            raise ValueError(f"{name}time {end:g} comes after {start:g}; times must ascend, {twice}")
        if course == "logarithmic" and start == 0 and end > 0 and first != last:
            raise ValueError(
                f"{name}T changes from t = 0 on, where ln t has no value; needed: [0, {first:g}], "
                f"[t, {first:g}] with the t > 0 at which the change begins"
            )
        if end > start:
            yield Stretch(start, end, first, last, course if first != last else "constant")
    yield Stretch(known[-1][0], math.inf, known[-1][1], known[-1][1])


def _points(points: Any, name: str) -> Iterator[tuple[float, float]]:
    if not isinstance(points, Sequence) or isinstance(points, str) or not points:
        raise ValueError(f"{name}allowed: a list of [time, temperature], such as [[0, 1.0], [100, 0.5]]")
    if len(points) > MOST_POINTS:
        raise ValueError(f"{name}{len(points)} points; allowed: up to {MOST_POINTS}")
    for k, point in enumerate(points):
        if not isinstance(point, Sequence) or isinstance(point, str) or len(point) != 2:
            raise ValueError(f"{name}entry {k} is {reprlib.repr(point)}; must be a pair [time, temperature]")
        yield (
            _number(f"{name}time of entry {k}", point[0]),
            _number(f"{name}temperature of entry {k}", point[1]),
        )


def _of_table(table: Mapping[str, Any]) -> Protocol:
    """Read a table: its key `protocol` says which others it has."""
    names = ", ".join(f'"{name}"' for name in _KEYS)
    if "protocol" not in table:
        raise ValueError(f"protocol is missing; allowed: {names}")
    name = table["protocol"]
    if not isinstance(name, str) or name not in _KEYS:
        said = f'"{name}"' if isinstance(name, str) else name
        raise ValueError(f"protocol = {reprlib.repr(said).strip(chr(39))}: allowed: {names}")
    needed, further = _KEYS[name]
    unknown = [key for key in table if key not in ("protocol", *needed, *further)]
    if unknown:
        raise ValueError(
            f'unknown key {unknown[0]!r} of protocol = "{name}"; allowed: {", ".join((*needed, *further))}'
        )
    missing = [key for key in needed if key not in table]
    if missing:
        raise ValueError(f'{missing[0]} is missing; protocol = "{name}" needs {", ".join(needed)}')
    return Protocol(tuple(_READ[name](table)), dict(table))


def _annealed(table: Mapping[str, Any]) -> Iterator[Stretch]:
    start, end = _number("from", table["from"]), _number("to", table["to"])
    rate = _number("rate", table["rate"], more=True)
    between, hold = table.get("between", "linear"), _number("hold", table.get("hold", 0.0))
    if between not in ("linear", "logarithmic"):
        raise ValueError(f'between = {reprlib.repr(between)}: allowed: "linear", "logarithmic"')
    logarithmic = between == "logarithmic"
    if logarithmic and not hold:
        raise ValueError(
            'hold = 0: must be > 0 with between = "logarithmic": T falls by rate for each e-fold of t, on '
            "from t = hold"
        )
    part = abs(start - end) / rate
    with np.errstate(over="ignore"):
        reached = float(hold * np.exp(part)) if logarithmic else hold + part
    if not math.isfinite(reached):
        raise ValueError(f"rate = {rate:g}: to = {end:g} would never be reached; allowed: larger rates")
    points = [[0.0, start], [hold, start], [tidy(reached), end]]
    yield from _stretches(points[0 if hold else 1 :], between, "")


def _cycled(table: Mapping[str, Any]) -> Iterator[Stretch]:
    first, second = (_number(name, table[name]) for name in ("first", "second"))
    times = [_number(name, table[name], more=True) for name in ("first_time", "second_time")]
    cycles = table.get("cycles", 1)
    if type(cycles) is not int or not 1 <= cycles <= MOST_POINTS // 2:
        raise ValueError(f"cycles = {reprlib.repr(cycles)}: must be an integer from 1 to {MOST_POINTS // 2}")
    points, t = [[0.0, first]], 0.0
    for _ in range(cycles):
        for duration, after in zip(times, (second, first), strict=True):
            t = tidy(t + duration)
            points.append([t, after])
    yield from _stretches(points, "constant", "")


#: Name of a protocol → keys that its table needs, and keys that it may have.
_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "steps": (("points",), ()),
    "linear": (("points",), ()),
    "logarithmic": (("points",), ()),
    "anneal": (("from", "to", "rate"), ("hold", "between")),
    "cycle": (("first", "second", "first_time", "second_time"), ("cycles",)),
}
_READ: dict[str, Any] = {
    "steps": lambda table: _stretches(table["points"], "constant", "points: "),
    "linear": lambda table: _stretches(table["points"], "linear", "points: "),
    "logarithmic": lambda table: _stretches(table["points"], "logarithmic", "points: "),
    "anneal": _annealed,
    "cycle": _cycled,
}
