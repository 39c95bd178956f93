"""What is measured of many fully connected nets at once: sums over examples, by products of many matrices.

The gradient of an example's loss has, in a layer with inputs a and outputs' δ, the entries δ_j a_i and δ_j:
its square is |δ|²(|a|² + 1), summed over layers, and the gradients of single examples need not be there. All
is in double precision, so that differences of sums mean something.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Sums(NamedTuple):
    """Sums over the examples of each net.

    Attributes
    ----------
    counted : Tensor, shape (R, 4)
        Of losses; of right answers; of |gradient|²; of squared losses.
    gradient : Tensor, shape (R, M), or (R, 0)
    """

    counted: Tensor
    gradient: Tensor


def sums(
    weights: Tensor, sizes: Sequence[int], tanh: bool, inputs: Tensor, labels: Tensor, descent: bool
) -> Sums:
    """Return sums over examples for nets of one shape, with cross-entropy.

    Parameters
    ----------
    weights : Tensor, shape (R, M)
        Of double precision.
    sizes : sequence of int
        Inputs, hidden units, outputs.
    tanh : bool
        Whether hidden units have tanh, else ReLU.
    inputs : Tensor, shape (R, n, sizes[0])
        Of double precision.
    labels : Tensor of int64, shape (R, n)
    descent : bool
        Whether gradients, and their squares, are wanted.
    """
    matrices = _layers(weights, sizes)
    signals = [inputs]
    for k, (matrix, bias) in enumerate(matrices, 1):
        h = torch.baddbmm(bias[:, None], signals[-1], matrix.transpose(1, 2))
        signals.append(h if k == len(matrices) else h.tanh_() if tanh else h.relu_())
    outputs, own = signals[-1], labels[..., None]
    losses = (outputs.logsumexp(-1, keepdim=True) - outputs.gather(-1, own))[..., 0]
    right = outputs.argmax(-1) == labels
    squares, gradients = torch.zeros_like(losses[:, 0]), list[Tensor]()
    if descent:
        delta = outputs.softmax(-1)
        delta -= (torch.arange(sizes[-1], device=own.device) == own).double()
        for k in range(len(matrices) - 1, -1, -1):
            before = signals[k]
            slope = delta.transpose(1, 2) @ before
            gradients[:0] = [slope.flatten(1), delta.sum(1)]
            squares += (delta.square().sum(-1) * (before.square().sum(-1) + 1)).sum(-1)
            if k:
                delta = delta @ matrices[k][0]
                delta *= 1 - before.square() if tanh else before > 0
    counted = torch.stack([losses.sum(-1), right.sum(-1).double(), squares, losses.square().sum(-1)], dim=1)
    return Sums(counted, torch.cat(gradients, dim=1) if descent else weights[:, :0])


def _layers(weights: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Return matrices, shape (R, outputs, inputs), and biases, shape (R, outputs), where they lie."""
    layers, start = [], 0
    for inputs, outputs in pairwise(sizes):
        bias = start + inputs * outputs
        matrix = weights[:, start:bias].reshape(-1, outputs, inputs)
        layers.append((matrix, weights[:, bias : bias + outputs]))
        start = bias + outputs
    return layers
