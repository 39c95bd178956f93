"""The networks by name: what stands under [system], and the module that it means."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from langevin.config.keys import Section, key
from langevin.errors import FOREIGN, LangevinError, UserError, first_line
from langevin.machine.later import callables, later

from ..network import Network

if TYPE_CHECKING:
    from torch import nn

    from ..nets.factories import module_factory
    from ..nets.modules import LeNet, ResNet18, SmallNet, multilayer, orthogonal, xavier
else:
    nn = later("torch.nn")
    (module_factory,) = callables("langevin.systems.networks.nets.factories", "module_factory")
    LeNet, ResNet18, SmallNet, multilayer, orthogonal, xavier = callables(
        "langevin.systems.networks.nets.modules",
        "LeNet",
        "ResNet18",
        "SmallNet",
        "multilayer",
        "orthogonal",
        "xavier",
    )

LOSS = 'loss: of torch.nn.functional, quadratic_hinge, or your own "package.module:function"'
MARGIN = 'margin ε that loss = "quadratic_hinge" asks for'


class Toy(Network):
    """One hidden layer of ReLU, sigmoid outputs, squared error: the toy model of Baity-Jesi et al. 2018."""

    data: ClassVar[str] = "cifar10"

    class Parameters(Section):
        """What stands under [system]."""

        hidden: int = key("hidden units; 10 makes it under-parametrised", default=10_000, ge=1)
        loss: str = key(LOSS, default="mse_loss")

    @property
    def loss_name(self) -> str:
        """The loss that the run file names."""
        return str(self.parameters.loss)

    def build(self) -> nn.Module:
        """Return a new network."""
        return multilayer(self.shape, [self.parameters.hidden], self.classes, "relu", nn.Sigmoid())


class FullyConnected(Network):
    """Two hidden layers of 100 ReLU: the fully connected net of Baity-Jesi et al. 2018."""

    class Parameters(Section):
        """What stands under [system]."""

        hidden: int = key("units in each of the two hidden layers", default=100, ge=1)

    def build(self) -> nn.Module:
        """Return a new network."""
        return multilayer(self.shape, [self.parameters.hidden] * 2, self.classes, "relu")


class SmallConvolutional(Network):
    """Two small convolutions with pooling, 100 hidden units: the small net of Baity-Jesi et al. 2018."""

    data: ClassVar[str] = "cifar10"

    class Parameters(Section):
        """What stands under [system]."""

        filters: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)] = key(
            "filters of the two convolutions", default=[10, 20], kind="two integers ≥ 1"
        )
        hidden: int = key("units in the hidden layer", default=100, ge=1)

    def build(self) -> nn.Module:
        """Return a new network."""
        require_images("small_net", self.shape, 16)
        return SmallNet(self.shape, self.classes, self.parameters.filters, self.parameters.hidden)


class LeNet5(Network):
    """LeNet-5 with ReLU and max-pooling (footnote 12 of Baity-Jesi et al. 2018)."""

    class Parameters(Section):
        """What stands under [system]."""

    def build(self) -> nn.Module:
        """Return a new network."""
        require_images("lenet", self.shape, 16)
        return LeNet(self.shape, self.classes)


class ResNet(Network):
    """ResNet-18 with the stem for small images (CIFAR), batch-norm included."""

    data: ClassVar[str] = "cifar100"

    class Parameters(Section):
        """What stands under [system]."""

        width: int = key("channels of the first stage", default=64, ge=1)

    def build(self) -> nn.Module:
        """Return a new network."""
        require_images("resnet18", self.shape, 1)
        return ResNet18(self.shape, self.classes, self.parameters.width)


class MultilayerPerceptron(Network):
    """A fully connected net of any widths, with ReLU or tanh."""

    data: ClassVar[str] = "ljat"

    class Parameters(Section):
        """What stands under [system]."""

        widths: list[Annotated[int, Field(ge=1)]] = key(
            "units of the hidden layers, in turn", default=[7, 7, 7], kind="list of integers ≥ 1"
        )
        activation: Literal["relu", "tanh"] = key("activation of the hidden units", default="tanh")
        initialisation: Literal["pytorch", "xavier", "orthogonal"] = key(
            '"pytorch": its default, weights and biases uniform in ±1/√(inputs); "xavier": weights uniform '
            'in ±√(6/(inputs + outputs)), biases 0; "orthogonal": orthogonal rows or columns, biases 0',
            default="pytorch",
        )
        loss: str = key(LOSS, default="cross_entropy")
        margin: float = key(MARGIN, default=1.0, gt=0)

    @property
    def loss_name(self) -> str:
        """The loss that the run file names."""
        return str(self.parameters.loss)

    def build(self) -> nn.Module:
        """Return a new network."""
        keys = self.parameters
        module = multilayer(self.shape, keys.widths, self.classes, keys.activation)
        kinds = {"xavier": xavier, "orthogonal": orthogonal}
        return kinds[keys.initialisation](module) if keys.initialisation in kinds else module


class UserNetwork(Network):
    """Any torch.nn.Module of yours, named in the run file."""

    user_module: ClassVar[bool] = True

    class Parameters(Section):
        """What stands under [system]."""

        module: str = key(
            '"package.module:factory": a class derived from torch.nn.Module, or a function that returns one; '
            "it is given `shape` (of one input), `classes` (or how many numbers are compared) and `tokens` "
            "if its arguments have these names",
            default="torch.nn:Linear",
            example="langevin.systems.networks.nets.modules:LeNet",
        )
        arguments: dict[str, Any] = key("its keyword arguments", default={}, kind="table")
        loss: str = key(LOSS, default="cross_entropy")
        margin: float = key(MARGIN, default=1.0, gt=0)
        target: Literal["labels", "inputs"] = key(
            "what outputs are compared with: the labels; the inputs themselves, as the network gets them "
            "(autoencoders)",
            default="labels",
        )

    @property
    def loss_name(self) -> str:
        """The loss that the run file names."""
        return str(self.parameters.loss)

    def build(self) -> nn.Module:
        """Return a new network from the user's factory."""
        factory = self._factory
        known = {"shape": self.shape, "classes": self.classes, "tokens": self.tokens}
        names = inspect.signature(factory).parameters
        given = {n: v for n, v in known.items() if n in names} | self.parameters.arguments
        try:
            module = factory(**given)
        except LangevinError:
            raise
        except FOREIGN as error:
            said = f"called with {given}: {first_line(error)}"
            raise UserError(f"system.module = {self.parameters.module!r}: {said}") from None
        if not isinstance(module, nn.Module):
            raise UserError(
                f"system.module = {self.parameters.module!r}: gave a {type(module).__name__}; needed: a "
                "torch.nn.Module"
            )
        return module

    @cached_property
    def _factory(self) -> Callable[..., Any]:
        return module_factory(self.parameters.module)

    @classmethod
    def check(cls, settings: Any) -> Iterable[str]:
        """Yield the fault of a factory that cannot be imported, or is none."""
        yield from super().check(settings)
        try:
            module_factory(settings.system.module, settings.folder)
        except UserError as error:
            yield str(error)


def require_images(name: str, shape: tuple[int, ...], least: int) -> None:
    """Make sure that inputs are images of at least so many pixels along each side."""
    if len(shape) != 3 or min(shape[1:]) < least:
        given = "×".join(str(n) for n in shape)
        raise UserError(
            f"system.name = {name!r}: needs images, channels×height×width, of at least {least}×{least} "
            f"pixels; inputs of this data set are {given}"
        )
