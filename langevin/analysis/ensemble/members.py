"""Some configurations of a file are members of ensembles, and each of them has a cost.

A run whose learning rate goes through cycles collects members: its snapshots where a cycle of the schedule
gives one away. Of any other run the last stored configuration is the only member. Either way a replica is one
independent run, and an ensemble at k budgets pools the members of k replicas, each within one budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from langevin.code import trust
from langevin.config.settings import Settings
from langevin.core.capabilities import Classifies, StandsBeside, Verifies
from langevin.core.system import Array, Beside, System
from langevin.errors import UserError
from langevin.observables.pairs import ROUNDING, index_of
from langevin.results import configurations
from langevin.results.kinds import require_run
from langevin.results.same_system import require_same_system
from langevin.running.start import SPENT
from langevin.speech import option

#: Budgets of a table where there are replicas enough: those of Garipov et al. 2018.
BUDGETS = 3


@dataclass(frozen=True)
class Method:
    """A file: replicas, each of which gives members at the same times.

    Attributes
    ----------
    name : str
        What figures and tables call it.
    dataset : Dataset
        The file, open.
    times : ndarray, shape (members,)
        Times of the run at which a replica gives a member.
    cyclic : bool
        Whether they are those of cycles.
    """

    name: str
    path: Path
    dataset: xr.Dataset
    settings: Settings
    times: Array
    cyclic: bool

    @property
    def replicas(self) -> int:
        """Number of independent runs R."""
        return int(self.dataset.sizes["replica"])

    @property
    def before(self) -> float:
        """Steps that were spent before the run began, by those that led to what it began from."""
        return float(self.dataset.attrs.get(SPENT, 0.0))

    @property
    def cost(self) -> Array:
        """Steps spent when each member is there, shape (members,)."""
        return self.before + self.times

    @property
    def spent(self) -> float:
        """Steps of a whole replica, those before the run included."""
        return self.before + float(self.settings.dynamics.t_max)

    def stores(self, time: float) -> bool:
        """Say whether configurations of this time are stored."""
        return configurations.frame(self.dataset, time) is not None

    def configuration(self, time: float, position: int) -> Array:
        """Return the configuration of one replica at a stored time, shape (dof,).

        UserError if the run did not come so far.
        """
        stored = configurations.frame(self.dataset, time)
        if stored is not None:
            x = np.asarray(stored[position].to_numpy(), dtype=np.float64)
            if np.isfinite(x).all():
                return x
        raise UserError(f"{self.path}: time = {time:.15g}: the run did not come so far")

    def beside(self, time: float, position: int) -> Beside | None:
        """Return what stood beside a replica's configuration at a stored time, if the file holds it."""
        stored = configurations.beside(self.dataset, time)
        return None if stored is None else stored.of([position])

    def verify(self, system: System, time: float) -> None:
        """Make sure that a system is what left the configurations of a stored time.

        UserError if one of them has another energy there than in the file.
        """
        stored = configurations.beside(self.dataset, time)
        if stored is not None and isinstance(system, StandsBeside):
            system.recall(stored)
        at = index_of(self.dataset["time"].to_numpy(), time)
        known = "energy" in self.dataset and at is not None and not trust.is_given()
        if known and isinstance(system, Verifies):
            x = np.stack([self.configuration(time, position) for position in range(self.replicas)])
            energy = self.dataset["energy"].transpose("replica", "time")[:, at].to_numpy()
            system.verify(x, energy, str(self.path))


def method(path: Path, dataset: xr.Dataset, name: str) -> Method:
    """Find the members of a result.

    Raises
    ------
    UserError
        If it is no single run, classifies nothing, has replicas of several quenched samples, or its members
        are not stored.
    """
    require_run(dataset, str(path))
    settings = configurations.settings(dataset, path)
    if not issubclass(settings.system_class, Classifies):
        raise UserError(
            f"{path}: system.name = {settings.system_name!r} classifies nothing; allowed: networks, "
            "such as small_net"
        )
    samples = np.unique(dataset["sample"])
    if samples.size > 1:
        raise UserError(
            f"{path}: its replicas live in {samples.size} quenched samples; allowed: 1, for members of an "
            "ensemble learn from the same data (ensemble.samples = 1)"
        )
    # When the schedule of the learning rate gives a member away.
    collected = np.asarray(settings.dynamics.collected(), dtype=float)
    times = _stored(path, dataset, collected)
    return Method(name, path, dataset, settings, times, collected.size > 0)


def _stored(path: Path, dataset: xr.Dataset, collected: Array) -> Array:
    """Return the times of the members; make sure that they are stored."""
    known = configurations.times(dataset)
    if not collected.size:
        if not known.size:
            raise UserError(
                f"{path}: no stored configuration; record.snapshots = [t_max] stores the last, which is the "
                "member that each replica gives"
            )
        return known[-1:]
    missing = [t for t in collected if index_of(known, t) is None]
    if missing:
        named = ", ".join(f"{t:g}" for t in missing[:3]) + ", …" * (len(missing) > 3)
        raise UserError(
            f"{path}: {len(missing)} of {collected.size} members are not stored, those of t = {named}; "
            'record.snapshots = "collected" stores all'
        )
    return collected


def methods(paths: Sequence[Path], datasets: Sequence[xr.Dataset]) -> list[Method]:
    """Find the members of files, and make sure that they can stand in one table.

    Raises
    ------
    UserError
        Also if they are of different systems or data.
    """
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    known: list[Method] = []
    for path, dataset, name in zip(paths, datasets, names, strict=True):
        further = method(path, dataset, name)
        if further.replicas * further.times.size < 2:
            raise UserError(
                f"{path}: it gives 1 member, of one replica; needed: 2 or more (ensemble.replicas, or a "
                'schedule that collects, dynamics.schedule = "triangular" or "cosine")'
            )
        if known:
            require_same_system(known[0].settings, further.settings, (known[0].path, path))
        known.append(further)
    return known


def budget_of(methods: Sequence[Method], given: float | None) -> float:
    """Return the steps B of one budget.

    As given; else those of a run that gives a single member, as independent networks do; else those of the
    longest run.
    """
    if given is not None:
        return given
    single = [float(m.cost[-1]) for m in methods if not m.cyclic]
    return max(single or [m.spent for m in methods])


def affordable(method: Method, budget: float) -> Array:
    """Return the times of the members that one budget buys; UserError if there is none."""
    bought = method.times[method.cost <= budget * (1 + ROUNDING)]
    if not bought.size:
        raise UserError(
            f"{method.path}: its first member costs {method.cost[0]:g} steps; allowed: no less than that "
            f"with {option('budget')} (now {budget:g})"
        )
    return bought


def pooled(methods: Iterable[Method], size: int | None) -> dict[str, int]:
    """Return how many replicas of each method make one repetition, by the method's name.

    UserError if a file has fewer than were asked for.
    """
    sizes = {}
    for method in methods:
        if size is not None and size > method.replicas:
            allowed = f"allowed: 1 to {method.replicas}, the replicas of {method.path}"
            raise UserError(f"{option('size', size)}: {allowed}")
        sizes[method.name] = min(BUDGETS, method.replicas) if size is None else size
    return sizes
