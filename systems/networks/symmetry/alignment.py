"""The last ends of curves are brought near to the first by a permutation of their units."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from langevin.core.ensemble import Ensemble
from langevin.errors import LangevinError, UserError
from langevin.machine.blas import single_blas

from ..nets.layout import Layout
from .groups import groups
from .matching import Weights, matched, permuted

Array = NDArray[np.float64]

#: Outputs in double precision differ by this much at most, over the largest: sums have another order.
SAME = 1e-9


def aligned(
    module: nn.Module, layout: Layout, inputs: Tensor, start: Array, end: Array, ensemble: Ensemble
) -> Array:
    """Return the ends, shape (R, M), with units permuted such that they fit those of the starts.

    Parameters
    ----------
    module : Module
        A copy of the network, with its frozen parameters and buffers.
    layout : Layout
    inputs : Tensor, shape (B, …)
        Some inputs as the network gets them: the function is compared on them.
    start, end : ndarray, shape (R, M)
    ensemble : Ensemble
        Of the curves.

    Raises
    ------
    UserError
        If no units may change places.
    LangevinError
        If the permuted network has another function.
    """
    found = groups(module, inputs)
    movable = {axis.name for group in found for axis in group.axes}
    if not movable & set(layout.names):
        raise UserError(
            f"system.align = true: no units of {type(module).__name__} may change places; allowed: false"
        )
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad} & movable
    if frozen:
        raise UserError(
            f"system.align = true: {', '.join(sorted(frozen))} would be permuted, and is frozen; "
            "allowed: false"
        )
    rows = []
    with single_blas():
        for k, one, other in zip(ensemble.replica.tolist(), start, end, strict=True):
            a, b = (_named(layout, x) for x in (one, other))
            order = matched(a, b, found, ensemble.quenched("alignment", k))
            rows.append(_flat(layout, permuted(b, found, order)))
            _require_same(module, layout, inputs, other, rows[-1])
    return np.stack(rows)


def distances(start: Array, end: Array) -> Array:
    """Return the root mean square distance per weight of each pair, shape (R,)."""
    return np.asarray(np.sqrt(np.mean((start - end) ** 2, axis=1)))


def _named(layout: Layout, x: Array) -> Weights:
    return {b.name: np.asarray(x[b.start : b.stop], np.float64).reshape(b.shape) for b in layout.blocks}


def _flat(layout: Layout, weights: Weights) -> Array:
    return np.concatenate([weights[name].ravel() for name in layout.names])


def _require_same(module: nn.Module, layout: Layout, inputs: Tensor, before: Array, after: Array) -> None:
    """Make sure that two sets of weights have one function: batch-norm by the batch, in double precision."""
    outputs = [_outputs(module, layout, inputs, x) for x in (before, after)]
    apart = float((outputs[0] - outputs[1]).abs().max())
    if not apart <= SAME * max(1.0, float(outputs[0].abs().max())):
        raise LangevinError(
            f"system.align = true: {type(module).__name__} has another function after its units have changed "
            f"places: outputs differ by {apart:.3g}"
        )


def _outputs(module: nn.Module, layout: Layout, inputs: Tensor, x: Array) -> Tensor:
    own = deepcopy(module).cpu().double().train()
    values = inputs.cpu().double() if inputs.is_floating_point() else inputs.cpu()
    weights = layout.views(torch.from_numpy(np.array(x, np.float64)))
    with torch.no_grad():
        return layout.call(own, weights, values)
