r"""Ensembles of classifiers are judged here: their mean prediction, and how far members differ.

The ensemble of members j = 1 … m predicts the mean of their class probabilities, p̄ = (1/m) Σ_j p_j. Its
error is the part of the examples whose largest mean probability is another class's; its loss the mean
negative log-likelihood, −⟨ln p̄(label)⟩ (Garipov et al., Loss surfaces, mode connectivity, and fast
ensembling of DNNs, NeurIPS 2018, section 5.3; Huang et al., Snapshot ensembles: train 1, get M for free, ICLR
2017).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .statistics import Array


class PredictionPool:
    """The running sum of members' predictions: members are added one by one, and none is kept.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        The right classes.
    classes : int
        Outputs K of a member.
    """

    def __init__(self, labels: NDArray[np.int64], classes: int) -> None:
        self.labels, self.count = labels, 0
        self._sum = np.zeros((len(labels), classes))

    def add(self, predictions: Array) -> None:
        """Add a member's predictions, shape (n, K)."""
        self._sum += predictions
        self.count += 1

    def merge(self, other: PredictionPool) -> None:
        """Add all members of another pool."""
        self._sum += other._sum
        self.count += other.count

    @property
    def mean(self) -> Array:
        """The ensemble's prediction p̄, shape (n, K)."""
        return self._sum / self.count

    def error(self) -> float:
        """Return the part of the examples that the ensemble gets wrong."""
        return float(np.mean(self._sum.argmax(axis=1) != self.labels))

    def loss(self) -> float:
        """Return −⟨ln p̄(label)⟩, for predictions that are probabilities.

        A probability below the smallest normal number, 2·10⁻³⁰⁸, counts as that number.
        """
        right = self.mean[np.arange(len(self.labels)), self.labels]
        return float(-np.mean(np.log(np.maximum(right, np.finfo(float).tiny))))


def disagreement(answers: ArrayLike) -> Array:
    """Return the part of the examples that two members classify differently, for all pairs.

    Parameters
    ----------
    answers : array_like of int, shape (m, n)
        Class that each member gives each example.

    Returns
    -------
    ndarray, shape (m, m)
        Symmetric, 0 on the diagonal.
    """
    given = np.asarray(answers)
    return np.array([np.mean(given != row, axis=1) for row in given]).reshape(len(given), len(given))


def normalised(differing: ArrayLike, error: ArrayLike) -> Array:
    """Return the disagreement of pairs over the mean error of the two; NaN where neither errs.

    Two members whose wrong answers have nothing in common have 2, one and the same member 0.

    Parameters
    ----------
    differing : array_like, shape (m, m)
        As `disagreement` returns it.
    error : array_like, shape (m,)
        Part of the examples that each member gets wrong.
    """
    own = np.asarray(error, dtype=float)
    mean = (own[:, None] + own[None, :]) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(mean > 0, np.asarray(differing) / mean, np.nan)


def groups(runs: int, size: int) -> list[range]:
    """Return disjoint groups of `size` of the runs 0 … runs − 1, in order; runs left over are left out.

    Disjoint groups of independent runs are independent, so that their scatter is an error bar. Groups that
    share runs would make a smaller scatter than there is.
    """
    return [range(first, first + size) for first in range(0, runs - size + 1, size)]


class Mean(NamedTuple):
    """A mean over independent values, its standard error (NaN of a single one), and how many there were."""

    value: float
    error: float
    number: int


def mean(values: ArrayLike) -> Mean:
    """Return the mean of the values that are numbers, and its standard error, s/√n."""
    given = np.asarray(values, dtype=float)
    known = given[np.isfinite(given)]
    if not known.size:
        return Mean(float("nan"), float("nan"), 0)
    error = known.std(ddof=1) / np.sqrt(known.size) if known.size > 1 else float("nan")
    return Mean(float(known.mean()), float(error), int(known.size))
