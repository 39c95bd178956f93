r"""How mini-batches are drawn: positions in the replica's training set, from streams of its own.

All draws are made by numpy on the host, so that a seed means the same batches on every device; the examples
themselves are gathered where the data set lives. With P examples and batches of B:

epochs
    Without replacement: one random permutation of the P examples follows another, and batch n takes the
    places nB … (n+1)B − 1 of this endless sequence. Every batch has B examples; one may straddle two epochs.
iid
    With replacement.
full
    All P examples, every time.
persistent
    Each example is in or out of the batch by itself, a two-state Markov process in continuous time with
    fraction b = B/P, observed at every step: the mean time in the batch is τ (`persistence`), out of it
    τ(1 − b)/b, both exponential. With the rate Γ = 1/τ + b/(τ(1 − b)) = 1/(τ(1 − b)), from step to step

        P(in → out) = (1 − b)(1 − e^{−Γ}),    P(out → in) = b (1 − e^{−Γ}),

    so that ⟨s⟩ = b and ⟨δs(n) δs(n + k)⟩ = b(1 − b) e^{−Γk} hold exactly. The start is stationary. The force
    is normalised by B, not by the number of examples that happen to be in: it stays unbiased.
    Mignacco and Urbani, The effective noise of stochastic gradient descent, J. Stat. Mech. 083405 (2022).

Batches of the first three kinds are functions of (seed, replica, n) alone: nothing of them has to be saved.
They are drawn in blocks, a stream for each, and `table` gives those of many steps at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from langevin.ensemble import Ensemble

from .shuffling import orders

Index = NDArray[np.int32]
Mask = NDArray[np.int8]

#: Batches drawn from one stream, with replacement.
BLOCK = 256
#: Examples, at least, that epochs of one stream hold: to start a stream takes as long as to draw a thousand.
PLACES = 2**15


class Batches(Protocol):
    """A source of batches for every replica."""

    fixed: bool
    """Whether every batch has the same size; if so, there is `table`."""
    size: int
    """Number of examples B in a batch, on average."""

    def start(self, replica: int, noise: np.random.Generator | None) -> Mask:
        """Return what has to be remembered from step to step at t = 0; may be empty."""

    def draw(
        self, replica: int, memory: Mask, first: int, last: int, noise: np.random.Generator | None
    ) -> Iterator[Index]:
        """Yield the batches of the steps first … last − 1; `memory` is kept up to date in place."""

    def table(self, replica: int, first: int, last: int) -> Index:
        """Return the batches of the steps first … last − 1, shape (steps, B), not to be changed."""


class _Fixed:
    """Batches of one size, which follow from their number: `table` says which."""

    fixed = True

    def start(self, replica: int, noise: np.random.Generator | None) -> Mask:
        """Return nothing: a batch follows from its number."""
        return np.empty(0, np.int8)

    def draw(
        self, replica: int, memory: Mask, first: int, last: int, noise: np.random.Generator | None
    ) -> Iterator[Index]:
        """Yield the batches of the steps first … last − 1."""
        yield from self.table(replica, first, last)

    def table(self, replica: int, first: int, last: int) -> Index:
        """Return the batches of the steps first … last − 1, shape (steps, B)."""
        raise NotImplementedError


class Epochs(_Fixed):
    """Without replacement."""

    def __init__(self, examples: int, size: int, ensemble: Ensemble) -> None:
        self.examples, self.size, self.ensemble = examples, size, ensemble
        #: Epochs that one stream gives.
        self.epochs = max(1, PLACES // examples)
        self._kept: dict[int, tuple[int, Index]] = {}

    def _block(self, replica: int, number: int) -> Index:
        """Return the places of so many epochs, in a row; the last block is kept."""
        known, places = self._kept.get(replica, (-1, np.empty(0, np.int32)))
        if known != number:
            stream = self.ensemble.driving("batch", replica, number)
            places = orders(stream, self.epochs, self.examples).reshape(-1)
            self._kept[replica] = (number, places)
        return places

    def table(self, replica: int, first: int, last: int) -> Index:
        """Return the batches of the steps first … last − 1, shape (steps, B)."""
        length, parts = self.epochs * self.examples, []
        place, end = first * self.size, last * self.size
        while place < end:
            block, offset = divmod(place, length)
            part = self._block(replica, block)[offset : offset + end - place]
            parts.append(part)
            place += part.size
        together = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, np.int32)])
        return together.reshape(last - first, self.size)


class Independent(_Fixed):
    """With replacement."""

    def __init__(self, examples: int, size: int, ensemble: Ensemble) -> None:
        self.examples, self.size, self.ensemble = examples, size, ensemble
        self._kept: dict[int, tuple[int, Index]] = {}

    def _block(self, replica: int, number: int) -> Index:
        known, drawn = self._kept.get(replica, (-1, np.empty((0, self.size), np.int32)))
        if known != number:
            stream = self.ensemble.driving("batch", replica, number)
            drawn = stream.integers(self.examples, size=(BLOCK, self.size), dtype=np.int32)
            self._kept[replica] = (number, drawn)
        return drawn

    def table(self, replica: int, first: int, last: int) -> Index:
        """Return the batches of the steps first … last − 1, shape (steps, B)."""
        parts = [
            self._block(replica, block)[max(first - block * BLOCK, 0) : last - block * BLOCK]
            for block in range(first // BLOCK, -(-last // BLOCK))
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty((0, self.size), np.int32)])


class Full(_Fixed):
    """The whole training set."""

    def __init__(self, examples: int) -> None:
        self.size = self.examples = examples

    def table(self, replica: int, first: int, last: int) -> Index:
        """Return all examples, last − first times."""
        return np.broadcast_to(np.arange(self.examples, dtype=np.int32), (last - first, self.examples))


class Persistent:
    """Each example in or out for an exponential time; `memory` says which are in (1) now."""

    fixed = False

    def __init__(self, examples: int, size: int, persistence: float) -> None:
        self.examples, self.size = examples, size
        self.fraction = b = size / examples
        # All are in, always, where B = P: no rate then, and no change.
        change = -math.expm1(-1 / (persistence * (1 - b))) if b < 1 else 0.0
        self.leaves, self.enters = (1 - b) * change, b * change

    def start(self, replica: int, noise: np.random.Generator | None) -> Mask:
        """Draw who is in at t = 0 from the stationary distribution."""
        assert noise is not None
        return (noise.random(self.examples) < self.fraction).astype(np.int8)

    def table(self, replica: int, first: int, last: int) -> Index:
        """Raise: these batches follow from those before them, and differ in size."""
        raise TypeError("persistent batches have no table")

    def draw(
        self, replica: int, memory: Mask, first: int, last: int, noise: np.random.Generator | None
    ) -> Iterator[Index]:
        """Yield the batches of the steps first … last − 1, and move `memory` on to step `last`."""
        assert noise is not None
        for _ in range(first, last):
            inside = np.flatnonzero(memory)
            yield inside.astype(np.int32)
            outside = np.flatnonzero(memory == 0)
            # How many change, then which: two draws instead of one for each example.
            leaving = noise.choice(inside, noise.binomial(inside.size, self.leaves), replace=False)
            entering = noise.choice(outside, noise.binomial(outside.size, self.enters), replace=False)
            memory[leaving], memory[entering] = 0, 1


def make(kind: str, examples: int, size: int, persistence: float, ensemble: Ensemble) -> Batches:
    """Return the source of batches that `dynamics.batches` names."""
    if kind == "epochs":
        return Epochs(examples, size, ensemble)
    if kind == "iid":
        return Independent(examples, size, ensemble)
    if kind == "persistent":
        return Persistent(examples, size, persistence)
    return Full(examples)
