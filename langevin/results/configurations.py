"""A result file holds configurations, and says which run left them there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langevin.code.user_code import Origin
from langevin.config import run_files
from langevin.config.settings import Settings
from langevin.core.system import Array, Beside
from langevin.errors import UserError

from .kinds import require_run
from .members import members, sweep_dims
from .open import open_result

if TYPE_CHECKING:
    import xarray as xr

#: Variables that hold configurations.
HOLDERS = ("configuration", "snapshot")


@dataclass(frozen=True)
class StoredRun:
    """A finished run, as far as its configurations go.

    Attributes
    ----------
    path : Path
        The file.
    x : ndarray, shape (R, dof)
        Configurations of all replicas at `time`.
    replica, sample : ndarray of int, shape (R,)
        Labels.
    attributes : dict
        Global attributes of the file.
    beside : Beside or None
        What stood beside the configurations, if the file holds it.
    energy : ndarray, shape (R,), or None
        That the run measured then; None if it did not.
    """

    path: Path
    settings: Settings
    x: Array
    time: float
    replica: NDArray[np.int64]
    sample: NDArray[np.int64]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    beside: Beside | None = None
    energy: Array | None = None


def holders(dataset: xr.Dataset) -> dict[str, str]:
    """Return the variables of a file that hold configurations → their dimension of times."""
    # Imported here: whoever checks a run file reads no results.
    from langevin.observables.pairs import time_axis

    return {name: time_axis(dataset[name]) for name in HOLDERS if name in dataset}


def times(dataset: xr.Dataset) -> Array:
    """Return the times at which the configuration is stored, ascending; none if it is not."""
    stored = [dataset[dim].to_numpy() for dim in holders(dataset).values()]
    return np.unique(np.concatenate([np.empty(0), *stored]))


def frame(dataset: xr.Dataset, time: float, suffix: str = "") -> xr.DataArray | None:
    """Return what is stored of all replicas at a time, lazily, in the dimensions that it has there.

    Parameters
    ----------
    suffix : str
        "": the configuration, (replica, dof); "_buffers": what moves beside it, (replica, buffer).

    Returns
    -------
    DataArray or None
        None if nothing is stored there.
    """
    # Imported here: whoever checks a run file reads no results.
    from langevin.observables.pairs import index_of

    for name, dim in holders(dataset).items():
        if (variable := name + suffix) in dataset:
            at = index_of(dataset[dim].to_numpy(), time)
            if at is not None:
                return dataset[variable].transpose(dim, "replica", ...)[at]
    return None


def configuration(dataset: xr.Dataset, time: float | None = None, name: str = "") -> tuple[Array, float]:
    """Return the configuration of all replicas at a stored time.

    Parameters
    ----------
    dataset : Dataset
        A result.
    time : float, optional
        A time at which it is stored; default: the last of them.
    name : str
        What messages call the file.

    Returns
    -------
    x : ndarray, shape (R, dof)
    time : float

    Raises
    ------
    UserError
        If there is none, none at this time, or the run did not come so far.
    """
    require_run(dataset, name)
    said, stored = f"{name}: " if name else "", times(dataset)
    if not stored.size:
        raise UserError(
            f"{said}no stored configuration; record.snapshots = [t_max] stores the last, "
            'record.configurations = "always" all'
        )
    wanted = float(stored[-1]) if time is None else time
    there = frame(dataset, wanted)
    if there is None:
        # With all digits: late times may lie close together.
        few = ", ".join(f"{t:.15g}" for t in (stored if stored.size <= 6 else [*stored[:3], *stored[-3:]]))
        raise UserError(f"{said}time = {wanted:.15g}: no configuration is stored there; stored: {few}")
    x = there.to_numpy()
    at = next(float(there[dim]) for dim in holders(dataset).values() if dim in there.coords)
    if not np.isfinite(x).all():
        raise UserError(f"{said}time = {at:g}: the run did not come so far")
    return np.asarray(x, dtype=np.float64), at


def course(dataset: xr.Dataset, position: int) -> tuple[Array, Array]:
    """Return every stored configuration of one replica, as far as its run came.

    Parameters
    ----------
    position : int
        Of the replica.

    Returns
    -------
    times : ndarray, shape (T,)
        Ascending.
    x : ndarray, shape (T, dof)
    """
    stored: dict[float, Array] = {}
    for name, dim in holders(dataset).items():
        rows = dataset[name].transpose(dim, "replica", "dof")[:, position].to_numpy()
        stored |= dict(zip(dataset[dim].to_numpy().tolist(), rows, strict=True))
    reached = sorted(t for t, x in stored.items() if np.isfinite(x).all())
    return np.array(reached), np.array([stored[t] for t in reached])


def read(path: str | Path, time: float | None = None, member: int | None = None) -> StoredRun:
    """Read the configurations of a result file, and its settings.

    Parameters
    ----------
    path : str or Path
    time : float, optional
        As of `configuration`.
    member : int, optional
        Of a sweep: which member is meant, by its number from 0 on.

    Raises
    ------
    UserError
        As `configuration`; if the file does not say its settings; if it has no such member.
    """
    path = Path(path)
    with open_result(path) as opened:
        dataset = opened if member is None else _numbered(opened, member, path)
        x, at = configuration(dataset, time, str(path))
        replica, sample = (dataset[n].to_numpy().astype(np.int64) for n in ("replica", "sample"))
        energy = dataset.get("energy")
        known = energy is not None and "time" in energy.dims and at in dataset["time"]
        measured = energy.sel(time=at).to_numpy() if energy is not None and known else None
        kept = settings(dataset, path), x, at, replica, sample, dict(dataset.attrs)
        return StoredRun(path, *kept, beside(dataset, at), measured)


def _numbered(dataset: xr.Dataset, number: int, path: Path) -> xr.Dataset:
    """Return a member of a sweep as a single run."""
    if not sweep_dims(dataset):
        raise UserError(f"{path}: member {number} is asked for; allowed: none, it is no sweep")
    found = next(islice(members(dataset), number, None), None)
    if found is None:
        count = sum(1 for _ in members(dataset))
        raise UserError(f"{path}: member {number} is asked for; allowed: 0 … {count - 1}, those of the sweep")
    return found[1]


def beside(dataset: xr.Dataset, time: float) -> Beside | None:
    """Return what stood beside the configurations of a time at which they are stored.

    Returns
    -------
    Beside or None
        None if the file does not hold it: nothing does, or the version that wrote it did not know of it.
    """
    replicas = dataset.sizes["replica"]
    fixed = None
    if "constants" in dataset:
        fixed = dataset["constants"].transpose("replica", "constant").to_numpy()
    buffers = frame(dataset, time, "_buffers")
    moving = None if buffers is None else buffers.to_numpy()
    if fixed is None and moving is None:
        return None
    none = np.empty((replicas, 0))
    return Beside(none if fixed is None else fixed, none if moving is None else moving)


def settings(dataset: xr.Dataset, path: Path) -> Settings:
    """Return the settings that a result was made from.

    Raises
    ------
    UserError
        If it does not say them.
    UnknownCode
        If they name code that the user has neither run nor trusted.
    """
    try:
        given = json.loads(dataset.attrs["settings"])
    except (KeyError, ValueError):
        given = None
    if not isinstance(given, dict):
        raise UserError(f"{path}: it does not say from which settings it was made")
    return run_files.load(given, folder=path.parent, origin=Origin.of(path, dataset.attrs.get("code")))
