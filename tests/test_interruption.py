"""Who may stop a run, when it is heard, and what is left alone."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from test_restart import write_run_file
from test_sweep import harmonic

from langevin.errors import Interrupted, UserError
from langevin.machine import interruption
from langevin.machine.duration import seconds
from langevin.machine.interruption import SIGNALS, Request, carried, heed, listening

SAID = {number: "Ctrl-C" if number == signal.SIGINT else number.name for number in SIGNALS}


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_are_noted(number: signal.Signals) -> None:
    before = {n: signal.getsignal(n) for n in SIGNALS}
    with listening() as stop:
        assert stop.asked is None
        send(number)
        assert stop.asked == Request(f"by {SAID[number]}", 128 + number)
        with pytest.raises(Interrupted, match=f"^stopped by {SAID[number]}$") as caught:
            heed()
        assert caught.value.exit_code == 128 + number
    assert {n: signal.getsignal(n) for n in SIGNALS} == before
    # Nobody listens any more.
    heed()


@pytest.mark.parametrize("number", SIGNALS)
def test_they_are_heard_at_once_where_nothing_is_lost(number: signal.Signals) -> None:
    with listening() as stop, pytest.raises(Interrupted, match=SAID[number]), stop.at_once():
        send(number)
        time.sleep(60)
    with listening() as stop:
        send(number)
        # It came before.
        with pytest.raises(Interrupted), stop.at_once():
            pytest.fail("it went on")


def test_who_saves_is_waited_for() -> None:
    reached = False
    with listening() as stop, pytest.raises(Interrupted), stop.at_once():
        stop.wait()
        send(signal.SIGTERM)
        reached = True
        heed()
    assert reached


def test_a_second_one_acts_at_once() -> None:
    with listening(), pytest.raises(KeyboardInterrupt) as caught:
        send(signal.SIGINT)
        send(signal.SIGINT)
    assert not isinstance(caught.value, Interrupted)
    # Whoever closes a terminal sends two of these.
    with listening() as stop:
        send(signal.SIGHUP)
        send(signal.SIGHUP)
        assert stop.asked == Request("by SIGHUP", 129)


def test_srun_passes_on_what_the_queue_has_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the time limit of Slurm SIGTERM comes twice at once; a later one is meant."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with listening() as stop:
            send(signal.SIGTERM)
            send(signal.SIGTERM)
            assert stop.asked == Request("by SIGTERM", 143)
            now = time.monotonic()
            monkeypatch.setattr(time, "monotonic", lambda: now + 2.0)
            with pytest.raises(KeyboardInterrupt) as caught:
                send(signal.SIGTERM)
        assert not isinstance(caught.value, Interrupted)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_no_exception_swallows_it() -> None:
    assert issubclass(Interrupted, KeyboardInterrupt)
    assert not issubclass(Interrupted, Exception)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_ignored_stays_ignored(number: signal.Signals) -> None:
    """As under nohup."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with listening() as stop:
            send(number)
            assert stop.asked is None
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_handlers_that_python_did_not_set_stay(number: signal.Signals, monkeypatch: Any) -> None:
    """As in a program that embeds Python."""
    plain, put = signal.getsignal, signal.signal
    changed: list[int] = []
    monkeypatch.setattr(signal, "getsignal", lambda n: None if n == number else plain(n))
    monkeypatch.setattr(signal, "signal", lambda n, handler: changed.append(n) or put(n, handler))
    with listening() as stop:
        send(next(n for n in SIGNALS if n != number))
        assert stop.asked is not None
    assert number not in changed


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc who handles a signal")
def test_handlers_of_libraries_stay(tmp_path: Path) -> None:
    """Set in C after Python began: it takes the signal for one that does what it does by default."""
    with (tmp_path / "said").open("w") as said:
        faulthandler.register(signal.SIGUSR1, said)
        try:
            assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
            with listening() as stop:
                send(signal.SIGUSR1)
                assert stop.asked is None
            send(signal.SIGUSR1)
        finally:
            faulthandler.unregister(signal.SIGUSR1)
    assert (tmp_path / "said").read_text().count("Current thread") == 2


def test_a_programs_own_handlers_stay() -> None:
    """Of the signals that only queues send: who handles them in Python means it."""
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with listening() as stop:
            send(signal.SIGUSR1)
            assert stop.asked is None
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


def test_only_the_main_thread_listens() -> None:
    before = {n: signal.getsignal(n) for n in SIGNALS}
    found: list[Any] = []

    def elsewhere() -> None:
        with listening(0.01) as stop:
            found.append({n: signal.getsignal(n) for n in SIGNALS})
            with pytest.raises(Interrupted, match="wall time"):
                while True:
                    heed()
            found.append(stop.asked)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [before, Request("at the wall time (0.01 s)", 124)]


#: Older sub-interpreters raise, newer ones return what went wrong.
INNER = """
import importlib, sys
for name in ("_interpreters", "_xxsubinterpreters"):
    try:
        interpreters = importlib.import_module(name)
        break
    except ImportError:
        continue
else:
    sys.exit("none here")
inner = interpreters.create()
program = (
    "from langevin.machine.interruption import listening\\n"
    "with listening() as stop, stop.at_once():\\n    assert stop.asked is None"
)
assert interpreters.run_string(inner, program) is None
interpreters.destroy(inner)
"""


def test_sub_interpreters_hear_no_signals() -> None:
    """In a process of its own: torch's gradients fail in one that has had a sub-interpreter."""
    done = subprocess.run([sys.executable, "-c", INNER], capture_output=True, text=True, timeout=60)
    if done.stderr.strip() == "none here":
        pytest.skip("no sub-interpreters here")
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_hear_what_their_caller_hears() -> None:
    caught: list[str] = []

    def task() -> None:
        try:
            heed()
        except Interrupted as error:
            caught.append(str(error))

    with listening() as stop:
        stop.note(Request("by the test", 130))
        for target in (task, carried(task)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert caught == ["stopped by the test"]


def test_the_outer_one_listens() -> None:
    with listening() as outer, listening(5.0) as inner:
        assert inner is outer


# The wall time.


def test_the_wall_time_is_heard_at_once() -> None:
    with listening(0.05) as stop, pytest.raises(Interrupted) as caught, stop.at_once():
        time.sleep(60)
    assert caught.value.exit_code == interruption.TIMED_OUT
    assert str(caught.value) == "stopped at the wall time (0.05 s)"
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_alarm_clock_that_is_used_stays() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        with listening(0.01) as stop:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            while not rung:
                time.sleep(0.01)
            assert stop.asked is not None
    finally:
        signal.signal(signal.SIGALRM, before)


def test_some_of_the_wall_time_is_kept() -> None:
    with listening("1h") as stop:
        assert 3599 < stop.left <= 3600
        stop.reserve(600.0)
        assert 2999 < stop.left <= 3000
        # Half of it is for the run, whatever a checkpoint takes.
        stop.reserve(1e6)
        assert 1799 < stop.left <= 1800


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *((3600, 3600.0), (0.5, 0.5), ("3600", 3600.0), ("90s", 90.0), ("50m", 3000.0), (" 2 H ", 7200.0)),
        *(("23h50m", 85800.0), ("1d2h", 93600.0), ("1.5h", 5400.0), ("1d2h3m4s", 93784.0)),
        *(("01:30:00", 5400.0), ("30:00", 1800.0), ("1-12:00:00", 129600.0), ("1-12", 129600.0)),
        ("2-0:30", 174600.0),
    ],
)
def test_durations(given: Any, expected: float) -> None:
    assert seconds(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        *("", "soon", "0", "0s", "-5", "-1h", "nan", "inf", "1e400", "50m23h", "1:2:3:4", "1_000", "m"),
        *(0, -1.0, float("nan"), float("inf"), True, "9" * 5000, "9" * 5000 + "h", "9" * 5000 + ":00"),
    ],
)
def test_no_durations(given: Any) -> None:
    with pytest.raises(UserError, match=r"^wall_time = .*: allowed: seconds, such as 3600, or 90s") as caught:
        seconds(given)
    assert len(str(caught.value)) < 250


# Whole runs.


def run(folder: Path, *before: str, **environment: str) -> subprocess.CompletedProcess[str]:
    write_run_file(folder / "run.toml", harmonic(output={"path": "a.nc", "figure": False}))
    command = [*before, sys.executable, "-m", "langevin", "run", "run.toml", "--quiet"]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="compiles a library")
def test_a_run_in_a_program_with_handlers_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "own.c").write_text(
        "#include <signal.h>\nstatic void own(int n) {}\n"
        "__attribute__((constructor)) static void set(void) {\n"
        "  int all[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM};\n"
        "  for (int k = 0; k < 6; k++) signal(all[k], own);\n}\n"
    )
    library = tmp_path / "own.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "own.c"], check=True)
    done = run(tmp_path, LD_PRELOAD=str(library))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.nc").exists()
