r"""What is measured of a network at one time.

energy, test_loss, accuracies
    Means over fixed, seeded subsets (`record.energy_examples`) of the training and the test set, in evaluation
    mode. The weights' penalty (weight decay) is not part of the energy.
gradient_norm
    |∇L|, the Euclidean norm over all M weights of the gradient of the mean loss on `record.gradient_examples`.
gradient_noise
    D = (1/M) Σ_i [⟨(∂_i ℓ)²⟩ − ⟨∂_i ℓ⟩²], the variance of the per-sample gradient, per weight: eq. (4) of
    Baity-Jesi et al. 2018. Frozen noise of this size moves the weights by Δ = α² D t/B in t steps.

With batch-norm the loss of one example is not defined: the gradient of a mini-batch is. There both come from the
gradients g_k of K mini-batches of B examples in training mode: D = B ⟨|g_1 − g_2|²⟩/(2M) over disjoint pairs, and
|∇L|² = (|Σ g_k|² − Σ|g_k|²)/(K(K − 1)), unbiased (set to 0 where it comes out negative).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from .examples import Examples
from .losses import Loss, accuracy
from .training import Alone, Unit

#: Parts of the subset from whose scatter the error of D follows.
PARTS = 10
#: Numbers in the per-sample gradients that are held at once.
HELD = 2**23


def loss_and_accuracy(unit: Unit, loss: Loss, examples: Examples, index: Tensor) -> np.ndarray:
    """Return mean loss and accuracy of the unit's replicas on the examples `index`, shape (2, r)."""
    total = torch.zeros(2, len(unit.weights), dtype=torch.float64, device=unit.weights.device)
    for piece in index.split(examples.piece):
        inputs, labels = examples.gather(piece)
        for row, outputs in enumerate(unit.outputs(inputs)):
            total[0, row] += loss.each(outputs, labels).double().sum()
            total[1, row] += accuracy(outputs, labels)
    return (total / len(index)).cpu().numpy()


@dataclass(frozen=True)
class Noise:
    """The gradient noise D of one replica and its standard error."""

    value: float
    error: float


def squared(gradients: list[Tensor]) -> float:
    """Return Σ_i g_i²; the sum over the parameters' own sums is in double precision."""
    return float(sum(torch.linalg.vector_norm(g).double() ** 2 for g in gradients))


def gradient_norm(unit: Alone, index: Tensor) -> float:
    """Return |∇L| on the examples `index`; with batch-norm the estimate from mini-batches."""
    if unit.couples:
        return _norm_from_batches(unit, index)
    sums: list[Tensor] = []
    with unit.evaluating():
        for piece in index.split(min(unit.examples.piece, 1000)):
            _, found = unit.gradient(piece[None])
            sums = (
                [s + g.double() for s, g in zip(sums, found, strict=True)]
                if sums
                else [g.double() for g in found]
            )
    # The unit divides by B.
    return math.sqrt(squared(sums)) * unit.batch_size / len(index)


def _norm_from_batches(unit: Alone, index: Tensor) -> float:
    sums: list[Tensor] = []
    squares, count = 0.0, 0
    with unit.scratch_buffers():
        for piece in _batches(unit, index):
            _, found = unit.gradient(piece[None])
            squares += squared(found)
            sums = [s + g for s, g in zip(sums, found, strict=True)] if sums else found
            count += 1
    return math.sqrt(max(0.0, (squared(sums) - squares) / (count * (count - 1))))


def _batches(unit: Unit, index: Tensor) -> list[Tensor]:
    """Cut the subset into whole mini-batches; at least two, taken from the beginning again if it is short."""
    size = unit.batch_size
    count = max(2, len(index) // size)
    places = torch.arange(count * size, device=index.device) % len(index)
    return list(index[places].split(size))


def gradient_noise(unit: Alone, index: Tensor) -> Noise:
    """Return D on the examples `index`.

    The subset is cut into parts, each an unbiased estimate by its own mean; D is their mean and the error its
    standard error, that is, of the subset as a sample of all examples.
    """
    values = _noise_from_batches(unit, index) if unit.couples else _noise_from_examples(unit, index)
    found = np.array(values) / unit.layout.dof
    error = found.std(ddof=1) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return Noise(float(found.mean()), float(error))


def _noise_from_batches(unit: Alone, index: Tensor) -> list[float]:
    batches = _batches(unit, index)
    values = []
    with unit.scratch_buffers():
        for first, second in zip(batches[::2], batches[1::2], strict=False):
            (_, a), (_, b) = unit.gradient(first[None]), unit.gradient(second[None])
            values.append(unit.batch_size / 2 * squared([p - q for p, q in zip(a, b, strict=True)]))
    return values


def _noise_from_examples(unit: Alone, index: Tensor) -> list[float]:
    """Return Σ_i Var(∂_i ℓ) from each part, by per-sample gradients."""
    parameters = {n: p.detach() for n, p in unit.module.named_parameters() if p.requires_grad}

    def loss(weights: dict[str, Tensor], inputs: Tensor, label: Tensor) -> Tensor:
        outputs = functional_call(unit.module, weights, (inputs[None],))
        return unit.loss.mean(outputs, label[None])

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0))
    held = max(1, HELD // unit.layout.dof)
    values = []
    with unit.evaluating(), unit.plain():
        for part in index.tensor_split(min(PARTS, len(index) // 2)):
            squares, sums = 0.0, [torch.zeros_like(p, dtype=torch.float64) for p in parameters.values()]
            for piece in part.split(held):
                found = list(per_sample(parameters, *unit.examples.gather(piece)).values())
                squares += squared(found)
                for total, g in zip(sums, found, strict=True):
                    total += g.sum(0)
            n = len(part)
            values.append((squares - squared(sums) / n) / (n - 1))
    return values
