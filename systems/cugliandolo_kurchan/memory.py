r"""The memory integrals of one slice, split into what is known and what the slice itself enters.

With F = f'(C(t, ·)) and G = f''(C(t, ·)) R(t, ·) on the slice's own nodes, the integrals at node j, t' =
t'_j, are

    below:    ∫_0^{t'} ds [F(s) R(t', s) + G(s) C(t', s)],        into ∂_t C,
    between:  ∫_{t'}^t ds G(s) C(s, t')  and  ∫_{t'}^t ds G(s) R(s, t'),    into ∂_t C and ∂_t R.

Each interval gets Gauss points in panels of its own coordinate u (`panels`), which resolves both of its ends.
F and G are interpolated between nodes of the slice; C and R at earlier times come from the history,
interpolated along lines. Up to the last slice known they are numbers, and their products with the weights
become three matrices,

    M_F (F → below), M_G (G → ∂_t C), M_R (G → ∂_t R),    shape (node, node),

once per slice. Between the last slice and this one the interpolation contains this slice as well: at these
points the integrals are bilinear in it, and interpolation weights are kept, for the residual and its exact
Jacobian.

Interpolation there is the polynomial through the newest slices plus `DAMPING`·4ξ(1 − ξ)·∇^5, ξ the place
between the two slices and ∇^5 the fifth backward difference. At late times the clock of an aging solution is
soft (the equations become invariant under t → h(t)), so that they fix the newest slice like a Volterra
equation of the first kind. There quadratures of Adams' type amplify alternating errors: more weight on the
newest value damps them, to the same order.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langevin.core.system import Array
from langevin.systems.compiling import njit
from langevin.systems.threads import ALONE, Pool

from .history import CLOCK, SPAN, Slices, along, between, lagrange, line_of
from .panels import GAUSS, GAUSS_POINTS, GAUSS_WEIGHTS, NODES, SCALE, PanelGrid, node_weights

DAMPING = 0.02
BELOW, BETWEEN = 0, 1


class Memory(NamedTuple):
    """What one slice's integrals need; N nodes below τ = 0, at most M points each that contain the slice.

    Attributes
    ----------
    to_f, to_g, to_r : ndarray, shape (N, N + 1)
        M_F, M_G, M_R.
    points : ndarray, shape (N,)
        How many points of node j contain the slice.
    kind, own, other : ndarray, shape (N, M)
        BELOW or BETWEEN; first node of F and G, and of the slice's share in the history.
    weight : ndarray, shape (N, M)
        Quadrature weight times the slice's weight in the time interpolation.
    own_weights, other_weights : ndarray, shape (N, M, NODES)
    start, start_weight : ndarray, shape (N,)
        C(t'_j, 0) = start + start_weight·C(t, 0).
    """

    to_f: Array
    to_g: Array
    to_r: Array
    points: NDArray[np.int64]
    kind: NDArray[np.int8]
    own: NDArray[np.int32]
    other: NDArray[np.int32]
    weight: Array
    own_weights: Array
    other_weights: Array
    start: Array
    start_weight: Array


def memory_of(slices: Slices, size: int, grid: PanelGrid, crew: Pool = ALONE) -> Memory:
    """Return the memory of the slice at `grid.t`, which follows `size` known slices.

    Parameters
    ----------
    slices : Slices
        With time and clock of the new slice in entry `size`.
    size : int
    grid : PanelGrid
    crew : Pool
        Threads that share the nodes.
    """
    width = grid.width  # of quadrature panels: as fine as the slice's own
    nodes = len(grid.earlier) - 1
    most = GAUSS * (2 * math.ceil(2 * grid.half / width) + 4)
    memory = Memory(
        np.zeros((nodes, nodes + 1)),
        np.zeros((nodes, nodes + 1)),
        np.zeros((nodes, nodes + 1)),
        np.zeros(nodes, np.int64),
        np.empty((nodes, most), np.int8),
        np.empty((nodes, most), np.int32),
        np.empty((nodes, most), np.int32),
        np.empty((nodes, most)),
        np.empty((nodes, most, NODES)),
        np.empty((nodes, most, NODES)),
        np.zeros(nodes),
        np.zeros(nodes),
    )
    memory.start[0] = 1.0  # C(0, 0)
    crew.share(_fill, slices, size, grid.t, grid.half, grid.panels, grid.earlier, grid.lag, width, memory)
    return memory


@njit(error_model="numpy")
def _stencil(slices, size, t, weights):  # type: ignore[no-untyped-def]
    """Return (first slice, known slices) to interpolate at t; write the weights, the new slice's last."""
    known = np.searchsorted(slices.time[:size], t, side="right") - 1
    clock = math.log1p(t / CLOCK)
    if known < size - 1:
        first = max(0, min(known - SPAN // 2 + 1, size - SPAN))
        lagrange(clock, slices.clock, first, SPAN, weights)
        return first, SPAN
    first = size - SPAN + 1
    weights[0] = 0.0
    lagrange(clock, slices.clock, first + 1, SPAN - 1, weights[1:])
    place = (clock - slices.clock[size - 1]) / (slices.clock[size] - slices.clock[size - 1])
    # The divided difference, scaled so that the newest slice has weight 1: ∇^5 on equal steps.
    factor = DAMPING * 4 * place * (1 - place)
    for j in range(SPAN - 1):
        factor *= slices.clock[size] - slices.clock[first + j]
    for i in range(SPAN):
        share = factor
        for j in range(SPAN):
            if j != i:
                share /= slices.clock[first + i] - slices.clock[first + j]
        weights[i] += share
    return first, SPAN - 1


@njit(error_model="numpy")
def _quadrature(length, half, panels, k):  # type: ignore[no-untyped-def]
    """Return (distance from the start, distance to the end, weight) of Gauss point k on [0, length]."""
    panel = k // GAUSS
    point = k - panel * GAUSS
    width = 2 * half / panels
    e = math.exp(-half + (panel + 0.5 * (1 + GAUSS_POINTS[point])) * width)
    span = length + 2 * SCALE
    low, high = span * e / (1 + e), span / (1 + e)
    return low - SCALE, high - SCALE, 0.5 * GAUSS_WEIGHTS[point] * width * low * high / span


@njit(error_model="numpy")
def _keep(memory, j, kind, own, own_weights, weight, share, t, half, panels, line, later, earlier, lag):  # type: ignore[no-untyped-def]
    """Keep a point whose history contains the new slice."""
    k = memory.points[j]
    e, g = along(line, t, later, earlier, lag)
    memory.other[j, k] = node_weights(e, g, half, panels, memory.other_weights[j, k])
    memory.kind[j, k] = kind
    memory.own[j, k] = own
    memory.weight[j, k] = weight * share
    for n in range(NODES):
        memory.own_weights[j, k, n] = own_weights[n]
    memory.points[j] = k + 1


@njit(error_model="numpy")
def _fill_below(slices, size, t, half, panels, earlier, lag, width, memory, j):  # type: ignore[no-untyped-def]
    """∫_0^{t'}: the history is the slice at t', interpolated in time with the same weights all along."""
    times, own_weights = np.empty(SPAN), np.empty(NODES)
    first, known = _stencil(slices, size, earlier, times)
    recent = known < SPAN
    oldest = slices.time[first]
    line = line_of(earlier, 0.0, earlier, oldest)
    memory.start[j] = between(slices, first, known, times, line, earlier, 0.0, earlier)[0]
    memory.start_weight[j] = times[SPAN - 1] if recent else 0.0
    own_half = math.log1p(earlier / SCALE)
    own_panels = max(2, math.ceil(2 * own_half / width))
    for k in range(own_panels * GAUSS):
        low, high, weight = _quadrature(earlier, own_half, own_panels, k)
        line = line_of(earlier, low, high, oldest)
        c, r = between(slices, first, known, times, line, earlier, low, high)
        own = node_weights(low, high + lag, half, panels, own_weights)
        for n in range(NODES):
            memory.to_f[j, own + n] += weight * r * own_weights[n]
            memory.to_g[j, own + n] += weight * c * own_weights[n]
        if recent:
            share = times[SPAN - 1]
            _keep(
                memory, j, BELOW, own, own_weights, weight, share, t, half, panels, line, earlier, low, high
            )


@njit(error_model="numpy")
def _fill_between(slices, size, t, half, panels, earlier, lag, width, memory, j):  # type: ignore[no-untyped-def]
    """∫_{t'}^t: the history is (s, t'), at another time for every point."""
    times, own_weights = np.empty(SPAN), np.empty(NODES)
    own_half = math.log1p(lag / SCALE)
    own_panels = max(2, math.ceil(2 * own_half / width))
    for k in range(own_panels * GAUSS):
        low, high, weight = _quadrature(lag, own_half, own_panels, k)
        later = earlier + low
        first, known = _stencil(slices, size, later, times)
        line = line_of(later, earlier, low, slices.time[first])
        c, r = between(slices, first, known, times, line, later, earlier, low)
        own = node_weights(later, high, half, panels, own_weights)
        for n in range(NODES):
            memory.to_g[j, own + n] += weight * c * own_weights[n]
            memory.to_r[j, own + n] += weight * r * own_weights[n]
        if known < SPAN:
            share = times[SPAN - 1]
            _keep(
                memory,
                j,
                BETWEEN,
                own,
                own_weights,
                weight,
                share,
                t,
                half,
                panels,
                line,
                later,
                earlier,
                low,
            )


@njit(nogil=True, error_model="numpy")
def _fill(slices, size, t, half, panels, earlier, lag, width, memory, rank, team):  # type: ignore[no-untyped-def]
    """Fill the nodes rank, rank + team, …"""
    for j in range(rank, len(memory.points), team):
        if j > 0:
            _fill_below(slices, size, t, half, panels, earlier[j], lag[j], width, memory, j)
        _fill_between(slices, size, t, half, panels, earlier[j], lag[j], width, memory, j)
