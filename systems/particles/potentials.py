"""Pair potentials V_ab(r) = ε_ab φ(r/σ_ab), cut at a multiple of σ_ab, as tables for the kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from langevin.core.system import Array

from .tile import HARMONIC, LENNARD_JONES


@dataclass(frozen=True)
class PairPotential:
    """Strengths and lengths of the pairs of species, and the form of their potential.

    Attributes
    ----------
    form : int
        `LENNARD_JONES`, φ = 4(s⁻¹² − s⁻⁶) − shift, or `HARMONIC`, φ = (1 − s)²/2, s = r/σ.
    sigma, epsilon : ndarray, shape (species, species)
        Symmetric.
    cutoff : float
        x_c, in units of σ_ab; 1 for harmonic spheres.
    """

    form: int
    sigma: Array
    epsilon: Array
    cutoff: float

    @property
    def bound(self) -> float:
        """1/x_c²: pairs with (σ/r)² above it interact."""
        return 1 / self.cutoff**2

    @property
    def shift(self) -> float:
        """φ(x_c)/4 before it is shifted to 0."""
        return self.cutoff**-12 - self.cutoff**-6 if self.form == LENNARD_JONES else 0.0

    @property
    def range(self) -> float:
        """Largest distance at which a pair interacts."""
        return float(self.cutoff * self.sigma.max())

    def table(self, skin: float) -> Array:
        """Return σ², the force constant and the square of the listing radius, shape (species, species, 3)."""
        strength = {LENNARD_JONES: 24.0, HARMONIC: 1.0}[self.form]
        parts = [
            self.sigma**2,
            strength * self.epsilon / self.sigma**2,
            (self.cutoff * self.sigma + skin) ** 2,
        ]
        return np.ascontiguousarray(np.stack(parts, axis=-1))
