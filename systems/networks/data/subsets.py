r"""On which examples a network is measured: a subset of its own for every replica.

A subset of n of the N examples makes every mean of it uncertain, by σ √((1/n)(1 − n/N)). Were it common to
all replicas, this would be the same for all, and no scatter over replicas would tell of it. With subsets of
their own the measured values of replicas are independent, so that their scatter is the whole error of their
mean (`observables.statistics.average`; resampling, too), and the mean of R replicas knows up to R n examples.
The subset of a replica is the same at all times: differences between times are as exact as they can be.
Between two replicas they hold both errors; who wants to compare replicas measures all examples.

Where all examples are measured there is nothing to choose, and no such error.

With batch-norm the gradient is measured from mini-batches of B examples. They are drawn here, too: T rounds
of K disjoint batches, each round from a random order of all examples of its own. Two rounds are enough where
there are examples for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from langevin.core.ensemble import Ensemble

Rows = Mapping[int, NDArray[np.int64]]

#: Mini-batches, at least, from which gradients are estimated with batch-norm; rounds, if two do not do.
FEWEST, ROUNDS = 8, 4


@dataclass(frozen=True)
class Subset:
    """Some of the N examples of a quenched sample.

    Attributes
    ----------
    index : Tensor, shape (n,)
    population : int
        N.
    batches : Tensor, shape (T, K, B), or None
        Mini-batches for gradients, disjoint in each of T rounds; with batch-norm only.
    """

    index: Tensor
    population: int
    batches: Tensor | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(self.index)

    @property
    def whole(self) -> bool:
        """Whether these are all examples."""
        return len(self.index) >= self.population

    @property
    def left_out(self) -> float:
        """1 − n/N, by which the squared error of a mean is smaller than with replacement."""
        return 1 - len(self.index) / self.population


class Chosen(NamedTuple):
    """On which examples is measured: label of a replica → its subset, on the device.

    Attributes
    ----------
    trained, tested : mapping
        For losses and accuracies.
    probed : mapping
        For the gradient's norm and its noise.
    curved : mapping
        For the Hessian.
    """

    trained: Mapping[int, Subset]
    tested: Mapping[int, Subset]
    probed: Mapping[int, Subset]
    curved: Mapping[int, Subset]

    @property
    def exact(self) -> tuple[str, ...]:
        """Names of the errors that are zero, since the mean is over all examples."""
        names: list[str] = []
        if all(subset.whole for subset in self.trained.values()):
            names += ["energy_error", "train_accuracy_error"]
        if all(subset.whole for subset in self.tested.values()):
            names += ["test_loss_error", "test_accuracy_error"]
        return tuple(names)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The sizes (n, N) of these four, of one replica."""
        first = (next(iter(subsets.values())) for subsets in self)
        return tuple((len(subset), subset.population) for subset in first)


@dataclass(frozen=True)
class Choice:
    """Draws the subsets of all replicas.

    Parameters
    ----------
    ensemble : Ensemble
    upload : callable
        Brings indices to where the examples lie.
    """

    ensemble: Ensemble
    upload: Callable[[NDArray[np.int64]], Tensor]

    def of(self, rows: Rows, role: str, *counts: int) -> list[dict[int, Subset]]:
        """Return for each of these counts a subset for every replica; smaller ones are parts of larger ones.

        Parameters
        ----------
        rows : mapping
            Label of a quenched sample → its examples.
        role : str
            Of the streams that draw.
        *counts : int
            Of examples; all where there are no more.
        """
        whole: dict[int, Subset] = {}
        chosen: list[dict[int, Subset]] = [{} for _ in counts]
        for label, sample in zip(self.ensemble.replica.tolist(), self.ensemble.sample.tolist(), strict=True):
            own = rows[sample]
            if sample not in whole and max(counts) >= len(own):
                # In an order, since sums of floating-point numbers depend on it.
                order = self.ensemble.quenched("measured", sample).permutation(len(own))
                whole[sample] = Subset(self.upload(own[order]), len(own))
            if min(counts) < len(own):
                order = self.ensemble.quenched(role, label).permutation(len(own))
            for subsets, count in zip(chosen, counts, strict=True):
                if count >= len(own):
                    subsets[label] = whole[sample]
                else:
                    subsets[label] = Subset(self.upload(own[order[:count]]), len(own))
        return chosen

    def batched(self, rows: Rows, role: str, count: int, size: int) -> dict[int, Subset]:
        """Return for every replica mini-batches of `size` examples, from `count` examples or a few more."""
        chosen: dict[int, Subset] = {}
        for label, sample in zip(self.ensemble.replica.tolist(), self.ensemble.sample.tolist(), strict=True):
            own, stream = rows[sample], self.ensemble.quenched(role, label)
            wanted = max(FEWEST, count // size)
            each = min(-(-wanted // 2), len(own) // size)
            rounds = -(-wanted // each)
            if rounds > 2:
                rounds = max(ROUNDS, rounds)
            if size == len(own):
                # There is but one such batch.
                rounds = 1
            drawn = np.stack([own[stream.permutation(len(own))[: each * size]] for _ in range(rounds)])
            batches = self.upload(drawn.reshape(rounds, each, size))
            chosen[label] = Subset(self.upload(np.unique(drawn)), len(own), batches)
        return chosen
