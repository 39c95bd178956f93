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


def _tanh(row):
    """Replace every x of a row by tanh x."""


def _exp(row):
    """Replace every x ≤ 0 of a row by e^x."""


@overload(_tanh, jit_options=ORDERED)
def _tanh_of(row):
    single = row.dtype == SINGLE
    reduced, two = (_reduced32, np.float32(2)) if single else (_reduced64, 2.0)
    # From here on tanh is 1.
    most = np.float32(20) if single else 44.0

    def compiled(row):
        for b in range(row.size):
            x = row[b]
            y = two * abs(x)
            y = most if y > most else y
            p, scale = reduced(y)
            e = scale * p + (scale - two / two)
            row[b] = math.copysign(e / (e + two), x)

    return compiled


@overload(_exp, jit_options=ORDERED)
def _exp_of(row):
    single = row.dtype == SINGLE
    reduced, one = (_reduced32, np.float32(1)) if single else (_reduced64, 1.0)
    # Before e^y underflows.
    least = np.float32(-87) if single else -708.0

    def compiled(row):
        for b in range(row.size):
            y = row[b]
            y = least if y < least else y
            p, scale = reduced(y)
            row[b] = scale * (one + p)

    return compiled


@numba.njit(**OPTIONS)
def activate(a, kind):
    """Turn sums into activations, all rows at once. ReLU leaves NaN as it is."""
    flat = a.reshape(-1)
    if kind == TANH:
        _tanh(flat)
    else:
        zero = flat.dtype.type(0)
        for b in range(flat.size):
            flat[b] = zero if flat[b] < zero else flat[b]


@numba.njit(**OPTIONS)
def slope(delta, a, kind):
    """Multiply δ by φ' of the activations, all rows at once."""
    d, flat = delta.reshape(-1), a.reshape(-1)
    zero = flat.dtype.type(0)
    if kind == TANH:
        for b in range(d.size):
            d[b] -= d[b] * flat[b] * flat[b]
    else:
        for b in range(d.size):
            d[b] = d[b] if flat[b] > zero else zero


@numba.njit(**OPTIONS)
def softmax(h, labels, rows, share, delta, top, norm):
    """Write δ = (softmax(h) − e_y)·share, the largest h of each example, and Σ e^{h − top}."""
    outputs, count = h.shape[0], rows.size
    for b in range(top.size):
        top[b] = h[0, b]
    for j in range(1, outputs):
        row = h[j]
        for b in range(top.size):
            top[b] = row[b] if row[b] > top[b] else top[b]
    for j in range(outputs):
        row, d = h[j], delta[j]
        for b in range(top.size):
            d[b] = row[b] - top[b]
    _exp(delta.reshape(-1))
    for b in range(norm.size):
        norm[b] = delta[0, b]
    for j in range(1, outputs):
        d = delta[j]
        for b in range(norm.size):
            norm[b] += d[b]
    for j in range(outputs):
        d = delta[j]
        for b in range(norm.size):
            d[b] *= share / norm[b]
        for b in range(count, norm.size):
            d[b] = 0
    for b in range(count):
        delta[labels[rows[b]], b] -= share
