"""The Hessian of a network's mean training loss at one replica's weights, in double precision.

The loss is that of the energy: mean over a fixed subset of the training examples, batch-norm with its running
statistics, no penalty of weight decay (it would add λ to every eigenvalue).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from langevin.system import Array

from .convolution import switchable
from .devices import set_threads
from .examples import Examples
from .layout import Layout, beside, converted
from .losses import Loss
from .perceptron import shape_of
from .team import LARGE

#: Numbers that the derivatives of several vectors at once may take, and the most vectors.
HELD, TOGETHER = 2**23, 64


class Twin:
    """A network in double precision and in evaluation mode, for the weights of any replica.

    Parameters
    ----------
    module : Module
        As it is built, on the device; it is changed.
    layout : Layout
    loss : Loss
    examples : Examples
        The training set.
    work : int
        Multiplications for one example, roughly.
    threads : int
    """

    def __init__(
        self, module: nn.Module, layout: Layout, loss: Loss, examples: Examples, work: int, threads: int
    ) -> None:
        self.module = converted(module, examples.device, torch.float64).eval()
        self.layout, self.loss, self.examples, self.work, self.threads = layout, loss, examples, work, threads
        self.beside = list(beside(module))
        self.shape = shape_of(module, loss)
        for part in switchable(module):
            # Compiled layers have no second derivative.
            part.compiled = False
        # A convolution of many vectors at once is slower than one after the other (benchmarks/hessian.py).
        self.batched = all(len(block.shape) <= 2 for block in layout.blocks)
        inputs, _ = self.gather(torch.zeros(1, dtype=torch.int64, device=examples.device))
        self.numbers = _activations(self.module, inputs)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs, in double precision as the network gets them, and labels of examples."""
        inputs, labels = self.examples.gather(index)
        labels = labels.double() if labels.is_floating_point() else labels
        return inputs.double() if inputs.is_floating_point() else inputs, labels

    @contextmanager
    def limited(self, examples: int) -> Iterator[None]:
        """Compute on one thread: sums in the same order always. On all of them where the work is large."""
        before = torch.get_num_threads()
        set_threads(self.threads if self.work * examples >= LARGE else 1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _activations(module: nn.Module, inputs: Tensor) -> int:
    """Return how many numbers the layers give for one example."""
    counted: list[int] = []

    def count(layer: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            counted.append(output.numel())

    hooks = [layer.register_forward_hook(count) for layer in module.modules()]
    try:
        with torch.no_grad():
            module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counted)


def _double(t: Tensor) -> Tensor:
    """Return a tensor in double precision, if its numbers are real or complex ones."""
    if t.is_complex():
        return t.to(torch.complex128)
    return t.double() if t.is_floating_point() else t


class LossHessian:
    """The Hessian at given weights.

    Parameters
    ----------
    twin : Twin
    weights : Tensor, shape (M,)
    values : list of Tensor
        Of what the network holds beside its weights, in the order of `layout.beside`.
    index : Tensor of int, shape (P,)
        The examples of the mean.
    """

    def __init__(self, twin: Twin, weights: Tensor, values: list[Tensor], index: Tensor) -> None:
        self.twin, self.index, self.size = twin, index, weights.numel()
        self.weights = weights.detach().double()
        self.beside: dict[str, Any] = {
            name: _double(value) for name, value in zip(twin.beside, values, strict=True)
        }

    def matvec(self, vectors: Array) -> Array:
        """Return the product with vectors, shape (M, k): twice backwards through pieces of the examples."""
        rows = torch.from_numpy(np.ascontiguousarray(vectors.T)).to(self.weights.device)
        total = torch.zeros_like(rows)
        with self.twin.limited(len(self.index)):
            whole = not self.twin.loss.separable
            # A loss of the whole batch cannot be cut.
            for piece in (self.index,) if whole else torch.split(self.index, self.twin.examples.piece):
                self._add(total, rows, piece)
        return total.cpu().numpy().T

    def _add(self, total: Tensor, rows: Tensor, piece: Tensor) -> None:
        """Add the share of some examples to the products, shape (k, M)."""
        twin, layout = self.twin, self.twin.layout
        leaf = self.weights.clone().requires_grad_()
        inputs, labels = twin.gather(piece)
        outputs = layout.call(twin.module, layout.views(leaf), inputs, self.beside)
        loss = twin.loss.mean(outputs, labels)
        share = len(piece) / len(self.index)
        (slope,) = torch.autograd.grad(loss * share, leaf, create_graph=True, materialize_grads=True)
        if not slope.requires_grad:
            # A loss that is linear in the weights.
            return
        held = twin.numbers * len(piece) + self.size
        several = max(1, min(TOGETHER, HELD // held)) if twin.batched else 1
        for first in range(0, len(rows), several):
            some = rows[first : first + several]
            batched = len(some) > 1
            (found,) = torch.autograd.grad(
                slope,
                leaf,
                some if batched else some[0],
                retain_graph=True,
                materialize_grads=True,
                is_grads_batched=batched,
            )
            total[first : first + several] += found

    def dense(self) -> Array:
        """Return the matrix, shape (M, M): of fully connected nets in closed form."""
        if self.twin.shape is None:
            return self.matvec(np.eye(self.size))
        from .perceptron_hessian import hessian

        inputs, labels = (part.cpu().numpy() for part in self.twin.gather(self.index))
        return hessian(self.weights.cpu().numpy(), self.twin.shape, inputs.reshape(len(labels), -1), labels)
