"""How long a run will take is said once, early, and right; and Ctrl-C is heard soon."""

from __future__ import annotations

import io
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import walkers
from click.testing import CliRunner
from test_recorder import walking
from test_restart import interrupted, write_run_file

from langevin.commands.cli import main
from langevin.config import run_files
from langevin.core.schedule import Grid, Schedule
from langevin.files import storage
from langevin.machine import pace
from langevin.running import progress
from langevin.running.progress import Forecast, TimeLeft, announcement, spoken
from langevin.sweep import simulation

HOUR = 3600.0


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def forecasts(step: float, stop: float, first: float, t_max: float = 1e5) -> list[tuple[float, TimeLeft]]:
    """Return all that a forecast says of a run, and when. Given: seconds of a step, a stop, and the first."""
    schedule = Schedule.build(Grid(per_decade=20.0), Grid((0.0,)), Grid((1.0,)), t_max, 1.0)
    clock, said, now = Clock(), [], 0
    forecast = Forecast(schedule, 1.0, clock)
    for s in schedule.stops[:80]:
        while now < s.time:
            clock.now += step if now else first
            now += 1
            if pace := forecast.stretch(float(now), s.index):
                said.append((now, pace))
        clock.now += stop if now else first
        forecast.stop()
        # A checkpoint, which must not count.
        clock.now += 1000.0
        forecast.skip()
    return said


def test_the_forecast_tells_steps_from_stops() -> None:
    """4.1 s a step, 30 s a stop, 20 stops per decade: the first stops are far denser than the last."""
    ((now, pace),) = forecasts(step=4.1, stop=30.0, first=4.1)
    schedule = Schedule.build(Grid(per_decade=20.0), Grid((0.0,)), Grid((1.0,)), 1e5, 1.0)
    stops = sum(stop.time >= now for stop in schedule.stops)
    # All times here are sums of a few decimal numbers.
    assert pace.left == pytest.approx((1e5 - now) * 4.1 + stops * 30.0, rel=1e-9)
    assert pace.step == pytest.approx(4.1, rel=1e-9)
    assert now == 2


def test_what_compiles_first_does_not_count() -> None:
    ((now, pace),) = forecasts(step=0.5, stop=0.0, first=300.0)
    assert pace.step == pytest.approx(0.5)
    # Ten steps of half a second, after the first.
    assert now == 11


def test_a_short_run_is_judged_once_too() -> None:
    ((_, pace),) = forecasts(step=0.1, stop=0.0, first=0.1, t_max=1000.0)
    assert pace.left < 100


def test_the_line_names_duration_pace_and_the_way_back() -> None:
    line = announcement(TimeLeft(31.2 * HOUR, 4.12), Path("resnet18.nc"))
    assert line == (
        "about 31 h to go (4.1 s per step); Ctrl-C stops it, `langevin resume resnet18.nc` goes on"
    )
    # Of a run without output.path nothing is left to resume.
    assert "resume" not in announcement(TimeLeft(31.2 * HOUR, 4.12), None)
    assert "output.path" in announcement(TimeLeft(31.2 * HOUR, 4.12), None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.13 * HOUR, "1.1 h"),
        (9.96 * HOUR, "10 h"),
        (47 * HOUR, "47 h"),
        (60 * HOUR, "2.5 days"),
        (2000 * HOUR, "83 days"),
        (150.0, "2.5 min"),
        (0.04, "40 ms"),
        (3.1e-6, "3.1 µs"),
        (4e-8, "40 ns"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any pace is known at once, any run is long."""
    monkeypatch.setattr(progress, "MEASURED", 0.0)
    monkeypatch.setattr(progress, "LONG", 0.0)


LINE = "`langevin resume walk.nc` goes on\n"


def test_the_line_is_on_stderr_where_no_terminal_is(
    hasty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"title": "walk", **walking(), "output": {"figure": False}}
    write_run_file(tmp_path / "walk.toml", given)
    done = CliRunner().invoke(main, ["run", "walk.toml"])
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("about ")
    assert done.stderr.endswith(LINE)
    assert done.stderr.count("\n") == 1
    quiet = CliRunner().invoke(main, ["run", "walk.toml", "--force", "--quiet"])
    assert (quiet.exit_code, quiet.stderr) == (0, "")


def test_of_a_short_run_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "MEASURED", 0.0)
    write_run_file(tmp_path / "walk.toml", {"title": "walk", **walking(), "output": {"figure": False}})
    done = CliRunner().invoke(main, ["run", "walk.toml"])
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_resumed_run_says_it_again(hasty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"title": "walk", **walking(), "output": {"path": "walk.nc", "figure": False}}
    interrupted(given, monkeypatch, 3)
    done = CliRunner().invoke(main, ["resume", "walk.nc"])
    assert done.exit_code == 0, done.output
    assert (done.stderr.count("\n"), done.stderr.endswith(LINE)) == (1, True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_stands_above_the_bar(hasty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    given = {**walking(), "output": {"path": str(tmp_path / "walk.nc")}}
    simulation.execute(run_files.load(given), progress=True)
    shown = terminal.getvalue()
    assert shown.count("goes on\n") == 1
    assert "t = 20/20" in shown
    # A line of its own: the bar was wiped before, and drawn again after it.
    before = shown[: shown.index("about ")]
    assert before.endswith("\r")


def test_checkpoints_are_no_part_of_the_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 200 s here, a step 1 s."""
    clock, said, write = Clock(), [], storage.write_checkpoint
    advance = walkers.Walkers.advance

    def step(self: Any, state: Any, t0: float, t1: float, noise: Any) -> Any:
        clock.now += t1 - t0
        return advance(self, state, t0, t1, noise)

    def slow_write(*given: Any) -> None:
        clock.now += 200.0
        write(*given)

    monkeypatch.setattr(walkers.Walkers, "advance", step)
    monkeypatch.setattr(storage, "write_checkpoint", slow_write)
    monkeypatch.setattr(progress, "Forecast", partial(Forecast, clock=clock))
    monkeypatch.setattr(progress, "LONG", 0.0)
    monkeypatch.setattr(progress, "announcement", lambda pace, result: str(said.append(pace)))
    given = {**walking(), "output": {"path": str(tmp_path / "a.nc"), "checkpoint_interval": 0.0}}
    simulation.execute(run_files.load(given), progress=True)
    (pace,) = said
    assert pace.step == pytest.approx(1.0)
    # Of the 20 steps five have been measured; the stops cost nothing.
    assert pace.left <= 15


def test_a_system_without_steps_makes_no_forecast(hasty: None, small: Any, capsys: Any) -> None:
    simulation.run(small("cugliandolo_kurchan"), progress=True)
    assert "to go" not in capsys.readouterr().err


def test_the_first_stretch_is_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step takes seconds, Ctrl-C must not wait for many; where it takes none, stretches grow fast."""
    clock = Clock()
    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=clock))
    for seconds, expected in ((4.0, [1, 2, 3, 4]), (1e-4, [1, 5, 21, 85])):
        ends = []
        for end in pace.Pace(1.0).stretches(0.0, 1000.0):
            clock.now += seconds * (end - (ends[-1] if ends else 0))
            ends.append(round(end))
        assert ends[:4] == expected
        assert ends[-1] == 1000


def test_a_long_stretch_lasts_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=clock))
    now, lengths = 0.0, []
    for end in pace.Pace(1.0).stretches(0.0, 1e5):
        clock.now += 1e-3 * (end - now)
        lengths.append(end - now)
        now = end
    assert lengths[6:-1] == pytest.approx([500.0] * (len(lengths) - 7), rel=0.01)
