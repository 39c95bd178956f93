"""Members run one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial

from langevin.errors import Interrupted, LangevinError

from .base import Job, Outcome, Report, Task


class InProcess:
    """One job after the other, in this process, which hears Ctrl-C itself.

    Parameters
    ----------
    threads : int
        Processors for each job.
    keep : sequence of int
        Not needed: this process holds the lock itself.
    """

    def __init__(self, threads: int = 1, keep: Sequence[int] = ()) -> None:
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
                yield index, Outcome("stopped", error.how)
                return
            except LangevinError as error:
                yield index, Outcome("failed", str(error))
            else:
                yield index, Outcome("done")
