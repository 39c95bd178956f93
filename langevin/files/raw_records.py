"""What a run stores of its configuration, raw beside its checkpoint while it goes on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.core.system import Configuration
from langevin.errors import LangevinError, StorageError

from .disk import Raw

#: Variables that stand raw beside an unfinished run → how their files end, and what messages call them.
STORED = {
    "configuration": "configurations",
    "sketch": "sketches",
    "snapshot": "snapshots",
    "configuration_buffers": "buffers",
    "snapshot_buffers": "snapbuffers",
}


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
    stands_beside : bool
        Whether `of` is given what stands beside a configuration and moves (`answers.Beside`), instead.
    """

    name: str
    dim: str
    size: int
    attributes: Mapping[str, Any]
    of: Callable[[Configuration], Configuration]
    axis: str = "time"
    stops: tuple[int, ...] | None = None
    stands_beside: bool = False

    def due(self, index: int) -> bool:
        """Return whether it is stored at the scheduled time with this index."""
        return self.stops is None or self.frames(index + 1) > self.frames(index)

    def frames(self, position: int) -> int:
        """Return at how many of the first `position` scheduled times it is stored."""
        return position if self.stops is None else bisect_left(self.stops, position)


class Trajectory:
    """One `Stored` variable, as raw float64 on disk while the run goes on.

    Raw, because a write to a fixed place cannot damage what stands elsewhere in the file: after a kill,
    resuming writes the same numbers to the same places. The checksum of every record is part of the
    checkpoint.

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
        #: Checksums of the records, in their order.
        self.checksums: list[str] = []
        self._file = Raw(path)

    @property
    def frame_bytes(self) -> int:
        """Size of what one time holds, of all replicas."""
        return self.shape[0] * self.shape[1] * 8

    def require(self, position: int, checksums: str = "") -> None:
        """Make sure that what belongs to the first `position` scheduled times is there, as it was written.

        Parameters
        ----------
        position : int
        checksums : str
            As `noted` gave them to the checkpoint.

        Raises
        ------
        StorageError
            If the file was removed, cut or damaged since they were written.
        """
        frames = self.stored.frames(position)
        if self._file.size < frames * self.frame_bytes:
            raise StorageError(
                f"{self.path} lacks {STORED[self.stored.name]} that were stored: it was removed or cut"
            )
        self.checksums = checksums.split()[:frames]
        for frame in range(frames):
            self.read(frame)

    def noted(self) -> str:
        """Return the checksums of all records in one line."""
        return " ".join(self.checksums)

    def write(self, index: int, x: Configuration) -> None:
        """Store what belongs to the configuration x, shape (R, dof), at the scheduled time of this index."""
        values = np.ascontiguousarray(self.stored.of(x), dtype=np.float64)
        if values.shape != self.shape:
            # Written all the same, it would shift every later time.
            raise LangevinError(f"{self.stored.name} has shape {values.shape}; needed: {self.shape}")
        frame = self.stored.frames(index)
        self.checksums[frame:] = [self._file.write(values, frame * self.frame_bytes)]

    def flush(self) -> None:
        """Bring everything written onto the disk."""
        self._file.flush()

    def read(self, frame: int) -> NDArray[np.float64]:
        """Return what one time of its own holds, shape (R, size).

        Raises
        ------
        StorageError
            If it is not what was written.
        """
        found = self._file.read(frame * self.frame_bytes, self.frame_bytes, self.checksums[frame])
        return found.view(np.float64).reshape(self.shape)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
