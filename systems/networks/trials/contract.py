"""The contract between a user's module and a run: what a run relies on, tried on a few examples before it.

A run takes a module apart: weights lie in one vector of a state, what stands beside them in another place;
batches go through the module itself, through its functional form, through forms for many examples or many
replicas at once; what was stored comes back in a module that was built anew. All of these are the same only
if a module is what its parameters, its buffers and its inputs say. Modules need not be that, and nothing but
trying tells. So each form is compared with the module itself, in numbers. A form that differs is not used
where there is another way; else the module is refused, in one line that says what it does.

Two kinds of comparison have two tolerances. The same operations on the same numbers differ by the order of
sums at most, which may depend on how memory lies: `SAME`, some ten roundings. Other operations that give the
same numbers in exact arithmetic differ by roundings of sums over up to 10⁶ terms: `EQUAL`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from langevin.errors import FOREIGN, LangevinError, UserError

from ..data.subsets import Subset
from ..descent import perceptron
from ..descent.training import Alone
from ..measure import measurement
from ..nets.layout import Layout, beside, converted, kept_generators, put
from ..nets.losses import Loss
from ..nets.traits import Traits
from . import remnants
from .trial import EQUAL, Trial, attempting, both_nan, tensors_of

if TYPE_CHECKING:
    from .on_trial import OnTrial

#: Examples of a trial; of networks with more than so many multiplications for each, two.
FEW, LARGE = 4, 10**7
#: Examples of which company is chosen that is unlike another.
POOL = 64


def traits(system: OnTrial) -> Traits:
    """Try a module on a few training examples, and return how it behaves, whatever its loss.

    Raises
    ------
    UserError
        If a run of it could not be what it seems.
    """
    label, name = int(system.ensemble.replica[0]), type(system.modules[0]).__name__
    with kept_generators():
        # The system's own has seen forward passes, which may have changed it.
        first = system.raw(label)
        remnants.require_apart(first, name)
        first = converted(first, system.device, system.dtype)
        remnants.require_steady(first, name)
        remnants.require_parts([first, *system.modules[1:]], name)
        again, other = system.built(label), system.built(label, otherwise=True)
        _require_same_start(first, again, name)
        trial = Trial(again, system.layout, _few(system)[0], name)
        trial.require_repeatable(training=False)
        trial.require_independent(_unlike(system, trial.inputs))
        trial.require_repeatable(training=True)
        trial.require_transplanted(other)
        trial.require_forgetful(first)
        behaviour = trial.training_traits(_unlike(system, trial.inputs))
        if not system.batches.fixed or system.batches.size == 1:
            trial.require_single()
        return Traits(**behaviour)


def _few(system: OnTrial) -> tuple[Tensor, Tensor]:
    return system.train.gather(system.few_examples(FEW if system.work <= LARGE else 2))


def _unlike(system: OnTrial, inputs: Tensor) -> Tensor:
    """Return the first example of a trial in the company of those that are least like it, of some."""
    pool, _ = system.train.gather(system.few_examples(POOL))
    far = (pool - inputs[0]).flatten(1).double().abs().sum(1).topk(min(len(inputs) - 1, len(pool))).indices
    return torch.cat([inputs[:1], pool[far]])


def with_forms(system: OnTrial, known: Traits) -> Traits:
    """Return the traits of a module with the forms, too, in which torch.func and kernels give what it gives.

    Parameters
    ----------
    system : OnTrial
        With its loss.
    known : Traits
        Without.
    """
    module = system.built(int(system.ensemble.replica[0]))
    with kept_generators():
        few, name = _few(system), type(module).__name__
        forms = Forms(module, system.layout, system.loss, *few, name, known.modal)
        # Where single examples or replicas cannot share a call, nobody asks for these.
        single, alike = not known.couples, not beside(module)
        functional = (single or alike) and forms.functional()
        return replace(
            known,
            vectorises=functional and single and forms.vectorises(),
            stacks=functional and alike and forms.stacks(),
            compiles=perceptron.agrees(module, system.loss, forms.inputs, EQUAL),
        )


def _require_same_start(first: nn.Module, again: nn.Module, name: str) -> None:
    """Make sure that a seed means one start."""
    for (key, a), (_, b) in zip(tensors_of(first), tensors_of(again), strict=True):
        if not torch.equal(a, b) and not both_nan(a, b):
            raise UserError(
                f"system: {name}: {key} is drawn by a generator that no seed reaches; allowed: the global "
                "generators of torch, numpy and Python's random"
            )


class Forms(Trial):
    """Other forms of a module and its loss, compared with the module itself.

    Parameters are those of `Trial`, the loss with labels of the examples, and whether gradients of single
    examples are those of training mode.
    """

    def __init__(
        self,
        module: nn.Module,
        layout: Layout,
        loss: Loss,
        inputs: Tensor,
        labels: Tensor,
        name: str,
        modal: bool,
    ) -> None:
        super().__init__(module, layout, inputs, name)
        self.loss, self.labels, self.modal = loss, labels, modal

    def functional(self) -> bool:
        """Return whether with other tensors for weights the module is what it is with its own, set so."""
        self.module.eval()
        put(self.module, self.start)
        weights = 0.5 * self.weights
        leaves = [v.clone().requires_grad_() for v in self.layout.views(weights)]

        def other() -> list[Tensor]:
            loss = self._functional(leaves, self.inputs, self.labels)
            return list(torch.autograd.grad(loss, leaves, materialize_grads=True))

        gradients = self._tried(other)
        with self._set(weights):
            own = self._gradients(self.inputs, self.labels)
        return gradients is not None and self.all_close(gradients, own, EQUAL)

    def _gradients(self, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        loss = self.loss.mean(self.module(inputs.clone()), labels)
        return list(torch.autograd.grad(loss, self.parameters, materialize_grads=True))

    @contextmanager
    def _set(self, weights: Tensor) -> Iterator[None]:
        """Let the module have other weights for a while."""
        try:
            self.write(self.module, weights)
            yield
        finally:
            self.write(self.module, self.weights)

    def _functional(self, weights: Sequence[Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        return self.loss.mean(self.layout.call(self.module, weights, inputs.clone()), labels)

    def vectorises(self) -> bool:
        """Return whether torch.func gives the gradients of single examples that the module itself gives."""
        self.module.train(self.modal)
        put(self.module, self.start)
        weights = [v.clone() for v in self.layout.views(self.weights)]

        def loss(weights: list[Tensor], inputs: Tensor, label: Tensor) -> Tensor:
            return self._functional(weights, inputs[None], label[None])

        def each() -> list[Tensor]:
            of_each = vmap(grad(loss), in_dims=(None, 0, 0))
            gradients: list[Tensor] = of_each(weights, self.inputs, self.labels)
            return gradients

        gradients = self._tried(each)
        if gradients is None:
            return False
        for k in (0, len(self.inputs) - 1):
            own = self._gradients(self.inputs[k : k + 1], self.labels[k : k + 1])
            if not self.all_close([g[k] for g in gradients], own, EQUAL):
                return False
        return True

    def stacks(self) -> bool:
        """Return whether torch.func takes the weights of several replicas at once."""
        self.module.train()
        rows = torch.stack([self.weights, 0.5 * self.weights])
        leaves = [v.clone().requires_grad_() for v in self.layout.views(rows)]

        # As a step has them: each replica its own batch.
        inputs, labels = (torch.stack([t, t.flip(0)]) for t in (self.inputs, self.labels))

        def together() -> list[Tensor]:
            losses = vmap(self._functional)(leaves, inputs.clone(), labels)
            return list(torch.autograd.grad(losses.sum(), leaves, materialize_grads=True))

        gradients = self._tried(together)
        for k, row in enumerate(rows):
            with self._set(row):
                own = self._gradients(inputs[k], labels[k])
            if gradients is None or not self.all_close([g[k] for g in gradients], own, EQUAL):
                return False
        return True

    @staticmethod
    def _tried(form: Callable[[], list[Tensor]]) -> list[Tensor] | None:
        """Return what a form gives; None if torch cannot take it."""
        try:
            return form()
        except (LangevinError, torch.OutOfMemoryError):
            raise
        except FOREIGN:
            return None


def tried(system: OnTrial) -> None:
    """Measure everything that a run measures at its times, of a few examples.

    Raises
    ------
    UserError
        What cannot be measured, and why.
    """
    problem, label = system.problem, int(system.ensemble.replica[0])
    unit = Alone(system.built(label), problem)
    unit.bind(system.layout.of(unit.module)[None])
    index = system.few_examples(2)
    some, name = Subset(index, len(index) + 1), type(unit.module).__name__
    with attempting(name, "measuring losses and accuracies"):
        measurement.loss_and_accuracy(unit, system.train, some)
    # Of coupled examples the noise follows from the gradients of mini-batches, which have been tried.
    if not problem.traits.couples:
        with attempting(name, "measuring the gradient noise"):
            measurement.gradient_noise(unit, some)
