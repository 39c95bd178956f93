r"""The gradient noise of each layer, D_l = (1/M_l) Σ_{i in l} [⟨(∂_i ℓ)²⟩ − ⟨∂_i ℓ⟩²], M D = Σ_l M_l D_l.

It is found as `measurement` finds D, on the same examples and mini-batches, with the squares of every layer
summed apart: from per-sample gradients, or with batch-norm from gradients of disjoint mini-batches. Errors
are those of each layer, from the scatter of the same parts; the layers share their examples, so that these
errors are not independent.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.subsets import Subset
from ..descent.training import Alone
from .measurement import noise_from_batches, noise_of_parts, variances


def layer_noise(unit: Alone, subset: Subset) -> NDArray[np.float64]:
    """Return D_l of one replica and its standard error, shape (2, layers), of `layers.blocks`."""
    sizes = np.array([block.stop - block.start for block in unit.layout.blocks])
    if subset.batches is not None:
        values, errors = (v + np.zeros(len(sizes)) for v in noise_from_batches(unit, subset, _squares, 1))
    else:
        values, parts = variances(unit, subset, _squares)
        pairs = zip(values, np.array(parts).T, strict=True)
        errors = np.array([noise_of_parts(float(v), p, subset.left_out).error for v, p in pairs])
    held = sizes > 0
    return np.stack([values[held], errors[held]]) / sizes[held]


def _squares(tensors: list[Tensor]) -> NDArray[np.float64]:
    """Return Σ_i g_i² of every tensor, shape (tensors,)."""
    with torch.no_grad():
        each = torch.stack([torch.linalg.vector_norm(g).double() ** 2 for g in tensors])
    return np.asarray(each.cpu().numpy())
