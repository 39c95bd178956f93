"""What a run says while it goes on: in the log of a queue, in plain ASCII, in a terminal of unknown size."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_progress import Clock, Terminal
from test_terminals import RUN, command

from langevin.commands.cli import main
from langevin.core.schedule import Grid, Schedule
from langevin.machine import bars, streams
from langevin.running import progress
from langevin.running.log import Log
from langevin.running.progress import Forecast
from langevin.sweep import progress as sweep_progress
from langevin.sweep.progress import SweepProgress


@pytest.fixture
def quench(tmp_path: Path) -> Path:
    (tmp_path / "quench.toml").write_text(RUN, encoding="utf-8")
    return tmp_path


def test_a_measurement_that_compiles_promises_no_days() -> None:
    """The first pair takes an hour, all others nothing: 78 to come would be judged by it to take days."""
    schedule = Schedule.build(Grid((0.0,)), Grid((0.0,)), Grid(per_decade=20.0), 1e4, 1.0)
    clock, now, said = Clock(), 0, []
    forecast = Forecast(schedule, 1.0, clock)
    for stop in schedule.stops:
        while now < stop.time:
            clock.now += 6.0
            now += 1
            forecast.stretch(float(now), stop.index)
            said += [(now, pace.left) for pace in [forecast.pace()] if pace]
        clock.now += 3600.0 if now == 1 else 0.0
        forecast.stop()
    # One step more than is needed to time one, for the second pair.
    assert said[0][0] == 3
    assert all(left == pytest.approx((1e4 - t) * 6.0) for t, left in said)


def test_a_sweep_forecasts_nothing_before_its_members_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that load for 20 s and take a step promised days by the bar's own count."""
    clock, terminal = Clock(), Terminal()
    monkeypatch.setattr(sweep_progress.time, "monotonic", clock)
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = SweepProgress(4, 0, "walks", Path("a.nc"), True, Log(True, clock))
    for seconds, part in ((20.0, 0.0), (4.0, 0.0), (2.0, 0.5)):
        clock.now += seconds
        before = terminal.tell()
        shown.part(0, part)
        shown._bar.refresh()
        drawn = terminal.getvalue()[before:]
        assert ("left" in drawn) == (part > 0), drawn
    # Six seconds for half of the first member: 42 for what is left.
    assert "42 s left, 0 of 4 members" in drawn
    shown.close()


@pytest.mark.parametrize(
    ("columns", "said", "expected"),
    [(0, None, 79), (0, "100", 99), (0, "wide", 79), (132, "100", None)],
)
def test_the_width_of_a_bar(
    columns: int, said: str | None, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "terminal_columns", lambda: columns)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.delenv("COLUMNS", raising=False)
    if said is not None:
        monkeypatch.setenv("COLUMNS", said)
    drawn = bars.bar("Kob-Andersen mixture, inherent structures on cooling", True, total=1.0)
    assert drawn.ncols == expected or expected is None
    # What else a bar of a run shows has room.
    assert len(drawn.desc.removesuffix(": ")) == {79: 12, 99: 31, None: 40}[expected]
    drawn.close()


def in_terminal(words: list[str], folder: Path, rows: int, columns: int) -> str:
    """Return what a command writes to a terminal of this size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    given = [sys.executable, "-m", "langevin", *words]
    with subprocess.Popen(given, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        said = b""
        # The end of it is an error.
        with pytest.raises(OSError, match="Input/output"):
            while part := os.read(ours, 65536):
                said += part
    os.close(ours)
    return said.decode()


def test_a_terminal_of_unknown_size_has_a_bar(quench: Path) -> None:
    words = ["run", "quench.toml", "--set", "output.figure=false", "--set", "title=A long title of a quench"]
    said = in_terminal(words, quench, 0, 0)
    (last,) = [part for part in said.replace("\n", "\r").split("\r") if "t = 1/1" in part][-1:]
    assert last.startswith("A long titl… 100%|█")
    assert 70 <= len(last) <= 79


def test_the_locale_c_is_plain_ascii(quench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python itself writes UTF-8 there."""
    words = "langevin run quench.toml --set output.figure=false 2>&1 | cat"
    done = command(words, quench, LC_ALL="C")
    assert done.stdout.startswith(b'sigma of a "quench", \\U0001f600: start, t = 0 of 1 (0 %)\n')
    assert done.stdout.isascii()
    # Whoever asks Python for an encoding gets it.
    for variable, plain in (("PYTHONIOENCODING", False), ("ANYTHING", True)):
        with monkeypatch.context() as patch:
            patch.setenv("LC_ALL", "C")
            patch.delenv("PYTHONUTF8", raising=False)
            patch.setenv(variable, "utf-8")
            assert streams._plain_wanted() is plain


def test_lines_are_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, encoding="utf-8"))
    Log(True).say("walk", "start")
    assert written.getvalue() == b"walk: start\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], r"quench.toml: [\d.]+ \w+: it was carried out"),
        (["--set", "dynamics.t_max=1e8"], r"quench.toml: about [\d.]+ (min|h|days), start included"),
        (
            ["--set", "sweep.dynamics.temperature=[1.0,2.0]", "--set", "dynamics.t_max=1e8"],
            r"quench.toml: first of 2 members: about [\d.]+ (min|h|days), start included",
        ),
    ],
)
def test_validate_forecasts(
    words: list[str], said: str, quench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(quench)
    monkeypatch.setattr(progress, "MEASURED", 0.05)
    done = CliRunner().invoke(main, ["validate", "quench.toml", "--forecast", *words])
    assert done.exit_code == 0, done.output
    valid, forecast = done.stdout.splitlines()
    assert valid.startswith("quench.toml: valid (harmonic, ")
    assert re.fullmatch(said, forecast)
    # Nothing is left of it.
    assert [p.name for p in quench.iterdir()] == ["quench.toml"]
