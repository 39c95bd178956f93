"""Compiled gradient descent of many tiny nets: everything between two measurements in one call.

In a net of 72 weights no matrix product is large enough for BLAS. Here the examples of a batch are the
innermost index: activations are stored as (unit, example), a row for each unit, and every loop runs over a
row, tanh and exp included. Rows are padded to whole vectors with examples whose δ is zero. Only a wide first
layer (images) keeps the inputs of an example side by side, as they lie in memory.

The derivation of the gradient stands in `perceptron_kernels`. Everything is serial, one net after the other,
and releases the GIL; a net's numbers do not depend on which others share a call.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from langevin.systems.compiling import fingerprint, njit

from . import perceptron_kernels, tiny_rows, tiny_vectors
from .perceptron_kernels import move, push
from .tiny_rows import OPTIONS, activate, slope, softmax
from .tiny_vectors import VECTOR, combine, dots

#: Inputs from which on the first layer keeps them side by side.
WIDE = 33
#: Examples that a measurement takes at once.
PIECE = 128


def workspace(sizes: NDArray[np.int64], count: int, like: NDArray[Any]) -> tuple[Any, ...]:
    """Return room for a batch of `count` examples, in the precision of `like`.

    Inputs; activations of all layers; their δ; three rows of numbers; labels; examples; a gradient;
    and whether the first layer is wide.
    """
    lanes = VECTOR // like.itemsize
    padded = -(-count // lanes) * lanes
    wide = bool(sizes[0] >= WIDE)
    return (
        np.zeros((count, sizes[0]) if wide else (sizes[0], padded), like.dtype),
        np.zeros((sizes[1:].sum(), padded), like.dtype),
        np.zeros((sizes[1:].sum(), padded), like.dtype),
        np.zeros((3, padded), like.dtype),
        np.full(padded, -1, f"i{like.itemsize}"),
        np.zeros(count, np.int32),
        np.zeros(np.sum(sizes[1:] * (sizes[:-1] + 1)), like.dtype),
        wide,
    )


@numba.njit(inline="always")
def _address(array):
    """Return where an array begins; signed, as what is added to it."""
    return np.int64(array.ctypes.data)


@numba.njit(**OPTIONS)
def _gather(inputs, labels, batch, scale, shift, x, answers, wide):
    """Write scale·input + shift of a batch to x, (unit, example), or (example, unit) if wide; and labels."""
    if wide:
        for b in range(batch.size):
            row = batch[b]
            for i in range(x.shape[1]):
                x[b, i] = scale[i] * inputs[row, i] + shift[i]
    else:
        for i in range(x.shape[0]):
            factor, offset = scale[i], shift[i]
            for b in range(batch.size):
                x[i, b] = factor * inputs[batch[b], i] + offset
    for b in range(batch.size):
        answers[b] = labels[batch[b]]
    for b in range(batch.size, answers.size):
        answers[b] = -1


@numba.njit(**OPTIONS)
def _forward(weights, sizes, kind, x, count, rows, wide):
    """Write the activations of all layers; return the place of the outputs among the rows.

    A layer's weights, (outputs, inputs), and its biases follow each other in the vector of weights.
    """
    size, step, one = weights.itemsize, rows.shape[1], weights.dtype.type(1)
    w, out, before = _address(weights), _address(rows), _address(x)
    at, depth = 0, sizes.size - 1
    for k in range(1, depth + 1):
        inputs, outputs = sizes[k - 1], sizes[k]
        bias = w + size * inputs * outputs
        if k == 1 and wide:
            dots(one, out, step, w, inputs, before, inputs, outputs, count, inputs)
            for j in range(outputs):
                for b in range(count):
                    rows[j, b] += weights[inputs * outputs + j]
        else:
            combine(one, out, step, before, step, w, inputs, 1, bias, outputs, inputs, step)
        if k < depth:
            activate(rows, at, at + outputs, kind)
        before, out, w, at = out, out + size * step * outputs, bias + size * outputs, at + outputs
    return at - sizes[depth]


@numba.njit(**OPTIONS)
def _backward(weights, sizes, kind, x, count, rows, at, deltas, gradient, wide):
    """Write the gradient, and δ of all layers, from δ of the outputs, which stand from row `at` on.

    The gradient of the last biases is there already.
    """
    size, step, depth, one = weights.itemsize, rows.shape[1], sizes.size - 1, weights.dtype.type(1)
    w, g = _address(weights) + size * weights.size, _address(gradient) + size * gradient.size
    a, d = _address(rows) + size * step * at, _address(deltas) + size * step * at
    end = gradient.size
    for k in range(depth, 0, -1):
        inputs, outputs = sizes[k - 1], sizes[k]
        end -= outputs * (inputs + 1)
        w, g = w - size * outputs * (inputs + 1), g - size * outputs * (inputs + 1)
        a = _address(x) if k == 1 else a - size * step * inputs
        if k == 1 and wide:
            combine(one, g, inputs, a, inputs, d, step, 1, 0, outputs, count, inputs)
        else:
            dots(one, g, inputs, d, step, a, step, outputs, inputs, step)
        if k > 1:
            later, d, at = d, d - size * step * inputs, at - inputs
            combine(one, d, step, later, step, w, 1, inputs, 0, inputs, outputs, step)
            slope(deltas, rows, at, at + inputs, kind, gradient, end - inputs)


@numba.njit(**OPTIONS)
def _squares(sizes, x, count, rows, deltas, extra, wide):
    """Return the sum over examples of the squared norm of their own gradients, Σ_layers |δ|² (1 + |a|²).

    The first two rows of `extra` are room for a number of each example.
    """
    before, slopes = extra[0], extra[1]
    for b in range(count):
        before[b] = 1
        if wide:
            for i in range(sizes[0]):
                before[b] += x[b, i] * x[b, i]
    if not wide:
        _add_squares(x, 0, sizes[0], before)
    total, at = 0.0, 0
    for k in range(1, sizes.size):
        for b in range(count):
            slopes[b] = 0
        _add_squares(deltas, at, sizes[k], slopes)
        for b in range(count):
            total += slopes[b] * before[b]
            before[b] = 1
        _add_squares(rows, at, sizes[k], before)
        at += sizes[k]
    return total


@numba.njit(**OPTIONS)
def _add_squares(rows, first, count, sums):
    """Add the squares of `count` rows to `sums`."""
    for j in range(first, first + count):
        row = rows[j]
        for b in range(sums.size):
            sums[b] += row[b] * row[b]


@numba.njit(**OPTIONS)
def _judge(rows, first, answers, count, extra, scattered, found):
    """Add the losses of a batch to found[0], right answers to found[1], squared losses to found[3]."""
    # One logarithm for all: of up to `PIECE` sums, each between 1 and the number of outputs.
    product, below = 1.0, 0.0
    for b in range(count):
        y = answers[b]
        own = rows[first + y, b]
        product *= extra[1, b]
        below += extra[0, b] - own
        if scattered:
            loss = extra[0, b] - own + math.log(extra[1, b])
            found[3] += loss * loss
        # Of equal outputs the first counts, as in torch.
        right = own == extra[0, b]
        for j in range(y):
            if right and rows[first + j, b] == own:
                right = False
        found[1] += right
    found[0] += below + math.log(product)


@numba.njit(**OPTIONS)
def _update(w, v, gradient, rate, rule):
    """Take a step at this rate; return whether all weights are finite."""
    momentum, decay, one, total = rule[0], rule[1], w.dtype.type(1), 0 * rate
    for i in range(w.size):
        move(w, v, i, one, gradient, w, rate, momentum, decay)
        total += 0 * w[i]
    # 0 times what is not finite is NaN.
    return total == 0


def _compile_descend(version):
    @njit(**OPTIONS)
    def descend(w, v, field, sizes, kind, inputs, labels, scale, shift, where, batches, rates, rule, space):
        """Let a net take a step on each of the batches.

        Parameters
        ----------
        w, v : ndarray of float, shape (M,)
            Weights and velocity, changed in place; without momentum the velocity is not used.
        field : ndarray of float, shape (M,) or (0,)
            A constant force, added to minus the gradient; or none.
        sizes : ndarray of int64, shape (layers + 1,)
            Inputs, hidden units, outputs.
        kind : int
            `RELU` or `TANH`.
        inputs : ndarray, shape (P, n)
            Bytes or floats.
        labels : ndarray of int64, shape (P,)
        scale, shift : ndarray of float, shape (n,)
        where : ndarray of int32, shape (N,) or (1,)
            Which of the inputs the net learns from; or the first of these, if they follow each other.
        batches : ndarray of int32, shape (steps, B)
            Places in `where`.
        rates : ndarray of float, shape (steps,)
            The learning rate of each step.
        rule : ndarray of float, shape (3,)
            Momentum, weight decay, one over the number by which a batch's sum is divided.
        space : tuple
            `workspace` for batches of this size.

        Returns
        -------
        int
            The first step after which weights are not finite, and at which it ended; −1: none.
        """
        if version == 0:
            return -1
        count = batches.shape[1]
        x, rows, deltas, extra, answers, chosen, gradient, wide = space
        for step in range(batches.shape[0]):
            if where.size == 1:
                for b in range(count):
                    chosen[b] = where[0] + batches[step, b]
            else:
                for b in range(count):
                    chosen[b] = where[batches[step, b]]
            _gather(inputs, labels, chosen, scale, shift, x, answers, wide)
            at = _forward(w, sizes, kind, x, count, rows, wide)
            softmax(rows, at, rows.shape[0], answers, count, rule[2], deltas, extra, gradient)
            _backward(w, sizes, kind, x, count, rows, at, deltas, gradient, wide)
            push(gradient, field)
            if not _update(w, v, gradient, rates[step], rule):
                return step
        return -1

    return descend


def _compile_probe(version):
    @njit(**OPTIONS)
    def probe(
        weights,
        sizes,
        kind,
        inputs,
        labels,
        scale,
        shift,
        chosen,
        bounds,
        which,
        squares,
        scattered,
        space,
        gradient,
        found,
    ):
        """Measure each net on examples of its own.

        Parameters
        ----------
        weights : ndarray of float, shape (R, M)
        sizes, kind, inputs, labels, scale, shift
            As for `descend`.
        chosen : ndarray of int64, shape (n,)
            Examples, subset after subset.
        bounds : ndarray of int64, shape (subsets, 2)
            Where each subset begins in `chosen`, and where it ends.
        which : ndarray of int64, shape (R,)
            The subset of each net.
        squares : bool
            Whether the squared norms of gradients are wanted.
        scattered : bool
            Whether the squares of the losses are wanted.
        space : tuple
            `workspace` for `PIECE` examples.
        gradient : ndarray of float64, shape (R, M)
            The sum of the examples' gradients is written here; they are not computed for shape (R, 0).
        found : ndarray of float64, shape (R, 4)
            Sum of the losses; number of right answers; if wanted, Σ |gradient|² and Σ loss².
        """
        if version == 0:
            return
        one = weights.dtype.type(1)
        x, rows, deltas, extra, answers, _, part, wide = space
        descent = gradient.shape[1] > 0
        for r in range(weights.shape[0]):
            w, (begin, end) = weights[r], bounds[which[r]]
            for i in range(4):
                found[r, i] = 0
            for i in range(gradient.shape[1]):
                gradient[r, i] = 0
            for start in range(begin, end, PIECE):
                batch = chosen[start : min(start + PIECE, end)]
                count = batch.size
                _gather(inputs, labels, batch, scale, shift, x, answers, wide)
                at = _forward(w, sizes, kind, x, count, rows, wide)
                softmax(rows, at, rows.shape[0], answers, count, one, deltas, extra, part)
                _judge(rows, at, answers, count, extra, scattered, found[r])
                if descent:
                    _backward(w, sizes, kind, x, count, rows, at, deltas, part, wide)
                    if squares:
                        found[r, 2] += _squares(sizes, x, count, rows, deltas, extra, wide)
                    for i in range(part.size):
                        gradient[r, i] += part[i]

    return probe


_VERSION = fingerprint(__file__, tiny_rows.__file__, tiny_vectors.__file__, perceptron_kernels.__file__)
descend, probe = _compile_descend(_VERSION), _compile_probe(_VERSION)
