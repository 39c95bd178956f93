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

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator

from langevin.config import LangevinDynamics, RecordKeys, Settings
from langevin.ensemble import Ensemble
from langevin.keys import Section, key
from langevin.noise import Noise
from langevin.observables import particles
from langevin.schemes import SchemeName
from langevin.system import Array, Attributes, Coordinates, Model

if TYPE_CHECKING:
    from langevin.schedule import Schedule

    from .kernels import Evaluation, Field, Geometry
    from .start import Protocol

#: Names of the species, in the order of the run file.
NAMES = "ABCDEFGH"
#: Where each potential ends, in units of σ_ab; Lennard-Jones may be cut elsewhere.
CUTOFFS = {"lennard_jones": 2.5, "wca": 2 ** (1 / 6), "harmonic": 1.0}


def _fractions(given: list[float]) -> list[float]:
    if not (1 <= len(given) <= len(NAMES) and min(given) > 0 and abs(sum(given) - 1) < 1e-9):
        raise ValueError(f"must be 1 to {len(NAMES)} fractions > 0 that add up to 1")
    return given


def _lengths(given: list[Any]) -> list[Any]:
    if not _is_symmetric(given) and not (
        given and all(isinstance(v, int | float) and 0 < v < np.inf for v in given)
    ):
        raise ValueError(
            "must be a symmetric matrix of numbers > 0, or a list of diameters > 0 (then additive)"
        )
    return given


def _strengths(given: list[Any]) -> list[Any]:
    if not _is_symmetric(given):
        raise ValueError("must be a symmetric matrix of numbers > 0")
    return given


def _is_symmetric(given: list[Any]) -> bool:
    if not given or not all(isinstance(row, list) and len(row) == len(given) for row in given):
        return False
    matrix = np.array(given, dtype=float)
    return bool((matrix == matrix.T).all() and (matrix > 0).all() and np.isfinite(matrix).all())


def _numbers(given: list[float]) -> list[float]:
    if not given or not all(0 < v < np.inf for v in given):
        raise ValueError("must be a list of at least one number > 0")
    return given


Fractions = Annotated[list[float], AfterValidator(_fractions)]
Lengths = Annotated[list[float] | list[list[float]], AfterValidator(_lengths)]
Strengths = Annotated[list[list[float]], AfterValidator(_strengths)]
Numbers = Annotated[list[float], AfterValidator(_numbers)]


class Mixture(Model):
    """Particles of one or more species in a periodic box, by Langevin dynamics.

    Replicas of one quenched sample leave from the same configuration with noise of their own; samples are
    independent starts.
    """

    class Parameters(Section):
        """What stands under [system]."""

        n: int = key("number of particles N", example=300, ge=2, le=10_000_000)
        density: float = key("particles per volume ρ", example=0.6, gt=0, unit="1/σ³")
        potential: Literal["lennard_jones", "wca", "harmonic"] = key(
            "pair potential ε_ab φ(r/σ_ab): Lennard-Jones, cut and shifted; Weeks-Chandler-Andersen, cut "
            "at its minimum; harmonic spheres, (1 − r/σ)²/2",
            example="wca",
        )
        composition: Fractions = key(
            "fractions of the species A, B, …", example=[0.5, 0.5], kind="list of numbers"
        )
        sigma: Lengths = key(
            "σ_ab, a row for each species; or diameters, σ_ab their means",
            example=[1.0, 1.4],
            unit="length",
            kind="symmetric matrix or list of numbers",
        )
        epsilon: Strengths = key(
            "ε_ab, a row for each species",
            example=[[1.0, 1.0], [1.0, 1.0]],
            unit="energy",
            kind="symmetric matrix of numbers",
        )
        cutoff: float = key(
            "where Lennard-Jones is cut and shifted to 0, in units of σ_ab; 0: as usual, at 2.5",
            default=0.0,
            ge=0,
        )
        start: Literal["random", "lattice"] = key(
            "where particles are before equilibration: uniform in the box, or on an fcc lattice",
            default="random",
        )
        equilibration_time: float = key(
            "time at initial_temperature before the quench, which is t = 0", default=2.0, ge=0, unit="time"
        )
        skin: float = key(
            "how far the neighbour list reaches beyond the cutoff: of speed alone",
            default=0.45,
            gt=0,
            unit="length",
        )

    class Dynamics(LangevinDynamics):
        """[dynamics]: forces are steep, and the scheme that averages the noise allows a longer step."""

        temperature: float = key("bath temperature T", example=0.5, ge=0, unit="energy")
        initial_temperature: float = key(
            "temperature of the equilibrium the start is brought to; inf: none, particles stay as placed",
            default=5.0,
            ge=0,
            inf=True,
            unit="energy",
        )
        dt: float = key("time step", example=1e-4, gt=0, unit="time")
        t_max: float = key("end of the run", example=10.0, gt=0, unit="time")
        scheme: SchemeName = key(
            "noise of a step: the mean of its normals with those of the step before, or its own alone",
            default="leimkuhler_matthews",
        )

    class Record(RecordKeys):
        """[record]: what is measured of particles."""

        wavenumbers: Numbers = key(
            "k of the self-intermediate scattering function; the first is that of `correlation`",
            default=[7.25],
            unit="1/length",
            kind="list of numbers",
        )
        overlap_distance: float = key(
            "distance a within which a particle overlaps with its own past", default=0.3, gt=0, unit="length"
        )
        shells: int = key(
            "shells of the pair correlation function, up to half the box or 5 lengths; 0: not measured",
            default=250,
            ge=0,
            le=100_000,
        )

    def __init__(self, parameters: Any, dynamics: Any, ensemble: Ensemble, record: Any = None) -> None:
        record = record or self.Record()
        self.parameters = parameters
        self.temperature: float = dynamics.temperature
        self.dt: float = dynamics.dt
        self.initial_temperature: float = dynamics.initial_temperature
        self.ensemble = ensemble
        self.n: int = parameters.n
        self.box = (self.n / parameters.density) ** (1 / 3)
        counts = particle_counts(parameters.composition, self.n)
        self.mixture = particles.Mixture(
            self.box,
            tuple(NAMES[: len(counts)]),
            counts,
            tuple(record.wavenumbers),
            record.overlap_distance,
        )
        self.edges = np.linspace(0, min(self.box / 2, 5.0), record.shells + 1) if record.shells else None
        self._known: tuple[Array, Evaluation] | None = None

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield species that do not fit together, a box that is too small, a start that cannot be."""
        p, dynamics = settings.system, settings.dynamics
        count = len(p.composition)
        for name in ("sigma", "epsilon"):
            if len(getattr(p, name)) != count:
                yield (
                    f"system.{name}: of {len(getattr(p, name))} species; needed: {count}, as many as "
                    "system.composition"
                )
                return
        if 0 in particle_counts(p.composition, p.n):
            yield f"system.n = {p.n}: leaves a species of system.composition without a particle"
        if p.potential != "lennard_jones" and p.cutoff:
            yield (
                f'system.cutoff = {p.cutoff:g}: allowed: 0, unless system.potential = "lennard_jones" '
                f"({p.potential} ends at {CUTOFFS[p.potential]:.6g} σ_ab)"
            )
        box, reach = (p.n / p.density) ** (1 / 3), cutoff(p) * sigma_matrix(p).max()
        if reach > box / 2 * (1 + 1e-12):
            key, least = (
                "cutoff" if p.potential == "lennard_jones" else "potential",
                p.density * (2 * reach) ** 3,
            )
            value = f"{cutoff(p):g}" if key == "cutoff" else f'"{p.potential}"'
            yield (
                f"system.{key} = {value}: pairs interact up to {reach:g}, half the box is {box / 2:.4g}; "
                f"allowed: system.n ≥ {int(np.ceil(least - 1e-9))} at this density, or a shorter cutoff"
            )
        elif p.skin > box / 2:
            yield f"system.skin = {p.skin:g}: must be ≤ half the box, {box / 2:.4g}"
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
    def protocol(self) -> Protocol:
        """How the start is made."""
        from .start import Protocol

        p = self.parameters
        return Protocol(p.start, self.initial_temperature, p.equilibration_time, self.dt)

    def initial_configuration(self, noise: Noise) -> Array:
        """Return the start, shape (R, 3N): one for each quenched sample, by the protocol of `start`."""
        from .start import equilibrated

        samples, position = np.unique(self.ensemble.sample, return_inverse=True)
        generators = [self.ensemble.quenched("start", s) for s in samples]
        return equilibrated(self.protocol, self.geometry, generators, self.ensemble.threads)[position]

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

    def observables(self, x: Array) -> dict[str, Array]:
        """Return the pressure P = ρT + Σ r·F/(3V), shape (R,), at the bath's temperature."""
        volume = self.box**3
        return {"pressure": (self.n * self.temperature + self.evaluate(x).virial / 3) / volume}

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
        held: Array | None = None,
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
        """Return displacements, scattering functions, overlaps: `langevin.observables.particles.compare`."""
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
        made = particles.variables(self.mixture)
        made["pressure"] = {"long_name": "pressure", "units": "epsilon_AA/sigma_AA^3"}
        made["configuration"]["start"] = self.protocol.description
        made["integrated_response"]["temperature"] = self.temperature
        return made


class KobAndersen(Mixture):
    """Kob-Andersen mixture, 80:20 Lennard-Jones: the structural glass former, by Langevin dynamics."""

    class Parameters(Mixture.Parameters):
        """What stands under [system]."""

        n: int = key("number of particles N", example=1000, ge=2, le=10_000_000)
        density: float = key("particles per volume ρ", default=1.2, gt=0, unit="1/σ_AA³")
        potential: Literal["lennard_jones", "wca", "harmonic"] = key(
            'pair potential; "wca": without the attraction', default="lennard_jones"
        )
        composition: Fractions = key("fractions of A and B", default=[0.8, 0.2], kind="list of numbers")
        sigma: Lengths = key(
            "σ_ab, a row for each species",
            default=[[1.0, 0.8], [0.8, 0.88]],
            unit="σ_AA",
            kind="symmetric matrix or list of numbers",
        )
        epsilon: Strengths = key(
            "ε_ab, a row for each species",
            default=[[1.0, 1.5], [1.5, 0.5]],
            unit="ε_AA",
            kind="symmetric matrix of numbers",
        )


def particle_counts(composition: list[float], n: int) -> tuple[int, ...]:
    """Return how many particles of each species there are: the fractions, by largest remainders."""
    shares = np.array(composition) * n
    # To rounding: 0.8 · 1000 is 800.
    counts = np.floor(shares + 1e-9).astype(int)
    for k in np.argsort(counts - shares, kind="stable")[: n - counts.sum()]:
        counts[k] += 1
    return tuple(counts.tolist())


def sigma_matrix(parameters: Any) -> Array:
    """Return σ_ab, shape (species, species)."""
    given = np.array(parameters.sigma, dtype=float)
    return given if given.ndim == 2 else (given[:, None] + given[None, :]) / 2


def cutoff(parameters: Any) -> float:
    """Return the cutoff in units of σ_ab."""
    return float(parameters.cutoff) or CUTOFFS[parameters.potential]
