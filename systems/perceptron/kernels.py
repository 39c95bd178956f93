r"""Compiled steps of the spherical perceptron, of several replicas that share their patterns.

A force is f = −Σ_μ h_μ θ(−h_μ) ξ_μ/√N: two products with the matrix of patterns, ξx and ξᵀv, and v is zero
for every satisfied pattern. The matrix is walked through once, in blocks of rows that stay in the cache: the
gaps of a block for every replica first, then its unsatisfied rows are added to the forces. So a step reads
the patterns once from memory, however many replicas there are, and costs 2PN(1 + u) floating-point operations
for each, u the share of unsatisfied patterns, in place of 4PN for two products of whole matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from langevin.core.schemes import Held
from langevin.core.system import Array
from langevin.systems.compiling import njit
from langevin.systems.threads import Pool, allowed

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}
#: Sums over sites may run in vector lanes, with fused products.
_FAST = {"reassoc", "contract", "nsz"}
#: Bytes of a block of patterns, some of a processor's second cache.
_BLOCK = 1 << 16
#: Replicas that walk through the patterns together; a group does not depend on how many threads there are.
_TOGETHER = 8
#: Numbers of noise that a group draws at once.
_DRAWN = 1 << 16
_NO_SUMS = np.empty((0, 0, 0))


@numba.njit(fastmath=_FAST, forceinline=True, **_OPTIONS)
def _gaps_of_two(a, b, c, d, x, y, gaps, other):
    """Write the products of four rows with two configurations."""
    ax = bx = cx = dx = ay = by = cy = dy = 0.0
    for i in range(x.size):
        ax += a[i] * x[i]
        bx += b[i] * x[i]
        cx += c[i] * x[i]
        dx += d[i] * x[i]
        ay += a[i] * y[i]
        by += b[i] * y[i]
        cy += c[i] * y[i]
        dy += d[i] * y[i]
    gaps[0], gaps[1], gaps[2], gaps[3] = ax, bx, cx, dx
    other[0], other[1], other[2], other[3] = ay, by, cy, dy


@numba.njit(fastmath=_FAST, forceinline=True, **_OPTIONS)
def _gaps_of_one(a, b, c, d, x, gaps):
    """Write the products of four rows with one configuration."""
    ax = bx = cx = dx = 0.0
    for i in range(x.size):
        ax += a[i] * x[i]
        bx += b[i] * x[i]
        cx += c[i] * x[i]
        dx += d[i] * x[i]
    gaps[0], gaps[1], gaps[2], gaps[3] = ax, bx, cx, dx


@numba.njit(fastmath=_FAST, forceinline=True, **_OPTIONS)
def _add_four(a, b, c, d, va, vb, vc, vd, f):
    for i in range(f.size):
        f[i] += va * a[i] + vb * b[i] + vc * c[i] + vd * d[i]


@numba.njit(fastmath=_FAST, forceinline=True, **_OPTIONS)
def _product(row, x):
    total = 0.0
    for i in range(x.size):
        total += row[i] * x[i]
    return total


@numba.njit(fastmath=_FAST, forceinline=True, **_OPTIONS)
def _add_one(row, v, f):
    for i in range(f.size):
        f[i] += v * row[i]


@numba.njit(**_OPTIONS)
def _block_gaps(xi, first, stop, x, gaps):
    """Write ξ_μ·x of the rows `first` to `stop` to `gaps`, shape (R, rows)."""
    replicas = x.shape[0]
    whole = first + (stop - first) // 4 * 4
    for mu in range(first, whole, 4):
        a, b, c, d, at = xi[mu], xi[mu + 1], xi[mu + 2], xi[mu + 3], mu - first
        for r in range(0, replicas - 1, 2):
            _gaps_of_two(a, b, c, d, x[r], x[r + 1], gaps[r, at : at + 4], gaps[r + 1, at : at + 4])
        if replicas % 2:
            _gaps_of_one(a, b, c, d, x[replicas - 1], gaps[replicas - 1, at : at + 4])
    for mu in range(whole, stop):
        for r in range(replicas):
            gaps[r, mu - first] = _product(xi[mu], x[r])


@numba.njit(**_OPTIONS)
def _add_block(xi, first, gaps, margin, scale, chosen, f):
    """Add the unsatisfied rows of a block to the force of one replica; return Σh²/2 and how many they are."""
    energy, count = 0.0, 0
    for k in range(gaps.size):
        h = scale * gaps[k] - margin
        if h < 0.0:
            energy += 0.5 * h * h
            gaps[count] = -scale * h
            chosen[count] = first + k
            count += 1
    whole = count // 4 * 4
    for k in range(0, whole, 4):
        a, b, c, d = chosen[k], chosen[k + 1], chosen[k + 2], chosen[k + 3]
        _add_four(xi[a], xi[b], xi[c], xi[d], gaps[k], gaps[k + 1], gaps[k + 2], gaps[k + 3], f)
    for k in range(whole, count):
        _add_one(xi[chosen[k]], gaps[k], f)
    return energy, count


@numba.njit(**_OPTIONS)
def _forces(xi, x, margin, rows, gaps, chosen, f, energy, unsatisfied):
    """Write the forces, the extensive energies and the numbers of unsatisfied patterns of all replicas."""
    scale = 1.0 / math.sqrt(x.shape[1])
    f[:] = 0.0
    energy[:] = 0.0
    unsatisfied[:] = 0.0
    for first in range(0, xi.shape[0], rows):
        stop = min(first + rows, xi.shape[0])
        _block_gaps(xi, first, stop, x, gaps)
        for r in range(x.shape[0]):
            part, count = _add_block(xi, first, gaps[r, : stop - first], margin, scale, chosen, f[r])
            energy[r] += part
            unsatisfied[r] += count


@numba.njit(**_OPTIONS)
def _move(x, f, used, summed, dt, amplitude, sums, r):
    """One step of one replica on the sphere."""
    n = x.size
    if amplitude > 0.0:
        for i in range(n):
            if sums.size > 0:
                k = amplitude * summed[i]
                sums[0, r, i] += k
                sums[1, r, i] += x[i] * k
            x[i] = x[i] + dt * f[i] + amplitude * used[i]
    else:
        for i in range(n):
            x[i] = x[i] + dt * f[i]
    scale = math.sqrt(n / _product(x, x))
    for i in range(n):
        x[i] *= scale


@njit(**_OPTIONS)
def advance(xi, x, margin, rows, used, summed, steps, dt, amplitude, known, sums, f, energy, unsatisfied):
    """Make steps of the replicas of one group, in place, and evaluate the force after the last.

    Parameters
    ----------
    xi : ndarray, shape (P, N)
        The patterns.
    x, f : ndarray, shape (R, N)
        Configurations and forces, replaced by the new ones.
    margin : float
    rows : int
        Patterns of a block.
    used, summed : ndarray, shape (R, steps, N)
        Normals that move x, and those of the kicks that are summed; not read where `amplitude` is 0.
    steps : int
    dt, amplitude : float
    known : bool
        Whether `f` is already the force at `x`.
    sums : ndarray, shape (2, R, N), or empty
        To it the kicks k and x k are added.
    energy, unsatisfied : ndarray, shape (R,)
        Filled with the extensive energy and the number of unsatisfied patterns.
    """
    gaps = np.empty((x.shape[0], rows))
    chosen = np.empty(rows, np.int64)
    if not known:
        _forces(xi, x, margin, rows, gaps, chosen, f, energy, unsatisfied)
    for step in range(steps):
        for r in range(x.shape[0]):
            at = step if amplitude > 0.0 else 0
            _move(x[r], f[r], used[r, at], summed[r, at], dt, amplitude, sums, r)
        _forces(xi, x, margin, rows, gaps, chosen, f, energy, unsatisfied)


@dataclass(frozen=True)
class Evaluation:
    """What the patterns say of configurations.

    Attributes
    ----------
    x, force : ndarray, shape (R, N)
    energy : ndarray, shape (R,)
        Extensive.
    unsatisfied : ndarray, shape (R,)
        Number of patterns with a gap below 0.
    """

    x: Array
    force: Array
    energy: Array
    unsatisfied: Array

    @classmethod
    def empty(cls, x: Array) -> Evaluation:
        """Return room for what will be said of configurations that begin as copies of x."""
        return cls(x.copy(), np.empty_like(x), np.empty(len(x)), np.empty(len(x)))


class Field:
    """Forces and steps of an ensemble.

    Parameters
    ----------
    patterns : sequence of ndarray, shape (P, N)
        Of each quenched sample.
    position : ndarray of int, shape (R,)
        The sample of each replica.
    margin : float
    threads : int
        Groups of replicas go side by side; each of them is computed by one thread.
    """

    def __init__(
        self, patterns: Sequence[Array], position: NDArray[np.int64], margin: float, threads: int
    ) -> None:
        self.patterns, self.margin = patterns, margin
        self._groups = [
            (sample, members[k : k + _TOGETHER])
            for sample in range(len(patterns))
            for members in [np.flatnonzero(position == sample)]
            for k in range(0, len(members), _TOGETHER)
        ]
        self._pool = Pool(max(1, allowed(min(threads, len(self._groups)))))

    def evaluate(self, x: Array) -> Evaluation:
        """Return what the patterns say of x, shape (R, N)."""
        none = np.empty((len(x), 1, x.shape[1]))
        result = Evaluation.empty(x)
        self._for_groups(
            self._advance_group, result, False, lambda members: [(none, none, 0)], 0.0, 0.0, None
        )
        return result

    def steps(
        self,
        start: Evaluation,
        steps: int,
        dt: float,
        temperature: float,
        generators: Sequence[np.random.Generator],
        accumulated: Array | None = None,
        held: Held | None = None,
    ) -> Evaluation:
        """Return what the patterns say of the configurations after many steps.

        Parameters
        ----------
        start : Evaluation
            Not changed.
        steps : int
        dt, temperature : float
        generators : sequence of numpy.random.Generator, length R
            Give N normals per replica and step; not touched at T = 0.
        accumulated : ndarray, shape (2, R, N), optional
        held : Held, optional
            As `HasKernel.fused_steps` explains them.
        """
        result = Evaluation(start.x.copy(), start.force.copy(), start.energy.copy(), start.unsatisfied.copy())
        n = start.x.shape[1]

        def noise(members: NDArray[np.int64]) -> Any:
            if temperature == 0:
                none = np.empty((len(members), 1, n))
                yield none, none, steps
                return
            chunk = max(1, _DRAWN // (n * len(members)))
            for done in range(0, steps, chunk):
                count = min(chunk, steps - done)
                drawn = np.stack([generators[r].standard_normal((count, n)) for r in members])
                if held is None:
                    yield drawn, drawn, count
                    continue
                used, summed = held.scheme.noise(held.normals[members], drawn)
                held.normals[members] = drawn[:, -1]
                yield used, summed, count

        amplitude = math.sqrt(2 * temperature * dt)
        self._for_groups(self._advance_group, result, True, noise, dt, amplitude, accumulated)
        return result

    def _for_groups(self, task: Callable[..., None], *arguments: Any) -> None:
        def share(rank: int, team: int) -> None:
            for sample, members in self._groups[rank::team]:
                task(sample, members, *arguments)

        self._pool.share(share)

    def _advance_group(
        self,
        sample: int,
        members: NDArray[np.int64],
        result: Evaluation,
        known: bool,
        noise: Callable[[NDArray[np.int64]], Any],
        dt: float,
        amplitude: float,
        accumulated: Array | None,
    ) -> None:
        """Advance the replicas at positions `members`, which share a sample."""
        xi = self.patterns[sample]
        rows = max(4, _BLOCK // (8 * xi.shape[1]) // 4 * 4)
        arrays = (result.x, result.force, result.energy, result.unsatisfied)
        own = [array[members] for array in arrays]
        x, *rest = own
        sums = _NO_SUMS if accumulated is None else accumulated[:, members]
        for used, summed, steps in noise(members):
            advance(xi, x, self.margin, rows, used, summed, steps, dt, amplitude, known, sums, *rest)
            known = True
        for array, values in zip(arrays, own, strict=True):
            array[members] = values
        if accumulated is not None:
            accumulated[:, members] = sums
