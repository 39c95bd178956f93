"""What is kept at the waiting times, on disk: every reference is written once, beside the checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.errors import LangevinError, StorageError
from langevin.storage import explained
from langevin.system import Reference


class References:
    """The references of an unfinished run: one file, in which each is an array in numpy's .npy format.

    A reference never changes after its waiting time, and may be far larger than the rest of a checkpoint. It
    is appended when the first checkpoint after its waiting time is written, and synced before that checkpoint
    takes its place. What stands behind the last reference that a checkpoint knows of was written by a process
    that was killed: it is written again.

    Parameters
    ----------
    path : Path
    places : mapping, optional
        Index of a waiting time (JSON makes a string of it) → first byte and end, as `places` of the process
        before had it. Empty: a new run.

    Raises
    ------
    StorageError
        If the file was removed or cut since these were written.
    """

    def __init__(self, path: Path, places: Mapping[Any, Any] | None = None) -> None:
        self.path = path
        self.places: dict[int, tuple[int, int]] = {int(i): (a, b) for i, (a, b) in (places or {}).items()}
        if self.places and not (path.exists() and path.stat().st_size >= self._end):
            raise StorageError(f"{path} lacks references that were stored: it was removed or cut")
        with explained(path):
            self._file = path.open("r+b" if path.exists() else "w+b")

    @property
    def _end(self) -> int:
        return max((end for _, end in self.places.values()), default=0)

    def write(self, references: Mapping[int, Reference]) -> None:
        """Bring onto the disk those references that are not there yet; of the others nothing is looked at.

        Raises
        ------
        LangevinError
            If `numpy.asarray` makes no plain array of one.
        StorageError
            If it cannot be written.
        """
        missing = [index for index in references if index not in self.places]
        for index in missing:
            array = np.asarray(references[index])
            if array.dtype.hasobject:
                raise LangevinError(
                    f"the reference of waiting time number {index} is a {type(references[index]).__name__}, "
                    "of which numpy.asarray makes no array of numbers"
                )
            start = self._end
            with explained(self.path):
                self._file.seek(start)
                np.lib.format.write_array(self._file, array, allow_pickle=False)
                self.places[index] = (start, self._file.tell())
        if missing:
            with explained(self.path):
                self._file.flush()
                os.fsync(self._file.fileno())

    def read(self) -> dict[int, NDArray[Any]]:
        """Return every reference that is there, by the index of its waiting time, as the array it became.

        Raises
        ------
        StorageError
            If there is something else in the file.
        """
        found = {}
        for index, (start, end) in self.places.items():
            try:
                self._file.seek(start)
                found[index] = np.lib.format.read_array(self._file, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise StorageError(f"{self.path} is damaged: {error}") from error
            if self._file.tell() != end:
                raise StorageError(f"{self.path} is damaged: it holds other references than were stored")
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()
