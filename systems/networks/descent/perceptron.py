"""Fully connected nets on a CPU, with compiled steps: which they are, and their stepper."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  (numba's matrix products: to be found below)
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from langevin.errors import UserError

from ..keys import Descent
from ..nets.layout import Layout
from ..nets.losses import Loss
from ..nets.margins import SIGNED
from ..schedules import Rates
from .training import LARGEST, NOTHING, Alone, Problem

#: Multiplications of a step, forward, up to which one thread for each net is best: torch's share larger ones.
MOST = 10**8


class Shape(NamedTuple):
    """A fully connected net as the kernels see it."""

    sizes: tuple[int, ...]
    """Inputs, hidden units, outputs."""
    activation: str
    last: str
    loss: str


def shape_of(module: nn.Module, loss: Loss) -> Shape | None:
    """Return the shape of a net the kernels know: Flatten, Linear, ReLU or Tanh, …, Linear, perhaps Sigmoid.

    Returns
    -------
    Shape or None
        None for any other module or loss.
    """
    if type(module) is not nn.Sequential or len(module) < 2 or type(module[0]) is not nn.Flatten:
        return None
    if any(_touched(m) for m in module.modules()):
        return None
    layers = list(module)[1:]
    last = "sigmoid" if type(module[-1]) is nn.Sigmoid else "none"
    if last == "sigmoid":
        layers.pop()
    between = layers[1::2]
    linear = [m for m in layers[::2] if type(m) is nn.Linear]
    if len(set(linear)) != len(between) + 1 or len(linear) + len(between) != len(layers):
        return None
    kinds = {type(m) for m in between}
    if not (kinds <= {nn.ReLU} or kinds <= {nn.Tanh}) or not _plain(linear):
        return None
    if not loss.target.one_class:
        return None
    if loss.name != "mse_loss" and (loss.name not in ("cross_entropy", *SIGNED) or last == "sigmoid"):
        return None
    sizes = (linear[0].in_features, *(m.out_features for m in linear))
    return Shape(sizes, "tanh" if nn.Tanh in kinds else "relu", last, loss.name)


def _plain(linear: list[nn.Linear]) -> bool:
    """Whether all layers have biases, and all of them descend."""
    parameters = [p for m in linear for p in (m.weight, m.bias)]
    # A weight that two layers share stands once in the vector of weights.
    apart = len({id(p) for p in parameters}) == len(parameters)
    return apart and all(isinstance(p, nn.Parameter) and p.requires_grad for p in parameters)


def _touched(module: nn.Module) -> bool:
    """Whether a layer does more than its class says: by hooks, a replaced method, further tensors."""
    hooks = (
        module._forward_pre_hooks,
        module._forward_hooks,
        module._backward_pre_hooks,
        module._backward_hooks,
        module._buffers,
        *(p._backward_hooks for p in module._parameters.values() if p is not None),
    )
    known = {"weight", "bias"} if type(module) is nn.Linear else set()
    return any(hooks) or "forward" in vars(module) or not module._parameters.keys() <= known


def agrees(module: nn.Module, loss: Loss, inputs: Tensor, tolerance: float) -> bool:
    """Return whether a module of the shape that the kernels know is what they take it for.

    Parameters
    ----------
    module : Module
    loss : Loss
    inputs : Tensor, shape (n, …)
    tolerance : float
        Relative to the largest output.
    """
    shape = shape_of(module, loss)
    if shape is None:
        return False
    weights = Layout(module).of(module)
    with torch.no_grad():
        expected = module(inputs)
        signal, start, last = inputs.flatten(1), 0, len(shape.sizes) - 2
        for n, (before, after) in enumerate(pairwise(shape.sizes)):
            matrix = weights[start : start + before * after].view(after, before)
            start += before * after
            signal = signal @ matrix.T + weights[start : start + after]
            start += after
            if n < last:
                signal = signal.tanh() if shape.activation == "tanh" else signal.relu()
        outputs = signal.sigmoid() if shape.last == "sigmoid" else signal
    if start != len(weights) or outputs.shape != expected.shape:
        return False
    return bool((outputs - expected).abs().max() <= tolerance * expected.abs().max())


def pays(work: int, batch_size: int) -> bool:
    """Return whether the compiled step is the faster one.

    Parameters
    ----------
    work : int
        Multiplications of one step, forward.
    batch_size : int
        Examples in a batch; those of a large one go through the net in pieces, which the kernels do not.
    """
    return work <= MOST and batch_size <= LARGEST


def chosen(module: nn.Module, problem: Problem, keys: Descent, work: int, name: str) -> Shape | None:
    """Return the shape of a net whose steps are to be compiled; None if torch takes them.

    Parameters
    ----------
    module : Module
    problem : Problem
    keys : Descent
        The section [dynamics].
    work : int
        Multiplications of one step, forward.
    name : str
        What the net is called in a fault.

    Raises
    ------
    UserError
        If they must be compiled, and cannot.
    """
    size, device = problem.batch_size, problem.examples.device.type
    other = keys.backend in ("torch", "triton") or keys.execution == "stacked"
    if other or keys.precision == "bf16" or keys.compile:
        return None
    optimiser = problem.rule.optimiser
    if optimiser.kernel_momentum is None and optimiser.kernel_moments is None:
        return None
    shape = shape_of(module, problem.loss) if device == "cpu" else None
    if keys.augment != "none" or not problem.traits.compiles:
        # The kernels gather images by themselves, as they are.
        shape = None
    groups = problem.rule.groups
    if keys.backend == "numba" and groups is not None:
        raise UserError(
            'dynamics.backend = "numba": allowed: "auto" or "torch" with parameters that differ in rate or '
            f"decay ({', '.join(groups.attributes())})"
        )
    if groups is not None:
        shape = None
    if keys.backend == "numba" and (shape is None or size > LARGEST):
        raise UserError(
            f'dynamics.backend = "numba": allowed: "auto" or "torch" for {name} with '
            f"system.loss = {problem.loss.name!r} and B = {size} on {device}; compiled are steps "
            f"of fully connected nets with ReLU or tanh on a CPU, B ≤ {LARGEST}, without "
            "augmentation"
        )
    return shape if keys.backend == "numba" or pays(work, size) else None


def velocity_of(slots: Mapping[str, Tensor], weights: Tensor) -> Tensor:
    """Return the one slot that the kernels' rule can have; the weights, which stand there unused, without."""
    return next(iter(slots.values()), weights)


class Compiled(Alone):
    """One replica whose steps are compiled; torch sees the same weights when it measures."""

    def __init__(self, module: nn.Module, problem: Problem, shape: Shape) -> None:
        super().__init__(module, problem)
        from ..kernels import adam_kernels
        from ..kernels import perceptron_kernels as kernels

        self._descend, self._descend_bends = kernels.descend, kernels.descend_bends
        self._sizes = np.array(shape.sizes)
        self._kinds = (
            {"relu": kernels.RELU, "tanh": kernels.TANH}[shape.activation],
            {"none": kernels.NONE, "sigmoid": kernels.SIGMOID}[shape.last],
            {
                "cross_entropy": kernels.CROSS_ENTROPY,
                "mse_loss": kernels.SQUARED,
                "quadratic_hinge": kernels.HINGE,
            }[shape.loss],
        )
        examples, rule, optimiser = problem.examples, problem.rule, problem.rule.optimiser
        numbers = (
            *(optimiser.kernel_momentum or 0.0, rule.weight_decay, 1 / problem.batch_size),
            *(problem.loss.margin, float(rule.rests)),
        )
        self._numbers = torch.tensor(numbers, dtype=examples.dtype).numpy()
        self._descend_by_adam = adam_kernels.descend
        moments = optimiser.kernel_moments
        self._moments = None if moments is None else torch.tensor(moments, dtype=examples.dtype).numpy()
        like = torch.ones(examples.shape)
        self._scale, self._shift = (
            (like.to(examples.dtype) * v).flatten().numpy() for v in (examples.scale, examples.shift)
        )
        self._inputs, self._labels = examples.inputs.flatten(1).numpy(), examples.classes

    def bind(self, weights: Tensor, slots: Mapping[str, Tensor] = NOTHING) -> None:
        """Work on these weights, shape (1, M), with these slots of the optimiser's, in place from now on."""
        super().bind(weights, slots)
        self._row = weights[0].numpy()
        if self._moments is not None and slots:
            names = "first_moment", "second_moment", "steps"
            self._adams = tuple(slots[name][0].numpy() for name in names)
        self._velocity = velocity_of(slots, weights)[0].numpy()
        self._pushed = np.empty(0, self._row.dtype)

    def push(self, field: Tensor | None) -> None:
        """Add a constant force, shape (1, M), to that of the steps; None: none."""
        super().push(field)
        self._pushed = np.empty(0, self._row.dtype) if field is None else field[0].numpy()

    def run(self, batches: Tensor, rates: Rates) -> Tensor:
        """Take a step on each of the batches, shape (steps, 1, B); return their losses, shape (steps, 1).

        To be called inside of `langevin.machine.blas.single_blas`.
        """
        losses = np.empty(len(batches), self._row.dtype)
        index = np.ascontiguousarray(batches[:, 0].numpy())
        if self._moments is not None:
            self._descend_by_adam(
                self._row, *self._adams, self._moments, *self._arguments(index, rates), losses
            )
            return torch.from_numpy(losses)[:, None]
        self._descend(self._row, self._velocity, self._pushed, *self._arguments(index, rates), losses)
        return torch.from_numpy(losses)[:, None]

    def run_bends(
        self,
        bends: Tensor,
        slots: Mapping[str, Tensor],
        ends: tuple[Tensor, Tensor],
        ways: Tensor,
        index: Tensor,
        rates: Rates,
    ) -> Tensor:
        """Take a step of a curve's bends on each of the batches; return the losses, shape (steps, 1).

        To be called inside of `langevin.machine.blas.single_blas`.

        Parameters
        ----------
        bends : Tensor, shape (n, M)
            Changed in place, as are the slots.
        slots : mapping
        ends : pair of Tensor, shape (M,)
        ways : Tensor, shape (steps, n + 2)
            Weights of the control points.
        index : Tensor, shape (steps, B)
        rates : ndarray, shape (steps,)
        """
        losses = np.empty(len(index), bends.numpy().dtype)
        velocity = velocity_of(slots, bends)
        chosen = np.ascontiguousarray(index.numpy())
        self._descend_bends(
            *(t.numpy() for t in (bends, velocity, *ends, ways)), *self._arguments(chosen, rates), losses
        )
        return torch.from_numpy(losses)[:, None]

    def _arguments(self, index: NDArray[np.int64], rates: Rates) -> tuple[Any, ...]:
        """Return what both kernels take besides weights and losses."""
        return (
            self._sizes,
            self._kinds,
            self._inputs,
            self._labels,
            self._scale,
            self._shift,
            index,
            rates.astype(self._numbers.dtype, copy=False),
            self._numbers,
        )
