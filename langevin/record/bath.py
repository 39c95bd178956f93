"""The bath's temperature, where it changes with time: a coordinate of the file, and times that matter."""

from __future__ import annotations

from typing import Any

import numpy as np

from langevin.config.keys import toml
from langevin.core.protocol import Protocol
from langevin.core.schedule import Grid, Schedule
from langevin.core.system import Array, Attributes, Coordinates

#: What the schedule calls times at which the temperature changes, and those after jumps: no name of a probe.
AXIS = "changes of temperature"
#: Changes of the temperature that are looked at, the first of them.
MOST = 100


def times(dynamics: Any, grid: Grid, time_step: float | None) -> Grid | None:
    """Return when one-time observables are measured besides, under a protocol; None without.

    Those are the times at which the course of T changes. After a jump a logarithmic grid begins anew: what
    follows a jump is as fast as what follows a quench.
    """
    protocol = getattr(dynamics, "temperature", None)
    if not isinstance(protocol, Protocol):
        return None
    end = float(dynamics.t_max)
    found = [t for t in protocol.breaks if t <= end][:MOST]
    for jump in [t for t in protocol.jumps if t < end][:MOST]:
        if grid.per_decade is not None:
            first = time_step or end * 1e-6
            later = jump + grid.points(first, end - jump)
            found += later[later <= end].tolist()
    return Grid(values=tuple(found))


def coordinates(dynamics: Any, schedule: Schedule, attributes: Attributes) -> Coordinates:
    """Return T(t) along `time` and `waiting_time`; at a jump it is the temperature from there on.

    Of one temperature there is none: the run's settings say it.

    Parameters
    ----------
    dynamics : Section
        [dynamics].
    schedule : Schedule
    attributes : mapping
        Those of the system, by variable; of "temperature" they may say the units.
    """
    protocol = getattr(dynamics, "temperature", None)
    if not isinstance(protocol, Protocol):
        return {}
    step = getattr(dynamics, "time_step", None)
    # Counted in steps, no rounding lies between a time and the jump that it is.
    counted = protocol if step is None else protocol.counted(step)

    def along(times: Array) -> Array:
        return counted.along(times if step is None else np.round(times / step))

    about = {"units": "1", "protocol": toml(protocol.given), **attributes.get("temperature", {})}
    return {
        "temperature": ("time", along(schedule.times), {"long_name": "bath temperature", **about}),
        "temperature_at_waiting": (
            "waiting_time",
            along(schedule.waiting_times),
            {"long_name": "bath temperature at the waiting time", **about},
        ),
    }
