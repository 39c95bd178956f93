"""Schedulers of Dask and their workers: one that runs already, one in this process, jobs of a queue."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from langevin.errors import UserError, shortened
from langevin.machine.extras import require_package
from langevin.machine.interruption import SIGNALS

from ..base import Abandoned
from . import keys
from .keys import ClusterKeys

if TYPE_CHECKING:
    from distributed import Client

#: Environment variable with the address of a scheduler, as Dask itself reads it.
ADDRESS = "DASK_SCHEDULER_ADDRESS"

#: Seconds in which a scheduler must answer, and in which workers that are told to leave have left.
ANSWER, FAREWELL = 10.0, 20.0

#: Seconds without any worker after which it is said.
WAITED = 60.0

#: Seconds after which a job that the queue has refused is submitted again.
AGAIN = 30.0

#: Python, as a shell reads it.
_PYTHON = shlex.quote(sys.executable)

#: Whose loggers are silenced.
_LOGGERS = {"distributed", "tornado", "asyncio"}

#: Seconds before a walltime at which a worker leaves: this part of it, in these limits.
_MARGIN, _LEAST, _MOST = 0.1, 20.0, 300.0

#: What matters for members that take minutes to days, in a scheduler of ours.
SCHEDULER = {
    # How often a member may lose its worker is counted here (`retries`), where it is known whether it had
    # begun and came further; Dask counts what only waited on a lost worker, too.
    "distributed.scheduler.allowed-failures": 0,
    # Half a second is the default: for twenty members it would ask the queue for two jobs, not twenty.
    "distributed.scheduler.unknown-task-duration": "1h",
    # No member waits on a worker that is busy for hours while another one is idle.
    "distributed.scheduler.worker-saturation": 1.0,
    # Results are files: there is nothing to keep balanced.
    "distributed.scheduler.active-memory-manager.start": False,
    # A job that has ended is replaced after so long; the default is 15 s.
    "distributed.deploy.lost-worker-timeout": "3s",
}

#: No page, and no warning where another scheduler has the port that Dask's would have.
_UNSEEN = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}

#: The same in workers of ours. Members have processes of their own: a worker only waits for them, and its
#: profile, taken a hundred times a second, would show that.
WORKER = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "5s",
    "logging.distributed": "critical",
}


def of_the_user() -> tuple[str, ClusterKeys | None]:
    """Return the address of the scheduler, or the cluster, that the user's surroundings name, if they do."""
    address = os.environ.get(ADDRESS, "")
    return address, None if address else keys.of_the_user()


def require() -> None:
    """Make sure that Dask is installed."""
    require_package("distributed", "executor = 'dask'", "cluster")


@contextmanager
def joined(address: str) -> Iterator[Client]:
    """Yield a client of a scheduler that runs.

    Raises
    ------
    UserError
        If nobody listens there, or it has another version.
    """
    require()
    _require_address(address)
    with _ours():
        try:
            client = _client(address)
        except (OSError, ValueError, RuntimeError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"scheduler = {address!r}: no scheduler of Dask answers there ({shortened(said)})"
            ) from None
        with _closing(client):
            _require_same_version(client, address)
            yield client


def _require_address(address: str) -> None:
    # A client that has begun with what is no address does not end well.
    from distributed.comm import get_address_host_port
    from distributed.comm.registry import get_backend

    try:
        get_backend(address.partition("://")[0] if "://" in address else "tcp")
        get_address_host_port(address, strict=False)
    except ValueError as error:
        raise UserError(
            f"scheduler = {shortened(address)!r}: no address ({error}); allowed: tcp://host:8786"
        ) from None


def _require_same_version(client: Client, address: str) -> None:
    import distributed

    # Of the scheduler alone: a worker that stands still would not answer.
    versions = client.sync(client.scheduler.versions, packages=[])
    theirs = versions["packages"]["distributed"]
    if theirs != distributed.__version__:
        raise UserError(
            f"scheduler = {address!r}: it has distributed {theirs}, this process {distributed.__version__}; "
            "allowed: the same"
        )


@contextmanager
def embedded(count: int, threads: int) -> Iterator[Client]:
    """Yield a client of a scheduler in this process, with workers that are processes of this machine.

    Parameters
    ----------
    count : int
        Workers; each carries out one member at a time.
    threads : int
        Processors in all.
    """
    require()
    with _ours():
        from distributed import Scheduler
        from distributed.deploy.spec import SpecCluster

        from .local_worker import LocalWorker

        # Words: the scheduler is asked for them by the names that they give themselves.
        shares = [threads // count + (k < threads % count) for k in range(count)]
        workers = {
            f"local-{k}": {
                "cls": LocalWorker,
                "options": {"processors": share, "environment": _named(WORKER)},
            }
            for k, share in enumerate(shares)
        }
        scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, **_UNSEEN}}
        with deaf():
            cluster = SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL)
        with ExitStack() as stack:
            stack.callback(cluster.close, timeout=FAREWELL)
            client = stack.enter_context(_closing(_client(cluster)))
            stack.callback(_send_home, client)
            yield client


@contextmanager
def deaf() -> Iterator[None]:
    """Inside, threads and processes begin that hear no signals of the terminal: this one does, for all."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*SIGNALS} - {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check(cluster: ClusterKeys) -> None:
    """Make sure that there is such a queue here, and that it takes these keys.

    Raises
    ------
    UserError
    """
    require()
    kind = keys.queue_class(cluster.queue_system)
    command = shlex.split(kind.job_cls.submit_command)[0]
    if shutil.which(command) is None:
        raise UserError(
            f'cluster.queue_system = "{cluster.queue_system}": there is no {command} on this machine'
        )
    options = _options(cluster)
    for name in ("scheduler_options", "silence_logs", "shared_temp_directory", "n_workers"):
        options.pop(name, None)
    with _said_of(kind):
        kind.job_cls("tcp://127.0.0.1:8786", name="check", **options).job_script()


@contextmanager
def _said_of(kind: type[Any]) -> Iterator[None]:
    """Inside, what the class of a queue refuses is a mistake of the user's."""
    try:
        yield
    except (AssertionError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cluster: {kind.__name__} says: {shortened(said)}") from None


@contextmanager
def queued(cluster: ClusterKeys) -> Iterator[tuple[Client, Jobs]]:
    """Yield a client of a scheduler in this process, whose workers are jobs of a queue, and these.

    Jobs are submitted as members wait, up to `maximum_jobs`, and cancelled at the end.

    Raises
    ------
    UserError
        As `check`.
    """
    require()
    kind = keys.queue_class(cluster.queue_system)
    refused: list[str] = []
    with _ours():
        with _said_of(kind), deaf():
            built = kind(job_cls=_watched(kind.job_cls, refused), **_options(cluster))
        with ExitStack() as stack:
            stack.callback(built.close, timeout=FAREWELL)
            client = stack.enter_context(_closing(_client(built)))
            built.adapt(minimum_jobs=0, maximum_jobs=cluster.maximum_jobs, interval="2s", wait_count=15)
            yield client, Jobs(cluster.queue_system, refused)


class Jobs(NamedTuple):
    """What is known of the jobs of a queue.

    Attributes
    ----------
    queue_system : str
    refused : list of str
        Why the queue refused jobs, as long as it has taken none.
    """

    queue_system: str
    refused: list[str]

    def require(self) -> None:
        """Raise `Abandoned` if the queue has refused a job."""
        if self.refused:
            raise Abandoned(f"the queue refuses jobs: {shortened(self.refused[-1])}")

    @property
    def lacking(self) -> str:
        """What is said where no job has begun, or none is left."""
        return f"no job of {self.queue_system} runs; `{keys.ASKED_BY[self.queue_system]}` says why"


def tell(client: Client, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Have all workers call a function; return what they answer, or which error it was.

    Nothing, if one of them does not answer, as a host that stands still: it is not waited for.
    """
    try:
        said = client.sync(client._run, function, *arguments, on_error="return", callback_timeout=ANSWER)
    except (OSError, TimeoutError):
        return []
    return list(said.values())


def threads(client: Client) -> int:
    """Return how many jobs the workers do at a time; 0, too, if the scheduler does not answer."""
    try:
        return int(
            client.sync(client.scheduler.identity, n_workers=0, callback_timeout=ANSWER)["total_threads"]
        )
    except (OSError, TimeoutError):
        return 0


def _watched(job: type[Any], refused: list[str]) -> type[Any]:
    """Return a class of jobs that notes why the queue refuses one: Dask's scaling keeps it for itself."""
    from distributed.core import Status

    accepted = False

    class Watched(job):
        async def _submit_job(self, script_filename: str) -> Any:
            nonlocal accepted
            while True:
                try:
                    said = await super()._submit_job(script_filename)
                except (RuntimeError, OSError) as error:
                    if not accepted:
                        text = str(error)
                        refused.append(" ".join(text.partition("stderr:")[2].split() or text.split()))
                        self.status = Status.failed
                        raise
                    # A queue that has taken jobs before is busy, or at a limit.
                    await asyncio.sleep(AGAIN)
                    continue
                accepted = True
                return said

    Watched.__name__ = job.__name__
    return Watched


def _options(cluster: ClusterKeys) -> dict[str, Any]:
    """Return what the class of the queue is given: what the user says, and what members need besides."""
    options = dict(cluster.options)
    cores = int(cluster.option("cores"))
    # One worker, since members have processes of their own, without a nanny: at the SIGTERM of a queue the
    # worker of a nanny dies at once, while this one, alone, has as long as the queue gives it. It replaces
    # the shell, with which the job would end at that signal. It is written into a script of the shell.
    options |= {"processes": 1, "nanny": False, "python": f"exec {cluster.option('python') or _PYTHON}"}
    arguments = [
        *("--nthreads", str(cores // cluster.threads_per_member), "--resources", f"processors={cores}"),
        # Members have processes of their own: what Dask measures and limits is not theirs.
        *("--memory-limit", "0", "--no-dashboard"),
        *_lifetime(cluster.walltime),
    ]
    options["worker_extra_args"] = [*arguments, *(cluster.option("worker_extra_args") or [])]
    exports = [f"export {name}={shlex.quote(value)}" for name, value in _named(WORKER).items()]
    options["job_script_prologue"] = [*exports, *(cluster.option("job_script_prologue") or [])]
    if cluster.queue_system == "slurm":
        # What a job lost is done by another one; the queue must not begin it again besides.
        options["job_extra_directives"] = ["--no-requeue", *(cluster.option("job_extra_directives") or [])]
    options["scheduler_options"] = {**_UNSEEN, **(cluster.option("scheduler_options") or {})}
    options["silence_logs"] = logging.CRITICAL
    return options


def _lifetime(walltime: float | None) -> list[str]:
    """Return arguments by which a worker leaves before the queue ends its job, not all at once.

    Dask waits for no task then. So a member is told when its worker will leave, and has written its
    checkpoint before (`relay`).
    """
    if walltime is None:
        return []
    margin = min(max(_MARGIN * walltime, _LEAST), _MOST, walltime / 2)
    return ["--lifetime", f"{walltime - 0.75 * margin:g}s", "--lifetime-stagger", f"{margin / 4:g}s"]


def _client(where: Any) -> Client:
    from distributed import Client

    return Client(where, timeout=ANSWER, set_as_default=False)


def _send_home(client: Client) -> None:
    """Let workers leave in good order, before anybody ends them."""
    if client.status == "running" and (workers := list(client.scheduler_info(-1)["workers"])):
        # Those that are not named stay: the scheduler would let only as many go as it can do without.
        client.retire_workers(workers, close_workers=True)


@contextmanager
def _closing(client: Client) -> Iterator[Client]:
    try:
        yield client
    finally:
        client.close(timeout=ANSWER)


@contextmanager
def _ours() -> Iterator[None]:
    """Inside, Dask is set as members need it, and keeps to itself what is said here in other words."""
    import dask
    import distributed  # noqa: F401 -- it names its loggers, and sets the level of some

    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in _LOGGERS]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with dask.config.set({**SCHEDULER, **WORKER}):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _named(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings of Dask as variables of an environment."""
    return {
        "DASK_" + name.upper().replace(".", "__").replace("-", "_"): str(value)
        for name, value in settings.items()
    }
