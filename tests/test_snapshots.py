"""Snapshots: the configuration at chosen times, whatever else is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
from test_restart import assert_same, interrupted
from test_sweep import assert_members_are_single_runs, harmonic, here

import langevin
from langevin.config import run_files
from langevin.core.schedule import Grid, Schedule
from langevin.errors import ConfigError, Diverged, StorageError
from langevin.results import summary
from langevin.sweep import simulation

Maker = Callable[..., dict[str, Any]]

#: A fixture of the tests of sweeps, used here, too.
__all__ = ["here"]


def test_snapshots_are_the_configurations_at_their_times() -> None:
    """At times that no other grid has, and at one that another has."""
    record = {"snapshots": [0.0, 1.0, 2.7], "configurations": "always"}
    found = langevin.run(harmonic(record=record))
    assert found["snapshot"].dims == ("snapshot_time", "replica", "dof")
    assert found["snapshot"].dtype == np.float64
    np.testing.assert_array_equal(found["snapshot_time"], [0.0, 1.0, 2.7])
    at = found["configuration"].sel(configuration_time=found["snapshot_time"])
    np.testing.assert_array_equal(found["snapshot"], at)
    assert np.ptp(found["snapshot"].values, axis=0).min() > 0
    without = langevin.run(harmonic())
    # They only add stops: the trajectory is the one without them.
    assert 2.7 not in without["configuration_time"] and 2.7 in found["time"]
    np.testing.assert_array_equal(found["energy"].sel(time=without["time"]), without["energy"])


def test_snapshots_need_no_trajectory(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    record = {"snapshots": {"start": 1.0, "stop": 4.0, "per_decade": 2}, "configurations": "never"}
    found = langevin.run(harmonic(record=record, output={"path": str(path)}))
    assert "configuration" not in found
    assert found["snapshot"].notnull().all()
    np.testing.assert_allclose(found["snapshot_time"], [1.0, 3.2])
    about = found["snapshot"].attrs
    assert {"long_name", "units"} <= set(about)
    assert found["snapshot_time"].attrs["units"] == found["time"].attrs.get("units", "1")
    assert "snapshot(snapshot_time, replica, dof): degrees of freedom" in summary.contents(found)
    with netCDF4.Dataset(path) as file:
        assert file["snapshot"].chunking() == [1, 3, 20]
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


def test_what_was_not_reached_is_nan(tmp_path: Path) -> None:
    record = {"snapshots": [0.0, 10.0, 1000.0], "configurations": "never"}
    # Beyond dt = 2 an oscillator of stiffness 1 is unstable.
    unstable = {"dt": 5.0, "t_max": 5000.0}
    given = harmonic(
        record={**record, "waiting_times": [0.0]}, dynamics=unstable, output={"path": str(tmp_path / "a.nc")}
    )
    with pytest.raises(Diverged):
        langevin.run(given)
    with simulation.open(tmp_path / "a.nc") as found:
        known = found["snapshot"].notnull().all(["replica", "dof"]).values
        assert known[0]
        assert not known[2]
        assert found["snapshot"][2].isnull().all()


@pytest.mark.parametrize("configurations", ["never", "always"])
def test_a_stopped_run_resumes_to_the_same_snapshots(
    configurations: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between the second and the third."""
    record = {"snapshots": [0.5, 1.5, 3.3], "configurations": configurations, "sketch": 4}
    given = harmonic(record=record, output={"path": str(tmp_path / "whole.nc")})
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "stopped.nc")
    paths = interrupted(given, monkeypatch, 0, after=2.0)
    raw = paths.raw("snapshot").read_bytes()
    assert len(raw) == 2 * 3 * 20 * 8
    paths.raw("snapshot").write_bytes(raw[:-1])
    with pytest.raises(StorageError, match="lacks snapshots"):
        simulation.resume(paths.result)
    # What a killed process wrote after its checkpoint is written again.
    paths.raw("snapshot").write_bytes(raw + b"\1" * 100)
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)
    assert {p.name for p in tmp_path.iterdir()} == {"whole.nc", "stopped.nc"}


SWEEPS: dict[str, dict[str, Any]] = {
    "times": {"record.snapshots": [[1.0, 2.0], [0.0, 2.0, 3.3]]},
    "some": {"record.snapshots": [[], [1.0]], "record.configurations": ["always", "never"]},
    "dof": {"system.n": [5, 12]},
    "replicas": {"ensemble.replicas": [1, 4]},
}


@pytest.mark.parametrize("name", SWEEPS)
def test_members_keep_their_snapshots(name: str, here: None) -> None:
    given = harmonic(sweep=SWEEPS[name], record={"snapshots": [1.0], "configurations": "never"})
    dataset = langevin.run(given)
    assert "snapshot" in dataset
    assert_members_are_single_runs(given, dataset)


def test_members_of_an_ensemble_are_collected(small: Maker) -> None:
    """After the steps at the lowest rate of a triangular schedule, at half cycles."""
    given = small("mlp", record__snapshots="collected", record__configurations="always")
    given["dynamics"] |= {"schedule": "triangular", "cycle": 6, "lowest_learning_rate": 1e-3}
    given["dynamics"]["backend"] = "torch"
    found = langevin.run(given)
    np.testing.assert_array_equal(found["snapshot_time"], [3, 9, 15])
    assert found["snapshot_time"].attrs["units"] == "steps"
    at = found["configuration"].sel(configuration_time=found["snapshot_time"])
    np.testing.assert_array_equal(found["snapshot"], at)
    assert np.ptp(at.values, axis=0).min() > 0


def fault(given: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        run_files.load(given)
    (line,) = caught.value.faults
    return line


@pytest.mark.parametrize(
    ("name", "record", "dynamics", "words"),
    [
        ("harmonic", {"snapshots": "collected"}, {}, ["record.snapshots", "collected", "harmonic collects"]),
        ("harmonic", {"snapshots": "all"}, {}, ['"all"', "list of times", "collected"]),
        ("harmonic", {"snapshots": [2.0]}, {}, ["record.snapshots: 2 lies beyond dynamics.t_max = 1"]),
        ("harmonic", {"snapshots": [1e-9]}, {}, ["record.snapshots", "no time step"]),
        ("mlp", {"snapshots": "collected"}, {}, ["nothing is collected", '"triangular"', '"cosine"']),
        (
            "mlp",
            {"snapshots": "collected"},
            {"schedule": "triangular", "cycle": 100},
            ["nothing is collected", "dynamics.cycle/2"],
        ),
        ("cugliandolo_kurchan", {"snapshots": [1.0]}, {}, ["allowed: []", "has no configuration"]),
        ("cugliandolo_kurchan", {"snapshots": "collected"}, {}, ["allowed: []", "has no configuration"]),
    ],
)
def test_faults_are_one_line(
    name: str, record: dict[str, Any], dynamics: dict[str, Any], words: list[str], small: Maker
) -> None:
    given = small(name)
    given["record"] |= record
    given["dynamics"] |= dynamics
    said = fault(given)
    assert said.startswith("record.snapshots")
    assert all(word in said for word in words), said


def test_times_are_united_on_steps() -> None:
    """Two that round to the same step are one."""
    grids = Grid(values=(1.0,)), Grid(values=(0.0,)), Grid(values=(0.5,))
    made = Schedule.build(*grids, 2.0, 0.1, {"snapshot_time": Grid(values=(0.31, 0.29, 1.0))})
    np.testing.assert_array_equal(made.axes["snapshot_time"], [0.3, 1.0])
    due = [(stop.time, stop.due.get("snapshot_time")) for stop in made.stops]
    assert [at for at in due if at[1] is not None] == [(0.3, 0), (1.0, 1)]
