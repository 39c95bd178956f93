"""Configurations, and what stands for them, are kept raw beside the checkpoint while a run goes on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """A variable (axis, replica, component) that is stored at some of a run's stops.

    Attributes
    ----------
    name, dim : str
        Names of the variable and of its last dimension in the file.
    size : int
        Length of the last dimension.
    attributes : mapping
        netCDF attributes.
    axis : str
        Name of its first dimension, the times at which it is stored.
    stops : tuple of int
        Indices of these among the stops, ascending.
    """

    name: str
    dim: str
    size: int
    attributes: Mapping[str, Any]
    axis: str
    stops: tuple[int, ...]

    def frames(self, position: int) -> int:
        """Return at how many of the first `position` stops it is stored."""
        return bisect_left(self.stops, position)


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
        """Make sure that what belongs to the first `position` stops is there, as it was written.

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

    def write(self, frame: int, values: NDArray[Any]) -> None:
        """Store the values, shape (R, size), of one time of its own."""
        values = np.ascontiguousarray(values, dtype=np.float64)
        if values.shape != self.shape:
            # Written all the same, it would shift every later time.
            raise LangevinError(f"{self.stored.name} has shape {values.shape}; needed: {self.shape}")
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
        raw = self._file.read(frame * self.frame_bytes, self.frame_bytes, self.checksums[frame])
        return raw.view(np.float64).reshape(self.shape)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
