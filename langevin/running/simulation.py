"""A run from settings to file: begun, or taken up where it stands."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from langevin.code import trust
from langevin.code.trust import trusting
from langevin.code.user_code import Origin
from langevin.config import run_files
from langevin.config.keys import toml
from langevin.config.run_files import Settings
from langevin.core.dynamics import Langevin
from langevin.core.engine import Run
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.schedule import Schedule
from langevin.core.schemes import SchemeName
from langevin.core.system import Data, System, optional
from langevin.errors import FOREIGN, LangevinError, UserError, first_line
from langevin.files import provenance, storage
from langevin.files.destinations import refuse_links
from langevin.files.storage import Paths
from langevin.machine.interruption import interruptible, listening
from langevin.machine.memory import room_explained
from langevin.record import trajectory
from langevin.record.hessian import Spectra
from langevin.record.recorder import Recorder
from langevin.record.references import References
from langevin.results.open import open_result

from . import start as beginning
from . import unfinished
from .saved_start import Start, Unfinished
from .session import Manner, Session


def run(
    source: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
    resume: bool = False,
    threads: int | None = None,
    wall_time: float | str | None = None,
    progress: bool = False,
    trust: bool = False,
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
    resume : bool
        Go on where an unfinished run of the same settings stands; where its result is complete, do nothing.
    threads : int, optional
        Processors to use (default: all that this process may). The result does not depend on it.
    wall_time : float or str, optional
        After which time to write a checkpoint and stop: seconds, or "23h50m", "01:30:00", "1-12:00:00".
    progress : bool
        Show a progress bar.
    trust : bool
        Run the code, too, that files name which the run reads, such as ends of curves, even if this user has
        not run it before; `source` may name code in any case.

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
    Interrupted
        By Ctrl-C or another signal (heard in the main thread alone), or since the wall time is over; the
        message says how the run goes on. It is a `KeyboardInterrupt`.
    """
    with trusting(trust):
        settings = run_files.load(source, overrides)
        how: Any = {"threads": threads, "wall_time": wall_time, "progress": progress}
        if settings.output.path:
            return open(execute(settings, force=force, resume=resume, **how))
        if resume:
            raise UserError("resume: needs output.path, the file that a run goes on with")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "result.nc"
            with open(execute(settings, path, **how)) as dataset:
                return dataset.load()


def resume(
    path: str | Path,
    *,
    threads: int | None = None,
    wall_time: float | str | None = None,
    progress: bool = False,
    trust: bool = False,
) -> xr.Dataset:
    """Continue a run from its checkpoint; the result is bitwise that of an uninterrupted run.

    Parameters
    ----------
    path : path
        The result file that the run was to write, or its checkpoint.
    threads, wall_time, progress
        As for `run`.
    trust : bool
        Run the code that the checkpoint names even if this user has not run it before, or it has changed
        since, and remember it. Code in a file from somebody else can do whatever you can.
    """
    with trusting(trust):
        return open(execute_resume(path, threads=threads, wall_time=wall_time, progress=progress))


def open(path: str | Path) -> xr.Dataset:
    """Open a result file lazily, as `xarray.open_dataset` does; an unreadable one is one clear error."""
    return open_result(path)


def execute(
    settings: Settings,
    path: Path | None = None,
    *,
    force: bool = False,
    resume: bool = False,
    threads: int | None = None,
    wall_time: float | str | None = None,
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
    force, resume, threads, wall_time, progress
        As for `run`.
    watch : callable, optional
        Called about twice a second with the part of the time that is done, from 0 to 1.
    limit : float, optional
        Bytes that `configurations = "auto"` stores at most (default: `trajectories.TRAJECTORY_LIMIT`).
    """
    if force and resume:
        raise UserError("resume goes on where a run was, force begins anew: give one of them")
    paths = Paths(path or Path(settings.output.path))
    with listening(wall_time) as stop:
        manner = Manner(stop, threads, progress, watch, limit)
        if not resume:
            paths.check(force, settings.output.figure)
        trust.remember(settings.code)
        with paths.locked() as lock:
            found = unfinished.found(settings, paths) if resume else "nothing"
            if found == "complete":
                return paths.result
            if found == "unfinished":
                return _carry_on(paths, manner, lock)
            if resume:
                paths.check(force=False)
            if settings.sweep is not None:
                from langevin.sweep import execution

                paths.discard()
                return execution.start(settings, paths, execution.local(threads, lock), manner)
            return _begin(settings, paths, manner)


def execute_resume(
    path: str | Path,
    *,
    threads: int | None = None,
    wall_time: float | str | None = None,
    progress: bool = False,
    watch: Callable[[float], None] | None = None,
    limit: float | None = None,
) -> Path:
    """Carry on a run from its checkpoint, or a sweep; parameters and result are those of `execute`."""
    with listening(wall_time) as stop:
        paths = _find_unfinished(Path(path))
        with paths.locked() as lock:
            return _carry_on(paths, Manner(stop, threads, progress, watch, limit), lock)


def _begin(settings: Settings, paths: Paths, manner: Manner, left: Unfinished | None = None) -> Path:
    """Carry out a run from its start, or from what an earlier process has left of that."""
    start = Start(settings, paths, manner, left)
    with start.telling(), room_explained():
        begins = beginning.read(left.located(settings) if left else settings)
        run, ensemble, data = _prepare(settings, manner.threads, begins.generation if begins else 0)
        # What building it has imported, too.
        trust.remember(settings.code)
        attributes = provenance.attributes(settings, ensemble, run.system, data)
        attributes |= begins.attributes if begins else {}
        if left is not None:
            _require_same(data, run.system, left.attributes, paths)
            attributes = _resumed(left.attributes, settings, run.system)
        start.make(run, attributes)
        if begins:
            begins.apply(run)
        stored = trajectory.plan(settings.record, run, manner.limit)
        if run.spectra is not None and run.schedule.hessian_times.size:
            dof, times = trajectory.degrees_of_freedom(run), run.schedule.hessian_times.size
            rows = run.system.attributes().get("hessian", {}).get("rows")
            run.spectra.require_room(dof, times, rows)
    if not start.saved:
        # An unfinished run goes only now, when nothing of the new one can be refused any more; an old
        # result stays until the new one replaces it.
        paths.discard()
    references = References(paths.references)
    return Session(settings, attributes, paths, run, stored, references, manner).carry_out()


def _carry_on(paths: Paths, manner: Manner, lock: int) -> Path:
    """Carry on what is not finished."""
    if paths.sweeping:
        from langevin.sweep import execution

        return execution.resume(paths, execution.local(manner.threads, lock), manner)
    said = f" before it went on; continue with `langevin resume {paths.result}`"
    with interruptible(manner.stop, lambda: said), room_explained():
        dataset, arrays, notes = storage.read_checkpoint(paths.checkpoint)
        origin = Origin.of(paths.checkpoint, notes["attributes"].get("code"))
        settings = run_files.load(notes["settings"], folder=Path(notes["folder"]), origin=origin)
        left = Unfinished.read(arrays, notes)
        session = None if left else _restored(settings, paths, manner, dataset, arrays, notes)
    return session.carry_out() if session else _begin(settings, paths, manner, left)


def _restored(
    settings: Settings,
    paths: Paths,
    manner: Manner,
    dataset: xr.Dataset,
    arrays: Mapping[str, NDArray[Any]],
    notes: Mapping[str, Any],
) -> Session:
    """Return the session that goes on from a checkpoint."""
    run, _, data = _prepare(settings, manner.threads, beginning.generation(notes["attributes"]))
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
    attributes = _resumed(notes["attributes"], settings, run.system)
    stored = trajectory.plan(settings.record, run, manner.limit)
    wall, checksums = notes["wall_time"], notes["checksums"]
    return Session(settings, attributes, paths, run, stored, references, manner, wall, checksums)


def _resumed(attributes: Mapping[str, Any], settings: Settings, system: System) -> dict[str, Any]:
    """Return the global attributes of a run that goes on."""
    line = f"{provenance.history_line('resume')}, {provenance.where(system)}"
    return {**attributes, **provenance.code(settings), "history": f"{attributes['history']}\n{line}"}


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
    refuse_links(paths)
    return paths


def load_data(settings: Settings, ensemble: Ensemble) -> Data | None:
    """Load what [data] names, for every quenched sample of the ensemble; None for a system without data."""
    if settings.data_class is None:
        return None
    with trust.building(settings):
        try:
            data: Data = settings.data_class(settings.data).load(ensemble)
        except LangevinError:
            raise
        except FOREIGN as error:
            if settings.data_class.__module__.startswith("langevin."):
                raise
            said = f"its data cannot be loaded: {first_line(error)}"
            raise UserError(f"data.name = {toml(settings.data_name)}: {said}") from error
    return data


def build(settings: Settings, ensemble: Ensemble, data: Data | None = None) -> System:
    """Build the system of validated settings; a model with a force becomes a `Langevin` system.

    A system that learns from data is given them as a fourth argument: `data`, or what `load_data` returns.
    """
    if data is None:
        data = load_data(settings, ensemble)
    further = [] if data is None else [data]
    record = {"record": settings.record} if hasattr(settings.system_class, "Record") else {}
    with trust.building(settings):
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
