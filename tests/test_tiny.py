"""The kernels for tiny nets against torch, and against what is known of each of their parts."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
import torch
from small_nets import built, settings

from langevin.errors import Diverged
from langevin.systems.networks.kernels import tiny_kernels, tiny_rows, tiny_vectors
from langevin.systems.networks.kernels.shuffling import orders
from langevin.systems.networks.replicas import tiny
from langevin.systems.networks.replicas.steppers import ReplicaSteppers
from langevin.systems.networks.replicas.tiny import TinyReplicas

LJAT = {"name": "ljat", "points": 400, "train": 70, "test": 50}
IMAGES = {"name": "synthetic", "train": 64, "test": 32}
NETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tanh": ({"name": "mlp", "widths": [4, 4, 4]}, LJAT),
    "relu": ({"name": "mlp", "widths": [5, 7], "activation": "relu"}, LJAT),
    "chain": ({"name": "mlp", "widths": [1, 1, 1]}, LJAT),
    "logistic": ({"name": "mlp", "widths": []}, LJAT),
    "three inputs": ({"name": "mlp", "widths": [10]}, {**LJAT, "distances": 3, "scaling": "standard"}),
    "images": ({"name": "mlp", "widths": [5, 5, 5]}, IMAGES),
    "wider": ({"name": "mlp", "widths": [17, 9, 13], "activation": "relu"}, IMAGES),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"weight_decay": 1e-4, "batches": "iid"},
    {"batches": "full"},
    {"batch_size": 1},
    {"batch_size": 37},
]


def network_of(net: str, threads: int = 2, replicas: int = 3, **dynamics: Any) -> tuple[Any, Any]:
    system, data = NETS[net]
    keys = {"learning_rate": 0.1, **dynamics}
    return built(settings(system, data, replicas, min(replicas, 2), **keys), threads)


def ends(net: str, threads: int = 2, replicas: int = 3, **dynamics: Any) -> torch.Tensor:
    """Weights after 40 steps, in two calls."""
    network, noise = network_of(net, threads, replicas, **dynamics)
    assert isinstance(network.units, ReplicaSteppers if dynamics.get("backend") == "torch" else TinyReplicas)
    half = network.advance(network.initial_state(noise), 0, 17, noise)
    end: torch.Tensor = network.advance(half, 17, 40, noise).weights
    return end


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("net", NETS)
def test_steps_are_those_of_torch(net: str, options: dict[str, Any]) -> None:
    compiled, plain = (ends(net, backend=b, precision="double", **options) for b in ("numba", "torch"))
    # Forty steps of double precision arithmetic in another order.
    torch.testing.assert_close(compiled, plain, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("net", NETS)
def test_so_they_are_in_single_precision(net: str) -> None:
    compiled, plain = (ends(net, backend=backend) for backend in ("numba", "torch"))
    assert compiled.dtype == torch.float32
    # Sums of 784 numbers, forty steps: some 10² roundings of 6e-8 each.
    torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_measurements_are_those_of_torch(net: str) -> None:
    found = []
    for backend in ("numba", "torch"):
        network, noise = network_of(net, backend=backend, precision="double")
        state = network.initial_state(noise)
        found.append({**network.measure(state), **network.at_waiting(state)})
    assert found[0].keys() == found[1].keys()
    for name, values in found[0].items():
        # The error of D is a scatter of ten numbers that agree to rounding.
        np.testing.assert_allclose(values, found[1][name], rtol=1e-10, err_msg=name)


def test_segments_of_steps_join(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ends("tanh")
    monkeypatch.setattr(tiny, "INDICES", 60)
    torch.testing.assert_close(ends("tanh"), whole, rtol=0, atol=0)


def test_bits_do_not_depend_on_threads_or_company() -> None:
    one, two = (ends("tanh", threads, replicas=5) for threads in (1, 2))
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    alone = ends("tanh", replicas=1)
    torch.testing.assert_close(alone[0], one[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    "options",
    [{"batches": "persistent"}, {"temperature": 0.01}, {"backend": "torch"}, {"execution": "stacked"}],
    ids=str,
)
def test_other_steps_are_left_to_others(options: dict[str, Any]) -> None:
    network, _ = network_of("tanh", **options)
    assert isinstance(network.units, ReplicaSteppers)


def test_wide_nets_and_other_losses_are_left_to_others() -> None:
    for system in ({"name": "mlp", "widths": [tiny.NARROW + 1]}, {"name": "mlp", "loss": "mse_loss"}):
        network, _ = built(settings(system, LJAT))
        assert isinstance(network.units, ReplicaSteppers)


def test_a_divergence_names_its_step_and_replica() -> None:
    network, noise = network_of("relu", learning_rate=1e30, precision="single")
    with pytest.raises(Diverged, match=r"the loss of replica \d is not a finite number at step \d"):
        network.advance(network.initial_state(noise), 0, 40, noise)


# The parts.


@numba.njit
def _tanh(rows: np.ndarray) -> None:
    tiny_rows.tanh(rows, 0, 1)


@numba.njit
def _exp(rows: np.ndarray) -> None:
    tiny_rows.exp(rows, 0, 1)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_tanh_and_exp_to_the_last_places(kind: type) -> None:
    x = np.concatenate([np.geomspace(1e-30, 80, 5000), np.linspace(0, 3, 5000)]).astype(kind)
    for compiled, exact, given in ((_tanh, np.tanh, x), (_tanh, np.tanh, -x), (_exp, np.exp, -x)):
        found, known = given.copy(), exact(given.astype(np.longdouble))
        compiled(found[None])
        # The rational function of single precision has some ten roundings.
        places = 4 if kind is np.float32 and exact is np.tanh else 2
        error = np.max(np.abs(found - known) / np.maximum(np.abs(known), 1e-37))
        assert error < places * np.finfo(kind).eps
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf], kind)
    _tanh(special[None])
    # Without fused multiplication and addition the last place of ±1 may be one less, never one more.
    np.testing.assert_allclose(special, [0.0, -0.0, np.nan, 1.0, -1.0], rtol=np.finfo(kind).eps, atol=0)
    assert np.all(np.abs(special[3:]) <= 1)
    assert np.signbit(special[1])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("rows", "terms", "length"), [(4, 4, 16), (1, 1, 1), (7, 3, 37), (3, 50, 20), (5, 9, 8)]
)
def test_products_are_those_of_numpy(kind: type, rows: int, terms: int, length: int) -> None:
    rng = np.random.default_rng(1)
    w, x, bias = (rng.standard_normal(s).astype(kind) for s in ((rows, terms), (terms, length), rows))
    one, out, by_weight = kind(1), np.zeros((rows, length), kind), np.zeros((rows, terms), kind)
    tiny_vectors.combine(
        one,
        out.ctypes.data, length, x.ctypes.data, length, w.ctypes.data, terms, 1, bias.ctypes.data,
        rows, terms, length,
    )  # fmt: skip
    tolerance = {"rtol": 100 * np.finfo(kind).eps, "atol": 100 * np.finfo(kind).eps}
    np.testing.assert_allclose(out, w @ x + bias[:, None], **tolerance)
    tiny_vectors.dots(
        one, by_weight.ctypes.data, terms, out.ctypes.data, length, x.ctypes.data, length, rows, terms, length
    )
    np.testing.assert_allclose(by_weight, out @ x.T, **tolerance)
    # Weights across, and no bias.
    back = np.zeros((terms, length), kind)
    tiny_vectors.combine(
        one,
        back.ctypes.data, length, out.ctypes.data, length, w.ctypes.data, 1, terms, 0,
        terms, rows, length,
    )  # fmt: skip
    np.testing.assert_allclose(back, w.T @ out, **tolerance)


def test_relu_does_not_hide_what_is_not_a_number() -> None:
    h = np.array([[np.nan, -np.inf, np.inf, -1.0, 2.0]])
    tiny_rows.activate(h, 0, 1, tiny_kernels.perceptron_kernels.RELU)
    np.testing.assert_array_equal(h, [[np.nan, 0.0, np.inf, 0.0, 2.0]])


def test_every_order_is_equally_likely() -> None:
    rng, epochs = np.random.default_rng(2), 24_000
    order = orders(rng, epochs, 4)
    counts = np.unique(order @ [64, 16, 4, 1], return_counts=True)[1]
    assert counts.size == 24
    # χ² of 23 degrees of freedom exceeds 60 once in 26,000 times.
    assert np.sum((counts - 1000) ** 2 / 1000) < 60


def test_a_long_order_is_uniform_where_the_rest_of_numbers_chooses() -> None:
    rng, epochs, examples = np.random.default_rng(3), 2000, 1001
    order = orders(rng, epochs, examples)
    assert (np.sort(order, axis=1) == np.arange(examples)).all()
    places = np.argsort(order, axis=1)
    # The mean place of an example is 500 ± 6.5; of 1001 of them none is off by 5 σ in all but 6e-4 of cases.
    mean = places.mean(0)
    assert np.abs(mean - 500).max() < 5 * np.sqrt((examples**2 - 1) / 12 / epochs)
    # Neighbours, chosen by one number, are not correlated: (−1/1000) ± 1/√(2000·1000).
    x = order[:, :-1:2] - 500.0, order[:, 1::2] - 500.0
    r = np.mean(x[0] * x[1]) / ((examples**2 - 1) / 12)
    assert abs(r + 1 / (examples - 1)) < 5 / np.sqrt(x[0].size)
