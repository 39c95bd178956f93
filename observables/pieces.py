"""Arrays larger than memory are taken in pieces here: those of Dask, and those that a file still holds.

Three kinds of arrays come in. One in memory is worked on as it is. One of Dask (`xarray.open_dataset` with
`chunks`) gives a result of Dask where the result is large, so that nothing is read until it is asked for. One
that lies in a file, as `langevin.open` gives it, is read piece by piece, where it has more than `HELD` bytes.
Dask is imported in functions alone that were given one of its arrays.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

#: Bytes of an array that are held at once. A smaller one is read whole: its bits are those of one in memory.
HELD = 2**26
#: Bytes of a block of a Dask array: as many threads as there are each hold some.
BLOCK = 2**25


def dask(module: str = "dask") -> Any:
    """Return a module of Dask."""
    return importlib.import_module(module)


def is_chunked(values: xr.DataArray) -> bool:
    """Return whether it is an array of Dask."""
    return values.chunks is not None


def is_large(values: xr.DataArray) -> bool:
    """Return whether it is to be taken in pieces: not in memory, and of more than `HELD` bytes."""
    # xarray says this nowhere else; `chunks` is None of arrays in files, too.
    return not values.variable._in_memory and values.nbytes > HELD


def slices(length: int, bytes_each: float) -> list[slice]:
    """Return slices of so many items, each of no more than `HELD` bytes, or of one item."""
    step = max(1, int(HELD // max(bytes_each, 1)))
    return [slice(k, min(k + step, length)) for k in range(0, length, step)] or [slice(0, 0)]


def in_pieces(values: xr.DataArray, whole: Sequence[Hashable] = ()) -> tuple[Hashable | None, list[slice]]:
    """Return the dimension along which an array is cut into pieces, and where; None: it is not.

    Parameters
    ----------
    values : DataArray
    whole : sequence of str
        Dimensions that every piece has all of.
    """
    others = [dim for dim in values.dims if dim not in whole]
    if not others or not is_large(values):
        return None, [slice(None)]
    # The outermost that is long enough: pieces then lie together in a file.
    most = values.nbytes / HELD
    long = [dim for dim in others if values.sizes[dim] >= most]
    dim = long[0] if long else max(others, key=lambda d: values.sizes[d])
    return dim, slices(values.sizes[dim], values.nbytes / values.sizes[dim])


class Rows:
    """Several arrays with one first axis, of which some rows are read at a time.

    Parameters
    ----------
    arrays : DataArray
        Of the same first dimension. Where none is large (`is_large`), all are read, once.

    Attributes
    ----------
    whole : list of ndarray, or None
        The arrays, if they are read.
    blocks : list of slice
        Rows that are read together; one block if the arrays are read.
    """

    def __init__(self, *arrays: xr.DataArray) -> None:
        self._arrays = arrays
        large = any(is_large(a) for a in arrays)
        size = arrays[0].shape[0]
        each = max((a.nbytes for a in arrays), default=0) / max(size, 1)
        self.whole = None if large else [a.to_numpy() for a in arrays]
        self.blocks = slices(size, each) if large else [slice(0, size)]

    def read(self, block: slice) -> list[NDArray[Any]]:
        """Return some rows of every array."""
        if self.whole is not None:
            return self.whole
        return [a[block].to_numpy() for a in self._arrays]

    def __iter__(self) -> Iterator[list[NDArray[Any]]]:
        """Iterate over the blocks."""
        return map(self.read, self.blocks)


def computed(values: Sequence[xr.DataArray]) -> list[xr.DataArray]:
    """Return small arrays computed: those of Dask together, so that what they have in common is read once."""
    if not any(map(is_chunked, values)):
        return list(values)
    return list(dask().compute(*values))


def nbytes(shape: Sequence[int], itemsize: int = 8) -> int:
    """Return the bytes of an array."""
    return math.prod(shape) * itemsize


def along(data: Any, axis: int, each: int) -> list[slice]:
    """Return slices of a Dask array along an axis, of `BLOCK` bytes: of whole chunks, or within one.

    Chunks of a file are small, and several make a slice; larger ones are cut.

    Parameters
    ----------
    data : dask Array
    axis : int
    each : int
        Bytes of one value of this axis that are held together.
    """
    most = max(1, BLOCK // max(each, 1))
    cuts: list[slice] = []
    start = 0
    for size in data.chunks[axis]:
        end = start + size
        if cuts and end - cuts[-1].start <= most:
            cuts[-1] = slice(cuts[-1].start, end)
        else:
            cuts += [slice(k, min(k + most, end)) for k in range(start, end, most)]
        start = end
    return cuts or [slice(0, 0)]


class Source:
    """A part of a Dask array that a task computes itself, in its own thread.

    As one of the task's arguments it would be computed before, by tasks that others share, and be kept for
    them.

    Parameters
    ----------
    part : dask Array
    """

    def __init__(self, part: Any) -> None:
        # Without the tasks of the other parts.
        (self._part,) = dask().optimize(part)

    def read(self) -> NDArray[Any]:
        """Return the part."""
        return np.asarray(self._part.compute(scheduler="synchronous"))


def source(part: Any) -> Any:
    """Return what `read` makes an array of in a task: a `Source`, or what a cluster has in memory already."""
    if "distributed" in sys.modules:
        future = sys.modules["distributed"].Future
        if any(isinstance(task, future) for task in dict(part.__dask_graph__()).values()):
            return part.rechunk(-1).to_delayed().item()
    return Source(part)


def read(given: Any) -> NDArray[Any]:
    """Return the array that was given to a task."""
    return given.read() if isinstance(given, Source) else given
