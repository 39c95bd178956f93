"""Many tiny nets on a GPU: steps by a kernel of Triton, measurements by products of batches of matrices.

Batches are drawn on the GPU, too (`drawn`): between two measurements the host says a few times "go on".
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from itertools import accumulate, pairwise
from subprocess import SubprocessError
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from langevin.core.ensemble import Ensemble
from langevin.core.system import Array
from langevin.errors import UserError
from langevin.machine import notices
from langevin.machine.interruption import heed

from ..data.batches import Batches
from ..data.examples import OnDevice
from ..data.subsets import Chosen, Subset
from ..descent.perceptron import Shape, shape_of, velocity_of
from ..descent.state import NetworkState
from ..descent.training import Problem, Stacked
from ..keys import Descent
from ..measure.measurement import parts_of, standard_error, unbiased
from ..measure.perceptron_sums import sums
from .drawn import drawing
from .steppers import ReplicaSteppers

#: Replicas from which on they are many.
MANY = 256
#: Numbers of a net, weights and velocities, that fit in registers, or nearly; examples of a batch.
HELD, BATCH = 200, 1024
#: Examples of a batch that share a thread.
EACH = 4
#: Inputs from which on the first layer's matrix stays in memory; how many units it may have then; inputs that
#: its products take at once.
WIDE, UNITS, CHUNK = 33, 32, 32
#: Steps of one call of the kernel, at most.
STEPS = 2**12
#: Numbers in the activations of one piece of a measurement.
NUMBERS = 2**25
#: Nets and steps by which the kernel is compared with the plain step; by what part of the way, and of the
#: weights, it may be off: rounding is a thousandth of that.
TRIED, FIRST, OFF, ROUNDED = 8, 5, 1e-2, 1e-6

#: What may go wrong where a kernel is compiled or starts, besides Triton's own errors.
FAULTS: tuple[type[Exception], ...] = (
    *(RuntimeError, OSError, SubprocessError, ImportError, AttributeError),
    *(TypeError, ValueError, AssertionError, LookupError),
)


def interpreted() -> bool:
    """Return whether Triton's kernels are interpreted, on a CPU: for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _faults() -> tuple[type[Exception], ...]:
    """Return what may go wrong where a kernel is compiled or starts."""
    try:
        from triton.runtime.errors import TritonError
    except ImportError:
        return FAULTS
    return *FAULTS, TritonError


def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def chosen(
    module: nn.Module, problem: Problem, batches: Batches, keys: Descent, sets: Sequence[int], replicas: int
) -> Shape | None:
    """Return the shape of nets whose steps a GPU's kernel takes; None if others take them.

    Parameters
    ----------
    module : Module
    problem : Problem
    batches : Batches
    keys : Descent
        The section [dynamics].
    sets : sequence of int
        Numbers of examples of the quenched samples' training sets.
    replicas : int
        R.

    Raises
    ------
    UserError
        If the kernel must take them, and cannot.
    """
    on_card = problem.examples.device.type == "cuda"
    wanted = keys.backend == "triton"
    free = keys.backend == keys.execution == "auto" and not keys.compile
    if not wanted and not (on_card and free and replicas >= MANY):
        return None
    shape = shape_of(module, problem.loss)
    fault = _fault(shape, problem, batches, keys, sets)
    if fault is None:
        return shape
    if not wanted:
        return None
    raise UserError(
        f'dynamics.backend = "triton": allowed: "auto", "torch" with {fault}; its kernel knows, on a GPU, '
        f"fully connected nets with ReLU or tanh of up to {HELD} weights, or {HELD // 2} with momentum "
        f"(those from {WIDE} inputs or more to up to {UNITS} units do not count), "
        f'cross-entropy, SGD, dynamics.batches = "epochs", "iid", "full" with B ≤ {BATCH}, '
        'dynamics.precision = "single"'
    )


def _fault(
    shape: Shape | None, problem: Problem, batches: Batches, keys: Descent, sets: Sequence[int]
) -> str | None:
    """Return what the kernel does not know, if there is something."""
    examples, rule, dof = problem.examples, problem.rule, problem.layout.dof
    bath = f"{rule.temperature:g}" if isinstance(rule.temperature, float | int) else "a protocol"
    faults = {
        f"dynamics.device = {keys.device!r}, which is no GPU here": not (
            examples.device.type == "cuda" or interpreted()
        ),
        "PyTorch without Triton": not _has_triton(),
        f'dynamics.precision = "{keys.precision}"': keys.precision != "single",
        f'dynamics.batches = "{keys.batches}"': not batches.fixed,
        f"B = {batches.size}": batches.size > BATCH,
        f"dynamics.temperature = {bath}": rule.warm,
        f'dynamics.optimiser = "{keys.optimiser}"': rule.optimiser.kernel_momentum is None,
        f'dynamics.augment = "{keys.augment}"': keys.augment != "none",
        "parameters that differ in rate or decay": rule.groups is not None,
        "examples that do not fit on the GPU": examples.on_host,
        "samples that differ in size": len(set(sets)) > 1,
        "this network or loss": shape is None or shape.loss != "cross_entropy" or not problem.traits.compiles,
        f"{dof} weights": shape is not None and _held(shape) * (1 + bool(rule.optimiser.slots)) > HELD,
        "so wide a first layer": shape is not None and shape.sizes[0] >= WIDE and shape.sizes[1] > UNITS,
    }
    return next((fault for fault, holds in faults.items() if holds), None)


def _held(shape: Shape) -> int:
    """Return how many weights of a net the kernel keeps in registers."""
    inputs, first = shape.sizes[:2]
    head = inputs * first if inputs >= WIDE else 0
    return sum((a + 1) * b for a, b in pairwise(shape.sizes)) - head


class TinyOnCard:
    """The replicas of a system, all advanced and measured on a GPU.

    What it computes is what `steppers.ReplicaSteppers` computes, to rounding.

    Parameters
    ----------
    module : Module
        Of any replica, on the device.
    problem : Problem
    batches : Batches
        Of fixed size.
    rows : mapping
        Label of a quenched sample → indices of its examples, of all as many.
    ensemble : Ensemble
    shape : Shape
    plain : callable
        Returns the steppers that do without the kernel.
    """

    #: No example's loss depends on others.
    couples = False

    def __init__(
        self,
        module: nn.Module,
        problem: Problem,
        batches: Batches,
        rows: Mapping[int, NDArray[np.int64]],
        ensemble: Ensemble,
        shape: Shape,
        plain: Callable[[], ReplicaSteppers],
    ) -> None:
        self.module, self.problem, self.batches = module, problem, batches
        self.rows, self.ensemble, self.shape, self._make_plain = rows, ensemble, shape, plain
        self.device = problem.examples.device
        self._sizes, self._tanh = shape.sizes, shape.activation == "tanh"
        self._probed: dict[str, _Stacked] = {}
        self._tried = False
        #: What takes the steps if the kernel is of no use.
        self.steppers: ReplicaSteppers | None = None

    @cached_property
    def _kernel(self) -> _Kernel:
        return _Kernel(self)

    def advance(
        self, state: NetworkState, first: int, last: int, streams: Sequence[Any], field: Tensor | None = None
    ) -> tuple[int, int] | None:
        """Take the steps first … last − 1, in place; `field`, shape (R, M), is a constant force besides.

        Returns
        -------
        (int, int) or None
            Step and replica's position of the first weights that are not finite.
        """
        if not self._tried and first < last:
            self._tried = True
            with self._here():
                self._try(state, first, last)
        if self.steppers is not None:
            return self.steppers.advance(state, first, last, streams, field)
        with self._here():
            return self._advance(state, first, last, field)

    def _here(self) -> AbstractContextManager[Any]:
        """Return a context in which Triton starts kernels where the nets are."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _advance(
        self, state: NetworkState, first: int, last: int, field: Tensor | None
    ) -> tuple[int, int] | None:
        velocity = velocity_of(state.slots, state.weights)
        before: tuple[Tensor, int] | None = None
        for start, stop in self._kernel.calls(first, last):
            astray = self._kernel.descend(state.weights, velocity, field, start, stop)
            # While this call computes, the host looks at the one before.
            bad = None if before is None else _first(*before)
            if bad is not None:
                return bad
            before = astray, start
        return None if before is None else _first(*before)

    def _try(self, state: NetworkState, first: int, last: int) -> None:
        """Compare the kernel's first steps with the plain ones; say so if it is of no use."""
        last = min(last, first + FIRST)
        weights, slots = state.weights.clone(), {name: slot.clone() for name, slot in state.slots.items()}
        few = slice(0, min(TRIED, len(weights)))
        try:
            # All of them: there is one way to start it.
            (start, stop), *_ = self._kernel.calls(first, last)
            self._kernel.descend(weights, velocity_of(slots, weights), None, start, stop)
            fault = None if self._agrees(state, weights[few], few, start, stop) else "is not the plain step's"
        except torch.OutOfMemoryError:
            raise
        except _faults() as error:
            fault = f"does not start ({' '.join(str(error).split())[:200]})"
        if fault is not None:
            self.steppers = self._make_plain()
            text = f"the GPU's kernel for tiny nets {fault}; PyTorch takes the steps, more slowly"
            notices.once("triton", text)

    def _agrees(self, state: NetworkState, weights: Tensor, few: slice, first: int, last: int) -> bool:
        """Return whether these are the weights of a few replicas after the steps first … last − 1."""
        expected = state.weights[few].clone()
        slots = {name: slot[few].clone() for name, slot in state.slots.items()}
        stepper = Stacked(self.module, self.problem)
        stepper.bind(expected, slots)
        labels, samples = self.ensemble.replica[few].tolist(), self.ensemble.sample[few].tolist()
        tables = [
            self.rows[sample][self.batches.table(label, first, last)]
            for label, sample in zip(labels, samples, strict=True)
        ]
        index = self.problem.examples.upload(np.stack(tables, axis=1))
        losses = stepper.run(index, self.problem.rule.schedule.between(first, last))
        if not bool(torch.isfinite(losses).all() & torch.isfinite(expected).all()):
            # A run that diverges says so by itself.
            return True
        way = (expected - state.weights[few]).abs().amax()
        allowed = OFF * way + ROUNDED * expected.abs().amax()
        return bool((weights - expected).abs().amax() <= allowed)

    # Measurements.

    def measure(self, state: NetworkState, train: OnDevice, test: OnDevice, chosen: Chosen) -> Array:
        """Return what `measurement.MEASURED` names, shape (numbers, R)."""
        probed = self._stacked("probed", chosen.probed)
        trained, tested = self._stacked("trained", chosen.trained), self._stacked("tested", chosen.tested)
        size = (len(state.weights), self.problem.layout.dof)
        counted, total, between = np.zeros((size[0], 4)), np.zeros(size), np.zeros(size[0])
        for part in probed.parts:
            one, gradient = self._sums(state, train, probed, part, descent=True)
            counted, total = counted + one, total + gradient
            between += np.sum(gradient**2, axis=1) / part.shape[1]
        square, n = np.sum(total**2, axis=1), probed.n
        squares = unbiased(square, between, len(probed.parts), n, probed.left_out)
        if not trained.same_as(probed):
            counted, _ = self._sums(state, train, trained, trained.places)
        held_out, _ = self._sums(state, test, tested, tested.places)
        gradient_norm = np.sqrt(square) / n
        return np.stack([*trained.means(counted), *tested.means(held_out), gradient_norm, squares])

    def gradient_noise(self, state: NetworkState, chosen: Chosen) -> Array:
        """Return the gradient noise and its standard error, shape (2, R)."""
        probed = self._stacked("probed", chosen.probed)
        values, total, squares = [], np.zeros(1), np.zeros(1)
        for part in probed.scattered:
            counted, gradient = self._sums(state, self.problem.examples, probed, part, descent=True)
            n = part.shape[1]
            values.append((counted[:, 2] - np.sum(gradient**2, axis=1) / n) / (n - 1))
            total, squares = total + gradient, squares + counted[:, 2]
        n, dof = probed.n, self.problem.layout.dof
        value = (squares - np.sum(total**2, axis=1) / n) / (n - 1) / dof
        if probed.left_out == 0:
            return np.stack([value, np.zeros_like(value)])
        with np.errstate(over="ignore", invalid="ignore"):
            scatter = np.std(values, axis=0, ddof=1) if len(values) > 1 else np.full_like(value, np.nan)
            error = scatter / dof / np.sqrt(len(values)) * np.sqrt(probed.left_out)
        return np.stack([value, error])

    def _stacked(self, name: str, subsets: Mapping[int, Subset]) -> _Stacked:
        """Return the subsets of all replicas together; they stay what they are."""
        if name not in self._probed:
            self._probed[name] = _Stacked.of([subsets[label] for label in self.ensemble.replica.tolist()])
        return self._probed[name]

    def _sums(
        self, state: NetworkState, examples: OnDevice, subset: _Stacked, index: Tensor, descent: bool = False
    ) -> tuple[Array, Array]:
        """Return what `perceptron_sums` counts, shape (R, 4), and gradients' sums, on a part of a subset."""
        room = sum(self._sizes) * index.shape[1]
        pieces = torch.split(torch.arange(len(state.weights), device=self.device), max(1, NUMBERS // room))
        counted, gradients = [], []
        for piece in pieces:
            heed()
            own = index if len(index) == 1 else index[subset.which[piece]]
            inputs, labels = examples.gather(own)
            shape = (len(piece), index.shape[1])
            one = sums(
                state.weights[piece].double(),
                self._sizes,
                self._tanh,
                inputs.flatten(2).double().expand(*shape, -1),
                labels.expand(shape),
                descent,
            )
            counted.append(one.counted)
            gradients.append(one.gradient)
        return torch.cat(counted).cpu().numpy(), torch.cat(gradients).cpu().numpy()


class _Kernel:
    """The kernel, what it reads, and how it is started."""

    def __init__(self, nets: TinyOnCard) -> None:
        from ..kernels.tiny_triton import descend, descend_wide

        sizes = nets.shape.sizes
        wide = sizes[0] >= WIDE
        self._descend = descend_wide if wide else descend
        self.problem, self.batches, examples = nets.problem, nets.batches, nets.problem.examples
        self.device, ensemble = nets.device, nets.ensemble
        self._drawing = drawing(self.batches, self.device)
        places = {label: k for k, label in enumerate(nets.rows)}
        whose = np.array([places[int(s)] for s in ensemble.sample], np.int32)
        self._whose = torch.from_numpy(whose).to(self.device)
        self._rows = torch.from_numpy(np.stack([*nets.rows.values()]).astype(np.int32)).to(self.device)
        assert examples.labels is not None
        self._labels = examples.labels.to(torch.int32)
        # What is scaled may be scaled in place.
        own = examples.inputs.dtype == examples.dtype and not examples.identity
        inputs = examples.scaled(examples.inputs.clone() if own else examples.inputs)
        self._inputs = inputs.reshape(len(examples), -1)
        starts = tuple(accumulate(((a + 1) * b for a, b in pairwise(sizes)), initial=0))
        lanes = max(32, 1 << (self.batches.size - 1).bit_length())
        self._constants = {
            "SIZES": sizes,
            "STARTS": starts,
            "B": self.batches.size,
            "LANES": lanes,
            "TANH": nets.shape.activation == "tanh",
            "num_warps": max(4, lanes // 32) if wide else max(1, lanes // (32 * EACH)),
        }
        if wide:
            self._constants |= {
                "BEHIND": tuple(s - sizes[0] * sizes[1] for s in starts),
                "UNITS": max(16, 1 << (sizes[1] - 1).bit_length()),
                "CHUNK": CHUNK,
            }
        momentum = self.problem.rule.optimiser.kernel_momentum or 0.0
        self._rule = momentum, self.problem.rule.weight_decay, 1 / self.problem.batch_size

    def calls(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return the steps of each call of the kernel: of one table of batches."""
        ends, step = [], first
        while step < last:
            stop = min(last, step + STEPS, self._drawing.last(step))
            ends.append((step, stop))
            step = stop
        return ends

    def descend(
        self, weights: Tensor, velocity: Tensor, field: Tensor | None, first: int, last: int
    ) -> Tensor:
        """Take the steps of one of the `calls`, in place; return at which of them each net went astray."""
        table = self._drawing.holding(first)
        rates = self.problem.rule.schedule.between(first, last)
        astray = torch.empty(len(weights), dtype=torch.int32, device=self.device)
        self._descend[(len(weights),)](
            weights,
            velocity,
            weights if field is None else field.contiguous(),
            self._inputs,
            self._labels,
            self._rows,
            self._whose,
            table.places,
            torch.from_numpy(rates.astype(np.float32)).to(self.device, non_blocking=True),
            astray,
            last - first,
            first - table.first,
            table.period,
            table.stride,
            table.width,
            self._rows.shape[1],
            *self._rule,
            MOMENTUM=self._rule[0] != 0,
            FIELD=field is not None,
            **self._constants,
        )
        return astray


def _first(astray: Tensor, start: int) -> tuple[int, int] | None:
    """Return step and position of the first net that went astray in a call that began at a step."""
    steps = astray.cpu().numpy()
    bad = np.flatnonzero(steps >= 0)
    if not bad.size:
        return None
    position = bad[np.argmin(steps[bad])]
    return start + int(steps[position]), int(position)


class _Stacked(NamedTuple):
    """Subsets of all replicas, of one size; those that replicas share are there once."""

    places: Tensor
    which: Tensor
    population: int

    @classmethod
    def of(cls, subsets: Sequence[Subset]) -> _Stacked:
        places: dict[int, int] = {}
        which = [places.setdefault(id(s), len(places)) for s in subsets]
        unique = dict(zip(which, subsets, strict=True))
        together = torch.stack([unique[place].index for place in range(len(places))])
        return cls(together, torch.tensor(which, device=together.device), subsets[0].population)

    @property
    def n(self) -> int:
        """Examples of each."""
        return self.places.shape[1]

    @property
    def left_out(self) -> float:
        """1 − n/N."""
        return 1 - self.n / self.population

    @property
    def scattered(self) -> tuple[Tensor, ...]:
        """Parts from whose scatter errors follow."""
        return parts_of(self.places)

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """Parts from whose differences the variance of a gradient follows, where it is wanted."""
        return (self.places,) if self.n >= self.population else self.scattered

    def same_as(self, other: _Stacked) -> bool:
        """Return whether these are the same examples."""
        return self.places.shape == other.places.shape and torch.equal(self.places, other.places)

    def means(self, counted: Array) -> tuple[Array, ...]:
        """Return losses and accuracies, and their errors, shape (R,) each."""
        n, left_out = self.n, self.left_out
        loss, right, squares = counted[:, 0], counted[:, 1], counted[:, 3]
        return (
            loss / n,
            right / n,
            standard_error(loss, squares, n, left_out),
            standard_error(right, right, n, left_out),
        )
