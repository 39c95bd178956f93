"""Common times of two curves, and fits in 1/N, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SIGMAS

from langevin.observables.fits import curves, extrapolation
from langevin.observables.fits.curves import MeasuredCurve
from langevin.observables.fits.freedom import as_normal, combined, expected_rms, two_sided


def curve(x: np.ndarray, error: float = 1e-3, shift: float = 0.0) -> MeasuredCurve:
    """A relaxation with three decades of times in it."""
    return MeasuredCurve(x, np.exp(-((x / 3) ** 0.5)) + shift, np.full(x.size, error))


def test_exact_common_times_are_taken_as_measured() -> None:
    a, b = curve(np.array([0.0, 1.0, 2.0, 3.0, 4.0])), curve(np.array([0.0, 1.0, 2.0 + 1e-12, 2.5, 4.0, 9.0]))
    found = curves.align(a, b)
    np.testing.assert_allclose(found.x, [0.0, 1.0, 2.0, 4.0])
    assert (found.interpolation == 0).all() and (found.interpolated == "").all()
    np.testing.assert_allclose(found.difference, 0, atol=1e-12)


def test_errors_add_in_quadrature_and_b_minus_a_has_its_sign() -> None:
    x = np.geomspace(0.1, 10, 9)
    found = curves.align(curve(x, 3e-3), curve(x, 4e-3, shift=0.05))
    np.testing.assert_allclose(found.sigma, 5e-3)
    np.testing.assert_allclose(found.z, +10)
    assert np.isnan(curves.align(curve(x, np.nan), curve(x)).z).all()
    # Without any error a difference is not infinitely significant.
    assert np.isnan(curves.align(curve(x, 0.0), curve(x, 0.0, 1.0)).z).all()


@pytest.mark.parametrize("swapped", [False, True])
def test_the_denser_curve_is_interpolated_and_nothing_is_extrapolated(swapped: bool) -> None:
    sparse, dense = curve(np.array([0.0, 0.13, 1.7, 5.0, 40.0, 300.0])), curve(np.geomspace(0.1, 100, 80))
    found = curves.align(dense, sparse) if swapped else curves.align(sparse, dense)
    np.testing.assert_allclose(found.x, [0.13, 1.7, 5.0, 40.0])
    assert set(found.interpolated) == {"A" if swapped else "B"}
    np.testing.assert_array_less(np.abs(found.difference), 2 * found.interpolation)
    np.testing.assert_allclose(found.sigma**2 - 2 * 1e-3**2, found.interpolation**2, atol=1e-18)
    assert found.interpolation.max() > 1e-6


def test_the_smoother_curve_is_interpolated_though_it_is_sparser() -> None:
    rng = np.random.default_rng(5)
    smooth, noisy = curve(np.geomspace(0.1, 100, 30)), curve(np.geomspace(0.1003, 99, 200), error=0.02)
    noisy = noisy._replace(mean=noisy.mean + 0.02 * rng.standard_normal(200))
    found = curves.align(noisy, smooth)
    assert found.x.size == 200
    assert set(found.interpolated) == {"B"}


@pytest.mark.parametrize("points", [12, 25, 60])
@pytest.mark.parametrize(
    "shape",
    [
        lambda x: np.exp(-((x / 3) ** 0.5)),
        lambda x: 2 * (1 - np.exp(-x)),
        lambda x: -1 / (1 + x) ** 0.3,
        lambda x: np.log(x) ** 2,
    ],
)
def test_leaving_out_every_second_point_bounds_the_error(shape: object, points: int) -> None:
    x = np.geomspace(0.01, 300, points)
    fine = np.geomspace(0.01, 300, 997)
    given = MeasuredCurve(x, shape(x), np.zeros(points))  # type: ignore[operator]
    mean, _, bound = curves.interpolate(given, fine)
    true = np.abs(mean - shape(fine))  # type: ignore[operator]
    # At inflections misses are small by chance; there the error may exceed them, by less than a factor 2.
    assert np.mean(true <= bound) > 0.97
    assert (true <= 2 * bound).all()
    # The bound is not idle: it is of the order of the largest error.
    assert bound.max() < 12 * true.max()


def test_the_error_of_an_interpolated_value_lies_between_its_neighbours() -> None:
    given = MeasuredCurve(np.array([1.0, 10.0, 100.0]), np.zeros(3), np.array([1.0, 2.0, 4.0]))
    np.testing.assert_allclose(
        curves.interpolate(given, np.array([10**0.5, 10.0, 10**1.5]))[1], [1.5, 2.0, 3.0]
    )
    with pytest.raises(ValueError, match="extrapolate"):
        curves.interpolate(given, np.array([0.5]))


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([1.0, 2.0], [3.0, 4.0], "no common range: 1 to 2 in A, 3 to 4 in B"),
        ([1.0, 3.0], [2.0, 4.0], "too few"),
        ([], [2.0, 4.0], "no finite value"),
    ],
)
def test_nothing_in_common(a: list[float], b: list[float], words: str) -> None:
    with pytest.raises(curves.NothingInCommon, match=words):
        curves.align(curve(np.array(a)), curve(np.array(b)))


def test_a_few_exact_times_of_curves_too_sparse_to_interpolate() -> None:
    found = curves.align(curve(np.array([0.0, 1.0, 2.0, 5.0])), curve(np.array([0.0, 3.0])))
    np.testing.assert_allclose(found.x, [0.0])


def test_a_fit_recovers_a_law_in_one_over_n() -> None:
    n = np.array([16, 24, 32, 64])
    law = np.array([[-0.8, 1.5, -4.0], [0.3, 0.0, 2.0]]).T
    values = (1 / n)[:, None] ** np.arange(3) @ law
    found = extrapolation.extrapolate(n, values, np.array([[1e-3], [2e-3], [1e-3], [3e-3]]), order=2)
    np.testing.assert_allclose(found.coefficients, law, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.chi2, 0, atol=1e-15)
    assert found.degrees == 1


def test_a_linear_fit_agrees_with_its_closed_form() -> None:
    """Two sizes: y_∞ = (N₂y₂ − N₁y₁)/(N₂ − N₁), and errors in proportion."""
    found = extrapolation.extrapolate([16, 64], [1.0, 0.4], [0.03, 0.01])
    assert found.coefficients[0] == pytest.approx((64 * 0.4 - 16 * 1.0) / 48)
    assert found.errors[0] == pytest.approx(np.hypot(64 * 0.01, 16 * 0.03) / 48)
    assert found.degrees == 0


@pytest.mark.parametrize("order", [1, 2])
def test_error_bars_of_the_limit_cover_it(order: int) -> None:
    """4000 fits: z of the intercept has mean 0 and variance 1, χ² its degrees of freedom (each 5 σ)."""
    rng, fits = np.random.default_rng(6), 4000
    n = np.array([16, 24, 32, 48, 96])
    errors = np.array([3, 2, 1, 2, 1])[:, None] * np.full((5, fits), 0.01)
    truth = np.array([-0.8, 1.5, -4.0])[: order + 1]
    values = ((1 / n)[:, None] ** np.arange(order + 1) @ truth)[:, None] + errors * rng.standard_normal(
        (5, fits)
    )
    found = extrapolation.extrapolate(n, values, errors, order)
    z = (found.coefficients[0] - truth[0]) / found.errors[0]
    assert abs(z.mean()) < SIGMAS / np.sqrt(fits)
    assert abs(z.var() - 1) < SIGMAS * np.sqrt(2 / fits)
    assert abs(np.mean(np.abs(z) < 1) - 0.6827) < SIGMAS * np.sqrt(0.68 * 0.32 / fits)
    assert abs(found.chi2.mean() - found.degrees) < SIGMAS * np.sqrt(2 * found.degrees / fits)


def test_points_that_cannot_be_fitted_are_nan() -> None:
    values = np.array([[1.0, np.nan, 1.0], [2.0, 2.0, 2.0]])
    errors = np.array([[0.1, 0.1, 0.0], [0.1, 0.1, 0.1]])
    found = extrapolation.extrapolate([16, 32], values, errors)
    np.testing.assert_array_equal(np.isfinite(found.coefficients[0]), [True, False, False])
    with pytest.raises(ValueError, match="needs 3 sizes; there are 2"):
        extrapolation.extrapolate([16, 32, 32], np.ones(3), np.ones(3), order=2)
    with pytest.raises(ValueError, match="do not determine"):
        extrapolation.least_squares(np.ones((3, 2)), np.ones(3), np.ones(3))


# Errors from few samples.


def from_samples(samples: int, sets: int = 1500, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors, shape (6 sizes, sets), of y = 1 + 2/N with Gaussian samples, σ² = 1/N."""
    rng, n = np.random.default_rng(seed), np.array([16, 24, 32, 48, 64, 96])
    x = rng.standard_normal((6, sets, samples)) / np.sqrt(n)[:, None, None]
    return 1 + 2 / n[:, None] + x.mean(-1), x.std(-1, ddof=1) / np.sqrt(samples)


@pytest.mark.parametrize("samples", [2, 4])
def test_the_limit_from_few_samples_is_held_as_often_as_said(samples: int) -> None:
    """1500 fits; 3 σ of the count, one-sided: a false alarm in 370. Control: errors as if exact."""
    n = np.array([16, 24, 32, 48, 64, 96])
    means, errors = from_samples(samples)
    fit = extrapolation.extrapolate(n, means, errors, degrees=samples - 1)
    for level in (0.68, 0.95):
        low, high = fit.interval(level)
        held = np.mean((low[0] <= 1) & (high[0] >= 1))
        assert held > level - 3 * np.sqrt(level * (1 - level) / 1500), (level, held)
    spread = (fit.coefficients[0] - 1).std() / np.sqrt(np.mean(fit.errors[0] ** 2))
    assert spread == pytest.approx(1, abs=0.1)
    # How often a right law is refuted at 5 %: at most that, within 4 σ of the count.
    assert np.mean(fit.probability < 0.05) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 1500)
    exact = extrapolation.extrapolate(n, means, errors)
    low, high = exact.interval(0.95)
    assert np.mean((low[0] <= 1) & (high[0] >= 1)) < 0.87, "the control"


def test_a_law_that_does_not_hold_is_refuted() -> None:
    n = np.array([16, 24, 32, 48, 64, 96])
    means, errors = from_samples(16)
    curved = extrapolation.extrapolate(n, means + 400 / n[:, None] ** 2, errors, degrees=15)
    assert np.mean(curved.poor()) > 0.9
    assert not extrapolation.extrapolate([16, 32], [1.0, 2.0], [0.1, 0.1], degrees=3).poor()


def test_many_samples_and_known_errors_give_the_same_fit() -> None:
    n = np.array([16, 24, 32, 48, 64, 96])
    means, errors = from_samples(4, sets=20)
    known = extrapolation.extrapolate(n, means, errors)
    # Weights differ by ψ′(ν/2)/τ² = 5·10⁻⁸ of themselves.
    many = extrapolation.extrapolate(n, means, errors, degrees=1e9)
    np.testing.assert_allclose(many.coefficients, known.coefficients, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(many.errors, known.errors, rtol=1e-6)
    np.testing.assert_allclose(many.chi2, known.chi2, rtol=1e-6)
    assert np.isinf(known.error_degrees).all()
    from scipy.special import chdtrc

    np.testing.assert_allclose(known.probability, chdtrc(4, known.chi2), rtol=1e-9)


def test_size_and_step_are_extrapolated_together() -> None:
    """A law in both is exact, however few pairs; what does not tell the two apart is refused."""
    n, dt = np.array([[16, 24, 32, 64, 16, 16], [0.02, 0.02, 0.02, 0.02, 0.01, 0.04]])
    law = 1 + 2 / n + 0.5 * dt - 3 * dt**2
    fit = extrapolation.extrapolate_both(n, dt, law, 1e-3 * np.ones(6), powers=(1, 2))
    np.testing.assert_allclose(fit.coefficients, [1, 2, 0.5, -3], rtol=1e-8)
    assert fit.degrees == 2 and fit.chi2 < 1e-12
    # The control: at one step the limit keeps the bias of that step.
    one = extrapolation.extrapolate(n[:4], law[:4], 1e-3 * np.ones(4))
    assert one.coefficients[0] == pytest.approx(1 + 0.5 * 0.02 - 3 * 0.02**2)
    both = extrapolation.extrapolate_both
    for steps, powers, words in (
        ([0.02] * 6, (1.0,), "need 2 steps; there are 1"),
        ([0.02, 0.02, 0.02, 0.02, 0.01, -1], (1.0,), "finite and ≥ 0"),
        (0.5 / n, (1.0,), "do not tell order 1 in 1/N from 1 powers"),
        (dt, (1.0, 1.0), "must be different and > 0"),
    ):
        with pytest.raises(ValueError, match=words):
            both(n, steps, law, np.ones(6), powers=powers)
    with pytest.raises(ValueError, match="degrees = 0"):
        both(n, dt, law, np.ones(6), degrees=0)
    with pytest.raises(ValueError, match="sizes = "):
        extrapolation.extrapolate([0, 16], np.ones(2), np.ones(2))


def test_degrees_of_freedom_and_what_a_deviation_means() -> None:
    """Welch's rule; Student's tail and the same tail of the normal law."""
    assert combined([1.0, 1.0], [3, 3]) == pytest.approx(6)
    assert combined([4.0, 1.0], [3, np.inf]) == pytest.approx(3 * 25 / 16)
    assert np.isinf(combined([1.0, 0.0], [np.inf, 2]))
    # Student's t with 3 degrees exceeds 3.182 in 5 %, as a normal deviate 1.960.
    assert two_sided(3.1824463, 3) == pytest.approx(0.05, rel=1e-6)
    assert as_normal([-3.1824463, 1.5], [3, np.inf]) == pytest.approx([-1.959964, 1.5], rel=1e-6)
    # Far out, where the tail underflows: increasing, finite, and the limit of many degrees.
    far = as_normal([1e3, 1e5], 50)
    assert np.isfinite(far).all() and far[0] < far[1]
    assert as_normal(100.0, 1e9) == pytest.approx(100, rel=1e-4)
    assert expected_rms([6.0, 6.0]) == pytest.approx(np.sqrt(1.5))
    assert (expected_rms([2.0]), expected_rms([np.inf])) == (np.inf, 1.0)
    assert np.isnan(as_normal(np.nan, 3)) and np.isnan(two_sided(np.nan, np.inf))
