"""The loop: schedule → advance → measure → compare → keep references. It knows nothing of any system."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from langevin.noise import Noise
from langevin.recorder import Recorder
from langevin.schedule import Schedule, Stop
from langevin.system import Reference, State, System, optional

#: Wall time, in seconds, of one call to `advance`: how soon progress shows and Ctrl-C is heard.
STRETCH = 0.5


@dataclass
class Run:
    """A run and where it stands: all that a checkpoint has to keep.

    Attributes
    ----------
    state : State
        State at `time`.
    position : int
        Index of the next stop of the schedule.
    references : dict
        Index of a waiting time → what `System.reference` kept there.
    """

    system: System
    schedule: Schedule
    recorder: Recorder
    noise: Noise
    state: State
    time: float = 0.0
    position: int = 0
    references: dict[int, Reference] = field(default_factory=dict)


def run(run: Run, tick: Callable[[Run], None], keep: Callable[[Stop, State], None]) -> None:
    """Carry a run to its end.

    Parameters
    ----------
    run : Run
        Advanced in place, so that it is valid whenever an exception leaves this function.
    tick : callable
        Called after every stretch, about twice a second: progress, checkpoints, interruption.
    keep : callable
        Called at every stop with the stop and the state: stores the configuration.
    """
    pace = Pace(run.system.time_step)
    for stop in run.schedule.since(run.position):
        for end in pace.stretches(run.time, stop.time):
            run.state = run.system.advance(run.state, run.time, end, run.noise)
            run.time = end
            tick(run)
        record(run, stop)
        keep(stop, run.state)
        run.position = stop.index + 1


def record(run: Run, stop: Stop) -> None:
    """Measure what is due at a stop."""
    run.recorder.measure(stop, run.system.measure(run.state))
    for waiting, lag in stop.pairs:
        run.recorder.compare(waiting, lag, run.system.compare(run.references[waiting], run.state))
    if stop.waiting is not None:
        run.recorder.wait(stop.waiting, optional(run.system, "at_waiting")(run.state))
        run.references[stop.waiting] = run.system.reference(run.state)


class Pace:
    """Cuts long gaps into stretches of about `STRETCH` seconds; the first is one step, which may be long.

    Where it cuts depends on the clock, the result does not: the noise of a step is the same in any stretch.
    """

    def __init__(self, time_step: float | None) -> None:
        self.time_step = time_step
        self.steps = 1

    def stretches(self, start: float, end: float) -> Iterator[float]:
        """Yield the ends of the stretches from `start` to `end`; nothing if they coincide."""
        if self.time_step is None:
            if end > start:
                yield end
            return
        now, last = round(start / self.time_step), round(end / self.time_step)
        while now < last:
            asked = min(self.steps, last - now)
            now += asked
            began = time.perf_counter()
            yield end if now == last else now * self.time_step
            # At most fourfold up: one quick stretch must not promise a long one.
            ratio = STRETCH * asked / (self.steps * max(time.perf_counter() - began, 1e-6))
            self.steps = max(1, int(self.steps * min(4.0, max(0.25, ratio))))
