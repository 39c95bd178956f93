r"""Planes in the space of configurations are laid through three points, or along the principal components.

The points A, B, C (Garipov, Izmailov, Podoprikhin, Vetrov, Wilson 2018, arXiv:1802.10026, footnote 1) have

    u = B − A,    v = (C − A) − ⟨C − A, u⟩/|u|² u,    û = u/|u|,    v̂ = v/|v|,

and P(x, y) = A + x û + y v̂. So A lies at (0, 0), B at (|u|, 0) and C at (⟨C − A, û⟩, |v|); x and y are
Euclidean distances in R^M, M the number of degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import pieces
from ..statistics import Array

#: Below this part of their distance from A, points are taken for equal, or for points of one line: double
#: precision leaves v̂ about ten digits less than it has itself.
DEGENERATE = 1e-10

#: Components whose explained variance is said.
SAID = 6


@dataclass(frozen=True)
class Plane:
    """A plane in R^M.

    Attributes
    ----------
    origin : ndarray, shape (M,)
    basis : ndarray, shape (2, M)
        û and v̂, orthonormal.
    """

    origin: Array
    basis: Array

    def at(self, x: Array, y: Array) -> Array:
        """Return the points P(x, y), shape (n, M), of coordinates of shape (n,)."""
        return self.origin + np.stack([x, y], axis=1) @ self.basis

    def coordinates(self, points: Array) -> tuple[Array, Array]:
        """Project points orthogonally onto the plane.

        Parameters
        ----------
        points : ndarray, shape (T, M)
            Or a Dask array: one point is read at a time.

        Returns
        -------
        coordinates : ndarray, shape (T, 2)
            x and y of the nearest points of the plane.
        distance : ndarray, shape (T,)
            Distance of each point from the plane: the projection loses it.
        """
        along, distance = np.empty((len(points), 2)), np.empty(len(points))
        for k, point in enumerate(points):
            # One after the other: differences of all of them would be a second trajectory in memory.
            away = np.asarray(point) - self.origin
            along[k] = self.basis @ away
            distance[k] = np.linalg.norm(away - along[k] @ self.basis)
        return along, distance


def through(points: Array) -> Plane:
    """Return the plane through three points, with the first as its origin.

    Parameters
    ----------
    points : ndarray, shape (3, M)

    Raises
    ------
    ValueError
        If two of them coincide, or all three lie on one line.
    """
    a, b, c = points
    u, w = b - a, c - a
    scale = max(float(np.linalg.norm(u)), float(np.linalg.norm(w)))
    for first, second, difference in ((0, 1, u), (0, 2, w), (1, 2, c - b)):
        if np.linalg.norm(difference) <= DEGENERATE * scale:
            raise ValueError(
                f"points {first + 1} and {second + 1} coincide; a plane needs three of a triangle"
            )
    u = u / np.linalg.norm(u)
    v = w - (w @ u) * u
    height = float(np.linalg.norm(v))
    if height <= DEGENERATE * scale:
        raise ValueError("the three points lie on one line; a plane needs three of a triangle")
    # A second time: in a flat triangle rounding leaves v a part along u.
    v -= (v @ u) * u
    return Plane(a.copy(), np.stack([u, v / np.linalg.norm(v)]))


def principal(points: Array) -> tuple[Plane, Array]:
    """Return the plane of the first two principal components of points, and the variance that each explains.

    With X the points less their mean, shape (T, M), the components are XᵀU/s of the eigenvectors U and the
    eigenvalues s² of the Gram matrix XXᵀ, of T rows: no matrix of M rows is made. The sign of a component is
    such that the last point does not lie below the first.

    Parameters
    ----------
    points : ndarray, shape (T, M)
        At least three. Or a Dask array, of which some columns are read at a time: the same to rounding.

    Returns
    -------
    plane : Plane
        Its origin is the mean.
    explained : ndarray, shape (min(T − 1, M, 6),)
        Part of the variance along each of the first components, descending.

    Raises
    ------
    ValueError
        If there are fewer than three points, or all lie on one line.
    """
    if len(points) < 3:
        raise ValueError(f"{len(points)} points; principal components of a plane need at least 3")
    in_memory = isinstance(points, np.ndarray)
    columns = [slice(None)] if in_memory else pieces.along(points, 1, pieces.nbytes(points.shape[:1]))
    mean, gram = np.empty(points.shape[1]), np.zeros((len(points),) * 2)
    for part in columns:
        block = np.asarray(points[:, part])
        mean[part] = block.mean(axis=0)
        x = block - mean[part]
        gram += x @ x.T
    squares, vectors = np.linalg.eigh(gram)
    squares, vectors = np.clip(squares[::-1], 0, None), vectors[:, ::-1]
    # The Gram matrix has squares: half of its digits count.
    if squares[1] <= 1e-14 * squares[0]:
        raise ValueError("all points lie on one line; a plane needs three of a triangle")
    directions, basis = np.empty((2, *mean.shape)), np.empty((2, *mean.shape))
    for part in columns:
        x = np.asarray(points[:, part]) - mean[part]
        for k in range(2):
            directions[k, part] = vectors[:, k] @ x
    for k, direction in enumerate(directions):
        for before in basis[:k]:
            direction -= (direction @ before) * before
        direction /= np.linalg.norm(direction)
        basis[k] = direction if direction @ np.asarray(points[-1] - points[0]) >= 0 else -direction
    count = min(len(points) - 1, points.shape[1], SAID)
    return Plane(mean, basis), squares[:count] / squares.sum()


def axis(values: Array, margin: float, count: int) -> Array:
    """Return `count` equally spaced coordinates from lowest to highest of `values`, with margins.

    Parameters
    ----------
    values : ndarray
        Coordinates of all points that are to be seen.
    margin : float
        At each end, as a part of the extent of the values.
    count : int
    """
    low, high = float(np.min(values)), float(np.max(values))
    room = margin * (high - low)
    return np.linspace(low - room, high + room, count)
