"""X with the observation time fixed, C that does not begin at 1, and intervals of ratios."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import SIGMAS
from two_step import LAGS, Q, T, X, two_lines, two_step

import langevin
from langevin.observables.equal_time import equal_time
from langevin.observables.fits.ratios import RatioCovariance, fieller, likeliest, within
from langevin.observables.fixed_time import at_observation_time
from langevin.observables.response import aging_line, fdt_ratio, fdt_ratio_at
from langevin.observables.statistics import Array

K, BATH, START = 1.3, 0.7, 1.0


def two_time(waiting: Array, lags: Array, function: Any) -> xr.DataArray:
    """Return a function of the later and the earlier time, on a grid of waiting times and lags."""
    w, lag = np.meshgrid(waiting, lags, indexing="ij")
    return xr.DataArray(function(w + lag, w), {"waiting_time": waiting, "lag": lags}, ("waiting_time", "lag"))


def variance(t: Any) -> Any:
    """⟨x²⟩ of an oscillator quenched from START to BATH (systems/harmonic.py)."""
    return BATH / K + (START - BATH) / K * np.exp(-2 * K * t)


def oscillator(waiting: Array, lags: Array) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """C, χ and msd in closed form."""
    c = two_time(waiting, lags, lambda t, w: variance(w) * np.exp(-K * (t - w)))
    chi = two_time(waiting, lags, lambda t, w: (1 - np.exp(-K * (t - w))) / K)
    msd = two_time(waiting, lags, lambda t, w: variance(t) + variance(w)) - 2 * c
    return c, chi, msd


def test_x_of_a_quenched_oscillator_in_closed_form() -> None:
    """R = e^{−kτ}, ∂C/∂t_w = (v′ + k v) e^{−kτ}, v′ = −2k(v − T/k): X = T/(2T − k v), of t_w alone.

    Pairs that end at t stand in the grid. A parabola through three points errs by h²/6 of a third derivative,
    h = 0.01.
    """
    t, waiting = 2.0, np.arange(1, 200) * 0.01
    c, chi, msd = oscillator(waiting, np.sort(t - waiting))
    found = fdt_ratio_at(c, chi, BATH, t)
    exact = BATH / (2 * BATH - K * variance(found["waiting_time"]))
    inner = found["fdt_ratio"].notnull()
    assert int(inner.sum()) == waiting.size - 2
    np.testing.assert_allclose(found["fdt_ratio"][inner], exact[inner], rtol=1e-3)
    np.testing.assert_allclose(found["lag"], t - found["waiting_time"])
    # C(t, t) is a constant at fixed t, and changes nothing but the unit of C.
    full = equal_time(c, msd)["at_end"]
    scaled = fdt_ratio_at(c, chi, BATH, t, equal_time=full)
    np.testing.assert_allclose(scaled["fdt_ratio"][inner], exact[inner], rtol=2e-2)
    # The control: along the lag it is another number.
    along = fdt_ratio(c, chi, BATH).sel(waiting_time=0.2, method="nearest")["fdt_ratio"].dropna("lag")
    assert float(abs(along[0] - exact.sel(waiting_time=0.2, method="nearest"))) > 0.05


def test_between_lags_the_plot_is_of_second_order() -> None:
    """No pair ends at t: interpolated in a grid of 40 lags per decade, X is good to a percent."""
    waiting, lags = np.linspace(0.2, 1.8, 33), np.geomspace(0.01, 3.0, 100)
    c, chi, _ = oscillator(waiting, lags)
    found = fdt_ratio_at(c, chi, BATH, 2.003)
    exact = BATH / (2 * BATH - K * variance(found["waiting_time"]))
    inner = found["fdt_ratio"].notnull()
    np.testing.assert_allclose(found["fdt_ratio"][inner], exact[inner], rtol=1.5e-2)


@pytest.fixture(scope="module")
def quench() -> xr.Dataset:
    """Three waiting times close to each of three, and all lags to t = 10: the Cugliandolo-Kurchan quench."""
    centres, apart = (0.5, 3.0, 8.0), 0.02
    waiting = [w + k * apart for w in centres for k in (-1, 0, 1)]
    lags = sorted(round(10.0 - w, 9) for w in waiting)
    return langevin.run(
        {
            "system": {"name": "cugliandolo_kurchan", "p": 3},
            "dynamics": {"temperature": 0.5, "t_max": 10.0, "tolerance": 1e-7},
            "record": {"times": [10.0], "waiting_times": waiting, "lags": lags},
        }
    )


def test_it_is_the_ratio_of_the_response_to_the_derivative_of_c(quench: xr.Dataset) -> None:
    """X = T R/∂_{t_w}C with R of the file; both derivatives by the same three points, off by O(h²/t_w²)."""
    c, chi, r = (quench[n] for n in ("correlation", "integrated_response", "response"))
    found = fdt_ratio_at(c, chi, 0.5, 10.0)["fdt_ratio"]
    for w in (0.5, 3.0, 8.0):
        at = [at_observation_time(v, 10.0).isel(replica=0) for v in (c, chi, r)]
        near, chi_near = (v.swap_dims(lag="waiting_time").sortby("waiting_time") for v in at[:2])
        slope = float(near.sel(waiting_time=w + 0.02) - near.sel(waiting_time=w - 0.02)) / 0.04
        falling = float(chi_near.sel(waiting_time=w + 0.02) - chi_near.sel(waiting_time=w - 0.02)) / 0.04
        exact_r = float(at[2].swap_dims(lag="waiting_time").sel(waiting_time=w))
        assert -falling == pytest.approx(exact_r, rel=2e-3)
        assert float(found.sel(waiting_time=w)) == pytest.approx(0.5 * exact_r / slope, rel=2e-3)
    assert 0.3 < float(found.sel(waiting_time=3.0)) < 0.6 < float(found.sel(waiting_time=8.0)) < 1


def test_too_few_pairs_are_refused(quench: xr.Dataset) -> None:
    c, chi = quench["correlation"], quench["integrated_response"]
    with pytest.raises(ValueError, match=r"observation_time = 0.49: 0 waiting times .* needed: 3"):
        fdt_ratio_at(c, chi, 0.5, 0.49)
    with pytest.raises(ValueError, match="observation_time = -1"):
        fdt_ratio_at(c, chi, 0.5, -1.0)
    with pytest.raises(ValueError, match="waiting_time and lag"):
        at_observation_time(c.isel(waiting_time=0), 1.0)
    with pytest.raises(ValueError, match="equal_time"):
        fdt_ratio_at(c, chi, 0.5, 10.0, equal_time=c.isel(lag=0, drop=True))


def test_c_at_equal_times_from_what_a_file_holds() -> None:
    """Δ + 2C is exact in sums; at lag 0 it is a straight line through two lags, off by t₁t₂ v″/4."""
    waiting, lags = np.array([0.1, 0.4, 1.0]), np.geomspace(0.01, 2.0, 30)
    c, _, msd = oscillator(waiting, lags)
    shuffled = np.random.default_rng(1).permutation(30)
    found = equal_time(c.isel(lag=shuffled), msd.isel(lag=shuffled))
    bound = 0.01 * 0.025 * K * (START - BATH)
    np.testing.assert_allclose(found["at_waiting"], variance(waiting), atol=bound)
    expected = two_time(waiting, lags, lambda t, w: variance(t)).isel(lag=shuffled)
    np.testing.assert_allclose(found["at_end"], expected, atol=bound)
    np.testing.assert_array_equal(found["lag"], c["lag"][shuffled])
    part = equal_time(c.where(c["lag"] > 0.1), msd)
    np.testing.assert_allclose(part["at_waiting"], variance(waiting), rtol=0.05)
    with pytest.raises(ValueError, match="'lag' differs"):
        equal_time(c, msd.assign_coords(lag=lags * 2))


def test_curves_that_do_not_begin_at_one() -> None:
    """C and χ times 14: refused as they are; divided by C(t, t) they have the X and q_EA that they had."""
    c = two_step(lags=LAGS)
    coordinates = {"waiting_time": [1e2, 1e3, 1e4, 1e5], "lag": LAGS}
    plain, chi = (xr.DataArray(v, coordinates, ("waiting_time", "lag")) for v in (c, two_lines(c)))
    with pytest.raises(ValueError, match=r"= 14 at the shortest lag.*give equal_time"):
        aging_line(14 * plain, 14 * chi, T, between=(0.1, 0.5))
    line = aging_line(14 * plain, 14 * chi, T, between=(0.1, 0.5), equal_time=14.0)
    np.testing.assert_allclose(line["q_ea"], Q, rtol=1e-9)
    np.testing.assert_allclose(line["fdt_ratio"], X, rtol=1e-9)
    # A C(t, t) that grows with the later time, from 1 on.
    grows = 1 + two_time(plain["waiting_time"].to_numpy(), LAGS, lambda t, w: np.log1p(t / 1e6))
    moving = aging_line(grows * plain, grows * chi, T, between=(0.1, 0.5), equal_time=grows)
    np.testing.assert_allclose(moving["q_ea"], Q, rtol=1e-9)
    local = fdt_ratio(14 * plain, 14 * chi, T, width=0.1, equal_time=14.0)
    xr.testing.assert_allclose(local["fdt_ratio"], fdt_ratio(plain, chi, T, width=0.1)["fdt_ratio"])
    with pytest.raises(ValueError, match="equal_time = 0"):
        aging_line(plain, chi, T, between=(0.1, 0.5), equal_time=0.0)


def test_the_break_always_has_an_interval() -> None:
    """A break that noise hides in many of 40 runs: q_EA is a number in its range, its interval is said.

    Of 40 intervals of 95 % more than 6 miss in one of 500 seeds (binomial).
    """
    rng, lags, x = np.random.default_rng(4), LAGS[::4], np.log(LAGS[::4])
    c = two_step(np.array([1e3]), lags)
    coordinates = {"waiting_time": [1e3], "lag": lags}
    inside, hidden = 0, 0
    for _ in range(40):
        # χ with a slope of its own in each replica: it moves X and the intercept together.
        tilt, wave = rng.standard_normal((2, 6, 1, 1))
        values = c + 0.02 * wave * np.sin(x / 4), two_lines(c) + tilt * (1 - c)
        curves = [xr.DataArray(v, coordinates, ("replica", "waiting_time", "lag")) for v in values]
        found = aging_line(*curves, T, between=(0.1, 0.5)).isel(waiting_time=0)
        assert 0.5 <= float(found["q_ea"]) <= 1 and np.isfinite(found["q_ea_error"])
        low, high = (float(found[f"q_ea_{end}"]) for end in ("low", "high"))
        assert low < high
        inside += low <= Q <= high
        hidden += not float(1 - found["fdt_ratio"]) > 2 * float(found["fdt_ratio_error"])
        # T/X is a ratio, too: where X may be 0 its interval is open.
        open_end = np.isinf(found["effective_temperature_high"])
        assert bool(open_end) == bool(found["fdt_ratio_low"] <= 0 <= found["fdt_ratio_high"])
    assert hidden > 10, "the old rule would have said NaN"
    assert inside >= 34


@pytest.mark.parametrize(
    ("u", "v", "bounded"),
    [
        (0.3, 0.5, True),
        (-0.5, 0.6, True),  # beyond what is allowed
        (0.2, 0.1, False),
        (0.01, 0.01, False),
        (0.05, -0.26, False),  # the lower ray ends at 0.77
        (-0.5, -0.28, False),  # the upper one begins at 0.84
        (0.0, 0.28, False),  # the lower one holds all that is allowed
        (0.1, -0.28, False),  # neither reaches it: all of it is said
    ],
)
def test_fiellers_set_is_what_the_test_does_not_refuse(u: float, v: float, bounded: bool) -> None:
    """Against a scan of all ratios; with the allowed part and the value that agrees best."""
    spread, t = RatioCovariance(np.array(0.01), np.array(0.004), np.array(0.02)), 2.0
    q = np.linspace(-40, 40, 800001)
    agrees = (u - q * v) ** 2 <= t**2 * spread.of(q)
    low, high, found = fieller(np.array(u), np.array(v), spread, t)
    assert bool(found) == bounded
    expected = (low <= q) & (q <= high) if bounded else ~((low < q) & (q < high))
    if np.isnan(low):
        expected = np.ones(q.shape, bool)
    assert np.mean(agrees != expected) < 1e-5
    ends = within(np.array(u), np.array(v), spread, t, (0.5, 1.0))
    part = q[agrees & (q >= 0.5) & (q <= 1)]
    if part.size:
        np.testing.assert_allclose(ends, (part[0], part[-1]), atol=2e-4)
    elif bounded:
        assert not (ends[0] <= 0.5 <= ends[1])
    else:
        assert (float(ends[0]), float(ends[1])) == (0.5, 1.0)
    value, error = likeliest(np.array(u), np.array(v), spread, (0.5, 1.0))
    allowed = np.linspace(0.5, 1, 5001)
    best = allowed[np.argmin((u - allowed * v) ** 2 / spread.of(allowed))]
    assert float(value) == pytest.approx(best, abs=2e-4)
    assert float(error) == pytest.approx(np.sqrt(spread.of(value)) / abs(v))


def test_fiellers_interval_covers_where_the_denominator_may_vanish() -> None:
    """2000 draws, v of 1 ± 1: 95 % within binomial noise (5 σ: 2.4 %); the value ± 2 errors covers less."""
    rng, q = np.random.default_rng(7), 0.64
    spread = RatioCovariance(np.array(0.6), np.array(0.5), np.array(1.0))
    factor = np.linalg.cholesky([[0.6, 0.5], [0.5, 1.0]])
    u, v = np.array([[q], [1.0]]) + factor @ rng.standard_normal((2, 2000))
    low, high, bounded = fieller(u, v, spread, 1.96)
    holds = np.where(bounded, (low <= q) & (q <= high), np.isnan(low) | ~((low < q) & (q < high)))
    assert abs(float(holds.mean()) - 0.95) < SIGMAS * np.sqrt(0.95 * 0.05 / 2000)
    assert 0.1 < float((~bounded).mean()) < 0.9
