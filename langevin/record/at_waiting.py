"""Observables such as the gradient noise are measured at the waiting times alone."""

from __future__ import annotations

from langevin.core.capabilities import MeasuresAtWaiting
from langevin.core.probe import Probe, Run, Taken, with_dimensions
from langevin.core.schedule import Grid, Stop
from langevin.core.system import Dimensions


class AtWaiting(Probe):
    """What `at_waiting` of a system returns."""

    def __init__(self, system: MeasuresAtWaiting, waiting_times: Grid, dimensions: Dimensions) -> None:
        super().__init__("at_waiting", waiting_times)
        self.system, self.axes, self.dimensions = system, ("waiting_time",), dimensions

    def take(self, run: Run, stop: Stop) -> Taken:
        """Return what is measured where a waiting time begins."""
        return with_dimensions(self.system.at_waiting(run.state), self.dimensions)
