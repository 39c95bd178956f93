"""The loop: schedule → advance → measure → compare → keep references. It knows nothing of any system."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from langevin.machine.pace import Pace
from langevin.record.hessian import Spectra
from langevin.record.recorder import Recorder

from .capabilities import ComparesAtLag, MeasuresAtWaiting, MovesInPlace
from .noise import Noise
from .schedule import Schedule, Stop
from .system import Reference, State, System


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
        Index of a waiting time → what `System.reference` kept there, until its last pair.
    spectra : Spectra, optional
        Measures the spectrum of the Hessian, where times for it are scheduled.
    """

    system: System
    schedule: Schedule
    recorder: Recorder
    noise: Noise
    state: State
    time: float = 0.0
    position: int = 0
    references: dict[int, Reference] = field(default_factory=dict)
    spectra: Spectra | None = None

    def __post_init__(self) -> None:
        """Find out how long each reference is needed."""
        #: Index of a waiting time → that of the stop with its last pair; without any, nothing is kept.
        self.needed = {waiting: stop.index for stop in self.schedule.stops for waiting, _ in stop.pairs}


def run(
    run: Run,
    tick: Callable[[Run], None],
    keep: Callable[[Stop, State], None],
    measuring: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Carry a run to its end.

    Parameters
    ----------
    run : Run
        Advanced in place, so that it is valid whenever an exception leaves this function.
    tick : callable
        Called after every stretch, about twice a second: progress, checkpoints, interruption.
    keep : callable
        Called at every stop with the stop and the state: stores the configuration.
    measuring : callable
        Returns a context in which is measured. It may be left by an exception at any time: what is due at a
        stop is then measured again, from its beginning, when the run goes on.
    """
    pace, system = Pace(run.system.time_step), run.system
    move = system.move if isinstance(system, MovesInPlace) else system.advance
    for stop in run.schedule.since(run.position):
        for end in pace.stretches(run.time, stop.time):
            run.state = move(run.state, run.time, end, run.noise)
            run.time = end
            pace.advanced()
            tick(run)
        with measuring():
            record(run, stop)
        keep(stop, run.state)
        run.position = stop.index + 1
        # Their last pair is measured; not before, for what is measured again needs them again.
        for waiting in {waiting for waiting, _ in stop.pairs if run.needed[waiting] == stop.index}:
            del run.references[waiting]


def record(run: Run, stop: Stop) -> None:
    """Measure what is due at a stop."""
    system = run.system
    run.recorder.measure(stop, system.measure(run.state))
    for waiting, lag in stop.pairs:
        pair = run.references[waiting], run.state
        if isinstance(system, ComparesAtLag):
            compared = system.compare_at(*pair, float(run.schedule.lags[lag]))
        else:
            compared = system.compare(*pair)
        run.recorder.compare(waiting, lag, compared)
    if stop.waiting is not None:
        waited = system.at_waiting(run.state) if isinstance(system, MeasuresAtWaiting) else {}
        run.recorder.wait(stop.waiting, waited)
        if stop.waiting in run.needed:
            run.references[stop.waiting] = run.system.reference(run.state)
    if stop.hessian is not None and run.spectra is not None:
        run.recorder.spectrum(stop.hessian, run.spectra.measure(run.system, run.state, stop.time))
