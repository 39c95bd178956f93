"""A network system is put together here from a run file's sections: data, modules, loss, step, subsets."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import UserError
from langevin.machine import world
from langevin.machine.later import later

from .data.base import Data
from .keys import Descent, RecordDescent
from .nets.targets import Target
from .shared_batches import require_batch, require_shared

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from . import kit
else:
    torch, kit = later("torch"), later(f"{__package__}.kit")


class Assembly(ABC):
    """What all of a network system's measurements and steps rest on."""

    user_module: ClassVar[bool] = False
    """Whether the run file names code of a user's that makes the module."""

    def __init__(
        self, parameters: Any, dynamics: Descent, ensemble: Ensemble, data: Data, record: RecordDescent
    ) -> None:
        self.parameters, self.dynamics, self.ensemble, self.record = parameters, dynamics, ensemble, record
        if getattr(parameters, "target", "labels") == "inputs":
            data = data.unlabelled()
        self.loss = kit.Loss(
            self.loss_name, data.classes, Target.of(data), getattr(parameters, "margin", 1.0)
        )
        target = self.loss.target
        self.shape, self.classes = tuple(data.train.inputs.shape[1:]), target.numbers
        self.tokens = data.tokens
        #: The processes that share every batch; None: this one works alone.
        self.world = world.current()
        self.device = self._prepared()
        self.arithmetic = kit.Arithmetic(
            self.device, dynamics.precision, dynamics.deterministic, dynamics.compile
        )
        self.dtype = self.arithmetic.dtype
        self._rows = data.rows
        with self.computing():
            self._load(data)
            self.modules: Sequence[nn.Module] = kit.Built(self.built, ensemble.replica.tolist())
            if self.foreign or not self.loss.known:
                # Code of users is tried on all of them, and may draw random numbers now alone.
                list(self.modules)
            self.layout = kit.Layout(self.modules[0])
            inputs, labels = self.train.gather(torch.zeros(2, dtype=torch.int64, device=self.device))
            self.work, self.loss.classes = kit.fitting(self.modules[0], inputs, target)
            self.batches = kit.batches.chosen(dynamics, data, ensemble)
            own = kit.contract.traits(self) if self.foreign else kit.by_layers(self.modules[0])
            self._try_loss(data)
            # A loss of the whole batch couples its examples, too.
            self.traits = replace(own, couples=own.couples or not self.loss.separable)
            if self.foreign or not self.loss.known:
                self.traits = kit.contract.with_forms(self, self.traits)
            self.companions = kit.Companions(self.modules, self.traits)
            decay = dynamics.weight_decay
            # What has no gradient does not decay either; without decay it stands still as it is.
            idle = kit.unused(self.modules[0], self.loss, inputs, labels) if decay else []
            groups = kit.grouped(self.modules[0], self.layout, dynamics, idle)
            rule = kit.StepRule(
                dynamics.rates, dynamics.own_optimiser(), decay, dynamics.temperature, groups, dynamics.rests
            )
            self.problem = kit.Problem(
                self.layout, self.loss, self.train, self.batches.size, rule, self.traits, self.arithmetic
            )
            self._try_arithmetic(inputs, labels)
            self._choose_kernels(data)
            self._choose(data)
            self._try_measurements()
        if record.layer_angles:
            kit.overlaps.layer_names(self.layout)
        with self.computing():
            kit.require_hessian(self)

    # What a subclass says.

    @property
    def loss_name(self) -> str:
        """Name of the loss: `system.loss` where there is such a key."""
        return str(getattr(self.parameters, "loss", "cross_entropy"))

    @abstractmethod
    def build(self) -> nn.Module:
        """Return a new network for inputs of `self.shape`, with `self.classes` outputs (at each position)."""

    @property
    @abstractmethod
    def twin(self) -> kit.Twin:
        """The network that Hessians are taken of."""

    # Preparation.

    def _prepared(self) -> torch.device:
        """Return the device of the run, made ready; with processes that share batches, that of this one."""
        keys = self.dynamics
        if self.world is None:
            return kit.prepare(keys.device, keys.deterministic)
        require_shared(self.world, keys, self.record, self.ensemble)
        device = kit.prepare(keys.device, keys.deterministic)
        kit.meet(self.world, device)
        return device

    def _try_measurements(self) -> None:
        """Make sure that foreign modules are measured, and that processes may share the batches."""
        if self.foreign:
            kit.contract.tried(self)
        if self.world is not None:
            require_batch(self.world, self.batches.size, self.traits.couples, self.batches.fixed)
            kit.tried_division(self, self.world)

    def streams(self, noise: Noise) -> list[Any]:
        """Return the streams of batches that depend on those before; none for the others."""
        return [None] * self.ensemble.size if self.batches.fixed else list(noise.streams("batch"))

    def first_batches(self, noise: Noise) -> NDArray[Any]:
        """Return what the batches of every replica start from."""
        pairs = zip(self.ensemble.replica, self.streams(noise), strict=True)
        return np.stack([self.batches.start(int(k), stream) for k, stream in pairs])

    @cached_property
    def units(self) -> kit.ReplicaSteppers | kit.SpreadReplicas | kit.TinyReplicas | kit.TinyOnCard:
        """What takes the steps, and measures."""
        if self.on_card is not None:
            shared = self.problem, self.batches, self._rows, self.ensemble
            return kit.TinyOnCard(self.modules[0], *shared, self.on_card, self.make_units)
        if self.compiled is not None and self._tiny:
            return kit.TinyReplicas(self.problem, self.batches, self._rows, self.ensemble, self.compiled)
        return self._spread()

    @property
    def _tiny(self) -> bool:
        """Whether compiled kernels take the steps of all replicas, and measure."""
        return self.compiled is not None and kit.tiny.pays(self.compiled, self.batches, self.problem.rule)

    @cached_property
    def probing(self) -> kit.ReplicaSteppers | kit.SpreadReplicas:
        """What measures layer by layer: by torch, whatever takes the steps."""
        if self._tiny or self.on_card is not None:
            return self.make_units()
        return cast("kit.ReplicaSteppers | kit.SpreadReplicas", self.units)

    def make_units(self, bends: kit.Bends | None = None) -> kit.ReplicaSteppers:
        """Return what steps this network's replicas on one device; with `bends`, the bends of curves."""
        return self._steppers(self.modules, self.problem, self.ensemble, bends)

    def _steppers(
        self,
        modules: Sequence[nn.Module],
        problem: kit.Problem,
        ensemble: Ensemble,
        bends: kit.Bends | None = None,
    ) -> kit.ReplicaSteppers:
        return kit.ReplicaSteppers(
            modules,
            problem,
            self.batches,
            self._rows,
            ensemble,
            self._execution if bends is None else "sequential",
            self.dynamics.cuda_graph and not self.record.response and self.world is None,
            self.work,
            # Of bends the kernels know the steps of SGD alone.
            self.compiled if bends is None or problem.rule.optimiser.kernel_moments is None else None,
            self._views(),
            bends,
            self.world,
        )

    @property
    def _execution(self) -> str:
        """How replicas share calls: as the run file says, where they may."""
        stackable = self.compiled is None and self._stackable(self.modules[0]) and not self.dynamics.rests
        return self.dynamics.execution if stackable else "sequential"

    def _spread(self) -> kit.ReplicaSteppers | kit.SpreadReplicas:
        """Return what steps the replicas on all GPUs that the run may take."""
        if self.record.response or self.world is not None:
            return self.make_units()
        cards = kit.cards_of(self.device, self.dynamics.device)
        return kit.spread(self.modules, self.problem, self.ensemble, self._execution, cards, self._steppers)

    def _try_arithmetic(self, inputs: Tensor, labels: Tensor) -> None:
        """Make sure, on a few examples, that the network computes in the numbers of the run."""
        if self.arithmetic.compiled and self.device.type == "cpu" and kit.narrow(self.modules[0]):
            raise UserError(
                "dynamics.compile = true: allowed: false on a CPU for networks with convolutions of one "
                "pixel and fewer than 16 channels, in which torch's own code writes past its memory"
            )
        if not self.arithmetic.plain:
            kit.tried_rounded(self.modules[0], self.problem, inputs, labels)

    def _try_loss(self, data: Data) -> None:
        """Try the loss; one that is no mean over examples has no batches whose size changes."""
        each = self.loss.classes * math.prod(self.loss.target.shape) if self.loss.classified else self.classes
        self.train.outputs = self.test.outputs = each
        kit.loss_trial.trial(self.loss, self.modules[0], self.train, data, self.batches.size)
        if not (self.loss.separable or self.batches.fixed):
            raise UserError(
                f'dynamics.batches = "{self.dynamics.batches}": allowed: "epochs", "iid", "full" with '
                f"system.loss = {self.loss.name!r}, which is no mean over the examples of a batch: its force "
                "is known for batches of one size"
            )

    def _choose_kernels(self, data: Data) -> None:
        """Choose compiled steps, where there are any; processes that share batches take those of torch."""
        module, problem, keys = self.modules[0], self.problem, self.dynamics
        self.compiled: kit.perceptron.Shape | None = None
        self.on_card: kit.perceptron.Shape | None = None
        if self.world is not None:
            return
        work, sets = self.work * self.batches.size, [len(rows) for rows in data.rows.values()]
        self.compiled = kit.perceptron.chosen(module, problem, keys, work, type(self).__name__)
        self.on_card = kit.tiny_gpu.chosen(
            module, problem, self.batches, keys, sets, self.ensemble.whole.size
        )

    @property
    def one_rate(self) -> bool:
        """Whether all parameters descend at the rate of the schedule."""
        groups = self.problem.rule.groups
        return groups is None or groups.one_rate

    @property
    def _augments(self) -> bool:
        return bool(self.dynamics.augment != "none")

    def _load(self, data: Data) -> None:
        """Bring the data set to the device; make sure that it can be augmented, if it is to be."""
        if self._augments and len(self.shape) != 3:
            given = "×".join(str(n) for n in self.shape)
            raise UserError(
                f'dynamics.augment = "{self.dynamics.augment}": allowed: "none" with data.name = '
                f"{data.name!r}, whose inputs are {given}, not images (channels×height×width)"
            )
        kinds = (kit.Augmented if self._augments else kit.OnDevice, kit.OnDevice)
        self.train, self.test = (
            kind(part.inputs, part.labels, data.scale, data.shift, self.device, self.dtype)
            for kind, part in zip(kinds, (data.train, data.test), strict=True)
        )

    def _views(self) -> kit.Views | None:
        """Return the source of random views of the batches' images, if there is to be one."""
        size = self.batches.size if self.batches.fixed else 0
        return kit.Views(len(self.train), size, self.ensemble) if self._augments else None

    def _choose(self, data: Data) -> None:
        """Choose the examples on which is measured."""
        keys, choice = self.record, kit.subsets.Choice(self.ensemble, self.train.upload)
        counts = keys.energy_examples, keys.gradient_examples, keys.hessian_examples
        trained, probed, curved = choice.of(data.rows, "measured examples", *counts)
        (tested,) = choice.of(data.test_rows, "measured test examples", keys.energy_examples)
        if self.traits.couples:
            size = self.batches.size
            probed = choice.batched(data.rows, "measured batches", keys.gradient_examples, size)
        self.chosen = kit.subsets.Chosen(trained, tested, probed, curved)
        self._test_sets = kit.TestSets(self.train, self.test, data.rows, data.test_rows)

    def _learned(self, position: int) -> Tensor:
        """Return the training examples on which a replica's loss is measured."""
        return self.chosen.trained[int(self.ensemble.replica[position])].index

    def all_examples(self, position: int) -> Tensor:
        """Return all training examples of a replica, measured or not."""
        return self.train.upload(self._rows[int(self.ensemble.sample[position])])

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute as the run file says in the block, and say in one line where memory does not suffice."""
        with kit.explained(), self.arithmetic.work():
            yield

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Say in one line what torch or a user's code does wrong in the block: no memory, random numbers."""
        own = self.foreign or not self.loss.known
        with self.computing(), kit.undrawn(type(self.modules[0]).__name__) if own else nullcontext():
            yield

    @cached_property
    def foreign(self) -> bool:
        """Whether the module is made by code of a user's."""
        known = "langevin.systems.networks"
        modules = {type(m).__module__ for m in self.modules[0].modules()}
        own = type(self).__module__.startswith(known)
        return (
            self.user_module or not own or not all(name.startswith((known, "torch.nn.")) for name in modules)
        )

    def few_examples(self, count: int) -> Tensor:
        """Return a few training examples of the first replica, at least two, perhaps the same."""
        rows = self._rows[int(self.ensemble.sample[0])][:count]
        return self.train.upload(rows if len(rows) > 1 else rows.repeat(2))

    def built(self, replica: int, otherwise: bool = False) -> nn.Module:
        """Return a replica's network as it starts; `otherwise` from another seed."""
        module = kit.converted(self.raw(replica, otherwise), self.device, self.dtype)
        # What it freezes then, it freezes from the start.
        module.train()
        return module

    def raw(self, replica: int, otherwise: bool = False) -> nn.Module:
        """Return what `built` does, where and in whatever precision it is made."""
        seed = int(self.ensemble.quenched("start", replica).integers(2**63))
        return kit.seeded(self.build, seed ^ int(otherwise))

    def _stackable(self, module: nn.Module) -> bool:
        """Return whether replicas may share a call: all that differs between them are their weights."""
        frozen = any(not p.requires_grad for p in module.parameters())
        buffered = next(module.buffers(), None) is not None
        return self.batches.fixed and not frozen and not buffered and self.traits.stacks
