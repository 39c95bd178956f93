"""Kill it, stop it, resume it: the result is bitwise that of an uninterrupted run."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from click.testing import CliRunner
from conftest import every_system, learns

from langevin.commands import cli
from langevin.config import registry, run_files, sections
from langevin.core.capabilities import Deterministic
from langevin.errors import Interrupted, StorageError, UserError
from langevin.files.paths import Paths
from langevin.machine.interruption import Request
from langevin.running.session import Session
from langevin.sweep import simulation

Maker = Callable[..., dict[str, Any]]

#: Wall time, in seconds, between two ticks of a process that is to be killed. A tenth of the usual, so that a
#: run which is over in a second is killed among many checkpoints. Where it is cut does not change the result.
STRETCH = 0.05
#: Long enough to be killed twice.
SECONDS = 1.0
#: Seconds, at least, that are measured to find out what a run takes.
PROBED = 0.2
#: `python -m langevin` in small stretches.
PROGRAM = (
    "from langevin.commands import cli; from langevin.machine import pace; "
    f"pace.STRETCH = {STRETCH}; cli.main()"
)

NETWORKS = [name for name in sorted(registry.names()) if learns(name)]

#: Systems differ in what they compute, not in how it comes to the disk, and every new process has to begin:
#: one is killed here, those without data, a network and a curve of networks in the slow tests; all are
#: stopped in this process, below.
KILLED = [
    pytest.param(name, marks=() if name == "harmonic" else pytest.mark.slow)
    for name in sorted(registry.names())
    if name in ("mlp", "network_curve") or name not in NETWORKS
]


def write_run_file(path: Path, given: dict[str, Any]) -> None:
    from langevin.config.keys import toml

    lines = [f"title = {toml(given['title'])}"]
    for section in filter(given.__contains__, sections.SECTIONS):
        lines += [f"[{section}]", *(f"{k} = {toml(v)}" for k, v in given[section].items())]
    path.write_text("\n".join(lines))


def lasting(name: str, small: Maker, folder: Path, response: bool = False) -> dict[str, Any]:
    """Settings of a run that lasts about `SECONDS` on this machine."""
    given = small(name, output__path=str(folder / "probe.nc"), record__response=response)
    # A checkpoint follows every stretch, and on some disks takes as long: few stops, and no more than these.
    given["record"] |= {"times": {"per_decade": 2}, "lags": {"per_decade": 2}}
    simulation.execute(run_files.load(given))  # compiles

    def wall(t_max: float) -> float:
        given["dynamics"]["t_max"] = t_max
        began = time.monotonic()
        simulation.execute(run_files.load(given), force=True)
        return time.monotonic() - began

    short, longer = given["dynamics"]["t_max"], 40 * given["dynamics"]["t_max"]
    start = wall(short)
    # The difference has to stand out from what a run takes to begin.
    while (spent := wall(longer) - start) < PROBED:
        longer *= 4
    # A unit of time may take longer than that, on a machine with other work.
    t_max = float(max(1, round((longer - short) * SECONDS / spent)))
    # A deterministic system's cost need not be linear in time.
    deterministic = issubclass(registry.load(name), Deterministic)
    given["dynamics"]["t_max"] = min(t_max, 300.0) if deterministic else t_max
    given["output"] = {"path": str(folder / "whole.nc"), "figure": False, "checkpoint_interval": 0.0}
    return given


def child(*arguments: str, cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments, "--quiet"], cwd=cwd)


def version(path: Path) -> int:
    """Return another number whenever the file was written anew, 0 as long as there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def wait_for(path: Path, process: subprocess.Popen[Any], times: int = 1) -> None:
    """Wait until the process has written the file so often, or is over."""
    for _ in range(times):
        before = version(path)
        while version(path) in (0, before) and process.poll() is None:
            time.sleep(0.005)


def reached(checkpoint: Path) -> float:
    """Return the time that a checkpoint has come to; 0 while its start is being made."""
    with xr.open_dataset(checkpoint) as found:
        _, begun, time_reached = str(found.attrs["status"]).partition("t = ")
    return float(time_reached) if begun else 0.0


def assert_same(left: Path, right: Path) -> None:
    with xr.open_dataset(left) as a, xr.open_dataset(right) as b:
        assert a.attrs["status"] == b.attrs["status"] == "complete"
        xr.testing.assert_identical(a.drop_attrs().load(), b.drop_attrs().load())


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_resumes_to_the_same_bits(name: str, small: Maker, tmp_path: Path) -> None:
    # With the response there is more to lose.
    given = lasting(name, small, tmp_path, response=name in ("harmonic", "pspin"))
    given["record"]["sketch"] = 16 if name == "harmonic" else 0
    simulation.execute(run_files.load(given))
    given["output"]["path"] = "killed.nc"
    write_run_file(tmp_path / "run.toml", given)
    paths, moments = Paths(tmp_path / "killed.nc"), random.Random(name)
    arguments, kills = ("run", "run.toml"), 0
    for _ in range(2):
        process = child(*arguments, cwd=tmp_path)
        # The first one, as it begins, says nothing of what it computes.
        wait_for(paths.checkpoint, process, 2)
        # A start that takes long is saved on the way, at t = 0.
        while process.poll() is None and reached(paths.checkpoint) == 0:
            wait_for(paths.checkpoint, process)
        time.sleep(moments.uniform(0.0, 0.25))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        if paths.result.exists():
            break
        assert reached(paths.checkpoint) > 0
        arguments = ("resume", "killed.nc")
    assert kills > 0
    if not paths.result.exists():
        assert child("resume", "killed.nc", cwd=tmp_path).wait() == 0
    assert_same(tmp_path / "whole.nc", paths.result)
    assert {p.name for p in tmp_path.iterdir()} == {"whole.nc", "probe.nc", "killed.nc", "run.toml"}


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_stopped_run_says_how_to_go_on(number: int, said: str, small: Maker, tmp_path: Path) -> None:
    given = lasting("harmonic", small, tmp_path)
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "stopped.nc")
    given["output"]["checkpoint_interval"] = 60.0
    write_run_file(tmp_path / "run.toml", given)
    command = [sys.executable, "-m", "langevin", "run", "run.toml", "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    paths = Paths(tmp_path / "stopped.nc")
    wait_for(paths.checkpoint, process)
    time.sleep(0.3)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number
    assert errors.count("\n") == 1
    assert f"stopped by {said}" in errors
    assert "langevin resume" in errors
    with xr.open_dataset(paths.checkpoint) as found:
        assert float(found.attrs["status"].rpartition("= ")[2]) > 0
    simulation.resume(paths.checkpoint).close()
    assert_same(tmp_path / "whole.nc", paths.result)


def interrupted(
    given: dict[str, Any] | Path, monkeypatch: pytest.MonkeyPatch, tick_number: int = 1, after: float = -1.0
) -> Paths:
    """Run in this process and stop at a tick, the second by default, or among those later than `after`."""
    ticks = itertools.count()
    plain = Session._tick

    def tick(session: Any, run: Any) -> None:
        if run.time > after and next(ticks) == tick_number:
            session.stop.note(Request("by the test", 130))
        plain(session, run)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Session, "_tick", tick)
        simulation.execute(run_files.load(given))
    return Paths(Path(run_files.load(given).output.path))


#: A smaller network stands for these in the default suite.
DEEP = ("resnet158",)


def some_systems() -> list[Any]:
    """Return all systems; deep networks in the slow tests alone."""
    known = every_system()
    return [pytest.param(*p.values, marks=pytest.mark.slow) if p.values[0] in DEEP else p for p in known]


@pytest.mark.parametrize("name", some_systems())
def test_a_stopped_run_resumes_to_the_same_bits(
    name: str, small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the second waiting time, and before the third."""
    given = small(name, output__path=str(tmp_path / "whole.nc"))
    if name in NETWORKS:
        given["dynamics"] |= {"momentum": 0.9, "t_max": 6, "batch_size": 4}
        given["record"] |= {"waiting_times": [0, 2, 5], "lags": [1, 3], "times": [1]}
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "stopped.nc")
    _, second, third = given["record"]["waiting_times"]
    paths = interrupted(given, monkeypatch, 0, after=second)
    with simulation.open(paths.checkpoint) as found:
        assert second < float(found.attrs["status"].rpartition("= ")[2]) < third
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)


@pytest.mark.parametrize("name", ["harmonic", "pspin"])
@pytest.mark.parametrize(
    ("tick", "scheme"), [(1, "euler_maruyama"), (7, "euler_maruyama"), (7, "leimkuhler_matthews")]
)
def test_the_response_resumes_to_the_same_bits(
    name: str, tick: int, scheme: str, small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between waiting times: what was summed before is in the state and in the references.

    So are the normals that a scheme holds from step to step.
    """
    given = small(name, record__response=True, output__path=str(tmp_path / "whole.nc"))
    given["dynamics"]["scheme"] = scheme
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "stopped.nc")
    paths = interrupted(given, monkeypatch, tick)
    with simulation.open(paths.checkpoint) as found:
        assert float(found.attrs["status"].rpartition("= ")[2]) > 0
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)


def test_an_unfinished_run_is_not_overwritten(
    small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = small("harmonic", output__path=str(tmp_path / "a.nc"))
    paths = interrupted(given, monkeypatch)
    with pytest.raises(UserError, match=r"unfinished run.*langevin\.resume"):
        simulation.execute(run_files.load(given))
    with pytest.raises(UserError, match=r"langevin\.resume"):
        simulation.open(paths.result)
    with simulation.open(paths.checkpoint) as found:
        assert found["energy"].notnull().any()
        assert found["energy"].isnull().any()
    simulation.execute(run_files.load(given), force=True)
    with pytest.raises(UserError, match=r"nothing to resume.*is complete"):
        simulation.resume(paths.result)


def test_resuming_keeps_the_origin_and_the_wish_for_no_figure(
    small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run_file(tmp_path / "run.toml", small("harmonic", output__path=str(tmp_path / "a.nc")))
    whole = run_files.load(tmp_path / "run.toml", {"output.path": str(tmp_path / "whole.nc")})
    paths = interrupted(tmp_path / "run.toml", monkeypatch)
    assert CliRunner().invoke(cli.main, ["resume", str(paths.result)]).exit_code == 0
    with simulation.open(paths.result) as found, simulation.open(simulation.execute(whole)) as expected:
        assert found.attrs["run_file"] == (tmp_path / "run.toml").read_text()
        for name in ("commit", "versions", "device", "title", "seed"):
            assert found.attrs[name] == expected.attrs[name]
        assert [line.split()[1].rstrip(":") for line in found.attrs["history"].splitlines()] == [
            "run",
            "resume",
        ]
    assert not paths.figure.exists()


def test_two_processes_do_not_share_a_result(
    small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = lasting("harmonic", small, tmp_path)
    given["output"]["path"] = "mine.nc"
    write_run_file(tmp_path / "run.toml", given)
    paths, process = Paths(tmp_path / "mine.nc"), child("run", "run.toml", cwd=tmp_path)
    wait_for(paths.checkpoint, process)
    # It holds the lock, however long the others take.
    process.send_signal(signal.SIGSTOP)
    for intruder in (["resume", "mine.nc"], ["run", "run.toml", "--force"]):
        done = CliRunner().invoke(cli.main, [*intruder, "--quiet"])
        assert done.exit_code == 2, done.output
        assert "another process is working" in str(done.exception) + done.output
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The lock went with its holder.
    assert CliRunner().invoke(cli.main, ["resume", "mine.nc", "--quiet"]).exit_code == 0
    assert {p.name for p in tmp_path.iterdir()} == {"mine.nc", "probe.nc", "run.toml"}


def test_damaged_checkpoints_are_refused(
    small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = interrupted(small("harmonic", output__path=str(tmp_path / "a.nc")), monkeypatch)
    whole, trajectory = paths.checkpoint.read_bytes(), paths.raw("configuration").read_bytes()
    paths.raw("configuration").unlink()
    with pytest.raises(StorageError, match="configurations"):
        simulation.resume(paths.result)
    paths.raw("configuration").write_bytes(trajectory)
    paths.checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match="not a checkpoint"):
        simulation.resume(paths.result)
    with pytest.raises(UserError, match="nothing to resume: there is no"):
        simulation.resume(tmp_path / "other.nc")


def test_a_full_disk_is_one_line_and_loses_nothing(small: Maker, tmp_path: Path) -> None:
    """A file-size limit stands in for a full disk: the same failing write."""
    given = small("harmonic", output__path="big.nc")
    write_run_file(tmp_path / "run.toml", given)
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); "
        "from langevin.commands.cli import main; "
        "sys.argv = ['langevin', 'run', 'run.toml', '--quiet']; main()"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.startswith("langevin: cannot write big.")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "big.nc").exists()
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []
    result = CliRunner().invoke(cli.main, ["resume", str(tmp_path / "big.nc"), "--quiet"])
    assert result.exit_code == 0, result.output


def test_a_run_can_be_watched(small: Maker, tmp_path: Path) -> None:
    """From its first stretch on, a checkpoint can be plotted by the command line."""
    given = lasting("harmonic", small, tmp_path)
    given["dynamics"]["t_max"] *= 10
    given["output"] = {"path": "live.nc", "figure": False, "checkpoint_interval": 60.0}
    write_run_file(tmp_path / "run.toml", given)
    process = child("run", "run.toml", cwd=tmp_path)
    paths = Paths(tmp_path / "live.nc")
    # One as it begins, the next after its first stretch, and then none for a minute.
    wait_for(paths.checkpoint, process, 2)
    assert process.poll() is None
    with xr.open_dataset(paths.checkpoint) as found:
        assert float(found.attrs["status"].rpartition("= ")[2]) > 0
    for command in ("plot", "info"):
        done = CliRunner().invoke(cli.main, [command, str(paths.checkpoint)])
        assert done.exit_code == 0, done.output
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
