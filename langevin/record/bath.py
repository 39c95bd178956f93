"""The bath's temperature, where it changes with time, is a coordinate of the file."""

from __future__ import annotations

from typing import Any

import numpy as np

from langevin.config.keys import toml
from langevin.core.protocol import Protocol
from langevin.core.schedule import Schedule
from langevin.core.system import Array, Attributes, Coordinates


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
