"""The couplings of a sample of a mixed model: of each p a packed array of its own, walked as one list.

The kernels know blocks and slices (`couplings`). A mixed model has those of every p, ascending, one after the
other: threads share them all, and the forces of each p are summed by themselves, for energies are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .couplings import Couplings, layout

#: The couplings of one sample: of a pure model, or of each p of a mixed one, ascending.
Sample: TypeAlias = Couplings | tuple[Couplings, ...]


@dataclass(frozen=True, eq=False)
class Walk:
    """The blocks and slices of all p at one n; shared by all samples.

    Attributes
    ----------
    powers : tuple of int
        The p, ascending.
    n, pad, sites : int
        As in `Packing`; they do not depend on p.
    table : ndarray of int64, shape (blocks, 3 + longest prefix)
        The tables of all p, one behind the other; behind shorter prefixes stand zeros.
    slices : ndarray of int64, shape (slices, 4)
        Which p of `powers`, first block, end block, length of the prefixes.
    bounds : ndarray of int64, shape (len(powers) + 1,)
        The slices of each p.
    size : int
        Numbers in the packed arrays of all p.
    """

    powers: tuple[int, ...]
    n: int
    pad: int
    sites: int
    table: NDArray[np.int64]
    slices: NDArray[np.int64]
    bounds: NDArray[np.int64]
    size: int

    @property
    def forces(self) -> int:
        """Number of arrays of forces: one for each slice, and before these one for their sum if p differ."""
        return len(self.slices) + (len(self.powers) > 1)

    def force_of(self, place: int) -> int:
        """Return in which of these arrays the force of one p stands; the sum of all is in the first."""
        return int(self.bounds[place]) + (len(self.powers) > 1)


@lru_cache(maxsize=16)
def walk(powers: tuple[int, ...], n: int) -> Walk:
    """Return the walk through the couplings of these p, ascending.

    Raises
    ------
    ValueError
        If a p is below 2 or above n, or they do not ascend.
    """
    if not powers or list(powers) != sorted(set(powers)):
        raise ValueError(f"p must ascend, not {powers}")
    places = [layout(p, n) for p in powers]
    width = max(place.table.shape[1] for place in places)
    table = np.zeros((sum(len(place.table) for place in places), width), np.int64)
    slices, bounds, begin = [], [0], 0
    for k, place in enumerate(places):
        table[begin : begin + len(place.table), : place.table.shape[1]] = place.table
        for first, stop in zip(place.bounds[:-1], place.bounds[1:], strict=True):
            slices.append((k, begin + first, begin + stop, place.p - 2))
        begin += len(place.table)
        bounds.append(len(slices))
    arrays = table, np.array(slices, np.int64), np.array(bounds, np.int64)
    for array in arrays:
        array.setflags(write=False)
    pad, sites = places[0].pad, places[0].sites
    return Walk(powers, n, pad, sites, *arrays, sum(place.size for place in places))


def parts_of(sample: Sample) -> tuple[Couplings, ...]:
    """Return the couplings of every p."""
    return sample if isinstance(sample, tuple) else (sample,)


def addresses(parts: Sequence[Couplings]) -> NDArray[np.int64]:
    """Return where the packed arrays of every p lie in memory, shape (len(powers),)."""
    return np.array([part.data.ctypes.data for part in parts], np.int64)
