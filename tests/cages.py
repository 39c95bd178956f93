"""A system of the tests' own: particles in harmonic cages that drift apart, two species in a periodic box.

Coordinate c of particle i feels −k_a (x − c_i), c_i where it started, k_a the stiffness of its species: in
equilibrium about its cage, with T/k_a per coordinate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from langevin.config.keys import Section, key
from langevin.config.sections import LangevinDynamics, RecordKeys
from langevin.core.capabilities import (
    ComparesConfigurations,
    DescribesVariables,
    HasCoordinates,
    HasFurtherDimensions,
    HasObservables,
    HasRecordKeys,
    MeasuresAtWaiting,
)
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.schedule import Schedule
from langevin.core.system import Array, Attributes, Coordinates, Dimensions, Model
from langevin.observables import particles
from langevin.observables.particles import BoxedMixture


class Cages(
    Model,
    HasRecordKeys,
    HasCoordinates,
    HasFurtherDimensions,
    HasObservables,
    DescribesVariables,
    ComparesConfigurations,
    MeasuresAtWaiting,
):
    """Particles in harmonic cages, two species."""

    class Parameters(Section):
        n: int = key("particles", default=50, ge=2)
        species: int = key("species", default=2, ge=1, le=2)
        wavenumbers: list[float] = key("k", default=[7.25, 2.0])

    class Record(RecordKeys):
        pair_bins: int = key("shells of g(r)", default=4, ge=1)

    def __init__(self, parameters: Any, dynamics: LangevinDynamics, ensemble: Ensemble, record: Any) -> None:
        n, self.ensemble, self.bins = parameters.n, ensemble, record.pair_bins
        counts = (n - n // 5, n // 5) if parameters.species == 2 else (n,)
        box = (n / 1.2) ** (1 / 3)
        self.mixture = BoxedMixture(box, ("A", "B")[: len(counts)], counts, tuple(parameters.wavenumbers))
        self.stiffness = np.repeat(np.repeat((40.0, 20.0)[: len(counts)], counts), 3)
        self.edges = np.linspace(0, box / 2, self.bins + 1)
        self.centres = np.array(
            [box * (self.ensemble.quenched("cages", s).random(3 * n) - 0.5) for s in ensemble.sample]
        )
        self.temperature = dynamics.temperature

    def initial_configuration(self, noise: Noise) -> Array:
        return self.centres.copy()

    def force(self, x: Array, t: float, noise: Noise | None) -> Array:
        return -self.stiffness * (x - self.centres)

    def energy(self, x: Array) -> Array:
        return 1.5 * np.mean(self.stiffness * (x - self.centres) ** 2, axis=1)

    def observables(self, x: Array) -> dict[str, Array]:
        groups = self.mixture.groups.values()
        moved = ((x - self.centres) ** 2).reshape(len(x), -1, 3).sum(-1)
        return {"cage": np.stack([moved[:, group].mean(1) for group in groups], axis=1)}

    def at_waiting(self, x: Array) -> Mapping[str, Array]:
        return {"pair_correlation": particles.pair_correlation(self.mixture, x, self.edges)}

    def compare(self, reference: Array, x: Array) -> dict[str, Array]:
        return particles.compare(self.mixture, reference, x)

    def dimensions(self) -> Dimensions:
        return {**particles.dimensions(self.mixture), "cage": ("species",)}

    def coordinates(self, schedule: Schedule) -> Coordinates:
        return particles.coordinates(self.mixture, self.edges)

    def attributes(self) -> Attributes:
        made = particles.variables(self.mixture)
        made["integrated_response"]["temperature"] = self.temperature
        # The walls of the cages hold the centre of mass.
        made["integrated_response"]["centre_of_mass_mobility"] = 0.0
        return {**made, "cage": {"long_name": "mean square distance from the cage", "units": "1"}}


def caged(**record: Any) -> dict[str, Any]:
    return {
        "title": "particles in cages",
        "system": {"name": "cages:Cages"},
        "dynamics": {"temperature": 1.0, "initial_temperature": 0.0, "dt": 0.005, "t_max": 0.5},
        "ensemble": {"replicas": 3, "samples": 3, "seed": 5},
        "record": {"waiting_times": [0.0, 0.1, 0.45], "lags": [0.005, 0.05, 0.2], **record},
        "output": {"figure": False},
    }
