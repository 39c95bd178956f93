"""The Hessian of a network's mean training loss at one replica's weights, in double precision.

The loss is that of the energy: mean over a fixed subset of the training examples, batch-norm with its running
statistics, no penalty of weight decay (it would add λ to every eigenvalue). What lies beside the weights,
such as these statistics and parameters that do not descend, is the replica's own.

Whatever module is given, the products follow from differentiating it twice. `hessian_trial` finds out, before
a run, whether that may be believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from langevin.core.system import Array
from langevin.machine.world import World

from ..data.examples import OnDevice
from ..descent.perceptron import Shape, shape_of
from ..descent.shared_calls import LARGE
from ..devices import set_threads
from ..nets.differentiable import twice_differentiable
from ..nets.layout import Layout, beside, converted
from ..nets.losses import Loss

#: Numbers that the derivatives of several vectors at once may take, and the most vectors.
HELD, TOGETHER = 2**23, 64
#: Examples on which two forms of a Hessian are compared, and by what part their products may differ: rounding
#: leaves 10⁻¹⁵ (largest of the nets in the tests), what differs in form far more.
FEW, ROUNDING = 8, 1e-10


def doubled(tensor: Tensor) -> Tensor:
    """Return a copy, in double precision if these are real or complex numbers."""
    if tensor.is_floating_point():
        return tensor.detach().to(torch.float64, copy=True)
    return tensor.detach().to(torch.complex128 if tensor.is_complex() else tensor.dtype, copy=True)


class Twin:
    """A network in double precision and in evaluation mode, for the weights of any replica.

    Parameters
    ----------
    module : Module
        As it is built, on the device; it is changed.
    layout : Layout
    loss : Loss
    examples : OnDevice
        The training set.
    work : int
        Multiplications for one example, roughly.
    threads : int
    world : World, optional
        The processes that share the examples; None: this one has all.
    """

    def __init__(
        self,
        module: nn.Module,
        layout: Layout,
        loss: Loss,
        examples: OnDevice,
        work: int,
        threads: int,
        world: World | None = None,
    ) -> None:
        # Compiled layers are for single precision: none of them stands in the way.
        self.module = converted(module, examples.device, torch.float64)
        self.module.eval()
        self.layout, self.loss, self.examples, self.work, self.threads = layout, loss, examples, work, threads
        self.world, self.beside = world, list(beside(module))
        #: None as long as nobody has seen that the closed form, of Hessian or slopes, is this module's.
        self.closed: Shape | None = None
        self.closed_slope: Shape | None = None
        self.unseen = self.unseen_slope = shape_of(module, loss)
        # A convolution of many vectors at once is slower than one after the other (benchmarks/hessian.py).
        self.batched = all(len(block.shape) <= 2 for block in layout.blocks)
        #: Whether the mean loss of all examples is that over parts of them. Weights of classes break this.
        self.additive = loss.separable
        inputs, _ = self.gather(torch.zeros(1, dtype=torch.int64, device=examples.device))
        with twice_differentiable():
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
            with twice_differentiable():
                yield
        finally:
            torch.set_num_threads(before)


def _activations(module: nn.Module, inputs: Tensor) -> int:
    """Return how many numbers the layers give for one example."""
    counted: list[int] = []

    def count(layer: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            counted.append(output.numel())

    # A scripted layer takes no hooks.
    layers = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.no_grad():
            module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counted)


def _weights_of(shape: Shape) -> int:
    """Return the number of weights and biases of a fully connected net."""
    return sum((a + 1) * b for a, b in pairwise(shape.sizes))


class Point:
    """Given weights of a twin, and the examples of its loss.

    Parameters
    ----------
    twin : Twin
    weights : Tensor, shape (M,)
    beside : mapping of str to Tensor
        What is no trainable weight, by the names of the module.
    index : Tensor of int, shape (P,)
        The examples of the mean.
    """

    def __init__(self, twin: Twin, weights: Tensor, beside: Mapping[str, Tensor], index: Tensor) -> None:
        self.twin, self.index, self.size = twin, index, weights.numel()
        self.weights = weights.detach().double()
        # Copies: a module may change them.
        self.beside = {name: doubled(tensor) for name, tensor in beside.items()}

    def outputs(self, leaf: Tensor, inputs: Tensor) -> Any:
        """Return what the network at the weights `leaf`, shape (M,), makes of inputs."""
        layout = self.twin.layout
        return layout.call(self.twin.module, layout.views(leaf), inputs, self.beside)

    def loss(self, leaf: Tensor, piece: Tensor) -> Tensor:
        """Return the share of some examples in the mean loss, a scalar."""
        inputs, labels = self.twin.gather(piece)
        return self.twin.loss.mean(self.outputs(leaf, inputs), labels) * (len(piece) / len(self.index))

    def pieces(self) -> tuple[Tensor, ...]:
        """Return the examples in parts that go through the network at once; all, if parts do not add up.

        Of processes that share examples each has its own part (`summed`).
        """
        if not self.twin.additive:
            return (self.index,)
        world, own = self.twin.world, self.index
        if world is not None:
            own = own[world.part(len(own))]
        return torch.split(own, self.twin.examples.piece) if len(own) else ()

    def summed(self, total: Tensor) -> Tensor:
        """Return a sum over all examples, from that over `pieces`."""
        world = self.twin.world
        return total if world is None or not self.twin.additive else world.add(total)

    def gradient(self) -> Array:
        """Return the gradient of the mean loss, shape (M,)."""
        return self.slope()[1]

    def slope(self) -> tuple[float, Array]:
        """Return the mean loss, and its gradient, shape (M,)."""
        losses, gradients = slopes_of([self])
        return float(losses[0]), gradients[0]

    def _differentiated(self) -> tuple[float, Array]:
        """Return loss and gradient of whatever module there is."""
        total = torch.zeros_like(self.weights)
        value = total.new_zeros(1)
        with self.twin.limited(len(self.index)):
            for piece in self.pieces():
                leaf = self.weights.clone().requires_grad_()
                loss = self.loss(leaf, piece)
                total += torch.autograd.grad(loss, leaf, materialize_grads=True)[0]
                value += loss.detach()
        return float(self.summed(value)), self.summed(total).cpu().numpy()

    def _flat_examples(self) -> tuple[Array, NDArray[np.int64]]:
        """Return inputs, shape (P, n_0), and labels, as closed forms take them."""
        inputs, labels = (part.cpu().numpy() for part in self.twin.gather(self.index))
        return inputs.reshape(len(labels), -1), labels

    def _moved(self, rng: np.random.Generator) -> tuple[Twin, Tensor, Mapping[str, Tensor], Tensor]:
        """Return what makes a point near this one, where no unit is at the kink of ReLU, of few examples."""
        scale = 0.01 * float(self.weights.square().mean().sqrt()) or 0.01
        moved = self.weights + scale * torch.from_numpy(rng.standard_normal(self.size)).to(self.weights)
        return self.twin, moved, self.beside, self.index[:FEW]

    def require_seen_slope(self) -> None:
        """Take the closed form of slopes if it is this module's: both slopes differ by rounding, or by more.

        Processes that share examples each have a part of them, and sum up: they differentiate.
        """
        shape, self.twin.unseen_slope = self.twin.unseen_slope, None
        if shape is None or self.twin.world is not None or _weights_of(shape) != self.size:
            return
        near = Point(*self._moved(np.random.default_rng(0)))
        (loss, expected), (own, found) = near._differentiated(), closed_slopes([near], shape)
        same = np.linalg.norm(found[0] - expected) <= ROUNDING * np.linalg.norm(expected)
        if same and abs(own[0] - loss) <= ROUNDING * abs(loss):
            self.twin.closed_slope = shape

    def together(self, piece: Tensor) -> int:
        """Return for how many vectors derivatives are taken at once."""
        held = self.twin.numbers * len(piece) + self.size
        return max(1, min(TOGETHER, HELD // held)) if self.twin.batched else 1

    def matvec(self, vectors: Array) -> Array:
        """Return the product with vectors, shape (M, k), piece by piece of the examples."""
        rows = self.rows(vectors)
        total = torch.zeros_like(rows)
        with self.twin.limited(len(self.index)):
            for piece in self.pieces():
                self._add(total, rows, piece)
        return self.summed(total).cpu().numpy().T

    def _add(self, total: Tensor, rows: Tensor, piece: Tensor) -> None:
        """Add the share of some examples to the products, shape (k, M)."""
        raise NotImplementedError

    def rows(self, vectors: Array) -> Tensor:
        """Return vectors, shape (M, k), as rows on the device."""
        return torch.from_numpy(np.ascontiguousarray(vectors.T)).to(self.weights.device)


def slopes_of(points: Sequence[Point]) -> tuple[Array, Array]:
    """Return mean losses, shape (n,), and gradients, (n, M), at points of one twin.

    Of fully connected nets in closed form, all at once.
    """
    points[0].require_seen_slope()
    shape = points[0].twin.closed_slope
    if shape is not None:
        return closed_slopes(points, shape)
    losses, gradients = zip(*(point._differentiated() for point in points), strict=True)
    return np.array(losses), np.stack(gradients)


def closed_slopes(points: Sequence[Point], shape: Shape) -> tuple[Array, Array]:
    """Return the same of fully connected nets, with equally many examples each (`perceptron_slope`)."""
    from .perceptron_slope import slopes

    weights = np.stack([point.weights.cpu().numpy() for point in points])
    inputs, labels = zip(*(point._flat_examples() for point in points), strict=True)
    turned = np.stack([np.ascontiguousarray(one.T) for one in inputs])
    return slopes(weights, shape, turned, np.stack(labels), points[0].twin.loss.margin)


def products(output: Tensor, leaf: Tensor, rows: Tensor) -> Tensor:
    """Return uᵀ ∂output/∂leaf for every row u, shape (k, output's); of many at once if k > 1."""
    batched = len(rows) > 1
    (product,) = torch.autograd.grad(
        output,
        leaf,
        rows if batched else rows[0],
        retain_graph=True,
        materialize_grads=True,
        is_grads_batched=batched,
    )
    return product if batched else product[None]


class LossHessian(Point):
    """The Hessian at given weights; made as `Point`."""

    def _add(self, total: Tensor, rows: Tensor, piece: Tensor) -> None:
        """Add the share of some examples to the products, shape (k, M)."""
        leaf = self.weights.clone().requires_grad_()
        loss = self.loss(leaf, piece)
        (slope,) = torch.autograd.grad(loss, leaf, create_graph=True, materialize_grads=True)
        if not slope.requires_grad:
            # A loss that is linear in the weights.
            return
        several = self.together(piece)
        for first in range(0, len(rows), several):
            some = slice(first, first + several)
            total[some] += products(slope, leaf, rows[some])

    def dense(self) -> Array:
        """Return the matrix, shape (M, M): of fully connected nets in closed form."""
        self._require_seen()
        return self.matvec(np.eye(self.size)) if self.twin.closed is None else self._closed(self.twin.closed)

    def _closed(self, shape: Shape) -> Array:
        from .perceptron_hessian import hessian

        return hessian(self.weights.cpu().numpy(), shape, *self._flat_examples(), self.twin.loss.margin)

    def _require_seen(self) -> None:
        """Take the closed form if it is this module's: layers of the right types may compute something else.

        Both multiply a vector, at weights near these, where no unit is at the kink of ReLU. They differ by
        rounding, 10⁻¹⁶ of the product, or by what the form does not know.
        """
        shape, self.twin.unseen = self.twin.unseen, None
        if shape is None or _weights_of(shape) != self.size:
            return
        rng = np.random.default_rng(0)
        near = LossHessian(*self._moved(rng))
        v = rng.standard_normal((self.size, 1))
        expected = near.matvec(v)
        if np.linalg.norm(near._closed(shape) @ v - expected) <= ROUNDING * np.linalg.norm(expected):
            self.twin.closed = shape
