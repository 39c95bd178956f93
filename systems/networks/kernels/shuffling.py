"""Random orders, compiled: those of numpy take three times as long."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from langevin.systems.compiling import njit

#: Bits of a product of a random number and a count, those of a random number, and how many bits a place has
#: beyond those that choose it: no choice is more likely than another by more than one part in a million.
PRODUCT, MANTISSA, SPARE = 64, 53, 20


@njit(nogil=True, error_model="numpy", boundscheck=False)
def _shuffle(uniform, width, places, order):
    shift, mask = np.uint64(width), (np.uint64(1) << np.uint64(width)) - np.uint64(1)
    scale = 2.0**width
    for epoch in range(order.shape[0]):
        row, u = order[epoch], uniform[epoch]
        for i in range(row.size):
            row[i] = i
        i = row.size - 1
        for k in range(u.size):
            rest = np.uint64(u[k] * scale)
            for _ in range(min(places, i)):
                scaled = rest * np.uint64(i + 1)
                place, rest = scaled >> shift, scaled & mask
                row[i], row[place] = row[place], row[i]
                i -= 1


def number_of(examples: int) -> tuple[int, int, int]:
    """Return what an order of P examples takes: random numbers, bits of each, places that each chooses."""
    bits = max(1, math.ceil(math.log2(examples)))
    width = min(MANTISSA, PRODUCT - bits)
    places = max(1, (width - SPARE) // bits)
    return -(-(examples - 1) // places), width, places


def orders(rng: np.random.Generator, count: int, examples: int) -> NDArray[np.int32]:
    """Return random orders of 0 … P − 1, shape (count, P): Fisher and Yates.

    A random number u < 2^w, in whole numbers, chooses one of m places, u·m div 2^w; what is left,
    u·m mod 2^w, is uniform again but for as many bits as m has, and chooses the next.

    Parameters
    ----------
    rng : Generator
    count : int
    examples : int
        P.
    """
    numbers, width, places = number_of(examples)
    order = np.empty((count, examples), np.int32)
    _shuffle(rng.random((count, numbers)), width, places, order)
    return order
