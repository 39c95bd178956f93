"""Checks find the faults that only several keys show together. Each is one line that names the key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from langevin.core.capabilities import (
    BeginsFromConfiguration,
    ChecksSettings,
    Deterministic,
    HasGaussNewton,
    HasHessian,
    HasMinima,
    LearnsFromData,
    MeasuresResponse,
)
from langevin.core.dynamics import as_system
from langevin.core.protocol import bounds
from langevin.core.schedule import Grid
from langevin.core.system import Model, Named, System

from . import algorithms, shards
from .keys import InherentKeys, toml
from .time_checks import time_faults

if TYPE_CHECKING:
    from .settings import Settings


def cross_faults(settings: Settings) -> Iterable[str]:
    """Yield what only several keys together show, as far as each of them is valid alone."""
    ensemble, dynamics, kind = settings.ensemble, settings.dynamics, settings.system_class
    if ensemble is not None and ensemble.samples > ensemble.replicas:
        yield f"ensemble.samples = {ensemble.samples}: must be ≤ ensemble.replicas = {ensemble.replicas}"
    if ensemble is not None and ensemble.replicas > 1 and issubclass(kind, Deterministic):
        yield f"ensemble.replicas = {ensemble.replicas}: must be 1 (all replicas of this system are the same)"
    if ensemble is not None and dynamics is not None:
        yield from shards.faults(settings)
    data_class = settings.data_class
    if data_class is not None and settings.data is not None and ensemble is not None:
        yield from data_class.check(settings) if issubclass(data_class, ChecksSettings) else ()
    if dynamics is None:
        return
    yield from record_faults(settings)
    yield from algorithms.faults(settings)
    for probe in settings.probes:
        yield from probe.probe_class.check(settings, probe.keys)
    if settings.start is not None and not can_begin(kind):
        yield (
            f"start: {settings.system_name} cannot begin from a stored configuration; "
            "allowed: no section [start]"
        )
    needed = [settings.system, ensemble, *([settings.data] if issubclass(kind, LearnsFromData) else [])]
    if issubclass(kind, ChecksSettings) and None not in needed:
        yield from kind.check(settings)


def record_faults(settings: Settings) -> Iterable[str]:
    """Yield what is wrong with [record] in view of system and dynamics."""
    record: Any = settings.record
    if record is None:
        # It has faults of its own.
        yield from time_faults(settings)
        return
    kind = as_system(settings.system_class)
    yield from _response_faults(settings, record, kind)
    if kind.dof == 0:
        yield from _configuration_faults(settings, record)
    if record.snapshots == "collected" and not record.snapshot_grid(settings.dynamics).values:
        yield from _collecting_faults(settings, kind)
    yield from time_faults(settings)
    yield from _hessian_faults(settings, record, kind)
    yield from _inherent_faults(settings, record, kind)


def _response_faults(settings: Settings, record: Any, kind: type[System]) -> Iterable[str]:
    """Yield why no response can be measured; of a model, Langevin dynamics measures it."""
    if not record.response:
        return
    if not issubclass(kind, MeasuresResponse):
        yield (
            "record.response = true: allowed: false (it is measured from the noise of Langevin dynamics, "
            f"which does not drive {settings.system_name})"
        )
    elif issubclass(settings.system_class, Model):
        lowest, highest = bounds(settings.dynamics.temperature, settings.dynamics.t_max)
        if lowest == 0:
            reached = (
                "at dynamics.temperature = 0" if highest == 0 else "where dynamics.temperature reaches 0"
            )
            yield (
                f"record.response = true: allowed: false {reached} (it is measured from the "
                "thermal noise: needs dynamics.temperature > 0)"
            )


def _configuration_faults(settings: Settings, record: Any) -> Iterable[str]:
    """Yield what is to be stored of the configuration of a system that says it has none."""
    why = f"({settings.system_name} has no configuration)"
    if record.sketch:
        yield f"record.sketch = {record.sketch}: allowed: 0 {why}"
    if record.configurations == "always":
        yield f'record.configurations = "always": allowed: "auto", "never" {why}'
    if record.snapshots != Grid():
        times = record.snapshots
        given = toml(times.as_given() if isinstance(times, Grid) else times)
        yield f"record.snapshots = {given}: allowed: [] {why}"


def _collecting_faults(settings: Settings, kind: type[System]) -> Iterable[str]:
    """Yield that models are to be stored as they join an ensemble, and none does."""
    wanted = getattr(settings.dynamics, "collects", "")
    if wanted:
        yield f'record.snapshots = "collected": nothing is collected; needed: {wanted}'
    elif kind.dof != 0:
        yield (
            'record.snapshots = "collected": allowed: a list of times, or { start, stop, per_decade } '
            f"({settings.system_name} collects no ensemble)"
        )


def _hessian_faults(settings: Settings, record: Any, kind: type[System]) -> Iterable[str]:
    """Yield that a spectrum is asked for of a system that gives no Hessian."""
    if record.hessian == Grid():
        for name, none in (("hessian_vectors", 0), ("ggn", False)):
            if (given := getattr(record, name)) != none:
                yield f"record.{name} = {toml(given)}: allowed: {toml(none)} without times, record.hessian"
        return
    if record.ggn and not issubclass(kind, HasGaussNewton):
        yield f"record.ggn = true: allowed: false ({settings.system_name} gives no Gauss-Newton matrix)"
    if not issubclass(kind, HasHessian):
        given = toml(record.hessian.as_given())
        yield f"record.hessian = {given}: allowed: [] ({settings.system_name} gives no Hessian)"


def _inherent_faults(settings: Settings, record: Any, kind: type[System]) -> Iterable[str]:
    """Yield that minima are asked for of a system without gradients, or how to find them and not when."""
    if record.inherent == Grid():
        for name, info in InherentKeys.model_fields.items():
            if (given := getattr(record, name)) != info.default:
                none = toml(info.default)
                yield f"record.{name} = {toml(given)}: allowed: {none} without times, record.inherent"
        return
    if not issubclass(kind, HasMinima):
        given, name = toml(record.inherent.as_given()), settings.system_name
        yield f"record.inherent = {given}: allowed: [] ({name} gives no gradient of its energy)"


def can_begin(system_class: type[Named]) -> bool:
    """Return whether runs of a system may begin from a stored configuration; models always may."""
    return issubclass(as_system(system_class), BeginsFromConfiguration)
