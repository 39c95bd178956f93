r"""One slab, all of its stages at once: Newton's method with the exact Jacobian.

At node j of a stage, on its line of constant x (`panels`),

    ∂_t X = (dλ/dt) ∂_λ X + (dx/dt) ∂_x X,

∂_λ by the polynomial through all levels, ∂_x by the panel's. The residuals

    ∂_t C + μ C − below − between − β_i f'(C(t,0)) C(t',0)    and    ∂_t R + μ R − between

are bilinear in the slab and μ, so the Jacobian is assembled with the residual at about twice its cost.
Iterations go on until the update is below what is asked for, or is rounding: late in time the clock answers
rounding of the integrals with updates much larger than it, and none of them is better than another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import lu_factor, lu_solve

from langevin.core.system import Array
from langevin.systems.threads import ALONE, Pool

from .collocation import (
    DEGREE,
    HIGHEST,
    KNOWN,
    LEVELS,
    NODES,
    STAGES,
    barycentric,
    differentiation,
    interpolation,
)
from .covariance import Covariance
from .history import History, Slab, onto, stages_of, time_of
from .memory import Fields, Geometry, Memory, equations, geometry_of, memory_of
from .panels import SlabGrid, Zones

#: Unknowns from which on a slab is worth more than one processor.
PARALLEL = 600
#: Newton's iterations before a step counts as failed.
ITERATIONS = 10
#: Updates below this that do not shrink by half are rounding.
ROUNDING = 1e-6


class Equations(NamedTuple):
    """f, T and 1/T_i (0: a random start).

    The long-time solver has a bath that warms or cools from the start on, too: T(t) = temperature +
    slope·t. T enters the equations through μ alone.
    """

    covariance: Covariance
    temperature: float
    beta: float
    slope: float = 0.0

    def bath(self, t: Array | float) -> Array | float:
        """Return T at times, in their shape."""
        return self.temperature + self.slope * t

    def mu(self, c: Array, r: Array, weight: Array, t: Array | float = 0.0) -> Array:
        """Return μ of slices at times t, nodes along the last axis, from their quadrature weights."""
        f = self.covariance.derivative
        memory = np.sum(weight * (f(1, c) + f(2, c) * c) * r, axis=-1)
        return np.asarray(self.bath(t) + memory + self.beta * f(1, c[..., 0]) * c[..., 0])

    def energy(self, c: Array, r: Array, weight: Array) -> Array:
        """Return E of slices."""
        f = self.covariance.derivative
        return np.asarray(-np.sum(weight * f(1, c) * r, axis=-1) - self.beta * f(0, c[..., 0]))

    def fields(self, values: Array, grid: SlabGrid) -> Fields:
        """Return what the integrals of a slab need of its values, shape (LEVELS, 2, nodes)."""
        c, r, weight = values[KNOWN:, 0], values[KNOWN:, 1] / grid.density, grid.weight
        f1, f2, f3 = (self.covariance.derivative(order, c) for order in range(1, 4))
        g = f2 * r
        memory = np.sum(weight * (f1 + f2 * c) * r, axis=-1)
        mu = self.bath(grid.t) + memory + self.beta * f1[:, 0] * c[:, 0]
        mu_c, mu_r = weight * (2 * f2 + f3 * c) * r, weight * (f1 + f2 * c)
        mu_c[:, 0] += self.beta * (f2[:, 0] * c[:, 0] + f1[:, 0])
        return Fields(values, f1, g, f2, f3 * r, mu, mu_c, mu_r, self.beta * f1[:, 0], self.beta * f2[:, 0])


class Step(NamedTuple):
    """A slab that was computed, and how well it is resolved.

    Attributes
    ----------
    slab : Slab
    in_time, in_panel : float
        What the polynomials' last degree contributes, the largest in C and in R dt'/du; infinite
        where Newton's method failed.
    """

    slab: Slab
    in_time: float
    in_panel: float


class SlabStepper:
    """Steps of one problem.

    Parameters
    ----------
    problem : Equations
    crew : Pool
        Threads that share a slab, if it is large enough: waking them costs more than a small loop.
    """

    def __init__(self, problem: Equations, crew: Pool = ALONE) -> None:
        self.problem, self.crew = problem, crew

    def step(
        self, history: History, step: float, zones: Zones, widths: tuple[float, float], tolerance: float
    ) -> Step:
        """Return the slab that follows a history: `step` long in λ, with given panels.

        Newton's update ends below `tolerance`, or is rounding.
        """
        level = np.concatenate([history.ends()[-KNOWN:], stages_of(history.end, step)])
        grid = SlabGrid.at(np.array([time_of(x) for x in level[KNOWN:]]), zones)
        values = self._predict(history, level, grid)
        tables = barycentric(level), differentiation(level)[KNOWN:]
        geometry = geometry_of(grid, level, tables, widths)
        crew = self.crew if 2 * STAGES * len(grid.x) >= PARALLEL else ALONE
        memory = memory_of(history, history.size, geometry, crew)
        solved = self._newton(geometry, memory, grid, values, tolerance, crew)
        c, r = values[KNOWN:, 0], values[KNOWN:, 1] / grid.density
        one_time = np.empty((LEVELS, 2))
        one_time[:KNOWN] = [slab.one_time[-1] for slab in history.slabs[-KNOWN:]]
        one_time[KNOWN:, 0] = self.problem.energy(c, r, grid.weight)
        one_time[KNOWN:, 1] = self.problem.mu(c, r, grid.weight, grid.t)
        slab = Slab(level, zones, values, one_time)
        if not solved:
            return Step(slab, np.inf, np.inf)
        return Step(slab, *_tails(level, values))

    def _predict(self, history: History, level: Array, grid: SlabGrid) -> Array:
        """Return the known levels on the slab's nodes, and the stages by extrapolation from them."""
        values = np.empty((LEVELS, 2, len(grid.x)))
        for k, slab in enumerate(history.slabs[-KNOWN:]):
            values[k] = onto(slab.values[-1], slab.zones, grid.zones)
        weights = interpolation(level[:KNOWN], level[KNOWN:])
        values[KNOWN:] = np.tensordot(weights, values[:KNOWN], axes=1)
        values[:, 0, -1], values[KNOWN:, 1, -1] = 1.0, grid.density[:, -1]
        return values

    def _newton(
        self, geometry: Geometry, memory: Memory, grid: SlabGrid, values: Array, tolerance: float, crew: Pool
    ) -> bool:
        """Solve for the stages in place; return whether that succeeded."""
        size = len(grid.x) - 1
        residual = np.empty(2 * STAGES * size)
        # The largest array there is: factors stand in the matrix's place.
        jacobian, none = np.empty((len(residual),) * 2), np.empty((0, 0))
        factors, before = None, np.inf
        for _ in range(ITERATIONS):
            fields = self.problem.fields(values, grid)
            crew.share(equations, geometry, memory, fields, residual, jacobian if factors is None else none)
            if factors is None:
                factors = lu_factor(jacobian.T, overwrite_a=True, check_finite=False)
            change = lu_solve(factors, residual, trans=1, check_finite=False).reshape(STAGES, 2, size)
            values[KNOWN:, :, :size] -= change
            moved = float(np.max(np.abs(change)))
            if moved <= tolerance or (moved < ROUNDING and moved > 0.5 * before):
                return True
            if not np.isfinite(moved) or moved > 10:
                return False
            if moved > 0.05 * before and moved > 1e3 * tolerance:
                factors = None  # The old factors no longer contract well.
            before = moved
        return False


def _tails(level: Array, values: Array) -> tuple[float, float]:
    """Return what the highest degree contributes, in time within the slab, and in panels at its end."""
    # The last divided difference, times the largest product of distances from all levels but the oldest.
    apart = level[:, None] - level
    np.fill_diagonal(apart, 1.0)
    inside = np.linspace(level[KNOWN - 1], level[-1], 33)
    reach = float(np.max(np.abs(np.prod(inside[:, None] - level[1:], axis=1))))
    last = np.abs(np.tensordot(1 / np.prod(apart, axis=1), values, axes=1)) * reach
    blocks = np.lib.stride_tricks.sliding_window_view(values[-1], NODES, axis=-1)[:, ::DEGREE]
    return float(last.max()), float(np.abs(blocks @ HIGHEST).max())
