"""Results are exported as Zarr folders, for object stores and many readers at once, and opened from there.

netCDF stays what runs write. A folder `name.zarr` has the same variables, dimensions, attributes and values,
in Zarr format 3. Inner chunks are those of the netCDF file, up to 1 MB; up to `SHARD` bytes of them lie in
one object, a shard, whose index says where each begins: few objects, and small parts can be read of each.
Every chunk has a checksum (crc32c), as has every index. All shards are written, also where all is NaN: one
that is missing is damage, which Zarr itself reads as NaN.

Metadata of all variables stand in the folder's own `zarr.json`, too ("consolidated"): an object store is
asked once, not once for each variable. Nothing is added to a folder later, so that they cannot grow old.
"""

from __future__ import annotations

import importlib
import itertools
import json
import math
import os
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from langevin.errors import StorageError, UserError, first_line
from langevin.machine.extras import require_package
from langevin.machine.interruption import heed

from . import disk, netcdf

#: How the name of such a folder ends.
ENDING = ".zarr"

#: Bytes of a shard before it is compressed: it is written as a whole.
SHARD = 2**25

_ZARR_STORE: Any = xr.backends.ZarrStore

#: What the package raises where it cannot read.
_UNREADABLE = (OSError, RuntimeError, ValueError)


def _library() -> Any:
    return importlib.import_module("zarr")


def check(path: Path) -> None:
    """Make sure that the package is there, and that what would be replaced is a Zarr folder.

    Raises
    ------
    UserError
        Otherwise.
    """
    require_package("zarr", f"{path}", "zarr")
    if disk.kind(path) == "a folder" and any(path.iterdir()) and not (path / "zarr.json").exists():
        raise UserError(f"{path} is a folder with something else than Zarr in it; give another name")


def parts(dataset: xr.Dataset) -> int:
    """Return how many shards a dataset becomes."""
    return sum(1 for name in dataset.variables for _ in _regions(*_layout(dataset, name)))


def write(dataset: xr.Dataset, path: Path, done: Callable[[int], object] = lambda count: None) -> None:
    """Write a dataset as a Zarr folder, a shard at a time, without Dask.

    Parameters
    ----------
    dataset : Dataset
    path : Path
        Ending in .zarr; what is there is replaced, when all is written.
    done : callable
        Told after every shard how many there are more, 1.

    Raises
    ------
    UserError
        If the package is missing, or a variable holds something else than numbers and words.
    StorageError
        If it cannot be written, or the dataset cannot be read.
    """
    check(path)
    _require_plain(dataset)
    with disk.replacing_folder(path) as aside, warnings.catch_warnings():
        # Of consolidated metadata, which other readers pass over.
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part", UserWarning)
        arrays = _created(dataset, aside)
        for name, array in arrays.items():
            variable = _words(dataset[name].variable)
            for region in _regions(*_layout(dataset, name)):
                heed()
                array[region] = variable[region].to_numpy()
                done(1)
        _consolidate(aside, dataset)


def _consolidate(folder: Path, dataset: xr.Dataset) -> None:
    """Put the metadata of all variables into one file, in the order of the dataset."""
    _library().consolidate_metadata(str(folder), zarr_format=3)
    path = folder / "zarr.json"
    about = json.loads(path.read_text())
    arrays = about["consolidated_metadata"]["metadata"]
    about["consolidated_metadata"]["metadata"] = {name: arrays[name] for name in map(str, dataset.variables)}
    path.write_text(json.dumps(about, indent=2))


def _require_plain(dataset: xr.Dataset) -> None:
    for name, variable in dataset.variables.items():
        if variable.dtype.kind not in "biufUSOT":
            raise UserError(f"{name}: values of type {variable.dtype} have no place in a Zarr folder")


def _created(dataset: xr.Dataset, aside: Path) -> dict[Hashable, Any]:
    """Return the arrays of a new folder, with everything but the values.

    xarray makes the metadata, of a dataset that is as small as can be; then the arrays get their sizes.
    """
    zarr, codecs = _library(), importlib.import_module("zarr.codecs")
    small = dataset.isel({dim: slice(0, 1) for dim in dataset.dims}).compute().drop_encoding()
    small = small.map(_words, keep_attrs=True).assign_coords({n: _words(c) for n, c in small.coords.items()})
    stored = zarr.storage.MemoryStore()
    small.to_zarr(stored, mode="w", zarr_format=3, consolidated=False)
    template = zarr.open_group(stored, mode="r", zarr_format=3)
    group = zarr.create_group(str(aside), zarr_format=3, overwrite=True, attributes=dict(template.attrs))
    arrays = {}
    for name in dataset.variables:
        of_one = template[str(name)]
        shape, chunks, shards = _layout(dataset, name)
        arrays[name] = group.create_array(
            str(name),
            shape=shape,
            dtype=of_one.metadata.data_type,
            chunks=chunks,
            shards=shards,
            fill_value=of_one.fill_value,
            attributes=dict(of_one.attrs),
            dimension_names=of_one.metadata.dimension_names,
            compressors=(codecs.ZstdCodec(level=3), codecs.Crc32cCodec()),
            config={"write_empty_chunks": True},
        )
    return arrays


def _words(values: Any) -> Any:
    """Return words as Python's, which Zarr stores at their own lengths; everything else as it is."""
    return values.astype(object) if values.dtype.kind in "UST" else values


def _layout(
    dataset: xr.Dataset, name: Hashable
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...] | None]:
    """Return shape, shape of chunks, and shape of shards of a variable; None: of one chunk alone."""
    variable = dataset.variables[name]
    shape, itemsize = variable.shape, max(variable.dtype.itemsize, 1)
    stored = variable.encoding.get("preferred_chunks") or {}
    if set(stored) >= set(variable.dims) and all(isinstance(size, int) for size in stored.values()):
        chunks = tuple(max(1, min(stored[dim], size)) for dim, size in zip(variable.dims, shape, strict=True))
    else:
        chunks = tuple(max(1, size) for size in netcdf.chunks(shape, itemsize))
    shards = list(chunks)
    # The last dimensions first: what lies together.
    for axis in reversed(range(len(shape))):
        room = max(1, SHARD // (itemsize * math.prod(shards)))
        whole = -(-shape[axis] // chunks[axis])
        shards[axis] = chunks[axis] * max(1, min(room, whole))
        if room < whole:
            break
    return shape, chunks, tuple(shards) if shape else None


def _regions(
    shape: Sequence[int], chunks: Sequence[int], shards: Sequence[int] | None
) -> Iterator[tuple[slice, ...]]:
    """Yield the places of all shards."""
    steps = chunks if shards is None else shards
    along = (
        [slice(k, min(k + step, size)) for k in range(0, size, step)]
        for size, step in zip(shape, steps, strict=True)
    )
    yield from itertools.product(*along)


def open_folder(path: Path, chunks: Any = None) -> xr.Dataset:
    """Open a Zarr folder lazily, after a look whether all shards are there.

    Parameters
    ----------
    path : Path
    chunks : optional
        As for `langevin.files.netcdf.open_dataset`.

    Raises
    ------
    UserError
        If it is none, or the package is missing.
    StorageError
        If shards are missing; also from reading a value later that is damaged.
    """
    require_package("zarr", f"{path}", "zarr")
    try:
        _require_whole(path)
        store = _store(path)
        dataset = netcdf.in_blocks(partial(xr.open_dataset, store), chunks)
    except StorageError:
        raise
    except (*_UNREADABLE, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a Zarr folder that can be read: {first_line(error)}") from None
    words = [name for name, variable in dataset.variables.items() if variable.dtype.kind in "TO"]
    return dataset.assign({name: dataset[name].load().astype(object).astype(str) for name in words})


def _require_whole(path: Path) -> None:
    """Make sure that every array has all of its shards."""
    for name, array in _library().open_group(str(path), mode="r", zarr_format=3).arrays():
        shape, shards = array.shape, array.shards or array.chunks
        expected = math.prod(-(-size // shard) for size, shard in zip(shape, shards, strict=True))
        there = sum(len(files) for _, _, files in os.walk(path / name)) - (path / name / "zarr.json").exists()
        if there < expected:
            raise StorageError(
                f"{path} is damaged: {expected - there} of {expected} parts of {name} are missing"
            )


def _store(path: Path) -> Any:
    """Return xarray's store of a folder, in which what goes wrong becomes a line that names it."""

    class Store(xr.backends.ZarrStore):
        def open_store_variable(self, name: str) -> xr.Variable:
            """Return a variable whose values are read through `_Guarded`."""
            variable: Any = _ZARR_STORE.open_store_variable(self, name)
            variable._data.array = _Guarded(variable._data.array, path, name)
            return variable

    consolidated = "consolidated_metadata" in json.loads((path / "zarr.json").read_text())
    return Store.open_group(str(path), mode="r", zarr_format=3, consolidated=consolidated)


class _Guarded(xr.backends.BackendArray):
    """An array in a folder; an error of reading becomes a line that says where it is.

    Parameters
    ----------
    array : BackendArray
    path : Path
    name : str
    """

    def __init__(self, array: Any, path: Path, name: str) -> None:
        self._inside, self._path, self._name = array, path, name
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._inside[key]
        except _UNREADABLE as error:
            said = first_line(error)
            raise StorageError(f"{self._path} is damaged: {self._name} cannot be read: {said}") from error


def size(path: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum((Path(folder) / name).stat().st_size for folder, _, files in os.walk(path) for name in files)
