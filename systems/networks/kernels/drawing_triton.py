"""Batches are drawn on a GPU: the very numbers of the CPU's streams.

A stream is numpy's PCG64DXSM: a state s and an odd increment c of 128 bits, s ← a s + c at every number,
which is made of the s before. n numbers on it is aⁿ s + (aⁿ − 1)/(a − 1) c: each lane begins where its epoch
does. Numbers of 128 bits are pairs, upper and lower half.
"""

from __future__ import annotations

import triton
import triton.language as tl

#: The multiplier a.
MULTIPLIER = 0xDA942042E4DD58B5
A = tl.constexpr(MULTIPLIER)
#: Halves of the multiplier of PCG64, by which numpy takes the one step of the seeding.
FIRST_HIGH, FIRST_LOW = tl.constexpr(0x2360ED051FC65DA4), tl.constexpr(0x4385DF649FCCF645)


@triton.jit
def _times(high, low, by_high, by_low):
    """Return the product of two numbers."""
    return high * by_low + low * by_high + tl.umulhi(low, by_low), low * by_low


@triton.jit
def _plus(high, low, more_high, more_low):
    """Return the sum of two numbers."""
    total = low + more_low
    return high + more_high + (total < low).to(tl.uint64), total


@triton.jit
def _half(start, live):
    """Return halves of numbers that stand in memory."""
    return tl.load(start, mask=live, other=0).to(tl.uint64, bitcast=True)


@triton.jit
def _seeded(seeds, live):
    """Return state and increment of streams at their beginning, from four words of 64 bits each."""
    high, low = _half(seeds + 2, live), _half(seeds + 3, live)
    c_high, c_low = (high << 1) | (low >> 63), (low << 1) | 1
    high, low = _plus(_half(seeds, live), _half(seeds + 1, live), c_high, c_low)
    by_high, by_low = tl.full(low.shape, FIRST_HIGH, tl.uint64), tl.full(low.shape, FIRST_LOW, tl.uint64)
    high, low = _times(high, low, by_high, by_low)
    high, low = _plus(high, low, c_high, c_low)
    return high, low, c_high, c_low


@triton.jit
def _next(high, low, c_high, c_low):
    """Return the state after this one."""
    a = tl.full(low.shape, A, tl.uint64)
    return _plus(high * a + tl.umulhi(low, a), low * a, c_high, c_low)


@triton.jit
def _number(high, low):
    """Return the 64 random bits of a state."""
    low = low | 1
    high ^= high >> 32
    high *= tl.full(low.shape, A, tl.uint64)
    high ^= high >> 48
    return high * low


@triton.jit(do_not_specialize=("count", "epochs", "examples", "numbers"))
def shuffle(
    order,
    seeds,
    jumps,
    count,
    epochs,
    examples,
    numbers,
    WIDTH: tl.constexpr,
    PLACES: tl.constexpr,
    LANES: tl.constexpr,
):
    """Bring rows of 0 … P − 1 into random orders, an epoch in each lane: as `shuffling.orders`.

    Parameters
    ----------
    order : int32, shape (R, epochs, P)
        Changed in place; must hold 0 … P − 1.
    seeds : int64, shape (R, 4)
        `core.noise.seeds` of each replica's stream.
    jumps : int64, shape (epochs, 4)
        aⁿ and (aⁿ − 1)/(a − 1), of the n numbers before each epoch.
    count, epochs, examples : int
        R·epochs; P.
    numbers : int
        Random numbers that an epoch takes.
    WIDTH, PLACES : int
        Bits of these; how many places each of them chooses.
    LANES : int
        As many as there are threads: what a lane has written it may read.
    """
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    live = lane < count
    seeds += lane // epochs * 4
    jumps += lane % epochs * 4
    high, low, c_high, c_low = _seeded(seeds, live)
    high, low = _times(high, low, _half(jumps, live), _half(jumps + 1, live))
    far_high, far_low = _times(c_high, c_low, _half(jumps + 2, live), _half(jumps + 3, live))
    high, low = _plus(high, low, far_high, far_low)
    row = order + lane.to(tl.int64) * examples
    for k in range(numbers):
        rest = _number(high, low) >> (64 - WIDTH)
        high, low = _next(high, low, c_high, c_low)
        for j in tl.static_range(PLACES):
            i = examples - 1 - k * PLACES - j + 0 * lane
            scaled = rest * (i + 1).to(tl.uint64)
            place = (scaled >> WIDTH).to(tl.int32)
            rest = scaled & ((1 << WIDTH) - 1)
            swapped = live & (i > 0)
            one = tl.load(row + i, mask=swapped, other=0)
            other = tl.load(row + place, mask=swapped, other=0)
            tl.store(row + i, other, mask=swapped)
            tl.store(row + place, one, mask=swapped)


@triton.jit
def _accept(table, bits, at, count, examples, least, live):
    """Write what 32 random bits choose, if they do, to each lane's place; return the places after."""
    scaled = bits * examples
    fits = live & (at < count) & ((scaled & 0xFFFFFFFF) >= least)
    tl.store(table + at, (scaled >> 32).to(tl.int32), mask=fits)
    return at + fits.to(tl.int32)


@triton.jit(do_not_specialize=("nets", "count", "examples", "least"))
def choose(table, seeds, nets, count, examples, least, LANES: tl.constexpr):
    """Draw examples with replacement, a net in each lane: as numpy's `integers` in 32 bits.

    A random number u < 2³² chooses u·P div 2³²; one whose u·P mod 2³² is below 2³² mod P is drawn again.

    Parameters
    ----------
    table : int32, shape (R, count)
    seeds : int64, shape (R, 4)
        `core.noise.seeds` of each replica's stream.
    nets, count, examples, least : int
        R; draws of each; P; 2³² mod P.
    """
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    live = lane < nets
    high, low, c_high, c_low = _seeded(seeds + lane * 4, live)
    table += lane.to(tl.int64) * count
    at = tl.where(live, 0, count)
    left = count
    while left > 0:
        number = _number(high, low)
        high, low = _next(high, low, c_high, c_low)
        at = _accept(table, number & 0xFFFFFFFF, at, count, examples, least, live)
        at = _accept(table, number >> 32, at, count, examples, least, live)
        left = count - tl.min(at, 0)
