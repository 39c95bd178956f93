"""Members run side by side in processes of this machine."""

from __future__ import annotations

import selectors
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence

from langevin.machine import notices

from .base import Job, Outcome, Report, Task
from .worker_process import GRACE, WorkerProcess, called

#: Seconds after which `stopped` is asked again.
POLL = 0.2

#: How often a job is begun again whose process was stopped by a signal that did not come from here.
TRIES = 3


class LocalProcesses:
    """Jobs side by side in processes of this machine, each with its share of the processors.

    As many processes as processors, or as jobs if these are fewer; GPUs they take in turn
    (`machine.cards`). A process takes one job after the other, so that what it has imported and compiled
    serves them all. It is a fresh interpreter, not a fork: torch and numba's threads survive none. It ends
    when this process ends, however that happens, since its standard input ends then. One that dies takes only
    the job it had with it. One that is stopped by a signal of its own leaves its job to another one. Those
    that do not stop when they are asked to are killed after `GRACE`.

    Parameters
    ----------
    threads : int
        Processors in all.
    keep : sequence of int
        Descriptors of open files that the processes inherit, such as that of a lock.
    """

    def __init__(self, threads: int, keep: Sequence[int] = ()) -> None:
        self.threads = threads
        self.keep = tuple(keep)

    def map(
        self, task: Task, jobs: Sequence[Job], report: Report, stopped: Callable[[], bool]
    ) -> Generator[tuple[int, Outcome], None, None]:
        """Yield outcomes as they come; see `Executor.map`."""
        return _ProcessPool(task, jobs, self.threads, self.keep).carry_out(report, stopped)


class _ProcessPool:
    """The processes of one `LocalProcesses.map`, and the jobs that wait for them."""

    def __init__(self, task: Task, jobs: Sequence[Job], threads: int, keep: Sequence[int]) -> None:
        self.task, self.jobs, self.threads, self.keep = task, jobs, threads, keep
        self.waiting = deque(range(len(jobs)))
        self.workers: list[WorkerProcess] = []
        self.signalled: Counter[int] = Counter()
        #: When the processes were asked to stop.
        self.asked: float | None = None
        self.selector = selectors.DefaultSelector()

    def carry_out(
        self, report: Report, stopped: Callable[[], bool]
    ) -> Generator[tuple[int, Outcome], None, None]:
        """Yield outcomes as they come."""
        try:
            for number, share in enumerate(shares(self.threads, len(self.jobs))):
                self._hire(number, share)
            while self.selector.get_map():
                self._ask(stopped)
                for key, _ in self.selector.select(POLL):
                    worker = key.data
                    said = [*worker.hear()]
                    if worker.ended:
                        self.selector.unregister(key.fileobj)
                        said += worker.bury(self.asked is not None)
                    # A queue may send its signal to all: then this process has heard it, too.
                    self._ask(stopped)
                    for index, what in said:
                        if not isinstance(what, Outcome):
                            report(index, what)
                        elif (end := self._judged(index, what)) is not None:
                            yield index, end
                    if worker.ended:
                        if self.waiting:
                            self._hire(worker.number, worker.share)
                    elif worker.index is None and not worker.leaving:
                        self._occupy(worker)
        finally:
            self.selector.close()
            for worker in self.workers:
                worker.kill()

    def _hire(self, number: int, share: int) -> None:
        environment = notices.environment(speaks=not self.workers)
        worker = WorkerProcess(called(self.task), number, share, environment, keep=self.keep)
        self.workers.append(worker)
        self.selector.register(worker.output, selectors.EVENT_READ, worker)
        self._occupy(worker)

    def _occupy(self, worker: WorkerProcess) -> None:
        """Let a process begin with the next job; without one, leave."""
        if self.waiting:
            index = self.waiting.popleft()
            worker.begin(index, self.jobs[index])
        else:
            worker.leave()

    def _ask(self, stopped: Callable[[], bool]) -> None:
        """Ask all to stop, once, if that is wanted; end those that cannot hear it."""
        if self.asked is None and stopped():
            self.asked = time.monotonic()
            self.waiting.clear()
            for worker in self.workers:
                worker.stop()
        if self.asked is not None and time.monotonic() > self.asked + GRACE:
            for worker in self.workers:
                worker.end()

    def _judged(self, index: int, end: Outcome) -> Outcome | None:
        """Return the outcome of a job; None if it is to be tried again."""
        if end.kind in ("failed", "done"):
            return end
        if end.kind == "lost" and self.asked is None:
            # By the system, for want of memory: that it would do again.
            return Outcome("failed", end.why)
        if end.kind in ("stopped", "lost") or self.asked is not None:
            return Outcome("stopped", end.why)
        self.signalled[index] += 1
        if self.signalled[index] > TRIES:
            return Outcome("failed", f"its process was stopped {end.why}, {TRIES + 1} times")
        self.waiting.appendleft(index)
        return None


def shares(threads: int, jobs: int) -> list[int]:
    """Return how many processors each process gets: one, or more where jobs are fewer than processors."""
    count = max(1, min(threads, jobs))
    return [threads // count + (k < threads % count) for k in range(count)] if jobs else []
