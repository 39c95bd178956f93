"""An executor carries out the members of a sweep: what it is given, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from langevin.errors import LangevinError

#: What a task is given: only what JSON can hold, so that it may cross to any process.
Job: TypeAlias = Mapping[str, Any]
#: A function of a module: job, number of processors, and whom to tell which part is done.
Task: TypeAlias = Callable[[Job, int, Callable[[float], None]], None]
#: Called with the index of a job and the part of it that is done, from 0 to 1.
Report: TypeAlias = Callable[[int, float], None]


class Outcome(NamedTuple):
    """How a job ended.

    Attributes
    ----------
    kind : "done", "failed", "stopped", "signalled" or "lost"
        "signalled": its process was stopped by a signal, and nobody here had asked for it; "lost": it was
        killed, or where it ran is gone. An executor tries these again, or takes them for failed; it yields
        neither.
    why : str
        What went wrong with a job that failed; of one that was stopped what follows "stopped".
    """

    kind: Literal["done", "failed", "stopped", "signalled", "lost"]
    why: str = ""


class Abandoned(LangevinError):
    """What carries out the jobs is gone; no job is lost by it."""


class Unfit(Abandoned):
    """What was to carry out the jobs cannot serve, as it was set up (exit code 2)."""

    exit_code = 2


@runtime_checkable
class Remote(Protocol):
    """An executor whose jobs may be done elsewhere: it carries a single run as one job, too."""

    def check(self) -> None:
        """Raise `UserError` if it cannot serve; called before anything is written."""


class Executor(Protocol):
    """Carries out jobs, in any order and anywhere.

    A registered class is built as ``Executor(threads, keep)``: processors in all, and descriptors of open
    files that hold the lock of the sweep, which processes of this machine inherit.
    """

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

        Raises
        ------
        Abandoned
            If it cannot go on. Jobs under way have been asked to write their checkpoints.
        """
