"""Networks under SGD: the step, its batches, what is measured, against closed forms and naive loops."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SIGMAS, z_score
from landscapes import LandscapeAlone
from small_nets import X, Y, built, on_a_line, settings
from torch import nn
from torch.nn.utils import vector_to_parameters

from langevin.config import build
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import UserError
from langevin.systems.networks.data import batches, subsets
from langevin.systems.networks.kernels.shuffling import orders
from langevin.systems.networks.measure import measurement
from langevin.systems.networks.network import Network

MLP = {"name": "mlp", "widths": [4], "activation": "tanh"}
NORMALISED = {"name": "network", "module": "small_nets:Normalised"}


def trained(network: Network, noise: Noise, steps: int) -> Any:
    return network.advance(network.initial_state(noise), 0, steps, noise)


def batch(network: Network, position: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels of a replica's batch at a step."""
    replica, sample = (int(a[position]) for a in (network.ensemble.replica, network.ensemble.sample))
    (index,) = network.batches.draw(replica, np.empty(0, np.int8), step, step + 1, None)
    return network.train.gather(network.train.upload(network.units.rows[sample][index]))


# The step.


@pytest.mark.parametrize(
    ("execution", "backend"), [("sequential", "torch"), ("stacked", "torch"), ("sequential", "numba")]
)
@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.9}, {"weight_decay": 0.1}, {"momentum": 0.5, "weight_decay": 0.01}],
    ids=["plain", "momentum", "decay", "both"],
)
def test_the_step_is_that_of_torch_optim_sgd(
    execution: str, backend: str, options: dict[str, float], device: str
) -> None:
    if backend == "numba" and device != "cpu":
        pytest.skip("compiled for a CPU")
    keys = {"execution": execution, "backend": backend, "learning_rate": 0.1, **options}
    network, noise = built(settings(MLP, precision="double", device=device, **keys))
    end = trained(network, noise, 20)
    for position, replica in enumerate(network.ensemble.replica):
        module = network.built(replica)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, **options)
        for step in range(20):
            inputs, labels = batch(network, position, step)
            optimizer.zero_grad()
            F.cross_entropy(module(inputs), labels).backward()
            optimizer.step()
        # Twenty steps of double precision arithmetic in another order.
        torch.testing.assert_close(end.weights[position], network.layout.of(module), rtol=1e-12, atol=1e-13)


class MinusGradient(LandscapeAlone):
    """The network's force as `Langevin` sees it; kicks from the network's own streams."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def force(self, x: np.ndarray, t: float, noise: Any) -> np.ndarray:
        """Return minus the gradient on the batches of step t."""
        rows = []
        for position, weights in enumerate(x):
            probe = self.network.units.probes[position]
            probe.bind(torch.from_numpy(weights)[None])
            inputs, labels = batch(self.network, position, round(t))
            loss = F.cross_entropy(probe.module(inputs), labels)
            rows.append(self.network.layout.flat(list(torch.autograd.grad(loss, probe.parameters))))
        return -torch.stack(rows).numpy()


@pytest.mark.parametrize("temperature", [0.0, 0.01])
def test_sgd_is_the_langevin_step_at_dt_equal_to_the_learning_rate(temperature: float) -> None:
    keys = {"execution": "sequential", "backend": "torch", "temperature": temperature}
    made = settings(MLP, precision="double", **keys)
    network, noise = built(made)
    end = trained(network, noise, 10).weights.numpy()
    rule = Langevin(MinusGradient(network), temperature, network.dynamics.learning_rate)
    x = network.initial_state(noise).weights.numpy().copy()
    for step in range(10):
        x = rule.step(x, step, Kicks(network, step))
    np.testing.assert_allclose(end, x, rtol=1e-12, atol=1e-13)


class Kicks(Noise):
    """The normals that the network draws for one step."""

    def __init__(self, network: Network, step: int) -> None:
        self.network, self.step = network, step

    def normal(self, dof: int, role: str = "thermal") -> np.ndarray:
        """Return them, shape (R, dof)."""
        ensemble = self.network.ensemble
        return np.array(
            [ensemble.quenched(role, k, self.step).standard_normal(dof) for k in ensemble.replica]
        )


def test_replicas_in_one_call_are_replicas_one_by_one() -> None:
    ends = []
    for execution in ("sequential", "stacked"):
        keys = {"execution": execution, "backend": "torch", "precision": "double"}
        network, noise = built(settings(MLP, replicas=20, **keys))
        assert len(network.units.groups) == (20 if execution == "sequential" else 2)
        ends.append(trained(network, noise, 30).weights)
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-13)


def test_a_large_batch_is_the_sum_of_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for execution in ("sequential", "stacked"):
        keys = {"execution": execution, "backend": "torch", "precision": "double"}
        made = settings(MLP, batches="full", **keys)
        network, noise = built(made)
        whole = trained(network, noise, 5).weights
        with monkeypatch.context() as patch:
            patch.setattr("langevin.systems.networks.descent.training.LARGEST", 7)
            torch.testing.assert_close(trained(network, noise, 5).weights, whole, rtol=1e-12, atol=1e-13)


# Closed forms.

FLOW = X.astype(float) ** 2, X.astype(float) * Y


def moments(steps: int, rate: float, size: int, m: np.ndarray) -> tuple[float, float]:
    r"""Mean and mean square of output 1's weight w after SGD with replacement, from starts m, shape (R,).

    The mean over two outputs of the squared error has the gradient a w − b for this weight, a = ⟨x²⟩ and
    b = ⟨x y⟩ over a batch. So w' = (1 − α a) w + α b with (a, b) drawn anew each step, and

        ⟨w'⟩ = (1 − α⟨a⟩)⟨w⟩ + α⟨b⟩,
        ⟨w'²⟩ = ⟨(1 − α a)²⟩⟨w²⟩ + 2 α ⟨(1 − α a) b⟩⟨w⟩ + α²⟨b²⟩.
    """
    a, b = FLOW
    A, B = a.mean(), b.mean()
    aa, ab, bb = (
        np.mean(p * q) / size + (1 - 1 / size) * p.mean() * q.mean() for p, q in ((a, a), (a, b), (b, b))
    )
    first, second = m.mean(), np.mean(m**2)
    for _ in range(steps):
        first, second = (
            (1 - rate * A) * first + rate * B,
            (1 - 2 * rate * A + rate**2 * aa) * second + 2 * rate * (B - rate * ab) * first + rate**2 * bb,
        )
    return float(first), float(second)


@pytest.mark.parametrize("steps", [3, 60])
def test_a_linear_net_has_the_mean_and_variance_of_its_closed_form(steps: int) -> None:
    """Two z-tests over 600 replicas at 5 σ: false alarm once in 10⁶."""
    network, noise = on_a_line(600, batches="iid", learning_rate=0.4)
    start = network.initial_state(noise).weights.numpy()[:, 1]
    w = network.advance(network.initial_state(noise), 0, steps, noise).weights.numpy()[:, 1]
    first, second = moments(steps, 0.4, 2, start)
    assert abs(z_score(w, first)) < SIGMAS
    assert abs(z_score(w**2, second)) < SIGMAS


def test_drawn_without_replacement_the_variance_is_another() -> None:
    """The negative control: what the closed form says of batches with replacement fails for epochs."""
    network, noise = on_a_line(600, batches="epochs", learning_rate=0.4)
    w = trained(network, noise, 60).weights.numpy()[:, 1]
    _, second = moments(60, 0.4, 2, network.initial_state(noise).weights.numpy()[:, 1])
    assert abs(z_score(w**2, second)) > SIGMAS


def test_sgld_samples_boltzmann(device: str) -> None:
    r"""On a parabola of curvature a the stationary variance is T/(a(1 − α a/2)): Boltzmann's as α → 0.

    Full batches; 600 replicas, two z-tests at 5 σ: false alarm once in 10⁶. Noise of half the variance fails.
    """
    temperature, rate, a = 0.3, 0.2, FLOW[0].mean()
    keys = {"batches": "full", "learning_rate": rate, "temperature": temperature, "device": device}
    network, noise = on_a_line(600, **keys)
    w = trained(network, noise, 60).weights.cpu().numpy()[:, 1]
    rest = FLOW[1].mean() / a
    variance = temperature / (a * (1 - rate * a / 2))
    # What is left of the start after 60 steps.
    assert (1 - rate * a) ** 60 < 1e-5
    assert abs(z_score(w, rest)) < SIGMAS
    assert abs(z_score((w - rest) ** 2, variance)) < SIGMAS
    assert abs(z_score((w - rest) ** 2, variance / 2)) > SIGMAS


# Batches.


@pytest.mark.parametrize(("examples", "size"), [(10, 4), (10, 5), (100, 30), (7, 6), (6, 6)])
def test_epochs_use_no_example_twice(examples: int, size: int) -> None:
    source = batches.Epochs(examples, size, Ensemble.regular(2, 1, 5))
    nothing, whole = np.empty(0, np.int8), examples // size
    drawn = np.array(list(source.draw(0, nothing, 0, 40 * whole, None)))
    assert drawn.shape == (40 * whole, size)
    for epoch in drawn.reshape(40, whole * size):
        assert np.unique(epoch).size == whole * size
    other = np.array(list(source.draw(1, nothing, 0, 40 * whole, None)))
    assert (other != drawn).any()


def test_epochs_use_every_example_as_often() -> None:
    """3000 epochs of 3 × 30 of 100: χ² of who is left out, 99 degrees of freedom, at the 10⁻⁶ quantile."""
    source = batches.Epochs(100, 30, Ensemble.regular(1, 1, 5))
    epochs = source.table(0, 0, 9000).reshape(3000, 90)
    out = 3000 - np.bincount(epochs.reshape(-1), minlength=100)
    # Ten of a hundred are left out each time, without replacement.
    assert np.sum((out - 300) ** 2) / (300 * 0.9) * 99 / 100 < 182.0


def test_batches_that_fill_an_epoch_are_those_of_the_order() -> None:
    source = batches.Epochs(12, 4, Ensemble.regular(1, 1, 5))
    order = orders(Ensemble.regular(1, 1, 5).driving("batch", 0, 0), source.epochs, 12)
    np.testing.assert_array_equal(source.table(0, 2, 9).reshape(-1), order.reshape(-1)[8:36])


@pytest.mark.parametrize("kind", ["epochs", "iid", "full", "persistent"])
def test_batches_do_not_depend_on_where_a_run_was_cut(kind: str) -> None:
    source = batches.make(kind, 30, 4, 5.0, Ensemble.regular(1, 1, 5))

    def drawn(*cuts: int) -> list[np.ndarray]:
        noise = Noise(1, [0]).streams("batch")[0]
        memory, found = source.start(0, noise), []
        for first, last in zip((0, *cuts), (*cuts, 300), strict=True):
            found += list(source.draw(0, memory, first, last, noise))
        return found

    for a, b in zip(drawn(), drawn(1, 7, 256, 257), strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_with_replacement_are_uniform_and_independent() -> None:
    """χ² of 10⁴ draws over 10 examples at the 10⁻⁶ quantile, 54.9 for 9 degrees of freedom."""
    drawn = np.concatenate(
        list(
            batches.Independent(10, 5, Ensemble.regular(1, 1, 2)).draw(0, np.empty(0, np.int8), 0, 2000, None)
        )
    )
    counts = np.bincount(drawn, minlength=10)
    assert np.sum((counts - 1000) ** 2 / 1000) < 54.9
    repeats = np.mean([np.unique(b).size < 5 for b in drawn.reshape(-1, 5)])
    expected = 1 - 10 * 9 * 8 * 7 * 6 / 10**5
    assert abs(repeats - expected) < SIGMAS * math.sqrt(expected * (1 - expected) / 2000)


@pytest.mark.parametrize(("size", "persistence"), [(100, 1.0), (100, 6.0), (300, 3.0), (20, 12.0)])
def test_persistent_batches_are_the_chain_that_is_derived(size: int, persistence: float) -> None:
    """From the transition matrix, exactly: stationary fraction, mean stay τ, correlations b(1 − b) λ^k."""
    source, b = batches.Persistent(400, size, persistence), size / 400
    step = np.array([[1 - source.enters, source.enters], [source.leaves, 1 - source.leaves]])
    assert (step >= 0).all()
    stationary = np.array([1 - b, b])
    np.testing.assert_allclose(stationary @ step, stationary, atol=1e-15)
    stay = np.arange(1, 4000)
    assert np.sum(stay * (1 - source.leaves) ** (stay - 1) * source.leaves) == pytest.approx(persistence)
    for k in (1, 2, 5):
        both = stationary[1] * np.linalg.matrix_power(step, k)[1, 1]
        expected = b * (1 - b) * (1 - 1 / (persistence * (1 - b))) ** k
        assert both - b**2 == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("persistence", [1.0, 6.0])
def test_persistent_batches_have_their_size_stay_and_correlation(persistence: float) -> None:
    """⟨s⟩ = b, a mean stay of τ steps, ⟨δs(n) δs(n + k)⟩ = b(1 − b) λ^k; z-tests over 400 examples at 5 σ."""
    examples, size, steps = 400, 100, 1200
    b, decay = size / examples, 1 - 1 / (persistence * (1 - size / examples))
    source = batches.Persistent(examples, size, persistence)
    noise = np.random.default_rng(4)
    start = np.concatenate([source.start(0, noise) for _ in range(20)])
    assert abs(z_score(start, b)) < SIGMAS
    inside = np.zeros((steps, examples))
    for row, index in zip(inside, source.draw(0, source.start(0, noise), 0, steps, noise), strict=True):
        row[index] = 1
    assert abs(z_score(inside.mean(0), b)) < SIGMAS
    for k in (1, 3, 10):
        products = np.mean((inside[k:] - b) * (inside[:-k] - b), axis=0)
        assert abs(z_score(products, b * (1 - b) * decay**k)) < SIGMAS
    # Whoever is in leaves with probability 1/τ: of every example, leavings minus stays/τ is 0 on average.
    leaving = np.sum((inside[:-1] == 1) & (inside[1:] == 0), axis=0)
    unlike = leaving - inside[:-1].sum(0) / persistence
    assert (unlike == 0).all() if persistence == 1 else abs(z_score(unlike, 0.0)) < SIGMAS
    # The negative control: a chain in continuous time with a mean stay of τ, as it is seen at the steps.
    seen = (1 - b) * -math.expm1(-1 / (persistence * (1 - b)))
    assert abs(z_score(leaving - inside[:-1].sum(0) * seen, 0.0)) > SIGMAS


def test_a_persistence_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"dynamics.persistence = 2: must be ≥ 3, B/\(P − B\)"):
        built(settings(MLP, batches="persistent", batch_size=48, persistence=2.0))


def test_a_persistent_force_is_normalised_by_the_mean_size() -> None:
    network, noise = on_a_line(1, batches="persistent", batch_size=4, persistence=3.0)
    unit = network.units.steppers[0]
    network.units.load(0, network.initial_state(noise))
    w = unit.weights[0, 1].item()
    for index in ([], [2], [0, 1, 2, 3, 5, 7]):
        _, (gradient,) = unit.gradient(torch.tensor([index], dtype=torch.int64))
        expected = sum((w * X[i] - Y[i]) * X[i] for i in index) / 4
        assert gradient[1, 0].item() == pytest.approx(expected, rel=1e-6)


# Measurements.


def naive(network: Network, position: int, state: Any) -> tuple[np.ndarray, np.ndarray]:
    """Per-sample gradients on the probed examples, shape (n, M), and the indices, one example at a time."""
    module = network.built(int(network.ensemble.replica[position]))
    vector_to_parameters(state.weights[position], module.parameters())
    index = network.chosen.probed[int(network.ensemble.replica[position])].index
    rows = []
    for i in index:
        inputs, labels = network.train.gather(i[None])
        loss = network.loss.mean(module(inputs), labels)
        slope = network.layout.flat(list(torch.autograd.grad(loss, list(module.parameters()))))
        rows.append(slope.cpu().numpy())
    return np.array(rows), index.cpu().numpy()


@pytest.mark.parametrize(
    "system", [MLP, {"name": "small_net", "filters": [2, 3], "hidden": 5}], ids=["mlp", "conv"]
)
def test_gradient_noise_and_norm_are_those_of_a_loop_over_examples(
    system: dict[str, Any], device: str
) -> None:
    data = {"name": "synthetic", "like": "mnist", "train": 64, "test": 32}
    network, noise = built(settings(system, data, samples=3, precision="double", device=device))
    state = trained(network, noise, 5)
    noises, norms = network.at_waiting(state), network.measure(state)["gradient_norm"]
    for position in range(3):
        gradients, _ = naive(network, position, state)
        found = np.mean(gradients.var(axis=0, ddof=1))
        assert noises["gradient_noise"][position] == pytest.approx(found, rel=1e-10)
        parts = np.array_split(gradients, measurement.PARTS)
        each = [np.mean(p.var(axis=0, ddof=1)) for p in parts]
        # Of 64 examples 40 are measured.
        error = np.std(each, ddof=1) / math.sqrt(len(each)) * math.sqrt(1 - 40 / 64)
        assert noises["gradient_noise_error"][position] == pytest.approx(error, rel=1e-8)
        between = sum(len(p) * np.sum((p.mean(0) - gradients.mean(0)) ** 2) for p in parts) / 9
        square = np.sum(gradients.mean(0) ** 2) - between * (1 / 40 - 1 / 64)
        assert norms[position] == pytest.approx(np.linalg.norm(gradients.mean(0)), rel=1e-10)
        assert network.measure(state)["gradient_square"][position] == pytest.approx(square, rel=1e-9)


def noise_of(g: np.ndarray) -> float:
    """D from the gradients of disjoint mini-batches of 8, shape (K, M): all pairs of them."""
    return float(8 / 2 * np.mean([np.mean((a - b) ** 2) for a, b in itertools.combinations(g, 2)]))


def test_with_batch_norm_both_come_from_mini_batches(device: str) -> None:
    network, noise = built(settings(NORMALISED, precision="double", replicas=2, device=device))
    state = trained(network, noise, 5)
    before = [b.clone() for b in state.buffers]
    noises, norms = network.at_waiting(state), network.measure(state)["gradient_norm"]
    for a, b in zip(before, state.buffers, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    for position in range(2):
        probe = network.units.probes[position]
        network.units.load(position, state)
        batches = network.chosen.probed[position].batches
        assert batches.shape == (2, subsets.FEWEST // 2, 8)
        sums, pairs, errors = [], [], []
        for own in batches:
            rows = []
            for index in own:
                inputs, labels = network.train.gather(index)
                loss = F.cross_entropy(probe.module(inputs), labels)
                slope = network.layout.flat(list(torch.autograd.grad(loss, probe.parameters)))
                rows.append(slope.cpu().numpy())
            g = np.array(rows)
            sums.append(g.mean(0))
            pairs.append(noise_of(g))
            left_out = [noise_of(np.delete(g, k, axis=0)) for k in range(4)]
            errors.append(math.sqrt(3 / 4 * np.sum((left_out - np.mean(left_out)) ** 2)))
        assert noises["gradient_noise"][position] == pytest.approx(np.mean(pairs), rel=1e-10)
        error = math.hypot(*errors) / 2
        assert noises["gradient_noise_error"][position] == pytest.approx(error, rel=1e-8)
        assert norms[position] == pytest.approx(np.linalg.norm(sums[0] + sums[1]) / 2, rel=1e-8)
        square = network.measure(state)["gradient_square"][position]
        assert square == pytest.approx(sums[0] @ sums[1], rel=1e-8, abs=1e-12)


def test_losses_and_accuracies_are_those_of_a_loop(device: str) -> None:
    data = {"name": "synthetic", "train": 64, "test": 32}
    keys: dict[str, Any] = {"precision": "double", "samples": 2, "device": device}
    network, noise = built(settings({"name": "toy", "hidden": 6}, data, **keys))
    state = trained(network, noise, 5)
    measured = network.measure(state)
    for position in range(network.ensemble.size):
        module = network.built(int(network.ensemble.replica[position]))
        vector_to_parameters(state.weights[position], module.parameters())
        for names, examples, index in (
            (("energy", "train_accuracy"), network.train, network.chosen.trained[position].index),
            (("test_loss", "test_accuracy"), network.test, network.chosen.tested[position].index),
        ):
            losses, hits = [], []
            for i in index:
                inputs, labels = examples.gather(i[None])
                outputs = module(inputs)[0].detach().cpu().numpy()
                target = np.eye(10)[int(labels[0])]
                losses.append(np.mean((outputs - target) ** 2))
                hits.append(outputs.argmax() == int(labels[0]))
            assert measured[names[0]][position] == pytest.approx(np.mean(losses), rel=1e-12)
            assert measured[names[1]][position] == np.mean(hits)


def test_losses_with_batch_norm_are_those_of_the_running_statistics(device: str) -> None:
    network, noise = built(settings(NORMALISED, precision="double", replicas=2, device=device))
    state = trained(network, noise, 20)
    measured = network.measure(state)
    for position in range(2):
        module = network.built(int(network.ensemble.replica[position]))
        vector_to_parameters(state.weights[position], module.parameters())
        for own, saved in zip(module.buffers(), state.buffers, strict=True):
            own.copy_(saved[position])
        inputs, labels = network.train.gather(network.chosen.trained[position].index)
        in_training = F.cross_entropy(module.train()(inputs), labels).item()
        for own, saved in zip(module.buffers(), state.buffers, strict=True):
            own.copy_(saved[position])
        expected = F.cross_entropy(module.eval()(inputs), labels).item()
        assert measured["energy"][position] == pytest.approx(expected, rel=1e-12)
        # The negative control, beyond all rounding: statistics of the examples themselves give another loss.
        assert abs(in_training - expected) > 1e-6 * expected


def test_the_msd_of_single_precision_weights_keeps_its_digits() -> None:
    """Weights of order one that move by 10⁻⁶: |a|² + |b|² − 2 a·b in single precision would give noise."""
    network, noise = built(settings({"name": "fully_connected", "hidden": 20}))
    state = network.initial_state(noise)
    step = 1e-6 * torch.randn(state.weights.shape, generator=torch.Generator().manual_seed(0))
    moved = type(state)(state.weights + step, None, [], state.memory)
    found = network.compare(network.reference(state), moved)
    for position in range(3):
        a, b = (s.weights[position].numpy().astype(float) for s in (state, moved))
        expected = sum((p - q) ** 2 for p, q in zip(a.tolist(), b.tolist(), strict=True)) / a.size
        # approx would allow 1e-12 as well, which is all of it.
        assert found["msd"][position] == pytest.approx(expected, rel=1e-12, abs=0)
        a32, b32 = a.astype(np.float32), b.astype(np.float32)
        gram = (a32 @ a32 + b32 @ b32 - 2 * (a32 @ b32)) / a.size
        assert abs(gram - expected) > 0.1 * expected


# Architectures.


@pytest.mark.parametrize(
    ("system", "like", "weights"),
    [
        ({"name": "toy"}, "cifar10", 3072 * 10**4 + 10**4 + 10**5 + 10),
        ({"name": "toy", "hidden": 10}, "cifar10", 30840),
        ({"name": "fully_connected"}, "mnist", 89610),
        ({"name": "small_net"}, "cifar10", 56890),
        ({"name": "lenet"}, "mnist", 61706),
        ({"name": "resnet18"}, "cifar100", 11220132),
        ({"name": "mlp", "widths": [5, 5, 5]}, "mnist", 3925 + 30 + 30 + 60),
    ],
    ids=lambda v: v["name"] if isinstance(v, dict) else "",
)
def test_the_nets_have_their_number_of_weights(system: dict[str, Any], like: str, weights: int) -> None:
    data = {"name": "synthetic", "like": like, "train": 16, "test": 4}
    network, _ = built(settings(system, data, replicas=1))
    assert network.dof == weights


def test_a_start_is_pytorchs_own() -> None:
    network, noise = built(settings({"name": "lenet"}))
    state = network.initial_state(noise)
    seed = int(network.ensemble.quenched("start", 1).integers(2**63))
    torch.manual_seed(seed)
    layers = [
        nn.Conv2d(1, 6, 5),
        nn.Conv2d(6, 16, 5),
        nn.Linear(400, 120),
        nn.Linear(120, 84),
        nn.Linear(84, 10),
    ]
    expected = torch.cat([p.detach().reshape(-1) for layer in layers for p in layer.parameters()])
    torch.testing.assert_close(state.weights[1], expected, rtol=0, atol=0)


@pytest.mark.parametrize("execution", ["stacked", "auto"])
@pytest.mark.parametrize(
    "options",
    [{"temperature": 0.1}, {"batches": "iid"}, {"batches": "persistent"}],
    ids=lambda o: next(iter(o)),
)
def test_a_replica_sees_its_own_data_and_noise_in_any_company(
    options: dict[str, Any], execution: str
) -> None:
    """Replicas of two samples, in one call or alone, and without the others."""
    keys = {"execution": execution, "precision": "double", **options}
    made = settings(MLP, replicas=4, samples=2, **keys)
    network, noise = built(made)
    whole = trained(network, noise, 20).weights
    for keep in ([3], [2, 1]):
        ensemble = network.ensemble.subset(np.array(keep))
        part = build.build(made, ensemble)
        found = trained(part, Noise(ensemble.seed, ensemble.replica), 20).weights  # type: ignore[arg-type]
        torch.testing.assert_close(found, whole[keep], rtol=1e-12, atol=1e-13)
