"""Observables such as the gradient noise are measured at the waiting times alone."""

from __future__ import annotations

from langevin.core.engine import Run
from langevin.core.probe import Probe, Taken, with_dimensions
from langevin.core.schedule import Grid, Stop
from langevin.core.system import Dimensions, optional


class AtWaiting(Probe):
    """What `System.at_waiting` returns."""

    def __init__(self, waiting_times: Grid, dimensions: Dimensions) -> None:
        super().__init__("at_waiting", waiting_times)
        self.axes, self.dimensions = ("waiting_time",), dimensions

    def take(self, run: Run, stop: Stop) -> Taken:
        """Return what is measured where a waiting time begins."""
        return with_dimensions(optional(run.system, "at_waiting")(run.state), self.dimensions)
