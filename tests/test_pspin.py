"""The p-spin model: forces, closed forms, starts, short times, equilibrium."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from conftest import SIGMAS, z_score

import langevin
from langevin.config.sections import LangevinDynamics
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import ConfigError
from langevin.observables.statistics import average
from langevin.systems.pspin import PSpin, theory
from langevin.systems.pspin.planting import elementary_symmetric, equilibrium_configuration
from langevin.systems.sphere import uniform_on_sphere

INF = float("inf")


def model(
    p: int,
    n: int,
    replicas: int = 2,
    samples: int = 1,
    t_i: float = INF,
    seed: int = 1,
    couplings: str = "float64",
) -> PSpin:
    dynamics = LangevinDynamics(temperature=0.8, initial_temperature=t_i, dt=0.01, t_max=1.0)
    parameters = PSpin.Parameters(p=p, n=n, couplings=couplings)
    return PSpin(parameters, dynamics, Ensemble.regular(replicas, samples, seed, threads=2))


def naive_energy(tensor: np.ndarray, x: np.ndarray, p: int) -> float:
    """−Σ_{i1<…<ip} J x…x, term by term."""
    terms = itertools.combinations(range(len(x)), p)
    return -sum(tensor[term] * math.prod(x[i] for i in term) for term in terms)


@pytest.mark.parametrize("p", [2, 3, 4])
def test_force_is_minus_the_gradient_and_energy_the_naive_sum(p: int) -> None:
    system = model(p, 9)
    (couplings,) = system.couplings
    tensor, x = couplings.dense(), system.initial_configuration(Noise(1, [0, 1]))
    force, energy = system.force(x), system.energy(x)
    h = 1e-5
    for r in range(2):
        assert energy[r] * 9 == pytest.approx(naive_energy(tensor, x[r], p), rel=1e-12)
        for i in range(9):
            up, down = x[r].copy(), x[r].copy()
            up[i] += h
            down[i] -= h
            slope = (naive_energy(tensor, up, p) - naive_energy(tensor, down, p)) / (2 * h)
            # The energy is linear in each spin: the difference is exact but for rounding, 10⁻¹⁶/h.
            assert force[r, i] == pytest.approx(-slope, abs=1e-9)


def test_statics_are_the_published_ones() -> None:
    assert theory.dynamic_temperature(3) == pytest.approx(math.sqrt(3 / 8), rel=1e-12)
    assert theory.static_temperature(3) == pytest.approx(0.586054, abs=5e-7)
    assert theory.threshold_energy(3) == pytest.approx(-2 / math.sqrt(3), rel=1e-12)
    table = {
        0.5: (0.638824, 0.565376, -0.886693),
        0.2: (0.876675, 0.140673, -1.052513),
        0.1: (0.940466, 0.063303, -1.104189),
    }
    for temperature, (q, x, energy) in table.items():
        assert theory.edwards_anderson(3, temperature) == pytest.approx(q, abs=5e-7)
        assert theory.fdt_ratio(3, temperature) == pytest.approx(x, abs=5e-7)
        assert theory.asymptotic_energy(3, temperature) == pytest.approx(energy, abs=5e-7)


@pytest.mark.parametrize("p", [2, 3, 4])
def test_closed_forms_meet_at_their_ends(p: int) -> None:
    t_d = theory.dynamic_temperature(p)
    assert theory.asymptotic_energy(p, 1e-6) == pytest.approx(theory.threshold_energy(p), abs=1e-5)
    assert theory.asymptotic_energy(p, t_d * (1 - 1e-9)) == pytest.approx(-1 / (2 * t_d), abs=1e-4)
    assert theory.static_temperature(p) <= t_d
    if p > 2:
        assert theory.edwards_anderson(p, t_d * (1 - 1e-9)) == pytest.approx((p - 2) / (p - 1), abs=1e-3)
        assert theory.fdt_ratio(p, t_d * (1 - 1e-9)) == pytest.approx(1, abs=1e-2)


def test_initial_slope_of_three_spins_is_the_published_one() -> None:
    for n in (8, 64, 256):
        published = -1.5 * (n - 1) * (n - 2) * (n + 1) / (n * (n + 2) * (n + 4))
        assert theory.initial_slope(3, n) == pytest.approx(published, rel=1e-12)


SLOPES = [(2, 16, 1000), (2, 64, 500), (3, 12, 1000), (3, 24, 500), (3, 48, 300), (4, 12, 500), (4, 24, 200)]


@pytest.mark.parametrize(("p", "n", "samples"), SLOPES)
def test_short_time_slope_at_finite_n(p: int, n: int, samples: int) -> None:
    """dE/dt(0) of the engine's own step; 7 z-tests at 5 σ: one false alarm in 2·10⁵ seeds."""
    dt = 1e-4  # the curvature shifts the slope by 2 dt·(3/2), 10⁻⁴ of it: far below the statistical 10⁻²
    system = Langevin(model(p, n, replicas=samples, samples=samples), 0.0, dt)
    noise = Noise(1, range(samples))
    start = system.initial_state(noise)
    end = system.advance(start, 0.0, dt, noise)
    slopes = (system.measure(end)["energy"] - system.measure(start)["energy"]) / dt
    assert abs(z_score(slopes, theory.initial_slope(p, n))) < SIGMAS
    # The control: the N → ∞ slope, which a wrong normalisation of J could imitate, is excluded.
    assert abs(z_score(slopes, -p / 2)) > SIGMAS


def test_random_starts_are_uniform_on_the_sphere() -> None:
    x = uniform_on_sphere(20, np.random.default_rng(1), 20_000)
    np.testing.assert_allclose(np.sum(x * x, axis=1), 20, rtol=1e-12)
    # ⟨x_i⁴⟩ = 3N/(N+2); two z-tests at 5 σ.
    assert abs(z_score(np.mean(x**4, axis=1), 3 * 20 / 22)) < SIGMAS
    assert abs(z_score(np.mean(x, axis=1), 0.0)) < SIGMAS


def test_start_disorder_and_noise_are_independent() -> None:
    """Correlation of any two of them over 40 numbers and 50 samples: 1/√2000; 5 σ each."""
    n, ensemble = 40, Ensemble.regular(50, 50, 1, threads=1)
    system = model(3, n, 50, 50)
    starts = system.initial_configuration(Noise(1, ensemble.replica))
    disorder = np.array([c.values()[:n] for c in system.couplings]) / math.sqrt(
        theory.coupling_variance(3, n)
    )
    noise = Noise(1, ensemble.replica).normal(n)
    for a, b in itertools.combinations((starts, disorder, noise), 2):
        assert abs(np.mean(a * b)) < 5 / math.sqrt(a.size)


def test_elementary_symmetric_polynomials() -> None:
    y = np.random.default_rng(2).random((3, 7))
    for p in (2, 3, 4):
        naive = [sum(math.prod(c) for c in itertools.combinations(row, p)) for row in y]
        np.testing.assert_allclose(elementary_symmetric(y, p), naive, rtol=1e-12)


@pytest.mark.parametrize(("p", "temperature"), [(2, 1.2), (3, 0.6), (4, 0.6)])
def test_planted_configurations_have_the_annealed_marginal(p: int, temperature: float) -> None:
    """Rejection against importance weights exp(½β²⟨J²⟩ e_p(σ²)) on uniform configurations."""
    n, beta, rng = 12, 1 / temperature, np.random.default_rng(3)
    planted = np.array([equilibrium_configuration(p, n, beta, rng) for _ in range(2000)])
    uniform = uniform_on_sphere(n, rng, 200_000)
    weight = beta**2 * theory.coupling_variance(p, n) / 2 * elementary_symmetric(uniform**2, p)
    weight = np.exp(weight - weight.max())
    fourth = np.mean(uniform**4, axis=1)
    expected = float(np.sum(weight * fourth) / np.sum(weight))
    found = np.mean(planted**4, axis=1)
    # The weighted mean's own error is a few per cent of the 2000 planted ones': 5.5 σ in place of 5.
    assert abs(z_score(found, expected)) < 5.5
    assert abs(z_score(found, float(fourth.mean()))) > SIGMAS  # the control: uniform starts differ


def equilibrium_energies(t_i: float, spoil: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times and energies (sample, time) of T = T_i dynamics, and e_p(σ²) of the starts."""
    samples = 300
    system = model(3, 48, samples, samples, t_i)
    system.beta *= spoil
    engine, noise = Langevin(system, t_i, 0.01), Noise(1, range(samples))
    state, times = engine.initial_state(noise), np.array([0.0, 0.1, 0.3, 1.0, 3.0, 10.0])
    energies = [engine.measure(state)["energy"]]
    e_p = elementary_symmetric(state.x**2, 3)
    for t0, t1 in itertools.pairwise(times):
        state = engine.advance(state, t0, t1, noise)
        energies.append(engine.measure(state)["energy"])
    return times, np.array(energies).T, e_p


def test_an_equilibrium_start_stays_in_equilibrium() -> None:
    """E(t) = −β⟨J²⟩⟨e_p(σ²)⟩/N for ever, which is −1/(2T)·(1 − O(1/N)); 6 z-tests at 5 σ.

    Euler-Maruyama's own stationary energy is off by O(dt): the bound is widened by dt·|E|·μ, the size of the
    first-order term for a stiffness μ = T − pE.
    """
    temperature = 0.8
    times, energies, e_p = equilibrium_energies(temperature)
    expected = -theory.coupling_variance(3, 48) / temperature * e_p / 48
    assert expected.mean() == pytest.approx(-1 / (2 * temperature), rel=10 / 48)
    bias = 0.01 * 0.625 * (temperature + 3 * 0.625)
    for k, t in enumerate(times):
        gap = energies[:, k] - expected
        allowed = SIGMAS * gap.std(ddof=1) / math.sqrt(gap.size) + (bias if t > 0 else 0)
        assert abs(gap.mean()) < allowed, t


def test_a_wrongly_planted_start_drifts() -> None:
    # The control: couplings planted with half the shift are no equilibrium, and the energy falls.
    _, energies, _ = equilibrium_energies(0.8, spoil=0.5)
    assert z_score(energies[:, -1] - energies[:, 0], 0.0) < -2 * SIGMAS


def test_replicas_of_a_planted_sample_share_their_start() -> None:
    system = model(3, 16, replicas=4, samples=2, t_i=0.8)
    x = system.initial_configuration(Noise(1, range(4)))
    np.testing.assert_array_equal(x[0], x[2])
    assert (x[0] != x[1]).any()


def test_the_fused_kernel_equals_the_plain_step() -> None:
    system = model(3, 40, replicas=5, samples=2)
    engine, fused_noise, plain_noise = Langevin(system, 0.7, 0.02), Noise(1, range(5)), Noise(1, range(5))
    x = plain = system.initial_configuration(fused_noise)
    fused = system.fused_steps(x, 25, 0.02, 0.7, fused_noise)
    for n in range(25):
        plain = engine.step(plain, n * 0.02, plain_noise)
    # Rounding of 25 steps, float64.
    np.testing.assert_allclose(fused, plain, rtol=0, atol=1e-12)
    assert fused_noise.state_dict() == plain_noise.state_dict()


def test_the_sphere_is_kept_exactly() -> None:
    system = model(3, 40, replicas=3)
    noise = Noise(1, range(3))
    x = system.fused_steps(system.initial_configuration(noise), 500, 0.02, 0.7, noise)
    np.testing.assert_allclose(np.sum(x * x, axis=1), 40, rtol=1e-14)


def test_single_precision_couplings_do_not_matter() -> None:
    """Same numbers drawn, same noise: energies differ by rounding, far less than between replicas."""
    energies = {}
    for couplings in ("float32", "float64"):
        engine = Langevin(model(3, 64, 4, couplings=couplings), 0.5, 0.02)
        noise = Noise(1, range(4))
        state = engine.advance(engine.initial_state(noise), 0.0, 2.0, noise)
        energies[couplings] = engine.measure(state)["energy"]
    # Relative rounding 6·10⁻⁸ of each force, amplified by chaos for two time units.
    np.testing.assert_allclose(energies["float32"], energies["float64"], rtol=0, atol=2e-5)
    assert energies["float64"].std() > 1e-3


def test_overlap_pairs_replicas_of_one_sample_only() -> None:
    system = model(3, 16, replicas=5, samples=2)  # samples 0 1 0 1 0
    x = system.initial_configuration(Noise(1, range(5)))
    partner = [2, 3, 4, 1, 0]
    np.testing.assert_allclose(system.observables(x)["overlap"], np.mean(x * x[partner], axis=1))
    assert model(3, 16, replicas=2, samples=2).observables(x[:2]) == {}


@pytest.mark.parametrize(("p", "n", "gigabytes"), [(3, 20_000, r"53\d\d\d"), (4, 3000, r"13\d\d\d\d")])
def test_too_many_couplings_are_refused_with_the_number(p: int, n: int, gigabytes: str) -> None:
    settings = {
        "system": {"name": "pspin", "p": p, "n": n},
        "dynamics": {"temperature": 0.5, "dt": 0.02, "t_max": 1.0},
        "ensemble": {"replicas": 10, "samples": 10},
    }
    with pytest.raises(ConfigError, match=rf"system\.n = {n}.* need {gigabytes}\.\d GB, .* GB are free"):
        langevin.run(settings)


def attributes(t_i: float, temperature: float) -> dict[str, Any]:
    dynamics = LangevinDynamics(temperature=temperature, initial_temperature=t_i, dt=0.01, t_max=1.0)
    made = PSpin(PSpin.Parameters(p=3, n=16), dynamics, Ensemble.regular(1, 1, 1))
    return {**made.attributes()["energy"], **made.attributes()["msd"]}


@pytest.mark.parametrize("temperature", [0.59, 0.6, 0.73, 0.8, 2.0])
def test_an_equilibrium_start_is_marked_with_the_equilibrium_energy(temperature: float) -> None:
    # Between T_K and T_d, too, where a quench would stop at the threshold.
    found = attributes(temperature, temperature)
    assert found["asymptote"] == -1 / (2 * temperature)
    assert "plateau" not in found


def test_a_quench_is_marked_with_the_aging_limits() -> None:
    assert attributes(INF, 0.5)["asymptote"] == pytest.approx(-0.886693, abs=5e-7)
    assert attributes(INF, 0.5)["plateau"] == pytest.approx(2 * (1 - 0.638824), abs=2e-6)
    assert attributes(INF, 0.8)["asymptote"] == -0.625
    assert "plateau" not in attributes(INF, 0.8)
    assert "asymptote" not in attributes(0.9, 0.5)  # no closed form is drawn where none is known


@pytest.mark.parametrize("temperature", [0.8, 2.0, pytest.param(10.0, marks=pytest.mark.slow)])
def test_half_the_largest_step_is_near_the_truth(temperature: float) -> None:
    """E = −1/(2T) to a tenth: the scheme's bias is of relative size T dt < 1/20 there.

    The start says what it is at N = 64 (its own average over the same samples); 5 σ on top.
    """
    dt = theory.largest_step(3, temperature) / 2
    settings = {
        "system": {"name": "pspin", "p": 3, "n": 64},
        "dynamics": {
            "temperature": temperature,
            "initial_temperature": temperature,
            "dt": dt,
            "t_max": 4.0,
        },
        "ensemble": {"replicas": 1024, "samples": 128, "seed": 4},
        "record": {"waiting_times": [0.0], "lags": [4.0], "configurations": "never"},
    }
    energy = langevin.run(settings)["energy"]
    drift, error = (float(v) for v in average(energy[:, 20:].mean("time") - energy[:, 0]))
    assert abs(drift) < 0.1 / (2 * temperature) + SIGMAS * error


@pytest.mark.parametrize("temperature", [0.0, 0.3, 0.612, 0.8, 2.0, 10.0])
def test_the_largest_step_is_stable(temperature: float) -> None:
    limit = theory.largest_step(3, temperature)
    assert limit <= 2 / (4 * math.sqrt(3)) + 1e-12
    assert 2 * temperature * limit <= 0.2 + 1e-12


def test_a_quench_ages() -> None:
    """Later t_w, slower decorrelation: the sign of aging (N = 64, differences of many σ)."""
    settings: dict[str, Any] = {
        "system": {"name": "pspin", "p": 3, "n": 64},
        "dynamics": {"temperature": 0.3, "dt": 0.05, "t_max": 60.0},
        "ensemble": {"replicas": 64, "samples": 64, "seed": 3},
        "record": {"waiting_times": [1.0, 4.0, 16.0], "lags": [5.0, 20.0]},
    }
    found = langevin.run(settings)["correlation"].to_numpy()
    for early, late in ((0, 1), (1, 2)):
        assert z_score(found[:, late, 1] - found[:, early, 1], 0.0) > SIGMAS
