"""Extreme numbers for every key of every system and data set: valid, or one line, and soon."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

import langevin
from langevin.config import registry, run_files, templates, validate
from langevin.core.schedule import Grid, Schedule
from langevin.errors import ConfigError, LangevinError
from langevin.machine import memory

EXTREMES = (0, -1, 5e-324, 1e-300, 1e300, 1e308, 2**63, 10**30, 10**400, math.nan, math.inf)


def variants(annotation: str) -> Iterator[Any]:
    """Yield values of the shape that a key has."""
    for v in EXTREMES:
        if "Grid" in annotation:
            yield [v]
            yield {"per_decade": v}
            yield {"per_decade": 2, "start": v}
            yield {"per_decade": 1000, "stop": v}
        elif "list" in annotation:
            yield from ([v], [v, v], [[v, v], [v, v]])
        else:
            yield v


def numeric(kind: type[Any]) -> Iterator[tuple[str, str]]:
    for field, info in kind.model_fields.items():
        annotation = str(info.annotation)
        if any(word in annotation for word in ("int", "float", "Grid")):
            yield field, annotation


def judged(given: dict[str, Any], key: str, value: Any) -> str:
    """Return what is wrong with how a value is judged; empty if it is a fault in a line, or a schedule."""
    try:
        settings = run_files.load(given, {key: value})
    except ConfigError as error:
        return "several lines" if any("\n" in fault for fault in error.faults) else ""
    dynamics, record = settings.dynamics, settings.record
    grids = record.times, record.waiting_times, record.lags
    further = {"hessian_time": record.hessian, "snapshot_time": record.snapshot_grid(dynamics)}
    plan = Schedule.build(*grids, dynamics.t_max, getattr(dynamics, "time_step", None), further)
    return "" if all(math.isfinite(stop.time) for stop in plan.stops) else "times that are not finite"


@pytest.mark.parametrize("name", sorted(set(registry.names()) - {"curve", "network_curve"}))
def test_extreme_numbers_of_a_system(name: str) -> None:
    given = tomllib.loads(templates.template(name))
    system = registry.load(name)
    # What systems share is tried with a light one, what networks share with one of them.
    shared = {"start"} if name == "harmonic" else {"ensemble", "record", "output", "data", "start"}
    if registry.load(name).__module__.startswith("langevin.systems.networks") and name != "mlp":
        shared.add("dynamics")
    for table, kind in validate.tables(system):
        if table in shared:
            continue
        for field, annotation in numeric(kind):
            for value in variants(annotation):
                key = f"{table}.{field}"
                assert not judged(given, key, value), f"{key} = {value!r}"[:200]


@pytest.mark.parametrize("name", sorted(registry.names(registry.DATA)))
def test_extreme_numbers_of_a_data_set(name: str) -> None:
    given = tomllib.loads(templates.template("mlp"))
    given["data"] = {"name": name}
    kind = registry.load(name, kind=registry.DATA)
    for field, annotation in numeric(kind.Parameters):
        for value in variants(annotation):
            assert not judged(given, f"data.{field}", value), f"data.{field} = {value!r}"[:200]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"dynamics.t_max": 1e308}, ["dynamics.t_max = 1e+308", "steps", "dynamics.dt = 0.02"]),
        ({"dynamics.dt": 5e-324}, ["dynamics.t_max = 100", "steps", "dynamics.dt = 4.94066e-324"]),
        ({"dynamics.dt": 1e-300}, ["dynamics.t_max", "steps"]),
        ({"ensemble.replicas": 10**30}, ["ensemble.replicas = 1000000000000000000000000000000", "2^63"]),
        ({"ensemble.replicas": 10**15}, ["ensemble.replicas = 1000000000000000", "GB"]),
        ({"ensemble.seed": 10**30}, ["ensemble.seed", "2^63"]),
        ({"system.n": 10**30}, ["system.n = 1000000000000000000000000000000", "2^63"]),
        ({"system.n": 10**15}, ["system.n = 1000000000000000", "GB"]),
        ({"record.lags": {"per_decade": 10**400}}, ["record.lags.per_decade: an integer of some 400 digits"]),
        ({"record.lags": [10**400]}, ["record.lags: an integer of some 400 digits"]),
    ],
)
def test_what_no_machine_holds_is_one_line(changes: dict[str, Any], words: list[str]) -> None:
    given = tomllib.loads(templates.template("harmonic"))
    with pytest.raises(ConfigError) as caught:
        run_files.load(given, changes)
    for word in words:
        assert any(word in line for line in caught.value.faults), caught.value.faults


def test_more_pairs_than_memory_holds_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    given = tomllib.loads(templates.template("harmonic"))
    given["dynamics"] |= {"dt": 1e-9, "t_max": 1e3}
    dense = {"start": 1e-9, "per_decade": 1000}
    # 12 decades squared are 1.4e8 pairs: 30 GB of schedule, and it is not built to find that out.
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": 8e9}))
    with pytest.raises(ConfigError) as caught:
        run_files.load(given, {"record.waiting_times": dense, "record.lags": dense})
    (line,) = caught.value.faults
    for word in ("record.waiting_times", "record.lags", "ensemble.replicas", "GB", "8 GB are free"):
        assert word in line


def test_a_far_end_of_a_grid_ends_with_the_run() -> None:
    given = tomllib.loads(templates.template("harmonic"))
    found = run_files.load(given, {"record.times": {"per_decade": 5, "stop": 1e308}})
    plan = Schedule.build(found.record.times, Grid(), Grid(), 100.0, 0.02)
    assert 10 < len(plan) < 30 and plan.times[-1] == 100


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 1 TiB"),
        MemoryError(),
        ValueError("array is too big; `arr.size * arr.dtype.itemsize` is larger than …"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …\nsecond line"),
    ],
)
def test_a_run_that_memory_does_not_hold_says_what_to_reduce(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("langevin.running.single_run.build", fail)
    given = tomllib.loads(templates.template("harmonic"))
    with pytest.raises(LangevinError, match=r"memory of this machine.*ensemble\.replicas") as caught:
        langevin.run(given | {"output": {"figure": False}})
    assert "\n" not in str(caught.value)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(ValueError, match="something else"), memory.room_explained():
        raise ValueError("something else")
