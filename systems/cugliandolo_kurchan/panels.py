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

Three zones of equal panels: late in time the one around t' ~ t is finer. An error of the clock there, on
the scale of a slab, is what the equations hardly resist (`longtime`); it has to be resolved better in t'
than it is in t. `Zones` holds the two places in x that part them, and the panels of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from langevin.core.system import Array
from langevin.systems.compiling import njit

from .collocation import DEGREE, PANEL, QUADRATURE

#: Scale of microscopic relaxation, in units of the bare relaxation time; t₀ of the clock λ = ln(1 + t/t₀),
#: too.
SCALE = 0.3
#: u between which panels are fine late in time.
FINE_FROM, FINE_TO = -4.0, 8.0


class Zones(NamedTuple):
    """Where zones part, x ∈ [−1, 1], and how many panels each has."""

    left: float
    right: float
    before: int
    fine: int
    after: int


@njit(error_model="numpy")
def zones_of(half, width, fine):  # type: ignore[no-untyped-def]
    """Return the zones of [−half, half], panels at most `width` wide in u, and `fine` where t' ~ t."""
    left, right = max(FINE_FROM, -half), min(FINE_TO, half)
    # No zone narrower than half a panel.
    left = -half if left + half < 0.5 * width else left
    right = half if half - right < 0.5 * width else right
    before, after = math.ceil((left + half) / width), math.ceil((half - right) / width)
    middle = max(math.ceil((right - left) / fine), 1 if before + after > 0 else 2)
    return left / half, right / half, before, middle, after


@njit(error_model="numpy")
def place(ratio, half, zones):  # type: ignore[no-untyped-def]
    """Return the panel that holds u = ln(ratio), and x ∈ [−1, 1] in it."""
    left, right, before, fine, after = zones
    y = math.log(ratio) / half
    if y < left and before > 0:
        position, first, count = (y + 1) / (left + 1) * before, 0, before
    elif y < right or after == 0:
        position, first, count = (y - left) / (right - left) * fine, before, fine
    else:
        position, first, count = (y - right) / (1 - right) * after, before + fine, after
    panel = min(max(int(position), 0), count - 1)
    return first + panel, 2 * (position - panel) - 1


@njit(error_model="numpy")
def extent(zones, panel):  # type: ignore[no-untyped-def]
    """Return the middle of a panel and half its width, in x."""
    left, right, before, fine, after = zones
    if panel < before:
        low, width, panel = -1.0, (left + 1) / before, panel
    elif panel < before + fine:
        low, width, panel = left, (right - left) / fine, panel - before
    else:
        low, width, panel = right, (1 - right) / after, panel - before - fine
    return low + width * (panel + 0.5), 0.5 * width


@njit(error_model="numpy")
def density_of(low, high):  # type: ignore[no-untyped-def]
    """Return dt'/du where t' + τ₀ and τ + τ₀ are given."""
    return low * high / (low + high)


@dataclass(frozen=True)
class SlabGrid:
    """Nodes of the slices at several times, S of them.

    Attributes
    ----------
    zones : Zones
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

    zones: Zones
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
    def at(cls, times: Array, zones: Zones) -> SlabGrid:
        """Return the grid at times ≠ 0; small negative ones serve the power series."""
        panels = zones.before + zones.fine + zones.after
        middles, halves = np.array([extent(zones, k) for k in range(panels)]).T
        x = np.append((middles[:, None] + halves[:, None] * PANEL.points[:-1]).ravel(), 1.0)
        rule = np.zeros_like(x)
        for panel in range(panels):
            rule[panel * DEGREE : (panel + 1) * DEGREE + 1] += QUADRATURE * halves[panel]
        slope = np.append(np.repeat(1 / halves, DEGREE), 1 / halves[-1])
        t = np.asarray(times, dtype=float)
        half, column = np.log1p(t / SCALE), t[:, None]
        u, span = x * half[:, None], column + 2 * SCALE
        earlier, lag = span / (1 + np.exp(-u)) - SCALE, span / (1 + np.exp(u)) - SCALE
        earlier[:, 0], lag[:, 0], earlier[:, -1], lag[:, -1] = 0.0, t, t, 0.0
        density = (earlier + SCALE) * (lag + SCALE) / span
        # u = xU: dx/dt = (∂u/∂t − x dU/dt)/U, at fixed t'.
        speed = (-1 / (lag + SCALE) - x / (column + SCALE)) / half[:, None] * slope
        return cls(zones, panels, x, t, half, earlier, lag, rule * half[:, None] * density, density, speed)
