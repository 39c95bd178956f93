"""No other module calls the netCDF library, for only one thread at a time may be inside.

Neither netCDF-C nor HDF5 knows of threads, and netCDF4 lets other threads run while it is in them. xarray has
a lock for that, and holds it where it reads and writes values, but not where it asks for names, shapes and
attributes. Here it is held through every call, so that threads which run simulations, and one which opens
their checkpoints with `langevin.open`, do not meet.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends.locks import HDF5_LOCK, NETCDFC_LOCK

from langevin.errors import StorageError

from . import locking, sealing

#: Bytes of a chunk at most: it is read as a whole, for its checksum, and fits into caches.
CHUNK = 1_000_000

#: Bytes of a block of Dask: a thread holds one or two of them.
BLOCK = 2**25

_LOCKS: tuple[Any, Any] = (HDF5_LOCK, NETCDFC_LOCK)
_STORE: Any = xr.backends.NetCDF4DataStore

#: Kinds of numbers, which have checksums; words lie elsewhere in the file.
_NUMBERS = "biufc"


class Lock:
    """xarray's locks of the library; the thread that holds them may take them again."""

    def __init__(self) -> None:
        self._owner: int | None = None
        self._depth = 0

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock; return whether it was taken."""
        if self._owner != threading.get_ident():
            if not _take(blocking):
                return False
            self._owner = threading.get_ident()
        self._depth += 1
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._depth -= 1
        if not self._depth:
            self._owner = None
            for lock in _LOCKS:
                lock.release()

    def __enter__(self) -> None:
        """Take the lock."""
        self.acquire()

    def __exit__(self, *raised: object) -> None:
        """Give the lock back."""
        self.release()


def _take(blocking: bool) -> bool:
    """Take both of xarray's locks. None is held while the other is waited for: no order of them is safe."""
    first, second = _LOCKS
    while first.acquire(blocking):
        if second.acquire(False):
            return True
        first.release()
        if not blocking:
            break
        first, second = second, first
    return False


LOCK = Lock()


class _Reading:
    """`LOCK` as xarray holds it while it reads a file; what goes wrong then becomes a line that names it."""

    def __init__(self, path: Path) -> None:
        self.path, self.opened = path, False

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock; return whether it was taken."""
        return LOCK.acquire(blocking)

    def release(self) -> None:
        """Give the lock back."""
        LOCK.release()

    def __enter__(self) -> None:
        """Take the lock."""
        LOCK.acquire()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        LOCK.release()
        if self.opened and isinstance(error, OSError | RuntimeError):
            raise StorageError(f"{self.path} is damaged, or cannot be read any more: {error}") from error


def _library() -> Any:
    """Return netCDF4, with HDF5's own locks of files off, unless it was loaded before or the user has a say.

    They keep nothing apart here, for no file of ours is changed in place. But a file system may have none,
    and a process that another thread starts holds for an instant those of files that are being written. HDF5
    reads the switch when it is loaded: afterwards the environment is as it was.
    """
    if "netCDF4" in sys.modules or locking.SWITCH in os.environ:
        import netCDF4
    else:
        os.environ[locking.SWITCH] = "FALSE"
        try:
            import netCDF4
        finally:
            del os.environ[locking.SWITCH]
    return netCDF4


def open_dataset(path: Path, chunks: Any = None) -> xr.Dataset:
    """Open a file lazily, after a look at its seal unless it is very large.

    Parameters
    ----------
    path : Path
    chunks : optional
        As `xarray.open_dataset` takes it, for arrays of Dask; {}: those of `blocks`.

    Raises
    ------
    StorageError
        If the file is damaged; also from reading a value later.
    OSError, RuntimeError, ValueError
        If it is no netCDF file.
    """
    if path.stat().st_size <= sealing.LIMIT:
        sealing.verify(path)
    guard = _Reading(path)
    with LOCK:
        _library()
        try:
            dataset = in_blocks(partial(xr.open_dataset, path, engine="netcdf4", lock=guard), chunks)
        except (OSError, RuntimeError) as error:
            if not locking.serves(path):
                raise RuntimeError(locking.UNLOCKABLE) from error
            raise
    guard.opened = True
    return dataset


def in_blocks(opened: Callable[..., xr.Dataset], chunks: Any) -> xr.Dataset:
    """Open with these chunks; {}: with those of `blocks`.

    Parameters
    ----------
    opened : callable
        `xarray.open_dataset` of a file, which takes `chunks`.
    chunks
    """
    if not isinstance(chunks, Mapping) or chunks:
        return opened(chunks=chunks)
    with opened() as dataset:
        wanted = blocks(dataset)
    with warnings.catch_warnings():
        # Chunks of small variables, which are in the caches when their next part is read.
        warnings.filterwarnings("ignore", "The specified chunks separate the stored chunks", UserWarning)
        return opened(chunks=wanted)


def blocks(dataset: xr.Dataset) -> dict[str, int]:
    """Return the chunks of Dask's arrays: `BLOCK` bytes or less, made of whole chunks of the file.

    The chunks of a file are small, for checksums and caches; a graph of them would take longer than the work.
    One division of each dimension serves all variables. The outermost one, such as a time, is cut first.
    """
    cut: dict[str, int] = {}
    for variable in sorted(dataset.variables.values(), key=lambda v: -v.nbytes):
        stored = variable.encoding.get("preferred_chunks", {})
        sizes = {str(dim): cut.get(str(dim), size) for dim, size in variable.sizes.items()}
        for dim, size in sizes.items():
            room = BLOCK * size // max(variable.dtype.itemsize * math.prod(sizes.values()), 1)
            if room >= size:
                break
            step = min(int(stored.get(dim, 1)), size)
            sizes[dim] = cut[dim] = max(step, room // step * step)
    return {str(dim): cut.get(str(dim), -1) for dim in dataset.dims}


def group(path: Path, name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a group of a file."""
    with LOCK, _library().Dataset(path, "r") as file:
        file.set_auto_mask(False)
        return {str(name): variable[...] for name, variable in file[name].variables.items()}


def write(dataset: xr.Dataset, path: Path) -> None:
    """Write a dataset, with a checksum in every chunk of numbers."""
    encoding = {
        name: {
            **{key: variable.encoding[key] for key in ("_FillValue", "dtype") if key in variable.encoding},
            "fletcher32": True,
            "chunksizes": chunks(variable.shape, variable.dtype.itemsize),
        }
        for name, variable in dataset.variables.items()
        if variable.size and variable.ndim and variable.dtype.kind in _NUMBERS
    }
    with LOCK:
        _library()
        store = _STORE.open(str(path), mode="w", format="NETCDF4", lock=LOCK)
        try:
            dataset.dump_to_store(store, encoding=encoding)
        finally:
            store.close()


def chunks(shape: Sequence[int], itemsize: int, single: int = 0) -> tuple[int, ...]:
    """Return the shape of chunks: what lies together, up to `CHUNK` bytes.

    Parameters
    ----------
    shape : sequence of int
        Of the variable.
    itemsize : int
        Bytes of a number.
    single : int
        How many of its first dimensions a chunk has one value of.
    """
    chunk = [1] * len(shape)
    for axis in range(len(shape) - 1, single - 1, -1):
        room = CHUNK // (itemsize * math.prod(chunk))
        chunk[axis] = max(1, min(shape[axis], room))
        if chunk[axis] < shape[axis]:
            break
    return tuple(chunk)


class Addition:
    """A file to which variables are added; every call holds the lock, none of them for longer."""

    def __init__(self, path: Path) -> None:
        with LOCK:
            self._file = _library().Dataset(path, "a")

    def __enter__(self) -> Addition:
        """Return the file."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close the file."""
        with LOCK:
            self._file.close()

    def add(
        self,
        name: str,
        kind: Any,
        sizes: Mapping[str, int],
        attributes: Mapping[str, Any],
        fill: float | None = None,
        single: int = 0,
    ) -> None:
        """Add a variable, with a checksum in every chunk if it is one of numbers.

        Parameters
        ----------
        name : str
        kind : dtype or type
        sizes : mapping
            Its dimensions → their sizes; those that are not there yet are made.
        attributes : mapping
        fill : float, optional
            What stands where nothing is written.
        single : int
            As for `chunks`.
        """
        checked: dict[str, Any] = {}
        if kind is not str and sizes:
            shape = tuple(sizes.values())
            checked = {"fletcher32": True, "chunksizes": chunks(shape, np.dtype(kind).itemsize, single)}
        with LOCK:
            self._dimensions(self._file, sizes)
            variable = self._file.createVariable(name, kind, tuple(sizes), fill_value=fill, **checked)
            variable.setncatts(dict(attributes))

    def put(self, name: str, place: Any, values: Any) -> None:
        """Write values to their place in a variable."""
        with LOCK:
            self._file[name][place] = values

    def put_group(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add a group of plain arrays, without checksums of their own: the seal holds them."""
        with LOCK:
            group = self._file.createGroup(name)
            for array_name, array in arrays.items():
                sizes = {f"{array_name}_{axis}": size for axis, size in enumerate(array.shape)}
                self._dimensions(group, sizes)
                group.createVariable(array_name, array.dtype, tuple(sizes))[...] = array

    @staticmethod
    def _dimensions(where: Any, sizes: Mapping[str, int]) -> None:
        for dim, size in sizes.items():
            if dim not in where.dimensions:
                where.createDimension(dim, size)
