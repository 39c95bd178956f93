"""A worker of Dask carries out a job: in a process of its own, as `processes` does; it relays what that says.

The process computes, hears signals and writes checkpoints; the thread of the worker that waits for it hears
the scheduler. So the bits are those of any other executor, a worker that goes on talking is never taken for
dead because of a long step, and memory that a job needs is not the worker's.

The thread asks the process to stop where the sweep is stopped (`halt`), the job is not wanted any more (the
client has gone), or the worker closes: by a signal, or since the scheduler has gone. Of the end of the
worker's lifetime a job is told before, and has written its checkpoint then. Should the worker be killed, the
process hears it by the end of its input, and writes its checkpoint, too.
"""

from __future__ import annotations

import select
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from langevin.code.own import own_sources
from langevin.errors import StorageError
from langevin.files.claims import Claim
from langevin.files.paths import Paths
from langevin.machine import notices
from langevin.version import __version__

from ..base import Job
from ..worker_process import GRACE, WorkerProcess

if TYPE_CHECKING:
    from distributed import Worker

#: Seconds between two looks at what the scheduler wants.
POLL = 0.2

#: Seconds between two reports of how far a job is.
REPORT = 1.0

#: Seconds for which a process waits for another job, and a new file may take to be seen on other hosts.
IDLE, VISIBLE = 60.0, 10.0

#: Seconds after a signal to a process in which its worker leaves, if it got the signal, too.
SIGNALLED = 3.0

#: Seconds before the end of a worker in which nothing is done any more.
LEAVE = 5.0

#: What Dask's nanny sets for its workers, whose tasks are threads; a job here has a process of its own.
_OF_THE_NANNY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

#: Sweeps that are stopped, by their token.
_halted: set[str] = set()

_lock = threading.Lock()
#: Processes that wait for a job, by the token of their sweep.
_idle: dict[str, list[WorkerProcess]] = defaultdict(list)
#: Processes of this worker, by their places from 0 on.
_places: dict[int, WorkerProcess] = {}

#: What a worker is that has to leave.
_LEAVING = {"closing_gracefully", "closing", "stopping", "closed", "failed"}


def difference(version: str, sources: str) -> str | None:
    """Return what the langevin of this worker is, if it is not that of the sweep."""
    if __version__ != version:
        return f"langevin {__version__}, the sweep {version}"
    return None if own_sources() == sources else f"other sources of langevin {__version__} than the sweep"


def halt(token: str) -> None:
    """Stop a sweep in this worker; `Client.run` calls it."""
    _halted.add(token)


def dismiss(token: str) -> None:
    """End the processes that wait for jobs of a sweep that has ended; `Client.run` calls it."""
    with _lock:
        waiting = _idle.pop(token, [])
    for process in waiting:
        _bury(process)


def carry(job: Job, orders: Mapping[str, Any]) -> tuple[str, str]:
    """Carry out a job.

    Parameters
    ----------
    job : mapping
        With "result", the file that it writes.
    orders : mapping
        "task": the name of the task; "token": the sweep; "topic": under which events are logged; "index": of
        the job; "seen": a file that who gives the orders has written, and what it says; "path": the module
        path, or None.

    Returns
    -------
    kind, why : str
        As an `Outcome`; "leaving": this worker has to, and the job goes on elsewhere; "unfit": no job can be
        done here.
    """
    from distributed import get_worker

    worker = get_worker()
    token = orders["token"]
    if token in _halted:
        return "stopped", ""
    if (why := _unseen(worker, *orders["seen"])) is not None:
        return "unfit", why
    wanted = _Wanted(worker, token)
    claim = Claim(Paths(Path(job["result"])).claim)
    try:
        if not claim.take(lambda: not wanted.still) or not wanted.lasts():
            return wanted.end, ""
    except StorageError as error:
        return "failed", str(error)
    try:
        return _Attempt(worker, job, orders, claim, wanted).carry_out()
    finally:
        claim.release()


def _unseen(worker: Worker, path: str, text: str) -> str | None:
    """Return why this worker does not see the folder of the sweep; None if it does."""
    deadline = time.monotonic() + VISIBLE
    while True:
        try:
            if Path(path).read_text() == text:
                return None
            what = "another file is there"
        except OSError as error:
            what = str(error.strerror)
        if time.monotonic() > deadline:
            import socket

            folder = Path(path).parent
            return (
                f"the worker {worker.address} on {socket.gethostname()} does not see {folder} ({what}): all "
                "workers need the folder of the result, under the same name, on a shared file system"
            )
        time.sleep(POLL)


class _Wanted:
    """Whether a job is still wanted, and if not, what becomes of it."""

    def __init__(self, worker: Worker, token: str) -> None:
        self.worker, self.token = worker, token
        self.key = worker.get_current_task()
        #: When a job must have left this worker, by the clock on the wall; None: it stays.
        self.until: float | None = None
        if worker.lifetime:
            # Dask, too, counts from its start; of its own stagger it knows alone.
            self.until = psutil.Process().create_time() + float(worker.lifetime) - LEAVE

    @property
    def still(self) -> bool:
        return not self.end

    @property
    def end(self) -> str:
        """How it ends: "stopped" with its sweep, "leaving" with worker or client; empty: it goes on."""
        if self.token in _halted:
            return "stopped"
        task = self.worker.state.tasks.get(self.key)
        # A task that is not wanted any more is "cancelled", or forgotten.
        wanted = task is not None and task.state == "executing"
        return "" if wanted and self.worker.status.name not in _LEAVING else "leaving"

    def lasts(self) -> bool:
        """Return whether there is time for anything here; wait for the end of this worker if not.

        A job that is given back before that might come again at once.
        """
        if self.until is None or time.time() < self.until - LEAVE:
            return self.still
        while self.still:
            time.sleep(POLL)
        return False


class _Attempt:
    """One job in one process."""

    def __init__(
        self, worker: Worker, job: Job, orders: Mapping[str, Any], claim: Claim, wanted: _Wanted
    ) -> None:
        self.worker, self.job, self.orders, self.claim, self.wanted = worker, job, orders, claim, wanted
        self.asked: float | None = None
        self._told = 0.0

    def carry_out(self) -> tuple[str, str]:
        """Return kind and reason."""
        self._log(began=True)
        process = _hire(self.worker, self.orders)
        end: tuple[str, str] | None = None
        process.begin(self.orders["index"], self._limited())
        while end is None:
            self._look(process)
            if select.select([process.output], [], [], POLL)[0]:
                end = self._hear(process)
        if process.ended or process.leaving:
            _bury(process)
        else:
            _keep(self.orders["token"], process)
        if end[0] == "signalled" and self.asked is None:
            # A queue may send its signal to all processes of a job: then this worker leaves, too.
            self._wait_for_the_worker()
        if end[0] == "stopped" and self._ends_here:
            self.wanted.lasts()
            return "leaving", ""
        # Of a job that was asked to stop the one who asked knows why.
        return (self.wanted.end or end[0], end[1]) if end[0] in ("signalled", "lost") else end

    @property
    def _ends_here(self) -> bool:
        """Whether the end of this worker comes before that of the sweep."""
        until, own = self.job.get("until"), self.wanted.until
        return own is not None and (until is None or own < until)

    def _limited(self) -> Job:
        """Return the job, which must have left this worker before its end."""
        return {**self.job, "until": self.wanted.until} if self._ends_here else self.job

    def _wait_for_the_worker(self) -> None:
        deadline = time.monotonic() + SIGNALLED
        while self.wanted.still and time.monotonic() < deadline:
            time.sleep(POLL)

    def _hear(self, process: WorkerProcess) -> tuple[str, str] | None:
        said = [*process.hear()]
        if process.ended:
            said += process.bury(False)
        for _, what in said:
            if isinstance(what, float):
                self._report(what)
            else:
                return what.kind, what.why
        return ("lost", "its process ended") if process.ended else None

    def _look(self, process: WorkerProcess) -> None:
        """Ask the process to stop, once, if that is wanted; end one that cannot hear it."""
        if not self.claim.beat():
            # Another worker has taken the job over: what this one would write is in its way.
            process.end()
        elif self.asked is None and not self.wanted.still:
            self.asked = time.monotonic()
            process.stop()
        elif self.asked is not None and time.monotonic() > self.asked + GRACE:
            process.end()

    def _report(self, part: float) -> None:
        if time.monotonic() - self._told >= REPORT:
            self._told = time.monotonic()
            self._log(at=part)

    def _log(self, **what: Any) -> None:
        self.worker.log_event(self.orders["topic"], {"index": self.orders["index"], **what})


def _hire(worker: Worker, orders: Mapping[str, Any]) -> WorkerProcess:
    """Return a process for a job: one that waits, or a new one."""
    with _lock:
        waiting = _idle[orders["token"]]
        while waiting:
            process = waiting.pop()
            if process.alive:
                return process
            _bury(process)
        slots = worker.state.nthreads
        place = next(k for k in range(len(_places) + 1) if k not in _places)
        share = int(worker.state.total_resources.get("processors", slots)) // slots
        environment = {k: v for k, v in notices.environment(False).items() if k not in _OF_THE_NANNY}
        number = _number(worker) * slots + place
        process = WorkerProcess(
            orders["task"], number, max(1, share), environment, orders["path"], finishes=True
        )
        _places[place] = process
        return process


def _number(worker: Worker) -> int:
    """Return the number of this worker among those of its host, by its name, such as "local-1"."""
    last = str(worker.name).rpartition("-")[2]
    return int(last) if last.isdecimal() else 0


def _keep(token: str, process: WorkerProcess) -> None:
    """Let a process wait for another job, not for ever."""
    with _lock:
        _idle[token].append(process)

    def end() -> None:
        with _lock:
            if process not in _idle[token]:
                return
            _idle[token].remove(process)
        _bury(process)

    timer = threading.Timer(IDLE, end)
    timer.daemon = True
    timer.start()


def _bury(process: WorkerProcess) -> None:
    process.kill()
    for place in [place for place, other in list(_places.items()) if other is process]:
        del _places[place]
