"""Two-time observables are measured at every pair of a waiting time and a lag."""

from __future__ import annotations

from collections.abc import Iterator

from langevin.core.capabilities import ComparesAtLag
from langevin.core.probe import Measurement, Run, Taken, with_dimensions
from langevin.core.schedule import Stop
from langevin.core.system import Dimensions


class TwoTime(Measurement):
    """What `System.compare` returns, of the state now and of what was kept at the waiting times."""

    name = "two_time"
    axes = ("waiting_time", "lag")

    def __init__(self, dimensions: Dimensions) -> None:
        self.dimensions = dimensions

    def taken(self, run: Run, stop: Stop) -> Iterator[tuple[tuple[int, ...], Taken]]:
        """Yield every pair that is due, and its observables."""
        system = run.system
        for waiting, lag in stop.pairs:
            pair = run.references[waiting], run.state
            if isinstance(system, ComparesAtLag):
                observables = system.compare_at(*pair, float(run.schedule.lags[lag]))
            else:
                observables = system.compare(*pair)
            yield (waiting, lag), with_dimensions(observables, self.dimensions)
