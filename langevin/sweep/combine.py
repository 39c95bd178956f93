"""Files of single runs become one with further dimensions in front, written a piece at a time.

Coordinates are united. Where a member has no value of a coordinate, no such variable, or was not measured,
there is NaN. What members differ in besides numbers becomes small variables, which `reading` describes and
undoes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from langevin.config.settings import Sweep
from langevin.errors import LangevinError, StorageError
from langevin.files import netcdf, sealing
from langevin.files.disk import replacing
from langevin.machine.interruption import heed
from langevin.record.recorder import TAKEN
from langevin.results.members import DIMENSIONS

from . import names

#: Bytes of a variable that are in memory at once.
PIECE = 64_000_000

#: Global attributes that the sweep has for itself.
_OWN = ("title", "run_file", "settings", "history", "threads")

#: Those of which every member keeps its own, whether they differ or not.
_EACH = {
    "status": {"long_name": "how the member ended"},
    "wall_time_seconds": {"long_name": "wall time of the member", "units": "s"},
}

_STRINGS = {"O", "U", "S"}


def write(
    sweep: Sweep,
    files: Sequence[Path | None],
    failed: Mapping[int, str],
    attributes: Mapping[str, Any],
    path: Path,
) -> list[str]:
    """Write the file of a sweep, aside first, then in one step.

    Parameters
    ----------
    sweep : Sweep
    files : sequence of Path or None
        For each member its result, or the checkpoint of one that failed, or nothing.
    failed : mapping of int to str
        Why members failed.
    attributes : mapping
        Global attributes of the sweep.
    path : Path

    Returns
    -------
    list of str
        The status of every member, as the file says it.
    """
    with ExitStack() as stack:
        datasets = [None if f is None else stack.enter_context(opened(f)) for f in files]
        union = _Union(sweep, datasets)
        ends = [
            f"failed: {failed[n]}" if n in failed else str(d.attrs["status"]) if d is not None else "missing"
            for n, d in enumerate(datasets)
        ]
        with replacing(path) as aside:
            skeleton = union.skeleton(ends)
            skeleton.attrs |= {**attributes, "status": _status(ends), DIMENSIONS: " ".join(union.dims)}
            netcdf.write(skeleton, aside)
            with netcdf.Addition(aside) as file:
                for name in union.variables:
                    union.copy(name, file)
            sealing.seal(aside)
    return ends


def opened(path: Path) -> xr.Dataset:
    """Return the file of a member or a shard, opened; one that is damaged is named, with what can be done."""
    try:
        return netcdf.open_dataset(path)
    except (StorageError, OSError, RuntimeError, ValueError) as error:
        said = str(error) if isinstance(error, StorageError) else f"{path} cannot be read: {error}"
        raise StorageError(f"{said}; without this file, resuming computes it again") from error


def _status(ends: Sequence[str]) -> str:
    words = ("diverged", "failed", "unfinished", "missing")
    counts = {word: sum(end.startswith(word) for end in ends) for word in words if ends}
    said = " and ".join(f"{count} of {len(ends)} members {word}" for word, count in counts.items() if count)
    return f"incomplete: {said}" if said else "complete"


class _Union:
    """What the members' files hold together, and where each of them has its place in it."""

    def __init__(self, sweep: Sweep, datasets: Sequence[xr.Dataset | None]) -> None:
        self.sweep = sweep
        self.present = {n: d for n, d in enumerate(datasets) if d is not None}
        files = list(self.present.values())
        #: Name → the first variable of this name.
        self.variables = {str(n): v for d in reversed(files) for n, v in d.data_vars.items()}
        self.variables = dict(sorted(self.variables.items(), key=lambda item: self._place(item[0], files)))
        for name, variable in self.variables.items():
            if any(name in d and d[name].dims != variable.dims for d in files):
                raise LangevinError(f"{name} has other dimensions in other members: they make no single file")
        own = {str(dim) for d in files for dim in d.dims}
        self.labels = {dim: _united([d[dim].to_numpy() for d in files if dim in d.coords]) for dim in own}
        self.sizes = {
            dim: len(labels) if labels is not None else max(d.sizes.get(dim, 0) for d in files)
            for dim, labels in self.labels.items()
        }
        taken = {*TAKEN, *self.variables, *own, *(str(c) for d in files for c in d.coords), *_EACH}
        self.coordinates = names.coordinates(sweep.axes, taken)
        self.dims = tuple(dict.fromkeys(dim for dim, _, _ in self.coordinates.values()))

    @staticmethod
    def _place(name: str, files: Sequence[xr.Dataset]) -> tuple[int, int]:
        """Return the order of a variable: that of the first file that has it."""
        return next((k, list(d.data_vars).index(name)) for k, d in enumerate(files) if name in d)

    def where(self, dataset: xr.Dataset, dim: str) -> NDArray[np.int64]:
        """Return where the values of a member's dimension stand in the united one."""
        if dim not in dataset.coords:
            return np.arange(dataset.sizes[dim])
        labels = self.labels[dim]
        assert labels is not None
        places = {value: k for k, value in enumerate(labels.tolist())}
        return np.array([places[value] for value in dataset[dim].to_numpy().tolist()], dtype=np.int64)

    def skeleton(self, ends: Sequence[str]) -> xr.Dataset:
        """Return all that is small: coordinates, what members differ in, and the attributes they share."""
        coordinates: dict[str, Any] = {
            dim: (dim, labels) for dim, labels in self.labels.items() if labels is not None
        }
        skeleton = xr.Dataset(coords={**coordinates, **self.coordinates})
        files = self.present.values()
        others = dict.fromkeys(str(name) for d in files for name, c in d.coords.items() if c.dims != (name,))
        for name in others:
            skeleton = skeleton.assign_coords({name: self._further(name)})
        for name in (*coordinates, *others):
            skeleton[name].attrs.update(self._shared(name, skeleton))
        skeleton.attrs = self._shared("", skeleton)
        for name in _EACH:
            values = {n: d.attrs.get(name) for n, d in self.present.items()}
            self._add(skeleton, name, ends if name == "status" else values, "", name)
        for name in self.variables:
            having = [n for n, d in self.present.items() if name in d]
            # Of a member that failed it is not known what it would have had.
            if len(having) < len(self.present):
                table = self._table({n: np.int8(n in having) for n in self.present}, np.int8(1))
                about = {"long_name": f"1 where the member has {name}", "present": name}
                skeleton[f"{name}_present"] = (self.dims, table, about)
        self._add_presence(skeleton)
        # What of the data variables differs is known before they are copied.
        self.shared = {name: self._shared(name, skeleton) for name in self.variables}
        return skeleton

    def _add_presence(self, skeleton: xr.Dataset) -> None:
        """Say which values of each coordinate are a member's own, where not all are."""
        for dim, labels in self.labels.items():
            sizes = {n: d.sizes.get(dim, 0) for n, d in self.present.items()}
            if labels is None:
                if len(set(sizes.values())) > 1:
                    table = self._table(sizes, self.sizes[dim])
                    skeleton[f"{dim}_size"] = (
                        self.dims,
                        table,
                        {"long_name": f"size of {dim}", "size_of": dim},
                    )
            elif set(sizes.values()) != {self.sizes[dim]}:
                rows = np.ones((len(self.sweep.members), self.sizes[dim]), dtype=np.int8)
                for n, dataset in self.present.items():
                    rows[n] = 0
                    rows[n, self.where(dataset, dim) if dim in dataset.dims else []] = 1
                table = rows.reshape(*self.sweep.shape, -1)
                about = {"long_name": f"1 where the member has this {dim}", "present": dim}
                skeleton[f"{dim}_present"] = ((*self.dims, dim), table, about)

    def _further(self, name: str) -> tuple[Any, Any, dict[str, Any]]:
        """Return a coordinate that is no dimension: one for all members if they agree, else one for each."""
        first = next(d[name] for d in self.present.values() if name in d.coords)
        inner = tuple(map(str, first.dims))
        shape = tuple(self.sizes[dim] for dim in inner)
        if first.dtype.kind in _STRINGS:
            return self._words(name, inner, shape)
        table = np.full((len(self.sweep.members), *shape), np.nan)
        for n, dataset in self.present.items():
            if name in dataset.coords:
                places = [self.where(dataset, dim) for dim in inner]
                table[n][np.ix_(*places)] = dataset[name].to_numpy()
        known = np.isfinite(table)
        merged = np.where(known.any(0), np.nan_to_num(np.nanmax(np.where(known, table, -np.inf), 0)), np.nan)
        whole = first.dtype.kind in "iu"
        if np.all(~known | (table == merged)):
            complete = np.isfinite(merged).all()
            return inner, merged.astype(np.int64) if whole and complete else merged, {}
        if whole and known.all():
            table = table.astype(np.int64)
        about = {"integer": 1} if whole and not known.all() else {}
        return (*self.dims, *inner), table.reshape(*self.sweep.shape, *shape), about

    def _words(
        self, name: str, inner: tuple[str, ...], shape: tuple[int, ...]
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Return a coordinate of words: one for all members if they agree, else one for each."""
        table = np.full((len(self.sweep.members), *shape), "", dtype=object)
        for n, dataset in self.present.items():
            if name in dataset.coords:
                table[n][np.ix_(*(self.where(dataset, dim) for dim in inner))] = dataset[name].to_numpy()
        merged = table.max(0)
        if np.all((table == "") | (table == merged)):
            return inner, merged, {}
        return (*self.dims, *inner), table.reshape(*self.sweep.shape, *shape), {}

    def _shared(self, name: str, skeleton: xr.Dataset) -> dict[str, Any]:
        """Return the attributes that all members share; what differs becomes variables of `made`."""
        attributes = {
            n: dict(d.attrs if name == "" else d[name].attrs)
            for n, d in self.present.items()
            if name == "" or name in d.variables
        }
        shared: dict[str, Any] = {}
        for key in dict.fromkeys(key for attrs in attributes.values() for key in attrs):
            if name == "" and key in (*_OWN, *_EACH):
                continue
            values = {n: attrs.get(key) for n, attrs in attributes.items()}
            first = values[next(iter(values))]
            if all(_equal(value, first) for value in values.values()):
                shared[key] = first
            else:
                self._add(skeleton, f"{name}_{key}" if name else key, values, name, key)
        return shared

    def _add(self, skeleton: xr.Dataset, wanted: str, values: Any, of: str, key: str) -> None:
        """Add a variable that holds an attribute of every member."""
        values = dict(enumerate(values)) if isinstance(values, list | tuple) else values
        known = [value for value in values.values() if value is not None]
        about: dict[str, Any] = {"long_name": f"attribute {key}" + f" of {of}" * bool(of)}
        about |= {**_EACH.get(key, {}), "attribute": key, "attribute_of": of}
        if all(isinstance(value, int | float | np.number) for value in known):
            if all(isinstance(value, int | np.integer) for value in known):
                about["integer"] = 1
            table = self._table({n: np.nan if v is None else v for n, v in values.items()}, np.nan)
        else:
            if not all(isinstance(value, str) for value in known):
                about["json"] = 1
                values = {
                    n: v if v is None else json.dumps(np.asarray(v).tolist()) for n, v in values.items()
                }
            table = self._table({n: v or "" for n, v in values.items()}, "")
        name = wanted
        while name in skeleton.variables or name in self.variables or name in skeleton.dims:
            name = f"member_{name}"
        skeleton[name] = (self.dims, table, about)

    def _table(self, values: Mapping[int, Any], otherwise: Any) -> NDArray[Any]:
        """Return one value for every member, in the shape of the sweep."""
        rows = [values.get(n, otherwise) for n in range(len(self.sweep.members))]
        text = any(isinstance(value, str) for value in rows)
        return np.array(rows, dtype=object if text else None).reshape(self.sweep.shape)

    def copy(self, name: str, file: netcdf.Addition) -> None:
        """Copy one variable of every member to its place."""
        variable = self.variables[name]
        own = tuple(map(str, variable.dims))
        whole = all(
            name in d and all(d.sizes[dim] == self.sizes[dim] for dim in own) for d in self.present.values()
        ) and len(self.present) == len(self.sweep.members)
        text = variable.dtype.kind in _STRINGS
        keeps = text or (variable.dtype.kind in "iub" and whole)
        kind = str if text else variable.dtype if keeps else "f8"
        sizes = dict(zip((*self.dims, *own), (*self.sweep.shape, *(self.sizes[d] for d in own)), strict=True))
        # A chunk for each time or less, as in the members' files.
        frames = (variable.encoding.get("chunksizes") or (0,))[0] == 1
        attributes = {k: v for k, v in self.shared[name].items() if k != "_FillValue"}
        fill = None if keeps else np.nan
        file.add(name, kind, sizes, attributes, fill, single=len(self.dims) + frames)
        for n, dataset in self.present.items():
            heed()
            if name in dataset:
                for places, values in self._pieces(dataset[name], own, dataset):
                    file.put(name, (*self.sweep.index(n), *places), values)

    def _pieces(
        self, values: xr.DataArray, own: Sequence[str], dataset: xr.Dataset
    ) -> Iterator[tuple[tuple[Any, ...], NDArray[Any]]]:
        """Yield where pieces of a member's variable go, and these, padded with NaN."""
        places = [self.where(dataset, dim) for dim in own]
        sizes = [self.sizes[dim] for dim in own]
        if not own or int(np.prod(sizes)) * 8 <= PIECE:
            yield (), self._padded(values.to_numpy(), places, sizes)
            return
        # One value of the first dimension after the other.
        for k, place in enumerate(places[0].tolist()):
            yield (place,), self._padded(values[k].to_numpy(), places[1:], sizes[1:])

    @staticmethod
    def _padded(
        values: NDArray[Any], places: Sequence[NDArray[np.int64]], sizes: Sequence[int]
    ) -> NDArray[Any]:
        if all(np.array_equal(p, np.arange(size)) for p, size in zip(places, sizes, strict=True)):
            return values
        text = values.dtype.kind in _STRINGS
        padded = np.full(sizes, "" if text else np.nan, dtype=object if text else np.float64)
        padded[np.ix_(*places)] = values
        return padded


def _united(arrays: Sequence[NDArray[Any]]) -> NDArray[Any] | None:
    """Return the union of a coordinate's values, numbers ascending; None if no member has any."""
    if not arrays:
        return None
    if arrays[0].dtype.kind in _STRINGS:
        return np.array(list(dict.fromkeys(v for a in arrays for v in a.tolist())), dtype=object)
    return np.unique(np.concatenate(arrays))


def _equal(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return type(a) is type(b) and np.array_equal(np.asarray(a), np.asarray(b))
