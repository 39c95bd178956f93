"""One run is carried from its settings to its file: begun, or taken up where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from langevin.code import trust
from langevin.code.user_code import Origin
from langevin.config import run_files, shards
from langevin.config.build import build, load_data
from langevin.config.settings import Settings, Shard
from langevin.core.capabilities import HasFurtherDimensions, LoadsReferences, ReadsInputs
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.probe import Run
from langevin.core.system import LoadedData, System
from langevin.errors import UserError
from langevin.files import provenance, storage
from langevin.files.paths import Paths
from langevin.machine.ahead import seldom_collected
from langevin.machine.interruption import interruptible
from langevin.machine.memory import room_explained
from langevin.machine.world import World
from langevin.record import plan
from langevin.record.configurations import StoredProbe
from langevin.record.recorder import Recorder
from langevin.record.references import References
from langevin.speech import command

from . import start as beginning
from .follower import Follower
from .log import reached
from .saved_start import Start, Unfinished
from .session import PROBE, Manner, Session
from .shareable import require_shareable


def begin(settings: Settings, paths: Paths, manner: Manner, left: Unfinished | None = None) -> Path:
    """Carry out a run from its start, or from what an earlier process has left of that."""
    manner.log.say(settings.title, "start", reached(0.0, settings.dynamics.t_max))
    start = Start(settings, paths, manner, left)
    parts = settings.ensemble.replicas if settings.shard is None else 1
    # Systems load their libraries when they are built, or make their start.
    with seldom_collected(), start.telling(), room_explained(lambda: parts):
        begins = beginning.read(left.located(settings) if left else settings)
        run, recorder, data = _prepare(settings, manner, begins.generation if begins else 0)
        if not manner.follows:
            # What building it has imported, too.
            trust.remember(settings.code)
        attributes = provenance.attributes(settings, run.ensemble, run.system, data)
        attributes |= begins.attributes if begins else {}
        if manner.world is not None:
            attributes["processes"] = manner.world.size
            _require_same_data(attributes, manner.world)
        if left is not None:
            _require_same(data, run.system, left.attributes, paths)
            attributes = _resumed(left.attributes, settings, run.system, manner)
        start.make(run, attributes)
        if begins:
            begins.apply(run)
        _make_ready(run)
    if not start.saved:
        # An unfinished run goes only now, when nothing of the new one can be refused any more; an old
        # result stays until the new one replaces it.
        paths.discard()
    references = References(paths.references)
    return _session(manner)(settings, attributes, paths, run, recorder, references, manner).carry_out()


def _session(manner: Manner) -> type[Session]:
    return Follower if manner.follows else Session


def carry_on(paths: Paths, manner: Manner) -> Path:
    """Carry on a run from its checkpoint and return the path of the result."""
    said = f" before it went on; continue with {command('resume', paths.result)}"
    with interruptible(manner.stop, lambda: said), room_explained():
        stands = manner.shared(lambda: Standing(paths.checkpoint, *storage.read_checkpoint(paths.checkpoint)))
        notes = stands.notes
        origin = Origin.of(stands.checkpoint, notes["attributes"].get("code"))
        settings = run_files.load(notes["settings"], folder=Path(notes["folder"]), origin=origin)
        if "shard" in notes:
            settings = replace(settings, shard=Shard(*notes["shard"]))
        if manner.world is not None:
            require_shareable(settings)
        left = Unfinished.read(stands.arrays, notes)
        if left is None:
            manner.log.say(settings.title, "goes on", reached(notes["time"], settings.dynamics.t_max))
        session = None if left else _restored(settings, paths, manner, stands)
    return session.carry_out() if session else begin(settings, paths, manner, left)


class Standing(NamedTuple):
    """What stands of a run that is not finished: its checkpoint, and what this holds."""

    checkpoint: Path
    dataset: xr.Dataset
    arrays: Mapping[str, NDArray[Any]]
    notes: Mapping[str, Any]


def _restored(settings: Settings, paths: Paths, manner: Manner, stands: Standing) -> Session:
    """Return the session that goes on from a checkpoint."""
    _, dataset, arrays, notes = stands
    run, recorder, data = _prepare(settings, manner, beginning.generation(notes["attributes"]))
    _require_same(data, run.system, notes["attributes"], paths)
    own = run.schedule.axes
    if any(not np.array_equal(dataset[axis], own[axis]) for axis in own if axis in dataset.coords):
        raise UserError(f"{paths.checkpoint}: another version began the run, with other times; run it anew")
    recorder.restore(dataset)
    run.noise.load_state(notes["noise"])
    run.time, run.position = notes["time"], notes["position"]
    references = References(paths.references, None if manner.follows else notes["references"])
    run.references = manner.shared(references.read)
    if isinstance(run.system, LoadsReferences):
        load = run.system.load_reference
        run.references = {index: load(array) for index, array in run.references.items()}
    run.state = run.system.load_state({k: v for k, v in arrays.items() if not k.startswith(PROBE)})
    attributes = _resumed(notes["attributes"], settings, run.system, manner)
    _make_ready(run, arrays)
    wall, checksums = notes["wall_time"], notes["checksums"]
    carried = settings, attributes, paths, run, recorder, references, manner
    return _session(manner)(*carried, wall, checksums)


def _resumed(
    attributes: Mapping[str, Any], settings: Settings, system: System, manner: Manner
) -> dict[str, Any]:
    """Return the global attributes of a run that goes on."""
    line = f"{provenance.history_line('resume')}, {provenance.where(system)}"
    line += f", in {manner.world.size} processes" if manner.world is not None else ""
    return {**attributes, **provenance.code(settings), "history": f"{attributes['history']}\n{line}"}


def _require_same(
    data: LoadedData | None, system: System, attributes: Mapping[str, Any], paths: Paths
) -> None:
    """Refuse to go on with other data, or other contents of files, than the run began with."""
    learned = "" if data is None else data.attributes.get("hash", "")
    read = system.inputs_hash if isinstance(system, ReadsInputs) else ""
    for what, here in (("data", learned), ("inputs", read)):
        if here != (began := attributes.get(f"{what}_hash", "")):
            raise UserError(
                f"{paths.checkpoint}: the run began with {what} of hash {began}; those found: {here}"
            )


def _require_same_data(attributes: Mapping[str, Any], world: World) -> None:
    """Make sure that all processes have read the same data."""
    hashes = world.gathered(str(attributes.get("data_hash", "")))
    if len(set(hashes)) > 1:
        said = ", ".join(f"process {rank}: {one}" for rank, one in enumerate(hashes))
        raise UserError(f"data.name: the processes found data of different contents ({said})")


def _prepare(settings: Settings, manner: Manner, generation: int) -> tuple[Run, Recorder, LoadedData | None]:
    ensemble = shards.ensemble(settings, manner.threads, generation)
    data = _loaded(settings, ensemble, manner)
    system = build(settings, ensemble, data)
    dimensions = system.dimensions() if isinstance(system, HasFurtherDimensions) else {}
    probes = plan.probes(settings, system, ensemble, dimensions, manner.limit)
    schedule = plan.schedule(settings, system.time_step, probes)
    noise = Noise(ensemble.seed, ensemble.replica, generation)
    recorder = Recorder(schedule, ensemble, dimensions)
    return Run(system, ensemble, schedule, probes, recorder, noise, state=None), recorder, data


def _loaded(settings: Settings, ensemble: Ensemble, manner: Manner) -> LoadedData | None:
    """Return the data; of several processes the leading one loads them first, and may have to fetch them."""
    if manner.world is None:
        return load_data(settings, ensemble)
    if manner.follows:
        manner.world.said()
    data = load_data(settings, ensemble)
    if manner.world.leads:
        manner.world.said()
    return data


def _make_ready(run: Run, arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Make the probes ready, with what a checkpoint holds of them; those with nothing to store go."""
    for probe in run.probes:
        probe.prepare(run)
        begin = f"{PROBE}{probe.name}."
        own = {name.removeprefix(begin): a for name, a in (arrays or {}).items() if name.startswith(begin)}
        if own:
            probe.load_state(own)
    run.probes = [p for p in run.probes if not isinstance(p, StoredProbe) or p.stored]
