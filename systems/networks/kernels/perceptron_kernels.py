"""Compiled gradient descent of a fully connected net: all steps between two measurements in one call.

With a₀ the inputs of a batch, h_l = a_{l−1} W_lᵀ + b_l and a_l = φ(h_l), the gradient of the mean loss is

    ∂L/∂W_l = δ_lᵀ a_{l−1},   ∂L/∂b_l = Σ_batch δ_l,   δ_{l−1} = (δ_l W_l) φ'(h_{l−1}),

where φ' is a function of a: 1 where a > 0 for ReLU, 1 − a² for tanh, a(1 − a) for the sigmoid. The last δ is
(softmax(h) − e_y)/B for the cross-entropy; for the squared error averaged over K outputs it is
2(a − e_y)/(BK), times φ' if a sigmoid is last; for the quadratic hinge −y max(0, ε − y h)/B, y = ±1.

Of the hinge, examples that have no loss cost a forward pass alone: the others move to the front before the
way back.

Everything is serial and releases the GIL; matrix products are those of the BLAS that scipy brings. The
arithmetic is bound by them: 2·B·Σ_l n_l n_{l−1} flops forward, as many for ∂L/∂W, the same but for the first
layer for δ.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from langevin.systems.compiling import njit

# No assumption that numbers are finite: a run that diverges must show it.
OPTIONS = {
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": {"reassoc", "contract", "nsz"},
    # Sums have a free order, so that a kernel holds its one copy of each: else one that this process compiled
    # and one from the disk may call different copies, and differ in the last bits.
    "forceinline": True,
}

RELU, TANH = 0, 1
NONE, SIGMOID = 0, 1
CROSS_ENTROPY, SQUARED, HINGE = 0, 1, 2


@njit(**OPTIONS)
def _gather(inputs, rows, scale, shift, x):
    """Write scale·input + shift of the examples `rows` to x, shape (B, n)."""
    for b in range(rows.size):
        source, target = inputs[rows[b]], x[b]
        for j in range(target.size):
            target[j] = scale[j] * source[j] + shift[j]


@njit(**OPTIONS)
def _activate(h, bias, kind):
    """Turn products into activations, in place. ReLU leaves NaN as it is."""
    zero = h.dtype.type(0)
    for b in range(h.shape[0]):
        row = h[b]
        for j in range(row.size):
            row[j] += bias[j]
        if kind == RELU:
            for j in range(row.size):
                row[j] = zero if row[j] < zero else row[j]
        elif kind == TANH:
            for j in range(row.size):
                row[j] = math.tanh(row[j])


@njit(**OPTIONS)
def _slope(delta, a, kind):
    """Multiply δ by φ', in place."""
    for b in range(delta.shape[0]):
        for j in range(delta.shape[1]):
            if kind == RELU:
                if not a[b, j] > 0:
                    delta[b, j] = 0
            else:
                delta[b, j] -= delta[b, j] * a[b, j] * a[b, j]


@njit(**OPTIONS)
def _cross_entropy(h, labels, rows, share, delta):
    """Return the batch's loss Σ −ln softmax(h)_y · share, and write δ."""
    total = 0.0
    for b in range(rows.size):
        top = h[b].max()
        norm = 0 * share
        for j in range(h.shape[1]):
            delta[b, j] = math.exp(h[b, j] - top)
            norm += delta[b, j]
        y = labels[rows[b]]
        total += math.log(norm) - (h[b, y] - top)
        for j in range(h.shape[1]):
            delta[b, j] *= share / norm
        delta[b, y] -= share
    return total * share


@njit(**OPTIONS)
def _squared(a, labels, rows, share, last, delta):
    """Return the batch's loss Σ (a − e_y)² · share/K, and write δ; `a` becomes the last activation."""
    total, outputs = 0.0, a.shape[1]
    for b in range(rows.size):
        for j in range(outputs):
            if last == SIGMOID:
                a[b, j] = 1 / (1 + math.exp(-a[b, j]))
            error = a[b, j] - (1 if labels[rows[b]] == j else 0)
            total += error * error
            slope = a[b, j] * (1 - a[b, j]) if last == SIGMOID else 1.0
            delta[b, j] = 2 * error * slope * share / outputs
    return total * share / outputs


@njit(**OPTIONS)
def _hinge(h, labels, rows, share, margin, unsatisfied, delta):
    """Return the batch's loss Σ max(0, Δ)²/2 · share, Δ = ε − y h.

    The places in the batch with Δ > 0 are written to `unsatisfied`, from its second number on, and their δ to
    the first rows; how many they are, to its first.
    """
    total, count = 0.0, 0
    for b in range(rows.size):
        y = 2 * labels[rows[b]] - 1
        gap = margin - y * h[b, 0]
        # What is not a number is no loss of 0.
        if not gap <= 0:
            total += gap * gap
            delta[count, 0] = -y * gap * share
            count += 1
            unsatisfied[count] = b
    unsatisfied[0] = count
    return total * share / 2


@njit(**OPTIONS)
def _to_front(activations, chosen):
    """Move the rows chosen[1:], ascending, to the front; chosen[0] is their number."""
    for k in range(chosen[0]):
        b = chosen[k + 1]
        if b != k:
            for j in range(activations.shape[1]):
                activations[k, j] = activations[b, j]


@numba.njit(inline="always")
def move(weights, velocity, i, share, gradient, at, rate, momentum, decay):
    """Let weight i descend by the rule of `optimisers.SGD`, as all kernels do.

    Its slope is a share of the gradient i and of the decay where the gradient was found, `at`.
    """
    if momentum == 0:
        weights[i] -= rate * share * (gradient[i] + decay * at[i])
    else:
        velocity[i] = momentum * velocity[i] + share * (gradient[i] + decay * at[i])
        weights[i] -= rate * velocity[i]


@njit(**OPTIONS)
def _update(weights, gradient, velocity, rate, rule):
    """Take a step at the rate α; rule holds μ, λ."""
    momentum, decay, one = rule[0], rule[1], weights.dtype.type(1)
    for i in range(weights.size):
        move(weights, velocity, i, one, gradient, weights, rate, momentum, decay)


@njit(**OPTIONS)
def _layer(sizes, weights, number):
    """Return weight matrix and bias of a layer, counted from 1, as views of the vector."""
    start = 0
    for k in range(1, number):
        start += sizes[k] * (sizes[k - 1] + 1)
    outputs, inputs = sizes[number], sizes[number - 1]
    middle = start + outputs * inputs
    return weights[start:middle].reshape(outputs, inputs), weights[middle : middle + outputs]


@njit(**OPTIONS)
def _gradient(weights, sizes, kinds, labels, rows, rule, activations, deltas, gradient):
    """Return the loss of a batch whose inputs are the first activations, and write its gradient."""
    share = rule[2]
    count, depth = rows.size, sizes.size - 1
    places = np.zeros(sizes.size + 1, np.int64)
    for k in range(sizes.size):
        places[k + 1] = places[k] + count * sizes[k]
    for k in range(1, depth + 1):
        weight, bias = _layer(sizes, weights, k)
        before = activations[places[k - 1] : places[k]].reshape(count, sizes[k - 1])
        after = activations[places[k] : places[k + 1]].reshape(count, sizes[k])
        np.dot(before, weight.T, after)
        _activate(after, bias, kinds[0] if k < depth else -1)
    outputs = activations[places[depth] : places[depth + 1]].reshape(count, sizes[depth])
    delta = deltas[depth % 2, : count * sizes[depth]].reshape(count, sizes[depth])
    if kinds[2] == HINGE:
        chosen = np.empty(count + 1, np.int64)
        loss = _hinge(outputs, labels, rows, share, rule[3], chosen, delta)
        for k in range(depth):
            _to_front(activations[places[k] : places[k + 1]].reshape(count, sizes[k]), chosen)
        count = chosen[0]
        if count == 0:
            gradient[:] = 0
            return loss
        delta = deltas[depth % 2, : count * sizes[depth]].reshape(count, sizes[depth])
    elif kinds[2] == SQUARED:
        loss = _squared(outputs, labels, rows, share, kinds[1], delta)
    else:
        loss = _cross_entropy(outputs, labels, rows, share, delta)
    for k in range(depth, 0, -1):
        weight, _ = _layer(sizes, weights, k)
        slope, by_bias = _layer(sizes, gradient, k)
        first = places[k - 1]
        before = activations[first : first + count * sizes[k - 1]].reshape(count, sizes[k - 1])
        np.dot(delta.T, before, slope)
        by_bias[:] = 0
        for b in range(count):
            for j in range(sizes[k]):
                by_bias[j] += delta[b, j]
        if k > 1:
            earlier = deltas[(k - 1) % 2, : count * sizes[k - 1]].reshape(count, sizes[k - 1])
            np.dot(delta, weight, earlier)
            _slope(earlier, before, kinds[0])
            delta = earlier
    return loss


@njit(**OPTIONS)
def batch_loss(
    weights, sizes, kinds, inputs, labels, scale, shift, rows, rule, activations, deltas, gradient
):
    """Return the loss of the examples `rows`, and write its gradient."""
    x = activations[: rows.size * sizes[0]].reshape(rows.size, sizes[0])
    _gather(inputs, rows, scale, shift, x)
    return _gradient(weights, sizes, kinds, labels, rows, rule, activations, deltas, gradient)


@njit(**OPTIONS)
def same_rows(batches, step):
    """Say whether the batch of a step is that of the step before."""
    same = True
    for b in range(batches.shape[1]):
        same = same and batches[step, b] == batches[step - 1, b]
    return same


@njit(**OPTIONS)
def push(gradient, field):
    """Add the force of a constant field to the gradient, in place; a field of shape (0,) is none."""
    for i in range(field.size):
        gradient[i] -= field[i]


@njit(**OPTIONS)
def descend(
    weights, velocity, field, sizes, kinds, inputs, labels, scale, shift, batches, rates, rule, losses
):
    """Take a step on each of the batches.

    Parameters
    ----------
    weights, velocity : ndarray of float, shape (M,)
        Changed in place; without momentum the velocity is not used.
    field : ndarray of float, shape (M,) or (0,)
        A constant force, added to minus the gradient; or none.
    sizes : ndarray of int64, shape (layers + 1,)
        Inputs, hidden units, outputs.
    kinds : tuple of int
        Activation, what follows the last layer, loss.
    inputs : ndarray, shape (P, n)
        Bytes or floats.
    labels : ndarray of int64, shape (P,)
    scale, shift : ndarray of float, shape (n,)
    batches : ndarray of int64, shape (steps, B)
        Examples of each step's batch; may be none.
    rates : ndarray of float, shape (steps,)
        The learning rate of each step.
    rule : ndarray of float, shape (5,)
        Momentum, weight decay, one over the number by which a batch's sum is divided, margin ε of the hinge,
        and whether no step is taken of a batch without a loss.
    losses : ndarray of float, shape (steps,)
        The loss that each step found is written here.
    """
    count = batches.shape[1]
    activations = np.empty(count * sizes.sum(), weights.dtype)
    deltas = np.empty((2, count * sizes[1:].max()), weights.dtype)
    gradient = np.zeros_like(weights)
    for step in range(batches.shape[0]):
        losses[step] = 0
        if rule[4] > 0 and step > 0 and losses[step - 1] == 0 and same_rows(batches, step):
            continue
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
        push(gradient, field)
        _update(weights, gradient, velocity, rates[step], rule)


@njit(**OPTIONS)
def _place(phi, start, bends, end, w):
    """Write φ = Σ_k w_k P_k, the point of a curve at which the gradient is wanted."""
    first, one, last = w[0], w[1], w[-1]
    for i in range(phi.size):
        phi[i] = first * start[i] + one * bends[0, i] + last * end[i]
    for k in range(1, bends.shape[0]):
        more, row = w[k + 1], bends[k]
        if more != 0:
            for i in range(phi.size):
                phi[i] += more * row[i]


@njit(**OPTIONS)
def _update_bend(bend, velocity, phi, gradient, share, rate, rule):
    """Take the step of one bend, whose weight in φ is `share`; decay acts on φ."""
    momentum, decay = rule[0], rule[1]
    if share == 0 and momentum == 0:
        return
    for i in range(bend.size):
        move(bend, velocity, i, share, gradient, phi, rate, momentum, decay)


@njit(**OPTIONS)
def descend_bends(
    bends,
    velocity,
    start,
    end,
    ways,
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
    """Take a step of a curve's bends on each of the batches; arguments besides these as of `descend`.

    Parameters
    ----------
    bends, velocity : ndarray of float, shape (n, M)
        Changed in place; without momentum the velocity is not used.
    start, end : ndarray of float, shape (M,)
        The ends of the curve.
    ways : ndarray of float, shape (steps, n + 2)
        Weights of the control points at each step's position.
    """
    count = batches.shape[1]
    activations = np.empty(count * sizes.sum(), bends.dtype)
    deltas = np.empty((2, count * sizes[1:].max()), bends.dtype)
    gradient, phi = np.zeros_like(start), np.empty_like(start)
    for step in range(batches.shape[0]):
        _place(phi, start, bends, end, ways[step])
        losses[step] = 0
        if count:
            losses[step] = batch_loss(
                phi,
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
        for k in range(bends.shape[0]):
            share = ways[step, k + 1]
            _update_bend(bends[k], velocity[k], phi, gradient, share, rates[step], rule)
