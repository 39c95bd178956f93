r"""The grid in t' of one slice, C(t, ·) and R(t, ·): panels in a coordinate that resolves both ends.

With τ = t − t' and one scale τ₀ of microscopic relaxation,

    u = ln[(t' + τ₀) / (τ + τ₀)],    t' + τ₀ = (t + 2τ₀) σ(u),    τ + τ₀ = (t + 2τ₀) σ(−u),

σ the logistic function, runs from −U at t' = 0 to U = ln(1 + t/τ₀) at τ = 0: linear in t' and in τ at either
end, logarithmic between. The width grows as 2 ln t, so the number of nodes grows with the number of decades.

[−U, U] is cut into equal panels. In each, a polynomial of degree 7 runs through the Radau points counted from
the right end: for fixed t', information enters at τ = 0 and flows to smaller θ = t'/t, and collocation at
these points is the fully implicit, A-stable scheme for that flow (centred differences of more than
second order on equidistant nodes are not stable with one-sided closures: their spectra reach into the right
half plane). Polynomials are
written in Chebyshev's basis, which stays well conditioned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev, legendre

from langevin.core.system import Array
from langevin.systems.compiling import njit

#: Polynomial degree in a panel; nodes in it, both ends included.
DEGREE = 7
NODES = DEGREE + 1
#: Scale of microscopic relaxation, in units of the bare relaxation time.
SCALE = 0.3
#: Gauss points in each panel of a memory integral.
GAUSS = 6


def _radau() -> Array:
    """Return the nodes in [−1, 1], ascending: −1 and the Radau points seen from +1, with +1."""
    high, low = np.zeros(DEGREE + 1), np.zeros(DEGREE)
    high[DEGREE] = low[DEGREE - 1] = 1.0
    polynomial = legendre.legsub(high, low)
    roots = np.sort(legendre.legroots(polynomial).real)
    for _ in range(3):
        slope = legendre.legval(roots, legendre.legder(polynomial))
        roots -= legendre.legval(roots, polynomial) / slope
    points = np.append(-roots[::-1], 1.0)
    points[0] = -1.0
    return points


POINTS = _radau()
#: Values at the nodes → Chebyshev coefficients, shape (degree, node).
TO_CHEBYSHEV = np.linalg.inv(chebyshev.chebvander(POINTS, DEGREE))
#: Values at the nodes → d/dx at the nodes, x ∈ [−1, 1].
DERIVATIVE = (
    np.array([chebyshev.chebval(POINTS, chebyshev.chebder(row)) for row in np.eye(NODES)]).T @ TO_CHEBYSHEV
)
GAUSS_POINTS, GAUSS_WEIGHTS = legendre.leggauss(GAUSS)
_fine_points, _fine_weights = legendre.leggauss(NODES)
#: Weights of ∫_{−1}^{1} dx over the nodes.
QUADRATURE = _fine_weights @ chebyshev.chebvander(_fine_points, DEGREE) @ TO_CHEBYSHEV


@dataclass(frozen=True)
class PanelGrid:
    """Nodes of the slice at time t.

    Attributes
    ----------
    t : float
    panels : int
    half : float
        U = ln(1 + t/τ₀).
    width : float
        Of a panel, 2U/panels.
    earlier, lag : ndarray, shape (nodes,)
        t' and τ = t − t' at the nodes, ascending in t', each exact at its own end.
    weight : ndarray, shape (nodes,)
        Of ∫_0^t dt' over the nodes.
    slope : ndarray, shape (nodes,)
        dx/dt' at the nodes, x ∈ [−1, 1] the coordinate inside a panel.
    density : ndarray, shape (nodes,)
        dt'/du at the nodes.
    """

    t: float
    panels: int
    half: float
    width: float
    earlier: Array
    lag: Array
    weight: Array
    slope: Array
    density: Array

    @classmethod
    def at(cls, t: float, width: float) -> PanelGrid:
        """Return the grid at time t > 0, of panels at most `width` wide in u (and at least three)."""
        return cls.of(t, max(3, math.ceil(2 * math.log1p(t / SCALE) / width)))

    @classmethod
    def of(cls, t: float, panels: int) -> PanelGrid:
        """Return the grid at time t ≥ 0 with a given number of panels."""
        if t == 0:
            zero = np.zeros(NODES)
            return cls(0.0, 1, 0.0, 0.0, zero, zero, zero, zero, zero)
        half = math.log1p(t / SCALE)
        width = 2 * half / panels
        inner = -half + width * (np.arange(panels)[:, None] + 0.5 * (1 + POINTS[:-1]))
        u = np.append(inner.ravel(), half)
        span = t + 2 * SCALE
        earlier, lag = span / (1 + np.exp(-u)) - SCALE, span / (1 + np.exp(u)) - SCALE
        earlier[0], lag[0], earlier[-1], lag[-1] = 0.0, t, t, 0.0
        density = (earlier + SCALE) * (lag + SCALE) / span
        weight = np.zeros_like(u)
        for panel in range(panels):
            weight[panel * DEGREE : panel * DEGREE + NODES] += QUADRATURE * width / 2
        return cls(t, panels, half, width, earlier, lag, weight * density, 2 / (width * density), density)


@njit(error_model="numpy")
def locate(earlier, lag, half, panels):  # type: ignore[no-untyped-def]
    """Return the panel that holds (t', τ), and x ∈ [−1, 1] in it."""
    position = (math.log((earlier + SCALE) / (lag + SCALE)) + half) / (2 * half) * panels
    panel = min(max(int(position), 0), panels - 1)
    return panel, 2 * (position - panel) - 1


@njit(error_model="numpy")
def node_weights(earlier, lag, half, panels, out):  # type: ignore[no-untyped-def]
    """Write the weights of the nodes for interpolation at (t', τ) to `out`; return the first node's index."""
    panel, x = locate(earlier, lag, half, panels)
    for n in range(NODES):
        out[n] = TO_CHEBYSHEV[0, n] + x * TO_CHEBYSHEV[1, n]
    before, now = 1.0, x
    for k in range(2, NODES):
        before, now = now, 2 * x * now - before
        for n in range(NODES):
            out[n] += TO_CHEBYSHEV[k, n] * now
    return panel * DEGREE
