"""Observables against naive loops and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from langevin.observables import relaxation, statistics, two_time


@pytest.fixture
def configuration() -> xr.DataArray:
    rng = np.random.default_rng(1)
    times = np.array([0.0, 0.1, 0.3, 0.30000000000000004 + 0.4, 1.0])
    return xr.DataArray(
        rng.standard_normal((5, 3, 7)), {"time": times, "replica": [4, 5, 6]}, ("time", "replica", "dof")
    )


def test_two_time_observables_against_a_double_loop(configuration: xr.DataArray) -> None:
    x, times = configuration.to_numpy(), configuration["time"].to_numpy()
    waiting, lags = np.array([0.0, 0.3, 0.5]), np.array([0.1, 0.4, 0.7])
    found = {
        "msd": two_time.msd(configuration, waiting, lags),
        "correlation": two_time.correlation(configuration, waiting, lags),
    }
    reached = 0
    for r in range(3):
        for i, w in enumerate(waiting):
            for j, t in enumerate(lags):
                first = [k for k in range(5) if abs(times[k] - w) < 1e-12]
                last = [k for k in range(5) if abs(times[k] - w - t) < 1e-12]
                if not first or not last:
                    assert np.isnan(found["msd"][r, i, j])
                    continue
                reached += 1
                a, b = x[first[0], r], x[last[0], r]
                assert found["msd"][r, i, j] == pytest.approx(
                    sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / 7
                )
                assert found["correlation"][r, i, j] == pytest.approx(
                    sum(p * q for p, q in zip(a, b, strict=True)) / 7
                )
    assert reached == 3 * 4
    assert found["msd"].dims == ("replica", "waiting_time", "lag")


def test_the_order_of_dimensions_does_not_matter(configuration: xr.DataArray) -> None:
    turned = configuration.transpose("dof", "time", "replica")
    xr.testing.assert_identical(two_time.msd(turned, [0.0], [0.1]), two_time.msd(configuration, [0.0], [0.1]))


def test_an_average_counts_samples_not_replicas() -> None:
    """Four replicas in two samples: the error is that of two values, not of four."""
    values = xr.DataArray(
        [1.0, 3.0, 1.2, 3.2], {"sample": ("replica", [0, 1, 0, 1])}, ("replica",), attrs={"units": "1"}
    )
    mean, error = statistics.average(values)
    assert float(mean) == pytest.approx(2.1)
    assert float(error) == pytest.approx(np.std([1.1, 3.1], ddof=1) / np.sqrt(2))
    single = values.assign_coords(sample=("replica", [0, 0, 0, 0]))
    assert float(statistics.average(single).error) == pytest.approx(np.std(values, ddof=1) / 2)
    assert np.isnan(statistics.average(values[:1]).error)


def test_standard_errors_cover_the_truth() -> None:
    """±1 standard error from 20 samples holds the truth in 67 % of cases (Student, 19 degrees of freedom)."""
    rng = np.random.default_rng(2)
    shifts = np.tile(rng.standard_normal((20, 2000)), (3, 1))
    values = xr.DataArray(
        shifts + rng.standard_normal((60, 2000)),
        {"sample": ("replica", np.tile(np.arange(20), 3))},
        ("replica", "case"),
    )
    mean, error = statistics.average(values)
    # Binomial error of the fraction 0.67: 0.0105; 5 σ.
    assert abs(float((abs(mean) < error).mean()) - 0.67) < 0.053


def test_the_matching_exponential_recovers_an_exponential() -> None:
    t = np.concatenate([[0], np.geomspace(0.01, 40, 200)])
    found = relaxation.matching_exponential(t, -1 + 0.7 * np.exp(-t / 2.5))
    assert found is not None
    # Linear interpolation between points 4 % apart.
    assert found.tau == pytest.approx(2.5, rel=1e-3)
    assert (found.start, found.end) == pytest.approx((-0.3, -1.0), abs=1e-6)
    np.testing.assert_allclose(found([0.0, 2.5]), [-0.3, -1 + 0.7 / np.e], atol=0.7 * 1e-3)


@pytest.mark.parametrize("energy", [[0.0, 1.0, 2.0], [np.nan, np.nan, np.nan], [1.0, 0.0]])
def test_no_exponential_where_nothing_falls(energy: list[float]) -> None:
    assert relaxation.matching_exponential(np.arange(len(energy)), energy) is None


def energies(values: Any, time: Any) -> xr.DataArray:
    values = np.atleast_2d(values)
    return xr.DataArray(values, {"replica": np.arange(len(values)), "time": time}, ("replica", "time"))


def test_the_local_power_of_a_power_law() -> None:
    t = np.concatenate([[0], np.geomspace(0.1, 1e4, 101)])
    e = np.concatenate([[0.5], -1 + 0.3 * t[1:] ** -0.4])
    for decades in (None, 0.5):
        found = relaxation.local_exponent(energies(e, t), -1.0, decades=decades)
        known = found["exponent"].dropna("time")
        np.testing.assert_allclose(known, -0.4, rtol=1e-9)
        assert 0.1 not in known["time"] and 1e4 not in known["time"] and known.size > 80
        assert found["exponent_error"].isnull().all() and found.sizes["time"] == 101
    np.testing.assert_allclose(  # from below, too
        relaxation.local_exponent(energies(-e, t), 1.0)["exponent"].dropna("time"), -0.4, rtol=1e-9
    )
    # With u = t^{−0.5}/3 the local power is −(0.4 + 0.9u)/(1 + u), to second order in the step 0.115.
    corrected = energies(e + 0.1 * np.where(t > 0, np.maximum(t, 0.1), 1) ** -0.9, t)
    found = relaxation.local_exponent(corrected, -1.0)["exponent"].dropna("time")
    u = found["time"] ** -0.5 / 3
    np.testing.assert_allclose(found, -(0.4 + 0.9 * u) / (1 + u), atol=0.115**2 / 6)


def test_the_energy_of_the_three_spin_model_at_zero_temperature() -> None:
    """Cugliandolo-Kurchan equations: local powers of E − E_th are −0.6746 at t = 100, on the way to −2/3."""
    t = np.array([25.0, 50, 100, 200, 400])
    e = energies([-1.11593688, -1.13055295, -1.13959640, -1.14522654, -1.14874723], t)
    found = relaxation.local_exponent(e, -2 / np.sqrt(3))["exponent"]
    # Between −0.6986 (t = 10) and −0.6693 (400); points a factor 2 apart: error ln²2/6 of 0.005.
    assert float(found.sel(time=100)) == pytest.approx(-0.6746, abs=5e-4)
    fit = relaxation.power_law(e, start=20)
    assert float(fit["limit"]) == pytest.approx(-2 / np.sqrt(3), abs=1e-3)
    assert float(fit["exponent"]) == pytest.approx(-2 / 3, abs=0.03)
    assert np.isnan(fit["limit_shift"])


def test_a_power_law_with_a_correction() -> None:
    t = np.geomspace(1, 1e4, 81)
    pure = relaxation.power_law(energies(-1 + 0.3 * t**-0.5, t), start=1)
    for name, value in {"limit": -1, "exponent": -0.5, "amplitude": 0.3}.items():
        assert float(pure[name]) == pytest.approx(value, rel=1e-6)
        assert abs(float(pure[f"{name}_shift"])) < 1e-6
    found = relaxation.power_law(energies(-1 + 0.3 * t**-0.5 + 0.1 * t**-1.2, t), start=10)
    for name, value in {"limit": -1, "exponent": -0.5}.items():
        left = float(found[name]) - value
        assert 1e-5 < abs(left) < 2 * abs(float(found[f"{name}_shift"])) < 0.1


@pytest.mark.slow
def test_error_bars_of_the_powers_cover_the_truth() -> None:
    """±1 standard error of 20 samples holds the truth in 67 % of cases (Student, 19 degrees of freedom)."""
    rng, t = np.random.default_rng(3), np.geomspace(1, 1e3, 61)
    exact, hits, tries = -1 + 0.3 * t**-0.5, 0, 0
    fits = {"limit": -1.0, "exponent": -0.5}
    fitted = dict.fromkeys(fits, 0)
    for _ in range(200):
        noise = 0.005 * (rng.standard_normal((20, 1)) / np.sqrt(t) + rng.standard_normal((20, 61)))
        e = energies(exact + noise, t)
        found = relaxation.local_exponent(e, -1.0, decades=1.0).sel(time=t[[10, 20, 30, 40]])
        hits += int((np.abs(found["exponent"] + 0.5) < found["exponent_error"]).sum())
        tries += 4
        fit = relaxation.power_law(e, start=1)
        for name, value in fits.items():
            fitted[name] += abs(float(fit[name]) - value) < float(fit[f"{name}_error"])
    # Binomial errors of 0.67: windows that overlap count as one of three, 0.02; 200 fits, 0.033; 5 σ.
    assert abs(hits / tries - 0.67) < 0.1, hits / tries
    for name in fits:
        assert abs(fitted[name] / 200 - 0.67) < 0.17, (name, fitted[name] / 200)


def test_powers_where_the_energy_is_not_known_or_crosses_its_limit() -> None:
    t = np.geomspace(1, 100, 41)
    e = energies(-1 + 0.3 / t, t)
    part = relaxation.local_exponent(e.where(t < 20), -1.0, decades=0.5)["exponent"]
    np.testing.assert_allclose(part.dropna("time"), -1, rtol=1e-9)
    assert part[t > 20 / 10**0.25].isnull().all() and part.notnull().sum() > 10
    crossing = relaxation.local_exponent(e, -0.99, decades=0.5)["exponent"]
    assert crossing[np.abs(np.log10(t / 30)) < 0.2].isnull().all()
    assert crossing[np.abs(np.log10(t / 30)) > 0.3].notnull().any()
    assert relaxation.local_exponent(e * np.nan, -1.0, decades=0.5)["exponent"].isnull().all()
    straight = relaxation.power_law(energies(np.log(t), t), start=1)
    assert np.isnan(straight["limit"]), "no power law"


def test_bad_arguments_of_powers_are_named() -> None:
    t = np.geomspace(1, 100, 41)
    e = energies(1 / t, t)
    with pytest.raises(ValueError, match="limit = nan"):
        relaxation.local_exponent(e, np.nan)
    with pytest.raises(ValueError, match="decades = 0"):
        relaxation.local_exponent(e, 0.0, decades=0.0)
    with pytest.raises(ValueError, match=r"start = 5, stop = 2"):
        relaxation.power_law(e, start=5, stop=2)
    with pytest.raises(ValueError, match=r"start = 90, .*needed: four"):
        relaxation.power_law(e, start=90)
    with pytest.raises(ValueError, match="dimensions"):
        relaxation.power_law(e.rename(time="t"), start=1)
