"""Grids say when something is measured; the schedule of a run is their union.

Times of interest are objects apart from the dynamics. Where the dynamics has a time step, all times are
multiples of it: waiting times and lags are rounded to whole steps first and then added, so that every
pair (t_w, t_w + t) of the schedule is met exactly. Where any time can be reached, t_w + t is a sum of
floating-point numbers, off by rounding of t_w; the lag itself stands in `Schedule.lags`.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .times import met, significant, tidy, whole

#: Denser logarithmic grids are typing errors, and would fill the memory.
MOST_PER_DECADE = 1000


@dataclass(frozen=True)
class Grid:
    """A list of times, or start·10^(k/per_decade) for k = 0, 1, … up to `stop`, that included.

    Attributes
    ----------
    values : tuple of float
        The times themselves; empty for a logarithmic grid.
    start, stop, per_decade : float, optional
        `start` None: the time step; `stop` None: as far as the run goes.
    """

    values: tuple[float, ...] = ()
    start: float | None = None
    stop: float | None = None
    per_decade: float | None = None

    @classmethod
    def parse(cls, given: Any) -> Grid:
        """Read a grid from a run file: a list of numbers or {start, stop, per_decade}.

        Raises
        ------
        ValueError
            With a message for the user.
        """
        if isinstance(given, Grid):
            return given
        if isinstance(given, Mapping):
            return cls._parse_table(given)
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise ValueError("allowed: a list of times, or { start, stop, per_decade }")
        values = tuple(_number(v) for v in given)
        if not all(0 <= v < math.inf for v in values):
            raise ValueError("every time in the list must be a finite number ≥ 0")
        return cls(values=values)

    @classmethod
    def _parse_table(cls, given: Mapping[str, Any]) -> Grid:
        unknown = sorted(set(given) - {"start", "stop", "per_decade"})
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r}; allowed: start, stop, per_decade")
        if "per_decade" not in given:
            raise ValueError("per_decade is missing (points per factor of ten, for instance 2)")
        numbers = {name: _number(value) for name, value in given.items()}
        for name, value in numbers.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name} = {reprlib.repr(given[name])} must be a finite number > 0")
        start, stop, per_decade = (numbers.get(name) for name in ("start", "stop", "per_decade"))
        if per_decade is not None and per_decade > MOST_PER_DECADE:
            raise ValueError(f"per_decade = {per_decade:g} must be ≤ {MOST_PER_DECADE}")
        if start is not None and stop is not None and stop < start:
            raise ValueError(f"stop = {stop:g} lies before start = {start:g}")
        return cls((), start, stop, per_decade)

    def as_given(self) -> Any:
        """Return the grid as a run file writes it."""
        if self.per_decade is None:
            return list(self.values)
        parts = {"start": self.start, "stop": self.stop, "per_decade": self.per_decade}
        return {name: value for name, value in parts.items() if value is not None}

    def points(self, start: float, stop: float) -> NDArray[np.float64]:
        """Return the times of the grid; `start` and `stop` fill in for those not given."""
        if self.per_decade is None:
            return np.array(self.values)
        first = start if self.start is None else self.start
        last = stop if self.stop is None else self.stop
        if last < first:
            return np.empty(0)
        ratio = last / first
        if math.isfinite(ratio):
            # The tolerance lets a grid that should end on `stop` end there in spite of rounding.
            count = math.floor(self.per_decade * math.log10(ratio) + 1e-9) + 1
            return first * 10 ** (np.arange(count) / self.per_decade)
        # More decades than floating-point numbers have above 1.
        low, high = math.log10(first), math.log10(last)
        count = math.floor(self.per_decade * (high - low) + 1e-9) + 1
        with np.errstate(over="ignore"):
            return np.asarray(10 ** np.minimum(low + np.arange(count) / self.per_decade, high))


def _number(value: Any) -> float:
    """Return a number as a float; NaN for what is none, or does not fit."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


@dataclass(frozen=True)
class Stop:
    """A time at which the engine stops, and what is due there.

    Attributes
    ----------
    index : int
        Position among all stops.
    time : float
    due : mapping of str to int
        Name of an axis of times, such as "time" or "waiting_time" → position along it, where this time is
        one of its own.
    pairs : list of (int, int)
        Positions along (waiting_time, lag) of the two-time observables due here.
    """

    index: int
    time: float
    due: Mapping[str, int] = field(default_factory=dict)
    pairs: list[tuple[int, int]] = field(default_factory=list)

    @property
    def waiting(self) -> int | None:
        """Position of the waiting time that begins here, if one does."""
        return self.due.get("waiting_time")


@dataclass(frozen=True)
class Schedule:
    """All times of a run: the union of the grids of all probes, and of all pairs t_w + t.

    Attributes
    ----------
    stops : tuple of Stop
        One for every time, ascending from 0 to t_max.
    axes : mapping of str to ndarray
        Name of an axis → its own times, ascending; "lag" → the lags.
    """

    stops: tuple[Stop, ...]
    axes: Mapping[str, NDArray[np.float64]]

    @classmethod
    def build(
        cls,
        times: Grid,
        waiting_times: Grid,
        lags: Grid,
        t_max: float,
        time_step: float | None,
        further: Mapping[str, Grid | None] | None = None,
        observed: Collection[str] = (),
    ) -> Schedule:
        """Unite the grids up to `t_max`, on multiples of `time_step` where there is one.

        Times of a list are taken as they are; where there is a step, as the nearest multiple of it.

        Parameters
        ----------
        times, waiting_times, lags : Grid
            The axis "time" has 0 and the end of the run, too.
        t_max : float
        time_step : float or None
        further : mapping of str to Grid or None, optional
            Name of a further axis → its times; None: every stop.
        observed : collection of str
            Those of the further axes whose times the axis "time" has, too.
        """
        clock = clock_of(time_step)
        first, further = time_step or t_max * 1e-6, further or {}
        grids = {"time": times, "waiting_time": waiting_times}
        grids |= {axis: grid for axis, grid in further.items() if grid is not None}
        points = {axis: clock.points(grid, first, t_max, least=False) for axis, grid in grids.items()}
        known = clock.same([0, clock.at(t_max), *chain(*points.values())])
        end = known[clock.at(t_max)]
        lag = [t for t in clock.points(lags, first, t_max, least=True) if 0 < t <= end]
        own = {axis: {known[t] for t in given if known[t] <= end} for axis, given in points.items()}
        own["time"] |= {0, end}.union(*(own[axis] for axis in observed))
        ascending = {axis: sorted(given) for axis, given in own.items()}
        waiting = ascending["waiting_time"]
        sums = {(i, j): w + t for i, w in enumerate(waiting) for j, t in enumerate(lag)}
        anchors = set(chain(*ascending.values()))
        known = clock.same(sums.values(), anchors)
        pairs: dict[Any, list[tuple[int, int]]] = {t: [] for t in anchors}
        for pair, t in sums.items():
            # At t_w itself only lags arrive that rounding has swallowed.
            if waiting[pair[0]] < known[t] <= end:
                pairs.setdefault(known[t], []).append(pair)
        due: dict[Any, dict[str, int]] = {t: {} for t in pairs}
        ascending |= {axis: sorted(pairs) for axis, grid in further.items() if grid is None}
        for axis, given in ascending.items():
            for position, t in enumerate(given):
                due[t][axis] = position
        stops = (Stop(k, clock.time(t), due[t], pairs[t]) for k, t in enumerate(sorted(pairs)))
        ascending["lag"] = lag
        axes = {
            axis: np.array([clock.time(t) for t in given], dtype=float) for axis, given in ascending.items()
        }
        return cls(tuple(stops), axes)

    @property
    def times(self) -> NDArray[np.float64]:
        """Times of the one-time observables, the axis `time` of the file: 0 and the end are among them."""
        return self.axes["time"]

    @property
    def waiting_times(self) -> NDArray[np.float64]:
        """Waiting times t_w."""
        return self.axes["waiting_time"]

    @property
    def lags(self) -> NDArray[np.float64]:
        """Lags t."""
        return self.axes["lag"]

    def __len__(self) -> int:
        """Return the number of stops."""
        return len(self.stops)

    def since(self, position: int) -> Iterator[Stop]:
        """Iterate over the stops from `position` on."""
        return iter(self.stops[position:])


def clock_of(time_step: float | None) -> Any:
    """Return how times are counted: in whole steps, or as they are."""
    return _Steps(time_step) if time_step else _Continuous()


def _near(points: NDArray[np.float64], t_max: float) -> list[float]:
    """Return points without those far beyond the end, which no whole number may hold."""
    kept: list[float] = points[points <= 2 * t_max].tolist()
    return kept


class _Steps:
    """Times as whole numbers of steps."""

    def __init__(self, unit: float) -> None:
        self.unit = unit

    def at(self, t: float) -> int:
        return whole(t / self.unit)

    def points(self, grid: Grid, first: float, t_max: float, least: bool) -> list[int]:
        """Return the points of a grid, ascending, each once; with `least`, none before the first step."""
        near = _near(grid.points(first, t_max), t_max)
        return sorted({max(self.at(t), int(least)) for t in near})

    def same(self, times: Iterable[int], anchors: Iterable[int] = ()) -> dict[int, int]:
        """Return which time stands for each: itself."""
        return {t: t for t in (*times, *anchors)}

    def time(self, t: int) -> float:
        return tidy(t * self.unit)


class _Continuous:
    """Times as they are; those of logarithmic grids to 12 digits."""

    def at(self, t: float) -> float:
        return t

    def points(self, grid: Grid, first: float, t_max: float, least: bool) -> list[float]:
        """Return the points of a grid, ascending, each once."""
        near = _near(grid.points(first, t_max), t_max)
        near = near if grid.per_decade is None else [significant(t) for t in near]
        return sorted(set(met(near, ()).values()))

    def same(self, times: Iterable[float], anchors: Iterable[float] = ()) -> dict[float, float]:
        """Return which time stands for each of those that are the same to rounding."""
        return met(times, anchors)

    def time(self, t: float) -> float:
        return t
