"""How long a run will take is said once, early, and right; and Ctrl-C is heard soon."""

from __future__ import annotations

import contextlib
import io
import math
import re
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import walkers
from click.testing import CliRunner
from test_recorder import walking
from test_restart import interrupted, write_run_file

from langevin import speech
from langevin.commands.cli import main
from langevin.config import run_files
from langevin.core.schedule import Grid, Schedule
from langevin.files import storage
from langevin.machine import pace
from langevin.machine.duration import spoken
from langevin.machine.reports import report
from langevin.running import decades, progress, session
from langevin.running.decades import DecadeForecast, decade
from langevin.running.log import Log
from langevin.running.progress import Forecast, TimeLeft, announcement
from langevin.sweep import progress as sweep_progress
from langevin.sweep import simulation
from langevin.sweep.progress import SweepProgress

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
    # Of a kind that comes again the first stop does not tell: two are needed.
    assert now == 3


def test_what_compiles_first_does_not_count() -> None:
    ((now, pace),) = forecasts(step=0.5, stop=0.0, first=300.0)
    assert pace.step == pytest.approx(0.5)
    # Ten steps of half a second, after the first.
    assert now == 11


def test_a_short_run_is_judged_once_too() -> None:
    ((_, pace),) = forecasts(step=0.1, stop=0.0, first=0.1, t_max=1000.0)
    assert pace.left < 100


def test_the_line_names_duration_pace_and_the_way_back() -> None:
    for there, way_back in (
        (contextlib.nullcontext(), "`langevin.resume('resnet18.nc')`"),
        (speech.to_shell(), "`langevin resume resnet18.nc`"),
    ):
        with there:
            line = announcement(TimeLeft(31.2 * HOUR, 4.12), Path("resnet18.nc"))
        assert line == f"about 31 h to go (4.1 s per step); Ctrl-C stops it, {way_back} goes on"
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
    start, announced = done.stderr.splitlines(keepends=True)
    assert start == "walk: start, t = 0 of 20 (0 %)\n"
    assert announced.startswith("about ")
    assert announced.endswith(LINE)
    quiet = CliRunner().invoke(main, ["run", "walk.toml", "--force", "--quiet"])
    assert (quiet.exit_code, quiet.stderr) == (0, "")


def test_of_a_short_run_its_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "MEASURED", 0.0)
    write_run_file(tmp_path / "walk.toml", {"title": "walk", **walking(), "output": {"figure": False}})
    done = CliRunner().invoke(main, ["run", "walk.toml"])
    assert (done.exit_code, done.stderr) == (0, "walk: start, t = 0 of 20 (0 %)\n")


def test_a_resumed_run_says_it_again(hasty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"title": "walk", **walking(), "output": {"path": "walk.nc", "figure": False}}
    interrupted(given, monkeypatch, 3)
    done = CliRunner().invoke(main, ["resume", "walk.nc"])
    assert done.exit_code == 0, done.output
    start, announced = done.stderr.splitlines(keepends=True)
    assert re.fullmatch(r"walk: goes on, t = [1-9]\d* of 20 \(\d+ %\)\n", start)
    assert announced.endswith(LINE)


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


def test_the_clock_of_a_log_strikes_at_growing_intervals() -> None:
    clock, struck = Clock(), []
    growing = pace.Growing(clock)
    for second in range(1, 3000):
        clock.now += 1.0
        if growing.strikes():
            struck.append(second)
    assert struck == [10, 20, 40, 80, 160, 320, 640, 1240, 1840, 2440]
    # What it has missed meanwhile it strikes once.
    clock.now += 3000.0
    assert [growing.strikes() for _ in range(3)] == [True, False, False]
    clock.now += 599.0
    assert not growing.strikes()


def test_spectra_at_a_few_stops_are_apart_from_the_many() -> None:
    """Of 41 stops, those at 0, 1, 100, 10⁴ take 100 s, the first of them 500; the others none."""
    further = {"hessian_time": Grid((0.0, 1.0, 100.0, 1e4))}
    schedule = Schedule.build(Grid(per_decade=10.0), Grid(), Grid(), 1e4, 1.0, further)
    clock, now, kinds = Clock(), 0, []
    forecast = Forecast(schedule, 1.0, clock)
    for s in schedule.stops:
        while now < s.time:
            clock.now += 0.1
            now += 1
            forecast.stretch(float(now), s.index)
        if "hessian_time" in s.due:
            clock.now += 100.0 if now > 1 else 500.0
        forecast.stop()
        left = forecast.pace()
        # Sums of a few decimal numbers. Until there is a second one, that which compiled stands for it.
        spectra = sum(t > now for t in (100, 1e4))
        each = 100.0 if now >= 100 else 500.0
        if left is not None:
            assert left.left == pytest.approx((1e4 - now) * 0.1 + spectra * each, rel=1e-9, abs=1e-6)
            kinds.append(spectra)
    assert set(kinds) == {2, 1, 0}


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock for all that measures times; a step of `Walkers` takes 0.5 s by it, a measurement 1 s."""
    clock = Clock()
    advance, measure = walkers.Walkers.advance, walkers.Walkers.measure

    def step(self: Any, state: Any, t0: float, t1: float, noise: Any) -> Any:
        clock.now += 0.5 * (t1 - t0)
        return advance(self, state, t0, t1, noise)

    def slow_measure(self: Any, state: Any) -> Any:
        clock.now += 1.0
        return measure(self, state)

    monkeypatch.setattr(walkers.Walkers, "advance", step)
    monkeypatch.setattr(walkers.Walkers, "measure", slow_measure)
    monkeypatch.setattr(progress, "Forecast", partial(Forecast, clock=clock))
    monkeypatch.setattr(session, "Log", partial(Log, clock=clock))
    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=clock))
    return clock


def test_a_log_says_that_a_run_lives_between_two_stops(paced: Clock, capsys: Any) -> None:
    """Of 5000 steps the last 4000 lie between two stops; each line says how long it will take."""
    began = paced.now
    given = {"title": "a\nwalk of σ", **walking(), "dynamics": {"t_max": 5000.0}}
    given["record"] = {"times": {"per_decade": 1}, "waiting_times": [0.0]}
    simulation.run(given, progress=True)
    ended = paced.now
    start, *lines = capsys.readouterr().err.splitlines()
    assert start == "a\\nwalk of σ: start, t = 0 of 5000 (0 %)"
    form = r"a\\nwalk of σ: t = (\S+) of 5000 \((\S+) %\), energy (\S+)(?:, about (\S+) (s|min) left)?"
    said = [re.fullmatch(form, line) for line in lines]
    assert all(said)
    # A stop measures for a second and a step takes half of one, so that times of lines follow from steps.
    times = [float(match[1]) for match in said]
    assert len(lines) == 10
    assert sum(t > 1000 for t in times) >= 4
    left = [float(m[4]) * {"s": 1, "min": 60}[m[5]] for m in said if m[4]]
    assert len(left) >= 9
    stops = [0.0, 1.0, 10.0, 100.0, 1000.0, 5000.0]
    for t, seconds in zip(times[-len(left) :], left, strict=True):
        # Two digits are said.
        assert seconds == pytest.approx((5000 - t) * 0.5 + sum(s >= t for s in stops), rel=0.06)
    assert ended - began == pytest.approx(5000 * 0.5 + len(stops))


def test_a_log_says_how_far_a_start_is(capsys: Any) -> None:
    clock = Clock()
    with progress.preparing("oscillators", True, "equilibration", log=Log(True, clock)):
        for tenth in range(11):
            report(tenth / 10)
            clock.now += 4.0
    assert capsys.readouterr().err.splitlines() == [
        "oscillators: equilibration 30 %, about 28 s left",
        "oscillators: equilibration 60 %, about 16 s left",
    ]


def test_a_log_says_how_far_a_sweep_is(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(sweep_progress.time, "monotonic", clock)
    shown = SweepProgress(4, 1, "walks", Path("a.nc"), True, Log(True, clock))
    for tenth in range(1, 10):
        shown.part(1, tenth / 10)
        clock.now += 6.0
    shown.end(1)
    # Members that say nothing.
    clock.now += 45.0
    shown.look()
    shown.look()
    assert capsys.readouterr().err.splitlines() == [
        "walks: start, 1 of 4 members",
        "walks: 1 of 4 members done (32 %), about 2.7 min left",
        "walks: 1 of 4 members done (37 %), about 2.5 min left",
        "walks: 1 of 4 members done (47 %), about 2.1 min left",
        "walks: 2 of 4 members done (50 %), about 2.0 min left",
    ]


def test_members_count_by_the_time_that_they_take(
    paced: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the stops of a logarithmic schedule lie in its first per cent, and so does their time."""
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=paced))
    began, parts = paced.now, []
    given = {**walking(), "dynamics": {"t_max": 1000.0}}
    given["record"] = {"times": {"per_decade": 40}, "waiting_times": [0.0]}
    given["output"] = {"path": str(tmp_path / "a.nc")}
    simulation.execute(run_files.load(given), watch=lambda part: parts.append((paced.now - began, part)))
    whole = paced.now - began
    known = [(passed, part) for passed, part in parts if passed > 30]
    assert len(known) > 50
    for passed, part in known:
        assert part == pytest.approx(passed / whole, abs=0.02)


def test_a_terminal_has_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    log = Log(True, lambda: 0.0)
    log.say("walk", "start")
    assert (log.due, terminal.getvalue()) == (False, "")


def left_by_decades(seconds_of: Any, t_max: float = 1e7) -> list[tuple[float, float]]:
    """Return times and what is said to be left: up to λ = ln(1 + t) the run takes seconds_of(λ)."""
    clock, lost = Clock(), 100.0
    forecast, said = DecadeForecast(math.log1p, t_max, clock), []
    for t in np.geomspace(1e-2, t_max, 400).tolist():
        clock.now = lost + seconds_of(math.log1p(t))
        forecast.stretch(t, 0)
        # A checkpoint, which must not count.
        lost += 50.0
        clock.now += 50.0
        forecast.skip()
        if pace := forecast.pace():
            said.append((t, pace.left))
    return said


@pytest.mark.parametrize(
    ("seconds_of", "within"),
    [
        # Equal decades: only grid points stand for "a decade before", at most a 1/45 of one off.
        (lambda x: 10 * x, 0.03),
        # Each decade is dearer than the one before, as memory grows: forecast from two of them.
        (lambda x: x**2, 0.05),
        (lambda x: x**3 / 10, 0.4),
    ],
    ids=["constant", "linear", "quadratic"],
)
def test_a_forecast_by_decades_goes_by_the_logarithm_of_time(seconds_of: Any, within: float) -> None:
    said = [(t, left) for t, left in left_by_decades(seconds_of) if 1e3 < t < 1e6]
    assert len(said) > 100
    for t, left in said:
        assert left == pytest.approx(seconds_of(math.log1p(1e7)) - seconds_of(math.log1p(t)), rel=within)


def test_decades_are_counted_from_one() -> None:
    said = [decade(t, 1e7) for t in (0.5, 1.0, 3e4, 9.99e6, 1e7)]
    assert said == ["", *(f"decade {k} of 7" for k in (1, 5, 7, 7))]
    assert [decade(30.0, 50.0), decade(3.0, 10.0)] == ["decade 2 of 2", ""]


def test_a_system_with_a_clock_says_its_decade(
    small: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decades, "MEASURED", 0.0)
    monkeypatch.setattr(progress, "LONG", 0.0)
    monkeypatch.setattr(Log, "due", property(lambda self: True))
    simulation.run(small("cugliandolo_kurchan", dynamics__t_max=20.0), progress=True)
    start, *lines = capsys.readouterr().err.splitlines()
    assert start.endswith("start, t = 0 of 20 (0 %)")
    assert sum("to go; " in line for line in lines) == 1
    assert any(re.search(r"t = 1\d(\.\d+)? of 20 \(decade 2 of 2\), energy -\S+, about", s) for s in lines)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    simulation.run(small("cugliandolo_kurchan", dynamics__t_max=20.0), progress=True)
    assert re.search(r"100%\|\S+\| t = 20, decade 2 of 2 \[", terminal.getvalue())


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
