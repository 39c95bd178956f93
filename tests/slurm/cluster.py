"""A Slurm of one's own: munged, slurmctld and slurmd, all in a folder, beside whatever the machine has.

By hand:

    python tests/slurm/cluster.py --nodes 2

says what to export, and stops everything at Ctrl-C. Nothing of the system's configuration is read or written;
ports are free ones, so that several stand side by side. It runs as root, or as the user who starts it.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

DAEMONS = ("slurmctld", "slurmd", "munged")
#: Daemons stand where users do not look.
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
INSTALL = "apt-get install slurmctld slurmd slurm-client munge"
#: In the environment of daemons: whose they are.
MARK = "LANGEVIN_SLURM"
#: Seconds until a cluster that starts is given up.
PATIENCE = 30.0
#: Between SIGTERM and SIGKILL; what a job has for its checkpoint.
KILL_WAIT = 10

CONFIGURATION = """\
ClusterName=langevin
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
MpiDefault=none
MailProg=/bin/true
JobRequeue=1
KillWait={kill_wait}
SlurmdTimeout=30
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=1,sched_interval=5,bf_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
"""
NODE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port}"
    " CPUs={cores} Sockets=1 CoresPerSocket={cores} ThreadsPerCore=1 RealMemory={memory} State=UNKNOWN\n"
)
#: Jobs of "urgent" take the places of others, which are requeued.
PARTITIONS = """\
PartitionName=short Nodes=ALL Default=YES MaxTime=2 PriorityTier=1 State=UP
PartitionName=long Nodes=ALL MaxTime=60 PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL MaxTime=60 PriorityTier=2 PreemptMode=OFF State=UP
"""


class NoSlurm(Exception):
    """No cluster can be had here, and why."""


def missing() -> str | None:
    """Return what is not installed, and how to install it; None where all is there."""
    lacking = [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=SEARCH) is None]
    return f"{', '.join(lacking)}: not installed ({INSTALL})" if lacking else None


@contextmanager
def cluster(
    folder: Path, *, nodes: int = 1, cores: int = 2, memory: int = 4000, kill_wait: int = KILL_WAIT
) -> Iterator[dict[str, str]]:
    """Start a cluster, and stop it with all that runs on it.

    Parameters
    ----------
    folder : Path
        For its configuration, state, sockets and logs.
    nodes : int
        Nodes, all of them this machine.
    cores, memory : int
        Of each node; memory in MB. Slurm only counts them, there are no cgroups.
    kill_wait : int
        Seconds between SIGTERM and SIGKILL.

    Yields
    ------
    dict of str to str
        The environment in which sbatch, squeue and the like speak to it.

    Raises
    ------
    NoSlurm
        With the reason, of what is not installed or does not start.
    """
    if (reason := missing()) is not None:
        raise NoSlurm(reason)
    folder = folder.resolve()
    # Paths of sockets hold 107 characters.
    if len(f"{folder}/spool/node1/node1_1000000.4294967291") > 107:
        raise NoSlurm(f"{folder}: too long a path for sockets")
    environment = _environment(folder / "slurm.conf")
    _configure(folder, nodes, cores, memory, kill_wait)
    with ExitStack() as stack:
        stack.callback(_end_jobs, folder)
        _start(stack, folder, environment, nodes)
        stack.callback(_cancel_jobs, environment, kill_wait)
        yield environment


def _environment(conf: Path) -> dict[str, str]:
    """Return this process's environment without traces of another Slurm."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))}
    return kept | {"PATH": SEARCH, "SLURM_CONF": str(conf)}


def _configure(folder: Path, nodes: int, cores: int, memory: int, kill_wait: int) -> None:
    names = [f"node{k + 1}" for k in range(nodes)]
    port, *others = _free_ports(nodes + 1)
    values = {"folder": folder, "port": port, "kill_wait": kill_wait, "user": getpass.getuser()}
    text = CONFIGURATION.format(host=socket.gethostname().partition(".")[0], **values)
    for name, own in zip(names, others, strict=True):
        text += NODE.format(name=name, port=own, cores=cores, memory=memory)
        (folder / "spool" / name).mkdir(parents=True, exist_ok=True)
    (folder / "state").mkdir(exist_ok=True)
    (folder / "slurm.conf").write_text(text + PARTITIONS)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def _start(stack: ExitStack, folder: Path, environment: Mapping[str, str], nodes: int) -> None:
    munge = [
        *("munged", "--foreground", "--force", f"--key-file={folder}/munge.key", "--num-threads=2"),
        *(f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid"),
        *(f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munged.log"),
    ]
    daemons = {"munged": munge, "slurmctld": ["slurmctld", "-D"]}
    daemons |= {f"slurmd-node{k + 1}": ["slurmd", "-D", "-N", f"node{k + 1}"] for k in range(nodes)}
    processes = {}
    for name, command in daemons.items():
        processes[name] = _daemon(stack, folder, name, command, environment)
        if name == "munged":
            _wait(lambda: (folder / "munge.socket").exists(), folder, processes)
    _wait(lambda: _idle(environment) == nodes, folder, processes)


def _daemon(
    stack: ExitStack, folder: Path, name: str, command: list[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    program = shutil.which(command[0], path=SEARCH)
    assert program is not None
    with (folder / f"{name}.out").open("wb") as output:
        process = subprocess.Popen(
            [program, *command[1:]],
            env={**environment, MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C is for whoever started the cluster: jobs are cancelled first.
            start_new_session=True,
        )
    stack.callback(_end, process)
    return process


def _wait(ready: Callable[[], bool], folder: Path, processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        gone = [name for name, process in processes.items() if process.poll() is not None]
        if gone or time.monotonic() > end:
            raise NoSlurm("; ".join(_last_words(folder, name) for name in gone or processes))
        time.sleep(0.1)


def _last_words(folder: Path, name: str) -> str:
    """Return the last errors of a daemon."""
    text = "\n".join(
        path.read_text(errors="replace") for path in sorted(folder.glob(f"{name}.*")) if path.suffix != ".pid"
    )
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return " ".join(errors[-2:] or lines[-1:] or [f"{name}: said nothing"])


def _idle(environment: Mapping[str, str]) -> int:
    """Return how many nodes wait for jobs."""
    # Only the client with which this is asked may take its time.
    done = call(environment, "sinfo", "--noheader", "-N", "-p", "short", "-o", "%T", check=False)
    return done.split().count("idle")


def call(environment: Mapping[str, str], *command: str, check: bool = True) -> str:
    """Return what a command of Slurm prints."""
    done = subprocess.run(
        command, env=dict(environment), capture_output=True, text=True, check=False, timeout=60
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _cancel_jobs(environment: Mapping[str, str], kill_wait: int) -> None:
    """Cancel all jobs as a user does, and wait for them to leave."""
    call(environment, "scancel", "--state=PENDING", f"--user={getpass.getuser()}", check=False)
    call(environment, "scancel", f"--user={getpass.getuser()}", check=False)
    end = time.monotonic() + kill_wait + 5
    while call(environment, "squeue", "--noheader", check=False).strip() and time.monotonic() < end:
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_jobs(folder: Path) -> None:
    """Kill what is left of jobs after their daemons have gone: slurmstepd outlives slurmd."""
    for step in _steps(folder):
        with suppress(psutil.NoSuchProcess):
            for process in [*step.children(recursive=True), step]:
                process.kill()


def _steps(folder: Path) -> list[psutil.Process]:
    """Return the processes that hold this cluster's jobs; jobs have the environment of whoever submits."""
    steps = []
    for process in psutil.process_iter():
        # It may end meanwhile, or be another user's.
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.name().startswith("slurmstepd") and process.environ().get(MARK) == str(folder):
                steps.append(process)
    return steps


def main() -> None:
    """Keep a cluster until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A Slurm of one's own, until Ctrl-C.")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2, help="of each node")
    parser.add_argument("--memory", type=int, default=4000, help="of each node, in MB")
    parser.add_argument("--kill-wait", type=int, default=KILL_WAIT, help="seconds from SIGTERM to SIGKILL")
    parser.add_argument("--folder", type=Path, help="where it keeps its files; default: a temporary one")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        folder.mkdir(parents=True, exist_ok=True)
        sizes = {"nodes": given.nodes, "cores": given.cores, "memory": given.memory}
        try:
            environment = stack.enter_context(cluster(folder, **sizes, kill_wait=given.kill_wait))
        except NoSlurm as error:
            sys.exit(f"no Slurm here: {error}")
        print(f"export SLURM_CONF={environment['SLURM_CONF']}", flush=True)
        print(call(environment, "sinfo"), end="", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
        # Its jobs have a moment to leave.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
