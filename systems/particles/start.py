"""Where particles start: placed, pushed apart, brought to equilibrium at the initial temperature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from langevin.errors import UserError
from langevin.preparation import report
from langevin.system import Array

from .kernels import Field, Geometry
from .potentials import PairPotential
from .sections import equilibration_step, equilibration_steps
from .tile import HARMONIC, LENNARD_JONES

#: Steps of the descent that pushes particles apart, its time step, and the range of its spheres, in σ.
PUSHES, PUSH_STEP, PUSH_RANGE = 3000, 0.03, 0.95
#: Closest pair, in σ, from which Lennard-Jones forces can start: there they are some hundred ε/σ.
CLOSEST = 0.8
# Steps of equilibration between looks at whether somebody wants to stop.
_STRETCH = 1000


@dataclass(frozen=True)
class Protocol:
    """How a start is made.

    Attributes
    ----------
    placed : {"random", "lattice"}
    temperature : float
        Of the equilibrium; inf: none is sought.
    time : float
        How long the equilibration takes.
    dt : float
        Time step of the run.
    """

    placed: Literal["random", "lattice"]
    temperature: float
    time: float
    dt: float

    @property
    def step(self) -> float:
        """Time step of the equilibration: kicks no longer than those of the run's step at T = 1."""
        return equilibration_step(self.temperature, self.dt)

    @property
    def steps(self) -> int:
        """Number of steps of the equilibration."""
        return int(np.ceil(equilibration_steps(self.temperature, self.time, self.dt)))

    @property
    def description(self) -> str:
        """What was done, for the result file."""
        if self.steps == 0:
            return f"{self.placed} positions, not equilibrated"
        return (
            f"{self.placed} positions, pushed apart, then {self.steps} Leimkuhler-Matthews steps of "
            f"{self.step:g} at T = {self.temperature:g}"
        )


def placed(kind: Literal["random", "lattice"], n: int, box: float, rng: np.random.Generator) -> Array:
    """Return positions of n particles, shape (3n,).

    Parameters
    ----------
    kind : {"random", "lattice"}
        "random": uniform in the box; "lattice": on distinct sites, drawn at random, of the smallest
        face-centred cubic lattice with 4 m³ ≥ n sites.
    n : int
    box : float
    rng : numpy.random.Generator
    """
    if kind == "random":
        return box * rng.random(3 * n)
    m = int(np.ceil((n / 4) ** (1 / 3) - 1e-9))
    corners = np.stack(np.meshgrid(*[np.arange(m)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    basis = np.array([[0.25, 0.25, 0.25], [0.25, 0.75, 0.75], [0.75, 0.25, 0.75], [0.75, 0.75, 0.25]])
    sites = (corners + basis).reshape(-1, 3)
    return np.ravel(sites[rng.permutation(len(sites))[:n]]) * (box / m)


def pushed_apart(x: Array, geometry: Geometry, threads: int) -> Array:
    """Return positions of which no two overlap much, from any x, shape (R, 3N).

    Gradient descent on harmonic spheres of diameter `PUSH_RANGE` σ_ab: their forces stay finite, however
    close two particles are.
    """
    sigma = PUSH_RANGE * geometry.potential.sigma
    spheres = PairPotential(HARMONIC, sigma, sigma**2, 1.0)
    field = Field(replace(geometry, potential=spheres), len(x), threads)
    return field.steps(x, x.copy(), PUSHES, PUSH_STEP, 0.0, [])


def equilibrated(
    protocol: Protocol, geometry: Geometry, generators: list[np.random.Generator], threads: int
) -> Array:
    """Return starts, shape (R, 3N), one for each generator.

    The protocol: place the particles; unless they are harmonic spheres push them apart
    (`pushed_apart`); take `protocol.steps` steps of the Leimkuhler-Matthews scheme at the initial
    temperature, of length `protocol.step`. At infinite temperature the first is all.

    Raises
    ------
    UserError
        If particles that must not overlap cannot be kept apart, or the equilibration breaks down.
    """
    n = geometry.species.size
    x = np.array([placed(protocol.placed, n, geometry.box, g) for g in generators])
    if geometry.potential.form == LENNARD_JONES:
        x = pushed_apart(x, geometry, threads)
        _require_apart(Field(geometry, len(x), threads).evaluate(x).closest, n / geometry.box**3)
    if protocol.steps == 0:
        return x
    field, built = Field(geometry, len(x), threads), x.copy()
    held = np.array([g.standard_normal(3 * n) for g in generators])
    for done in range(0, protocol.steps, _STRETCH):
        count = min(_STRETCH, protocol.steps - done)
        x = field.steps(x, built, count, protocol.step, protocol.temperature, generators, held)
        if not np.isfinite(x).all():
            raise UserError(
                f"dynamics.dt = {protocol.dt:g}: too large to equilibrate with at "
                f"dynamics.initial_temperature = {protocol.temperature:g}; allowed: smaller ones"
            )
        report((done + count) / protocol.steps)
    return x


def _require_apart(closest: Array, density: float) -> None:
    # Also where it is not a number: they were too many even to be pushed.
    if not closest.min() >= CLOSEST:
        raise UserError(
            f"system.density = {density:g}: particles of the start overlap, the closest pair is "
            f"{closest.min():.2f} σ apart, needed: {CLOSEST:g} σ; allowed: a lower density"
        )
