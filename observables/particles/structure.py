"""Packing of particles in a periodic box is measured here: positions inside it, pair correlations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..statistics import Array
from .mixture import BoxedMixture


def positions(configuration: Array, box: float) -> tuple[Array, NDArray[np.int64]]:
    """Return positions inside the box, and how many boxes away the particles are.

    Parameters
    ----------
    configuration : ndarray, shape (…, 3N)
        Unwrapped.
    box : float
        Edge L.

    Returns
    -------
    ndarray, shape (…, N, 3)
        In [−L/2, L/2).
    ndarray of int, shape (…, N, 3)
        Images: position + L image is the unwrapped position, to rounding.
    """
    x = np.asarray(configuration, dtype=np.float64)
    x = x.reshape(*x.shape[:-1], -1, 3)
    image = np.floor(x / box + 0.5)
    inside = x - box * image
    # Rounding may leave a particle on the wrong side of a face.
    image += (inside >= box / 2).astype(float) - (inside < -box / 2)
    inside = np.clip(x - box * image, -box / 2, np.nextafter(box / 2, 0.0))
    return inside, image.astype(np.int64)


def pair_correlation(mixture: BoxedMixture, x: Array, edges: Any) -> Array:
    """Return the pair correlation functions g_ab(r), averaged over shells.

    Parameters
    ----------
    mixture : BoxedMixture
    x : ndarray, shape (R, 3N)
        Positions, wrapped or not.
    edges : array_like, shape (bins + 1,)
        Ascending distances ≥ 0, at most L/2; a shell holds its outer edge.

    Returns
    -------
    ndarray, shape (R, pairs, bins)
        In the order of `BoxedMixture.pairs`: pairs in a shell over those that as many particles, placed at
        random, would have there, N_a (N_a − 1) v/V among equals, N_a N_b v/V else, so that an ideal gas gives
        1 at every N. NaN for a species of a single particle with itself.

    Raises
    ------
    ValueError
        If the edges are not ascending, or beyond half of the box, where shells are no longer whole.
    """
    edges = np.asarray(edges, dtype=np.float64)
    high = mixture.box / 2
    if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f"edges = {edges}: must be two or more ascending distances")
    if edges[0] < 0 or edges[-1] > high * (1 + 1e-12):
        raise ValueError(f"edges from {edges[0]:g} to {edges[-1]:g}: allowed: 0 to {high:g}, half of the box")
    volume = 4 / 3 * np.pi * np.diff(edges**3) / mixture.box**3
    return np.array([list(_shells(mixture, row, edges, volume)) for row in x])


def _shells(mixture: BoxedMixture, x: Array, edges: Array, volume: Array) -> Iterator[Array]:
    """Yield g_ab of one replica, x of shape (3N,), for every pair of species."""
    inside, _ = positions(x, mixture.box)
    # The tree wants [0, L).
    inside = np.where(inside < 0, inside + mixture.box, inside)
    inside[inside >= mixture.box] = 0.0
    ends = np.cumsum((0, *mixture.counts)).tolist()
    from scipy.spatial import cKDTree

    trees = [cKDTree(inside[a:b], boxsize=mixture.box) for a, b in pairwise(ends)]
    for a, b in mixture.pairs.values():
        # Every ordered pair within r; a particle with itself drops out in the differences.
        within = trees[a].count_neighbors(trees[b], edges)
        expected = mixture.counts[a] * (mixture.counts[b] - (a == b))
        yield np.diff(within) / (expected * volume) if expected else np.full(volume.size, np.nan)
