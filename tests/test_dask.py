"""Members in workers of Dask: the same bits, whoever dies meanwhile, and one clear line of what cannot be."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import xarray as xr
from idle_tasks import idle
from test_restart import wait_for
from test_sweep import harmonic
from test_sweep_processes import PATIENCE, assert_same, jobs, lasting, notes, write_sweep

import langevin
from langevin.errors import Interrupted, UserError
from langevin.files.paths import Paths
from langevin.machine import notices
from langevin.sweep.executors.base import Abandoned, Outcome, Unfit
from langevin.sweep.executors.cluster import clusters, keys, relay
from langevin.sweep.executors.cluster import executor as dask_executor
from langevin.sweep.executors.cluster.executor import DaskExecutor

pytest.importorskip("distributed", reason="the extra [cluster] is not installed")

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No scheduler and no configuration of whoever runs the tests."""
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    monkeypatch.setenv(keys.VARIABLE, str(tmp_path / "none.toml"))


def placed(folder: Path, *does: str) -> list[dict[str, str]]:
    return [{**job, "result": str(folder / f"job{k}.nc")} for k, job in enumerate(jobs(folder, *does))]


def outcomes(executor: DaskExecutor, folder: Path, *does: str) -> dict[int, Outcome]:
    return dict(executor.map(idle, placed(folder, *does), lambda index, part: None, lambda: False))


def run(*arguments: str, cwd: Path, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "langevin", *arguments, "--quiet", "--threads", "2"]
    more = {"stderr": subprocess.PIPE, **more}
    return subprocess.Popen(command, cwd=cwd, text=True, start_new_session=True, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep in processes of this machine, without an interruption."""
    path = tmp_path_factory.mktemp("whole") / "whole.nc"
    langevin.run(lasting(str(path)), threads=2).close()
    return path


def command_of(process: psutil.Process) -> str:
    """Return the command line of a process; nothing of one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def workers_of(process: int) -> list[psutil.Process]:
    """Return the workers of Dask below a process, without the processes of members."""
    below = psutil.Process(process).children(recursive=True)
    return [p for p in below if "distributed.cli.dask_worker" in command_of(p)]


def members_below(process: int) -> list[psutil.Process]:
    below = psutil.Process(process).children(recursive=True)
    return [p for p in below if "langevin.sweep.worker" in command_of(p)]


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


# In this machine's own workers.


def test_what_becomes_of_jobs(tmp_path: Path) -> None:
    """One after the other in one worker: the process of the first serves those after it, until one dies."""
    does = ["well", "fails", "well", "is signalled", "stumbles", "dies"]
    executor = DaskExecutor(1)
    executor.retries = 1
    ends = outcomes(executor, tmp_path, *does)
    assert ends == {
        0: Outcome("done"),
        1: Outcome("failed", "system.n = 3: allowed: 2"),
        2: Outcome("done"),
        3: Outcome("done"),
        4: Outcome("failed", "unexpected ValueError: the test wants it so"),
        5: Outcome("failed", "its process ended (killed by SIGKILL), 2 times without coming further"),
    }
    found = notes(tmp_path)
    assert found[0] == found[1] == found[2]
    assert os.getpid() not in {process for process, _ in found}
    # Nothing is left beside what jobs write.
    assert {p.name for p in tmp_path.iterdir()} == {f"note{k}" for k in range(len(does))}


def test_processors_and_gpus_are_shared(tmp_path: Path) -> None:
    ends = outcomes(DaskExecutor(5), tmp_path, "takes a card", "takes a card")
    assert set(ends.values()) == {Outcome("done")}
    assert sorted(notes(tmp_path)) == [(0, 3), (1, 2)]


def test_a_sweep_has_the_bits_of_local_processes(whole: Path, tmp_path: Path) -> None:
    """A worker is killed in the middle of a member, and one of the members' processes."""
    write_sweep(tmp_path / "run.toml", lasting("dask.nc"))
    process = run("run", "run.toml", "--executor", "dask", cwd=tmp_path)
    wait_for(Paths(tmp_path / "dask.nc").sweep / "member-0001.checkpoint.nc", process)
    time.sleep(0.3)
    workers_of(process.pid)[0].send_signal(signal.SIGKILL)
    time.sleep(0.3)
    members_below(process.pid)[0].send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert_same(whole, tmp_path / "dask.nc")
    assert {p.name for p in tmp_path.iterdir()} == {"dask.nc", "run.toml"}


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_to_all_leaves_checkpoints(number: int, whole: Path, tmp_path: Path) -> None:
    given = lasting("stopped.nc")
    given["output"]["checkpoint_interval"] = 60.0
    write_sweep(tmp_path / "run.toml", given)
    paths = Paths(tmp_path / "stopped.nc")
    process = run("run", "run.toml", "--executor", "dask", cwd=tmp_path)
    wait_for(paths.sweep / "member-0001.checkpoint.nc", process)
    time.sleep(0.4)
    below = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number)
    # The signal of a queue reaches workers, too; that of a terminal does not.
    for one in below if number == signal.SIGTERM else ():
        with suppress(psutil.NoSuchProcess):
            one.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number
    assert errors.count("\n") == 1, errors
    assert "of 3 members done; continue with `langevin resume stopped.nc`" in errors
    psutil.wait_procs(below, PATIENCE)
    assert not any(p.is_running() for p in below)
    for checkpoint in paths.sweep.glob("*.checkpoint.nc"):
        with xr.open_dataset(checkpoint) as left:
            assert float(left.attrs["status"].rpartition("= ")[2]) > 0
    assert run("resume", "stopped.nc", cwd=tmp_path).wait() == 0
    assert_same(whole, paths.result)


def test_an_early_signal_of_the_terminal_is_answered_by_one_line(tmp_path: Path) -> None:
    """While workers import what they need they have no other answer to Ctrl-C than a traceback."""
    write_sweep(tmp_path / "run.toml", lasting("early.nc"))
    process = run("run", "run.toml", "--executor", "dask", cwd=tmp_path)
    wait_until(lambda: bool(workers_of(process.pid)))
    below = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors.count("\n")) == (130, 1), errors
    psutil.wait_procs(below, PATIENCE)
    assert not any(p.is_running() for p in below)


_ASKED = """
import signal, threading
from langevin.sweep.executors.cluster import keys
known = []
def ask():
    known.extend(keys.queue_keys("slurm"))
{where}
assert "queue" in known
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert signal.signal(signal.SIGTERM, signal.SIG_IGN) == signal.SIG_DFL == 0
assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
print("asked")
"""


@pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="the extra [cluster] is not installed")
@pytest.mark.parametrize("where", ["ask()", "t = threading.Thread(target=ask); t.start(); t.join()"])
def test_queues_are_known_without_another_ctrl_c(where: str) -> None:
    """The import of dask-jobqueue has Ctrl-C leave by SystemExit, and fails in a thread.

    Who is the first to ask for a queue's keys imports it, here in a process of its own.
    """
    command = [sys.executable, "-c", _ASKED.format(where=where)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "asked\n"), done.stderr


def test_a_killed_client_leaves_nobody_behind_and_loses_nothing(whole: Path, tmp_path: Path) -> None:
    given = lasting("killed.nc")
    given["output"]["checkpoint_interval"] = 60.0
    write_sweep(tmp_path / "run.toml", given)
    paths = Paths(tmp_path / "killed.nc")
    process = run("run", "run.toml", "--executor", "dask", cwd=tmp_path)
    wait_for(paths.sweep / "member-0001.checkpoint.nc", process)
    time.sleep(0.4)
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    # At once: a process that still writes its checkpoint has the claim.
    again = run("resume", "killed.nc", "--executor", "dask", cwd=tmp_path)
    _, errors = again.communicate()
    assert (again.returncode, errors) == (0, "")
    assert_same(whole, paths.result)
    psutil.wait_procs(below, PATIENCE)
    assert not any(p.is_running() for p in below)


def test_members_that_fail_take_none_with_them(tmp_path: Path) -> None:
    """A disk that is full, as a limit on files has it: for members that are larger."""
    given = harmonic(
        record={"configurations": "always"}, output={"path": "a.nc"}, sweep={"system.n": [20, 20_000]}
    )
    write_sweep(tmp_path / "run.toml", given)
    full = (1_000_000, 1_000_000)
    process = run(
        "run",
        *("run.toml", "--executor", "dask"),
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, full),
    )
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "1 of 2 members failed: system.n = 20000: cannot write " in errors
    assert errors.count("\n") == 1
    # There is room again.
    process = run("resume", "a.nc", cwd=tmp_path)
    assert (process.communicate()[1], process.returncode) == ("", 0)
    with xr.open_dataset(tmp_path / "a.nc") as dataset:
        assert dataset.attrs["status"] == "complete"


# With a scheduler that runs already.


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler in a process of its own; yields its address, too."""
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--scheduler-file", str(file)], stderr=subprocess.DEVNULL
    )
    wait_until(lambda: file.exists() and file.read_text().rstrip().endswith("}"))
    import json

    try:
        yield json.loads(file.read_text())["address"], process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """A function that starts a worker of a scheduler."""
    started: list[subprocess.Popen[bytes]] = []

    def start(address: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
        started.append(
            subprocess.Popen(
                [*command, "--no-dashboard", "--memory-limit", "0"],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(HERE), **environment},
                stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait()


def test_the_workers_of_a_scheduler_that_runs(
    scheduler: Any, worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = scheduler
    worker(address)
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    folder = tmp_path / "jobs"
    folder.mkdir()
    ends = outcomes(DaskExecutor(), folder, "well", "fails", "well")
    assert [ends[k].kind for k in range(3)] == ["done", "failed", "done"]
    # A worker whose folder of that name is another one, as on a host of its own.
    monkeypatch.setattr(dask_executor, "_visible", lambda jobs: _elsewhere(folder))
    monkeypatch.setattr(relay, "VISIBLE", 0.1)
    with pytest.raises(Unfit, match=r"^the worker tcp://\S+ on \S+ does not see .*: all workers need"):
        outcomes(DaskExecutor(scheduler=address), folder, "well")
    # Nothing of the sweep is left with the scheduler.
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        wait_until(lambda: not client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)))


def _elsewhere(folder: Path) -> Any:
    from contextlib import nullcontext

    return nullcontext((str(folder / ".seen-not"), "not"))


def test_a_scheduler_that_is_killed(scheduler: Any, worker: Any, whole: Path, tmp_path: Path) -> None:
    """Its workers write checkpoints and leave; the command says how to go on."""
    address, process = scheduler
    workers = [worker(address) for _ in range(2)]
    given = lasting("lost.nc")
    given["output"]["checkpoint_interval"] = 60.0
    write_sweep(tmp_path / "run.toml", given)
    paths = Paths(tmp_path / "lost.nc")
    sweep = run("run", "run.toml", "--scheduler", address, cwd=tmp_path)
    wait_for(paths.sweep / "member-0001.checkpoint.nc", sweep)
    time.sleep(0.4)
    process.kill()
    _, errors = sweep.communicate()
    assert sweep.returncode == 1
    assert errors.count("\n") == 1, errors
    assert errors.startswith(f"langevin: the scheduler {address} is gone; ")
    assert errors.endswith("; continue with `langevin resume lost.nc`\n")
    for one in workers:
        one.wait(PATIENCE)
    assert any(
        float(xr.open_dataset(path).attrs["status"].rpartition("= ")[2]) > 0
        for path in paths.sweep.glob("*.checkpoint.nc")
    )
    assert run("resume", "lost.nc", cwd=tmp_path).wait() == 0
    assert_same(whole, paths.result)


def test_a_client_that_is_killed_stops_its_members(scheduler: Any, worker: Any, tmp_path: Path) -> None:
    address, _ = scheduler
    one = worker(address)
    given = lasting("gone.nc")
    given["dynamics"]["t_max"] = 1e5
    write_sweep(tmp_path / "run.toml", given)
    paths = Paths(tmp_path / "gone.nc")
    sweep = run("run", "run.toml", "--scheduler", address, cwd=tmp_path)
    wait_for(paths.sweep / "member-0000.checkpoint.nc", sweep)
    assert members_below(one.pid)
    sweep.kill()
    sweep.wait()
    wait_until(lambda: not members_below(one.pid) or not any(paths.sweep.glob("*.claim")))
    assert one.poll() is None


def test_a_scheduler_without_workers_is_said(
    scheduler: Any,
    worker: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, _ = scheduler
    monkeypatch.setattr(clusters, "WAITED", 1.0)
    monkeypatch.setattr(notices, "_said", set())

    def started(key: str, text: str) -> None:
        once(key, text)
        if len(begun) == 0:
            begun.append(worker(address))

    begun: list[Any] = []
    once = notices.once
    monkeypatch.setattr(notices, "once", started)
    assert outcomes(DaskExecutor(scheduler=address), tmp_path, "well")[0].kind == "done"
    said = f"langevin: the scheduler {address} has no workers; `dask worker {address}` starts one\n"
    assert capsys.readouterr().err == said


def test_a_worker_that_stands_still_is_not_waited_for(
    scheduler: Any, worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither at the start nor when all are to stop."""
    address, _ = scheduler
    worker(address)
    monkeypatch.setattr(clusters, "ANSWER", 2.0)
    monkeypatch.setattr(dask_executor, "GRACE", 2.0)
    below: list[psutil.Process] = []

    def stopped() -> bool:
        if note.exists() and not below:
            below.extend(psutil.Process().children(recursive=True))
            for process in below:
                if "spawn_main" in command_of(process):
                    process.suspend()
        return bool(below)

    executor = DaskExecutor(scheduler=address)
    given = placed(tmp_path, "lasts")
    note = Path(given[0]["note"])
    try:
        assert list(executor.map(idle, given, lambda index, part: None, stopped)) == []
        executor.check()
    finally:
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def test_workers_without_langevin_or_with_another(scheduler: Any, worker: Any, tmp_path: Path) -> None:
    address, _ = scheduler
    other = tmp_path / "other" / "langevin"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text('raise ImportError("No module")\n')
    worker(address, PYTHONPATH=str(other.parent))
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=PATIENCE)
    with pytest.raises(UserError, match=r"has no langevin that carries out jobs \(No module"):
        DaskExecutor(scheduler=address).check()
    # One that comes later says it when it gets its first job.
    with pytest.raises(Unfit, match="has no langevin that carries out jobs"):
        outcomes(DaskExecutor(scheduler=address), tmp_path, "well")
    assert relay.difference("0.0.1", "") == f"langevin {langevin.__version__}, the sweep 0.0.1"
    assert str(relay.difference(langevin.__version__, "")).startswith("other sources of langevin ")
    assert relay.difference(langevin.__version__, relay.own_sources()) is None


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scheduler", "nowhere"], "scheduler = 'nowhere': no address (missing port number"),
        (
            ["--scheduler", "http://a:1"],
            "scheduler = 'http://a:1': no address (unknown address scheme",
        ),
        (["--scheduler", "tcp://127.0.0.1:1"], "no scheduler of Dask answers there"),
        (["--scheduler", "tcp://a:1", "--cluster", "c.toml"], "give one"),
        (["--scheduler", "tcp://a:1", "--executor", "processes"], "allowed with --scheduler: dask"),
        (["--cluster", "gone.toml"], "gone.toml: cannot read"),
        (["--cluster", "run.toml"], "run.toml: no table [cluster] in it"),
        (["--executor", "dusk"], "executor = 'dusk': no such executor; allowed: dask, in_process, processes"),
    ],
)
def test_what_is_refused(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from langevin.commands import cli
    from langevin.sweep.executors.cluster import clusters

    monkeypatch.setattr(clusters, "ANSWER", 1.0)
    monkeypatch.chdir(tmp_path)
    write_sweep(tmp_path / "run.toml", lasting("a.nc"))
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "run.toml", *arguments])
    errors = capsys.readouterr().err
    assert end.value.code == 2
    assert said in errors and errors.count("\n") == 1, errors
    assert {p.name for p in tmp_path.iterdir()} == {"run.toml"}


SLURM = '[cluster]\nqueue_system = "slurm"\ncores = 4\nmemory = "8GB"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[cluster]\ncores = 4\nmemory = "8GB"\n',
            "cluster.queue_system: missing; needed: ",
        ),
        ('[cluster]\nqueue_system = "slum"\n', 'cluster.queue_system = "slum": allowed: one of "slurm", '),
        (SLURM + "partition = 3\n", "cluster.partition: unknown key; nearest: cluster."),
        (SLURM + 'job_extra = ["-C a"]\n', "cluster.job_extra: unknown key; nearest: "),
        (SLURM + "maximum_jobs = 0\n", "cluster.maximum_jobs = 0: allowed: integer"),
        (
            SLURM + "threads_per_member = 8\n",
            "cluster.cores = 4: allowed: an integer ≥ threads_per_m",
        ),
        (SLURM + 'walltime = "tomorrow"\n', "cluster.walltime = 'tomorrow': allowed: seconds, such as 3600"),
        ('[cluster]\nqueue_system = "pbs"\nmemory = "1GB"\n', "cluster.cores: missing; needed: of one job"),
        (SLURM + "\n[system]\n", "system: allowed: [cluster] alone"),
        ("cluster = 3\n", "cluster = 3: must be a table, [cluster]"),
    ],
)
def test_faults_of_a_cluster(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        keys.read(path)
    assert said in str(error.value)


def test_a_queue_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "cluster.toml").write_text(SLURM)
    executor = DaskExecutor(cluster=keys.read(tmp_path / "cluster.toml"))
    with pytest.raises(UserError, match='queue_system = "slurm": there is no sbatch on this machine'):
        executor.check()


def test_a_queue_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses = tmp_path / "sbatch"
    refuses.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: long' >&2\nexit 1\n")
    refuses.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "cluster.toml").write_text(SLURM)
    executor = DaskExecutor(cluster=keys.read(tmp_path / "cluster.toml"))
    executor.check()
    with pytest.raises(Abandoned, match=r"the queue refuses jobs: sbatch: error: invalid partition .*: long"):
        outcomes(executor, tmp_path, "well")


def test_the_configuration_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    path.write_text(SLURM + 'walltime = "01:00:00"\nthreads_per_member = 2\nretries = 5\n')
    monkeypatch.setenv(keys.VARIABLE, str(path))
    cluster = DaskExecutor().cluster
    assert cluster is not None
    assert (cluster.capacity, cluster.retries, cluster.walltime) == (20, 5, 3600.0)
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://host:1")
    assert (DaskExecutor().scheduler, DaskExecutor().cluster) == ("tcp://host:1", None)


def test_jobs_leave_before_their_walltime() -> None:
    assert clusters._lifetime(None) == []
    for walltime in (60.0, 120.0, 3600.0, 86400.0):
        _, life, _, stagger = clusters._lifetime(walltime)
        latest = float(life[:-1]) + float(stagger[:-1])
        # What is left for the last checkpoint: ten seconds of two minutes, 150 of hours.
        assert min(10.0, walltime / 8) <= walltime - latest <= 150.0


def test_a_job_that_comes_further_is_not_given_up(tmp_path: Path) -> None:
    """Lost ten times, each time a tenth further, and then always at one place."""
    carrier = object.__new__(dask_executor._Carrier)
    from collections import Counter

    carrier.parts, carrier.reached, carrier.losses, carrier.retries = {}, {}, Counter(), 3
    for k in range(1, 11):
        carrier.parts[0] = k / 10
        assert not carrier._is_lost(0)
    assert [carrier._is_lost(0) for _ in range(3)] == [False, False, True]


def test_a_sweep_without_members_left_asks_nobody(tmp_path: Path) -> None:
    assert outcomes(DaskExecutor(), tmp_path) == {}
    assert Interrupted.exit_code == 130
