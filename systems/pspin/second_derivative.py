"""∂²H/∂σ_j∂σ_k of the packed couplings, compiled: every coupling is read once."""

from __future__ import annotations

import numpy as np

from langevin.core.system import Array
from langevin.systems.compiling import njit

from .couplings import Couplings
from .mixture import Sample, parts_of


def second_derivative(couplings: Sample, x: Array) -> Array:
    """Return ∂²H/∂σ_j∂σ_k = −Σ J_jk… Π σ, in double precision whatever the couplings'.

    Parameters
    ----------
    couplings : Couplings, or a tuple of them
        Of a mixed model those of each p.
    x : ndarray, shape (N,)

    Returns
    -------
    ndarray, shape (N, N)
        Symmetric, with zeros on the diagonal: no spin meets itself.
    """
    first, *further = (_of_one(part, x) for part in parts_of(couplings))
    return np.asarray(sum(further, first))


def _of_one(couplings: Couplings, x: Array) -> Array:
    """Return the second derivative of the interactions of one p."""
    place = couplings.layout
    sigma = np.zeros(place.sites)
    sigma[place.pad : place.pad + place.n] = x
    sums = np.zeros((place.sites, place.sites))
    _accumulate(couplings.data, place.table, place.pad + place.n, sigma, sums)
    upper = sums[place.pad : place.pad + place.n, place.pad : place.pad + place.n]
    return -(upper + upper.T)


@njit(nogil=True, error_model="numpy")
def _accumulate(data, table, end, sigma, sums):  # type: ignore[no-untyped-def]  # numba infers the types
    """Add Σ J Π σ over the spins that are left to `sums`, above its diagonal.

    The walk through tiles of rows and runs of columns is that of the layout (`couplings`); `prefix` are the
    spins of an interaction before its last two, j and k.
    """
    width = table.shape[1] - 3
    rest = np.empty(width)
    for b in range(table.shape[0]):
        start, j0 = table[b, 0], table[b, 1]
        prefix = table[b, 3:]
        weight = 1.0
        for a in range(width):
            weight *= sigma[prefix[a]]
        for a in range(width):
            # Product over the prefix without this spin.
            rest[a] = 1.0
            for c in range(width):
                if c != a:
                    rest[a] *= sigma[prefix[c]]
        while j0 < table[b, 2]:
            rows = (end - 1 - j0) % 8
            if rows == 0:
                rows = 8
            k0 = j0 + rows - 7
            for j in range(j0, j0 + rows):
                total = 0.0
                for k in range(j + 1, end):
                    value = np.float64(data[start + ((k - k0) // 8 * rows + (j - j0)) * 8 + (k - k0) % 8])
                    sums[j, k] += weight * value
                    total += value * sigma[k]
                    for a in range(width):
                        sums[prefix[a], k] += rest[a] * value * sigma[j]
                for a in range(width):
                    sums[prefix[a], j] += rest[a] * total
                if width == 2:
                    # What is left of the interaction are j and k.
                    sums[prefix[0], prefix[1]] += total * sigma[j]
            start += (end - k0) * rows
            j0 += rows
