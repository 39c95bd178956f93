"""Compiled steps of several replicas of the spherical perceptron that share their patterns."""

from __future__ import annotations

import math

import numba
import numpy as np

from langevin.systems.compiling import njit

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}
#: Sums over sites may run in vector lanes, with fused products.
_FAST = {"reassoc", "contract", "nsz"}


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
