"""What runs stand on: threads, forks, encodings, locks, clocks, umask, standard input."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from campaign import (
    Tally,
    chances,
    complete,
    content,
    differences,
    furnished,
    room,
    scaled,
    started,
    whole,
)
from child import HUNG, Child, Conditions, Outcome, command
from kinds import RESULT, SINGLE

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent

#: Options of runs that are compared: the number of threads stands in the file.
QUIET = ("--quiet", "--threads", "1")

#: Seconds for what begins from nothing, and may compile.
WITHIN = 240.0


def alone(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Outcome:
    """Run a program of this folder in a process of its own, with its own interpreter from the start."""
    program = [sys.executable, str(HERE / arguments[0]), *arguments[1:]]
    said = {"LANGEVIN_POOL_TIMEOUT": str(WITHIN / 2), **os.environ, **(environment or {})}
    process = subprocess.Popen(
        program,
        cwd=folder,
        env=said,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=WITHIN)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        return Outcome(HUNG, out.decode(errors="replace"), err.decode(errors="replace"))
    return Outcome(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


@pytest.mark.parametrize("kind", ["harmonic", "pspin", "tiny"])
def test_runs_in_threads(kind: str, record_property: Any) -> None:
    with Tally(f"threads, {kind}", record_property) as tally:
        for trial in range(scaled(2)):
            folder = furnished(kind, f"threads-{kind}")
            count = (2, 4, 3)[trial % 3]
            outcome = alone(folder, "scenes.py", "threads", kind, str(count))
            tally["processes with threads"] += 1
            if outcome.code != 0:
                tally.fault(f"{count} threads: {outcome.code}, {outcome.err[-300:]}")


@pytest.mark.parametrize("kind", ["harmonic", "tiny"])
def test_a_checkpoint_is_read_while_a_thread_runs(kind: str, record_property: Any) -> None:
    with Tally(f"a notebook, {kind}", record_property) as tally:
        for _ in range(scaled(1)):
            outcome = alone(furnished(kind, f"notebook-{kind}"), "scenes.py", "notebook", kind)
            if outcome.code != 0:
                tally.fault(f"{outcome.code}, {outcome.err[-300:]}")
            else:
                tally["looks"] += int(outcome.out)


#: Of a pool every process has another seed; a run with [start] has that of its file.
POOLED = tuple(kind for kind in SINGLE if kind != "start")


@pytest.mark.parametrize(
    ("kind", "method"), [(kind, "fork") for kind in POOLED] + [(kind, "spawn") for kind in ("ck", "norms")]
)
def test_pools_after_a_run(kind: str, method: str, record_property: Any) -> None:
    """The parent has computed already; with spawn, processes begin from nothing, which takes its time."""
    with Tally(f"{method}, {kind}", record_property) as tally:
        outcome = alone(furnished(kind, f"{method}-{kind}"), "scenes.py", "pool", kind, method)
        tally["pools"] += 1
        if outcome.code != 0:
            tally.fault(f"{outcome.code}, {outcome.err[-500:]}")


#: What is said by every command; the kinds whose results are there as a.nc, b.nc, k.nc.
SAYING = (
    ["run", "run.toml", "--force"],
    ["info", "a.nc"],
    ["info", "k.nc"],
    ["info", "s.nc"],
    ["plot", "a.nc"],
    ["plot", "k.nc"],
    ["compare", "a.nc", "b.nc", "--force"],
    ["export", "k.nc", "--force"],
    ["validate", "run.toml"],
    ["systems"],
    ["systems", "pspin"],
    ["systems", "kob_andersen"],
    ["systems", "cugliandolo_kurchan"],
    ["systems", "mlp"],
    ["systems", "network_curve"],
    ["init", "pspin"],
    ["init", "mlp"],
    ["init", "cugliandolo_kurchan"],
    ["data", "list"],
    ["data", "list", "ljat"],
    ["data", "list", "synthetic"],
    ["connect", "n.nc", "--set", "dynamics.t_max=10", "--set", "record.times=[0]", "--force"],
    ["plane", "n.nc", "--grid", "3", "--force"],
    ["ensemble", "n.nc", "--force"],
    ["--help"],
    *([name, "--help"] for name in ("run", "resume", "plot", "compare", "connect", "plane", "ensemble")),
)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_command_speaks_in_every_encoding(encoding: str, record_property: Any) -> None:
    folder = furnished("pspin", f"encoding-{encoding}")
    for name, kind in {
        "a": "pspin",
        "b": "start",
        "k": "kob_andersen",
        "s": "sweep",
        "n": "network_ends",
    }.items():
        shutil.copy(whole(kind).result, folder / f"{name}.nc")
    with Tally(f"commands in {encoding}", record_property) as tally:
        for arguments in SAYING:
            given = Conditions(stretch=0.5, encoding=encoding)
            outcome = Child(folder, command, arguments, conditions=given).wait()
            tally["commands"] += 1
            if outcome.code != 0:
                tally.fault(f"langevin {' '.join(arguments)}: {outcome.code}, {outcome.err[-200:]}")


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "en_US", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
    ],
    ids=lambda e: e["LC_ALL"],
)
def test_locales(environment: dict[str, str], record_property: Any) -> None:
    """Files are UTF-8 whatever the locale: a run file with Greek letters, and what reads the result."""
    with Tally(f"locale {environment['LC_ALL']}", record_property) as tally:
        folder = furnished("harmonic", f"locale-{environment['LC_ALL']}")
        text = (folder / "run.toml").read_text(encoding="utf-8")
        (folder / "run.toml").write_text(text.replace("Uhlenbeck", "Uhlenbeck, T → Δ"), encoding="utf-8")
        for arguments in (["validate", "run.toml"], ["run", "run.toml"], ["info", RESULT], ["plot", RESULT]):
            outcome = alone(folder, "child.py", '{"stretch": 0.5}', *arguments, environment=environment)
            tally["commands"] += 1
            if outcome.code != 0:
                tally.fault(f"langevin {' '.join(arguments)}: {outcome.code}, {outcome.err[-200:]}")


@pytest.fixture(scope="module")
def without_locks() -> Path:
    """A library that stands before the operating system's: there are no locks."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler, or no LD_PRELOAD")
    library = room() / "flock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, HERE / "flock.c"], check=True)
    return library


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_file_systems_without_locks(number: int, without_locks: Path, record_property: Any) -> None:
    """A warning, perhaps; the same bits, also when a run goes on, and they can be read."""
    environment = {"LD_PRELOAD": str(without_locks), "FLOCK_ERRNO": str(number)}
    with Tally(f"no locks, {errno.errorcode[number]}", record_property) as tally:
        folder = furnished("harmonic", "no-locks")
        moments = chances("locks", number)
        dies = f'{{"dies_at": {moments.randrange(100, 400)}}}'
        outcome = alone(folder, "child.py", dies, "run", "run.toml", *QUIET, environment=environment)
        if outcome.code != -9:
            tally.fault(f"run: {outcome.code}, {outcome.err[-300:]}")
        for arguments in (["resume", RESULT, *QUIET], ["info", RESULT]):
            outcome = alone(folder, "child.py", "{}", *arguments, environment=environment)
            tally["commands"] += 1
            if outcome.code != 0:
                tally.fault(f"{arguments[0]}: {outcome.code}, {outcome.err[-300:]}")
        if (folder / RESULT).exists() and (
            found := differences(content(folder / RESULT), whole("harmonic").content)
        ):
            tally.fault(f"differs in {', '.join(found)}")


#: Conditions that may change nothing.
ODD: dict[str, dict[str, Any]] = {
    "clocks that jump": {"clock": 1000.0},
    "umask 077": {"umask": 0o077},
    "umask 022": {"umask": 0o022},
    "no standard input": {"listens": False},
}


@pytest.mark.parametrize("kind", ["harmonic", "pspin", "tiny", "curve", "sweep"])
@pytest.mark.parametrize("name", ODD)
def test_odd_conditions_change_nothing(name: str, kind: str, record_property: Any) -> None:
    with Tally(f"{name}, {kind}", record_property) as tally:
        for trial in range(scaled(1)):
            folder, given = furnished(kind, "odd"), ODD[name]
            dies = chances(name, kind, trial).randrange(whole(kind).moments)
            for conditions in ({**given, "dies_at": dies}, given):
                if complete(folder):
                    # Clocks that jump make a run end after fewer moments.
                    break
                outcome = started(kind, folder, **conditions).wait()
                if outcome.code not in (0, -9) or (conditions is given and outcome.code != 0):
                    tally.fault(f"{conditions}: {outcome}")
            if not (folder / RESULT).exists():
                tally.fault("no result")
                continue
            tally["results"] += 1
            if found := differences(content(folder / RESULT), whole(kind).content):
                tally.fault(f"differs in {', '.join(found)}")
            mode = stat.S_IMODE((folder / RESULT).stat().st_mode)
            if "umask" in given and mode != 0o666 & ~given["umask"]:
                tally.fault(f"mode {mode:o}")
