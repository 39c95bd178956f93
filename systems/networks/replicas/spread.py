"""Replicas of one run on several GPUs: a share of them on each, side by side.

The state stays on the first GPU. The others get their rows of it before they take steps or measure, and give
them back; between two measurements nothing travels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from langevin.core.ensemble import Ensemble
from langevin.core.system import Array
from langevin.machine.interruption import carried

from ..data.examples import OnDevice
from ..data.subsets import Chosen, Subset
from ..descent.shared_calls import groups_of
from ..descent.state import NetworkState
from ..descent.training import Problem
from .steppers import ReplicaSteppers

Result = TypeVar("Result")

#: Makes what steps a share: of its modules, its problem, its replicas.
Make = Callable[[Sequence[nn.Module], Problem, Ensemble], ReplicaSteppers]


@dataclass
class Share:
    """The replicas of one GPU.

    Attributes
    ----------
    units : ReplicaSteppers
    rows : slice
        Their rows of the state.
    device : torch.device
    state : NetworkState or None
        Their rows, on this GPU; None: they are used where they are.
    """

    units: ReplicaSteppers
    rows: slice
    device: torch.device
    state: NetworkState | None = None

    def fetch(self, whole: NetworkState) -> NetworkState:
        """Return the rows of a state, on this GPU."""
        here = NetworkState(
            whole.weights[self.rows],
            {name: slot[self.rows] for name, slot in whole.slots.items()},
            [b[self.rows] for b in whole.buffers],
            whole.memory[self.rows],
        )
        if whole.weights.device == self.device:
            return here
        if self.state is None:
            slots = {name: slot.to(self.device) for name, slot in here.slots.items()}
            buffers = [b.to(self.device) for b in here.buffers]
            self.state = NetworkState(here.weights.to(self.device), slots, buffers, here.memory)
        self.state = replace(self.state, memory=here.memory)
        _copy(self.state, here)
        return self.state

    def give_back(self, moved: NetworkState, whole: NetworkState) -> None:
        """Bring what has moved here to its rows of a state."""
        if whole.weights.device != self.device:
            here = {name: slot[self.rows] for name, slot in whole.slots.items()}
            buffers = [b[self.rows] for b in whole.buffers]
            _copy(NetworkState(whole.weights[self.rows], here, buffers, moved.memory), moved)

    def at(self) -> AbstractContextManager[Any]:
        """Launch on this GPU what asks for none by name."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()


def _copy(target: NetworkState, source: NetworkState) -> None:
    with torch.no_grad():
        target.weights.copy_(source.weights)
        for name, slot in target.slots.items():
            slot.copy_(source.slots[name])
        for own, other in zip(target.buffers, source.buffers, strict=True):
            own.copy_(other)


class SpreadReplicas:
    """Replicas on several devices, each share as `ReplicaSteppers` has it.

    Parameters
    ----------
    shares : sequence of Share
        In the order of their rows, of all replicas together.
    ensemble : Ensemble
    """

    def __init__(self, shares: Sequence[Share], ensemble: Ensemble) -> None:
        self.shares, self.ensemble = list(shares), ensemble
        self._pool = ThreadPoolExecutor(len(self.shares))
        self._sets: dict[tuple[int, torch.device], OnDevice] = {}

    @property
    def couples(self) -> bool:
        """Whether one example's loss depends on the others of its batch."""
        return self.shares[0].units.couples

    def _each(self, task: Callable[[Share], Result]) -> list[Result]:
        """Return task(share) for every share, side by side."""

        def launched(share: Share) -> Result:
            with share.at():
                return task(share)

        return list(self._pool.map(carried(launched), self.shares))

    def advance(
        self, state: NetworkState, first: int, last: int, streams: Sequence[Any], field: Tensor | None = None
    ) -> tuple[int, int] | None:
        """Take the steps first … last − 1, in place; as `ReplicaSteppers.advance`, without a field."""
        assert field is None

        def task(share: Share) -> tuple[int, int] | None:
            here = share.fetch(state)
            bad = share.units.advance(here, first, last, streams[share.rows])
            share.give_back(here, state)
            return None if bad is None else (bad[0], bad[1] + share.rows.start)

        return min((bad for bad in self._each(task) if bad is not None), default=None)

    def measure(self, state: NetworkState, train: OnDevice, test: OnDevice, chosen: Chosen) -> Array:
        """Return what `measurement.MEASURED` names, shape (numbers, R)."""

        def task(share: Share) -> Array:
            sets = self._moved(train, share.device), self._moved(test, share.device)
            return share.units.measure(share.fetch(state), *sets, _chosen(chosen, share))

        return np.concatenate(self._each(task), axis=1)

    def gradient_noise(self, state: NetworkState, chosen: Chosen) -> Array:
        """Return the gradient noise and its standard error, shape (2, R)."""
        parts = self._each(lambda s: s.units.gradient_noise(s.fetch(state), _chosen(chosen, s)))
        return np.concatenate(parts, axis=1)

    def layer_noise(self, state: NetworkState, chosen: Chosen) -> Array:
        """Return the gradient noise of every layer and its standard error, shape (2, R, layers)."""
        parts = self._each(lambda s: s.units.layer_noise(s.fetch(state), _chosen(chosen, s)))
        return np.concatenate(parts, axis=1)

    def _moved(self, examples: OnDevice, device: torch.device) -> OnDevice:
        """Return a set of examples on a device; what training needs is there already."""
        if examples.device == device:
            return examples
        key = id(examples), device
        if key not in self._sets:
            self._sets[key] = examples.brought_to(device)
        return self._sets[key]


def _chosen(chosen: Chosen, share: Share) -> Chosen:
    """Return on which examples the replicas of a share are measured, with indices where these lie."""
    labels = [int(k) for k in share.units.ensemble.replica]
    place = share.units.problem.examples.inputs.device

    def there(subset: Subset) -> Subset:
        batches = None if subset.batches is None else subset.batches.to(place)
        return replace(subset, index=subset.index.to(place), batches=batches)

    return Chosen(*({k: there(kind[k]) for k in labels} for kind in chosen))


def spread(
    modules: Sequence[nn.Module],
    problem: Problem,
    ensemble: Ensemble,
    execution: str,
    cards: Sequence[torch.device],
    make: Make,
) -> ReplicaSteppers | SpreadReplicas:
    """Return what steps replicas on as many of these devices as there are calls to share among them.

    Parameters
    ----------
    modules : sequence of Module
        One for each replica, on the first device.
    problem : Problem
    ensemble : Ensemble
    execution : {"auto", "sequential", "stacked"}
    cards : sequence of torch.device
        The first is where the state is.
    make : callable
    """
    groups = groups_of(ensemble, problem.layout.dof, execution, cards[0].type)
    cards = cards[: len(groups)]
    if len(cards) == 1:
        return make(modules, problem, ensemble)
    shares = []
    for card, numbers in zip(cards, np.array_split(np.arange(len(groups)), len(cards)), strict=True):
        rows = slice(groups[numbers[0]].start, groups[numbers[-1]].stop)
        own, posed = [modules[k] for k in range(rows.start, rows.stop)], problem
        if card != cards[0]:
            own = [copy.deepcopy(module).to(card) for module in own]
            arithmetic = replace(problem.arithmetic, device=card)
            posed = replace(problem, examples=problem.examples.brought_to(card), arithmetic=arithmetic)
        keep = np.arange(ensemble.size)[rows]
        shares.append(Share(make(own, posed, ensemble.subset(keep)), rows, card))
    return SpreadReplicas(shares, ensemble)
