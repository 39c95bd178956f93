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
    LearnsFromData,
    MeasuresResponse,
)
from langevin.core.dynamics import as_system
from langevin.core.schedule import Grid
from langevin.core.system import Model, Named

from .keys import toml
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
    data_class = settings.data_class
    if data_class is not None and settings.data is not None and ensemble is not None:
        yield from data_class.check(settings) if issubclass(data_class, ChecksSettings) else ()
    if dynamics is None:
        return
    yield from record_faults(settings)
    for probe in settings.probes:
        yield from probe.probe_class.check(settings, probe.keys)
    yield from start_faults(settings)
    needed = [settings.system, ensemble, *([settings.data] if issubclass(kind, LearnsFromData) else [])]
    if issubclass(kind, ChecksSettings) and None not in needed:
        yield from kind.check(settings)


def record_faults(settings: Settings) -> Iterable[str]:
    """Yield what is wrong with [record] in view of system and dynamics."""
    yield from response_faults(settings)
    yield from configuration_faults(settings)
    yield from snapshot_faults(settings)
    yield from time_faults(settings)
    yield from hessian_faults(settings)


def response_faults(settings: Settings) -> Iterable[str]:
    """Yield why no response can be measured; of a model, Langevin dynamics measures it."""
    record: Any = settings.record  # None where it has faults of its own
    if record is None or not record.response:
        return
    if not issubclass(as_system(settings.system_class), MeasuresResponse):
        yield (
            "record.response = true: allowed: false (it is measured from the noise of Langevin dynamics, "
            f"which does not drive {settings.system_name})"
        )
    elif issubclass(settings.system_class, Model) and settings.dynamics.temperature == 0:
        yield (
            "record.response = true: allowed: false at dynamics.temperature = 0 (it is measured from the "
            "thermal noise: needs dynamics.temperature > 0)"
        )


def configuration_faults(settings: Settings) -> Iterable[str]:
    """Yield what is to be stored of the configuration of a system that says it has none."""
    record: Any = settings.record
    if record is None or as_system(settings.system_class).dof != 0:
        return
    why = f"({settings.system_name} has no configuration)"
    if record.sketch:
        yield f"record.sketch = {record.sketch}: allowed: 0 {why}"
    if record.configurations == "always":
        yield f'record.configurations = "always": allowed: "auto", "never" {why}'
    if record.snapshots != Grid():
        yield f"record.snapshots = {_given(record.snapshots)}: allowed: [] {why}"


def snapshot_faults(settings: Settings) -> Iterable[str]:
    """Yield that models are to be stored as they join an ensemble, and none does."""
    record: Any = settings.record
    if record is None or record.snapshots != "collected" or record.snapshot_grid(settings.dynamics).values:
        return
    wanted = getattr(settings.dynamics, "collects", "")
    if wanted:
        yield f'record.snapshots = "collected": nothing is collected; needed: {wanted}'
    elif as_system(settings.system_class).dof != 0:
        yield (
            'record.snapshots = "collected": allowed: a list of times, or { start, stop, per_decade } '
            f"({settings.system_name} collects no ensemble)"
        )


def hessian_faults(settings: Settings) -> Iterable[str]:
    """Yield that a spectrum is asked for of a system that gives no Hessian."""
    record: Any = settings.record
    if record is None:
        return
    if record.hessian == Grid():
        for name, none in (("hessian_vectors", 0), ("ggn", False)):
            if (given := getattr(record, name)) != none:
                yield f"record.{name} = {toml(given)}: allowed: {toml(none)} without times, record.hessian"
        return
    if record.ggn and not issubclass(as_system(settings.system_class), HasGaussNewton):
        yield f"record.ggn = true: allowed: false ({settings.system_name} gives no Gauss-Newton matrix)"
    if not issubclass(as_system(settings.system_class), HasHessian):
        given = toml(record.hessian.as_given())
        yield f"record.hessian = {given}: allowed: [] ({settings.system_name} gives no Hessian)"


def _given(times: Grid | str) -> str:
    return toml(times.as_given() if isinstance(times, Grid) else times)


def can_begin(system_class: type[Named]) -> bool:
    """Return whether runs of a system may begin from a stored configuration; models always may."""
    return issubclass(as_system(system_class), BeginsFromConfiguration)


def start_faults(settings: Settings) -> Iterable[str]:
    """Yield that a run is to begin from a configuration, and its system does not know how."""
    if settings.start is not None and not can_begin(settings.system_class):
        yield (
            f"start: {settings.system_name} cannot begin from a stored configuration; "
            "allowed: no section [start]"
        )
