"""Where particles start: placed, pushed apart, brought to equilibrium at the initial temperature."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from langevin.core.schemes import SCHEMES, Held
from langevin.core.system import Array
from langevin.errors import UserError
from langevin.machine.pace import Pace
from langevin.machine.reports import Place, report, saved

from .kernels import Field, Geometry
from .potentials import PairPotential
from .sections import equilibration_step, equilibration_steps
from .tile import HARMONIC, LENNARD_JONES

#: Steps of the descent that pushes particles apart, its time step, and the range of its spheres, in σ.
PUSHES, PUSH_STEP, PUSH_RANGE = 3000, 0.03, 0.95
#: Closest pair, in σ, from which Lennard-Jones forces can start: there they are some hundred ε/σ.
CLOSEST = 0.8

#: Of the equilibration.
_SCHEME = SCHEMES["leimkuhler_matthews"]


@dataclass(frozen=True)
class Preparation:
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
    return _pushed(_Walk(x, x.copy()), geometry, threads, lambda walk: None)


def _pushed(walk: _Walk, geometry: Geometry, threads: int, say: Callable[[_Walk], None]) -> Array:
    """Return what `pushed_apart` does, from somewhere on the way."""
    sigma = PUSH_RANGE * geometry.potential.sigma
    spheres = PairPotential(HARMONIC, sigma, sigma**2, 1.0)
    field = Field(replace(geometry, potential=spheres), len(walk.x), threads)
    for _ in walk.stretches(field, PUSHES, PUSH_STEP, 0.0, []):
        say(walk)
    return walk.x


@dataclass
class _Walk:
    """Where all particles are, on the way through steps that may be cut anywhere.

    Attributes
    ----------
    x, built : ndarray, shape (R, 3N)
        Positions, and those from which the neighbour lists are built: on them the order of sums depends.
    held : Held, optional
        Normals of the step before, shape (R, 3N).
    taken : int
        Steps that are taken.
    """

    x: Array
    built: Array
    held: Held | None = None
    taken: int = 0

    def stretches(
        self, field: Field, steps: int, dt: float, temperature: float, generators: list[np.random.Generator]
    ) -> Iterator[None]:
        """Take all steps that are left; pause about twice a second."""
        pace = Pace(1.0)
        for end in pace.stretches(self.taken, steps):
            count = round(end) - self.taken
            self.x = field.steps(self.x, self.built, count, dt, temperature, generators, self.held)
            self.taken = round(end)
            pace.advanced()
            yield


def equilibrated(
    preparation: Preparation, geometry: Geometry, generators: list[np.random.Generator], threads: int
) -> Array:
    """Return starts, shape (R, 3N), one for each generator.

    The preparation: place the particles; unless they are harmonic spheres push them apart
    (`pushed_apart`); take `preparation.steps` steps of the Leimkuhler-Matthews scheme at the initial
    temperature, of length `preparation.step`. At infinite temperature the first is all. Pushing and steps say
    where they are, and go on from where an earlier process left them (`langevin.machine.reports`).

    Raises
    ------
    UserError
        If particles that must not overlap cannot be kept apart, or the equilibration breaks down.
    """
    n = geometry.species.size
    pushes = PUSHES if geometry.potential.form == LENNARD_JONES else 0
    whole = pushes + preparation.steps

    def say(walk: _Walk, before: int = 0) -> None:
        arrays = {"x": walk.x, "built": walk.built, "taken": np.array(before + walk.taken)}
        arrays |= {} if walk.held is None else {"held": walk.held.normals}
        report((before + walk.taken) / whole, lambda: Place(arrays, generators))

    begun = saved()
    taken = 0
    if begun is None:
        x = np.array([placed(preparation.placed, n, geometry.box, g) for g in generators])
        walk = _Walk(x, x.copy())
    else:
        begun.restore(generators)
        taken, normals = int(begun.arrays["taken"]), begun.arrays.get("held")
        # A walk of the pushes holds no normals.
        held, before = (None, 0) if normals is None else (Held(_SCHEME, normals), pushes)
        walk = _Walk(begun.arrays["x"], begun.arrays["built"], held, taken - before)
    if walk.held is None:
        x = walk.x
        if pushes:
            x = _pushed(walk, geometry, threads, say)
            _require_apart(Field(geometry, len(x), threads).evaluate(x).closest, n / geometry.box**3)
        if preparation.steps == 0:
            return x
        normals = np.array([g.standard_normal(3 * n) for g in generators])
        walk = _Walk(x, x.copy(), Held(_SCHEME, normals))
    field = Field(geometry, len(walk.x), threads)
    for _ in walk.stretches(field, preparation.steps, preparation.step, preparation.temperature, generators):
        if not np.isfinite(walk.x).all():
            raise UserError(
                f"dynamics.dt = {preparation.dt:g}: too large to equilibrate with at "
                f"dynamics.initial_temperature = {preparation.temperature:g}; allowed: smaller ones"
            )
        say(walk, pushes)
    return walk.x


def _require_apart(closest: Array, density: float) -> None:
    # Also where it is not a number: they were too many even to be pushed.
    if not closest.min() >= CLOSEST:
        raise UserError(
            f"system.density = {density:g}: particles of the start overlap, the closest pair is "
            f"{closest.min():.2f} σ apart, needed: {CLOSEST:g} σ; allowed: a lower density"
        )
