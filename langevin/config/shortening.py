"""A run is made shorter, or smaller, than its run file says: what no longer fits into it is left out.

That is done where the command line, or the overrides of a call, gave a nearer end or fewer replicas, and of
what the run file says alone: what an override says itself stands. What lay beyond the end of the run file,
too, stays as the fault that it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langevin.core.schedule import Grid
from langevin.core.times import SAME
from langevin.errors import FOREIGN

from . import registry
from .keys import InherentKeys, shown
from .sections import RecordKeys, dynamics_keys

END, REPLICAS, SAMPLES = "dynamics.t_max", "ensemble.replicas", "ensemble.samples"

#: Keys of [record] that hold times.
TIMES = tuple(name for name, info in RecordKeys.model_fields.items() if isinstance(info.default, Grid))

#: Keys that say something of times, and may stand only beside some.
OF_TIMES = {"hessian": ("hessian_vectors", "ggn"), "inherent": tuple(InherentKeys.model_fields)}

#: Times of one key that are named.
NAMED = 3


def adapted(
    before: Mapping[str, Any], given: dict[str, Any], changed: Collection[str], folder: Path
) -> tuple[dict[str, Any], str]:
    """Leave out of the tables of a run file what its overrides have no room for.

    Parameters
    ----------
    before, given : mapping, dict
        The tables without the overrides, and with them; [sweep] as `toml_text.flat` returns it.
    changed : collection of str
        The keys that were overridden.
    folder : Path
        Where the run file stands; a user's own module is looked for there.

    Returns
    -------
    dict
        The tables.
    str
        A line that says what was left out; empty if nothing was.
    """
    said: list[str] = []
    old, new = (_least(tables, END) for tables in (before, given))
    if _given(changed, END) and new < old < math.inf:
        gone: list[str] = []
        given = _within(given, changed, (new, old), gone)
        given = _within_members(given, before, changed, (new, old), gone)
        given = _without_collection(given, before, changed, folder, gone)
        if gone:
            said.append(f"{END} = {new:.10g} in place of {old:.10g} leaves out {', '.join(gone)}")
    said += _fewer(before, given, changed)
    if said and _samples(given) > _least(given, REPLICAS):
        given = {**given, "ensemble": {**given["ensemble"], "samples": int(_least(given, REPLICAS))}}
    return given, "; ".join(said)


def _given(changed: Collection[str], key: str) -> bool:
    """Return whether an override has given a key, or what it is swept over."""
    return any(name == key or (name.startswith("sweep.") and name.endswith(f".{key}")) for name in changed)


def _least(tables: Mapping[str, Any], key: str) -> float:
    """Return the least value that a key has in any member; inf where there is none, or something else."""
    swept = tables.get("sweep")
    lists = [
        values
        for name, values in (swept.items() if isinstance(swept, Mapping) else ())
        if name == key or name.endswith(f".{key}")
    ]
    section, _, last = key.partition(".")
    table = tables.get(section)
    values = lists[0] if lists else [table.get(last)] if isinstance(table, Mapping) else []
    numbers = [v for v in values if _is_number(v)] if isinstance(values, list) else []
    return float(min(numbers)) if numbers and len(numbers) == len(values) else math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _within(
    given: dict[str, Any], changed: Collection[str], ends: tuple[float, float], gone: list[str]
) -> dict[str, Any]:
    """Return the tables without the times of [record] between two ends; say in `gone` which these were."""
    record = given.get("record")
    if not isinstance(record, Mapping):
        return given
    record = dict(record)
    for name in TIMES:
        if name in record and f"record.{name}" not in changed:
            record[name], left_out = _cut(record[name], *ends)
            gone += [f"record.{name} {left_out}"] * bool(left_out)
            if left_out and record[name] == []:
                for other in OF_TIMES.get(name, ()):
                    if other != name and f"record.{other}" not in changed:
                        record.pop(other, None)
    if isinstance(record.get("probes"), Mapping):
        record["probes"] = dict(_probes(record["probes"], changed, ends, gone))
    return {**given, "record": record}


def _within_members(
    given: dict[str, Any],
    before: Mapping[str, Any],
    changed: Collection[str],
    ends: tuple[float, float],
    gone: list[str],
) -> dict[str, Any]:
    """Return the tables without such times where [sweep] lists them, by the ends of the members."""
    swept, swept_before = given.get("sweep"), before.get("sweep")
    if not (isinstance(swept, Mapping) and isinstance(swept_before, Mapping)):
        return given
    cut = dict(swept)
    for name, values in swept.items():
        group, _, last = name.rpartition("record.")
        if last not in TIMES or f"sweep.{name}" in changed or not isinstance(values, list):
            continue
        # In a group they change together with the end.
        own = [table.get(f"{group}{END}") if group else None for table in (swept, swept_before)]
        rows = zip(*own, strict=True) if _as_many(values, own) else [ends] * len(values)
        made = [_cut(value, *row) for value, row in zip(values, rows, strict=True)]
        cut[name] = [times for times, _ in made]
        gone += [f"{name} {left_out}" for _, left_out in made if left_out][:1]
    return {**given, "sweep": cut}


def _as_many(values: Sequence[Any], lists: Sequence[Any]) -> bool:
    """Return whether each is a list of as many numbers as there are values."""
    return all(
        isinstance(one, list) and len(one) == len(values) and all(map(_is_number, one)) for one in lists
    )


def _probes(
    tables: Mapping[str, Any], changed: Collection[str], ends: tuple[float, float], gone: list[str]
) -> Iterator[tuple[str, Any]]:
    """Yield the tables of probes within the end; those that nothing is left of are none of them."""
    for name, table in tables.items():
        key = f"record.probes.{name}.times"
        if not isinstance(table, Mapping) or "times" not in table or key in changed:
            yield name, table
            continue
        times, left_out = _cut(table["times"], *ends)
        gone += [f"{key} {left_out}"] * bool(left_out)
        if not left_out or times != []:
            yield name, {**table, "times": times}


def _cut(times: Any, new: float, old: float) -> tuple[Any, str]:
    """Return times up to the new end, and what was left out: what lay between it and the old one."""

    def beyond(t: Any) -> bool:
        # As far as the same time may be reached in another way.
        return _is_number(t) and new + SAME * math.ulp(new) < t <= old + SAME * math.ulp(old)

    if isinstance(times, Mapping):
        return ([], shown(times)) if beyond(times.get("start")) else (times, "")
    if not isinstance(times, list):
        return times, ""
    return [t for t in times if not beyond(t)], _listed([t for t in times if beyond(t)])


def _listed(times: Sequence[float]) -> str:
    if len(times) <= NAMED:
        return ", ".join(f"{t:.10g}" for t in times)
    return f"{times[0]:.10g} … {times[-1]:.10g} ({len(times)} times)"


def _without_collection(
    given: dict[str, Any],
    before: Mapping[str, Any],
    changed: Collection[str],
    folder: Path,
    gone: list[str],
) -> dict[str, Any]:
    """Return the tables without `snapshots = "collected"`, if nothing is collected up to the new end."""
    record = given.get("record")
    if (
        not isinstance(record, Mapping)
        or record.get("snapshots") != "collected"
        or "record.snapshots" in changed
        or _collects(given, folder)
        or not _collects(before, folder)
    ):
        return given
    gone.append('record.snapshots "collected"')
    return {**given, "record": {name: value for name, value in record.items() if name != "snapshots"}}


def _collects(tables: Mapping[str, Any], folder: Path) -> bool:
    """Return whether models join an ensemble; where that cannot be known, its faults say so."""
    try:
        kind = dynamics_keys(registry.load(tables["system"]["name"], folder))
        dynamics = kind.for_table(tables["dynamics"]).model_validate(dict(tables["dynamics"]))
        return bool(getattr(dynamics, "collected", tuple)())
    except FOREIGN:
        return True


def _samples(given: Mapping[str, Any]) -> float:
    ensemble = given.get("ensemble")
    samples = ensemble.get("samples") if isinstance(ensemble, Mapping) else None
    return float(samples) if samples is not None and _is_number(samples) else 0.0


def _fewer(before: Mapping[str, Any], given: Mapping[str, Any], changed: Collection[str]) -> list[str]:
    """Say that there are no more samples than replicas, where an override has left fewer of these."""
    old, new, samples = _least(before, REPLICAS), _least(given, REPLICAS), _samples(given)
    touched = _given(changed, REPLICAS) and not _given(changed, SAMPLES)
    if not (touched and new < samples <= old < math.inf):
        return []
    return [f"{REPLICAS} = {new:.10g} in place of {old:.10g} leaves as many {SAMPLES}, not {samples:.10g}"]
