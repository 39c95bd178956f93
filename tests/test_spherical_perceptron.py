"""The spherical perceptron: forces, closed forms, minima, jammed configurations, each against another way.

Statistical bounds are 4.5 standard errors (a false alarm in 10⁵), beside what a finite N shifts by where
said.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from scipy.integrate import quad
from scipy.optimize import nnls
from scipy.special import log_ndtr

import langevin
from langevin import plotting
from langevin.config import run_files
from langevin.errors import ConfigError
from langevin.observables.power_laws import cumulative, power_law, vanishing
from langevin.observables.statistics import average
from langevin.systems.perceptron import jamming, landscape, theory
from langevin.systems.perceptron.kernels import Field
from langevin.systems.perceptron.landscape import Point, TangentHessian
from langevin.systems.sphere import uniform_on_sphere


def given(end: str = "gaps", **changed: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "system": {"name": "spherical_perceptron", "n": 40, "alpha": 4.0, "margin": 0.0},
        "dynamics": {"temperature": 0.0, "dt": 0.1, "t_max": 2.0},
        "ensemble": {"replicas": 8, "samples": 8, "seed": 5},
        "record": {"waiting_times": [0.0], "lags": [1.0], "configurations": "never", "end": end},
        "output": {"figure": False},
    }
    for dotted, value in changed.items():
        section, key = dotted.split("__")
        settings[section][key] = value
    return settings


def drawn(n: int, load: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return patterns and a configuration."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((round(load * n), n)), uniform_on_sphere(n, rng)


@pytest.mark.parametrize(("n", "patterns", "replicas"), [(5, 3, 1), (8, 4, 2), (37, 90, 3), (300, 41, 9)])
def test_the_kernel_is_the_model(n: int, patterns: int, replicas: int) -> None:
    """All rests of blocks, rows and pairs of replicas, against the formulas."""
    rng = np.random.default_rng(n)
    xi, margin = rng.standard_normal((2, patterns, n)), 0.2
    x, position = uniform_on_sphere(n, rng, replicas), np.arange(replicas) % 2
    found = Field(xi, position, margin, 2).evaluate(x)
    gaps = np.einsum("rpn,rn->rp", xi[position], x) / math.sqrt(n) - margin
    pushed = np.minimum(gaps, 0)
    np.testing.assert_allclose(found.energy, 0.5 * np.sum(pushed**2, axis=1), rtol=1e-12)
    np.testing.assert_array_equal(found.unsatisfied, np.sum(gaps < 0, axis=1))
    force = -np.einsum("rpn,rp->rn", xi[position], pushed) / math.sqrt(n)
    np.testing.assert_allclose(found.force, force, atol=1e-12 * np.abs(force).max())


@pytest.mark.parametrize("margin", [-0.4, 0.5])
def test_the_hessian_is_the_slope_of_the_gradient_on_the_sphere(margin: float) -> None:
    """Along great circles, where no pattern changes sides; the multiplier is part of it."""
    n, s = 12, 1e-5
    patterns, x = drawn(n, 4.0, 2)
    operator = TangentHessian(patterns, x, margin)
    basis = operator.displacements(np.eye(n - 1))

    def gradient(at: np.ndarray) -> np.ndarray:
        point = Point.at(patterns, at, margin)
        slope = np.minimum(point.gaps, 0) @ patterns / math.sqrt(n)
        return slope - at * (slope @ at) / n

    def turned(u: np.ndarray, angle: float) -> np.ndarray:
        return x * math.cos(angle) + u * math.sqrt(n) * math.sin(angle)

    angle = s / math.sqrt(n)
    columns = [(gradient(turned(u, angle)) - gradient(turned(u, -angle))) / (2 * s) for u in basis.T]
    expected = basis.T @ np.column_stack(columns)
    np.testing.assert_allclose(operator.dense(), expected, atol=1e-8)
    np.testing.assert_allclose(operator.matvec(np.eye(n - 1)), operator.dense(), atol=1e-12)
    np.testing.assert_allclose(operator.gradient(), basis.T @ gradient(x), atol=1e-12)


def test_closed_forms_at_zero_temperature() -> None:
    assert theory.jamming_load(0.0) == pytest.approx(2, rel=1e-14), "Cover, Gardner"
    for margin in (-1.0, 0.5):
        weight = quad(lambda z, m=margin: math.exp(-z * z / 2) * (z - m) ** 2, -12, margin)[0]
        assert theory.jamming_load(margin) == pytest.approx(math.sqrt(2 * math.pi) / weight, rel=1e-10)
        assert theory.jamming_margin(theory.jamming_load(margin)) == pytest.approx(margin, abs=1e-12)
    load, share = 2.0, theory.unsatisfied_share(0.5)
    # The saddle point, on a grid of χ.
    chi = np.geomspace(1e-2, 1e3, 200_001)
    least = np.max(-1 / (2 * chi) + load / theory.jamming_load(0.5) / (2 * (1 + chi)))
    assert theory.minimum_energy(load, 0.5) == pytest.approx(least, rel=1e-6)
    assert theory.minimum_energy(0.9, 0.5) == 0
    assert theory.contacts_at_jamming(0.5) == pytest.approx(theory.jamming_load(0.5) * share)
    assert theory.contacts_at_jamming(0.0) == theory.contacts_at_jamming(-1.0) == 1


def test_closed_forms_in_equilibrium() -> None:
    """The free energy, written anew, is stationary in q; its slope in β is E; T → 0 is the minimum."""
    load, margin, temperature, step = 2.0, 0.5, 0.3, 1e-4

    def scaled(q: float, beta: float) -> float:
        s, c = math.sqrt(1 - q), math.sqrt(1 + beta * (1 - q))

        def inner(z: float) -> float:
            m = math.sqrt(q) * z - margin
            violated = -beta * m * m / (2 * c * c) + log_ndtr(-m / s / c) - math.log(c)
            return math.exp(-z * z / 2) * np.logaddexp(log_ndtr(m / s), violated)

        integral = quad(inner, -12, 12, epsabs=1e-12, epsrel=1e-12, limit=400)[0]
        return -0.5 * (math.log(1 - q) + q / (1 - q)) - load * integral / math.sqrt(2 * math.pi)

    q, beta = theory.overlap(load, margin, temperature), 1 / temperature
    assert abs(scaled(q + step, beta) - scaled(q - step, beta)) / (2 * step) < 1e-6
    slope = (scaled(q, beta + step) - scaled(q, beta - step)) / (2 * step)
    assert theory.equilibrium_energy(load, margin, temperature) == pytest.approx(slope, rel=1e-6)
    cold = theory.equilibrium_energy(load, margin, 0.003)
    assert cold - theory.minimum_energy(load, margin) == pytest.approx(0.003 / 2, rel=0.03), "equipartition"


def test_equilibrium_is_that_of_replicas() -> None:
    """Langevin dynamics at T = 0.3: the energy of the replica symmetric saddle point, once relaxed."""
    load, margin, temperature = 2.0, 0.5, 0.3
    run = langevin.run(
        given(
            system__n=60, system__alpha=load, system__margin=margin, dynamics__temperature=temperature,
            dynamics__dt=0.02, dynamics__t_max=30.0, ensemble__replicas=24, ensemble__samples=24,
            record__times=list(np.arange(12.0, 31.0, 1.0)),
        )
    )  # fmt: skip
    mean, error = average(run["energy"].sel(time=slice(12.0, None)).mean("time"))
    expected = theory.equilibrium_energy(load, margin, temperature)
    # dt: stiffness up to (1 + √α)² = 6, off by dt λ/4 of the thermal part, T/2 per mode; 1/N: as much.
    shift = temperature / 2 * (0.02 * 6 / 4 + 1 / 60)
    assert abs(float(mean) - expected) < 4.5 * float(error) + shift
    assert float(error) < 0.06 * expected
    assert run["energy"].attrs["asymptote"] == pytest.approx(expected)


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_minima_of_the_convex_phase_have_the_energy_of_theory(margin: float) -> None:
    load, n = 3.0, 100
    run = langevin.run(
        given(
            "minimum", system__n=n, system__alpha=load, system__margin=margin, ensemble__replicas=24,
            ensemble__samples=24,
        )
    )  # fmt: skip
    mean, error = average(run["minimum_energy"])
    expected = theory.minimum_energy(load, margin)
    assert abs(float(mean) - expected) < 4.5 * float(error) + expected / n
    share, error = average(run["minimum_unsatisfied"] / (load * n))
    assert abs(float(share) - theory.unsatisfied_share(margin)) < 4.5 * float(error) + 1 / n
    assert (run["minimum_energy"] < run["energy"].isel(time=-1)).all()
    known = 0.5 * (np.minimum(run["gap"], 0) ** 2).sum("pattern") / n
    np.testing.assert_allclose(run["minimum_energy"], known, rtol=1e-12)


def test_a_minimum_is_one() -> None:
    """Of all starts the convex problem has one minimum; others end in minima, never on saddles."""
    for load, margin, alike in ((6.0, 0.3, True), (20.0, -1.0, False)):
        patterns, _ = drawn(30, load, 3)
        rng = np.random.default_rng(1)
        found = [landscape.minimum(Point.at(patterns, uniform_on_sphere(30, rng), margin)) for _ in range(4)]
        assert all(map(landscape.settled, found))
        energies = [point.energy for point in found]
        assert (np.ptp(energies) < 1e-12 * max(energies)) == alike
        for point in found:
            assert np.linalg.eigvalsh(TangentHessian(patterns, point.x, margin).dense())[0] > 0


def test_jammed_configurations_meet_their_conditions() -> None:
    """Isostatic for σ < 0; A x = σ, Aᵀf ∝ x, f > 0, all other gaps > 0: a local maximum of the margin."""
    for seed in range(4):
        patterns, x = drawn(40, 4.0, seed)
        found = jamming.jam(Point.at(patterns, x, 0.0))
        assert found is not None
        assert found.margin < 0
        assert found.contacts.sum() == 40
        assert found.x @ found.x == pytest.approx(40, rel=1e-12)
        rows = patterns[found.contacts] / math.sqrt(40)
        np.testing.assert_allclose(rows @ found.x, found.margin, atol=1e-11)
        pull = rows.T @ found.forces[found.contacts]
        np.testing.assert_allclose(pull, found.x * (pull @ found.x) / 40, atol=1e-9)
        assert found.forces[found.contacts].min() > 0
        assert found.gaps[~found.contacts].min() > 0
        # Any small step along the sphere lowers the smallest gap.
        rng = np.random.default_rng(seed)
        for _ in range(20):
            other = found.x + 1e-4 * rng.standard_normal(40)
            other *= math.sqrt(40) / np.linalg.norm(other)
            assert np.min(patterns @ other) / math.sqrt(40) < found.margin


def test_the_convex_problem_jams_at_its_largest_margin() -> None:
    """min |w| under Ξw ≥ 1, by nonnegative least squares (Lawson & Hanson's LDP), has the same margin."""
    for seed in range(3):
        n, load = 30, 1.0
        patterns, x = drawn(n, load, seed)
        rows = patterns / math.sqrt(n)
        extended = np.vstack([rows.T, np.ones(len(rows))])
        target = np.append(np.zeros(n), 1.0)
        weights, _ = nnls(extended, target)
        rest = extended @ weights - target
        expected = math.sqrt(n) / np.linalg.norm(rest[:-1] / rest[-1])
        for start in (2.0, -1.0):
            found = jamming.jam(Point.at(patterns, x, start))
            assert found is not None
            assert found.margin == pytest.approx(expected, rel=1e-10)
            assert found.contacts.sum() == np.count_nonzero(weights) < n, "hypostatic"


def test_no_set_of_contacts_but_the_right_one_is_certified() -> None:
    patterns, x = drawn(30, 4.0, 1)
    found = jamming.jam(Point.at(patterns, x, 0.0))
    assert found is not None
    assert jamming.certified(patterns, found.contacts, -1.0) is not None
    assert jamming.certified(patterns, found.contacts, 1.0) is None
    inside, outside = np.flatnonzero(found.contacts), np.flatnonzero(~found.contacts)
    fewer, other = found.contacts.copy(), found.contacts.copy()
    fewer[inside[0]] = other[inside[0]] = False
    other[outside[0]] = True
    assert jamming.certified(patterns, fewer, -1.0) is None
    assert jamming.certified(patterns, other, -1.0) is None


def test_what_is_measured_at_the_end() -> None:
    run = langevin.run(given("jamming"))
    assert run["gap"].dims == run["contact_force"].dims == ("replica", "pattern")
    assert run.sizes["pattern"] == 160
    assert (run["contacts"] == 40).all()
    assert ((run["gap"] == 0) == (run["contact_force"] > 0)).all()
    mean, error = average(run["jamming_margin"])
    # Quenches jam below the replica symmetric bound of N → ∞, here by less than 0.1 (a finite N as well).
    bound = run["jamming_margin"].attrs["replica_symmetric"]
    assert bound - 0.1 < float(mean) < bound + 4.5 * float(error)
    drawn_figure = plotting.figure(run)
    assert isinstance(drawn_figure, Figure)
    assert len(drawn_figure.axes) == 3
    plain = langevin.run(given())
    assert "contact_force" not in plain
    np.testing.assert_array_equal((plain["gap"] < 0).sum("pattern"), plain["unsatisfied"].isel(time=-1))
    np.testing.assert_allclose(plain["unsatisfied_share"] * 160, plain["unsatisfied"])


def test_a_sweep_over_the_load_is_drawn() -> None:
    settings = given("minimum", system__margin=0.5, ensemble__replicas=4, ensemble__samples=4)
    settings["sweep"] = {"system.alpha": [2.0, 3.0]}
    swept = langevin.run(settings, executor="in_process")
    assert "minima above jamming" in plotting.quantities(swept)
    assert len(plotting.figure(swept).axes) == 2


def test_unknown_ends_are_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stands for a state that was not reached."""
    monkeypatch.setattr(jamming, "MOST_STEPS", 0)
    run = langevin.run(given("jamming"))
    assert all(run[name].isnull().all() for name in ("gap", "contact_force", "jamming_margin", "contacts"))
    monkeypatch.setattr(landscape, "MOST_STEPS", 0)
    run = langevin.run(given("minimum"))
    assert all(run[name].isnull().all() for name in ("gap", "minimum_energy", "minimum_unsatisfied"))


def test_power_laws_are_found_with_their_errors() -> None:
    """Of made-up data sets: errors are the scatter; 95 % intervals hold the exponent in all but a few."""
    rng = np.random.default_rng(1)
    pulls, halves = [], []
    for exponent in 20 * [-0.41269, 0.42311]:
        values = rng.random((30, 40)) ** (1 / (1 + exponent))
        law = power_law(xr.DataArray(values, dims=("replica", "pattern")), (0.02, 0.6), resamples=200)
        pulls.append((float(law["exponent"]) - exponent) / float(law["exponent_error"]))
        halves.append(float(law["half_difference"]))
    # Binomial, 40 at 95 %: 30 or fewer in 4 of 10⁶.
    assert np.sum(np.abs(pulls) < 1.96) > 30
    assert np.sum(np.abs(halves) < 1.96) > 30
    bent = np.concatenate([rng.random((30, 400)) ** 2, rng.random((30, 400))], axis=1)
    law = power_law(xr.DataArray(bent, dims=("replica", "pattern")), (1e-4, 1.0))
    assert float(law["half_difference"]) > 5, "two laws are noticed"
    assert int(law["count"]) == int(((bent >= 1e-4) & (bent < 1)).sum())
    alone = power_law(xr.DataArray(bent[:1], dims=("replica", "pattern")), (1e-4, 1.0))
    assert np.isnan(float(alone["exponent_error"]))
    with pytest.raises(ValueError, match=r"between = \(0, 1\): must be two numbers, 0 < low < high"):
        power_law(xr.DataArray(bent, dims=("replica", "pattern")), (0, 1))
    shares = cumulative(xr.DataArray([[3.0, 0.0], [1.0, np.nan]], dims=("replica", "pattern")))
    assert shares["x"].to_numpy().tolist() == [1.0, 3.0]
    np.testing.assert_allclose(shares, [2 / 3, 1.0])


def test_the_threshold_is_where_the_root_of_the_energy_vanishes() -> None:
    rng = np.random.default_rng(2)
    loads, pulls = np.array([2.5, 3.0, 4.0]), []
    for _ in range(40):
        root = np.sqrt(loads / 2) - 1 + 0.02 * rng.standard_normal((16, 3))
        energy = xr.DataArray(root**2 / 2, {"alpha": loads}, ("replica", "alpha"))
        found = vanishing(energy, "alpha", by=np.sqrt(loads), resamples=200)
        pulls.append((float(found["threshold"]) - math.sqrt(2)) / float(found["threshold_error"]))
    assert np.sum(np.abs(pulls) < 2.13) > 30, "Student, 15 degrees: 95 %"
    with pytest.raises(ValueError, match="all above 0 in every sample"):
        vanishing(energy * 0, "alpha")


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"dynamics__dt": 0.25}, "dynamics.dt = 0.25: must be below 0.2222"),
        ({"dynamics__initial_temperature": 1.0}, "dynamics.initial_temperature = 1: allowed: inf"),
        (
            {"system__alpha": 0.01},
            "system.alpha = 0.01: leaves no pattern at system.n = 40; allowed",
        ),
        ({"record__end": "jam"}, 'record.end = "jam"'),
        ({"system__n": 100_000, "system__alpha": 1000.0, "dynamics__dt": 1e-4}, "system.n = 100000"),
    ],
)
def test_faults_are_named(changed: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        run_files.load(given(**changed))
    assert error.value.faults[0].startswith(fault)
