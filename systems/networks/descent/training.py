r"""The step of gradient descent, for one network alone or for several in one call.

With g the gradient of the mean loss of a mini-batch, λ the weight decay and α the learning rate of this step
(`schedules`), an optimiser moves the weights (`optimisers`); that of SGD with momentum μ, and noise,

    g ← g + λ w,    v ← μ v + g,    w ← w − α v + √(2 T α) η,

is torch.optim.SGD at T = 0. Without momentum it is the Euler-Maruyama step of `langevin.core.dynamics`
with the force −g and dt = α (a test holds that); T > 0 is stochastic gradient Langevin dynamics (Welling and
Teh 2011), which samples exp(−(L + λ|w|²/2)/T) for full batches and α → 0. `step_rule` joins rates, decay and
optimiser, and `parameter_groups` has them of parameters that differ in α or λ.

A stepper is bound to weights that lie elsewhere, in a state: it changes them in place when it takes steps,
and measures them where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import vmap

from ..arithmetic import Arithmetic
from ..data.examples import OnDevice
from ..kernels.convolution import switchable
from ..kernels.pointwise import channels_last_pays
from ..nets.layout import Layout, beside, copies, put
from ..nets.losses import Loss
from ..nets.traits import Traits
from ..schedules import Rates
from .compiled import compiled
from .step_rule import Rate, StepRule

Result = TypeVar("Result")

#: Examples of a batch that go through the network at once; a larger batch is a sum of such pieces.
LARGEST = 4096

#: The slots of an optimiser that remembers nothing, and of weights at which is only measured.
NOTHING: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class Problem:
    """What all steppers of a system share.

    Attributes
    ----------
    layout : Layout
    loss : Loss
    examples : OnDevice
        The training set.
    batch_size : int
        B, by which the sum over a batch is divided.
    rule : StepRule
    traits : Traits
        How the network behaves.
    arithmetic : Arithmetic
        In which numbers it computes.
    """

    layout: Layout
    loss: Loss
    examples: OnDevice
    batch_size: int
    rule: StepRule
    traits: Traits
    arithmetic: Arithmetic = field(default_factory=Arithmetic)


class Stepper:
    """Takes steps of replicas that share a call; to be bound to their weights first.

    Parameters
    ----------
    module : Module
        The network, on its device.
    problem : Problem
    """

    #: Weights of the stepper's replicas, shape (r, M).
    weights: Tensor

    def __init__(self, module: nn.Module, problem: Problem) -> None:
        self.module, self.problem = module, problem
        self.layout, self.examples = problem.layout, problem.examples
        self.couples = problem.traits.couples
        self._weights: list[Tensor] = []
        self._slots: dict[str, list[Tensor]] = {}
        self._field: list[Tensor] = []
        self._apply: Callable[..., None] = problem.rule.apply
        if problem.arithmetic.compiled and problem.arithmetic.device.type == "cuda":
            # Gradients lie as the convolutions leave them; one kernel brings them to the weights' order.
            self._apply = compiled(problem.rule.apply, type(problem.rule.optimiser).__name__)
        #: Places of the parameters on which the losses of the last gradient did not depend.
        self.absent = problem.rule.idle

    @property
    def beside(self) -> list[Tensor]:
        """What the module holds beside its weights; a forward pass may have put others in their place."""
        return list(beside(self.module).values())

    def bind(self, weights: Tensor, slots: Mapping[str, Tensor] = NOTHING) -> None:
        """Work on these weights, shape (r, M), with these slots of the optimiser's, in place from now on."""
        self.weights = weights

    def _slot_views(self, slots: Mapping[str, Tensor], row: int | slice) -> dict[str, list[Tensor]]:
        """Return rows of the slots as a view for each parameter; its numbers broadcast to the weights."""
        each = self.problem.rule.optimiser.slots
        return {
            name: self.layout.views(slot[row]) if each[name] == "weight" else self._counts(slot[row])
            for name, slot in slots.items()
        }

    def _counts(self, slot: Tensor) -> list[Tensor]:
        """Return a view for each parameter of a slot with a number for each tensor, shape (…, tensors)."""
        lead, axes = slot.shape[:-1], [len(block.shape) for block in self.layout.blocks]
        return [slot[..., k].reshape((*lead, *[1] * (n if lead else 0))) for k, n in enumerate(axes)]

    def push(self, field: Tensor | None) -> None:
        """Add a constant force, shape (r, M), to that of the steps from now on; None: none."""
        self._field = [] if field is None else self._parts(field)

    def _parts(self, rows: Tensor) -> list[Tensor]:
        """Return rows of numbers, one for each weight, shape (r, M), as views with the gradient's shapes."""
        return self.layout.views(rows)

    def step(self, index: Tensor, rate: Rate) -> Tensor:
        """Take one step on the batches `index`, shape (r, B); return the losses that it found, shape (r,)."""
        losses, gradients = self.gradient(index)
        if self.problem.rule.rests and not bool(losses.any()):
            return losses
        with torch.no_grad():
            if self._field:
                torch._foreach_sub_(gradients, self._field)
            pushed, moved = bool(self._field), (self._weights, gradients, self._slots)
            self._apply(*moved, rate, absent=self.absent, pushed=pushed)
        return losses

    def run(self, batches: Tensor, rates: Rates) -> Tensor:
        """Take a step on each of the batches.

        Parameters
        ----------
        batches : Tensor, shape (steps, r, B)
        rates : ndarray, shape (steps,)
            The learning rate of each step.

        Returns
        -------
        Tensor, shape (steps, r)
            The losses that the steps found.
        """
        pairs = zip(batches, self.each(rates), strict=True)
        return torch.stack([self.step(index, rate) for index, rate in pairs])

    def each(self, rates: Rates) -> list[Rate]:
        """Return the rates one by one, as `step` takes them.

        On a GPU rates that change are tensors, whether the step is captured or not: both give the same bits.
        """
        if self.problem.rule.schedule.constant or self.weights.device.type == "cpu":
            return list(rates.tolist())
        return list(torch.from_numpy(rates).to(self.weights.device, self.weights.dtype).unbind())

    def kick(self, noise: Tensor, width: float) -> None:
        """Add the thermal noise √(2Tα) η, of a width √(2Tα), η of shape (r, M)."""
        self.weights.add_(noise, alpha=width)

    def gradient(self, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the losses, shape (r,), on batches (r, n), and their gradient with the parameters' shapes.

        Both are sums over the n examples divided by B.
        """
        gradients: list[Tensor] = []
        absent = None
        total = torch.zeros(len(index), dtype=self.weights.dtype, device=self.weights.device)
        for piece in self._pieces(index):
            losses, slopes = self._piece(piece)
            absent = self.absent if absent is None else absent & self.absent
            share = piece.shape[-1] / self.problem.batch_size
            if share != 1:
                losses = losses * share
                torch._foreach_mul_(slopes, share)
            if gradients:
                torch._foreach_add_(gradients, slopes)
            else:
                gradients = slopes
            total += losses
        self.absent = self.problem.rule.idle if absent is None else absent
        return total, gradients or [torch.zeros_like(w) for w in self._weights]

    def _pieces(self, index: Tensor) -> tuple[Tensor, ...]:
        if index.shape[-1] == 0:
            return ()
        # Batch-norm, or a loss of the whole batch, couples its examples: it cannot be cut.
        return (index,) if self.couples else torch.split(index, LARGEST, dim=-1)

    def _piece(self, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the mean loss and its gradient on batches that go through the network at once."""
        raise NotImplementedError


class Alone(Stepper):
    """One replica: the module's own parameters are views of its weights."""

    def __init__(self, module: nn.Module, problem: Problem) -> None:
        super().__init__(module, problem)
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        examples = problem.examples
        arithmetic = problem.arithmetic
        single = examples.device.type == "cpu" and examples.dtype == torch.float32
        fast = single and arithmetic.plain
        innermost = single or arithmetic.channels_innermost
        self.channels_last = innermost and channels_last_pays(module)
        self._compiled_mean: Callable[..., Tensor] | None = None
        #: Stream and memory for gradients that are captured in CUDA graphs; None: none is.
        self.lane: Callable[[], tuple[Any, Any]] | None = None
        self._captured: CapturedGradient | None = None
        self._compiled = switchable(module)
        for part in self._compiled:
            part.compiled = fast

    def bind(self, weights: Tensor, slots: Mapping[str, Tensor] = NOTHING) -> None:
        """Work on these weights, shape (1, M), with these slots of the optimiser's, in place from now on."""
        super().bind(weights, slots)
        self._weights, self._slots = self.layout.views(weights[0]), self._slot_views(slots, 0)
        for parameter, view in zip(self.parameters, self._weights, strict=True):
            parameter.data = view

    def _parts(self, rows: Tensor) -> list[Tensor]:
        return self.layout.views(rows[0])

    def gather(self, index: Tensor, examples: OnDevice | None = None) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of the examples `index`, shape (n,), by default of the training set."""
        inputs, labels = (examples or self.examples).gather(index)
        if self.channels_last and inputs.ndim == 4:
            # The order in which these convolutions are fastest.
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs, labels

    def _piece(self, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        inputs, labels = self.gather(index[0])
        loss = self._mean(inputs, labels)
        slopes = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        self.absent = frozenset(k for k, g in enumerate(slopes) if g is None)
        pairs = zip(self.parameters, slopes, strict=True)
        return loss.detach()[None], [torch.zeros_like(p) if g is None else g for p, g in pairs]

    def of_batch(self, piece: Tensor) -> list[Tensor]:
        """Return the gradient of a mini-batch, shape (B,); on a GPU the next call overwrites it."""
        if self.lane is None or not self.couples or len(piece) != self.problem.batch_size:
            return self.gradient(piece[None])[1]
        if self._captured is None or not self._captured.serves(self, piece):
            self._captured = CapturedGradient(self, piece, *self.lane())
        return self._captured.of(piece)

    def _passed(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of examples that go through the network at once."""
        return self.problem.loss.mean(self.problem.arithmetic.passed(self.module, inputs), labels)

    def _mean(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the same, by compiled code where that is wanted, and the batch one of those that descend."""
        wanted = self.problem.arithmetic.compiled and self.module.training
        if not wanted or len(inputs) != self.problem.batch_size:
            return self._passed(inputs, labels)
        if self._compiled_mean is None:
            self._compiled_mean = compiled(self._passed, type(self.module).__name__)
        return self._compiled_mean(inputs, labels)

    def losses(self, index: Tensor) -> Tensor:
        """Return what `gradient` does of the losses, shape (1,) on batches (1, n), without the gradient."""
        total = torch.zeros(1, dtype=self.weights.dtype, device=self.weights.device)
        with torch.no_grad():
            for piece in self._pieces(index):
                inputs, labels = self.gather(piece[0])
                loss = self._passed(inputs, labels)
                total += loss * (piece.shape[-1] / self.problem.batch_size)
        return total

    # Of many examples; processes that share batches have their parts of them (`replicas.divided`).

    @property
    def by_itself(self) -> Alone:
        """What has gradients of examples that are this process's alone."""
        return self

    def shares(self, index: Tensor, size: int) -> Sequence[Tensor]:
        """Return this process's examples of some, in pieces of no more than so many."""
        return torch.split(index, size)

    def summed(self, total: Tensor) -> Tensor:
        """Return a sum over examples, of which each process has its part."""
        return total

    def added(self, square: Any, sums: list[Tensor], squares: Callable[[list[Tensor]], Any]) -> Any:
        """Return sums of squares, and of gradients, over examples of which each process has its part."""
        return square, sums

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Switch the module to evaluation mode: batch-norm with its running statistics."""
        self.module.eval()
        try:
            yield
        finally:
            self.module.train()

    @contextmanager
    def descending(self) -> Iterator[None]:
        """Be in the mode in which the gradients of single examples are those of the steps; change nothing."""
        if not self.problem.traits.modal:
            with self.evaluating():
                yield
        else:
            with self.scratch_buffers():
                yield

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Switch compiled layers off: torch.func cannot look into them."""
        before = [part.compiled for part in self._compiled]
        for part in self._compiled:
            part.compiled = False
        try:
            yield
        finally:
            for part, was in zip(self._compiled, before, strict=True):
                part.compiled = was

    @contextmanager
    def scratch_buffers(self) -> Iterator[None]:
        """Undo what the block does to the running statistics."""
        kept = copies(self.beside)
        try:
            yield
        finally:
            put(self.module, kept)


class Stacked(Stepper):
    """Several replicas in each call: parameters stacked along the first axis, torch.func.vmap over it."""

    def __init__(self, module: nn.Module, problem: Problem) -> None:
        super().__init__(module, problem)
        self._leaves: list[Tensor] = []
        self._losses = vmap(self._loss)

    def bind(self, weights: Tensor, slots: Mapping[str, Tensor] = NOTHING) -> None:
        """Work on these weights, shape (r, M), with these slots of the optimiser's, in place from now on."""
        super().bind(weights, slots)
        self._weights, self._slots = self.layout.views(weights), self._slot_views(slots, slice(None))
        # Not detach(): torch counts changes of all rows of the state together, other steppers' as well.
        self._leaves = [v.data.requires_grad_() for v in self._weights]

    def _loss(self, parameters: list[Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        outputs = self.problem.arithmetic.passed(self.layout.call, self.module, parameters, inputs)
        return self.problem.loss.mean(outputs, labels)

    def _piece(self, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        losses = self._losses(self._leaves, *self.examples.gather(index))
        # Replicas do not meet: the gradient of the sum holds the gradient of each.
        slopes = torch.autograd.grad(losses.sum(), self._leaves, materialize_grads=True)
        return losses.detach(), list(slopes)


class Captured:
    """A stepper's step as a CUDA graph: one launch instead of hundreds.

    Parameters
    ----------
    stepper : Stepper
        On a GPU, holding the weights from which the next step is to be taken.
    index : Tensor, shape (r, B)
        Any batches of the size of all others.
    rates : ndarray, shape (steps,)
        Any learning rates of the schedule, at least one.
    stream : torch.cuda.Stream
        Where it is captured. Libraries keep work space for each stream: what runs at once needs its own.
    pool
        Of the memory that it takes.
    """

    def __init__(self, stepper: Stepper, index: Tensor, rates: Rates, stream: Any, pool: Any) -> None:
        self.stepper, self.index = stepper, index.clone()
        (rate,) = stepper.each(rates[:1])
        self.rate = rate.clone() if isinstance(rate, Tensor) else rate
        slots = [view for views in stepper._slots.values() for view in views]
        changed = [stepper.weights, *slots, *stepper.beside]
        step = partial(stepper.step, self.index, self.rate)
        self.graph, self.losses = captured(step, changed, stream, pool)

    def run(self, batches: Tensor, rates: Rates) -> Tensor:
        """Take a step on each of the batches; as `Stepper.run`."""
        losses = []
        for index, rate in zip(batches, self.stepper.each(rates), strict=True):
            self.index.copy_(index)
            # A constant rate is a number in the graph.
            if isinstance(self.rate, Tensor) and isinstance(rate, Tensor):
                self.rate.copy_(rate)
            self.graph.replay()
            losses.append(self.losses.clone())
        return torch.stack(losses)


class CapturedGradient:
    """The gradient of a mini-batch as a CUDA graph, at weights that stay where they are.

    Parameters
    ----------
    unit : Alone
        On a GPU.
    piece : Tensor, shape (B,)
        Any batch of the size of all others.
    stream, pool
        As of `Captured`, with which it shares them: the two never run at the same time.
    """

    def __init__(self, unit: Alone, piece: Tensor, stream: Any, pool: Any) -> None:
        self.index, self.place = piece[None].clone(), unit.weights.data_ptr()
        # The stream of the graph is that of its GPU, whichever torch takes by itself.
        with torch.cuda.device(unit.weights.device):
            found = captured(lambda: unit.gradient(self.index)[1], unit.beside, stream, pool)
        self.graph, self.gradients = found

    def serves(self, unit: Alone, piece: Tensor) -> bool:
        """Return whether the unit's weights are those of the graph, and the batch is of its size."""
        return unit.weights.data_ptr() == self.place and piece.shape == self.index.shape[1:]

    def of(self, piece: Tensor) -> list[Tensor]:
        """Return the gradient; the next call overwrites it."""
        self.index.copy_(piece[None])
        self.graph.replay()
        return self.gradients


def captured(
    command: Callable[[], Result], changed: Sequence[Tensor], stream: Any, pool: Any
) -> tuple[Any, Result]:
    """Return a CUDA graph of what a command does, and what it returned: the graph writes there.

    Parameters
    ----------
    command : callable
    changed : sequence of Tensor
        What the command changes; it is left as it was.
    stream, pool
        Where it is recorded, and from where it takes memory.
    """
    kept = [t.clone() for t in changed]
    # Libraries choose algorithms and take memory in their first calls: not while a graph is recorded.
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            command()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.no_grad():
        for tensor, value in zip(changed, kept, strict=True):
            tensor.copy_(value)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=stream):
        result = command()
    return graph, result
