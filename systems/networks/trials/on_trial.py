"""A trial needs this much of a network; it knows nothing of how networks are assembled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from langevin.core.ensemble import Ensemble

from ..data.batches import Batches
from ..data.examples import OnDevice
from ..data.subsets import Chosen
from ..descent.training import Problem
from ..keys import RecordDescent
from ..measure.curvature import Twin
from ..nets.layout import Layout
from ..nets.losses import Loss


class OnTrial(Protocol):
    """A network on trial: each part is there when the trials of it begin."""

    ensemble: Ensemble
    record: RecordDescent
    modules: Sequence[nn.Module]
    layout: Layout
    device: torch.device
    dtype: torch.dtype
    batches: Batches
    train: OnDevice
    loss: Loss
    work: int
    problem: Problem
    chosen: Chosen

    @property
    def foreign(self) -> bool:
        """Whether the module is made by code of a user's."""

    @property
    def twin(self) -> Twin:
        """The network that Hessians are taken of."""

    def raw(self, replica: int, otherwise: bool = False) -> nn.Module:
        """Return a replica's network as it starts, wherever it is made; `otherwise` from another seed."""

    def built(self, replica: int, otherwise: bool = False) -> nn.Module:
        """Return the same on the device, in the precision of the run."""

    def few_examples(self, count: int) -> Tensor:
        """Return a few training examples of the first replica, at least two, perhaps the same."""
