"""Systems of the tests' own count time in steps: one without any capability, one with some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.config.keys import DynamicsKeys, Section, key
from langevin.config.sections import RecordKeys
from langevin.core.capabilities import (
    HasCoordinates,
    HasRecordKeys,
    LoadsReferences,
    MeasuresAtWaiting,
    RunsOnDevice,
)
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.schedule import Schedule
from langevin.core.system import Array, Attributes, Coordinates, System
from langevin.machine import processor


class Bare(System):
    """Random walkers without any capability."""

    time_step: float | None = 1.0

    class Parameters(Section):
        n: int = key("walkers", default=50, ge=1)

    class Dynamics(DynamicsKeys):
        dt: float = key("learning rate", default=0.1, gt=0)
        t_max: float = key("end of the run", example=20.0, gt=0, unit="steps")

        @property
        def time_step(self) -> float:
            return 1.0

    def __init__(self, parameters: Any, dynamics: Any, ensemble: Ensemble) -> None:
        self.n, self.rate, self.ensemble = parameters.n, dynamics.dt, ensemble

    def initial_state(self, noise: Noise) -> Array:
        return np.zeros((self.ensemble.size, self.n))

    def advance(self, state: Array, t0: float, t1: float, noise: Noise) -> Array:
        for _ in range(round(t0), round(t1)):
            state = state + self.rate * noise.normal(self.n)
        return state

    def measure(self, state: Array) -> dict[str, Array]:
        return {"energy": np.mean(state**2, axis=1)}

    def reference(self, state: Array) -> Array:
        return state

    def compare(self, reference: Array, state: Array) -> dict[str, Array]:
        return {"msd": np.mean((state - reference) ** 2, axis=1)}

    def configuration(self, state: Array) -> Array:
        return state

    def attributes(self) -> Attributes:
        return {
            name: {"long_name": name, "units": "1"} for name in ("energy", "msd", "spread", "spread_error")
        }

    def state_dict(self, state: Array) -> dict[str, NDArray[Any]]:
        return {"x": state}

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> Array:
        return saved["x"]


class Walkers(Bare, HasRecordKeys, MeasuresAtWaiting, HasCoordinates, LoadsReferences, RunsOnDevice):
    """Random walkers with keys, measurements and coordinates of their own."""

    device_name = processor.device()

    class Record(RecordKeys):
        examples: int = key("walkers that the spread is measured on", default=20, ge=1)

    def __init__(self, parameters: Any, dynamics: Any, ensemble: Ensemble, record: Any) -> None:
        super().__init__(parameters, dynamics, ensemble)
        self.examples = record.examples

    def load_reference(self, saved: NDArray[Any]) -> Array:
        return saved

    def at_waiting(self, state: Array) -> dict[str, Array]:
        part = state[:, : self.examples]
        return {"spread": part.std(axis=1), "spread_error": part.std(axis=1) / np.sqrt(2 * self.examples)}

    def coordinates(self, schedule: Schedule) -> Coordinates:
        about = {"long_name": "time in units of 1/learning rate", "units": "1"}
        return {
            "scaled_time": ("time", self.rate * schedule.times, about),
            "scaled_lag": ("lag", self.rate * schedule.lags, about),
        }
