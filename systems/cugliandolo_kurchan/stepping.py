r"""One implicit step in ln t: the residual of both equations on a slice, its exact Jacobian, Newton's method.

At node j, along its line (velocity v = dt'/dt: 1 at fixed lag, θ at fixed ratio, 0 at fixed t'),

    ∂_t X = (dλ/dt) D_λ X − v ∂_t' X,

D_λ the backward differentiation formula of fourth order in the clock λ, from older slices read off on the
line; ∂_t' by the panel's polynomial. The residuals

    ∂_t C + μ C − below − between − β_i f'(C(t,0)) C(t',0)    and    ∂_t R + μ R − between

are bilinear in the slice and μ, so the Jacobian is assembled with the residual at about twice its cost.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lu_factor, lu_solve

from langevin.core.system import Array
from langevin.systems.compiling import njit
from langevin.systems.threads import ALONE, Pool, single_blas

from .covariance import Covariance
from .history import CLOCK, FIXED_EARLIER, FIXED_LAG, SPAN, Slices, along, at_slice, line_of
from .memory import BELOW, Memory, memory_of
from .panels import DEGREE, DERIVATIVE, NODES, PanelGrid

#: Order of the backward differentiation formula.
ORDER = 4
#: Nodes from which on a slice is worth more than one processor.
PARALLEL = 250
#: Newton's iterations before a step counts as failed.
ITERATIONS = 12


class Equations(NamedTuple):
    """f, T and 1/T_i (0: a random start)."""

    covariance: Covariance
    temperature: float
    beta: float

    def mu(self, c: Array, r: Array, weight: Array) -> float:
        """Return μ(t) of a slice, from its quadrature weights."""
        f = self.covariance.derivative
        memory = float(np.sum(weight * (f(1, c) + f(2, c) * c) * r))
        return self.temperature + memory + self.beta * float(f(1, c[0])) * float(c[0])

    def energy(self, c: Array, r: Array, weight: Array) -> float:
        """Return E(t) of a slice."""
        f = self.covariance.derivative
        return -float(np.sum(weight * f(1, c) * r)) - self.beta * float(f(0, c[0]))


class Step(NamedTuple):
    """A slice that was computed, and how far the predictor was off.

    Attributes
    ----------
    grid : PanelGrid
    c, r : ndarray, shape (nodes,)
    error : float
        Estimated local error: the largest in C, and in R dt'/du.
    """

    grid: PanelGrid
    c: Array
    r: Array
    error: float


class _Row(NamedTuple):
    """The differential part of the equations at every node."""

    older_c: Array
    older_r: Array
    velocity: Array
    leading: float


@njit(error_model="numpy")
def _older(slices, first, count, t, earlier, lag, oldest, velocity, out):  # type: ignore[no-untyped-def]
    """Write C and R of older slices on every node's line to `out` (slice, field, node), velocities too."""
    for j in range(len(earlier)):
        line = line_of(t, earlier[j], lag[j], oldest)
        velocity[j] = 1.0 if line == FIXED_LAG else (0.0 if line == FIXED_EARLIER else earlier[j] / t)
        for k in range(count):
            e, g = along(line, slices.time[first + k], t, earlier[j], lag[j])
            out[k, 0, j], out[k, 1, j] = at_slice(slices, first + k, e, g)


def _extrapolation(clock: Array, now: float) -> Array:
    """Return the weights of the polynomial through `clock` at `now`."""
    return np.array(
        [np.prod((now - np.delete(clock, i)) / (x - np.delete(clock, i))) for i, x in enumerate(clock)]
    )


def _differentiation(clock: Array) -> Array:
    """Return the weights of d/dλ at the last of `clock`, for the polynomial through all."""
    now, rest = clock[-1], clock[:-1]
    weights = np.empty(len(clock))
    for i, x in enumerate(rest):
        others = np.delete(rest, i)
        weights[i] = np.prod((now - others) / (x - others)) / (x - now)
    weights[-1] = np.sum(1 / (now - rest))
    return weights


@njit(nogil=True, error_model="numpy")
def _equations(  # type: ignore[no-untyped-def]
    memory, row_c, row_r, velocity, slope, leading, rate, start_beta,
    c, r, f, g, mu, jacobian, out, rank, team,
):  # fmt: skip
    """Write the residuals to `out`, and, if it is not empty, the derivatives by F, G, C, R to `jacobian`.

    `jacobian` has shape (N, 6, N + 1): of ∂_t C by F, G, C, R; of ∂_t R by G, R. Of the nodes, those are done
    that belong to `rank`: rank, rank + team, …
    """
    size = len(memory.points)
    for j in range(rank, size, team):
        sum_c = sum_r = 0.0
        for n in range(size + 1):
            sum_c += memory.to_f[j, n] * f[n] + memory.to_g[j, n] * g[n]
            sum_r += memory.to_r[j, n] * g[n]
        wanted = jacobian.shape[0] > 0
        if wanted:
            jacobian[j, 0], jacobian[j, 1], jacobian[j, 4] = memory.to_f[j], memory.to_g[j], memory.to_r[j]
            jacobian[j, 2] = 0.0
            jacobian[j, 3] = 0.0
            jacobian[j, 5] = 0.0
        for k in range(memory.points[j]):
            own, other, weight = memory.own[j, k], memory.other[j, k], memory.weight[j, k]
            a, b = memory.own_weights[j, k], memory.other_weights[j, k]
            f_s = g_s = c_s = r_s = 0.0
            for n in range(NODES):
                f_s += a[n] * f[own + n]
                g_s += a[n] * g[own + n]
                c_s += b[n] * c[other + n]
                r_s += b[n] * r[other + n]
            sum_c += weight * g_s * c_s
            below = memory.kind[j, k] == BELOW
            if below:
                sum_c += weight * f_s * r_s
            else:
                sum_r += weight * g_s * r_s
            if wanted:
                for n in range(NODES):
                    jacobian[j, 1, own + n] += weight * c_s * a[n]
                    jacobian[j, 2, other + n] += weight * g_s * b[n]
                    if below:
                        jacobian[j, 0, own + n] += weight * r_s * a[n]
                        jacobian[j, 3, other + n] += weight * f_s * b[n]
                    else:
                        jacobian[j, 4, own + n] += weight * r_s * a[n]
                        jacobian[j, 5, other + n] += weight * g_s * b[n]
        panel = (j // DEGREE) * DEGREE
        along_c = along_r = 0.0
        for n in range(NODES):
            along_c += DERIVATIVE[j - panel, n] * c[panel + n]
            along_r += DERIVATIVE[j - panel, n] * r[panel + n]
        speed = velocity[j] * slope[j]
        start = start_beta * (memory.start[j] + memory.start_weight[j] * c[0])
        out[j] = rate * (leading * c[j] + row_c[j]) - speed * along_c + mu * c[j] - sum_c - start
        out[size + j] = rate * (leading * r[j] + row_r[j]) - speed * along_r + mu * r[j] - sum_r


class SliceStepper:
    """Steps of one problem.

    Parameters
    ----------
    problem : Equations
    crew : Pool
        Threads that share a slice, if it is large enough: waking them costs more than a small loop.
    """

    def __init__(self, problem: Equations, crew: Pool = ALONE) -> None:
        self.problem, self.crew = problem, crew

    def step(self, slices: Slices, size: int, clock: float, grid: PanelGrid, tolerance: float) -> Step:
        """Return the slice at `grid.t`, clock λ, that follows `size` known ones.

        Newton's update ends below `tolerance`; where it does not, the error is infinite.
        """
        with single_blas():
            return self._step(slices, size, clock, grid, tolerance)

    def _crew(self, nodes: int) -> Pool:
        return self.crew if nodes >= PARALLEL else ALONE

    def _step(self, slices: Slices, size: int, clock: float, grid: PanelGrid, tolerance: float) -> Step:
        slices.time[size], slices.clock[size] = grid.t, clock
        row, c, r = self._predict(slices, size, grid)
        guess_c, guess_r = c.copy(), r.copy()
        memory = memory_of(slices, size, grid, self._crew(len(grid.lag)))
        if not self._newton(memory, row, grid, c, r, tolerance):
            return Step(grid, c, r, np.inf)
        clocks = slices.clock[: size + 1]
        share = (clocks[-1] - clocks[-2]) / (clocks[-1] - clocks[-2 - ORDER])
        off = max(np.max(np.abs(c - guess_c)), np.max(np.abs(r - guess_r) * grid.density))
        return Step(grid, c, r, float(share * off))

    def _predict(self, slices: Slices, size: int, grid: PanelGrid) -> tuple[_Row, Array, Array]:
        first = size - ORDER - 1
        older = np.empty((ORDER + 1, 2, len(grid.lag)))
        velocity = np.empty(len(grid.lag))
        oldest = slices.time[size - max(ORDER + 1, SPAN - 1)]
        _older(slices, first, ORDER + 1, grid.t, grid.earlier, grid.lag, oldest, velocity, older)
        clocks = slices.clock[first : size + 1]
        guess = np.tensordot(_extrapolation(clocks[:-1], clocks[-1]), older, axes=1)
        guess[:, -1] = 1.0
        weights = _differentiation(clocks[1:])
        row = np.tensordot(weights[:-1], older[1:], axes=1)
        return _Row(row[0], row[1], velocity, float(weights[-1])), guess[0], guess[1]

    def _newton(
        self, memory: Memory, row: _Row, grid: PanelGrid, c: Array, r: Array, tolerance: float
    ) -> bool:
        """Solve for the slice in place; return whether that succeeded."""
        size = len(grid.lag) - 1
        scale = np.concatenate([np.ones(size), grid.density[:size]])
        residual = np.empty(2 * size)
        factors, before = None, np.inf
        for _ in range(ITERATIONS):
            jacobian = self._residual(memory, row, grid, c, r, residual, wanted=factors is None)
            if jacobian is not None:
                factors = lu_factor(jacobian.T, overwrite_a=True, check_finite=False)
            change = lu_solve(factors, residual, trans=1, check_finite=False)
            c[:size] -= change[:size]
            r[:size] -= change[size:]
            moved = float(np.max(np.abs(change) * scale))
            if moved <= tolerance:
                return True
            if not np.isfinite(moved):
                break
            if moved > 0.05 * before:
                factors = None  # The old factors no longer contract well.
            before = moved
        return False

    def _residual(
        self, memory: Memory, row: _Row, grid: PanelGrid, c: Array, r: Array, out: Array, wanted: bool
    ) -> NDArray[np.float64] | None:
        f = [self.problem.covariance.derivative(order, c) for order in range(4)]
        beta, size = self.problem.beta, len(c) - 1
        mu = self.problem.mu(c, r, grid.weight)
        rate = 1 / (grid.t + CLOCK)
        parts = np.empty((size, 6, size + 1) if wanted else (0, 6, 0))
        start_beta = beta * float(f[1][0])
        crew = self._crew(len(c))
        crew.share(
            _equations,
            memory, row.older_c, row.older_r, row.velocity, grid.slope, row.leading, rate, start_beta,
            c, r, f[1], f[2] * r, mu, parts, out,
        )  # fmt: skip
        if not wanted:
            return None
        mu_by_c = grid.weight * (2 * f[2] + f[3] * c) * r
        mu_by_c[0] += beta * (f[2][0] * c[0] + f[1][0])
        mu_by_r = grid.weight * (f[1] + f[2] * c)
        made = np.empty((2 * size, 2 * size))
        crew.share(
            _assemble,
            parts,
            c,
            r,
            f[2],
            f[3] * r,
            mu,
            mu_by_c,
            mu_by_r,
            row.velocity,
            grid.slope,
            row.leading * rate,
            made,
        )
        starts = memory.start + memory.start_weight * c[0]
        made[:size, 0] -= beta * (f[2][0] * starts + f[1][0] * memory.start_weight)
        return made


@njit(nogil=True, error_model="numpy")
def _assemble(  # type: ignore[no-untyped-def]
    parts, c, r, f2, f3r, mu, mu_by_c, mu_by_r, velocity, slope, leading, out, rank, team
):
    """Write the Jacobian by (C, R), from derivatives by F, G, C, R: F_C = f'', G_C = f''' R, G_R = f''.

    Of the nodes, those are done that belong to `rank`: rank, rank + team, …
    """
    size = len(parts)
    for j in range(rank, size, team):
        for n in range(size):
            out[j, n] = -parts[j, 0, n] * f2[n] - parts[j, 1, n] * f3r[n] - parts[j, 2, n] + c[j] * mu_by_c[n]
            out[j, size + n] = -parts[j, 1, n] * f2[n] - parts[j, 3, n] + c[j] * mu_by_r[n]
            out[size + j, n] = -parts[j, 4, n] * f3r[n] + r[j] * mu_by_c[n]
            out[size + j, size + n] = -parts[j, 4, n] * f2[n] - parts[j, 5, n] + r[j] * mu_by_r[n]
        out[j, j] += leading + mu
        out[size + j, size + j] += leading + mu
        panel = (j // DEGREE) * DEGREE
        speed = velocity[j] * slope[j]
        for n in range(NODES):
            if panel + n < size:
                out[j, panel + n] -= speed * DERIVATIVE[j - panel, n]
                out[size + j, size + panel + n] -= speed * DERIVATIVE[j - panel, n]
