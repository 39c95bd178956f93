r"""Mean and principal axes of inputs, from which Gaussian or reduced ones follow.

Of N inputs x in R^d, with mean m and covariance Σ = (1/N) Σ_n (x_n − m)(x_n − m)ᵀ,

    Σ = Σ_i λ_i u_i u_iᵀ,    λ_1 ≥ λ_2 ≥ … ≥ λ_r > 0,

r the rank. Then m + Σ_i √λ_i g_i u_i with standard normal g has mean m and covariance Σ, whatever r is. With
N > d the axes are the eigenvectors of Σ; else those that a singular value decomposition of the N centred
inputs gives, x − m = Σ_i s_i v_i u_iᵀ with λ_i = s_i²/N, and Σ is never formed.

An axis is known up to its sign: the component of largest size is made positive. Axes of equal λ are known up
to a rotation; nothing here makes them unique.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """Inputs that are read piece by piece, as often as they are wanted.

    Attributes
    ----------
    count, width : int
        N and d.
    blocks : callable
        Returns arrays of shape (n, d), all N inputs one after the other.
    """

    count: int
    width: int
    blocks: Callable[[], Iterable[Table]]

    @property
    def bytes(self) -> float:
        """Memory that their axes ask for: matrix, vectors and workspace."""
        return 8.0 * 4 * self.width * min(self.width, self.count)

    @classmethod
    def of(cls, table: Table) -> Source:
        """Return inputs that are in memory, shape (N, d)."""
        count, width = table.shape
        return cls(count, width, lambda: [table])


class Axes(NamedTuple):
    """Mean and principal axes.

    Attributes
    ----------
    mean : ndarray, shape (d,)
    variances : ndarray, shape (r,)
        λ_i > 0, the largest first.
    vectors : ndarray, shape (d, r)
        u_i, one a column.
    """

    mean: Table
    variances: Table
    vectors: Table

    @property
    def rank(self) -> int:
        """Directions r in which the inputs vary."""
        return len(self.variances)

    def whitened(self, inputs: Table, count: int) -> Table:
        """Return the first `count` components of inputs (n, d), each of variance 1, shape (n, count)."""
        along = (inputs - self.mean) @ self.vectors[:, :count]
        return np.asarray(along / np.sqrt(self.variances[:count]))

    def drawn(self, normals: Table) -> Table:
        """Return Gaussian inputs, shape (n, d), made of standard normals (n, r)."""
        return np.asarray(self.mean + (normals * np.sqrt(self.variances)) @ self.vectors.T)


def axes(source: Source) -> Axes:
    """Return mean and principal axes of inputs."""
    mean = np.sum([block.sum(axis=0) for block in source.blocks()], axis=0) / source.count
    if source.count > source.width:
        covariance = np.zeros((source.width, source.width))
        for block in source.blocks():
            centred = block - mean
            covariance += centred.T @ centred
        variances, vectors = np.linalg.eigh(covariance / source.count)
        variances, vectors = variances[::-1], vectors[:, ::-1]
    else:
        centred = np.concatenate(list(source.blocks())) - mean
        _, singular, rows = np.linalg.svd(centred, full_matrices=False)
        variances, vectors = singular**2 / source.count, rows.T
    # Rounding makes of a variance that vanishes one of this size, relative to the largest.
    least = variances[0] * max(source.count, source.width) * np.finfo(float).eps
    kept = variances > least
    variances, vectors = variances[kept], vectors[:, kept]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    return Axes(mean, variances, np.ascontiguousarray(vectors * np.sign(largest)))
