"""Parameters that differ in rate and decay: the step of torch's groups, what is sampled, curves, faults."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from small_nets import X, Y, built, settings
from torch import Tensor, nn
from torch.func import functional_call

import langevin
from langevin.analysis import connect
from langevin.commands.cli import main
from langevin.config import build
from langevin.config.keys import toml
from langevin.config.toml_text import parse_assignment
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import ConfigError, UserError
from langevin.observables import training
from langevin.systems.curves import geometry
from langevin.systems.networks.curve import NetworkCurve
from langevin.systems.networks.descent.bends import OnLength
from langevin.systems.networks.descent.parameter_groups import unused
from langevin.systems.networks.descent.perceptron import Compiled
from langevin.systems.networks.descent.training import Stacked, Stepper
from langevin.systems.networks.network import Network

#: Bounds of z-tests: a false alarm in 10⁶.
SIGMAS = 5.0

FACTORS = {"norm.*": 0.3, "head.*": 0.1, "*.bias": 2.0, "still.weight": 0.0}


class Mixed(nn.Module):
    """Linear layers, a normalisation over two axes, a scale of no axis; some parameters stand aside."""

    def __init__(self, shape: tuple[int, ...], classes: int, batched: bool = False) -> None:
        super().__init__()
        size = int(np.prod(shape))
        self.first = nn.Linear(size, 6)
        self.norm = nn.LayerNorm((2, 3))
        self.batched = nn.BatchNorm1d(6) if batched else nn.Identity()
        self.still = nn.Linear(6, 6)
        self.unused = nn.Linear(6, 5)
        self.detached = nn.Parameter(torch.ones(6, 1))
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x.flatten(-3)))
        x = self.norm(x.unflatten(-1, (2, 3))).flatten(-2)
        x = torch.tanh(self.still(self.batched(x))) + self.detached.detach().mean()
        found: Tensor = self.head(self.scale * x)
        return found


def unbatched(shape: tuple[int, ...], classes: int) -> nn.Module:
    return Mixed(shape, classes)


def batched(shape: tuple[int, ...], classes: int) -> nn.Module:
    return Mixed(shape, classes, batched=True)


def mixed(module: str = "unbatched", **dynamics: Any) -> tuple[Network, Noise]:
    system = {"name": "network", "module": f"test_parameter_groups:{module}"}
    keys = {
        "precision": "double",
        "learning_rate": 0.2,
        "momentum": 0.8,
        "weight_decay": 0.05,
        "decay": "weights",
        "rate_factors": FACTORS,
        **dynamics,
    }
    return built(settings(system, {"name": "synthetic", "train": 64, "test": 32, "like": "mnist"}, **keys))


def by_torch(
    network: Network, replica: int, steps: int, decay: str, factors: dict[str, float], make: Any = None
) -> Tensor:
    """Return the weights after steps of torch's optimiser, SGD by default, a group for each parameter."""
    module, rule = network.built(replica), network.problem.rule
    make = make or partial(torch.optim.SGD, momentum=rule.optimiser.kernel_momentum)
    groups = []
    for name, p in module.named_parameters():
        plain = p.ndim > 1 and not name.startswith("norm.")
        groups.append(
            {
                "params": [p],
                "lr": rule.schedule.learning_rate
                * math.prod(f for pattern, f in factors.items() if matches(name, pattern)),
                "weight_decay": rule.weight_decay if plain or decay == "all" else 0.0,
            }
        )
    descent = make(groups, lr=1.0)
    for step in range(steps):
        chosen = network.batches.table(replica, step, step + 1)[0].astype(np.int64)
        inputs, labels = network.train.gather(torch.from_numpy(network._rows[0][chosen]))
        descent.zero_grad()
        nn.functional.cross_entropy(module(inputs), labels).backward()
        descent.step()
    return network.layout.of(module)


def matches(name: str, pattern: str) -> bool:
    """The patterns of these tests, without fnmatch."""
    head, _, tail = pattern.partition("*")
    return name.startswith(head) and name.endswith(tail) if "*" in pattern else name == pattern


# The step.


@pytest.mark.parametrize(
    ("module", "execution"), [("unbatched", "sequential"), ("unbatched", "stacked"), ("batched", "auto")]
)
@pytest.mark.parametrize("decay", ["all", "weights"])
def test_fifty_steps_are_those_of_torch_with_groups(module: str, execution: str, decay: str) -> None:
    network, noise = mixed(module, execution=execution, decay=decay)
    assert isinstance(network.units.steppers[0], Stacked) == (execution == "stacked")
    start = network.initial_state(noise)
    end = network.advance(start, 0, 50, noise)
    for replica in range(3):
        expected = by_torch(network, replica, 50, decay, FACTORS)
        # Sums in another order, fifty times.
        torch.testing.assert_close(end.weights[replica], expected, rtol=0, atol=1e-12)
    for block in network.layout.blocks:
        moved = (end.weights - start.weights)[:, block.start : block.stop].abs().max()
        # Those that the loss does not use stand still, too, decay or not.
        stands = block.name.startswith("unused.") or block.name in ("detached", "still.weight")
        assert (moved == 0) == stands, block.name


@pytest.mark.parametrize("keys", [{}, {"rate_factors": {"*": 1.0}}])
def test_what_the_loss_does_not_use_is_left_alone_without_groups_too(keys: dict[str, Any]) -> None:
    network, noise = mixed(decay="all", **{"rate_factors": {}, **keys})
    end = network.advance(network.initial_state(noise), 0, 50, noise)
    torch.testing.assert_close(end.weights[0], by_torch(network, 0, 50, "all", {}), rtol=0, atol=1e-12)
    assert network.attributes()["gradient_noise"]["unused_by_loss"] == "detached, unused.weight, unused.bias"
    # All that is used descends at one rate.
    assert network.attributes()["gradient_noise"]["learning_rate"] == 0.2


class Routed(nn.Module):
    """A batch goes one of two ways; what is looked at goes the first."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.ways = nn.ModuleList(nn.Linear(int(np.prod(shape)), classes) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.ways[int(self.training and x.mean() > 0)](x.flatten(1))
        return found


def test_what_some_batches_do_not_use_rests_for_these() -> None:
    """No decay, and no velocity that goes on: thirty steps of torch's SGD, both ways taken."""
    system = {"name": "network", "module": "test_parameter_groups:Routed"}
    keys = {"precision": "double", "learning_rate": 0.05, "momentum": 0.8, "weight_decay": 0.05}
    data = {"name": "test_network_hessian:Cloud", "count": 64}
    network, noise = built(settings(system, data, **keys, execution="sequential", batch_size=1))
    module = network.built(0)
    descent = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.8, weight_decay=0.05)
    taken = set()
    for step in range(30):
        chosen = network.batches.table(0, step, step + 1)[0].astype(np.int64)
        inputs, labels = network.train.gather(torch.from_numpy(network._rows[0][chosen]))
        taken.add(bool(inputs.mean() > 0))
        descent.zero_grad()
        nn.functional.cross_entropy(module(inputs), labels).backward()
        descent.step()
    end = network.advance(network.initial_state(noise), 0, 30, noise)
    assert len(taken) == 2
    torch.testing.assert_close(end.weights[0], network.layout.of(module), rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", ["noise", "field"])
def test_the_unused_answer_as_if_free_whatever_measures_it(way: str) -> None:
    """χ = α n/M Σ over unused weights: a force moves them, and they do not decay."""
    record = {"response": True, "response_from": way, "waiting_times": [2], "lags": [4], "times": [0]}
    system = {"name": "network", "module": "test_parameter_groups:idling", "loss": "mse_loss"}
    keys = {"precision": "double", "batches": "full", "batch_size": 2, "learning_rate": 0.2, "t_max": 6}
    keys |= {"temperature": 0.3, "weight_decay": 2.0}
    network, noise = built(settings(system, {"name": "small_nets:Line"}, 2, record=record, **keys))
    early = network.advance(network.initial_state(noise), 0, 2, noise)
    kept = network.reference(early)
    found = network.compare_at(kept, network.advance(early, 2, 6, noise), 4.0)["integrated_response"]
    # 2000 idle weights of 2002: one of the two estimates scatters by √(2/2000), here five times that.
    np.testing.assert_allclose(found, 0.2 * 4, rtol=1e-9 + 2e-3 if way == "field" else 0.16)


class Idling(nn.Module):
    """Two weights that the loss knows, and two thousand that it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.idle = nn.Linear(1, 2, bias=False), nn.Linear(1000, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.own(x)
        return found


def idling() -> nn.Module:
    return Idling()


def test_unused_parameters_are_found_and_nothing_is_left_behind() -> None:
    network, _ = mixed("batched")
    module = network.built(0)
    before = [b.clone() for b in module.buffers()]
    inputs, labels = network.train.gather(torch.arange(4))
    assert unused(module, network.loss, inputs, labels) == ["detached", "unused.weight", "unused.bias"]
    assert all(torch.equal(a, b) for a, b in zip(before, module.buffers(), strict=True))
    assert all(p.grad is None for p in module.parameters())


def test_rates_that_are_tensors_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a captured step reads them."""
    changing = {"schedule": "triangular", "cycle": 10, "lowest_learning_rate": 0.01}
    network, noise = mixed(**changing)
    plain = network.advance(network.initial_state(noise), 0, 25, noise).weights
    monkeypatch.setattr(Stepper, "each", lambda unit, rates: list(torch.from_numpy(rates).unbind()))
    found = network.advance(network.initial_state(noise), 0, 25, noise).weights
    # Another rounding of α v, for twenty-five steps.
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-13)


@pytest.mark.gpu
@pytest.mark.parametrize("temperature", [0.0, 0.01])
def test_a_captured_step_has_the_same_groups(temperature: float) -> None:
    ends = []
    for capture in (True, False):
        keys = {"device": "cuda", "cuda_graph": capture, "deterministic": True, "temperature": temperature}
        network, noise = mixed(**keys, momentum=0.0 if temperature else 0.5, execution="sequential")
        ends.append(network.advance(network.initial_state(noise), 0, 25, noise).weights)
    assert torch.equal(*ends)


def test_groups_that_change_nothing_are_none() -> None:
    """Without weight decay nothing decays: the step, and its kernels, are those of every net."""
    net = {"name": "fully_connected", "hidden": 6}
    plain, noise = built(settings(net, learning_rate=0.1, momentum=0.5))
    same, _ = built(settings(net, learning_rate=0.1, momentum=0.5, decay="weights", rate_factors={"*": 1}))
    assert same.problem.rule.groups is None and same.compiled is not None
    ends = [n.advance(n.initial_state(noise), 0, 9, noise).weights for n in (plain, same)]
    assert torch.equal(*ends)


def test_compiled_steps_know_no_groups() -> None:
    net = {"name": "mlp", "widths": [5], "activation": "relu"}
    keys: dict[str, Any] = {"precision": "double", "weight_decay": 0.1, "decay": "weights"}
    network, noise = built(settings(net, learning_rate=0.1, **keys))
    assert network.compiled is None
    assert not any(isinstance(p, Compiled) for p in network.units.probes)
    with pytest.raises(UserError, match=r'dynamics\.backend = "numba": allowed: "auto" or "torch" with par'):
        built(settings(net, backend="numba", **keys))
    # Compiled, with λ for all, it is another step.
    whole, _ = built(settings(net, learning_rate=0.1, backend="numba", **{**keys, "decay": "all"}))
    bias = network.layout.blocks[1]
    a, b = (
        n.advance(n.initial_state(noise), 0, 20, noise).weights[:, bias.start : bias.stop]
        for n in (network, whole)
    )
    assert (a - b).abs().max() > 1e-3


# At a temperature.


class Pair(nn.Module):
    """Two weights for two outputs, each a tensor of its own: two parabolas of the same curvature."""

    def __init__(self) -> None:
        super().__init__()
        self.slow, self.fast = (nn.Parameter(torch.zeros(1, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x * self.slow, x * self.fast], dim=-1)


#: Curvature of the mean over both outputs of the squared error, for each weight.
CURVATURE = float(np.mean(X.astype(float) ** 2))
RESTS = np.array([np.mean(X * (k == Y)) / np.mean(X**2) for k in (0, 1)], dtype=float)


def pair(replicas: int = 250, **dynamics: Any) -> tuple[Network, Noise]:
    system = {"name": "network", "module": "test_parameter_groups:Pair", "loss": "mse_loss"}
    record = dynamics.pop("record", None)
    keys = {"precision": "double", "batches": "full", "batch_size": 2, "learning_rate": 0.2, **dynamics}
    return built(settings(system, {"name": "small_nets:Line"}, replicas, record=record, **keys))


def test_every_group_samples_the_same_distribution() -> None:
    r"""After 40 steps, of which 3 make it decay by e, the variance is T/(a(1 − α f a/2)).

    250 replicas, two weights, and means of 0: four z-tests at 5 σ, a false alarm once in 4·10⁵. Noise of one
    α for both weights has a quarter of the variance for the faster one, and fails.
    """
    temperature, decay, factor = 0.3, 0.4, 4.0
    keys = {"temperature": temperature, "weight_decay": decay, "rate_factors": {"fast": factor}}
    network, noise = pair(**keys)
    w = network.advance(network.initial_state(noise), 0, 40, noise).weights.numpy()
    a = CURVATURE + decay
    for k, f in enumerate((1.0, factor)):
        around = w[:, k] - CURVATURE / a * RESTS[k]
        variance = temperature / (a * (1 - 0.2 * f * a / 2))
        assert abs(around.mean()) < SIGMAS * math.sqrt(variance / len(w))
        ratio = np.mean(around**2) / variance - 1
        assert abs(ratio) < SIGMAS * math.sqrt(2 / len(w))
        if f > 1:
            assert abs(np.mean(around**2) / (variance / f) - 1) > SIGMAS * math.sqrt(2 / len(w))


@pytest.mark.parametrize("way", ["noise", "field"])
def test_responses_hold_for_every_mobility(way: str) -> None:
    r"""χ = (1/M) Σ_i (1 − (1 − α f_i a)^n)/a on parabolas of curvature a, whatever the factors.

    From a field it is exact. From the noise the mean over 250 replicas is tested at 5 σ of its own scatter: a
    false alarm once in 2·10⁶. One α for both weights is off by more.
    """
    record = {"response": True, "response_from": way, "waiting_times": [30], "lags": [4], "times": [0]}
    keys = {"temperature": 0.3, "rate_factors": {"fast": 4.0}, "t_max": 34, "record": record}
    network, noise = pair(250 if way == "noise" else 2, **keys)
    early = network.advance(network.initial_state(noise), 0, 30, noise)
    kept = network.reference(early)
    late = network.advance(early, 30, 34, noise)
    found = network.compare_at(kept, late, 4.0)["integrated_response"]
    exact = np.mean([(1 - (1 - 0.2 * f * CURVATURE) ** 4) / CURVATURE for f in (1.0, 4.0)])
    if way == "field":
        np.testing.assert_allclose(found, exact, rtol=1e-9)
    else:
        error = found.std(ddof=1) / math.sqrt(len(found))
        assert abs(found.mean() - exact) < SIGMAS * error
        assert error < 0.1 * exact


# Curves.


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a result file of four replicas that were trained with groups."""
    path = tmp_path_factory.mktemp("ends") / "ends.nc"
    given: dict[str, Any] = {
        "system": {"name": "network", "module": "test_parameter_groups:unbatched"},
        "data": {"name": "synthetic", "train": 48, "test": 24, "like": "mnist"},
        "dynamics": {
            "t_max": 20,
            "batch_size": 8,
            "learning_rate": 0.05,
            "momentum": 0.9,
            "weight_decay": 0.2,
            "decay": "weights",
            "rate_factors": {"head.*": 0.5, "*.bias": 3},
        },
        "ensemble": {"replicas": 4, "seed": 3},
        "record": {"times": [20], "waiting_times": [], "lags": [], "snapshots": [20]},
        "output": {"path": str(path), "figure": False},
    }
    langevin.run(given).close()
    return path


def curve(ends: Path, **overrides: Any) -> tuple[NetworkCurve, Noise]:
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    fixed = {"ensemble.replicas": 1, "dynamics.precision": "double", "record.positions": 5}
    made = connect.settings(ends, overrides={**fixed, **dotted})
    system = build.build(made, Ensemble.regular(1, 1, 3, threads=1))
    assert isinstance(system, NetworkCurve)
    return system, Noise(3, [0])


def shares(network: Network) -> tuple[Tensor, Tensor]:
    """Return the factor, and whether it decays, of every weight, shape (M,) each, by hand."""
    factors, decays = torch.ones(network.dof).double(), torch.zeros(network.dof).double()
    for block in network.layout.blocks:
        part = slice(block.start, block.stop)
        factors[part] *= (0.5 if block.name.startswith("head.") else 1) * (
            3 if block.name.endswith(".bias") else 1
        )
        decays[part] = block.name in ("first.weight", "still.weight", "head.weight")
    return factors, decays


def loss_at(system: NetworkCurve, x: Tensor, index: Tensor) -> Tensor:
    network = system.network
    inputs, labels = network.train.gather(index)
    named = dict(zip(network.layout.names, network.layout.views(x), strict=True))
    outputs = functional_call(network.modules[0], named, (inputs,))
    _, decays = shares(network)
    return network.loss.mean(outputs, labels) + network.problem.rule.weight_decay / 2 * torch.sum(
        decays * x**2
    )


def test_bends_of_a_curve_decay_and_descend_by_groups(ends: Path) -> None:
    """Twelve steps by autograd alone; momentum, and a decay of φ in the tensors that decay."""
    system, noise = curve(ends, system__bends=2)
    network, source = system.network, system.units.bends
    assert source is not None and network.problem.rule.weight_decay == 0.2
    theta = system.initial_state(noise).weights.clone().requires_grad_()
    factors, _ = shares(network)
    velocity = torch.zeros_like(theta)
    for step in range(12):
        chosen = network.batches.table(0, step, step + 1)[0].astype(np.int64)
        t = source.positions(0, step, step + 1)[0]
        w = torch.from_numpy(geometry.weights(system.kind, t, 2))[0]
        phi = w @ torch.cat([system.start, theta.view(2, -1), system.end])
        (slope,) = torch.autograd.grad(
            loss_at(system, phi, torch.from_numpy(network._rows[0][chosen])), theta
        )
        velocity = 0.9 * velocity + slope
        rate = float(network.problem.rule.schedule.rates(step))
        theta = (theta - rate * factors.repeat(2) * velocity).detach().requires_grad_()
    end = system.advance(system.initial_state(noise), 0, 12, noise)
    assert (end.weights - system.initial_state(noise).weights).abs().max() > 1e-3
    torch.testing.assert_close(end.weights, theta.detach(), rtol=0, atol=1e-11)


def test_along_the_curve_the_energy_holds_the_decay_of_its_groups(ends: Path) -> None:
    """The part of a step along the segment is that of two energies; decay of all tensors is another."""
    full = {"dynamics__batches": "full", "dynamics__momentum": 0.0, "dynamics__schedule": "constant"}
    system, noise = curve(ends, system__loss="uniform_length", system__curve="chain", **full)
    unit = system.units.steppers[0]
    assert isinstance(unit, OnLength)
    start = system.initial_state(noise).weights
    index = torch.from_numpy(system.network._rows[0])
    places = np.array([0.2, 0.9])
    moved = start.clone()
    unit.bind(moved)
    unit.step(torch.cat([index, torch.from_numpy(places.view(np.int64))])[None], 1.0)
    theta = start.clone().requires_grad_()
    control = torch.cat([system.start, theta, system.end])
    steps = torch.diff(control, dim=0)
    far = torch.linalg.vector_norm(steps, dim=1)
    speeds, rho = 2 * far, 2 * far / far.sum()
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)
    losses, total = [], torch.zeros_like(theta)
    for k, t in enumerate(places):
        w = torch.from_numpy(geometry.weights("chain", np.array(t), 1))
        point = w @ control
        loss = loss_at(system, point, index)
        (slope,) = torch.autograd.grad(loss, point, retain_graph=True)
        losses.append(loss.detach())
        total = total + 0.5 * rho[k] * w[1] * slope
    across = signs[:, None] * 2 * 2 * steps / speeds[:, None] ** 2
    total = total + 0.5 * rho[0] * rho[1] * (losses[0] - losses[1]) * (across[0] - across[1])
    factors, _ = shares(system.network)
    torch.testing.assert_close(start - moved, (factors * total).detach(), rtol=0, atol=1e-9)


def test_a_band_moves_by_groups(ends: Path) -> None:
    """Tangents come from energies with the decay of those that decay, by hand for one pivot."""
    full = {"dynamics__batches": "full", "dynamics__momentum": 0.0, "dynamics__schedule": "constant"}
    keys = {"system__curve": "band", "system__bends": 1, "dynamics__learning_rate": 0.02}
    system, noise = curve(ends, **keys, **full)
    start = system.initial_state(noise)
    end = system.advance(start, 0, 1, noise).weights
    index = torch.from_numpy(system.network._rows[0])
    points = [system.start[0], start.weights[0].clone().requires_grad_(), system.end[0]]
    losses = [loss_at(system, p, index) for p in points]
    (slope,) = torch.autograd.grad(losses[1], points[1])
    energies = [float(loss.detach()) for loss in losses]
    steps = torch.diff(torch.stack(points), dim=0).detach()
    from langevin.systems.curves.band import shares as parts

    forward, backward = (float(s[0, 0]) for s in parts(np.array([energies])))
    tangent = nn.functional.normalize(forward * steps[1] + backward * steps[0], dim=0)
    lengths = torch.linalg.vector_norm(steps, dim=1)
    force = slope - (slope @ tangent + lengths[1] - lengths[0]) * tangent
    factors, _ = shares(system.network)
    torch.testing.assert_close(start.weights[0] - end[0], 0.02 * factors * force, rtol=0, atol=1e-12)


# The file, and faults.


def test_the_file_says_the_groups_and_takes_no_single_rate_for_granted() -> None:
    network, _ = mixed()
    given = settings(
        {"name": "network", "module": "test_parameter_groups:unbatched"},
        {"name": "synthetic", "train": 64, "test": 32, "like": "mnist"},
        record={"waiting_times": [0, 4], "lags": [1, 2]},
        rate_factors=FACTORS,
        weight_decay=0.1,
        decay="weights",
    ).given
    found = langevin.run(given)
    about = found["gradient_noise"].attrs
    assert "learning_rate" not in about and about["base_learning_rate"] == 0.01
    assert "head.bias: 0.2" in about["rate_factors"] and "still.weight: 0" in about["rate_factors"]
    assert about["without_decay"].startswith("scale, first.bias, norm.weight, norm.bias, still.bias")
    assert about["unused_by_loss"] == "detached, unused.weight, unused.bias"
    assert "base rate" in found["scaled_lag"].attrs["comment"]
    judged = training.collapse(found, t2=1.0)["prefactor_ratio"]
    assert np.isnan(judged).all() and judged.attrs["reason"] == "parameters differ in their learning rates"
    assert network.dof == found["msd"].attrs["dof"]


def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_names() -> None:
    message = (
        r'dynamics\.rate_factors: "heads\.\*" matches none of the 12 par.*nearest: head\.(weight|bias), '
    )
    with pytest.raises(UserError, match=message):
        mixed(rate_factors={"heads.*": 0.1})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"head.*": -1}, r'dynamics\.rate_factors = .*: "head\.\*": must be ≥ 0'),
        ({"head.*": "fast"}, r"dynamics\.rate_factors = .*: allowed: table, such as"),
        ({"head.*": math.inf}, r"dynamics\.rate_factors"),
        (0.1, r"dynamics\.rate_factors = 0\.1: allowed: table, such as"),
    ],
)
def test_factors_that_are_no_factors_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings({"name": "mlp"}, rate_factors=given)


def test_names_without_quotes_are_names_all_the_same() -> None:
    _, table = parse_assignment("dynamics.rate_factors={ head.weight = 0.5, first.bias = 2 }")
    made = settings({"name": "mlp"}, rate_factors=table).dynamics.rate_factors
    assert made == {"head.weight": 0.5, "first.bias": 2.0}
    assert parse_assignment(f"a.b={toml(made)}")[1] == made


def test_from_the_command_line(tmp_path: Path) -> None:
    """One line, exit code 2, and no file; then a run that goes on where it was stopped."""
    path = tmp_path / "run.toml"
    path.write_text(
        '[system]\nname = "mlp"\nwidths = [4]\n[data]\nname = "synthetic"\ntrain = 40\ntest = 20\n'
        "[dynamics]\nt_max = 20\nbatch_size = 8\nweight_decay = 0.1\ndecay = 'weights'\n"
        '[dynamics.rate_factors]\n"*.bia" = 0.1\n[record]\nwaiting_times = [4]\nlags = [2]\n'
        f'[output]\npath = "{tmp_path}/run.nc"\nfigure = false\n'
    )
    failed = CliRunner().invoke(main, ["run", str(path)])
    assert failed.exit_code == 2 and "Traceback" not in failed.output
    assert '"*.bia" matches none of' in failed.output and not (tmp_path / "run.nc").exists()
    fixed = ["--set", 'dynamics.rate_factors={ "*.bias" = 0.1 }']
    assert CliRunner().invoke(main, ["run", str(path), *fixed]).exit_code == 0
    assert (tmp_path / "run.nc").exists()


class Renewing(nn.Module):
    """A buffer that every forward pass replaces, and a parameter whose name is no pattern of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("w[0]", nn.Parameter(torch.ones(2, 1)))
        self.idle = nn.Parameter(torch.ones(2))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen = self.seen + x.detach().mean()
        return nn.functional.linear(x, getattr(self, "w[0]"))


def test_detection_leaves_buffers_that_are_replaced_as_they_were() -> None:
    module = Renewing()
    before = module.seen
    network, _ = pair(1)
    inputs, labels = network.train.gather(torch.arange(3))
    assert unused(module, network.loss, inputs.float(), labels) == ["idle"]
    assert module.seen is before and float(before) == 0.0


def test_a_name_is_a_pattern_of_itself() -> None:
    system = {"name": "network", "module": "test_parameter_groups:Renewing", "loss": "mse_loss"}
    network, _ = built(settings(system, {"name": "small_nets:Line"}, rate_factors={"w[0]": 0.5}))
    assert network.problem.rule.groups is not None
    assert network.problem.rule.groups.factors == (1.0, 0.5) or network.problem.rule.groups.factors == (
        0.5,
        1.0,
    )
