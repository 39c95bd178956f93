"""How a network system is put together from a run file's sections: data, modules, loss, step, subsets."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from langevin.ensemble import Ensemble
from langevin.errors import UserError

from .datasets.base import Data
from .parts import (
    Augmented,
    Examples,
    Layout,
    Loss,
    Problem,
    Rule,
    TestSets,
    Tiny,
    Units,
    Views,
    batches,
    couples,
    explained,
    fitting,
    overlaps,
    perceptron,
    prepare,
    require_hessian,
    response,
    seeded,
    subsets,
    tiny,
    torch,
)
from .sections import Descent, RecordDescent

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .bends import Bends


class Assembly:
    """What all of a network system's measurements and steps rest on."""

    def __init__(
        self, parameters: Any, dynamics: Descent, ensemble: Ensemble, data: Data, record: RecordDescent
    ) -> None:
        self.parameters, self.dynamics, self.ensemble, self.record = parameters, dynamics, ensemble, record
        self.shape, self.classes = tuple(data.train.inputs.shape[1:]), data.classes
        self.device = prepare(dynamics.device, dynamics.deterministic)
        self.dtype = torch.float32 if dynamics.precision == "single" else torch.float64
        self.loss = Loss(self.loss_name, data.classes)
        with explained():
            self._load(data)
            self.modules = [self._module(k) for k in ensemble.replica]
            self.layout = Layout(self.modules[0])
            inputs, _ = self.train.gather(torch.zeros(2, dtype=torch.int64, device=self.device))
            self._work, self.loss.classes = fitting(self.modules[0], inputs, data.classes)
            self.batches = batches.chosen(dynamics, data, ensemble)
            rule = Rule(dynamics.rates, dynamics.momentum, dynamics.weight_decay, dynamics.temperature)
            self.problem = Problem(self.layout, self.loss, self.train, self.batches.size, rule)
            work, name = self._work * self.batches.size, type(self).__name__
            self.compiled = perceptron.chosen(self.modules[0], self.problem, dynamics, work, name)
            self._rows = data.rows
            self._choose(data)
        if record.layer_angles:
            overlaps.layer_names(self.layout)
        self.response = response.measuring(self)
        with explained():
            require_hessian(self)

    # What a subclass says.

    @property
    def loss_name(self) -> str:
        """Name of the loss: `system.loss` where there is such a key."""
        return str(getattr(self.parameters, "loss", "cross_entropy"))

    def build(self) -> nn.Module:
        """Return a new network for inputs of `self.shape` and `self.classes` classes."""
        raise NotImplementedError

    # Preparation.

    @cached_property
    def units(self) -> Units | Tiny:
        """What takes the steps, and measures."""
        if self.compiled is not None and tiny.pays(self.compiled, self.batches, self.problem.rule):
            return Tiny(self.problem, self.batches, self._rows, self.ensemble, self.compiled)
        return self.make_units()

    def make_units(self, bends: Bends | None = None) -> Units:
        """Return units of this network's replicas; with `bends`, units that move the bends of curves."""
        stackable = self.compiled is None and bends is None and self._stackable(self.modules[0])
        return Units(
            self.modules,
            self.problem,
            self.batches,
            self._rows,
            self.ensemble,
            self.dynamics.execution if stackable else "sequential",
            self.dynamics.cuda_graph and not self.record.response,
            self._work,
            self.compiled,
            self._views(),
            bends,
        )

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
        kinds = (Augmented if self._augments else Examples, Examples)
        self.train, self.test = (
            kind(part.inputs, part.labels, data.scale, data.shift, self.device, self.dtype)
            for kind, part in zip(kinds, (data.train, data.test), strict=True)
        )

    def _views(self) -> Views | None:
        """Return the source of random views of the batches' images, if there is to be one."""
        size = self.batches.size if self.batches.fixed else 0
        return Views(len(self.train), size, self.ensemble) if self._augments else None

    def _choose(self, data: Data) -> None:
        """Choose the examples on which is measured."""
        keys, choice = self.record, subsets.Choice(self.ensemble, self.train.upload)
        counts = keys.energy_examples, keys.gradient_examples, keys.hessian_examples
        trained, probed, curved = choice.of(data.rows, "measured examples", *counts)
        (tested,) = choice.of(data.test_rows, "measured test examples", keys.energy_examples)
        if couples(self.modules[0]):
            size = self.batches.size
            probed = choice.batched(data.rows, "measured batches", keys.gradient_examples, size)
        self._chosen = subsets.Chosen(trained, tested, probed, curved)
        self._test_sets = TestSets(self.train, self.test, data.rows, data.test_rows)

    def _learned(self, position: int) -> Tensor:
        """Return the training examples on which a replica's loss is measured."""
        return self._chosen.trained[int(self.ensemble.replica[position])].index

    def _module(self, replica: int) -> nn.Module:
        """Return a replica's network as it starts."""
        seed = int(self.ensemble.quenched("start", replica).integers(2**63))
        return seeded(self.build, seed).to(self.device, self.dtype)

    def _stackable(self, module: nn.Module) -> bool:
        """Return whether replicas may share a call: all that differs between them are their weights."""
        frozen = any(not p.requires_grad for p in module.parameters())
        buffered = next(module.buffers(), None) is not None
        return self.batches.fixed and not frozen and not buffered
