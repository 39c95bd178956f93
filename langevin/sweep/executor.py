"""Where members are computed: the protocol `Executor`, in this process, or in several of this machine."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from langevin import notices
from langevin.errors import Interrupted, LangevinError

#: What a task is given: only what JSON can hold, so that it may cross to any process.
Job: TypeAlias = Mapping[str, Any]
#: A function of a module: job, number of processors, and whom to tell which part is done.
Task: TypeAlias = Callable[[Job, int, Callable[[float], None]], None]
#: Called with the index of a job and the part of it that is done, from 0 to 1.
Report: TypeAlias = Callable[[int, float], None]

#: Seconds after which `stopped` is asked again.
POLL = 0.2

#: A process begins with the module path of this one: what this one has imported, it can import, too.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from langevin.sweep.worker import main; main()"
)


class Outcome(NamedTuple):
    """How a job ended.

    Attributes
    ----------
    kind : "done", "failed" or "stopped"
    why : str
        One line for a job that failed or was stopped.
    """

    kind: Literal["done", "failed", "stopped"]
    why: str = ""


class Executor(Protocol):
    """Carries out jobs, in any order and anywhere."""

    threads: int
    """Processors that it uses in all."""

    def map(
        self, task: Task, jobs: Sequence[Job], report: Report, stopped: Callable[[], bool]
    ) -> Generator[tuple[int, Outcome], None, None]:
        """Yield the index of each job with its outcome, when it ends.

        Parameters
        ----------
        task : callable
            Carries out one job. A `LangevinError` that it raises is the failure of this job alone.
        jobs : sequence of mapping
        report : callable
            Told every now and then how far a job is.
        stopped : callable
            From when on it returns true, no further job begins, and those under way are asked to stop. Jobs
            that did not begin are not yielded.
        """


class InProcess:
    """One job after the other, in this process, which hears Ctrl-C itself.

    Parameters
    ----------
    threads : int
        Processors for each job.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def map(
        self, task: Task, jobs: Sequence[Job], report: Report, stopped: Callable[[], bool]
    ) -> Generator[tuple[int, Outcome], None, None]:
        """Yield outcomes in the order of the jobs; see `Executor.map`."""
        for index, job in enumerate(jobs):
            if stopped():
                return
            try:
                task(job, self.threads, partial(report, index))
            except Interrupted as error:
                yield index, Outcome("stopped", str(error))
                return
            except LangevinError as error:
                yield index, Outcome("failed", str(error))
            else:
                yield index, Outcome("done")


class LocalProcesses:
    """Jobs side by side in processes of this machine, each with its share of the processors.

    As many processes as processors, or as jobs if these are fewer. A process takes one job after the other,
    so that what it has imported and compiled serves them all. It is a fresh interpreter, not a fork: torch
    and numba's threads survive none. It ends when this process ends, however that happens, since its standard
    input ends then. One that dies takes only the job it had with it.

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
        waiting, asked = deque(range(len(jobs))), False
        crew: list[_Worker] = []
        with selectors.DefaultSelector() as selector:

            def hire(share: int) -> None:
                worker = _Worker(task, share, self.keep, speaks=not crew)
                crew.append(worker)
                selector.register(worker.output, selectors.EVENT_READ, worker)
                worker.take(waiting, jobs)

            try:
                for share in shares(self.threads, len(jobs)):
                    hire(share)
                while selector.get_map():
                    if stopped() and not asked:
                        asked = True
                        waiting.clear()
                        for worker in crew:
                            worker.stop()
                    for key, _ in selector.select(POLL):
                        worker = key.data
                        for index, said in worker.hear():
                            if isinstance(said, Outcome):
                                yield index, said
                            else:
                                report(index, said)
                        if worker.ended:
                            selector.unregister(key.fileobj)
                            if (lost := worker.bury(asked)) is not None:
                                yield lost
                            if waiting:
                                hire(worker.share)
                        elif worker.index is None and not worker.leaving:
                            worker.take(waiting, jobs)
            finally:
                for worker in crew:
                    worker.kill()


def shares(threads: int, jobs: int) -> list[int]:
    """Return how many processors each process gets: one, or more where jobs are fewer than processors."""
    count = max(1, min(threads, jobs))
    return [threads // count + (k < threads % count) for k in range(count)] if jobs else []


class _Worker:
    """A process that carries out jobs (`langevin.sweep.worker`): it is told, and answers, lines of JSON."""

    def __init__(self, task: Task, share: int, keep: Sequence[int], speaks: bool) -> None:
        self.share = share
        self.index: int | None = None
        self.ended = self.leaving = False
        self._rest = b""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=keep,
            env=notices.environment(speaks),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self.output = self._process.stdin, self._process.stdout
        self._say({"task": f"{task.__module__}:{task.__qualname__}", "threads": share})

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

    def bury(self, asked: bool) -> tuple[int, Outcome] | None:
        """Return the job that it died over, if it did."""
        code = self._process.wait()
        if self.index is None:
            return None
        index, self.index = self.index, None
        if asked:
            return index, Outcome("stopped")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return index, Outcome("failed", f"its process ended ({how})")

    def kill(self) -> None:
        """Make sure that nothing is left of it."""
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._input, self.output):
            pipe.close()
        self._process.wait()
