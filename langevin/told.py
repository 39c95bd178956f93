"""What systems tell of their configurations, in one piece each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Predictions(NamedTuple):
    """What a classifier says of its test examples.

    Attributes
    ----------
    outputs : ndarray, shape (n, K)
        Probabilities of the classes; else any outputs, of which the largest names the class.
    losses : ndarray, shape (examples,)
        n of them, unless one example is classified at many positions.
    labels : ndarray of int, shape (n,)
        The right classes.
    probabilities : bool
        Whether the outputs are probabilities.
    data : str
        What identifies all examples, of training and test: a hash.
    """

    outputs: NDArray[np.float64]
    losses: NDArray[np.float64]
    labels: NDArray[np.int64]
    probabilities: bool
    data: str


class Beside(NamedTuple):
    """What a configuration alone does not say of the replicas, as numbers.

    Attributes
    ----------
    fixed : ndarray, shape (R, a)
        What never changes, such as the frozen parameters of a network.
    moving : ndarray, shape (R, b)
        What dynamics change, such as running statistics: stored with every configuration.
    """

    fixed: NDArray[np.float64]
    moving: NDArray[np.float64]

    def of(self, positions: NDArray[np.int64] | list[int]) -> Beside:
        """Return those of the replicas at these positions."""
        return Beside(self.fixed[positions], self.moving[positions])
