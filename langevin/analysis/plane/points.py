"""Planes go through stored configurations, and others are projected onto them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from langevin.config.settings import Settings
from langevin.core.system import Array
from langevin.errors import UserError
from langevin.results import configurations
from langevin.results.configurations import StoredRun
from langevin.results.kinds import require_run
from langevin.results.open import open_result
from langevin.speech import option


@dataclass(frozen=True)
class StoredPoint:
    """A stored configuration.

    Attributes
    ----------
    name : str
        In the figure.
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


def three(files: Sequence[Path], replica: int, replicas: str | None, time: float | None) -> list[StoredPoint]:
    """Return the three points that files hold, one each, or one file in three replicas.

    UserError if there are not three.
    """
    if len(files) not in (1, 3):
        raise UserError(
            f"plane: {len(files)} files given; allowed: three, one with three replicas, or "
            f"{option('principal')}"
        )
    runs = {path: configurations.read(path, time) for path in dict.fromkeys(files)}
    if replicas is not None:
        labels = _labels(replicas)
    elif len(files) == 3:
        labels = [replica] * 3
    else:
        labels = runs[files[0]].replica[:3].tolist()
    if len(labels) != 3:
        few = f"{files[0]}: {len(labels)} replicas" if replicas is None else option("replicas", replicas)
        raise UserError(f"{few}; a plane needs three")
    paths = list(files) * (3 // len(files))
    names = [p.stem for p in paths]
    if len(set(names)) < 3:
        names = [f"replica {k}" for k in labels] if len(set(labels)) == 3 else list("ABC")
    return [
        StoredPoint(name, runs[path], position(runs[path].replica, label, path))
        for name, path, label in zip(names, paths, labels, strict=True)
    ]


def _labels(given: str) -> list[int]:
    try:
        return [int(part) for part in given.split(",")]
    except ValueError:
        raise UserError(f"{option('replicas', given)}: must be three labels, such as 0,1,2") from None


def position(labels: NDArray[np.int64] | xr.DataArray, wanted: int, path: Path) -> int:
    """Return where the replica with a label stands; UserError if there is none."""
    known = np.asarray(labels).astype(int).tolist()
    if wanted not in known:
        allowed = ", ".join(map(str, known if len(known) <= 8 else [*known[:7], "…", known[-1]]))
        raise UserError(f"{path}: replica {wanted} is not in the file; allowed: {allowed}")
    return known.index(wanted)


def trajectory(path: Path, replica: int) -> Trail:
    """Return every stored configuration of one replica, as far as the run came.

    UserError if the file holds none, or no such replica.
    """
    with open_result(path) as dataset:
        require_run(dataset, str(path))
        # Its message serves here, too.
        if not configurations.times(dataset).size:
            configurations.configuration(dataset, name=str(path))
        place = position(dataset["replica"], replica, path)
        at, x = configurations.course(dataset, place)
        settings = configurations.settings(dataset, path)
    if not at.size:
        raise UserError(f"{path}: the run reached no time at which a configuration is stored")
    return Trail(path.stem, str(path), at, x, settings)
