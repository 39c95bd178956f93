"""What a run has measured so far, and the dataset it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from langevin.core.ensemble import Ensemble
from langevin.core.schedule import Schedule, Stop
from langevin.core.system import Array, Attributes, Coordinates, Dimensions
from langevin.errors import LangevinError

AT_END = ("replica",)
ONE_TIME = ("replica", "time")
AT_WAITING = ("replica", "waiting_time")
TWO_TIME = ("replica", "waiting_time", "lag")
SPECTRUM = ("replica", "hessian_time")

COORDINATES = {
    "replica": {"long_name": "replica label"},
    "sample": {"long_name": "quenched sample the replica lives in"},
    "time": {"long_name": "time", "units": "1"},
    "waiting_time": {"long_name": "waiting time t_w", "units": "1"},
    "lag": {"long_name": "lag t of the pair (t_w, t_w + t)", "units": "1"},
    "hessian_time": {"long_name": "time of a spectrum of the Hessian", "units": "1"},
    "snapshot_time": {"long_name": "time of a snapshot of the configuration", "units": "1"},
}

#: Further dimensions of spectra: eigenvalues; random probes and the Ritz values of each; stored eigenvectors.
SPECTRAL = ("mode", "probe", "ritz", "eigenvector")

#: Names that observables and further coordinates may not have.
TAKEN = (
    *COORDINATES,
    *SPECTRAL,
    *("dof", "configuration", "snapshot", "sketch", "sketch_component"),
    *("constants", "constant", "configuration_buffers", "snapshot_buffers", "buffer"),
)


class Recorder:
    """Arrays of every observable, NaN where the run has not been yet.

    Parameters
    ----------
    schedule : Schedule
    ensemble : Ensemble
    dimensions : mapping, optional
        Further dimensions of observables, as `System.dimensions` says them. The first value of an observable
        fixes their sizes.

    Raises
    ------
    LangevinError
        If a further dimension has a name of the schema's own.
    """

    def __init__(self, schedule: Schedule, ensemble: Ensemble, dimensions: Dimensions | None = None) -> None:
        self.schedule = schedule
        self.ensemble = ensemble
        self.dimensions = dict(dimensions or {})
        for name, further in self.dimensions.items():
            for dim in further:
                _check_name(f"dimension {dim!r} of {name!r}", dim)
        self._sizes = {
            "replica": ensemble.size,
            "time": len(schedule),
            "waiting_time": len(schedule.waiting_times),
            "lag": len(schedule.lags),
            "hessian_time": len(schedule.hessian_times),
            "snapshot_time": len(schedule.snapshot_times),
        }
        self._groups: dict[tuple[str, ...], dict[str, Array]] = {ONE_TIME: {}, AT_WAITING: {}, TWO_TIME: {}}

    @property
    def one_time(self) -> Mapping[str, Array]:
        """Name of a one-time observable → its array, shape (R, time)."""
        return self._groups[ONE_TIME]

    def measure(self, stop: Stop, values: Mapping[str, Array]) -> None:
        """Store the one-time observables of a stop, shape (R,) each, or (R, …) with further dimensions."""
        for name, value in values.items():
            self._observable(ONE_TIME, name, value)[:, stop.index] = value

    def wait(self, waiting: int, values: Mapping[str, Array]) -> None:
        """Store what was measured where the waiting time with this index begins; shapes as in `measure`."""
        for name, value in values.items():
            self._observable(AT_WAITING, name, value)[:, waiting] = value

    def compare(self, waiting: int, lag: int, values: Mapping[str, Array]) -> None:
        """Store the two-time observables of the pair (waiting, lag), by index; shapes as in `measure`."""
        for name, value in values.items():
            self._observable(TWO_TIME, name, value)[:, waiting, lag] = value

    def end(self, values: Mapping[str, Array]) -> None:
        """Store what was measured once, when the run has ended; shapes as in `measure`."""
        for name, value in values.items():
            self._observable(AT_END, name, value)[:] = value

    def spectrum(self, index: int, values: Mapping[str, tuple[tuple[str, ...], Array]]) -> None:
        """Store what was found at the Hessian time with this index.

        Parameters
        ----------
        index : int
        values : mapping
            Name → its dimensions besides replica and hessian_time, and an array of shape (R, …).
        """
        for name, (further, value) in values.items():
            # The sizes of these dimensions are not known before.
            self._sizes |= dict(zip(further, np.shape(value)[1:], strict=True))
            self._array((*SPECTRUM, *further), name, value, np.shape(value)[1:])[:, index] = value

    def _observable(self, times: tuple[str, ...], name: str, value: Array) -> Array:
        """Return the array of an observable with the dimensions that the system gave it."""
        further, shape = self.dimensions.get(name, ()), np.shape(value)
        if len(shape) == 1 + len(further):
            # Its first value says how large a dimension is.
            self._sizes = dict(zip(further, shape[1:], strict=True)) | self._sizes
        return self._array((*times, *further), name, value, tuple(self._sizes.get(dim, 0) for dim in further))

    def _array(self, dims: tuple[str, ...], name: str, value: Array, further: tuple[int, ...] = ()) -> Array:
        """Return the array of an observable; make it, all NaN, at its first value."""
        if np.shape(value) != (self.ensemble.size, *further):
            # Broadcast, it would pass for as many equal measurements.
            each = f" for each of {', '.join(dims[-len(further) :])}" if further else ""
            raise LangevinError(
                f"observable {name!r} has shape {np.shape(value)}; needed: one value per replica{each}, "
                f"{(self.ensemble.size, *further)}"
            )
        group = self._groups.setdefault(dims, {})
        if name not in group:
            if any(name in other for other in self._groups.values()):
                raise LangevinError(f"observable {name!r} is measured twice, with other dimensions")
            _check_name(f"observable {name!r}", name)
            group[name] = np.full([self._sizes[dim] for dim in dims], np.nan)
        return group[name]

    def restore(self, saved: xr.Dataset) -> None:
        """Take over what an earlier `dataset` holds."""
        self._sizes |= {str(dim): size for dim, size in saved.sizes.items() if dim not in self._sizes}
        for dims in {*self._groups, *(tuple(map(str, v.dims)) for v in saved.data_vars.values())}:
            self._groups[dims] = {
                str(name): variable.to_numpy().copy()
                for name, variable in saved.data_vars.items()
                if variable.dims == dims
            }

    def dataset(self, attributes: Attributes, further: Coordinates | None = None) -> xr.Dataset:
        """Return everything as a dataset of the schema.

        Parameters
        ----------
        attributes : mapping
            Name of a variable → its attributes. A coordinate's are added to those of the schema.
        further : mapping, optional
            Coordinates of the system, besides those of the schema.
        """
        self._fix_sizes(further or {})
        variables = {
            name: (dims, array, dict(attributes.get(name, {})))
            for dims, group in self._groups.items()
            for name, array in group.items()
        }
        coordinates: dict[str, Any] = {
            "replica": self.ensemble.replica,
            "sample": ("replica", self.ensemble.sample),
            "time": self.schedule.times,
            "waiting_time": self.schedule.waiting_times,
            "lag": self.schedule.lags,
        }
        if len(self.schedule.hessian_times):
            coordinates["hessian_time"] = self.schedule.hessian_times
        if len(self.schedule.snapshot_times):
            coordinates["snapshot_time"] = self.schedule.snapshot_times
        for name, (dim, values, about) in (further or {}).items():
            _check_name(f"coordinate {name!r}", name, *variables)
            if np.shape(values) != (self._sizes.get(dim),):
                raise LangevinError(
                    f"coordinate {name!r} has shape {np.shape(values)} along {dim!r}; needed: one value for "
                    f"each of {', '.join(f'{d} ({n})' for d, n in self._sizes.items())}"
                )
            words = np.asarray(values).dtype.kind in "UO"
            coordinates[name] = (dim, np.asarray(values, dtype=object if words else np.float64), dict(about))
        made = xr.Dataset(variables, coordinates)
        for name in COORDINATES.keys() & made.coords.keys():
            extra = COORDINATES[name]
            made[name].attrs.update({**extra, **attributes.get(name, {})})
        return made

    def _fix_sizes(self, further: Coordinates) -> None:
        """Take the sizes of dimensions that no observable has had a value of from their coordinates."""
        declared = {dim for dims in self.dimensions.values() for dim in dims}
        for dim, values, _ in further.values():
            if dim in declared and np.ndim(values) == 1:
                self._sizes.setdefault(dim, len(values))


def _check_name(what: str, name: str, *others: str) -> None:
    if name in (*TAKEN, *others) or not name.isidentifier():
        raise LangevinError(f"{what}: the name is taken, or not a plain word")
