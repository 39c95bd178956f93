"""The large networks: their weights counted by formula, and what their blocks compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from small_nets import built, settings
from torch import nn

from langevin.errors import ConfigError, UserError
from langevin.systems.networks.nets import deep_modules
from langevin.systems.networks.nets.deep_modules import VGG16, CifarResNet, PreResNet, WideResNet

SHAPE = (3, 32, 32)


def vgg16(batch_norm: bool) -> int:
    """Filters and biases of 13 convolutions, twice as many numbers of batch-norm, three linear layers."""
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    filters = sum(9 * a * b + b for a, b in pairwise(channels))
    return filters + 2 * sum(channels[1:]) * batch_norm + 2 * (512 * 512 + 512) + 512 * 10 + 10


def residual(n: int) -> int:
    """He et al., CVPR 2016: stages of n basic blocks with 16, 32, 64 channels, shortcuts without weights."""
    total, before = 9 * 3 * 16 + 2 * 16 + 64 * 10 + 10, 16
    for c in (16, 32, 64):
        total += 9 * before * c + (2 * n - 1) * 9 * c * c + 2 * n * 2 * c
        before = c
    return total


def basic(n: int, widths: tuple[int, int, int]) -> int:
    """Pre-activation: batch-norm on the input of each convolution, projections where the channels change."""
    total, before = 9 * 3 * 16 + 2 * widths[2] + 10 * widths[2] + 10, 16
    for c in widths:
        total += 9 * before * c + (2 * n - 1) * 9 * c * c + 2 * before + (2 * n - 1) * 2 * c
        total += before * c if before != c else 0
        before = c
    return total


def bottleneck(n: int) -> int:
    """Pre-activation: 1×1, 3×3, 1×1 with c, c, 4c outputs; a projection in the first block of each stage."""
    total, before = 9 * 3 * 16 + 2 * 256 + 256 * 10 + 10, 16
    for c in (16, 32, 64):
        for k in range(n):
            inputs = before if k == 0 else 4 * c
            total += inputs * c + 9 * c * c + c * 4 * c + 2 * inputs + 2 * c + 2 * c
            total += inputs * 4 * c if k == 0 else 0
        before = 4 * c
    return total


COUNTS: dict[str, tuple[Callable[[], nn.Module], int, float, int]] = {
    "vgg16": (lambda: VGG16(SHAPE, 10), vgg16(False), 15.2, 16),
    "vgg16 with batch-norm": (lambda: VGG16(SHAPE, 10, batch_norm=True), vgg16(True), 15.3, 16),
    "preresnet164": (lambda: PreResNet(SHAPE, 10), bottleneck(18), 1.7, 164),
    "preresnet110": (lambda: PreResNet(SHAPE, 10, 110), bottleneck(12), 1.1, 110),
    "preresnet110 basic": (lambda: PreResNet(SHAPE, 10, 110, False), basic(18, (16, 32, 64)), 1.7, 110),
    "resnet110": (lambda: CifarResNet(SHAPE, 10, 110), residual(18), 1.7, 110),
    "resnet158": (lambda: CifarResNet(SHAPE, 10), residual(26), 2.5, 158),
    # Its depth counts the three shortcuts, but not the linear layer.
    "wrn-28-10": (lambda: WideResNet(SHAPE, 10), basic(4, (160, 320, 640)), 36.5, 28 - 3 + 1),
}


@pytest.mark.parametrize("name", COUNTS)
def test_networks_have_as_many_weights_as_published(name: str) -> None:
    """Millions to one decimal as published, where they are. On the device meta no memory is filled."""
    make, counted, millions, depth = COUNTS[name]
    with torch.device("meta"):
        module = make()
        assert module(torch.empty(2, *SHAPE)).shape == (2, 10)
    assert sum(p.numel() for p in module.parameters()) == counted
    assert round(counted / 1e6, 1) == millions
    # Layers with weights on the way through; shortcuts stand beside it.
    way = [n for n, p in module.named_parameters() if p.ndim > 1 and "shortcut" not in n]
    assert len(way) == depth


def test_convolutions_start_with_the_variance_that_keeps_gradients() -> None:
    torch.manual_seed(1)
    net = VGG16(SHAPE, 10, width=16)
    for layer in net.convolutions:
        if isinstance(layer, nn.Conv2d):
            w, n = layer.weight.detach(), layer.weight.numel()
            # The relative error of a variance from n normals is √(2/n): five of them, once in 10⁶ each.
            assert abs(w.var() * 9 * layer.out_channels / 2 - 1) < 5 * math.sqrt(2 / n)
            assert not layer.bias.detach().any()


def test_blocks_whose_branch_is_zero_are_their_shortcuts() -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 4, 6, 6)
    thin = x[:, :, ::2, ::2]

    def quiet(block: nn.Module, last: str) -> nn.Module:
        nn.init.zeros_(getattr(block, last).weight)
        return block

    same = quiet(deep_modules.PreBasicBlock(4, 4, 1), "conv2")
    assert torch.equal(same(x), x)
    same = quiet(deep_modules.PreBottleneck(4, 4, 1), "conv3")
    assert torch.equal(same(x), x)
    # The order of channels: zeros on both sides.
    padded = quiet(deep_modules.BasicBlock(4, 8, 2), "conv2")
    expected = torch.cat([torch.zeros(2, 2, 3, 3), thin.relu(), torch.zeros(2, 2, 3, 3)], dim=1)
    assert torch.equal(padded(x), expected)
    for shared in (False, True):
        block = quiet(deep_modules.PreBasicBlock(4, 8, 2, shared), "conv2")
        source = F.relu(F.batch_norm(x, None, None, training=True))[:, :, ::2, ::2] if shared else thin
        expected = torch.einsum("oi,bihw->bohw", block.shortcut.weight[:, :, 0, 0], source)
        torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("system", "fault"),
    [
        (
            {"name": "preresnet", "depth": 100},
            'system.depth = 100: allowed: 9 n + 2 with system.block = "bottleneck", for instance 110, 164',
        ),
        (
            {"name": "preresnet", "depth": 164 + 2, "block": "basic"},
            'system.depth = 166: allowed: 6 n + 2 with system.block = "basic", for instance 56, 110',
        ),
        ({"name": "resnet158", "depth": 18}, "system.depth = 18: allowed: 6 n + 2, for instance 110, 158"),
        (
            {"name": "wide_resnet", "depth": 27},
            "system.depth = 27: allowed: 6 n + 4, for instance 16, 28, 40",
        ),
    ],
)
def test_a_depth_that_cannot_be_is_a_fault(system: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings(system)
    assert error.value.faults == [fault]


def test_vgg_needs_images_that_can_be_halved_five_times() -> None:
    with pytest.raises(UserError, match=r"'vgg16': needs images.*at least 32×32 pixels.*1×28×28"):
        built(settings({"name": "vgg16"}, {"name": "synthetic", "like": "mnist", "train": 32, "test": 20}))
