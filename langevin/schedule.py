"""When something is measured: logarithmic grids of times, waiting times and lags, and their union.

Times of interest are objects apart from the dynamics. Where the dynamics has a time step, all times are
multiples of it: waiting times and lags are rounded to whole steps first and then added, so that every
pair (t_w, t_w + t) of the schedule is met exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        if not all(_is_number(v) and 0 <= v < math.inf for v in given):
            raise ValueError("every time in the list must be a finite number ≥ 0")
        return cls(values=tuple(float(v) for v in given))

    @classmethod
    def _parse_table(cls, given: Mapping[str, Any]) -> Grid:
        unknown = sorted(set(given) - {"start", "stop", "per_decade"})
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r}; allowed: start, stop, per_decade")
        if "per_decade" not in given:
            raise ValueError("per_decade is missing (points per factor of ten, for instance 2)")
        for name, value in given.items():
            if not (_is_number(value) and 0 < value < math.inf):
                raise ValueError(f"{name} = {value!r} must be a finite number > 0")
        if given["per_decade"] > MOST_PER_DECADE:
            raise ValueError(f"per_decade = {given['per_decade']:g} must be ≤ {MOST_PER_DECADE}")
        if "start" in given and "stop" in given and given["stop"] < given["start"]:
            raise ValueError(f"stop = {given['stop']:g} lies before start = {given['start']:g}")
        start, stop = (float(given[name]) if name in given else None for name in ("start", "stop"))
        return cls((), start, stop, float(given["per_decade"]))

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
        # The tolerance lets a grid that should end on `stop` end there in spite of rounding.
        count = math.floor(self.per_decade * math.log10(last / first) + 1e-9) + 1
        return first * 10 ** (np.arange(count) / self.per_decade)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Stop:
    """A time at which the engine stops, and what is due there.

    Attributes
    ----------
    index : int
        Position along the `time` dimension.
    time : float
    waiting : int or None
        Index of the waiting time that begins here.
    pairs : list of (int, int)
        Indices (waiting_time, lag) of the two-time observables due here.
    hessian : int or None
        Index of the Hessian time that this is.
    snapshot : int or None
        Index of the snapshot time that this is.
    """

    index: int
    time: float
    waiting: int | None = None
    pairs: list[tuple[int, int]] = field(default_factory=list)
    hessian: int | None = None
    snapshot: int | None = None


@dataclass(frozen=True)
class Schedule:
    """All times of a run.

    Attributes
    ----------
    times : ndarray, shape (time,)
        Every scheduled time, ascending from 0 to t_max.
    waiting_times : ndarray, shape (waiting_time,)
    lags : ndarray, shape (lag,)
    stops : tuple of Stop
        One for every time.
    hessian_times : ndarray, shape (hessian_time,)
        Where the spectrum of the Hessian is measured.
    snapshot_times : ndarray, shape (snapshot_time,)
        Where the configuration is stored, whatever is stored at every time.
    """

    times: NDArray[np.float64]
    waiting_times: NDArray[np.float64]
    lags: NDArray[np.float64]
    stops: tuple[Stop, ...]
    hessian_times: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    snapshot_times: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def build(
        cls,
        times: Grid,
        waiting_times: Grid,
        lags: Grid,
        t_max: float,
        time_step: float | None,
        hessian: Grid | None = None,
        snapshots: Grid | None = None,
    ) -> Schedule:
        """Unite the grids up to `t_max`, on multiples of `time_step` where there is one."""
        unit = time_step or 1.0
        ticks = _whole if time_step else _rounded
        first = time_step or t_max * 1e-6
        end = ticks(np.array([t_max / unit]), 0)[0]
        waiting = [w for w in ticks(waiting_times.points(first, t_max) / unit, 0) if w <= end]
        lag = [t for t in ticks(lags.points(first, t_max) / unit, 1) if 0 < t <= end]
        single = [t for t in ticks(times.points(first, t_max) / unit, 1) if t <= end]
        looked, kept = (
            [t for t in ticks((grid or Grid()).points(first, t_max) / unit, 0) if t <= end]
            for grid in (hessian, snapshots)
        )

        due: dict[Any, list[tuple[int, int]]] = {0: [], end: []}
        for t in [*single, *waiting, *looked, *kept]:
            due.setdefault(t, [])
        for i, w in enumerate(waiting):
            for j, t in enumerate(lag):
                # Rounded again, so that two ways to the same time are one stop.
                if (met := w + t if time_step else _significant(w + t)) <= end:
                    due.setdefault(met, []).append((i, j))
        begins, looks, keeps = ({t: i for i, t in enumerate(kind)} for kind in (waiting, looked, kept))
        ordered = sorted(due)
        stops = tuple(
            Stop(k, _significant(t * unit), begins.get(t), due[t], looks.get(t), keeps.get(t))
            for k, t in enumerate(ordered)
        )
        axes = [np.array([_significant(t * unit) for t in kind]) for kind in (waiting, lag, looked, kept)]
        return cls(np.array([stop.time for stop in stops]), axes[0], axes[1], stops, axes[2], axes[3])

    def __len__(self) -> int:
        """Return the number of scheduled times."""
        return len(self.stops)

    def since(self, position: int) -> Iterator[Stop]:
        """Iterate over the stops from `position` on."""
        return iter(self.stops[position:])


def _whole(values: NDArray[np.float64], least: int) -> list[int]:
    """Round to whole steps, at least `least`; ascending, each once."""
    return sorted({max(round(v), least) for v in values.tolist()})


def _rounded(values: NDArray[np.float64], least: int) -> list[float]:
    return sorted({_significant(v) for v in values.tolist()})


def _significant(value: float) -> float:
    """Round to 12 significant digits: grids that should meet then meet exactly."""
    return float(f"{value:.11e}")
