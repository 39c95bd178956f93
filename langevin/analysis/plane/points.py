"""The configurations that planes go through, and those that are projected onto them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from langevin.code import trust
from langevin.config.settings import Settings
from langevin.core.system import Array
from langevin.errors import UserError
from langevin.files import storage
from langevin.results import configurations
from langevin.results.configurations import StoredRun
from langevin.results.members import sweep_dims


@dataclass(frozen=True)
class Point:
    """A stored configuration.

    Attributes
    ----------
    name : str
        In the figure.
    run : StoredRun
    position : int
        Of the replica.
    """

    name: str
    run: StoredRun
    position: int

    @property
    def x(self) -> Array:
        """The configuration, shape (dof,)."""
        return self.run.x[self.position]

    @property
    def replica(self) -> int:
        """Label of the replica."""
        return int(self.run.replica[self.position])

    @property
    def constants(self) -> Array:
        """What never changes beside the configuration, shape (a,)."""
        beside = self.run.beside
        return np.empty(0) if beside is None else beside.fixed[self.position]

    @property
    def disorder(self) -> tuple[object, ...]:
        """What keys the quenched disorder: the seed, the sample's label, and what the system says of it."""
        settings = self.run.settings
        keys = settings.system_class.disorder_keys
        further = (getattr(settings.dynamics, key) for key in keys)
        return settings.ensemble.seed, int(self.run.sample[self.position]), *further

    @property
    def said(self) -> str:
        """File and replica, for messages."""
        return f"{self.run.path} (replica {self.replica})"


@dataclass(frozen=True)
class Trail:
    """Configurations in a row: a trajectory or a curve.

    Attributes
    ----------
    name, source : str
    at : ndarray, shape (T,)
        Times; of a curve positions from 0 to 1.
    x : ndarray, shape (T, dof)
    settings : Settings
        Of the run.
    """

    name: str
    source: str
    at: Array
    x: Array
    settings: Settings


def three(files: Sequence[Path], replica: int, replicas: str | None, time: float | None) -> list[Point]:
    """Return the three points that files hold, one each, or one file in three replicas.

    Raises
    ------
    UserError
        If there are not three.
    """
    if len(files) not in (1, 3):
        raise UserError(
            f"plane: {len(files)} files given; allowed: three, one with three replicas, or --principal"
        )
    runs = {path: configurations.read(path, time) for path in dict.fromkeys(files)}
    if replicas is not None:
        labels = _labels(replicas)
    elif len(files) == 3:
        labels = [replica] * 3
    else:
        labels = runs[files[0]].replica[:3].tolist()
    if len(labels) != 3:
        few = f"{files[0]}: {len(labels)} replicas" if replicas is None else f"--replicas {replicas}"
        raise UserError(f"{few}; a plane needs three")
    paths = list(files) * (3 // len(files))
    names = [p.stem for p in paths]
    if len(set(names)) < 3:
        names = [f"replica {k}" for k in labels] if len(set(labels)) == 3 else list("ABC")
    return [
        Point(name, runs[path], position(runs[path].replica, label, path))
        for name, path, label in zip(names, paths, labels, strict=True)
    ]


def _labels(given: str) -> list[int]:
    try:
        return [int(part) for part in given.split(",")]
    except ValueError:
        raise UserError(f"--replicas {given}: must be three labels, such as 0,1,2") from None


def position(labels: NDArray[np.int64] | xr.DataArray, wanted: int, path: Path) -> int:
    """Return where the replica with a label stands.

    Raises
    ------
    UserError
        If there is none.
    """
    known = np.asarray(labels).astype(int).tolist()
    if wanted not in known:
        allowed = ", ".join(map(str, known if len(known) <= 8 else [*known[:7], "…", known[-1]]))
        raise UserError(f"{path}: replica {wanted} is not in the file; allowed: {allowed}")
    return known.index(wanted)


def trajectory(path: Path, replica: int) -> Trail:
    """Return every stored configuration of one replica, as far as the run came.

    Raises
    ------
    UserError
        If the file holds none, or no such replica.
    """
    with storage.open_result(path) as dataset:
        # Its messages serve here, too: a sweep, or nothing stored.
        if sweep_dims(dataset) or not configurations.times(dataset).size:
            configurations.configuration(dataset, name=str(path))
        place = position(dataset["replica"], replica, path)
        found: dict[float, Array] = {}
        for name, dim in configurations.holders(dataset).items():
            rows = dataset[name].transpose(dim, "replica", "dof")[:, place].to_numpy()
            found |= dict(zip(dataset[dim].to_numpy().tolist(), rows, strict=True))
        settings = configurations.settings(dataset, path)
    reached = sorted(t for t, x in found.items() if np.isfinite(x).all())
    if not reached:
        raise UserError(f"{path}: the run reached no time at which a configuration is stored")
    return Trail(path.stem, str(path), np.array(reached), np.stack([found[t] for t in reached]), settings)


def require_same_system(
    first: Settings, dof: int, other: Settings, other_dof: int, paths: Sequence[str]
) -> None:
    """Make sure that two configurations belong to one system, [system] and [data] of the run files alike.

    Raises
    ------
    UserError
        Which key differs.
    """
    here, there = paths
    start = first.system_class.start_keys
    for table, one, two in (
        ("system", {"name": first.system_name}, {"name": other.system_name}),
        ("system", _keys(first.system, start), _keys(other.system, start)),
        ("data", {"name": first.data_name}, {"name": other.data_name}),
        ("data", _keys(first.data), _keys(other.data)),
    ):
        for key in one.keys() | two.keys():
            if one.get(key) != two.get(key):
                given, wanted = two.get(key), one.get(key)
                raise UserError(f"{there}: {table}.{key} = {given!r}; must be {wanted!r}, as in {here}")
    trust.require_same(first.code, other.code, (here, there))
    if dof != other_dof:
        raise UserError(f"{there}: {other_dof} degrees of freedom; must be {dof}, as in {here}")


def _keys(section: object, apart: Sequence[str] = ()) -> dict[str, object]:
    """Return the keys of a section, without those that only make a start."""
    dump = getattr(section, "model_dump", None)
    return {} if dump is None else {name: value for name, value in dump().items() if name not in apart}
