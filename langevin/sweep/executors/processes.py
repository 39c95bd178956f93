"""Members run side by side in processes of this machine."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from langevin.machine import notices
from langevin.machine.interruption import SIGNALS, by

from .base import Job, Outcome, Report, Task

#: Seconds after which `stopped` is asked again.
POLL = 0.2

#: Seconds after which a process that was asked to stop, and has not, is killed. Checkpoints are written
#: aside: at worst a job goes on from the one before.
GRACE = 60.0

#: How often a job is begun again whose process was stopped by a signal that did not come from here.
TRIES = 3

#: A process begins with the module path of this one: what this one has imported, it can import, too.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from langevin.sweep.worker import main; main()"
)


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
        self.workers: list[_Worker] = []
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
                        worker.take(self.waiting, self.jobs)
        finally:
            self.selector.close()
            for worker in self.workers:
                worker.kill()

    def _hire(self, number: int, share: int) -> None:
        worker = _Worker(self.task, number, share, self.keep, speaks=not self.workers)
        self.workers.append(worker)
        self.selector.register(worker.output, selectors.EVENT_READ, worker)
        worker.take(self.waiting, self.jobs)

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
        if end.kind == "stopped" or self.asked is not None:
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


class _Worker:
    """A process that carries out jobs (`langevin.sweep.worker`): it is told, and answers, lines of JSON."""

    def __init__(self, task: Task, number: int, share: int, keep: Sequence[int], speaks: bool) -> None:
        self.number, self.share = number, share
        self.index: int | None = None
        self.ended = self.leaving = False
        self._rest = b""
        self._process = subprocess.Popen(
            # -P: what stands in the working directory is not imported.
            [sys.executable, "-P", "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=keep,
            env=notices.environment(speaks),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self.output = self._process.stdin, self._process.stdout
        name = f"{task.__module__}:{task.__qualname__}"
        self._say({"task": name, "threads": share, "number": number})

    def _say(self, message: Mapping[str, Any]) -> None:
        rest = memoryview(json.dumps(message).encode() + b"\n")
        try:
            while rest:
                rest = rest[self._input.write(rest) :]
        except BrokenPipeError:
            # It has died; its output ends, too, and says so.
            self.leaving = True

    def take(self, waiting: deque[int], jobs: Sequence[Job]) -> None:
        """Begin with the next job; without one, leave."""
        if waiting:
            self.index = waiting.popleft()
            self._say({"job": dict(jobs[self.index])})
        else:
            self.leaving = True
            self._input.close()

    def stop(self) -> None:
        """Ask it to stop what it does."""
        if not self.leaving:
            self._say({"stop": True})
        if not self.ended:
            # Should it stand still, it does not hear.
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill it, if it is still there; its output ends then."""
        if not self.ended and self._process.poll() is None:
            self._process.kill()

    def hear(self) -> Iterator[tuple[int, Outcome | float]]:
        """Yield what it has said since."""
        heard = os.read(self.output.fileno(), 65536)
        self.ended = not heard
        *lines, self._rest = (self._rest + heard).split(b"\n")
        for line in lines:
            message = json.loads(line)
            assert self.index is not None
            if "at" in message:
                yield self.index, float(message["at"])
                continue
            index, self.index = self.index, None
            # After what nobody foresaw the process does not go on.
            self.leaving = self.leaving or message.get("leaving", False)
            yield index, Outcome(message["kind"], message["why"])

    def bury(self, asked: bool) -> Iterator[tuple[int, Outcome]]:
        """Yield the job that it died over, if it did; `asked`: it was to stop."""
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            # Its output has ended, and it goes on.
            self._process.kill()
            code = self._process.wait()
        if self.index is None:
            return
        index, self.index = self.index, None
        if asked:
            yield index, Outcome("stopped")
        elif -code in SIGNALS:
            # Before its run listened, or at a second one.
            yield index, Outcome("signalled", by(-code).how)
        else:
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            yield index, Outcome("failed", f"its process ended ({how})")

    def kill(self) -> None:
        """Make sure that nothing is left of it."""
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._input, self.output):
            pipe.close()
        self._process.wait()
