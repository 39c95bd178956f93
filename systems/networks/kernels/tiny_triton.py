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
def _gradient(w, x, answer, inside, share, SIZES: tl.constexpr, STARTS: tl.constexpr, TANH: tl.constexpr):
    """Return the gradient of the loss of a batch, in the order of the weights."""
    DEPTH: tl.constexpr = len(SIZES) - 1
    layers = (x,)
    for k in tl.static_range(DEPTH):
        sums = _layer(w, layers[k], STARTS[k], SIZES[k], SIZES[k + 1])
        if k < DEPTH - 1:
            sums = _activated(sums, SIZES[k + 1], TANH)
        layers = layers + (sums,)
    deltas = _softmax(layers[DEPTH], answer, inside, share, SIZES[DEPTH])
    gradient = ()
    for back in tl.static_range(DEPTH):
        gradient = (
            _slopes(deltas, layers[DEPTH - 1 - back], SIZES[DEPTH - 1 - back], SIZES[DEPTH - back]) + gradient
        )
        if back < DEPTH - 1:
            deltas = _back(
                w,
                deltas,
                layers[DEPTH - 1 - back],
                STARTS[DEPTH - 1 - back],
                SIZES[DEPTH - 1 - back],
                SIZES[DEPTH - back],
                TANH,
            )
    return gradient


@triton.jit
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
    """
    DOF: tl.constexpr = STARTS[len(STARTS) - 1]
    INPUTS: tl.constexpr = SIZES[0]
    net = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, LANES)
    inside = lane < B
    rows += tl.load(whose + net).to(tl.int64) * examples
    table += net * width
    w = _read(weights + net * DOF, DOF)
    if MOMENTUM:
        v = _read(velocity + net * DOF, DOF)
    end = -1
    for step in range(steps):
        n = start + step
        place = tl.load(table + n // period * stride + n % period * B + lane, mask=inside, other=0)
        example = tl.load(rows + place, mask=inside, other=0)
        answer = tl.load(labels + example, mask=inside, other=-1)
        x = ()
        for i in tl.static_range(INPUTS):
            x = x + (tl.load(inputs + example.to(tl.int64) * INPUTS + i, mask=inside, other=0.0),)
        g = _gradient(w, x, answer, inside, share, SIZES, STARTS, TANH)
        rate = tl.load(rates + step)
        moved = ()
        kept = ()
        total = 0.0
        for k in tl.static_range(DOF):
            slope = g[k]
            if FIELD:
                slope -= tl.load(field + net * DOF + k)
            slope += decay * w[k]
            if MOMENTUM:
                slope = momentum * v[k] + slope
                kept = kept + (slope,)
            moved = moved + (w[k] - rate * slope,)
            # 0 times what is not finite is NaN.
            total += 0.0 * moved[k]
        w = moved
        if MOMENTUM:
            v = kept
        end = tl.where((end < 0) & (total != 0.0), step, end)
    for k in tl.static_range(DOF):
        tl.store(weights + net * DOF + k, w[k])
        if MOMENTUM:
            tl.store(velocity + net * DOF + k, v[k])
    tl.store(astray + net, end)
