"""Noise averaged over two steps: the exact law of oscillators, the response, kernels, and what they carry."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from conftest import SIGMAS, z_score

from langevin.config import build, registry, run_files, sections
from langevin.config.keys import DynamicsKeys, explain, key
from langevin.core.capabilities import CarriesArrays, HasKernel
from langevin.core.dynamics import Langevin, LangevinState
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.schemes import SCHEMES, SchemeName
from langevin.core.system import Array
from langevin.errors import ConfigError
from langevin.systems.harmonic import Harmonic
from langevin.systems.pspin import PSpin, workspace

EM: SchemeName = "euler_maruyama"
LM: SchemeName = "leimkuhler_matthews"
K, T, T_I, DT = 1.3, 0.7, 2.0, 0.2


def oscillators(n: int, replicas: int, kind: type[Any] = Harmonic) -> Any:
    keys = Harmonic.Dynamics(temperature=T, initial_temperature=T_I, dt=DT, t_max=1.0)
    return kind(Harmonic.Parameters(n=n, stiffness=K), keys, Ensemble.regular(replicas, 1, 1))


def states(system: Langevin, replicas: int, *times: float) -> list[LangevinState]:
    noise, found, now = Noise(1, range(replicas)), [], 0.0
    state = system.initial_state(noise)
    for t in times:
        state, now = system.advance(state, now, t, noise), t
        found.append(state)
    return found


def law(scheme: SchemeName, waiting: int, lag: int) -> dict[str, float]:
    """Energy, C, Δ and χ of an oscillator after so many steps: (x, held ξ) is a linear process."""
    a, sigma = 1 - K * DT, math.sqrt(2 * T * DT)
    half = sigma / 2 if scheme == LM else 0.0
    step, drawn = np.array([[a, half], [0, 0]]), np.array([sigma - half, 1])
    powers = [np.linalg.matrix_power(step, n) for n in range(waiting + lag + 1)]

    def variance(n: int) -> Array:
        start = powers[n] @ np.diag([T_I / K, 1]) @ powers[n].T
        return sum((np.outer(p @ drawn, p @ drawn) for p in powers[:n]), start)

    c = (powers[lag] @ variance(waiting))[0, 0]
    x2, later = variance(waiting)[0, 0], variance(waiting + lag)[0, 0]
    first = DT / 2 if scheme == LM else DT
    chi = a ** (lag - 1) * first + DT * (1 - a ** (lag - 1)) / (1 - a)
    return {"energy": K / 2 * x2, "correlation": c, "msd": x2 + later - 2 * c, "integrated_response": chi}


@pytest.mark.parametrize(("waiting", "lag"), [(0, 1), (1, 1), (3, 5), (60, 4)])
def test_oscillators_follow_the_exact_law_of_the_scheme(waiting: int, lag: int) -> None:
    """At a coarse step, out of equilibrium and in it. 16 z-tests at 5 σ: one false alarm in 10⁵ seeds."""
    system = Langevin(oscillators(100, 300), T, DT, response=True, scheme=LM)
    at_waiting, at_end = states(system, 300, waiting * DT, (waiting + lag) * DT)
    found = {**system.measure(at_waiting), **system.compare(np.asarray(system.reference(at_waiting)), at_end)}
    expected, other = law(LM, waiting, lag), law(EM, waiting, lag)
    for name, value in expected.items():
        assert abs(z_score(found[name], value)) < SIGMAS, name
    # The control: the other scheme's law is another one.
    assert max(abs(z_score(found[name], value)) for name, value in other.items()) > 2 * SIGMAS


def test_the_stationary_law_is_that_of_equilibrium() -> None:
    """⟨x²⟩ = T/k and the fluctuation-dissipation theorem, exactly, at every step; not so with plain noise."""
    for lag in (1, 4, 30):
        exact, plain = law(LM, 100, lag), law(EM, 100, lag)
        assert exact["energy"] == pytest.approx(T / 2, rel=1e-12)
        assert plain["energy"] == pytest.approx(T / 2 / (1 - K * DT / 2), rel=1e-12)
        for found, factor in ((exact, 1.0), (plain, 1 - K * DT / 2)):
            drop = 2 * found["energy"] / K - found["correlation"]
            assert found["integrated_response"] == pytest.approx(factor * drop / T, rel=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_fluctuation_dissipation_theorem_of_a_run(scheme: SchemeName) -> None:
    """χ − (C(0) − C)/T of the same replicas: a z-test at 5 σ, and its control with plain noise."""
    system = Langevin(oscillators(100, 400), T, DT, response=True, scheme=scheme)
    at_waiting, at_end = states(system, 400, 10.0, 11.0)
    found = system.compare(np.asarray(system.reference(at_waiting)), at_end)
    drop = np.mean(at_waiting.x**2, axis=1) - found["correlation"]
    score = abs(z_score(found["integrated_response"] - drop / T, 0.0))
    assert score < SIGMAS if scheme == LM else score > 2 * SIGMAS


def spins(couplings: str = "float64", threads: int = 2) -> PSpin:
    dynamics = sections.LangevinDynamics(temperature=0.8, dt=0.02, t_max=1.0)
    parameters = PSpin.Parameters(p=3, n=40, couplings=couplings)
    return PSpin(parameters, dynamics, Ensemble.regular(14, 2, 1, threads=threads))


@pytest.mark.parametrize(("couplings", "rounding"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("response", [False, True])
def test_the_fused_kernel_equals_the_plain_step(couplings: str, rounding: float, response: bool) -> None:
    # 14 replicas in two samples: vectors of eight with a spare lane (float32), of four and single ones.
    system = Langevin(spins(couplings), 0.8, 0.02, response=response, scheme=LM)
    fused_noise, plain_noise = Noise(1, range(14)), Noise(1, range(14))
    start = system.initial_state(fused_noise)
    fused = system.advance(start, 0.0, 0.5, fused_noise)
    x, accumulated, held = start.x, np.zeros((2, 14, 40)) if response else None, plain_noise.normal(40)
    np.testing.assert_array_equal(start.held, held)
    for n in range(25):
        x = system.step(x, n * 0.02, plain_noise, accumulated, held)
    np.testing.assert_allclose(fused.x, x, rtol=0, atol=rounding)
    np.testing.assert_array_equal(fused.held, held)
    assert fused_noise.state_dict() == plain_noise.state_dict()
    if response:
        # The same normals, added in the same order; x differs by the rounding of 25 steps.
        np.testing.assert_array_equal(fused.accumulated[0], accumulated[0])  # type: ignore[index]
        np.testing.assert_allclose(fused.accumulated[1], accumulated[1], rtol=0, atol=rounding)  # type: ignore[index]


def test_drawing_noise_in_pieces_does_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = states(Langevin(spins(), 0.8, 0.02, response=True, scheme=LM), 14, 0.5)[0]
    monkeypatch.setattr(workspace, "_NOISE_BUFFER", 8 * 40)  # one step of eight lanes, two of four
    pieces = states(Langevin(spins(), 0.8, 0.02, response=True, scheme=LM), 14, 0.5)[0]
    for name in ("x", "accumulated", "held"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))


class OldKernel(Harmonic, HasKernel):
    """A fused kernel that knows of no other scheme."""

    calls = 0

    def fused_steps(self, x: Array, steps: int, dt: float, temperature: float, noise: Noise) -> Array:  # type: ignore[override]
        self.calls += 1
        for _ in range(steps):
            x = x - dt * K * x + math.sqrt(2 * temperature * dt) * noise.normal(x.shape[1])
        return x


@pytest.mark.parametrize(("scheme", "temperature", "calls"), [(EM, T, 2), (LM, T, 0), (LM, 0.0, 2)])
def test_a_kernel_that_cannot_average_serves_what_it_can(
    scheme: SchemeName, temperature: float, calls: int
) -> None:
    model = oscillators(10, 3, OldKernel)
    late = states(Langevin(model, temperature, DT, scheme=scheme), 3, 0.4, 2.0)[1]
    assert model.calls == calls
    plain = states(Langevin(oscillators(10, 3), temperature, DT, scheme=scheme), 3, 0.4, 2.0)[1]
    np.testing.assert_allclose(late.x, plain.x, rtol=1e-12)


class Listing(Harmonic, CarriesArrays, HasKernel):
    """A kernel whose force lags: taken where a list was last built, anew once x has moved by far."""

    idle = False
    far = 1.0

    def carried(self, x: Array) -> dict[str, Array]:
        return {"built": x, "age": np.zeros(len(x))}

    def fused_steps(self, x, steps, dt, temperature, noise, accumulated=None, held=None, carried=None):  # type: ignore[no-untyped-def]
        if self.idle:
            return None
        built, age = carried["built"], carried["age"]
        for _ in range(steps):
            moved = np.abs(x - built).max(axis=1, keepdims=True) > self.far
            built, age = np.where(moved, x, built), np.where(moved[:, 0], 0.0, age + 1)
            drawn = noise.normal(x.shape[1])
            used = held.scheme.noise(held.normals, drawn[:, None]).used[:, 0]
            x = x - dt * K * built + math.sqrt(2 * temperature * dt) * used
            held.normals[:] = drawn
        carried["built"], carried["age"] = built, age
        return x


def test_what_a_kernel_carries_is_part_of_the_state() -> None:
    system = Langevin(oscillators(10, 3, Listing), T, DT, scheme=LM)
    assert set(system.state_dict(system.initial_state(Noise(1, range(3))))) == {
        *("x", "ceiling", "held", "carried_built", "carried_age")
    }
    whole = system.state_dict(states(system, 3, 6.0)[0])
    assert (whole["carried_age"] > 0).any()  # else nothing would be carried
    noise, now = Noise(1, range(3)), 0.0
    saved = system.state_dict(system.initial_state(noise))
    for t in (0.4, 2.0, 2.2, 6.0):
        # Loaded by another system each time, as a resume does.
        other = Langevin(oscillators(10, 3, Listing), T, DT, scheme=LM)
        state = other.load_state(saved)
        before = {name: array.copy() for name, array in saved.items()}
        saved, now = other.state_dict(other.advance(state, now, t, noise)), t
        for name, array in other.state_dict(state).items():
            np.testing.assert_array_equal(array, before[name])
    assert saved.keys() == whole.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(saved[name], array)


def test_after_the_plain_step_a_kernel_carries_what_belongs_to_the_new_configuration() -> None:
    model = oscillators(10, 3, Listing)
    model.idle = True
    end = states(Langevin(model, T, DT, scheme=LM), 3, 1.0)[0]
    np.testing.assert_array_equal(end.carried["built"], end.x)
    # A run that the kernel cannot serve carries nothing.
    assert states(Langevin(oscillators(10, 3, OldKernel), T, DT, scheme=LM), 3, 1.0)[0].carried == {}


def test_at_zero_temperature_nothing_is_drawn_or_held() -> None:
    ends = []
    for scheme in (EM, LM):
        system, noise = Langevin(oscillators(10, 3), 0.0, DT, scheme=scheme), Noise(1, range(3))
        state = system.advance(system.initial_state(noise), 0.0, 2.0, noise)
        assert state.held is None and noise.state_dict() == {}
        ends.append(state.x)
    np.testing.assert_array_equal(*ends)


def test_a_step_without_what_it_needs_is_refused() -> None:
    x, noise = np.zeros((3, 10)), Noise(1, range(3))
    with pytest.raises(ValueError, match="missing"):
        Langevin(oscillators(10, 3), T, DT, scheme=LM).step(x, 0.0, noise)
    with pytest.raises(ValueError, match="given"):
        Langevin(oscillators(10, 3), T, DT).step(x, 0.0, noise, held=np.zeros((3, 10)))


def test_every_scheme_has_its_name_in_the_run_file() -> None:
    assert set(get_args(SchemeName)) == set(SCHEMES)
    for name in registry.names():
        keys = sections.dynamics_keys(registry.load(name))
        if issubclass(keys, sections.LangevinDynamics):
            said = "\n".join(explain(keys))
            assert "scheme (default: " in said and all(f'"{scheme}"' in said for scheme in SCHEMES)


class Plain(Harmonic):
    """A model whose section [dynamics] offers no choice."""

    class Dynamics(DynamicsKeys):
        time_step_key = "dt"
        temperature: float = key("bath temperature", default=T)
        initial_temperature: float = key("temperature of the start", default=T_I)
        dt: float = key("time step", default=DT)
        t_max: float = key("end of the run", default=1.0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_run_takes_the_scheme_that_its_file_names(scheme: SchemeName, small: Any) -> None:
    ensemble = Ensemble.regular(4, 2, 7)
    system: Any = build.build(run_files.load(small("harmonic", dynamics__scheme=scheme)), ensemble)
    assert system.scheme.name == scheme
    with pytest.raises(
        ConfigError, match=r'dynamics\.scheme = "heun": allowed: one of "euler_maruyama", "leim'
    ):
        run_files.load(small("harmonic", dynamics__scheme="heun"))


def test_a_model_whose_keys_offer_no_scheme_takes_independent_noise() -> None:
    given = {"system": {"name": "test_averaged_noise:Plain", "n": 5}, "dynamics": {}}
    settings = run_files.load(given, folder=Path(__file__).parent)
    system: Any = build.build(settings, Ensemble.regular(1, 1, 1))
    assert system.scheme.name == EM
