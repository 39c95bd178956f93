"""The loop advances a system from stop to stop and measures what is due. It knows nothing of any system."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from langevin.errors import UserError
from langevin.machine.pace import Pace

from .capabilities import MovesInPlace
from .ensemble import Ensemble
from .noise import Noise
from .probe import Measurement, Records
from .schedule import Schedule, Stop
from .system import Configuration, Reference, State, System


@dataclass
class Run:
    """A run and where it stands: all that a checkpoint has to keep.

    Attributes
    ----------
    probes : sequence of Measurement
        What is measured at stops, in this order.
    state : State
        State at `time`.
    position : int
        Index of the next stop of the schedule.
    references : dict
        Index of a waiting time → what `System.reference` kept there, until its last pair.
    """

    system: System
    ensemble: Ensemble
    schedule: Schedule
    probes: Sequence[Measurement]
    records: Records
    noise: Noise
    state: State
    time: float = 0.0
    position: int = 0
    references: dict[int, Reference] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find out how long each reference is needed."""
        #: Index of a waiting time → that of the stop with its last pair; without any, nothing is kept.
        self.needed = {waiting: stop.index for stop in self.schedule.stops for waiting, _ in stop.pairs}
        self._configuration: Configuration | None = None

    def configuration(self) -> Configuration:
        """Return the configuration at a stop, shape (R, dof); it must not be changed.

        Asked for only if someone wants it, and once for all: of a large network it is a copy of every weight.

        Raises
        ------
        UserError
            If the system has none.
        """
        if self._configuration is None:
            self._configuration = self.system.configuration(self.state)
        if self._configuration is None:
            raise UserError("the system has no configuration that could be measured or stored")
        return self._configuration

    def measure(self, stop: Stop) -> None:
        """Measure what is due at a stop, and keep the reference of a waiting time that begins."""
        for probe in self.probes:
            for place, values in probe.taken(self, stop):
                self.records.store(probe.axes, place, values)
        if stop.waiting in self.needed:
            self.references[stop.waiting] = self.system.reference(self.state)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Inside is measured; probes are what they were before if an exception leaves it."""
        before = [probe.state_dict() for probe in self.probes]
        done = False
        try:
            yield
            done = True
        finally:
            self._configuration = None
            if not done:
                for probe, saved in zip(self.probes, before, strict=True):
                    probe.load_state(saved)


def run(
    run: Run,
    tick: Callable[[Run], None],
    passed: Callable[[], None],
    measuring: Callable[[], AbstractContextManager[None]] = nullcontext,
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
    """
    pace, system = Pace(run.system.time_step), run.system
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
