"""Fluctuation-dissipation ratio and plateau against curves whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from two_step import LAGS, WAITING, Q, T, X, two_lines, two_step

from langevin.observables.fits.regression import three_points
from langevin.observables.plateau import plateau
from langevin.observables.response import aging_line, fdt_ratio
from langevin.observables.statistics import average, jackknife

Array = Any


def curves(values: Array, replicas: int = 1, waiting: Array = WAITING, lags: Array = LAGS) -> xr.DataArray:
    values = np.asarray(values)
    values = values if values.ndim == 3 else np.repeat(values[None], replicas, 0)
    coordinates = {"replica": np.arange(values.shape[0]), "waiting_time": waiting, "lag": lags}
    return xr.DataArray(values, coordinates, ("replica", "waiting_time", "lag"))


def noisy(
    rng: np.random.Generator, replicas: int, sigma: float, c: Array
) -> tuple[xr.DataArray, xr.DataArray]:
    """C and χ, each replica with its own slow wave (lags are correlated) and its own white noise."""
    x = np.log(LAGS)

    def wave() -> Array:
        smooth = rng.standard_normal((2, replicas, c.shape[0], 1))
        return sigma * (smooth[0] * np.sin(x / 4) + smooth[1] * np.cos(x / 4))

    white = sigma * rng.standard_normal((2, replicas, *c.shape))
    return curves(c + wave() + white[0]), curves(two_lines(c) + wave() + white[1])


def test_equilibrium_has_ratio_one() -> None:
    c = two_step()
    for width in (None, 0.1):
        found = fdt_ratio(curves(c), curves((1 - c) / T), T, width=width)
        known = found["fdt_ratio"].to_numpy()[:, 1:-1]
        np.testing.assert_allclose(known, 1, rtol=1e-9)
        np.testing.assert_allclose(found["effective_temperature"].to_numpy()[:, 1:-1], T, rtol=1e-9)
    assert found["fdt_ratio"].dims == ("waiting_time", "lag")
    assert found["fdt_ratio_error"].isnull().all()
    line = aging_line(curves(c), curves((1 - c) / T), T, between=(0.2, 0.5))
    np.testing.assert_allclose(line["fdt_ratio"], 1, rtol=1e-9)
    assert line["q_ea"].isnull().all(), "no break"


def test_two_lines_meet_at_the_plateau() -> None:
    c = two_step()
    line = aging_line(curves(c), curves(two_lines(c)), T, between=(0.1, 0.5))
    np.testing.assert_allclose(line["fdt_ratio"], X, rtol=1e-9)
    np.testing.assert_allclose(line["q_ea"], Q, rtol=1e-9)
    np.testing.assert_allclose(line["effective_temperature"], 0.884366, rtol=1e-5)
    local = fdt_ratio(curves(c), curves(two_lines(c)), T)
    # Three points across the bend see both lines: those are left out.
    above, below = c > Q + 0.03, c < Q - 0.03
    ratio = local["fdt_ratio"].to_numpy()
    inner = np.isfinite(ratio)
    np.testing.assert_allclose(ratio[above & inner], 1, rtol=1e-9)
    np.testing.assert_allclose(ratio[below & inner], X, rtol=1e-9)
    assert np.sum(below & inner) > 20 and np.sum(above & inner) > 100


def test_local_slopes_through_a_smooth_bend() -> None:
    """Against the exact derivative; three-point slopes err by h²χ'''/6, windows by w²χ'''/40."""
    c, width, rounding = two_step(), 0.04, 0.1
    u = (c - Q) / np.hypot(c - Q, rounding)
    exact = 1 - (1 - X) * (1 - u) / 2
    curvature = (1 - X) * 1.5 / rounding**2  # bounds |X''|, found at C = q ± rounding/2
    local = fdt_ratio(curves(c), curves(two_lines(c, rounding)), T)["fdt_ratio"].to_numpy()
    inner = np.isfinite(local)
    step = np.max(np.abs(np.diff(c)))
    assert np.max(np.abs(local - exact)[inner]) < curvature * step**2 / 3
    windowed = fdt_ratio(curves(c), curves(two_lines(c, rounding)), T, width=width)
    at = windowed["correlation"].to_numpy()
    there = np.isfinite(at)
    expected = 1 - (1 - X) * (1 - (at - Q) / np.hypot(at - Q, rounding)) / 2
    assert np.max(np.abs(windowed["fdt_ratio"].to_numpy() - expected)[there]) < curvature * width**2 / 8


def test_zero_temperature_has_an_effective_temperature() -> None:
    c = two_step()
    found = fdt_ratio(curves(c), curves((1 - c) / 0.7), 0.0)
    inner = np.isfinite(found["fdt_ratio"].to_numpy())
    assert np.all(found["fdt_ratio"].to_numpy()[inner] == 0)
    np.testing.assert_allclose(found["effective_temperature"].to_numpy()[inner], 0.7, rtol=1e-9)


def test_what_is_not_known_stays_unknown() -> None:
    c = two_step()
    reached = LAGS < 1e3
    correlation, response = curves(c), curves(two_lines(c))
    whole = fdt_ratio(correlation, response, T, width=0.1)
    part = fdt_ratio(correlation.where(reached), response.where(reached), T, width=0.1)
    assert part["fdt_ratio"][:, ~reached].isnull().all()
    early = LAGS < 10  # windows that lie in the known part (0.1 in C) are the same
    xr.testing.assert_allclose(
        part.sel(lag=LAGS[early])["fdt_ratio"][2:], whole.sel(lag=LAGS[early])["fdt_ratio"][2:]
    )
    none = fdt_ratio(correlation * np.nan, response, T, width=0.1)
    assert none["fdt_ratio"].isnull().all()
    assert aging_line(correlation * np.nan, response, T, between=(0.1, 0.5))["q_ea"].isnull().all()


def test_a_correlation_that_rises_by_noise() -> None:
    """Three points say NaN where C does not fall; the window still finds X."""
    c, chi = noisy(np.random.default_rng(3), 400, 0.02, two_step())
    assert not (average(c).mean.diff("lag") < 0).all()
    local = fdt_ratio(c, chi, T)["fdt_ratio"]
    rises = average(c).mean.diff("lag").to_numpy() >= 0
    assert local.isnull().to_numpy()[:, 1:][rises].all()
    windowed = fdt_ratio(c, chi, T, width=0.2)
    flat = (windowed["correlation"] < 0.5) & windowed["fdt_ratio"].notnull()
    z = ((windowed["fdt_ratio"] - X) / windowed["fdt_ratio_error"]).where(flat)
    # 100 values of 4 curves, and as many independent ones at most: 5 σ errs once in 10⁴.
    assert float(np.abs(z).max()) < 5


def test_error_bars_cover_the_truth() -> None:
    """±1 standard error of 20 samples holds the truth in 67 % of cases (Student, 19 degrees of freedom)."""
    rng, hits, tries = (
        np.random.default_rng(4),
        dict.fromkeys(("fdt_ratio", "effective_temperature", "q_ea"), 0),
        0,
    )
    truth = {"fdt_ratio": X, "effective_temperature": T / X, "q_ea": Q}
    c = two_step()
    for _ in range(150):
        correlation, response = noisy(rng, 20, 0.01, c)
        found = aging_line(correlation, response, T, between=(0.15, 0.5))
        tries += found.sizes["waiting_time"]
        for name, value in truth.items():
            hits[name] += int((np.abs(found[name] - value) < found[f"{name}_error"]).sum())
    # Binomial error of 0.67 in 600 tries: 0.019; 5 σ.
    for name in truth:
        assert abs(hits[name] / tries - 0.67) < 5 * 0.019, (name, hits[name] / tries)


def test_the_jackknife_of_a_mean_is_the_standard_error() -> None:
    rng = np.random.default_rng(5)
    values = xr.DataArray(
        rng.standard_normal((12, 3)), {"sample": ("replica", np.arange(12) % 4)}, ("replica", "lag")
    )
    value, error = jackknife(lambda m: 2 * m + 1, values)
    mean, expected = average(values)
    np.testing.assert_allclose(value, 2 * mean + 1)
    np.testing.assert_allclose(error, 2 * expected)
    assert np.isnan(jackknife(lambda m: m, values[:1])[1]).all()
    assert np.isnan(jackknife(lambda m: m, values[0])[1]).all(), "without replica"
    with pytest.raises(ValueError, match=r"\[3, 4\]"):
        jackknife(lambda a, b: a + b, values, values[[0, 1, 2]])


def test_the_plateau_of_curves_with_known_exponents() -> None:
    waiting, lags = np.geomspace(1e4, 1e9, 11), np.geomspace(1e-2, 1e10, 241)
    c = curves(two_step(waiting, lags), waiting=waiting, lags=lags)
    found = plateau(c)
    # The inflections lie above it, at the last t_w by 0.001 still; the intercept is a hundred times closer.
    assert float((found["correlation"] - Q).min()) > 5e-4
    assert abs(float(found["q_ea"]) - Q) < 2 * abs(float(found["q_ea_shift"])) < 1e-3
    assert float(found["correction"]) == pytest.approx(1 / 0.448 - 1, rel=0.05)
    given = plateau(c, exponents=(0.448, 1.0))
    assert abs(float(given["q_ea"]) - Q) < 2 * abs(float(given["q_ea_shift"])) < 1e-3
    assert np.isnan(found["q_ea_error"])
    # At the inflection a² A t^{−a} = b² B t^b with B = q/t_w: its lag grows as t_w^{1/(1 + a)}.
    power = np.polyfit(np.log(found["waiting_time"]), np.log(found["inflection"]), 1)[0]
    assert power == pytest.approx(1 / 1.448, rel=0.02)


@pytest.mark.slow
def test_error_bars_of_the_plateau() -> None:
    """z of the extrapolated q_EA against the noise-free one, over 60 data sets of 20 samples."""
    rng, z, c = np.random.default_rng(6), [], two_step()
    exact = float(plateau(curves(c), decades=2.0)["q_ea"])
    for _ in range(60):
        found = plateau(curves(c + 0.002 * rng.standard_normal((20, *c.shape))), decades=2.0)
        z.append((float(found["q_ea"]) - exact) / float(found["q_ea_error"]))
    # Student with 19 degrees of freedom has σ = 1.06; of 60 values the mean errs by 0.14, σ by 0.11: 5 σ.
    assert abs(np.mean(z)) < 0.7
    assert 0.51 < np.std(z) < 1.61


def test_no_plateau_where_there_is_none() -> None:
    single = np.exp(-LAGS[None] / WAITING[:, None])
    found = plateau(curves(single))
    assert found["correlation"].isnull().all() and np.isnan(found["q_ea"])
    unreached = curves(two_step()).where(LAGS < 0.1)
    assert plateau(unreached)["correlation"].isnull().all()


def test_bad_arguments_are_named() -> None:
    c = curves(two_step())
    with pytest.raises(ValueError, match="temperature = -1"):
        fdt_ratio(c, c, -1.0)
    with pytest.raises(ValueError, match="temperature = 0"):
        aging_line(c, c, 0.0, between=(0.1, 0.5))
    with pytest.raises(ValueError, match="width = 0"):
        fdt_ratio(c, c, T, width=0.0)
    with pytest.raises(ValueError, match=r"between = \(0.5, 0.1\)"):
        aging_line(c, c, T, between=(0.5, 0.1))
    with pytest.raises(ValueError, match="lag"):
        fdt_ratio(c, c[..., 0], T)
    with pytest.raises(ValueError, match="'lag' differs"):
        fdt_ratio(c, c.assign_coords(lag=2 * LAGS), T)
    with pytest.raises(ValueError, match="decades = -1"):
        plateau(c, decades=-1.0)
    with pytest.raises(ValueError, match="exponents = "):
        plateau(c, exponents=(0.0, 1.0))
    with pytest.raises(ValueError, match="waiting_time"):
        plateau(c[:, 0])


def test_three_points_on_an_irregular_grid() -> None:
    """Exact for a parabola, where weights taken the wrong way round are not."""
    x = np.cumsum(np.random.default_rng(7).uniform(0.1, 2, 30))
    np.testing.assert_allclose(three_points(x, x**2)[1:-1], 2 * x[1:-1], rtol=1e-9)
    c = 1 / (1 + x / 20)
    correlation, response = (curves(v[None], waiting=[1.0], lags=x) for v in (c, 1 - c**2))
    found = fdt_ratio(correlation, response, 1.0)
    np.testing.assert_allclose(found["fdt_ratio"][0, 1:-1], 2 * c[1:-1], rtol=1e-9)
