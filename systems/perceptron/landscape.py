r"""Minima of the spherical perceptron's energy on the sphere, by Newton's method.

H(x) = ½ Σ_μ h_μ² θ(−h_μ), h_μ = ξ_μ·x/√N − σ. With A the rows ξ_μ/√N of the unsatisfied patterns and h their
gaps, ∂H = Aᵀh and ∂²H = AᵀA. On the sphere the multiplier is μ = −x·∂H/N (the derivation in
`langevin.systems.pspin.curvature` holds for any H), a minimum has ∂H + μx = 0, and the Hessian is AᵀA + μ
between vectors of the tangent plane: the share μ = −Σ h(h + σ)/N is > 0 for σ ≥ 0, where the problem is
convex, and < 0 for σ < 0 near jamming.

H is quadratic but for the patterns that begin or cease to count, and Newton's method finds a minimum in some
tens of steps at any distance from jamming, where gradient descent would become ever slower: there the
smallest eigenvalue of AᵀA tends to 0. A step solves (∂²H + μ + λ) d = −gradient, with λ so large that the
matrix is positive (Cholesky) and that the energy falls by a part of what the quadratic form promises. So
every step goes down, and its end is a minimum, not a saddle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from langevin.core.system import Array
from langevin.systems.sphere import TangentPlane

#: A minimum is reached where the gradient is this small beside |h|, the root of 2H.
TOLERANCE = 1e-9
#: Energies, extensive, from which on all patterns count as satisfied: gaps of rounding, 10⁻¹⁴.
SATISFIED = 1e-26
#: Newton steps; some tens are usual.
MOST_STEPS = 400
#: λ after a rejected step at λ = 0, beside 1, the size of the eigenvalues of AᵀA; and what λ grows by.
_FIRST, _GROWTH, _LARGEST = 1e-12, 4.0, 1e8
#: Part of the promised fall that a step must keep, and the part from which on λ falls.
_KEPT, _GOOD = 0.1, 0.5


class TangentHessian:
    """AᵀA + μ on the tangent plane of the sphere at x, of the extensive H.

    Parameters
    ----------
    patterns : ndarray, shape (P, N)
    x : ndarray, shape (N,)
    margin : float
    """

    def __init__(self, patterns: Array, x: Array, margin: float) -> None:
        n = len(x)
        self.size = n - 1
        self._plane = TangentPlane(x)
        gaps = patterns @ x / math.sqrt(n) - margin
        unsatisfied = gaps < 0
        self._rows: Array = patterns[unsatisfied] / math.sqrt(n)
        self._gradient: Array = self._rows.T @ gaps[unsatisfied]
        self.multiplier = -float(x @ self._gradient) / n

    def matvec(self, vectors: Array) -> Array:
        """Return the product with vectors, shape (N − 1, k)."""
        product = self._rows.T @ (self._rows @ self._plane.outside(vectors))
        return self._plane.inside(product) + self.multiplier * vectors

    def gradient(self) -> Array:
        """Return the gradient of H on the sphere, shape (N − 1,), in the same basis."""
        return self._plane.inside(self._gradient[:, None])[:, 0]

    def displacements(self, vectors: Array) -> Array:
        """Return vectors of the tangent plane, shape (N − 1, k), in the coordinates of x, (N, k)."""
        return self._plane.outside(vectors)

    def dense(self) -> Array:
        """Return the matrix, shape (N − 1, N − 1)."""
        rows = self._plane.inside(self._rows.T)
        return rows @ rows.T + self.multiplier * np.eye(self.size)


@dataclass(frozen=True)
class Point:
    """A configuration with its gaps.

    Attributes
    ----------
    patterns : ndarray, shape (P, N)
    x : ndarray, shape (N,)
    margin : float
    gaps : ndarray, shape (P,)
        h_μ.
    energy : float
        H, extensive.
    """

    patterns: Array
    x: Array
    margin: float
    gaps: Array
    energy: float

    @classmethod
    def at(cls, patterns: Array, x: Array, margin: float) -> Point:
        """Return the point x at a margin."""
        gaps = patterns @ x / math.sqrt(len(x)) - margin
        negative = np.minimum(gaps, 0.0)
        return cls(patterns, x, margin, gaps, 0.5 * float(negative @ negative))

    def moved(self, x: Array) -> Point:
        """Return another configuration at the same margin."""
        return Point.at(self.patterns, x, self.margin)

    @property
    def satisfied(self) -> bool:
        """Whether all patterns are satisfied, to rounding."""
        return self.energy <= SATISFIED


def minimum(start: Point) -> Point:
    """Return the minimum of the energy that Newton's method finds from `start`, or where all are satisfied.

    After `MOST_STEPS` it is what was reached; `settled` tells.
    """
    now, damping = start, 1e-3
    for _ in range(MOST_STEPS):
        if now.satisfied:
            return now
        moved, damping = _step(now, damping)
        if moved is None:
            return now
        now = moved
    return now


def settled(point: Point, tolerance: float = 10 * TOLERANCE) -> bool:
    """Return whether a point is a stationary one, or satisfies all patterns."""
    if point.satisfied:
        return True
    gradient, _ = _slope(point)
    return float(np.linalg.norm(gradient)) <= tolerance * math.sqrt(2 * point.energy)


def _slope(point: Point) -> tuple[Array, float]:
    """Return the gradient on the sphere, shape (N,), and the multiplier."""
    unsatisfied = point.gaps < 0
    n = len(point.x)
    gradient = point.gaps[unsatisfied] @ point.patterns[unsatisfied] / math.sqrt(n)
    multiplier = -float(point.x @ gradient) / n
    return gradient + multiplier * point.x, multiplier


def _quadratic(point: Point, multiplier: float) -> Array:
    """Return the Hessian on the sphere in coordinates of x, shape (N, N), with 1 along x."""
    n = len(point.x)
    rows = point.patterns[point.gaps < 0] / math.sqrt(n)
    axis = point.x / math.sqrt(n)
    rows = rows - np.outer(rows @ axis, axis)
    matrix: Array = rows.T @ rows
    matrix[np.diag_indices(n)] += multiplier
    return matrix + (1 - multiplier) * np.outer(axis, axis)


def followed(point: Point, margin: float) -> Point:
    """Return where a minimum moves to, in linear response, as the margin goes to another one.

    The gradient changes by −Aᵀ1 dσ at fixed x, hence dx = (∂²H + μ)⁻¹ Aᵀ1 dσ in the tangent plane, which
    keeps the contacts: at fixed x half of them would open, and close again only step by step.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    n = len(point.x)
    _, multiplier = _slope(point)
    pull = point.patterns[point.gaps < 0].sum(axis=0) / math.sqrt(n)
    pull -= point.x * float(pull @ point.x) / n
    try:
        factor = cho_factor(_quadratic(point, multiplier), overwrite_a=True, check_finite=False)
    except LinAlgError:
        # No minimum in the strict sense: a mode without stiffness.
        return Point.at(point.patterns, point.x, margin)
    moved: Array = point.x + (margin - point.margin) * cho_solve(factor, pull, check_finite=False)
    moved *= math.sqrt(n) / float(np.linalg.norm(moved))
    return Point.at(point.patterns, moved, margin)


def _step(now: Point, damping: float) -> tuple[Point | None, float]:
    """Return the next point and λ; None where the gradient is nothing, or no step goes down."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    gradient, multiplier = _slope(now)
    if np.linalg.norm(gradient) <= TOLERANCE * math.sqrt(2 * now.energy):
        return None, damping
    matrix = _quadratic(now, multiplier)
    n = len(now.x)
    while damping < _LARGEST:
        try:
            factor = cho_factor(matrix + damping * np.eye(n), overwrite_a=True, check_finite=False)
        except LinAlgError:
            damping = max(_GROWTH * damping, _FIRST)
            continue
        move: Array = -cho_solve(factor, gradient, check_finite=False)
        moved = now.x + move
        moved *= math.sqrt(n) / float(np.linalg.norm(moved))
        found = now.moved(moved)
        # Of the exact minimum of the damped form: −g·d/2 and a part of λ|d|² more.
        promised = -float(gradient @ move) / 2 + damping * float(move @ move) / 2
        kept = (now.energy - found.energy) / promised
        if kept > _KEPT or found.satisfied:
            return found, damping / _GROWTH if kept > _GOOD else damping
        damping = max(_GROWTH * damping, _FIRST)
    return None, damping
