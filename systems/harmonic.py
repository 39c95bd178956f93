r"""N independent harmonic oscillators: the Ornstein-Uhlenbeck process, solvable in closed form.

H = (k/2) Σ x_i², so dx/dt = −k x + ξ. From a start of variance s² = T_i/k (mean 0), with Δt = t' − t ≥ 0:

    ⟨x²(t)⟩        = T/k + (s² − T/k) e^{−2kt}
    E(t)           = (k/2) ⟨x²(t)⟩
    C(t, t')       = ⟨x²(t)⟩ e^{−kΔt}
    Δ(t, t')       = ⟨x²(t)⟩ + ⟨x²(t')⟩ − 2 C(t, t')

Where T changes with time, ⟨x²(t)⟩ = s² e^{−2kt} + 2 ∫_0^t e^{−2k(t−u)} T(u) du (docs/protocols.md).

It keeps the engine honest, and shows how small a system can be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from langevin.config.keys import Section, key
from langevin.config.sections import LangevinDynamics
from langevin.config.settings import Settings
from langevin.config.shards import room_faults
from langevin.core.capabilities import ChecksSettings, DescribesVariables, HasHessian
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.system import Array, Attributes, Model

#: Arrays of the size of all configurations that a run has at once, at least: before, after, and the noise.
COPIES = 3


@dataclass(frozen=True)
class Stiffness:
    """The Hessian k·1 of N oscillators."""

    size: int
    k: float

    def matvec(self, vectors: Array) -> Array:
        """Return k V."""
        return self.k * vectors

    def dense(self) -> Array:
        """Return the matrix, shape (N, N)."""
        return self.k * np.eye(self.size)


class Harmonic(Model, ChecksSettings, DescribesVariables, HasHessian):
    """N independent harmonic oscillators: closed forms for energy, correlation and msd."""

    quenched_disorder = False

    class Parameters(Section):
        """What stands under [system]."""

        n: int = key("number of oscillators N per replica", example=1000, ge=1)
        stiffness: float = key("spring constant k", default=1.0, gt=0, unit="energy per squared coordinate")

    class Dynamics(LangevinDynamics):
        """[dynamics]: an oscillator has no state of infinite temperature to start from."""

        initial_temperature: float = key(
            "temperature of the equilibrium the start is drawn from", default=1.0, ge=0, unit="energy"
        )

    def __init__(self, parameters: Any, dynamics: LangevinDynamics, ensemble: Ensemble) -> None:
        self.n: int = parameters.n
        self.stiffness: float = parameters.stiffness
        self.initial_temperature = dynamics.initial_temperature
        self.ensemble = ensemble

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield that the oscillators do not fit in memory."""
        n, replicas = settings.system.n, settings.ensemble.replicas
        said = f"system.n = {n}, ensemble.replicas = {replicas}"
        yield from room_faults(settings, lambda replicas, _: COPIES * 8 * n * replicas, said)

    def initial_configuration(self, noise: Noise) -> Array:
        """Draw x from the Boltzmann distribution at the initial temperature, shape (R, N)."""
        width = np.sqrt(self.initial_temperature / self.stiffness)
        rows = [self.ensemble.quenched("start", k).standard_normal(self.n) for k in self.ensemble.replica]
        return width * np.array(rows)

    def force(self, x: Array, t: float, noise: Noise | None) -> Array:
        """Return −k x."""
        return -self.stiffness * x

    def energy(self, x: Array) -> Array:
        """Return (k/2N) Σ x_i², shape (R,)."""
        return 0.5 * self.stiffness * np.mean(x * x, axis=1)

    def attributes(self) -> Attributes:
        """Say how many oscillators there are, and rows of the Hessian."""
        return {"hessian": {"rows": self.n}, "correlation": {"dof": self.n}}

    def hessian(self, x: Array, position: int) -> Stiffness:
        """Return k·1, shape (N, N)."""
        return Stiffness(self.n, self.stiffness)
