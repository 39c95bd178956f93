"""Kernels of Triton: each reads a tile of couplings once and makes both of its products.

A program takes some columns of a tile and a run of its prefixes. It writes what they add to the force as rows
of numbers, one for each lane, to places of its own; `add` sums the rows of every site in a fixed order.
"""

from __future__ import annotations

import triton
import triton.language as tl

#: Numbers that describe a program: offset of its tile, the tile's first j and columns, the program's first
#: column, first and last prefix, first row.
FIELDS = 7


@triton.jit
def high(x):
    """Return x rounded to the digits that TF32 has; x without it is exact."""
    # A product with TF32 cuts them off: forces would be too small on average.
    return ((x.to(tl.int32, bitcast=True) + 4096) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def product(a_high, a_low, b_high, b_low, total, SINGLE: tl.constexpr):
    """Add a b to `total` with TF32, by three products if SINGLE: all but that of the lower digits."""
    if SINGLE:
        total = tl.dot(a_low, b_high, total, input_precision="tf32")
        total = tl.dot(a_high, b_low, total, input_precision="tf32")
    return tl.dot(a_high, b_high, total, input_precision="tf32")


@triton.jit
def multiply(
    data, spins, weights, parts, table, size, sites, prefixes, rows, lanes,
    T: tl.constexpr, COLUMNS: tl.constexpr, GRADED: tl.constexpr,
    LANES: tl.constexpr, SINGLE: tl.constexpr,
):  # fmt: skip
    """Matrix products of one program, for some lanes of a sample.

    Its rows are T for its j, COLUMNS for its columns, and where GRADED one for each prefix.
    """
    entry = table + tl.program_id(0) * 7
    sample = tl.program_id(1).to(tl.int64)
    offset, first, columns = tl.load(entry), tl.load(entry + 1), tl.load(entry + 2)
    start, begin, end, row = tl.load(entry + 3), tl.load(entry + 4), tl.load(entry + 5), tl.load(entry + 6)
    # Wide loads: so are tiles laid out, and programs cut.
    offset, columns, start = (
        tl.multiple_of(offset, 16),
        tl.multiple_of(columns, 16),
        tl.multiple_of(start, 16),
    )
    lane = tl.program_id(2) * LANES + tl.arange(0, LANES)
    inside = lane[None, :] < lanes
    j, k = tl.arange(0, T), tl.arange(0, COLUMNS)
    stored = start + k < columns
    tile = data + sample * size + offset + start + j[:, None] * columns + k[None, :]
    spins += sample * sites * lanes
    weights += sample * prefixes * lanes
    out = parts + (sample * rows + row) * lanes
    s_j = tl.load(spins + (first + j)[:, None] * lanes + lane[None, :], mask=inside, other=0.0)
    at = spins + (first + 1 + start + k)[:, None] * lanes + lane[None, :]
    s_k = tl.load(at, mask=stored[:, None] & inside, other=0.0)
    k_high = high(s_k)
    k_low = s_k - k_high
    f_j = tl.zeros((T, LANES), tl.float32)
    f_k = tl.zeros((COLUMNS, LANES), tl.float32)
    ahead = tl.load(tile + begin * T * columns, mask=stored[None, :], other=0.0)
    for q in range(begin, end):
        a = ahead
        # The next couplings are on their way while these are multiplied.
        ahead = tl.load(tile + tl.minimum(q + 1, end - 1) * T * columns, mask=stored[None, :], other=0.0)
        w = tl.load(weights + q * lanes + lane, mask=lane < lanes, other=0.0)
        v = s_j * w[None, :]
        a_high, v_high = high(a), high(v)
        a_low, v_low = a - a_high, v - v_high
        y = product(a_high, a_low, k_high, k_low, tl.zeros((T, LANES), tl.float32), SINGLE)
        f_k = product(tl.trans(a_high), tl.trans(a_low), v_high, v_low, f_k, SINGLE)
        f_j += y * w[None, :]
        if GRADED:
            g = tl.sum(y * s_j, 0)
            tl.store(out + (T + COLUMNS + q - begin) * lanes + lane, g, mask=lane < lanes)
    tl.store(out + j[:, None] * lanes + lane[None, :], f_j, mask=inside)
    tl.store(out + (T + k)[:, None] * lanes + lane[None, :], f_k, mask=inside)


@triton.jit
def multiply_one(
    data, spins, weights, parts, table, size, sites, prefixes, rows, lanes,
    T: tl.constexpr, COLUMNS: tl.constexpr, GRADED: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """As `multiply`, for one lane: sums of products that are as fast as the couplings are read."""
    entry = table + tl.program_id(0) * 7
    sample = tl.program_id(1).to(tl.int64)
    offset, first, columns = tl.load(entry), tl.load(entry + 1), tl.load(entry + 2)
    start, begin, end, row = tl.load(entry + 3), tl.load(entry + 4), tl.load(entry + 5), tl.load(entry + 6)
    # Wide loads: so are tiles laid out, and programs cut.
    offset, columns, start = (
        tl.multiple_of(offset, 16),
        tl.multiple_of(columns, 16),
        tl.multiple_of(start, 16),
    )
    lane = tl.program_id(2)
    j, k = tl.arange(0, T), tl.arange(0, COLUMNS)
    stored = start + k < columns
    tile = data + sample * size + offset + start + j[:, None] * columns + k[None, :]
    spins += sample * sites * lanes + lane
    weights += sample * prefixes * lanes + lane
    out = parts + (sample * rows + row) * lanes + lane
    s_j = tl.load(spins + (first + j) * lanes)
    s_k = tl.load(spins + (first + 1 + start + k) * lanes, mask=stored, other=0.0)
    both = s_j[:, None] * s_k[None, :]
    # Σ_P π_P A: with s_k it gives f_j, with s_j it gives f_k.
    weighted = tl.zeros((T, COLUMNS), tl.float32)
    for q in tl.range(begin, end, num_stages=STAGES):
        a = tl.load(tile + q * T * columns, mask=stored[None, :], other=0.0)
        weighted += a * tl.load(weights + q * lanes)
        if GRADED:
            tl.store(out + (T + COLUMNS + q - begin) * lanes, tl.sum(a * both))
    tl.store(out + j * lanes, tl.sum(weighted * s_k[None, :], 1))
    tl.store(out + (T + k) * lanes, tl.sum(weighted * s_j[:, None], 0))


@triton.jit
def add(
    parts, result, order, bounds, targets, rows, lanes,
    ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Sum the rows of one target, ``order[bounds[target]]`` and so on, for some lanes of a sample."""
    target, sample = tl.program_id(0), tl.program_id(1).to(tl.int64)
    lane = tl.program_id(2) * LANES + tl.arange(0, LANES)
    inside = lane < lanes
    begin, end = tl.load(bounds + target), tl.load(bounds + target + 1)
    total = tl.zeros((LANES,), tl.float64)
    for at in range(begin, end, ROWS):
        place = at + tl.arange(0, ROWS)
        row = tl.load(order + place, mask=place < end, other=0).to(tl.int64)
        where = parts + (sample * rows + row[:, None]) * lanes + lane[None, :]
        some = tl.load(where, mask=(place < end)[:, None] & inside[None, :], other=0.0)
        total += tl.sum(some.to(tl.float64), 0)
    tl.store(result + (sample * targets + target) * lanes + lane, total, mask=inside)
