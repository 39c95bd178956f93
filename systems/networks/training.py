r"""The step of gradient descent, for one network alone or for several in one call.

With g the gradient of the mean loss of a mini-batch, μ the momentum, λ the weight decay and α the learning rate,

    g ← g + λ w,    v ← μ v + g,    w ← w − α v + √(2 T α) η,

that is torch.optim.SGD at T = 0. Without momentum it is the Euler-Maruyama step of `langevin.dynamics` with the
force −g and dt = α (a test holds that); T > 0 without momentum is stochastic gradient Langevin dynamics
(Welling and Teh 2011), which samples exp(−(L + λ|w|²/2)/T) as α → 0.

A unit owns the working copy of the weights of its replicas. Loaded with a state it takes steps in place; between
advances it serves the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from .examples import Examples
from .layout import Layout
from .losses import Loss

#: The most steps whose batches are drawn, and whose losses are judged, at once; and the most indices among them.
STEPS, INDICES = 256, 2**20

#: Examples of a batch that go through the network at once; a larger batch is a sum of such pieces.
LARGEST = 4096


@dataclass(frozen=True)
class Rule:
    """The numbers of the step: learning rate α, momentum μ, weight decay λ, temperature T."""

    learning_rate: float
    momentum: float
    weight_decay: float
    temperature: float

    @property
    def kick(self) -> float:
        """Width √(2 T α) of the thermal noise of one step."""
        return math.sqrt(2 * self.temperature * self.learning_rate)

    def apply(self, weights: list[Tensor], gradients: list[Tensor], velocities: list[Tensor]) -> None:
        """Change weights and velocities in place; the gradients may be overwritten."""
        if self.weight_decay:
            torch._foreach_add_(gradients, weights, alpha=self.weight_decay)
        if self.momentum:
            torch._foreach_mul_(velocities, self.momentum)
            torch._foreach_add_(velocities, gradients)
            gradients = velocities
        torch._foreach_add_(weights, gradients, alpha=-self.learning_rate)


class Unit:
    """Replicas that share a call: their weights in one working copy, shape (r, M).

    Parameters
    ----------
    module : Module
        The network, on its device.
    layout : Layout
    loss : Loss
    examples : Examples
        The training set.
    batch_size : int
        B, by which the sum over a batch is divided.
    replicas : int
        How many replicas r the unit holds.
    rule : Rule
    """

    def __init__(
        self,
        module: nn.Module,
        layout: Layout,
        loss: Loss,
        examples: Examples,
        batch_size: int,
        replicas: int,
        rule: Rule,
    ) -> None:
        self.module, self.layout, self.loss, self.examples, self.rule = module, layout, loss, examples, rule
        self.batch_size = batch_size
        parameter = next(p for p in module.parameters() if p.requires_grad)
        self.weights = torch.empty(replicas, layout.dof, dtype=parameter.dtype, device=parameter.device)
        self.velocity = torch.zeros_like(self.weights) if rule.momentum else None
        self._views: list[Tensor] = []
        self._velocities: list[Tensor] = []

    def step(self, index: Tensor) -> Tensor:
        """Take one step on the batches `index`, shape (r, B); return the loss that it found, shape (r,)."""
        found, gradients = self.gradient(index)
        with torch.no_grad():
            self.rule.apply(self._views, gradients, self._velocities)
        return found

    def kick(self, noise: Tensor) -> None:
        """Add the thermal noise √(2Tα) η, η of shape (r, M)."""
        self.weights.add_(noise, alpha=self.rule.kick)

    def pieces(self, index: Tensor) -> Iterator[tuple[Tensor, float]]:
        """Cut batches (r, n) along their examples; each piece with its weight in the mean over B."""
        for piece in index.split(LARGEST, dim=-1) if index.shape[-1] else ():
            yield piece, piece.shape[-1] / self.batch_size

    def gradient(self, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the loss, shape (r,), on the batches `index`, shape (r, n), and its gradient."""
        raise NotImplementedError

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the outputs in evaluation mode for inputs (n, …) that all replicas share, shape (r, n, K)."""
        raise NotImplementedError


class Alone(Unit):
    """One replica: the module's own parameters are views of the working copy."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)  # type: ignore[arg-type]
        self.parameters = self.layout.bind(self.module, self.weights[0])
        self.buffers = list(self.module.buffers())
        # Batch-norm makes one example's loss depend on the others of its batch.
        self.couples = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.module.modules())
        self.images_last = self.weights.device.type == "cpu" and any(
            isinstance(m, nn.Conv2d) for m in self.module.modules()
        )
        self._views = self.layout.views(self.weights[0])
        self._velocities = [] if self.velocity is None else self.layout.views(self.velocity[0])
        self._compiled = [m for m in self.module.modules() if hasattr(m, "compiled")]
        for part in self._compiled:
            part.compiled = self.weights.device.type == "cpu" and self.weights.dtype == torch.float32

    def _gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        inputs, labels = self.examples.gather(index)
        if self.images_last and inputs.ndim == 4:
            # The order in which the CPU's convolutions are fastest.
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs, labels

    def gradient(self, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the loss, shape (1,), of the batch index[0], and the gradient."""
        gradients: list[Tensor] = []
        # Batch-norm couples the examples of a batch: it cannot be cut.
        whole = self.couples and index.shape[-1]
        cut = [(index, index.shape[-1] / self.batch_size)] if whole else self.pieces(index)
        total = torch.zeros(1, dtype=self.weights.dtype, device=self.weights.device)
        for piece, share in cut:
            inputs, labels = self._gather(piece[0])
            loss = self.loss.mean(self.module(inputs), labels)
            if share != 1.0:
                loss = loss * share
            found = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
            if gradients:
                torch._foreach_add_(gradients, list(found))
            else:
                gradients = list(found)
            total = total + loss.detach()
        return total, gradients or [torch.zeros_like(v) for v in self._views]

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the outputs in evaluation mode, shape (1, n, K)."""
        with self.evaluating(), torch.no_grad():
            found: Tensor = self.module(inputs)
        return found[None]

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Switch the module to evaluation mode: batch-norm with its running statistics."""
        self.module.eval()
        try:
            yield
        finally:
            self.module.train()

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
        kept = [b.clone() for b in self.buffers]
        try:
            yield
        finally:
            for buffer, value in zip(self.buffers, kept, strict=True):
                buffer.copy_(value)


class Stacked(Unit):
    """Several replicas in each call: parameters stacked along the first axis, torch.func.vmap over it."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)  # type: ignore[arg-type]
        self.leaves = [v.requires_grad_() for v in self.layout.views(self.weights.detach())]
        self._views = self.layout.views(self.weights)
        self._velocities = [] if self.velocity is None else self.layout.views(self.velocity)
        self._losses = vmap(self._loss)
        self._outputs = vmap(self._forward, in_dims=(0, None))

    def _forward(self, parameters: list[Tensor], inputs: Tensor) -> Tensor:
        named = dict(zip(self.layout.names, parameters, strict=True))
        found: Tensor = functional_call(self.module, named, (inputs,))
        return found

    def _loss(self, parameters: list[Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        return self.loss.mean(self._forward(parameters, inputs), labels)

    def gradient(self, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the losses, shape (r,), of the batches index, shape (r, n), and the stacked gradients."""
        gradients: list[Tensor] = []
        total = torch.zeros(len(index), dtype=self.weights.dtype, device=self.weights.device)
        for piece, share in self.pieces(index):
            losses = self._losses(self.leaves, *self.examples.gather(piece))
            if share != 1.0:
                losses = losses * share
            # Replicas do not meet: the gradient of the sum holds the gradient of each.
            found = torch.autograd.grad(losses.sum(), self.leaves, materialize_grads=True)
            if gradients:
                torch._foreach_add_(gradients, list(found))
            else:
                gradients = list(found)
            total = total + losses.detach()
        return total, gradients

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the outputs in evaluation mode, shape (r, n, K)."""
        self.module.eval()
        with torch.no_grad():
            found: Tensor = self._outputs(self.leaves, inputs)
        self.module.train()
        return found


def chunk(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut the steps first … last − 1 into runs whose batches are drawn together."""
    most = max(1, min(STEPS, INDICES // max(size, 1)))
    for start in range(first, last, most):
        yield start, min(start + most, last)


def first_bad(losses: Tensor) -> NDArray[np.int64] | None:
    """Return, for losses of shape (steps, r), the earliest (step, replica) that is not finite; None if all are."""
    bad = ~torch.isfinite(losses)
    if not bool(bad.any()):
        return None
    where = bad.nonzero()[0].cpu().numpy()
    return np.asarray(where, dtype=np.int64)
