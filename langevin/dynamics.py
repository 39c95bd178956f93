"""The stochastic step, written once, and the system it makes of any model with a force.

Overdamped Langevin dynamics at friction 1,

    dx/dt = f(x, t) + ξ(t),    ⟨ξ_i(t) ξ_j(t')⟩ = 2T δ_ij δ(t − t'),

by Euler-Maruyama with projection onto the model's constraint:

    x ← constrain( x + dt·f(x, t) + √(2 T dt)·η ),    η standard normal.

Weak order 1: averages at a fixed time are off by O(dt). SGD is this step with T = 0, dt the learning
rate and f the minibatch force.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.errors import Diverged
from langevin.noise import Noise
from langevin.system import Array, Attributes, Model

#: A run counts as diverged once an energy exceeds its start by this many times the energy scale.
BLOW_UP = 1e3


@dataclass(frozen=True)
class LangevinState:
    """Configuration x, shape (R, dof), and the energies, shape (R,), above which the run has diverged."""

    x: Array
    ceiling: Array


class Langevin:
    """Langevin dynamics of a model: a `System`.

    Parameters
    ----------
    model : Model
        Supplies force, energy, constraint and start.
    temperature : float
        Bath temperature T ≥ 0, in units of energy (k_B = 1).
    dt : float
        Time step, in units of 1/(friction · energy per squared coordinate).
    """

    weak_order = 1

    def __init__(self, model: Model, temperature: float, dt: float) -> None:
        self.model = model
        self.temperature = temperature
        self.dt = dt
        self.time_step: float | None = dt

    def step(self, x: Array, t: float, noise: Noise) -> Array:
        """Return x one time step later; x has shape (R, dof)."""
        moved = x + self.dt * self.model.force(x, t, noise)
        if self.temperature > 0:
            moved += math.sqrt(2 * self.temperature * self.dt) * noise.normal(x.shape[1])
        return self.model.constrain(moved)

    def initial_state(self, noise: Noise) -> LangevinState:
        """Return the model's start."""
        x = self.model.initial_configuration(noise)
        energy = self.model.energy(x)
        return LangevinState(x, energy + BLOW_UP * (1 + np.abs(energy) + self.temperature))

    def advance(self, state: LangevinState, t0: float, t1: float, noise: Noise) -> LangevinState:
        """Take the steps from t0 to t1, by the model's fused kernel where it has one."""
        first, last = round(t0 / self.dt), round(t1 / self.dt)
        # A diverging trajectory overflows on its way; what it became is judged below.
        with np.errstate(over="ignore", invalid="ignore"):
            x = self.model.fused_steps(state.x, last - first, self.dt, self.temperature, noise)
            if x is None:
                x = state.x
                for n in range(first, last):
                    x = self.step(x, n * self.dt, noise)
            self._check(x, state.ceiling, t0, t1)
        return LangevinState(x, state.ceiling)

    def _check(self, x: Array, ceiling: Array, t0: float, t1: float) -> None:
        energy = self.model.energy(x)
        bad = ~np.isfinite(x).all(axis=1) | ~(energy <= ceiling)
        if bad.any():
            worst = int(np.flatnonzero(bad)[0])
            raise Diverged(
                f"the trajectory diverged between t = {t0:g} and t = {t1:g}: energy of replica {worst} is "
                f"{energy[worst]:g}; try a smaller dynamics.dt (now {self.dt:g})"
            )

    def measure(self, state: LangevinState) -> dict[str, Array]:
        """Return the energy and the model's further observables."""
        return {"energy": self.model.energy(state.x), **self.model.observables(state.x)}

    def reference(self, state: LangevinState) -> Array:
        """Return the configuration."""
        return state.x

    def compare(self, reference: Array, state: LangevinState) -> dict[str, Array]:
        """Return msd Δ = (1/M) Σ (x_i − x_i')² and correlation C = (1/M) Σ x_i x_i', shape (R,).

        The difference is taken first: at short lags Δ is far smaller than C.
        """
        difference = state.x - reference
        return {
            "msd": np.mean(difference * difference, axis=1),
            "correlation": np.mean(state.x * reference, axis=1),
        }

    def configuration(self, state: LangevinState) -> Array:
        """Return x, shape (R, dof)."""
        return state.x

    def attributes(self) -> Attributes:
        """Return the attributes of energy, msd and correlation, with the model's additions."""
        own: dict[str, dict[str, Any]] = {
            "energy": {"long_name": "energy per degree of freedom", "units": "1"},
            "msd": {"long_name": "mean square displacement per degree of freedom", "units": "1"},
            "correlation": {"long_name": "two-time correlation per degree of freedom", "units": "1"},
        }
        for name, extra in self.model.attributes().items():
            own[name] = {**own.get(name, {}), **extra}
        return own

    def state_dict(self, state: LangevinState) -> dict[str, NDArray[Any]]:
        """Return the arrays of the state."""
        return {"x": state.x, "ceiling": state.ceiling}

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> LangevinState:
        """Return the state that `state_dict` saved."""
        return LangevinState(saved["x"], saved["ceiling"])
