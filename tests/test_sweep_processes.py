"""Sweeps in processes: who dies, who goes on, and what is left of it all."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from idle_tasks import idle
from test_restart import wait_for, write_run_file
from test_sweep import harmonic

import langevin
from langevin.errors import Interrupted, UserError
from langevin.files.paths import Paths
from langevin.machine import cards
from langevin.machine.duration import spoken
from langevin.sweep import progress as sweep_progress
from langevin.sweep.executors import chosen
from langevin.sweep.executors import processes as executor
from langevin.sweep.executors.base import Outcome
from langevin.sweep.executors.processes import LocalProcesses, shares
from langevin.sweep.progress import SweepProgress
from langevin.systems.networks import devices

#: Seconds after which something that should happen at once has not happened.
PATIENCE = 30.0


def jobs(folder: Path, *does: str) -> list[dict[str, str]]:
    return [{"note": str(folder / f"note{k}"), "does": what} for k, what in enumerate(does)]


def outcomes(folder: Path, threads: int, *does: str) -> dict[int, Outcome]:
    heard: dict[int, float] = {}
    found = LocalProcesses(threads).map(idle, jobs(folder, *does), heard.__setitem__, lambda: False)
    ends = dict(found)
    assert heard == dict.fromkeys(range(len(does)), 0.5)
    return ends


def notes(folder: Path) -> list[tuple[int, int]]:
    """Return process and threads of each job."""
    texts = (path.read_text().split() for path in sorted(folder.glob("note*")))
    return [(int(process), int(threads)) for process, threads in texts]


@pytest.mark.parametrize(
    ("threads", "count", "expected"),
    [(1, 5, [1]), (2, 5, [1, 1]), (4, 3, [2, 1, 1]), (8, 3, [3, 3, 2]), (2, 1, [2]), (2, 0, [])],
)
def test_shares(threads: int, count: int, expected: list[int]) -> None:
    assert shares(threads, count) == expected


def test_a_process_serves_many_jobs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ends = outcomes(tmp_path, 1, "well", "fails", "well")
    assert ends == {0: Outcome("done"), 1: Outcome("failed", "system.n = 3: allowed: 2"), 2: Outcome("done")}
    found = notes(tmp_path)
    assert len(set(found)) == 1
    assert found[0][0] != os.getpid()
    assert capfd.readouterr().err == "hello\n" * 3


def test_processes_take_the_gpus_in_turn(tmp_path: Path) -> None:
    """Of two GPUs; one that dies is followed by one of its number."""
    outcomes(tmp_path, 3, *["takes a card"] * 3)
    assert sorted(card for card, _ in notes(tmp_path)) == [0, 0, 1]
    outcomes(tmp_path, 1, "dies", "takes a card")
    assert notes(tmp_path)[1][0] == 0
    assert cards.mine(2) is None


def test_a_network_lies_on_the_gpu_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as it can be told without one: which device it is brought to, and which is torch's own."""
    current: list[torch.device] = []
    for name, said in (("is_available", True), ("device_count", 2), ("_is_in_bad_fork", False)):
        monkeypatch.setattr(torch.cuda, name, lambda said=said: said)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    assert [str(devices.prepare(name, False)) for name in ("auto", "cuda", "cuda:1")] == [
        "cuda",
        "cuda",
        "cuda:1",
    ]
    assert current == []
    monkeypatch.setattr(cards, "_number", 3)
    assert [str(devices.prepare(name, False)) for name in ("auto", "cuda", "cuda:0", "cpu")] == [
        "cuda:1",
        "cuda:1",
        "cuda:0",
        "cpu",
    ]
    assert [device.index for device in current] == [1, 1, 0]
    monkeypatch.setenv(devices.VARIABLE, "cpu")
    assert [str(devices.prepare(name, False)) for name in ("auto", "cuda")] == ["cpu", "cuda:1"]
    monkeypatch.setenv(devices.VARIABLE, "gpu")
    with pytest.raises(
        UserError, match=r"dynamics.device = 'auto' \(LANGEVIN_DEVICE=gpu\): allowed: \"auto\""
    ):
        devices.prepare("auto", False)


def test_a_process_that_dies_takes_one_job_with_it(tmp_path: Path) -> None:
    ends = outcomes(tmp_path, 2, "dies", "stumbles", "well", "well")
    assert ends == {
        0: Outcome("failed", "its process ended (killed by SIGKILL)"),
        1: Outcome("failed", "unexpected ValueError: the test wants it so"),
        2: Outcome("done"),
        3: Outcome("done"),
    }


def test_processes_are_asked_to_stop(tmp_path: Path) -> None:
    began = time.monotonic()
    started = [Path(job["note"]) for job in jobs(tmp_path, "lasts", "lasts")]
    found = LocalProcesses(2).map(
        idle,
        jobs(tmp_path, "lasts", "lasts", "well"),
        lambda index, part: None,
        lambda: all(path.exists() for path in started),
    )
    # The third has not begun.
    assert dict(found) == {0: Outcome("stopped"), 1: Outcome("stopped")}
    assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("does", ["is signalled", "is interrupted"])
def test_a_process_that_is_stopped_leaves_its_job_to_another(does: str, tmp_path: Path) -> None:
    """By a signal of its own: before its run listens, or when it does."""
    found: list[int] = []

    def report(index: int, part: float) -> None:
        found.append(int((tmp_path / "note0").read_text().split()[0]))

    ends = LocalProcesses(1).map(idle, jobs(tmp_path, does, "well"), report, lambda: False)
    assert dict(ends) == {0: Outcome("done"), 1: Outcome("done")}
    assert len(set(found)) == 2


def test_a_job_is_not_tried_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "TRIES", 1)
    ends = LocalProcesses(1).map(
        idle, jobs(tmp_path, "is signalled always"), lambda index, part: None, lambda: False
    )
    assert dict(ends) == {0: Outcome("failed", "its process was stopped by SIGTERM, 2 times")}


def test_a_job_that_runs_out_of_time_is_not_tried_again(tmp_path: Path) -> None:
    ends = LocalProcesses(1).map(
        idle, jobs(tmp_path, "runs out of time"), lambda index, part: None, lambda: False
    )
    assert dict(ends) == {0: Outcome("stopped", "at the wall time (0.001 s)")}


@pytest.mark.parametrize(("does", "frozen"), [("lasts", True), ("is deaf", False), ("is deaf", True)])
def test_processes_that_do_not_hear_end(
    does: str, frozen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stands still goes on, to stop; one that does not stop is killed after some time."""
    monkeypatch.setattr(executor, "GRACE", 60.0 if does == "lasts" else 0.5)
    asked: list[int] = []

    def report(index: int, part: float) -> None:
        process = int((tmp_path / "note0").read_text().split()[0])
        if frozen:
            os.kill(process, signal.SIGSTOP)
        asked.append(process)

    ends = LocalProcesses(1).map(idle, jobs(tmp_path, does), report, lambda: bool(asked))
    assert dict(ends) == {0: Outcome("stopped")}
    assert not alive(asked[0])


def test_ctrl_c_is_for_the_parent(tmp_path: Path) -> None:
    """A terminal sends it to all; what to do about it says the one that started them."""

    def report(index: int, part: float) -> None:
        os.kill(notes(tmp_path)[0][0], signal.SIGINT)

    found = LocalProcesses(1).map(idle, jobs(tmp_path, "naps"), report, lambda: False)
    assert dict(found) == {0: Outcome("done")}


def test_processes_hold_the_lock(tmp_path: Path) -> None:
    """Should this process die, nobody else may begin before the last of them has noticed."""
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    other = os.open(tmp_path / "lock", os.O_RDWR)

    def report(index: int, part: float) -> None:
        os.close(lock)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    found = chosen(None, 1, lock).map(idle, jobs(tmp_path, "well"), report, lambda: False)
    assert dict(found) == {0: Outcome("done")}
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def alive(process: int) -> bool:
    try:
        # A zombie is dead, though its parent has not asked yet.
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc who is alive")
def test_nothing_outlives_its_parent(tmp_path: Path) -> None:
    program = (
        "import idle_tasks, sys; from langevin.sweep.executors.processes import LocalProcesses\n"
        "jobs = [{'note': f'note{k}', 'does': 'lasts'} for k in range(2)]\n"
        "list(LocalProcesses(2).map(idle_tasks.idle, jobs, lambda i, p: print(i, flush=True), lambda: False))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    assert sorted(parent.stdout.readline() for _ in range(2)) == [b"0\n", b"1\n"]
    children = [process for process, _ in notes(tmp_path)]
    assert all(map(alive, children))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + PATIENCE
    while any(map(alive, children)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(alive, children))


def lasting(path: str) -> dict[str, Any]:
    """A sweep that takes some seconds: three members of about one each."""
    return harmonic(
        system={"n": 1000},
        dynamics={"dt": 0.01, "t_max": 120.0},
        record={"configurations": "never"},
        output={"path": path, "checkpoint_interval": 0.0},
        sweep={"dynamics.temperature": [0.5, 1.0, 2.0]},
    )


def write_sweep(path: Path, given: dict[str, Any]) -> None:
    write_run_file(path, given)
    lines = [f'"{key}" = {values}' for key, values in given["sweep"].items()]
    path.write_text("\n".join([path.read_text(), "[sweep]", *lines, ""]))


def child(*arguments: str, cwd: Path, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "langevin", *arguments, "--quiet", "--threads", "2"]
    return subprocess.Popen(command, cwd=cwd, text=True, start_new_session=True, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep without an interruption, on one processor."""
    path = tmp_path_factory.mktemp("whole") / "whole.nc"
    langevin.run(lasting(str(path)), threads=1).close()
    return path


def assert_same(left: Path, right: Path) -> None:
    with xr.open_dataset(left) as a, xr.open_dataset(right) as b:
        assert a.attrs["status"] == b.attrs["status"] == "complete"
        clean = [d.drop_vars("wall_time_seconds").drop_attrs().load() for d in (a, b)]
        xr.testing.assert_identical(*clean)


def test_a_killed_sweep_resumes_to_the_same_bits(whole: Path, tmp_path: Path) -> None:
    """Killed with all its processes, then alone, then left to end: on two processors, not on one."""
    write_sweep(tmp_path / "run.toml", lasting("killed.nc"))
    paths = Paths(tmp_path / "killed.nc")
    process = child("run", "run.toml", cwd=tmp_path)
    wait_for(paths.sweep / "member-0001.checkpoint.nc", process)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not paths.result.exists()
    process = child("resume", "killed.nc", cwd=tmp_path)
    wait_for(paths.sweep / "member-0002.checkpoint.nc", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What is left of it holds the lock until it has noticed.
    until = time.monotonic() + PATIENCE
    while (process := child("resume", "killed.nc", cwd=tmp_path, stderr=subprocess.PIPE)).wait() == 2:
        assert "another process is working" in process.communicate()[1]
        assert time.monotonic() < until
    assert process.returncode == 0, process.communicate()
    assert_same(whole, paths.result)
    assert {p.name for p in tmp_path.iterdir()} == {"killed.nc", "run.toml"}


def test_ctrl_c(whole: Path, tmp_path: Path) -> None:
    given = lasting("stopped.nc")
    given["output"]["checkpoint_interval"] = 60.0
    write_sweep(tmp_path / "run.toml", given)
    paths = Paths(tmp_path / "stopped.nc")
    process = child("run", "run.toml", cwd=tmp_path, stderr=subprocess.PIPE)
    wait_for(paths.sweep / "member-0001.checkpoint.nc", process)
    time.sleep(0.4)
    # As a terminal does it: every process hears it.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == Interrupted.exit_code == 130
    assert errors.count("\n") == 1, errors
    assert "stopped by Ctrl-C with " in errors
    assert "of 3 members done; continue with `langevin resume stopped.nc`" in errors
    for checkpoint in paths.sweep.glob("*.checkpoint.nc"):
        with xr.open_dataset(checkpoint) as found:
            assert float(found.attrs["status"].rpartition("= ")[2]) > 0
    assert child("resume", "stopped.nc", cwd=tmp_path).wait() == 0
    assert_same(whole, paths.result)


def test_the_bar_counts_parts_of_members(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    bar = SweepProgress(4, 1, "sweep", None, False)
    bar.part(1, 0.5)
    bar.part(2, 0.25)
    assert bar.position == 1.75
    bar.end(1)
    assert bar.position == 2.25
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_moves_inside_of_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    bar = SweepProgress(4, 1, "sweep", None, True)
    bar.part(1, 0.5)
    bar.close()
    last = terminal.getvalue().rpartition("\r")[2]
    assert last.startswith("sweep  38%|")
    # Of so short a time no forecast is made.
    assert last.endswith(", 1 of 4 members]\n")


def test_a_long_sweep_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    now = [0.0]
    monkeypatch.setattr(sweep_progress.time, "monotonic", lambda: now[0])
    bar = SweepProgress(10, 0, "sweep", Path("a.nc"), True)
    for second in range(8):
        now[0] += 1.0
        bar.part(0, 1e-4 * second)
    # 10⁻⁴ of a member in a second.
    said = [line for line in capsys.readouterr().err.splitlines() if "to go" in line]
    assert said == [
        f"about {spoken(1e5)} to go for 10 members; Ctrl-C stops it, `langevin.resume('a.nc')` goes on"
    ]


def members_of(process: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(p) for p in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks /proc who belongs to whom")
def test_a_member_that_is_stopped_goes_on_in_another_process(whole: Path, tmp_path: Path) -> None:
    write_sweep(tmp_path / "run.toml", lasting("a.nc"))
    process = child("run", "run.toml", cwd=tmp_path, stderr=subprocess.PIPE)
    wait_for(Paths(tmp_path / "a.nc").sweep / "member-0001.checkpoint.nc", process, 2)
    workers = members_of(process.pid)
    os.kill(workers[0], signal.SIGTERM)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert_same(whole, tmp_path / "a.nc")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks /proc who belongs to whom")
def test_a_signal_to_all_stops_the_sweep(whole: Path, tmp_path: Path) -> None:
    """As a queue sends it; one of the processes stands still."""
    write_sweep(tmp_path / "run.toml", lasting("a.nc"))
    process = child("run", "run.toml", cwd=tmp_path, stderr=subprocess.PIPE)
    wait_for(Paths(tmp_path / "a.nc").sweep / "member-0001.checkpoint.nc", process, 2)
    os.kill(members_of(process.pid)[0], signal.SIGSTOP)
    os.killpg(process.pid, signal.SIGUSR1)
    _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGUSR1
    assert errors.startswith("langevin: stopped by SIGUSR1 with ") and errors.count("\n") == 1, errors
    assert errors.endswith("of 3 members done; continue with `langevin resume a.nc`\n")
    assert child("run", "run.toml", "--resume", cwd=tmp_path).wait() == 0
    assert_same(whole, tmp_path / "a.nc")


@pytest.mark.slow
def test_the_wall_time_ends_a_sweep(whole: Path, tmp_path: Path) -> None:
    write_sweep(tmp_path / "run.toml", lasting("a.nc"))
    codes, wall = [], 1.0
    while not codes or codes[-1] == 124:
        process = child(
            "run", "run.toml", "--resume", "--wall-time", f"{wall}s", cwd=tmp_path, stderr=subprocess.PIPE
        )
        _, errors = process.communicate()
        codes.append(process.returncode)
        if codes[-1]:
            assert (
                errors.startswith(f"langevin: stopped at the wall time ({wall}s) ")
                and errors.count("\n") == 1
            )
        wall *= 4
    assert len(codes) > 1 and codes[-1] == 0
    assert_same(whole, tmp_path / "a.nc")
