r"""The gradient noise of each layer, D_l = (1/M_l) Σ_{i in l} [⟨(∂_i ℓ)²⟩ − ⟨∂_i ℓ⟩²], M D = Σ_l M_l D_l.

It is found as `measurement` finds D, on the same examples and mini-batches, with the squares of every layer
summed apart: from per-sample gradients, or with batch-norm from gradients of disjoint mini-batches. Errors
are those of each layer, from the scatter of the same parts; the layers share their examples, so that these
errors are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.machine.interruption import heed

from ..data.subsets import Subset
from ..descent.training import Alone
from .measurement import HELD, noise_of_parts, of_batch, parts_of, per_sample, zeros

Numbers = NDArray[np.float64]


def layer_noise(unit: Alone, subset: Subset) -> Numbers:
    """Return D_l of one replica and its standard error, shape (2, layers), of `layers.blocks`."""
    sizes = np.array([block.stop - block.start for block in unit.layout.blocks])
    batched = subset.batches is not None
    values, errors = (_from_batches if batched else _from_examples)(unit, subset)
    held = sizes > 0
    return np.stack([values[held], errors[held]]) / sizes[held]


def _squares(tensors: list[Tensor]) -> Numbers:
    """Return Σ_i g_i² of every tensor, shape (tensors,)."""
    with torch.no_grad():
        found = torch.stack([torch.linalg.vector_norm(g).double() ** 2 for g in tensors])
    return np.asarray(found.cpu().numpy())


def _from_examples(unit: Alone, subset: Subset) -> tuple[Numbers, Numbers]:
    """Return S_l² and its error, by per-sample gradients."""
    count, gradients_of = len(unit.layout.blocks), per_sample(unit)
    held, found = max(1, HELD // unit.layout.dof), []
    total, totals = np.zeros(count), zeros(unit)
    with unit.descending(), unit.plain():
        for part in parts_of(subset.index):
            squares, sums = np.zeros(count), zeros(unit)
            for piece in torch.split(part, held):
                heed()
                gradients = gradients_of(piece)
                squares += _squares(gradients)
                for own, g in zip(sums, gradients, strict=True):
                    own += g.sum(0)
            found.append(_variance(squares, _squares(sums), len(part)))
            total += squares
            for whole, own in zip(totals, sums, strict=True):
                whole += own
    values = _variance(total, _squares(totals), len(subset))
    parts = np.array(found).T
    pairs = [noise_of_parts(float(v), p, subset.left_out) for v, p in zip(values, parts, strict=True)]
    return values, np.array([pair.error for pair in pairs])


def _variance(squares: Numbers, square: Numbers, n: int) -> Numbers:
    """Return S² from Σ|g|² and |Σ g|² over n examples, NaN of one."""
    return (squares - square / n) / (n - 1) if n > 1 else np.full(len(squares), np.nan)


def _from_batches(unit: Alone, subset: Subset) -> tuple[Numbers, Numbers]:
    """Return S_l² and its error, from rounds of disjoint mini-batches (`measurement`)."""
    assert subset.batches is not None
    rounds, each, size = subset.batches.shape
    if size >= subset.population or rounds == 1:
        nothing = np.full(len(unit.layout.blocks), np.nan)
        return nothing, nothing
    scale = size / (1.0 if each > 1 else 1 - size / subset.population)
    with unit.scratch_buffers():
        if each == 1:
            # No two are disjoint: all of them are one sample of batches.
            value, error = _of_pairs(unit, subset.batches.flatten(0, 1), with_error=True)
            return scale * value, scale * error
        jackknife = rounds == 2 and each > 2
        pairs = [_of_pairs(unit, own, with_error=jackknife) for own in subset.batches]
    values = np.array([value for value, _ in pairs])
    if jackknife:
        error = np.sqrt(np.sum([e**2 for _, e in pairs], axis=0)) / rounds
    else:
        error = np.std(values, axis=0, ddof=1) / np.sqrt(rounds)
    return scale * values.mean(0), scale * error


def _of_pairs(unit: Alone, batches: Tensor, with_error: bool) -> tuple[Numbers, Numbers]:
    """Return half of the mean square difference of the gradients of two batches, of every tensor.

    Its error, NaN without, is that of leaving out each batch; gradients are computed again, not held.
    """
    count, squares, sums = len(batches), np.zeros(len(unit.layout.blocks)), list[Tensor]()
    for g in _gradients(unit, batches):
        squares += _squares(g)
        sums = [s + own for s, own in zip(sums, g, strict=True)] if sums else g
    value = _half(squares, _squares(sums), count)
    if not with_error or count < 3:
        return value, np.full(len(value), np.nan)
    left = []
    for g in _gradients(unit, batches):
        rest = _squares([s - own for s, own in zip(sums, g, strict=True)])
        left.append(_half(squares - _squares(g), rest, count - 1))
    scatter = np.sum((np.array(left) - np.mean(left, axis=0)) ** 2, axis=0)
    return value, np.sqrt((count - 1) / count * scatter)


def _gradients(unit: Alone, batches: Tensor) -> Iterator[list[Tensor]]:
    """Yield the gradient of each batch."""
    for piece in batches:
        heed()
        yield of_batch(unit, piece)


def _half(squares: Numbers, square: Numbers, count: int) -> Numbers:
    return (squares - square / count) / (count - 1)
