"""Curves between weights of networks: the step, the ends, batch-norm, what is found, and bad input."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from landscapes import LandscapeAlone
from torch.func import functional_call

import langevin
from langevin.analysis import connect
from langevin.commands.cli import main
from langevin.config import build
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import ConfigError, UserError
from langevin.observables.landscape import barriers
from langevin.results import configurations, rebuild
from langevin.sweep import simulation
from langevin.systems.curves import Band, geometry
from langevin.systems.networks.curve import NetworkCurve, isometric, point
from langevin.systems.networks.descent.bends import OnLength, weights

NETS: dict[str, dict[str, Any]] = {
    "perceptron": {"name": "fully_connected", "hidden": 6},
    "convolution": {"name": "small_net", "filters": [2, 2], "hidden": 5},
    "batch-norm": {"name": "network", "module": "small_nets:Normalised"},
}


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with result files of four replicas of small nets, and of others."""
    folder = tmp_path_factory.mktemp("ends")
    for name, system in NETS.items():
        langevin.run(run_of(system, folder / f"{name}.nc")).close()
    return folder


def run_of(system: dict[str, Any], path: Path, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "system": system,
        "data": {"name": "synthetic", "train": 48, "test": 24, "like": "mnist"},
        "dynamics": {
            "t_max": 30,
            "batch_size": 8,
            "learning_rate": 0.05,
            "momentum": 0.9,
            "weight_decay": 1e-2,
        },
        "ensemble": {"replicas": 4, "seed": 3},
        "record": {"times": [30], "waiting_times": [], "lags": [], "snapshots": [15, 30]},
        "output": {"path": str(path), "figure": False},
    }
    for dotted, value in changes.items():
        section, key = dotted.split("__")
        given[section][key] = value
    return given


def curve_of(file: Path, **overrides: Any) -> tuple[NetworkCurve, Noise]:
    """Return the curve between the first two of the four replicas, in double precision."""
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    fixed = {"ensemble.replicas": 1, "dynamics.precision": "double", "record.positions": 5}
    made = connect.settings(file, overrides={**fixed, **dotted})
    ensemble = Ensemble.regular(1, 1, 3, threads=1)
    system = build.build(made, ensemble)
    assert isinstance(system, NetworkCurve)
    return system, Noise(3, [0])


@pytest.mark.parametrize("kind", geometry.KINDS)
@pytest.mark.parametrize("bends", [1, 2, 5])
def test_weights_of_control_points_are_those_of_the_geometry(kind: geometry.Kind, bends: int) -> None:
    t = np.concatenate([[0.0, 1.0], np.random.default_rng(1).random(50)])
    found = weights(kind, torch.from_numpy(t), bends).numpy()
    np.testing.assert_allclose(found, geometry.weights(kind, t, bends), atol=1e-14)


def by_hand(system: NetworkCurve, steps: int, make: Any = torch.optim.SGD) -> tuple[np.ndarray, list[float]]:
    """Take the steps of all bends by functional_call and autograd alone, with an optimiser of torch's."""
    network, (bends,) = system.network, (system.bends,)
    module = network.modules[0]
    rule, source = network.problem.rule, system.units.bends
    assert source is not None
    shapes = {b.name: (slice(b.start, b.stop), b.shape) for b in network.layout.blocks}
    theta = system.initial_state(Noise(3, [0])).weights.clone().requires_grad_()
    keys = {"momentum": rule.optimiser.kernel_momentum} if make is torch.optim.SGD else {}
    descent = make([theta], lr=rule.schedule.learning_rate, **keys)
    losses = []
    for step in range(steps):
        index = torch.from_numpy(network.batches.table(0, step, step + 1)[0].astype(np.int64))
        index = torch.from_numpy(network._rows[0])[index].to(network.device)
        t = source.positions(0, step, step + 1)[0]
        w = torch.from_numpy(geometry.weights(system.kind, t, bends))[0].to(network.device)
        phi = w @ torch.cat([system.start, theta.view(bends, -1), system.end])
        parameters = {name: phi[part].view(shape) for name, (part, shape) in shapes.items()}
        inputs, labels = network.train.gather(index)
        loss = network.loss.mean(functional_call(module, parameters, (inputs,)), labels)
        losses.append(loss.item())
        descent.zero_grad()
        (loss + rule.weight_decay / 2 * torch.sum(phi**2)).backward()
        descent.param_groups[0]["lr"] = float(rule.schedule.rates(step))
        descent.step()
    return theta.detach().cpu().numpy(), losses


@pytest.mark.parametrize("name", sorted(NETS))
@pytest.mark.parametrize(("kind", "bends"), [("bezier", 1), ("bezier", 3), ("chain", 2)])
def test_steps_are_those_of_functional_weights(
    name: str, kind: str, bends: int, device: str, ends: Path
) -> None:
    """The module's own layers at φ(t), differentiated through φ: weight decay on the curve, momentum."""
    keys = {"system__curve": kind, "system__bends": bends, "dynamics__device": device}
    system, noise = curve_of(ends / f"{name}.nc", **keys)
    expected, losses = by_hand(system, 12)
    end = system.advance(system.initial_state(noise), 0, 12, noise)
    assert np.ptp(losses) > 1e-3
    # Sums in another order, in double precision.
    np.testing.assert_allclose(system.configuration(end), expected, rtol=0, atol=1e-10)


def test_so_they_are_by_another_optimiser(device: str, ends: Path) -> None:
    """Moments and number of steps of each bend's own; a step of 0.01 for each, whatever the gradient is."""
    keys = {"dynamics__optimiser": "adam", "dynamics__learning_rate": 0.01, "dynamics__device": device}
    system, noise = curve_of(ends / "perceptron.nc", system__bends=2, **keys)
    expected, _ = by_hand(system, 12, torch.optim.Adam)
    start = system.initial_state(noise)
    assert (
        start.slots["steps"].shape == (1, 2 * 6) and start.slots["first_moment"].shape == start.weights.shape
    )
    end = system.advance(start, 0, 12, noise)
    # A gradient of a rounding's size, where a unit is off, moves a weight by as much over 1e-8.
    np.testing.assert_allclose(system.configuration(end), expected, rtol=0, atol=1e-7)


def test_another_optimiser_than_that_of_the_ends_has_keys_of_its_own(ends: Path) -> None:
    for optimiser in ("nesterov", "adam", "rmsprop"):
        settings = connect.settings(ends / "perceptron.nc", overrides={"dynamics.optimiser": optimiser})
        assert settings.dynamics.optimiser == optimiser


def test_what_an_optimiser_cannot_do_on_a_curve_is_refused(ends: Path) -> None:
    keys = {"dynamics__optimiser": "adamw", "system__curve": "band"}
    with pytest.raises(ConfigError) as error:
        curve_of(ends / "perceptron.nc", **keys)
    assert [fault.partition(":")[0] for fault in error.value.faults] == [
        'system.curve = "band"',
        'dynamics.optimiser = "adamw"',
    ]
    curve_of(ends / "perceptron.nc", dynamics__optimiser="adamw", dynamics__weight_decay=0.0)


@pytest.mark.parametrize("name", ["perceptron", "batch-norm"])
def test_steps_do_not_depend_on_where_they_are_cut(name: str, ends: Path) -> None:
    system, noise = curve_of(ends / f"{name}.nc")
    start = system.initial_state(noise)
    whole = system.advance(start, 0, 9, noise)
    again, noise = curve_of(ends / f"{name}.nc")
    parts = again.advance(again.advance(start, 0, 4, noise), 4, 9, noise)
    assert torch.equal(whole.weights, parts.weights)


@pytest.mark.parametrize("kind", geometry.KINDS)
def test_two_positions_estimate_the_mean_along_the_curve_without_bias(kind: str, ends: Path) -> None:
    """Summed over all pairs of nodes, the estimates are the gradient of ∫ ℓ|φ'| dt/∫|φ'| dt, exactly."""
    options = {"system__curve": kind, "system__bends": 2, "system__loss": "uniform_length"}
    full = {"dynamics__batches": "full", "dynamics__momentum": 0.0, "dynamics__weight_decay": 0.1}
    system, noise = curve_of(ends / "batch-norm.nc", **options, **full, dynamics__schedule="constant")
    unit = system.units.steppers[0]
    assert isinstance(unit, OnLength)
    panels = 3 if kind == "chain" else 1
    nodes, h = geometry.quadrature(panels, 3)
    # The unit's own length, at as many nodes: both sides then hold the same sums.
    unit._nodes, unit._h = geometry.differences(unit.kind, nodes, 2), h
    theta = system.initial_state(noise).weights + 0.3 * torch.randn(1, system.dof, dtype=torch.float64)
    mean = torch.zeros_like(theta)
    index = torch.from_numpy(system.network._rows[0])
    for i, a in enumerate(nodes):
        for j, b in enumerate(nodes):
            moved = theta.clone()
            unit.bind(moved)
            bits = torch.from_numpy(np.array([a, b]).view(np.int64))
            unit.step(torch.cat([index, bits])[None], 1.0)
            mean += h[i] * h[j] * (theta - moved)
    np.testing.assert_allclose(mean.numpy(), exact_gradient(system, theta, nodes, h), rtol=0, atol=1e-9)


def exact_gradient(system: NetworkCurve, theta: torch.Tensor, nodes: Any, h: Any) -> np.ndarray:
    network, bends = system.network, system.bends
    index = torch.from_numpy(network._rows[0])
    inputs, labels = network.train.gather(index)
    theta = theta.clone().requires_grad_()
    control = torch.cat([system.start, theta.view(bends, -1), system.end])
    total, length = torch.zeros(()), torch.zeros(())
    for t, share in zip(nodes, h, strict=True):
        w, v = (
            torch.from_numpy(f(system.kind, np.array(t), bends))
            for f in (geometry.weights, geometry.differences)
        )
        phi, speed = w @ control, torch.linalg.vector_norm(v @ torch.diff(control, dim=0))
        named = dict(zip(network.layout.names, network.layout.views(phi), strict=True))
        loss = network.loss.mean(functional_call(network.modules[0], named, (inputs,)), labels)
        total = total + share * speed * (loss + network.problem.rule.weight_decay / 2 * torch.sum(phi**2))
        length = length + share * speed
    (total / length).backward()
    assert theta.grad is not None
    return theta.grad.numpy()


class Loss(LandscapeAlone):
    """The loss of a network on all its examples, as a model: what `Band` finds forces of."""

    def __init__(self, system: NetworkCurve) -> None:
        self.network = system.network
        self.inputs, self.labels = self.network.train.gather(torch.from_numpy(self.network._rows[0]))

    def _loss(self, x: torch.Tensor) -> torch.Tensor:
        layout = self.network.layout
        named = dict(zip(layout.names, layout.views(x), strict=True))
        outputs = functional_call(self.network.modules[0], named, (self.inputs,))
        return self.network.loss.mean(outputs, self.labels) + 0.05 * torch.sum(x**2)

    def energy(self, x: np.ndarray) -> np.ndarray:
        return np.array([self._loss(torch.from_numpy(row)).item() for row in x])

    def force(self, x: np.ndarray, t: float = 0.0, noise: Noise | None = None) -> np.ndarray:
        gradient = torch.func.grad(self._loss)
        return -np.stack([gradient(torch.from_numpy(row.copy())).numpy() for row in x])


def test_a_band_of_networks_moves_by_the_force_of_bands(ends: Path) -> None:
    """Weight decay 0.1, of which the force of the model has a part, too."""
    options = {"system__curve": "band", "system__bends": 4, "dynamics__schedule": "constant"}
    full = {"dynamics__batches": "full", "dynamics__momentum": 0.0, "dynamics__weight_decay": 0.1}
    system, noise = curve_of(ends / "convolution.nc", **options, **full, dynamics__learning_rate=0.02)
    band = Band(Loss(system), system.start.numpy(), system.end.numpy(), bends=4, spring=1.0)
    state = system.initial_state(noise)
    expected = state.weights.numpy()
    for step in range(4):
        expected = expected + 0.02 * band.force(expected)
        state = system.advance(state, step, step + 1, noise)
    assert np.abs(expected - system.initial_state(noise).weights.numpy()).max() > 1e-3
    np.testing.assert_allclose(state.weights.numpy(), expected, rtol=0, atol=1e-10)
    with pytest.raises(UserError, match=r"system\.spring = 30: must be < 25"):
        curve_of(
            ends / "convolution.nc", system__curve="band", dynamics__learning_rate=0.02, system__spring=30.0
        )


def test_batch_norm_is_that_of_a_module_set_by_hand(ends: Path) -> None:
    """At a point that nobody trained: means over mini-batches of each one's mean and unbiased variance."""
    system, noise = curve_of(ends / "batch-norm.nc")
    network = system.network
    x = point(system.kind, system.control(system.initial_state(noise).weights)[0], 0.3)
    # Looked at elsewhere before: nothing of it may be left.
    network.see(3 * x, 0)
    trained, tested = network.see(x, 0)
    module = network.built(0)
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), network.layout.views(x), strict=True):
            parameter.copy_(value)
    layers = list(module.layers)
    index = network.chosen.trained[0].index
    means, variances = [], []
    for piece in torch.split(index, network.batches.size):
        before = layers[1](layers[0](network.train.gather(piece)[0])).detach()
        means.append(before.mean(0))
        variances.append(before.var(0, unbiased=True))
    layers[2].running_mean, layers[2].running_var = torch.stack(means).mean(0), torch.stack(variances).mean(0)
    module.eval()
    for seen, examples, rows in (
        (trained, network.train, index),
        (tested, network.test, network.chosen.tested[0].index),
    ):
        inputs, labels = examples.gather(rows)
        outputs = module(inputs)
        expected = torch.nn.functional.cross_entropy(outputs, labels, reduction="none").detach().numpy()
        np.testing.assert_allclose(seen.losses, expected, atol=1e-12)
        np.testing.assert_allclose(seen.predictions, torch.softmax(outputs, 1).detach().numpy(), atol=1e-12)
        np.testing.assert_array_equal(seen.wrong, (outputs.argmax(1) != labels).numpy())
    # The statistics that the training left behind would have given something else.
    stale = functional_call(module, dict(network.modules[0].named_buffers()), (inputs,))
    assert not torch.allclose(stale, outputs, atol=1e-3)


def test_distances_survive_in_few_dimensions() -> None:
    points = torch.from_numpy(np.random.default_rng(2).standard_normal((4, 50)))
    image = isometric(points)
    assert image.shape == (4, 3)
    for i in range(4):
        for j in range(4):
            expected = float(torch.linalg.vector_norm(points[i] - points[j]))
            assert np.linalg.norm(image[i] - image[j]) == pytest.approx(expected, rel=1e-12)


@pytest.fixture(scope="module")
def joined(ends: Path) -> Any:
    """Return the result of a short search for two curves between four small nets."""
    made = connect.settings(
        ends / "convolution.nc",
        overrides={
            "dynamics.t_max": 20,
            "record.times": [0, 20],
            "record.positions": 9,
            "output.figure": False,
        },
        output=ends / "joined.nc",
    )
    return langevin.open(simulation.execute(made))


def test_the_ends_are_exact_and_pairs_are_disjoint(joined: Any, ends: Path) -> None:
    run = configurations.read(ends / "convolution.nc")
    network, _ = rebuild.rebuilt(run)
    known = network.evaluate(run.x)
    control = joined["control"].to_numpy()
    np.testing.assert_array_equal(control[:, 0], run.x[[0, 2]])
    np.testing.assert_array_equal(control[:, -1], run.x[[1, 3]])
    for place, rows in ((0, [0, 2]), (-1, [1, 3])):
        for way in ("curve", "shortest"):
            for name in ("energy", "train_error", "test_loss", "test_error"):
                # Measured examples are drawn by seed and sample, which are the same: so are the numbers.
                np.testing.assert_array_equal(joined[f"{way}_{name}"][:, place], known[name][rows])
    np.testing.assert_allclose(joined["distance_from_start"][:, 0], 0, atol=1e-12)
    apart = np.sqrt(np.mean((run.x[0] - run.x[1]) ** 2))
    assert float(joined["distance_from_start"][0, -1]) == pytest.approx(apart, rel=1e-6)


def test_a_barrier_is_what_stands_above_the_higher_end(joined: Any) -> None:
    for way, name in (("curve", "barrier"), ("shortest", "shortest_barrier")):
        energy = joined[f"{way}_energy"].to_numpy()
        grid = energy.max(1) - np.maximum(energy[:, 0], energy[:, -1])
        refined, bias = (joined[f"{name}_{part}"].to_numpy() for part in ("refinement", "bias"))
        np.testing.assert_allclose(joined[name] + bias, grid + refined, atol=1e-12)
        # The bias of a maximum, by resamples of the examples, which both curves share.
        again = joined[f"{name}_resampled"].to_numpy()
        np.testing.assert_allclose(again.mean(1) - (grid + refined), bias, atol=1e-12)
        assert (joined[f"{name}_low"] <= joined[f"{name}_high"]).all() and (joined[f"{name}_low"] >= 0).all()
        assert (refined >= 0).all()


def test_the_ensemble_of_two_is_that_of_their_mean_probabilities(joined: Any, ends: Path) -> None:
    run = configurations.read(ends / "convolution.nc")
    network, _ = rebuild.rebuilt(run, np.array([0, 2]))
    control = torch.from_numpy(joined["control"].to_numpy()).float()
    for r in range(2):
        _, first = network.see(control[r, 0], r)
        losses = []
        for n, t in enumerate(joined["position"].to_numpy()):
            trained, here = network.see(point("bezier", control[r], float(t)), r)
            wrong = (first.predictions + here.predictions).argmax(1) != first.labels
            assert float(joined["curve_pair_error"][r, n]) == wrong.mean()
            losses.append(trained.losses)
        # The same stream for both curves: they were measured with the same examples.
        stream = Ensemble.regular(2, 1, 3).driving("resampled examples", zlib.crc32(trained.labels.tobytes()))
        height = barriers.of_losses(np.stack(losses), stream)
        assert float(joined["barrier"][r]) == height.value
        assert float(joined["barrier_error"][r]) == height.error
        np.testing.assert_array_equal(joined["barrier_resampled"][r], height.again)


@pytest.mark.parametrize("curve", ["bezier", "band"])
def test_a_symmetry_of_the_ends_is_broken(curve: str, ends: Path) -> None:
    """Two hidden units are the same in both ends: gradients, of mini-batches, too, keep them so."""
    apart = {}
    for kick in (0.0, 1e-3):
        system, noise = curve_of(ends / "perceptron.nc", system__curve=curve, system__kick=kick)
        for rows in (system.start, system.end):
            views = dict(zip(system.network.layout.names, system.network.layout.views(rows[0]), strict=True))
            first, bias, last = list(views.values())[:3]
            first[1], bias[1] = first[0].clone(), bias[0].clone()
            last[:, 1] = last[:, 0].clone()
        end = system.advance(system.initial_state(noise), 0, 60, noise)
        layer = system.network.layout.views(end.weights[0])[0]
        apart[kick] = float((layer[1] - layer[0]).abs().max())
    # Sums in another order leave rounding of double precision, which a gradient descent amplifies.
    assert apart[0.0] < 1e-9
    assert apart[1e-3] > 1e-4


def test_the_kick_is_of_the_replica_alone(ends: Path) -> None:
    both = connect.settings(ends / "perceptron.nc", overrides={"ensemble.replicas": 2})
    start = {}
    for labels in ([0, 1], [1]):
        ensemble = Ensemble.regular(2, 1, 3, threads=1).subset(np.array(labels))
        system = build.build(both, ensemble)
        assert isinstance(system, NetworkCurve)
        start[len(labels)] = system.initial_state(Noise(3, labels)).weights.numpy()
        middle = (system.start + system.end) / 2
        far = torch.linalg.vector_norm(system.end - system.start, dim=1).numpy()
        size = np.linalg.norm(start[len(labels)] - middle.numpy(), axis=1) / far
        # Of so many weights the length is that of the mean square, to 1/√(2·4780).
        np.testing.assert_allclose(size, 1e-3, rtol=0.05)
    np.testing.assert_array_equal(start[1][0], start[2][1])


def refused(*arguments: Any) -> str:
    found = CliRunner().invoke(main, [str(a) for a in arguments])
    assert found.exit_code == 2, found.output
    (line,) = found.output.strip().splitlines()[-1:]
    assert "Traceback" not in found.output
    return line


def test_bad_ends_are_one_clear_line(ends: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = ends / "perceptron.nc", ends / "convolution.nc"
    assert "system.name = 'small_net'; must be 'fully_connected'" in refused("connect", one, other)
    assert "coincide" in refused("connect", one, one)
    assert "no such file" in refused("connect", one, "missing.nc")
    line = refused("connect", one, "--bends", "0")
    assert "--bends" in line and "x>=1" in line
    line = refused("connect", one, "--set", "system.bends=0")
    assert "system.bends = 0: allowed: integer ≥ 1" in line
    line = refused("connect", one, "--set", "system.kick=1.0")
    assert "system.kick = 1.0: allowed: number" in line and "< 1" in line
    line = refused("connect", one, "--time", "17")
    assert "time = 17" in line and "stored: 0, 15, 30" in line
    line = refused("connect", one, "--set", "ensemble.replicas=3")
    assert "ensemble.replicas = 3: must be ≤ 2" in line
    wide, bare, drawn = (tmp_path / f"{n}.nc" for n in ("wide", "bare", "drawn"))
    langevin.run(run_of({"name": "fully_connected", "hidden": 7}, wide)).close()
    assert "system.hidden = 7; must be 6" in refused("connect", one, wide)
    quiet = run_of(NETS["perceptron"], bare, record__snapshots=[])
    quiet["record"]["configurations"] = "never"
    langevin.run(quiet).close()
    line = refused("connect", bare)
    assert "no stored configuration" in line and "record.snapshots" in line
    langevin.run(run_of(NETS["perceptron"], drawn, ensemble__seed=4)).close()
    # Synthetic data follow from the seed: two seeds, two landscapes.
    assert "other data, seeds 3 and 4" in refused("connect", one, drawn)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bare.nc", "drawn.nc", "wide.nc"]
