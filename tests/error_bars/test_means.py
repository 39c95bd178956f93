"""Coverage of means over samples: the error of `statistics.average`, with Student's quantiles."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from judging import Row, judge, virtual_runs

import langevin
from langevin.observables.statistics import average

RUNS = 400
SAMPLES = (4, 8)


def rows() -> list[Row]:
    """Return rows of the table: energy, C and msd of a p-spin model of 20 spins."""
    large = langevin.run(
        {
            "system": {"name": "pspin", "p": 3, "n": 20},
            "dynamics": {"temperature": 0.5, "dt": 0.05, "t_max": 12.0},
            "ensemble": {"replicas": RUNS * max(SAMPLES), "samples": RUNS * max(SAMPLES), "seed": 5},
            "record": {"times": [10.0], "waiting_times": [2.0], "lags": [5.0], "configurations": "never"},
        }
    )
    found = []
    for name, values in (
        ("energy", large["energy"].isel(time=-1)),
        ("correlation", large["correlation"].isel(waiting_time=0, lag=-1)),
        ("msd", large["msd"].isel(waiting_time=0, lag=-1)),
    ):
        for samples in SAMPLES:
            found.append(_row(name, values, samples))
    return found


def _row(name: str, values: xr.DataArray, samples: int) -> Row:
    made = [average(values.isel(replica=s)) for s in virtual_runs(values.sizes["replica"], samples)[:RUNS]]
    pairs = np.array([(float(m.mean), float(m.error)) for m in made])
    return judge(name, name, samples, float(values.mean()), *pairs.T)


@pytest.mark.slow
def test_errors_of_means_hold() -> None:
    """400 virtual runs of 4 and of 8 samples each."""
    assert not [fault for row in rows() for fault in row.faults()]


def test_an_error_that_is_too_small_is_seen() -> None:
    """Gaussian means with two thirds of their error: refused; with all of it: not."""
    rng = np.random.default_rng(3)
    values = rng.standard_normal((400, 8))
    mean, error = values.mean(1), values.std(1, ddof=1) / np.sqrt(8)
    assert not judge("mean", "mean", 8, 0.0, mean, error).faults()
    assert judge("mean", "mean", 8, 0.0, mean, error / 1.5).faults()
