"""The response of networks to a constant force: closed forms, the noise against the field, resumed runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import SIGMAS, z_score
from linear_regression import INPUTS, LAGS, X, exact, regression
from small_nets import built, settings
from test_restart import assert_same, interrupted

import langevin
from langevin import plotting
from langevin.config import run_files
from langevin.core.ensemble import Ensemble
from langevin.errors import ConfigError, Diverged, UserError
from langevin.observables.displacement_response import effective_temperature
from langevin.plotting.temperature import EFFECTIVE_TEMPERATURE
from langevin.sweep import simulation
from langevin.systems.networks.descent import shared_calls
from langevin.systems.networks.response import measured_response as responses
from langevin.systems.networks.response.fields import signs


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """All replicas in one call: hundreds of them take less than a second."""
    monkeypatch.setattr(shared_calls, "STACK", 1000)


# From a field.


@pytest.mark.parametrize("execution", ["sequential", "stacked"])
@pytest.mark.parametrize("field", [1e-3, 10.0])
@pytest.mark.parametrize("waiting", [0, 4])
def test_full_batches_respond_as_the_curvatures_say(execution: str, field: float, waiting: int) -> None:
    """χ = σᵀR σ/M for the signs that were drawn, R = [1 − (1 − αA)^n]/A, from any t_w and at any h.

    The net is linear: what is left is rounding of weights of order 1, over the displacement h.
    """
    found = regression(3, waiting, {"field": field}, execution=execution)
    expected = exact(LAGS, 0.3, None)
    sigma = drawn(3, waiting)
    chi = np.einsum("rki,nij,rkj->rn", sigma, expected.each, sigma) / (2 * INPUTS)
    np.testing.assert_allclose(found["integrated_response"], chi, rtol=0, atol=1e-13 / min(field, 1))
    assert np.ptp(chi, axis=0)[-1] > 0.1, "no off-diagonal response: the test would not see the signs"
    assert float(found["response_nonlinearity"].max()) < 1e-13 / min(field, 1)


def drawn(replicas: int, waiting: int) -> np.ndarray:
    """The signs of the linear net's weights, shape (R, outputs, inputs)."""
    ensemble = Ensemble.regular(replicas, 1, 3)
    return signs(ensemble, waiting, 2 * INPUTS).astype(float).reshape(replicas, 2, INPUTS)


def test_the_mean_over_signs_is_the_trace(together: None) -> None:
    """600 replicas, 12 z-tests at 5 σ: false alarm 7·10⁻⁶. The scatter is that of the module's docstring."""
    found = regression(600, 3)["integrated_response"].to_numpy()
    expected = exact(LAGS, 0.3, None)
    # At the first lag R = α: all replicas have the same.
    np.testing.assert_allclose(found[:, 0], 0.3, rtol=1e-9)
    assert (np.abs(z_score(found[:, 1:], expected.response[1:])) < SIGMAS).all()
    off = expected.each * (1 - np.eye(INPUTS))
    variance = 2 * 2 * np.sum(off**2, axis=(1, 2)) / (2 * INPUTS) ** 2
    squares = (found[:, 1:] - expected.response[1:]) ** 2
    assert (np.abs(z_score(squares, variance[1:])) < SIGMAS).all()
    assert (np.abs(z_score(squares, variance[1:] / 2)) > SIGMAS).all()


def test_minibatches_have_the_temperatures_of_the_lyapunov_equation(together: None) -> None:
    """Stationary: χ, Δ and their ratio at every lag; 800 replicas, 14 z-tests at 5 σ: false alarm 8·10⁻⁶."""
    found = regression(800, 60, batches="iid", batch_size=2)
    expected = exact(LAGS, 0.3, 2)
    assert (np.abs(z_score(found["integrated_response"][:, 1:], expected.response[1:])) < SIGMAS).all()
    assert (np.abs(z_score(found["msd"], expected.msd)) < SIGMAS).all()
    measured = effective_temperature(found["msd"], found["integrated_response"], decades=2)
    chord = expected.msd / (2 * expected.response)
    off = (measured["chord_temperature"] - chord) / measured["chord_temperature_error"]
    assert (np.abs(off) < SIGMAS).all()
    # No single temperature: that of soft directions is not that of stiff ones, and this is seen.
    assert abs(chord[-1] / chord[0] - 1) > 0.05
    off = (measured["chord_temperature"] - chord[0]) / measured["chord_temperature_error"]
    assert abs(float(off[-1])) > SIGMAS


def test_momentum_and_weight_decay_respond_as_their_matrices_say() -> None:
    """v ← μ v + (A + λ) R − 1, R ← R − α v, step by step with numpy; full batches."""
    momentum, decay, rate = 0.6, 0.2, 0.1
    found = regression(2, 2, momentum=momentum, weight_decay=decay, learning_rate=rate)
    a = X.astype(float).T @ X.astype(float) / len(X) + decay * np.eye(INPUTS)
    v, r, by_lag = np.zeros((INPUTS, INPUTS)), np.zeros((INPUTS, INPUTS)), []
    for _ in range(LAGS[-1]):
        v = momentum * v + a @ r - np.eye(INPUTS)
        r = r - rate * v
        by_lag.append(r)
    each, sigma = np.array([by_lag[n - 1] for n in LAGS]), drawn(2, 2)
    chi = np.einsum("rki,nij,rkj->rn", sigma, each, sigma) / (2 * INPUTS)
    np.testing.assert_allclose(found["integrated_response"], chi, rtol=1e-8)


# From the noise.


@pytest.mark.parametrize("way", ["noise", "field"])
def test_langevin_dynamics_obeys_the_theorem_in_discrete_time(way: str, together: None) -> None:
    """Stationary at T = 0.2 with full batches: χ and Δ of the closed forms, χ = Δ/(2T) up to O(α).

    600 replicas, 10 z-tests at 5 σ: false alarm 6·10⁻⁶. A response of half the size fails.
    """
    found = regression(600, 60, {"response_from": way, "field": 1e-3 * (way == "field")}, temperature=0.2)
    expected = exact(LAGS, 0.3, None, 0.2)
    assert ("response_nonlinearity" in found) == (way == "field")
    # In a field all replicas have χ = α at the first lag.
    first = int(way == "field")
    chi = found["integrated_response"][:, first:]
    assert (np.abs(z_score(chi, expected.response[first:])) < SIGMAS).all()
    assert (np.abs(z_score(chi, expected.response[first:] / 2)) > SIGMAS).all()
    assert (np.abs(z_score(found["msd"], expected.msd)) < SIGMAS).all()
    # In each direction Δ = 2Tχ/(1 − αλ/2): the theorem is off by O(α).
    stiffest = np.linalg.eigvalsh(X.T.astype(float) @ X / len(X))[-1]
    ratio = expected.msd / (2 * 0.2 * expected.response)
    assert (ratio > 1).all() and (ratio <= 1 / (1 - 0.3 * stiffest / 2)).all()


def test_noise_and_field_agree_at_a_temperature_on_minibatches() -> None:
    """A net with tanh out of equilibrium, rates that change: 12 replicas each, Student's t at 10⁻⁶ is 6.7."""
    made = {}
    for way in ("noise", "field"):
        record = {
            "response": True,
            "response_from": way,
            "waiting_times": [2],
            "lags": [10],
            "times": [1],
            "configurations": "never",
            "energy_examples": 1,
            "gradient_examples": 20,
        }
        keys = {"temperature": 0.01, "learning_rate": 0.2, "t_max": 12, "schedule": "triangular", "cycle": 10}
        system = {"name": "mlp", "widths": [4], "activation": "tanh"}
        made[way] = run(system, record, replicas=12, **keys)["integrated_response"].isel(waiting_time=0)
    means = [values.mean("replica") for values in made.values()]
    errors = [values.std("replica", ddof=1) / np.sqrt(12) for values in made.values()]
    off = (means[0] - means[1]) / np.hypot(*errors)
    assert (np.abs(off) < 6.7).all(), off
    assert (errors[0] / means[0] < 0.03).all(), "nothing would be seen"


# How it runs.


def run(system: dict[str, Any], record: dict[str, Any], replicas: int = 2, **keys: Any) -> xr.Dataset:
    """A run of a small network."""
    made = settings(system, replicas=replicas, record=record, **keys)
    return langevin.run(made.given)


RECORD = {"response": True, "waiting_times": [0, 6], "lags": [1, 3, 9], "times": [1], "field": 1e-3}
SYSTEMS = {
    "compiled, tiny": ({"name": "mlp", "widths": [4]}, {"backend": "numba"}),
    "compiled": ({"name": "mlp", "widths": [70]}, {"backend": "numba"}),
    "stacked": ({"name": "mlp", "widths": [4]}, {"backend": "torch", "execution": "stacked"}),
    "sequential": ({"name": "mlp", "widths": [4]}, {"backend": "torch", "execution": "sequential"}),
    "batch-norm": ({"name": "network", "module": "small_nets:Normalised"}, {}),
    "momentum": ({"name": "mlp", "widths": [4]}, {"momentum": 0.5}),
    "persistent": ({"name": "mlp", "widths": [4]}, {"batches": "persistent"}),
    "thermal": ({"name": "mlp", "widths": [4]}, {"temperature": 1e-3}),
    "augmented": ({"name": "small_net", "filters": [2, 3], "hidden": 4}, {"augment": "crop_flip"}),
}


@pytest.mark.parametrize("kind", SYSTEMS)
def test_copies_take_the_replicas_own_steps(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a force they stay where the replica is, to the last bit: the random numbers are common."""
    system, keys = SYSTEMS[kind]
    record = {**RECORD, "response_from": "field"}
    network, noise = built(settings(system, replicas=3, record=record, precision="double", **keys))
    monkeypatch.setattr(type(network.response), "_field", lambda s, t, p: 0 * p.plus.weights)
    state = network.advance(network.initial_state(noise), 0, 9, noise)
    assert sorted(state.response.pairs) == [0, 6]
    for pair in state.response.pairs.values():
        for copy in (pair.plus, pair.minus):
            np.testing.assert_array_equal(copy.weights, state.weights)
            for ours, other in zip(copy.buffers, state.buffers, strict=True):
                np.testing.assert_array_equal(ours, other)


@pytest.mark.parametrize("kind", ["compiled, tiny", "compiled", "stacked"])
def test_every_backend_finds_the_same_response(kind: str) -> None:
    """In double precision, to rounding over the displacement by the field."""
    system, keys = SYSTEMS[kind]
    found = [
        run(system, RECORD, precision="double", **k)["integrated_response"]
        for k in (keys, SYSTEMS["sequential"][1])
    ]
    np.testing.assert_allclose(*found, rtol=1e-8)


def test_a_small_field_is_small_and_a_large_one_says_so() -> None:
    """Half the field: half the nonlinearity, and a fourth of the change of χ: both orders are as derived."""
    system = {"name": "mlp", "widths": [4], "activation": "tanh"}
    found = {
        h: run(system, {**RECORD, "field": h}, precision="double").isel(waiting_time=0, lag=-1)
        for h in (0.04, 0.02, 0.01)
    }
    bent = {h: d["response_nonlinearity"] for h, d in found.items()}
    chi = {h: d["integrated_response"] for h, d in found.items()}
    np.testing.assert_allclose(bent[0.04] / bent[0.02], 2, rtol=0.05)
    np.testing.assert_allclose(bent[0.02] / bent[0.01], 2, rtol=0.05)
    np.testing.assert_allclose((chi[0.04] - chi[0.02]) / (chi[0.02] - chi[0.01]), 4, rtol=0.05)


@pytest.mark.parametrize("kind", ["compiled, tiny", "batch-norm", "momentum", "persistent", "thermal"])
def test_a_stopped_run_goes_on_to_the_same_bits(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while copies of two waiting times are under way, and while the noise is summed."""
    system, keys = SYSTEMS[kind]
    record = {"response": True, "waiting_times": [0, 6], "lags": [1, 3, 9], "times": [1]}
    given = settings(system, replicas=3, record=record, **{"t_max": 15, **keys}).given
    given["output"]["path"] = str(tmp_path / "whole.nc")
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "stopped.nc")
    paths = interrupted(given, monkeypatch, 0, after=6)
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)


def test_copies_go_when_their_last_lag_is_measured() -> None:
    network, noise = built(settings(SYSTEMS["momentum"][0], record=RECORD, t_max=20))
    state, kept = network.initial_state(noise), []
    for t in range(20):
        state = network.move(state, t, t + 1, noise)
        kept.append(sorted(state.response.pairs))
    assert kept == [[0]] * 6 + [[0, 6]] * 3 + [[6]] * 6 + [[]] * 5


def test_a_response_leaves_the_run_as_it_is() -> None:
    plain = run(SYSTEMS["momentum"][0], {**RECORD, "response": False, "field": 0.0})
    found = run(SYSTEMS["momentum"][0], RECORD)
    for name in plain.data_vars:
        np.testing.assert_array_equal(plain[name], found[name])


@pytest.mark.parametrize(
    ("record", "keys", "said"),
    [
        ({"response_from": "noise"}, {}, ['record.response_from = "noise"', '"field"', "temperature = 0"]),
        ({"field": 0.1}, {"temperature": 0.1}, ["record.field = 0.1", "allowed: 0", "temperature = 0.1"]),
        ({"field": -1.0}, {}, ["record.field = -1", "0"]),
        ({"response_from": "kicks"}, {}, ["record.response_from", '"noise"', '"field"']),
    ],
)
def test_what_does_not_go_together_is_one_line(
    record: dict[str, Any], keys: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        settings({"name": "mlp"}, record={"response": True, **record}, **keys)
    (line,) = error.value.faults
    assert all(word in line for word in said), line


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "SMALL", 0)
    free = type("Memory", (), {"available": 1000})
    monkeypatch.setattr(responses.psutil, "virtual_memory", lambda: free)
    with pytest.raises(UserError, match=r"record.response = true: needs .* GB of memory for 2 of") as error:
        built(settings({"name": "mlp", "widths": [70]}, record=RECORD))
    assert "\n" not in str(error.value)


def test_a_field_that_blows_up_is_named() -> None:
    with pytest.raises(Diverged, match=r"replica \d in the field .* record.field \(now 1e\+30\)"):
        run({**SYSTEMS["compiled"][0], "activation": "relu"}, {**RECORD, "field": 1e30})


# The observable.


def test_the_temperature_of_straight_and_bent_curves() -> None:
    """Δ/2 = T χ, and Δ/2 = T χ + c χ²: slope and chord, to rounding for three points, in a narrow window."""
    lag = np.geomspace(1, 1000, 31)
    chi = xr.DataArray((1 - np.exp(-lag / 100))[None], dims=("waiting_time", "lag"), coords={"lag": lag})
    for bend in (0.0, 0.4):
        delta = 2 * (0.3 * chi + bend * chi**2)
        for decades in (None, 0.25):
            found = effective_temperature(delta, chi, decades=decades)
            slope = 0.3 + 2 * bend * chi[:, 1:-1]
            tolerance = 1e-12 if decades is None or not bend else 0.03
            np.testing.assert_allclose(found["effective_temperature"][:, 1:-1], slope, rtol=tolerance)
            np.testing.assert_allclose(found["chord_temperature"], 0.3 + bend * chi, rtol=1e-12)


def test_what_is_not_linear_is_left_out() -> None:
    lag = np.geomspace(1, 100, 9)
    chi = xr.DataArray(lag[None], dims=("waiting_time", "lag"), coords={"lag": lag})
    bent = xr.DataArray(np.linspace(0, 0.2, 9)[None], dims=chi.dims, coords=chi.coords)
    found = effective_temperature(chi, chi, nonlinearity=bent)
    assert found["chord_temperature"].notnull().sum() == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d, r: (d.rename(lag="time"), r), "dimensions"),
        (lambda d, r: (d.assign_coords(lag=[1.0, 2.0, 4.0]), r), "coordinate 'lag' differs"),
        (lambda d, r: (d, r.assign_attrs(centre_of_mass_mobility=0.1)), "centre of mass"),
    ],
)
def test_what_does_not_belong_together_has_no_temperature(change: Any, said: str) -> None:
    one = xr.DataArray(np.ones((1, 3)), dims=("waiting_time", "lag"), coords={"lag": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match=said):
        effective_temperature(*change(one, one))


def test_the_figure_draws_what_is_known(tmp_path: Path) -> None:
    """χ against Δ/2 and T_eff with α D/(2B) for every waiting time; bands only from enough samples."""
    record = {"response": True, "waiting_times": [0, 6], "lags": [1, 2, 4, 8, 16], "times": [1]}
    for replicas, bands in ((4, 2), (3, 0)):
        found = run(SYSTEMS["compiled, tiny"][0], record, replicas=replicas, learning_rate=0.1)
        assert EFFECTIVE_TEMPERATURE in plotting.quantities(found)
        left, right = plotting.figure(found, EFFECTIVE_TEMPERATURE).axes
        assert len(right.collections) == bands
        assert sum(line.get_linestyle() == ":" for line in right.get_lines()) == 2 + 1
        assert left.get_xlabel().endswith("/2$")
        words = [text.get_text() for text in right.get_legend().get_texts()]
        assert any("too few samples" in w for w in words) == (not bands)
        expected = found["gradient_noise"].mean("replica") * 0.1 / (2 * 8)
        dotted = [line for line in right.get_lines() if line.get_linestyle() == ":"]
        levels = [line.get_ydata()[0] for line in dotted if len(line.get_ydata())]
        np.testing.assert_allclose(levels, expected)
    assert EFFECTIVE_TEMPERATURE not in plotting.quantities(found.drop_vars("integrated_response"))


def test_a_run_with_a_response_begins_from_a_file(tmp_path: Path) -> None:
    """The weights that were stored; fields and kicks of their own."""
    system, keys = SYSTEMS["thermal"]
    first = settings(system, record={"configurations": "always", "times": [10]}, t_max=10, **keys).given
    first["output"]["path"] = str(tmp_path / "first.nc")
    simulation.execute(run_files.load(first))
    for way in ("noise", "field"):
        record = {"response": True, "response_from": way, "waiting_times": [0], "lags": [1, 4], "times": [1]}
        second = settings(system, record=record, t_max=4, **keys).given
        found = langevin.run({**second, "start": {"file": first["output"]["path"]}})
        chi = found["integrated_response"].mean("replica")[0]
        np.testing.assert_allclose(chi, [0.01, 0.04], rtol=0.1)
