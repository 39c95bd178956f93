r"""What is measured of a network at one time.

energy, test_loss, accuracies
    Means over fixed, seeded subsets (`record.energy_examples`) of the training and the test set, in
    evaluation mode. The penalty of weight decay is not part of the energy.
gradient_norm
    |∇L|, the Euclidean norm over all M weights of the mean loss's gradient on `record.gradient_examples`.
gradient_noise
    D = (1/M) Σ_i [⟨(∂_i ℓ)²⟩ − ⟨∂_i ℓ⟩²], the variance of the per-sample gradient, per weight: eq. (4) of
    Baity-Jesi et al. 2018. Frozen noise of this size moves the weights by Δ = α² D t/B in t steps.

With batch-norm the loss of one example is not defined; the gradient of a mini-batch is. There both come from
the gradients g_k of K mini-batches of B examples in training mode: D = B ⟨|g_1 − g_2|²⟩/(2M) over disjoint
pairs, and |∇L|² = (|Σ g_k|² − Σ|g_k|²)/(K(K − 1)), unbiased (set to 0 where it comes out negative).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, grad, vmap

from langevin.interruption import heed

from .examples import Examples
from .losses import accuracy
from .training import Alone

#: Parts of the subset from whose scatter the error of D follows.
PARTS = 10
#: Mini-batches at least, for estimates from them: two pairs have a scatter.
FEWEST = 4
#: Numbers in the per-sample gradients that are held at once.
HELD = 2**23


class Chosen(NamedTuple):
    """On which examples is measured: label of a quenched sample → indices, on the device.

    Attributes
    ----------
    trained, tested : mapping
        For losses and accuracies.
    probed : mapping
        For the gradient's norm and its noise.
    """

    trained: Mapping[int, Tensor]
    tested: Mapping[int, Tensor]
    probed: Mapping[int, Tensor]


class GradientNoise(NamedTuple):
    """D of one replica and its standard error."""

    value: float
    error: float


def loss_and_accuracy(unit: Alone, examples: Examples, index: Tensor) -> NDArray[np.float64]:
    """Return the mean loss and the accuracy on the examples `index`, shape (2,)."""
    total = torch.zeros(2, dtype=torch.float64, device=examples.device)
    with unit.evaluating(), torch.no_grad():
        for piece in torch.split(index, examples.piece):
            heed()
            inputs, labels = unit.gather(piece, examples)
            outputs = unit.module(inputs)
            total[0] += unit.problem.loss.each(outputs, labels).double().sum()
            total[1] += accuracy(outputs, labels)
    return (total / len(index)).cpu().numpy()


def squared(gradients: list[Tensor]) -> float:
    """Return Σ_i g_i²; the sum over the parameters' own sums is in double precision."""
    return float(sum(torch.linalg.vector_norm(g).double() ** 2 for g in gradients))


def gradient_norm(unit: Alone, index: Tensor) -> float:
    """Return |∇L| on the examples `index`; with batch-norm the estimate from mini-batches."""
    if unit.couples:
        return _norm_from_batches(unit, index)
    sums: list[Tensor] = []
    with unit.evaluating():
        for piece in torch.split(index, unit.examples.piece):
            heed()
            _, found = unit.gradient(piece[None])
            sums = [s + g for s, g in zip(sums, found, strict=True)] if sums else found
    # The unit divides by B.
    return math.sqrt(squared(sums)) * unit.problem.batch_size / len(index)


def gradient_noise(unit: Alone, index: Tensor) -> GradientNoise:
    """Return D on the examples `index`.

    The subset is cut into parts, each an unbiased estimate by its own mean; D is their mean and the error its
    standard error, that is, of the subset as a sample of all examples.
    """
    values = _noise_from_batches(unit, index) if unit.couples else _noise_from_examples(unit, index)
    return noise_of_parts(np.array(values) / unit.layout.dof)


def noise_of_parts(found: NDArray[np.float64]) -> GradientNoise:
    """Return the mean of the parts' estimates of D, and its standard error."""
    error = found.std(ddof=1) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return GradientNoise(float(found.mean()), float(error))


def parts_of(index: Tensor) -> tuple[Tensor, ...]:
    """Return the parts of a subset from whose scatter the error of D follows."""
    return index.tensor_split(min(PARTS, len(index) // 2))


def _noise_from_examples(unit: Alone, index: Tensor) -> list[float]:
    """Return Σ_i Var(∂_i ℓ) from each part, by per-sample gradients."""
    weights = {n: p.detach() for n, p in unit.module.named_parameters() if p.requires_grad}

    def loss(weights: dict[str, Tensor], inputs: Tensor, label: Tensor) -> Tensor:
        outputs = functional_call(unit.module, weights, (inputs[None],))
        return unit.problem.loss.mean(outputs, label[None])

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0))
    held = max(1, HELD // unit.layout.dof)
    values = []
    with unit.evaluating(), unit.plain():
        for part in parts_of(index):
            squares, sums = 0.0, [torch.zeros_like(w, dtype=torch.float64) for w in weights.values()]
            for piece in torch.split(part, held):
                heed()
                found = list(per_sample(weights, *unit.examples.gather(piece)).values())
                squares += squared(found)
                for total, g in zip(sums, found, strict=True):
                    total += g.sum(0)
            n = len(part)
            values.append((squares - squared(sums) / n) / (n - 1))
    return values


def _batches(unit: Alone, index: Tensor) -> list[Tensor]:
    """Cut the subset into whole mini-batches; if there are too few examples, from the beginning again."""
    size = unit.problem.batch_size
    count = max(FEWEST, len(index) // size)
    places = torch.arange(count * size, device=index.device) % len(index)
    return list(torch.split(index[places], size))


def _norm_from_batches(unit: Alone, index: Tensor) -> float:
    sums: list[Tensor] = []
    squares, batches = 0.0, _batches(unit, index)
    with unit.scratch_buffers():
        for piece in batches:
            heed()
            _, found = unit.gradient(piece[None])
            squares += squared(found)
            sums = [s + g for s, g in zip(sums, found, strict=True)] if sums else found
    count = len(batches)
    return math.sqrt(max(0.0, (squared(sums) - squares) / (count * (count - 1))))


def _noise_from_batches(unit: Alone, index: Tensor) -> list[float]:
    batches = _batches(unit, index)
    values = []
    with unit.scratch_buffers():
        for first, second in zip(batches[::2], batches[1::2], strict=False):
            heed()
            (_, a), (_, b) = unit.gradient(first[None]), unit.gradient(second[None])
            values.append(unit.problem.batch_size / 2 * squared([p - q for p, q in zip(a, b, strict=True)]))
    return values
