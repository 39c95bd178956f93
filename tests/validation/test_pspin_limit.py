"""Finite-N Langevin dynamics against its N → ∞ limit, by extrapolation in 1/N and in dt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import langevin
from langevin.observables.fits.extrapolation import least_squares
from langevin.observables.statistics import average

TIMES = [1.0, 5.0, 10.0]

#: Numerical solution of the Cugliandolo-Kurchan equations, p = 3, from T_i = ∞ (errors below 10⁻⁸):
#: energies at t = 1, 5, 10 and C(t, 0) at t = 1, 10.
CK = {
    0.5: {"energy": {1.0: -0.586993130, 5.0: -0.768986264, 10.0: -0.808116575},
          "correlation": {1.0: 0.542376304, 10.0: 0.165485560}},
    1.0: {"energy": {1.0: -0.430705232, 5.0: -0.496456580, 10.0: -0.499789720},
          "correlation": {1.0: 0.384231000, 10.0: 0.016852608}},
}  # fmt: skip

#: (N, dt, samples), 16 replicas each: a series in N at one dt, two in dt at one N.
SIZES = [
    (48, 0.02, 1024), (64, 0.02, 1024), (96, 0.02, 768), (128, 0.02, 512), (192, 0.02, 256), (256, 0.02, 128),
    (48, 0.01, 1024), (48, 0.04, 1024), (64, 0.01, 1024), (64, 0.04, 1024),
]  # fmt: skip


def measured(temperature: float, n: int, dt: float, samples: int, **dynamics: Any) -> dict[str, np.ndarray]:
    """Mean and standard error of E(t) and C(t, 0) at `TIMES`: shape (2, 3) each."""
    ds = langevin.run(
        {
            "system": {"name": "pspin", "p": 3, "n": n},
            "dynamics": {"temperature": temperature, "dt": dt, "t_max": 10.0, **dynamics},
            "ensemble": {"replicas": 16 * samples, "samples": samples, "seed": 1},
            "record": {"times": TIMES, "waiting_times": [0.0], "lags": TIMES, "configurations": "never"},
        }
    )
    energy, correlation = (
        average(ds["energy"].sel(time=TIMES)),
        average(ds["correlation"].isel(waiting_time=0)),
    )
    return {
        "energy": np.array([energy.mean, energy.error]),
        "correlation": np.array([correlation.mean, correlation.error]),
    }


def limit(values: np.ndarray, errors: np.ndarray, sizes: Any = SIZES) -> tuple[float, float, float]:
    """Weighted fit of y = y_∞ + a/N + b/N² + c dt + d dt² to runs of `sizes`, (N, dt, …).

    Both expansions stop at second order: the third would be (8/48)³ of the 1/N term's scale and 0.04³.

    Returns
    -------
    (float, float, float)
        y_∞, its standard error, χ² per degree of freedom.
    """
    n, dt = (np.array([size[k] for size in sizes], dtype=float) for k in (0, 1))
    terms = np.stack([np.ones_like(n), 1 / n, 1 / n**2, dt, dt**2], axis=1)
    fit = least_squares(terms, values, errors)
    return float(fit.coefficients[0]), float(fit.errors[0]), float(fit.chi2) / fit.degrees


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_energies_and_correlations_tend_to_the_cugliandolo_kurchan_solution(temperature: float) -> None:
    """Five z-tests at 4 σ and five χ² tests at p = 10⁻⁵ for each T: one false alarm in some 1500 seeds."""
    runs = [measured(temperature, *size) for size in SIZES]
    report, failures = [], []
    for name, table in CK[temperature].items():
        for t, expected in table.items():
            k = TIMES.index(t)
            values, errors = (np.array([run[name][row, k] for run in runs]) for row in (0, 1))
            found, error, chi2 = limit(values, errors)
            z = (found - expected) / error
            line = f"T = {temperature} {name}(t = {t:g}): {found:.5f} ± {error:.5f}, CK {expected:.6f}"
            report.append(f"{line}, z = {z:+.2f}, χ²/5 = {chi2:.2f}")
            # 5 degrees of freedom: χ²/5 > 6.2 once in 10⁵. A large error would mean nothing.
            if abs(z) > 4 or chi2 > 6.2 or error > 0.005:
                failures.append(report[-1])
            # The control: the largest N alone, at its finite dt, is not the limit.
            assert name == "correlation" or abs(values[5] - expected) > 4 * errors[5]
    print("\n".join(["", *report]))
    assert not failures, "\n".join(failures)


def equilibrium_drift(dt: float) -> tuple[float, float]:
    """Mean and standard error of E(t) − E(0), t = 2, 4, …, 20, after planting at T = T_i = 0.8."""
    ds = langevin.run(
        {
            "system": {"name": "pspin", "p": 3, "n": 64},
            "dynamics": {"temperature": 0.8, "initial_temperature": 0.8, "dt": dt, "t_max": 20.0},
            "ensemble": {"replicas": 8000, "samples": 1000, "seed": 2},
            "record": {
                "times": [2.0 * k for k in range(1, 11)],
                "waiting_times": [0.0],
                "lags": [20.0],
                "configurations": "never",
            },
        }
    )
    energy = ds["energy"]
    drift = average((energy.isel(time=slice(1, None)) - energy.isel(time=0)).mean("time"))
    return float(drift.mean), float(drift.error)


@pytest.mark.slow
def test_planted_equilibrium_is_stationary_as_dt_vanishes() -> None:
    """The step's bias is O(dt): linear extrapolation to dt = 0 leaves no drift (z-test at 4 σ: 6·10⁻⁵)."""
    steps = (0.08, 0.04, 0.02)
    found = {dt: equilibrium_drift(dt) for dt in steps}
    (a, b), covariance = np.polyfit(
        steps, [found[dt][0] for dt in steps], 1, w=[1 / found[dt][1] for dt in steps], cov="unscaled"
    )
    print(found, f"drift at dt = 0: {b:+.5f} ± {covariance[1, 1] ** 0.5:.5f}, slope {a:+.4f}")
    assert abs(b) < 4 * covariance[1, 1] ** 0.5
    assert covariance[1, 1] ** 0.5 < 0.003
