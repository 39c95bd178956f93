"""Batches drawn where the nets are, on a GPU: exactly those that `data.batches` draws for the same seed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.core.ensemble import Ensemble
from langevin.core.noise import later, seeds

from ..data.batches import BLOCK, Batches, Epochs, Full, Independent
from ..kernels.shuffling import number_of

#: Places in one table, at most, if that is an epoch of every replica.
TABLE = 2**28
#: Lanes of a program that draws: a warp.
LANES = 32
#: A period that no table comes to the end of.
_NEVER = 2**30


class Table(NamedTuple):
    """Batches of the steps first … last − 1 of all replicas, as `tiny_triton.descend` reads them."""

    places: Tensor
    first: int
    last: int
    period: int
    stride: int
    width: int


class Drawing(Protocol):
    """A source of tables."""

    def holding(self, step: int) -> Table:
        """Return a table that has this step."""

    def last(self, step: int) -> int:
        """Return where the table ends that has this step."""


class _Blocks(ABC):
    """Tables of blocks, each from a stream of its own for every replica; the last one is kept."""

    def __init__(self, ensemble: Ensemble, device: torch.device) -> None:
        self.ensemble, self.device = ensemble, device
        self._kept: Table | None = None

    def holding(self, step: int) -> Table:
        """Return a table that has this step."""
        if self._kept is None or not self._kept.first <= step < self._kept.last:
            # Memory for one table, not for two.
            self._kept = None
            self._kept = self._draw(step)
        return self._kept

    @abstractmethod
    def last(self, step: int) -> int:
        """Return where the table ends that has this step."""

    @abstractmethod
    def _draw(self, step: int) -> Table:
        """Return the table that has this step."""

    def _seeds(self, block: int) -> Tensor:
        """Return what the streams of a block begin with, shape (R, 4)."""
        begun = seeds(
            self.ensemble.seed, "batch", self.ensemble.replica, block, *later(self.ensemble.generation)
        )
        return _words(begun, self.device)


class DrawnEpochs(_Blocks):
    """Without replacement."""

    def __init__(self, batches: Epochs, device: torch.device) -> None:
        super().__init__(batches.ensemble, device)
        self.batches, self.examples = batches, batches.examples
        #: Of one epoch.
        self._steps = batches.examples // batches.size
        #: Epochs of one table.
        self._epochs = min(batches.epochs, max(1, TABLE // (self.ensemble.size * batches.examples)))
        self._numbers, self._bits, self._places = number_of(batches.examples)
        self._jumps = _words(jumps(batches.epochs, self._numbers), device)

    def _place(self, step: int) -> tuple[int, int, int]:
        """Return the block that has this step, the first epoch of its table, and how many epochs that has."""
        block, within = divmod(step, self.batches.batches)
        epoch = within // self._steps // self._epochs * self._epochs
        return block, epoch, min(self._epochs, self.batches.epochs - epoch)

    def last(self, step: int) -> int:
        """Return where the table ends that has this step."""
        block, epoch, epochs = self._place(step)
        return block * self.batches.batches + (epoch + epochs) * self._steps

    def _draw(self, step: int) -> Table:
        from ..kernels.drawing_triton import shuffle

        block, epoch, epochs = self._place(step)
        own = self._jumps[epoch : epoch + epochs]
        count, examples = self.ensemble.size * epochs, self.examples
        order = torch.arange(examples, dtype=torch.int32, device=self.device).repeat(count)
        shuffle[(-(-count // LANES),)](
            order,
            self._seeds(block),
            own,
            count,
            epochs,
            examples,
            self._numbers,
            WIDTH=self._bits,
            PLACES=self._places,
            LANES=LANES,
            num_warps=1,
        )
        first = block * self.batches.batches + epoch * self._steps
        return Table(order, first, self.last(step), self._steps, examples, epochs * examples)


class DrawnIndependent(_Blocks):
    """With replacement."""

    def __init__(self, batches: Independent, device: torch.device) -> None:
        super().__init__(batches.ensemble, device)
        self.batches = batches

    def last(self, step: int) -> int:
        """Return where the table ends that has this step."""
        return (step // BLOCK + 1) * BLOCK

    def _draw(self, step: int) -> Table:
        from ..kernels.drawing_triton import choose

        block, nets, examples = step // BLOCK, self.ensemble.size, self.batches.examples
        count = BLOCK * self.batches.size
        table = torch.zeros(nets * count, dtype=torch.int32, device=self.device)
        if examples > 1:
            programs = -(-nets // LANES)
            choose[(programs,)](
                table, self._seeds(block), nets, count, examples, 2**32 % examples, LANES=LANES, num_warps=1
            )
        return Table(table, block * BLOCK, self.last(step), _NEVER, 0, count)


class DrawnFull:
    """All examples, every time."""

    def __init__(self, batches: Full, device: torch.device) -> None:
        places = torch.arange(batches.examples, dtype=torch.int32, device=device)
        self._table = Table(places, 0, _NEVER, 1, 0, 0)

    def holding(self, step: int) -> Table:
        """Return the one table."""
        return self._table._replace(first=step, last=self.last(step))

    def last(self, step: int) -> int:
        """Return a step that is far away."""
        return step + _NEVER


def drawing(batches: Batches, device: torch.device) -> Drawing:
    """Return what draws these batches on a device."""
    if isinstance(batches, Epochs):
        return DrawnEpochs(batches, device)
    if isinstance(batches, Independent):
        return DrawnIndependent(batches, device)
    assert isinstance(batches, Full)
    return DrawnFull(batches, device)


def jumps(epochs: int, numbers: int) -> NDArray[np.uint64]:
    """Return what takes a stream's state to where each epoch begins, shape (epochs, 4).

    An epoch takes so many numbers. With n numbers before it these are aⁿ and (aⁿ − 1)/(a − 1), in halves
    (`drawing_triton`).
    """
    from ..kernels.drawing_triton import MULTIPLIER

    whole, half = 2**128, 2**64 - 1
    power, total = 1, 0
    for _ in range(numbers):
        power, total = power * MULTIPLIER % whole, (total * MULTIPLIER + 1) % whole
    rows, at, far = [], 1, 0
    for _ in range(epochs):
        rows.append([at >> 64, at & half, far >> 64, far & half])
        at, far = at * power % whole, (far * power + total) % whole
    return np.array(rows, np.uint64)


def _words(numbers: NDArray[np.uint64], device: torch.device) -> Tensor:
    """Return words of 64 bits on a device, as torch knows them: with a sign."""
    signed: NDArray[Any] = numbers.view(np.int64)
    return torch.from_numpy(signed).to(device)
