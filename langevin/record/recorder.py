"""The recorder keeps what a run has measured so far, and makes a dataset of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import xarray as xr

from langevin.core.ensemble import Ensemble
from langevin.core.probe import Taken
from langevin.core.schedule import Schedule
from langevin.core.system import Array, Attributes, Coordinates, Dimensions
from langevin.errors import LangevinError
from langevin.files.raw_records import Trajectory

#: Axes of times that every file has.
AXES = ("time", "waiting_time", "lag")
ONE_TIME = ("replica", "time")
AT_WAITING = ("replica", "waiting_time")
TWO_TIME = ("replica", "waiting_time", "lag")

COORDINATES = {
    "replica": {"long_name": "replica label"},
    "sample": {"long_name": "quenched sample the replica lives in"},
    "time": {"long_name": "time"},
    "waiting_time": {"long_name": "waiting time t_w"},
    "lag": {"long_name": "lag t of the pair (t_w, t_w + t)"},
    "configuration_time": {"long_name": "time of a stored configuration"},
    "hessian_time": {"long_name": "time of a spectrum of the Hessian"},
    "inherent_time": {"long_name": "time of the configuration that a quench begins from"},
    "snapshot_time": {"long_name": "time of a snapshot of the configuration"},
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
        self._sizes = {"replica": ensemble.size, **{axis: len(t) for axis, t in schedule.axes.items()}}
        self._groups: dict[tuple[str, ...], dict[str, Array]] = {ONE_TIME: {}, AT_WAITING: {}, TWO_TIME: {}}
        #: Name of a variable that stands raw beside the checkpoint → its file.
        self.raw: dict[str, Trajectory] = {}

    def last(self, name: str, time: float) -> Array | None:
        """Return the last values of a one-time observable up to a time, shape (R,); None if none."""
        array = self._groups[ONE_TIME].get(name)
        place = int(np.searchsorted(self.schedule.times, time, side="right")) - 1
        return None if array is None else array[:, place]

    def store(self, axes: tuple[str, ...], place: tuple[int, ...], values: Taken) -> None:
        """Keep what was taken at a place along axes of times.

        Parameters
        ----------
        axes : tuple of str
            Of `Schedule.axes`; none for what is measured once.
        place : tuple of int
            Position along each.
        values : mapping
            Name → its dimensions besides replica and axes, and an array of shape (R, …).

        Raises
        ------
        LangevinError
            If an array has another shape than it says, or a name is taken.
        """
        for name, (further, value) in values.items():
            if name in self.raw:
                self.raw[name].write(place[0], value)
                continue
            shape = np.shape(value)
            if len(shape) == 1 + len(further):
                # The first value says how large a dimension is.
                self._sizes = dict(zip(further, shape[1:], strict=True)) | self._sizes
            sizes = tuple(self._sizes.get(dim, 0) for dim in further)
            at: tuple[Any, ...] = (slice(None), *place)
            self._array(("replica", *axes, *further), name, value, sizes)[at] = value

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

    def dataset(
        self, attributes: Attributes, further: Coordinates | None = None, axes: Collection[str] = ()
    ) -> xr.Dataset:
        """Return everything as a dataset of the schema.

        Parameters
        ----------
        attributes : mapping
            Name of a variable → its attributes. A coordinate's are added to those of the schema.
        further : mapping, optional
            Coordinates of the system and of probes, besides those of the schema.
        axes : collection of str
            Axes of times that the file has besides `AXES`.
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
        }
        coordinates |= {axis: self.schedule.axes[axis] for axis in (*AXES, *axes)}
        for name, (dim, values, about) in (further or {}).items():
            _check_name(f"coordinate {name!r}", name, *variables)
            if np.shape(values) != (self._sizes.get(dim),):
                raise LangevinError(
                    f"coordinate {name!r} has shape {np.shape(values)} along {dim!r}; needed: one value for "
                    f"each of {', '.join(f'{d} ({n})' for d, n in self._sizes.items())}"
                )
            words = np.asarray(values).dtype.kind in "UO"
            coordinates[name] = (dim, np.asarray(values, dtype=object if words else np.float64), dict(about))
        dataset = xr.Dataset(variables, coordinates)
        clock = {"units": attributes.get("time", {}).get("units", "1")}
        for name in {*COORDINATES, *axes} & dataset.coords.keys():
            own = {} if name in ("replica", "sample") else clock
            dataset[name].attrs.update({**own, **COORDINATES.get(name, {}), **attributes.get(name, {})})
        return dataset

    def _fix_sizes(self, further: Coordinates) -> None:
        """Take the sizes of dimensions that no observable has had a value of from their coordinates.

        A coordinate with the name of its dimension declares that.
        """
        declared = {dim for dims in self.dimensions.values() for dim in dims}
        for name, (dim, values, _) in further.items():
            if (dim in declared or dim == name) and np.ndim(values) == 1:
                self._sizes.setdefault(dim, len(values))


def _check_name(what: str, name: str, *others: str) -> None:
    if name in (*TAKEN, *others) or not name.isidentifier():
        raise LangevinError(f"{what}: the name is taken, or not a plain word")
