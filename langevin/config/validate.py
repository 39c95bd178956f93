"""The tables of a run file become settings here, and every fault is found before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from langevin.code import in_memory, trust
from langevin.code.user_code import union
from langevin.core.capabilities import LearnsFromData
from langevin.core.schedule import Grid
from langevin.errors import LONGEST_VALUE, UserError, shortened

from . import checks, probes, registry, tracking
from .keys import Section, StartKeys, section, shown
from .sections import (
    LONGEST_TITLE,
    SECTIONS,
    EnsembleKeys,
    LangevinDynamics,
    OutputKeys,
    RecordKeys,
    dynamics_keys,
    record_keys,
)
from .settings import Settings
from .stand_ins import Doubtful, further_faults
from .toml_text import nearest


def validate(given: dict[str, Any], text: str, folder: Path, faults: list[str]) -> Settings | None:
    """Validate the tables of one run; append a line to `faults` for each fault found."""
    with trust.collecting() as code, trust.beside(folder):
        settings = _validated(given, text, folder, faults)
    return None if settings is None else replace(settings, code=union([code]), origin=trust.origin())


def _validated(given: dict[str, Any], text: str, folder: Path, faults: list[str]) -> Settings | None:
    faults += _unknown_sections(given)
    title = given.get("title", "")
    if not isinstance(title, str) or len(title) > LONGEST_TITLE:
        faults.append(f"title = {shown(title)}: must be a string of up to {LONGEST_TITLE} characters")
    system_class = _system_class(given, folder, faults)
    doubtful: list[Doubtful] = []

    def read(name: str, kind: type[Section], table: Any, further: Sequence[str] = ()) -> Any:
        if isinstance(table, Mapping):
            try:
                kind = kind.for_table(table)
            except UserError as error:
                faults.append(str(error))
                return None
        valid = section(name, kind, table, faults, further)
        if valid is None and isinstance(table, Mapping):
            doubtful.append(Doubtful(name, kind, table))
        return valid

    record = record_keys(system_class) if system_class else RecordKeys
    recorded = given.get("record", {})
    tables = recorded.get("probes", {}) if isinstance(recorded, Mapping) else {}
    if isinstance(recorded, Mapping):
        recorded = {key: value for key, value in recorded.items() if key != "probes"}
    fixed = {
        "ensemble": read("ensemble", EnsembleKeys, given.get("ensemble", {})),
        "record": read("record", record, recorded, ("probes",)),
        "output": read("output", OutputKeys, given.get("output", {})),
    }
    keys = dynamics_keys(system_class) if system_class else LangevinDynamics
    dynamics = read("dynamics", keys, given.get("dynamics", {}))
    if system_class is None:
        return None
    name = given["system"]["name"]
    parameters = {k: v for k, v in given["system"].items() if k != "name"}
    system = read("system", system_class.Parameters, parameters, ("name",))
    data = _data(system_class, given, folder, faults, read)
    start = read("start", StartKeys, given["start"]) if "start" in given else None
    settings = Settings(
        title or (in_memory.short(name) if in_memory.has_no_file(name) else name),
        name,
        system_class,
        system,
        dynamics,
        **fixed,
        given=given,
        text=text,
        folder=folder,
        **data,
        start=start,
        track=tracking.read(fixed["output"].track, folder, faults) if fixed["output"] else None,
        probes=probes.read(tables, fixed["record"].times if fixed["record"] else Grid(), folder, faults),
    )
    known = list(checks.cross_faults(settings))
    faults += known
    if doubtful:
        faults += [f for f in further_faults(settings, doubtful, checks.cross_faults) if f not in known]
    return settings


def _unknown_sections(given: Mapping[str, Any]) -> list[str]:
    allowed = ("title", *SECTIONS, "sweep")
    return [
        f"{shortened(name)}: unknown section or key; nearest: {nearest(name, allowed)}; allowed: "
        f"{', '.join(allowed)}"
        for name in given
        if name not in allowed
    ]


def _system_class(given: Mapping[str, Any], folder: Path, faults: list[str]) -> type[Any] | None:
    table = given.get("system")
    if isinstance(table, Mapping) and "name" in table:
        return _named(registry.SYSTEM, table["name"], folder, faults)
    faults.append(f"system.name: missing; allowed: {registry.allowed()}")
    return None


def _named(kind: registry.Kind, name: Any, folder: Path, faults: list[str]) -> type[Any] | None:
    if not isinstance(name, str):
        faults.append(f"{kind.key} = {shown(name)}: must be a string; allowed: {registry.allowed(kind)}")
        return None
    if len(name) > LONGEST_VALUE:
        faults.append(f"{kind.key} = {shown(name)}: no such {kind.word}; allowed: {registry.allowed(kind)}")
        return None
    try:
        return registry.load(name, folder, kind)
    except UserError as error:
        faults.append(str(error))
        return None


def _data(
    system_class: type[Any],
    given: Mapping[str, Any],
    folder: Path,
    faults: list[str],
    read: Callable[..., Any],
) -> dict[str, Any]:
    """Return what `Settings` holds of [data]; nothing for a system that takes none."""
    if not issubclass(system_class, LearnsFromData):
        if "data" in given:
            faults.append(f"data: {given['system']['name']} takes no data; allowed: no section [data]")
        return {}
    table = given.get("data", {})
    if not isinstance(table, Mapping):
        faults.append(f"data = {shown(table)}: must be a table, [data]")
        return {}
    name = table.get("name", system_class.data)
    data_class = _named(registry.DATA, name, folder, faults)
    if data_class is None:
        return {}
    keys = {k: v for k, v in table.items() if k != "name"}
    data = read("data", data_class.Parameters, keys, ("name",))
    return {"data_name": name, "data_class": data_class, "data": data}


def tables(system_class: type[Any], folder: Path | None = None) -> list[tuple[str, type[Section]]]:
    """Return the sections of a system's run file with the classes that declare them.

    [data] is that of the system's default data set; a user's own is looked for in `folder`, too.
    """
    learns = issubclass(system_class, LearnsFromData)
    data = registry.load(system_class.data, folder, registry.DATA) if learns else None
    return [
        ("system", system_class.Parameters),
        *([("data", data.Parameters)] if data else []),
        *([("start", StartKeys)] if checks.can_begin(system_class) else []),
        ("dynamics", dynamics_keys(system_class).for_table({})),
        ("ensemble", EnsembleKeys),
        ("record", record_keys(system_class)),
        ("output", OutputKeys),
    ]
