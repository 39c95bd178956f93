"""Deep convolutional nets for small images: VGG, residual nets in three forms. Plain torch.

Convolutions start from normals of variance 2/(k² n) with k×k filters and n outputs, their biases from 0 (He
et al., Delving deep into rectifiers, ICCV 2015); batch-norm from 1 and 0; other layers as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

#: Convolutions of the five stages of VGG-16, and their channels in units of the first stage's.
VGG16_STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


def he_normal(net: nn.Module) -> None:
    """Draw the weights of all convolutions anew, normal with variance 2/(k² n); set their biases to 0."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def convolution(before: int, after: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias that keeps the image's size at stride 1."""
    return nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)


class VGG16(nn.Module):
    """VGG-16 for images of 32×32: 13 convolutions of 3×3, and three linear layers.

    Configuration D of Simonyan and Zisserman (ICLR 2015), with hidden layers of 8·width units as usual for
    small images (Garipov et al. 2018; they have dropout there, this net does not). 15 245 130 weights at
    width 64 and 10 classes.

    Parameters
    ----------
    shape : (channels, height, width)
    classes : int
    width : int
        Channels of the first stage; the others have 2, 4, 8 and 8 times as many.
    batch_norm : bool
        Whether each convolution is followed by batch-norm.
    """

    def __init__(
        self, shape: tuple[int, ...], classes: int, width: int = 64, batch_norm: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = shape[0]
        for count, factor in VGG16_STAGES:
            for _ in range(count):
                after = factor * width
                layers.append(nn.Conv2d(before, after, 3, padding=1))
                layers += [nn.BatchNorm2d(after)] * batch_norm
                layers.append(nn.ReLU())
                before = after
            layers.append(nn.MaxPool2d(2))
        self.convolutions = nn.Sequential(*layers)
        left = before * (shape[1] // 32) * (shape[2] // 32)
        self.layers = nn.Sequential(
            nn.Linear(left, 8 * width),
            nn.ReLU(),
            nn.Linear(8 * width, 8 * width),
            nn.ReLU(),
            nn.Linear(8 * width, classes),
        )
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, shape (B, classes)."""
        return self.layers(self.convolutions(x).flatten(1))


class BasicBlock(nn.Module):
    """Two convolutions of 3×3, each followed by batch-norm; the input is added before the last ReLU.

    Where the shape changes, the input is taken at every second pixel and padded by channels of zeros: a
    shortcut without weights (option A of He et al., CVPR 2016).
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = convolution(before, after, 3, stride), nn.BatchNorm2d(after)
        self.conv2, self.norm2 = convolution(after, after), nn.BatchNorm2d(after)
        self.stride, self.more = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        half = self.more // 2
        short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.more - half))
        return F.relu(y + short)


class PreBasicBlock(nn.Module):
    """Batch-norm, ReLU, 3×3, twice, added to the input: a pre-activation block (He et al., ECCV 2016).

    Where the shape changes, the shortcut is a 1×1 convolution: of the input, or (`shared`), as in wide
    residual nets, of what the first batch-norm and ReLU make of it.
    """

    def __init__(self, before: int, after: int, stride: int, shared: bool = False) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), convolution(before, after, 3, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(after), convolution(after, after)
        self.shortcut = _projection(before, after, stride)
        self.shared = shared

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        a = F.relu(self.norm1(x))
        y = self.conv2(F.relu(self.norm2(self.conv1(a))))
        if self.shortcut is None:
            return x + y
        return y + self.shortcut(a if self.shared else x)


class PreBottleneck(nn.Module):
    """Batch-norm, ReLU, convolution, three times: 1×1, 3×3 and 1×1 to four times as many channels.

    The pre-activation bottleneck of He et al., ECCV 2016; where the shape changes, the shortcut is a 1×1
    convolution of the input.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inner = after // 4
        self.norm1, self.conv1 = nn.BatchNorm2d(before), convolution(before, inner, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(inner), convolution(inner, inner, 3, stride)
        self.norm3, self.conv3 = nn.BatchNorm2d(inner), convolution(inner, after, 1)
        self.shortcut = _projection(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = self.conv1(F.relu(self.norm1(x)))
        y = self.conv2(F.relu(self.norm2(y)))
        y = self.conv3(F.relu(self.norm3(y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


def _projection(before: int, after: int, stride: int) -> nn.Conv2d | None:
    """Return the 1×1 convolution of a shortcut, if the shape changes."""
    return convolution(before, after, 1, stride) if stride != 1 or before != after else None


def stages(block: Callable[[int, int, int], nn.Module], first: int, width: int, count: int) -> nn.Sequential:
    """Return three stages of blocks with width, 2·width and 4·width channels; images are halved between.

    Parameters
    ----------
    block : callable
        Makes one from channels before, channels after, stride.
    first : int
        Channels of the input.
    width : int
    count : int
        Blocks in each stage.
    """
    blocks: list[nn.Module] = []
    for stage, (before, after) in enumerate(pairwise([first, width, 2 * width, 4 * width])):
        blocks.append(block(before, after, 1 if stage == 0 else 2))
        blocks += [block(after, after, 1) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


class CifarResNet(nn.Module):
    """The residual net for small images of He et al. (CVPR 2016, section 4.2), of depth 6n + 2.

    A 3×3 convolution and three stages of n basic blocks, with shortcuts without weights. Depth 110 has
    1.7·10⁶ weights, depth 158 has 2.5·10⁶.

    Parameters
    ----------
    shape : (channels, height, width)
    classes : int
    depth : int
    width : int
        Channels of the first stage.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, depth: int = 158, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(shape[0], width), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = stages(BasicBlock, width, width, (depth - 2) // 6)
        self.output = nn.Linear(4 * width, classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, shape (B, classes)."""
        return self.output(self.blocks(self.stem(x)).mean((2, 3)))


class PreActivationNet(nn.Module):
    """A 3×3 convolution, three stages of pre-activation blocks, batch-norm, ReLU, mean, a linear layer."""

    def __init__(self, shape: tuple[int, ...], classes: int, stem: int, blocks: nn.Sequential, last: int):
        super().__init__()
        self.stem, self.blocks = convolution(shape[0], stem), blocks
        self.norm, self.output = nn.BatchNorm2d(last), nn.Linear(last, classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, shape (B, classes)."""
        return self.output(F.relu(self.norm(self.blocks(self.stem(x)))).mean((2, 3)))


class PreResNet(PreActivationNet):
    """The pre-activation residual net of He et al. (Identity mappings, ECCV 2016).

    Of depth 9n + 2 with n bottleneck blocks in each stage, 6n + 2 with basic blocks. Depth 164 with
    bottlenecks has 1.7·10⁶ weights.

    Parameters
    ----------
    shape : (channels, height, width)
    classes : int
    depth : int
    bottleneck : bool
    width : int
        Channels of the first convolution, and of the inner ones of the first stage.
    """

    def __init__(
        self, shape: tuple[int, ...], classes: int, depth: int = 164, bottleneck: bool = True, width: int = 16
    ) -> None:
        if bottleneck:
            blocks, last = stages(PreBottleneck, width, 4 * width, (depth - 2) // 9), 16 * width
        else:
            blocks, last = stages(PreBasicBlock, width, width, (depth - 2) // 6), 4 * width
        super().__init__(shape, classes, width, blocks, last)


class WideResNet(PreActivationNet):
    """The wide residual net WRN-depth-widening of Zagoruyko and Komodakis (BMVC 2016), without dropout.

    Of depth 6n + 4: three stages of n pre-activation blocks with widening·width channels in the first.
    WRN-28-10 has 3.65·10⁷ weights.

    Parameters
    ----------
    shape : (channels, height, width)
    classes : int
    depth, widening : int
    width : int
        Channels of the first convolution.
    """

    def __init__(
        self, shape: tuple[int, ...], classes: int, depth: int = 28, widening: int = 10, width: int = 16
    ) -> None:
        def block(before: int, after: int, stride: int) -> nn.Module:
            return PreBasicBlock(before, after, stride, shared=True)

        wide = widening * width
        super().__init__(shape, classes, width, stages(block, width, wide, (depth - 4) // 6), 4 * wide)
