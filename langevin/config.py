"""Run files: TOML text → validated settings. Every fault is found before anything is computed."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from langevin import checks, registry
from langevin.errors import ConfigError, UserError
from langevin.keys import (
    MOST_COMPONENTS,
    DynamicsKeys,
    GridKey,
    ResultPathKey,
    Section,
    SketchKey,
    describe,
    example_of,
    key,
    toml,
)
from langevin.schedule import Grid

SECTIONS = ("system", "dynamics", "ensemble", "record", "output")


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
    t_max: float = key("end of the run", example=100.0, gt=0, unit="time")


class EnsembleKeys(Section):
    """[ensemble]."""

    replicas: int = key("independent copies", default=1, example=16, ge=1)
    samples: int = key(
        "quenched samples that the replicas are dealt over in turn", default=1, example=4, ge=1
    )
    seed: int = key("seed of every random number of the run", default=0, example=1, ge=0)


class RecordKeys(Section):
    """[record]."""

    times: GridKey = key(
        "times of one-time observables, besides those that pairs need",
        default=Grid(per_decade=20.0),
        example={"per_decade": 20},
        unit="time",
    )
    waiting_times: GridKey = key(
        "waiting times t_w",
        default=Grid(per_decade=2.0),
        example={"start": 1.0, "stop": 32.0, "per_decade": 2},
        unit="time",
    )
    lags: GridKey = key(
        "lags t of the pairs (t_w, t_w + t)",
        default=Grid(per_decade=20.0),
        example={"per_decade": 20},
        unit="time",
    )
    response: bool = key(
        "measure the integrated response, too; from the noise, without a field (needs T > 0)", default=False
    )
    configurations: Literal["auto", "always", "never"] = key(
        'store every configuration; "auto": while they stay under 1 GB together', default="auto"
    )
    sketch: SketchKey = key(
        "numbers k stored for a configuration at every time; from them follows the msd of any two times, "
        "with relative error √(2/k); 0: none",
        default=0,
        ge=0,
        le=MOST_COMPONENTS,
    )


class OutputKeys(Section):
    """[output]."""

    path: ResultPathKey = key(
        "result file; without it: the run file's name with .nc, in the working directory", default=""
    )
    figure: bool = key("draw the figure when the run ends", default=True)
    checkpoint_interval: float = key("time between checkpoints", default=30.0, ge=0, le=60, unit="s")


@dataclass(frozen=True)
class Settings:
    """A validated run file.

    Attributes
    ----------
    title : str
    system_name : str
    system_class : type
    system, dynamics, ensemble, record, output : Section
    given : dict
        What was given, overrides included: enough to validate again (a checkpoint keeps it).
    text : str
        The run file as it was written; empty for settings given as a dict.
    folder : Path
        Where the run file stands; a user's own module is looked for there.
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

    def as_json(self) -> str:
        """Return what was given as JSON (with `Infinity`, which Python reads back)."""
        return json.dumps(self.given)


def load(
    source: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Read and validate a run file (or a dict of the same shape).

    Parameters
    ----------
    source : path or mapping
    overrides : mapping of "section.key" to value, optional
    folder : Path, optional
        Where a user's own module is looked for, if `source` is a mapping (default: the working directory).

    Raises
    ------
    ConfigError
        With all faults at once.
    """
    if isinstance(source, Mapping):
        given, text, name, folder = _plain(source), "", "settings", folder or Path.cwd()
    else:
        path = Path(source)
        text = _read(path)
        given, name, folder = _parse(text, path), str(path), path.parent
        output = given.setdefault("output", {})
        if isinstance(output, dict) and not output.get("path"):
            output["path"] = path.stem + ".nc"
    faults: list[str] = []
    given = _override(given, _plain(overrides or {}), faults)
    settings = _validate(given, text, folder, faults)
    if faults or settings is None:
        raise ConfigError(faults, name)
    return settings


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """Split "section.key=value"; the value is TOML, or a plain string where it is not.

    Raises
    ------
    UserError
        If there is no "=" or no section.
    """
    dotted, equals, text = assignment.partition("=")
    if not equals or ("." not in dotted.strip(".") and dotted.strip() != "title"):
        raise UserError(
            f"--set {assignment!r}: write section.key=value, for instance dynamics.temperature=0.6"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    return dotted.strip(), value


def _plain(given: Any) -> Any:
    """Turn what Python callers like to write (numpy numbers and arrays, paths, grids) into TOML's types."""
    if isinstance(given, Mapping):
        return {name: _plain(value) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return [_plain(value) for value in given]
    if isinstance(given, np.ndarray | np.generic):
        return given.tolist()
    if isinstance(given, Grid):
        return given.as_given()
    return str(given) if isinstance(given, Path) else given


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a run file (not UTF-8 text)") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read the run file: {error.strerror}") from None


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None


def _override(given: dict[str, Any], overrides: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    merged = {name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()}
    for dotted, value in overrides.items():
        *parents, last = dotted.split(".")
        table = merged
        for parent in parents:
            inner = table.setdefault(parent, {})
            table[parent] = table = dict(inner) if isinstance(inner, Mapping) else {}
        if not parents and last != "title":
            faults.append(f"override {dotted!r}: write section.key, for instance dynamics.temperature")
        else:
            table[last] = value
    return merged


def _validate(given: dict[str, Any], text: str, folder: Path, faults: list[str]) -> Settings | None:
    faults += _unknown_sections(given)
    title = given.get("title", "")
    if not isinstance(title, str):
        faults.append(f"title = {title!r}: must be a string")
    system_class = _system_class(given, folder, faults)
    record = record_keys(system_class) if system_class else RecordKeys
    fixed = {
        name: section(name, kind, given.get(name, {}), given, faults)
        for name, kind in (("ensemble", EnsembleKeys), ("record", record), ("output", OutputKeys))
    }
    keys = dynamics_keys(system_class) if system_class else LangevinDynamics
    dynamics = section("dynamics", keys, given.get("dynamics", {}), given, faults)
    if system_class is None:
        return None
    name = given["system"]["name"]
    parameters = {k: v for k, v in given["system"].items() if k != "name"}
    system = section("system", system_class.Parameters, parameters, given, faults)
    settings = Settings(
        title or name, name, system_class, system, dynamics, **fixed, given=given, text=text, folder=folder
    )
    faults += _cross_checks(settings)
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


def is_deterministic(system_class: type[Any]) -> bool:
    """Return whether a system says that it has neither noise nor disorder: one replica is all."""
    return bool(getattr(system_class, "deterministic", False))


def _unknown_sections(given: Mapping[str, Any]) -> list[str]:
    allowed = ("title", *SECTIONS)
    return [
        f"{name}: unknown section or key; nearest: {_nearest(name, allowed)}; allowed: {', '.join(allowed)}"
        for name in given
        if name not in allowed
    ]


def _system_class(given: Mapping[str, Any], folder: Path, faults: list[str]) -> type[Any] | None:
    table = given.get("system")
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        has = isinstance(table, Mapping) and "name" in table
        was = f" = {toml(table['name'])}: must be a string" if has and table else ": missing"
        allowed = ", ".join(sorted(registry.names()))
        faults.append(f'system.name{was}; allowed: {allowed}, or your own "package.module:Class"')
        return None
    try:
        return registry.load(table["name"], folder)
    except UserError as error:
        faults.append(str(error))
        return None


def _cross_checks(settings: Settings) -> Iterable[str]:
    """Yield what only several keys together show, as far as each of them is valid alone."""
    ensemble, dynamics = settings.ensemble, settings.dynamics
    if ensemble is not None and ensemble.samples > ensemble.replicas:
        yield f"ensemble.samples = {ensemble.samples}: must be ≤ ensemble.replicas = {ensemble.replicas}"
    if ensemble is not None and ensemble.replicas > 1 and is_deterministic(settings.system_class):
        yield f"ensemble.replicas = {ensemble.replicas}: must be 1 (all replicas of this system are the same)"
    if dynamics is None:
        return
    yield from checks.response_faults(settings)
    yield from checks.configuration_faults(settings)
    yield from checks.time_faults(settings)
    check = getattr(settings.system_class, "check", None)
    if check is not None and settings.system is not None and ensemble is not None:
        yield from check(settings)


def section(name: str, kind: type[Section], table: Any, given: Mapping[str, Any], faults: list[str]) -> Any:
    """Validate one table; append a line to `faults` for each fault found."""
    if not isinstance(table, Mapping):
        faults.append(f"{name} = {table!r}: must be a table, [{name}]")
        return None
    try:
        return kind.model_validate(dict(table))
    except ValidationError as error:
        for item in error.errors(include_url=False):
            faults.append(_fault(name, kind, item, given))
        return None


def _fault(name: str, kind: type[Section], item: Any, given: Mapping[str, Any]) -> str:
    last = str(item["loc"][0])
    dotted = f"{name}.{last}"
    fields = kind.model_fields
    if item["type"] == "extra_forbidden":
        own = list(fields) + (["name"] if name == "system" else [])
        return f"{dotted}: unknown key; nearest: {name}.{_nearest(last, own)}; allowed: {', '.join(own)}"
    described = describe(fields[last])
    if item["type"] == "missing":
        return f"{dotted}: missing; needed: {described}"
    if item["type"] == "value_error":
        return f"{dotted} = {toml(item['input'])}: {item['ctx']['error']}"
    return f"{dotted} = {toml(item['input'])}: allowed: {described}"


def _nearest(word: str, allowed: Iterable[str]) -> str:
    return difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.0)[0]


def tables(system_class: type[Any]) -> list[tuple[str, type[Section]]]:
    """Return the sections of a system's run file with the classes that declare them."""
    return [
        ("system", system_class.Parameters),
        ("dynamics", dynamics_keys(system_class)),
        ("ensemble", EnsembleKeys),
        ("record", record_keys(system_class)),
        ("output", OutputKeys),
    ]


def template(name: str) -> str:
    """Return a commented run file for a system; it validates as it stands."""
    lines = [f"title = {toml(name)}"]
    system_class = registry.load(name, Path.cwd())
    for table, kind in tables(system_class):
        lines += ["", f"[{table}]"]
        if table == "system":
            lines.append(f"name = {toml(name)}")
        for field, info in kind.model_fields.items():
            lines += [f"# {describe(info)}", f"{field} = {toml(_example(name, system_class, field, info))}"]
    return "\n".join(lines) + "\n"


def _example(name: str, system_class: type[Any], field: str, info: FieldInfo) -> Any:
    if field == "path":
        return f"{name.rpartition(':')[2]}.nc"
    return 1 if field in ("replicas", "samples") and is_deterministic(system_class) else example_of(info)
