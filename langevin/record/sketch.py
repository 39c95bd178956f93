r"""A count-sketch has k numbers in place of a configuration, from which any pair's msd follows.

A seeded hash gives every degree of freedom i a component h(i) ∈ {0 … k−1} and a sign σ(i) = ±1, and

    s_b = Σ_{i: h(i) = b} σ(i) x_i

(Charikar, Chen & Farach-Colton, Theor. Comput. Sci. 312, 3 (2004)). The hash is one for the whole run, so
the sketch is linear: that of a displacement d = x(t) − x(t') is s(t) − s(t'), for any two times whose
sketches were stored.

Mean and variance. With 1_ij = 1 if h(i) = h(j), else 0,

    |s|² = Σ_b s_b² = Σ_ij 1_ij σ(i)σ(j) d_i d_j = ‖d‖² + 2 Σ_{i<j} 1_ij σ(i)σ(j) d_i d_j.

The signs are independent, so ⟨σ(i)σ(j)⟩ = 0 for i ≠ j, whatever h: |s|²/M estimates the msd Δ = ‖d‖²/M
without bias. Of the products of two terms of the last sum, ⟨σ(i)σ(j)σ(k)σ(l)⟩ leaves those of equal pairs;
⟨1_ij²⟩ = 1/k, and with 2 Σ_{i<j} d_i² d_j² = ‖d‖⁴ − Σ_i d_i⁴

    Var(|s|²/M) = 4 Σ_{i<j} d_i² d_j²/(k M²) = (2/k)(‖d‖⁴ − ‖d‖₄⁴)/M²,    ‖d‖₄⁴ = Σ_i d_i⁴,

so the relative standard error is at most √(2/k), for every displacement: 1 % takes k = 20000. In the same
way the errors of two displacements d, e have the covariance (2/k)((d·e)² − Σ_i d_i² e_i²)/M²: where fourth
moments are small, their correlation is the squared cosine of the angle between d and e. Errors average out
over replicas, whose displacements are uncorrelated; neighbouring lags of one replica err together.

The hash is the finaliser of splitmix64 (Steele, Lea & Flood, OOPSLA 2014) of a Weyl sequence i·γ + key. Bit 0
is the sign; the upper 32 bits u give the component ⌊u k/2³²⌋, whose probabilities differ by less than k/2³²
of 1/k. The estimate stays unbiased all the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.machine.kernel_cache import njit

#: Degrees of freedom that are hashed at once, for all replicas: small enough for the nearest cache.
BLOCK = 1024

_WEYL = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ONE, _27, _30, _31, _32 = (np.uint64(n) for n in (1, 27, 30, 31, 32))


def sketch(x: NDArray[Any], components: int, key: int) -> NDArray[np.float64]:
    """Return the sketch of every replica's configuration, shape (R, components).

    One pass over x; sums in float64, in the order of the degrees of freedom, whatever the machine.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (R, dof)
    components : int
        k ≥ 1.
    key : int
        Seed of the hash, 0 ≤ key < 2⁶⁴.
    """
    out = np.zeros((x.shape[0], components))
    _add(np.ascontiguousarray(x), np.uint64(key), out)
    return out


def hashed(dof: int, components: int, key: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return component h(i) and sign σ(i) of the first `dof` degrees of freedom, shape (dof,) each."""
    component, sign = np.empty(dof, np.int64), np.empty(dof)
    _hash(np.uint64(key), np.uint64(0), np.uint64(components), component, sign)
    return component, sign


@njit(nogil=True, error_model="numpy")
def _hash(key, first, components, component, sign):  # type: ignore[no-untyped-def]
    """Write component and sign of degrees of freedom `first`, `first` + 1, …"""
    for j in range(component.size):
        z = key + (first + np.uint64(j) + _ONE) * _WEYL
        z = (z ^ (z >> _30)) * _FIRST
        z = (z ^ (z >> _27)) * _SECOND
        z = z ^ (z >> _31)
        component[j] = np.int64(((z >> _32) * components) >> _32)
        sign[j] = 1.0 - 2.0 * np.float64(np.int64(z & _ONE))


@njit(nogil=True, error_model="numpy")
def _add(x, key, out):  # type: ignore[no-untyped-def]
    """Add σ(i) x_i to component h(i) of each row."""
    replicas, dof = x.shape
    components = np.uint64(out.shape[1])
    component, sign = np.empty(BLOCK, np.int64), np.empty(BLOCK)
    for first in range(0, dof, BLOCK):
        size = min(BLOCK, dof - first)
        _hash(key, np.uint64(first), components, component[:size], sign[:size])
        for r in range(replicas):
            row, s = x[r, first : first + size], out[r]
            for j in range(size):
                s[component[j]] += sign[j] * row[j]
