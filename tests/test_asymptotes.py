"""Limits and exponents of a slow approach: right within the error that is stated for them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from langevin.observables.asymptote import asymptote, fitted
from langevin.systems.cugliandolo_kurchan.covariance import Covariance
from langevin.systems.cugliandolo_kurchan.longtime import LongTime
from langevin.systems.cugliandolo_kurchan.stepping import Equations

LIMIT = -1.7


def course(t: np.ndarray, y: np.ndarray) -> xr.DataArray:
    return xr.DataArray(y, {"time": t}, "time")


def made_up(rng: np.random.Generator) -> tuple[xr.DataArray, float, float]:
    """Return a power law with a correction and a smooth error, its exponent, and the stated error."""
    b, d, last = rng.uniform(0.3, 1), rng.uniform(0.2, 1), 10 ** rng.uniform(4, 7)
    # At the beginning of the last window, a decade and a half before the end, up to 0.3.
    c = rng.uniform(-0.3, 0.3) * (last / 10**1.5) ** d
    t = np.geomspace(0.1, last, 1 + round(20 * math.log10(last / 0.1)))
    a, error = rng.choice([-1, 1]) * 10 ** rng.uniform(-1.5, 0.5), 10 ** rng.uniform(-10, -7)
    off = 0.5 * error * np.sin(rng.uniform(0.2, 1) * np.log(t) + rng.uniform(0, 2 * np.pi))
    return course(t, LIMIT + a * t**-b * (1 + c * t**-d) + off), b, error


def test_a_power_law_is_found_to_rounding() -> None:
    t = np.geomspace(1, 1e5, 101)
    law = fitted(t[-31:], LIMIT - 0.3 * t[-31:] ** -0.6)
    # Golden sections end where the sum of squares, not the exponent, is at rounding: its square root.
    assert law == pytest.approx((LIMIT, -0.3, 0.6), rel=1e-6)
    known = asymptote(course(t, LIMIT - 0.3 * t**-0.6), limit=LIMIT)
    assert float(known["exponent"]) == pytest.approx(0.6, abs=1e-6)
    assert float(known["limit_error"]) == 0


def test_stated_errors_cover() -> None:
    rng = np.random.default_rng(11)
    off = []
    for _ in range(120):
        values, b, error = made_up(rng)
        fit = asymptote(values, error)
        off.append(
            [
                abs(float(fit["limit"]) - LIMIT) / float(fit["limit_error"]),
                abs(float(fit["exponent"]) - b) / float(fit["exponent_error"]),
            ]
        )
    known = np.array(off)[np.isfinite(off).all(axis=1)]
    # Of 800 others 77 % had errors: 120 have fewer than 70 (a share of 0.58) once in 10⁶ times.
    assert len(known) >= 70
    # All of 600 limits were within their error; exponents 82 % and 100 %, of 85 fewer than 0.65 once in 10⁴.
    assert (known[:, 0] < 1).mean() > 0.97
    assert (known[:, 1] < 1).mean() > 0.65
    assert (known[:, 1] < 2.5).all()


def test_the_numerical_error_is_that_of_the_data_at_least() -> None:
    t = np.geomspace(0.1, 1e5, 121)
    values = course(t, LIMIT + t**-0.5)
    exact, rough = (asymptote(values, error) for error in (None, 1e-4))
    assert float(exact["limit_numerical"]) == 0
    assert float(rough["limit_numerical"]) >= 1e-4
    assert float(rough["limit_error"]) >= float(rough["limit_numerical"])


def test_what_cannot_be_negative_is_not() -> None:
    # A logarithm, whose limit no window knows: 1/ln t falls ever more slowly.
    t = np.geomspace(0.1, 1e6, 141)
    values = course(t, 1 / np.log(10 + t))
    free, bound = (asymptote(values, at_least=least) for least in (None, 0.05))
    assert float(free["limit"]) < 0.05
    assert float(bound["limit"]) == 0.05
    assert float(bound["limit_error"]) >= 0.05 - float(free["limit"])


@pytest.mark.parametrize(
    "values",
    [
        course(np.geomspace(1, 10, 21), np.geomspace(1, 10, 21) ** -0.5),
        course(np.geomspace(1, 1e5, 101), np.full(101, np.nan)),
        course(np.geomspace(1, 1e5, 101), np.log(np.geomspace(1, 1e5, 101))),
    ],
    ids=["too short", "nothing known", "no limit"],
)
def test_where_there_is_no_limit_none_is_stated(values: xr.DataArray) -> None:
    assert not np.isfinite(float(asymptote(values, 1e-8)["limit_error"]))


@pytest.mark.parametrize(
    ("tolerance", "last", "within"),
    [(1e-5, 1e4, 1e-4), pytest.param(1e-6, 1e5, 3e-6, marks=pytest.mark.slow)],
)
def test_gradient_descent_of_the_3_spin_model_ends_at_its_threshold(
    tolerance: float, last: float, within: float
) -> None:
    solver = LongTime(Equations(Covariance.pure(3), 0.0, 0.0), tolerance)
    times = np.geomspace(1.0, last, 1 + 20 * round(math.log10(last)))
    energy = course(times, np.array([solver.one_time(t, solver.reach(t))[0] for t in times]))
    fit = asymptote(energy, tolerance / 10)
    # E_∞ = −2/√3 and 2/3, exactly; the stated error as small as `within` says something.
    assert abs(float(fit["limit"]) + 2 / math.sqrt(3)) < float(fit["limit_error"]) < within
    assert abs(float(fit["exponent"]) - 2 / 3) < 2 * float(fit["exponent_error"]) < 0.05
