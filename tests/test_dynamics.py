"""The stochastic step against exact laws, each with a negative control that must fail."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conftest import SIGMAS, z_score

from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.system import Array
from langevin.errors import Diverged
from langevin.systems.harmonic import Harmonic

K, T, T_I = 1.3, 0.7, 2.0


def oscillators(n: int, replicas: int, seed: int = 1) -> Harmonic:
    dynamics = Harmonic.Dynamics(temperature=T, initial_temperature=T_I, dt=0.01, t_max=1.0)
    return Harmonic(Harmonic.Parameters(n=n, stiffness=K), dynamics, Ensemble.regular(replicas, 1, seed))


class WrongNoise(Langevin):
    """√(T dt) in place of √(2T dt): a factor of 2 in the noise strength."""

    def step(
        self, x: Array, t: float, noise: Noise, accumulated: Array | None = None, held: Array | None = None
    ) -> Array:
        kick = math.sqrt(self.temperature * self.dt) * noise.normal(x.shape[1])
        return x + self.dt * self.model.force(x, t, noise) + kick


class WrongSign(Langevin):
    """The force with the wrong sign."""

    def step(
        self, x: Array, t: float, noise: Noise, accumulated: Array | None = None, held: Array | None = None
    ) -> Array:
        return (
            x
            - self.dt * self.model.force(x, t, noise)
            + math.sqrt(2 * T * self.dt) * noise.normal(x.shape[1])
        )


def second_moments(scheme: type[Langevin], dt: float, waiting: float, lag: float) -> dict[str, np.ndarray]:
    """⟨x²⟩ and the two-time observables of 200 replicas of 250 oscillators."""
    model = oscillators(250, 200)
    system, noise = scheme(model, T, dt), Noise(1, range(200))
    at_start = system.initial_state(noise)
    at_waiting = system.advance(at_start, 0.0, waiting, noise)
    at_end = system.advance(at_waiting, waiting, waiting + lag, noise)
    return {
        "energy": system.measure(at_waiting)["energy"],
        **system.compare(system.reference(at_waiting), at_end),
    }


def closed_form(dt: float, waiting: float, lag: float) -> dict[str, float]:
    """The laws of the harmonic module's docstring, for the scheme's own factor a = 1 − k dt per step.

    The scheme is itself a linear (AR(1)) process: e^{−kt} becomes a^{t/dt} and T/k becomes
    T/(k(1 − k dt/2)). Comparing with its exact law leaves no discretisation error to allow for.
    """
    a, stationary = 1 - K * dt, T / (K * (1 - K * dt / 2))

    def variance(t: float) -> float:
        return stationary + (T_I / K - stationary) * a ** (2 * t / dt)

    c = variance(waiting) * a ** (lag / dt)
    return {
        "energy": K / 2 * variance(waiting),
        "correlation": c,
        "msd": variance(waiting) + variance(waiting + lag) - 2 * c,
    }


@pytest.mark.parametrize(("waiting", "lag"), [(0.1, 0.05), (0.3, 0.5), (1.0, 1.0)])
def test_harmonic_oscillators_follow_the_exact_law(waiting: float, lag: float) -> None:
    # 9 z-tests at 5 σ: one false alarm in 2·10⁵ seeds.
    expected = closed_form(0.01, waiting, lag)
    for name, values in second_moments(Langevin, 0.01, waiting, lag).items():
        assert abs(z_score(values, expected[name])) < SIGMAS, name


def test_the_schemes_law_tends_to_the_continuous_one() -> None:
    def variance(t: float) -> float:
        return T / K + (T_I / K - T / K) * math.exp(-2 * K * t)

    c = variance(0.3) * math.exp(-K * 0.5)
    exact = {"energy": K / 2 * variance(0.3), "correlation": c, "msd": variance(0.3) + variance(0.8) - 2 * c}
    for name, value in exact.items():
        # Weak order 1: the distance is proportional to dt.
        near, far = (abs(closed_form(dt, 0.3, 0.5)[name] - value) for dt in (1e-4, 1e-3))
        assert far / near == pytest.approx(10, rel=0.05), name


@pytest.mark.parametrize("broken", [WrongNoise, WrongSign])
def test_a_wrong_step_is_caught(broken: type[Langevin]) -> None:
    expected = closed_form(0.01, 0.3, 0.5)
    found = second_moments(broken, 0.01, 0.3, 0.5)
    for name in ("energy", "msd"):
        assert abs(z_score(found[name], expected[name])) > 2 * SIGMAS, name


class Nested:
    """One Brownian path seen at several steps: coarse increments are sums of the finest ones."""

    def __init__(self, path: Array, level: int) -> None:
        steps, replicas, dof = path.shape
        ratio = 2**level
        self.increments = path.reshape(steps // ratio, ratio, replicas, dof).sum(axis=1) / math.sqrt(ratio)
        self.count = 0

    def normal(self, dof: int) -> Array:
        self.count += 1
        return np.asarray(self.increments[self.count - 1])


class Pendulum(Harmonic):
    """A nonlinear force that grows at most linearly, so that explicit steps of any path stay bounded."""

    def force(self, x: Array, t: float, noise: Any) -> Array:
        return -x - np.sin(2 * x)


def test_weak_order_on_nested_paths() -> None:
    """E[x²(1)] at dt = 1/8, 1/16, 1/32, 1/64 on the same paths: successive differences fall by 2^order."""
    finest, replicas, dof = 64, 40, 4000
    path = np.random.default_rng(5).standard_normal((finest, replicas, dof))
    start = np.random.default_rng(6).standard_normal((replicas, dof))
    keys = Harmonic.Dynamics(temperature=T, dt=0.1, t_max=1.0)
    model = Pendulum(Harmonic.Parameters(n=dof), keys, Ensemble.regular(replicas, 1, 1))
    moments = []
    for level in (3, 2, 1, 0):
        dt, noise, x = 2**level / finest, Nested(path, level), start
        system = Langevin(model, T, dt)
        for n in range(finest // 2**level):
            x = system.step(x, n * dt, noise)  # type: ignore[arg-type]
        moments.append(np.mean(x * x, axis=1))
    differences = np.diff(moments, axis=0)
    means = differences.mean(axis=1)
    errors = differences.std(axis=1, ddof=1) / math.sqrt(replicas)
    assert (np.abs(means) > 10 * errors).all()
    orders = np.log2(means[:-1] / means[1:])
    # An error a·dt + b·dt² gives the order 1 + O(b dt/a), halved from one pair of levels to the next:
    # their extrapolation 2·(second) − (first) is free of it. Errors are propagated at 5 σ.
    error = np.hypot(errors[:-1] / means[:-1], errors[1:] / means[1:]) / math.log(2)
    off = 2 * orders[1] - orders[0] - system.scheme.weak_order
    assert abs(off) < 5 * math.hypot(2 * error[1], error[0]), orders


def test_zero_temperature_draws_no_numbers_and_decays() -> None:
    model = oscillators(10, 3)
    system, noise = Langevin(model, 0.0, 0.01), Noise(1, range(3))
    state = system.initial_state(noise)
    after = system.advance(state, 0.0, 1.0, noise)
    np.testing.assert_allclose(after.x, state.x * (1 - K * 0.01) ** 100, rtol=1e-12)
    assert noise.state_dict() == {}


def test_divergence_is_an_error_that_says_when_and_what_to_do() -> None:
    system, noise = Langevin(oscillators(10, 3), T, 3.0), Noise(1, range(3))
    with pytest.raises(Diverged, match=r"between t = 0 and t = 900.*smaller dynamics\.dt \(now 3\)"):
        system.advance(system.initial_state(noise), 0.0, 900.0, noise)
    with pytest.raises(Diverged, match="nan"):
        system.advance(system.initial_state(noise), 0.0, 9e4, noise)
