"""An ensemble says who the replicas are: labels, quenched samples, the seed of their random streams."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from langevin.machine import processor

from .noise import later, stream


def available_threads() -> int:
    """Return the number of processors this process may use (its affinity mask where there is one)."""
    return processor.available()


@dataclass(frozen=True)
class Ensemble:
    """The replicas that a system evolves together.

    Everything random about replica k is keyed by its label k (and its sample's label), never by its
    position: a system built for replicas [2] alone sees the numbers that replica 2 sees among sixteen.

    Parameters
    ----------
    replica : ndarray of int, shape (R,)
        Labels.
    sample : ndarray of int, shape (R,)
        Label of the quenched disorder each replica lives in.
    seed : int
        Seed of the whole run.
    threads : int
        Processors to use. Results do not depend on it.
    generation : int
        How many runs lie between this one and a start of its own. What drives the dynamics is drawn anew in
        every generation: noise that has acted on a configuration already is not independent of it.
    run : Ensemble, optional
        All replicas of the run, where these are those of a shard: see `whole`.
    """

    replica: NDArray[np.int64]
    sample: NDArray[np.int64]
    seed: int
    threads: int = field(default_factory=available_threads)
    generation: int = 0
    run: Ensemble | None = field(default=None, repr=False)

    @classmethod
    def regular(
        cls, replicas: int, samples: int, seed: int, threads: int | None = None, generation: int = 0
    ) -> Ensemble:
        """Deal `replicas` over `samples` in turn: replica k lives in sample k mod `samples`.

        Dealt so, a larger ensemble contains the smaller one of the same seed.
        """
        labels = np.arange(replicas)
        return cls(labels, labels % samples, seed, threads or available_threads(), generation)

    @property
    def size(self) -> int:
        """Number of replicas R."""
        return len(self.replica)

    def quenched(self, role: str, *index: int) -> np.random.Generator:
        """Return the stream of a quenched role, at its beginning: the same numbers at every call."""
        return stream(self.seed, role, *index)

    def driving(self, role: str, *index: int) -> np.random.Generator:
        """Return the stream of a role of the dynamics that follows from its labels, such as a batch's."""
        return stream(self.seed, role, *index, *later(self.generation))

    @property
    def whole(self) -> Ensemble:
        """All replicas of the run that these are part of.

        What depends on how many replicas a run has must ask it here: a shard leaves the same numbers then.
        """
        return self if self.run is None else self.run

    def shard(self, keep: NDArray[np.int64]) -> Ensemble:
        """Return the `subset` at positions `keep` as a part of this run, which it knows as `whole`."""
        return replace(self.subset(keep), run=self.whole)

    def subset(self, keep: NDArray[np.int64]) -> Ensemble:
        """Return the ensemble of the replicas at positions `keep`, with their labels and streams."""
        return replace(self, replica=self.replica[keep], sample=self.sample[keep])
