"""A probe is a measurement of a run: the times at which it is due, and what it takes there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from langevin.errors import UserError

from .ensemble import Ensemble
from .noise import Noise
from .schedule import Grid, Schedule, Stop
from .system import Attributes, Configuration, Coordinates, Dimensions, Reference, State, System

Taken: TypeAlias = Mapping[str, tuple[tuple[str, ...], NDArray[Any]]]
"""Name of a variable → its dimensions after replica and times, and its values, shape (R, …)."""


class Records(Protocol):
    """What keeps the measurements of a run."""

    def store(self, axes: tuple[str, ...], place: tuple[int, ...], values: Taken) -> None:
        """Keep what was taken at a place along axes of times."""


@dataclass
class Run:
    """A run and where it stands: all that a checkpoint has to keep.

    Attributes
    ----------
    probes : sequence of Measurement
        What is measured at stops, in this order.
    state : State
        State at `time`.
    position : int
        Index of the next stop of the schedule.
    references : dict
        Index of a waiting time → what `System.reference` kept there, until its last pair.
    """

    system: System
    ensemble: Ensemble
    schedule: Schedule
    probes: Sequence[Measurement]
    records: Records
    noise: Noise
    state: State
    time: float = 0.0
    position: int = 0
    references: dict[int, Reference] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find out how long each reference is needed."""
        #: Index of a waiting time → that of the stop with its last pair; without any, nothing is kept.
        self.needed = {waiting: stop.index for stop in self.schedule.stops for waiting, _ in stop.pairs}
        self._configuration: Configuration | None = None

    def configuration(self) -> Configuration:
        """Return the configuration at a stop, shape (R, dof), as an array that cannot be written to.

        Asked for only if someone wants it, and once for all: of a large network it is a copy of every weight.

        Raises
        ------
        UserError
            If the system has none.
        """
        if self._configuration is None:
            x = self.system.configuration(self.state)
            if x is None:
                raise UserError("the system has no configuration that could be measured or stored")
            self._configuration = x.view()
            # It may be the state's own array: what is measured changes nothing.
            self._configuration.flags.writeable = False
        return self._configuration

    def measure(self, stop: Stop) -> None:
        """Measure what is due at a stop, and keep the reference of a waiting time that begins."""
        for probe in self.probes:
            for place, values in probe.taken(self, stop):
                self.records.store(probe.axes, place, values)
        if stop.waiting in self.needed:
            self.references[stop.waiting] = self.system.reference(self.state)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Inside is measured; probes are what they were before if an exception leaves it."""
        before = [probe.state_dict() for probe in self.probes]
        done = False
        try:
            yield
            done = True
        finally:
            self._configuration = None
            if not done:
                for probe, saved in zip(self.probes, before, strict=True):
                    probe.load_state(saved)


class Measurement(ABC):
    """Anything that is measured of a run.

    What it takes must follow from the run's state and time alone, and from arrays of its own that
    `state_dict` returns: a run that is stopped and resumed then ends in the same bits. It draws nothing from
    `run.noise`; random numbers come from `run.ensemble.quenched`.

    Attributes
    ----------
    name : str
    axes : tuple of str
        Axes of times along which it is stored, such as ("time",).
    """

    name: str
    axes: tuple[str, ...]

    @abstractmethod
    def taken(self, run: Run, stop: Stop) -> Iterator[tuple[tuple[int, ...], Taken]]:
        """Yield places along `axes` that are due at a stop, and what is taken there."""

    def attributes(self) -> Attributes:
        """Return the netCDF attributes of every variable that it takes: `long_name` and `units` at least."""
        return {}

    def coordinates(self) -> Coordinates:
        """Return coordinates along its further dimensions. Default: none."""
        return {}

    def prepare(self, run: Run) -> None:
        """Make ready for a run, before its first step or where it goes on. Default: nothing is done.

        Raises
        ------
        UserError
            If it cannot be measured of this run.
        """
        return

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return arrays of its own that later measurements need; later ones replace them, never change them.

        Default: none.
        """
        return {}

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take what `state_dict` returned."""
        return


class Probe(Measurement):
    """A measurement with a grid of times of its own.

    One of a user's is named in a run file, ``[record.probes.NAME] use = "module:Class"``. Its key `times` is
    the grid; the others are those of a class `Parameters`, derived from `langevin.config.Section`. Variables
    that it takes have the dimensions (replica, NAME_time, …).

    Parameters
    ----------
    name : str
    times : Grid
    keys : Section, optional
        The keys of its `Parameters`.
    """

    def __init__(self, name: str, times: Grid, keys: Any = None) -> None:
        self.name, self.times, self.keys = name, times, keys
        self.axes = (f"{name}_time",)

    @abstractmethod
    def take(self, run: Run, stop: Stop) -> Taken:
        """Return what is measured at a stop; `run.system`, `run.state` and `run.configuration()` are there.

        Returns
        -------
        mapping
            Name → further dimensions and values: ``{"kurtosis": ((), array)}`` of shape (R,), or
            ``{"density": (("bin",), array)}`` of shape (R, bins). Always of the same size.
        """

    def taken(self, run: Run, stop: Stop) -> Iterator[tuple[tuple[int, ...], Taken]]:
        """Yield the place along its axis, if the stop is one of its times, and what is taken."""
        place = stop.due.get(self.axes[0])
        if place is not None:
            yield (place,), self.take(run, stop)

    @classmethod
    def check(cls, settings: Any, keys: Any) -> Iterable[str]:
        """Yield the faults that only several sections of a run file together show. Default: none."""
        return ()


def with_dimensions(values: Mapping[str, Any], dimensions: Dimensions) -> Taken:
    """Return the observables of a system with the further dimensions that it says they have."""
    return {name: (dimensions.get(name, ()), np.asarray(value)) for name, value in values.items()}
