"""A curve is a combination of its control points, with the weights that stand here."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def bernstein(degree: int, t: Array) -> Array:
    """Return the Bernstein polynomials of a degree at t, shape (*t.shape, degree + 1)."""
    k = np.arange(degree + 1)
    binomial = np.array([float(math.comb(degree, int(j))) for j in k])
    return np.asarray(binomial * t[..., None] ** k * (1 - t[..., None]) ** (degree - k))


def piece(t: Array, pieces: int) -> Array:
    """Return which piece of the chain t lies on, as floats: of a kink the later, of 1 the last."""
    return np.asarray(np.minimum(np.floor(t * pieces), pieces - 1))


def weights(kind: str, t: Array, bends: int) -> Array:
    """Return the weights w_k(t) of the control points, shape (*t.shape, bends + 2).

    They are never negative, add to 1, and are exactly (1, 0, …) at t = 0 and (…, 0, 1) at t = 1.

    Parameters
    ----------
    kind : str
        "bezier": Bernstein polynomials; of everything else, which is made of segments, hat functions.
    t : ndarray
        In [0, 1].
    """
    t, pieces = np.asarray(t, dtype=np.float64), bends + 1
    if kind == "bezier":
        return bernstein(pieces, t)
    j = piece(t, pieces)
    u = (t * pieces - j)[..., None]
    k = np.arange(pieces + 1)
    return np.asarray(np.where(k == j[..., None], 1 - u, 0.0) + np.where(k == j[..., None] + 1, u, 0.0))
