"""Quenched p-spin couplings, packed so that the force kernel reads each number once.

The couplings of one sample form blocks.  A block belongs to a prefix ``P = (i1 < ... < i_{p-2})`` (empty for
p = 2) and holds rows of the strictly upper-triangular matrix ``A_jk = J_{P,j,k}`` with ``last(P) < j < k``.
Rows come in tiles of at most `TILE` rows; a tile stores, for each run of `TILE` consecutive columns ending at
column n-1, row after row.  Tiles are anchored at the last row, so only the first tile of a block can have
fewer than `TILE` rows and the only padding is the lower triangle of the first run of columns.  The kernel can
then take either the columns or the replicas as its vector lanes, with no remainder in either direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from langevin.systems.compiling import njit

from .theory import coupling_variance

TILE = 8
ALIGNMENT = 64
# A block of p = 2 would be the whole matrix; it is cut so that slices can be balanced and float32 sums short.
_MAX_ROWS = 16
# Below this many couplings per slice, zeroing and summing the slice buffers would show in the run time.
_SLICE_SIZE = 65536
_MAX_SLICES = 16
# Work of a block beyond its couplings (weights, loop starts), in units of one coupling.
_BLOCK_OVERHEAD = 100


@dataclass(frozen=True, eq=False)
class Packing:
    """Where every coupling of a (p, n) system lies; shared by all samples.

    Attributes
    ----------
    p, n : int
        Order of the interaction and number of spins.
    pad : int
        Unused sites in front of site 0, so that runs of columns are aligned.
    sites : int
        Length of the site axis of the kernel's arrays, padding on both sides included.
    table : ndarray of int64, shape (blocks, 3 + p - 2)
        Offset of the block in the packed array, first row, end row, prefix.  Rows and prefix sites are
        shifted by `pad`.  Blocks are in lexicographic order.
    bounds : ndarray of int64, shape (slices + 1,)
        Blocks ``bounds[k]`` to ``bounds[k+1]`` form slice k.  Depends on p and n only: the slices fix the
        order of summation, whatever the number of threads.
    size : int
        Length of the packed array, a multiple of `TILE`.
    """

    p: int
    n: int
    pad: int
    sites: int
    table: NDArray[np.int64]
    bounds: NDArray[np.int64]
    size: int


def _block_rows(p: int, n: int) -> list[tuple[int, ...]]:
    """Rows (first, end, *prefix) of all blocks, unshifted, in lexicographic order."""
    rows = []
    for prefix in combinations(range(n - 2), p - 2):
        first = prefix[-1] + 1 if prefix else 0
        while first < n - 1:
            # The rows after a cut start a whole tile, so only the first block of a prefix has a short one.
            end = n - 1 if p > 2 else min(n - 1, first + (n - 1 - first) % TILE + _MAX_ROWS)
            rows.append((first, end, *prefix))
            first = end
    return rows


def _block_sizes(first: NDArray[np.int64], end: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Stored numbers per block, padding included."""
    short = (n - 1 - first) % TILE
    size = TILE * short * ((n - 1 - first) // TILE + 1)
    # Whole tiles from row j on have runs + 1, runs, ... runs of columns: an arithmetic series.
    tiles = (end - first - short) // TILE
    runs = (n - 1 - first - short) // TILE
    size = np.where(short > 0, size, 0) + TILE * TILE * (tiles * runs - tiles * (tiles - 1) // 2)
    return np.asarray(size, dtype=np.int64)


def _slice_bounds(cost: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cut the blocks into slices of nearly equal work."""
    total = np.concatenate(([0], np.cumsum(cost)))
    slices = int(np.clip(total[-1] // _SLICE_SIZE, 1, _MAX_SLICES))
    targets = total[-1] * np.arange(1, slices) / slices
    inner = np.searchsorted(total, targets)
    return np.unique(np.concatenate(([0], inner, [len(cost)]))).astype(np.int64)


@lru_cache(maxsize=16)
def layout(p: int, n: int) -> Packing:
    """Layout of the packed couplings of a (p, n) system.

    Parameters
    ----------
    p, n : int
        Order of the interaction (at least 2) and number of spins (at least p).

    Returns
    -------
    Packing

    Raises
    ------
    ValueError
        If p < 2 or n < p.
    """
    if p < 2 or n < p:
        raise ValueError(f"need p >= 2 and n >= p, not p = {p}, n = {n}")
    pad = -n % TILE
    if pad < TILE - 2:  # the first run of columns of row 0 may start TILE - 2 sites before site 0
        pad += TILE
    rows = np.array(_block_rows(p, n), dtype=np.int64)
    sizes = _block_sizes(rows[:, 0], rows[:, 1], n)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    table = np.ascontiguousarray(np.column_stack((offsets[:-1], rows + pad)))
    bounds = _slice_bounds(sizes + _BLOCK_OVERHEAD)
    for array in (table, bounds):
        array.setflags(write=False)
    # TILE sites behind the last one: a short tile is read and written as a whole one.
    return Packing(p, n, pad, pad + n + TILE, table, bounds, int(offsets[-1]))


def packed_bytes(p: int, n: int, dtype: DTypeLike = np.float32) -> int:
    """Memory of the packed couplings of one sample.

    Parameters
    ----------
    p, n : int
        Order of the interaction and number of spins.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    int
        Exact size of `Couplings.data` in bytes.

    Raises
    ------
    ValueError
        If p < 2, n < p or the dtype is neither float32 nor float64.
    """
    return layout(p, n).size * _checked_dtype(dtype).itemsize


def _checked_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    result = np.dtype(dtype)
    if result not in (np.float32, np.float64):
        raise ValueError(f"couplings are float32 or float64, not {result}")
    return result


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros whose first element lies on an `ALIGNMENT` boundary."""
    raw = np.zeros(size * dtype.itemsize + ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype)


@njit(nogil=True, error_model="numpy")
def _scaled(  # type: ignore[no-untyped-def]  # numba infers the types
    values, table, end, scale, mean, sigma
):
    """Make couplings of lexicographic normals of some blocks: scaled, and shifted where `sigma` is given."""
    count = 0
    shifted = sigma.size > 0
    for b in range(table.shape[0]):
        weight = mean
        if shifted:
            for a in range(3, table.shape[1]):
                weight *= sigma[table[b, a]]
        for j in range(table[b, 1], table[b, 2]):
            for k in range(j + 1, end):
                value = scale * values[count]
                if shifted:
                    value += weight * sigma[j] * sigma[k]
                values[count] = value
                count += 1


@njit(nogil=True, error_model="numpy")
def _exchange(data, values, table, end, pack):  # type: ignore[no-untyped-def]  # numba infers the types
    """Copy lexicographic `values` of some blocks into the packed `data`, or back."""
    count = 0
    for b in range(table.shape[0]):
        start = table[b, 0]
        j0 = table[b, 1]
        while j0 < table[b, 2]:
            rows = (end - 1 - j0) % 8
            if rows == 0:
                rows = 8
            k0 = j0 + rows - 7
            for j in range(j0, j0 + rows):
                for k in range(j + 1, end):
                    at = start + ((k - k0) // 8 * rows + (j - j0)) * 8 + (k - k0) % 8
                    if pack:
                        data[at] = values[count]
                    else:
                        values[count] = data[at]
                    count += 1
            start += (end - k0) * rows
            j0 += rows


@dataclass(frozen=True, eq=False)
class Disorder:
    """How the couplings of a sample are drawn, wherever they are stored.

    The normals are drawn in float64 in lexicographic order of i1 < ... < ip, whatever the layout and its
    precision; comb(n, p) of them are consumed.

    Attributes
    ----------
    p, n : int
        Order of the interaction and number of spins.
    rng : numpy.random.Generator
        Source of the normals.
    planted : ndarray, shape (n,), optional
        Configuration sigma; every coupling gets the mean beta <J^2> sigma_i1 ... sigma_ip.
    beta : float
        Inverse temperature of the planted configuration.
    strength : float
        a_p, by which <J^2> is larger than a pure model's; the normals are the same.

    Raises
    ------
    ValueError
        If the shape of `planted` is wrong.
    """

    p: int
    n: int
    rng: np.random.Generator
    planted: NDArray[Any] | None = None
    beta: float = 0.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        """Check the shape of the planted configuration."""
        if self.planted is not None and np.shape(self.planted) != (self.n,):
            raise ValueError(f"planted configuration has shape {np.shape(self.planted)}, not ({self.n},)")

    def draw(
        self, table: NDArray[np.int64], pad: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Yield runs of consecutive blocks with their couplings, float64, in lexicographic order.

        Parameters
        ----------
        table : ndarray of int64, shape (blocks, 3 + p - 2)
            All blocks in lexicographic order, as in `Packing`; the first column is not looked at.
        pad : int
            What rows and prefix sites are shifted by.
        """
        variance = self.strength * coupling_variance(self.p, self.n)
        sigma = np.empty(0) if self.planted is None else np.append(np.zeros(pad), self.planted)
        for blocks, count in _batches(table, pad, self.n):
            values = self.rng.standard_normal(count)
            _scaled(values, blocks, pad + self.n, np.sqrt(variance), self.beta * variance, sigma)
            yield blocks, values


class Couplings:
    """Couplings of one sample: `p`, `n`, the packed array `data` and its `layout`."""

    def __init__(self, p: int, n: int, data: NDArray[Any]) -> None:
        """Wrap a packed array.

        Parameters
        ----------
        p, n : int
            Order of the interaction and number of spins.
        data : ndarray, shape (layout(p, n).size,)
            Packed couplings, float32 or float64, aligned to `ALIGNMENT` bytes.

        Raises
        ------
        ValueError
            If `data` has the wrong shape, dtype or alignment.
        """
        self.layout = layout(p, n)
        _checked_dtype(data.dtype)
        if data.shape != (self.layout.size,) or not data.flags.c_contiguous or data.ctypes.data % ALIGNMENT:
            raise ValueError(f"packed couplings must be an aligned array of {self.layout.size} numbers")
        self.p = p
        self.n = n
        self.data = data

    @classmethod
    def draw(
        cls,
        p: int,
        n: int,
        rng: np.random.Generator,
        *,
        dtype: DTypeLike = np.float32,
        planted: NDArray[Any] | None = None,
        beta: float = 0.0,
        strength: float = 1.0,
    ) -> Couplings:
        """Draw Gaussian couplings of variance a_p p! / (2 n^(p-1)).

        They are drawn as `Disorder` says; float32 couplings are the rounded float64 ones, so both dtypes
        leave `rng` in the same state.

        Parameters
        ----------
        p, n : int
            Order of the interaction and number of spins.
        rng : numpy.random.Generator
            Source of the normals; comb(n, p) of them are consumed.
        dtype : dtype
            float32 or float64.
        planted : ndarray, shape (n,), optional
            Configuration sigma; every coupling gets the mean beta <J^2> sigma_i1 ... sigma_ip.
        beta : float
            Inverse temperature of the planted configuration.
        strength : float
            a_p.

        Returns
        -------
        Couplings

        Raises
        ------
        ValueError
            If p, n, dtype or the shape of `planted` are wrong.
        """
        place = layout(p, n)
        data = aligned_zeros(place.size, _checked_dtype(dtype))
        for blocks, values in Disorder(p, n, rng, planted, beta, strength).draw(place.table, place.pad):
            _exchange(data, values, blocks, place.pad + n, True)
        return cls(p, n, data)

    def values(self) -> NDArray[np.float64]:
        """Couplings in lexicographic order of i1 < ... < ip, shape (comb(n, p),), float64."""
        place = self.layout
        values = np.empty(comb(self.n, self.p))
        _exchange(self.data, values, place.table, place.pad + self.n, False)
        return values

    def dense(self) -> NDArray[np.float64]:
        """Full symmetric tensor, shape (n,) * p, zero on repeated indices; meant for small n."""
        tensor = np.zeros((self.n,) * self.p)
        values = self.values()
        indices = np.array(list(combinations(range(self.n), self.p)), dtype=np.int64).T
        for order in permutations(range(self.p)):
            tensor[tuple(indices[list(order)])] = values
        return tensor


def _batches(table: NDArray[np.int64], pad: int, n: int) -> list[tuple[NDArray[np.int64], int]]:
    """Runs of consecutive blocks with their number of couplings, small against all of them."""
    first, end = table[:, 1] - pad, table[:, 2] - pad
    counts = (end - first) * (2 * n - 1 - first - end) // 2
    total = np.concatenate(([0], np.cumsum(counts)))
    limit = max(int(counts.max()), min(1 << 17, int(total[-1]) // 16))
    result = []
    b = 0
    while b < len(counts):
        stop = int(np.searchsorted(total, total[b] + limit, side="right")) - 1
        result.append((table[b:stop], int(total[stop] - total[b])))
        b = stop
    return result
