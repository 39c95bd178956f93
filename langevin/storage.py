"""Files: results and checkpoints in netCDF-4, each written aside and renamed, so none is ever half-written.

A run that writes `name.nc` keeps these files beside it until it ends:

- ``name.checkpoint.nc``: a result file as far as the run has come (`xarray.open_dataset` and
  `langevin plot` read it), with a group ``restart`` that holds what resuming needs;
- ``name.checkpoint.configurations``: the trajectory as raw float64 (time, replica, dof), if it is stored;
- ``name.checkpoint.sketches``: likewise the sketches (time, replica, sketch_component);
- ``name.checkpoint.snapshots``: likewise the snapshots (snapshot_time, replica, dof);
- ``name.checkpoint.references``: what is kept at the waiting times (`langevin.references`);
- ``.name.nc.lock``: empty, locked by the process at work.

A sweep has a folder ``name.sweep`` instead, in which every member is such a run (`langevin.sweep.execution`).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langevin.errors import LangevinError, StorageError, UserError
from langevin.later import later
from langevin.sweep.reading import sweep_dims
from langevin.system import Configuration

if TYPE_CHECKING:
    import netCDF4
    import xarray as xr
else:
    netCDF4, xr = later("netCDF4"), later("xarray")

#: Raised when the layout of checkpoints changes, so that an old one is refused, not misread.
CHECKPOINT_FORMAT = 2

#: Variables that stand raw beside an unfinished run → how their files end, and what messages call them.
STORED = {"configuration": "configurations", "sketch": "sketches", "snapshot": "snapshots"}

#: What tells a result: one of these variables with its dimensions. The last is a plane's.
RESULTS = (
    ("energy", ("replica", "time")),
    ("msd", ("replica", "waiting_time", "lag")),
    ("energy", ("y", "x")),
    ("ensemble_error", ("method", "repetition", "member")),
)


@dataclass(frozen=True)
class Paths:
    """The files of one run."""

    result: Path

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint stands."""
        return self.result.with_name(self.result.name.removesuffix(".nc") + ".checkpoint.nc")

    def raw(self, variable: str) -> Path:
        """Where a variable of the trajectory, or the snapshots, stand while the run goes on."""
        return self.checkpoint.with_suffix(f".{STORED[variable]}")

    @property
    def references(self) -> Path:
        """Where the references stand while the run goes on."""
        return self.checkpoint.with_suffix(".references")

    @property
    def sweep(self) -> Path:
        """Folder of a sweep's members while it goes on."""
        return self.result.with_name(self.result.name.removesuffix(".nc") + ".sweep")

    @property
    def manifest(self) -> Path:
        """What a sweep is, and what it has come to: a file in its folder."""
        return self.sweep / "sweep.json"

    @property
    def sweeping(self) -> bool:
        """Whether a sweep stands here that is not finished."""
        return self.manifest.exists()

    @property
    def figure(self) -> Path:
        """Where the figure is drawn when the run ends."""
        return self.result.with_suffix(".png")

    def check(self, force: bool, figure: bool = False) -> None:
        """Make sure that a new run may write here; with `force` it may replace what is there.

        `figure` says whether the run will draw one.

        Raises
        ------
        UserError
            If the path is a folder, its folder is missing, or something would be overwritten.
        """
        if self.result.is_dir():
            raise UserError(f"output.path = {str(self.result)!r} is a folder; give a file, such as pspin.nc")
        if not self.result.parent.is_dir():
            raise UserError(f"output.path = {str(self.result)!r}: there is no folder {self.result.parent}")
        for path, kind in ((self.checkpoint, "run"), (self.manifest, "sweep")):
            if path.exists() and not force:
                raise UserError(
                    f"{self.sweep if kind == 'sweep' else path} holds an unfinished {kind}: "
                    f"continue it with `langevin resume {self.result}`, or discard it with --force"
                )
        for path in (self.result, *([self.figure] if figure else [])):
            if path.exists() and not force:
                raise UserError(f"{path} exists; overwrite it with --force, or give another output.path")

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Keep every other process off these files; the lock ends with the process, however it ends.

        Yields
        ------
        int
            Descriptor of the locked file. A process that inherits it holds the lock, too, until it ends.

        Raises
        ------
        UserError
            If another process is working on them.
        """
        path = self.result.with_name(f".{self.result.name}.lock")
        with explained(self.result):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Between opening and locking, its last holder may have removed the file.
                current = path.stat().st_ino == os.fstat(handle).st_ino
            except (BlockingIOError, FileNotFoundError):
                current = False
            if not current:
                raise UserError(f"another process is working on {self.result}")
            try:
                yield handle
            finally:
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def discard(self) -> None:
        """Remove the checkpoint, and then what it relies on; remove the folder of a sweep."""
        with explained(self.sweep):
            aside = self.sweep.with_name(f".{self.sweep.name}.discarded")
            if self.sweeping:
                # Renamed first: half of a folder would be taken for a sweep, or for somebody else's.
                self.sweep.rename(aside)
            if aside.exists():
                shutil.rmtree(aside)
        with explained(self.checkpoint):
            for path in (self.checkpoint, self.references, *map(self.raw, STORED)):
                path.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the file system or the netCDF library says into one line that names the file."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"cannot write {path}: {reason}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; at the end it becomes `path` in one step, or nothing is left of it."""
    aside = path.with_name(f".{path.name}.partial")
    with explained(path):
        try:
            yield aside
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


@dataclass(frozen=True)
class Stored:
    """A variable (time, replica, component) that is stored at every scheduled time, or at some of them.

    Attributes
    ----------
    name, dim : str
        Names of the variable and of its last dimension in the file.
    size : int
        Length of the last dimension.
    attributes : mapping
        netCDF attributes.
    of : callable
        Gives it, shape (R, size), from a configuration, shape (R, dof).
    axis : str
        Name of its first dimension, the times at which it is stored.
    stops : tuple of int, optional
        Indices of these among the scheduled times, ascending. None: all of them.
    """

    name: str
    dim: str
    size: int
    attributes: Mapping[str, Any]
    of: Callable[[Configuration], Configuration]
    axis: str = "time"
    stops: tuple[int, ...] | None = None

    def due(self, index: int) -> bool:
        """Return whether it is stored at the scheduled time with this index."""
        return self.stops is None or self.frames(index + 1) > self.frames(index)

    def frames(self, position: int) -> int:
        """Return at how many of the first `position` scheduled times it is stored."""
        return position if self.stops is None else bisect_left(self.stops, position)


class Trajectory:
    """One `Stored` variable, as raw float64 on disk while the run goes on.

    Raw, because a write to a fixed place cannot damage what stands elsewhere in the file: after a kill,
    resuming writes the same numbers to the same places.

    Parameters
    ----------
    path : Path
    stored : Stored
    replicas : int
        R.
    """

    def __init__(self, path: Path, stored: Stored, replicas: int) -> None:
        self.path = path
        self.stored = stored
        self.shape = (replicas, stored.size)
        with explained(path):
            self._file = path.open("r+b" if path.exists() else "w+b")

    @property
    def frame_bytes(self) -> int:
        """Size of what one time holds, of all replicas."""
        return self.shape[0] * self.shape[1] * 8

    def require(self, position: int) -> None:
        """Make sure that what belongs to the first `position` scheduled times is there.

        Raises
        ------
        StorageError
            If the file was removed or cut since they were written.
        """
        if self.path.stat().st_size < self.stored.frames(position) * self.frame_bytes:
            raise StorageError(
                f"{self.path} lacks {STORED[self.stored.name]} that were stored: it was removed or cut"
            )

    def write(self, index: int, x: Configuration) -> None:
        """Store what belongs to the configuration x, shape (R, dof), at the scheduled time of this index."""
        frame = np.ascontiguousarray(self.stored.of(x), dtype=np.float64)
        if frame.shape != self.shape:
            # Written all the same, it would shift every later time.
            raise LangevinError(f"{self.stored.name} has shape {frame.shape}; needed: {self.shape}")
        with explained(self.path):
            self._file.seek(self.stored.frames(index) * self.frame_bytes)
            self._file.write(frame.data)

    def flush(self) -> None:
        """Bring everything written onto the disk."""
        with explained(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def read(self, frame: int) -> NDArray[np.float64]:
        """Return what one time of its own holds, shape (R, size)."""
        self._file.seek(frame * self.frame_bytes)
        return np.frombuffer(self._file.read(self.frame_bytes)).reshape(self.shape)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def write_result(
    dataset: xr.Dataset, path: Path, trajectories: Sequence[Trajectory] = (), position: int = 0
) -> None:
    """Write a result file.

    Parameters
    ----------
    dataset : Dataset
    path : Path
    trajectories : sequence of Trajectory
        Each becomes a variable (time, replica, component), one chunk per time.
    position : int
        How many scheduled times the run has reached; what belongs to the others is NaN.
    """
    with replacing(path) as aside:
        dataset.to_netcdf(aside, engine="netcdf4", format="NETCDF4")
        if trajectories:
            with netCDF4.Dataset(aside, "a") as file:
                for trajectory in trajectories:
                    _append_trajectory(file, trajectory, position)


def _append_trajectory(file: Any, trajectory: Trajectory, position: int) -> None:
    stored = trajectory.stored
    if stored.dim not in file.dimensions:
        file.createDimension(stored.dim, stored.size)
    dims, chunks = (stored.axis, "replica", stored.dim), (1, *trajectory.shape)
    variable = file.createVariable(stored.name, "f8", dims, chunksizes=chunks, fill_value=np.nan)
    variable.setncatts(dict(stored.attributes))
    for frame in range(stored.frames(position)):
        variable[frame] = trajectory.read(frame)


def write_checkpoint(
    path: Path, dataset: xr.Dataset, arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, Any]
) -> None:
    """Write a checkpoint: the result so far, the arrays of the state, and notes that JSON can hold."""
    text = json.dumps({**notes, "format": CHECKPOINT_FORMAT}).encode()
    with replacing(path) as aside:
        dataset.to_netcdf(aside, engine="netcdf4", format="NETCDF4")
        with netCDF4.Dataset(aside, "a") as file:
            group = file.createGroup("restart")
            # A variable, not an attribute: HDF5 limits the size of attributes.
            for name, array in {**arrays, "notes": np.frombuffer(text, dtype=np.uint8)}.items():
                dims = [f"{name}_{axis}" for axis in range(array.ndim)]
                for dim, size in zip(dims, array.shape, strict=True):
                    group.createDimension(dim, size)
                group.createVariable(name, array.dtype, dims)[...] = array


def read_checkpoint(path: Path) -> tuple[xr.Dataset, dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the dataset, arrays and notes of a checkpoint.

    Raises
    ------
    StorageError
        If the file is no checkpoint, or one of another version.
    """
    try:
        with netCDF4.Dataset(path, "r") as file:
            file.set_auto_mask(False)
            arrays = {name: variable[...] for name, variable in file["restart"].variables.items()}
        dataset = xr.load_dataset(path, engine="netcdf4")
        notes = json.loads(arrays.pop("notes").tobytes())
    except (OSError, IndexError, KeyError, ValueError, RuntimeError) as error:
        raise StorageError(f"{path} is not a checkpoint that can be read: {error}") from error
    if notes["format"] != CHECKPOINT_FORMAT:
        raise StorageError(
            f"{path} was written by another version of langevin (format {notes['format']}, "
            f"here {CHECKPOINT_FORMAT}); finish it with the version it names: {dataset.attrs.get('source')}"
        )
    return dataset, arrays, notes


def open_result(path: str | Path) -> xr.Dataset:
    """Open a result file (or a checkpoint) lazily.

    Raises
    ------
    UserError
        If it is not there or not a netCDF file of this schema.
    """
    path = Path(path)
    if not path.exists():
        hint = ""
        if Paths(path).checkpoint.exists():
            hint = f"; its run is unfinished: open {Paths(path).checkpoint}, or `langevin resume {path}`"
        elif Paths(path).sweeping:
            hint = f"; its sweep is unfinished: `langevin resume {path}`"
        raise UserError(f"{path}: no such file{hint}")
    try:
        dataset = xr.open_dataset(path, engine="netcdf4")
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a netCDF file that can be read: {error}") from None
    swept = sweep_dims(dataset)
    if not any(name in dataset and dataset[name].dims == swept + dims for name, dims in RESULTS):
        dataset.close()
        if str(dataset.attrs.get("status", "")).startswith("unfinished"):
            raise UserError(f"{path}: its run has measured nothing yet")
        raise UserError(f"{path}: not a result of langevin (no energy(replica, time) in it)")
    return dataset
