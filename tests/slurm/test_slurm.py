"""Runs in jobs of a real Slurm: stopped, requeued, preempted, killed; to the bits of the laptop.

    pytest -m slow tests/slurm

Slurm is Debian's, started by `cluster.py`. Runs sleep in the queue (`slow_harmonic`), and take a second here.
"""

from __future__ import annotations

import getpass
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import xarray as xr
from cluster import DAEMONS, MARK, NoSlurm, call, cluster, missing
from same_bits import differences
from slow_harmonic import SLEEP

pytestmark = pytest.mark.slow

RUN_FILE = """\
title = "A run in a queue"

[system]
name = "slow_harmonic:SlowHarmonic"
n = 20

[dynamics]
temperature = 1.0
initial_temperature = 0.1
dt = 0.01
t_max = 5.0

[ensemble]
replicas = 4

[record]
waiting_times = [0.0, 1.0]
lags = { start = 0.01, per_decade = 5 }

[output]
path = "run.nc"
figure = false
checkpoint_interval = 0.2
"""
#: Steps of the run.
STEPS = 500
#: Seconds after which a job that should do something has not. The time limit is looked at every 30 s.
PATIENCE = 180.0
LANGEVIN = f"{sys.executable} -m langevin"

Environment = Mapping[str, str]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the environment of a cluster; its jobs sleep: it has more cores than are here."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with cluster(tmp_path_factory.mktemp("slurm"), cores=4) as environment:
        yield environment


def furnish(folder: Path) -> Path:
    """Return a folder with a run file and the code that it names."""
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(RUN_FILE)
    shutil.copy(Path(__file__).with_name("slow_harmonic.py"), folder)
    return folder


def langevin(folder: Path, *arguments: str) -> None:
    """Run a command on the laptop."""
    command = [sys.executable, "-m", "langevin", *arguments, "--quiet", "--threads", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the laptop's result."""
    folder = furnish(tmp_path_factory.mktemp("whole"))
    langevin(folder, "run", "run.toml")
    return folder / "run.nc"


def submit(slurm: Environment, folder: Path, script: str, *options: str, seconds: float) -> str:
    """Submit a job whose run takes some seconds; return its number."""
    (folder / "job.sh").write_text(f"#!/bin/bash\n{script}\n")
    own = {**slurm, SLEEP: str(seconds / STEPS), "OMP_NUM_THREADS": "1"}
    output = "--output=job-%J.log" if any("--array" in option for option in options) else "--output=job.log"
    command = ["sbatch", "--parsable", f"--chdir={folder}", output, "--open-mode=append", *options]
    return call(own, *command, str(folder / "job.sh")).strip()


def state(slurm: Environment, job: str) -> dict[str, str]:
    """Return what Slurm knows of a job."""
    words = call(slurm, "scontrol", "--oneliner", "show", "job", job).split()
    return dict(word.partition("=")[::2] for word in words if "=" in word)


def wait_for(reached: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < until, what
        time.sleep(0.2)


def wait_for_end(slurm: Environment, job: str, folder: Path) -> dict[str, str]:
    """Wait until a job has ended, and its processes have; return what Slurm knows of it."""
    over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
    log = folder / "job.log"
    wait_for(
        lambda: state(slurm, job)["JobState"] in over and not call(slurm, "squeue", "-h", "-j", job),
        f"{state(slurm, job)['JobState']}: {log.read_text() if log.exists() else ''}",
    )
    return state(slurm, job)


def wait_for_start(folder: Path) -> None:
    """Wait until a run has taken steps."""
    wait_for(lambda: time_of(folder) > 0, f"no checkpoint in {folder}")


def time_of(folder: Path) -> float:
    """Return the time of the run's checkpoint; 0 without one."""
    path = folder / "run.checkpoint.nc"
    if not path.exists():
        return 0.0
    with xr.open_dataset(path) as checkpoint:
        _, begun, reached = str(checkpoint.attrs["status"]).partition("t = ")
        return float(reached) if begun else 0.0


def log(folder: Path) -> str:
    return (folder / "job.log").read_text()


def test_a_job_that_comes_to_its_wall_time_requeues_itself(
    slurm: Environment, whole: Path, tmp_path: Path
) -> None:
    """The script of docs/clusters.md: what is left of the time limit is the wall time."""
    furnish(tmp_path)
    script = f"""\
trap : TERM
left=$(squeue --noheader --jobs=$SLURM_JOB_ID --format=%L)
{LANGEVIN} run run.toml --resume --threads 1 --wall-time "$left"
code=$?
echo "exit code $code, time left was $left"
[ $code -lt 124 ] || scontrol requeue $SLURM_JOB_ID
exit $code"""
    job = submit(slurm, tmp_path, script, "--time=1", seconds=75)
    end = wait_for_end(slurm, job, tmp_path)
    assert (end["JobState"], end["ExitCode"], end["Restarts"]) == ("COMPLETED", "0:0", "1")
    assert "stopped at the wall time (1:00 s) at t = " in log(tmp_path) or "exit code 124" in log(tmp_path)
    assert differences(tmp_path / "run.nc", whole) == []


def test_the_time_limit_finds_a_checkpoint(slurm: Environment, whole: Path, tmp_path: Path) -> None:
    """Nobody has said a wall time: Slurm sends SIGTERM, under srun twice, and SIGKILL after its KillWait."""
    jobs = {}
    for name, script in {"exec": "exec {}", "srun": "srun {}", "trap": "trap : TERM\n{}"}.items():
        folder = furnish(tmp_path / name)
        # As few other checkpoints as can be.
        text = (folder / "run.toml").read_text()
        (folder / "run.toml").write_text(
            text.replace("checkpoint_interval = 0.2", "checkpoint_interval = 60.0")
        )
        command = f"{LANGEVIN} run run.toml --resume --threads 1"
        jobs[folder] = submit(slurm, folder, script.format(command), "--time=1", seconds=600)
    for folder, job in jobs.items():
        end = wait_for_end(slurm, job, folder)
        assert end["JobState"] == "TIMEOUT"
        assert "stopped by SIGTERM at t = " in log(folder)
        assert 0.1 < time_of(folder) < 4.0
        langevin(folder, "resume", "run.nc")
        assert differences(folder / "run.nc", whole) == ["attribute run_file", "attribute settings"]


def test_a_requeued_job_goes_on(slurm: Environment, whole: Path, tmp_path: Path) -> None:
    furnish(tmp_path)
    job = submit(
        slurm, tmp_path, f"exec {LANGEVIN} run run.toml --resume --threads 1", "--time=2", seconds=12
    )
    wait_for_start(tmp_path)
    call(slurm, "scontrol", "requeue", job)
    end = wait_for_end(slurm, job, tmp_path)
    assert (end["JobState"], end["Restarts"]) == ("COMPLETED", "1")
    assert "stopped by SIGTERM at t = " in log(tmp_path)
    assert ": goes on, t = " in log(tmp_path)
    assert differences(tmp_path / "run.nc", whole) == []


def test_a_cancelled_job_goes_on_elsewhere(slurm: Environment, whole: Path, tmp_path: Path) -> None:
    furnish(tmp_path)
    job = submit(slurm, tmp_path, f"exec {LANGEVIN} run run.toml --threads 1", "--time=2", seconds=60)
    wait_for_start(tmp_path)
    call(slurm, "scancel", job)
    assert wait_for_end(slurm, job, tmp_path)["JobState"] == "CANCELLED"
    assert "stopped by SIGTERM at t = " in log(tmp_path)
    langevin(tmp_path, "resume", "run.nc")
    assert differences(tmp_path / "run.nc", whole) == []


def test_a_killed_step_leaves_its_last_checkpoint(slurm: Environment, whole: Path, tmp_path: Path) -> None:
    furnish(tmp_path)
    script = f"srun {LANGEVIN} run run.toml --resume --threads 1"
    job = submit(slurm, tmp_path, script, "--time=2", seconds=12)
    wait_for_start(tmp_path)
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.name().startswith("python") and process.cwd() == str(tmp_path):
                process.kill()
    end = wait_for_end(slurm, job, tmp_path)
    assert (end["JobState"], end["ExitCode"]) == ("FAILED", "137:0")
    assert "stopped by" not in log(tmp_path)
    assert time_of(tmp_path) > 0
    job = submit(slurm, tmp_path, script, "--time=2", seconds=2)
    assert wait_for_end(slurm, job, tmp_path)["JobState"] == "COMPLETED"
    assert differences(tmp_path / "run.nc", whole) == []


def test_a_job_that_makes_room_for_another_goes_on(slurm: Environment, whole: Path, tmp_path: Path) -> None:
    furnish(tmp_path)
    job = submit(
        slurm, tmp_path, f"exec {LANGEVIN} run run.toml --resume --threads 1", "--time=2", seconds=12
    )
    wait_for_start(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    urgent = submit(slurm, other, "sleep 3", "--partition=urgent", "--exclusive", seconds=0)
    wait_for_end(slurm, urgent, other)
    end = wait_for_end(slurm, job, tmp_path)
    assert (end["JobState"], end["Restarts"]) == ("COMPLETED", "1")
    assert "stopped by SIGTERM at t = " in log(tmp_path)
    assert differences(tmp_path / "run.nc", whole) == []


def test_an_array_of_members(slurm: Environment, tmp_path: Path) -> None:
    furnish(tmp_path)
    # Each of them imports the same system for the first time.
    change = "--set ensemble.seed=$SLURM_ARRAY_TASK_ID --set output.path=$SLURM_ARRAY_TASK_ID.nc"
    script = f"exec {LANGEVIN} run run.toml --resume --threads 1 {change}"
    job = submit(slurm, tmp_path, script, "--time=2", "--array=1-4", seconds=2)
    wait_for(lambda: not call(slurm, "squeue", "-h", "-j", job), "the array has not ended")
    for seed in range(1, 5):
        name = f"{seed}.nc"
        there = tmp_path / "there"
        furnish(there)
        langevin(there, "run", "run.toml", "--set", f"ensemble.seed={seed}", "--set", f"output.path={name}")
        assert differences(tmp_path / name, there / name) == []


def test_a_sweep_in_a_storm(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Two dozen of the campaign's members: workers are killed, a job is requeued, and none is lost."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    known = subprocess.run(
        [sys.executable, "-P", "-m", "langevin", "run", "--help"], capture_output=True, text=True, check=True
    )
    if "--cluster" not in known.stdout:
        pytest.skip("langevin run has no --cluster")
    driver = [sys.executable, str(Path(__file__).with_name("slurm_campaign.py"))]
    storm = ["--slurm", "--members", "24", "--kill-every", "12", "--requeue-every", "25"]
    command = ["langevin", "run", "{sweep}", "--executor", "dask", "--cluster", "{cluster}", "--quiet"]
    done = subprocess.run(
        [*driver, *storm, "--folder", str(tmp_path), "--", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()[-1]
    assert '"lost": 0, "different": []' in said
    record_property("campaign", f"sweep in a storm: {said}")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for the names of sockets."""
    with tempfile.TemporaryDirectory(prefix="sl-") as folder:
        yield Path(folder)


def test_nothing_is_left_of_a_cluster(short: Path) -> None:
    """Two side by side; a job that hears nothing, and one that waits, when the first one ends by an error."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    folders = [short / "a", short / "b"]
    for folder in folders:
        folder.mkdir()
    with cluster(folders[1], nodes=2, cores=1) as other:
        with pytest.raises(ZeroDivisionError), cluster(folders[0], cores=1, kill_wait=2) as slurm:
            script = "trap '' TERM\nsleep 600 & echo $! > process; wait; sleep 600"
            submit(slurm, folders[0], script, seconds=0)
            submit(slurm, folders[0], "sleep 600", seconds=0)
            wait_for((folders[0] / "process").exists, "no job has begun")
            raise ZeroDivisionError
        assert left(folders[0]) == []
        assert not psutil.pid_exists(int((folders[0] / "process").read_text()))
        assert call(other, "sinfo", "-h", "-N", "-p", "long", "-o", "%N %T").split() == [
            "node1",
            "idle",
            "node2",
            "idle",
        ]
    assert left(folders[1]) == []


def left(folder: Path) -> list[str]:
    """Return the processes of a cluster that are still there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder):
                found.append(process.name())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_a_cluster_that_cannot_start_says_why(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    monkeypatch.setattr("cluster.DAEMONS", (*DAEMONS, "slurm-no-such"))
    with (
        pytest.raises(NoSlurm, match=r"^slurm-no-such: not installed \(apt-get install slurmctld"),
        cluster(short),
    ):
        pytest.fail("it has started")
    monkeypatch.undo()
    monkeypatch.setattr(getpass, "getuser", lambda: "nobody-at-all")
    with pytest.raises(NoSlurm, match=r"slurmctld: .*nobody-at-all.* fatal: "), cluster(short):
        pytest.fail("it has started")
    assert left(short) == []
