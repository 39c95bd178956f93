"""Late times of the N → ∞ dynamics against closed forms, and finite N against N → ∞ (slow)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import langevin
from langevin.analysis import compare
from langevin.observables import aging, relaxation, response
from langevin.systems.cugliandolo_kurchan.accuracy import TimePair, one_time, two_time
from langevin.systems.cugliandolo_kurchan.companion import Companion
from langevin.systems.cugliandolo_kurchan.covariance import Covariance
from langevin.systems.cugliandolo_kurchan.longtime import LongTime
from langevin.systems.cugliandolo_kurchan.stepping import Equations

pytestmark = pytest.mark.slow

THRESHOLD = -2 / math.sqrt(3)
ENERGY, OVERLAP, RATIO = -0.886693, 0.638824, 0.565376  # T = 0.5
RUNS = Path(__file__).parents[2] / "runs"


def run(name: str, folder: Path) -> xr.Dataset:
    """Run a file; in a folder of its own, since others do so at the same time."""
    overrides = {"output.path": str(folder / f"{name}.nc"), "output.figure": False}
    return langevin.run(RUNS / f"{name}.toml", overrides)


@pytest.fixture(scope="module")
def descent(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return run("ck_gradient_descent", tmp_path_factory.mktemp("descent"))


@pytest.fixture(scope="module")
def quench(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return run("ck", tmp_path_factory.mktemp("quench"))


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_tolerance_steps_and_panels_do_not_move_the_energy(temperature: float) -> None:
    problem = Equations(Covariance.pure(3), temperature, 0.0)
    best, looser = LongTime(problem, 1e-7), LongTime(problem, 1e-6)
    other = Companion(best)  # its steps and panels are longer and wider everywhere
    for t in 10.0 ** np.arange(-1, 7.1, 0.25):
        energy, coarse, wide = (s.one_time(t, s.reach(t))[0] for s in (best, looser, other))
        assert abs(coarse - energy) < 1e-6, t
        assert abs(wide - energy) < 1e-6, t


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_late_errors_are_what_is_stated(temperature: float) -> None:
    """C(t, t/2) and μ at tolerance 10⁻⁷, against 10⁻⁹, whose errors are fifty times smaller."""
    problem = Equations(Covariance.pure(3), temperature, 0.0)
    finer, solution = LongTime(problem, 1e-9), LongTime(problem, 1e-7)
    pair = solution, Companion(solution)
    off, stated = [], []
    for t in 10.0 ** np.arange(3, 7.1, 0.5):
        sizes = tuple(solver.reach(t) for solver in reversed(pair))[::-1]
        size = finer.reach(t)
        values, errors = two_time(pair, sizes, TimePair(t, t / 2, t / 2))
        one, one_error = one_time(pair, sizes, t)
        off.append(
            [abs(values[0] - finer.two_time(t, t / 2, size)[0]), abs(one[1] - finer.one_time(t, size)[1])]
        )
        stated.append([errors[0], one_error[1]])
    ratios = np.array(off) / stated
    # Within a factor of three, typically, and never more than three times what is stated.
    typical = np.exp(np.mean(np.log(ratios), axis=0))
    assert np.all((typical > 1 / 3) & (typical < 3)), ratios
    assert np.all(ratios < 3), ratios


def test_the_approach_to_the_threshold_goes_on_to_t_1e10(tmp_path: Path) -> None:
    """(E − E_th) t^(2/3) is constant in every decade, and errors are stated; some minutes."""
    found = run("ck_far", tmp_path)
    times = 10.0 ** np.arange(6, 10.1)
    energy, error = (
        found[name].isel(replica=0).sel(time=times, method="nearest").to_numpy()
        for name in ("energy", "energy_error")
    )
    scaled, scale = (energy - THRESHOLD) * times ** (2 / 3), times ** (2 / 3)
    # The correction to the power law is 10⁻⁴ at t = 10⁶, and falls; errors of E weigh t^(2/3).
    assert np.all(np.abs(scaled - scaled[2]) < 2e-4 + 3 * error * scale)
    late = found.isel(replica=0).sel(waiting_time=1e9)
    relative = (late["correlation_error"] / late["correlation"]).to_numpy()
    assert np.nanmax(relative) < 1e-4


def test_gradient_descent_nears_the_threshold_as_t_to_the_minus_two_thirds(descent: xr.Dataset) -> None:
    slope = relaxation.local_exponent(descent["energy"], THRESHOLD)["exponent"]
    for t, known in ((10, -0.6986), (100, -0.6746), (400, -0.6693)):
        # Three-point slopes, 20 to a decade, of a curve whose slope drifts by 0.02 a decade: 1e-3.
        assert abs(float(slope.sel(time=t, method="nearest")) - known) < 1e-3
    # The correction to −2/3 falls below 1e-3 from t = 1e4 on.
    late = slope.sel(time=slice(1e4, 3e6))
    np.testing.assert_allclose(late, -2 / 3, atol=2e-3)


def test_a_quench_to_t_05_nears_its_asymptotic_energy(quench: xr.Dataset) -> None:
    gap = quench["energy"].isel(replica=0) - ENERGY
    at = [float(gap.sel(time=t, method="nearest")) for t in (1e5, 1e6, 1e7)]
    # E − E∞ falls by a factor near 4 a decade; E∞ is known to 5e-7.
    assert 0 < at[2] < at[1] / 3 < at[0] / 9
    assert at[2] < 3e-5


def test_the_aging_line_gives_overlap_and_fdt_ratio(quench: xr.Dataset) -> None:
    line = response.aging_line(quench["correlation"], quench["integrated_response"], 0.5, between=(0.2, 0.5))
    q, x = (line[name].to_numpy().ravel() for name in ("q_ea", "fdt_ratio"))
    # The waiting times 10⁵ and 10⁶: finite-t_w shifts fall with t_w (steps of the last three bound what is
    # left).
    left_q, left_x = 2 * abs(q[-1] - q[-2]), 2 * abs(x[-1] - x[-2])
    assert left_q < 5e-3 and left_x < 1e-2
    assert abs(q[-1] - OVERLAP) < left_q + 1e-3
    assert abs(x[-1] - RATIO) < left_x + 2e-3


@pytest.mark.parametrize("threshold", [0.9, 1.2, 1.5])
def test_beyond_the_plateau_aging_tends_to_simple_aging(quench: xr.Dataset, threshold: float) -> None:
    """C = C(t/t_w) for late times (Cugliandolo & Kurchan 1993): t* ~ t_w if Δ* > 2(1 − q_EA) = 0.722."""
    solution = {"accuracy": quench["msd_error"]}
    found = aging.aging_exponent(quench["msd"], threshold, **solution)
    local = found["local_exponent"].to_numpy()[1:-1]
    left = 1 - local
    # At t_w = 10 to 10⁵. What is left falls by a factor above 2 for each of the last decades, so that the
    # last step bounds it; twice the step, since the limit is not reached.
    assert np.all(left > 0) and np.all(left[-2:] < left[-3:-1] / 2)
    assert left[-1] < 2 * (local[-1] - local[-2]) < 0.06
    late = aging.aging_exponent(quench["msd"], threshold, waiting_times=(1e4, math.inf), least=3, **solution)
    assert abs(float(late["exponent"]) - 1) < 2 * (local[-1] - local[-2])
    # A limit, not a constant: early waiting times have another exponent.
    assert float(found["exponent_drift"]) > 0.1


def test_below_the_plateau_nothing_ages(quench: xr.Dataset) -> None:
    local = aging.aging_exponent(quench["msd"], 0.4)["local_exponent"].to_numpy()[1:-1]
    # t*(∞) − t* falls as a power of t_w: by more than half for each decade.
    assert np.all(local[1:] < local[:-1] / 2) and 0 < local[-1] < 3e-3


def test_displacement_and_correlation_age_alike(quench: xr.Dataset) -> None:
    rises = aging.aging_exponent(quench["msd"], 1.2, accuracy=quench["msd_error"])
    error = quench["correlation_error"]
    falls = aging.aging_exponent(quench["correlation"], 1 - 1.2 / 2, falling=True, accuracy=error)
    # Δ = 2(1 − C); lags are ten to a decade, straight in ln Δ or in C: (Δ ln t)²/8 = 0.7 %.
    bound = math.log(10) ** 2 / 800
    np.testing.assert_allclose(falls["relaxation_time"], rises["relaxation_time"], rtol=bound)
    assert abs(float(falls["exponent"] - rises["exponent"])) < bound


def test_finite_sizes_tend_to_it_by_compare(tmp_path: Path) -> None:
    times = [1.0, 2.0, 5.0]
    record: dict[str, Any] = {"times": times, "waiting_times": [1.0], "lags": [1.0, 4.0]}
    quiet = {"figure": False, "checkpoint_interval": 60.0}
    ck = langevin.run(
        {
            "system": {"name": "cugliandolo_kurchan", "p": 3},
            "dynamics": {"temperature": 0.5, "t_max": 5.0, "tolerance": 1e-7},
            "record": record,
            "output": {**quiet, "path": str(tmp_path / "ck.nc")},
        }
    )
    files = [ck]
    for k, n in enumerate((32, 48, 64, 96)):
        given = {
            "system": {"name": "pspin", "p": 3, "n": n},
            "dynamics": {"temperature": 0.5, "dt": 0.01, "t_max": 5.0},
            "ensemble": {"replicas": 2000, "samples": 2000, "seed": 100 + k},
            "record": {**record, "configurations": "never"},
            "output": {**quiet, "path": str(tmp_path / f"n{n}.nc")},
        }
        files.append(langevin.run(given))
    found = compare.extrapolate(files)
    z = np.concatenate([d.points.z for d in found.differences if d.points is not None])
    z = z[np.isfinite(z)]
    # Five values at 4.5 σ: a false alarm once in 30 000; the step dt = 0.01 shifts E by 0.005 (0.1 to 0.3 σ).
    assert z.size >= 4
    assert np.abs(z).max() < 4.5
