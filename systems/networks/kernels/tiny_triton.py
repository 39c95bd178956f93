"""Gradient descent of tiny nets on a GPU: a program for each net, which takes many steps.

A warp or a few hold the batch, up to four examples in a lane: each activation is a row of them, as in
`tiny_kernels`. All weights are numbers in registers from the first step to the last; loops over units and
weights are unrolled, for registers have no addresses. A step reads its batch and writes nothing: its cost is
its arithmetic.

Nothing is random and no two programs share a sum: the same weights come out again, whatever nets are beside.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .tiny_rows import DENOMINATOR, NUMERATOR

N1, N2, N3, N4 = (tl.constexpr(float(n)) for n in NUMERATOR)
D1, D2, D3, D4 = (tl.constexpr(float(d)) for d in DENOMINATOR)

#: What differs from call to call must not be compiled in.
NUMBERS = ("steps", "start", "period", "stride", "width", "examples")


@triton.jit
def _tanh(x):
    """Return tanh x to 3 units in the last place (`tiny_rows`); NaN stays NaN."""
    x = tl.where(x > 9.0, 9.0, x)
    x = tl.where(x < -9.0, -9.0, x)
    t = x * x
    above = x + x * (t * (N1 + t * (N2 + t * (N3 + t * N4))))
    y = above / (1.0 + t * (D1 + t * (D2 + t * (D3 + t * D4))))
    y = tl.where(y > 1.0, 1.0, y)
    return tl.where(y < -1.0, -1.0, y)


@triton.jit
def _read(start, COUNT: tl.constexpr):
    """Return so many numbers that follow each other in memory."""
    numbers = ()
    for k in tl.static_range(COUNT):
        numbers = numbers + (tl.load(start + k),)
    return numbers


@triton.jit
def _layer(w, x, START: tl.constexpr, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr):
    """Return W x + b, a row for each output; W, (outputs, inputs), and b follow each other from START on."""
    outputs = ()
    for j in tl.static_range(OUTPUTS):
        h = w[START + j * INPUTS] * x[0]
        for i in tl.static_range(1, INPUTS):
            h += w[START + j * INPUTS + i] * x[i]
        outputs = outputs + (h + w[START + INPUTS * OUTPUTS + j],)
    return outputs


@triton.jit
def _activated(sums, COUNT: tl.constexpr, TANH: tl.constexpr):
    """Return the activations of these sums. ReLU leaves NaN as it is."""
    rows = ()
    for j in tl.static_range(COUNT):
        if TANH:
            rows = rows + (_tanh(sums[j]),)
        else:
            rows = rows + (tl.where(sums[j] < 0.0, 0.0, sums[j]),)
    return rows


@triton.jit
def _softmax(h, answer, inside, share, COUNT: tl.constexpr):
    """Return δ = (softmax(h) − e_y)·share, 0 for lanes that hold no example."""
    top = h[0]
    for j in tl.static_range(1, COUNT):
        top = tl.where(h[j] > top, h[j], top)
    total = tl.exp(h[0] - top)
    for j in tl.static_range(1, COUNT):
        total += tl.exp(h[j] - top)
    factor = share / total
    deltas = ()
    for j in tl.static_range(COUNT):
        delta = tl.exp(h[j] - top) * factor - tl.where(answer == j, share, 0.0)
        deltas = deltas + (tl.where(inside, delta, 0.0),)
    return deltas


@triton.jit
def _back(
    w, deltas, rows, START: tl.constexpr, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, TANH: tl.constexpr
):
    """Return δ of the layer whose activations are `rows`."""
    earlier = ()
    for i in tl.static_range(INPUTS):
        d = w[START + i] * deltas[0]
        for j in tl.static_range(1, OUTPUTS):
            d += w[START + j * INPUTS + i] * deltas[j]
        if TANH:
            earlier = earlier + (d - d * rows[i] * rows[i],)
        else:
            earlier = earlier + (tl.where(rows[i] > 0.0, d, 0.0),)
    return earlier


@triton.jit
def _slopes(deltas, x, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr):
    """Return the gradient of a layer's weights and biases: sums over the examples."""
    slopes = ()
    for j in tl.static_range(OUTPUTS):
        for i in tl.static_range(INPUTS):
            slopes = slopes + (tl.sum(deltas[j] * x[i], 0),)
    for j in tl.static_range(OUTPUTS):
        slopes = slopes + (tl.sum(deltas[j], 0),)
    return slopes


@triton.jit
def _through(w, first, answer, inside, share, SIZES: tl.constexpr, STARTS: tl.constexpr, TANH: tl.constexpr):
    """Return δ of the first layer, from its sums, and the gradient of the layers behind it."""
    DEPTH: tl.constexpr = len(SIZES) - 1
    layers = (first,)
    if DEPTH > 1:
        layers = (_activated(first, SIZES[1], TANH),)
    for k in tl.static_range(1, DEPTH):
        sums = _layer(w, layers[k - 1], STARTS[k], SIZES[k], SIZES[k + 1])
        if k < DEPTH - 1:
            sums = _activated(sums, SIZES[k + 1], TANH)
        layers = layers + (sums,)
    deltas = _softmax(layers[DEPTH - 1], answer, inside, share, SIZES[DEPTH])
    gradient = ()
    for back in tl.static_range(DEPTH - 1):
        # Written out: what a compiler is to know must not be given a name in a loop.
        rows = layers[DEPTH - 2 - back]
        gradient = _slopes(deltas, rows, SIZES[DEPTH - 1 - back], SIZES[DEPTH - back]) + gradient
        deltas = _back(
            w, deltas, rows, STARTS[DEPTH - 1 - back], SIZES[DEPTH - 1 - back], SIZES[DEPTH - back], TANH
        )
    return deltas, gradient


@triton.jit
def _moved(
    w, v, g, field, rate, momentum, decay, COUNT: tl.constexpr, MOMENTUM: tl.constexpr, FIELD: tl.constexpr
):
    """Return weights and velocities after a step; v stays what it is without momentum."""
    moved = ()
    kept = ()
    for k in tl.static_range(COUNT):
        slope = g[k]
        if FIELD:
            slope -= tl.load(field + k)
        slope += decay * w[k]
        if MOMENTUM:
            slope = momentum * v[k] + slope
            kept = kept + (slope,)
        moved = moved + (w[k] - rate * slope,)
    if not MOMENTUM:
        kept = v
    return moved, kept


@triton.jit
def _spoilt(w, COUNT: tl.constexpr):
    """Return 0 if all these numbers are finite, else NaN."""
    total = 0.0
    for k in tl.static_range(COUNT):
        total += 0.0 * w[k]
    return total


@triton.jit
def _write(start, numbers, COUNT: tl.constexpr):
    """Write numbers that follow each other in memory."""
    for k in tl.static_range(COUNT):
        tl.store(start + k, numbers[k])


@triton.jit
def _batch(table, rows, labels, n, period, stride, lane, inside, B: tl.constexpr):
    """Return examples and labels of the batch of step n of a table."""
    place = tl.load(table + n // period * stride + n % period * B + lane, mask=inside, other=0)
    example = tl.load(rows + place, mask=inside, other=0)
    return example.to(tl.int64), tl.load(labels + example, mask=inside, other=-1)


@triton.jit(do_not_specialize=NUMBERS)
def descend(
    weights,
    velocity,
    field,
    inputs,
    labels,
    rows,
    whose,
    table,
    rates,
    astray,
    steps,
    start,
    period,
    stride,
    width,
    examples,
    momentum,
    decay,
    share,
    SIZES: tl.constexpr,
    STARTS: tl.constexpr,
    B: tl.constexpr,
    LANES: tl.constexpr,
    TANH: tl.constexpr,
    MOMENTUM: tl.constexpr,
    FIELD: tl.constexpr,
):
    """Let each net take so many steps.

    The batch of step n, counted from the beginning of the table, stands in its net's row of the table,
    n // period · stride + n % period · B places behind its beginning.

    Parameters
    ----------
    weights, velocity, field : float32, shape (R, M)
        Changed in place, but for the field. Velocity and field are read if MOMENTUM and FIELD say so.
    inputs : float32, shape (P_all, SIZES[0])
        As the nets get them.
    labels : int32, shape (P_all,)
    rows : int32, shape (samples, P)
        Examples of each quenched sample.
    whose : int32, shape (R,)
        Row of `rows` that each net learns from.
    table : int32, shape (R, width), or (1, …) with width 0
        Places in a row of `rows`.
    rates : float32, shape (steps,)
    astray : int32, shape (R,)
        The first step after which weights are not finite is written here; −1: none.
    steps, start, period, stride, width, examples : int
        Number of steps, n of the first of them; of the table; P.
    momentum, decay, share : float
        μ, λ, and one over the number by which a batch's sum is divided.
    SIZES, STARTS : tuple of int
        Inputs, hidden units, outputs; where each layer's weights begin, and where the last one's end.
    B, LANES : int
        Examples of a batch; the next power of 2.
    """
    DOF: tl.constexpr = STARTS[len(STARTS) - 1]
    INPUTS: tl.constexpr = SIZES[0]
    net = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, LANES)
    inside = lane < B
    rows += tl.load(whose + net).to(tl.int64) * examples
    table += net * width
    field += net * DOF
    w = _read(weights + net * DOF, DOF)
    v = ()
    if MOMENTUM:
        v = _read(velocity + net * DOF, DOF)
    end = -1
    for step in range(steps):
        example, answer = _batch(table, rows, labels, start + step, period, stride, lane, inside, B)
        x = ()
        for i in tl.static_range(INPUTS):
            x = x + (tl.load(inputs + example * INPUTS + i, mask=inside, other=0.0),)
        first = _layer(w, x, 0, SIZES[0], SIZES[1])
        deltas, g = _through(w, first, answer, inside, share, SIZES, STARTS, TANH)
        g = _slopes(deltas, x, SIZES[0], SIZES[1]) + g
        w, v = _moved(w, v, g, field, tl.load(rates + step), momentum, decay, DOF, MOMENTUM, FIELD)
        # 0 times what is not finite is NaN.
        end = tl.where((end < 0) & (_spoilt(w, DOF) != 0.0), step, end)
    _write(weights + net * DOF, w, DOF)
    if MOMENTUM:
        _write(velocity + net * DOF, v, DOF)
    tl.store(astray + net, end)


@triton.jit
def _tile(start, row, live, i, INPUTS: tl.constexpr):
    """Return the columns i of some rows of a matrix with INPUTS columns; 0 where there is none."""
    at = start + row[:, None] * INPUTS + i[None, :]
    return tl.load(at, mask=live[:, None] & (i < INPUTS)[None, :], other=0.0)


@triton.jit
def _apart(sums, biases, unit, COUNT: tl.constexpr):
    """Return the columns of a tile by themselves, with their biases."""
    rows = ()
    for j in tl.static_range(COUNT):
        rows = rows + (tl.sum(tl.where(unit[None, :] == j, sums, 0.0), 1) + biases[j],)
    return rows


@triton.jit
def _together(rows, unit, COUNT: tl.constexpr, UNITS: tl.constexpr, LANES: tl.constexpr):
    """Return rows as a tile, and their sums."""
    tile = tl.zeros((UNITS, LANES), tl.float32)
    sums = ()
    for j in tl.static_range(COUNT):
        tile = tl.where(unit[:, None] == j, rows[j][None, :], tile)
        sums = sums + (tl.sum(rows[j], 0),)
    return tile, sums


@triton.jit
def _moved_matrix(
    weights,
    velocity,
    field,
    inputs,
    example,
    inside,
    deltas,
    rate,
    momentum,
    decay,
    unit,
    column,
    INPUTS: tl.constexpr,
    FIRST: tl.constexpr,
    MOMENTUM: tl.constexpr,
    FIELD: tl.constexpr,
):
    """Move the first layer's matrix in memory; return 0 if it is finite, else NaN."""
    spoilt = 0.0
    # Other threads write than read: none writes before all have read, none reads before all have written.
    tl.debug_barrier()
    for c in range(0, INPUTS, column.shape[0]):
        i = c + column
        a = _tile(weights, unit, unit < FIRST, i, INPUTS)
        slope = tl.dot(deltas, _tile(inputs, example, inside, i, INPUTS), input_precision="ieee")
        if FIELD:
            slope -= _tile(field, unit, unit < FIRST, i, INPUTS)
        slope += decay * a
        at, here = unit[:, None] * INPUTS + i[None, :], (unit < FIRST)[:, None] & (i < INPUTS)[None, :]
        if MOMENTUM:
            slope += momentum * _tile(velocity, unit, unit < FIRST, i, INPUTS)
            tl.store(velocity + at, slope, mask=here)
        a -= rate * slope
        tl.store(weights + at, a, mask=here)
        spoilt += tl.sum(tl.sum(0.0 * a, 1), 0)
    tl.debug_barrier()
    return spoilt


@triton.jit(do_not_specialize=NUMBERS)
def descend_wide(
    weights,
    velocity,
    field,
    inputs,
    labels,
    rows,
    whose,
    table,
    rates,
    astray,
    steps,
    start,
    period,
    stride,
    width,
    examples,
    momentum,
    decay,
    share,
    SIZES: tl.constexpr,
    STARTS: tl.constexpr,
    B: tl.constexpr,
    LANES: tl.constexpr,
    TANH: tl.constexpr,
    MOMENTUM: tl.constexpr,
    FIELD: tl.constexpr,
    BEHIND: tl.constexpr,
    UNITS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Do what `descend` does for nets with many inputs: the matrix of the first layer stays in memory.

    It is multiplied, and moved, by CHUNK inputs at a time.

    Parameters
    ----------
    BEHIND : tuple of int
        `STARTS`, counted from the first biases on.
    UNITS : int
        A power of 2, at least 16, and at least the units of the first layer.
    CHUNK : int
        A power of 2, at least 16.
    """
    DOF: tl.constexpr = STARTS[len(STARTS) - 1]
    INPUTS: tl.constexpr = SIZES[0]
    FIRST: tl.constexpr = SIZES[1]
    HEAD: tl.constexpr = INPUTS * FIRST
    TAIL: tl.constexpr = DOF - HEAD
    net = tl.program_id(0).to(tl.int64)
    lane, unit, column = tl.arange(0, LANES), tl.arange(0, UNITS), tl.arange(0, CHUNK)
    inside = lane < B
    rows += tl.load(whose + net).to(tl.int64) * examples
    table += net * width
    weights += net * DOF
    velocity += net * DOF
    field += net * DOF
    w = _read(weights + HEAD, TAIL)
    v = ()
    if MOMENTUM:
        v = _read(velocity + HEAD, TAIL)
    end = -1
    for step in range(steps):
        rate = tl.load(rates + step)
        example, answer = _batch(table, rows, labels, start + step, period, stride, lane, inside, B)
        # The first layer's sums, (example, unit).
        sums = tl.zeros((LANES, UNITS), tl.float32)
        for c in range(0, INPUTS, CHUNK):
            x = _tile(inputs, example, inside, c + column, INPUTS)
            a = _tile(weights, unit, unit < FIRST, c + column, INPUTS)
            sums = tl.dot(x, tl.trans(a), sums, input_precision="ieee")
        first = _apart(sums, w, unit, FIRST)
        deltas, g = _through(w, first, answer, inside, share, SIZES, BEHIND, TANH)
        d, biases = _together(deltas, unit, FIRST, UNITS, LANES)
        w, v = _moved(w, v, biases + g, field + HEAD, rate, momentum, decay, TAIL, MOMENTUM, FIELD)
        spoilt = _moved_matrix(
            weights, velocity, field, inputs, example, inside, d, rate, momentum, decay, unit, column, INPUTS,
            FIRST, MOMENTUM, FIELD,
        )  # fmt: skip
        total = _spoilt(w, TAIL) + spoilt
        end = tl.where((end < 0) & (total != 0.0), step, end)
    _write(weights + HEAD, w, TAIL)
    if MOMENTUM:
        _write(velocity + HEAD, v, TAIL)
    tl.store(astray + net, end)
