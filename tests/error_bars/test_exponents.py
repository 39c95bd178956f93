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

RUNS, RESAMPLES = 200, 100
#: Samples of virtual runs of spins, which become fewer than RUNS for the largest ones; of ensembles made up.
SAMPLES, FEWER = (LEAST["aging_exponent"], 8, 16, 32), (LEAST["aging_exponent"], 16)
#: The collapse takes longer.
COLLAPSES = (LEAST["collapse_spread"], 16)

WAITING, LAGS, MU, NU = np.geomspace(10, 1e5, 9), np.geomspace(1, 1e7, 57), 0.7, 0.5


def spins() -> xr.DataArray:
    """Displacements of 1600 samples of 20 spins, quenched from infinite temperature to T = 0.5."""
    count = RUNS * 8
    found = langevin.run(
        {
            "system": {"name": "pspin", "p": 3, "n": 20},
            "dynamics": {"temperature": 0.5, "dt": 0.1, "t_max": 60.0},
            "ensemble": {"replicas": count, "samples": count, "seed": 5},
            "record": {
                "times": [60.0],
                "waiting_times": {"start": 1.0, "stop": 20.0, "per_decade": 4},
                "lags": {"start": 0.2, "per_decade": 15},
                "configurations": "never",
            },
        }
    )
    return found["msd"]


def made_up(factor: Callable[[np.random.Generator], Any], count: int, seed: int) -> xr.DataArray:
    """(t/t_w^μ)^ν times a factor of each replica and waiting time, until the run ends at 10⁷."""
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


def exponents(
    words: str, msd: xr.DataArray, sizes: tuple[int, ...], truth: float | None = None, t_w: int = 2
) -> list[Row]:
    """Return rows of μ, and of t* at one waiting time and the threshold of each run."""
    mean = msd.mean("replica", keep_attrs=True)
    true = float(aging_exponent(mean, accuracy=0.0)["exponent"]) if truth is None else truth
    rows = []
    for samples in sizes:
        runs = virtual_runs(msd.sizes["replica"], samples)[:RUNS]
        fits = [aging_exponent(msd.isel(replica=run), resamples=RESAMPLES) for run in runs]
        pairs = np.array([(float(f["exponent"]), float(f["exponent_error"])) for f in fits])
        rows.append(judge(f"μ, {words}", "aging_exponent", samples, true, *pairs.T))
        names = ("relaxation_time", "relaxation_time_error")
        times = np.array([[float(f[name][t_w]) for name in names] for f in fits])
        own = [float(relaxation_times(mean, float(f["threshold"]))["relaxation_time"][t_w]) for f in fits]
        # A run may choose a threshold that the average of all does not cross there.
        relative = (np.log(times[:, 0]) + 0 * np.array(own), times[:, 1] / times[:, 0])
        rows.append(judge(f"ln t*, {words}", "relaxation_time", samples, np.log(own), *relative))
    return rows


def collapses(words: str, msd: xr.DataArray) -> list[Row]:
    """Return rows of the spread for simple aging and of the best exponent."""
    true = aging_collapse(msd.mean("replica", keep_attrs=True), accuracy=0.0)
    rows = []
    for samples in COLLAPSES:
        runs = virtual_runs(msd.sizes["replica"], samples)[: RUNS // 2]
        found = {
            level: [
                aging_collapse(msd.isel(replica=run), resamples=RESAMPLES, confidence=level) for run in runs
            ]
            for level in (0.68, 0.95)
        }
        for name, key in (("spread_full", "collapse_spread"), ("exponent_best", "collapse_exponent")):
            values, errors = (np.array([float(f[k]) for f in found[0.95]]) for k in (name, f"{name}_error"))
            ends = {
                level: tuple(np.array([float(f[f"{name}_{end}"]) for f in fits]) for end in ("low", "high"))
                for level, fits in found.items()
            }
            of = (f"{name}, {words}", key, samples, float(true[name]))
            rows.append(judge(*of, values, errors, intervals=ends))
    return rows


def rows() -> list[Row]:
    """Return rows of the table."""
    msd = spins()
    return [
        *exponents("3-spin model, 20 spins", msd, SAMPLES),
        *exponents("made up, independent t_w", independent(RUNS * 16), FEWER, MU),
        *exponents("made up, correlated t_w", correlated(RUNS * 16), FEWER, MU),
        *collapses("3-spin model, 20 spins", msd),
    ]


@pytest.mark.slow
def test_errors_of_exponents_hold() -> None:
    """200 virtual runs each, of 16 spins 100, of 32 spins 50; of the collapse 100."""
    assert not [fault for row in rows() for fault in row.faults()]


def test_an_exponent_does_not_drift_with_the_number_of_samples() -> None:
    """50 ensembles of 6 and of 24 with another μ for each Δ*: their means are those of all together.

    At 4 standard errors: one false alarm in 10⁴.
    """
    rng = np.random.default_rng(4)
    bent = (LAGS / WAITING[:, None] ** MU) ** (NU * (1 + 0.01 * np.log(WAITING[:, None])))
    fluctuating = np.exp(0.3 * rng.standard_normal((1200, 1, 1)) + 0.3 * rng.standard_normal((1200, 9, 1)))
    msd = xr.DataArray(
        1e-3 * bent * fluctuating, {"waiting_time": WAITING, "lag": LAGS}, ("replica", "waiting_time", "lag")
    )
    of_all = aging_exponent(msd.mean("replica"), accuracy=0.0)
    for samples in (6, 24):
        runs = virtual_runs(1200, samples)
        fits = [aging_exponent(msd.isel(replica=run), resamples=2) for run in runs[:50]]
        for name in ("exponent", "threshold"):
            values = np.array([float(f[name]) for f in fits])
            assert abs(values.mean() - float(of_all[name])) < 4 * values.std(ddof=1) / np.sqrt(values.size)
