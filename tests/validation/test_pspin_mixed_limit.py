"""The 3 + 4 model at finite N against the equations for N → ∞, from random and from planted starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import langevin
from langevin.observables.fits.extrapolation import least_squares
from langevin.observables.statistics import average
from langevin.systems.pspin import theory

TIMES = [0.5, 1.0, 2.0]

#: (N, samples), and replicas a sample. A planted start belongs to its sample: at T = 0 one replica is all.
SIZES = {
    "random": ([(24, 256), (32, 192), (48, 128), (64, 96)], 16),
    "planted": ([(24, 1200), (32, 900), (48, 600), (64, 400)], 1),
}
#: Temperature and T_i, above T_K of the strengths at N = 24.
QUENCHES = {"random": (0.5, float("inf")), "planted": (0.0, 1.2)}


def strengths(n: Any) -> dict[str, float]:
    """Return those at which ⟨H²⟩ is N f(1) at this N, f = ½(q³ + q⁴): little is left of higher orders."""
    return {str(p): 0.5 / theory.energy_square(p, n) if np.isfinite(n) else 1.0 for p in (3, 4)}


def run(system: dict[str, Any], dynamics: dict[str, Any], **sections: Any) -> Any:
    record = {"times": TIMES, "waiting_times": [0.0], "lags": TIMES}
    if system["name"] == "pspin":
        record["configurations"] = "never"
    given = {
        "system": {**system, "p": strengths(system.get("n", np.inf))},
        "dynamics": {"t_max": TIMES[-1], **dynamics},
        "record": record,
    }
    ds = langevin.run({**given, **sections})
    return ds["energy"].sel(time=TIMES), ds["correlation"].isel(waiting_time=0)


def measured(start: str, n: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors of E and C(t, 0) at `TIMES`, shape (2, 3) each, to second order in dt.

    2 y(dt) − y(2 dt), dt = 0.025: at T = 0 of the same starts in the same samples, else of other noise.
    """
    (temperature, t_i), replicas = QUENCHES[start], SIZES[start][1]
    given = {"temperature": temperature, "initial_temperature": t_i}
    ensemble = {"replicas": replicas * samples, "samples": samples, "seed": 1}
    fine, coarse = (
        run({"name": "pspin", "n": n}, {**given, "dt": dt}, ensemble=ensemble) for dt in (0.025, 0.05)
    )
    found = [average(2 * a - b) for a, b in zip(fine, coarse, strict=True)]
    return np.array([f.mean for f in found]), np.array([f.error for f in found])


@pytest.mark.slow
@pytest.mark.parametrize("start", ["random", "planted"])
def test_finite_sizes_tend_to_the_equations(start: str) -> None:
    """y = y_∞ + a/N + b/N²: six z-tests and χ² tests at 4 σ (p = 6·10⁻⁵): a false alarm in 1400 seeds."""
    temperature, t_i = QUENCHES[start]
    known = [
        np.asarray(v.isel(replica=0))
        for v in run(
            {"name": "cugliandolo_kurchan"}, {"temperature": temperature, "initial_temperature": t_i}
        )
    ]
    sizes = SIZES[start][0]
    means, errors = zip(*(measured(start, *size) for size in sizes), strict=True)
    inverse, failures = 1 / np.array([n for n, _ in sizes]), []
    terms = np.stack([inverse**0, inverse, inverse**2], axis=1)
    for row, name in enumerate(("E", "C(t, 0)")):
        for k, t in enumerate(TIMES):
            values, sigma = (np.array([each[row, k] for each in of]) for of in (means, errors))
            fit = least_squares(terms, values, sigma)
            limit, error = float(fit.coefficients[0]), float(fit.errors[0])
            z, chi2 = (limit - known[row][k]) / error, float(fit.chi2) / fit.degrees
            table = ", ".join(f"{v:.4f}({1e4 * e:.0f})" for v, e in zip(values, sigma, strict=True))
            slope = f"a = {fit.coefficients[1]:.1f}({fit.errors[1]:.1f})"
            print(f"{start} {name} t = {t:g}: {table}; {limit:.4f} ± {error:.4f}")
            print(f"    equations {known[row][k]:.5f}, z = {z:+.2f}, {slope}, χ² = {chi2:.2f}")
            # One degree of freedom.
            if abs(z) > 4 or chi2 > 16 or error > 0.04:
                failures.append((name, t, limit, error, known[row][k]))
    assert not failures, failures
