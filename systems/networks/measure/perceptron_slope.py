r"""Mean losses of fully connected nets and their gradients in closed form: what quenches ask for, many times.

With layers z_m = W_m a_m + b_m, a_{m+1} = φ(z_m) and δ_m = ∂ℓ/∂z_m, of each example

    δ_m = φ'_m W_{m+1}ᵀ δ_{m+1},    ∂ℓ/∂W_m = δ_m a_mᵀ,    ∂ℓ/∂b_m = δ_m,

and the gradient is the mean over the examples. Of tiny nets this is some ten calls of numpy for all replicas
together, a fraction of what building and differentiating a graph takes. Arrays have the replicas first and
the examples last, where they are contiguous.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..descent.perceptron import Shape
from .perceptron_hessian import Array


def slopes(
    weights: Array, shape: Shape, inputs: Array, labels: NDArray[np.int64], margin: float = 1.0
) -> tuple[Array, Array]:
    """Return the mean losses, shape (R,), and their gradients, shape (R, M).

    Parameters
    ----------
    weights : ndarray, shape (R, M)
        Weights and biases, layer after layer, as PyTorch orders them.
    shape : Shape
    inputs : ndarray, shape (R, n_0, P)
    labels : ndarray of int, shape (R, P)
    margin : float
        ε of the quadratic hinge.
    """
    layers, signals = _layers(weights, shape.sizes), [inputs]
    for m, (matrix, bias) in enumerate(layers, 1):
        z = matrix @ signals[-1]
        z += bias[:, :, None]
        if m < len(layers):
            z = np.tanh(z, out=z) if shape.activation == "tanh" else np.maximum(z, 0, out=z)
        signals.append(z)
    loss, delta = _loss(shape, signals.pop(), labels, margin)
    delta /= labels.shape[1]
    found: list[Array] = []
    for m in range(len(layers) - 1, -1, -1):
        before = signals[m]
        found[:0] = [(delta @ before.swapaxes(1, 2)).reshape(len(weights), -1), delta.sum(2)]
        if m:
            delta = layers[m][0].swapaxes(1, 2) @ delta
            delta *= 1 - before**2 if shape.activation == "tanh" else before > 0
    return loss, np.concatenate(found, axis=1)


def _layers(weights: Array, sizes: tuple[int, ...]) -> list[tuple[Array, Array]]:
    """Return W, shape (R, outputs, inputs), and b, shape (R, outputs), of every layer."""
    found, start = [], 0
    for a, b in pairwise(sizes):
        bias = start + a * b
        found.append((weights[:, start:bias].reshape(-1, b, a), weights[:, bias : bias + b]))
        start = bias + b
    return found


def _loss(shape: Shape, z: Array, labels: NDArray[np.int64], margin: float) -> tuple[Array, Array]:
    """Return mean losses, and ∂ℓ/∂z of every example, shape (R, K, P), z being the last layer's."""
    number, label = z.shape[1], labels[:, None]
    if shape.loss == "quadratic_hinge":
        signs = np.asarray(2.0 * label - 1, dtype=np.float64)
        gap = np.asarray(np.maximum(margin - signs * z, 0), dtype=np.float64)
        first = np.asarray(-signs * gap, dtype=np.float64)
        return np.mean(gap[:, 0] ** 2, axis=1) / 2, first
    target = (label == np.arange(number)[:, None]).astype(np.float64)
    if shape.loss == "cross_entropy":
        shifted = z - z.max(1, keepdims=True)
        logs = np.log(np.exp(shifted).sum(1, keepdims=True))
        right = np.sum(shifted * target, axis=1)
        return np.mean(logs[:, 0] - right, axis=1), np.exp(shifted - logs) - target
    value = 1 / (1 + np.exp(-z)) if shape.last == "sigmoid" else z
    off = value - target
    delta = 2 / number * off
    if shape.last == "sigmoid":
        delta *= value * (1 - value)
    return np.mean(off**2, axis=(1, 2)), delta
