"""The modules: plain torch, initialised as PyTorch does by default."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels.convolution import ConvPool

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def multilayer(
    shape: tuple[int, ...],
    widths: Sequence[int],
    outputs: int,
    activation: str,
    last: nn.Module | None = None,
) -> nn.Sequential:
    """Return a fully connected net: `widths` hidden units in turn, and `outputs` outputs."""
    sizes = [math.prod(shape), *widths, outputs]
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), ACTIVATIONS[activation]()]
    layers.pop()
    return nn.Sequential(*layers, *([last] if last is not None else []))


def xavier(net: nn.Sequential) -> nn.Sequential:
    """Draw the weights of all layers anew, uniform in ±√(6/(inputs + outputs)); set the biases to 0.

    Glorot and Bengio (2010), eq. (16).
    """
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return net


def orthogonal(net: nn.Sequential) -> nn.Sequential:
    """Draw the weights of all layers anew, with orthonormal rows, or columns if these are fewer; biases 0.

    Saxe, McClelland and Ganguli (arXiv:1312.6120).
    """
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return net


class SmallNet(nn.Module):
    """Two convolutions (10 and 20 filters of 5×5, each pooled by 2), hidden units, an output per class."""

    def __init__(
        self, shape: tuple[int, ...], classes: int, filters: Sequence[int] = (10, 20), hidden: int = 100
    ):
        super().__init__()
        channels, height, width = shape
        self.convolutions = nn.Sequential(
            ConvPool(channels, filters[0], 5), ConvPool(filters[0], filters[1], 5)
        )
        left = [(((n - 4) // 2) - 4) // 2 for n in (height, width)]
        self.hidden = nn.Linear(filters[1] * left[0] * left[1], hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, shape (B, classes)."""
        return self.output(F.relu(self.hidden(self.convolutions(x).flatten(1))))


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max-pooling: convolutions with 6 and 16 filters of 5×5, then 120, 84, classes.

    LeCun et al. 1998; inputs of 28×28 are padded by 2, as there.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        padding = 2 if height <= 28 else 0
        self.convolutions = nn.Sequential(ConvPool(channels, 6, 5, padding=padding), ConvPool(6, 16, 5))
        left = [((n + 2 * padding - 4) // 2 - 4) // 2 for n in (height, width)]
        self.layers = nn.Sequential(
            nn.Linear(16 * left[0] * left[1], 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, shape (B, classes)."""
        return self.layers(self.convolutions(x).flatten(1))


class Residual(nn.Module):
    """Basic block: two 3×3 convolutions with batch-norm, and the input added before the last ReLU."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 (He et al. 2016) with the stem for small images: one 3×3 convolution, no pooling.

    Four stages of two basic blocks with width, 2, 4 and 8 times width channels; 1.12·10⁷ weights at width 64
    and 100 classes.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        blocks: list[nn.Module] = []
        for stage, (before, after) in enumerate(pairwise(widths)):
            blocks += [Residual(before, after, 1 if stage == 0 else 2), Residual(after, after, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, shape (B, classes)."""
        return self.output(self.blocks(self.stem(x)).mean((2, 3)))
