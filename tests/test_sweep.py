"""Sweeps: every member is, bit for bit, the run that it would be alone."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from test_restart import interrupted

import langevin
from langevin.commands.cli import main
from langevin.config import run_files
from langevin.config.settings import Axis
from langevin.core.capabilities import HasObservables
from langevin.errors import ConfigError, Diverged, LangevinError, UserError
from langevin.files import manifest
from langevin.files.paths import Paths
from langevin.record import configurations
from langevin.record.recorder import TAKEN
from langevin.results import members as reading
from langevin.running import execution as running
from langevin.running import single_run
from langevin.sweep import combine, names
from langevin.sweep.executors import EXECUTORS
from langevin.systems.harmonic import Harmonic

Maker = Callable[..., dict[str, Any]]

#: What may differ between a member and the same run alone: when, by whom and how long it was computed.
CIRCUMSTANCES = {"history", "threads", "wall_time_seconds", "run_file", "title", "settings"}


class Farthest(Harmonic, HasObservables):
    """Oscillators that measure one thing more."""

    def observables(self, x: Any) -> Any:
        return {"farthest": np.abs(x).max(axis=1)}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members run in this process: the tests of processes are elsewhere."""
    monkeypatch.setitem(EXECUTORS, "processes", EXECUTORS["in_process"])


def harmonic(**sections: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {
        "title": "oscillators",
        "system": {"name": "harmonic", "n": 20},
        "dynamics": {"temperature": 1.0, "dt": 0.1, "t_max": 4.0},
        "ensemble": {"replicas": 3},
        "record": {"waiting_times": [0.0, 1.0], "lags": {"per_decade": 3}, "times": {"per_decade": 3}},
        "output": {"figure": False},
    }
    for name, table in sections.items():
        given[name] = {**given.get(name, {}), **table}
    return given


def alone(given: dict[str, Any], swept: dict[str, Any]) -> xr.Dataset:
    """Run one member by itself."""
    given = {name: table for name, table in given.items() if name != "sweep"}
    given["output"] = {**given["output"], "path": ""}
    return langevin.run(given, overrides=swept)


def assert_members_are_single_runs(given: dict[str, Any], dataset: xr.Dataset) -> None:
    settings = run_files.load(given)
    assert settings.sweep is not None
    found = list(langevin.members(dataset))
    assert len(found) == len(settings.sweep.members)
    for (labels, member), expected in zip(found, settings.sweep.members, strict=True):
        swept = {
            f"{section}.{key}": value
            for section, table in expected.given.items()
            if isinstance(table, dict)
            for key, value in table.items()
            if section != "output"
        }
        single = alone(given, swept)
        own = member.drop_vars([n for n in member.coords if n not in single.coords]).load()
        # Attributes of variables, dtypes and coordinates, too.
        xr.testing.assert_identical(own.drop_attrs(deep=False), single.drop_attrs(deep=False))
        assert {n: v.dtype for n, v in own.variables.items()} == {
            n: v.dtype for n, v in single.variables.items()
        }
        attributes = {k: v for k, v in member.attrs.items() if k not in CIRCUMSTANCES}
        assert attributes == {k: v for k, v in single.attrs.items() if k not in CIRCUMSTANCES}, labels
        told, known = (json.loads(d.attrs["settings"]) for d in (member, single))
        assert {k: v for k, v in told.items() if k != "output"} == {
            k: v for k, v in known.items() if k != "output"
        }


SWEEPS: dict[str, dict[str, Any]] = {
    "temperature": {"dynamics.temperature": [0.5, 1.0, 2.0]},
    "order": {"dynamics.temperature": [2.0, 0.5], "ensemble.seed": [3, 1]},
    "end": {"dynamics.t_max": [2.0, 4.0], "dynamics.dt": [0.1, 0.05]},
    "replicas": {"ensemble.replicas": [2, 5], "ensemble.samples": [1, 2]},
    "dof": {"system.n": [5, 12], "record.sketch": [4, 8]},
    "response": {"record.response": [True, False]},
    "together": {
        "size.system.n": [5, 12],
        "size.ensemble.replicas": [4, 2],
        "dynamics.temperature": [0.5, 1.0],
    },
    "grids": {"record.lags": [{"per_decade": 3}, [0.5, 1.0]], "record.configurations": ["auto", "never"]},
    "systems": {"system.name": ["harmonic", "test_sweep:Farthest"]},
}


@pytest.mark.parametrize("name", SWEEPS)
def test_members_are_single_runs(name: str, here: None, tmp_path: Path) -> None:
    """With other schedules, replicas, sizes and variables in each."""
    given = harmonic(sweep=SWEEPS[name], output={"path": str(tmp_path / "all.nc")})
    assert_members_are_single_runs(given, langevin.run(given))
    assert [p.name for p in tmp_path.iterdir()] == ["all.nc"]


def test_members_of_networks(here: None, small: Maker) -> None:
    """Lists as values; attributes of variables that differ in every member."""
    given = small("mlp", ensemble__replicas=2, ensemble__samples=1, dynamics__t_max=5)
    given["sweep"] = {"net.system.widths": [[3], [2, 2]], "net.dynamics.learning_rate": [0.1, 0.05]}
    dataset = langevin.run(given)
    assert dataset["widths"].values.tolist() == ["3", "2,2"]
    assert dataset["energy"].dims == ("net", "replica", "time")
    assert_members_are_single_runs(given, dataset)
    rates = dataset["gradient_noise_learning_rate"]
    assert (rates.dims, rates.values.tolist()) == (("net",), [0.1, 0.05])
    assert [m["gradient_noise"].attrs["learning_rate"] for _, m in langevin.members(dataset)] == [0.1, 0.05]


def test_the_last_list_varies_fastest() -> None:
    settings = run_files.load(harmonic(sweep={"dynamics.temperature": [2.0, 1.0], "system.n": [9, 3, 6]}))
    assert settings.sweep is not None
    members = [(m.dynamics.temperature, m.system.n) for m in settings.sweep.members]
    assert members == [(2.0, 9), (2.0, 3), (2.0, 6), (1.0, 9), (1.0, 3), (1.0, 6)]
    assert [settings.sweep.index(k) for k in range(6)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert settings.sweep.label(1) == "dynamics.temperature = 2.0, system.n = 3"


def test_a_group_changes_together() -> None:
    table = {"size": {"system": {"n": [9, 3]}, "ensemble.replicas": [1, 2]}}
    settings = run_files.load(harmonic(sweep=table))
    assert settings.sweep is not None
    assert [(m.system.n, m.ensemble.replicas) for m in settings.sweep.members] == [(9, 1), (3, 2)]
    assert settings.size.endswith("2 members: 2 size; 3 replicas in all")


def test_what_is_united_is_padded_with_nan(here: None) -> None:
    given = harmonic(sweep={"dynamics.t_max": [1.0, 2.0], "ensemble.replicas": [2, 3]})
    dataset = langevin.run(given)
    energy = dataset["energy"]
    assert energy.sizes == {"t_max": 2, "replicas": 2, "replica": 3, "time": dataset.sizes["time"]}
    short = energy.sel(t_max=1.0)
    assert short.sel(time=slice(1.05, None)).isnull().all()
    assert energy.isel(replicas=0, replica=2).isnull().all()
    assert energy.isel(replicas=1, t_max=1).notnull().all()
    # Every replica is in one sample, whatever the member.
    assert dataset["sample"].dims == ("replica",)
    assert dataset["configuration"].isel(t_max=1, replicas=1).notnull().all()


def test_a_large_variable_is_copied_in_pieces(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    given = harmonic(sweep={"dynamics.t_max": [1.0, 2.0], "system.n": [3, 5]})
    whole = langevin.run(given)
    monkeypatch.setattr(combine, "PIECE", 0)
    pieces = langevin.run(given)
    xr.testing.assert_identical(
        pieces.drop_attrs().drop_vars("wall_time_seconds"), whole.drop_attrs().drop_vars("wall_time_seconds")
    )


def test_configurations_are_stored_while_all_members_together_stay_small(
    here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = harmonic(sweep={"dynamics.temperature": [0.5, 1.0]})
    size = alone(given, {})["configuration"].nbytes
    for limit, stored in ((2 * size, True), (2 * size - 1, False)):
        monkeypatch.setattr(configurations, "TRAJECTORY_LIMIT", limit)
        assert ("configuration" in langevin.run(given)) is stored


@pytest.mark.parametrize(
    ("keys", "taken", "expected"),
    [
        (["dynamics.temperature"], [], ["temperature"]),
        (["system.n", "data.n"], [], ["system_n", "data_n"]),
        (["record.sketch"], TAKEN, ["record_sketch"]),
        (["system.name"], [], ["system_name"]),
        (["record.response"], ["response"], ["record_response"]),
    ],
)
def test_names(keys: list[str], taken: list[str], expected: list[str]) -> None:
    axes = [Axis((key,), ((1,), (2,))) for key in keys]
    assert list(names.coordinates(axes, taken)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], [1, 2]),
        ([1, 2.5], [1.0, 2.5]),
        ([0.5, float("inf")], [0.5, float("inf")]),
        (["iid", "full"], ["iid", "full"]),
        ([[7, 7], [9]], ["7,7", "9"]),
        ([True, False], ["true", "false"]),
        ([[7], 7], ["[7]", "7"]),
        ([2**70, 1], [str(2**70), "1"]),
        ([{"per_decade": 2}, [1.0]], ["{ per_decade = 2 }", "1"]),
    ],
)
def test_values_or_labels(values: list[Any], expected: list[Any]) -> None:
    (made,) = names.coordinates([Axis(("record.x",), tuple((v,) for v in values))], []).values()
    assert made[1].tolist() == expected


TABLE = """
title = "oscillators"
[system]
name = "harmonic"
n = 10
[dynamics]
temperature = 1.0
dt = 0.1
t_max = 2.0
[record]
waiting_times = [0.0]
[sweep]
"dynamics.temperature" = [0.5, 1.0]
system.n = [4, 8]
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: None) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "sweep.toml"
    file.write_text(TABLE)
    return file


def command(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("sweep.dynamics.temperature=0.5", ["sweep.dynamics.temperature = 0.5: must be a list"]),
        ("sweep.dynamics.temperature=[]", ["sweep.dynamics.temperature = []: must hold at least one"]),
        ("sweep.dynamics.temperature=[1, 2, 1.0]", ["sweep.dynamics.temperature: 1.0 stands there twice"]),
        (
            "sweep.dynamics.temprature=[1, 2]",
            ["dynamics.temprature: unknown key; nearest: dynamics.temperature"],
        ),
        ("sweep.dynamic.temperature=[1, 2]", ["unknown section dynamic; nearest: dynamics.temperature"]),
        ("sweep.temperature=[1, 2]", ["sweep.temperature: write section.key"]),
        (
            "sweep.output.path=['a.nc']",
            ["sweep.output.path: cannot be swept", "allowed: keys of system, data"],
        ),
        ("sweep.dynamics.t_max=[1.0, -1.0]", ["dynamics.t_max = -1.0: allowed: number > 0"]),
        ("sweep.g.dynamics.dt=[0.1]", ["all lists of a group", "dynamics.dt has 1, dynamics.t_max has 2"]),
        ("sweep.g.system.n=[1, 2]", ["sweep.g.system.n: system.n is swept twice"]),
        ("sweep.1g.ensemble.seed=[1, 2]", ["the name of a group must be a plain word"]),
        (
            "dynamics.temperature=2.0",
            ["dynamics.temperature: is swept", "--set 'sweep.dynamics.temperature=[…]'"],
        ),
        ("sweep.ensemble.seed=" + str(list(range(9999))), ["39996 members; allowed: at most 10000"]),
        ("dynamics.dt=-1", ["dynamics.dt = -1: allowed: number > 0"]),
        ("dynamics.dt=5", ["dynamics.dt = 5: must be ≤ dynamics.t_max = 2"]),
        ("swepe.x=1", ["swepe: unknown section or key; nearest: sweep"]),
    ],
)
@pytest.mark.parametrize("verb", ["validate", "run"])
def test_faults_are_one_line_each(sweep: Path, verb: str, assignment: str, words: list[str]) -> None:
    more = ["--set", "sweep.g.dynamics.t_max=[1, 2]"] if "g.dynamics.dt" in assignment else []
    done = command(verb, sweep, "--set", assignment, *more)
    assert done.exit_code == 2, done.output
    # A fault that all members share stands there once.
    assert done.output.count("\n") == 1, done.output
    for word in words:
        assert word in done.output
    assert [p.name for p in sweep.parent.iterdir()] == ["sweep.toml"]


def test_all_faults_at_once() -> None:
    given = harmonic(
        sweep={"system.n": [0, 4, 4], "dynamics.dt": [-1.0, 0.1], "output.figure": [True]},
        ensemble={"seed": -1},
    )
    with pytest.raises(ConfigError) as caught:
        run_files.load(given)
    lines = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 5, lines
    for word in (
        "output.figure",
        "4 stands there twice",
        "system.n = 0",
        "dynamics.dt = -1",
        "ensemble.seed = -1",
    ):
        assert word in lines


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ({}, "names no key"),
        ([1], "must be a table"),
        ({"system": {"n": [1]}, "system.n": [2]}, "stands there twice"),
    ],
)
def test_tables_that_are_none(table: Any, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        run_files.load({**harmonic(), "sweep": table})


def test_a_class_of_the_script_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "Farthest", Farthest, raising=False)
    given = harmonic(system={"name": "__main__:Farthest"}, sweep={"system.n": [4, 8]})
    with pytest.raises(UserError, match=r"system.name = '__main__:Farthest': .* a class in a module"):
        langevin.run(given)
    # In this process it is there.
    with langevin.run(given, executor="in_process") as found:
        assert found.sizes["n"] == 2


def test_a_key_may_be_missing_in_its_section() -> None:
    given = harmonic(sweep={"dynamics.temperature": [0.5]})
    del given["dynamics"]["temperature"]
    run_files.load(given)
    given["sweep"] = {"dynamics.temperature": 0.5}
    with pytest.raises(ConfigError) as caught:
        run_files.load(given)
    assert len(caught.value.faults) == 1


def test_the_command_line(sweep: Path) -> None:
    told = command("validate", sweep).output
    assert "valid (harmonic, 4 members: 2 dynamics.temperature × 2 system.n; 4 replicas in all)" in told
    done = command("run", sweep, "--set", "sweep.system.n=[4, 8, 16]")
    assert done.exit_code == 0, done.output
    rows = done.stdout.splitlines()
    assert rows[0].split() == ["temperature", "n", "t", "energy"]
    assert [row.split()[:3] for row in rows[1:7]] == [
        [t, n, "2"] for t in ("0.5", "1") for n in ("4", "8", "16")
    ]
    assert rows[7:] == ["result  sweep.nc", "figure  sweep.png"]
    assert "temperature 2, n 3" in command("info", "sweep.nc").output
    one = command("info", "sweep.nc", "--at", "temperature=0.50", "--at", "n=8").output
    assert "energy at t = 2: " in one
    assert "temperature = 0.5, n = 8" in one
    some = command("info", "sweep.nc", "--at", "n=8").output
    assert [line.split()[0] for line in some.splitlines()[-3:]] == ["temperature", "0.5", "1"]


def curves_of(ax: Any) -> list[Any]:
    """Return the lines that are no straight ones."""
    return [line for line in ax.lines if len(line.get_xdata()) > 2]


def test_figures(sweep: Path) -> None:
    assert command("run", sweep, "-q", "--set", "output.figure=false").exit_code == 0
    arguments = ["--at", "n=4", "--at", "temperature=1", "--quantity", "correlation"]
    done = command("plot", "sweep.nc", "-o", "a.pdf", *arguments)
    assert done.exit_code == 0, done.output
    from langevin import plotting

    with langevin.open("sweep.nc") as dataset:
        energies, two_time, final = plotting.figure(dataset).axes
        assert len(curves_of(energies)) == len(curves_of(two_time)) == 4
        assert sorted(final.get_legend_handles_labels()[1]) == ["n = 4", "n = 8"]
        member = reading.select(dataset, ["n=4", "temperature=1"])
        assert len(plotting.figure(member).axes) == 2
        part = plotting.figure(reading.select(dataset, ["n=4"]), "correlation")
        assert [len(curves_of(ax)) for ax in part.axes[:2]] == [2, 2]
    for arguments, word in (
        (["--quantity", "mds"], "allowed of a sweep: msd, correlation"),
        (["--at", "m=4"], "allowed names: temperature, n"),
        (["--at", "n"], "write name=value"),
        (["--at", "n=5"], "allowed: 4, 8"),
        (["--at", "n=four"], "allowed: 4, 8"),
        (["--at", "n=4", "--at", "n=4"], "allowed names: temperature"),
    ):
        done = command("plot", "sweep.nc", *arguments)
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
        assert word in done.output
    with langevin.open("sweep.nc") as dataset:
        next(member for _, member in reading.members(dataset)).to_netcdf("b.nc")
    done = command("compare", "sweep.nc", "b.nc")
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "sweep.nc: holds a sweep over temperature, n" in done.output


def test_selection_by_labels_and_groups(here: None) -> None:
    sweeps = {"size.system.n": [5, 12], "size.ensemble.replicas": [4, 2], "record.lags": [[0.5], [0.5, 1.0]]}
    dataset = langevin.run(harmonic(sweep=sweeps))
    assert dataset["size"].values.tolist() == ["5, 4", "12, 2"]
    for wanted in (["n=12", "lags=0.5,1"], ["size=12,2", "lags=[0.5, 1]"], ["replicas=2", "lags=0.5, 1"]):
        member = reading.select(dataset, wanted)
        assert (member.sizes["dof"], member.sizes["replica"], member.sizes["lag"]) == (12, 2, 2)
    with pytest.raises(UserError, match="holds no sweep"):
        reading.select(member, ["n=12"])


def test_a_single_result_is_its_only_member(here: None) -> None:
    dataset = alone(harmonic(), {})
    ((labels, member),) = langevin.members(dataset)
    assert labels == {}
    assert member is dataset


def test_members_of_a_part(here: None) -> None:
    """What xarray has selected from is still a sweep."""
    sweeps = {"dynamics.temperature": [0.5, 1.0], "record.lags": [[0.5], [0.5, 1.0]]}
    dataset = langevin.run(harmonic(sweep=sweeps))
    part = dataset.sel(temperature=1.0).isel(lags=[1])
    ((labels, member),) = langevin.members(part)
    assert labels == {"lags": "0.5,1"}
    given = json.loads(member.attrs["settings"])
    assert (given["dynamics"]["temperature"], given["record"]["lags"]) == (1.0, [0.5, 1.0])
    expected = alone(harmonic(), {"record.lags": [0.5, 1.0]})
    np.testing.assert_array_equal(member["msd"], expected["msd"])


def test_a_stopped_sweep_resumes_to_the_same_bits(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = harmonic(
        sweep={"dynamics.temperature": [0.5, 1.0, 2.0]},
        output={"path": str(tmp_path / "whole.nc"), "checkpoint_interval": 0.0},
    )
    langevin.run(given).close()
    given["output"]["path"] = str(tmp_path / "stopped.nc")
    single = langevin.run({**harmonic(), "output": {}})
    # In the second member: a member has as many stretches as times, at least.
    paths = interrupted(given, monkeypatch, single.sizes["configuration_time"] + 3)
    assert {p.name for p in paths.sweep.iterdir()} >= {
        "sweep.json",
        "member-0000.nc",
        "member-0001.checkpoint.nc",
    }
    assert not (paths.sweep / "member-0002.nc").exists()
    with pytest.raises(UserError, match=r"its sweep is unfinished: `langevin\.resume"):
        langevin.open(paths.result)
    with pytest.raises(
        UserError, match=r"stopped.sweep holds an unfinished sweep.*langevin\.resume.*force=True"
    ):
        langevin.run(given)
    # Carried on, not begun anew.
    began: list[str] = []
    execute = running.execute
    with monkeypatch.context() as patch:
        patch.setattr(running, "execute", lambda *a, **k: began.append(a[1].name) or execute(*a, **k))
        langevin.resume(paths.result).close()
    assert began == ["member-0002.nc"]
    with langevin.open(tmp_path / "whole.nc") as whole, langevin.open(paths.result) as stopped:
        clean = [d.drop_attrs().drop_vars("wall_time_seconds").load() for d in (whole, stopped)]
        xr.testing.assert_identical(*clean)
        lines = [line.split()[1] for line in stopped.attrs["history"].splitlines()]
        assert lines == ["run:", "resume:"]
        assert stopped.attrs["wall_time_seconds"] > 0
    assert not paths.sweep.exists()
    with pytest.raises(UserError, match="nothing to resume"):
        langevin.resume(paths.result)


def test_force(here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = harmonic(sweep={"dynamics.temperature": [0.5, 1.0]}, output={"path": str(tmp_path / "a.nc")})
    paths = interrupted(given, monkeypatch)
    # An unfinished sweep is discarded, by a single run, too.
    plain = {name: table for name, table in given.items() if name != "sweep"}
    with pytest.raises(UserError, match="unfinished sweep"):
        langevin.run(plain)
    langevin.run(plain, force=True).close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    with pytest.raises(UserError, match="exists"):
        langevin.run(given)
    langevin.run(given, force=True).close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    # A folder of somebody else's is left alone.
    paths.sweep.mkdir()
    (paths.sweep / "mine").touch()
    with pytest.raises(UserError, match=r"a\.sweep is in the way"):
        langevin.run(given, force=True)
    assert (paths.sweep / "mine").exists()


def test_a_member_that_diverges_leaves_the_others(sweep: Path) -> None:
    done = command(
        "run",
        sweep,
        "-q",
        "--set",
        "sweep.dynamics.dt=[0.1, 3.0]",
        "--set",
        "dynamics.t_max=3000.0",
        "--set",
        "sweep.system.n=[4]",
    )
    assert (done.exit_code, done.output.count("\n")) == (1, 1), done.output
    for word in (
        "2 of 4 members diverged: dynamics.temperature = 0.5, system.n = 4, dynamics.dt = 3.0: ",
        "diverged between t =",
        "(and 1 more)",
        "the others are in sweep.nc",
    ):
        assert word in done.output, done.output
    assert "resume" not in done.output
    assert {p.name for p in sweep.parent.iterdir()} == {"sweep.toml", "sweep.nc"}
    with langevin.open("sweep.nc") as found:
        assert found.attrs["status"] == "incomplete: 2 of 4 members diverged"
        status = found["status"].sel(n=4)
        assert (status.sel(dt=0.1) == "complete").all()
        assert all(s.startswith("diverged: ") for s in status.sel(dt=3.0).values)
        energy = found["energy"].sel(dt=3.0)
        assert energy.notnull().any()
        assert energy.isel(time=-1).isnull().all()
        assert all(
            m.attrs["status"] == s
            for (_, m), s in zip(langevin.members(found), found["status"].values.ravel(), strict=True)
        )
    assert "diverged" in command("info", "sweep.nc").output
    assert command("plot", "sweep.nc").exit_code == 0


def test_a_member_that_fails_can_be_tried_again(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = harmonic(
        sweep={"dynamics.temperature": [0.5, 1.0, 2.0]},
        output={"path": str(tmp_path / "a.nc"), "checkpoint_interval": 0.0},
    )
    execute = running.execute
    stops = itertools.count()

    def failing(settings: Any, *arguments: Any, **more: Any) -> Path:
        if settings.sweep is None and settings.dynamics.temperature == 1.0:

            def stumble(part: float) -> None:
                if next(stops) == 3:
                    raise LangevinError("the test wants it so")

            more["watch"] = stumble
        return execute(settings, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(running, "execute", failing)
        with pytest.raises(
            LangevinError, match=r"1 of 3 members failed: .*= 1.0: the test .*resume.*tries again"
        ) as caught:
            langevin.run(given)
    assert not isinstance(caught.value, Diverged)
    paths = Paths(tmp_path / "a.nc")
    with langevin.open(paths.result) as found:
        assert found.attrs["status"] == "incomplete: 1 of 3 members failed"
        assert found["status"].values.tolist() == ["complete", "failed: the test wants it so", "complete"]
        # What it had measured until its last checkpoint is there.
        assert found["energy"].sel(temperature=1.0).notnull().any()
        assert found["energy"].sel(temperature=1.0).isnull().any()
        assert found["energy"].sel(temperature=2.0).notnull().all()
    assert paths.sweep.exists()
    with langevin.resume(paths.result) as found:
        assert found.attrs["status"] == "complete"
        assert_members_are_single_runs(given, found)
    assert not paths.sweep.exists()


def test_if_all_fail_there_is_no_file(here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any, **more: Any) -> Path:
        raise LangevinError("the test wants it so")

    given = harmonic(sweep={"dynamics.temperature": [0.5]}, output={"path": str(tmp_path / "a.nc")})
    monkeypatch.setattr(single_run, "_prepare", failing)
    with pytest.raises(
        LangevinError, match=r"no member has measured anything; .*= 0.5: the test wants it so"
    ):
        langevin.run(given)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_one_line(here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many its message has."""
    monkeypatch.chdir(tmp_path)
    execute = running.execute

    def failing(settings: Any, *arguments: Any, **more: Any) -> Path:
        if settings.sweep is None and settings.system.n == 5:
            raise LangevinError("2 faults\n  system.n: odd\n  system.m: even\n")
        return execute(settings, *arguments, **more)

    monkeypatch.setattr(running, "execute", failing)
    with pytest.raises(LangevinError) as caught:
        langevin.run(harmonic(sweep={"system.n": [5, 12]}, output={"path": "a.nc"}))
    assert "system.n = 5: 2 faults; system.n: odd; system.m: even; the others are in" in str(caught.value)
    shown = CliRunner().invoke(main, ["info", "a.nc"]).output
    assert [line for line in shown.splitlines() if "2 faults" in line and "system.m: even" in line]
    with xr.open_dataset("a.nc") as found:
        assert found["status"].to_numpy()[0] == "failed: 2 faults; system.n: odd; system.m: even"


def test_nothing_is_left_of_a_sweep_that_cannot_begin(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = harmonic(sweep={"system.n": [5, 12]}, output={"path": str(tmp_path / "a.nc")})
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", lambda path, notes: path.write_text(str(1 / 0)))
        with pytest.raises(ZeroDivisionError):
            langevin.run(given)
    assert list(tmp_path.iterdir()) == []
    # As a kill leaves it.
    (tmp_path / ".a.sweep.partial").mkdir()
    (tmp_path / ".a.sweep.partial" / "half").touch()
    langevin.run(given).close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
