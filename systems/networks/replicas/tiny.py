"""Many tiny nets on a CPU share threads and calls of the compiled kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.core.ensemble import Ensemble
from langevin.core.system import Array
from langevin.systems.threads import Pool

from ..data.batches import Batches
from ..data.examples import OnDevice
from ..data.subsets import Chosen, Subset
from ..descent.perceptron import Shape, velocity_of
from ..descent.state import NetworkState
from ..descent.step_rule import StepRule
from ..descent.training import Problem
from ..measure.measurement import noise_of_parts, parts_of, standard_error, unbiased

#: The widest layer, inputs apart, up to which the kernels for tiny nets are faster than those on BLAS: with
#: ReLU on two inputs both take as long there, with tanh or images ours take half.
NARROW = 64
#: Indices in the batches of one call of the kernel, at most.
INDICES = 2**15
#: Bytes of inputs that are copied, so that what a replica learns from lies together.
TOGETHER = 2**24
#: Tasks for each thread: enough that none waits long for the last.
TASKS = 4


def pays(shape: Shape, batches: Batches, rule: StepRule) -> bool:
    """Return whether the kernels know such a net and such a step, and are the fastest."""
    sgd = rule.optimiser.kernel_momentum is not None and not rule.rests
    known = shape.loss == "cross_entropy" and batches.fixed and not rule.warm and sgd
    return known and max(shape.sizes[1:]) <= NARROW


class TinyReplicas:
    """The replicas of a system, all advanced and measured by compiled kernels.

    What it computes is what `steppers.ReplicaSteppers` computes, to rounding.

    Parameters
    ----------
    problem : Problem
    batches : Batches
        Of fixed size.
    rows : mapping
        Label of a quenched sample → indices of its examples.
    ensemble : Ensemble
    shape : Shape
    """

    #: No example's loss depends on others.
    couples = False

    def __init__(
        self,
        problem: Problem,
        batches: Batches,
        rows: Mapping[int, NDArray[np.int64]],
        ensemble: Ensemble,
        shape: Shape,
    ) -> None:
        from ..kernels import tiny_kernels as kernels
        from ..kernels.perceptron_kernels import RELU, TANH

        self._descend, self._probe = kernels.descend, kernels.probe
        self._workspace, self._piece = kernels.workspace, kernels.PIECE
        self.problem, self.batches, self.ensemble = problem, batches, ensemble
        self._sizes, self._kind = np.array(shape.sizes), {"relu": RELU, "tanh": TANH}[shape.activation]
        rule, dtype = problem.rule, problem.examples.dtype
        numbers = (rule.optimiser.kernel_momentum or 0.0, rule.weight_decay, 1 / problem.batch_size)
        kind = np.float32 if str(dtype) == "torch.float32" else np.float64
        self._rule = np.array(numbers, kind)
        self.rows = rows
        self._learned = _Learned(problem.examples, rows, ensemble, self._rule.dtype)
        #: Steps in one call of the kernel.
        self._most = max(1, INDICES // batches.size)
        pieces = min(ensemble.size, TASKS * ensemble.threads)
        edges = np.linspace(0, ensemble.size, pieces + 1).round().astype(int)
        self._shares = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        self._pool = Pool(ensemble.threads)

    def advance(
        self, state: NetworkState, first: int, last: int, streams: Sequence[Any], field: Tensor | None = None
    ) -> tuple[int, int] | None:
        """Take the steps first … last − 1, in place; `field`, shape (R, M), is a constant force besides.

        Returns
        -------
        (int, int) or None
            Step and replica's position of the first weights that are not finite.
        """
        weights = state.weights.numpy()
        velocity = velocity_of(state.slots, state.weights).numpy()
        pushed = np.empty((len(weights), 0), self._rule.dtype) if field is None else field.numpy()
        bad = np.full(len(weights), -1)
        rates = self.problem.rule.schedule.between(first, last).astype(self._rule.dtype, copy=False)

        def task(share: slice) -> None:
            space = self._workspace(self._sizes, self.batches.size, self._rule)
            for p in range(share.start, share.stop):
                bad[p] = self._advance(p, weights[p], velocity[p], pushed[p], first, rates, space)

        self._carry(task)
        ends = [(int(step), position) for position, step in enumerate(bad) if step >= 0]
        return min(ends, default=None)

    def _advance(
        self,
        position: int,
        weights: Array,
        velocity: Array,
        field: Array,
        first: int,
        rates: Array,
        space: tuple[Any, ...],
    ) -> int:
        """Let one replica take steps at these rates; return the one at which it went astray, or −1."""
        label = int(self.ensemble.replica[position])
        for place in range(0, len(rates), self._most):
            part = rates[place : place + self._most]
            # A net after the other, and its batches when they are needed: then they are in the cache.
            table = self.batches.table(label, first + place, first + place + len(part))
            end = self._descend(
                weights,
                velocity,
                field,
                self._sizes,
                self._kind,
                *self._learned.examples,
                self._learned.where[position],
                np.ascontiguousarray(table),
                part,
                self._rule,
                space,
            )
            if end >= 0:
                return int(first + place + end)
        return -1

    def _carry(self, task: Callable[[slice], None]) -> None:
        """Carry out the task for every share of the replicas."""
        if len(self._shares) == 1:
            task(self._shares[0])
        else:
            list(self._pool.executor.map(task, self._shares))

    def measure(self, state: NetworkState, train: OnDevice, test: OnDevice, chosen: Chosen) -> Array:
        """Return what `measurement.MEASURED` names, shape (numbers, R)."""
        probed = self._per_replica(chosen.probed)
        trained, tested = self._per_replica(chosen.trained), self._per_replica(chosen.tested)
        alike = all(a is b or torch.equal(a.index, b.index) for a, b in zip(trained, probed, strict=True))
        parts = [[s.index] if s.whole else list(parts_of(s.index)) for s in probed]
        partial, nothing = not all(s.whole for s in trained), probed[0].index[:0]
        summed, total, between = np.zeros((len(probed), 4)), np.zeros((len(probed), 1)), np.zeros(len(probed))
        for number in range(max(map(len, parts))):
            subsets = [p[number] if number < len(p) else nothing for p in parts]
            one, sums, count = self._sums(state, train, subsets, True, scattered=partial)
            summed, total = summed + one, total + sums
            between += np.sum(sums * sums, axis=1) / np.maximum(count, 1)
        square = np.sum(total * total, axis=1)
        n = np.array([len(s) for s in probed])
        squares = [
            unbiased(float(square[r]), float(between[r]), len(parts[r]), len(s), s.left_out)
            for r, s in enumerate(probed)
        ]
        gradient = np.sqrt(square) / n, squares
        # Small training sets are measured as a whole, twice.
        learned = _means(summed, trained) if alike else self._losses(state, train, trained)
        return np.stack([*learned, *self._losses(state, test, tested), *gradient])

    def _losses(
        self, state: NetworkState, examples: OnDevice, subsets: Sequence[Subset]
    ) -> tuple[Array, ...]:
        """Return what `_means` does, on a subset for each replica."""
        partial = not all(s.whole for s in subsets)
        return _means(self._sums(state, examples, [s.index for s in subsets], scattered=partial)[0], subsets)

    def _per_replica(self, subsets: Mapping[int, Subset]) -> list[Subset]:
        return [subsets[label] for label in self.ensemble.replica.tolist()]

    def _sums(
        self,
        state: NetworkState,
        examples: OnDevice,
        subsets: Sequence[Tensor],
        descent: bool = False,
        squares: bool = False,
        scattered: bool = False,
    ) -> tuple[Array, Array, Array]:
        """Return what `probe` finds, the sums of the gradients, and how many examples each replica saw."""
        # Subsets that replicas share stand there once.
        places: dict[int, int] = {}
        which = np.array([places.setdefault(id(index), len(places)) for index in subsets])
        unique = [subsets[int(np.argmax(which == place))] for place in range(len(places))]
        sizes = np.array([len(index) for index in unique])
        ends = np.cumsum(sizes)
        bounds = np.stack([ends - sizes, ends], axis=1)
        chosen = np.concatenate([index.numpy() for index in unique])
        weights = state.weights.numpy()
        counted = np.empty((len(weights), 4))
        gradient = np.empty((len(weights), weights.shape[1] if descent else 0))
        data = _as_kernels_take(examples, self._rule.dtype)

        def task(share: slice) -> None:
            self._probe(
                weights[share],
                self._sizes,
                self._kind,
                *data,
                chosen,
                bounds,
                which[share],
                squares,
                scattered,
                self._workspace(self._sizes, self._piece, self._rule),
                gradient[share],
                counted[share],
            )

        self._carry(task)
        return counted, gradient, sizes[which]

    def gradient_noise(self, state: NetworkState, chosen: Chosen) -> Array:
        """Return the gradient noise and its standard error, shape (2, R)."""
        probed = self._per_replica(chosen.probed)
        parts = {id(s): parts_of(s.index) for s in probed}
        values, total, n = [], np.zeros((len(probed), 1)), np.zeros(len(probed))
        squares = np.zeros(len(probed))
        for number in range(min(map(len, parts.values()))):
            subsets = [parts[id(s)][number] for s in probed]
            counted, sums, count = self._sums(
                state, self.problem.examples, subsets, descent=True, squares=True
            )
            values.append((counted[:, 2] - np.sum(sums * sums, axis=1) / count) / (count - 1))
            total, squares, n = total + sums, squares + counted[:, 2], n + count
        value = (squares - np.sum(total * total, axis=1) / n) / (n - 1) / self.problem.layout.dof
        scattered = np.array(values).T / self.problem.layout.dof
        noises = [
            noise_of_parts(float(v), one, s.left_out)
            for v, one, s in zip(value, scattered, probed, strict=True)
        ]
        return np.array(noises).T


def _means(counted: Array, subsets: Sequence[Subset]) -> tuple[Array, ...]:
    """Return losses and accuracies, and their errors, shape (R,) each, from what `probe` counted."""
    n = np.array([len(s) for s in subsets])
    left_out = np.array([s.left_out for s in subsets])
    loss, right, squares = counted[:, 0], counted[:, 1], counted[:, 3]
    return (
        loss / n,
        right / n,
        standard_error(loss, squares, n, left_out),
        standard_error(right, right, n, left_out),
    )


def _as_kernels_take(examples: OnDevice, dtype: np.dtype[Any]) -> tuple[NDArray[Any], ...]:
    """Return inputs, labels, scale and shift."""
    like = np.ones(examples.shape, dtype)
    scale, shift = ((like * v.numpy()).reshape(-1) for v in (examples.scale, examples.shift))
    return examples.inputs.flatten(1).numpy(), examples.classes, scale, shift


class _Learned:
    """The training set as the steps want it: what a replica learns from side by side, to stay in the cache.

    Large sets are left where they lie.

    Attributes
    ----------
    examples : tuple
        Inputs, labels, scale and shift.
    where : list of ndarray of int32
        For every replica, which of these it learns from, as `descend` takes it.
    """

    def __init__(
        self,
        examples: OnDevice,
        rows: Mapping[int, NDArray[np.int64]],
        ensemble: Ensemble,
        dtype: np.dtype[Any],
    ) -> None:
        inputs, labels, scale, shift = _as_kernels_take(examples, dtype)
        where = {label: r.astype(np.int32) for label, r in rows.items()}
        if sum(map(len, rows.values())) * inputs[0].nbytes <= TOGETHER:
            chosen = np.concatenate(list(rows.values()))
            inputs, labels = inputs[chosen], labels[chosen]
            ends = np.cumsum([len(r) for r in rows.values()])
            starts = ends - [len(r) for r in rows.values()]
            where = {s: np.array([start], np.int32) for s, start in zip(rows, starts, strict=True)}
        self.examples = inputs, labels, scale, shift
        self.where = [where[int(s)] for s in ensemble.sample]
