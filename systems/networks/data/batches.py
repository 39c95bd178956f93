r"""How mini-batches are drawn: positions in the replica's training set, from streams of its own.

All draws are made by numpy on the host, so that a seed means the same batches on every device; the examples
themselves are gathered where the data set lives. (Those of many tiny nets on a GPU are drawn there, from the
same streams and to the same numbers: `replicas.drawn`.) With P examples and batches of B:

epochs
    Without replacement, as the papers say: an epoch is a random order of the P examples, cut into ⌊P/B⌋
    batches. What is left over, fewer than B, is left out, others in every epoch. Each batch has B different
    examples, every set of B as likely, and every example is in a batch as often as any other: in ⌊P/B⌋B/P of
    the epochs. (A last batch of fewer examples would have more noise than the others; one that takes its
    missing examples from the next epoch may hold an example twice.)
iid
    With replacement.
full
    All P examples, every time.
persistent
    Each example is in or out of the batch by itself, a Markov chain in the steps: from step to step

        P(in → out) = 1/τ,    P(out → in) = b/((1 − b) τ),

    with b = B/P and τ the `persistence`. An example that is in stays for k steps with probability
    (1 − 1/τ)^(k − 1)/τ, τ on average, and then is out for τ(1 − b)/b steps. As many leave as enter if the
    fraction b is in: b/τ. With λ = 1 − P(in → out) − P(out → in), the second eigenvalue of the chain,

        ⟨s⟩ = b,    ⟨δs(n) δs(n + k)⟩ = b(1 − b) λ^k,    λ = 1 − 1/(τ(1 − b)),

    exactly: at τ = 1/(1 − b) the steps are independent, below it examples avoid the batch after their own.
    Both probabilities are at most 1: τ ≥ 1, and τ ≥ b/(1 − b). The start is stationary. The force is
    normalised by B, not by the number of examples that happen to be in: it stays unbiased. With steps of α in
    the time of gradient flow these are the equations of Mignacco and Urbani, The effective noise of
    stochastic gradient descent, J. Stat. Mech. 083405 (2022), whose τ is α times this one.

Batches of the first three kinds are functions of (seed, replica, n) alone: nothing of them has to be saved.
They are drawn in blocks, a stream for each, and `table` gives those of many steps at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from langevin.core.ensemble import Ensemble
from langevin.errors import UserError

from ..kernels.shuffling import orders
from ..keys import Descent
from .base import Data

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
        #: Epochs that one stream gives, and the batches of these.
        self.epochs = max(1, PLACES // examples)
        self.batches = self.epochs * (examples // size)
        self._kept: dict[int, tuple[int, Index]] = {}

    def _block(self, replica: int, number: int) -> Index:
        """Return the batches of so many epochs, shape (batches, B); the last block is kept."""
        known, drawn = self._kept.get(replica, (-1, np.empty((0, self.size), np.int32)))
        if known != number:
            stream = self.ensemble.driving("batch", replica, number)
            whole = self.examples // self.size * self.size
            drawn = orders(stream, self.epochs, self.examples)[:, :whole].reshape(-1, self.size)
            self._kept[replica] = (number, drawn)
        return drawn

    def table(self, replica: int, first: int, last: int) -> Index:
        """Return the batches of the steps first … last − 1, shape (steps, B)."""
        return _joined(lambda number: self._block(replica, number), self.batches, first, last)


def _joined(block: Callable[[int], Index], length: int, first: int, last: int) -> Index:
    """Return rows first … last − 1 of blocks of so many rows that follow each other."""
    parts = [
        block(number)[max(first - number * length, 0) : last - number * length]
        for number in range(first // length, -(-last // length))
    ]
    if not parts:
        return block(first // length)[:0]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


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
        return _joined(lambda number: self._block(replica, number), BLOCK, first, last)


class Full(_Fixed):
    """The whole training set."""

    def __init__(self, examples: int) -> None:
        self.size = self.examples = examples

    def table(self, replica: int, first: int, last: int) -> Index:
        """Return all examples, last − first times."""
        return np.broadcast_to(np.arange(self.examples, dtype=np.int32), (last - first, self.examples))


class Persistent:
    """Each example in or out for a random number of steps; `memory` says which are in (1) now."""

    fixed = False

    def __init__(self, examples: int, size: int, persistence: float) -> None:
        self.examples, self.size = examples, size
        self.fraction = b = size / examples
        # All are in, always, where B = P.
        self.leaves = 1 / persistence if b < 1 else 0.0
        self.enters = self.leaves * size / (examples - size) if b < 1 else 0.0

    @staticmethod
    def least(examples: int, size: int) -> float:
        """Return the shortest persistence, in steps, with which the mean batch has this size."""
        return max(1.0, size / (examples - size)) if size < examples else 1.0

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


def chosen(keys: Descent, data: Data, ensemble: Ensemble) -> Batches:
    """Return the source of batches that a run file names, for data that are enough for it.

    Raises
    ------
    UserError
        If batches are larger than the data set, or examples would have to stay for less than a step.
    """
    examples = min(len(rows) for rows in data.rows.values())
    if keys.batches != "full" and keys.batch_size > examples:
        raise UserError(
            f"dynamics.batch_size = {keys.batch_size}: must be ≤ {examples}, the training examples of "
            f"data.name = {data.name!r}"
        )
    least = Persistent.least(examples, keys.batch_size)
    if keys.batches == "persistent" and keys.persistence < least:
        raise UserError(
            f"dynamics.persistence = {keys.persistence:g}: must be ≥ {least:g}, B/(P − B) for "
            f"dynamics.batch_size = {keys.batch_size} of {examples} examples"
        )
    return make(keys.batches, examples, keys.batch_size, keys.persistence, ensemble)


def make(kind: str, examples: int, size: int, persistence: float, ensemble: Ensemble) -> Batches:
    """Return the source of batches that `dynamics.batches` names."""
    if kind == "epochs":
        return Epochs(examples, size, ensemble)
    if kind == "iid":
        return Independent(examples, size, ensemble)
    if kind == "persistent":
        return Persistent(examples, size, persistence)
    return Full(examples)
