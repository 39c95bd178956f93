"""Job scripts: `langevin run --resume`, again and again, and starts and measurements that are interrupted."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import mixtures
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from test_restart import assert_same, write_run_file
from test_sweep import harmonic, here
from test_sweep_processes import write_sweep

import langevin
from langevin.commands.cli import main
from langevin.config import build, run_files
from langevin.core.capabilities import HasObservables
from langevin.core.ensemble import Ensemble
from langevin.errors import Diverged, Interrupted, UserError
from langevin.files import raw_records, storage
from langevin.files.paths import Paths
from langevin.machine import pace
from langevin.machine.interruption import Request, heed, listening
from langevin.machine.reports import Place, report, saved
from langevin.sweep import simulation
from langevin.systems.harmonic import Harmonic
from langevin.systems.networks.descent.shared_calls import CallPool
from langevin.systems.particles import start

#: A fixture of the tests of sweeps, used here, too.
__all__ = ["here"]


def stop(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


class Slow(Harmonic, HasObservables):
    """Oscillators that take long, wherever `now` says what happens there."""

    now: ClassVar[dict[str, list[Callable[[], None]]]] = {}

    def _at(self, place: str) -> None:
        if Slow.now.get(place):
            Slow.now[place].pop(0)()

    def initial_configuration(self, noise: Any) -> Any:
        self._at("start")
        return super().initial_configuration(noise)

    def observables(self, x: Any) -> Any:
        self._at("measurement")
        return {"farthest": np.abs(x).max(axis=1)}


class Prepared(Slow):
    """Oscillators with a start in ten steps, that says where it is."""

    def initial_configuration(self, noise: Any) -> Any:
        (generator,) = noise.streams("own")[:1]
        x, first = np.zeros((self.ensemble.size, self.n)), 0
        if (begun := saved()) is not None:
            begun.restore([generator])
            x, first = begun.arrays["x"], int(begun.arrays["done"])
        for done in range(first + 1, 11):
            x = x + generator.standard_normal(x.shape)
            self._at("start")
            report(done / 10, lambda x=x, done=done: Place({"x": x, "done": np.array(done)}, [generator]))
        return x


@pytest.fixture(autouse=True)
def quiet() -> None:
    Slow.now = {}


def slow(path: Path | str, name: str = "Slow", **sections: Any) -> dict[str, Any]:
    given = harmonic(**sections)
    given["system"]["name"] = f"test_continuing:{name}"
    given["output"] |= {"path": str(path), "checkpoint_interval": 60.0}
    return given


class Killed(BaseException):
    """Nobody handles it."""


def die() -> None:
    raise Killed


def stopped_anywhere() -> None:
    """Ask, and go on as if nothing had happened: only an exception ends this."""
    stop()
    time.sleep(60)


def said(*arguments: Any) -> tuple[int, str]:
    found = CliRunner().invoke(main, [*map(str, arguments)])
    return found.exit_code, found.output


# Run, or go on.


def test_a_job_script_is_run_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has nothing to do: to the same bits as at one go."""
    monkeypatch.chdir(tmp_path)
    simulation.execute(run_files.load(slow("whole.nc")))
    write_run_file(tmp_path / "run.toml", slow("a.nc"))
    codes = []
    while not codes or codes[-1] != 0:
        # Each time a measurement is interrupted, a later one.
        Slow.now["measurement"] = [lambda: None] * len(codes) + [stopped_anywhere] * (len(codes) < 4)
        code, output = said("run", "run.toml", "--resume", "--quiet")
        codes.append(code)
        assert code == 0 or "continue with `langevin resume a.nc`" in output, output
    assert codes == [143] * 4 + [0]
    assert_same(tmp_path / "whole.nc", tmp_path / "a.nc")
    written = (tmp_path / "a.nc").stat()
    assert said("run", "run.toml", "--resume") == (0, "a.nc is complete\n")
    assert said("run", "run.toml", "--resume", "--quiet") == (0, "")
    assert langevin.run("run.toml", resume=True).attrs["status"] == "complete"
    assert (tmp_path / "a.nc").stat() == written
    # As ever without it.
    assert said("run", "run.toml")[0] == 2


def test_the_wall_time_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A tick for every hundred steps or so.
    monkeypatch.setattr(pace, "STRETCH", 0.01)
    long = {"dynamics": {"t_max": 4000.0}, "record": {"times": [1.0], "waiting_times": [0.0], "lags": [1.0]}}
    simulation.execute(run_files.load(harmonic(**long, output={"path": str(tmp_path / "whole.nc")})))
    given = harmonic(**long, output={"path": str(tmp_path / "a.nc")})
    # On a busy machine it may take long to read a checkpoint: more and more time.
    stops, wall = 0, 0.2
    while stops < 100:
        try:
            langevin.run(given, resume=True, wall_time=f"{wall:.3f}s").close()
            break
        except Interrupted as error:
            stops, wall = stops + 1, 1.2 * wall
            assert error.exit_code == 124
            assert "stopped at the wall time (0." in str(error) or stops > 8
            assert f"continue with `langevin.resume({str(tmp_path / 'a.nc')!r})`" in str(error)
    assert 0 < stops < 100
    assert_same(tmp_path / "whole.nc", tmp_path / "a.nc")


@pytest.mark.slow
def test_sweeps_go_on_too(here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    swept = {"sweep": {"dynamics.temperature": [0.5, 1.0, 2.0]}}
    simulation.execute(run_files.load(slow("whole.nc", **swept)))
    write_sweep(tmp_path / "run.toml", slow("a.nc", **swept))
    codes = []
    while not codes or codes[-1] != 0:
        Slow.now["measurement"] = [lambda: None] * 4 + [stopped_anywhere] * (len(codes) < 3)
        code, output = said("run", "run.toml", "--resume", "--quiet")
        codes.append(code)
        members = "of 3 members done; continue with `langevin resume a.nc`\n"
        assert code == 0 or (output.endswith(members) and output.count("\n") == 1), output
    assert codes == [143] * 3 + [0]
    with xr.open_dataset("whole.nc") as a, xr.open_dataset("a.nc") as b:
        xr.testing.assert_identical(*(d.drop_vars("wall_time_seconds").drop_attrs().load() for d in (a, b)))
    assert said("run", "run.toml", "--resume") == (0, "a.nc is complete\n")
    code, output = said("run", "run.toml", "--resume", "--set", "sweep.dynamics.temperature=[0.5, 1.0]")
    assert code == 2 and "its sweep.dynamics.temperature is [0.5, 1.0, 2.0], here [0.5, 1.0]" in output


@pytest.mark.parametrize("complete", [False, True])
def test_only_the_same_run_goes_on(complete: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run_file(tmp_path / "run.toml", slow("a.nc"))
    if not complete:
        Slow.now["measurement"] = [lambda: None, stop]
    assert said("run", "run.toml", "--quiet")[0] == (0 if complete else 143)
    file = "a.nc" if complete else "a.checkpoint.nc"
    before = {p.name: p.read_bytes() for p in tmp_path.glob("a.*")}
    for assignment, key, its, ours in (
        ("dynamics.t_max=5.0", "dynamics.t_max", "4.0", "5.0"),
        ("ensemble.seed=3", "ensemble.seed", "0", "3"),
        ("record.times=[1.0]", "record.times", "{ per_decade = 3.0 }", "[1.0]"),
        ('system.name="harmonic"', "system.name", '"test_continuing:Slow"', '"harmonic"'),
        ("sweep.system.n=[20, 30]", "sweep.system.n", "not swept", "[20, 30]"),
    ):
        code, output = said("run", "run.toml", "--resume", "--set", assignment)
        assert code == 2, output
        assert output == (
            f"langevin: {file}: its {key} is {its}, here {ours}: must be the same to go on with --resume; "
            "--force begins anew\n"
        )
        assert {p.name: p.read_bytes() for p in tmp_path.glob("a.*")} == before
    # A default that is written out, a whole number, another title: the same run.
    same = ("--set", "ensemble.samples=1", "--set", "dynamics.t_max=4", "--set", "title=other")
    assert said("run", "run.toml", "--resume", "--quiet", *same)[0] == 0
    code, output = said("run", "run.toml", "--resume", "--force")
    assert code == 2 and output.count("\n") == 1 and "give one of them" in output


def test_there_has_to_be_a_file_to_go_on_with() -> None:
    with pytest.raises(UserError, match=r"needs output\.path"):
        langevin.run(harmonic(), resume=True)


def test_what_has_diverged_is_not_complete(tmp_path: Path) -> None:
    given = slow(tmp_path / "a.nc", dynamics={"dt": 5.0, "t_max": 5000.0}, record={"waiting_times": [0.0]})
    with pytest.raises(Diverged):
        langevin.run(given)
    with pytest.raises(Diverged, match=r"a.nc has ended \(diverged: .*force=True begins anew"):
        langevin.run(given, resume=True)


def test_a_figure_that_is_missing_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job ended between the result and its figure."""
    monkeypatch.chdir(tmp_path)
    given = slow("a.nc")
    given["output"]["figure"] = True
    write_run_file(tmp_path / "run.toml", given)
    simulation.execute(run_files.load(tmp_path / "run.toml"))
    assert said("run", "run.toml", "--resume") == (0, "a.nc is complete\n")
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize("given", ["soon", "0", "-3"])
def test_a_wall_time_is_a_duration(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run_file(tmp_path / "run.toml", harmonic(output={"path": "a.nc"}))
    for command in (("run", "run.toml"), ("resume", "a.nc")):
        code, output = said(*command, "--wall-time", given)
        assert code == 2 and output.startswith(f"langevin: wall_time = {given!r}: allowed: seconds")
    assert {p.name for p in tmp_path.iterdir()} == {"run.toml"}


# What is said.


def test_nothing_is_promised_of_a_run_without_a_file() -> None:
    for place, where in (("start", "before the run began"), ("measurement", "at t = 0")):
        Slow.now = {place: [lambda: stop(signal.SIGINT)]}
        with pytest.raises(Interrupted, match=f"^stopped by Ctrl-C {where}; nothing of it is kept"):
            langevin.run(slow(""))
    with pytest.raises(Diverged, match=r"nothing of it is kept, for there is no output\.path$"):
        langevin.run(slow("", dynamics={"dt": 5.0, "t_max": 5000.0}, record={"waiting_times": [0.0]}))


def test_nothing_is_promised_of_a_sweep_without_a_file(here: None) -> None:
    Slow.now["measurement"] = [stop]
    with pytest.raises(Interrupted, match=r"0 of 2 members done; nothing of it is kept"):
        langevin.run(slow("", sweep={"dynamics.temperature": [0.5, 1.0]}))


def test_a_scan_ends_at_ctrl_c() -> None:
    Slow.now["measurement"] = [lambda: stop(signal.SIGINT)]
    begun = []
    with pytest.raises(KeyboardInterrupt):
        for temperature in (0.5, 1.0):
            # As one does whose runs may fail.
            with suppress(Exception):
                begun.append(temperature)
                langevin.run(slow(""), {"dynamics.temperature": temperature})
    assert begun == [0.5]


def test_commands_end_at_ctrl_c_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("langevin.results.open.open_result", interrupted)
    for debug in ((), ("--debug",)):
        assert said(*debug, "info", "a.nc") == (130, "langevin: stopped by Ctrl-C\n")


# Starts.


def test_a_start_with_nothing_to_save_leaves_nothing(tmp_path: Path) -> None:
    Slow.now["start"] = [stopped_anywhere]
    with pytest.raises(Interrupted, match=r"stopped by SIGTERM before the run began; .* begins anew"):
        langevin.run(slow(tmp_path / "a.nc"))
    assert list(tmp_path.iterdir()) == []


def test_a_start_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, and killed, and stopped again."""
    simulation.execute(run_files.load(slow(tmp_path / "whole.nc", "Prepared")))
    given, paths = slow(tmp_path / "a.nc", "Prepared"), Paths(tmp_path / "a.nc")
    Slow.now["start"] = [lambda: None, stop]
    with pytest.raises(
        Interrupted, match=r"stopped by SIGTERM in the start .* `langevin\.resume\(.*a.nc'\)`"
    ):
        langevin.run(given)
    with xr.open_dataset(paths.checkpoint) as found:
        assert found.attrs["status"] == "unfinished: start, 20%"
    for command in ("info", "plot"):
        code, output = said(command, paths.checkpoint)
        assert code == 2 and output.endswith("its run has measured nothing yet\n") and output.count("\n") == 1
    with pytest.raises(UserError, match="holds an unfinished run"):
        langevin.run(given)
    # Killed after five more, the first two of which were saved.
    monkeypatch.setattr(pace, "rest", lambda interval, took: 0.0)
    taken: list[str] = []
    Slow.now["start"] = [lambda: taken.append("step")] * 5 + [die]
    with pytest.raises(Killed):
        langevin.run(given, resume=True)
    assert len(taken) == 5
    Slow.now["start"] = [lambda: taken.append("step")] * 10
    Slow.now["measurement"] = [stop]
    with pytest.raises(Interrupted, match=r"at t = 0; continue with"):
        simulation.resume(paths.checkpoint)
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)
    # Not one for each of the ten again.
    assert len(taken) < 5 + 10
    assert {p.name for p in tmp_path.iterdir()} == {"whole.nc", "a.nc"}


def test_a_short_start_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    plain = storage.write_checkpoint
    monkeypatch.setattr(
        storage, "write_checkpoint", lambda *a: (written.append(a[1].attrs["status"]), plain(*a))
    )
    langevin.run(slow(tmp_path / "a.nc", "Prepared")).close()
    assert written == ["unfinished: t = 0"]


def test_a_start_that_cannot_be_is_not_resumed(tmp_path: Path) -> None:
    def refuse() -> None:
        raise UserError("dynamics.dt: too large")

    given = slow(tmp_path / "a.nc", "Prepared")
    given["output"]["checkpoint_interval"] = 0.0
    Slow.now["start"] = [lambda: None, lambda: None, refuse]
    with pytest.raises(UserError, match="too large"):
        langevin.run(given)
    assert list(tmp_path.iterdir()) == []


def test_particles_go_on_from_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the pushes, three quarters of all steps, and in the equilibration; cut elsewhere, the same bits."""
    given = mixtures.settings(system__equilibration_time=0.05)
    given["output"]["path"] = str(tmp_path / "whole.nc")
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "a.nc")
    plain, parts = start.report, [0.1, 0.5, 0.8, 0.95]

    def heard(done: float, place: Any) -> None:
        if parts and done >= parts[0]:
            parts.pop(0)
            stop()
        plain(done, place)

    monkeypatch.setattr(start, "report", heard)
    # Each stretch of other steps than before.
    monkeypatch.setattr(pace, "STRETCH", 0.01)
    while parts:
        part = parts[0]
        with pytest.raises(Interrupted, match="in the start of the run"):
            langevin.run(given, resume=True)
        with xr.open_dataset(tmp_path / "a.checkpoint.nc") as found:
            said = found.attrs["status"].removeprefix("unfinished: start, ").removesuffix("%")
        assert 100 * part - 1 <= float(said) <= 100
    langevin.run(given, resume=True).close()
    assert_same(tmp_path / "whole.nc", tmp_path / "a.nc")


# Measurements.


def test_a_measurement_in_threads_is_interrupted() -> None:
    begun: list[int] = []

    def task(number: int) -> int:
        begun.append(number)
        while True:
            heed()
            time.sleep(0.005)

    with listening() as stopping, pytest.raises(Interrupted), stopping.at_once():
        threading.Timer(0.05, stop).start()
        CallPool(4, 2, 1, "cpu").map(task, range(4))
    assert 0 < len(begun) <= 4


def test_what_takes_long_to_write_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = slow(tmp_path / "whole.nc", record={"configurations": "always"})
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "a.nc")
    read, frames = raw_records.Trajectory.read, []

    def reading(self: Any, frame: int) -> Any:
        frames.append(frame)
        if len(frames) == 2:
            stop()
        return read(self, frame)

    monkeypatch.setattr(raw_records.Trajectory, "read", reading)
    with pytest.raises(Interrupted, match=r"at t = 4; continue with"):
        langevin.run(given)
    assert frames == [0, 1]
    assert not (tmp_path / "a.nc").exists() and not list(tmp_path.glob(".*"))
    simulation.resume(tmp_path / "a.nc").close()
    assert_same(tmp_path / "whole.nc", tmp_path / "a.nc")


@pytest.mark.parametrize("solver", ["long-time", "direct"])
def test_equations_are_interrupted_between_stops(solver: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "system": {"name": "cugliandolo_kurchan", "p": 3},
        "dynamics": {"temperature": 0.5, "t_max": 4.0, "solver": solver},
        "record": {"times": [4.0], "waiting_times": [0.0], "lags": [4.0]},
        "output": {"path": str(tmp_path / "a.nc"), "figure": False},
    }
    if solver == "direct":
        given["dynamics"]["grid_step"] = 0.05
    system = build.build(run_files.load(given), Ensemble.regular(1, 1, 0))
    state = system.initial_state(None)  # type: ignore[arg-type]
    with listening() as stopping, pytest.raises(Interrupted):
        stopping.note(Request("by the test", 130))
        system.advance(state, 0.0, 4.0, None)  # type: ignore[arg-type]
    assert system.advance(state, 0.0, 4.0, None).t == 4.0  # type: ignore[arg-type]
