"""Two-time observables are measured at every pair of a waiting time and a lag."""

from __future__ import annotations

from collections.abc import Iterator

from langevin.core.engine import Run
from langevin.core.probe import Measurement, Taken, with_dimensions
from langevin.core.schedule import Stop
from langevin.core.system import Dimensions, optional


class TwoTime(Measurement):
    """What `System.compare` returns, of the state now and of what was kept at the waiting times."""

    name = "two_time"
    axes = ("waiting_time", "lag")

    def __init__(self, dimensions: Dimensions) -> None:
        self.dimensions = dimensions

    def taken(self, run: Run, stop: Stop) -> Iterator[tuple[tuple[int, ...], Taken]]:
        """Yield every pair that is due, and its observables."""
        compare = optional(run.system, "compare_at")
        for waiting, lag in stop.pairs:
            observables = compare(run.references[waiting], run.state, float(run.schedule.lags[lag]))
            yield (waiting, lag), with_dimensions(observables, self.dimensions)
