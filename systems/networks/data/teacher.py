r"""A teacher: a network with random weights, which says what class an input is of.

    f(x) = h^{-1/2} Σ_j a_j tanh(w_j · x/√d),    a_j and the components of w_j standard normal,

h units, d numbers in an input x as networks get it. (Of ReLUs all might be silent: f = 0 for many inputs.)
The classes are K intervals of f. Their K − 1 bounds are quantiles of f over the training examples, each
halfway between two neighbours: of P training examples every class has P/K, to the nearest integers (examples
of equal f fall into one class). The same bounds are those of the test examples, whose classes are as frequent
on average alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


class Teacher(NamedTuple):
    """One hidden layer of random weights.

    Attributes
    ----------
    hidden : ndarray, shape (h, d)
    output : ndarray, shape (h,)
    """

    hidden: Table
    output: Table

    @classmethod
    def drawn(cls, stream: np.random.Generator, units: int, width: int) -> Teacher:
        """Draw one of h units, for inputs of d numbers."""
        return cls(stream.standard_normal((units, width)), stream.standard_normal(units))

    def outputs(self, blocks: Iterable[Table]) -> Table:
        """Return f of the inputs of all blocks, (n, d) each, one after the other."""
        units, width = self.hidden.shape
        output = self.output / np.sqrt(units)
        return np.concatenate([np.tanh(block @ self.hidden.T / np.sqrt(width)) @ output for block in blocks])


def bounds(outputs: Table, classes: int) -> Table:
    """Return the K − 1 bounds between the classes, such that each has as many of these outputs, (P,)."""
    ordered = np.sort(outputs)
    first = np.arange(1, classes) * len(ordered) // classes
    return np.asarray((ordered[first - 1] + ordered[first]) / 2)


def classified(outputs: Table, limits: Table) -> NDArray[np.int64]:
    """Return the class of every output: how many bounds lie below it."""
    return np.searchsorted(limits, outputs).astype(np.int64)
