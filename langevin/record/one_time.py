"""One-time observables, such as the energy, are measured at the times of `record.times`.

They are measured at 0 and at the end of the run, too, and where a spectrum or an inherent structure is
measured or a snapshot is stored: whoever looks at these needs the energy there.
"""

from __future__ import annotations

from langevin.core.probe import Probe, Run, Taken, with_dimensions
from langevin.core.schedule import Grid, Stop
from langevin.core.system import Dimensions


class OneTime(Probe):
    """What `System.measure` returns."""

    def __init__(self, times: Grid, dimensions: Dimensions) -> None:
        super().__init__("one_time", times)
        self.axes, self.dimensions = ("time",), dimensions

    def take(self, run: Run, stop: Stop) -> Taken:
        """Return the one-time observables."""
        return with_dimensions(run.system.measure(run.state), self.dimensions)
