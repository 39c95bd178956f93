"""The loss landscape of a network: what there is to know at any weights, wherever they come from.

Running statistics of batch-norm belong to the weights that were trained with them, and to no others: of a
point between two minima nobody has ever computed any. At every point they are therefore computed anew. Where
a run stored its own with the weights, these are the right ones there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from langevin.core.system import Array, Predictions
from langevin.errors import UserError
from langevin.machine.interruption import heed

from ..data.examples import OnDevice
from ..data.identity import Tested
from ..descent.shared_calls import LARGE
from ..descent.state import NetworkState
from ..descent.training import Alone, Problem
from ..nets.layout import beside, copies, put
from . import whole

#: Turns through the mini-batches in which buffers must come to rest, and what is called rest: a change of ten
#: roundings of single precision; its power 3/2 in double precision.
TURNS, SETTLED = 1000, 1e-6


def renew(unit: Alone, index: Tensor) -> None:
    """Compute the running statistics anew, at the unit's weights, from what the buffers hold.

    Of batch-norm: means over the mini-batches that the examples make (of B, as in training; what is left over
    is left out) of each batch's mean and unbiased variance: as Garipov et al. 2018 do, and Izmailov et al.
    2018 (arXiv:1803.05407). Other buffers that a forward pass in training mode changes become what these
    mini-batches make of them, one after the other; if the pass depends on them, until they no longer change
    from one turn through the mini-batches to the next. Without any such buffer nothing happens.

    Parameters
    ----------
    unit : Alone
        Bound to the weights; its module in training mode, as units keep it.
    index : Tensor, shape (n,)
        Training examples, all of one batch if n < B.

    Raises
    ------
    UserError
        If buffers on which the pass depends never come to rest.
    """
    if not unit.problem.traits.moving:
        return
    size = unit.problem.batch_size
    whole = index[: len(index) // size * size] if len(index) >= size else index
    if unit.problem.traits.remembers:
        _settle(unit, torch.split(whole, size))
    norms = [
        m
        for name, m in unit.module.named_modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm)
        and (f"{name}.running_mean" if name else "running_mean") in unit.problem.traits.moving
    ]
    kept = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        # torch's word for a plain mean over all batches.
        m.momentum = None
    try:
        with torch.no_grad():
            for piece in torch.split(whole, size):
                unit.module(unit.gather(piece)[0])
    finally:
        for m, momentum in zip(norms, kept, strict=True):
            m.momentum = momentum


def _settle(unit: Alone, pieces: Sequence[Tensor]) -> None:
    """Take turns through mini-batches until the buffers are the same after each."""
    tolerance = SETTLED if unit.weights.dtype == torch.float32 else SETTLED**1.5
    for _ in range(TURNS):
        before = copies(_memory(unit))
        with torch.no_grad():
            for piece in pieces:
                heed()
                unit.module(unit.gather(piece)[0])
        if all(_close(a, b, tolerance) for a, b in zip(_memory(unit), before, strict=True)):
            return
    moving = ", ".join(sorted(unit.problem.traits.memory))
    raise UserError(
        f"system: {type(unit.module).__name__}: its outputs depend on {moving}, which come to no rest at "
        "given weights; allowed at weights that no run was at: buffers that follow from weights and examples"
    )


def _memory(unit: Alone) -> list[Tensor]:
    """Return the buffers on which the passes of a unit's module depend."""
    return [t for name, t in beside(unit.module).items() if name in unit.problem.traits.memory]


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Return whether two tensors differ by no more than this part of the largest number."""
    if not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    return not a.numel() or bool((a - b).abs().max() <= tolerance * b.abs().max())


class Seen(NamedTuple):
    """What a network makes of some examples.

    Attributes
    ----------
    loss : float
        Of all of them: the mean of `losses`, if these are known.
    losses : ndarray, shape (n,)
        Of a loss that is no mean over examples: values whose mean it is, and whose scatter is its error
        (`whole`).
    predictions : ndarray, shape (n, K) or (n, T, K); of numbers (n, …)
        Class probabilities where the loss knows them (cross_entropy, nll_loss), else the outputs.
    wrong : ndarray, shape (n,); or None
        Whether the largest output is another class's; of a sequence the part of positions where it is. None
        where there are no classes.
    labels : ndarray, shape (n, …); or None
        The right classes, or the numbers that outputs are compared with; None if these are the inputs.
    """

    loss: float
    losses: Array
    predictions: Array
    wrong: Array | None
    labels: NDArray[Any] | None


class Landscape:
    """Evaluates a network at any weights.

    Parameters
    ----------
    module : Module
        A network of its own, on the device.
    problem : Problem
    test : OnDevice
    work : int
        Multiplications for one example, roughly.
    threads : int
        Processors that a large network may use.
    """

    def __init__(self, module: nn.Module, problem: Problem, test: OnDevice, work: int, threads: int) -> None:
        self.unit, self.test = Alone(module, problem), test
        device, dtype = problem.examples.device, problem.examples.dtype
        self.weights = torch.zeros(1, problem.layout.dof, device=device, dtype=dtype)
        self.unit.bind(self.weights)
        self._threads = threads if work * problem.batch_size >= LARGE else 1

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Compute on one thread, or on all where that pays."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def go_to(self, x: Tensor | NDArray[np.floating], values: Sequence[Tensor], index: Tensor | None) -> None:
        """Go to the weights x, shape (M,), and to these values of what stands beside them.

        Parameters
        ----------
        x : Tensor or ndarray, shape (M,)
        values : sequence of Tensor
            In the order of `layout.beside`.
        index : Tensor or None
            Training examples, from which running statistics are computed anew; None: they are left.
        """
        with torch.no_grad():
            self.weights[0].copy_(torch.as_tensor(x))
        put(self.unit.module, values)
        if index is not None:
            with self._limited():
                renew(self.unit, index)

    def begun(
        self,
        state: NetworkState,
        x: Array,
        values: Sequence[Sequence[Tensor]],
        examples: Sequence[Tensor | None],
    ) -> NetworkState:
        """Return the state with the weights x, shape (R, M), and what stands beside them.

        Parameters
        ----------
        state : NetworkState
            A start: its velocity is zero.
        x : ndarray, shape (R, M)
        values, examples : sequence
            For each replica, as `go_to` takes them.
        """
        weights = torch.tensor(x, dtype=state.weights.dtype, device=state.weights.device)
        rows = []
        for row, own, index in zip(weights, values, examples, strict=True):
            self.go_to(row, own, index)
            rows.append(copies(self.unit.beside))
        buffers = [torch.stack(kind) for kind in zip(*rows, strict=True)]
        return replace(state, weights=weights, buffers=buffers)

    def see(self, index: Tensor, *, test: bool = False) -> Seen:
        """Return what the network here makes of training examples, or of test examples."""
        examples, loss = self.test if test else self.unit.examples, self.unit.problem.loss
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        kept: list[tuple[Tensor, Tensor]] = []
        with self._limited(), self.unit.evaluating(), torch.no_grad():
            for piece in torch.split(index, examples.evaluated):
                inputs, labels = self.unit.gather(piece, examples)
                outputs = self.unit.module(inputs)
                losses = loss.each(outputs, labels) if loss.separable else outputs.new_zeros(0)
                wrong = 1 - loss.right(outputs, labels) if loss.classified else outputs.new_zeros(0)
                parts.append((losses.double(), self._predictions(outputs), wrong))
                if not loss.separable:
                    kept.append((outputs, labels))
            losses, predictions, wrong = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
            if kept:
                total, losses = whole.values(loss, *(torch.cat(part) for part in zip(*kept, strict=True)))
            else:
                total = float(losses.mean())
        own = examples.labels
        compared = None if own is None else own[index.to(own.device)].cpu().numpy()
        return Seen(total, losses, predictions, wrong if loss.classified else None, compared)

    def predict(self, tested: Tested) -> Predictions | None:
        """Return what the network here says of all test examples.

        Of sequences every position is classified by itself. None where there are no classes.
        """
        loss = self.unit.problem.loss
        if not loss.classified or tested.labels is None:
            return None
        seen = self.see(tested.rows, test=True)
        outputs = seen.predictions.reshape(-1, seen.predictions.shape[-1])
        # The loss is known, even if it has no values whose scatter is its error.
        losses = seen.losses if np.isfinite(seen.losses).all() else np.full(len(seen.losses), seen.loss)
        return Predictions(outputs, losses, tested.labels.ravel(), loss.gives_probabilities, tested.data)

    def _predictions(self, outputs: Tensor) -> Tensor:
        loss = self.unit.problem.loss
        if loss.signed:
            # Whoever takes the largest for the class takes the right one.
            return torch.cat([-outputs, outputs], -1).double()
        if not loss.gives_probabilities:
            return outputs.double()
        return (
            torch.softmax(outputs.double(), -1) if loss.known == "cross_entropy" else outputs.double().exp()
        )
