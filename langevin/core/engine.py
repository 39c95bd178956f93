"""The loop advances a system from stop to stop and measures what is due. It knows nothing of any system."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from langevin.machine.pace import Pace

from .capabilities import MovesInPlace
from .probe import Run


def run(
    run: Run,
    tick: Callable[[Run], None],
    passed: Callable[[], None],
    measuring: Callable[[], AbstractContextManager[None]] = nullcontext,
    pace: Pace | None = None,
) -> None:
    """Carry a run to its end.

    Parameters
    ----------
    run : Run
        Advanced in place, so that it is valid whenever an exception leaves this function.
    tick : callable
        Called after every stretch, about twice a second: progress, checkpoints, interruption.
    passed : callable
        Called after every stop.
    measuring : callable
        Returns a context in which is measured. It may be left by an exception at any time: what is due at a
        stop is then measured again, from its beginning, when the run goes on.
    pace : Pace, optional
        What cuts the way into stretches (default: the clock of this process).
    """
    system = run.system
    pace = Pace(system.time_step) if pace is None else pace
    move = system.move if isinstance(system, MovesInPlace) else system.advance
    for stop in run.schedule.since(run.position):
        for end in pace.stretches(run.time, stop.time):
            run.state = move(run.state, run.time, end, run.noise)
            run.time = end
            pace.advanced()
            tick(run)
        with run.looking(), measuring():
            run.measure(stop)
        passed()
        run.position = stop.index + 1
        # Their last pair is measured; not before, for what is measured again needs them again.
        for waiting in {waiting for waiting, _ in stop.pairs if run.needed[waiting] == stop.index}:
            del run.references[waiting]
