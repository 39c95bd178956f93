"""Files: results and checkpoints in netCDF-4, each written aside and renamed, so none is ever half-written.

A run that writes `name.nc` keeps these files beside it until it ends:

- ``name.checkpoint.nc``: a result file as far as the run has come (`xarray.open_dataset` and
  `langevin plot` read it), with a group ``restart`` that holds what resuming needs;
- ``name.checkpoint.configurations``: the trajectory as raw float64 (time, replica, dof), if it is stored;
- ``name.checkpoint.sketches``: likewise the sketches (time, replica, sketch_component);
- ``name.checkpoint.snapshots``: likewise the snapshots (snapshot_time, replica, dof);
- ``name.checkpoint.references``: what is kept at the waiting times (`langevin.record.references`);
- ``.name.nc.lock``: empty, locked by the process at work.

A sweep has a folder ``name.sweep`` instead, in which every member is such a run (`langevin.sweep.execution`).
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langevin.errors import StorageError, UserError
from langevin.machine.interruption import heed
from langevin.machine.later import later

from . import disk, locking, sealing
from .disk import explained, replacing
from .raw_records import STORED, Stored, Trajectory

__all__ = [
    "Paths",
    "Stored",
    "Trajectory",
    "explained",
    "read_checkpoint",
    "replacing",
    "write_checkpoint",
    "write_result",
]

if TYPE_CHECKING:
    import xarray as xr

    from . import netcdf
else:
    netcdf = later("langevin.files.netcdf")


#: Raised when the layout of checkpoints changes, so that an old one is refused, not misread.
CHECKPOINT_FORMAT = 5


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
            If the path is no file's, its folder is missing or may not be written to, its name is too long for
            the files beside it, or something would be overwritten.
        """
        require_writable(self.result, f"output.path = {str(self.result)!r}", self._longest)
        for path, kind in ((self.checkpoint, "run"), (self.manifest, "sweep")):
            if path.exists() and not force:
                raise UserError(
                    f"{self.sweep if kind == 'sweep' else path} holds an unfinished {kind}: "
                    f"continue it with `langevin resume {self.result}`, or discard it with --force"
                )
        for path in (self.result, *([self.figure] if figure else [])):
            if path.exists() and not force:
                raise UserError(f"{path} exists; overwrite it with --force, or give another output.path")

    @property
    def _longest(self) -> str:
        """The longest name of a file beside the result."""
        aside = (f".{self.checkpoint.name}.partial", f".{self.sweep.name}.discarded")
        return max((*aside, *(self.raw(variable).name for variable in STORED)), key=len)

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Keep every other process off these files; the lock ends with the process, however it ends.

        Where the file system has no locks, a warning says so.

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
            if not locking.take(handle, path, self.result):
                raise UserError(f"another process is working on {self.result}")
            try:
                yield handle
            finally:
                # A lock file that stays does no harm.
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def discard(self) -> None:
        """Remove the checkpoint, and then what it relies on; remove the folder of a sweep."""
        with explained(self.sweep, "remove"):
            aside = self.sweep.with_name(f".{self.sweep.name}.discarded")
            if self.sweeping:
                # Renamed first: half of a folder would be taken for a sweep, or for somebody else's.
                self.sweep.rename(aside)
            if aside.exists():
                shutil.rmtree(aside)
        with explained(self.checkpoint, "remove"):
            for path in (self.checkpoint, self.references, *map(self.raw, STORED)):
                path.unlink(missing_ok=True)


def require_writable(path: Path, said: str, longest: str | None = None) -> None:
    """Make sure that a file may be written here, whether or not there is one.

    Parameters
    ----------
    path : Path
    said : str
        What messages call it.
    longest : str, optional
        The longest name of a file that will stand beside it (default: that of the file before it is renamed).

    Raises
    ------
    UserError
        If it is no file's, its folder is missing or may not be written to, or its name is too long.
    """
    try:
        path.name.encode()
        found = disk.kind(path)
        if found not in (None, "a file"):
            raise UserError(f"{said} is {found}; give a file, such as pspin.nc")
        if disk.kind(path.parent) != "a folder":
            raise UserError(f"{said}: there is no folder {path.parent}")
        most = os.pathconf(path.parent, "PC_NAME_MAX")
        if (over := len(os.fsencode(longest or f".{path.name}.partial")) - most) > 0:
            allowed = len(os.fsencode(path.name)) - over
            raise UserError(
                f"{said}: the name is too long, with the files beside it; allowed: {allowed} bytes"
            )
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise UserError(f"{said}: no permission to write in {path.parent}")
    except UnicodeEncodeError:
        raise UserError(f"{said}: the name is no UTF-8, as netCDF needs it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{said}: {getattr(error, 'strerror', None) or error}") from None


def write_result(
    dataset: xr.Dataset, path: Path, trajectories: Sequence[Trajectory] = (), position: int = 0
) -> None:
    """Write a result file, with checksums.

    Parameters
    ----------
    dataset : Dataset
    path : Path
    trajectories : sequence of Trajectory
        Each becomes a variable (time, replica, component), in chunks of one time or less.
    position : int
        How many scheduled times the run has reached; what belongs to the others is NaN.

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
        found = notes["format"]
    except (OSError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StorageError(f"{path} is not a checkpoint that can be read: {error}") from error
    if found != CHECKPOINT_FORMAT:
        raise StorageError(
            f"{path} was written by another version of langevin (format {found}, "
            f"here {CHECKPOINT_FORMAT}); finish it with the version it names: {dataset.attrs.get('source')}"
        )
    if not sealed:
        raise StorageError(f"{path} is damaged, or another program has changed it: its checksum is missing")
    return dataset, arrays, notes
