"""Every reference, kept at a waiting time, is written once, beside the checkpoint."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.core.system import Reference
from langevin.errors import LangevinError, StorageError
from langevin.files.disk import Raw

#: Where a reference stands: first byte, end; checksum; type, as .npy files write it; shape.
Place = tuple[int, int, str, str, list[int]]


class References:
    """The references of an unfinished run: one file of plain arrays, whose places the checkpoint knows.

    A reference never changes after its waiting time, and may be far larger than the rest of a checkpoint. It
    is written when the first checkpoint after its waiting time is, and synced before that one takes its
    place. After its last pair it is not needed any more: its room is used again, once a checkpoint that does
    not know of it stands on the disk. So the file grows to what is needed at once, not to all that ever was.
    What stands where the last checkpoint knows of nothing was written by a process that was killed: it is
    written again.

    Parameters
    ----------
    path : Path
    places : mapping, optional
        Index of a waiting time (JSON makes a string of it) → place, as `places` of the process before had it.
        Empty: a new run.

    Raises
    ------
    StorageError
        If the file was removed or cut since these were written.
    """

    def __init__(self, path: Path, places: Mapping[Any, Any] | None = None) -> None:
        self.path = path
        self.places: dict[int, Place] = {int(i): tuple(place) for i, place in (places or {}).items()}
        #: Those that the checkpoint on the disk relies on.
        self._settled = dict(self.places)
        self._file = Raw(path)
        if self._file.size < max((place[1] for place in self.places.values()), default=0):
            raise StorageError(f"{path} lacks references that were stored: it was removed or cut")

    def write(self, references: Mapping[int, Reference]) -> None:
        """Bring onto the disk those references that are not there yet; of the others nothing is looked at.

        Those that are not among them any more are forgotten.

        Raises
        ------
        LangevinError
            If `numpy.asarray` makes no plain array of one.
        StorageError
            If it cannot be written.
        """
        self.places = {index: place for index, place in self.places.items() if index in references}
        missing = [index for index in references if index not in self.places]
        for index in missing:
            array = np.asarray(references[index])
            if array.dtype.hasobject:
                raise LangevinError(
                    f"the reference of waiting time number {index} is a {type(references[index]).__name__}, "
                    "of which numpy.asarray makes no array of numbers"
                )
            start = self._room(array.nbytes)
            checksum = self._file.write(array, start)
            described = repr(np.lib.format.dtype_to_descr(array.dtype))
            self.places[index] = (start, start + array.nbytes, checksum, described, list(array.shape))
        if missing:
            self._file.flush()

    def settle(self) -> None:
        """Take note that the checkpoint which knows of these places has taken its own."""
        self._settled = dict(self.places)

    def _room(self, size: int) -> int:
        """Return where so many bytes harm nothing that this checkpoint or the last one relies on."""
        start = 0
        for first, end, *_ in sorted((*self.places.values(), *self._settled.values())):
            if start + size <= first:
                break
            start = max(start, end)
        return start

    def read(self) -> dict[int, NDArray[Any]]:
        """Return every reference that is there, by the index of its waiting time, as the array it became.

        Raises
        ------
        StorageError
            If there is something else in the file.
        """
        references = {}
        for index, (start, end, checksum, described, shape) in self.places.items():
            kind = np.lib.format.descr_to_dtype(ast.literal_eval(described))
            references[index] = self._file.read(start, end - start, checksum).view(kind).reshape(shape)
        return references

    def close(self) -> None:
        """Close the file."""
        self._file.close()
