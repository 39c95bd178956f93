"""Observables such as a profile along a curve are measured once, when the run has ended."""

from __future__ import annotations

from collections.abc import Iterator

from langevin.core.capabilities import MeasuresAtEnd
from langevin.core.probe import Measurement, Run, Taken, with_dimensions
from langevin.core.schedule import Stop
from langevin.core.system import Dimensions


class AtEnd(Measurement):
    """What `at_end` of a system returns. It may take long, and is not among the probes of the stops."""

    name = "at_end"
    axes = ()

    def __init__(self, system: MeasuresAtEnd, dimensions: Dimensions) -> None:
        self.system, self.dimensions = system, dimensions

    def taken(self, run: Run, stop: Stop) -> Iterator[tuple[tuple[int, ...], Taken]]:
        """Yield what is measured when the last stop has passed; it has no place along any axis of times."""
        yield (), with_dimensions(self.system.at_end(run.state), self.dimensions)
