"""What a shell completes: names of systems, data sets, figures and executors, and keys of --set.

Click asks these functions with what was typed so far. A mistake in a run file is none of theirs: they have
nothing to say of it, and the command will.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from langevin.errors import FOREIGN, LangevinError

if TYPE_CHECKING:
    from langevin.config.keys import Section

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _beginning(names: Callable[[click.Context], Iterable[str]]) -> Completer:
    """Return what completes a word by those of some names that begin with it."""

    def completed(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            return sorted(name for name in names(context) if name.startswith(incomplete))
        except LangevinError:
            # Of a file that cannot be read there is nothing to say.
            return []

    return completed


def _on_the_line(context: click.Context) -> Path | None:
    """Return the first file on the line, if there is one."""
    for name in ("run_file", "file", "files"):
        given = context.params.get(name)
        if given:
            return Path(given[0] if isinstance(given, tuple) else given)
    # Where an option still lacks its value, click has not come to what stands before it.
    return next((Path(word) for word in context.args if not word.startswith("-")), None)


def _systems(context: click.Context) -> Iterable[str]:
    from langevin.config import registry

    return registry.names()


def _data_sets(context: click.Context) -> Iterable[str]:
    from langevin.config import registry

    return registry.names(registry.DATA)


def _executors(context: click.Context) -> Iterable[str]:
    from langevin.sweep import executors

    return executors.named()


def _trackers(context: click.Context) -> Iterable[str]:
    from langevin.config import tracking

    return tracking.TRACKERS


def _quantities(context: click.Context) -> Iterable[str]:
    """Return the figures of the file that stands on the line; without one, those of a run of any system."""
    from langevin import plotting
    from langevin.results.open import open_result

    file = _on_the_line(context)
    if file is None or not file.exists():
        return ("msd", "correlation", "energy", "aging", "fdt", "chi4", "hessian")
    with open_result(file) as dataset:
        return plotting.quantities(dataset)


def _keys(context: click.Context) -> Iterator[str]:
    """Yield "section.key=" for every key of the system of the run file on the line."""
    sections, names = _sections(context)
    yield from (f"{name}=" for name in ("title", *names))
    yield from (f"{section}.{key}=" for section, kind in sections.items() for key in kind.model_fields)


def _sections(context: click.Context) -> tuple[dict[str, type[Section]], list[str]]:
    """Return the sections of the run file on the line, and keys that name what some of them belong to."""
    from langevin.config import registry, toml_text, validate
    from langevin.config.sections import (
        EnsembleKeys,
        LangevinDynamics,
        OutputKeys,
        RecordKeys,
        dynamics_keys,
    )

    sections: dict[str, type[Section]] = {
        "dynamics": LangevinDynamics,
        "ensemble": EnsembleKeys,
        "record": RecordKeys,
        "output": OutputKeys,
    }
    file = _on_the_line(context)
    if file is None or not file.is_file():
        return sections, ["system.name"]
    given = toml_text.parse(toml_text.read(file), file)
    name = _table(given, "system").get("name")
    if name not in registry.names():
        # Code of the user's is not run to complete a word.
        return sections, ["system.name"]
    system = registry.load(name)
    sections |= dict(validate.tables(system))
    sections["dynamics"] = dynamics_keys(system).for_table(_table(given, "dynamics"))
    if "data" not in sections:
        return sections, ["system.name"]
    data = _table(given, "data").get("name")
    if data in registry.names(registry.DATA):
        sections["data"] = registry.load(data, kind=registry.DATA).Parameters
    return sections, ["system.name", "data.name"]


def _table(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = given.get(name)
    return table if isinstance(table, Mapping) else {}


def _values(context: click.Context, incomplete: str) -> list[str]:
    """Return "section.key=value" for every value that a key may have, if they are few."""
    from langevin.config import registry

    dotted, _, begun = incomplete.partition("=")
    section, _, key = dotted.partition(".")
    if dotted in ("system.name", "data.name"):
        names = registry.names(registry.SYSTEM if section == "system" else registry.DATA)
        return sorted(f"{dotted}={name}" for name in names if name.startswith(begun))
    kind = _sections(context)[0].get(section)
    info = kind.model_fields.get(key) if kind is not None else None
    allowed: Iterable[Any] = ()
    if info is not None and info.annotation is bool:
        allowed = ("true", "false")
    elif info is not None and get_origin(info.annotation) is Literal:
        allowed = get_args(info.annotation)
    return [f"{dotted}={value}" for value in (*allowed, "unset") if str(value).startswith(begun)]


def assignments(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete --set: keys, and behind "=" the values of those that have few."""
    try:
        if "=" in incomplete:
            return _values(context, incomplete)
        return sorted(name for name in _keys(context) if name.startswith(incomplete))
    except FOREIGN:
        return []


systems = _beginning(_systems)
data_sets = _beginning(_data_sets)
executors = _beginning(_executors)
trackers = _beginning(_trackers)
quantities = _beginning(_quantities)
