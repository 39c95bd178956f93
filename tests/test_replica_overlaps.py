"""χ₄ and P(q) against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from conftest import SIGMAS

import langevin
from langevin.observables.overlaps import dynamical_susceptibility, overlap_distribution, overlaps


def test_oscillators_in_equilibrium() -> None:
    """χ₄ = (T/k)² (1 + e^{−2kt}); three tests at 5 σ. The step is 1 % of 1/k: 1 % of the exponent."""
    t, k = 0.8, 1.5
    run = langevin.run(
        {
            "system": {"name": "harmonic", "n": 20, "stiffness": k},
            "dynamics": {"temperature": t, "initial_temperature": t, "dt": 0.005, "t_max": 1.0},
            "ensemble": {"replicas": 2000, "seed": 2},
            "record": {"waiting_times": [0.2], "lags": [0.1, 0.3, 0.8], "configurations": "never"},
        }
    )
    found = dynamical_susceptibility(run["correlation"])  # N from the attribute dof
    exact = (t / k) ** 2 * (1 + np.exp(-2 * k * run["lag"]))
    off = (found["chi4"].isel(waiting_time=0) - exact) / found["chi4_error"].isel(waiting_time=0)
    assert float(np.abs(off).max()) < SIGMAS
    assert float((found["chi4_error"] / found["chi4"]).max()) < 0.05
    assert found["chi4_disorder"].isnull().all(), "a single sample"
    assert bool((found["chi4_low"] < found["chi4"]).all() and (found["chi4"] < found["chi4_high"]).all())


@pytest.mark.parametrize("each", [1, 3])
def test_the_parts_within_and_between_samples(each: int) -> None:
    """C = m + w with variances 0.09 and 0.25, N = 1: the split needs replicas that share a sample."""
    rng, samples = np.random.default_rng(1), 3000
    m, w = 0.3 * rng.standard_normal((samples, 1)), 0.5 * rng.standard_normal((samples, each))
    labels = np.repeat(np.arange(samples), each)
    # 10⁶ on top: a common shift changes no variance, and costs no digits.
    c = xr.DataArray((m + w).reshape(-1, 1) + 1e6, {"sample": ("replica", labels)}, ("replica", "lag"))
    found = dynamical_susceptibility(c, 1).isel(lag=0)
    expected = {"chi4": 0.34} if each == 1 else {"chi4": 0.34, "chi4_thermal": 0.25, "chi4_disorder": 0.09}
    for name, value in expected.items():
        assert abs(float(found[name] - value)) < SIGMAS * float(found[f"{name}_error"]) < 0.06
    assert bool(np.isnan(found["chi4_thermal"])) == (each == 1)


def test_a_random_start_of_spins_is_a_paramagnet() -> None:
    """Independent points of the sphere: ⟨q⟩ = 0, ⟨q²⟩ = 1/N, ⟨q⁴⟩ = 3/(N(N + 2)); 3 tests at 5 σ."""
    n = 16
    run = langevin.run(
        {
            "system": {"name": "pspin", "p": 3, "n": n},
            "dynamics": {"temperature": 0.5, "dt": 0.05, "t_max": 0.1},
            "ensemble": {"replicas": 2400, "samples": 600, "seed": 3},
            "record": {"snapshots": [0.0], "configurations": "never"},
        }
    )
    pairs = overlaps(run["snapshot"].isel(snapshot_time=0))
    assert pairs.sizes["pair"] == 600 * 6 and bool((pairs["first"] != pairs["second"]).all())
    found = overlap_distribution(pairs)
    off = (found["moment"] - [0, 1 / n, 3 / (n * (n + 2))]) / found["moment_error"]
    assert float(np.abs(off).max()) < SIGMAS
    width = found["overlap_high"] - found["overlap_low"]
    assert float((found["density"] * width).sum()) == pytest.approx(1)
    second = float((found["density"] * width * found["overlap"] ** 2).sum())
    assert second == pytest.approx(float(found["moment"][1]), abs=float(width[0]) ** 2)
    # The control: 1/N is told from 1/(N − 1).
    assert abs(float(found["moment"][1]) - 1 / (n - 4)) > SIGMAS * float(found["moment_error"][1])


def test_pairs_by_hand_and_a_single_sample() -> None:
    x = xr.DataArray(
        [[1.0, 0.0], [1.0, 2.0], [0.0, 1.0], [3.0, 1.0]],
        {"replica": [5, 6, 7, 8], "sample": ("replica", [0, 1, 0, 1])},
        ("replica", "dof"),
    )
    pairs = overlaps(x)
    assert pairs.to_numpy().tolist() == [0.0, 2.5]
    assert [pairs[n].to_numpy().tolist() for n in ("first", "second")] == [[5, 6], [7, 8]]
    assert float(overlap_distribution(pairs)["moment"][0]) == 1.25
    rng, n, replicas = np.random.default_rng(4), 30, 200
    alone = overlap_distribution(
        overlaps(xr.DataArray(rng.standard_normal((replicas, n)), dims=("replica", "dof")))
    )
    # Gaussians of variance 1: ⟨q²⟩ = 1/N. Given one of the pair, ⟨q²⟩ = |x|²/N², whose spread is √2/N^{3/2};
    # a mean over pairs of R replicas errs by 2/√R of it.
    off = abs(float(alone["moment"][1]) - 1 / n) / float(alone["moment_error"][1])
    assert off < SIGMAS
    exact = 2 * math.sqrt(2 / replicas) / n**1.5
    assert float(alone["moment_error"][1]) == pytest.approx(exact, rel=5 / math.sqrt(2 * replicas))


def test_what_cannot_be_had_is_refused() -> None:
    x = xr.DataArray(np.ones((3, 4)), {"sample": ("replica", [0, 1, 2])}, ("replica", "dof"))
    with pytest.raises(ValueError, match="no sample has two replicas"):
        overlaps(x)
    with pytest.raises(ValueError, match="replica and dof"):
        overlaps(x.isel(dof=0))
    c = xr.DataArray(np.ones((3, 4)), dims=("replica", "lag"))
    with pytest.raises(ValueError, match="size = None"):
        dynamical_susceptibility(c)
    with pytest.raises(ValueError, match="two replicas"):
        dynamical_susceptibility(c[:1], 10)
    pairs = overlaps(x.assign_coords(sample=("replica", [0, 0, 0])))
    with pytest.raises(ValueError, match="bins"):
        overlap_distribution(pairs, bins=[1.0, 0.0])
