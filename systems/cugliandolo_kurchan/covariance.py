"""The covariance of the Hamiltonian, f(q) = Σ_p a_p q^p: all that the N → ∞ dynamics knows of the disorder.

⟨H(σ)H(σ')⟩ = N f(q) at overlap q. The pure p-spin model in the project's normalisation, ⟨J²⟩ = p!/(2N^{p−1}),
is f = q^p/2; a mixed model is a sum of such terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from langevin.core.system import Array


@dataclass(frozen=True)
class Covariance:
    """f(q) = Σ_p a_p q^p, with derivatives; every a_p > 0, every p ≥ 2.

    Attributes
    ----------
    powers : tuple of int
        The p, ascending.
    weights : tuple of float
        The a_p.
    """

    powers: tuple[int, ...]
    weights: tuple[float, ...]

    @classmethod
    def pure(cls, p: int) -> Covariance:
        """Return f = q^p/2."""
        return cls((p,), (0.5,))

    @classmethod
    def mixed(cls, strengths: Mapping[int, float]) -> Covariance:
        """Return f = Σ_p (strength_p/2) q^p; strength 1 is a pure model's."""
        powers = tuple(sorted(strengths))
        return cls(powers, tuple(strengths[p] / 2 for p in powers))

    @classmethod
    def parse(cls, given: object) -> Covariance:
        """Read what stands in a run file: p, or a table of strengths by p.

        Raises
        ------
        ValueError
            If it is neither.
        """
        table = {given: 1.0} if _is_power(given) else given
        problem = "must be an integer ≥ 2, or a table of them with strengths > 0, { 3 = 0.5, 4 = 0.5 }"
        if not isinstance(table, Mapping) or not table:
            raise ValueError(problem)
        strengths = {}
        for power, strength in table.items():
            power = int(power) if isinstance(power, str) and power.isdecimal() else power
            if not _is_power(power) or isinstance(strength, bool) or not isinstance(strength, int | float):
                raise ValueError(problem)
            if not (0 < strength < math.inf):
                raise ValueError(problem)
            strengths[power] = float(strength)
        return cls.mixed(strengths)

    def derivative(self, order: int, q: Array | float) -> Array:
        """Return the derivative of the given order at q, same shape as q."""
        q = np.asarray(q, dtype=float)
        total = np.zeros_like(q)
        for p, weight in zip(self.powers, self.weights, strict=True):
            if p >= order:
                factor = weight * np.prod(np.arange(p, p - order, -1.0))
                total += factor * q ** (p - order)
        return total


def _is_power(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 2 <= given <= 100
