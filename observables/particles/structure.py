"""Packing of particles in a periodic box is measured here: positions inside it, pair correlations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any, overload

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .. import pieces
from ..statistics import Array
from .mixture import BoxedMixture
from .motion import ATTRIBUTES, coordinates


@overload
def positions(configuration: Array, box: float) -> tuple[Array, NDArray[np.int64]]: ...


@overload
def positions(configuration: xr.DataArray, box: float) -> tuple[xr.DataArray, xr.DataArray]: ...


def positions(configuration: Array | xr.DataArray, box: float) -> tuple[Any, Any]:
    """Return positions inside the box, and how many boxes away the particles are.

    Parameters
    ----------
    configuration : ndarray, shape (…, 3N), or DataArray
        Unwrapped. A DataArray has the dimension dof among others.
    box : float
        Edge L.

    Returns
    -------
    ndarray, shape (…, N, 3)
        In [−L/2, L/2).
    ndarray of int, shape (…, N, 3)
        Images: position + L image is the unwrapped position, to rounding. Of a DataArray both are one, with
        the dimensions particle and component in place of dof; of Dask if it is, with the same bits.
    """
    if not isinstance(configuration, xr.DataArray):
        return _wrapped(configuration, box)
    inside, image = xr.apply_ufunc(
        partial(_wrapped, box=box),
        _whole(configuration, "dof"),
        input_core_dims=[["dof"]],
        output_core_dims=[["particle", "component"]] * 2,
        dask="parallelized",
        output_dtypes=[np.float64, np.int64],
        dask_gufunc_kwargs={"output_sizes": {"particle": configuration.sizes["dof"] // 3, "component": 3}},
    )
    return inside, image


def _whole(values: xr.DataArray, dim: str) -> xr.DataArray:
    """Return values whose chunks, if they have any, hold a dimension whole, and are not large by that."""
    if not pieces.is_chunked(values) or len(values.chunksizes[dim]) == 1:
        return values
    sizes = {d: values.sizes[d] if d == dim else max(c, default=1) for d, c in values.chunksizes.items()}
    for other in values.dims:
        if other != dim:
            room = pieces.BLOCK * sizes[other] // pieces.nbytes(list(sizes.values()), values.dtype.itemsize)
            sizes[other] = max(1, min(sizes[other], room))
    return values.chunk(sizes)


def _wrapped(configuration: Array, box: float) -> tuple[Array, NDArray[np.int64]]:
    """Return what `positions` does of an array."""
    x = np.asarray(configuration, dtype=np.float64)
    x = x.reshape(*x.shape[:-1], -1, 3)
    image = np.floor(x / box + 0.5)
    inside = x - box * image
    # Rounding may leave a particle on the wrong side of a face.
    image += (inside >= box / 2).astype(float) - (inside < -box / 2)
    inside = np.clip(x - box * image, -box / 2, np.nextafter(box / 2, 0.0))
    return inside, image.astype(np.int64)


@overload
def pair_correlation(mixture: BoxedMixture, x: Array, edges: Any) -> Array: ...


@overload
def pair_correlation(mixture: BoxedMixture, x: xr.DataArray, edges: Any) -> xr.DataArray: ...


def pair_correlation(mixture: BoxedMixture, x: Array | xr.DataArray, edges: Any) -> Array | xr.DataArray:
    """Return the pair correlation functions g_ab(r), averaged over shells.

    Parameters
    ----------
    mixture : BoxedMixture
    x : ndarray, shape (R, 3N), or DataArray
        Positions, wrapped or not. A DataArray has the dimension dof among others, such as a time.
    edges : array_like, shape (bins + 1,)
        Ascending distances ≥ 0, at most L/2; a shell holds its outer edge.

    Returns
    -------
    ndarray, shape (R, pairs, bins)
        In the order of `BoxedMixture.pairs`: pairs in a shell over those that as many particles, placed at
        random, would have there, N_a (N_a − 1) v/V among equals, N_a N_b v/V else, so that an ideal gas gives
        1 at every N. NaN for a species of a single particle with itself. Of a DataArray one, with the
        dimensions pair and distance in place of dof; of Dask if it is, with the same bits. What has not been
        reached is NaN there. Of a file one time is read at a time.

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
    if isinstance(x, xr.DataArray):
        return _of_many(mixture, x, edges)
    volume = 4 / 3 * np.pi * np.diff(edges**3) / mixture.box**3
    return np.array([list(_shells(mixture, row, edges, volume)) for row in x])


def _of_many(mixture: BoxedMixture, x: xr.DataArray, edges: Array) -> xr.DataArray:
    """Return the pair correlations of configurations along any dimensions."""
    dim, cuts = pieces.in_pieces(x, ("dof",))
    if len(cuts) > 1 and not pieces.is_chunked(x):
        return xr.concat([_of_many(mixture, x.isel({dim: cut}), edges) for cut in cuts], str(dim))
    sizes = {"pair": len(mixture.pairs), "distance": edges.size - 1}

    def shells(rows: Array) -> Array:
        flat = rows.reshape(-1, rows.shape[-1])
        out = np.full((len(flat), *sizes.values()), np.nan)
        known = np.isfinite(flat).all(-1)
        if known.any():
            out[known] = pair_correlation(mixture, flat[known], edges)
        return out.reshape(*rows.shape[:-1], *sizes.values())

    correlation: xr.DataArray = xr.apply_ufunc(
        shells,
        _whole(x, "dof"),
        input_core_dims=[["dof"]],
        output_core_dims=[list(sizes)],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": sizes},
    )
    along = {name: about for name, about in coordinates(mixture, edges).items() if name in sizes}
    named = correlation.assign_coords(along).rename("pair_correlation")
    return named.assign_attrs(ATTRIBUTES["pair_correlation"])


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
