"""The rule of a step moves weights: by an optimiser, at the rates and with the decay of their groups."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from langevin.core.protocol import Protocol, Temperature

from ..optimisers import Optimiser, Slots
from ..schedules import RateSchedule
from .parameter_groups import ParameterGroups

#: A learning rate: a number, or a tensor of no dimension, which a captured step reads when it is replayed.
Rate = float | Tensor


@dataclass(frozen=True)
class StepRule:
    """What makes steps: learning rate α of each, optimiser, weight decay λ, temperature T or its protocol.

    With `groups` parameters differ in rate and decay (`parameter_groups`). One that `rests` takes no step of
    a batch without a loss.
    """

    schedule: RateSchedule
    optimiser: Optimiser
    weight_decay: float = 0.0
    temperature: Temperature = 0.0
    groups: ParameterGroups | None = None
    rests: bool = False

    @property
    def warm(self) -> bool:
        """Whether steps have thermal noise, those of T = 0 in a protocol aside."""
        return isinstance(self.temperature, Protocol) or self.temperature > 0

    def bath(self, step: int) -> float:
        """Return the temperature of step n: of a protocol, its mean from time n to n + 1."""
        if isinstance(self.temperature, Protocol):
            return self.temperature.mean(step, step + 1)
        return self.temperature

    def kick(self, rate: float, step: int) -> float:
        """Return the width √(2 T α) of the thermal noise of a step."""
        return math.sqrt(2 * self.bath(step) * rate)

    def conjugate(self, rate: float, step: int) -> float:
        """Return the width of what the response sums: of the noise, under a protocol over T of the step."""
        width = self.kick(rate, step)
        return width / self.bath(step) if isinstance(self.temperature, Protocol) else width

    def apply(
        self,
        weights: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        rate: Rate,
        share: float | None = None,
        absent: Collection[int] = (),
        pushed: bool = False,
    ) -> None:
        """Change weights and slots in place, at this learning rate; the gradients may be overwritten.

        With a `share` it is the step of so much of the gradient, which is then left as it is. Tensors at the
        places `absent` have no gradient: they, and their slots, are left alone; `pushed` by a field they move
        by it, without decay.
        """
        if self.groups is None and not absent:
            self._apply(weights, gradients, slots, rate, share, self.weight_decay)
            return
        count = len(weights)
        alike = [(1.0, True, list(range(count)))] if self.groups is None else self.groups.alike(count)
        for factor, decays, places in alike:
            there = [k for k in places if k not in absent]
            aside = [k for k in places if k in absent] if pushed else []
            for chosen, decay in ((there, self.weight_decay if decays else 0.0), (aside, 0.0)):
                if chosen:
                    own, slopes = ([tensors[k] for k in chosen] for tensors in (weights, gradients))
                    theirs = {name: [tensors[k] for k in chosen] for name, tensors in slots.items()}
                    self._apply(own, slopes, theirs, rate if factor == 1 else rate * factor, share, decay)

    def _apply(
        self,
        weights: list[Tensor],
        gradients: list[Tensor],
        slots: Slots,
        rate: Rate,
        share: float | None,
        decay: float,
    ) -> None:
        """Do so with parameters that share a rate and a weight decay."""
        if decay and self.optimiser.decouples:
            torch._foreach_mul_(weights, 1 - rate * decay)
        elif decay:
            torch._foreach_add_(gradients, weights, alpha=decay)
        if share is None:
            self.optimiser.update(weights, gradients, slots, rate)
        else:
            self.optimiser.update_by_share(weights, gradients, slots, rate, share)

    @property
    def idle(self) -> frozenset[int]:
        """The places of tensors on which the loss does not depend, as far as is known at the start."""
        return frozenset() if self.groups is None else self.groups.idle

    def add_decay(self, gradients: list[Tensor], weights: list[Tensor], absent: Collection[int] = ()) -> None:
        """Add the gradient of the decay at a network's weights to gradients; not to those `absent`."""
        if self.groups is not None or absent:
            decays = [True] * len(weights) if self.groups is None else self.groups.decays
            places = [k for k, decaying in enumerate(decays) if decaying and k not in absent]
            gradients, weights = ([tensors[k] for k in places] for tensors in (gradients, weights))
        if self.weight_decay and weights:
            torch._foreach_add_(gradients, weights, alpha=self.weight_decay)

    def decayed(self, x: Tensor) -> Tensor:
        """Return weights, shape (…, M), with zeros for those that do not decay."""
        return x if self.groups is None else self.groups.decayed(x)

    def spread(self, normals: Tensor) -> Tensor:
        """Return normals, shape (…, n M), as wide as the kicks of their parameters; may change them."""
        return normals if self.groups is None else self.groups.spread(normals)
