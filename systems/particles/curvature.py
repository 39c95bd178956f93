r"""The Hessian of the energy of particles, of one replica.

Of a pair at r = r_i − r_j, with n = r/|r|, the derivatives of V(|r|) by both ends are ±K,

    K = V''(r) n nᵀ + (V'(r)/r) (1 − n nᵀ),

so that H_ij = −K and H_ii = Σ_j K: rows add up to zero, and moving all particles alike costs nothing: three
eigenvalues are 0. With s = r/σ, V = ε φ(s):

    Lennard-Jones (WCA too)   φ' = 24 (s⁻⁷ − 2 s⁻¹³),   φ'' = 24 (26 s⁻¹⁴ − 7 s⁻⁸),
    harmonic spheres          φ' = s − 1,                φ'' = 1.

At the cutoff of Lennard-Jones the force jumps, by 0.039 ε/σ at 2.5 σ; the Hessian does not see the jump.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from langevin.core.system import Array

from .tile import HARMONIC

if TYPE_CHECKING:
    from .kernels import Geometry
    from .potentials import PairPotential


def slopes_of_pairs(potential: PairPotential, r: Array, sigma: Array, epsilon: Array) -> tuple[Array, Array]:
    """Return V'(r)/r and V''(r) of interacting pairs, each of the shape of r."""
    s = r / sigma
    if potential.form == HARMONIC:
        first, second = s - 1, np.ones_like(s)
    else:
        first, second = 24 * (s**-7 - 2 * s**-13), 24 * (26 * s**-14 - 7 * s**-8)
    return epsilon * first / (sigma * r), epsilon * second / sigma**2


class PairHessian:
    """The Hessian, with 3N rows: x, y, z of the first particle, then of the next.

    Parameters
    ----------
    geometry : Geometry
    x : ndarray, shape (3N,)
        Positions, unwrapped or not.
    """

    def __init__(self, geometry: Geometry, x: Array) -> None:
        self.geometry, self.x, self.size = geometry, x, x.size

    @cached_property
    def _sparse(self) -> Any:
        """The matrix, with the entries of interacting pairs alone."""
        from scipy.sparse import coo_array
        from scipy.spatial import cKDTree

        g, potential = self.geometry, self.geometry.potential
        r = self.x.reshape(-1, 3)
        # The remainder may round to the edge itself, where a tree of a periodic box has no place.
        wrapped = np.mod(r, g.box)
        wrapped[wrapped >= g.box] = 0.0
        # Rounding must lose no pair at the cutoff: which interact is asked once more.
        pairs = cKDTree(wrapped, boxsize=g.box).query_pairs(
            potential.range * (1 + 1e-9), output_type="ndarray"
        )
        i, j = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].T
        apart = r[i] - r[j]
        apart -= g.box * np.round(apart / g.box)
        sigma, epsilon = (m[g.species[i], g.species[j]] for m in (potential.sigma, potential.epsilon))
        squared = np.sum(apart * apart, axis=1)
        near = sigma**2 / squared > potential.bound
        i, j, apart, sigma, epsilon = (part[near] for part in (i, j, apart, sigma, epsilon))
        distance = np.sqrt(squared[near])
        across, along = slopes_of_pairs(potential, distance, sigma, epsilon)
        unit = apart / distance[:, None]
        # The product of the two first: the matrix is then symmetric to the bit.
        block = (along - across)[:, None, None] * (unit[:, :, None] * unit[:, None, :])
        block += across[:, None, None] * np.eye(3)
        own = np.zeros((len(r), 3, 3))
        np.add.at(own, i, block)
        np.add.at(own, j, block)
        every = np.arange(len(r))
        first, second = np.concatenate([i, j, every]), np.concatenate([j, i, every])
        entries = np.concatenate([-block, -block, own])
        axes = np.indices((3, 3))
        places = [
            (3 * of[:, None, None] + axis).ravel() for of, axis in zip((first, second), axes, strict=True)
        ]
        return coo_array((entries.ravel(), tuple(places)), shape=(self.size, self.size)).tocsr()

    def matvec(self, vectors: Array) -> Array:
        """Return the product with vectors, shape (3N, k)."""
        return np.asarray(self._sparse @ vectors)

    def gradient(self) -> Array:
        """Return the gradient of the energy, shape (3N,)."""
        from .kernels import Field

        return -Field(self.geometry, 1, 1).evaluate(self.x[None]).force[0]

    def dense(self) -> Array:
        """Return the matrix, shape (3N, 3N)."""
        return np.asarray(self._sparse.toarray())
