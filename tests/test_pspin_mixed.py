"""Mixed p-spin models: forces, couplings, starts, short times, the Hessian, devices, run files, 1/N."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import SIGMAS, z_score

import langevin
from langevin.config import run_files
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import ConfigError, UserError
from langevin.observables.fits.extrapolation import least_squares
from langevin.systems.cugliandolo_kurchan import theory as of_any
from langevin.systems.cugliandolo_kurchan.covariance import Covariance
from langevin.systems.networks import devices
from langevin.systems.pspin import PSpin, philox, theory
from langevin.systems.pspin.kernels import ForceField
from langevin.systems.pspin.limits import Limits
from langevin.systems.pspin.mixture import walk
from langevin.systems.pspin.model import PSpinDynamics
from langevin.systems.pspin.planting import elementary_symmetric, equilibrium_configuration
from langevin.systems.pspin.second_derivative import second_derivative
from langevin.systems.pspin.spread_field import SpreadField
from langevin.systems.sphere import uniform_on_sphere

INF = float("inf")
Strengths = dict[int, float]
MIXTURES: list[Strengths] = [{3: 1.0, 4: 1.0}, {2: 0.3, 3: 2.0}, {2: 0.5, 4: 0.7}, {2: 0.4, 3: 1.3, 4: 0.6}]
THREE_FOUR = MIXTURES[0]


def model(
    strengths: Any,
    n: int,
    replicas: int = 2,
    samples: int = 1,
    t_i: float = INF,
    couplings: str = "float64",
    seed: int = 1,
    threads: int = 1,
    **dynamics: Any,
) -> PSpin:
    given = PSpinDynamics(temperature=0.8, initial_temperature=t_i, dt=0.01, t_max=1.0, **dynamics)
    parameters = PSpin.Parameters(p=strengths, n=n, couplings=couplings)
    return PSpin(parameters, given, Ensemble.regular(replicas, samples, seed, threads=threads))


def spins(replicas: int, n: int) -> np.ndarray:
    return uniform_on_sphere(n, np.random.default_rng(4), replicas)


def naive_energies(tensors: list[np.ndarray], x: np.ndarray) -> list[float]:
    """−Σ_{i1<…<ip} J x…x of each p, term by term."""
    return [
        -sum(
            tensor[term] * math.prod(x[i] for i in term)
            for term in itertools.combinations(range(len(x)), tensor.ndim)
        )
        for tensor in tensors
    ]


def dense_forces(tensors: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Forces of each p from the full tensors, shape (P, R, N)."""
    forces = []
    for tensor in tensors:
        p, rows = tensor.ndim, []
        for s in x:
            contracted = tensor
            for _ in range(p - 1):
                contracted = contracted @ s
            rows.append(contracted / math.factorial(p - 1))
        forces.append(rows)
    return np.array(forces)


# Energies and forces.


@pytest.mark.parametrize("strengths", MIXTURES)
def test_force_is_minus_the_gradient_and_energy_the_naive_sum(strengths: Strengths) -> None:
    system, n, h = model(strengths, 9), 9, 1e-5
    tensors = [c.dense() for c in system.couplings[0]]
    x = system.initial_configuration(Noise(1, [0, 1]))
    force, energy, measured = system.force(x), system.energy(x), system.observables(x)
    for r in range(2):
        naive = naive_energies(tensors, x[r])
        assert energy[r] * n == pytest.approx(sum(naive), rel=1e-12, abs=1e-12)
        for p, of_p in zip(strengths, naive, strict=True):
            assert measured[f"energy_{p}"][r] * n == pytest.approx(of_p, rel=1e-12, abs=1e-12)
        mu = 0.8 - sum(p * of_p for p, of_p in zip(strengths, naive, strict=True)) / n
        assert measured["mu"][r] == pytest.approx(mu, rel=1e-12)
        for i in range(n):
            up, down = x[r].copy(), x[r].copy()
            up[i] += h
            down[i] -= h
            slope = (sum(naive_energies(tensors, up)) - sum(naive_energies(tensors, down))) / (2 * h)
            # The energy is linear in each spin: the difference is exact but for rounding, 10⁻¹⁶/h.
            assert force[r, i] == pytest.approx(-slope, abs=1e-9)


@pytest.mark.parametrize("couplings", ["float32", "float64"])
@pytest.mark.parametrize("strengths", [THREE_FOUR, {2: 0.4, 3: 1.3, 4: 0.6}])
def test_forces_of_any_number_of_replicas_are_those_of_the_dense_tensors(
    strengths: Strengths, couplings: str
) -> None:
    system = model(strengths, 19, 17, 2, couplings=couplings)
    tensors, x = [[c.dense() for c in sample] for sample in system.couplings], spins(17, 19)
    # As in test_pspin_kernels: sums of some hundred terms in the couplings' precision.
    tolerance = {"float32": 1e-5, "float64": 1e-12}[couplings]
    for replicas in (1, 2, 5, 17):
        field = ForceField(system.couplings, np.arange(replicas) % 2, 1)
        expected = np.concatenate(
            [dense_forces(tensors[r % 2], x[r : r + 1]) for r in range(replicas)], axis=1
        )
        found = field.forces(x[:replicas])
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
        # To the bit: what a step sees is the sum over p, ascending.
        total = found[0]
        for of_p in found[1:]:
            total = total + of_p
        np.testing.assert_array_equal(field.force(x[:replicas]), total)


def test_threads_and_stretches_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langevin.systems.pspin.kernels._TEAM_WORK", 0)
    monkeypatch.setattr("langevin.systems.pspin.kernels._GROUP_WORK", 0)
    system, x = model(THREE_FOUR, 40, 18, 2, couplings="float32"), spins(18, 40)
    assert len(walk((3, 4), 40).slices) > 2
    results = []
    for threads in (1, 2, 3):
        for sample in (np.arange(18) % 2, np.zeros(18, int)):
            field = ForceField(system.couplings, sample, threads)
            generators = [np.random.default_rng(r) for r in range(18)]
            each, sums = np.empty((2, *x.shape)), np.zeros((2, *x.shape))
            end, force = field.steps(x, None, 3, 0.02, 0.4, generators)
            end, force = field.steps(end, force, 4, 0.02, 0.4, generators, sums, None, each)
            np.testing.assert_array_equal(each, field.forces(end))
            np.testing.assert_array_equal(force, field.force(end))
            whole = [np.random.default_rng(r) for r in range(18)]
            np.testing.assert_array_equal(field.steps(x, None, 7, 0.02, 0.4, whole)[0], end)
            results.append((end, force, each, sums))
    # Two ways to deal replicas, by three numbers of threads.
    for k, found in enumerate(results):
        for array, expected in zip(found, results[k % 2], strict=True):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("strengths", MIXTURES)
def test_the_fused_kernel_equals_the_plain_step(strengths: Strengths) -> None:
    system = model(strengths, 24, replicas=5, samples=2)
    engine, fused_noise, plain_noise = Langevin(system, 0.7, 0.02), Noise(1, range(5)), Noise(1, range(5))
    x = plain = system.initial_configuration(fused_noise)
    fused = system.fused_steps(x, 25, 0.02, 0.7, fused_noise)
    for n in range(25):
        plain = engine.step(plain, n * 0.02, plain_noise)
    # Rounding of 25 steps, float64.
    np.testing.assert_allclose(fused, plain, rtol=0, atol=1e-12)
    # What the kernel leaves for the next measurement is what a new evaluation gives.
    left = system.energy(fused), system.observables(fused)
    system._known = None
    np.testing.assert_array_equal(system.energy(fused), left[0])
    for name, values in system.observables(fused).items():
        np.testing.assert_array_equal(values, left[1][name])


def test_samples_of_other_p_are_refused() -> None:
    mixed, pure = model(THREE_FOUR, 12), model(3, 12)
    for couplings in (
        [*mixed.couplings, *pure.couplings],
        [(mixed.couplings[0][0], model(4, 12, couplings="float32").couplings[0])],
        [(mixed.couplings[0][0], model(4, 13).couplings[0])],
    ):
        with pytest.raises(ValueError, match="samples differ"):
            ForceField(couplings, [0], 1)
    with pytest.raises(ValueError, match="ascend"):
        ForceField([mixed.couplings[0][::-1]], [0], 1)
    field = ForceField(mixed.couplings, [0], 1)
    with pytest.raises(ValueError, match="each has shape"):
        field.steps(spins(1, 12), None, 1, 0.01, 0.0, [], each=np.empty((1, 1, 12)))


# Couplings.


def test_couplings_of_each_p_have_a_stream_of_their_own() -> None:
    """They do not change with the other p, nor, but for their size, with any strength."""
    n = 14
    first, second = model({3: 1.0, 4: 0.5}, n).couplings[0], model({3: 1.0, 4: 2.0}, n).couplings[0]
    np.testing.assert_array_equal(first[0].values(), second[0].values())
    np.testing.assert_allclose(2 * first[1].values(), second[1].values(), rtol=1e-15)
    other = model({2: 1.0, 4: 0.5}, n).couplings[0]
    np.testing.assert_array_equal(first[1].values(), other[1].values())
    # Pure models keep their stream, whatever their strength; those of a mixture are others.
    pure = model(3, n).couplings[0].values()
    np.testing.assert_allclose(model({3: 4.0}, n).couplings[0].values(), 2 * pure, rtol=1e-15)
    count = math.comb(n, 3)
    for a, b in ((pure, first[0].values()), (first[0].values(), first[1].values()[:count])):
        # No correlation of some hundred numbers: 5 σ.
        assert abs(np.corrcoef(a, b)[0, 1]) < SIGMAS / math.sqrt(count)


@pytest.mark.parametrize("strengths", MIXTURES)
def test_the_covariance_of_the_hamiltonian_is_f(strengths: Strengths) -> None:
    """⟨H(σ)H(σ')⟩ over 3000 samples: three z-tests at 5 σ for each model, one false alarm in 1.4·10⁵ seeds.

    Without repeated indices it is Σ_p a_p p!/(2N^{p−1}) e_p(σσ') at any N, N f(q) up to O(1/N).
    """
    n, samples = 12, 3000
    system, rng = model(strengths, n, samples, samples), np.random.default_rng(8)
    one, noise = uniform_on_sphere(n, rng, 2)
    two = math.sqrt(0.8) * one + math.sqrt(0.2) * noise
    two *= math.sqrt(n / (two @ two))
    energies = [n * system.energy(np.tile(x, (samples, 1))) for x in (one, two)]
    for a, b in ((0, 0), (0, 1), (1, 1)):
        products = ((one, two)[a] * (one, two)[b])[None]
        known = sum(
            strength * theory.coupling_variance(p, n) * elementary_symmetric(products, p)[0]
            for p, strength in strengths.items()
        )
        assert abs(z_score(energies[a] * energies[b], known)) < SIGMAS


def test_the_exact_covariance_tends_to_that_of_the_equations() -> None:
    for strengths in MIXTURES:
        f = Covariance.mixed(strengths)
        for q in (0.3, 0.9):
            # Configurations of spins ±1.
            found = []
            for n in (400, 800):
                x = np.where(np.arange(n) < round(n * (1 + q) / 2), 1.0, -1.0)[None]
                terms = (
                    a * theory.coupling_variance(p, n) * elementary_symmetric(x, p)[0] / n
                    for p, a in strengths.items()
                )
                found.append(abs(sum(terms) - float(f.derivative(0, float(x.mean())))))
            assert found[1] < 0.6 * found[0] < 0.02


# Starts.


def marginal(strengths: Strengths, beta: float, uniform: np.ndarray) -> float:
    """⟨σ⁴⟩ with importance weights exp(½β² Σ_p ⟨J²⟩ e_p(σ²)) on uniform configurations."""
    n = uniform.shape[1]
    exponent = np.zeros(len(uniform)) + sum(
        beta**2 * a * theory.coupling_variance(p, n) / 2 * elementary_symmetric(uniform**2, p)
        for p, a in strengths.items()
    )
    weight = np.exp(exponent - np.max(exponent))
    return float(np.sum(weight * np.mean(uniform**4, axis=1)) / np.sum(weight))


@pytest.mark.parametrize(("strengths", "temperature"), [(THREE_FOUR, 0.8), ({3: 0.2, 4: 0.5}, 0.6)])
def test_planted_configurations_have_the_annealed_marginal(strengths: Strengths, temperature: float) -> None:
    n, beta, rng = 12, 1 / temperature, np.random.default_rng(3)
    planted = np.array([equilibrium_configuration(strengths, n, beta, rng) for _ in range(1000)])
    uniform = uniform_on_sphere(n, rng, 200_000)
    found = np.mean(planted**4, axis=1)
    # The weighted mean's own error is a few per cent of that of the planted ones: 5.5 σ in place of 5.
    assert abs(z_score(found, marginal(strengths, beta, uniform))) < 5.5
    # The controls: starts that are uniform, know one p alone, or take all strengths for 1, differ.
    others: list[Strengths] = [{}, {3: strengths[3]}, dict.fromkeys(strengths, 1.0)]
    for other in others if strengths is not THREE_FOUR else others[:2]:
        assert abs(z_score(found, marginal(other, beta, uniform))) > 6, other


def equilibrium_energies(
    strengths: Strengths, unplanted: tuple[int, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Energies of T = T_i = 1 dynamics, shape (samples, times), and those expected of the starts.

    The couplings of `unplanted` p know nothing of the start.
    """
    samples, n, times = 250, 28, (0.0, 0.3, 1.0, 3.0)
    system = model(strengths, n, samples, samples, 1.0)
    plain = system._disorder
    system._disorder = lambda s: [  # type: ignore[method-assign]
        replace(how, beta=0.0) if how.p in unplanted else how for how in plain(s)
    ]
    engine, noise = Langevin(system, 1.0, 0.01), Noise(1, range(samples))
    state = engine.initial_state(noise)
    expected = -sum(
        a * theory.coupling_variance(p, n) * elementary_symmetric(state.x**2, p) / n
        for p, a in strengths.items()
    )
    energies = [engine.measure(state)["energy"]]
    for t0, t1 in itertools.pairwise(times):
        state = engine.advance(state, t0, t1, noise)
        energies.append(engine.measure(state)["energy"])
    return np.array(energies).T, expected


@pytest.mark.parametrize("strengths", [THREE_FOUR, {2: 0.2, 3: 0.8}])
def test_an_equilibrium_start_stays_in_equilibrium(strengths: Strengths) -> None:
    """E(t) = −β Σ_p ⟨J²⟩⟨e_p(σ²)⟩/N for ever, which is −f(1)/T (1 − O(1/N)); 8 z-tests at 5 σ.

    Euler-Maruyama's own stationary energy is off by O(dt): the bound is widened by dt·|E|·μ.
    """
    energies, expected = equilibrium_energies(strengths)
    f = Covariance.mixed(strengths)
    limit = -float(f.derivative(0, 1.0))
    assert expected.mean() == pytest.approx(limit, rel=12 / 28)
    bias = 0.01 * abs(limit) * (1 + float(f.derivative(1, 1.0)))
    for k in range(energies.shape[1]):
        gap = energies[:, k] - expected
        allowed = SIGMAS * gap.std(ddof=1) / math.sqrt(gap.size) + (bias if k else 0)
        assert abs(gap.mean()) < allowed, k


def test_a_start_that_one_p_does_not_know_drifts() -> None:
    """The control: planted in the couplings of p = 3 alone it is no equilibrium, and the energy falls."""
    energies, expected = equilibrium_energies(THREE_FOUR, unplanted=(4,))
    assert z_score(energies[:, 0] - expected, 0.0) > SIGMAS
    assert z_score(energies[:, -1] - energies[:, 0], 0.0) < -SIGMAS


# Short times.


def test_the_energy_begins_as_the_series_says() -> None:
    """E(t) = −f'(1) t + ½[f'(1) + f''(1)] T t² + …, with the coefficients of finite N: four z-tests at 5 σ.

    Steps with noises η and −η, and one without, from the same starts: the noise's mean share remains.
    Starts that only the noise has moved know nothing of the couplings: their energies, of mean 0, are
    subtracted. Of t and 2t what is of third order cancels. k steps have k(k + 1)/2 pairs of a kick and a
    force that is not before it. Pairs within one step are of the same order only: the bound is widened by
    the part dt/t that they are.
    """
    strengths = {2: 0.4, 3: 1.3, 4: 0.6}
    n, replicas, samples, t, dt, temperature = 16, 3000, 600, 0.04, 0.002, 1.0
    system = model(strengths, n, replicas, samples)
    rng, half = np.random.default_rng(5), round(t / dt)
    x0 = system.initial_configuration(Noise(1, range(replicas)))
    start, walked = system.energy(x0), np.zeros_like(x0)
    moved = dict.fromkeys((0, 1, -1), x0)
    slopes, curvatures = [], []
    for step in range(1, 2 * half + 1):
        eta = math.sqrt(2 * temperature * dt) * rng.standard_normal(x0.shape)
        walked += eta
        for sign, x in moved.items():
            moved[sign] = system.constrain(x + dt * system.force(x) + sign * eta)
        if step in (half, 2 * half):
            cold, *warm = (system.energy(x) for x in moved.values())
            free = [system.energy(system.constrain(x0 + sign * walked)) for sign in (1, -1)]
            slopes.append((cold - start) / (step * dt))
            excess = (sum(warm) - sum(free)) / 2 - (cold - start)
            curvatures.append(2 * excess / (step * (step + 1) * dt**2))

    def extrapolated(pair: list[np.ndarray]) -> np.ndarray:
        return (2 * pair[0] - pair[1]).reshape(-1, samples).mean(axis=0)

    slope, curvature = extrapolated(slopes), extrapolated(curvatures)
    limits = Limits(strengths)
    f = Covariance.mixed(strengths)
    for found, known in ((slope, limits.initial_slope(n)), (curvature, limits.initial_curvature(n))):
        error = found.std(ddof=1) / math.sqrt(found.size)
        assert abs(found.mean() - known) < SIGMAS * error + dt / t * abs(known), (found.mean(), error, known)
    # They are those of the equations for N → ∞, from which N = 16 is far.
    first, second = (float(f.derivative(k, 1.0)) for k in (1, 2))
    assert limits.initial_slope(10**6) == pytest.approx(-first, rel=1e-4)
    assert limits.initial_curvature(10**6) == pytest.approx(first + second, rel=1e-4)
    assert abs(z_score(slope, -first)) > SIGMAS and abs(z_score(curvature, first + second)) > SIGMAS


# The Hessian.


@pytest.mark.parametrize("strengths", MIXTURES)
def test_the_hessian_is_the_derivative_of_the_force_on_the_sphere(strengths: Strengths) -> None:
    n, h = 12, 1e-3
    system = model(strengths, n)
    x = system.initial_configuration(Noise(1, [0, 1]))
    operator, own = system.hessian(x, 1), x[1]
    full = second_derivative(system.couplings[0], own)
    ends = np.array([own + sign * h * unit for sign in (1, -1) for unit in np.eye(n)])
    forces = ForceField(system.couplings, np.zeros(2 * n, int), 1).force(ends)
    # The force is cubic in any one direction at most, and in a single spin linear: exact but for 10⁻¹⁶/h.
    np.testing.assert_allclose(full, -(forces[:n] - forces[n:]) / (2 * h), rtol=0, atol=1e-11)
    dense, vectors = operator.dense(), np.random.default_rng(2).standard_normal((n - 1, 3))
    np.testing.assert_allclose(operator.matvec(vectors), dense @ vectors, rtol=0, atol=1e-11)
    # d²H/ds² along a great circle, by differences: h² of the fourth derivative, 10⁻¹⁶ N/h² of rounding.
    direction = operator.displacements(vectors[:, :1])[:, 0]
    direction /= np.linalg.norm(direction)
    angles = np.array([-h, 0.0, h])[:, None]
    circle = own * np.cos(angles) + math.sqrt(n) * direction * np.sin(angles)
    values = n * model_energies(system, circle)
    bend = (values[0] - 2 * values[1] + values[2]) / (h**2 * n)
    along = vectors[:, 0] / np.linalg.norm(vectors[:, 0])
    assert bend == pytest.approx(along @ dense @ along, abs=1e-4)
    mu = -sum(p * system.observables(x)[f"energy_{p}"][1] for p in strengths)
    assert operator.multiplier == pytest.approx(mu, rel=1e-12)


def model_energies(system: PSpin, x: np.ndarray) -> np.ndarray:
    """Energies of any number of configurations in the first sample."""
    each = ForceField(system.couplings, np.zeros(len(x), int), 1).forces(x)
    return -sum(np.mean(x * f, axis=1) / p for p, f in zip(system.powers, each, strict=True))


def test_the_spectrum_of_a_random_configuration_is_the_semicircle(tmp_path: Path) -> None:
    """Its second moment is f''(1) up to O(1/N): N = 48, 24 replicas, whose mean scatters by less than 1 %."""
    ds = run(tmp_path, p={"3": 1.0, "4": 1.0}, n=48, replicas=24, record={"hessian": [0.0]})
    values = ds["hessian_eigenvalue"].isel(hessian_time=0).to_numpy()
    # Σ_jk ⟨A_jk²⟩/N of the matrix A of all N directions; the tangent plane has 1/N less of each.
    whole = sum(
        2 * math.comb(48, 2) * math.comb(46, p - 2) * theory.coupling_variance(p, 48) / 48
        * math.prod(48 / (48 + 2 * i) for i in range(p - 2))
        for p in (3, 4)
    )  # fmt: skip
    spread = np.mean((values - values.mean(axis=1, keepdims=True)) ** 2)
    # Without either p it would be 3 or 6 in place of 9.
    assert spread == pytest.approx(whole * (1 - 2 / 48), rel=0.07)
    assert whole == pytest.approx(9.0, rel=8 / 48)
    attributes = ds["hessian_eigenvalue"].attrs
    assert attributes["semicircle_radius"] == pytest.approx(6.0, rel=1e-14)
    assert (attributes["semicircle_centre_over_energy_3"], attributes["semicircle_centre_over_energy_4"]) == (
        -3,
        -4,
    )


# On torch.


@pytest.mark.parametrize("couplings", ["float32", "float64"])
@pytest.mark.parametrize("strengths", MIXTURES)
def test_forces_of_torch_are_those_of_the_kernels(strengths: Strengths, couplings: str) -> None:
    """Of planted couplings, too; three and two replicas a sample."""
    kernels, other = (model(strengths, 21, 5, 2, 1.5, couplings, backend=b) for b in ("numba", "torch"))
    x, noise = spins(5, 21), Noise(1, range(5))
    start = kernels.initial_configuration(noise)
    np.testing.assert_array_equal(other.initial_configuration(noise), start)
    # Rounding of sums of some thousand products: as random signs add up.
    tolerance = {"float32": 2e-6, "float64": 2e-15}[couplings] * 10
    for rows in (x, start):
        expected = kernels.field.forces(rows)
        assert np.abs(other.field.forces(rows) - expected).max() < tolerance * np.abs(expected).max()
        np.testing.assert_allclose(
            other.force(rows), kernels.force(rows), atol=tolerance * np.abs(expected).max()
        )
        np.testing.assert_allclose(other.energy(rows), kernels.energy(rows), atol=tolerance * 10)
    for position in (0, 3):
        expected = kernels.hessian(x, position).dense()
        np.testing.assert_array_equal(other.hessian(x, position).dense(), expected)


@pytest.mark.parametrize("cards", [1, 2])
def test_steps_of_torch_equal_the_plain_step(cards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same noise; on two cards, too, each with some of the samples."""
    monkeypatch.setattr(devices, "cards_of", lambda *given: [torch.device("cpu")] * cards)
    system, plain = (model(THREE_FOUR, 15, 5, 2, 1.5, backend=b) for b in ("torch", "numba"))
    assert isinstance(system.field, SpreadField) == (cards == 2)
    engine, noise = Langevin(system, 0.8, 0.01, response=True), Noise(1, range(5))
    state = engine.initial_state(noise)
    x, sums = state.x, np.zeros((2, *state.x.shape))
    state = engine.advance(state, 0.0, 0.2, noise)
    counted, step = philox.CountedNoise(1, range(5)), Langevin(plain, 0.8, 0.01, response=True)
    for k in range(20):
        x = step.step(x, k * 0.01, counted, sums)
    # 20 steps of rounding at 10⁻¹⁶, in numbers up to 5.
    np.testing.assert_allclose(state.x, x, rtol=0, atol=1e-13)
    np.testing.assert_allclose(state.accumulated, sums, rtol=0, atol=1e-13)
    found, expected = system.observables(state.x), plain.observables(x)
    assert list(found) == ["overlap", "energy_3", "energy_4", "mu"] or list(found) == [
        "energy_3",
        "energy_4",
        "mu",
    ]
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12)


# Closed forms.


def test_closed_forms_are_those_of_any_covariance() -> None:
    """f = ½(q³ + q⁴): the literature's T_MCT, q_d, T_K and E_th, in this normalisation."""
    limits, f = Limits(THREE_FOUR), Covariance.mixed(THREE_FOUR)
    assert limits.dynamic_temperature == pytest.approx(0.805166, abs=5e-7)
    assert limits.static_temperature == pytest.approx(0.762139, abs=5e-7)
    assert of_any.asymptotic_energy(f, 0.0) == pytest.approx(-1.690476, abs=5e-7)
    assert limits.hessian_radius == pytest.approx(6.0, rel=1e-14)
    for temperature in (0.0, 0.3, 0.8, 2.0, 10.0):
        step = limits.largest_step(temperature)
        # On the threshold the spectrum ends at 4√f''(1) = 12; kicks stay small.
        assert step <= 2 / 12 + 1e-12 and 2 * temperature * step <= 0.2 + 1e-12


@pytest.mark.parametrize("p", [2, 3, 4])
def test_of_one_p_they_are_those_of_the_pure_model(p: int) -> None:
    """To the bit with strength 1; with strength a all is that of T/√a, times √a."""
    same, scaled = Limits({p: 1.0}), Limits({p: 4.0})
    assert same.largest_step(0.4) == theory.largest_step(p, 0.4)
    assert same.static_temperature == theory.static_temperature(p)
    assert scaled.static_temperature == pytest.approx(2 * theory.static_temperature(p), rel=1e-12)
    assert scaled.dynamic_temperature == pytest.approx(2 * theory.dynamic_temperature(p), rel=1e-12)
    assert scaled.hessian_radius == pytest.approx(2 * theory.hessian_radius(p), rel=1e-12)
    for t in (0.0, 0.2, 0.4, 0.9):
        assert same.quench_energy(t) == theory.asymptotic_energy(p, t)
        assert scaled.quench_energy(2 * t) == pytest.approx(2 * theory.asymptotic_energy(p, t), rel=1e-12)
        assert scaled.largest_step(2 * t) == pytest.approx(
            min(theory.largest_step(p, t) / 2, 0.05 / t if t else INF), rel=1e-9
        )


def attributes(strengths: Any, t_i: float, temperature: float) -> dict[str, Any]:
    dynamics = PSpinDynamics(temperature=temperature, initial_temperature=t_i, dt=0.01, t_max=1.0)
    made = PSpin(PSpin.Parameters(p=strengths, n=8), dynamics, Ensemble.regular(1, 1, 1))
    return dict(made.attributes())


def test_limits_are_drawn_only_where_they_are_exact() -> None:
    for t_i, temperature, known in (
        (INF, 0.9, -1 / 0.9),  # above T_d all is forgotten
        (0.79, 0.79, -1 / 0.79),  # equilibrium, between T_K and T_d
        (INF, 0.5, None),
        (INF, 0.0, None),
        (0.9, 0.5, None),
    ):
        found = attributes(THREE_FOUR, t_i, temperature)
        assert found["energy"].get("asymptote") == (known and pytest.approx(known, rel=1e-12))
        assert "plateau" not in found["msd"] and "q_ea" not in found["integrated_response"]
    # One p of any strength forgets its start: limits are exact.
    scaled = attributes({3: 4.0}, INF, 1.0)
    assert scaled["energy"]["asymptote"] == pytest.approx(2 * -0.886693, abs=2e-6)
    assert scaled["correlation"]["plateau"] == pytest.approx(0.638824, abs=1e-6)


# Run files.


def run(folder: Path, p: Any, n: int = 12, name: str = "run.nc", **changes: Any) -> xr.Dataset:
    given: dict[str, Any] = {
        "system": {"name": "pspin", "p": p, "n": n},
        "dynamics": {"temperature": 0.9, "dt": 0.02, "t_max": 1.0, **changes.pop("dynamics", {})},
        "ensemble": {"replicas": changes.pop("replicas", 4), "samples": changes.pop("samples", 2), "seed": 3},
        "record": {"waiting_times": [0.0], "lags": [0.5, 1.0], **changes.pop("record", {})},
        "output": {"path": str(folder / name), "figure": False},
    }
    executor = "in_process" if changes.pop("here", False) else None
    return langevin.run({**given, **changes}, executor=executor).load()


def same(one: xr.Dataset, two: xr.Dataset) -> None:
    xr.testing.assert_identical(one.drop_attrs(), two.drop_attrs())


FAULTS: list[tuple[Any, str]] = [
    ({}, r"system\.p = \{  \}: the table is empty"),
    (
        {"3": -1.0, "4": 1.0},
        r"system\.p = .*: the strength of p = 3: allowed: a number > 0, from 1e-12 to 1e\+12",
    ),
    ({"3": 0.0}, "the strength of p = 3"),
    ({"4": float("nan")}, "the strength of p = 4"),
    ({"4": INF}, "the strength of p = 4"),
    ({"3": 10**15}, "the strength of p = 3"),
    ({"3": "much"}, "the strength of p = 3"),
    ({"3": True}, "the strength of p = 3"),
    ({"3": [1.0]}, "the strength of p = 3"),
    ({"1": 1.0}, "it names p = 1; allowed: one of 2, 3, 4, or a table of strengths by p"),
    ({"5": 1.0, "3": 1.0}, "it names p = 5"),
    ({"03": 1.0}, "it names p = 03"),
    ({"many": 1.0}, "it names p = many"),
    ({3: 1.0, "3": 1.0}, "p = 3 stands in it twice"),
    ([3, 4], r"system\.p = \[3, 4\]: allowed: one of 2, 3, 4, or a table"),
    ("3", r'system\.p = "3": allowed: one of 2, 3, 4, or a table'),
    (3.0, r"system\.p = 3.0: allowed: one of 2, 3, 4, or a table"),
    (True, r"system\.p = true: allowed"),
]


@pytest.mark.parametrize(("p", "said"), FAULTS)
def test_bad_strengths_are_refused_in_one_line(p: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        run(tmp_path, p)
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_what_belongs_to_the_strengths_is_checked_with_them(tmp_path: Path) -> None:
    both = {"3": 1.0, "4": 1.0}
    with pytest.raises(ConfigError, match=r"must be above T_K = 0.762139 for p = { 3 = 1.0, 4 = 1.0 }"):
        run(tmp_path, both, dynamics={"initial_temperature": 0.76})
    with pytest.raises(
        ConfigError, match=r"dt = 0.17: must be below 0.1667 for p = { 3 = 1.0, 4 = 1.0 }, T = 0 "
    ):
        run(tmp_path, both, dynamics={"dt": 0.17, "temperature": 0.0})
    # 27 GB of p = 3 and 13.5 TB of p = 4.
    with pytest.raises(ConfigError, match=r"system\.n = 3000: .* need 134\d\d\.\d GB"):
        run(tmp_path, both, n=3000, samples=1, replicas=1)


@pytest.mark.parametrize("p", [2, 3, 4])
def test_one_p_of_strength_one_is_the_pure_model_to_the_bit(p: int, tmp_path: Path) -> None:
    dynamics = {"temperature": 1.2, "initial_temperature": 1.2}
    pure = run(tmp_path, p, dynamics=dynamics)
    for k, table in enumerate(({p: 1.0}, {str(p): 1})):
        other = run(tmp_path, table, name=f"{k}.nc", dynamics=dynamics)
        same(other, pure)
        assert set(other.variables) == set(pure.variables)
        assert {name: other[name].attrs for name in other.variables} == {
            name: pure[name].attrs for name in pure.variables
        }


def test_the_order_of_a_table_does_not_matter(tmp_path: Path) -> None:
    same(run(tmp_path, {"4": 0.5, "3": 1.0}), run(tmp_path, {3: 1, 4: 0.5}, name="other.nc"))


def test_mu_is_t_minus_the_sum_of_p_times_the_energies(tmp_path: Path) -> None:
    ds = run(tmp_path, {"2": 0.5, "3": 1.0, "4": 1.0})
    np.testing.assert_allclose(ds["energy"], ds["energy_2"] + ds["energy_3"] + ds["energy_4"], rtol=1e-12)
    mu = 0.9 - 2 * ds["energy_2"] - 3 * ds["energy_3"] - 4 * ds["energy_4"]
    np.testing.assert_allclose(ds["mu"], mu, rtol=1e-12)


def test_a_stopped_run_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from langevin.running.session import Session

    both, dynamics = {"3": 1.0, "4": 1.0}, {"initial_temperature": 1.0}
    whole = run(tmp_path, both, name="whole.nc", dynamics=dynamics, record={"response": True})
    ticks, plain = itertools.count(), Session._tick

    def tick(session: Session, run: Any) -> None:
        if next(ticks) == 3:
            raise KeyboardInterrupt
        plain(session, run)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Session, "_tick", tick)
        output = {"path": str(tmp_path / "run.nc"), "figure": False, "checkpoint_interval": 0.0}
        run(tmp_path, both, dynamics=dynamics, record={"response": True}, output=output)
    same(langevin.resume(tmp_path / "run.nc").load(), whole)


def test_shards_and_members_of_a_sweep_are_the_runs(tmp_path: Path) -> None:
    both = {"3": 1.0, "4": 1.0}
    whole = run(tmp_path, both)
    ensemble = {"replicas": 4, "samples": 2, "seed": 3, "shards": 2}
    same(run(tmp_path, both, name="shards.nc", ensemble=ensemble, here=True), whole)
    values = [3, both, {"3": 1.0, "4": 0.5}]
    swept = run(tmp_path, 3, name="sweep.nc", sweep={"system.p": values}, here=True)
    assert list(swept["p"].to_numpy()) == ["3", "{ 3 = 1.0, 4 = 1.0 }", "{ 3 = 1.0, 4 = 0.5 }"]
    np.testing.assert_array_equal(swept["energy"][1], whole["energy"])
    # The couplings of p = 3 are shared.
    np.testing.assert_allclose(swept["energy_3"][2, :, 0], whole["energy_3"][:, 0], rtol=1e-6)
    assert np.isnan(swept["energy_3"][0]).all()


def test_a_run_begins_from_a_stored_configuration_of_the_same_strengths(tmp_path: Path) -> None:
    both, stored = {"3": 1.0, "4": 1.0}, {"configurations": "always"}
    first = run(tmp_path, both, name="first.nc", record=stored)
    start = {"file": str(tmp_path / "first.nc")}
    second = run(tmp_path, {3: 1.0, 4: 1.0}, name="second.nc", start=start)
    np.testing.assert_allclose(second["energy"][:, 0], first["energy"][:, -1], rtol=1e-12)
    with pytest.raises(UserError, match=r"system\.p is { 3 = 1.0, 4 = 1.0 }, here { 3 = 1.0, 4 = 0.5 }"):
        run(tmp_path, {"3": 1.0, "4": 0.5}, name="third.nc", start=start)


def test_what_a_run_file_says_is_kept_in_the_result(tmp_path: Path) -> None:
    text = """
    [system]
    name = "pspin"
    p = { 4 = 1.0, 3 = 1 }
    n = 8
    [dynamics]
    temperature = 0.9
    dt = 0.02
    t_max = 0.2
    """
    (tmp_path / "mixed.toml").write_text("\n".join(line.strip() for line in text.splitlines()))
    assert run_files.load(tmp_path / "mixed.toml").system.p == {"3": 1.0, "4": 1.0}
    langevin.run(tmp_path / "mixed.toml", {"output.path": str(tmp_path / "a.nc"), "output.figure": False})
    with langevin.open(tmp_path / "a.nc") as ds:
        settings = ds.attrs["settings"]
    assert '"p": {"4": 1.0, "3": 1}' in settings


# N → ∞.


def equations(p: Any, temperature: float, times: list[float]) -> np.ndarray:
    """E at the times, by the Cugliandolo-Kurchan equations."""
    ds = langevin.run(
        {
            "system": {"name": "cugliandolo_kurchan", "p": p},
            "dynamics": {"temperature": temperature, "t_max": times[-1]},
            "record": {"times": times, "waiting_times": [0.0], "lags": times[-1:]},
        }
    )
    return np.asarray(ds["energy"].sel(time=times).isel(replica=0))


def descent(p: Any, n: int, samples: int, dt: float, times: list[float]) -> np.ndarray:
    """E of gradient descent, 16 replicas a sample, shape (R, times)."""
    ds = langevin.run(
        {
            "system": {"name": "pspin", "p": p, "n": n},
            "dynamics": {"temperature": 0.0, "dt": dt, "t_max": times[-1]},
            "ensemble": {"replicas": 16 * samples, "samples": samples, "seed": 1},
            "record": {"times": times, "waiting_times": [], "lags": [], "configurations": "never"},
        }
    )
    return np.asarray(ds["energy"].sel(time=times))


def test_finite_sizes_tend_to_the_equations_as_one_over_n() -> None:
    """Gradient descent of the 3 + 4 model to t = 1, E = E_∞ + a/N + b/N²: two z-tests and two χ² at 5 σ.

    One false alarm in 4·10⁵ seeds. Strengths are those at which ⟨H²⟩ is N f(1) at this N, for both p. With
    strengths of 1 it is smaller by parts of 9/N and 18/N, and the third order in 1/N would matter. Of steps
    of 0.025 and 0.05, from the same starts in the same samples, first order in dt cancels.
    """
    times, both = [0.5, 1.0], {"3": 1.0, "4": 1.0}
    known, other = equations(both, 0.0, times), equations({"3": 1.0, "4": 0.7}, 0.0, times)
    sizes = [(24, 192), (32, 128), (44, 96), (60, 64)]
    means, errors = [], []
    for n, samples in sizes:
        strengths = {str(p): 0.5 / theory.energy_square(p, n) for p in (3, 4)}
        steps = [descent(strengths, n, samples, dt, times) for dt in (0.025, 0.05)]
        energy = (2 * steps[0] - steps[1]).reshape(16, samples, -1).mean(axis=0)
        means.append(energy.mean(axis=0))
        errors.append(energy.std(axis=0, ddof=1) / math.sqrt(samples))
    inverse = 1 / np.array([n for n, _ in sizes])
    for k in range(len(times)):
        values, sigma = (np.array(rows)[:, k] for rows in (means, errors))
        fit = least_squares(np.stack([inverse**0, inverse, inverse**2], axis=1), values, sigma)
        limit, error = float(fit.coefficients[0]), float(fit.errors[0])
        assert abs(limit - known[k]) < SIGMAS * error and error < 0.025, (limit, error, known[k])
        # One degree of freedom.
        assert fit.chi2 < SIGMAS**2
        # The controls: N = 24 is not the limit; a_4 = 0.7 is excluded.
        assert abs(values[0] - known[k]) > 3 * sigma[0] and abs(limit - other[k]) > 3 * error
    # Strengths of 1: far off, and less so as N grows.
    gaps = [descent(both, n, 24, 0.05, times)[:, 1].mean() - known[1] for n in (32, 60)]
    assert gaps[0] > 1.4 * gaps[1] > 0.2
