"""Run files: TOML text → validated settings. Every fault is found before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langevin.code import trust
from langevin.code.user_code import Code, Origin, union
from langevin.core.schemes import SchemeName
from langevin.errors import LONGEST_VALUE, ConfigError, UserError, shortened

from . import checks, registry, toml_text
from .keys import (
    DynamicsKeys,
    HessianKeys,
    MeasuringKeys,
    ResultPathKey,
    Section,
    SnapshotKeys,
    StartKeys,
    key,
    section,
    shown,
)
from .stand_ins import Doubtful, further_faults
from .toml_text import nearest

if TYPE_CHECKING:
    from .sweep import Sweep

#: [data] stands only in run files of systems that learn from data.
#: [start] in those of runs that begin where another one was.
SECTIONS = ("system", "data", "start", "dynamics", "ensemble", "record", "output")

#: Characters of a title.
LONGEST_TITLE = 1000


class LangevinDynamics(DynamicsKeys):
    """[dynamics] of every system that Langevin dynamics drives."""

    time_step_key = "dt"

    temperature: float = key("bath temperature T", example=0.5, ge=0, unit="energy")
    initial_temperature: float = key(
        "temperature of the equilibrium the start is drawn from; inf: a random configuration",
        default=float("inf"),
        ge=0,
        inf=True,
        unit="energy",
    )
    dt: float = key("time step (weak order 1: averages are off by O(dt))", example=0.02, gt=0, unit="time")
    scheme: SchemeName = key(
        "noise of a step: its own normals, or their mean with those of the step before, for which stationary "
        "averages are off by O(dt²), if there is no constraint",
        default="euler_maruyama",
    )
    t_max: float = key("end of the run", example=100.0, gt=0, unit="time")


class EnsembleKeys(Section):
    """[ensemble]."""

    replicas: int = key("independent copies", default=1, example=16, ge=1)
    samples: int = key(
        "quenched samples that the replicas are dealt over in turn", default=1, example=4, ge=1
    )
    seed: int = key("seed of every random number of the run", default=0, example=1, ge=0)


class RecordKeys(HessianKeys, SnapshotKeys, MeasuringKeys):
    """[record]."""


class OutputKeys(Section):
    """[output]."""

    path: ResultPathKey = key(
        "result file; without it: the run file's name with .nc, in the working directory", default=""
    )
    figure: bool = key("draw the figure when the run ends", default=True)
    checkpoint_interval: float = key(
        "time between checkpoints; longer where writing them would take more than 1 % of the run; "
        "0: twice a second, whatever it takes",
        default=30.0,
        ge=0,
        le=60,
        unit="s",
    )


@dataclass(frozen=True)
class Settings:
    """A validated run file.

    Attributes
    ----------
    title : str
    system_name : str
    system_class : type
    system, dynamics, ensemble, record, output : Section
    data_name : str
        Empty for a system that takes no data; `data_class` and `data` are None then.
    data_class : type or None
    data : Section or None
    given : dict
        What was given, overrides included: enough to validate again (a checkpoint keeps it).
    text : str
        The run file as it was written; empty for settings given as a dict.
    folder : Path
        Where the run file stands; a user's own module is looked for there.
    start : StartKeys or None
        What the run begins from; None: from a start of its own.
    sweep : Sweep or None
        Of a run file with [sweep]: all members. The sections above are then those of the first.
    code : tuple of Code
        Code of the user's that they name, imported.
    origin : Origin or None
        The file that they were read from; None: from the user's own run file or call.
    """

    title: str
    system_name: str
    system_class: type[Any]
    system: Any
    dynamics: Any
    ensemble: EnsembleKeys
    record: RecordKeys
    output: OutputKeys
    given: dict[str, Any]
    text: str = ""
    folder: Path = Path()
    data_name: str = ""
    data_class: type[Any] | None = None
    data: Any = None
    start: StartKeys | None = None
    sweep: Sweep | None = None
    code: tuple[Code, ...] = ()
    origin: Origin | None = None

    @property
    def size(self) -> str:
        """What is to run, in a few words."""
        if self.sweep is not None:
            return self.sweep.size
        return f"{self.system_name}, {self.ensemble.replicas} replicas" + self.dealt

    @property
    def dealt(self) -> str:
        """How replicas are dealt over samples that do not get as many each; empty if they do."""
        replicas, samples = self.ensemble.replicas, self.ensemble.samples
        fewest, over = divmod(replicas, samples)
        if not over:
            return ""
        return f" dealt unevenly over {samples} samples: {over} of {fewest + 1}, {samples - over} of {fewest}"

    def as_json(self) -> str:
        """Return what was given as JSON (with `Infinity`, which Python reads back)."""
        return json.dumps(self.given)


def load(
    source: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    origin: Origin | None = None,
) -> Settings:
    """Read and validate a run file (or a dict of the same shape).

    Parameters
    ----------
    source : path or mapping
    overrides : mapping of "section.key" to value, optional
    folder : Path, optional
        Where a user's own module is looked for, if `source` is a mapping (default: the working directory).
    origin : Origin, optional
        The file that `source` was read from, if that is not the user's own run file or call.

    Raises
    ------
    ConfigError
        With all faults at once.
    UnknownCode
        If a file names code that its user has neither run nor trusted.
    """
    faults: list[str] = list(toml_text.limit_faults(overrides or {}))
    if isinstance(source, Mapping):
        if beyond := [*toml_text.limit_faults(source), *faults]:
            raise ConfigError(beyond)
        given, text, name, folder = toml_text.plain(source), "", "settings", folder or Path.cwd()
        name = name if origin is None else origin.file
    else:
        path = Path(source)
        text = toml_text.read(path)
        given, name, folder = toml_text.parse(text, path), str(path), path.parent
        if faults:
            raise ConfigError(faults, name)
    changed = toml_text.plain(overrides or {})
    given = toml_text.override(toml_text.flat(given, faults), changed, faults)
    if not isinstance(source, Mapping):
        output = given.setdefault("output", {})
        if isinstance(output, dict) and output.get("path", "") == "":
            output["path"] = path.stem + ".nc"
    with trust.on_behalf_of(origin):
        if "sweep" in given:
            # Imported here: it needs this module.
            from . import sweep as plan

            settings = plan.validate(given, text, folder, faults, changed)
        else:
            settings = validate(given, text, folder, faults)
    if faults or settings is None:
        raise ConfigError(faults, name)
    return settings


def validate(given: dict[str, Any], text: str, folder: Path, faults: list[str]) -> Settings | None:
    """Validate the tables of one run; append a line to `faults` for each fault found."""
    with trust.collecting() as code, trust.beside(folder):
        made = _validated(given, text, folder, faults)
    return None if made is None else replace(made, code=union([code]), origin=trust.origin())


def _validated(given: dict[str, Any], text: str, folder: Path, faults: list[str]) -> Settings | None:
    faults += _unknown_sections(given)
    title = given.get("title", "")
    if not isinstance(title, str) or len(title) > LONGEST_TITLE:
        faults.append(f"title = {shown(title)}: must be a string of up to {LONGEST_TITLE} characters")
    system_class = _system_class(given, folder, faults)
    doubtful: list[Doubtful] = []

    def read(name: str, kind: type[Section], table: Any) -> Any:
        if isinstance(table, Mapping):
            try:
                kind = kind.for_table(table)
            except UserError as error:
                faults.append(str(error))
                return None
        found = section(name, kind, table, given, faults)
        if found is None and isinstance(table, Mapping):
            doubtful.append(Doubtful(name, kind, table))
        return found

    record = record_keys(system_class) if system_class else RecordKeys
    fixed = {
        name: read(name, kind, given.get(name, {}))
        for name, kind in (("ensemble", EnsembleKeys), ("record", record), ("output", OutputKeys))
    }
    keys = dynamics_keys(system_class) if system_class else LangevinDynamics
    dynamics = read("dynamics", keys, given.get("dynamics", {}))
    if system_class is None:
        return None
    name = given["system"]["name"]
    parameters = {k: v for k, v in given["system"].items() if k != "name"}
    system = read("system", system_class.Parameters, parameters)
    data = _data(system_class, given, folder, faults, read)
    start = read("start", StartKeys, given["start"]) if "start" in given else None
    settings = Settings(
        title or name,
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
    )
    known = list(checks.cross_faults(settings))
    faults += known
    if doubtful:
        faults += [f for f in further_faults(settings, doubtful, checks.cross_faults) if f not in known]
    return settings


def dynamics_keys(system_class: type[Any]) -> type[Section]:
    """Return the class that declares [dynamics] for a system: its own, else Langevin dynamics."""
    kind: type[Section] = getattr(system_class, "Dynamics", LangevinDynamics)
    return kind


def record_keys(system_class: type[Any]) -> type[RecordKeys]:
    """Return the class that declares [record] for a system: its own, else that of every system.

    Raises
    ------
    UserError
        If its own does not derive from `RecordKeys`, whose keys every run needs.
    """
    kind = getattr(system_class, "Record", RecordKeys)
    if not (isinstance(kind, type) and issubclass(kind, RecordKeys)):
        raise UserError(f"{system_class.__name__}.Record: must derive from langevin.config.RecordKeys")
    return kind


def takes_data(system_class: type[Any]) -> bool:
    """Return whether a system learns from data: its class says ``data = "name of the default data set"``."""
    return isinstance(getattr(system_class, "data", None), str)


def is_deterministic(system_class: type[Any]) -> bool:
    """Return whether a system says that it has neither noise nor disorder: one replica is all."""
    return bool(getattr(system_class, "deterministic", False))


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
    read: Callable[[str, type[Section], Any], Any],
) -> dict[str, Any]:
    """Return what `Settings` holds of [data]; nothing for a system that takes none."""
    if not takes_data(system_class):
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
    data = read("data", data_class.Parameters, keys)
    return {"data_name": name, "data_class": data_class, "data": data}


def tables(system_class: type[Any], folder: Path | None = None) -> list[tuple[str, type[Section]]]:
    """Return the sections of a system's run file with the classes that declare them.

    [data] is that of the system's default data set; a user's own is looked for in `folder`, too.
    """
    data = registry.load(system_class.data, folder, registry.DATA) if takes_data(system_class) else None
    return [
        ("system", system_class.Parameters),
        *([("data", data.Parameters)] if data else []),
        *([("start", StartKeys)] if checks.can_begin(system_class) else []),
        ("dynamics", dynamics_keys(system_class).for_table({})),
        ("ensemble", EnsembleKeys),
        ("record", record_keys(system_class)),
        ("output", OutputKeys),
    ]
