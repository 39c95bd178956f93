"""Rules of descent and attraction against closed forms; every algorithm with every kind of model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import langevin
from langevin.config import build, registry, run_files
from langevin.config.settings import Settings
from langevin.core.attraction import AttractedLangevin, Attraction, pulled
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.rules import Adam, Momentum, Rule, RuledDescent
from langevin.core.system import Model
from langevin.errors import ConfigError
from langevin.systems.harmonic import Harmonic

Maker = Callable[..., dict[str, Any]]
MODELS = [name for name in registry.SYSTEMS if name in ("pspin", "harmonic", "kob_andersen", "particles")]
ALGORITHMS: dict[str, dict[str, Any]] = {
    "exchange": {"hotter": [1.05, 1.1], "every": 3},
    "momentum": {"name": "momentum", "momentum": 0.8},
    "adam": {"name": "adam"},
    "attraction": {"replicas": 2, "strength": [[0, 0.1], [0.05, 0.3]], "every": 3},
}
STEPS = 10


@pytest.fixture(params=ALGORITHMS)
def settings(name: str, request: pytest.FixtureRequest, small: Maker) -> Settings:
    key = "rule" if request.param in ("momentum", "adam") else request.param
    given = small(name)
    given["dynamics"] |= {key: ALGORITHMS[request.param]}
    given["dynamics"]["temperature"] = 0.0 if key == "rule" else 1.0
    if "scheme" in given["dynamics"]:
        given["dynamics"]["scheme"] = "euler_maruyama"
    return run_files.load(given)


def at(settings: Settings, *numbers: int, threads: int = 1, keep: Any = None) -> dict[str, np.ndarray]:
    """The arrays of the state after these numbers of steps, in one run."""
    ensemble = Ensemble.regular(4, 2, 7, threads)
    ensemble = ensemble if keep is None else ensemble.shard(np.array(keep))
    system = build.build(settings, ensemble)
    noise, now = Noise(7, ensemble.replica), 0.0
    state = system.initial_state(noise)
    for t in (n * float(system.time_step or 1) for n in numbers):
        state, now = system.advance(state, now, t, noise), t
    return system.state_dict(state)


@pytest.mark.parametrize("name", MODELS)
def test_a_split_advance_and_other_threads_leave_the_same_bits(settings: Settings) -> None:
    whole = at(settings, STEPS)
    for other in (at(settings, 1, 5, STEPS), at(settings, STEPS, threads=2)):
        assert whole.keys() == other.keys()
        for key, array in whole.items():
            np.testing.assert_array_equal(other[key], array, err_msg=key)


@pytest.mark.parametrize("name", MODELS)
def test_a_group_is_the_same_in_any_batch(settings: Settings) -> None:
    whole = at(settings, STEPS)["x"]
    for keep in ([0, 2], [3, 1]):
        np.testing.assert_allclose(at(settings, STEPS, keep=keep)["x"], whole[keep], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_state_survives_saving(settings: Settings) -> None:
    ensemble = Ensemble.regular(4, 2, 7, 1)
    system, noise = build.build(settings, ensemble), Noise(7, range(4))
    dt = float(system.time_step or 1)
    state = system.advance(system.initial_state(noise), 0.0, 5 * dt, noise)
    saved, streams = system.state_dict(state), noise.state_dict()
    expected = system.state_dict(system.advance(state, 5 * dt, STEPS * dt, noise))
    other, again = build.build(settings, ensemble), Noise(7, range(4))
    again.load_state(streams)
    found = other.state_dict(other.advance(other.load_state(saved), 5 * dt, STEPS * dt, again))
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)


@pytest.mark.parametrize("name", [n for n in registry.SYSTEMS if n in MODELS])
def test_the_force_is_minus_the_gradient_of_the_total_energy(name: str, small: Maker) -> None:
    system = build.build(run_files.load(small(name)), Ensemble.regular(2, 1, 7, 1))
    assert isinstance(system, Langevin)
    model: Model = system.model
    x = model.initial_configuration(Noise(7, range(2)))
    # Twice as far with half the step: what is left of order h² cancels. Forces may be of single precision.
    way = np.random.default_rng(1).standard_normal(x.shape)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    slope = -np.sum(way * model.force(x, 0.0, None), axis=1)

    def difference(h: float) -> np.ndarray:
        return (model.total_energy(x + h * way) - model.total_energy(x - h * way)) / (2 * h)

    h = 2e-3
    found = (4 * difference(h / 2) - difference(h)) / 3
    # Energies are known to 1e-7 of the largest; a wrong factor of dof or 3 is far outside.
    bound = 1e-6 * np.abs(model.total_energy(x)) / h + 1e-3 * np.abs(slope)
    assert (np.abs(found - slope) < bound + 1e-6).all()


def oscillators(replicas: int = 3, n: int = 4, k: float = 1.3) -> Harmonic:
    dynamics = Harmonic.Dynamics(temperature=0.0, dt=0.1, t_max=1.0)
    return Harmonic(Harmonic.Parameters(n=n, stiffness=k), dynamics, Ensemble.regular(replicas, 1, 1))


def descended(rule: Rule, model: Model, dt: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    system, noise = RuledDescent(model, dt, rule), Noise(1, range(3))
    start = system.initial_state(noise)
    return start.x, system.advance(start, 0.0, steps * dt, noise).x


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
def test_momentum_on_oscillators_is_its_linear_recursion(momentum: float) -> None:
    # x_{n+1} = (1 + μ − k dt) x_n − μ x_{n−1}, x_{−1} = x_0: powers of its matrix.
    k, dt, steps = 1.3, 0.1, 40
    start, end = descended(Momentum(momentum), oscillators(k=k), dt, steps)
    companion = np.array([[1 + momentum - k * dt, -momentum], [1, 0]])
    factor = (np.linalg.matrix_power(companion, steps) @ [1, 1])[0]
    np.testing.assert_allclose(end, factor * start, rtol=1e-10, atol=1e-12)


def test_adam_is_that_of_torch() -> None:
    start, end = descended(Adam((0.8, 0.95), 1e-6), oscillators(), 0.05, 30)
    x = torch.tensor(start, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=0.05, betas=(0.8, 0.95), eps=1e-6)
    for _ in range(30):
        optimiser.zero_grad()
        (0.65 * (x * x).sum()).backward()
        optimiser.step()
    np.testing.assert_allclose(end, x.detach().numpy(), rtol=1e-10, atol=1e-12)


def spins() -> Any:
    given = {
        "system": {"name": "pspin", "p": 3, "n": 24},
        "dynamics": {"temperature": 0.0, "dt": 0.02, "t_max": 1.0},
        "ensemble": {"replicas": 3, "seed": 1},
    }
    settings = run_files.load(given)
    return build.build(settings, Ensemble.regular(3, 1, 1, 1))


def test_without_momentum_it_is_gradient_descent_on_the_sphere_too() -> None:
    plain = spins()
    noise = Noise(1, range(3))
    expected = plain.advance(plain.initial_state(noise), 0.0, 1.0, noise).x
    _, end = descended(Momentum(0.0), plain.model, 0.02, 50)
    np.testing.assert_allclose(end, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rule", [Momentum(0.9), Adam()])
def test_rules_stay_on_the_sphere_and_go_down(rule: Rule) -> None:
    model = spins().model
    start, end = descended(rule, model, 0.01, 200)
    np.testing.assert_allclose(np.sum(end**2, axis=1), 24, rtol=1e-12)
    assert (model.energy(end) < model.energy(start) - 0.3).all()


def test_attraction_leaves_the_centre_and_shrinks_distances() -> None:
    # T = 0: centre (1 − k dt)^n, distances (1 − k dt)^n (1 − κ)^{n/every}.
    k, dt, steps, part = 1.3, 0.1, 12, 0.2
    model, ensemble = oscillators(4), Ensemble.regular(4, 1, 1)
    system = AttractedLangevin(model, 0.0, dt, Attraction(2, part, 3), ensemble)
    noise = Noise(1, range(4))
    start = system.initial_state(noise)
    end = system.advance(start, 0.0, steps * dt, noise).x
    before, after = (x.reshape(2, 2, -1) for x in (start.x, end))
    decay = (1 - k * dt) ** steps
    np.testing.assert_allclose(after.mean(1), decay * before.mean(1), rtol=1e-12, atol=1e-14)
    apart = decay * (1 - part) ** (steps // 3) * (before[:, 0] - before[:, 1])
    np.testing.assert_allclose(after[:, 0] - after[:, 1], apart, rtol=1e-12, atol=1e-14)


def test_a_pull_is_the_same_for_arrays_and_tensors() -> None:
    x = np.random.default_rng(1).standard_normal((4, 3))
    groups = [np.array([0, 2]), np.array([1, 3])]
    np.testing.assert_allclose(pulled(torch.from_numpy(x), groups, 0.3).numpy(), pulled(x, groups, 0.3))
    np.testing.assert_allclose(pulled(x, groups, 1.0)[0], x[[0, 2]].mean(0))


@pytest.mark.parametrize("algorithm", ["exchange", "attraction"])
def test_shards_leave_the_numbers_of_one_run(algorithm: str) -> None:
    given: dict[str, Any] = {
        "system": {"name": "pspin", "p": 3, "n": 16},
        "dynamics": {"temperature": 1.0, "dt": 0.02, "t_max": 0.4, algorithm: ALGORITHMS[algorithm]},
        "ensemble": {"replicas": 4, "samples": 2, "seed": 3},
        "output": {"figure": False},
    }
    whole = langevin.run(given, executor="in_process")
    given["ensemble"]["shards"] = 2
    parts = langevin.run(given, executor="in_process")
    for name in whole.data_vars:
        if name != "wall_time_seconds":
            np.testing.assert_array_equal(parts[name].values, whole[name].values, err_msg=str(name))


FAULTS = [
    ({"exchange": {"hotter": [0.3]}}, "must be > 0, < 0.3"),
    ({"exchange": {"hotter": [0.6, 0.6]}}, "temperatures > 0, ascending"),
    ({"exchange": {"hotter": [0.6], "evry": 3}}, "unknown key 'evry'"),
    ({"exchange": {"hotter": [0.6], "every": 0}}, "every = 0: must be an integer ≥ 1"),
    ({"exchange": {"hotter": [0.6]}, "rule": "adam"}, "allowed: none with dynamics.exchange"),
    ({"exchange": {"hotter": [0.6]}, "scheme": "leimkuhler_matthews"}, 'allowed: "euler_maruyama"'),
    ({"exchange": {"hotter": [0.6]}, "device": "cuda"}, 'allowed: "cpu" with dynamics.exchange'),
    ({"rule": "adam"}, "must be 0 with dynamics.rule"),
    ({"rule": "adm"}, 'allowed: "gradient", "momentum", "adam"'),
    ({"rule": {"name": "momentum", "momentum": 1.0}}, "must be a number ≥ 0, < 1"),
    ({"rule": {"name": "adam", "betas": [0.9]}}, "must be two numbers"),
    ({"attraction": {"replicas": 3, "strength": 0.1}}, "must be a multiple of 6"),
    ({"attraction": {"replicas": 2, "strength": 1.5}}, "must be a number from 0 to 1"),
    ({"attraction": {"replicas": 2, "strength": [[0, 0.5], [1, 2.0]]}}, "must be ≤ 1"),
]


@pytest.mark.parametrize(("keys", "said"), FAULTS)
def test_faults_say_what_is_allowed(keys: dict[str, Any], said: str) -> None:
    given = {
        "system": {"name": "pspin", "p": 3, "n": 16},
        "dynamics": {"temperature": 0.5, "dt": 0.02, "t_max": 1.0, **keys},
        "ensemble": {"replicas": 4, "samples": 2},
    }
    with pytest.raises(ConfigError, match=r"dynamics|ensemble") as caught:
        run_files.load(given)
    assert said in str(caught.value)


def test_replicated_sgd_of_networks_is_steps_and_pulls_by_turns() -> None:
    given: dict[str, Any] = {
        "system": {"name": "mlp", "widths": [3]},
        "data": {"name": "synthetic", "train": 40, "test": 20},
        "dynamics": {"learning_rate": 0.1, "batch_size": 8, "t_max": 20, "batches": "iid", "device": "cpu"},
        "ensemble": {"replicas": 4, "seed": 1},
    }
    plain = build.build(run_files.load(given), Ensemble.regular(4, 1, 1, 1))
    given["dynamics"]["attraction"] = {"replicas": 2, "strength": 0.25, "every": 5}
    settings = run_files.load(given)
    attracted = build.build(settings, Ensemble.regular(4, 1, 1, 1))
    noise = Noise(1, range(4))
    found = attracted.configuration(
        attracted.advance(attracted.initial_state(noise), 0.0, 13.0, noise)  # an end between two pulls
    )
    other = Noise(1, range(4))
    state: Any = plain.initial_state(other)
    for first, last in ((0.0, 5.0), (5.0, 10.0), (10.0, 13.0)):
        state = plain.advance(state, first, last, other)
        if last % 5 == 0:
            for pair in ([0, 1], [2, 3]):
                w = state.weights[pair]
                state.weights[pair] = w - 0.25 * (w - w.mean(0))
    np.testing.assert_array_equal(found, plain.configuration(state))
    given["ensemble"]["shards"] = 2
    with pytest.raises(ConfigError, match=r"ensemble.shards = 2: must be ≤ ensemble.samples = 1"):
        run_files.load(given)
