"""The compiled steps of fully connected nets against torch, and which nets have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_nets import built, settings
from threadpoolctl import threadpool_info
from torch import nn

from langevin.errors import UserError
from langevin.systems.networks.descent import perceptron
from langevin.systems.networks.descent.perceptron import Compiled, Shape, shape_of
from langevin.systems.networks.kernels import perceptron_kernels
from langevin.systems.networks.nets.losses import Loss
from langevin.systems.networks.replicas import tiny
from langevin.systems.networks.replicas.steppers import ReplicaSteppers

NETS = {
    "relu": {"name": "mlp", "widths": [7, 5], "activation": "relu"},
    "tanh": {"name": "mlp", "widths": [6, 4, 3], "activation": "tanh"},
    "sigmoid": {"name": "toy", "hidden": 10},
    "squared": {"name": "mlp", "widths": [5], "loss": "mse_loss"},
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"weight_decay": 0.1, "temperature": 0.01},
    {"batches": "iid"},
    {"batches": "persistent"},
    # Batches of one example on average, many of them empty, so that the decay acts alone. At a rate of 0.1
    # the squared error would amplify a difference of weights 10⁴ times in forty steps, rounding included.
    {"batches": "persistent", "batch_size": 1, "weight_decay": 0.1, "momentum": 0.5, "learning_rate": 0.02},
    {"batches": "full"},
    {"optimiser": "adam", "learning_rate": 0.01},
    {"optimiser": "adam", "learning_rate": 0.01, "weight_decay": 0.1, "betas": [0.5, 0.9]},
]


def ends(system: dict[str, Any], threads: int = 2, **dynamics: Any) -> torch.Tensor:
    """Weights after 40 steps."""
    network, noise = built(settings(system, **{"learning_rate": 0.1, **dynamics}), threads)
    assert isinstance(network.units, ReplicaSteppers)
    assert isinstance(network.units.steppers[0], Compiled) == (dynamics.get("backend", "auto") != "torch")
    return network.advance(network.initial_state(noise), 0, 40, noise).weights


@pytest.fixture(autouse=True)
def no_net_is_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny nets have kernels of their own (test_tiny)."""
    monkeypatch.setattr(tiny, "NARROW", 0)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("net", NETS)
def test_compiled_steps_are_those_of_torch(net: str, options: dict[str, Any]) -> None:
    compiled, plain = (
        ends(NETS[net], backend=backend, precision="double", **options) for backend in ("numba", "torch")
    )
    # Forty steps of double precision arithmetic in another order.
    torch.testing.assert_close(compiled, plain, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("net", NETS)
def test_so_they_are_in_single_precision(net: str) -> None:
    compiled, plain = (ends(NETS[net], backend=backend) for backend in ("numba", "torch"))
    assert compiled.dtype == torch.float32
    # Sums of 784 numbers, forty steps: some 10² roundings of 6e-8 each.
    torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-5)


def test_bits_do_not_depend_on_threads_or_company() -> None:
    one, two = (ends(NETS["relu"], threads) for threads in (1, 2))
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    alone = ends(NETS["relu"], replicas=1)
    torch.testing.assert_close(alone[0], one[0], rtol=0, atol=0)


def test_blas_has_its_threads_back() -> None:
    before = [library["num_threads"] for library in threadpool_info()]
    ends(NETS["relu"])
    assert [library["num_threads"] for library in threadpool_info()][: len(before)] == before


def test_relu_does_not_hide_what_is_not_a_number() -> None:
    h = np.array([[np.nan, -np.inf, np.inf, -1.0, 2.0]])
    perceptron_kernels._activate(h, np.zeros(5), perceptron_kernels.RELU)
    np.testing.assert_array_equal(h, [[np.nan, 0.0, np.inf, 0.0, 2.0]])


SQUARE = nn.Linear(4, 4)


class Doubled(nn.Sequential):
    """A sequence with a way of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return twice the outputs."""
        return 2 * super().forward(x)


def layers(*parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), *parts)


def test_which_nets_are_compiled() -> None:
    cross, squared = Loss("cross_entropy", 2), Loss("mse_loss", 2)
    first, second = nn.Linear(4, 3), nn.Linear(3, 2)
    assert shape_of(layers(first, nn.Tanh(), second), cross) == Shape(
        (4, 3, 2), "tanh", "none", "cross_entropy"
    )
    assert shape_of(layers(first, nn.ReLU(), second, nn.Sigmoid()), squared) == Shape(
        (4, 3, 2), "relu", "sigmoid", "mse_loss"
    )
    assert shape_of(layers(first), cross) == Shape((4, 3), "relu", "none", "cross_entropy")


@pytest.mark.parametrize(
    ("module", "loss"),
    [
        (nn.Linear(4, 2), "cross_entropy"),
        (nn.Sequential(nn.Linear(4, 2)), "cross_entropy"),
        (layers(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)), "cross_entropy"),
        (layers(nn.Linear(4, 3), nn.Linear(3, 2)), "cross_entropy"),
        (layers(nn.Linear(4, 3), nn.ReLU()), "cross_entropy"),
        (layers(nn.Linear(4, 2, bias=False)), "cross_entropy"),
        (layers(nn.Linear(4, 2)).requires_grad_(False), "cross_entropy"),
        (layers(nn.Linear(4, 2), nn.Sigmoid()), "cross_entropy"),
        (layers(nn.Linear(4, 2)), "multi_margin_loss"),
        (
            layers(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)),
            "cross_entropy",
        ),
        (layers(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)), "cross_entropy"),
        (layers(), "cross_entropy"),
        (nn.Sequential(), "cross_entropy"),
        # One layer twice has its weights once.
        (layers(SQUARE, nn.ReLU(), SQUARE), "cross_entropy"),
        (Doubled(nn.Flatten(), nn.Linear(4, 2)), "cross_entropy"),
    ],
    ids=str,
)
def test_all_others_are_not(module: nn.Module, loss: str) -> None:
    assert shape_of(module, Loss(loss, 2)) is None


def test_large_nets_and_large_batches_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptron, "MOST", 100)
    network, _ = built(settings(NETS["relu"]))
    assert isinstance(network.units, ReplicaSteppers)
    assert not isinstance(network.units.steppers[0], Compiled)


def test_asking_for_what_cannot_be() -> None:
    with pytest.raises(UserError, match=r'dynamics.backend = "numba": allowed: "auto" or "torch" for Small'):
        built(settings({"name": "small_net"}, {"name": "synthetic", "like": "cifar10"}, backend="numba"))
    with pytest.raises(UserError, match=r'dynamics.execution = "stacked": allowed: "auto", "sequential"'):
        settings(NETS["relu"], backend="numba", execution="stacked")
    with pytest.raises(UserError, match=r"dynamics.backend = .*one of"):
        settings(NETS["relu"], backend="jax")
