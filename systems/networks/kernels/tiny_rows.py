"""Functions of whole rows: tanh, exp, activations and the softmax of a batch, compiled.

exp, and tanh in double precision: y = n ln 2 + r with |r| ≤ ln 2/2, and the Taylor series of e^r − 1 up to
r¹³ (r⁷ in single precision): what follows is below rounding, (ln 2/2)¹³/14! = 1e-17. With E = e^{2|x|} − 1,
E = 2ⁿ(e^r − 1) + 2ⁿ − 1, tanh|x| = E/(E + 2) to 1 or 2 units in the last place, also where x is small. In
single precision a rational function is faster, to 3 units. NaN stays NaN.
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
    # Sums have a free order, so that a kernel holds its one copy of each: else one that this process compiled
    # and one from the disk may call different copies, and differ in the last bits.
    "forceinline": True,
}
SINGLE, DOUBLE = types.float32, types.float64
#: For tanh and exp: sums in other orders would undo the two-part ln 2.
ORDERED = {**OPTIONS, "fastmath": {"contract", "nsz"}}


#: tanh x = x (1 + n₁x² + … + n₄x⁸)/(1 + d₁x² + … + d₄x⁸) for |x| ≤ 9, beyond which tanh is 1 in single
#: precision: the fit of least largest relative error, 2e-8.
NUMERATOR = tuple(map(np.float32, (0.13381024, 0.0034955866, 2.0609059e-5, 1.335463e-8)))
DENOMINATOR = tuple(map(np.float32, (0.46714339, 0.025876977, 0.00032856324, 7.7765452e-7)))


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
    def double(rows, first, last):
        for j in range(first, last):
            for b in range(rows.shape[1]):
                x = rows[j, b]
                y = 2 * abs(x)
                # From here on tanh is 1.
                y = 44.0 if y > 44.0 else y
                p, scale = _reduced64(y)
                e = scale * p + (scale - 1)
                rows[j, b] = math.copysign(e / (e + 2), x)

    def single(rows, first, last):
        n1, n2, n3, n4 = NUMERATOR
        d1, d2, d3, d4 = DENOMINATOR
        one, end = np.float32(1), np.float32(9)
        for j in range(first, last):
            for b in range(rows.shape[1]):
                x = rows[j, b]
                x = end if x > end else x
                x = -end if x < -end else x
                t = x * x
                above = x + x * (t * (n1 + t * (n2 + t * (n3 + t * n4))))
                y = above / (one + t * (d1 + t * (d2 + t * (d3 + t * d4))))
                y = one if y > one else y
                rows[j, b] = -one if y < -one else y

    return single if rows.dtype == SINGLE else double


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
def slope(deltas, rows, first, last, kind, gradient, bias):
    """Multiply δ by φ' of the activations, in the rows first … last − 1.

    The sums of the rows, ∂L/∂b, go to `gradient`, from its place `bias` on.
    """
    zero = rows.dtype.type(0)
    for j in range(first, last):
        total = zero
        if kind == TANH:
            for b in range(rows.shape[1]):
                d = deltas[j, b] - deltas[j, b] * rows[j, b] * rows[j, b]
                deltas[j, b] = d
                total += d
        else:
            for b in range(rows.shape[1]):
                d = deltas[j, b] if rows[j, b] > zero else zero
                deltas[j, b] = d
                total += d
        gradient[bias + j - first] = total


@numba.njit(**OPTIONS)
def softmax(rows, first, last, answers, count, share, deltas, extra, gradient):
    """Write δ = (softmax(h) − e_y)·share of the outputs h, which are the rows first … last − 1.

    `answers` holds the labels of the first `count` examples; the others' δ is 0. To the rows of `extra` go
    the largest h of each example, and Σ e^{h − largest}; to the end of `gradient`, where that of the last
    biases is, the sums of δ.
    """
    _largest(rows, first, last, extra[0], deltas)
    exp(deltas, first, last)
    _factors(deltas, first, last, extra[1], extra[2], count, share)
    _subtract(deltas, first, last, extra[2], answers, share, gradient)


@numba.njit(**OPTIONS)
def _largest(rows, first, last, top, deltas):
    """Write the largest h of each example to `top`, and h − top to δ."""
    for b in range(top.size):
        top[b] = rows[first, b]
    for j in range(first + 1, last):
        for b in range(top.size):
            top[b] = rows[j, b] if rows[j, b] > top[b] else top[b]
    for j in range(first, last):
        for b in range(top.size):
            deltas[j, b] = rows[j, b] - top[b]


@numba.njit(**OPTIONS)
def _factors(deltas, first, last, total, factor, count, share):
    """Write the sum of each example's e^h to `total`, and the share that e^h is worth to `factor`."""
    zero = 0 * share
    for b in range(total.size):
        total[b] = deltas[first, b]
    for j in range(first + 1, last):
        for b in range(total.size):
            total[b] += deltas[j, b]
    for b in range(total.size):
        factor[b] = share / total[b]
    for b in range(count, total.size):
        factor[b] = zero


@numba.njit(**OPTIONS)
def _subtract(deltas, first, last, factor, answers, share, gradient):
    """Turn e^h into δ, and sum it."""
    zero, place = 0 * share, gradient.size - last
    for j in range(first, last):
        summed, y = zero, j - first
        for b in range(factor.size):
            d = deltas[j, b] * factor[b] - (share if answers[b] == y else zero)
            deltas[j, b] = d
            summed += d
        gradient[place + j] = summed
