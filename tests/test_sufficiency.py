"""Numbers of samples: counted where values are missing; every limit that was measured is obeyed."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from conftest import ROOT

from langevin.observables import sufficiency
from langevin.observables.statistics import average, interval

#: Limits of functions of Python, which give the samples beside their errors; nothing draws or prints them.
NUMBERS_ALONE = (
    "gradient_square",
    "hessian_probes",
    "hessian_trace",
    "power_law",
    "local_exponent",
    "q_ea_plateau",
    "chi4_thermal",
    "chi4_disorder",
    "overlap_moment_1",
    "overlap_moment_2",
    "overlap_moment_4",
    "chord_temperature",
    "extrapolation",
)


def test_a_value_that_is_missing_is_no_sample() -> None:
    """Of 4 Gaussians one is NaN: Student's interval of the other three holds 95 %.

    4000 trials: the count has a standard error of 0.34 %, 4 of which are allowed (1 false alarm in 16,000).
    """
    values = np.random.default_rng(2).standard_normal((4, 4000))
    values[1] = np.nan
    found = average(xr.DataArray(values, dims=("replica", "trial")))
    assert found.error.attrs["samples"] == 3
    low, high = interval(found.mean, found.error, found.error.attrs["samples"] - 1, 0.95)
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(0.95, abs=0.0138)


def test_points_that_nothing_reached_say_nothing_of_the_others() -> None:
    values = xr.DataArray([[1.0, np.nan], [2.0, np.nan], [4.0, np.nan]], dims=("replica", "time"))
    found = average(values)
    assert found.error.attrs["samples"] == 3
    np.testing.assert_allclose(found.error, [np.std([1, 2, 4], ddof=1) / np.sqrt(3), np.nan])


@pytest.mark.parametrize("name", [n for n in sufficiency.LEAST if n not in NUMBERS_ALONE])
def test_a_limit_is_read_where_the_quantity_is_shown(name: str) -> None:
    """By its own name, or as that of a variable that figures draw."""
    files = [*(ROOT / "langevin").rglob("*.py"), *(ROOT / "observables").rglob("*.py")]
    text = "\n".join(f.read_text() for f in files if f.name != "sufficiency.py")
    used = re.search(rf"(too_few|stated|few|QUANTITY|_mean)\b[^\n]*{re.escape(name)}", text)
    edge = "hessian_{name}" in text and name.startswith("hessian_")
    assert used or edge or f'"{name}"' in text
