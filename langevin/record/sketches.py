"""Sketches, k numbers in place of a configuration, are stored at every stop: `record.sketch`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from langevin.core.ensemble import Ensemble
from langevin.core.probe import Run, Taken
from langevin.core.schedule import Grid, Stop

from .configurations import CONFIGURATION_TIME, StoredProbe, required


class Sketches(StoredProbe):
    """Stores a count-sketch of the configuration (`sketch`).

    Parameters
    ----------
    components : int
        k.
    ensemble : Ensemble
        Its seed gives that of the hash.
    """

    def __init__(self, components: int, ensemble: Ensemble) -> None:
        super().__init__("sketch", Grid())
        self.axes, self.components = (CONFIGURATION_TIME,), components
        self.key = int(ensemble.quenched("sketch", 0).integers(2**64, dtype=np.uint64))

    def prepare(self, run: Run) -> None:
        """Refuse systems without a configuration."""
        dof = required(run, f"record.sketch = {self.components}", "0")
        about: dict[str, Any] = {
            "long_name": "count-sketch of the configuration at every stop of the run",
            "units": "1",
            "method": "s_b = Σ σ(i) x_i over the i with h(i) = b, seeded hashes h and σ = ±1; "
            "|s(t) − s(t')|²/M estimates the msd",
            "relative_error": math.sqrt(2 / self.components),
            "degrees_of_freedom": dof,
            # netCDF's integers are signed.
            "hash_key": str(self.key),
        }
        self.stored = (self.planned(run, "sketch", "sketch_component", self.components, about),)

    def take(self, run: Run, stop: Stop) -> Taken:
        """Return the sketch."""
        # Imported here: it loads numba.
        from .sketch import sketch

        return {"sketch": (("sketch_component",), sketch(run.configuration(), self.components, self.key))}
