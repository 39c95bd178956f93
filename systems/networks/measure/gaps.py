r"""Gaps Δ = ε − y f of the patterns of a signed loss (`nets.margins`), and how many of them are positive.

N_Δ patterns with Δ > 0 are unsatisfied, of P. N counts weights without biases: of a net with ReLU, neuron by
neuron, incoming weights and bias may be multiplied by what the outgoing weights are divided by, so that as
many directions as there are neurons change nothing (Spigler et al. 2018, arXiv:1810.09665). Nets have r = P/N
patterns for each weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from langevin.core.system import Array
from langevin.machine.interruption import heed

from ..nets import margins
from ..nets.layout import Layout
from ..nets.losses import Loss

if TYPE_CHECKING:
    from ..descent.training import Alone
    from .curvature import Twin
    from .landscape import Landscape


class OfGaps(Protocol):
    """What gaps are taken of: a network, as far as it is known here."""

    loss: Loss
    layout: Layout

    @property
    def landscape(self) -> Landscape:
        """Evaluations at any weights."""

    @property
    def twin(self) -> Twin:
        """The same in double precision."""

    def all_examples(self, position: int) -> Tensor:
        """Return all training examples of a replica."""


def gaps(unit: Alone, index: Tensor) -> Array:
    """Return Δ of training examples, shape (n,), at the weights to which the unit is bound."""
    loss, parts = unit.problem.loss, []
    with unit.evaluating(), torch.no_grad():
        for piece in torch.split(index, unit.examples.evaluated):
            heed()
            inputs, labels = unit.gather(piece)
            parts.append(margins.gaps(unit.module(inputs), labels, loss.margin).double())
    return torch.cat(parts).cpu().numpy()


def of_replicas(network: OfGaps, state: Any) -> list[Array]:
    """Return Δ of all training examples of every replica, shape (P,) each, whatever subset is measured."""
    found = []
    for position, weights in enumerate(state.weights):
        values = [b[position] for b in state.buffers]
        network.landscape.go_to(weights, values, None)
        found.append(gaps(network.landscape.unit, network.all_examples(position)))
    return found


def counted(network: OfGaps, state: Any) -> dict[str, Array]:
    """Return N_Δ and N_Δ/N, shape (R,) each."""
    unsatisfied = np.array([np.count_nonzero(own > 0) for own in of_replicas(network, state)], dtype=float)
    return {"unsatisfied": unsatisfied, "unsatisfied_per_weight": unsatisfied / couplings(network)}


def couplings(network: OfGaps) -> int:
    """Return N, the number of weights without biases: of tensors with two axes at least."""
    return sum(int(np.prod(b.shape)) for b in network.layout.blocks if len(b.shape) > 1)


def attributes(network: OfGaps, sizes: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Return what the file says of them; `sizes` are the numbers of patterns P of the samples."""
    counts = {"patterns": int(sizes[0]), "couplings": couplings(network), "margin": network.loss.margin}
    return {
        "unsatisfied": {
            "long_name": "unsatisfied patterns N_Δ, those with ε − y f > 0",
            "symbol": r"$N_\Delta$",
            "units": "1",
            **counts,
        },
        "unsatisfied_per_weight": {
            "long_name": "unsatisfied patterns for each weight, N_Δ/N, biases not counted",
            "symbol": r"$N_\Delta/N$",
            "units": "1",
            **counts,
        },
    }
