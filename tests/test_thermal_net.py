"""A tiny net as a model: its force, its equilibrium in closed form, and replica exchange of its copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import SIGMAS, z_score
from scipy.special import betainc

import langevin
from langevin.config import run_files
from langevin.config.build import build
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.exchange import LadderState, ReplicaExchange
from langevin.core.noise import Noise
from langevin.errors import UserError
from langevin.systems.networks.measure import curvature
from langevin.systems.networks.thermal import ThermalNet

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = {"name": "synthetic", "train": 20, "test": 5, "components": 3, "classes": 2, "noise": 1.0}


def given(system: dict[str, Any], **dynamics: Any) -> dict[str, Any]:
    return {
        "system": {"name": "thermal_mlp", **system},
        "data": DATA,
        "dynamics": {"temperature": 0.0, "dt": 0.05, "t_max": 5.0, **dynamics},
        "record": {"waiting_times": [], "lags": []},
        "output": {"figure": False},
    }


def made(system: dict[str, Any], replicas: int, samples: int, **dynamics: Any) -> tuple[Langevin, ThermalNet]:
    ensemble = Ensemble.regular(replicas, samples, 3)
    engine = build(run_files.load(given(system, **dynamics)), ensemble)
    assert isinstance(engine, Langevin)
    assert isinstance(engine.model, ThermalNet)
    return engine, engine.model


@pytest.mark.parametrize("loss", ["cross_entropy", "mse_loss", "quadratic_hinge"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_force_is_the_slope_of_the_energy(loss: str, activation: str) -> None:
    """By central differences: of h = 10⁻⁶ they are right to 10⁻⁹ where no unit is at a kink."""
    keys = {"widths": [4, 3], "loss": loss, "activation": activation, "penalty": 0.3}
    _, model = made(keys | ({"margin": 0.7} if loss == "quadratic_hinge" else {}), 4, 2)
    x = model.initial_configuration(Noise(1, model.ensemble.replica))
    assert x.shape == (4, model.dof)
    # Where all units of a layer are 0 and biases are, too, the next layer is at its kinks.
    x += 0.1 * np.random.default_rng(2).standard_normal(x.shape)
    force, h = model.force(x, 0.0, None), 1e-6
    for k in range(0, model.dof, 3):
        up, down = (model.total_energy(x + sign * h * np.eye(model.dof)[k]) for sign in (1, -1))
        np.testing.assert_allclose(force[:, k], -(up - down) / (2 * h), rtol=0, atol=1e-8)
    # Of some replicas alone, as quenches ask for them.
    some = np.array([3, 1])
    energy, gradient = model.slopes(x[some], some)
    np.testing.assert_array_equal(energy, model.energy(x)[some])
    np.testing.assert_array_equal(gradient, -force[some])


@pytest.mark.parametrize("loss", ["cross_entropy", "mse_loss", "quadratic_hinge"])
def test_it_is_the_net_of_torch(loss: str) -> None:
    """At the same weights a network measures the same loss and slope, whatever way it takes to them."""
    keys = {"widths": [4, 3], "loss": loss, "activation": "tanh"}
    _, model = made(keys, 2, 2)
    settings = given(keys | {"name": "mlp"})
    settings["dynamics"] = {"learning_rate": 0.1, "batch_size": 5, "t_max": 5}
    network: Any = build(run_files.load(settings), model.ensemble)
    noise = Noise(1, model.ensemble.replica)
    state, x = network.initial_state(noise), model.initial_configuration(noise)
    loss_there, slope = network.slopes(state, x, np.arange(2))
    np.testing.assert_allclose(loss_there, model.energy(x), rtol=1e-12)
    np.testing.assert_allclose(slope, -model.force(x, 0.0, None), rtol=0, atol=1e-13)
    assert network.twin.closed_slope is not None
    at = network.hessian(network.placed(state, x), 1)
    value, gradient = at._differentiated()
    assert value == pytest.approx(loss_there[1], rel=1e-12)
    np.testing.assert_allclose(gradient, slope[1], rtol=0, atol=1e-13)
    dense = at.dense()
    assert network.twin.closed is not None
    np.testing.assert_allclose(dense, at.matvec(np.eye(at.size)), rtol=0, atol=1e-12)


def test_the_closed_form_of_slopes_is_taken_where_it_is_seen_to_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is off by a part of 10⁻⁶ is refused, and the module is differentiated."""
    settings = given({"name": "mlp", "widths": [4]})
    settings["dynamics"] = {"learning_rate": 0.1, "batch_size": 5, "t_max": 5}
    network: Any = build(run_files.load(settings), Ensemble.regular(1, 1, 3))
    right = curvature.closed_slopes

    def wrong(points: Any, shape: Any) -> Any:
        loss, slope = right(points, shape)
        return loss, slope * (1 + 1e-6)

    monkeypatch.setattr(curvature, "closed_slopes", wrong)
    state = network.initial_state(Noise(1, np.arange(1)))
    x = np.array(network.configuration(state), float)
    _, slope = network.slopes(state, x, np.arange(1))
    assert network.twin.closed_slope is None
    np.testing.assert_array_equal(slope[0], network.hessian(state, 0)._differentiated()[1])


def quadratic(model: ThermalNet) -> tuple[float, np.ndarray]:
    """Return the lowest energy of a linear net with squares, by least squares, and its curvatures.

    E = (1/KP) Σ_kμ (w_k·x̃_μ − y_kμ)² + (λ/2)|w|², x̃ = (x, 1): of each output k the Hessian
    (2/KP) X̃ᵀX̃ + λ.
    """
    ones = np.ones((1, model.inputs.shape[2]))
    x, y = np.vstack([model.inputs[0], ones]).T, np.eye(2)[model.labels[0]]
    outputs, patterns = y.shape[1], len(x)
    hessian = 2 * x.T @ x / (outputs * patterns) + model.keys.penalty * np.eye(x.shape[1])
    best = np.linalg.solve(hessian, 2 * x.T @ y / (outputs * patterns))
    lowest = np.mean((x @ best - y) ** 2) + model.keys.penalty / 2 * np.sum(best**2)
    return float(lowest), np.tile(np.linalg.eigvalsh(hessian), outputs)


def test_levels_of_an_exchange_have_the_law_of_a_quadratic_energy() -> None:
    """⟨E⟩ = E_min + (T/2) Σ 1/(1 − h dt/2), h dt/2 the scheme's own, and swaps of Γ energies.

    The scheme changes swap rates by O(h dt/2), too, some per cent of them: 0.01.
    """
    ladder = {"hotter": [0.02, 0.04], "every": 5}
    keys = {"widths": [], "loss": "mse_loss", "penalty": 0.5}
    engine, model = made(keys, 200, 1, temperature=0.01, dt=0.1, exchange=ladder)
    assert isinstance(engine, ReplicaExchange)
    lowest, curvatures = quadratic(model)
    assert len(curvatures) == model.dof
    noise = Noise(1, model.ensemble.replica)
    # What is left of the start falls as e^{−2λt}.
    state = engine.advance(engine.initial_state(noise), 0.0, 12.0, noise)
    assert isinstance(state, LadderState)
    before = state.accepted
    state = engine.advance(state, 12.0, 32.0, noise)
    for level, temperature in zip(state.levels, engine.temperatures, strict=True):
        expected = lowest + temperature / 2 * np.sum(1 / (1 - curvatures * 0.1 / 2))
        assert abs(z_score(model.total_energy(level.x), expected)) < SIGMAS
    # Twenty offers of each pair.
    for rates in ((state.accepted - before) / 20).T:
        exact = 2 * betainc(model.dof / 2, model.dof / 2, 1 / 3)
        assert abs(rates.mean() - exact) < SIGMAS * rates.std() / np.sqrt(len(rates)) + 0.01


@pytest.mark.parametrize(
    ("system", "data", "said"),
    [
        ({"loss": "quadratic_hinge"}, {"classes": 3}, r"tells two classes apart, .* have 3 classes"),
        ({}, {"name": "characters", "length": 3}, r"thermal_mlp: data with a class for each example"),
    ],
)
def test_data_that_it_cannot_learn_are_refused(
    system: dict[str, Any], data: dict[str, Any], said: str
) -> None:
    settings = given(system)
    settings["data"] = data if "name" in data else DATA | data
    with pytest.raises(UserError, match=said):
        langevin.run(settings)
