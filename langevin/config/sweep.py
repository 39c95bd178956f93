"""[sweep] of a run file becomes members, each a validated run; every fault of every one is found first."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from langevin import speech
from langevin.code import user_code
from langevin.errors import shortened

from . import sections
from . import validate as single
from .keys import shown
from .settings import Axis, Settings, Sweep
from .toml_text import nearest

#: Members that one sweep may have.
MOST_MEMBERS = 10_000

#: Where the keys of a protocol stand.
PROTOCOL = ["dynamics", "temperature"]

#: Sections whose keys can be swept.
SWEPT = tuple(name for name in sections.SECTIONS if name != "output")


def validate(
    given: dict[str, Any], text: str, folder: Path, faults: list[str], changed: Collection[str] = ()
) -> Settings | None:
    """Validate a run file with [sweep], every member of it; append a line to `faults` for each fault.

    Parameters
    ----------
    given : dict
        With [sweep] as `run_file.flat` returns it.
    text, folder
        As of `Settings`.
    faults : list of str
        A fault that several members share stands there once.
    changed : collection of str
        Keys that --set gave.

    Returns
    -------
    Settings or None
        With `sweep`; the sections are those of the first member.
    """
    own: list[str] = []
    axes = _axes(given["sweep"], own)
    own += [
        f"{key}: is swept; allowed: {_elsewhere(axis, key)} for other values"
        for axis in axes
        for key in axis.keys
        if key in changed
    ]
    count = math.prod(map(len, axes))
    if count > MOST_MEMBERS:
        own.append(f"sweep: {count} members; allowed: at most {MOST_MEMBERS}")
        axes = [replace(axis, rows=axis.rows[:1]) for axis in axes]
    base = {name: value for name, value in given.items() if name != "sweep"}
    own += _protocol_faults(base, axes)
    # In the order in which they are found, each once.
    shown_once: dict[str, None] = {}
    members = []
    for rows in itertools.product(*(axis.rows for axis in axes)):
        shown: list[str] = []
        members.append(single.validate(_with(base, axes, rows), text, folder, shown))
        shown_once.update(dict.fromkeys(shown))
    # What is missing because its list is at fault is not a fault of its own.
    excused = tuple(f"{key}: missing" for key in _keys_of(given["sweep"]))
    faults += own + [fault for fault in shown_once if not (own and fault.startswith(excused))]
    valid = tuple(member for member in members if member is not None)
    if faults or not valid:
        return None
    code = user_code.union(member.code for member in valid)
    return replace(valid[0], given=given, sweep=Sweep(tuple(axes), valid), code=code)


def _protocol_faults(base: Mapping[str, Any], axes: Iterable[Axis]) -> Iterator[str]:
    """Yield keys of a protocol that is not there."""
    section, name = PROTOCOL
    dynamics = base.get(section)
    temperature = dynamics.get(name) if isinstance(dynamics, Mapping) else None
    if not isinstance(temperature, Mapping):
        begin = f"{section}.{name}."
        yield from (
            f"sweep.{key}: dynamics.temperature has no keys; needed: a table {{ protocol = … }} in [dynamics]"
            for axis in axes
            for key in axis.keys
            if key.startswith(begin)
        )


def member(given: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the tables of one member of a valid run file with [sweep], the others left out.

    Parameters
    ----------
    given : mapping
        As of `Settings`.
    number : int
        Of the member.
    """
    base = {name: value for name, value in given.items() if name != "sweep"}
    axes = _axes(given["sweep"], [])
    rows = itertools.product(*(axis.rows for axis in axes))
    return _with(base, axes, next(itertools.islice(rows, number, None)))


def _with(base: Mapping[str, Any], axes: Iterable[Axis], rows: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    """Return the tables of one member."""
    tables: dict[str, Any] = dict(base)
    for axis, row in zip(axes, rows, strict=True):
        for dotted, value in zip(axis.keys, row, strict=True):
            tables = _replaced(tables, dotted.split("."), value)
    return tables


def _replaced(table: Any, parts: Sequence[str], value: Any) -> Any:
    """Return a table with a key of its own, or of a table in it, replaced."""
    if not isinstance(table, Mapping):
        # It stays, as the fault that it is.
        return table
    first, *rest = parts
    return {**table, first: _replaced(table.get(first, {}), rest, value) if rest else value}


def _keys_of(table: Any) -> list[str]:
    named = [_parts(str(name)) for name in table] if isinstance(table, Mapping) else []
    return [f"{parts[1]}.{parts[2]}" for parts in named if parts]


def _axes(table: Any, faults: list[str]) -> list[Axis]:
    """Return the axes whose lists are valid."""
    if not isinstance(table, Mapping):
        faults.append(f"sweep = {shown(table)}: must be a table, [sweep]")
        return []
    if not table:
        faults.append('sweep: names no key; needed: "section.key" = [value, value, …]')
    groups: dict[str, dict[str, list[Any]]] = {}
    seen: set[str] = set()
    for dotted, values in table.items():
        wrong = list(_key_faults(dotted, values))
        group, section, key = _parts(dotted) or ("", "", dotted)
        name = f"{section}.{key}"
        if name in seen:
            wrong.append(f"sweep.{shortened(dotted)}: {shortened(name)} is swept twice")
        seen.add(name)
        faults += wrong
        if not wrong:
            # A key of its own is an axis of its own: no group has a name with a dot.
            groups.setdefault(group or name, {})[name] = values
    return list(_axes_of(groups, faults))


def _axes_of(groups: Mapping[str, Mapping[str, list[Any]]], faults: list[str]) -> Iterator[Axis]:
    for name, lists in groups.items():
        lengths = {len(values) for values in lists.values()}
        group = "" if "." in name else name
        if len(lengths) > 1:
            counts = ", ".join(f"{key} has {len(values)}" for key, values in lists.items())
            faults.append(f"sweep.{name}: all lists of a group must have as many values; {counts}")
            continue
        rows = tuple(zip(*lists.values(), strict=True))
        # The last of those that are equal.
        left = {_hashable(row): row for row in rows}
        if len(left) < len(rows):
            twice = next(row for row, count in Counter(map(_hashable, rows)).items() if count > 1)
            said = shown(left[twice][0] if not group else list(left[twice]))
            faults.append(f"sweep.{name}: {said} stands there twice; allowed: each value once")
            # What else is wrong with the values shows in those that are left.
            rows = tuple(left.values())
        yield Axis(tuple(lists), rows, group)


def _parts(dotted: str) -> tuple[str, str, str] | None:
    """Return group, section and key; the group is empty for a key of its own, and None is no key at all.

    That of a probe is called probes.NAME.key of [record], that of a protocol temperature.key of [dynamics].
    """
    parts = dotted.split(".")
    size = 4 if parts[-4:-2] == ["record", "probes"] else 3 if parts[-3:-1] == PROTOCOL else 2
    if len(parts) not in (size, size + 1) or not all(parts):
        return None
    return ".".join(parts[:-size]), parts[-size], ".".join(parts[1 - size :])


def _key_faults(dotted: str, values: Any) -> Iterator[str]:
    parts = _parts(dotted)
    dotted = shortened(dotted)
    if parts is None:
        yield f"sweep.{dotted}: write section.key, or group.section.key for keys that change together"
        return
    group, section, key = parts
    if section == "output":
        allowed = ", ".join(SWEPT)
        yield f"sweep.{dotted}: cannot be swept (a sweep writes one file); allowed: keys of {allowed}"
    elif section not in SWEPT:
        near = nearest(section, SWEPT)
        yield (
            f"sweep.{dotted}: unknown section {shortened(section)}; nearest: {near}.{shortened(key)}; "
            f"allowed: {', '.join(SWEPT)}"
        )
    elif (section, key) == ("ensemble", "shards"):
        yield f"sweep.{dotted}: cannot be swept (results do not depend on it); allowed: shards in [ensemble]"
    if group and not group.isidentifier():
        yield f"sweep.{dotted}: the name of a group must be a plain word"
    if not isinstance(values, list):
        yield f"sweep.{dotted} = {shown(values)}: must be a list of values, such as [{shown(values)}]"
    elif not values:
        yield f"sweep.{dotted} = []: must hold at least one value"


def _hashable(value: Any) -> Hashable:
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    if isinstance(value, Mapping):
        return tuple(sorted((name, _hashable(inner)) for name, inner in value.items()))
    # Python takes true for 1, a run file does not.
    return (type(value).__name__, value) if isinstance(value, bool) else value


def _elsewhere(axis: Axis, key: str) -> str:
    """Say how other values are given in place of those that the run file sweeps."""
    whole = f"sweep.{axis.group and f'{axis.group}.'}{key}"
    return speech.assigned(whole, "[…]")
