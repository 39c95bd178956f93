"""What a system measures reaches the file: observables of every kind, further coordinates, its own keys."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import walkers
import xarray as xr
from click.testing import CliRunner
from test_restart import assert_same, interrupted

import langevin
from langevin.commands.cli import main
from langevin.config import build, run_files, templates
from langevin.core.ensemble import Ensemble
from langevin.core.schedule import Grid, Schedule
from langevin.core.system import Coordinates
from langevin.errors import ConfigError, LangevinError, UserError
from langevin.machine import processor
from langevin.record.recorder import Recorder
from langevin.sweep import simulation


def walking(name: str = "Walkers", **record: Any) -> dict[str, Any]:
    return {
        "system": {"name": f"walkers:{name}"},
        "dynamics": {"t_max": 20.0},
        "ensemble": {"replicas": 3, "seed": 5},
        "record": {"waiting_times": [0.0, 4.0, 20.0], "lags": [1.0, 3.0], **record},
    }


def test_waiting_time_observables_and_coordinates_reach_the_file(tmp_path: Path) -> None:
    given = {**walking(examples=30), "output": {"path": str(tmp_path / "a.nc")}}
    langevin.run(given).close()
    with xr.open_dataset(tmp_path / "a.nc") as found:
        x = found["configuration"].sel(configuration_time=found["waiting_time"]).isel(dof=slice(30))
        assert found["spread"].dims == ("replica", "waiting_time")
        np.testing.assert_array_equal(found["spread"], x.std("dof").transpose("replica", "waiting_time"))
        np.testing.assert_array_equal(found["spread_error"], found["spread"] / np.sqrt(60))
        assert found["spread_error"].attrs["units"] == "1"
        assert {"scaled_time", "scaled_lag", "sample"} <= set(found.coords)
        np.testing.assert_array_equal(found["scaled_time"], 0.1 * found["time"])
        assert found["energy"].coords["scaled_time"].attrs["long_name"] == "time in units of 1/learning rate"
        assert found["msd"].sel(waiting_time=4.0).coords["scaled_lag"].dims == ("lag",)


@pytest.mark.parametrize("tick", [2, 5])
def test_they_survive_a_checkpoint(tick: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {**walking(), "output": {"path": str(tmp_path / "whole.nc")}}
    simulation.execute(run_files.load(given))
    given["output"] = {"path": str(tmp_path / "stopped.nc")}
    paths = interrupted(given, monkeypatch, tick)
    with xr.open_dataset(paths.checkpoint) as found:
        reached = found["waiting_time"] <= float(found.attrs["status"].rpartition("= ")[2])
        assert not reached.all()
        assert bool((found["spread"].notnull() == reached).all())
        assert "scaled_time" in found.coords
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)


def counted_in_steps(self: Any) -> Any:
    axes = {name: {"units": "steps"} for name in ("time", "waiting_time", "lag")}
    return {**walkers.Bare.attributes(self), **axes, "sample": {"made_of": "nothing"}}


def test_a_system_says_the_units_of_its_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walkers.Walkers, "attributes", counted_in_steps)
    paths = interrupted({**walking(), "output": {"path": str(tmp_path / "a.nc")}}, monkeypatch, 5)

    def check(path: Path) -> None:
        with xr.open_dataset(path) as found:
            for name in ("time", "waiting_time", "lag"):
                assert found[name].attrs["units"] == "steps"
                # Not taken for a date or a duration.
                assert found[name].dtype == np.float64
                assert found[name].attrs["long_name"]
            assert found["sample"].attrs["made_of"] == "nothing"
            assert found["scaled_time"].attrs["units"] == "1"
            assert float(found["energy"].sel(time=1.0, replica=0)) > 0

    check(paths.checkpoint)
    simulation.resume(paths.result).close()
    check(paths.result)
    with langevin.run(walking("Bare")) as plain:
        assert plain["time"].attrs == {"long_name": "time", "units": "1"}


def test_files_whose_times_have_other_units_are_shown_and_compared(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small_spins = small("pspin", system__n=8, output__path="spins.nc", dynamics__t_max=30.0)
    small_spins["record"] |= {"waiting_times": [1.0, 5.0], "lags": [1.0, 4.0]}
    net = small("mlp", output__path="net.nc", dynamics__t_max=30)
    net["record"] |= {"waiting_times": [1, 5], "lags": [1, 4]}
    for given in (small_spins, net):
        langevin.run(given).close()
    with langevin.open("net.nc") as found:
        assert [found[name].attrs["units"] for name in ("time", "waiting_time", "lag")] == ["steps"] * 3
        assert found.attrs["device"] == processor.device()
    said = CliRunner().invoke(main, ["compare", "spins.nc", "net.nc"])
    assert said.exit_code == 0, said.output
    # Times of a learning rate and of a bath have no unit in common.
    assert "E∞ = 0 (lower bound)" in said.output and "/σ" not in said.output
    for command in ("info", "plot"):
        assert CliRunner().invoke(main, [command, "net.nc"]).exit_code == 0


def test_the_file_names_the_device_that_the_system_ran_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with langevin.run(walking("Bare")) as found:
        assert found.attrs["device"] == processor.device()
    with langevin.run(walking()) as found:
        assert found.attrs["device"] == processor.device()
    monkeypatch.setattr(walkers.Walkers, "device_name", "one abacus")
    paths = interrupted({**walking(), "output": {"path": str(tmp_path / "a.nc")}}, monkeypatch, 5)
    monkeypatch.setattr(walkers.Walkers, "device_name", "another abacus")
    with simulation.resume(paths.result) as found:
        began, went_on = found.attrs["history"].splitlines()
        assert found.attrs["device"] == "one abacus"
        assert "abacus" not in began
        assert went_on.endswith("on another abacus")


def test_a_network_names_its_gpu(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from langevin.systems.networks import devices

    system = build.build(run_files.load(small("mlp")), Ensemble.regular(4, 2, 7))
    assert system.device_name == processor.device()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU number {device.index}")
    assert devices.name_of(torch.device("cuda:1")) == "GPU number 1"


def test_a_class_without_what_is_optional_runs() -> None:
    whole, bare = langevin.run(walking()), langevin.run(walking("Bare"))
    assert set(whole.data_vars) - set(bare.data_vars) == {"spread", "spread_error"}
    assert set(whole.coords) - set(bare.coords) == {"scaled_time", "scaled_lag"}
    xr.testing.assert_equal(bare["msd"], whole["msd"].drop_vars("scaled_lag"))


AT_WAITING = ("waiting_time",)


@pytest.fixture
def recorder() -> Recorder:
    schedule = Schedule.build(Grid((1.0,)), Grid((0.0, 1.0)), Grid((1.0,)), 2.0, 1.0)
    return Recorder(schedule, Ensemble.regular(2, 1, 0))


def test_observables_that_no_file_can_hold_are_refused(recorder: Recorder) -> None:
    for name, value, said in (
        ("noise", np.zeros(3), r"'noise' has shape \(3,\); needed: .*\(2,\)"),
        ("noise", np.zeros((2, 2)), r"shape \(2, 2\)"),
        ("lag", np.zeros(2), "'lag': the name is taken"),
        ("a b", np.zeros(2), "plain word"),
    ):
        with pytest.raises(LangevinError, match=said):
            recorder.store(AT_WAITING, (0,), {name: ((), value)})
    recorder.store(AT_WAITING, (0,), {"noise": ((), np.zeros(2))})
    with pytest.raises(LangevinError, match="'noise' is measured twice"):
        recorder.store(("time",), (0,), {"noise": ((), np.zeros(2))})


def test_coordinates_that_do_not_fit_are_refused(recorder: Recorder) -> None:
    recorder.store(AT_WAITING, (0,), {"noise": ((), np.zeros(2))})
    faults: list[tuple[Coordinates, str]] = [
        (
            {"clock": ("time", np.zeros(7), {})},
            r"'clock' has shape \(7,\) along 'time'; needed: .*time \(3\)",
        ),
        ({"clock": ("dof", np.zeros(7), {})}, "along 'dof'"),
        ({"sample": ("replica", np.zeros(2), {})}, "'sample': the name is taken"),
        ({"noise": ("waiting_time", np.zeros(2), {})}, "'noise': the name is taken"),
    ]
    for further, said in faults:
        with pytest.raises(LangevinError, match=said):
            recorder.dataset({}, further)
    made = recorder.dataset({}, {"clock": ("waiting_time", np.arange(2.0), {"units": "s"})})
    assert made["noise"].coords["clock"].attrs == {"units": "s"}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ({"record.lags": [0.25, 2.0]}, "record.lags: 0.25 is no time step (time is counted in steps of 1)"),
        ({"record.waiting_times": [0.0, 0.4]}, "record.waiting_times: 0.4 is no time step"),
        ({"record.lags": {"stop": 0.5, "per_decade": 2}}, "record.lags: stop = 0.5 leaves no time"),
        ({"dynamics.t_max": 0.5}, "dynamics.t_max = 0.5: must be ≥ 1 (time is counted in steps of 1)"),
        ({"record.examples": 0}, "record.examples = 0: allowed: integer ≥ 1"),
        ({"record.example": 3}, "record.example: unknown key; nearest: record.examples; allowed: times,"),
    ],
)  # fmt: skip
def test_faults_of_a_system_that_counts_steps_and_has_keys(overrides: dict[str, Any], line: str) -> None:
    # dt = 0.1 is a learning rate here: none of these mentions it, and a lag of 1 is one step.
    with pytest.raises(ConfigError) as caught:
        run_files.load(walking(), overrides)
    (found,) = caught.value.faults
    assert found.startswith(line)
    assert "dynamics.dt" not in found


def test_a_learning_rate_is_no_time_step() -> None:
    settings = run_files.load(walking(), {"dynamics.dt": 100.0})
    assert settings.dynamics.time_step == 1.0


def test_time_steps_of_the_systems_here() -> None:
    def step(name: str, **dynamics: Any) -> float | None:
        given = tomllib.loads(templates.template(name))
        given["dynamics"].update(dynamics)
        found: float | None = run_files.load(given).dynamics.time_step
        return found

    assert step("pspin", dt=0.05) == 0.05
    assert step("cugliandolo_kurchan", solver="direct", grid_step=0.1, t_max=10.0) == 0.1
    assert step("cugliandolo_kurchan", solver="long-time", t_max=10.0) is None


def test_without_a_step_zero_is_no_lag() -> None:
    given = tomllib.loads(templates.template("cugliandolo_kurchan"))
    with pytest.raises(ConfigError, match=r"record\.lags: 0 is no lag; must be > 0"):
        run_files.load(given, {"record.lags": [0.0, 1.0]})


def test_own_keys_of_record_stand_in_template_and_help(tmp_path: Path) -> None:
    file = tmp_path / "walkers.toml"
    file.write_text(templates.template("walkers:Walkers"))
    assert run_files.load(file).record.examples == 20
    told = CliRunner().invoke(main, ["systems", "walkers:Walkers"]).output
    assert "examples (default: 20)" in told
    assert "waiting_times (default:" in told
    with pytest.raises(ConfigError, match=r"record\.examples: unknown key"):
        run_files.load(walking("Bare", examples=3))


def test_own_keys_of_record_add_to_those_of_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walkers.Walkers, "Record", walkers.Walkers.Parameters)
    with pytest.raises(
        UserError, match=r"Walkers\.Record: must derive from langevin\.config\.sections\.RecordKeys"
    ):
        run_files.load(walking())


def test_the_spread_belongs_to_its_replica() -> None:
    few, more = (langevin.run({**walking(), "ensemble": {"replicas": n, "seed": 5}}) for n in (2, 3))
    xr.testing.assert_equal(few["spread"], more["spread"].isel(replica=slice(2)))
