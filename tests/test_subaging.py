"""Aging by a threshold on curves with known t* and μ; error bars by their coverage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import SIGMAS

from langevin.observables import statistics
from langevin.observables.aging import (
    aging_exponent,
    relaxation_times,
)
from langevin.observables.statistics import average, bootstrap

MU, NU, SIZE = 0.71, 0.4, 3e-3
WAITING = np.geomspace(10, 1e5, 9)
LAGS = np.geomspace(1, 1e7, 71)


def power(waiting: Any = WAITING, lags: Any = LAGS, mu: float = MU, nu: float = NU) -> np.ndarray[Any, Any]:
    """Δ = SIZE (t/t_w^μ)^ν."""
    return np.asarray(SIZE * (lags / np.asarray(waiting)[:, None] ** mu) ** nu)


def curves(values: Any, waiting: Any = WAITING, lags: Any = LAGS, samples: Any = None) -> xr.DataArray:
    dims = ("replica", "waiting_time", "lag")[-np.ndim(values) :]
    units = {"units": "steps"}
    made = xr.DataArray(
        values, {"waiting_time": ("waiting_time", waiting, units), "lag": ("lag", lags, units)}, dims
    )
    return made if samples is None else made.assign_coords(sample=("replica", samples))


def noisy(
    replicas: int, rng: np.random.Generator, speed: float = 0.5, own: float = 0.3, fast: float = 0.02
) -> xr.DataArray:
    """The power with factors for every replica, every replica and waiting time, every number."""
    factor = speed * rng.standard_normal((replicas, 1, 1)) + own * rng.standard_normal((replicas, 9, 1))
    return curves(power() * np.exp(factor + fast * rng.standard_normal((replicas, 9, 71))))


def naive(lags: Any, curve: Any, threshold: float, falling: bool) -> float:
    """First crossing of one curve, by a loop."""
    before: tuple[float, float] | None = None
    for t, value in zip(lags, curve, strict=True):
        if not math.isfinite(value) or not (falling or value > 0):
            continue
        if value <= threshold if falling else value >= threshold:
            if before is None:
                return math.nan
            f = float if falling else math.log
            part = (f(threshold) - f(before[1])) / (f(value) - f(before[1]))
            return math.exp(math.log(before[0]) + part * (math.log(t) - math.log(before[0])))
        before = (t, value)
    return math.nan


@pytest.mark.parametrize("falling", [False, True])
def test_crossings_are_those_of_a_naive_loop(falling: bool) -> None:
    """Noisy curves that cross often, with gaps, zeros, ends, and the lag 0."""
    rng = np.random.default_rng(1)
    lags = np.concatenate([[0], np.geomspace(0.1, 1e3, 40)])
    waiting = np.arange(300.0)
    rise = np.linspace(0, 1, 41) + 0.4 * rng.standard_normal((300, 1)) + 0.2 * rng.standard_normal((300, 41))
    values = 1 - rise if falling else np.exp(rise)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[rng.random(values.shape) < 0.05] = 0.0
    values[:, 30:][rng.random(300) < 0.3] = np.nan
    values[7] = np.nan
    threshold = -0.2 if falling else 3.0
    found = relaxation_times(curves(values, waiting, lags), threshold, falling=falling)
    expected = [naive(lags[1:], curve[1:], threshold, falling) for curve in values]
    assert 30 < np.isnan(expected).sum() < 200
    np.testing.assert_allclose(found["relaxation_time"], expected, rtol=1e-12)
    np.testing.assert_array_equal(found["reached"], np.isfinite(expected))


def test_a_power_is_found_exactly() -> None:
    """Straight in ln Δ against ln t: interpolation adds nothing."""
    threshold = 0.05
    times = (threshold / SIZE) ** (1 / NU) * WAITING**MU
    found = aging_exponent(curves(power()), threshold)
    np.testing.assert_allclose(found["relaxation_time"], times, rtol=1e-10)
    np.testing.assert_allclose(found["local_exponent"][1:-1], MU, rtol=1e-10)
    assert np.isnan(found["local_exponent"][[0, -1]]).all()
    for name in ("exponent", "exponent_early", "exponent_late"):
        assert float(found[name]) == pytest.approx(MU, rel=1e-10)
    assert float(found["prefactor"]) == pytest.approx((threshold / SIZE) ** (1 / NU), rel=1e-10)
    assert abs(float(found["exponent_drift"])) < 1e-10 and float(found["exponent_scatter"]) < 1e-10
    # A single sample has no error over samples, with a dimension for it or without.
    alone = aging_exponent(curves(power()[None]), threshold)
    xr.testing.assert_identical(alone, found)
    assert np.isnan(found["exponent_error"]) and np.isnan(found["relaxation_time_error"]).all()
    assert found["relaxation_time"].attrs["units"] == found["relaxation_time_error"].attrs["units"] == "steps"


def test_a_correlation_and_the_displacement_it_makes_agree() -> None:
    """Δ = 2(1 − C): the same t* but for the interpolation, (Δ ln t)²/8 times O(1)."""
    lags = np.geomspace(0.1, 1e7, 801)
    c = curves(np.exp(-power(lags=lags)), lags=lags)
    falls = aging_exponent(c, 0.97, falling=True)
    rises = aging_exponent(2 * (1 - c), 0.06)
    bound = np.log(lags[1] / lags[0]) ** 2 / 8
    np.testing.assert_allclose(falls["relaxation_time"], rises["relaxation_time"], rtol=bound)
    np.testing.assert_allclose(
        falls["relaxation_time"], (-math.log(0.97) / SIZE) ** (1 / NU) * WAITING**MU, rtol=bound
    )
    assert float(falls["exponent"]) == pytest.approx(MU, abs=bound)


def test_what_bends_shows_in_scatter_and_drift() -> None:
    bent = np.exp(0.01 * np.log(WAITING) ** 2)[:, None]
    found = aging_exponent(curves(power() / bent**NU), 0.05)
    x = np.log(WAITING)
    y = MU * x + 0.01 * x**2
    slope, height = np.polyfit(x, y, 1)
    residual = y - slope * x - height
    scatter = math.sqrt(residual @ residual / (9 - 2) / np.sum((x - x.mean()) ** 2))
    assert float(found["exponent"]) == pytest.approx(slope)
    assert float(found["exponent_scatter"]) == pytest.approx(scatter)
    # Nine waiting times: five and five, the middle one in both. A parabola has the slope of its middle.
    late, early = x[4:].mean(), x[:5].mean()
    assert float(found["exponent_drift"]) == pytest.approx(0.02 * (late - early))
    np.testing.assert_allclose(found["local_exponent"][1:-1], MU + 0.02 * x[1:-1])


def test_times_that_are_not_reached_are_not_fitted() -> None:
    values = power()
    values[:2] *= 1e3  # above the threshold from the first lag on
    values[-1, 20:] = np.nan  # the run ended
    waiting = np.concatenate([[0], WAITING])
    found = aging_exponent(curves(np.vstack([values[:1] / 1e3, values]), waiting), 0.05)
    assert np.isfinite(found["relaxation_time"]).values.tolist() == [True, False, False, *[True] * 6, False]
    assert found["fitted"].values.tolist() == [False] * 3 + [True] * 6 + [False], "t_w = 0 has no logarithm"
    assert float(found["exponent"]) == pytest.approx(MU, rel=1e-10)
    few = aging_exponent(curves(values), 0.05, waiting_times=(1e3, 1e4))
    assert np.isnan(few["exponent"]) and not few["fitted"].any()
    assert few["exponent"].attrs["reason"] == "3 waiting times reach the threshold 0.05; needed: 4 or more"
    enough = aging_exponent(curves(values), 0.05, waiting_times=(1e3, 1e4), least=3)
    assert enough["fitted"].sum() == 3 and "reason" not in enough["exponent"].attrs
    for nothing in (aging_exponent(curves(values * np.nan)), aging_exponent(curves(values).isel(lag=[5]))):
        assert np.isnan(nothing["exponent"]) and "no threshold" in nothing["exponent"].attrs["reason"]


def test_a_time_that_few_resamples_reach_is_not_fitted() -> None:
    """Only fast replicas would be seen there."""
    values = noisy(20, np.random.default_rng(2))
    mean = values.mean("replica")
    # At the last waiting time the run ends where the average has just crossed.
    end = int(np.argmax(mean[-1].to_numpy() > 0.05))
    values[:, -1, end + 1 :] = np.nan
    found = aging_exponent(values, 0.05)
    share = float(found["reached"][-1])
    assert 0.3 < share < 0.95 and np.isfinite(found["relaxation_time"][-1])
    assert found["fitted"].values.tolist() == [True] * 8 + [False]
    assert int(found["resamples_lost"]) == 0


def test_bootstrap_of_a_mean_is_its_standard_error() -> None:
    rng = np.random.default_rng(3)
    values = xr.DataArray(rng.standard_normal((12, 3)), dims=("replica", "lag"))
    # The deviation of 20000 resamples is known to 1/√40000 = 0.5 %: 5 σ of nine numbers, once in 2·10⁵.
    tolerance = SIGMAS / math.sqrt(2 * 20000)
    for samples in (None, np.arange(12), np.arange(12) // 3):
        given = values if samples is None else values.assign_coords(sample=("replica", samples))
        found = bootstrap(lambda a: a, given, resamples=20000, seed=1)
        np.testing.assert_allclose(found.value, average(given).mean)
        np.testing.assert_allclose(found.error(), average(given).error, rtol=tolerance)
        assert found.samples == (4 if samples is not None and samples[-1] == 3 else 12)


def test_bootstrap_does_not_depend_on_pieces_or_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    values = noisy(10, np.random.default_rng(4))
    values[:, 3, 40:] = np.nan
    whole = bootstrap(lambda a: a, values, resamples=50, seed=2)
    monkeypatch.setattr(statistics, "_HELD", 4000)
    np.testing.assert_allclose(bootstrap(lambda a: a, values, resamples=50, seed=2).again, whole.again)
    assert np.isnan(whole.again[:, 3, 40:]).all() and np.isfinite(whole.again[:, 4]).all()
    # A replica that stops is left out of the averages, as in `average`.
    values[0, 5, 10:] = np.nan
    some = bootstrap(lambda a: a, values, resamples=50, seed=2)
    np.testing.assert_allclose(some.value, average(values).mean)
    np.testing.assert_allclose(some.again[:, 6], whole.again[:, 6])
    assert not np.allclose(some.again[:, 5, 10:], whole.again[:, 5, 10:])


def test_intervals_of_few_samples_are_wide_enough() -> None:
    """Means of six Gaussian numbers: nominal 95 %; plain percentiles hold the mean in 88 % of cases."""
    rng = np.random.default_rng(5)
    values = xr.DataArray(rng.standard_normal((6, 2000)), dims=("replica", "lag"))
    found = bootstrap(lambda a: a, values, resamples=1000, seed=3)
    low, high = found.interval(0.95)
    plain = np.quantile(found.again, [0.025, 0.975], axis=0)
    assert np.mean((plain[0] < 0) & (plain[1] > 0)) < 0.9
    # 2000 cases: ± 0.5 %. The expansion is exact for Gaussian resamples; those of six are so to 2 %.
    assert abs(np.mean((low < 0) & (high > 0)) - 0.95) < 0.02 + SIGMAS * 0.005


def test_quantiles_are_numpys() -> None:
    rng = np.random.default_rng(6)
    again = rng.standard_normal((101, 4))
    again[:40, 1] = again[:, 2] = np.nan
    found = statistics.Resampled(np.zeros(4), again, 1000)
    low, high = found.interval(0.9)
    # Among 1000 samples Student's and the percentile's tails are 0.05 to 1e-3.
    for k in (0, 1, 3):
        np.testing.assert_allclose([low[k], high[k]], np.nanquantile(again[:, k], [0.05, 0.95]), atol=0.02)
    assert np.isnan(low[2]) and np.isnan(high[2])
    np.testing.assert_allclose(found.share(), [1, 61 / 101, 0, 1])


def test_error_bars_of_the_exponent_cover_it() -> None:
    """300 ensembles of 40 replicas: deviations in units of the error, and the share within 95 % intervals."""
    rng, cases = np.random.default_rng(7), 300
    z, inside, times = np.empty(cases), np.empty(cases), np.empty((cases, 9))
    # The average over replicas is a power, too: factors of its own multiply every curve alike.
    factor = math.exp((0.5**2 + 0.3**2 + 0.02**2) / 2)
    truth = (0.05 / SIZE / factor) ** (1 / NU) * WAITING**MU
    for k in range(cases):
        found = aging_exponent(noisy(40, rng), 0.05, resamples=400, seed=k)
        z[k] = (found["exponent"] - MU) / found["exponent_error"]
        inside[k] = found["exponent_low"] <= MU <= found["exponent_high"]
        times[k] = (
            np.log(found["relaxation_time"] / truth)
            * found["relaxation_time"]
            / found["relaxation_time_error"]
        )
    # Means of 300 at 5 σ; widths to 1/√600 = 4 % each, at 4 σ, and 5 % for 40 replicas (their own variance).
    assert abs(z.mean()) < SIGMAS / math.sqrt(cases)
    assert abs(z.std() - 1) < 4 / math.sqrt(2 * cases) + 0.05
    # Binomial: ± 1.3 %. False alarms of all of this together: one in 10⁴.
    assert abs(inside.mean() - 0.95) < 4 * math.sqrt(0.95 * 0.05 / cases)
    # ln t* of 40 log-normal factors is skewed, by a bias of 0.2 σ.
    assert np.abs(times.mean(0)).max() < 0.3 + 4 / math.sqrt(cases)
    assert np.abs(times.std(0) - 1).max() < 0.05 + 4 / math.sqrt(2 * cases) + 0.05
    print(z.mean(), z.std(), inside.mean(), times.mean(0), times.std(0))
