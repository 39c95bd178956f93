"""What is measured once, when a run has ended."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import walkers
import xarray as xr
from test_restart import assert_same
from test_sweep import assert_members_are_single_runs, harmonic, here

import langevin
from langevin.config import run_files
from langevin.core.capabilities import HasCoordinates, HasFurtherDimensions, HasKernel, MeasuresAtEnd
from langevin.errors import Diverged, Interrupted, LangevinError
from langevin.files import storage
from langevin.files.paths import Paths
from langevin.machine import bars
from langevin.machine.reports import report
from langevin.running import progress
from langevin.sweep import simulation
from langevin.systems.harmonic import Harmonic

#: A fixture of the tests of sweeps, used here, too.
__all__ = ["here"]

#: Of |x| as the run ends.
PARTS = np.array([0.25, 0.5, 1.0])


class Ending(Harmonic, HasCoordinates, HasFurtherDimensions, HasKernel, MeasuresAtEnd):
    """Oscillators that look at their last configuration."""

    end_name = "quantiles"
    #: What happens at the reports, one after the other.
    happens: ClassVar[list[Any]] = []
    calls: ClassVar[list[str]] = []

    def at_end(self, x: Any) -> Any:
        Ending.calls.append("at_end")
        quantiles = []
        for done, part in enumerate(PARTS):
            if Ending.happens:
                Ending.happens.pop(0)()
            report(done / len(PARTS))
            quantiles.append(np.quantile(np.abs(x), part, axis=1))
        return {"farthest": np.abs(x).max(axis=1), "quantile": np.stack(quantiles, axis=1)}

    def fused_steps(self, *arguments: Any) -> None:
        Ending.calls.append("steps")

    def dimensions(self) -> Any:
        return {"quantile": ("part",)}

    def coordinates(self, schedule: Any) -> Any:
        return {"part": ("part", PARTS, {"long_name": "part of the oscillators", "units": "1"})}

    def attributes(self) -> Any:
        return {name: {"long_name": name, "units": "1"} for name in ("farthest", "quantile")}


class EndingWalkers(walkers.Walkers, MeasuresAtEnd):
    """A system, no model, that measures at its end."""

    def at_end(self, state: Any) -> Any:
        return {"farthest": np.abs(state).max(axis=1)}


class Shapeless(Harmonic, MeasuresAtEnd):
    """Oscillators that forget their replicas."""

    def at_end(self, x: Any) -> Any:
        return {"farthest": np.abs(x).max()}


@pytest.fixture(autouse=True)
def quiet() -> None:
    Ending.happens, Ending.calls = [], []


def ending(path: Path | None = None, **sections: Any) -> dict[str, Any]:
    given = harmonic(**sections)
    given["system"]["name"] = "test_at_end:Ending"
    given["output"]["path"] = str(path or "")
    return given


def test_it_is_stored_without_a_time() -> None:
    found = langevin.run(ending(record={"configurations": "always"}))
    last = np.abs(found["configuration"].isel(configuration_time=-1).to_numpy())
    assert found["farthest"].dims == ("replica",)
    assert found["quantile"].dims == ("replica", "part")
    np.testing.assert_array_equal(found["farthest"], last.max(axis=1))
    np.testing.assert_array_equal(found["quantile"], np.quantile(last, PARTS, axis=1).T)
    np.testing.assert_array_equal(found["part"], PARTS)
    assert found["farthest"].attrs == {"long_name": "farthest", "units": "1"}
    assert Ending.calls.count("at_end") == 1
    plain = langevin.run(harmonic(record={"configurations": "always"}))
    xr.testing.assert_equal(found.drop_vars(["farthest", "quantile", "part"]), plain)


def test_a_system_that_is_no_model_measures_at_its_end() -> None:
    given = {"system": {"name": "test_at_end:EndingWalkers"}, "dynamics": {"t_max": 5.0}}
    found = langevin.run({**given, "record": {"snapshots": [5.0]}})
    np.testing.assert_array_equal(found["farthest"], np.abs(found["snapshot"][0]).max("dof"))


def die() -> None:
    raise MemoryError


def test_what_was_killed_is_measured_again(tmp_path: Path) -> None:
    """From the checkpoint at the end of the run: not a step is taken twice."""
    simulation.execute(run_files.load(ending(tmp_path / "whole.nc")))
    paths = Paths(tmp_path / "killed.nc")
    Ending.happens = [lambda: None, die]
    with pytest.raises(MemoryError):
        simulation.execute(run_files.load(ending(paths.result)))
    with simulation.open(paths.checkpoint) as found:
        assert found.attrs["status"] == "unfinished: t = 4"
        assert "farthest" not in found
    # Killed once more.
    Ending.happens = [die]
    with pytest.raises(MemoryError):
        simulation.resume(paths.result)
    Ending.calls = []
    simulation.resume(paths.result).close()
    assert Ending.calls == ["at_end"]
    assert_same(tmp_path / "whole.nc", paths.result)
    assert {p.name for p in tmp_path.iterdir()} == {"whole.nc", "killed.nc"}


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGUSR1, "SIGUSR1")]
)
def test_it_can_be_stopped(number: int, said: str, tmp_path: Path) -> None:
    """Where it reports how far it is."""
    simulation.execute(run_files.load(ending(tmp_path / "whole.nc")))
    Ending.happens = [lambda: os.kill(os.getpid(), number)]
    with pytest.raises(Interrupted, match=rf"stopped by {said} at t = 4; continue with `langevin\.resume"):
        simulation.execute(run_files.load(ending(tmp_path / "stopped.nc")))
    simulation.resume(tmp_path / "stopped.nc").close()
    assert_same(tmp_path / "whole.nc", tmp_path / "stopped.nc")


def test_nothing_is_measured_of_a_run_that_diverged(tmp_path: Path) -> None:
    # Beyond dt = 2 an oscillator of stiffness 1 is unstable.
    unstable = {"dt": 5.0, "t_max": 5000.0}
    given = ending(tmp_path / "a.nc", dynamics=unstable, record={"waiting_times": [0.0]})
    with pytest.raises(Diverged):
        langevin.run(given)
    with simulation.open(tmp_path / "a.nc") as found:
        assert "farthest" not in found
    assert "at_end" not in Ending.calls


def test_only_who_measures_pays_for_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run writes one as it begins; those that measure at their end another one."""
    written: list[Any] = []
    plain = storage.write_checkpoint

    def write(*arguments: Any) -> None:
        written.append(arguments[1].attrs["status"])
        plain(*arguments)

    monkeypatch.setattr(storage, "write_checkpoint", write)
    langevin.run(harmonic())
    assert written == ["unfinished: t = 0"]
    written.clear()
    langevin.run(ending())
    assert written == ["unfinished: t = 0", "unfinished: t = 4"]


def test_shapes_are_checked(tmp_path: Path) -> None:
    given = harmonic(system={"name": "test_at_end:Shapeless"}, output={"path": str(tmp_path / "a.nc")})
    with pytest.raises(LangevinError, match=r"observable 'farthest' has shape \(\); needed: one value per"):
        langevin.run(given)


def test_members_of_sweeps_measure_at_their_end(here: None) -> None:
    given = ending(sweep={"system.n": [5, 12]})
    dataset = langevin.run(given)
    assert dataset["quantile"].dims == ("n", "replica", "part")
    assert_members_are_single_runs(given, dataset)


def test_the_bar_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    # Else it is drawn after a second.
    at_once = {"delay": 0, "mininterval": 0}
    monkeypatch.setattr(progress, "bar", lambda *about, **keys: bars.bar(*about, **{**keys, **at_once}))
    seen: list[float] = []
    with progress.preparing("oscillators", True, "quantiles", lambda done, place: seen.append(done)):
        report(0.5)
    assert "oscillators  50%" in terminal.getvalue()
    assert "quantiles [" in terminal.getvalue()
    assert seen == [0.5]
