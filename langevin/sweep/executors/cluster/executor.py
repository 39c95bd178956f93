"""Members run in workers of Dask: of this machine, of a scheduler that runs, or in jobs of a queue."""

from __future__ import annotations

import queue
import runpy
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from langevin.code.own import own_sources
from langevin.core.ensemble import available_threads
from langevin.errors import UserError
from langevin.machine import notices
from langevin.version import __version__

from ..base import Abandoned, Job, Outcome, Report, Task, Unfit
from ..processes import POLL
from ..worker_process import GRACE, called
from . import clusters, outpost, relay
from .keys import ClusterKeys

if TYPE_CHECKING:
    from distributed import Client, Future

#: The functions of `outpost` as those of a script, which every process of Dask takes by value: a worker that
#: has no langevin can say so only if it needs none for it.
_SENT = runpy.run_path(outpost.__file__, run_name="__main__")

#: Jobs that are with the scheduler at once for each processor it may come to have: so many that no worker
#: waits for this process, and that neither fills with what is done years later.
AHEAD = 4

#: Seconds without the scheduler after which it is taken for gone.
PATIENCE = 15.0

#: Seconds between two looks at whether there are workers.
LOOK = 1.0

#: A job that is this much further than at the last loss has not been lost in vain.
PROGRESS = 1e-3


class DaskExecutor:
    """Jobs in workers of Dask.

    Without a scheduler and a cluster its workers are processes of this machine, as many as `LocalProcesses`
    has. The result is the same to the bit wherever jobs are done. The folder of the result must be seen by
    all workers under the same name.

    A job whose worker is lost is done again by another, from its last checkpoint. When it has been lost more
    than `ClusterKeys.retries` times without having come further, it has failed.

    Parameters
    ----------
    threads : int, optional
        Processors of this machine to use in all, if the workers are here (default: all).
    keep : sequence of int
        Not needed: workers claim the members that they work on (`langevin.files.claims`).
    scheduler : str
        Address of a scheduler that runs: tcp://host:8786.
    cluster : ClusterKeys, optional
        The queue whose jobs are workers.
    """

    def __init__(
        self,
        threads: int | None = None,
        keep: Sequence[int] = (),
        *,
        scheduler: str = "",
        cluster: ClusterKeys | None = None,
    ) -> None:
        self.threads = threads or available_threads()
        self.scheduler, self.cluster = scheduler, cluster
        if not (scheduler or cluster):
            self.scheduler, self.cluster = clusters.of_the_user()
        usual: int = ClusterKeys.model_fields["retries"].default
        #: How often a job is begun again that was lost without having come further.
        self.retries = self.cluster.retries if self.cluster else usual

    def check(self) -> None:
        """Make sure that the workers that are there, or the queue, can serve.

        Raises
        ------
        UserError
            If nobody listens at the address, versions differ, or the queue's keys are not taken.
        """
        if self.scheduler:
            with clusters.joined(self.scheduler) as client:
                # One that does not answer yet is asked again when it has a job.
                said = clusters.tell(client, _SENT["unfit"], __version__, own_sources())
                why = next((str(one) for one in said if one), None)
                if why is not None:
                    raise UserError(f"scheduler = {self.scheduler!r}: {why}")
        elif self.cluster:
            clusters.check(self.cluster)
        else:
            clusters.require()

    def map(
        self, task: Task, jobs: Sequence[Job], report: Report, stopped: Callable[[], bool]
    ) -> Generator[tuple[int, Outcome], None, None]:
        """Yield outcomes as they come; see `Executor.map`.

        Raises
        ------
        UserError
            As `check`.
        Unfit
            If a worker cannot serve.
        Abandoned
            If the scheduler is gone, or the queue refuses jobs.
        """
        if not jobs:
            return
        with self._connected(len(jobs)) as workers, _visible(jobs) as seen:
            carrier = _Carrier(workers, task, jobs, self.retries, seen)
            yield from carrier.carry_out(report, stopped)
            if workers.path is None:
                self.threads = max(1, carrier.most_threads)

    @contextmanager
    def _connected(self, jobs: int) -> Iterator[_Workers]:
        if self.scheduler:
            with clusters.joined(self.scheduler) as client:
                yield _Workers(client)
        elif self.cluster:
            with clusters.queued(self.cluster) as (client, queue_jobs):
                yield _Workers(client, self.cluster.capacity, queue_jobs)
        else:
            count = max(1, min(self.threads, jobs))
            with clusters.embedded(count, self.threads) as client:
                yield _Workers(client, count, path=list(sys.path))


class _Workers(NamedTuple):
    """Where jobs are carried out.

    Attributes
    ----------
    client : Client
        Of their scheduler.
    capacity : int
        How many jobs may once be done at a time, as far as that is known.
    queue : Jobs or None
        Jobs of a queue that they are.
    path : list of str or None
        Their module path; None: their own.
    """

    client: Client
    capacity: int = 0
    queue: clusters.Jobs | None = None
    path: list[str] | None = None


@contextmanager
def _visible(jobs: Sequence[Job]) -> Iterator[tuple[str, str]]:
    """Yield a file in the folder of the results, by which workers know that they see it, and what it says."""
    token = uuid.uuid4().hex
    path = Path(jobs[0]["result"]).resolve().parent / f".seen-{token}"
    path.write_text(token)
    try:
        yield str(path), token
    finally:
        path.unlink(missing_ok=True)


class _Carrier:
    """The jobs of one `DaskExecutor.map`."""

    def __init__(
        self,
        workers: _Workers,
        task: Task,
        jobs: Sequence[Job],
        retries: int,
        seen: tuple[str, str],
    ) -> None:
        self.workers, self.client, self.jobs, self.retries = workers, workers.client, jobs, retries
        self.token = seen[1]
        self.topic = f"langevin-{self.token}"
        self.orders = {
            "task": called(task),
            "token": self.token,
            "topic": self.topic,
            "seen": seen,
            "path": workers.path,
            "version": __version__,
            "sources": own_sources(),
        }
        self.waiting = deque(range(len(jobs)))
        #: Jobs that the scheduler has.
        self.futures: dict[int, Future] = {}
        #: Jobs that have begun there.
        self.begun: set[int] = set()
        #: What comes from threads of the client: an event, or the index of a job that has ended.
        self.said: queue.SimpleQueue[dict[str, Any] | tuple[int, Future]] = queue.SimpleQueue()
        self.parts: dict[int, float] = {}
        #: How far a job was when it was lost, and how often it was since it had come that far.
        self.reached: dict[int, float] = {}
        self.losses: Counter[int] = Counter()
        self.asked: float | None = None
        self.connected = self.served = self.looked = time.monotonic()
        self.most_threads = 0

    def carry_out(
        self, report: Report, stopped: Callable[[], bool]
    ) -> Generator[tuple[int, Outcome], None, None]:
        """Yield outcomes as they come."""
        self.client.subscribe_topic(self.topic, self._hear)
        try:
            self._submit()
            while self.futures:
                self._ask(stopped)
                for said in self._new():
                    if isinstance(said, dict):
                        self._note(said, report)
                        continue
                    index, future = said
                    # A queue may send its signal to all: then this process has heard it, too.
                    self._ask(stopped)
                    if (end := self._judged(index, future)) is not None:
                        yield index, end
                    self._submit()
                self._require_scheduler()
        finally:
            self._leave()

    # To the scheduler.

    def _submit(self) -> None:
        """Hand jobs to the scheduler, as far ahead as is good."""
        if self.asked is not None or not self.waiting:
            return
        self.most_threads = max(self.most_threads, self._threads())
        room = max(2, AHEAD * max(self.workers.capacity, self.most_threads)) - len(self.futures)
        for _ in range(min(room, len(self.waiting))):
            index = self.waiting.popleft()
            self.begun.discard(index)
            # A name for each try: of one that is known already the scheduler would give the old answer.
            key = f"langevin-member-{self.token}-{index}-{uuid.uuid4().hex[:8]}"
            orders = {**self.orders, "index": index}
            future = self.client.submit(_SENT["at_worker"], dict(self.jobs[index]), orders, key=key)
            self.futures[index] = future
            future.add_done_callback(lambda future, index=index: self.said.put((index, future)))

    def _threads(self) -> int:
        """Return how many jobs the workers do at a time."""
        return clusters.threads(self.client)

    def _ask(self, stopped: Callable[[], bool]) -> None:
        """Ask all to stop, once, if that is wanted; after `GRACE` wait no longer."""
        if self.asked is None and stopped():
            self.asked = time.monotonic()
            self.waiting.clear()
            self._withdraw()
        late = self.asked is not None and time.monotonic() > self.asked + GRACE
        # A queue may have sent its signal to workers, too: then nobody is there to answer.
        if late or (self.asked is not None and not self._threads()):
            self.client.cancel(list(self.futures.values()), force=True)
            self.futures.clear()

    def _withdraw(self) -> None:
        """Take back what has not begun; ask for the rest to stop."""
        idle = [index for index in self.futures if index not in self.begun]
        # First: what begins meanwhile, stops.
        clusters.tell(self.client, relay.halt, self.token)
        for index in idle:
            self.futures.pop(index).cancel()

    def _leave(self) -> None:
        """Leave nothing behind, neither tasks nor processes."""
        self.client.unsubscribe_topic(self.topic)
        if self.client.status != "running":
            return
        if self.futures:
            clusters.tell(self.client, relay.halt, self.token)
            self.client.cancel(list(self.futures.values()), force=True)
        clusters.tell(self.client, relay.dismiss, self.token)

    def _require_scheduler(self) -> None:
        if self.client.status == "running":
            self.connected = time.monotonic()
            if self.connected > self.looked + LOOK:
                self.looked = self.connected
                self._require_workers()
        elif self.client.status == "closed" or time.monotonic() > self.connected + PATIENCE:
            self._lose()

    def _require_workers(self) -> None:
        """Say if nobody works for a minute; raise `Abandoned` where nobody will."""
        if self._threads():
            self.served = time.monotonic()
            return
        if self.workers.queue is not None:
            self.workers.queue.require()
        if time.monotonic() < self.served + clusters.WAITED:
            return
        if self.workers.path is not None:
            raise Abandoned("no worker of this machine is left")
        address = self.client.scheduler.address
        lacking = f"the scheduler {address} has no workers; `dask worker {address}` starts one"
        notices.once("workers", self.workers.queue.lacking if self.workers.queue else lacking)

    def _lose(self) -> None:
        address = self.client.scheduler.address if self.client.scheduler else "of Dask"
        raise Abandoned(f"the scheduler {address} is gone; its workers write checkpoints and leave")

    # From the scheduler.

    def _hear(self, event: tuple[float, Any]) -> None:
        self.said.put(event[1])

    def _new(self) -> Iterator[dict[str, Any] | tuple[int, Future]]:
        """Yield what has been said, and wait a moment for it."""
        try:
            yield self.said.get(timeout=POLL)
            while True:
                yield self.said.get_nowait()
        except queue.Empty:
            return

    def _note(self, event: dict[str, Any], report: Report) -> None:
        index = event["index"]
        if index not in self.futures:
            return
        self.begun.add(index)
        if "at" in event:
            self.parts[index] = max(event["at"], self.parts.get(index, 0.0))
            report(index, event["at"])

    def _judged(self, index: int, future: Future) -> Outcome | None:
        """Return the outcome of a job; None if it is to be tried again, or has none."""
        if index not in self.futures or self.futures[index] is not future:
            return None
        del self.futures[index]
        if future.status == "cancelled":
            # Not by this process: the scheduler knows it no more.
            self._lose()
        kind, why = self._end(index, future)
        if kind == "unfit":
            raise Unfit(why)
        if kind in ("done", "failed"):
            self.parts.pop(index, None)
            return Outcome("done" if kind == "done" else "failed", why)
        if kind == "stopped" or self.asked is not None:
            return Outcome("stopped", why)
        if kind != "leaving" and self._is_lost(index):
            return Outcome("failed", f"{why}, {self.losses[index]} times without coming further")
        self.waiting.appendleft(index)
        return None

    def _end(self, index: int, future: Future) -> tuple[str, str]:
        """Return kind and reason, as the worker said them, or the scheduler says them of the worker."""
        from distributed.scheduler import KilledWorker

        if future.status == "finished":
            kind, why = future.result()
            return kind, f"its process was stopped {why}" if kind == "signalled" else why
        error = future.exception()
        if isinstance(error, KilledWorker):
            # What only waited there has lost nothing.
            lost = index in self.begun
            return ("lost", f"its worker {error.last_worker.address} was lost") if lost else ("leaving", "")
        return "failed", f"unexpected {type(error).__name__}: {error}"

    def _is_lost(self, index: int) -> bool:
        """Note that a job was lost; return whether it was too often."""
        part = self.parts.get(index, 0.0)
        if part > self.reached.get(index, 0.0) + PROGRESS:
            self.reached[index], self.losses[index] = part, 0
        self.losses[index] += 1
        return self.losses[index] > self.retries
