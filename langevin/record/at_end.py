"""Observables such as a profile along a curve are measured once, when the run has ended."""

from __future__ import annotations

from collections.abc import Iterator

from langevin.core.engine import Run
from langevin.core.probe import Measurement, Taken, with_dimensions
from langevin.core.schedule import Stop
from langevin.core.system import Dimensions, optional


class AtEnd(Measurement):
    """What `System.at_end` returns. It may take long, and is not among the probes of the stops."""

    name = "at_end"
    axes = ()

    def __init__(self, dimensions: Dimensions) -> None:
        self.dimensions = dimensions

    def taken(self, run: Run, stop: Stop) -> Iterator[tuple[tuple[int, ...], Taken]]:
        """Yield what is measured when the last stop has passed; it has no place along any axis of times."""
        yield (), with_dimensions(optional(run.system, "at_end")(run.state), self.dimensions)
