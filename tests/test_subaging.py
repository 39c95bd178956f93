"""Aging by a threshold on curves with known t* and μ; error bars by their coverage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import SIGMAS
from scipy.special import ndtri, stdtrit

from langevin.observables import statistics
from langevin.observables.aging import (
    aging_collapse,
    aging_exponent,
    choice,
    exponent_by_threshold,
    relaxation_times,
)
from langevin.observables.aging.crossings import AgingCurves, fit_power
from langevin.observables.aging.exponent_error import Analysis, standard_error
from langevin.observables.aging.rescaling import CollapseJudge
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
    # A curve has no error over samples, and hence no total error.
    for name in ("exponent_error", "exponent_total_error"):
        assert np.isnan(found[name])
    assert np.isnan(found["relaxation_time_error"]).all()
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
    found = aging_exponent(curves(power() / bent**NU), 0.02)
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


def test_a_time_that_few_resamples_reach_has_no_error() -> None:
    """Only fast replicas are seen there."""
    values = noisy(20, np.random.default_rng(2))
    mean = values.mean("replica")
    # At the last waiting time the run ends where the average has just crossed.
    end = int(np.argmax(mean[-1].to_numpy() > 0.05))
    values[:, -1, end + 1 :] = np.nan
    found = aging_exponent(values, 0.05)
    share = float(found["reached"][-1])
    assert 0.3 < share < 0.95 and np.isfinite(found["relaxation_time"][-1])
    # What crosses in the average is fitted, in each resample what crosses there. No error of t* is said where
    # it is that of the resamples that are fast.
    assert found["fitted"].all() and int(found["resamples_lost"]) == 0
    assert np.isfinite(found["relaxation_time_error"]).values.tolist() == [True] * 8 + [False]


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
    # Of few samples they are Student's, times the factor that the resamples lack: here they are Gaussian.
    n, gaussian = 5, ndtri((np.arange(200000) + 0.5) / 200000)
    low, high = statistics.Resampled(np.zeros(1), gaussian[:, None], n).interval(0.95)
    # The outermost quantiles are some 100 resamples from the end: in steps of 1/100 of the tail.
    np.testing.assert_allclose([-low, high], math.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975), rtol=2e-3)
    np.testing.assert_allclose(found.share(), [1, 61 / 101, 0, 1])


def test_error_bars_of_the_exponent_cover_it() -> None:
    """250 ensembles of 40 replicas: deviations in units of the error, and the share within 95 % intervals.

    Bounds at 4 or 5 σ: one false alarm in 10⁴. Errors half or twice as large are seen.
    """
    rng, cases = np.random.default_rng(7), 250
    ensembles = [noisy(40, rng) for _ in range(cases)]
    # All at once, as so many waiting times: the same resamples serve all of them.
    together = curves(np.concatenate(ensembles, axis=1), np.tile(WAITING, cases))
    log_times = AgingCurves(together).log_times(0.05, 300, 1).apply(lambda y: y.reshape(-1, cases, 9))
    slope = fit_power(np.log(WAITING), log_times, np.full((cases, 9), True)).slope
    low, high = slope.interval(0.95)
    z, inside = (slope.value - MU) / slope.error(), (low <= MU) & (high >= MU)
    # The average over replicas is a power, too: factors of its own multiply every curve alike.
    factor = math.exp((0.5**2 + 0.3**2 + 0.02**2) / 2)
    truth = (0.05 / SIZE / factor) ** (1 / NU) * WAITING**MU
    times = (log_times.value - np.log(truth)) / log_times.error()
    # What a user calls says the same.
    found = aging_exponent(ensembles[5], 0.05, resamples=300, seed=1)
    given = AgingCurves(ensembles[5])
    analysis = Analysis(given, np.full(9, True), (math.log(0.05),))
    again = bootstrap(analysis, given.values, resamples=300, seed=1)
    np.testing.assert_allclose(again.error()[0], slope.error()[5])
    error = standard_error(again, analysis, given.values)[0]
    assert float(found["exponent_error"]) == pytest.approx(error) and error >= slope.error()[5]
    ends = statistics.interval(found["exponent"], error, 39, 0.95)
    np.testing.assert_allclose([found["exponent_low"], found["exponent_high"]], ends)
    relative = found["relaxation_time_error"] / found["relaxation_time"]
    assert np.all((relative >= log_times.error()[5] * (1 - 1e-9)) & (relative < 1.3 * log_times.error()[5]))
    # Means to 1/√250, widths to 1/√500 = 4 %; 5 % more, as the errors themselves vary by 1/√80 = 11 % and
    # more, and divide.
    assert abs(z.mean()) < SIGMAS / math.sqrt(cases)
    assert abs(z.std() - 1) < 4 / math.sqrt(2 * cases) + 0.05
    # Binomial: ± 1.4 %.
    assert abs(inside.mean() - 0.95) < 4 * math.sqrt(0.95 * 0.05 / cases)
    # Means of 40 log-normal factors are skewed: ln t* has a bias of (1/2) 0.4/40/0.1 σ, and wider tails.
    assert np.abs(times.mean(0)).max() < 0.05 + 4 / math.sqrt(cases)
    assert np.abs(times.std(0) - 1).max() < 0.1 + 4 / math.sqrt(2 * cases)


def caged(waiting: Any = WAITING) -> xr.DataArray:
    """Δ of a cage, up to 0.01 and the same for all t_w, and the power of t/t_w^μ."""
    lags = np.geomspace(1e-2, 1e8, 101)
    return curves(0.01 * lags / (lags + 3) + power(waiting, lags), waiting, lags)


def test_the_threshold_lies_where_the_exponent_ages() -> None:
    """The cage is full but for 0.03/t, which moves ln t* by 0.03/t*/(ν (Δ* − 0.01))."""
    scan = exponent_by_threshold(caged())
    thresholds, mu = scan["threshold"].to_numpy(), scan["exponent"].to_numpy()
    high = thresholds > 0.025
    first = ((thresholds[high] - 0.01) / SIZE) ** (1 / NU) * WAITING[0] ** MU
    moved = 0.03 / first / (NU * (thresholds[high] - 0.01))
    # By that at the first waiting time, over the distance to the mean in the fit: less than 1/4 in all.
    assert np.all(np.abs(mu[high] - MU) < 1e-3 + moved / 4) and high.sum() > 8
    assert np.all(mu[(thresholds > 1e-3) & (thresholds < 7e-3)] < 0.1), "no aging within the cage"
    plateau = scan["on_plateau"].to_numpy()
    assert np.abs(mu[plateau] - mu[plateau].mean()).max() <= 0.02
    assert float(scan["plateau_exponent"]) == pytest.approx(mu[plateau].mean())
    # The mean of ln Δ* above the cage, to two steps, as the weights within it are not quite nothing.
    above = math.log(thresholds[-1] / 0.0105)
    step = math.log(thresholds[1] / thresholds[0])
    assert math.log(scan["recommended"]) == pytest.approx(math.log(thresholds[-1]) - above / 2, abs=2 * step)
    assert float(scan["low"]) > 0.0105 and float(scan["high"]) < thresholds[-1]
    # One μ for all, and a deviation to both sides: 1/√3 of the width, but for the steps.
    same = exponent_by_threshold(curves(power()))
    width = math.log(same["threshold"][-1] / same["threshold"][0])
    assert math.log(same["high"] / same["low"]) == pytest.approx(width / math.sqrt(3), rel=0.05)
    # What a user gets who gives no threshold.
    chosen = aging_exponent(caged())
    assert float(chosen["threshold"]) == float(scan["recommended"])
    assert float(chosen["exponent"]) == pytest.approx(MU, abs=5e-3)
    np.testing.assert_array_equal(chosen["fitted"], scan["fitted"])


def test_a_wide_cage_does_not_draw_the_threshold_into_it() -> None:
    """Within the cage μ = 0, to 1e-3, over a factor of 10⁴ in Δ; beyond it μ over one of some 30."""
    lags = np.geomspace(1e-4, 1e9, 131)
    caging = 0.01 * lags / (lags + 3)
    scan = exponent_by_threshold(curves(caging + 1e-5 * lags / WAITING[:, None] ** MU, lags=lags))
    within = scan["exponent"].where(scan["threshold"] < 5e-3, drop=True)
    assert within.size > 20 and abs(within[:20]).max() < 0.02
    assert float(scan["low"]) > 0.01 and float(scan["recommended"]) > 0.02


def test_the_threshold_keeps_away_from_a_plateau_that_the_file_knows() -> None:
    """2(1 − q_EA) = 0.02: a tenth above it, of C a tenth below."""
    msd = caged().assign_attrs(plateau=0.02)
    free = aging_exponent(caged())
    bound = aging_exponent(msd)
    scan = exponent_by_threshold(msd)
    assert float(scan["threshold"][0]) < 0.011, "all thresholds are shown"
    assert float(free["threshold_low"]) < 0.022 < float(bound["threshold_low"])
    assert float(bound["threshold"]) > float(free["threshold"])
    assert float(bound["threshold"]) == float(scan["recommended"])
    falls = (1 - msd / 2).assign_attrs(plateau=0.99)
    falling = aging_exponent(falls, falling=True)
    assert float(falling["threshold_high"]) < 0.9 * 0.99
    far = aging_exponent(caged().assign_attrs(plateau=5.0))
    assert "beyond the plateau 5 that 4 or more" in far["exponent"].attrs["reason"]
    unknown = exponent_by_threshold(caged().assign_attrs(plateau=5.0))
    assert np.isnan(unknown["recommended"]) and np.isfinite(unknown["exponent"]).any()


def test_the_choice_does_not_depend_on_the_number_of_samples() -> None:
    """Copies of one ensemble have its averages, and half of its squared error: the same μ and the same Δ*.

    Where errors enter the choice, a fourth of them finds another threshold.
    """
    # No two rectangles of waiting times and thresholds are nearly as large: ties stay for many samples.
    values = noisy(12, np.random.default_rng(9))
    drifting = SIZE * (LAGS / WAITING[:, None] ** MU) ** (NU * (1 + 0.01 * np.log(WAITING[:, None])))
    values = values * drifting / power()
    copies = xr.concat([values] * 16, "replica")
    one, many = (aging_exponent(v, resamples=200) for v in (values, copies))
    for name in ("threshold", "threshold_low", "threshold_high", "exponent", "exponent_drift"):
        assert float(one[name]) == pytest.approx(float(many[name]), rel=1e-9)
    # √(16·12 − 1)/√(12 − 1) = 4.2; errors of 200 resamples to 5 %, that of 12 perhaps the jackknife's.
    assert float(one["exponent_error"] / many["exponent_error"]) == pytest.approx(4.2, rel=0.3)


def test_errors_have_parts_for_the_threshold_and_the_drift() -> None:
    """t* ~ t_w^μ with μ = 0.71 + 0.3 ln Δ*, and without noise: closed forms of what is rms over the range."""
    lags, log_delta = np.geomspace(1, 1e12, 241), np.linspace(-1, 1, 401)
    values = np.array(
        [
            np.exp(np.interp(np.log(lags), 5 * log_delta + 8 + (MU + 0.3 * log_delta) * np.log(w), log_delta))
            for w in WAITING
        ]
    )
    values[(values <= math.exp(-1)) | (values >= math.e)] = np.nan
    scan = exponent_by_threshold(curves(values, lags=lags))
    np.testing.assert_allclose(scan["exponent"], MU + 0.3 * np.log(scan["threshold"]), atol=1e-2)
    assert "not the same at any 4" in scan["plateau_low"].attrs["reason"]
    assert np.isnan(scan["plateau_low"]) and not scan["on_plateau"].any()
    found = aging_exponent(curves(values, lags=lags), accuracy=0.0)
    half = math.log(found["threshold_high"] / found["threshold_low"]) / 2
    # Uniform but for the weight, which changes by some percent.
    assert float(found["exponent_threshold_error"]) == pytest.approx(0.3 * half / math.sqrt(3), rel=0.1)
    bent = np.exp(0.01 * np.log(WAITING) ** 2)[:, None]
    found = aging_exponent(curves(power() / bent**NU), 0.02, accuracy=0.0)
    assert float(found["exponent_drift_error"]) == pytest.approx(abs(float(found["exponent_drift"])) / 2)
    parts = [float(found[f"exponent_{part}error"]) for part in ("", "threshold_", "drift_")]
    assert float(found["exponent_total_error"]) == pytest.approx(math.hypot(*parts))


def test_noise_is_no_error_of_threshold_or_drift() -> None:
    """A power with noise of every waiting time: both parts are small against the statistical one, mostly."""
    rng = np.random.default_rng(12)
    found = [aging_exponent(noisy(10, rng, fast=0.1), resamples=100) for _ in range(40)]
    parts = {
        name: np.array([float(f[f"exponent_{name}error"]) for f in found])
        for name in ("", "threshold_", "drift_")
    }
    # Of Gaussian drifts with their error known, the squares less 1 are negative in 68 %. ± 7 %, 3 σ.
    assert np.mean(parts["drift_"] == 0) > 0.68 - 0.21
    assert np.median(parts["threshold_"]) < 0.2 * np.median(parts[""])


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_few_samples_have_no_exponent_and_say_so(samples: int) -> None:
    values = noisy(samples, np.random.default_rng(13))
    found = aging_exponent(values)
    assert found["exponent"].attrs["reason"] == f"too few samples: {samples} of at least 6"
    for name in ("exponent", "exponent_error", "exponent_total_error", "prefactor", "exponent_low"):
        assert np.isnan(found[name])
    assert np.isnan(found["relaxation_time_error"]).all() and np.isnan(found["exponent_early_error"])
    assert np.isfinite(found["relaxation_time"]).sum() == np.isfinite(found["local_exponent"]).sum() + 2
    # Many replicas of two samples are two.
    shared = noisy(12, np.random.default_rng(13)).assign_coords(sample=("replica", np.arange(12) % 2))
    assert "2 of at least 6" in aging_exponent(shared)["exponent"].attrs["reason"]
    judged = aging_collapse(values)
    assert "of at least 6" in judged["spread"].attrs["reason"] and np.isnan(judged["exponent_best"])


def test_a_solution_has_numerical_errors_and_is_not_short_of_samples() -> None:
    """Δ is off by 1 % at most: ln t* by 0.01/ν, and μ by no more than Σ |c| of that."""
    for values in (curves(power()), curves(power()[None])):
        found = aging_exponent(values, 0.05, accuracy=0.01 * values)
        assert float(found["exponent"]) == pytest.approx(MU)
        relative = found["relaxation_time_error"] / found["relaxation_time"]
        # The relative error of the curve where it crosses, and of the lag after: 7 % of the way.
        np.testing.assert_allclose(relative, 0.01 / NU, rtol=0.1)
        x = np.log(WAITING) - np.log(WAITING).mean()
        expected = np.abs(x).sum() / (x @ x) * 0.01 / NU
        assert float(found["exponent_error"]) == pytest.approx(expected, rel=0.1)
        assert np.isfinite(found["exponent_total_error"])
    # Straight pieces of a bent curve: their error falls with the square of the step, and is noticed.
    steps = {}
    for count in (36, 71, 281):
        lags = np.geomspace(1, 1e7, count)
        msd = curves(power(lags=lags) / (1 + power(lags=lags)), lags=lags)
        steps[count] = aging_exponent(msd, 0.03, accuracy=0.0)
    relative = {k: (f["relaxation_time_error"] / f["relaxation_time"]).to_numpy() for k, f in steps.items()}
    true = steps[281]["relaxation_time"].to_numpy()
    for count in (36, 71):
        off = np.abs(np.log(steps[count]["relaxation_time"].to_numpy() / true))
        assert np.all(off < 3 * relative[count] + 1e-6) and relative[count].max() < 0.02


@pytest.mark.parametrize(("bend", "refused"), [(0.0, False), (0.01, False), (0.06, True)])
def test_what_is_no_power_has_no_exponent(bend: float, refused: bool) -> None:
    """ln t* = 0.71 x + bend (x − x̄)²: the halves differ by bend times 9.2; a third of μ is 0.24."""
    x = np.log(WAITING)
    bent = np.exp(-NU * bend * (x - x.mean()) ** 2)[:, None]
    found = aging_exponent(noisy(20, np.random.default_rng(14), own=0.02) * bent, 0.05)
    assert np.isnan(found["exponent"]) == refused
    assert float(found["exponent_drift"]) == pytest.approx(bend * 9.2, abs=0.05)
    assert ("in the two halves" in found["exponent"].attrs.get("reason", "")) == refused


def test_a_wave_about_a_line_is_no_power() -> None:
    """The halves have the same exponent; t* is off the line by e^{±1.5}."""
    wave = np.exp(NU * 1.5 * np.cos(np.pi * np.arange(9)))[:, None]
    found = aging_exponent(noisy(20, np.random.default_rng(15), own=0.02) * wave, 0.05)
    assert "off the line" in found["exponent"].attrs["reason"] and np.isnan(found["exponent"])
    local = found["local_exponent"].to_numpy()
    assert np.isfinite(local[1:-1]).all()


def test_the_waiting_times_and_thresholds_are_the_largest_rectangle() -> None:
    rng = np.random.default_rng(9)
    for _ in range(50):
        waiting = np.sort(rng.uniform(1, 1e4, 9))
        low, high = np.sort(rng.uniform(0.1, 10, (2, 9)), axis=0)
        values = np.geomspace(low, high, 5).T
        values[rng.random(9) < 0.2] = np.nan
        given = AgingCurves(curves(values, waiting, np.arange(1.0, 6)))
        heights = given.height(values)[None]
        known = np.flatnonzero(np.isfinite(values[:, 0]))
        best = 0.0
        for i in range(known.size):
            for j in range(i + 2, known.size):
                part = known[i : j + 1]
                height = np.log(high[part].min() / low[part].max())
                best = max(best, height * np.log(waiting[part[-1]] / waiting[part[0]]))
        found = choice.rectangle(waiting, *choice.reach(heights), np.full(9, True), 3)
        at = waiting[found.members[0]]
        if not at.size:
            assert best <= 0 and np.isnan(found.low[0])
            continue
        assert (found.high[0] - found.low[0]) * np.log(at[-1] / at[0]) == pytest.approx(best)
        # In any order of the waiting times, and beside others, as in resamples.
        order = rng.permutation(9)
        both = np.concatenate([heights, heights[:, ::-1]])[:, order]
        again = choice.rectangle(waiting[order], *choice.reach(both), np.full(9, True), 3)
        np.testing.assert_array_equal(again.members[0], found.members[0][order])


def test_a_range_of_thresholds_may_be_given() -> None:
    values = power()
    values[-2:, 30:] = np.nan
    scan = exponent_by_threshold(curves(values), between=(0.01, 0.04), points=10)
    assert scan["fitted"].values.tolist() == [True] * 7 + [False] * 2
    assert scan["threshold"][0] > 0.01 and scan["threshold"][-1] < 0.04
    np.testing.assert_allclose(scan["exponent"], MU, rtol=1e-9)
    none = exponent_by_threshold(curves(values), between=(0.02, 1e5))
    assert "no threshold" in none["recommended"].attrs["reason"]


def test_collapse_of_a_power_is_perfect_at_its_exponent() -> None:
    """ln Δ differs by ν (μ − m) ln t_w at equal t/t_w^m: every spread has a closed form."""
    found = aging_collapse(curves(power()), MU, between=(0.01, 0.04))
    deviation = NU * np.log(WAITING).std(ddof=1)
    assert float(found["spread"]) < 1e-10
    assert float(found["spread_full"]) == pytest.approx((1 - MU) * deviation)
    assert float(found["exponent_best"]) == pytest.approx(MU, abs=1e-9)
    assert float(found["spread_best"]) < 1e-6 and np.isnan(found["spread_error"])
    other = aging_collapse(curves(power()), 0.5, between=(0.01, 0.04))
    assert float(other["spread"]) == pytest.approx((MU - 0.5) * deviation)
    middle = np.exp(np.log(WAITING).mean()) ** MU
    ends = middle * (np.array([0.01, 0.04]) / SIZE) ** (1 / NU)
    np.testing.assert_allclose([found["scaled_lag_low"], found["scaled_lag_high"]], ends)
    # Curves that are moved out of what is known are not judged.
    short = curves(np.where((power() > 0.013) & (power() < 0.027), power(), np.nan))
    found = aging_collapse(short, MU, between=(0.016, 0.024))
    assert float(found["spread"]) < 1e-10 and np.isnan(found["spread_stationary"])


def test_collapse_of_a_correlation() -> None:
    lags = np.geomspace(1, 1e7, 701)
    found = aging_collapse(
        curves(np.exp(-power(lags=lags)), lags=lags), MU, between=(0.96, 0.99), falling=True
    )
    # Linear interpolation in C: (Δ ln t)²/8 times a second derivative below 1.
    assert float(found["spread"]) < np.log(lags[1] / lags[0]) ** 2 / 8
    assert float(found["exponent_best"]) == pytest.approx(MU, abs=1e-3)
    assert float(found["spread_full"]) > 50 * float(found["spread"])


@pytest.mark.slow
def test_noise_is_what_the_spread_expects() -> None:
    """Factors of every replica move all curves alike and spread nothing; those of a waiting time do."""
    rng = np.random.default_rng(10)
    for own in (0.0, 0.2):
        expected, seen = [], []
        for k in range(20):
            values = noisy(50, rng, own=own)
            found = aging_collapse(values, MU, between=(0.01, 0.04), resamples=20, seed=k)
            expected.append(float(found["spread_expected"]) ** 2)
            judge = CollapseJudge(
                Analysis(AgingCurves(values), np.full(9, True), (math.log(0.01), math.log(0.04))), MU
            )
            seen.append(float(judge(values.mean("replica").to_numpy()[None])[0, 0]))
            assert float(found["spread"]) ** 2 == pytest.approx(max(seen[-1] - expected[-1], 0), abs=1e-12)
        # Of one, the nine curves give S² to √(2/8) = 50 %; of 20, 11 %. 5 σ.
        assert np.mean(expected) == pytest.approx(np.mean(seen), rel=SIGMAS * math.sqrt(2 / 8 / 20))
    assert np.mean(expected) > 10 * 0.02**2 / 50


@pytest.mark.slow
def test_error_of_the_best_collapse() -> None:
    rng = np.random.default_rng(11)
    found = [
        aging_collapse(noisy(30, rng), MU, between=(0.01, 0.04), resamples=40, seed=k) for k in range(40)
    ]
    z = np.array([float((f["exponent_best"] - MU) / f["exponent_best_error"]) for f in found])
    # Mean to 1/√40 at 5 σ; width to 1/√80 = 11 % at 4 σ, and that of the errors of 40 resamples of 30.
    assert abs(z.mean()) < SIGMAS / math.sqrt(40)
    assert abs(z.std() - 1) < 4 / math.sqrt(80) + 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: relaxation_times(v, 0.0), "threshold = 0.0: must be a finite number > 0"),
        (lambda v: relaxation_times(v, math.nan, falling=True), "threshold = nan: must be a finite number"),
        (lambda v: relaxation_times(v, 1.0, resamples=1), "resamples = 1: must be 2 or more"),
        (lambda v: relaxation_times(v, 1.0, confidence=95), "confidence = 95: must be between 0 and 1"),
        (
            lambda v: relaxation_times(v.rename(lag="time"), 1.0),
            "needed: waiting_time, lag, and replica or not",
        ),
        (lambda v: aging_exponent(v, 1.0, least=1), "least = 1: must be 2 or more"),
        (lambda v: aging_exponent(v, 1.0, waiting_times=(5, 2)), r"waiting_times = \(5, 2\)"),
        (lambda v: exponent_by_threshold(v, between=(2.0, 1.0)), r"between = \(2.0, 1.0\)"),
        (lambda v: exponent_by_threshold(v, tolerance=-1), "tolerance = -1: must be ≥ 0"),
        (lambda v: exponent_by_threshold(v, points=3), "points = 3: must be 4 or more"),
        (lambda v: aging_collapse(v, math.inf), "exponent = inf: must be finite"),
    ],
)
def test_faults_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(curves(power()))


def test_without_a_common_threshold_nothing_is_collapsed() -> None:
    found = aging_collapse(curves(power()[:3], WAITING[:3]), MU)
    assert np.isnan(found["spread"]) and found["spread"].attrs["reason"].startswith("fewer than 4")
