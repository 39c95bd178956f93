"""[record.probes.NAME] of a run file names a probe of the user's, with its times and keys of its own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langevin.code import trust
from langevin.core.probe import Probe
from langevin.core.schedule import Grid
from langevin.errors import LONGEST_VALUE, UserError, shortened

from .keys import Section, section, shown

#: The keys that every probe has.
USE, TIMES = "use", "times"

#: What may stand for `use`.
_ALLOWED = '"package.module:Class" of a class that derives from langevin.core.probe.Probe'


@dataclass(frozen=True)
class ProbeSettings:
    """A validated [record.probes.NAME].

    Attributes
    ----------
    name, use : str
    times : Grid
    probe_class : type of Probe
    keys : Section
        Of the class's own `Parameters`.
    """

    name: str
    use: str
    times: Grid
    probe_class: type[Probe]
    keys: Section

    @property
    def table(self) -> dict[str, Any]:
        """Return all keys with their values, defaults included."""
        own = {name: getattr(self.keys, name) for name in type(self.keys).model_fields}
        return {USE: self.use, TIMES: self.times, **own}


def read(tables: Any, default: Grid, folder: Path, faults: list[str]) -> tuple[ProbeSettings, ...]:
    """Validate [record.probes]; append a line to `faults` for each fault.

    Parameters
    ----------
    tables : mapping of str to mapping
    default : Grid
        Times of a probe that names none.
    folder : Path
        Where the user's modules are looked for.
    faults : list of str
    """
    if not isinstance(tables, Mapping):
        faults.append(f"record.probes = {shown(tables)}: must hold tables, [record.probes.NAME]")
        return ()
    valid = (_read(name, table, default, folder, faults) for name, table in tables.items())
    return tuple(probe for probe in valid if probe is not None)


def _read(name: str, table: Any, default: Grid, folder: Path, faults: list[str]) -> ProbeSettings | None:
    said = f"record.probes.{shortened(name)}"
    if not name.isidentifier():
        faults.append(f"{said}: the name of a probe must be a plain word")
        return None
    if not isinstance(table, Mapping):
        faults.append(f"{said} = {shown(table)}: must be a table, [{said}]")
        return None
    before = len(faults)
    times = default
    if TIMES in table:
        try:
            times = Grid.parse(table[TIMES])
        except ValueError as error:
            faults.append(f"{said}.{TIMES} = {shown(table[TIMES])}: {error}")
    kind = _class(said, table.get(USE), folder, faults)
    if kind is None:
        return None
    own = {key: value for key, value in table.items() if key not in (USE, TIMES)}
    keys = section(said, getattr(kind, "Parameters", Section), own, faults, (USE, TIMES))
    return ProbeSettings(name, table[USE], times, kind, keys) if len(faults) == before else None


def _class(said: str, use: Any, folder: Path, faults: list[str]) -> type[Probe] | None:
    """Return the class of a probe; None, and a fault, if there is none."""
    key = f"{said}.{USE}"
    if not isinstance(use, str) or ":" not in use or len(use) > LONGEST_VALUE:
        faults.append(f"{key}{'' if use is None else f' = {shown(use)}'}: needed: {_ALLOWED}")
        return None
    try:
        kind, source = trust.find(key, use, folder)
    except UserError as error:
        faults.append(str(error))
        return None
    if not isinstance(kind, type):
        faults.append(f"{key} = {use!r}: {source.file or source.name} has no such class; needed: {_ALLOWED}")
        return None
    if not issubclass(kind, Probe):
        faults.append(f"{key} = {use!r}: class {kind.__name__} must derive from langevin.Probe")
        return None
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(kind.__abstractmethods__))
        faults.append(f"{key} = {use!r}: class {kind.__name__} lacks {missing}")
        return None
    parameters = getattr(kind, "Parameters", Section)
    if not (isinstance(parameters, type) and issubclass(parameters, Section)):
        faults.append(f"{key} = {use!r}: {kind.__name__}.Parameters must derive from langevin.config.Section")
        return None
    return kind
