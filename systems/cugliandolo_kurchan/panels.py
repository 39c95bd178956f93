r"""The grid in t' of a slab's slices, C(t, ·) and R(t, ·): panels in a coordinate that resolves both ends.

With τ = t − t' and one scale τ₀ of microscopic relaxation,

    u = ln[(t' + τ₀) / (τ + τ₀)],    t' + τ₀ = (t + 2τ₀) σ(u),    τ + τ₀ = (t + 2τ₀) σ(−u),

σ the logistic function, runs from −U at t' = 0 to U = ln(1 + t/τ₀) at τ = 0: linear in t' and in τ at either
end, logarithmic between. The width grows as 2 ln t, so the number of nodes grows with the number of decades.

All slices of a slab have the same nodes in x = u/U ∈ [−1, 1]. Lines of constant x are those on which
time derivatives and interpolation between slices run: τ, or t', grows on them like a power of t, smaller the
nearer the end, and a field that varies with ln τ or ln t' varies slowly: C, and R dt'/du, of which ∫ du is
∫ dt' R. (R itself falls like 1/t: as a polynomial in λ it has errors ten to fifty times as large.) So C and
R dt'/du of a slab are tensor products of polynomials, in λ and in x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from langevin.core.system import Array
from langevin.systems.compiling import njit

from .collocation import DEGREE, PANEL, QUADRATURE

#: Scale of microscopic relaxation, in units of the bare relaxation time; t₀ of the clock λ = ln(1 + t/t₀),
#: too.
SCALE = 0.3


@njit(error_model="numpy")
def panels_of(half, width):  # type: ignore[no-untyped-def]
    """Return how many equal panels [−half, half] has, each at most `width` wide in u."""
    return max(math.ceil(2 * half / width), 2)


@njit(error_model="numpy")
def place(ratio, half, panels):  # type: ignore[no-untyped-def]
    """Return the panel that holds u = ln(ratio), and x ∈ [−1, 1] in it."""
    position = 0.5 * (math.log(ratio) / half + 1) * panels
    panel = min(max(int(position), 0), panels - 1)
    return panel, 2 * (position - panel) - 1


@njit(error_model="numpy")
def extent(panels, panel):  # type: ignore[no-untyped-def]
    """Return the middle of a panel and half its width, in x."""
    return (2 * panel + 1) / panels - 1, 1 / panels


@njit(error_model="numpy")
def density_of(low, high):  # type: ignore[no-untyped-def]
    """Return dt'/du where t' + τ₀ and τ + τ₀ are given."""
    return low * high / (low + high)


@dataclass(frozen=True)
class SlabGrid:
    """Nodes of the slices at several times, S of them.

    Attributes
    ----------
    panels : int
    x : ndarray, shape (nodes,)
        u/U at the nodes, ascending in t'.
    t, half : ndarray, shape (S,)
        Times, and U = ln(1 + t/τ₀).
    earlier, lag : ndarray, shape (S, nodes)
        t' and τ = t − t', each exact at its own end.
    weight : ndarray, shape (S, nodes)
        Of ∫_0^t dt' over the nodes.
    density : ndarray, shape (S, nodes)
        dt'/du at the nodes.
    speed : ndarray, shape (S, nodes)
        dx/dt at fixed t', x ∈ [−1, 1] the coordinate inside a panel.
    """

    panels: int
    x: Array
    t: Array
    half: Array
    earlier: Array
    lag: Array
    weight: Array
    density: Array
    speed: Array

    @classmethod
    def at(cls, times: Array, panels: int) -> SlabGrid:
        """Return the grid at times ≠ 0; small negative ones serve the power series."""
        middles = np.array([extent(panels, k)[0] for k in range(panels)])
        x = np.append((middles[:, None] + PANEL.points[:-1] / panels).ravel(), 1.0)
        rule = np.zeros_like(x)
        for panel in range(panels):
            rule[panel * DEGREE : (panel + 1) * DEGREE + 1] += QUADRATURE / panels
        t = np.asarray(times, dtype=float)
        half, column = np.log1p(t / SCALE), t[:, None]
        u, span = x * half[:, None], column + 2 * SCALE
        earlier, lag = span / (1 + np.exp(-u)) - SCALE, span / (1 + np.exp(u)) - SCALE
        earlier[:, 0], lag[:, 0], earlier[:, -1], lag[:, -1] = 0.0, t, t, 0.0
        density = (earlier + SCALE) * (lag + SCALE) / span
        # u = xU: dx/dt = (∂u/∂t − x dU/dt)/U, at fixed t'.
        speed = (-1 / (lag + SCALE) - x / (column + SCALE)) / half[:, None] * panels
        return cls(panels, x, t, half, earlier, lag, rule * half[:, None] * density, density, speed)
