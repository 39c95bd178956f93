"""The files of a run's shards become the file of the run, joined along `replica`, a piece at a time.

Names, order, types, chunks and numbers are those of the single run. Of a shard that is missing there is NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from langevin.core.ensemble import Ensemble
from langevin.errors import LangevinError
from langevin.files import netcdf, sealing
from langevin.files.disk import replacing
from langevin.machine.interruption import heed

from . import combine

#: Global attributes that are joined in words where shards differ in them: they may have run anywhere.
_JOINED = ("versions", "commit", "device", "source")


class Part(NamedTuple):
    """A shard of a run.

    Attributes
    ----------
    positions : ndarray of int
        Of its replicas among all, ascending.
    file : Path or None
        Its result, or the checkpoint of one that failed, or nothing.
    failed : str
        Why it failed; empty if it did not.
    """

    positions: NDArray[np.int64]
    file: Path | None
    failed: str = ""


def write(parts: Sequence[Part], whole: Ensemble, attributes: Mapping[str, Any], path: Path) -> str:
    """Write the file of a run from those of its shards, aside first, then in one step.

    Parameters
    ----------
    parts : sequence of Part
        One file at least is there.
    whole : Ensemble
        All replicas of the run.
    attributes : mapping
        Global attributes that the run has for itself. The others are those of the shards; its wall time is
        the sum of theirs.
    path : Path

    Returns
    -------
    str
        The status of the run, as the file says it.
    """
    with ExitStack() as opened:
        datasets = [None if p.file is None else opened.enter_context(combine.opened(p.file)) for p in parts]
        join = _Join(parts, datasets, whole)
        status = _status(parts, datasets)
        with replacing(path) as aside:
            skeleton = join.skeleton()
            skeleton.attrs = {**join.attributes(), **attributes, "status": status}
            netcdf.write(skeleton, aside)
            with netcdf.Addition(aside) as file:
                for name in join.variables:
                    join.copy(name, file)
            sealing.seal(aside)
    return status


def _status(parts: Sequence[Part], datasets: Sequence[xr.Dataset | None]) -> str:
    ends = [
        "failed" if part.failed else "missing" if d is None else str(d.attrs["status"])
        for part, d in zip(parts, datasets, strict=True)
    ]
    counts = {w: sum(end.startswith(w) for end in ends) for w in ("failed", "unfinished", "missing")}
    said = " and ".join(f"{n} of {len(parts)} shards {word}" for word, n in counts.items() if n)
    if said:
        return f"incomplete: {said}"
    diverged = [end for end in ends if end != "complete"]
    if not diverged or len(parts) == 1:
        return ends[0] if len(parts) == 1 else "complete"
    return f"{diverged[0]} ({len(diverged)} of {len(parts)} shards)"


class _Join:
    """What the shards' files hold together."""

    def __init__(self, parts: Sequence[Part], datasets: Sequence[xr.Dataset | None], whole: Ensemble) -> None:
        self.whole = whole
        self.present = [(p.positions, d) for p, d in zip(parts, datasets, strict=True) if d is not None]
        files = [d for _, d in self.present]
        for positions, dataset in self.present:
            if not np.array_equal(dataset["replica"], whole.replica[positions]):
                raise LangevinError("a shard's file holds other replicas: another version has cut the run")
        #: The file that has gone farthest says what there is: shards that failed early have less.
        self.first = max(files, key=lambda d: len(d.variables))
        self.variables = {str(name): v for name, v in self.first.data_vars.items()}
        for dataset in files:
            for name, variable in dataset.data_vars.items():
                if self.variables.setdefault(str(name), variable).dims != variable.dims:
                    raise LangevinError(f"{name} has other dimensions in other shards: they make no run")
        self.sizes = {str(dim): size for d in files for dim, size in d.sizes.items()}
        for dataset in files:
            for dim, size in dataset.sizes.items():
                self.sizes[str(dim)] = max(self.sizes[str(dim)], size)
        self.sizes["replica"] = whole.size
        self.complete = sum(len(positions) for positions, _ in self.present) == whole.size

    def skeleton(self) -> xr.Dataset:
        """Return the coordinates: along replica joined, else as every shard has them."""
        skeleton = xr.Dataset()
        coordinates = {str(name): c for _, d in reversed(self.present) for name, c in d.coords.items()}
        order = [*map(str, self.first.coords), *coordinates]
        for name in dict.fromkeys(order):
            variable = coordinates[name]
            if name == "replica":
                values: Any = self.whole.replica
            elif name == "sample":
                values = self.whole.sample
            elif "replica" in variable.dims:
                values = self._along_replicas(name, variable)
            else:
                values = variable.to_numpy()
                if any(name in d.coords and not _same(d[name].to_numpy(), values) for _, d in self.present):
                    raise LangevinError(f"{name} differs between shards: they make no run")
            skeleton = skeleton.assign_coords({name: (variable.dims, values, dict(variable.attrs))})
        return skeleton

    def _along_replicas(self, name: str, variable: xr.DataArray) -> NDArray[Any]:
        words = variable.dtype.kind in "OUS"
        shape = [self.sizes[str(dim)] for dim in variable.dims]
        joined = np.full(shape, "" if words else np.nan, dtype=object if words else np.float64)
        axis = variable.dims.index("replica")
        for positions, dataset in self.present:
            if name in dataset.coords:
                joined[(slice(None),) * axis + (positions,)] = dataset[name].to_numpy()
        return joined

    def attributes(self) -> dict[str, Any]:
        """Return the global attributes that shards share; where and how they ran, of all of them."""
        attributes = dict(self.first.attrs)
        for name in _JOINED:
            said = dict.fromkeys(str(d.attrs[name]) for _, d in self.present if name in d.attrs)
            if said:
                attributes[name] = "; ".join(said)
        spent = sum(float(d.attrs["wall_time_seconds"]) for _, d in self.present)
        return attributes | {"wall_time_seconds": round(spent, 3)}

    def copy(self, name: str, file: netcdf.Addition) -> None:
        """Copy one variable of every shard to its place."""
        variable = self.variables[name]
        dims = tuple(map(str, variable.dims))
        sizes = {dim: self.sizes[dim] for dim in dims}
        kept = self.complete and all(name in d and d[name].dtype == variable.dtype for _, d in self.present)
        kind = variable.dtype if kept and variable.dtype.kind in "iub" else np.float64
        # A chunk for each time or less, as in the shards' files.
        frames = dims[:1] != ("replica",) and (variable.encoding.get("chunksizes") or (0,))[0] == 1
        attributes = {k: v for k, v in variable.attrs.items() if k != "_FillValue"}
        file.add(name, kind, sizes, attributes, np.nan if kind is np.float64 else None, single=int(frames))
        for place, values in self._pieces(name, dims, kind):
            heed()
            file.put(name, place, values)

    def _pieces(
        self, name: str, dims: tuple[str, ...], kind: Any
    ) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
        """Yield where pieces of a variable go, and these: boxes of its first dimension and of replicas."""
        having = [(positions, d[name].variable) for positions, d in self.present if name in d]
        sizes = [self.sizes[dim] for dim in dims]
        if "replica" not in dims:
            yield tuple(slice(0, n) for n in having[0][1].shape), having[0][1].to_numpy()
            return
        axis = dims.index("replica")
        cuts = [*_slabs(sizes, axis)]
        for box in cuts:
            shape = [s.stop - s.start for s in box]
            values = np.full(shape, np.nan if kind is np.float64 else 0, dtype=kind)
            for positions, variable in having:
                # Ascending: those of a box are neighbours in the shard's file.
                begin, end = np.searchsorted(positions, (box[axis].start, box[axis].stop))
                if begin == end:
                    continue
                there = [slice(s.start, min(s.stop, n)) for s, n in zip(box, variable.shape, strict=True)]
                there[axis] = slice(int(begin), int(end))
                piece = variable[tuple(there)].to_numpy()
                inside: list[Any] = [slice(0, n) for n in piece.shape]
                inside[axis] = positions[begin:end] - box[axis].start
                values[tuple(inside)] = piece
            yield box, values


def _slabs(sizes: Sequence[int], axis: int) -> Iterator[tuple[slice, ...]]:
    """Yield boxes of up to `combine.PIECE` bytes: cut along the first dimension, then along `axis`."""
    most = max(1, combine.PIECE // 8)
    rest = int(np.prod(sizes[1:], dtype=np.int64))
    rows = max(1, most // max(1, rest))
    each = sizes[axis]
    if axis and rest > most:
        each = max(1, most // max(1, rest // max(1, sizes[axis])))
    for row in range(0, sizes[0], rows):
        for k in range(0, sizes[axis] if axis else 1, each if axis else 1):
            box = [slice(0, n) for n in sizes]
            box[0] = slice(row, min(row + rows, sizes[0]))
            if axis:
                box[axis] = slice(k, min(k + each, sizes[axis]))
            yield tuple(box)


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    if a.dtype.kind in "OUS":
        return a.tolist() == b.tolist()
    return np.array_equal(a, b, equal_nan=True)
