"""The Kob-Andersen mixture against published and golden numbers; some ten minutes on two cores."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import langevin

pytestmark = pytest.mark.slow


def equilibrium(temperature: float, dt: float, t_max: float, equilibration: float, seed: int) -> xr.Dataset:
    return langevin.run(
        {
            "system": {"name": "kob_andersen", "n": 1000, "equilibration_time": equilibration},
            "dynamics": {
                "temperature": temperature,
                "initial_temperature": temperature,
                "dt": dt,
                "t_max": t_max,
            },
            "ensemble": {"replicas": 2, "samples": 2, "seed": seed},
            "record": {
                "times": np.arange(0.05, t_max, 0.05).tolist(),
                "waiting_times": [0.0],
                "lags": [t_max / 2],
                "shells": 0,
                "configurations": "never",
            },
            "output": {"figure": False},
        }
    )


def mean_and_error(dataset: xr.Dataset, name: str, blocks: int = 10) -> tuple[float, float]:
    """Return the time average over all replicas, with the error from blocks long against its correlation."""
    values = dataset[name].sel(time=dataset["time"] > 0).to_numpy()
    values = values[:, : values.shape[1] // blocks * blocks].reshape(len(values) * blocks, -1).mean(axis=1)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def test_the_energy_at_t_1_extrapolated_in_the_step() -> None:
    """−6.018 ± 0.005 per particle, from the issue of another code's long run.

    The scheme's bias is O(dt²): from dt and 2 dt, E(0) = (4 E(dt) − E(2 dt))/3 (its error grows 1.4 fold).
    """
    coarse = mean_and_error(equilibrium(1.0, 2e-4, 20.0, 5.0, 5), "energy")
    fine = mean_and_error(equilibrium(1.0, 1e-4, 30.0, 5.0, 6), "energy")
    energy = (4 * fine[0] - coarse[0]) / 3
    error = np.hypot(4 * fine[1], coarse[1]) / 3
    assert error < 0.01
    assert abs(energy - -6.018) < 0.005 + 2.5 * error


@pytest.mark.parametrize(
    ("temperature", "expected", "t_max", "equilibration"),
    [(2.0, -4.635, 4.0, 2.0), (0.8, -6.351, 12.0, 8.0), (0.6, -6.709, 20.0, 30.0)],
)
def test_energies_in_equilibrium(
    temperature: float, expected: float, t_max: float, equilibration: float
) -> None:
    """The table's ± 0.02 is far above the statistical error of these runs, which must stay below 0.008."""
    energy, error = mean_and_error(equilibrium(temperature, 1e-4, t_max, equilibration, 7), "energy")
    assert error < 0.008
    assert abs(energy - expected) < 0.02


#: Two runs of another code at N = 1000: F_s(k = 7.25, t = 0.94) of A, and energy, by waiting time.
QUENCH = {0.1: (0.37, -6.61), 1.0: (0.64, -6.90), 10.0: (0.76, -7.007), 100.0: (0.79, -7.051)}


def quench(samples: int, waiting: list[float], seed: int) -> xr.Dataset:
    return langevin.run(
        {
            "system": {"name": "kob_andersen", "n": 1000},
            "dynamics": {
                "temperature": 0.4,
                "initial_temperature": 5.0,
                "dt": 1e-4,
                "t_max": max(waiting) + 1,
            },
            "ensemble": {"replicas": samples, "samples": samples, "seed": seed},
            "record": {
                "times": waiting,
                "waiting_times": waiting,
                "lags": [0.94],
                "shells": 0,
                "configurations": "never",
            },
            "output": {"figure": False},
        }
    )


def test_a_quench_ages_as_in_another_code() -> None:
    """At t_w = 0.1, 1, 10 from eight starts, at 100 from two.

    One run scatters by s, found from the eight; the golden mean of two by s/√2, ours by s/√8. Six numbers at
    4 σ of Student's t with 7 degrees of freedom: a false alarm in 30 seeds; seeds are fixed. Golden values
    are rounded by up to half of the last digit given. At t_w = 100 runs scatter less than at 10; the bound
    is the same, with ours s/√2.
    """
    early, late = quench(8, [0.1, 1.0, 10.0], 3), quench(2, [100.0], 4)
    for waiting in (0.1, 1.0, 10.0):
        scattering, energy = QUENCH[waiting]
        found = early.sel(waiting_time=waiting, method="nearest")["correlation"].isel(lag=0).to_numpy()
        energies = early["energy"].sel(time=waiting, method="nearest").to_numpy()
        for values, expected, rounding in ((found, scattering, 0.005), (energies, energy, 0.005)):
            spread = values.std(ddof=1)
            assert abs(values.mean() - expected) < 4 * spread * np.sqrt(1 / 8 + 1 / 2) + rounding, waiting
    spreads = (found.std(ddof=1), energies.std(ddof=1))
    last = (late["correlation"].isel(lag=0, waiting_time=0), late["energy"].sel(time=100.0, method="nearest"))
    for values, expected, spread in zip(last, QUENCH[100.0], spreads, strict=True):
        assert abs(float(values.mean()) - expected) < 4 * spread + 0.005
    # It ages: the later, the slower.
    mean = early["correlation"].isel(lag=0).mean("replica").to_numpy()
    assert mean[0] < mean[1] < mean[2] < float(last[0].mean()) + spreads[0]
