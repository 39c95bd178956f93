r"""The memory integrals of a slab, split into what is known and what the slab itself enters.

With F = f'(C(t, ·)) and G = f''(C(t, ·)) R(t, ·) on the slice at a stage, the integrals at node j, t' =
t'_j, are

    below:    ∫_0^{t'} ds [F(s) R(t', s) + G(s) C(t', s)],        into ∂_t C,
    between:  ∫_{t'}^t ds G(s) C(s, t')  and  ∫_{t'}^t ds G(s) R(s, t'),    into ∂_t C and ∂_t R.

Each interval gets Gauss points in panels of its own coordinate u (`panels`), which resolves both of its ends.
F and G are interpolated between nodes of the slice; C and R at earlier times are those of the slabs there.
Before the slab they are numbers, and their products with the weights become three matrices,

    M_F (F → below), M_G (G → ∂_t C), M_R (G → ∂_t R),    shape (stage, node, node),

once per slab. In it they are the slab's own polynomials: there the integrals are bilinear in the slab, and
residual and exact Jacobian are summed point by point, for each of Newton's iterations.

**Rounding.** A clock that is hardly held answers an error of the integrals by one that is t^κ larger
(`longtime`). So sums over many panels are compensated (Neumaier, ZAMM 54, 39 (1974)): what is left is the
rounding of their terms.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from langevin.core.system import Array
from langevin.systems.compiling import njit
from langevin.systems.threads import ALONE, Pool

from .collocation import DEGREE, GAUSS, KNOWN, LEVELS, NODES, PANEL, STAGES, weigh, weigh_levels
from .history import History, Slabs, lookup, slab_of, slice_at, zones_at
from .panels import SCALE, SlabGrid, density_of, extent, place, zones_of

#: Intervals shorter than this part of t have no fine zone: nothing rough is on their scale.
NEAR = 0.05
_POINTS, _WEIGHTS = PANEL.points, PANEL.weights
_GAUSS, _GAUSS_WEIGHTS, _AT_GAUSS = PANEL.gauss, PANEL.gauss_weights, PANEL.at_gauss
_DERIVATIVE = PANEL.derivative


class Memory(NamedTuple):
    """What is known of a slab's integrals; N nodes below τ = 0 at each of S stages.

    Attributes
    ----------
    to_f, to_g, to_r : ndarray, shape (S, N, N + 1)
        M_F, M_G, M_R.
    start : ndarray, shape (S, N)
        C(t'_j, 0), where t'_j is before the slab.
    """

    to_f: Array
    to_g: Array
    to_r: Array
    start: Array


class Geometry(NamedTuple):
    """A slab's nodes and levels, for compiled code.

    Attributes
    ----------
    zones : tuple
    begin : float
        t at the beginning.
    level, level_weight : ndarray, shape (LEVELS,)
        λ of the levels, and their barycentric weights.
    t, half : ndarray, shape (S,)
    earlier, lag, density, speed : ndarray, shape (S, nodes)
    growth : ndarray, shape (S, nodes)
        ∂_t ln(dt'/du) at fixed t'.
    rate : ndarray, shape (S,)
        dλ/dt at the stages.
    derivative : ndarray, shape (S, LEVELS)
        ∂_λ at the stages from values at the levels.
    width, fine : float
        Of panels of the integrals.
    """

    zones: tuple[float, float, int, int, int]
    begin: float
    level: Array
    level_weight: Array
    t: Array
    half: Array
    earlier: Array
    lag: Array
    density: Array
    speed: Array
    growth: Array
    rate: Array
    derivative: Array
    width: float
    fine: float


def geometry_of(
    grid: SlabGrid, level: Array, tables: tuple[Array, Array], widths: tuple[float, float]
) -> Geometry:
    """Return the geometry of a slab; `tables` are weights and derivatives of its levels."""
    plain = (grid.zones.left, grid.zones.right, grid.zones.before, grid.zones.fine, grid.zones.after)
    return Geometry(
        plain, SCALE * math.expm1(float(level[KNOWN - 1])), level, tables[0], grid.t, grid.half,
        grid.earlier, grid.lag, grid.density, grid.speed,
        1 / (grid.lag + SCALE) - 1 / (grid.t[:, None] + 2 * SCALE), 1 / (grid.t + SCALE), tables[1], *widths,
    )  # fmt: skip


@njit(error_model="numpy")
def _point(length, half, middle, width, g):  # type: ignore[no-untyped-def]
    """Return distances from the start and to the end of [0, length], + τ₀, and the weight of a Gauss
    point."""
    e = math.exp(half * (middle + width * _GAUSS[g]))
    span = length + 2 * SCALE
    low, high = span * e / (1 + e), span / (1 + e)
    return low, high, _GAUSS_WEIGHTS[g] * half * width * low * high / span


@njit(error_model="numpy")
def _fill_below(slabs, size, geometry, memory, i, j, in_time, own, fields):  # type: ignore[no-untyped-def]
    """∫_0^{t'}, t' before the slab: the history is the slice at t', and its panels are those of the
    integral."""
    earlier, lag, half = geometry.earlier[i, j], geometry.lag[i, j], geometry.half[i]
    clock = math.log1p(earlier / SCALE)
    k = slab_of(slabs, size, clock)
    slice_at(slabs, k, clock, in_time, fields)
    memory.start[i, j] = fields[0, 0]
    if earlier == 0:
        return
    zones = zones_at(slabs, k)
    for panel in range(zones[2] + zones[3] + zones[4]):
        middle, width = extent(zones, panel)
        for g in range(GAUSS):
            c = r = 0.0
            for n in range(NODES):
                c += _AT_GAUSS[g, n] * fields[0, panel * DEGREE + n]
                r += _AT_GAUSS[g, n] * fields[1, panel * DEGREE + n]
            low, high, weight = _point(earlier, clock, middle, width, g)
            r /= density_of(low, high)
            mine, x = place(low / (high + lag), half, geometry.zones)
            weigh(x, _POINTS, _WEIGHTS, own)
            for n in range(NODES):
                memory.to_f[i, j, mine * DEGREE + n] += weight * r * own[n]
                memory.to_g[i, j, mine * DEGREE + n] += weight * c * own[n]


@njit(error_model="numpy")
def _fill_between(slabs, size, geometry, memory, i, j, in_time, in_panel, own):  # type: ignore[no-untyped-def]
    """∫_{t'}^t as far as the slab's beginning: the history is (s, t'), in another slab for every few
    points."""
    earlier, lag, half = geometry.earlier[i, j], geometry.lag[i, j], geometry.half[i]
    length = math.log1p(lag / SCALE)
    fine = geometry.fine if lag > NEAR * geometry.t[i] else geometry.width
    zones = zones_of(length, geometry.width, fine)
    for panel in range(zones[2] + zones[3] + zones[4]):
        middle, width = extent(zones, panel)
        for g in range(GAUSS):
            low, high, weight = _point(lag, length, middle, width, g)
            later = earlier + (low - SCALE)
            if later >= geometry.begin:
                return
            c, r = lookup(slabs, size, later, earlier, low - SCALE, in_time, in_panel)
            mine, x = place((later + SCALE) / high, half, geometry.zones)
            weigh(x, _POINTS, _WEIGHTS, own)
            for n in range(NODES):
                memory.to_g[i, j, mine * DEGREE + n] += weight * c * own[n]
                memory.to_r[i, j, mine * DEGREE + n] += weight * r * own[n]


@njit(nogil=True, error_model="numpy")
def _fill(slabs: Slabs, size, geometry, most, memory, rank, team):  # type: ignore[no-untyped-def]
    """Fill the nodes rank, rank + team, … of all stages."""
    in_time, in_panel, own = np.empty(LEVELS), np.empty(NODES), np.empty(NODES)
    fields = np.empty((2, most))
    stages, nodes = geometry.lag.shape
    for q in range(rank, stages * (nodes - 1), team):
        i, j = q // (nodes - 1), q % (nodes - 1)
        if geometry.earlier[i, j] <= geometry.begin:
            _fill_below(slabs, size, geometry, memory, i, j, in_time, own, fields)
            _fill_between(slabs, size, geometry, memory, i, j, in_time, in_panel, own)


def memory_of(history: History, size: int, geometry: Geometry, crew: Pool = ALONE) -> Memory:
    """Return the memory of the slab that follows `size` known ones.

    Parameters
    ----------
    history : History
    size : int
    geometry : Geometry
    crew : Pool
        Threads that share the nodes.
    """
    nodes = geometry.lag.shape[1]
    matrices = np.zeros((3, STAGES, nodes - 1, nodes))
    memory = Memory(matrices[0], matrices[1], matrices[2], np.zeros((STAGES, nodes - 1)))
    most = max(slab.values.shape[-1] for slab in history.slabs[:size])
    crew.share(_fill, history.arrays(), size, geometry, most, memory)
    return memory


class Fields(NamedTuple):
    """The slab's values in Newton's iteration, and functions of them at the stages; N + 1 nodes.

    Attributes
    ----------
    values : ndarray, shape (LEVELS, 2, N + 1)
    f, g : ndarray, shape (S, N + 1)
        F and G.
    f2, f3r : ndarray, shape (S, N + 1)
        G_R = F_C = f'', and G_C = f''' R.
    mu : ndarray, shape (S,)
    mu_c, mu_r : ndarray, shape (S, N + 1)
        Derivatives of μ.
    start_f, start_f2 : ndarray, shape (S,)
        β_i f'(C(t, 0)) and β_i f''(C(t, 0)).
    """

    values: Array
    f: Array
    g: Array
    f2: Array
    f3r: Array
    mu: Array
    mu_c: Array
    mu_r: Array
    start_f: Array
    start_f2: Array


class Rows(NamedTuple):
    """Scratch of one node: derivatives of its two integrals, by what stands at the nodes.

    Attributes
    ----------
    f, g, r : ndarray, shape (N + 1,)
        Of ∂_t C by F and G, of ∂_t R by G.
    c_below, r_below : ndarray, shape (N + 1,)
        Of ∂_t C by C and R dt'/du of the slice at t'.
    between, r_between : ndarray, shape (LEVELS, N + 1)
        Of ∂_t C by C, and of ∂_t R by R dt'/du.
    sum_c, sum_r : ndarray, shape (2,)
        The two integrals, and their compensation.
    """

    f: Array
    g: Array
    r: Array
    c_below: Array
    r_below: Array
    between: Array
    r_between: Array
    sum_c: Array
    sum_r: Array


@njit(error_model="numpy")
def _add(total, term):  # type: ignore[no-untyped-def]
    """Add a term to (sum, what rounding took from it), Neumaier's way."""
    before = total[0]
    total[0] = before + term
    if abs(before) >= abs(term):
        total[1] += (before - total[0]) + term
    else:
        total[1] += (term - total[0]) + before


@njit(error_model="numpy")
def _begin(memory, fields, rows, i, j, nodes):  # type: ignore[no-untyped-def]
    """Begin with what is known."""
    rows.sum_c[:] = 0.0
    rows.sum_r[:] = 0.0
    rows.c_below[:] = 0.0
    rows.r_below[:] = 0.0
    rows.between[:] = 0.0
    rows.r_between[:] = 0.0
    for n in range(nodes):
        rows.f[n], rows.g[n], rows.r[n] = memory.to_f[i, j, n], memory.to_g[i, j, n], memory.to_r[i, j, n]
    for first in range(0, nodes, DEGREE):
        c = r = 0.0
        for n in range(first, min(first + DEGREE, nodes)):
            c += rows.f[n] * fields.f[i, n] + rows.g[n] * fields.g[i, n]
            r += rows.r[n] * fields.g[i, n]
        _add(rows.sum_c, c)
        _add(rows.sum_r, r)


@njit(error_model="numpy")
def _add_below(geometry, fields, rows, i, j, slice_c, slice_r, own, wanted):  # type: ignore[no-untyped-def]
    """∫_0^{t'}, t' in the slab, whose slice at t' is given."""
    earlier, lag, half = geometry.earlier[i, j], geometry.lag[i, j], geometry.half[i]
    clock, zones = math.log1p(earlier / SCALE), geometry.zones
    for panel in range(zones[2] + zones[3] + zones[4]):
        middle, width = extent(zones, panel)
        part = 0.0
        for g in range(GAUSS):
            c = r = 0.0
            for n in range(NODES):
                c += _AT_GAUSS[g, n] * slice_c[panel * DEGREE + n]
                r += _AT_GAUSS[g, n] * slice_r[panel * DEGREE + n]
            low, high, weight = _point(earlier, clock, middle, width, g)
            per_r = 1 / density_of(low, high)
            r *= per_r
            mine, x = place(low / (high + lag), half, zones)
            weigh(x, _POINTS, _WEIGHTS, own)
            mine *= DEGREE
            f_s = g_s = 0.0
            for n in range(NODES):
                f_s += own[n] * fields.f[i, mine + n]
                g_s += own[n] * fields.g[i, mine + n]
            part += weight * (f_s * r + g_s * c)
            if wanted:
                for n in range(NODES):
                    rows.f[mine + n] += weight * r * own[n]
                    rows.g[mine + n] += weight * c * own[n]
                    rows.c_below[panel * DEGREE + n] += weight * g_s * _AT_GAUSS[g, n]
                    rows.r_below[panel * DEGREE + n] += weight * per_r * f_s * _AT_GAUSS[g, n]
        _add(rows.sum_c, part)


@njit(error_model="numpy")
def _add_between(geometry, fields, rows, i, j, in_time, in_panel, own, wanted):  # type: ignore[no-untyped-def]
    """∫_{t'}^t, from the slab's beginning on."""
    earlier, lag, half = geometry.earlier[i, j], geometry.lag[i, j], geometry.half[i]
    length = math.log1p(lag / SCALE)
    fine = geometry.fine if lag > NEAR * geometry.t[i] else geometry.width
    zones = zones_of(length, geometry.width, fine)
    for panel in range(zones[2] + zones[3] + zones[4] - 1, -1, -1):
        middle, width = extent(zones, panel)
        part_c = part_r = 0.0
        inside = True
        for g in range(GAUSS - 1, -1, -1):
            low, high, weight = _point(lag, length, middle, width, g)
            later = earlier + (low - SCALE)
            if later < geometry.begin:
                inside = False
                break
            clock = math.log1p(later / SCALE)
            weigh_levels(clock, geometry.level, geometry.level_weight, in_time)
            other, x = place((earlier + SCALE) / low, clock, geometry.zones)
            weigh(x, _POINTS, _WEIGHTS, in_panel)
            mine, x = place((later + SCALE) / high, half, geometry.zones)
            weigh(x, _POINTS, _WEIGHTS, own)
            other, mine = other * DEGREE, mine * DEGREE
            c = r = g_s = 0.0
            for level in range(LEVELS):
                sum_c = sum_r = 0.0
                for n in range(NODES):
                    sum_c += in_panel[n] * fields.values[level, 0, other + n]
                    sum_r += in_panel[n] * fields.values[level, 1, other + n]
                c += in_time[level] * sum_c
                r += in_time[level] * sum_r
            per_r = 1 / density_of(earlier + SCALE, low)
            r *= per_r
            for n in range(NODES):
                g_s += own[n] * fields.g[i, mine + n]
            part_c += weight * g_s * c
            part_r += weight * g_s * r
            if wanted:
                for n in range(NODES):
                    rows.g[mine + n] += weight * c * own[n]
                    rows.r[mine + n] += weight * r * own[n]
                for level in range(KNOWN, LEVELS):
                    share = weight * g_s * in_time[level]
                    for n in range(NODES):
                        rows.between[level, other + n] += share * in_panel[n]
                        rows.r_between[level, other + n] += share * per_r * in_panel[n]
        _add(rows.sum_c, part_c)
        _add(rows.sum_r, part_r)
        if not inside:
            return


@njit(error_model="numpy")
def _residual(geometry, fields, rows, i, j, start, out):  # type: ignore[no-untyped-def]
    """∂_t X = (dλ/dt) ∂_λ X + (dx/dt) ∂_x X at fixed t', against the right sides; of R times dt'/du."""
    size = geometry.lag.shape[1] - 1
    first = j - j % DEGREE
    scale = geometry.density[i, j]
    c, r = fields.values[i + KNOWN, 0, j], fields.values[i + KNOWN, 1, j] / scale
    rate_c = rate_r = along_c = along_r = 0.0
    for level in range(LEVELS):
        rate_c += geometry.derivative[i, level] * fields.values[level, 0, j]
        rate_r += geometry.derivative[i, level] * fields.values[level, 1, j]
    for n in range(NODES):
        along_c += _DERIVATIVE[j - first, n] * fields.values[i + KNOWN, 0, first + n]
        along_r += _DERIVATIVE[j - first, n] * fields.values[i + KNOWN, 1, first + n]
    change_c = geometry.rate[i] * rate_c + geometry.speed[i, j] * along_c
    change_r = geometry.rate[i] * rate_r + geometry.speed[i, j] * along_r - geometry.growth[i, j] * scale * r
    # The largest terms first: they cancel.
    row = 2 * i * size + j
    out[row] = ((fields.mu[i] * c - rows.sum_c[0]) - rows.sum_c[1]) + (change_c - fields.start_f[i] * start)
    out[row + size] = ((fields.mu[i] * r - rows.sum_r[0]) - rows.sum_r[1]) * scale + change_r


@njit(error_model="numpy")
def _derivatives(geometry, fields, rows, i, j, start, recent, in_time, jacobian):  # type: ignore[no-untyped-def]
    """Write the two rows of node j at stage i."""
    stages, nodes = geometry.lag.shape
    size = nodes - 1
    first, own = j - j % DEGREE, 2 * i * size
    of_c, of_r = jacobian[own + j], jacobian[own + size + j]
    scale = geometry.density[i, j]
    c, r = fields.values[i + KNOWN, 0, j], fields.values[i + KNOWN, 1, j] / scale
    for stage in range(stages):
        column, level = 2 * stage * size, stage + KNOWN
        for n in range(size):
            of_c[column + n] = -rows.between[level, n]
            of_c[column + size + n] = 0.0
            of_r[column + n] = 0.0
            of_r[column + size + n] = -rows.r_between[level, n] * scale
        if recent:
            for n in range(size):
                of_c[column + n] -= in_time[level] * rows.c_below[n]
                of_c[column + size + n] -= in_time[level] * rows.r_below[n]
            of_c[column] -= fields.start_f[i] * in_time[level]
        of_c[column + j] += geometry.rate[i] * geometry.derivative[i, level]
        of_r[column + size + j] += geometry.rate[i] * geometry.derivative[i, level]
    for n in range(size):
        f2, f3r = fields.f2[i, n], fields.f3r[i, n]
        unit = 1 / geometry.density[i, n]
        of_c[own + n] += c * fields.mu_c[i, n] - rows.f[n] * f2 - rows.g[n] * f3r
        of_c[own + size + n] += (c * fields.mu_r[i, n] - rows.g[n] * f2) * unit
        of_r[own + n] += (r * fields.mu_c[i, n] - rows.r[n] * f3r) * scale
        of_r[own + size + n] += (r * fields.mu_r[i, n] - rows.r[n] * f2) * scale * unit
    of_c[own] -= fields.start_f2[i] * start
    of_c[own + j] += fields.mu[i]
    of_r[own + size + j] += fields.mu[i] - geometry.growth[i, j]
    for n in range(min(NODES, size - first)):
        of_c[own + first + n] += geometry.speed[i, j] * _DERIVATIVE[j - first, n]
        of_r[own + size + first + n] += geometry.speed[i, j] * _DERIVATIVE[j - first, n]


@njit(nogil=True, error_model="numpy")
def equations(geometry, memory, fields, out, jacobian, rank, team):  # type: ignore[no-untyped-def]
    """Write the residuals of both equations to `out`, and their Jacobian, unless that is empty.

    Order of equations and unknowns: stage, field, node. Unknowns are C and R dt'/du, and equations of R times
    dt'/du. Of the nodes of all stages those are done that belong to `rank`: rank, rank +
    team, …
    """
    stages, nodes = geometry.lag.shape
    size, wanted = nodes - 1, jacobian.size > 0
    in_time, in_panel, own = np.empty(LEVELS), np.empty(NODES), np.empty(NODES)
    slice_c, slice_r = np.empty(nodes), np.empty(nodes)
    rows = Rows(
        np.empty(nodes), np.empty(nodes), np.empty(nodes), np.empty(nodes), np.empty(nodes),
        np.empty((LEVELS, nodes)), np.empty((LEVELS, nodes)), np.empty(2), np.empty(2),
    )  # fmt: skip
    for q in range(rank, stages * size, team):
        i, j = q // size, q % size
        _begin(memory, fields, rows, i, j, nodes)
        start, recent = memory.start[i, j], geometry.earlier[i, j] > geometry.begin
        if recent:
            weigh_levels(
                math.log1p(geometry.earlier[i, j] / SCALE), geometry.level, geometry.level_weight, in_time
            )
            slice_c[:] = 0.0
            slice_r[:] = 0.0
            for level in range(LEVELS):
                for n in range(nodes):
                    slice_c[n] += in_time[level] * fields.values[level, 0, n]
                    slice_r[n] += in_time[level] * fields.values[level, 1, n]
            start = slice_c[0]
            _add_below(geometry, fields, rows, i, j, slice_c, slice_r, own, wanted)
        _add_between(geometry, fields, rows, i, j, in_time, in_panel, own, wanted)
        _residual(geometry, fields, rows, i, j, start, out)
        if wanted:
            weigh_levels(
                math.log1p(geometry.earlier[i, j] / SCALE), geometry.level, geometry.level_weight, in_time
            )
            _derivatives(geometry, fields, rows, i, j, start, recent, in_time, jacobian)
