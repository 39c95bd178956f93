r"""Compiled Adam of a fully connected net: all steps between two measurements in one call.

The gradient is that of `perceptron_kernels`, the rule that of `optimisers.Adam`.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from langevin.systems.compiling import njit

from .perceptron_kernels import OPTIONS, batch_loss, same_rows


@numba.njit(inline="always")
def _known_part(kept, count):
    """Return 1 − βⁿ, the part of a moment that n gradients have filled."""
    return -math.expm1(count * math.log(kept)) if kept > 0 else 1.0


@njit(**OPTIONS)
def _adam(weights, gradient, first, second, count, rate, rule, moments):
    """Take a step of Adam at the rate α; it is the n-th, `count`; moments holds β₁, β₂, ε."""
    decay, one = rule[1], weights.dtype.type(1)
    kept, kept_square, epsilon = moments[0], moments[1], moments[2]
    scale = weights.dtype.type(rate / _known_part(kept, count))
    root = weights.dtype.type(1 / math.sqrt(_known_part(kept_square, count)))
    for i in range(weights.size):
        g = gradient[i] + decay * weights[i]
        first[i] = kept * first[i] + (one - kept) * g
        second[i] = kept_square * second[i] + (one - kept_square) * g * g
        weights[i] -= scale * first[i] / (math.sqrt(second[i]) * root + epsilon)


@njit(**OPTIONS)
def descend(
    weights,
    first,
    second,
    counts,
    moments,
    sizes,
    kinds,
    inputs,
    labels,
    scale,
    shift,
    batches,
    rates,
    rule,
    losses,
):
    """Take a step on each of the batches; arguments besides these as of `perceptron_kernels.descend`.

    Parameters
    ----------
    weights, first, second : ndarray of float, shape (M,)
        Changed in place.
    counts : ndarray of float, shape (tensors,)
        Steps that were taken, the same number for every tensor; changed in place.
    moments : ndarray of float, shape (3,)
        β₁, β₂, ε.
    """
    count = batches.shape[1]
    activations = np.empty(count * sizes.sum(), weights.dtype)
    deltas = np.empty((2, count * sizes[1:].max()), weights.dtype)
    gradient = np.zeros_like(weights)
    for step in range(batches.shape[0]):
        losses[step] = 0
        if rule[4] > 0 and step > 0 and losses[step - 1] == 0 and same_rows(batches, step):
            continue
        gradient[:] = 0
        if count:
            losses[step] = batch_loss(
                weights,
                sizes,
                kinds,
                inputs,
                labels,
                scale,
                shift,
                batches[step],
                rule,
                activations,
                deltas,
                gradient,
            )
        if rule[4] > 0 and losses[step] == 0:
            continue
        for k in range(counts.size):
            counts[k] += 1
        _adam(weights, gradient, first, second, counts[0], rates[step], rule, moments)
