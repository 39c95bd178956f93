r"""The spectrum of a symmetric operator is exact where the matrix fits; else Lanczos quadrature estimates it.

The spectral density of H, M × M, is ρ(λ) = (1/M) Σ_i δ(λ − λ_i). For a random vector v with independent
entries ±1, ⟨v f(H) v⟩ = tr f(H) for every function f. Lanczos' recursion from v/√M builds an orthonormal
basis of the Krylov space in which H is a tridiagonal matrix T of m rows. With θ_j its eigenvalues (Ritz
values) and w_j the squared first components of its eigenvectors,

    (1/M) v f(H) v = Σ_j w_j f(θ_j)    for all polynomials f of degree up to 2m − 1

(Gauss quadrature; Golub and Welsch 1969), and Σ_j w_j = 1. Averaged over probes v,
ρ(λ) ≈ ⟨Σ_j w_j δ(λ − θ_j)⟩ (Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 38, 1075 (2017)). The extreme
Ritz values converge to the extreme eigenvalues; around each θ_j there is an eigenvalue within the residual
β_m |s_mj|, s_mj being the last component of the eigenvector of T. In exact arithmetic the basis is orthogonal
by construction, in floating point it is not: each new vector is made orthogonal to all before, twice.

The first diagonal entry of T is v H v/M: the mean of M times it over the probes estimates tr H (Hutchinson
1990), with variance 2 Σ_{i≠j} H_ij² for one probe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..statistics import Array

#: Bytes of Lanczos vectors that are held at once, as far as one probe's are less.
HELD = 2**30


class Operator(Protocol):
    """A real symmetric matrix, known by its products with vectors."""

    @property
    def size(self) -> int:
        """Number of rows M."""

    def matvec(self, vectors: Array) -> Array:
        """Return H V, shape (M, k), of vectors V, shape (M, k)."""

    def dense(self) -> Array:
        """Return H, shape (M, M)."""


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of an operator, or estimates of them.

    Attributes
    ----------
    values : ndarray
        All eigenvalues, ascending, shape (M,); or Ritz values, ascending along the last axis, shape
        (probes, steps), NaN behind the last one where the Krylov space ended before.
    weights : ndarray, shape of `values`
        Share of the density at each value: 1/M for an eigenvalue; those of a probe add up to 1.
    residuals : ndarray, shape of `values`
        An eigenvalue lies within this distance of the value; 0 where it is an eigenvalue.
    trace, trace_error : float
        tr H and its standard error, 0 where the eigenvalues are known.
    """

    values: Array
    weights: Array
    residuals: Array
    trace: float
    trace_error: float

    @property
    def exact(self) -> bool:
        """Whether the values are the eigenvalues."""
        return self.values.ndim == 1

    def moment(self, power: int) -> float:
        """Return the moment (1/M) tr H^k of the density; of Ritz values the mean over the probes."""
        return float(np.mean(np.nansum(self.weights * self.values**power, axis=-1)))

    @property
    def extremes(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return float(np.nanmin(self.values)), float(np.nanmax(self.values))


def spectrum(
    operator: Operator, rng: np.random.Generator, exact: int = 3000, steps: int = 64, probes: int = 8
) -> Spectrum:
    """Return the spectrum of an operator.

    Parameters
    ----------
    operator : Operator
    rng : Generator
        Draws the probes; not used where the spectrum is exact.
    exact : int
        Number of rows up to which the matrix is diagonalised.
    steps, probes : int
        Steps and random vectors of Lanczos' recursion, beyond that.
    """
    if operator.size <= exact:
        return diagonalised(operator.dense())
    return lanczos(operator, rng, steps, probes)


def diagonalised(matrix: Array) -> Spectrum:
    """Return all eigenvalues of a symmetric matrix, shape (M, M), of which the lower half is read.

    Raises
    ------
    ValueError
        If an element is not a finite number.
    """
    require_finite(matrix)
    values: Array = np.linalg.eigvalsh(matrix).astype(np.float64, copy=False)
    size = len(values)
    return Spectrum(values, np.full(size, 1 / size), np.zeros(size), float(np.trace(matrix)), 0.0)


def lanczos(operator: Operator, rng: np.random.Generator, steps: int = 64, probes: int = 8) -> Spectrum:
    """Return Ritz values and their weights, by stochastic Lanczos quadrature.

    Parameters
    ----------
    operator : Operator
    rng : Generator
    steps : int
        m: products with the operator for each probe, of which the quadrature is exact to degree 2m − 1.
    probes : int
        Random vectors; at least two, for an error.
    """
    size = operator.size
    steps = min(steps, size)
    signs = rng.integers(0, 2, size=(probes, size), dtype=np.int8)
    together = max(1, min(probes, HELD // (8 * size * steps)))
    diagonals, others = [], []
    for first in range(0, probes, together):
        starts = (2.0 * signs[first : first + together] - 1) / np.sqrt(size)
        for diagonal, beside in zip(*tridiagonal(operator.matvec, starts, steps), strict=True):
            diagonals.append(diagonal)
            others.append(beside)
    quadratures = [_gauss(a, b) for a, b in zip(diagonals, others, strict=True)]
    values, weights, residuals = (np.array(part) for part in zip(*quadratures, strict=True))
    traces = size * np.array([diagonal[0] for diagonal in diagonals])
    error = traces.std(ddof=1) / np.sqrt(probes) if probes > 1 else np.nan
    return Spectrum(values, weights, residuals, float(traces.mean()), float(error))


def tridiagonal(
    matvec: Callable[[Array], Array], starts: Array, steps: int
) -> tuple[list[Array], list[Array]]:
    """Reduce an operator to tridiagonal matrices by Lanczos' recursion, with full reorthogonalisation.

    Parameters
    ----------
    matvec : callable
        H V of vectors V, shape (M, k).
    starts : ndarray, shape (k, M)
        Unit vectors to start from; each is the beginning of a recursion of its own.
    steps : int
        m ≤ M.

    Returns
    -------
    diagonals, others : list of ndarray, shape (m,) each
        For each start, the diagonal and beside it β_1 … β_m; the last one tells how far the Krylov space is
        from being invariant. NaN from where it ended.

    Raises
    ------
    ValueError
        If a product is not finite.
    """
    count, size = starts.shape
    basis = np.zeros((count, steps, size))
    basis[:, 0] = starts
    diagonals, others = np.full((count, steps), np.nan), np.full((count, steps), np.nan)
    # A vector that is rounding error alone begins nothing.
    least, scale = 10 * np.finfo(float).eps * np.sqrt(size), np.zeros(count)
    alive = np.arange(count)
    for n in range(steps):
        products = matvec(basis[alive, n].T)
        require_finite(products)
        for k, product in zip(alive.copy(), products.T, strict=True):
            known, new = basis[k, : n + 1], np.array(product)
            diagonals[k, n] = known[n] @ new
            for _ in range(2):
                new -= known.T @ (known @ new)
            others[k, n] = length = np.linalg.norm(new)
            scale[k] = max(scale[k], abs(diagonals[k, n]), length)
            if length <= least * scale[k]:
                others[k, n] = 0.0
                alive = alive[alive != k]
            elif n + 1 < steps:
                basis[k, n + 1] = new / length
        if alive.size == 0:
            break
    return list(diagonals), list(others)


def _gauss(diagonal: Array, beside: Array) -> tuple[Array, Array, Array]:
    """Return Ritz values, weights and residuals of a tridiagonal matrix, NaN behind its end."""
    size = int(np.isfinite(diagonal).sum())
    nodes = np.full((3, len(diagonal)), np.nan)
    from scipy.linalg import eigh_tridiagonal

    values, vectors = eigh_tridiagonal(diagonal[:size], beside[: size - 1])
    nodes[0, :size], nodes[1, :size] = values, vectors[0] ** 2
    nodes[2, :size] = beside[size - 1] * np.abs(vectors[-1])
    return nodes[0], nodes[1], nodes[2]


def require_finite(numbers: Array) -> None:
    """Raise ValueError if an element is not a finite number."""
    if not np.isfinite(numbers).all():
        raise ValueError("the operator is not finite")


def density(values: Array, weights: Array, at: Array, width: float) -> Array:
    """Return the density of a spectrum, every value broadened to a Gaussian.

    Parameters
    ----------
    values, weights : ndarray, shape (…, n)
        Those of a `Spectrum`; NaN counts for nothing.
    at : ndarray, shape (points,)
        Where to evaluate it.
    width : float
        Standard deviation of the Gaussian, in the units of the eigenvalues.

    Returns
    -------
    ndarray, shape (…, points)
        Its integral is the sum of the weights.
    """
    known = np.isfinite(values)
    shifted = (at - np.where(known, values, 0.0)[..., None]) / width
    peaks = np.exp(-(shifted**2) / 2) / (np.sqrt(2 * np.pi) * width)
    return np.einsum("...n,...np->...p", np.where(known, weights, 0.0), peaks)
