"""Results and checkpoints are netCDF-4 files, each written aside and renamed, so none is half-written.

A run that writes `name.nc` keeps these files beside it until it ends:

- ``name.checkpoint.nc``: a result file as far as the run has come (`xarray.open_dataset` and
  `langevin plot` read it), with a group ``restart`` that holds what resuming needs;
- ``name.checkpoint.configurations``: the trajectory as raw float64 (configuration_time, replica, dof), if
  it is stored;
- ``name.checkpoint.sketches``: likewise the sketches (configuration_time, replica, sketch_component);
- ``name.checkpoint.snapshots``: likewise the snapshots (snapshot_time, replica, dof);
- ``name.checkpoint.references``: what is kept at the waiting times (`langevin.record.references`);
- ``.name.nc.lock``: empty, locked by the process at work.

A sweep has a folder ``name.sweep`` instead, in which every member is such a run (`langevin.sweep.execution`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langevin.errors import StorageError
from langevin.machine.interruption import heed
from langevin.machine.later import later

from . import disk, sealing
from .disk import replacing
from .raw_records import Trajectory

if TYPE_CHECKING:
    import xarray as xr

    from . import netcdf
else:
    netcdf = later("langevin.files.netcdf")


#: Raised when the layout of checkpoints changes, so that an old one is refused, not misread.
CHECKPOINT_FORMAT = 8


def write_result(
    dataset: xr.Dataset, path: Path, trajectories: Sequence[Trajectory] = (), position: int = 0
) -> None:
    """Write a result file, with checksums.

    Parameters
    ----------
    dataset : Dataset
    path : Path
    trajectories : sequence of Trajectory
        Each becomes a variable (axis, replica, component), in chunks of one time or less.
    position : int
        How many stops the run has reached; what belongs to the others is NaN.

    Raises
    ------
    StorageError
        If it cannot be written, or a trajectory is damaged.
    """
    with replacing(path) as aside:
        netcdf.write(dataset, aside)
        if trajectories:
            with netcdf.Addition(aside) as file:
                for trajectory in trajectories:
                    _append_trajectory(file, trajectory, position, dataset)
        sealing.seal(aside)


def _append_trajectory(
    file: netcdf.Addition, trajectory: Trajectory, position: int, dataset: xr.Dataset
) -> None:
    stored = trajectory.stored
    sizes = {
        stored.axis: dataset.sizes[stored.axis],
        "replica": trajectory.shape[0],
        stored.dim: trajectory.shape[1],
    }
    file.add(stored.name, np.float64, sizes, stored.attributes, fill=np.nan, single=1)
    for frame in range(stored.frames(position)):
        # Nothing is lost: the run has its checkpoint, and the file is written aside.
        heed()
        file.put(stored.name, frame, trajectory.read(frame))


def write_checkpoint(
    path: Path, dataset: xr.Dataset, arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, Any]
) -> None:
    """Write a checkpoint: the result so far, the arrays of the state, and notes that JSON can hold."""
    text = json.dumps({**notes, "format": CHECKPOINT_FORMAT}).encode()
    with replacing(path) as aside:
        netcdf.write(dataset, aside)
        with netcdf.Addition(aside) as file:
            # A variable, not an attribute: HDF5 limits the size of attributes.
            file.put_group("restart", {**arrays, "notes": np.frombuffer(text, dtype=np.uint8)})
        sealing.seal(aside, most=math.inf)


def read_checkpoint(path: Path) -> tuple[xr.Dataset, dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the dataset, arrays and notes of a checkpoint.

    Raises
    ------
    StorageError
        If the file is no checkpoint, is damaged, or is one of another version.
    """
    disk.require_readable(path)
    try:
        sealed = sealing.verify(path)
        arrays = netcdf.group(path, "restart")
        with netcdf.open_dataset(path) as opened:
            dataset = opened.load()
        notes = json.loads(arrays.pop("notes").tobytes())
        version = notes["format"]
    except (OSError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StorageError(f"{path} is not a checkpoint that can be read: {error}") from error
    if version != CHECKPOINT_FORMAT:
        raise StorageError(
            f"{path} was written by another version of langevin (format {version}, "
            f"here {CHECKPOINT_FORMAT}); finish it with the version it names: {dataset.attrs.get('source')}"
        )
    if not sealed:
        raise StorageError(f"{path} is damaged, or another program has changed it: its checksum is missing")
    return dataset, arrays, notes
