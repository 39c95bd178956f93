"""A run from settings to file: prepare, carry on, checkpoint, resume, finish."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from langevin import beginning, config, engine, pace, provenance, storage, trajectories
from langevin.config import Settings
from langevin.dynamics import Langevin
from langevin.engine import Run
from langevin.ensemble import Ensemble
from langevin.errors import Diverged, Interrupted, LangevinError, UserError
from langevin.interruption import listening
from langevin.noise import Noise
from langevin.progress import Progress, preparing
from langevin.recorder import Recorder
from langevin.references import References
from langevin.schedule import Schedule, Stop
from langevin.schemes import SchemeName
from langevin.sizes import room_explained
from langevin.spectra import Spectra, described
from langevin.storage import Paths, Stored, Trajectory
from langevin.system import Data, State, System, optional, overrides


def run(
    source: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
    threads: int | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Run a simulation and return its result.

    Parameters
    ----------
    source : path or mapping
        A run file, or a dict of the same shape. A dict without ``output.path`` leaves no file behind.
    overrides : mapping, optional
        "section.key" → value, for instance ``{"dynamics.temperature": 0.6}``.
    force : bool
        Overwrite an existing result, discard an unfinished run.
    threads : int, optional
        Processors to use (default: all that this process may). The result does not depend on it.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Dataset
        Dimensions replica, time, waiting_time, lag; opened lazily from the result file. With [sweep], one
        more in front for every swept key: `langevin.members` takes them apart again.

    Raises
    ------
    ConfigError
        All faults of the run file at once.
    Diverged
        The physics broke; what was measured until then is in the file.
    """
    settings = config.load(source, overrides)
    if settings.output.path:
        return open(execute(settings, force=force, threads=threads, progress=progress))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.nc"
        with open(execute(settings, path, threads=threads, progress=progress)) as dataset:
            return dataset.load()


def resume(path: str | Path, *, threads: int | None = None, progress: bool = False) -> xr.Dataset:
    """Continue a run from its checkpoint; the result is bitwise that of an uninterrupted run.

    Parameters
    ----------
    path : path
        The result file that the run was to write, or its checkpoint.
    threads, progress
        As for `run`.
    """
    return open(execute_resume(path, threads=threads, progress=progress))


def open(path: str | Path) -> xr.Dataset:
    """Open a result file lazily, as `xarray.open_dataset` does; an unreadable one is one clear error."""
    return storage.open_result(path)


def execute(
    settings: Settings,
    path: Path | None = None,
    *,
    force: bool = False,
    threads: int | None = None,
    progress: bool = False,
    watch: Callable[[float], None] | None = None,
    limit: float | None = None,
) -> Path:
    """Carry out a run, or every member of a sweep, from its start and return the path of the result.

    Parameters
    ----------
    settings : Settings
    path : Path, optional
        Where the result goes (default: `output.path`).
    force, threads, progress
        As for `run`.
    watch : callable, optional
        Called about twice a second with the part of the time that is done, from 0 to 1.
    limit : float, optional
        Bytes that `configurations = "auto"` stores at most (default: `trajectories.TRAJECTORY_LIMIT`).
    """
    paths = Paths(path or Path(settings.output.path))
    paths.check(force, settings.output.figure)
    with paths.locked() as lock:
        if settings.sweep is not None:
            from langevin.sweep import execution

            paths.discard()
            return execution.start(settings, paths, execution.local(threads, lock), progress)
        begins = beginning.read(settings)
        with room_explained():
            run, ensemble, data = _prepare(settings, threads, begins.generation if begins else 0)
        with room_explained(), preparing(settings.title, progress):
            run.state = run.system.initial_state(run.noise)
        if begins:
            begins.apply(run)
        stored = trajectories.plan(settings.record, run, limit)
        if run.spectra is not None and run.schedule.hessian_times.size:
            run.spectra.require_room(trajectories.degrees_of_freedom(run))
        # An unfinished run goes only now, when nothing of the new one can be refused any more; an old
        # result stays until the new one replaces it.
        paths.discard()
        attributes = provenance.attributes(settings, ensemble, run.system, data)
        attributes |= begins.attributes if begins else {}
        references = References(paths.references)
        session = _Session(settings, attributes, paths, run, stored, references, progress)
        return session.carry_out(watch)


def execute_resume(
    path: str | Path,
    *,
    threads: int | None = None,
    progress: bool = False,
    watch: Callable[[float], None] | None = None,
    limit: float | None = None,
) -> Path:
    """Carry on a run from its checkpoint, or a sweep; parameters and result are those of `execute`."""
    paths = _find_unfinished(Path(path))
    with paths.locked() as lock:
        if paths.sweeping:
            from langevin.sweep import execution

            return execution.resume(paths, execution.local(threads, lock), progress)
        return _resume(paths, threads, progress, limit).carry_out(watch)


def _resume(paths: Paths, threads: int | None, progress: bool, limit: float | None) -> _Session:
    dataset, arrays, notes = storage.read_checkpoint(paths.checkpoint)
    settings = config.load(notes["settings"], folder=Path(notes["folder"]))
    with room_explained():
        run, _, data = _prepare(settings, threads, beginning.generation(notes["attributes"]))
    _require_same(data, run.system, notes["attributes"], paths)
    if not np.array_equal(dataset["time"], run.schedule.times):
        raise UserError(f"{paths.checkpoint}: another version began the run, with other times; run it anew")
    run.recorder.restore(dataset)
    run.noise.load_state(notes["noise"])
    run.time, run.position = notes["time"], notes["position"]
    references = References(paths.references, notes["references"])
    load = optional(run.system, "load_reference")
    run.references = {index: load(array) for index, array in references.read().items()}
    run.state = run.system.load_state(arrays)
    attributes = notes["attributes"]
    attributes["history"] += f"\n{provenance.history_line('resume')}, {provenance.where(run.system)}"
    stored = trajectories.plan(settings.record, run, limit)
    return _Session(settings, attributes, paths, run, stored, references, progress, notes["wall_time"])


def _require_same(data: Data | None, system: System, attributes: Mapping[str, Any], paths: Paths) -> None:
    """Refuse to go on with other data, or other contents of files, than the run began with."""
    learned = "" if data is None else data.attributes.get("hash", "")
    read = getattr(system, "inputs_hash", "")
    for what, found in (("data", learned), ("inputs", read)):
        if found != (began := attributes.get(f"{what}_hash", "")):
            raise UserError(
                f"{paths.checkpoint}: the run began with {what} of hash {began}; those found: {found}"
            )


def _find_unfinished(path: Path) -> Paths:
    if path.suffix != ".nc":
        raise UserError(f"{path}: give the result (name.nc) that the run was to write, or its checkpoint")
    if path.name.endswith(".checkpoint.nc"):
        paths = Paths(path.with_name(path.name.removesuffix(".checkpoint.nc") + ".nc"))
    else:
        paths = Paths(path)
    if not (paths.checkpoint.exists() or paths.sweeping):
        done = f"{paths.result} is complete" if paths.result.exists() else f"there is no {paths.checkpoint}"
        raise UserError(f"nothing to resume: {done}")
    return paths


def load_data(settings: Settings, ensemble: Ensemble) -> Data | None:
    """Load what [data] names, for every quenched sample of the ensemble; None for a system without data."""
    if settings.data_class is None:
        return None
    data: Data = settings.data_class(settings.data).load(ensemble)
    return data


def build(settings: Settings, ensemble: Ensemble, data: Data | None = None) -> System:
    """Build the system of validated settings; a model with a force becomes a `Langevin` system.

    A system that learns from data is given them as a fourth argument: `data`, or what `load_data` returns.
    """
    if data is None:
        data = load_data(settings, ensemble)
    further = [] if data is None else [data]
    record = {"record": settings.record} if hasattr(settings.system_class, "Record") else {}
    made: Any = settings.system_class(settings.system, settings.dynamics, ensemble, *further, **record)
    if hasattr(made, "advance"):
        system: System = made
        return system
    dynamics = settings.dynamics
    # Keys of a model's own need not offer the choice.
    scheme: SchemeName = getattr(dynamics, "scheme", "euler_maruyama")
    return Langevin(made, dynamics.temperature, dynamics.dt, settings.record.response, scheme)


def _prepare(settings: Settings, threads: int | None, generation: int) -> tuple[Run, Ensemble, Data | None]:
    keys = settings.ensemble
    ensemble = Ensemble.regular(keys.replicas, keys.samples, keys.seed, threads, generation)
    data = load_data(settings, ensemble)
    system = build(settings, ensemble, data)
    record = settings.record
    grids = record.times, record.waiting_times, record.lags
    further = record.hessian, record.snapshot_grid(settings.dynamics)
    schedule = Schedule.build(*grids, settings.dynamics.t_max, system.time_step, *further)
    noise = Noise(keys.seed, ensemble.replica, generation)
    recorder = Recorder(schedule, ensemble, optional(system, "dimensions")())
    run = Run(system, schedule, recorder, noise, state=None, spectra=Spectra(record, ensemble))
    return run, ensemble, data


def measures_end(system: System) -> bool:
    """Return whether a system, or the model that is driven, measures anything when the run has ended."""
    return overrides(type(system.model if isinstance(system, Langevin) else system), "at_end")


class _Session:
    """One process's share of a run: its files, its progress, its wall time."""

    def __init__(
        self,
        settings: Settings,
        attributes: Mapping[str, Any],
        paths: Paths,
        run: Run,
        stored: Sequence[Stored],
        references: References,
        progress: bool,
        wall_before: float = 0.0,
    ) -> None:
        self.settings, self.attributes, self.paths, self.run = settings, attributes, paths, run
        self.references = references
        self.began = self.due = time.monotonic()
        self.wall_before = wall_before
        self.trajectories = [Trajectory(paths.raw(s.name), s, run.recorder.ensemble.size) for s in stored]
        for trajectory in self.trajectories:
            trajectory.require(run.position)
        self.stopped: str | None = None
        self.watch: Callable[[float], None] | None = None
        result = paths.result if settings.output.path else None
        self.shown, self.progress = progress, Progress(run, settings.title, result, progress)

    def carry_out(self, watch: Callable[[float], None] | None = None) -> Path:
        """Run to the end; leave a result, or a checkpoint if stopped, or both files' reason why not."""
        self.watch = watch
        try:
            with listening(self._note):
                # Written first: a path that cannot be written is known before anything is computed.
                self._checkpoint()
                # The next one soon: from then on it can be opened and plotted.
                self.due = min(self.due, self.began + pace.STRETCH)
                engine.run(self.run, self._tick, self._keep)
                if measures_end(self.run.system):
                    self._measure_end()
        except Diverged as error:
            self._finish(status=f"diverged: {error}")
            raise Diverged(f"{error}; what was measured until then is in {self.paths.result}") from None
        finally:
            self.progress.close()
        self._finish(status="complete")
        return self.paths.result

    def _tick(self, run: Run) -> None:
        self.progress.stretch(run)
        if self.watch is not None:
            self.watch(run.time / float(run.schedule.times[-1]))
        if self.stopped or time.monotonic() >= self.due:
            self._checkpoint()
            self.progress.skip()
        self._hear()

    def _hear(self) -> None:
        if self.stopped:
            raise Interrupted(
                f"stopped by {self.stopped} at t = {self.run.time:g}; "
                f"continue with `langevin resume {self.paths.result}`"
            )

    def _measure_end(self) -> None:
        """Measure what is measured once; if it is interrupted, it is done again, and nothing else."""
        run = self.run
        self._checkpoint()
        self.progress.close()
        named = getattr(run.system, "end_name", System.end_name)
        with preparing(self.settings.title, self.shown, named, self._hear):
            run.recorder.end(optional(run.system, "at_end")(run.state))

    def _keep(self, stop: Stop, state: State) -> None:
        due = [trajectory for trajectory in self.trajectories if trajectory.stored.due(stop.index)]
        if due:
            # Asked for only if someone wants it: of a large network it is a copy of every weight.
            x = self.run.system.configuration(state)
            if x is None:
                raise LangevinError("the system has no configuration, though it stated its size, `dof`")
            for trajectory in due:
                trajectory.write(stop.index, x)
        self.progress.stop()

    def _dataset(self, status: str) -> xr.Dataset:
        system = self.run.system
        coordinates = optional(system, "coordinates")(self.run.schedule)
        dataset = self.run.recorder.dataset(described(system.attributes()), coordinates)
        wall = self.wall_before + time.monotonic() - self.began
        dataset.attrs = {**self.attributes, "wall_time_seconds": round(wall, 3), "status": status}
        return dataset

    def _checkpoint(self) -> None:
        run, began = self.run, time.monotonic()
        # What the checkpoint relies on is on the disk before it.
        for trajectory in self.trajectories:
            trajectory.flush()
        self.references.write(run.references)
        dataset = self._dataset(status=f"unfinished: t = {run.time:g}")
        notes = {
            "settings": self.settings.given,
            "folder": str(self.settings.folder.resolve()),
            "noise": run.noise.state_dict(),
            "time": run.time,
            "position": run.position,
            "references": self.references.places,
            "wall_time": dataset.attrs["wall_time_seconds"],
            "attributes": dict(self.attributes),
        }
        storage.write_checkpoint(self.paths.checkpoint, dataset, run.system.state_dict(run.state), notes)
        now = time.monotonic()
        self.due = now + pace.rest(self.settings.output.checkpoint_interval, now - began)

    def _finish(self, status: str) -> None:
        storage.write_result(self._dataset(status), self.paths.result, self.trajectories, self.run.position)
        for trajectory in self.trajectories:
            trajectory.close()
        self.references.close()
        self.paths.discard()

    def _note(self, said: str) -> None:
        self.stopped = said
