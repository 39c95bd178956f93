r"""Polynomials of high degree: in a panel of t', and in time through slab ends and Radau points.

**In a panel** the nodes are −1 and the Radau points seen from +1, with +1: for fixed t', information enters
at τ = 0 and flows to smaller t'/t, and collocation at the nodes but the last is the fully implicit, A-stable
scheme for that flow.

**In time** a slab [λ, λ + h] has `STAGES` Radau points, its end included, where the equations hold. The
polynomial in λ that gives ∂_λ, and from which all integrals read, runs through these and through the ends of
the `KNOWN` slabs before: a multistep collocation of Radau's type (Hairer & Wanner, Solving Ordinary
Differential Equations II, section V.3). It is as cheap as few stages and as accurate as many: ninth order.
Through stages of the slabs before, in place of their ends, it is not stable.

**Damping.** Of what the levels hold, a tenth (`DAMPING`) of the one part that is orthogonal, level by
level, to all polynomials of lower degree is left out of what integrals read. For a resolved solution that
part is below the error; in a clock that is rough on the scale of a slab it is what integrals would feed
back. Without it, and with three tenths, such roughness grows faster from slab to slab (T = 0, t = 10⁹).

Interpolation is barycentric, which loses no digit at any degree (Berrut & Trefethen, SIAM Rev. 46, 501
(2004)).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev, legendre

from langevin.core.system import Array
from langevin.systems.compiling import njit

#: Polynomial degree in a panel; nodes in it, both ends included.
DEGREE = 12
NODES = DEGREE + 1
#: Gauss points in each panel of a memory integral.
GAUSS = 13
#: Radau points of a slab, ends of slabs before it, and levels in all.
STAGES, KNOWN = 3, 6
LEVELS = STAGES + KNOWN
DAMPING = 0.1


def radau(count: int) -> Array:
    """Return the Radau points in (−1, 1], ascending, the last one 1."""
    high, low = np.zeros(count + 1), np.zeros(count)
    high[count] = low[count - 1] = 1.0
    polynomial = legendre.legsub(high, low)
    roots = np.sort(legendre.legroots(polynomial).real)
    for _ in range(3):
        slope = legendre.legval(roots, legendre.legder(polynomial))
        roots -= legendre.legval(roots, polynomial) / slope
    roots[-1] = 1.0
    return roots


def barycentric(points: Array) -> Array:
    """Return the barycentric weights of distinct points, the largest of them 1."""
    apart = 2 * (points[:, None] - points)
    np.fill_diagonal(apart, 1.0)
    weights = 1 / np.prod(apart, axis=1)
    return np.asarray(weights / np.max(np.abs(weights)))


def interpolation(points: Array, at: Array) -> Array:
    """Return the matrix that takes values at `points` to values at `at`, shape (at, points)."""
    weights, out = barycentric(points), np.empty((len(at), len(points)))
    for row, x in zip(out, at, strict=True):
        weigh(float(x), points, weights, row)
    return out


def differentiation(points: Array) -> Array:
    """Return the matrix that takes values at `points` to derivatives there."""
    weights = barycentric(points)
    apart = points[:, None] - points
    np.fill_diagonal(apart, 1.0)
    out = weights / weights[:, None] / apart
    np.fill_diagonal(out, 0.0)
    np.fill_diagonal(out, -out.sum(axis=1))
    return np.asarray(out)


@njit(error_model="numpy")
def weigh(x, points, weights, out):  # type: ignore[no-untyped-def]
    """Write the weights of interpolation at x to `out`."""
    total = 0.0
    for n in range(len(points)):
        if x == points[n]:
            out[:] = 0.0
            out[n] = 1.0
            return
        out[n] = weights[n] / (x - points[n])
        total += out[n]
    total = 1 / total
    for n in range(len(points)):
        out[n] *= total


@njit(error_model="numpy")
def weigh_levels(clock, levels, weights, out):  # type: ignore[no-untyped-def]
    """Write the weights of a slab's levels at a clock time to `out`, damped.

    The part without lower degrees is along the barycentric weights themselves: a divided difference of
    highest order has them as its coefficients, and is zero for every lower degree.
    """
    weigh(clock, levels, weights, out)
    along = square = 0.0
    for n in range(len(levels)):
        along += out[n] * weights[n]
        square += weights[n] * weights[n]
    for n in range(len(levels)):
        out[n] -= DAMPING * along / square * weights[n]


class Panel(NamedTuple):
    """Tables of one panel, x ∈ [−1, 1].

    Attributes
    ----------
    points, weights : ndarray, shape (NODES,)
        Nodes, and their barycentric weights.
    derivative : ndarray, shape (NODES, NODES)
        d/dx at the nodes.
    gauss, gauss_weights : ndarray, shape (GAUSS,)
    at_gauss : ndarray, shape (GAUSS, NODES)
        Values at the nodes → values at the Gauss points.
    """

    points: Array
    weights: Array
    derivative: Array
    gauss: Array
    gauss_weights: Array
    at_gauss: Array


def _panel() -> Panel:
    points = np.append(-radau(DEGREE)[::-1], 1.0)
    points[0] = -1.0
    gauss, gauss_weights = legendre.leggauss(GAUSS)
    return Panel(
        points,
        barycentric(points),
        differentiation(points),
        gauss,
        gauss_weights,
        interpolation(points, gauss),
    )


PANEL = _panel()
#: Weights of ∫_{−1}^{1} dx over the nodes: Radau's rule, of which +1 is no point, exact to degree 2·DEGREE
#: − 2.
QUADRATURE = np.asarray(
    legendre.leggauss(NODES)[1] @ interpolation(PANEL.points, legendre.leggauss(NODES)[0])
)
#: Values at the nodes → the coefficient of Chebyshev's polynomial of highest degree.
HIGHEST = np.linalg.inv(chebyshev.chebvander(PANEL.points, DEGREE))[-1]
#: The stages' places in a slab, ∈ (0, 1].
PLACES = (1 + radau(STAGES)) / 2
