r"""The slices so far, and C and R between them.

Between slices, fields are interpolated in the clock λ = ln(1 + t/t₀) along lines on which they vary slowly:
at fixed lag τ where τ ≪ t (there they are almost stationary), at fixed t' where t' ≪ t, and at fixed θ = t'/t
between (there they age: functions of θ mostly). Along these lines late slices can be far apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langevin.core.system import Array
from langevin.systems.compiling import njit

from .panels import DEGREE, NODES, TO_CHEBYSHEV, PanelGrid, locate

#: t₀ of the clock.
CLOCK = 0.3
#: Slices in a time interpolation.
SPAN = 6
#: τ/t (and t'/t) below which a line keeps τ (t') fixed.
EDGE = 0.03

FIXED_RATIO, FIXED_LAG, FIXED_EARLIER = 0, 1, 2


class Slices(NamedTuple):
    """Views of a history's arrays, for compiled code; entry k belongs to slice k."""

    time: Array
    clock: Array
    half: Array
    panels: NDArray[np.int64]
    first: NDArray[np.int64]
    coefficients: Array


def clock_of(t: float) -> float:
    """Return λ = ln(1 + t/t₀)."""
    return math.log1p(t / CLOCK)


class History:
    """Slices in order of time. Only ever appended to: an earlier length stays a valid earlier state.

    Attributes
    ----------
    size : int
    grids : list of PanelGrid
    c, r : list of ndarray, shape (nodes,)
        C(t, ·) and R(t, ·) at the nodes.
    energy, mu, step : list of float
        E and μ of each slice; the step in λ that the controller proposed after it.
    """

    def __init__(self) -> None:
        self.size = 0
        self.grids: list[PanelGrid] = []
        self.c: list[Array] = []
        self.r: list[Array] = []
        self.energy: list[float] = []
        self.mu: list[float] = []
        self.step: list[float] = []
        self._real = np.zeros((3, 64))
        self._whole = np.zeros((2, 64), dtype=np.int64)
        self._coefficients = np.zeros((1024, 2, NODES))
        self._used = 0

    def append(self, grid: PanelGrid, c: Array, r: Array, energy: float, mu: float, step: float) -> None:
        """Add the slice of a grid."""
        self._reserve(grid.panels)
        k = self.size
        self._real[:, k] = grid.t, clock_of(grid.t), grid.half
        self._whole[:, k] = grid.panels, self._used
        for which, values in enumerate((c, r)):
            blocks = np.lib.stride_tricks.sliding_window_view(values, NODES)[::DEGREE]
            self._coefficients[self._used : self._used + grid.panels, which] = blocks @ TO_CHEBYSHEV.T
        self._used += grid.panels
        self.size += 1
        self.grids.append(grid)
        self.c.append(c)
        self.r.append(r)
        self.energy.append(energy)
        self.mu.append(mu)
        self.step.append(step)

    def _reserve(self, panels: int) -> None:
        if self.size == self._real.shape[1]:
            self._real = np.concatenate([self._real, np.zeros_like(self._real)], axis=1)
            self._whole = np.concatenate([self._whole, np.zeros_like(self._whole)], axis=1)
        while self._used + panels > len(self._coefficients):
            self._coefficients = np.concatenate([self._coefficients, np.zeros_like(self._coefficients)])

    def slices(self) -> Slices:
        """Return the arrays for compiled code, with one spare entry for the slice that is being computed."""
        self._reserve(0)
        n = self.size + 1
        time, clock, half = self._real[:, :n]
        panels, first = self._whole[:, :n]
        return Slices(time, clock, half, panels, first, self._coefficients)

    def state_dict(self, size: int) -> dict[str, NDArray[Any]]:
        """Return arrays from which `load` restores the first `size` slices exactly."""
        return {
            "time": np.array([g.t for g in self.grids[:size]]),
            "panels": np.array([g.panels for g in self.grids[:size]]),
            "c": np.concatenate(self.c[:size]),
            "r": np.concatenate(self.r[:size]),
            "energy": np.array(self.energy[:size]),
            "mu": np.array(self.mu[:size]),
            "step": np.array(self.step[:size]),
        }

    @classmethod
    def load(cls, saved: Mapping[str, NDArray[Any]]) -> History:
        """Return the history that `state_dict` saved."""
        made, start = cls(), 0
        for k, (t, panels) in enumerate(zip(saved["time"], saved["panels"], strict=True)):
            end = start + int(panels) * DEGREE + 1
            one_time = (float(saved[name][k]) for name in ("energy", "mu", "step"))
            made.append(
                PanelGrid.of(float(t), int(panels)),
                saved["c"][start:end].copy(),
                saved["r"][start:end].copy(),
                *one_time,
            )
            start = end
        return made


@njit(error_model="numpy")
def line_of(later, earlier, lag, oldest):  # type: ignore[no-untyped-def]
    """Return which line to follow from (later, earlier), back to a slice at time `oldest`."""
    if lag <= EDGE * later and lag <= oldest:
        return FIXED_LAG
    if earlier <= EDGE * later and earlier <= oldest:
        return FIXED_EARLIER
    return FIXED_RATIO


@njit(error_model="numpy")
def along(line, t, later, earlier, lag):  # type: ignore[no-untyped-def]
    """Return (t', τ) where the line through (later, earlier) meets the slice at t."""
    if line == FIXED_LAG:
        return t - lag, lag
    if line == FIXED_EARLIER:
        return earlier, t - earlier
    ratio = t / later
    return earlier * ratio, lag * ratio


@njit(error_model="numpy")
def at_slice(slices, k, earlier, lag):  # type: ignore[no-untyped-def]
    """Return C and R of slice k at (t', τ), by Clenshaw's recurrence."""
    panels = slices.panels[k]
    if slices.time[k] == 0.0:
        return 1.0, 1.0
    panel, x = locate(earlier, lag, slices.half[k], panels)
    row = slices.first[k] + panel
    c = c_before = r = r_before = 0.0
    for degree in range(DEGREE, 0, -1):
        c, c_before = slices.coefficients[row, 0, degree] + 2 * x * c - c_before, c
        r, r_before = slices.coefficients[row, 1, degree] + 2 * x * r - r_before, r
    c = slices.coefficients[row, 0, 0] + x * c - c_before
    r = slices.coefficients[row, 1, 0] + x * r - r_before
    return c, r


@njit(error_model="numpy")
def lagrange(clock, clocks, first, count, out):  # type: ignore[no-untyped-def]
    """Write the weights of `count` slices from `first` for polynomial interpolation at a clock time."""
    for i in range(count):
        weight = 1.0
        for j in range(count):
            if j != i:
                weight *= (clock - clocks[first + j]) / (clocks[first + i] - clocks[first + j])
        out[i] = weight


@njit(error_model="numpy")
def between(slices, first, count, weights, line, later, earlier, lag):  # type: ignore[no-untyped-def]
    """Return Σ_k weights[k]·(C, R) over `count` slices from `first`, on the line through (later, earlier)."""
    c = r = 0.0
    for k in range(count):
        e, g = along(line, slices.time[first + k], later, earlier, lag)
        c_k, r_k = at_slice(slices, first + k, e, g)
        c += weights[k] * c_k
        r += weights[k] * r_k
    return c, r


@njit(error_model="numpy")
def lookup(slices, size, later, earlier, lag):  # type: ignore[no-untyped-def]
    """Return C(later, earlier) and R(later, earlier) from the first `size` slices, all known."""
    weights = np.empty(SPAN)
    first = np.searchsorted(slices.time[:size], later) - SPAN // 2
    first = max(0, min(first, size - SPAN))
    lagrange(math.log1p(later / CLOCK), slices.clock, first, SPAN, weights)
    line = line_of(later, earlier, lag, slices.time[first])
    return between(slices, first, SPAN, weights, line, later, earlier, lag)
