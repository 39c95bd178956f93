"""Observables of particles: against double loops, against closed forms, against what must not matter.

Statistical tests are of 5 σ: with the two dozen numbers here, one false alarm in 70,000 seeds.
"""

from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import SIGMAS, z_score
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from langevin.observables import particles
from langevin.observables.particles import BoxedMixture

SMALL = BoxedMixture(3.0, ("A", "B"), (4, 3), (7.25, 2.0), 0.5)
R = 2


def moved(
    mixture: BoxedMixture, scale: float, seed: int = 1, replicas: int = R
) -> tuple[np.ndarray, np.ndarray]:
    """Return random positions, and these after Gaussian displacements."""
    rng = np.random.default_rng(seed)
    start = mixture.box * (3 * rng.random((replicas, 3 * mixture.size)) - 1)
    return start, start + scale * rng.standard_normal(start.shape)


def by_loops(mixture: BoxedMixture, a: np.ndarray, b: np.ndarray, group: slice) -> dict[str, float]:
    """Return the observables of one replica, particle by particle."""
    n = mixture.size
    steps = [[b[3 * i + c] - a[3 * i + c] for c in range(3)] for i in range(n)]
    centre = [sum(step[c] for step in steps) / n for c in range(3)]
    lengths = [math.dist(step, centre) for step in steps][group]
    count, k = len(lengths), mixture.wavenumbers[0]
    second, fourth = sum(r**2 for r in lengths) / count, sum(r**4 for r in lengths) / count
    return {
        "msd": second,
        "correlation": sum(math.sin(k * r) / (k * r) for r in lengths) / count,
        "self_overlap": sum(r < mixture.overlap_distance for r in lengths) / count,
        "non_gaussian": 3 * fourth / (5 * second**2) - 1,
    }


def test_two_times_against_loops() -> None:
    a, b = moved(SMALL, 0.3)
    found = particles.compare(SMALL, a, b)
    for suffix, group in (("", slice(0, 7)), ("_A", slice(0, 4)), ("_B", slice(4, 7))):
        for r in range(R):
            for name, value in by_loops(SMALL, a[r], b[r], group).items():
                # To rounding of a dozen sums of seven terms of order 1.
                assert found[f"{name}{suffix}"][r] == pytest.approx(value, abs=1e-13), name + suffix
    assert len(found) == 13
    assert found["self_scattering"].shape == (R, 3, 2)
    np.testing.assert_array_equal(found["self_scattering"][:, 2, 0], found["correlation_B"])
    other = BoxedMixture(3.0, ("A", "B"), (4, 3), (2.0,))
    again = particles.compare(other, a, b)
    np.testing.assert_array_equal(found["self_scattering"][:, 0, 1], again["correlation"])
    assert "self_scattering" not in again
    assert set(particles.compare(BoxedMixture(3.0, ("A",), (7,)), a, b)) == {
        "msd",
        "correlation",
        "self_overlap",
        "non_gaussian",
    }


def test_one_direction_of_k_at_a_time_averages_to_the_isotropic_one() -> None:
    a, b = moved(SMALL, 0.3, seed=3)
    step = (b - a).reshape(R, 7, 3)
    step -= step.mean(axis=1, keepdims=True)
    # Gauss-Legendre in cos θ, equal angles in φ: exact for kr of some units.
    u, weight = np.polynomial.legendre.leggauss(40)
    phi = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    s = np.sqrt(1 - u**2)[:, None]
    directions = np.stack([s * np.cos(phi), s * np.sin(phi), u[:, None] + 0 * phi], axis=-1)
    phases = np.cos(7.25 * np.einsum("rnc,uvc->rnuv", step, directions)).mean(axis=(1, 3))
    found = particles.compare(SMALL, a, b)["correlation"]
    np.testing.assert_allclose(phases @ weight / 2, found, rtol=0, atol=1e-12)


def test_gaussian_displacements_have_closed_forms() -> None:
    mixture, width, replicas = BoxedMixture(10.0, ("A",), (2000,), (3.0,)), 0.4, 40
    a, b = moved(mixture, width, replicas=replicas)
    found = particles.compare(mixture, a, b)
    # Without the centre of mass.
    squared = 3 * width**2 * (1 - 1 / 2000)
    overlap = math.erf(x := 0.3 / math.sqrt(2 * squared / 3)) - 2 * x * math.exp(-(x**2)) / math.sqrt(math.pi)
    expected = {"msd": squared, "correlation": math.exp(-9 * squared / 6), "self_overlap": overlap}
    for name, value in expected.items():
        assert abs(z_score(found[name], value)) < SIGMAS, name
    # The ratio of averages is off by −2/(3N).
    assert abs(z_score(found["non_gaussian"], -2 / 6000)) < SIGMAS
    # Negative control: a uniform distribution is not Gaussian, α₂ = 3·(r⁴)/(5·(r²)²) − 1 = −0.24.
    c = a + np.random.default_rng(4).uniform(-1, 1, a.shape)
    assert abs(z_score(particles.compare(mixture, a, c)["non_gaussian"], -0.24)) < SIGMAS


def test_a_rigid_translation_is_no_displacement() -> None:
    a, b = moved(SMALL, 0.2)
    together = particles.compare(SMALL, a, a + np.tile([3.0, -0.7, 20.0], 7))
    # Rounding of positions of order 30.
    assert (together["msd"] < 1e-28).all()
    np.testing.assert_allclose(together["correlation"], 1, rtol=0, atol=1e-15)
    assert (together["self_overlap_B"] == 1).all()
    still, drifting = (particles.compare(SMALL, a, b + shift) for shift in (0.0, np.tile([5.0, 0.0, 1.0], 7)))
    for name in still:
        np.testing.assert_allclose(drifting[name], still[name], rtol=0, atol=1e-12)


def test_no_displacement_at_all() -> None:
    a, _ = moved(SMALL, 0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = particles.compare(SMALL, a, a.copy())
        short = particles.compare(SMALL, np.zeros_like(a), 1e-120 * a)
    for name, value in found.items():
        expected = 1.0 if name.startswith(("correlation", "self")) else 0.0
        np.testing.assert_array_equal(value, expected, name)
    # Fourth powers underflow; α₂ must not.
    np.testing.assert_allclose(
        short["non_gaussian"], particles.compare(SMALL, 0 * a, a)["non_gaussian"], rtol=1e-12
    )


def test_particles_keep_their_identity() -> None:
    a, b = moved(SMALL, 0.1)
    swapped = [1, 0, 2, 3, 6, 5, 4]

    def permuted(x: np.ndarray) -> np.ndarray:
        return x.reshape(R, 7, 3)[:, swapped].reshape(R, 21)

    found, both = particles.compare(SMALL, a, b), particles.compare(SMALL, permuted(a), permuted(b))
    for name in found:
        np.testing.assert_allclose(both[name], found[name], rtol=0, atol=1e-13)
    # Negative control: exchanged between the two times, they have moved far.
    one = particles.compare(SMALL, a, permuted(b))
    assert (one["msd"] > 10 * found["msd"]).all() and (one["correlation"] < found["correlation"]).all()


def test_pairs_against_loops() -> None:
    a, _ = moved(SMALL, 0.0, seed=2)
    edges = np.array([0.2, 0.5, 0.9, 1.2, 1.5])
    found = particles.pair_correlation(SMALL, a, edges)
    assert found.shape == (R, 3, 4)
    species = [0] * 4 + [1] * 3
    for r, (p, pair) in itertools.product(range(R), enumerate([(0, 0), (0, 1), (1, 1)])):
        counts, n = np.zeros(4), (4, 3)
        for i, j in itertools.product(range(7), repeat=2):
            if i != j and (species[i], species[j]) == pair:
                d = a[r, 3 * i : 3 * i + 3] - a[r, 3 * j : 3 * j + 3]
                distance = math.sqrt(sum(min(v % 3.0, -v % 3.0) ** 2 for v in d))
                counts += (edges[:-1] < distance) & (distance <= edges[1:])
        ideal = n[pair[0]] * (n[pair[1]] - (pair[0] == pair[1])) * 4 / 3 * np.pi * np.diff(edges**3) / 27
        np.testing.assert_allclose(found[r, p], counts / ideal, rtol=1e-12)
    assert found.sum() > 0


def test_pairs_of_an_ideal_gas() -> None:
    gas, replicas = BoxedMixture(5.0, ("A", "B"), (30, 20)), 600
    x, _ = moved(gas, 0.0, replicas=replicas)
    found = particles.pair_correlation(gas, x, np.linspace(0, 2.5, 6))
    assert (np.abs(z_score(found, 1.0)) < SIGMAS).all()
    # Negative control: with N² in place of N(N − 1), BB would be 5 % low, more than 5 σ.
    assert (np.abs(z_score(found[:, 2, 1:] * 19 / 20, 1.0)) > SIGMAS).any()


def test_pairs_do_not_see_the_box() -> None:
    a, _ = moved(SMALL, 0.0)
    edges = np.linspace(0, 1.5, 7)
    boxes = np.random.default_rng(0).integers(-3, 4, a.shape)
    found = particles.pair_correlation(SMALL, a, edges)
    elsewhere = particles.pair_correlation(SMALL, a + 3.0 * boxes + np.tile([0.3, 1.9, -0.4], 7), edges)
    np.testing.assert_array_equal(elsewhere, found)
    alone = particles.pair_correlation(BoxedMixture(3.0, ("A", "B"), (6, 1)), a, edges)
    assert np.isnan(alone[:, 2]).all() and np.isfinite(alone[:, :2]).all()


# On the faces, where rounding decides.
@example(np.tile([6.949999999999999, -20.85, 34.75], (2, 2)), 13.9)
@given(arrays(np.float64, (2, 6), elements=st.floats(-1e3, 1e3)), st.floats(0.5, 50))
def test_positions_lie_in_the_box_and_come_back(x: np.ndarray, box: float) -> None:
    inside, image = particles.positions(x, box)
    assert inside.shape == image.shape == (2, 2, 3)
    assert (inside >= -box / 2).all() and (inside < box / 2).all()
    # A few roundings of numbers up to 1e3.
    np.testing.assert_allclose((inside + box * image).reshape(2, 6), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mixture", [SMALL, BoxedMixture(2.0, ("A",), (5,), (6.1,))])
def test_a_file_says_what_its_particles_are(mixture: BoxedMixture, tmp_path: Path) -> None:
    x = xr.DataArray(np.zeros((1, 1, 3 * mixture.size)), dims=("time", "replica", "dof"))
    x.assign_attrs(mixture.attributes()).rename("configuration").to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as found:
        assert BoxedMixture.of(found["configuration"]) == mixture
        assert particles.are_in(found["configuration"])
    assert not particles.are_in(x)


def test_every_observable_is_described() -> None:
    a, b = moved(SMALL, 0.1)
    about = particles.variables(SMALL)
    for name in particles.compare(SMALL, a, b):
        assert {"long_name", "units"} <= set(about[name]), name
    assert about["msd_B"]["long_name"] == "mean square displacement per particle of B"
    assert about["correlation"]["wavenumber"] == 7.25
    assert about["integrated_response"]["centre_of_mass_mobility"] == 1 / 7
    # What varies from mixture to mixture stays out of what they share.
    assert "wavenumber" not in particles.ATTRIBUTES["correlation"]


FAULTS: list[tuple[Any, str]] = [
    (lambda: BoxedMixture(0.0, ("A",), (1,)), "box = 0.0: must be > 0"),
    (lambda: BoxedMixture(1.0, ("A", "B"), (1,)), r"counts = \(1,\): needed: a count ≥ 1 for each name"),
    (lambda: BoxedMixture(1.0, ("A",), (1,), ()), r"wavenumbers = \(\): needed: one or more"),
    (lambda: particles.compare(SMALL, np.zeros((1, 21)), np.zeros((1, 18))), r"needed: \(R, 21\) both"),
    (lambda: particles.pair_correlation(SMALL, np.zeros((1, 21)), [0, 2]), "0 to 2: allowed: 0 to 1.5, half"),
    (lambda: particles.pair_correlation(SMALL, np.zeros((1, 21)), [1, 1]), "ascending"),
    (lambda: BoxedMixture.of(xr.DataArray([1.0], attrs={"box": 1.0})), "lacks species_counts, species_names"),
    (
        lambda: particles.two_time(xr.DataArray([1.0], attrs=SMALL.attributes()), [0], [1], "mds"),
        "name = 'mds': allowed: msd, correlation, self_overlap",
    ),
]


@pytest.mark.parametrize(("call", "said"), FAULTS)
def test_faults_are_named(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_plain_names_mean_the_tagged_species() -> None:
    mixture = particles.BoxedMixture(5.0, ("A", "B"), (30, 20), tagged="A")
    assert particles.BoxedMixture.of(xr.DataArray(0.0, attrs=mixture.attributes())) == mixture
    rng = np.random.default_rng(4)
    reference = rng.standard_normal((2, 150))
    found = particles.compare(mixture, reference, reference + 0.1 * rng.standard_normal((2, 150)))
    for name in ("msd", "correlation", "self_overlap", "non_gaussian"):
        np.testing.assert_array_equal(found[name], found[f"{name}_A"])
        assert f"{name}_all" in found and f"{name}_B" in found
    np.testing.assert_allclose(found["msd_all"], 0.6 * found["msd_A"] + 0.4 * found["msd_B"], rtol=1e-12)
    assert particles.variables(mixture)["integrated_response"]["conjugate"] == "msd_all"
    with pytest.raises(ValueError, match="tagged = 'C': allowed: all, A, B"):
        particles.BoxedMixture(5.0, ("A", "B"), (30, 20), tagged="C")
