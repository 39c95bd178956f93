"""Of one set of weights a net with batch-norm has two energies: every file says which it holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr
from click.testing import CliRunner
from small_nets import settings

from langevin.analysis import connect
from langevin.commands.cli import main
from langevin.sweep import simulation
from langevin.systems.networks.measure.measured import RENEWED, RUNNING

NORMALISED = {"name": "network", "module": "small_nets:Normalised"}
PLAIN = {"name": "mlp", "widths": [4]}
NAME = "batch_norm_statistics"


def command(*words: str) -> str:
    ran = CliRunner().invoke(main, list(words))
    assert ran.exit_code == 0, ran.output
    return str(ran.output)


def test_runs_curves_and_planes_say_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = {"times": [0, 40], "waiting_times": [], "lags": []}
    simulation.execute(settings(NORMALISED, replicas=3, record=record), tmp_path / "ends.nc")
    simulation.execute(settings(PLAIN, replicas=1, record=record), tmp_path / "plain.nc")
    with xr.open_dataset("plain.nc") as made:
        assert not any(NAME in variable.attrs for variable in made.data_vars.values())
    with xr.open_dataset("ends.nc") as made:
        for name in ("energy", "test_loss", "train_accuracy", "test_accuracy"):
            assert made[name].attrs[NAME] == RUNNING
        assert NAME not in made["msd" if "msd" in made else "gradient_norm"].attrs
    keys = {"dynamics.t_max": 4, "record.times": [0, 4], "record.positions": 5, "output.figure": False}
    connected = connect.settings(Path("ends.nc"), overrides={"ensemble.replicas": 1, **keys})
    simulation.execute(connected, tmp_path / "curve.nc")
    with xr.open_dataset("curve.nc") as made:
        for name in (
            "energy",
            "test_loss",
            "test_error",
            "highest_energy",
            "curve_energy",
            "shortest_energy",
        ):
            assert made[name].attrs[NAME] == RENEWED, name
    command("plane", "ends.nc", "--grid", "3", "-o", "plane.nc", "--trust")
    with xr.open_dataset("plane.nc") as made:
        for name in ("energy", "test_loss", "test_error", "train_error", "point_energy"):
            assert made[name].attrs[NAME] == RENEWED, name
    said = command("compare", "ends.nc", "curve.nc")
    assert "two values" in said and RUNNING in said.replace("\n", " ")
    assert "two values" not in command("compare", "ends.nc", "plain.nc")
