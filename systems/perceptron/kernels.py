r"""Compiled steps of the spherical perceptron, of several replicas that share their patterns.

A force is f = −Σ_μ h_μ θ(−h_μ) ξ_μ/√N: two products with the matrix of patterns, ξx and ξᵀv, and v is zero
for every satisfied pattern. The matrix is walked through once, in blocks of rows that stay in the cache: the
gaps of a block for every replica first, then its unsatisfied rows are added to the forces. So a step reads
the patterns once from memory, however many replicas there are, and costs 2PN(1 + u) floating-point operations
for each, u the share of unsatisfied patterns, in place of 4PN for two products of whole matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.core.schemes import Held
from langevin.core.system import Array
from langevin.systems.threads import Pool, allowed

from .stepping import advance

#: Bytes of a block of patterns, some of a processor's second cache.
_BLOCK = 1 << 16
#: Replicas that walk through the patterns together; a group does not depend on how many threads there are.
_TOGETHER = 8
#: Numbers of noise that a group draws at once.
_DRAWN = 1 << 16
_NO_SUMS = np.empty((0, 0, 0))


@dataclass(frozen=True)
class Evaluation:
    """What the patterns say of configurations.

    Attributes
    ----------
    x, force : ndarray, shape (R, N)
    energy : ndarray, shape (R,)
        Extensive.
    unsatisfied : ndarray, shape (R,)
        Number of patterns with a gap below 0.
    """

    x: Array
    force: Array
    energy: Array
    unsatisfied: Array

    @classmethod
    def empty(cls, x: Array) -> Evaluation:
        """Return room for what will be said of configurations that begin as copies of x."""
        return cls(x.copy(), np.empty_like(x), np.empty(len(x)), np.empty(len(x)))


class Field:
    """Forces and steps of an ensemble.

    Parameters
    ----------
    patterns : sequence of ndarray, shape (P, N)
        Of each quenched sample.
    position : ndarray of int, shape (R,)
        The sample of each replica.
    margin : float
    threads : int
        Groups of replicas go side by side; each of them is computed by one thread.
    """

    def __init__(
        self, patterns: Sequence[Array], position: NDArray[np.int64], margin: float, threads: int
    ) -> None:
        self.patterns, self.margin = patterns, margin
        self._groups = [
            (sample, members[k : k + _TOGETHER])
            for sample in range(len(patterns))
            for members in [np.flatnonzero(position == sample)]
            for k in range(0, len(members), _TOGETHER)
        ]
        self._pool = Pool(max(1, allowed(min(threads, len(self._groups)))))

    def evaluate(self, x: Array) -> Evaluation:
        """Return what the patterns say of x, shape (R, N)."""
        none = np.empty((len(x), 1, x.shape[1]))
        result = Evaluation.empty(x)
        self._for_groups(
            self._advance_group, result, False, lambda members: [(none, none, 0)], 0.0, 0.0, None
        )
        return result

    def steps(
        self,
        start: Evaluation,
        steps: int,
        dt: float,
        temperature: float,
        generators: Sequence[np.random.Generator],
        accumulated: Array | None = None,
        held: Held | None = None,
    ) -> Evaluation:
        """Return what the patterns say of the configurations after many steps.

        Parameters
        ----------
        start : Evaluation
            Not changed.
        steps : int
        dt, temperature : float
        generators : sequence of numpy.random.Generator, length R
            Give N normals per replica and step; not touched at T = 0.
        accumulated : ndarray, shape (2, R, N), optional
        held : Held, optional
            As `HasKernel.fused_steps` explains them.
        """
        result = Evaluation(start.x.copy(), start.force.copy(), start.energy.copy(), start.unsatisfied.copy())
        n = start.x.shape[1]

        def noise(members: NDArray[np.int64]) -> Any:
            if temperature == 0:
                none = np.empty((len(members), 1, n))
                yield none, none, steps
                return
            chunk = max(1, _DRAWN // (n * len(members)))
            for done in range(0, steps, chunk):
                count = min(chunk, steps - done)
                drawn = np.stack([generators[r].standard_normal((count, n)) for r in members])
                if held is None:
                    yield drawn, drawn, count
                    continue
                used, summed = held.scheme.noise(held.normals[members], drawn)
                held.normals[members] = drawn[:, -1]
                yield used, summed, count

        amplitude = math.sqrt(2 * temperature * dt)
        self._for_groups(self._advance_group, result, True, noise, dt, amplitude, accumulated)
        return result

    def _for_groups(self, task: Callable[..., None], *arguments: Any) -> None:
        def share(rank: int, team: int) -> None:
            for sample, members in self._groups[rank::team]:
                task(sample, members, *arguments)

        self._pool.share(share)

    def _advance_group(
        self,
        sample: int,
        members: NDArray[np.int64],
        result: Evaluation,
        known: bool,
        noise: Callable[[NDArray[np.int64]], Any],
        dt: float,
        amplitude: float,
        accumulated: Array | None,
    ) -> None:
        """Advance the replicas at positions `members`, which share a sample."""
        xi = self.patterns[sample]
        rows = max(4, _BLOCK // (8 * xi.shape[1]) // 4 * 4)
        arrays = (result.x, result.force, result.energy, result.unsatisfied)
        own = [array[members] for array in arrays]
        x, *rest = own
        sums = _NO_SUMS if accumulated is None else accumulated[:, members]
        for used, summed, steps in noise(members):
            advance(xi, x, self.margin, rows, used, summed, steps, dt, amplitude, known, sums, *rest)
            known = True
        for array, values in zip(arrays, own, strict=True):
            array[members] = values
        if accumulated is not None:
            accumulated[:, members] = sums
