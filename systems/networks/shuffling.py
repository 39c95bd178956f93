"""Random orders, compiled: those of numpy take three times as long."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, error_model="numpy", boundscheck=False, cache=True)
def _shuffle(uniform, order):
    for epoch in range(order.shape[0]):
        row, u = order[epoch], uniform[epoch]
        for i in range(row.size):
            row[i] = i
        rest = 0.0
        for k in range(row.size - 1):
            i = row.size - 1 - k
            scaled = (u[k // 2] if k % 2 == 0 else rest) * (i + 1)
            place = int(scaled)
            rest = scaled - place
            row[i], row[place] = row[place], row[i]


def shuffle(uniform: NDArray[np.float64], order: NDArray[np.int64]) -> None:
    """Write a random order of 0 … P − 1 to each row: Fisher and Yates.

    Parameters
    ----------
    uniform : ndarray, shape (epochs, ⌈P/2⌉)
        Random numbers in [0, 1). Each gives two places: what is left of u·m after its whole part is uniform
        again, to 53 − log₂ P bits.
    order : ndarray of int64, shape (epochs, P)
    """
    _shuffle(uniform, order)
