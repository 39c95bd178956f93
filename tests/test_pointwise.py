"""Narrow pointwise convolutions that skip pixels: oneDNN is never asked for what it does wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise_nets import KINDS, strided
from small_nets import built, settings
from torch import Tensor, nn

from langevin.systems.networks.kernels import pointwise
from langevin.systems.networks.nets.deep_modules import VGG16, PreResNet
from langevin.systems.networks.nets.modules import LeNet, ResNet18

#: A gradient of weights with channels innermost, a kernel of one pixel and a stride, as oneDNN reports it.
DANGEROUS = re.compile(r"backward_weights.*blocked:acd?b:.*k[hw]1s[hw][2-9]")

#: Rounding of three steps in single precision; a gradient from memory of others is off by 1e-2 and more.
ROUNDING = 1e-4


def test_no_way_of_calling_them_asks_for_what_onednn_does_wrong() -> None:
    """In a process of its own: it would crash, or hang, or end with other weights."""
    script = Path(__file__).with_name("pointwise_nets.py")
    environment = os.environ | {"ONEDNN_VERBOSE": "1", "CUDA_VISIBLE_DEVICES": ""}
    found = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert [line for line in lines if DANGEROUS.search(line)] == []
    apart = [line.split() for line in lines if line.startswith("weights ")]
    assert {line[1] for line in apart} == set(KINDS)
    assert all(float(line[-1]) < ROUNDING for line in apart), apart


def watched(monkeypatch: pytest.MonkeyPatch, system: dict[str, Any]) -> bool:
    """Build a network on images; return whether it is protected."""
    calls: list[int] = []
    protect = pointwise.protect

    def noted() -> object:
        calls.append(1)
        # Modules of one's own are tried: on some processors they may not be without.
        return protect()

    monkeypatch.setattr(pointwise, "protect", noted)
    data = {"name": "synthetic", "like": "cifar10", "train": 8, "test": 8}
    built(settings(system, data, 1, batch_size=4))
    return bool(calls)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_noticed(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    system = {"name": "network", "module": "pointwise_nets:strided", "arguments": {"kind": kind}}
    assert watched(monkeypatch, system)


def three_by_three(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A stride, few channels, and a larger kernel."""
    layers = (nn.Conv2d(shape[0], 4, 3, 2), nn.Conv2d(4, 3, 3, 2), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(3 * 49, classes))


@pytest.mark.parametrize(
    "system",
    [
        {"name": "resnet18", "width": 16},
        {"name": "vgg16", "width": 1},
        {"name": "small_net"},
        {"name": "network", "module": "test_pointwise:three_by_three"},
    ],
    ids=["wide enough", "no shortcuts", "compiled", "larger kernels"],
)
def test_others_are_left_alone(monkeypatch: pytest.MonkeyPatch, system: dict[str, Any]) -> None:
    assert not watched(monkeypatch, system)


def gradients(x: Tensor, w: Tensor, kernel: int) -> list[Tensor | None]:
    """What replaces the operation, on a sum's gradient."""
    y = F.conv2d(x, w, None, 2, kernel // 2)
    rest = (None, [2, 2], [kernel // 2] * 2, [1, 1], False, [0, 0], 1, [True, True, False])
    return list(pointwise._gradients(torch.ones_like(y), x, w, *rest))


@pytest.mark.parametrize(("channels", "kernel"), [(3, 3), (pointwise.VECTOR, 1)])
def test_other_convolutions_keep_their_bits(channels: int, kernel: int) -> None:
    torch.manual_seed(1)
    x = torch.randn(4, channels, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(5, channels, kernel, kernel, requires_grad=True)
    expected = torch.autograd.grad(F.conv2d(x, w, None, 2, kernel // 2).sum(), [x, w])
    for ours, theirs in zip(gradients(x, w, kernel), expected, strict=False):
        assert ours is not None
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()


def test_double_precision_keeps_channels_outermost() -> None:
    data = {"name": "synthetic", "like": "cifar10", "train": 8, "test": 8}
    orders = {}
    for precision in ("single", "double"):
        made = settings({"name": "vgg16", "width": 2}, data, 1, batch_size=4, precision=precision)
        alone = built(made)[0].landscape.unit
        images, _ = alone.gather(torch.arange(4))
        orders[precision] = images.is_contiguous(memory_format=torch.channels_last)
    assert orders == {"single": True, "double": False}


@pytest.mark.parametrize(
    ("module", "pays"),
    [
        (ResNet18((3, 32, 32), 10, 2), False),
        (ResNet18((3, 32, 32), 10, 8), True),
        (PreResNet((3, 32, 32), 10, 11, True, 2), False),
        (PreResNet((3, 32, 32), 10, 11, True, 16), True),
        (VGG16((3, 32, 32), 10, 2, False), True),
        (strided((3, 32, 32), 10, "layers"), False),
        (LeNet((1, 28, 28), 10), False),
        (nn.Linear(3, 2), False),
    ],
    ids=[
        "narrow shortcuts",
        "wider ones",
        "narrow blocks",
        "wider blocks",
        "no shortcuts",
        "user's",
        "compiled",
        "no convolution",
    ],
)
def test_channels_lie_innermost_where_that_is_faster(module: nn.Module, pays: bool) -> None:
    assert pointwise.channels_last_pays(module) == pays
