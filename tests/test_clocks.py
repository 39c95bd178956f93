"""Scores of algorithms: passages with censoring, and curves that no clock can change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from langevin.observables import clocks
from langevin.observables.statistics import Resampled


def energies(passages: list[float], end: float = 100.0) -> xr.DataArray:
    """Energies that fall as −t, and are −1 at these times."""
    times = np.linspace(0, end, 1001)
    values = -times[None] / np.array(passages)[:, None]
    return xr.DataArray(values, dims=("replica", "time"), coords={"time": times})


def test_steps_to_an_energy_are_the_median_of_passages() -> None:
    found = clocks.steps_to(energies([10.0, 20.0, 50.0]), -1.0, time_step=0.5, gradients_per_step=3)
    assert found.median == pytest.approx(20 / 0.5 * 3)
    assert (found.arrived, found.runs, found.lasted) == (3, 3, 600.0)


def test_runs_that_never_arrive_count_as_longer_than_they_lasted() -> None:
    found = clocks.steps_to(energies([10.0, 30.0, 400.0, 500.0, 20.0]), -1.0)
    # Without the two that never arrive the median would be 20.
    assert found.median == pytest.approx(30.0)
    assert found.arrived == 3
    assert found.high == np.inf
    assert clocks.steps_to(energies([10.0, 400.0, 500.0]), -1.0).median == np.inf


def test_a_run_that_was_cut_off_leaves_those_at_risk() -> None:
    # Kaplan-Meier by hand: 1 − 1/4 at 10; one is lost at 15; (1 − 1/2) more at 20: 0.375.
    times, there = np.array([10.0, 15.0, 20.0, 40.0]), np.array([True, False, True, True])
    assert clocks.median_passage(times, there) == 20.0


@pytest.mark.slow
def test_the_interval_of_a_median_covers_it() -> None:
    # 100 experiments of 16 exponential times: 68 % intervals. At 5 σ of a binomial of 100.
    rng = np.random.default_rng(2)
    covered = 0
    for k in range(100):
        found = clocks.steps_to(energies(list(rng.exponential(20, 16) + 0.2), 100), -1.0, seed=k)
        covered += found.low <= 20 * np.log(2) + 0.2 <= found.high
    assert abs(covered / 100 - 0.68) < 5 * np.sqrt(0.68 * 0.32 / 100)


def walked(clock: Callable[[np.ndarray], np.ndarray], hurst: float, replicas: int = 40) -> xr.DataArray:
    """Δ of fractional Brownian motion, (h(t') − h(t))^{2H}, with some noise for each replica."""
    waiting, lags = np.geomspace(1, 100, 25), np.geomspace(0.1, 300, 60)
    grown = np.abs(clock(waiting[:, None] + lags) - clock(waiting)[:, None]) ** (2 * hurst)
    noise = 1 + 0.02 * np.random.default_rng(1).standard_normal((replicas, 1, 1))
    coords = {"waiting_time": waiting, "lag": lags}
    return xr.DataArray(grown * noise, dims=("replica", "waiting_time", "lag"), coords=coords)


def curve(clock: Callable[[np.ndarray], np.ndarray], hurst: float) -> Resampled:
    # t₁ = 1 on each clock; a and levels are those of one law of h.
    return clocks.triangle(walked(clock, hurst), 1.0, 2.0, np.linspace(2.5, 8, 12), resamples=50)


def test_a_triangle_does_not_see_the_clock() -> None:
    # fBm of H = 0.3: Δ₂₃^{1/2H} = Δ₁₃^{1/2H} − a^{1/2H}, whatever the clock.
    levels = np.linspace(2.5, 8, 12)
    exact = (levels ** (1 / 0.6) - 2.0 ** (1 / 0.6)) ** 0.6
    for clock in (lambda t: t, lambda t: t**1.5, lambda t: 4 * np.sqrt(t)):
        found = curve(clock, 0.3)
        known = np.isfinite(found.value)
        assert known.sum() > 5
        # Straight lines between waiting times a tenth of a decade apart.
        np.testing.assert_allclose(found.value[known], exact[known], rtol=0.02)


def test_a_triangle_sees_another_law_and_not_another_clock() -> None:
    same = clocks.collapse(curve(lambda t: t**1.5, 0.3), curve(lambda t: t, 0.3))
    assert abs(same.offset) < 0.02 * same.scale
    other = clocks.collapse(curve(lambda t: t, 0.5), curve(lambda t: t, 0.3))
    assert abs(other.sigmas) > 5
    assert abs(other.offset) > 0.2 * other.scale
    assert other.levels > 5
