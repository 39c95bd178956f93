"""One process carries its share of a run, from the first step or a checkpoint to the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr

from langevin.config.settings import Settings
from langevin.core import engine
from langevin.core.capabilities import HasCoordinates, MeasuresAtEnd
from langevin.core.probe import Run, with_dimensions
from langevin.errors import Diverged, Interrupted, one_line
from langevin.files import storage
from langevin.files.paths import Paths
from langevin.files.raw_records import Stored, Trajectory
from langevin.machine import pace
from langevin.machine.ahead import uncollected
from langevin.machine.interruption import Interruption
from langevin.machine.pace import Pace
from langevin.machine.world import CommonPace, World
from langevin.record import bath
from langevin.record.configurations import StoredProbe, constants
from langevin.record.recorder import AXES, COORDINATES, Recorder
from langevin.record.references import References
from langevin.speech import command

from .log import Log
from .progress import Progress, preparing
from .tracking import Tracking

Value = TypeVar("Value")

#: How the names of arrays begin that a probe has in a checkpoint.
PROBE = "probe."

#: What is said of a run that leaves nothing behind.
LOST = "nothing of it is kept, for there is no output.path"


@dataclass(frozen=True)
class Manner:
    """How a process carries out runs.

    Attributes
    ----------
    stop : Interruption
        Whether it is asked to stop.
    threads : int or None
        Processors to use; None: all.
    progress : bool
        Show a bar, or lines where no terminal is.
    watch : callable or None
        Called about twice a second with the part of the run that is done, from 0 to 1.
    limit : float or None
        Bytes that `configurations = "auto"` stores at most; None: `record.configurations.TRAJECTORY_LIMIT`.
    world : World or None
        The processes that carry them together; None: this one alone.
    """

    stop: Interruption
    threads: int | None = None
    progress: bool = False
    watch: Callable[[float], None] | None = None
    limit: float | None = None
    world: World | None = None

    @property
    def follows(self) -> bool:
        """Whether another process leads this one, and has the files."""
        return self.world is not None and not self.world.leads

    def shared(self, task: Callable[[], Value]) -> Value:
        """Return what a task returns that one process of those that work together carries out."""
        return task() if self.world is None else self.world.shared(task)

    def pace(self, time_step: float | None) -> Pace:
        """Return the pace of a run."""
        return Pace(time_step) if self.world is None else CommonPace(self.world, time_step)

    @cached_property
    def log(self) -> Log:
        """Lines of this process, where stderr is no terminal."""
        return Log(self.progress)


def going_on(settings: Settings, paths: Paths) -> str:
    """Say how a run that has a checkpoint, or a folder, goes on; or that nothing is left of it."""
    return f"continue with {command('resume', paths.result)}" if settings.output.path else LOST


class Session:
    """One process's share of a run: its files, its progress, its wall time.

    Parameters
    ----------
    settings : Settings
    attributes : mapping
        Global attributes of the result.
    paths : Paths
        Locked by the caller.
    run : Run
        Where it stands.
    recorder : Recorder
        What keeps its measurements.
    references : References
    manner : Manner
    wall_before : float
        Seconds that processes before have spent on it.
    checksums : mapping, optional
        Name of a stored variable → what `Trajectory.noted` said of it in the checkpoint.
    """

    def __init__(
        self,
        settings: Settings,
        attributes: Mapping[str, Any],
        paths: Paths,
        run: Run,
        recorder: Recorder,
        references: References,
        manner: Manner,
        wall_before: float = 0.0,
        checksums: Mapping[str, str] | None = None,
    ) -> None:
        self.settings, self.attributes, self.paths, self.run = settings, attributes, paths, run
        self.recorder, self.references, self.stop, self.manner = recorder, references, manner.stop, manner
        self.began = self.due = self._ticked = time.monotonic()
        self.wall_before = wall_before
        stored = [s for probe in run.probes if isinstance(probe, StoredProbe) for s in probe.stored]
        self.trajectories = self._opened(stored, checksums or {})
        #: Time and position that the last checkpoint holds, and how long it took to write.
        self._held: tuple[float, int] | None = None
        self._took, self._lapses = 0.0, (0.0, 0.0)
        result = paths.result if settings.output.path else None
        self.tracking = Tracking(settings, paths, run)
        self.progress = Progress(run, recorder, settings.title, result, manner.progress, manner.log)

    def _opened(self, stored: Sequence[Stored], checksums: Mapping[str, str]) -> list[Trajectory]:
        """Return the files of what is stored as the run goes on, and let the recorder write there."""
        run = self.run
        trajectories = [Trajectory(self.paths.raw(s.name), s, run.ensemble.size) for s in stored]
        self.recorder.raw = {trajectory.stored.name: trajectory for trajectory in trajectories}
        for trajectory in trajectories:
            trajectory.require(run.position, checksums.get(trajectory.stored.name, ""))
        return trajectories

    def carry_out(self) -> Path:
        """Run to the end; leave a result, or a checkpoint if stopped, or both files' reason why not."""
        try:
            self._carry_out()
        except Interrupted as error:
            # Whatever was interrupted can be done again, from the last stretch on.
            if self._held != (self.run.time, self.run.position):
                self._checkpoint()
            raise error.saying(f" at t = {self.run.time:g}; {going_on(self.settings, self.paths)}") from None
        finally:
            self.progress.close()
            self.tracking.close()
        return self.paths.result

    def _carry_out(self) -> None:
        # Written first: a path that cannot be written is known before anything is computed.
        with uncollected():
            # With its first arrays xarray loads what it knows of other arrays.
            self._checkpoint()
        # The next one soon: from then on it can be opened and plotted.
        self.due = min(self.due, self.began + pace.STRETCH)
        try:
            common = self.manner.pace(self.run.system.time_step)
            engine.run(self.run, self._tick, self.progress.stop, self.stop.at_once, common)
            if isinstance(self.run.system, MeasuresAtEnd):
                self._measure_end(self.run.system)
        except Diverged as error:
            self._finish(status=f"diverged: {one_line(str(error))}")
            kept = f"what was measured until then is in {self.paths.result}"
            raise Diverged(f"{error}; {kept if self.settings.output.path else LOST}") from None
        self.progress.close()
        self._finish(status="complete")

    def _tick(self, run: Run) -> None:
        self.progress.stretch(run)
        if self.manner.watch is not None:
            self.manner.watch(self._part())
        lapses = self._lapses[-1], time.monotonic() - self._ticked
        self.stop.agree()
        if self.stop.asked or time.monotonic() >= self.due:
            self._checkpoint()
            self.progress.skip()
        self._ticked = time.monotonic()
        # What may pass until the next tick (a single stretch may compile), and writing, twice what it took.
        self._lapses = lapses
        self.stop.reserve(min(lapses) + 2 * self._took)
        self.stop.heed()

    def _part(self) -> float:
        """Return which part of the run is done: of the seconds it takes, or of its time if nobody measures.

        Until its pace is known a run has done nothing: the part of its time says nothing of how long it
        takes, and a forecast for a sweep would be made of that.
        """
        left = self.progress.left
        if left is None:
            return 0.0 if self.progress.forecasts else self.progress.part(self.run.time)
        spent = self._spent()
        return spent / (spent + left)

    def _spent(self) -> float:
        """Return the seconds that the run has taken."""
        return self.wall_before + time.monotonic() - self.began

    def _measure_end(self, system: MeasuresAtEnd) -> None:
        """Measure what is measured once; if it is interrupted, it is done again, and nothing else."""
        run = self.run
        self._checkpoint()
        self.progress.close()
        manner, title = self.manner, self.settings.title
        with self.stop.at_once(), preparing(title, manner.progress, system.end_name, log=manner.log):
            values = with_dimensions(system.at_end(run.state), self.recorder.dimensions)
            self.recorder.store((), (), values)

    def _dataset(self, status: str) -> xr.Dataset:
        run = self.run
        attributes, axes = dict(run.system.attributes()), dict[str, None]()
        coordinates = (
            dict(run.system.coordinates(run.schedule)) if isinstance(run.system, HasCoordinates) else {}
        )
        coordinates |= bath.coordinates(self.settings.dynamics, run.schedule, attributes)
        for probe in run.probes:
            own = [axis for axis in probe.axes if axis not in AXES]
            attributes |= {
                axis: {"long_name": f"time of {probe.name}"} for axis in own if axis not in COORDINATES
            }
            attributes |= probe.attributes()
            coordinates |= probe.coordinates()
            axes |= dict.fromkeys(own)
        dataset = self.recorder.dataset(attributes, coordinates, axes).assign(constants(run))
        dataset.attrs = {**self.attributes, "wall_time_seconds": round(self._spent(), 3), "status": status}
        return dataset

    def _checkpoint(self) -> None:
        run, began = self.run, time.monotonic()
        # What the checkpoint relies on is on the disk before it.
        for trajectory in self.trajectories:
            trajectory.flush()
        self.references.write(run.references)
        dataset = self._dataset(status=f"unfinished: t = {run.time:g}")
        notes = {
            **self.settings.noted,
            "noise": run.noise.state_dict(),
            "time": run.time,
            "position": run.position,
            "references": self.references.places,
            "checksums": {trajectory.stored.name: trajectory.noted() for trajectory in self.trajectories},
            "wall_time": dataset.attrs["wall_time_seconds"],
            "attributes": dict(self.attributes),
        }
        arrays = dict(run.system.state_dict(run.state))
        for probe in run.probes:
            arrays |= {f"{PROBE}{probe.name}.{name}": array for name, array in probe.state_dict().items()}
        storage.write_checkpoint(self.paths.checkpoint, dataset, arrays, notes)
        self.references.settle()
        self.tracking.show(dataset)
        now = time.monotonic()
        self._held, self._took = (run.time, run.position), now - began
        self.due = now + pace.rest(self.settings.output.checkpoint_interval, now - began)

    def _finish(self, status: str) -> None:
        dataset = self._dataset(status)
        storage.write_result(dataset, self.paths.result, self.trajectories, self.run.position)
        self.tracking.show(dataset)
        for trajectory in self.trajectories:
            trajectory.close()
        self.references.close()
        self.paths.discard()
