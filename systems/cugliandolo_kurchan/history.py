r"""The slabs so far, and C and R in them: polynomials in λ = ln(1 + t/t₀) and in x (`panels`,
`collocation`)."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langevin.core.system import Array
from langevin.systems.compiling import njit

from .collocation import DEGREE, KNOWN, LEVELS, NODES, PANEL, PLACES, barycentric, weigh, weigh_levels
from .panels import SCALE, SlabGrid, Zones, density_of, extent, place

# Constants to compiled code.
PANEL_POINTS, PANEL_WEIGHTS = PANEL.points, PANEL.weights
GAUSS_POINTS, GAUSS_WEIGHTS, AT_GAUSS = PANEL.gauss, PANEL.gauss_weights, PANEL.at_gauss


class Slabs(NamedTuple):
    """Arrays of the slabs, for compiled code; entry k belongs to slab k.

    Attributes
    ----------
    start : ndarray, shape (slabs,)
        λ at the beginning.
    level, weight : ndarray, shape (slabs, LEVELS)
        λ of the levels, ascending (ends of slabs before, stages), and their barycentric weights.
    zone : ndarray, shape (slabs, 5)
    first : ndarray, shape (slabs,)
        Where values begin in `values`, an array (level, field, node) flattened.
    values : ndarray
    """

    start: Array
    level: Array
    weight: Array
    zone: Array
    first: NDArray[np.int64]
    values: Array


class Slab(NamedTuple):
    """One slab.

    Attributes
    ----------
    level : ndarray, shape (LEVELS,)
        λ of the levels.
    zones : Zones
    values : ndarray, shape (LEVELS, 2, nodes)
        C and R dt'/du: on lines both are smooth.
    one_time : ndarray, shape (LEVELS, 2)
        E and μ.
    """

    level: Array
    zones: Zones
    values: Array
    one_time: Array

    @property
    def start(self) -> float:
        """λ at the beginning."""
        return float(self.level[KNOWN - 1])

    @property
    def end(self) -> float:
        """λ at the end."""
        return float(self.level[-1])


def clock_of(t: float) -> float:
    """Return λ = ln(1 + t/t₀)."""
    return math.log1p(t / SCALE)


def time_of(clock: float) -> float:
    """Return t of a λ."""
    return SCALE * math.expm1(clock)


def stages_of(start: float, step: float) -> Array:
    """Return λ of the stages of a slab."""
    clocks = start + step * PLACES
    clocks[-1] = start + step
    return np.asarray(clocks)


class History:
    """Slabs in order of time. Only ever appended to: an earlier length stays a valid earlier state.

    Attributes
    ----------
    slabs : list of Slab
    control : list of ndarray, shape (2,)
        What the controller proposed after each slab.
    slopes : dict
        By how much ∂_τC at τ = 0 of a slab's stages is off, and τ of the node beside it; as far as asked for.
    """

    def __init__(self) -> None:
        self.slabs: list[Slab] = []
        self.control: list[Array] = []
        self.slopes: dict[int, tuple[float, float]] = {}
        self._values = np.zeros(1 << 14)
        self._used = 0
        self._arrays: list[tuple[Array, int]] = []
        self._known: Slabs | None = None
        #: One thread may append while another one reads.
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """How many slabs there are."""
        return len(self.slabs)

    @property
    def end(self) -> float:
        """λ of the end."""
        return self.slabs[-1].end

    def append(self, slab: Slab, control: Array) -> None:
        """Add a slab."""
        with self._lock:
            self._append(slab, control)

    def _append(self, slab: Slab, control: Array) -> None:
        count = slab.values.size
        while self._used + count > len(self._values):
            self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        self._values[self._used : self._used + count] = slab.values.ravel()
        self._arrays.append((barycentric(slab.level), self._used))
        self._used += count
        self.slabs.append(slab)
        self.control.append(control)
        self._known = None

    def arrays(self) -> Slabs:
        """Return the arrays for compiled code."""
        with self._lock:
            return self._as_arrays()

    def _as_arrays(self) -> Slabs:
        if self._known is None:
            self._known = Slabs(
                np.array([slab.start for slab in self.slabs]),
                np.array([slab.level for slab in self.slabs]),
                np.array([weight for weight, _ in self._arrays]),
                np.array([slab.zones for slab in self.slabs], dtype=float),
                np.array([first for _, first in self._arrays], dtype=np.int64),
                self._values,
            )
        return self._known

    def ends(self) -> Array:
        """Return λ of all slabs' ends, shape (slabs,)."""
        return np.array([slab.end for slab in self.slabs])

    def state_dict(self, size: int) -> dict[str, NDArray[Any]]:
        """Return arrays from which `load` restores the first `size` slabs exactly."""
        kept = self.slabs[:size]
        return {
            "level": np.array([slab.level for slab in kept]),
            "zones": np.array([slab.zones for slab in kept], dtype=float),
            "one_time": np.array([slab.one_time for slab in kept]),
            "control": np.array(self.control[:size]),
            "values": np.concatenate([slab.values.ravel() for slab in kept]),
        }

    @classmethod
    def load(cls, saved: Mapping[str, NDArray[Any]]) -> History:
        """Return the history that `state_dict` saved."""
        history, begin = cls(), 0
        rows = (saved[name] for name in ("level", "zones", "one_time", "control"))
        for level, zone, one_time, control in zip(*rows, strict=True):
            zones = Zones(float(zone[0]), float(zone[1]), *(int(n) for n in zone[2:]))
            nodes = sum(zones[2:]) * DEGREE + 1
            end = begin + LEVELS * 2 * nodes
            values = saved["values"][begin:end].reshape(LEVELS, 2, nodes).copy()
            history.append(Slab(level.copy(), zones, values, one_time.copy()), control.copy())
            begin = end
        return history


def onto(values: Array, old: Zones, new: Zones) -> Array:
    """Return values on the nodes of other zones, by the polynomials of the old ones; nodes last."""
    if old == new:
        return values.copy()
    x = SlabGrid.at(np.ones(1), new).x
    out, weights = np.empty((*values.shape[:-1], len(x))), np.empty(NODES)
    for n, y in enumerate(x):
        panel, inside = place(math.exp(y), 1.0, old)
        weigh(inside, PANEL.points, PANEL.weights, weights)
        out[..., n] = values[..., panel * DEGREE : panel * DEGREE + NODES] @ weights
    return out


@njit(error_model="numpy")
def zones_at(slabs, k):  # type: ignore[no-untyped-def]
    """Return the zones of slab k."""
    row = slabs.zone[k]
    return row[0], row[1], int(row[2]), int(row[3]), int(row[4])


@njit(error_model="numpy")
def nodes_of(zones):  # type: ignore[no-untyped-def]
    """Return how many nodes there are."""
    return (zones[2] + zones[3] + zones[4]) * DEGREE + 1


@njit(error_model="numpy")
def slab_of(slabs, size, clock):  # type: ignore[no-untyped-def]
    """Return the slab that holds a clock time."""
    return max(np.searchsorted(slabs.start[:size], clock, side="right") - 1, 0)


@njit(error_model="numpy")
def slice_at(slabs, k, clock, weights, out):  # type: ignore[no-untyped-def]
    """Write C and R dt'/du at the nodes of slab k, at a clock time in it, to `out`; return how many nodes
    there are."""
    weigh_levels(clock, slabs.level[k], slabs.weight[k], weights)
    nodes = nodes_of(zones_at(slabs, k))
    out[:, :nodes] = 0.0
    for level in range(LEVELS):
        for field in range(2):
            first = slabs.first[k] + (2 * level + field) * nodes
            for n in range(nodes):
                out[field, n] += weights[level] * slabs.values[first + n]
    return nodes


@njit(error_model="numpy")
def lookup(slabs, size, later, earlier, lag, in_time, in_panel):  # type: ignore[no-untyped-def]
    """Return C(later, earlier) and R(later, earlier); the last two arguments are scratch."""
    clock = math.log1p(later / SCALE)
    k = slab_of(slabs, size, clock)
    zones = zones_at(slabs, k)
    nodes = nodes_of(zones)
    weigh_levels(clock, slabs.level[k], slabs.weight[k], in_time)
    panel, x = place((earlier + SCALE) / (lag + SCALE), clock, zones)
    weigh(x, PANEL_POINTS, PANEL_WEIGHTS, in_panel)
    c = r = 0.0
    for level in range(LEVELS):
        first = slabs.first[k] + 2 * level * nodes + panel * DEGREE
        sum_c = sum_r = 0.0
        for n in range(NODES):
            sum_c += in_panel[n] * slabs.values[first + n]
            sum_r += in_panel[n] * slabs.values[first + nodes + n]
        c += in_time[level] * sum_c
        r += in_time[level] * sum_r
    return c, r / density_of(earlier + SCALE, lag + SCALE)


@njit(error_model="numpy")
def two_times(slabs, size, later, earlier, lag, most, out):  # type: ignore[no-untyped-def]
    """Write C, R and χ of pairs of times to `out`, shape (pairs, 3); slices have at most `most` nodes."""
    in_time, in_panel, fields = np.empty(LEVELS), np.empty(NODES), np.empty((2, most))
    before, k, zones = -1.0, 0, zones_at(slabs, 0)
    for i in range(len(later)):
        clock = math.log1p(later[i] / SCALE)
        if later[i] != before:
            k = slab_of(slabs, size, clock)
            zones = zones_at(slabs, k)
            slice_at(slabs, k, clock, in_time, fields)
            before = later[i]
        if lag[i] == 0:
            out[i] = 1.0, 1.0, 0.0
            continue
        panel, x = place((earlier[i] + SCALE) / (lag[i] + SCALE), clock, zones)
        weigh(x, PANEL_POINTS, PANEL_WEIGHTS, in_panel)
        c = r = chi = 0.0
        for n in range(NODES):
            c += in_panel[n] * fields[0, panel * DEGREE + n]
            r += in_panel[n] * fields[1, panel * DEGREE + n]
        r /= density_of(earlier[i] + SCALE, lag[i] + SCALE)
        # ∫ R: up to the next panel, or to τ = 0, in the coordinate ln(τ + τ₀), which has the lag to all its
        # digits; then over whole panels.
        last = zones[2] + zones[3] + zones[4] - 1
        middle, half = extent(zones, panel)
        span = later[i] + 2 * SCALE
        rest = 0.0 if panel == last else span / (1 + math.exp(clock * (middle + half))) - SCALE
        reach = math.log1p((lag[i] - rest) / (rest + SCALE))
        for g in range(len(GAUSS_POINTS)):
            at = (rest + SCALE) * math.exp(reach * 0.5 * (1 + GAUSS_POINTS[g]))
            _, x = place((span - at) / at, clock, zones)
            weigh(min(max(x, -1.0), 1.0), PANEL_POINTS, PANEL_WEIGHTS, in_panel)
            value = 0.0
            for n in range(NODES):
                value += in_panel[n] * fields[1, panel * DEGREE + n]
            # dt'/du over dτ/d ln(τ + τ₀).
            chi += value * GAUSS_WEIGHTS[g] * 0.5 * reach * span / (span - at)
        for p in range(panel + 1, last + 1):
            middle, half = extent(zones, p)
            for g in range(len(GAUSS_POINTS)):
                value = 0.0
                for n in range(NODES):
                    value += AT_GAUSS[g, n] * fields[1, p * DEGREE + n]
                chi += value * GAUSS_WEIGHTS[g] * half * clock
        out[i] = c, r, chi
