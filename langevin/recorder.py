"""What a run has measured so far, and the dataset it becomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from langevin.ensemble import Ensemble
from langevin.errors import LangevinError
from langevin.schedule import Schedule, Stop
from langevin.system import Array, Attributes

ONE_TIME = ("replica", "time")
TWO_TIME = ("replica", "waiting_time", "lag")

COORDINATES = {
    "replica": {"long_name": "replica label"},
    "sample": {"long_name": "quenched sample the replica lives in"},
    "time": {"long_name": "time", "units": "1"},
    "waiting_time": {"long_name": "waiting time t_w", "units": "1"},
    "lag": {"long_name": "lag t of the pair (t_w, t_w + t)", "units": "1"},
}


class Recorder:
    """Arrays of every observable, NaN where the run has not been yet.

    Parameters
    ----------
    schedule : Schedule
    ensemble : Ensemble
    """

    def __init__(self, schedule: Schedule, ensemble: Ensemble) -> None:
        self.schedule = schedule
        self.ensemble = ensemble
        self.one_time: dict[str, Array] = {}
        self.two_time: dict[str, Array] = {}

    def measure(self, stop: Stop, values: Mapping[str, Array]) -> None:
        """Store the one-time observables of a stop, shape (R,) each."""
        for name, value in values.items():
            self._array(self.one_time, name, value, len(self.schedule))[:, stop.index] = value

    def compare(self, waiting: int, lag: int, values: Mapping[str, Array]) -> None:
        """Store the two-time observables of the pair with indices (waiting, lag), shape (R,) each."""
        shape = (len(self.schedule.waiting_times), len(self.schedule.lags))
        for name, value in values.items():
            self._array(self.two_time, name, value, *shape)[:, waiting, lag] = value

    def _array(self, group: dict[str, Array], name: str, value: Array, *shape: int) -> Array:
        if np.shape(value) != (self.ensemble.size,):
            # Broadcast, it would pass for as many equal measurements.
            raise LangevinError(
                f"observable {name!r} has shape {np.shape(value)}; needed: one value per replica, "
                f"({self.ensemble.size},)"
            )
        if name not in group:
            if name in (*COORDINATES, "dof", "configuration") or not name.isidentifier():
                raise LangevinError(f"observable {name!r}: the name is taken, or not a plain word")
            group[name] = np.full((self.ensemble.size, *shape), np.nan)
        return group[name]

    def restore(self, saved: xr.Dataset) -> None:
        """Take over what an earlier `dataset` holds."""
        self.one_time = {n: v.to_numpy().copy() for n, v in _with_dims(saved, ONE_TIME)}
        self.two_time = {n: v.to_numpy().copy() for n, v in _with_dims(saved, TWO_TIME)}

    def dataset(self, attributes: Attributes) -> xr.Dataset:
        """Return everything as a dataset of the schema; `attributes` by variable."""
        variables = {
            name: (dims, array, dict(attributes.get(name, {})))
            for dims, group in ((ONE_TIME, self.one_time), (TWO_TIME, self.two_time))
            for name, array in group.items()
        }
        coordinates: dict[str, Any] = {
            "replica": self.ensemble.replica,
            "sample": ("replica", self.ensemble.sample),
            "time": self.schedule.times,
            "waiting_time": self.schedule.waiting_times,
            "lag": self.schedule.lags,
        }
        made = xr.Dataset(variables, coordinates)
        for name, extra in COORDINATES.items():
            made[name].attrs.update(extra)
        return made


def _with_dims(saved: xr.Dataset, dims: tuple[str, ...]) -> Iterable[tuple[str, xr.DataArray]]:
    return ((str(name), variable) for name, variable in saved.data_vars.items() if variable.dims == dims)
