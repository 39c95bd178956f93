"""What a run stores of its configuration: all or a sketch at every scheduled time; snapshots at some."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.config.sections import RecordKeys
from langevin.core.capabilities import StandsBeside
from langevin.core.engine import Run
from langevin.core.ensemble import Ensemble
from langevin.core.system import Configuration
from langevin.errors import UserError
from langevin.files.storage import Stored

#: `configurations = "auto"` stores the trajectory while it stays under this many bytes.
TRAJECTORY_LIMIT = 1_000_000_000


def plan(record: RecordKeys, run: Run, limit: float | None = None) -> list[Stored]:
    """Return the variables that a run stores of its configuration.

    Parameters
    ----------
    record : RecordKeys
    run : Run
    limit : float, optional
        Bytes of configurations that "auto" stores at most (default: `TRAJECTORY_LIMIT`).

    Raises
    ------
    UserError
        If a sketch or snapshots are asked for, and the system has no configuration.
    """
    snapshots = bool(run.schedule.snapshot_times.size)
    if record.configurations == "never" and not record.sketch and not snapshots:
        return []
    dof = degrees_of_freedom(run)
    if dof == 0:
        if record.sketch:
            raise UserError(f"record.sketch = {record.sketch}: allowed: 0 (the system has no configuration)")
        if snapshots:
            raise UserError("record.snapshots: allowed: [] (the system has no configuration)")
        return []
    planned = []
    most = TRAJECTORY_LIMIT if limit is None else limit
    size = len(run.schedule) * run.recorder.ensemble.size * dof * 8
    if record.configurations == "always" or (record.configurations == "auto" and size <= most):
        about = _described(run, "degrees of freedom at every scheduled time")
        planned += _with_buffers(run, Stored("configuration", "dof", dof, about, lambda x: x))
    if snapshots:
        about = _described(run, "degrees of freedom at the times of snapshots")
        stops = tuple(stop.index for stop in run.schedule.stops if stop.snapshot is not None)
        snapshot = Stored("snapshot", "dof", dof, about, lambda x: x, "snapshot_time", stops)
        planned += _with_buffers(run, snapshot)
    if record.sketch:
        planned.append(_sketch(record.sketch, dof, run.recorder.ensemble))
    return planned


def _with_buffers(run: Run, holder: Stored) -> list[Stored]:
    """Return a variable of configurations, and that of what moves beside them, if anything does."""
    moving = run.system.beside_sizes[1] if isinstance(run.system, StandsBeside) else 0
    if not moving:
        return [holder]
    about = {"long_name": f"buffers beside each {holder.name}, such as running statistics", "units": "1"}
    beside = replace(
        holder,
        name=f"{holder.name}_buffers",
        dim="buffer",
        size=moving,
        attributes=about,
        stands_beside=True,
    )
    return [holder, beside]


def constants(run: Run) -> dict[str, tuple[tuple[str, str], NDArray[np.float64], dict[str, str]]]:
    """Return the variable of what stands beside all configurations and never changes, if anything does."""
    if not isinstance(run.system, StandsBeside) or not run.system.beside_sizes[0]:
        return {}
    about = {"long_name": "frozen parameters, and buffers that never change", "units": "1"}
    beside = run.system.beside(run.state)
    return {"constants": (("replica", "constant"), beside.fixed, about)}


def _described(run: Run, meaning: str) -> dict[str, Any]:
    """Return the attributes of stored configurations, with what the system says of them."""
    return {"long_name": meaning, "units": "1", **run.system.attributes().get("configuration", {})}


def degrees_of_freedom(run: Run) -> int:
    """Return M, 0 if there is no configuration; a system that does not say it is asked for one."""
    if run.system.dof is not None:
        return run.system.dof
    x = run.system.configuration(run.state)
    return 0 if x is None else x.shape[1]


def _sketch(components: int, dof: int, ensemble: Ensemble) -> Stored:
    # Imported here: it loads numba.
    from .sketch import sketch

    key = int(ensemble.quenched("sketch", 0).integers(2**64, dtype=np.uint64))

    def of(x: Configuration) -> Configuration:
        return sketch(x, components, key)

    about: dict[str, Any] = {
        "long_name": "count-sketch of the configuration at every scheduled time",
        "units": "1",
        "method": "s_b = Σ σ(i) x_i over the i with h(i) = b, seeded hashes h and σ = ±1; "
        "|s(t) − s(t')|²/M estimates the msd",
        "relative_error": math.sqrt(2 / components),
        "degrees_of_freedom": dof,
        # netCDF's integers are signed.
        "hash_key": str(key),
    }
    return Stored("sketch", "sketch_component", components, about, of)
