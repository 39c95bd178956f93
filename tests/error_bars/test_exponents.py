"""Coverage of the exponent of aging, of t*, and of the collapse, with all choices made anew by every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from judging import Row, judge, virtual_runs

import langevin
from langevin.observables.aging import aging_collapse, aging_exponent, relaxation_times
from langevin.observables.sufficiency import LEAST

RUNS, RESAMPLES = 200, 150
SAMPLES = (LEAST["aging_exponent"], 8, 16, 32)
#: The collapse takes longer.
COLLAPSES = (LEAST["collapse_spread"], 16)

WAITING, LAGS, MU, NU = np.geomspace(10, 1e5, 9), np.geomspace(1, 1e7, 57), 0.7, 0.5


def spins() -> xr.DataArray:
    """Displacements of 3200 samples of 20 spins, quenched from infinite temperature to T = 0.5."""
    count = RUNS * 16
    found = langevin.run(
        {
            "system": {"name": "pspin", "p": 3, "n": 20},
            "dynamics": {"temperature": 0.5, "dt": 0.1, "t_max": 100.0},
            "ensemble": {"replicas": count, "samples": count, "seed": 5},
            "record": {
                "times": [100.0],
                "waiting_times": {"start": 1.0, "stop": 32.0, "per_decade": 4},
                "lags": {"start": 0.2, "per_decade": 15},
                "configurations": "never",
            },
        }
    )
    return found["msd"]


def made_up(factor: Callable[[np.random.Generator], Any], count: int, seed: int) -> xr.DataArray:
    """Displacements (t/t_w^μ)^ν times a factor of each replica and waiting time, until the run ends at 10⁷."""
    msd = (
        1e-3 * (LAGS / WAITING[:, None] ** MU) ** NU * np.exp(factor(np.random.default_rng(seed)))[..., None]
    )
    msd = np.where(WAITING[:, None] + LAGS <= 1e7, msd, np.nan)
    assert msd.shape == (count, 9, 57)
    return xr.DataArray(msd, {"waiting_time": WAITING, "lag": LAGS}, ("replica", "waiting_time", "lag"))


def independent(count: int) -> xr.DataArray:
    """Factors of each replica, and of each waiting time: the average is the power, times one factor."""
    return made_up(
        lambda rng: 0.5 * rng.standard_normal((count, 1)) + 0.3 * rng.standard_normal((count, 9)), count, 1
    )


def correlated(count: int) -> xr.DataArray:
    """Factors that wander with ln t_w: neighbouring waiting times have nearly the same fluctuations.

    Standardised, so that the average is the power with μ exactly: e^{ση − σ²/2} has mean 1.
    """

    def walk(rng: np.random.Generator) -> Any:
        step = 0.12
        walked = step * np.cumsum(rng.standard_normal((count, 9)), 1)
        return 0.3 * rng.standard_normal((count, 1)) + walked - step**2 * np.arange(1, 10) / 2

    return made_up(walk, count, 2)


def exponents(words: str, msd: xr.DataArray, truth: float | None = None, t_w: int = 2) -> list[Row]:
    """Return rows of μ and of t* at one waiting time and the threshold of each run."""
    true = float(aging_exponent(msd, resamples=10)["exponent"]) if truth is None else truth
    rows = []
    for samples in SAMPLES:
        runs = virtual_runs(msd.sizes["replica"], samples)[:RUNS]
        fits = [aging_exponent(msd.isel(replica=run), resamples=RESAMPLES) for run in runs]
        pairs = np.array([(float(f["exponent"]), float(f["exponent_error"])) for f in fits])
        rows.append(judge(f"μ, {words}", "aging_exponent", samples, true, *pairs.T))
        times = np.array(
            [(float(f["relaxation_time"][t_w]), float(f["relaxation_time_error"][t_w])) for f in fits]
        )
        own = [
            float(relaxation_times(msd, float(f["threshold"]), resamples=2)["relaxation_time"][t_w])
            for f in fits
        ]
        relative = (np.log(times[:, 0]), times[:, 1] / times[:, 0])
        rows.append(judge(f"ln t*, {words}", "relaxation_time", samples, np.log(own), *relative))
    return rows


def collapses(words: str, msd: xr.DataArray) -> list[Row]:
    """Return rows of the spread and of the best exponent."""
    true = aging_collapse(msd, resamples=50)
    rows = []
    for samples in COLLAPSES:
        runs = virtual_runs(msd.sizes["replica"], samples)[:RUNS]
        for name, key in (("spread_full", "collapse_spread"), ("exponent_best", "collapse_exponent")):
            found = {
                level: [
                    aging_collapse(msd.isel(replica=run), resamples=RESAMPLES // 2, confidence=level)
                    for run in runs
                ]
                for level in (0.68, 0.95)
            }
            values, errors = (np.array([float(f[k]) for f in found[0.95]]) for k in (name, f"{name}_error"))
            ends = {
                level: tuple(np.array([float(f[f"{name}_{end}"]) for f in fits]) for end in ("low", "high"))
                for level, fits in found.items()
            }
            rows.append(
                judge(f"{name}, {words}", key, samples, float(true[name]), values, errors, intervals=ends)
            )
    return rows
