"""Couplings of samples on a device of torch, packed so that forces are a few large matrix products.

The couplings J_{P,j,k}, with a prefix ``P = (i1 < ... < i_{p-2})`` (empty for p = 2) and ``last(P) < j < k``,
are cut into tiles of T consecutive j. A tile is one matrix. Its rows are (P, j), for every prefix that lies
before the tile's last j, with j the faster; its columns are the k behind the tile's first j. Where P, j and k
are not in order it holds zeros: these are about p T/N of all. Prefixes are numbered so that those of an
earlier last site come first: the prefixes of a tile are then the first so many of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.systems.compiling import njit

from .couplings import Disorder

#: Columns are stored in multiples of this: rows then begin where wide loads want them.
_COLUMNS = 16


@dataclass(frozen=True)
class Tile:
    """One matrix of couplings.

    Attributes
    ----------
    offset : int
        Of its first number in the data of a sample.
    prefixes : int
        Number of prefixes.
    first : int
        Its first j; it has T of them, and columns from ``first + 1`` on.
    columns : int
        Number of columns, padding included.
    """

    offset: int
    prefixes: int
    first: int
    columns: int


def rows_of_tile(n: int) -> int:
    """Return T: few products where N is large, little padding where it is small."""
    return int(min(32, max(16, 2 ** ((n // 32).bit_length() - 1)))) if n >= 32 else 16


@dataclass(frozen=True)
class Tiling:
    """Where the couplings of a (p, n) system lie; shared by all samples."""

    p: int
    n: int

    @cached_property
    def rows(self) -> int:
        """T, the number of j in a tile."""
        return rows_of_tile(self.n)

    @cached_property
    def sites(self) -> int:
        """Length of the axis of sites: N and as many zeros as tiles reach beyond."""
        return self.n + self.rows + _COLUMNS

    @cached_property
    def tiles(self) -> list[Tile]:
        """All tiles, by their first j."""
        result, offset = [], 0
        for first in range(self.p - 2, self.n - 1, self.rows):
            # Sites that may be in a prefix: those before the last j of the tile.
            before = min(first + self.rows, self.n - 1) - 1
            columns = -(-(self.n - 1 - first) // _COLUMNS) * _COLUMNS
            result.append(Tile(offset, comb(before, self.p - 2), first, columns))
            offset += result[-1].prefixes * self.rows * columns
        return result

    @property
    def size(self) -> int:
        """Stored numbers of a sample."""
        last = self.tiles[-1]
        return last.offset + last.prefixes * self.rows * last.columns

    @property
    def largest(self) -> int:
        """The most rows that a tile has."""
        return max(tile.prefixes for tile in self.tiles) * self.rows

    @cached_property
    def prefixes(self) -> NDArray[np.int64]:
        """The sites of every prefix, shape (prefixes, p - 2), in the order of their numbers."""
        count = self.tiles[-1].prefixes
        if self.p == 2:
            return np.zeros((1, 0), np.int64)
        last = np.array(list(combinations(range(self.n - 2), self.p - 2)), np.int64)
        return last[np.lexsort(last.T)][:count]

    def blocks(self) -> NDArray[np.int64]:
        """Return blocks in lexicographic order, as the table of a `Packing` without its offsets."""
        n = self.n
        if self.p == 2:
            return np.array([(0, t.first, min(t.first + self.rows, n - 1)) for t in self.tiles], np.int64)
        prefixes = np.array(list(combinations(range(n - 2), self.p - 2)), np.int64)
        first = prefixes[:, -1:] + 1
        return np.hstack([np.zeros_like(first), first, np.full_like(first, n - 1), prefixes])

    def numbers(self, prefixes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of prefixes, shape (blocks,), of their sites, shape (blocks, p - 2)."""
        # Σ_a C(site_a, a + 1): so many prefixes come before.
        places = [prefixes[:, 0]] if self.p > 2 else [np.zeros(len(prefixes), np.int64)]
        if self.p == 4:
            places.append(prefixes[:, 1] * (prefixes[:, 1] - 1) // 2)
        return np.sum(places, axis=0)

    def matrices(self, data: Tensor) -> Iterator[tuple[Tile, Tensor]]:
        """Yield the tiles with their matrices, shape (samples, rows, columns), views of `data`."""
        for tile in self.tiles:
            rows = tile.prefixes * self.rows
            part = data[:, tile.offset : tile.offset + rows * tile.columns]
            yield tile, part.view(len(data), rows, tile.columns)


@njit(nogil=True, error_model="numpy")
def _spread(values, begins, table, n, first, out):  # type: ignore[no-untyped-def]  # numba infers the types
    """Write couplings of blocks, lexicographic from `begins` on, to a tile, shape (blocks, T, columns)."""
    out[:] = 0
    for b in range(out.shape[0]):
        top, stop = table[b, 1], table[b, 2]
        for j in range(max(top, first), min(stop, first + out.shape[1])):
            at = begins[b] + (j - top) * (2 * n - 1 - top - j) // 2
            for k in range(j + 1, n):
                out[b, j - first, k - first - 1] = values[at + k - j - 1]


def fill(tiling: Tiling, row: Tensor, disorder: Disorder) -> None:
    """Draw the couplings of a sample into its row of the data, shape (size,), a run of blocks at a time."""
    dtype = np.dtype(str(row.dtype).removeprefix("torch."))
    for table, values in disorder.draw(tiling.blocks()):
        rows = table[:, 2] - table[:, 1]
        counts = rows * (2 * tiling.n - 1 - table[:, 1] - table[:, 2]) // 2
        begins = np.concatenate(([0], np.cumsum(counts)[:-1]))
        numbers = tiling.numbers(table[:, 3:])
        for tile, matrix in tiling.matrices(row[None]):
            there = (table[:, 1] < tile.first + tiling.rows) & (table[:, 2] > tile.first)
            if not there.any():
                continue
            out = np.empty((int(there.sum()), tiling.rows, tile.columns), dtype)
            _spread(values, begins[there], table[there], tiling.n, tile.first, out)
            block = matrix.view(-1, tiling.rows, tile.columns)
            block[_places(numbers[there], row.device)] = torch.from_numpy(out).to(row.device)


def _places(numbers: NDArray[np.int64], device: torch.device) -> slice | Tensor:
    """Return an index for numbers that differ; a slice where they are consecutive, as for p = 2, 3."""
    consecutive = (np.diff(numbers) == 1).all()
    return slice(numbers[0], numbers[-1] + 1) if consecutive else torch.from_numpy(numbers).to(device)


def draw(tiling: Tiling, disorders: Sequence[Disorder], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the couplings of samples, shape (samples, size), on a device, without a second copy."""
    data = torch.zeros((len(disorders), tiling.size), dtype=dtype, device=device)
    for row, disorder in zip(data, disorders, strict=True):
        fill(tiling, row, disorder)
    return data
