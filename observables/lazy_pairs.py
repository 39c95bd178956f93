"""A function of pairs of times is taken of a Dask array, in a graph that keeps few blocks in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import pieces
from .statistics import Array

#: A waiting time: its place in the result, where it is stored, and the place and that of its later times.
Row = tuple[int, int, list[tuple[int, int]]]
#: A pair: which of the references, and which time of the block.
Job = tuple[int, int]
#: Where a pair stands in the result: of the waiting time, and of the lag.
Place = tuple[int, int]


def over_blocks(
    x: Any, grid: Iterable[Row], pair: Callable[[Array, Array], Array], shape: tuple[int, ...]
) -> Any:
    """Return a function of pairs of times, lazily.

    The configurations at some waiting times, of `pieces.HELD` bytes, are held, and the times after them go by
    in blocks of `pieces.BLOCK` bytes, one in each thread. Then the next waiting times are held. A task reads
    its block itself, so that none is kept for another task: all of them would be.

    Parameters
    ----------
    x : dask Array, shape (times, R, size)
    grid : iterable
        As `pairs.PairGrid`.
    pair : callable
        Two arrays of shape (R', size) → shape (R', …), for any replicas.
    shape : tuple of int
        Of the result: (R, waiting_time, lag, …).

    Returns
    -------
    dask Array
        NaN where there is no pair.
    """
    da = pieces.dask("dask.array")
    rows = [row for row in grid if row[2]]
    columns = []
    for part in pieces.along(x, 1, pieces.nbytes(x.shape[2:], x.dtype.itemsize)):
        own = (part.stop - part.start, *shape[1:])
        if rows and own[0]:
            column = _column(x[:, part], rows, pair, own)
            columns.append(da.from_delayed(column, own, dtype=np.float64))
        else:
            columns.append(da.full(own, np.nan))
    return da.concatenate(columns, axis=0)


def _column(
    x: Any, rows: Sequence[Row], pair: Callable[[Array, Array], Array], shape: tuple[int, ...]
) -> Any:
    """Return the result of some replicas, as something that Dask computes later."""
    delayed = pieces.dask().delayed
    frame = pieces.nbytes(x.shape[1:], x.dtype.itemsize)
    blocks = pieces.along(x, 0, frame)
    together = max(1, pieces.HELD // max(frame, 1))
    parts: list[Any] = []
    places: list[list[Place]] = []
    before: list[Any] = []
    for first in range(0, len(rows), together):
        held = rows[first : first + together]
        jobs, own = _jobs(held, blocks)
        references = [delayed(_read)(pieces.source(x[row[1]]), before) for row in held]
        now = []
        for b, of_block in jobs.items():
            used = sorted({r for r, _ in of_block})
            renumbered = [(used.index(r), k) for r, k in of_block]
            block = pieces.source(x[blocks[b]])
            now.append(delayed(_of_block)(block, [references[r] for r in used], renumbered, pair))
        parts += now
        places += [own[b] for b in jobs]
        before = now
    return delayed(_assembled)(parts, places, shape)


def _jobs(
    held: Sequence[Row], blocks: Sequence[slice]
) -> tuple[dict[int, list[Job]], dict[int, list[Place]]]:
    """Return the pairs whose later time is in each block, and where they stand in the result."""
    starts = [block.start for block in blocks]
    jobs: dict[int, list[Job]] = defaultdict(list)
    places: dict[int, list[Place]] = defaultdict(list)
    for r, (i, _, later) in enumerate(held):
        for j, last in later:
            b = int(np.searchsorted(starts, last, side="right")) - 1
            jobs[b].append((r, last - starts[b]))
            places[b].append((i, j))
    return dict(sorted(jobs.items())), places


def _read(source: Any, before: Sequence[Any]) -> Array:
    """Return a configuration, when the waiting times before are done."""
    return pieces.read(source)


def _of_block(
    source: Any, references: Sequence[Array], jobs: Sequence[Job], pair: Callable[[Array, Array], Array]
) -> Array:
    """Return the function of the pairs of a block, shape (pairs, R, …)."""
    block = pieces.read(source)
    return np.array([pair(references[r], block[k]) for r, k in jobs])


def _assembled(parts: Sequence[Array], places: Sequence[Sequence[Place]], shape: tuple[int, ...]) -> Array:
    """Return the result, NaN where there is no pair."""
    out = np.full(shape, np.nan)
    for values, stands in zip(parts, places, strict=True):
        for value, (i, j) in zip(values, stands, strict=True):
            out[:, i, j] = value
    return out
