"""A run with [start] begins from a configuration that another one has stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydantic import ValidationError

from langevin.code import trust
from langevin.code.user_code import Origin, changes
from langevin.config import shards
from langevin.config.keys import shown, toml
from langevin.config.settings import Settings
from langevin.core.capabilities import BeginsFromConfiguration, LearnsFromData, StandsBeside
from langevin.core.probe import Run
from langevin.core.system import Array, Beside
from langevin.errors import UserError
from langevin.record.configurations import degrees_of_freedom
from langevin.results import configurations
from langevin.results.open import open_result
from langevin.results.same_system import differing
from langevin.speech import option

#: Global attribute: how many runs lie between this one and a start of its own.
GENERATION = "noise_generation"

#: Global attribute: time of all runs before, up to the configuration that this one began from.
SPENT = "start_spent"


@dataclass(frozen=True)
class Beginning:
    """What a run begins from.

    Attributes
    ----------
    file : str
        As the run file names it.
    x : ndarray, shape (R, dof)
        Configurations of the run's replicas.
    time : float
        When the other run stored them.
    spent : float
        Time that all runs before took, up to this configuration.
    generation : int
        One more than that of the other run. It keys the streams of the dynamics, so that no noise acts twice
        on the same configuration: a second time it would be correlated with it.
    beside : Beside or None
        What stood beside these configurations.
    """

    file: str
    x: Array
    time: float
    spent: float
    generation: int
    beside: Beside | None = None

    @property
    def attributes(self) -> dict[str, str | float | int]:
        """Global attributes that say where the run began."""
        name = Path(self.file).name
        return {"start_file": name, "start_time": self.time, SPENT: self.spent, GENERATION: self.generation}

    def apply(self, run: Run) -> None:
        """Put the configuration in the place of that of the run's initial state.

        Raises
        ------
        UserError
            If it has another number of degrees of freedom, or breaks a constraint.
        """
        dof = degrees_of_freedom(run)
        if self.x.shape[1] != dof:
            raise UserError(
                f"start.file = {toml(self.file)}: its configurations have {self.x.shape[1]} degrees of "
                f"freedom; needed: {dof}"
            )
        if self.beside is not None and isinstance(run.system, StandsBeside):
            run.system.recall(self.beside)
        assert isinstance(run.system, BeginsFromConfiguration), "else a section [start] is refused"
        run.state = run.system.begun_from(run.state, self.x)


def read(settings: Settings) -> Beginning | None:
    """Read what [start] names; None if the run begins by itself.

    Raises
    ------
    UserError
        If the file holds no such configuration, or was made of another system.
    """
    keys = settings.start
    if keys is None:
        return None
    with open_result(keys.file) as dataset:
        x, time = configurations.configuration(dataset, keys.time, keys.file)
        said = f"start.file = {toml(keys.file)}"
        wrong = next(_faults(settings, dataset), None)
        if wrong is not None:
            raise UserError(f"{said}: {wrong}")
        labels = dataset["replica"].to_numpy().tolist()
        own = shards.ensemble(settings).replica.tolist()
        generation = int(dataset.attrs.get(GENERATION, 0)) + 1
        spent = float(dataset.attrs.get(SPENT, 0.0)) + time
        beside = configurations.beside(dataset, time)
    places = [labels.index(k) for k in own]
    kept = None if beside is None else beside.of(places)
    return Beginning(keys.file, x[places], time, spent, generation, kept)


def generation(attributes: Mapping[str, Any]) -> int:
    """Return what the attributes of an unfinished run say of its generation."""
    return int(attributes.get(GENERATION, 0))


def _faults(settings: Settings, dataset: xr.Dataset) -> Iterator[str]:
    """Yield why the file is not of this system, with these replicas and this disorder."""
    try:
        given = json.loads(dataset.attrs["settings"])
        table = dict(given["system"])
        name = table.pop("name")
    except (KeyError, TypeError, ValueError):
        yield "it does not say from which settings it was made"
        return
    if name != settings.system_name:
        yield f"its system is {name}; allowed: results of {settings.system_name}"
        return
    yield from _system_faults(settings, table)
    yield from _code_faults(settings, dataset)
    yield from _replica_faults(settings, dataset)
    # Of itself: a class derived from one without disorder may add some.
    disordered = vars(settings.system_class).get("quenched_disorder", True)
    if issubclass(settings.system_class, LearnsFromData) or not disordered:
        return
    seed = given.get("ensemble", {}).get("seed", 0)
    if seed != settings.ensemble.seed:
        yield (
            f"its seed is {seed}, ensemble.seed = {settings.ensemble.seed}: must be the same, for the "
            "disorder follows from it"
        )
    began, own = given.get("dynamics", {}), settings.dynamics
    for key in settings.system_class.disorder_keys:
        there = began.get(key, type(own).model_fields[key].default)
        if there != getattr(own, key):
            yield (
                f"its dynamics.{key} is {shown(there)}, here {shown(getattr(own, key))}: must be the same, "
                "for the disorder follows from it"
            )


def _system_faults(settings: Settings, table: Mapping[str, Any]) -> Iterator[str]:
    """Yield in which keys of [system] the file differs; those that only make a start do not count."""
    kind = settings.system_class.Parameters
    try:
        there = kind.model_validate(table)
    except ValidationError:
        yield f"its [system] is none of {settings.system_name} as it is now: {shown(table)}"
        return
    for key, theirs, ours in differing(there, settings.system, settings.system_class.start_keys):
        yield f"its system.{key} is {shown(theirs)}, here {shown(ours)}: must be the same"


def _code_faults(settings: Settings, dataset: xr.Dataset) -> Iterator[str]:
    """Yield what code of [system] is another than the file was made with."""
    if trust.is_given():
        return
    before = Origin.of("", dataset.attrs.get("code")).recorded
    own = [code for code in settings.code if code.key.startswith("system.")]
    for said in changes(own, before):
        yield f"it was made with other code: {said} since; {option('trust')} begins with it"


def _replica_faults(settings: Settings, dataset: xr.Dataset) -> Iterator[str]:
    ensemble, labels = shards.ensemble(settings).whole, dataset["replica"].to_numpy()
    missing = np.setdiff1d(ensemble.replica, labels)
    if missing.size:
        yield (
            f"it holds {labels.size} replicas, without replica {missing[0]}; ensemble.replicas = "
            f"{ensemble.size}: must be ≤ {labels.size}"
        )
        return
    there = dict(zip(labels.tolist(), dataset["sample"].to_numpy().tolist(), strict=True))
    for replica, sample in zip(ensemble.replica.tolist(), ensemble.sample.tolist(), strict=True):
        if there[replica] != sample:
            yield (
                f"its replica {replica} lives in sample {there[replica]}, with ensemble.samples = "
                f"{settings.ensemble.samples} in sample {sample}: must be the same"
            )
            return
