"""A thousand small members while workers are killed and jobs requeued: none is lost, and no bit differs.

    python tests/slurm/slurm_campaign.py --members 1000 -- langevin run {sweep} --threads 2
    python tests/slurm/slurm_campaign.py --slurm --requeue-every 300 -- \\
        langevin run {sweep} --executor dask --cluster {cluster} --resume
    python tests/slurm/slurm_campaign.py --slurm --requeue-every 300 --queued -- \\
        langevin submit {sweep} --slurm array

What stands behind -- carries the sweep out. In it {sweep} is the run file, {result} its result, and {cluster}
a file for --cluster. With --slurm a cluster of its own stands around it, whose jobs end after two minutes.
While it goes on, a process that carries out members is killed every `--kill-every` seconds. When it ends
without a complete result, `--again` follows, until there is one. The same sweep without any of this, in
processes of this machine, is what the result is compared with; `--whole` keeps it for the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import xarray as xr
from cluster import call, cluster
from same_bits import differences

RUN_FILE = """\
title = "Small members"

[system]
name = "harmonic"
n = 100

[dynamics]
temperature = 1.0
initial_temperature = 0.1
dt = 0.005
t_max = {t_max}

[ensemble]
replicas = 16

[record]
times = {{ start = 0.1, per_decade = 5 }}
waiting_times = [0.0, 1.0]
lags = {{ start = 0.1, per_decade = 5 }}
configurations = "never"

[output]
path = "sweep.nc"
figure = false
checkpoint_interval = 0.5

[sweep]
"ensemble.seed" = {seeds}
"""
#: Jobs of two minutes; a worker in each.
CLUSTER = """\
[cluster]
queue_system = "slurm"
cores = 1
memory = "500MB"
queue = "short"
walltime = "00:02:00"
interface = "lo"
maximum_jobs = 2
local_directory = "{folder}/local"
log_directory = "{folder}/logs"
"""
#: What carries out members: its command line holds one of these.
WORKERS = ("langevin.sweep.worker", "distributed.cli.dask_worker")
#: Of jobs without a scheduler: commands of langevin itself.
COMMANDS = ("run", "resume", "member")


@dataclass
class Tally:
    """What has been done to a sweep.

    Attributes
    ----------
    kills : Counter
        Processes that were killed, by what they were.
    requeued : list of str
        Jobs.
    ends : list of int
        Exit codes of the commands, in their order.
    seconds : float
        Until the result was complete.
    failed : int
        Members that were reported as failed on the way.
    """

    kills: Counter[str] = field(default_factory=Counter)
    requeued: list[str] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    seconds: float = 0.0
    failed: int = 0


def write_sweep(folder: Path, members: int, t_max: float) -> tuple[Path, Path]:
    """Return a run file with so many members, and where its result will be."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sweep.toml"
    path.write_text(RUN_FILE.format(t_max=t_max, seeds=list(range(1, members + 1))))
    return path, folder / "sweep.nc"


def workers(root: int, environment: Mapping[str, str]) -> Iterator[tuple[psutil.Process, str]]:
    """Yield what carries out members, below a process or in jobs of a cluster, and what it is."""
    conf = environment.get("SLURM_CONF")
    for process in psutil.process_iter():
        # It may end meanwhile, or be another user's.
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            line, own = " ".join(process.cmdline()), process.environ()
            in_job = conf is not None and own.get("SLURM_CONF") == conf and "SLURM_JOB_ID" in own
            below = root in [parent.pid for parent in process.parents()]
            if (in_job or below) and (kind := _kind(line, in_job)):
                yield process, kind


def _kind(line: str, in_job: bool) -> str | None:
    kind = next((name for name in WORKERS if name in line), None)
    if kind is None and in_job:
        words = line.split()
        kind = next((f"langevin {word}" for word in COMMANDS if "langevin" in line and word in words), None)
    return kind


class Storm(threading.Thread):
    """Kills a random worker every now and then, and requeues jobs, until it is over."""

    def __init__(
        self,
        root: int,
        environment: Mapping[str, str],
        tally: Tally,
        kill_every: float,
        requeue_every: float,
        seed: int,
    ) -> None:
        super().__init__(daemon=True)
        self.root, self.environment, self.tally = root, environment, tally
        self.kill_every, self.requeue_every = kill_every, requeue_every
        self.chances = random.Random(seed)
        self.over = threading.Event()

    def run(self) -> None:
        kill, requeue = self.kill_every, self.requeue_every
        began = time.monotonic()
        while not self.over.wait(0.5):
            elapsed = time.monotonic() - began
            if self.kill_every and elapsed > kill and self._kill():
                kill = elapsed + self.kill_every
            if self.requeue_every and elapsed > requeue and self._requeue():
                requeue = elapsed + self.requeue_every

    def _kill(self) -> bool:
        victims = sorted(workers(self.root, self.environment), key=lambda pair: pair[0].pid)
        if not victims:
            return False
        process, kind = self.chances.choice(victims)
        with suppress(psutil.NoSuchProcess):
            process.kill()
            self.tally.kills[kind] += 1
        return True

    def _requeue(self) -> bool:
        jobs = call(self.environment, "squeue", "-h", "-t", "RUNNING", "-o", "%A", check=False).split()
        if not jobs:
            return False
        job = self.chances.choice(jobs)
        call(self.environment, "scontrol", "requeue", job, check=False)
        self.tally.requeued.append(job)
        return True


def done(result: Path) -> bool:
    """Return whether a sweep has nothing left to do."""
    return result.exists() and not result.with_suffix(".sweep").exists()


def statuses(result: Path) -> Counter[str]:
    """Return how often members ended in which way."""
    with xr.open_dataset(result) as found:
        return Counter(str(value) for value in found["status"].values.ravel())


def carried_out(
    command: str, again: str, result: Path, environment: Mapping[str, str], given: argparse.Namespace
) -> Tally:
    """Carry out a sweep in the storm, by one command after the other."""
    tally = Tally()
    began = time.monotonic()
    while not done(result) and len(tally.ends) < given.tries:
        words = shlex.split(again if tally.ends else command)
        process = subprocess.Popen(words, env=dict(environment), cwd=result.parent, stdin=subprocess.DEVNULL)
        storm = Storm(
            process.pid,
            environment,
            tally,
            given.kill_every,
            given.requeue_every,
            given.seed + len(tally.ends),
        )
        storm.start()
        try:
            tally.ends.append(process.wait())
            while given.queued and not done(result) and _queue(environment):
                time.sleep(1)
        finally:
            storm.over.set()
            storm.join()
        if result.exists():
            tally.failed += sum(count for how, count in statuses(result).items() if how != "complete")
        print(f"exit code {tally.ends[-1]} after {time.monotonic() - began:.0f} s: {tally}", flush=True)
    tally.seconds = time.monotonic() - began
    return tally


def _queue(environment: Mapping[str, str]) -> str:
    return call(environment, "squeue", "--noheader", check=False).strip()


@contextmanager
def surroundings(given: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Yield the environment of the commands, with a Slurm if one is wanted."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    if not given.slurm:
        yield environment
        return
    # Beside the sweep, paths of sockets might be too long.
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as slurm,
        cluster(Path(slurm), nodes=given.nodes, cores=2 // given.nodes) as own,
    ):
        yield {
            **own,
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}",
        }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A sweep in a storm.", epilog=__doc__)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--t-max", type=float, default=60.0, help="how long a member is; 60: about a second")
    parser.add_argument("--kill-every", type=float, default=30.0, help="seconds; 0: never")
    parser.add_argument("--requeue-every", type=float, default=0.0, help="seconds; 0: never")
    parser.add_argument("--slurm", action="store_true")
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 2))
    parser.add_argument("--queued", action="store_true", help="the command only submits: wait for the queue")
    parser.add_argument(
        "--again", default="langevin resume {result} --quiet", help="after one that ended early"
    )
    parser.add_argument("--tries", type=int, default=20, help="commands at most")
    parser.add_argument(
        "--whole", type=Path, help="folder of the undisturbed sweep; computed if it is not there"
    )
    parser.add_argument("--folder", type=Path, help="where to work; it is kept")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def main() -> int:
    """Carry out a campaign; say what came of it."""
    given = arguments()
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campaign-")))
        sweep, result = write_sweep(folder.resolve(), given.members, given.t_max)
        names = {"sweep": sweep, "result": result, "cluster": folder.resolve() / "slurm.toml"}
        names["cluster"].write_text(CLUSTER.format(folder=folder.resolve()))
        environment = stack.enter_context(surroundings(given))
        command, again = (text.format(**names) for text in (shlex.join(given.command), given.again))
        tally = carried_out(command, again, result, environment, given)
        path, whole = write_sweep((given.whole or folder / "whole").resolve(), given.members, given.t_max)
        if not whole.exists():
            words = ["langevin", "run", path.name, "--quiet", "--resume"]
            subprocess.run(words, env=environment, cwd=path.parent, check=True)
        return verdict(given, tally, result, whole)


def verdict(given: argparse.Namespace, tally: Tally, result: Path, whole: Path) -> int:
    """Print what came of it; return the exit code."""
    ended = statuses(result) if result.exists() else Counter()
    lost = given.members - ended["complete"]
    # The run file's text names the file.
    others = (
        [name for name in differences(result, whole) if name != "attribute run_file"] if ended else ["all"]
    )
    print(
        json.dumps(
            {
                "members": given.members,
                "lost": lost,
                "different": others,
                "seconds": round(tally.seconds, 1),
                "killed": dict(tally.kills),
                "requeued": len(tally.requeued),
                "exit codes": tally.ends,
                "failed on the way": tally.failed,
            }
        )
    )
    return int(lost > 0 or bool(others))


if __name__ == "__main__":
    sys.exit(main())
