"""The sphere Σx² = N: uniform points on it, and the plane that touches it at a point."""

from __future__ import annotations

import numpy as np

from langevin.core.system import Array


def uniform_on_sphere(n: int, rng: np.random.Generator, count: int | None = None) -> Array:
    """Draw configurations uniformly on Σx² = n; shape (n,), or (count, n)."""
    return onto_sphere(rng.standard_normal(n if count is None else (count, n)))


def onto_sphere(x: Array) -> Array:
    """Return configurations, shape (…, N), rescaled onto Σx² = N."""
    scaled: Array = x * np.sqrt(x.shape[-1] / np.sum(x * x, axis=-1, keepdims=True))
    return scaled


class TangentPlane:
    """The plane that touches the sphere at x: N − 1 orthonormal vectors.

    They are columns of the Householder reflection Q = 1 − 2 h hᵀ/|h|², h = x/√N ± e_0, that exchanges the
    first axis with the direction of x: all columns but the first.

    Parameters
    ----------
    x : ndarray, shape (N,)
    """

    def __init__(self, x: Array) -> None:
        unit = x / np.linalg.norm(x)
        # Of the two signs the one that cancels nothing.
        unit[0] += np.copysign(1.0, unit[0])
        self._normal = unit / np.linalg.norm(unit)

    def reflected(self, vectors: Array) -> Array:
        """Return Q V, shape of V, (N, k)."""
        normal = self._normal
        return vectors - 2 * np.outer(normal, normal @ vectors)

    def inside(self, vectors: Array) -> Array:
        """Return the components in the plane, shape (N − 1, k), of vectors, shape (N, k)."""
        return self.reflected(vectors)[1:]

    def outside(self, components: Array) -> Array:
        """Return vectors of the plane, shape (N, k), from their components, shape (N − 1, k)."""
        return self.reflected(np.vstack([np.zeros((1, components.shape[1])), components]))
