r"""The direct solver: a uniform grid in both times, the trapezoidal rule, Richardson extrapolation.

On t_n = n·dt, every integral is a trapezoidal sum over grid points and every step in t is

    X(t_n, t_j) = X(t_{n−1}, t_j) + (dt/2) [∂_t X(t_{n−1}, t_j) + ∂_t X(t_n, t_j)],

implicit in the whole row n, which fixed-point iteration solves to rounding (it contracts by O(dt)).
Integrands are smooth inside [0, t'] and [t', t], so by Euler and Maclaurin, and by the symmetry of the rule,
the error is a series in even powers of dt: two extrapolations of runs at dt, dt/2 and dt/4 leave O(dt⁶). The
cost is O(t³/dt³), the memory O(t²/dt²): the reference for early times, not a way to late ones.

*Errors.* How far the last extrapolation moved a value, O(dt⁴), is the error of the value before it, and says
nothing of the c dt⁶ that is left; three grids cannot know c. A fourth at dt/3 does: the polynomial in dt²
through all four is right to O(dt⁸), and its distance from the value is the error of the value but for O(dt⁸).
It costs a third more time. `SAFETY` times the distance is stated, as a part of order dt² of it is not known,
and no less than rounding: `ROUNDING` is left in each row, and rows add up like a random walk.

*Protocols.* A temperature that changes enters through μ(t) alone: that C(t, t) stays 1 needs ∂_t C(t, t'→t) =
−T(t). Where T jumps, at t_b, so do μ and ∂_t C and ∂_t R of the whole row, while C, R and all integrals are
continuous; as functions of an earlier time they have a kink there, ∂_{t'} C(t, t') being 2T(t') R(t, t') and
what is continuous. So the step that ends on t_b uses the slopes with T(t_b⁻), the step that leaves from it
those with T(t_b⁺), and with t_b on every grid, a multiple of the coarsest step, each sum and each step sees
smooth functions alone: the series in even powers of dt is left as it is. A change of slope is the same one
order later. μ(t_b) in the file is that of T(t_b⁺).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.core.protocol import Protocol
from langevin.core.system import Array
from langevin.machine.blas import single_blas
from langevin.machine.interruption import heed
from langevin.systems.compiling import njit
from langevin.systems.threads import ALONE, Pool

from .stepping import Equations

#: Grids: dt, dt/2 and dt/4, which give the values, and dt/3, for their errors.
DIVISORS = (1, 2, 4, 3)
#: Stated errors in units of the distance between three and four grids.
SAFETY = 2.0
#: Rows from which on one is worth more than one processor.
PARALLEL = 800
#: Iterations end when a row moves less than this.
ROUNDING = 1e-14


def bytes_needed(t_max: float, dt: float) -> float:
    """Return the memory that C and R take on all grids."""
    return float(sum(16.0 * (round(t_max / dt) * parts + 1) ** 2 for parts in DIVISORS))


class Lattice:
    """C and R on one uniform grid, row by row.

    Parameters
    ----------
    problem : Equations
    dt : float
    steps : int
        Rows to hold.
    crew : Pool
        Threads that share a row, if it is long.
    protocol : Protocol, optional
        The temperature, instead of that of the problem; its breaks are multiples of dt.
    """

    def __init__(
        self,
        problem: Equations,
        dt: float,
        steps: int,
        crew: Pool = ALONE,
        protocol: Protocol | None = None,
    ) -> None:
        self.problem, self.dt, self.steps, self.crew = problem, dt, steps, crew
        self.protocol = None if protocol is None else protocol.counted(dt)
        self.c, self.r = np.zeros((2, steps + 1, steps + 1))
        self.energy, self.mu = np.zeros((2, steps + 1))
        self.rows = 0
        self._put(0, np.ones(1), np.ones(1))
        self._slope = self._slopes(self._from(0), self.c[0, :1], self.r[0, :1])

    def _until(self, n: int) -> Equations:
        """Return the equations with T as it is when row n ends a step."""
        if self.protocol is None:
            return self.problem
        return self.problem._replace(temperature=self.protocol.before(n))

    def _from(self, n: int) -> Equations:
        """Return the equations with T as it is when a step leaves from row n."""
        return (
            self.problem if self.protocol is None else self.problem._replace(temperature=self.protocol.at(n))
        )

    def _put(self, n: int, c: Array, r: Array) -> None:
        self.c[n, : n + 1], self.r[n, : n + 1] = c, r
        weight = self._weight(n)
        self.energy[n] = self.problem.energy(c, r, weight)
        self.mu[n] = self._from(n).mu(c, r, weight)
        self.rows = n + 1

    def _weight(self, n: int) -> Array:
        weight = np.full(n + 1, self.dt)
        weight[[0, -1]] *= 0.5
        return weight if n else np.zeros(1)

    def _slopes(self, problem: Equations, c: Array, r: Array) -> tuple[Array, Array]:
        """Return ∂_t C and ∂_t R in row n, shape (n + 1,), for trial values of the row."""
        n = c.size - 1
        f, beta = problem.covariance.derivative, problem.beta
        first, kernel = f(1, c), f(2, c) * r
        mu = problem.mu(c, r, self._weight(n))
        for_c, for_r = np.empty((2, n + 1))
        crew = self.crew if n >= PARALLEL else ALONE
        crew.share(_sums, self.c, self.r, n, self.dt, c, r, first, kernel, for_c, for_r)
        for_c -= mu * c
        for_r -= mu * r
        if beta:
            starts = np.append(self.c[:n, 0], c[0])
            for_c += beta * first[0] * starts
        return for_c, for_r

    def advance(self, n: int) -> None:
        """Compute rows up to n."""
        for row in range(self.rows, n + 1):
            # Rows are only added: a state that has been returned stays what it was.
            heed()
            with single_blas():
                self._row(row)

    def restore(self, rows: int) -> None:
        """Make everything else anew from the first rows of C and R."""
        for n in range(rows):
            self._put(n, self.c[n, : n + 1].copy(), self.r[n, : n + 1].copy())
        last = rows - 1
        row = self.c[last, :rows].copy(), self.r[last, :rows].copy()
        self._slope = self._slopes(self._from(last), *row)

    def _row(self, n: int) -> None:
        base = [
            old[n - 1, :n] + 0.5 * self.dt * slope
            for old, slope in zip((self.c, self.r), self._slope, strict=True)
        ]
        new = [np.append(b + 0.5 * self.dt * s, 1.0) for b, s in zip(base, self._slope, strict=True)]
        moved, until = np.inf, self._until(n)
        while moved > ROUNDING:
            slopes = self._slopes(until, *new)
            better = [np.append(b + 0.5 * self.dt * s[:n], 1.0) for b, s in zip(base, slopes, strict=True)]
            change = max(float(np.max(np.abs(b - a))) for a, b in zip(new, better, strict=True))
            new = better
            if change >= moved:
                break  # Rounding: it does not get closer.
            moved = change
        self._put(n, *new)
        self._slope = self._slopes(self._from(n), *new)


@njit(nogil=True, error_model="numpy")
def _sums(c, r, n, dt, row_c, row_r, first, kernel, for_c, for_r, rank, team):  # type: ignore[no-untyped-def]
    """Write row n's memory integrals to `for_c` and `for_r`; older rows in `c`, `r`, its own in `row_…`.

    Of the blocks of columns, those are done that belong to `rank`: rank, rank + team, …
    """
    blocks = 8
    for block in range(rank, blocks, team):
        # Columns are cut so that no sum is split between threads.
        low, high = block * (n + 1) // blocks, (block + 1) * (n + 1) // blocks
        for j in range(low, high):
            total = 0.0
            if j > 0:
                source_r = r[j] if j < n else row_r
                source_c = c[j] if j < n else row_c
                for s in range(1, j):
                    total += first[s] * source_r[s] + kernel[s] * source_c[s]
                total += 0.5 * (first[0] * source_r[0] + kernel[0] * source_c[0])
                total += 0.5 * (first[j] + kernel[j])
            for_c[j] = dt * total
            for_r[j] = 0.0
            if j < n:
                for_c[j] += 0.5 * dt * (kernel[j] + kernel[n] * row_c[j])
                for_r[j] += 0.5 * dt * (kernel[j] + kernel[n] * row_r[j])
        for s in range(low + 1, n):
            weight = dt * kernel[s]
            for j in range(low, min(high, s)):
                for_c[j] += weight * c[s, j]
                for_r[j] += weight * r[s, j]


class Direct:
    """C and R on a grid, extrapolated to dt → 0.

    Parameters
    ----------
    problem : Equations
    dt : float
        Coarsest step: times are its multiples.
    steps : int
        Coarsest steps to hold.
    crew : Pool
        Threads that share a row.
    protocol : Protocol, optional
        The temperature, instead of that of the problem; its breaks are multiples of dt.
    """

    def __init__(
        self,
        problem: Equations,
        dt: float,
        steps: int,
        crew: Pool = ALONE,
        protocol: Protocol | None = None,
    ) -> None:
        self.dt = dt
        self.lattices = [Lattice(problem, dt / parts, steps * parts, crew, protocol) for parts in DIVISORS]

    def reach(self, t: float) -> int:
        """Compute up to time t, a multiple of dt; return how many steps that is."""
        n = round(t / self.dt)
        for parts, lattice in zip(DIVISORS, self.lattices, strict=True):
            lattice.advance(n * parts)
        return n

    def one_time(self, t: float, n: int) -> tuple[Array, Array]:
        """Return (E, μ) at time t = n·dt, and their errors."""
        rows = [n * parts for parts in DIVISORS]
        values = [np.array([x.energy[k], x.mu[k]]) for k, x in zip(rows, self.lattices, strict=True)]
        return extrapolated(values, n * max(DIVISORS))

    def two_time(self, t: float, earlier: float, n: int) -> tuple[Array, Array]:
        """Return (C, R, χ) between t = n·dt and an earlier time, and their errors."""
        w, values = round(earlier / self.dt), []
        for parts, x in zip(DIVISORS, self.lattices, strict=True):
            last, first = n * parts, w * parts
            span = x.r[last, first : last + 1]
            chi = x.dt * (span.sum() - 0.5 * (span[0] + span[-1])) if last > first else 0.0
            values.append(np.array([x.c[last, first], x.r[last, first], chi]))
        return extrapolated(values, n * max(DIVISORS))

    def state_dict(self, n: int) -> dict[str, NDArray[Any]]:
        """Return the rows up to time n·dt."""
        saved: dict[str, NDArray[Any]] = {}
        for k, x in enumerate(self.lattices):
            lower = np.tril_indices(n * DIVISORS[k] + 1)
            saved[f"c{k}"], saved[f"r{k}"] = x.c[lower], x.r[lower]
        return saved

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take over the rows that `state_dict` saved."""
        for k, x in enumerate(self.lattices):
            rows = math.isqrt(2 * saved[f"c{k}"].size)
            lower = np.tril_indices(rows)
            x.c[lower], x.r[lower] = saved[f"c{k}"], saved[f"r{k}"]
            x.restore(rows)


def extrapolated(values: list[Array], rows: int) -> tuple[Array, Array]:
    """Return the extrapolation of values at dt, dt/2 and dt/4, and its error, from those at dt/3 as well.

    Parameters
    ----------
    values : list of ndarray
        On the grids of `DIVISORS`.
    rows : int
        How many rows of the finest grid lie behind the values.
    """
    coarse, fine = ((4 * b - a) / 3 for a, b in pairwise(values[:3]))
    best = (16 * fine - coarse) / 15
    # The polynomial in dt² through four grids, at dt = 0.
    squares = np.array(DIVISORS) ** 2.0
    weights = [np.prod(x / (x - np.delete(squares, k))) for k, x in enumerate(squares)]
    better = sum(w * v for w, v in zip(weights, values, strict=True))
    return best, SAFETY * np.abs(best - better) + ROUNDING * math.sqrt(rows)
