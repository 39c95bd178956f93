"""Observables against naive loops and closed forms."""

from __future__ import annotations

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
    rng, hits = np.random.default_rng(2), 0
    for _ in range(2000):
        shift = rng.standard_normal(20)
        values = xr.DataArray(
            np.tile(shift, 3) + rng.standard_normal(60),
            {"sample": ("replica", np.tile(np.arange(20), 3))},
            ("replica",),
        )
        mean, error = statistics.average(values)
        hits += abs(float(mean)) < float(error)
    # Binomial error of the fraction 0.67: 0.0105; 5 σ.
    assert abs(hits / 2000 - 0.67) < 0.053


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
