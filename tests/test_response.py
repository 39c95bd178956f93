"""The integrated response of a run without a field: against closed forms, a field, and the FDT."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SIGMAS, z_score

import langevin
from langevin.config import registry, run_files, templates
from langevin.config.sections import LangevinDynamics
from langevin.core.capabilities import HasKernel
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.schemes import SchemeName
from langevin.core.system import Array
from langevin.errors import ConfigError
from langevin.systems.harmonic import Harmonic
from langevin.systems.pspin import PSpin

Maker = Callable[..., dict[str, Any]]
K, T = 1.3, 0.7


def oscillators(n: int, replicas: int, t_i: float = 2.0, kind: type[Harmonic] = Harmonic) -> Harmonic:
    keys = Harmonic.Dynamics(temperature=T, initial_temperature=t_i, dt=0.01, t_max=1.0)
    return kind(Harmonic.Parameters(n=n, stiffness=K), keys, Ensemble.regular(replicas, 1, 1))


def spins(
    n: int,
    replicas: int,
    samples: int,
    t_i: float = math.inf,
    kind: type[PSpin] = PSpin,
    couplings: str = "float64",
) -> PSpin:
    dynamics = LangevinDynamics(temperature=0.8, initial_temperature=t_i, dt=0.01, t_max=1.0)
    ensemble = Ensemble.regular(replicas, samples, 1, threads=2)
    return kind(PSpin.Parameters(p=3, n=n, couplings=couplings), dynamics, ensemble)


def response(system: Langevin, waiting: float, lag: float, replicas: int) -> Array:
    """χ(t_w + t, t_w) of every replica, by the route that the engine takes."""
    noise = Noise(1, range(replicas))
    at_waiting = system.advance(system.initial_state(noise), 0.0, waiting, noise)
    at_end = system.advance(at_waiting, waiting, waiting + lag, noise)
    return system.compare(np.asarray(system.reference(at_waiting)), at_end)["integrated_response"]


def closed_form(dt: float, lag: float) -> float:
    """χ = dt Σ_m (1 − k dt)^m = (1 − (1 − k dt)^n)/k, n = t/dt: a kick dt·h decays by 1 − k dt each step."""
    return float((1 - (1 - K * dt) ** round(lag / dt)) / K)


@pytest.mark.parametrize(
    ("dt", "waiting", "lag"),
    [
        (0.01, 0.0, 0.01),
        (0.01, 0.3, 0.5),
        (0.01, 1.0, 2.0),
        (0.2, 0.6, 0.2),
        (0.2, 0.0, 1.0),
        (0.2, 1.0, 3.0),
    ],
)
def test_harmonic_oscillators_have_the_exact_response_at_any_step(
    dt: float, waiting: float, lag: float
) -> None:
    # Not in equilibrium: T_i ≠ T. 6 z-tests at 5 σ, one false alarm in 3·10⁵ seeds; σ is 0.3 to 1 %.
    found = response(Langevin(oscillators(250, 400), T, dt, response=True), waiting, lag, 400)
    assert abs(z_score(found, closed_form(dt, lag))) < SIGMAS
    assert found.std() / math.sqrt(400) < 0.01 * found.mean()


def test_the_schemes_response_tends_to_the_continuous_one() -> None:
    near, far = (abs(closed_form(dt, 0.5) - (1 - math.exp(-K * 0.5)) / K) for dt in (1e-4, 1e-3))
    assert far / near == pytest.approx(10, rel=0.05)


class HalfTheNoise(Langevin):
    """√(T dt) in place of √(2T dt), in the step and in the sums: χ comes out half."""

    factor, late = math.sqrt(0.5), False

    def step(
        self, x: Array, t: float, noise: Noise, accumulated: Array | None = None, held: Array | None = None
    ) -> Array:
        kick = self.factor * math.sqrt(2 * T * self.dt) * noise.normal(x.shape[1])
        used, self.before = (getattr(self, "before", 0 * kick) if self.late else kick), kick
        assert accumulated is not None
        accumulated += [used, x * used]
        return x + self.dt * self.model.force(x, t, noise) + kick


class LateNoise(HalfTheNoise):
    """The sums take the noise of the step before."""

    factor, late = 1.0, True


class OwnSum(HalfTheNoise):
    """The right step, written out: the broken ones fail for what is broken in them alone."""

    factor = 1.0


@pytest.mark.parametrize(("scheme", "right"), [(OwnSum, True), (HalfTheNoise, False), (LateNoise, False)])
def test_a_wrong_noise_is_caught(scheme: type[Langevin], right: bool) -> None:
    found = response(scheme(oscillators(250, 400), T, 0.2, response=True), 0.6, 1.0, 400)
    score = abs(z_score(found, closed_form(0.2, 1.0)))
    assert score < SIGMAS if right else score > 2 * SIGMAS


def exact_variances(dt: float, steps: int) -> list[float]:
    """Variance per oscillator of Σ_n (x_end − c_n) k_n/2T for c_n = 0, x_0, x_n, from x_0 in equilibrium.

    x_n and k_n are linear in standard normals z; a quadratic form z·Bz has the variance 2 tr S², with S the
    symmetric part of B.
    """
    size = steps + 1
    kicks = math.sqrt(2 * T * dt) * np.eye(size)[1:]
    x = np.zeros((size, size))
    x[0, 0] = math.sqrt(T / K)
    for n in range(steps):
        x[n + 1] = (1 - K * dt) * x[n] + kicks[n]
    found = []
    for c in (np.zeros((steps, size)), np.tile(x[0], (steps, 1)), x[:-1]):
        form = (x[-1] - c).T @ kicks
        symmetric = (form + form.T) / 2
        found.append(2 * float(np.sum(symmetric**2)) / (2 * T) ** 2)
    return found


@pytest.mark.parametrize(
    ("lag", "gain", "simpler"), [(0.05, 11.3, 4.5), (0.5, 4.2, 1.02), (2.0, 2.0, 0.66), (8.0, 0.74, 0.55)]
)
def test_the_control_variate_has_mean_zero_and_its_exact_gain(
    lag: float, gain: float, simpler: float
) -> None:
    """Variance of x·ΔW over that of Σ (x − x_n)·k_n, and over that of the simpler (x − x(t_w))·ΔW."""
    n, replicas, dt = 50, 1000, 0.01
    system = Langevin(oscillators(n, replicas, t_i=T), T, dt, response=True)
    noise = Noise(1, range(replicas))
    start = system.initial_state(noise)
    end = system.advance(start, 0.0, lag, noise)
    assert start.accumulated is not None
    assert end.accumulated is not None
    kicks, products = end.accumulated - start.accumulated
    estimates = [np.mean(end.x * kicks - c, axis=1) / (2 * T) for c in (0 * kicks, start.x * kicks, products)]
    # One false alarm in 10⁵ for the 12 means at 5 σ. A variance over R replicas errs by √(2/R): 5 σ again.
    expected = exact_variances(dt, round(lag / dt))
    for values, variance in zip(estimates, expected, strict=True):
        assert abs(z_score(values, closed_form(dt, lag))) < SIGMAS
        assert abs(values.var(ddof=1) * n / variance - 1) < SIGMAS * math.sqrt(2 / replicas)
    assert expected[0] / expected[2] == pytest.approx(gain, rel=0.02)
    assert expected[0] / expected[1] == pytest.approx(simpler, rel=0.02)


def switched_on(age: float, first: float) -> float:
    """A field's strength in the step that begins at this age: 0 before, `first` in the first step, then 1."""
    return 0.0 if age < -1e-9 else first if age < 1e-9 else 1.0


class Pendulum(Harmonic):
    """A nonlinear force; a constant field on top, from `since` on, perhaps weaker in the first step."""

    h: Array | float = 0.0
    since, first = 0.0, 1.0

    def force(self, x: Array, t: float, noise: Any) -> Array:
        return -x - np.sin(2 * x) + self.h * switched_on(t - self.since, self.first)


class SpinsInAField(PSpin):
    """The p-spin model by the plain step, with the same field."""

    h: Array | float = 0.0
    since, first = 0.0, 1.0

    def force(self, x: Array, t: float = 0.0, noise: Any = None) -> Array:
        return super().force(x) + self.h * switched_on(t - self.since, self.first)

    def fused_steps(self, *_: Any, **__: Any) -> None:  # type: ignore[override]
        return None


@pytest.mark.parametrize(
    ("scheme", "first"), [("euler_maruyama", 1.0), ("leimkuhler_matthews", 0.5)], ids=["plain", "averaged"]
)
@pytest.mark.parametrize("kind", ["pendulum", "pspin"])
def test_it_is_the_response_to_a_field(kind: str, scheme: SchemeName, first: float) -> None:
    """Against (x⁺ − x⁻)/2h on the same noise, h_i = ±h of random sign on every site, at a coarse step.

    Exact at any dt, constraint included: no bias but O(h²). 4 z-tests at 5 σ over 2000 replicas.
    """
    replicas, dt, waiting, lag, h = 2000, 0.08, 0.4, 0.8, 1e-4
    model: Any = (
        oscillators(24, replicas, kind=Pendulum)
        if kind == "pendulum"
        else spins(24, replicas, 20, kind=SpinsInAField)
    )
    model.since, model.first = waiting, first
    measured = response(Langevin(model, T, dt, response=True, scheme=scheme), waiting, lag, replicas)
    signs = np.random.default_rng(3).choice([-1.0, 1.0], (replicas, 24))
    ends = []
    for sign in (1, -1):
        model.h = sign * h * signs
        system, noise = Langevin(model, T, dt, scheme=scheme), Noise(1, range(replicas))
        ends.append(system.advance(system.initial_state(noise), 0.0, waiting + lag, noise).x)
    direct = np.mean(signs * (ends[0] - ends[1]), axis=1) / (2 * h)
    assert abs(z_score(measured - direct, 0.0)) < SIGMAS
    assert SIGMAS * (measured - direct).std() / math.sqrt(replicas) < 0.03 * direct.mean()


def fdt_violation(t_i: float, dt: float, lags: list[float]) -> tuple[Array, Array]:
    """χ − (1 − C)/T at T = 0.8 and χ, shape (lag, sample); from the planted equilibrium at T_i."""
    samples, each, temperature = 300, 8, 0.8
    model = spins(48, samples * each, samples, t_i)
    system, noise = Langevin(model, temperature, dt, response=True), Noise(1, range(samples * each))
    state = system.initial_state(noise)
    reference, now, found = system.reference(state), 0.0, []
    for lag in lags:
        state, now = system.advance(state, now, lag, noise), lag
        pair = system.compare(reference, state)
        chi = pair["integrated_response"]
        found.append([chi - (1 - pair["correlation"]) / temperature, chi])
    by_sample = np.array(found).reshape(len(lags), 2, each, samples).mean(axis=2)
    return by_sample[:, 0], by_sample[:, 1]


def test_the_fluctuation_dissipation_theorem_holds_in_equilibrium() -> None:
    """χ = (1 − C)/T above T_d = 0.612, at every N, from an exact equilibrium start.

    Of the scheme it holds to O(dt): expanding one step, χ = dt − μ dt² and (1 − C)/T = dt − (3/2) μ dt² at
    N → ∞, so that χ − (1 − C)/T is μ dt/2 of χ, 1.3 % at dt = 0.01 with μ = T − pE = 2.7; at later lags 1.0
    to 1.4 % (measured). Two steps are extrapolated to dt = 0, which leaves O(dt²), some 0.1 % of χ, where
    5 σ is 2 to 3 %. 3 z-tests at 5 σ over samples.
    """
    lags = [0.1, 0.3, 1.0]
    (fine, chi), (coarse, _) = (fdt_violation(0.8, dt, lags) for dt in (0.01, 0.02))
    extrapolated = 2 * fine - coarse
    scores = z_score(extrapolated, 0.0, axis=1)
    assert (np.abs(scores) < SIGMAS).all(), scores
    assert (SIGMAS * extrapolated.std(axis=1) / math.sqrt(300) < 0.05 * chi.mean(axis=1)).all()


def test_it_fails_out_of_equilibrium() -> None:
    # The control: started at T_i = 2 and held at T = 0.8, C falls faster than the response grows.
    violation, _ = fdt_violation(2.0, 0.01, [0.5, 2.0])
    assert (z_score(violation, 0.0, axis=1) < -2 * SIGMAS).all()


@pytest.mark.parametrize(("couplings", "rounding"), [("float64", 1e-12), ("float32", 1e-5)])
def test_the_fused_kernel_accumulates_what_the_plain_step_does(couplings: str, rounding: float) -> None:
    # 14 replicas in two samples: vectors of eight with a spare lane (float32), of four and single ones.
    system = Langevin(spins(40, 14, 2, couplings=couplings), 0.8, 0.02, response=True)
    fused_noise, plain_noise = Noise(1, range(14)), Noise(1, range(14))
    state = system.initial_state(fused_noise)
    fused = system.advance(state, 0.0, 0.5, fused_noise)
    assert fused.accumulated is not None
    x, accumulated = state.x, np.zeros((2, 14, 40))
    for n in range(25):
        x = system.step(x, n * 0.02, plain_noise, accumulated)
    # The noise is the same numbers added in the same order; x differs by the rounding of 25 steps.
    np.testing.assert_array_equal(fused.accumulated[0], accumulated[0])
    np.testing.assert_allclose(fused.accumulated[1], accumulated[1], rtol=0, atol=rounding)
    np.testing.assert_allclose(fused.x, x, rtol=0, atol=rounding)


@pytest.mark.parametrize("name", ["harmonic", "pspin"])
def test_measuring_it_does_not_change_a_bit_of_the_trajectory(name: str, small: Maker) -> None:
    without = langevin.run(small(name))
    found = langevin.run(small(name, record__response=True))
    assert "integrated_response" not in without
    for variable in without.data_vars:
        np.testing.assert_array_equal(found[variable], without[variable])
    chi = found["integrated_response"]
    assert chi.dims == ("replica", "waiting_time", "lag")
    assert bool((chi.isnull() == found["msd"].isnull()).all())
    assert {"long_name", "units", "method"} <= set(chi.attrs)
    assert "without a field" in chi.attrs["method"]
    # Every waiting time has its own origin: at the first lag, one step, the response is dt for each.
    np.testing.assert_allclose(chi[:, :, 0].mean("replica"), float(chi["lag"][0]), rtol=0.3)


class OldKernel(Harmonic, HasKernel):
    """A fused kernel that knows nothing of the response."""

    calls = 0

    def fused_steps(self, x: Array, steps: int, dt: float, temperature: float, noise: Noise) -> Array:  # type: ignore[override]
        self.calls += 1
        for _ in range(steps):
            x = x - dt * K * x + math.sqrt(2 * temperature * dt) * noise.normal(x.shape[1])
        return x


def test_a_kernel_without_the_argument_serves_runs_without_the_response() -> None:
    ends = []
    for wanted, calls in ((False, 1), (True, 0)):
        model, noise = oscillators(10, 3, kind=OldKernel), Noise(1, range(3))
        system = Langevin(model, T, 0.01, response=wanted)
        ends.append(system.advance(system.initial_state(noise), 0.0, 0.5, noise))
        assert model.calls == calls
    np.testing.assert_allclose(ends[1].x, ends[0].x, rtol=1e-12)
    assert ends[1].accumulated is not None


OWN = """
from langevin.config.sections import LangevinDynamics
from langevin.core.capabilities import MeasuresResponse
from walkers import Bare

class Silent(Bare):
    Dynamics = LangevinDynamics

class Answering(Silent, MeasuresResponse):
    pass
"""


def test_where_there_is_no_response_it_is_refused(tmp_path: Path, small: Maker) -> None:
    (tmp_path / "own_systems.py").write_text(OWN)
    cold = small("pspin", record__response=True, dynamics__temperature=0.0)
    silent = {**small("harmonic", record__response=True), "system": {"name": "own_systems:Silent"}}
    for given, words in ((cold, ["dynamics.temperature = 0", "> 0"]), (silent, ["own_systems:Silent"])):
        with pytest.raises(ConfigError) as caught:
            run_files.load(given, folder=tmp_path)
        (line,) = caught.value.faults
        assert line.startswith("record.response = true: allowed: false")
        assert all(word in line for word in words), line
        run_files.load(given, {"record.response": False}, folder=tmp_path)
    # A system that supplies its own response is not refused, whatever its temperature.
    silent["system"]["name"] = "own_systems:Answering"
    run_files.load(silent, {"dynamics.temperature": 0.0}, folder=tmp_path)


def test_the_key_is_explained() -> None:
    for name in registry.names():
        assert "response = false" in templates.template(name)
