"""One network, whose batches several processes share: each has the gradient of its part, and all the sum.

The gradient of a batch is a sum over its examples, divided by B; so it is the sum of those of its parts, of
whatever sizes. What examples do to each other within a batch goes through the processes: batch-norm has the
statistics of the whole batch (`joint_norms`), and a loss that is no mean over examples gets the outputs of
all. Losses and gradients of a step travel once, as one vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from langevin.machine.world import World

from ..descent.training import NOTHING, Alone, Problem
from ..nets.joint_norms import joint, norms_of


class Divided(Alone):
    """A replica whose batches are shared by the processes of a world; weights are the same in all of them.

    Parameters
    ----------
    module : Module
    problem : Problem
    world : World
    """

    def __init__(self, module: nn.Module, problem: Problem, world: World) -> None:
        super().__init__(module, problem)
        self.world = world
        self.norms = norms_of(module) if problem.traits.couples else []
        self._own = Alone(module, problem)

    def bind(self, weights: Tensor, slots: Mapping[str, Tensor] = NOTHING) -> None:
        """Work on these weights, shape (1, M), with these slots of the optimiser's, in place from now on."""
        super().bind(weights, slots)
        self._own.bind(weights)

    def gradient(self, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the loss, shape (1,), on a batch (1, n), and its gradient with the parameters' shapes.

        Both are sums over the n examples divided by B.
        """
        own = index[:, self.world.part(index.shape[-1])]
        loss = torch.zeros(1, dtype=self.weights.dtype, device=self.weights.device)
        slopes = [torch.zeros_like(p) for p in self.parameters]
        absent: frozenset[int] | None = None
        for piece in self._pieces(own):
            of_piece, gradients = self._share(piece[0], index.shape[-1])
            loss += of_piece
            none = frozenset(k for k, g in enumerate(gradients) if g is None)
            absent = none if absent is None else absent & none
            there = [k for k, g in enumerate(gradients) if g is not None]
            torch._foreach_add_([slopes[k] for k in there], [g for g in gradients if g is not None])
        known = absent is not None
        places = absent or (frozenset() if known else frozenset(range(len(slopes))))
        present = loss.new_ones(len(slopes))
        if places:
            present = loss.new_tensor([k not in places for k in range(len(slopes))])
        flat = self.world.add(torch.cat([self.layout.flat(slopes), loss, present]))
        total, loss, present = torch.split(flat, [self.layout.dof, 1, len(slopes)])
        if known and not places:
            # Where a part has a gradient, the whole has it.
            self.absent = frozenset()
        else:
            self.absent = frozenset((present == 0).nonzero()[:, 0].tolist())
        return loss, self.layout.views(total)

    def _share(self, index: Tensor, count: int) -> tuple[Tensor, Sequence[Tensor | None]]:
        """Return what some examples of a batch of so many add to its loss and gradient."""
        problem, arithmetic = self.problem, self.problem.arithmetic
        inputs, labels = self.gather(index)
        with joint(self.norms, self.world):
            outputs = arithmetic.passed(self.module, inputs)
        # Before the way back: there, too, batch-norm sums over the whole batch.
        if problem.loss.separable:
            loss = problem.loss.mean(outputs, labels) * (len(index) / problem.batch_size)
            value = loss.detach()
        else:
            loss = problem.loss.mean(*self._joined(outputs, labels, count)) * (count / problem.batch_size)
            # All have the same.
            value = loss.detach() * (self.world.rank == 0)
        return value, torch.autograd.grad(loss, self.parameters, allow_unused=True)

    def _joined(self, outputs: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return outputs and labels of the whole batch; this process's own have a way back."""
        parts = self.world.joined(outputs.detach(), count)
        parts[self.world.rank] = outputs
        return torch.cat(parts), torch.cat(self.world.joined(labels, count))

    # What is measured of many examples.

    @property
    def by_itself(self) -> Alone:
        """What has gradients of examples that are this process's alone."""
        return self._own

    def shares(self, index: Tensor, size: int) -> Sequence[Tensor]:
        """Return this process's examples of some, in pieces of no more than so many."""
        own = index[self.world.part(len(index))]
        return torch.split(own, size) if len(own) else ()

    def summed(self, total: Tensor) -> Tensor:
        """Return a sum over examples, of which each process has its part."""
        return self.world.add(total)

    def added(self, square: Any, sums: list[Tensor], squares: Callable[[list[Tensor]], Any]) -> Any:
        """Return sums of squares, and of gradients, over examples of which each process has its part."""
        # Where there are no examples, too, the squares are one number, or one for each tensor.
        own = np.asarray(square + 0 * squares(sums), dtype=np.float64)
        head = torch.from_numpy(own.reshape(-1)).to(sums[0])
        flat = self.world.add(torch.cat([head, *(t.reshape(-1) for t in sums)]))
        first, *parts = torch.split(flat, [len(head), *(t.numel() for t in sums)])
        total = first.cpu().numpy().reshape(own.shape)
        return total if own.ndim else float(total), [
            part.view(t.shape) for part, t in zip(parts, sums, strict=True)
        ]
