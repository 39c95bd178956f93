r"""Mixtures of particles in a periodic box: H = Σ_{i<j} V_ab(|r_i − r_j|), overdamped Langevin dynamics.

V_ab(r) = ε_ab φ(r/σ_ab), cut and shifted to zero at the cutoff:

    Lennard-Jones   φ(s) = 4(s⁻¹² − s⁻⁶) − φ_c,  s < x_c (2.5)
    WCA             the same with x_c = 2^{1/6}, its minimum: purely repulsive
    harmonic        φ(s) = (1 − s)²/2,  s < 1

The Kob-Andersen mixture (Phys. Rev. Lett. 73, 1376 (1994)) is 80:20 Lennard-Jones with an attraction between
unlike particles that keeps it from crystallising. Units: σ_AA, ε_AA (k_B = 1), and the time of dx/dt = F + ξ,
γσ_AA²/ε_AA with friction γ = 1.

Energies are per particle. The pressure is P = ρT + ⟨Σ r·F⟩/(3V), the sum over pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langevin.config.keys import shown, toml
from langevin.config.settings import Settings
from langevin.config.shards import room_faults
from langevin.core.capabilities import (
    CarriesArrays,
    ChecksSettings,
    ComparesConfigurations,
    DescribesVariables,
    HasCoordinates,
    HasFurtherDimensions,
    HasHessian,
    HasKernel,
    HasObservables,
    HasRecordKeys,
    HasSlopes,
    MeasuresAtWaiting,
)
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.protocol import Protocol, Temperature
from langevin.core.schemes import Held
from langevin.core.system import Array, Attributes, Coordinates, Model
from langevin.core.times import MOST_STEPS
from langevin.machine.later import later

from .sections import (
    CUTOFFS,
    NAMES,
    KobAndersenKeys,
    KobAndersenRecord,
    MixtureKeys,
    ParticleDynamics,
    ParticleRecord,
    cutoff,
    equilibration_steps,
    particle_counts,
    sigma_matrix,
)

if TYPE_CHECKING:
    from langevin.core.schedule import Schedule
    from langevin.observables import particles

    from .curvature import PairHessian
    from .kernels import Evaluation, Field, Geometry
    from .start import Preparation
else:
    particles = later("langevin.observables.particles")


class Mixture(
    Model,
    ChecksSettings,
    HasRecordKeys,
    HasKernel,
    CarriesArrays,
    HasHessian,
    HasObservables,
    HasSlopes,
    DescribesVariables,
    ComparesConfigurations,
    MeasuresAtWaiting,
    HasFurtherDimensions,
    HasCoordinates,
):
    """Particles of one or more species in a periodic box, by Langevin dynamics.

    Replicas of one quenched sample leave from the same configuration with noise of their own; samples are
    independent starts.
    """

    Parameters = MixtureKeys
    quenched_disorder = False
    start_keys = ("start", "equilibration_time", "skin")
    Dynamics = ParticleDynamics
    Record = ParticleRecord

    def __init__(self, parameters: Any, dynamics: Any, ensemble: Ensemble, record: Any = None) -> None:
        record = record or self.Record()
        self.parameters = parameters
        self.temperature: Temperature = dynamics.temperature
        self.dt: float = dynamics.dt
        self.initial_temperature: float = dynamics.initial_temperature
        self.ensemble = ensemble
        self.n: int = parameters.n
        self.box = (self.n / parameters.density) ** (1 / 3)
        counts = particle_counts(parameters.composition, self.n)
        self.mixture = particles.BoxedMixture(
            self.box,
            tuple(NAMES[: len(counts)]),
            counts,
            tuple(record.wavenumbers),
            record.overlap_distance,
            record.tagged if len(counts) > 1 else "all",
        )
        self.edges = np.linspace(0, min(self.box / 2, 5.0), record.shells + 1) if record.shells else None
        self._known: tuple[Array, Evaluation] | None = None

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield species that do not fit together, a box that is too small, a start that cannot be."""
        p, dynamics = settings.system, settings.dynamics
        count = len(p.composition)
        wrong = [name for name in ("sigma", "epsilon") if len(getattr(p, name)) != count]
        if wrong:
            yield from (_species_fault(p, name) for name in wrong)
            return
        if 0 in particle_counts(p.composition, p.n):
            yield f"system.n = {p.n}: leaves a species of system.composition without a particle"
        # One species is all of them, by either name.
        names = ["all", *NAMES[:count]]
        record: Any = settings.record  # None where it has faults of its own
        if record is not None and record.tagged not in names:
            yield f'record.tagged = "{record.tagged}": allowed: {", ".join(names)}'
        if p.potential != "lennard_jones" and p.cutoff:
            yield (
                f'system.cutoff = {p.cutoff:g}: allowed: 0, unless system.potential = "lennard_jones" '
                f"({p.potential} ends at {CUTOFFS[p.potential]:.6g} σ_ab)"
            )
        with np.errstate(over="ignore"):
            box, reach = (p.n / p.density) ** (1 / 3), float(cutoff(p) * sigma_matrix(p).max())
        if not math.isfinite(box):
            yield f"system.density = {p.density:g}: the volume of {p.n} particles is infinite; allowed: more"
        elif reach > box / 2 * (1 + 1e-12):
            key = "cutoff" if p.potential == "lennard_jones" else "potential"
            # Before rounding: to the next whole number if there is one of that size.
            with np.errstate(over="ignore"):
                least = float(np.float64(p.density) * np.float64(2 * reach) ** 3)
            least = math.ceil(least - 1e-9) if least < 1e15 else least
            value = f"{cutoff(p):g}" if key == "cutoff" else f'"{p.potential}"'
            yield (
                f"system.{key} = {value}: pairs interact up to {reach:g}, half the box is {box / 2:.4g}; "
                f"allowed: system.n ≥ {least} at this density, or a shorter cutoff"
            )
        elif p.skin > box / 2:
            yield f"system.skin = {p.skin:g}: must be ≤ half the box, {box / 2:.4g}"
        steps = equilibration_steps(dynamics.initial_temperature, p.equilibration_time, dynamics.dt)
        if steps > MOST_STEPS:
            yield (
                f"system.equilibration_time = {p.equilibration_time:g}: {steps:.2g} steps at dynamics.dt = "
                f"{dynamics.dt:g} and dynamics.initial_temperature = {dynamics.initial_temperature:g}; "
                f"allowed: {MOST_STEPS:.1e}"
            )
        replicas = settings.ensemble.replicas
        # Positions before and after a step, where lists were built, and forces.
        said = f"system.n = {p.n}, ensemble.replicas = {replicas}"
        yield from room_faults(settings, lambda replicas, _: 4 * 24.0 * p.n * replicas, said)
        if np.isinf(dynamics.initial_temperature) and p.potential != "harmonic" and p.start == "random":
            yield (
                "dynamics.initial_temperature = inf: a random start overlaps, and the forces of "
                f'{p.potential} have no bound; allowed: a finite one, or system.potential = "harmonic"'
            )

    @cached_property
    def geometry(self) -> Geometry:
        """Box, species and potential."""
        from .kernels import Geometry
        from .potentials import PairPotential
        from .tile import HARMONIC, LENNARD_JONES

        p = self.parameters
        form = HARMONIC if p.potential == "harmonic" else LENNARD_JONES
        potential = PairPotential(form, sigma_matrix(p), np.array(p.epsilon, dtype=float), cutoff(p))
        species = np.repeat(np.arange(len(self.mixture.counts)), self.mixture.counts)
        return Geometry(self.box, species.astype(np.int64), potential, p.skin)

    @cached_property
    def field(self) -> Field:
        """The compiled forces and steps."""
        from .kernels import Field

        return Field(self.geometry, self.ensemble.size, self.ensemble.threads)

    @cached_property
    def preparation(self) -> Preparation:
        """How the start is made."""
        from .start import Preparation

        p = self.parameters
        return Preparation(p.start, self.initial_temperature, p.equilibration_time, self.dt)

    def initial_configuration(self, noise: Noise) -> Array:
        """Return the start, shape (R, 3N): one for each quenched sample, prepared as `start` says."""
        from .start import equilibrated

        samples, position = np.unique(self.ensemble.sample, return_inverse=True)
        generators = [self.ensemble.quenched("start", s) for s in samples]
        return equilibrated(self.preparation, self.geometry, generators, self.ensemble.threads)[position]

    def evaluate(self, x: Array) -> Evaluation:
        """Return force, energy and virial of positions x, shape (R, 3N)."""
        # Measurements and checks ask at the same x; configurations are never changed in place.
        if self._known is None or self._known[0] is not x:
            self._known = (x, self.field.evaluate(x))
        return self._known[1]

    def force(self, x: Array, t: float = 0.0, noise: Noise | None = None) -> Array:
        """Return −∂H/∂x, shape (R, 3N)."""
        return self.evaluate(x).force

    def energy(self, x: Array) -> Array:
        """Return the potential energy per particle, shape (R,)."""
        return self.evaluate(x).energy / self.n

    def slopes(self, x: Array, positions: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return the energy per particle, shape (n,), and ∂H/∂x, shape (n, 3N), of any positions x."""
        found = self.field.evaluate(x)
        return found.energy / self.n, -found.force

    def hessian(self, x: Array, position: int) -> PairHessian:
        """Return the Hessian of the energy of one replica, with 3N rows."""
        from .curvature import PairHessian

        return PairHessian(self.geometry, x[position])

    def total_energy(self, x: Array) -> Array:
        """Return the potential energy of all particles, shape (R,): three coordinates belong to each."""
        return self.evaluate(x).energy

    def observables(self, x: Array, temperature: float | None = None) -> dict[str, Array]:
        """Return the pressure P = ρT + Σ r·F/(3V), shape (R,), at the bath's temperature."""
        volume = self.box**3
        bath = self.temperature if temperature is None else temperature
        if isinstance(bath, Protocol):
            raise ValueError("the temperature at which x is measured is missing: it follows a protocol")
        return {"pressure": (self.n * bath + self.evaluate(x).virial / 3) / volume}

    def carried(self, x: Array) -> dict[str, Array]:
        """Return the positions from which neighbour lists are built: on them the order of sums depends."""
        return {"built": x.copy()}

    def fused_steps(
        self,
        x: Array,
        steps: int,
        dt: float,
        temperature: float,
        noise: Noise,
        accumulated: Array | None = None,
        held: Held | None = None,
        carried: dict[str, Array] | None = None,
    ) -> Array:
        """Take many steps in compiled code; equal to the plain step to rounding."""
        built = x.copy() if carried is None else carried["built"].copy()
        generators = noise.streams() if temperature > 0 else []
        moved = self.field.steps(x, built, steps, dt, temperature, generators, held, accumulated)
        if carried is not None:
            carried["built"] = built
        return moved

    def compare(self, reference: Array, x: Array) -> dict[str, Array]:
        """Return displacements, scattering functions, overlaps (`observables.particles.compare`)."""
        return particles.compare(self.mixture, reference, x)

    def at_waiting(self, x: Array) -> Mapping[str, Array]:
        """Return the pair correlation functions, shape (R, pairs, shells)."""
        if self.edges is None:
            return {}
        return {"pair_correlation": particles.pair_correlation(self.mixture, x, self.edges)}

    def coordinates(self, schedule: Schedule) -> Coordinates:
        """Return species, wavenumbers, pairs and distances."""
        return particles.coordinates(self.mixture, self.edges)

    def dimensions(self) -> Mapping[str, tuple[str, ...]]:
        """Say which observables have further dimensions."""
        return particles.dimensions(self.mixture)

    def attributes(self) -> Attributes:
        """Name the observables and their units, and say how the start was made."""
        about = particles.variables(self.mixture)
        about["pressure"] = {"long_name": "pressure", "units": "epsilon_AA/sigma_AA^3"}
        about["hessian"] = {
            "rows": 3 * self.n,
            "definition": "second derivatives of the potential energy of all particles by their positions",
            "units": "epsilon_AA/sigma_AA^2",
        }
        about["configuration"]["start"] = self.preparation.description
        if isinstance(self.temperature, Protocol):
            about["temperature"] = {"units": "epsilon_AA"}
        else:
            about["integrated_response"]["temperature"] = self.temperature
        return about


def _species_fault(parameters: Any, name: str) -> str:
    """Say that a matrix is of other species than the composition, and which of the two was given."""
    count, composition = len(getattr(parameters, name)), toml(parameters.composition)
    if name in parameters.model_fields_set:
        return (
            f"system.{name} = {shown(getattr(parameters, name))}: of {count} species; needed: "
            f"{len(parameters.composition)}, as many as system.composition = {composition}"
        )
    return (
        f"system.composition = {composition}: of {len(parameters.composition)} species; needed with it: "
        f"system.{name} of as many (without it, it is of {count}, {shown(getattr(parameters, name))})"
    )


class KobAndersen(Mixture):
    """Kob-Andersen mixture, 80:20 Lennard-Jones: the structural glass former, by Langevin dynamics."""

    Parameters = KobAndersenKeys
    quenched_disorder = False
    Record = KobAndersenRecord
