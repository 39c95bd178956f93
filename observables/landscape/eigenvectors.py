r"""Eigenvectors of the largest eigenvalues of a symmetric operator are found here, and parts in their span.

Where the matrix fits, they are its own. Beyond, Lanczos' recursion (`hessian`) with full reorthogonalisation,
begun again from the best vectors found (thick restart: Wu and Simon, SIAM J. Matrix Anal. Appl. 22, 602
(2000)): with V orthonormal and T = Vᵀ H V, whose eigenvectors are s_j, the vectors V s_j have H V s_j = θ_j V
s_j + β s_mj r with a unit vector r that is orthogonal to all of V. An eigenvalue lies within |β s_mj| of θ_j.
The best of them and r begin the next round, in which T is again Vᵀ H V, computed as products come.

The vectors of equal eigenvalues are any basis of their space, and of several equal ones Lanczos finds one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..statistics import Array
from .hessian import Operator, require_finite

#: A vector is good enough if its residual is this part of the largest modulus seen.
ENOUGH = 1e-9
#: Rounds of Lanczos' recursion, at most.
ROUNDS = 30


@dataclass(frozen=True)
class Eigenvectors:
    """The largest eigenvalues and their vectors.

    Attributes
    ----------
    values : ndarray, shape (k,)
        Descending.
    vectors : ndarray, shape (M, k)
        Orthonormal columns; the entry of largest modulus is positive.
    residuals : ndarray, shape (k,)
        |H v − λ v|: an eigenvalue lies within this distance.
    """

    values: Array
    vectors: Array
    residuals: Array


def top(
    operator: Operator, count: int, rng: np.random.Generator, exact: int = 3000, steps: int = 64
) -> Eigenvectors:
    """Return the largest eigenvalues of an operator, and their vectors.

    Parameters
    ----------
    operator : Operator
    count : int
        k ≤ M.
    rng : Generator
        Draws the vector that Lanczos' recursion begins with; not used where the matrix is diagonalised.
    exact : int
        Number of rows up to which it is.
    steps : int
        Vectors that are held at once, besides; at least 2 k + 1 are.

    Raises
    ------
    ValueError
        If there are no k eigenvalues, or a product is not finite.
    """
    size = operator.size
    if not 1 <= count <= size:
        raise ValueError(f"{count} eigenvectors of {size} rows: allowed: from 1 to {size}")
    if size <= exact:
        from scipy.linalg import eigh

        matrix = operator.dense()
        require_finite(matrix)
        values, vectors = eigh(matrix, subset_by_index=(size - count, size - 1))
        values, vectors = values[::-1], vectors[:, ::-1]
        lower = np.tril(matrix)
        products = lower @ vectors + np.tril(matrix, -1).T @ vectors
        residuals = np.linalg.norm(products - values * vectors, axis=0)
        return Eigenvectors(values.copy(), _signed(vectors), residuals)
    return _lanczos(operator.matvec, size, count, rng, min(size, max(steps, 2 * count + 1)))


def _lanczos(
    matvec: Callable[[Array], Array], size: int, count: int, rng: np.random.Generator, steps: int
) -> Eigenvectors:
    basis, small = np.zeros((steps, size)), np.zeros((steps, steps))
    start = rng.standard_normal(size)
    basis[0], known = start / np.linalg.norm(start), 0
    for _ in range(ROUNDS):
        known, beta, rest = _extended(matvec, basis, small, known, rng)
        values, vectors = np.linalg.eigh(small[:known, :known])
        values, vectors = values[::-1], vectors[:, ::-1]
        residuals = np.abs(beta * vectors[-1])
        scale = np.abs(values).max()
        if known == size or (residuals[:count] <= ENOUGH * scale).all():
            break
        # A few more than asked for: those behind them then converge, too, and do not stand in the way.
        kept = min(count + (steps - count) // 2, steps - 1, known)
        basis[:kept] = vectors[:, :kept].T @ basis[:known]
        small[:] = 0
        small[:kept, :kept] = np.diag(values[:kept])
        basis[kept], known = rest, kept
    best = (vectors[:, :count].T @ basis[:known]).T
    return Eigenvectors(values[:count].copy(), _signed(best), residuals[:count].copy())


def _extended(
    matvec: Callable[[Array], Array], basis: Array, small: Array, known: int, rng: np.random.Generator
) -> tuple[int, float, Array]:
    """Fill the basis from `known` on; return its size, and length and direction of the rest outside of it."""
    steps, size = basis.shape
    beta = 0.0
    rest: Array = basis[known]
    for n in range(known, steps):
        product = matvec(basis[n][:, None])[:, 0]
        require_finite(product)
        here = basis[: n + 1]
        along = here @ product
        small[: n + 1, n] = small[n, : n + 1] = along
        left = product - along @ here
        left -= (here @ left) @ here
        beta = float(np.linalg.norm(left))
        if n + 1 == size:
            return size, 0.0, rest
        if beta <= 10 * np.finfo(float).eps * np.sqrt(size) * max(np.abs(small).max(), 1e-300):
            # The space is invariant: the rest is reached from another direction.
            beta = 0.0
            left = rng.standard_normal((size,))
            for _ in range(2):
                left -= (here @ left) @ here
        rest = left / np.linalg.norm(left)
        if n + 1 < steps:
            basis[n + 1] = rest
    return steps, beta, rest


def _signed(vectors: Array) -> Array:
    """Return vectors, shape (M, k), with the sign that makes the entry of largest modulus positive."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], 0)
    return np.asarray(vectors * np.where(largest < 0, -1.0, 1.0))


def part_in_span(vectors: Array, direction: Array) -> Array:
    """Return the part of a squared vector in the span of the first 1, 2, …, k of orthonormal vectors.

    Parameters
    ----------
    vectors : ndarray, shape (M, k)
    direction : ndarray, shape (M,)

    Returns
    -------
    ndarray, shape (k,)
        Rising, at most 1; NaN of a vector that is zero.
    """
    square = float(direction @ direction)
    if square == 0:
        return np.full(vectors.shape[1], np.nan)
    return np.asarray(np.cumsum((direction @ vectors) ** 2) / square)
