"""The keys of a run file that mixtures of particles have, and what follows from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator

from langevin.config.keys import TEMPERATURES, Section, TemperatureKey, key
from langevin.config.sections import LangevinDynamics, RecordKeys
from langevin.core.schemes import SchemeName
from langevin.core.system import Array

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


class MixtureKeys(Section):
    """[system] of any mixture."""

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
        "where particles are before equilibration: uniform in the box, or on an fcc lattice", default="random"
    )
    equilibration_time: float = key(
        "time at initial_temperature before the quench, which is t = 0", default=2.0, ge=0, unit="time"
    )
    skin: float = key(
        "how far the neighbour list reaches beyond the cutoff: of speed alone",
        default=0.5,
        gt=0,
        unit="length",
    )


class KobAndersenKeys(MixtureKeys):
    """[system] of the Kob-Andersen mixture: all of it may be changed."""

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


class ParticleDynamics(LangevinDynamics):
    """[dynamics]: forces are steep, and the scheme that averages the noise allows a longer step."""

    temperature: TemperatureKey = key("bath temperature T", example=0.5, kind=TEMPERATURES, unit="energy")
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


class ParticleRecord(RecordKeys):
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
    tagged: str = key(
        'whose motion the plain names mean, such as `msd` and `correlation`: "all", or a species; all '
        "and each species are measured in any case",
        default="all",
    )
    shells: int = key(
        "shells of the pair correlation function, up to half the box or 5 lengths; 0: not measured",
        default=125,
        ge=0,
        le=100_000,
    )


class KobAndersenRecord(ParticleRecord):
    """[record]: as of any mixture; plain names mean A, as in the literature."""

    tagged: str = key(
        'whose motion the plain names mean, such as `msd` and `correlation`: "all", "A" or "B"; all three '
        "are measured in any case",
        default="A",
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


def equilibration_step(temperature: float, dt: float) -> float:
    """Return the time step of an equilibration: kicks no longer than those of the run's step at T = 1."""
    return dt * min(1.0, 1 / temperature) if temperature > 0 else dt


def equilibration_steps(temperature: float, time: float, dt: float) -> float:
    """Return how many steps an equilibration takes; 0 at infinite temperature, inf if no number holds it."""
    if np.isinf(temperature) or time == 0:
        return 0.0
    step = equilibration_step(temperature, dt)
    return time / step if step > 0 else np.inf
