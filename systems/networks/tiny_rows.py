"""Functions of whole rows: tanh, exp, activations and the softmax of a batch, compiled.

tanh and exp: y = n ln 2 + r with |r| ≤ ln 2/2, and the Taylor series of e^r − 1 up to r¹³ (r⁷ in single
precision): what follows is below rounding, (ln 2/2)¹³/14! = 1e-17. With E = e^{2|x|} − 1,
E = 2ⁿ(e^r − 1) + 2ⁿ − 1, tanh|x| = E/(E + 2) to 1 or 2 units in the last place, also where
x is small. NaN stays NaN.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from .perceptron_kernels import TANH

#: No assumption that numbers are finite: a run that diverges must show it.
OPTIONS = {
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": {"reassoc", "contract", "nsz"},
}
SINGLE, DOUBLE = types.float32, types.float64
#: For tanh and exp: sums in other orders would undo the two-part ln 2.
ORDERED = {**OPTIONS, "fastmath": {"contract", "nsz"}}


@intrinsic
def _as_float(typingctx, bits):
    """Return the float whose bits are those of an integer of the same width."""
    single = bits == types.int32

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType() if single else ir.DoubleType())

    return (SINGLE if single else DOUBLE)(types.int32 if single else types.int64), codegen


@numba.njit(inline="always")
def _reduced64(y):
    """Return e^r − 1 and 2ⁿ of y = n ln 2 + r."""
    n = math.floor(y * 1.4426950408889634 + 0.5)
    r = (y - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    return p * r * r + r, _as_float((np.int64(n) + 1023) << 52)


@numba.njit(inline="always")
def _reduced32(y):
    """Return e^r − 1 and 2ⁿ of y = n ln 2 + r, in single precision."""
    n = np.floor(y * np.float32(1.4426950408889634) + np.float32(0.5))
    r = (y - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)
    p = np.float32(1 / 5040.0)
    p = p * r + np.float32(1 / 720.0)
    p = p * r + np.float32(1 / 120.0)
    p = p * r + np.float32(1 / 24.0)
    p = p * r + np.float32(1 / 6.0)
    p = p * r + np.float32(0.5)
    return p * r * r + r, _as_float(np.int32((np.int32(n) + 127) << 23))


def tanh(rows, first, last):
    """Replace every x of the rows first … last − 1 by tanh x."""


def exp(rows, first, last):
    """Replace every x ≤ 0 of the rows first … last − 1 by e^x."""


@overload(tanh, jit_options=ORDERED)
def _tanh(rows, first, last):
    single = rows.dtype == SINGLE
    reduced, two = (_reduced32, np.float32(2)) if single else (_reduced64, 2.0)
    # From here on tanh is 1.
    most = np.float32(20) if single else 44.0

    def compiled(rows, first, last):
        for j in range(first, last):
            for b in range(rows.shape[1]):
                x = rows[j, b]
                y = two * abs(x)
                y = most if y > most else y
                p, scale = reduced(y)
                e = scale * p + (scale - two / two)
                rows[j, b] = math.copysign(e / (e + two), x)

    return compiled


@overload(exp, jit_options=ORDERED)
def _exp(rows, first, last):
    single = rows.dtype == SINGLE
    reduced, one = (_reduced32, np.float32(1)) if single else (_reduced64, 1.0)
    # Before e^y underflows.
    least = np.float32(-87) if single else -708.0

    def compiled(rows, first, last):
        for j in range(first, last):
            for b in range(rows.shape[1]):
                y = rows[j, b]
                y = least if y < least else y
                p, scale = reduced(y)
                rows[j, b] = scale * (one + p)

    return compiled


# Places instead of slices: to make and drop a slice takes as long as a row.


@numba.njit(**OPTIONS)
def activate(rows, first, last, kind):
    """Turn the sums in the rows first … last − 1 into activations. ReLU leaves NaN as it is."""
    if kind == TANH:
        tanh(rows, first, last)
    else:
        zero = rows.dtype.type(0)
        for j in range(first, last):
            for b in range(rows.shape[1]):
                rows[j, b] = zero if rows[j, b] < zero else rows[j, b]


@numba.njit(**OPTIONS)
def slope(deltas, rows, first, last, kind):
    """Multiply δ by φ' of the activations, in the rows first … last − 1."""
    zero = rows.dtype.type(0)
    for j in range(first, last):
        if kind == TANH:
            for b in range(rows.shape[1]):
                deltas[j, b] -= deltas[j, b] * rows[j, b] * rows[j, b]
        else:
            for b in range(rows.shape[1]):
                deltas[j, b] = deltas[j, b] if rows[j, b] > zero else zero


@numba.njit(**OPTIONS)
def softmax(rows, first, last, labels, batch, share, deltas, extra, answers):
    """Write δ = (softmax(h) − e_y)·share of the outputs h, which are the rows first … last − 1.

    To the rows of `extra` go the largest h of each example, and Σ e^{h − largest}; to `answers` the labels.
    """
    _largest(rows[first:last], extra[0], deltas[first:last])
    exp(deltas, first, last)
    for b in range(batch.size):
        answers[b] = labels[batch[b]]
    for b in range(batch.size, answers.size):
        answers[b] = -1
    _normalise(deltas[first:last], answers, batch.size, share, extra[1], extra[3])


@numba.njit(**OPTIONS)
def _largest(h, top, delta):
    """Write the largest h of each example to `top`, and h − top to δ."""
    for b in range(top.size):
        top[b] = h[0, b]
    for j in range(1, h.shape[0]):
        for b in range(top.size):
            top[b] = h[j, b] if h[j, b] > top[b] else top[b]
    for j in range(h.shape[0]):
        for b in range(top.size):
            delta[j, b] = h[j, b] - top[b]


@numba.njit(**OPTIONS)
def _normalise(delta, answers, count, share, total, factor):
    """Write the sum of each example's e^h to `total`, divide by it, and subtract e_y; all times `share`."""
    zero = 0 * share
    for b in range(total.size):
        total[b] = delta[0, b]
    for j in range(1, delta.shape[0]):
        for b in range(total.size):
            total[b] += delta[j, b]
    for b in range(count):
        factor[b] = share / total[b]
    for b in range(count, total.size):
        factor[b] = zero
    for j in range(delta.shape[0]):
        for b in range(total.size):
            delta[j, b] = delta[j, b] * factor[b] - (share if answers[b] == j else zero)
