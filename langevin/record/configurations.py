"""Configurations are stored at every stop: `record.configurations`.

Two times of any pair are among these, so that whatever is a function of two configurations can be computed
from the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.core.capabilities import StandsBeside
from langevin.core.probe import Probe, Run, Taken
from langevin.core.schedule import Grid, Stop
from langevin.errors import UserError
from langevin.files.raw_records import Stored

#: `configurations = "auto"` stores the trajectory while it stays under this many bytes.
TRAJECTORY_LIMIT = 1_000_000_000

#: The axis of every stop.
CONFIGURATION_TIME = "configuration_time"


class StoredProbe(Probe):
    """A probe whose variables are written to the disk as the run goes on: they may be far too many to hold.

    Attributes
    ----------
    stored : tuple of Stored
        Its variables; none if nothing is to be stored.
    """

    stored: tuple[Stored, ...] = ()

    def planned(self, run: Run, variable: str, dim: str, size: int, attributes: Mapping[str, Any]) -> Stored:
        """Return a variable of this probe."""
        stops = tuple(stop.index for stop in run.schedule.stops if self.axes[0] in stop.due)
        return Stored(variable, dim, size, attributes, self.axes[0], stops)


class ConfigurationProbe(StoredProbe):
    """Stores configurations, and what moves beside them.

    Parameters
    ----------
    name : str
        Of the variable.
    times : Grid
        None of its own: every stop.
    meaning : str
        For the file: the degrees of freedom when?
    """

    def __init__(self, name: str, times: Grid, meaning: str) -> None:
        super().__init__(name, times)
        self.meaning = meaning

    def plan(self, run: Run, dof: int) -> None:
        """Have the configurations stored."""
        moving = run.system.beside_sizes[1] if isinstance(run.system, StandsBeside) else 0
        about = {"long_name": self.meaning, "units": "1"}
        about |= run.system.attributes().get("configuration", {})
        self.stored = (self.planned(run, self.name, "dof", dof, about),)
        if moving:
            about = {
                "long_name": f"buffers beside each {self.name}, such as running statistics",
                "units": "1",
            }
            self.stored += (self.planned(run, f"{self.name}_buffers", "buffer", moving, about),)

    def take(self, run: Run, stop: Stop) -> Taken:
        """Return the configuration, and what moves beside it."""
        values: dict[str, Any] = {self.name: (("dof",), run.configuration())}
        if isinstance(run.system, StandsBeside) and len(self.stored) > 1:
            values[self.stored[1].name] = ("buffer",), run.system.beside(run.state).moving
        return values


class Configurations(ConfigurationProbe):
    """Stores the trajectory, or nothing: under "auto" as long as it stays under `limit` bytes."""

    def __init__(self, kept: str, limit: float | None) -> None:
        super().__init__("configuration", Grid(), "degrees of freedom at every stop of the run")
        self.kept, self.limit = kept, TRAJECTORY_LIMIT if limit is None else limit

    def prepare(self, run: Run) -> None:
        """Decide whether configurations are stored."""
        if self.kept == "never" or not (dof := degrees_of_freedom(run)):
            return
        if self.kept == "always" or len(run.schedule) * run.ensemble.whole.size * dof * 8 <= self.limit:
            self.plan(run, dof)


def constants(run: Run) -> dict[str, tuple[tuple[str, str], NDArray[np.float64], dict[str, str]]]:
    """Return the variable of what stands beside all configurations and never changes, if anything does."""
    holds = any(isinstance(probe, ConfigurationProbe) and probe.stored for probe in run.probes)
    if not holds or not isinstance(run.system, StandsBeside) or not run.system.beside_sizes[0]:
        return {}
    about = {"long_name": "frozen parameters, and buffers that never change", "units": "1"}
    beside = run.system.beside(run.state)
    return {"constants": (("replica", "constant"), beside.fixed, about)}


def degrees_of_freedom(run: Run) -> int:
    """Return M, 0 if there is no configuration; a system that does not say it is asked for one."""
    if run.system.dof is not None:
        return run.system.dof
    x = run.system.configuration(run.state)
    return 0 if x is None else x.shape[1]


def required(run: Run, asked: str, allowed: str) -> int:
    """Return M of a system that has a configuration; refuse what was asked for of another one."""
    dof = degrees_of_freedom(run)
    if not dof:
        raise UserError(f"{asked}: allowed: {allowed} (the system has no configuration)")
    return dof
