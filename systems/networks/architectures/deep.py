"""The large networks by name: those of Garipov et al. 2018, at the shape of CIFAR."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from langevin.config.keys import Section, key
from langevin.machine.later import callables

from ..network import Network
from .small import require_images

if TYPE_CHECKING:
    from torch import nn

    from ..nets.deep_modules import VGG16, CifarResNet, PreResNet, WideResNet
else:
    VGG16, CifarResNet, PreResNet, WideResNet = callables(
        "langevin.systems.networks.nets.deep_modules", "VGG16", "CifarResNet", "PreResNet", "WideResNet"
    )

WIDTH = key("channels of the first convolution", default=16, ge=1)


def depth_fault(depth: int, blocks: int, rest: int, condition: str, examples: str) -> str | None:
    """Return the fault of a depth that is not blocks·n + rest with n ≥ 1; None for one that is."""
    if depth > rest and (depth - rest) % blocks == 0:
        return None
    return f"system.depth = {depth}: allowed: {blocks} n + {rest}{condition}, for instance {examples}"


class VGG(Network):
    """VGG-16 for images of 32×32, without dropout, without batch-norm by default."""

    data: ClassVar[str] = "cifar100"

    class Parameters(Section):
        """What stands under [system]."""

        batch_norm: bool = key("batch-norm after each convolution", default=False)
        width: int = key("channels of the first stage; hidden layers have 8 times as many", default=64, ge=1)

    def build(self) -> nn.Module:
        """Return a new network."""
        require_images("vgg16", self.shape, 32)
        return VGG16(self.shape, self.classes, self.parameters.width, self.parameters.batch_norm)


class PreActivationResNet(Network):
    """The pre-activation ResNet for CIFAR (He et al., Identity mappings, 2016), batch-norm included.

    Garipov et al. 2018 have bottleneck blocks at both depths, 110 and 164.
    """

    data: ClassVar[str] = "cifar100"

    class Parameters(Section):
        """What stands under [system]."""

        depth: int = key(
            "layers with weights: 9n + 2 with bottleneck blocks (110, 164), 6n + 2 with basic ones (110)",
            default=164,
            ge=8,
        )
        block: Literal["bottleneck", "basic"] = key(
            "1×1, 3×3 and 1×1 convolutions, or two of 3×3", default="bottleneck"
        )
        width: int = WIDTH

    @classmethod
    def check(cls, settings: Any) -> Iterable[str]:
        """Yield the faults that several keys together show."""
        yield from super().check(settings)
        given = settings.system
        condition = f' with system.block = "{given.block}"'
        blocks, examples = (9, "110, 164") if given.block == "bottleneck" else (6, "56, 110")
        fault = depth_fault(given.depth, blocks, 2, condition, examples)
        if fault is not None:
            yield fault

    def build(self) -> nn.Module:
        """Return a new network."""
        require_images("preresnet", self.shape, 4)
        keys = self.parameters
        return PreResNet(self.shape, self.classes, keys.depth, keys.block == "bottleneck", keys.width)


class Staged(Network):
    """Base of nets whose depth is `stages[0]` n + `stages[1]`; `examples` names depths of that kind."""

    stages: ClassVar[tuple[int, int]]
    examples: ClassVar[str]

    @classmethod
    def check(cls, settings: Any) -> Iterable[str]:
        """Yield the faults that several keys together show."""
        yield from super().check(settings)
        fault = depth_fault(settings.system.depth, *cls.stages, "", cls.examples)
        if fault is not None:
            yield fault


class ResNet158(Staged):
    """The ResNet for CIFAR of He et al. 2016, with basic blocks and shortcuts without weights."""

    data: ClassVar[str] = "cifar100"
    stages = (6, 2)
    examples = "110, 158"

    class Parameters(Section):
        """What stands under [system]."""

        depth: int = key("layers with weights: 6n + 2", default=158, ge=8)
        width: int = WIDTH

    def build(self) -> nn.Module:
        """Return a new network."""
        require_images("resnet158", self.shape, 4)
        return CifarResNet(self.shape, self.classes, self.parameters.depth, self.parameters.width)


class WideResidual(Staged):
    """The wide residual net of Zagoruyko and Komodakis 2016, WRN-28-10 by default, without dropout."""

    data: ClassVar[str] = "cifar100"
    stages = (6, 4)
    examples = "16, 28, 40"

    class Parameters(Section):
        """What stands under [system]."""

        depth: int = key("convolutions, three shortcuts among them: 6n + 4", default=28, ge=10)
        widening: int = key("factor by which stages are wider than the first convolution", default=10, ge=1)
        width: int = WIDTH

    def build(self) -> nn.Module:
        """Return a new network."""
        require_images("wide_resnet", self.shape, 4)
        keys = self.parameters
        return WideResNet(self.shape, self.classes, keys.depth, keys.widening, keys.width)
