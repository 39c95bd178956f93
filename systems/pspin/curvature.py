r"""The Hessian of the p-spin energy on the sphere, of one replica.

On the sphere Σσ² = N a stationary point of H is one of H + (μ/2)(Σσ² − N) in all of R^N, with
∂H/∂σ_i + μσ_i = 0, so that μ = −σ·∂H/N. H is homogeneous of degree p (Euler: σ·∂H = pH), hence μ = −pE with
E = H/N; each part of a mixed model is, and μ = −Σ_p p E_p. At any σ, along the great circle σ(s) =
σ cos(s/√N) + u √N sin(s/√N) with |u| = 1 and u·σ = 0,

    d²H/ds² = u·∂²H·u − σ·∂H/N = u·(∂²H + μ)·u    at s = 0,

so that the Hessian on the sphere is ∂²H + μ between vectors of the tangent plane, N − 1 of them. In the bath
the projection's own multiplier is T + μ (`model`); the T is the noise's share and no part of the landscape.
The basis of N − 1 vectors is that of `TangentPlane`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from langevin.core.system import Array
from langevin.systems.sphere import TangentPlane

if TYPE_CHECKING:
    from .mixture import Sample


class TangentHessian:
    """P (∂²H + μ) P on the tangent plane of the sphere at σ, of the extensive H, in a basis of N − 1 vectors.

    Parameters
    ----------
    couplings : Couplings, or a tuple of them
        Of the replica's sample; of a mixed model those of each p, ascending.
    x : ndarray, shape (N,)
        σ, with Σσ² = N.
    threads : int
        Processors for products; the matrix is made on one.
    """

    def __init__(self, couplings: Sample, x: Array, threads: int) -> None:
        self.couplings, self.x, self.threads = couplings, x, threads
        parts = couplings if isinstance(couplings, tuple) else (couplings,)
        self._of = {part.p: part for part in parts}
        self.size = len(x) - 1
        self._plane = TangentPlane(x)

    def _force(self, rows: Array, p: int | None = None) -> Array:
        """Return −∂H at several configurations, shape (k, N); of one p alone, if it is given."""
        from .kernels import ForceField

        sample = self.couplings if p is None else self._of[p]
        return ForceField([sample], np.zeros(len(rows), np.int64), self.threads).force(rows)

    @cached_property
    def multiplier(self) -> float:
        """μ = −Σ_p p E_p = σ·f/N."""
        return float(self.x @ self._force(self.x[None])[0]) / len(self.x)

    def matvec(self, vectors: Array) -> Array:
        """Return the product with vectors, shape (N − 1, k), as exact as the compiled force is.

        The force f = −∂H is homogeneous of degree p − 1, and its derivative along v, −∂²H v, a finite sum:
        [f(σ + v) − f(σ − v)]/2, from which for p = 4 the cubic term f(v) is taken away; f(v) for p = 2. Of
        a mixed model it is the sum: what is odd in v, but for the cubic term of p = 4.
        """
        directions = self.displacements(vectors)
        # |v| = |σ|: single precision forces round relative to the longer of the two.
        norms = np.linalg.norm(directions, axis=0)
        lengths = np.sqrt(len(self.x)) / np.where(norms > 0, norms, 1.0)
        v = (directions * lengths).T
        if list(self._of) == [2]:
            slope = self._force(v)
        else:
            slope = (self._force(self.x + v) - self._force(self.x - v)) / 2
        if 4 in self._of:
            slope -= self._force(v, 4)
        product = self._plane.inside(-slope.T / lengths)
        return product + self.multiplier * vectors

    def gradient(self) -> Array:
        """Return the gradient of H on the sphere, shape (N − 1,), in the same basis."""
        return self._plane.inside(-self._force(self.x[None]).T)[:, 0]

    def displacements(self, vectors: Array) -> Array:
        """Return vectors of the tangent plane, shape (N − 1, k), in the coordinates of the spins, (N, k)."""
        return self._plane.outside(vectors)

    def dense(self) -> Array:
        """Return the matrix, shape (N − 1, N − 1), from the couplings in double precision."""
        from .second_derivative import second_derivative

        full = second_derivative(self.couplings, self.x)
        return self._plane.inside(self._plane.inside(full).T) + self.multiplier * np.eye(self.size)
