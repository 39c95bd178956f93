"""Regimes of training on curves with known corners; collapse on curves with a known spread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import SIGMAS

from langevin.observables.fits.regression import shares
from langevin.observables.training import collapse, msd_over_noise
from langevin.observables.training.ramps import fit_ramp
from langevin.observables.training.regimes import is_number, regimes, time_in_words

T1, T2, HIGH, LOW = 100.0, 1e4, 2.3, 0.01


def grid(stop: float = 1e6, per_decade: int = 20) -> np.ndarray[Any, Any]:
    """Whole steps, evenly in ln t, and 0."""
    points = np.geomspace(1, stop, round(per_decade * np.log10(stop)) + 1)
    return np.concatenate([[0], np.unique(np.round(points))])


def descent(t: Any, t1: Any = T1, t2: Any = T2, low: float = LOW) -> np.ndarray[Any, Any]:
    """A ramp in ln t: HIGH until t1, `low` from t2 on."""
    down = np.log(np.maximum(t, 1e-9) / t1) / np.log(np.asarray(t2) / t1)
    return np.asarray(HIGH + (low - HIGH) * np.clip(down, 0, 1))


def losses(values: Any, t: Any) -> xr.DataArray:
    values = np.atleast_2d(values)
    replica = np.arange(values.shape[0])
    time = ("time", t, {"units": "steps"})
    return xr.DataArray(values, {"time": time, "replica": replica}, ("replica", "time"))


def scanned(x: Any, y: Any, w: Any) -> float:
    """Smallest squared residual of a descending ramp with corners on a fine grid."""
    corners = np.union1d(np.linspace(x[0], x[-1], 121), x)
    k, m = np.triu_indices(corners.size, 1)
    begin, end = corners[k], corners[m]
    r = np.clip((x - begin[:, None]) / (end - begin)[:, None], 0, 1)
    mean_r, mean_y = (r * w).sum(1) / w.sum(), (y * w).sum() / w.sum()
    dr, dy = r - mean_r[:, None], y - mean_y
    product, square = (w * dr * dy).sum(1), (w * dr * dr).sum(1)
    gain = np.where((product < 0) & (square > 1e-9), product**2 / np.maximum(square, 1e-9), 0.0)
    return float(np.sum(w * dy**2) - gain.max())


def test_the_nearest_ramp_is_the_global_minimum() -> None:
    """No corners on a fine grid do better, and the best of them only little worse."""
    rng, kinds = np.random.default_rng(5), set()
    # Running sums lose (range/step)² of their digits: 10⁵ for the closest points here, of 10⁻¹⁶.
    rounding = 1e-10
    for case in range(60):
        size = (6, 10, 16)[case % 3]
        x, noise = np.sort(rng.uniform(0, 10, size)), (0.05, 0.3, 1.0)[case // 20]
        y, w = np.where(x < 4, 1, 0) + noise * rng.standard_normal(size), rng.uniform(0.5, 2, size)
        found = fit_ramp(x, y, w)
        least, total = scanned(x, y, w), np.sum(w * (y - np.average(y, weights=w)) ** 2)
        if found is None:
            assert least == pytest.approx(total), "nothing descends"
            continue
        assert x[0] <= found.begin + 1e-12 < found.end <= x[-1] + 1e-12
        assert found.unexplained <= least / total + rounding
        assert least / total < found.unexplained + 0.01, "the grid comes near"
        r = np.clip((x - found.begin) / (found.end - found.begin), 0, 1)
        residual = np.sum(w * (y - found.high - (found.low - found.high) * r) ** 2)
        assert residual / total == pytest.approx(found.unexplained, abs=rounding), "it is what it says"
        kinds.add(tuple(bool(np.abs(x - c).min() < 1e-12) for c in (found.begin, found.end)))
    assert len(kinds) == 4, "corners at points, and between them"


@pytest.mark.parametrize(
    "begin, end", [(2.0, 5.0), (2.0, 5.3), (2.7, 5.0), (2.7, 5.3), (2.2, 2.9), (0.0, 9.0)]
)
def test_a_ramp_is_found_exactly(begin: float, end: float) -> None:
    """Corners at points, between points, both between the same two, at the ends."""
    x = np.arange(10.0)
    y = 3 - 2 * np.clip((x - begin) / (end - begin), 0, 1)
    found = fit_ramp(x, y, np.ones(10))
    assert found is not None and found.unexplained < 1e-12
    assert (found.high, found.low) == pytest.approx((3, 1))
    if end - begin > 1:
        assert (found.begin, found.end) == pytest.approx((begin, end))
    else:
        assert 2 <= found.begin < found.end <= 3, "anywhere between these points"


def test_no_ramp_in_values_that_rise_or_stay() -> None:
    x = np.arange(6.0)
    assert fit_ramp(x, x, np.ones(6)) is None
    assert fit_ramp(x, 0 * x, np.ones(6)) is None
    assert fit_ramp(x[:1], x[:1], np.ones(1)) is None


@pytest.mark.parametrize("per_decade", [2, 3, 5, 20])
def test_corners_are_exact_on_a_ramp(per_decade: int) -> None:
    t = grid(per_decade=per_decade)
    found = regimes(xr.Dataset({"energy": losses(descent(t), t)}))
    expected = {"t1": T1, "t2": T2, "slope": (LOW - HIGH) / np.log(T2 / T1), "level_start": HIGH}
    for name, value in {**expected, "level_end": LOW}.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-6), name
        assert np.isnan(found[f"{name}_error"]), "a single replica"
    if per_decade > 2:
        assert abs(found["t1_shift"]) < 1e-6 * T1 and abs(found["t2_shift"]) < 1e-6 * T2
    assert found["t1"].attrs["units"] == found["t2_error"].attrs["units"] == "steps"
    assert "ramp" in found.attrs["method"]
    alone = regimes(losses(descent(t), t).isel(replica=0, drop=True))
    assert float(alone["t2"]) == float(found["t2"])


@pytest.mark.parametrize(("knee", "level"), [(300.0, 0.7), (3000.0, 1.5)])
def test_a_descent_in_two_parts_has_a_knee(knee: float, level: float) -> None:
    """Corners known; noise of 1 % of the fall moves those of its straight pieces by some per cent."""
    t = grid()
    course = np.interp(np.log(np.maximum(t, 1)), np.log([T1, knee, T2]), [HIGH, level, LOW])
    found = regimes(losses(course, t))
    expected = {"t1": T1, "knee": knee, "t2": T2}
    for name, value in expected.items():
        # The mean over a cell of ln t rounds a corner: by less than the tenth of a decade.
        assert float(found[name]) == pytest.approx(value, rel=0.01), name
    assert float(found["level_knee"]) == pytest.approx(level, rel=0.01)
    assert float(found["slope"]) == pytest.approx((level - HIGH) / np.log(knee / T1), rel=0.02)
    rng = np.random.default_rng(3)
    noisy = regimes(losses(course + 0.02 * rng.standard_normal((8, t.size)), t))
    for name, value in expected.items():
        assert abs(float(noisy[name]) - value) < SIGMAS * float(noisy[f"{name}_error"]) + 0.01 * value, name
        assert float(noisy[f"{name}_error"]) < 0.1 * value


def test_a_straight_descent_has_no_knee() -> None:
    t = grid()
    rng = np.random.default_rng(4)
    found = regimes(losses(descent(t) + 0.1 * rng.standard_normal((4, t.size)), t))
    assert np.isnan(found["knee"]) and found["knee"].attrs["reason"] == "the descent is in one part"


def test_corners_of_curves_that_are_no_ramp() -> None:
    """What the docstring says of rounded corners, tails and noise."""
    t = grid()

    def moved(values: Any) -> list[float]:
        found = regimes(losses(values, t))
        corners = {"t1": T1, "t2": T2}
        return [100 * (float(found[n]) / corners[n] - 1) for n in corners] + [
            100 * float(found[f"{n}_shift"] / found[n]) for n in corners
        ]

    z = np.linspace(-4, 4, 81)
    weights = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    rounded = sum(w * descent(t * np.exp(u)) for u, w in zip(z, weights, strict=True))
    assert moved(rounded) == pytest.approx([-27, 37, 27, -21], abs=1.5)
    for left, shift in ((0.1, 15), (0.3, 70)):
        tail = np.where(t > T2, left * (np.maximum(t, 1) / T2) ** -0.5, descent(t, low=left))
        assert moved(tail)[1] == pytest.approx(shift, abs=1.5)
    found = regimes(losses(HIGH / (1 + t / 1000), t))
    assert [float(found["t1"]), float(found["t2"])] == pytest.approx([86, 11.7e3], rel=0.01)
    assert moved(HIGH / (1 + t / 1000))[2:] == pytest.approx([48, -32], abs=1.5)


def round_curves(t: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Descents whose corners at T1 and T2 are known, and none of which is a ramp."""
    x = np.log(np.maximum(t, 1e-3) / np.sqrt(T1 * T2))
    # The tangent at its steepest point meets the levels at T1 and T2: slope 1/4 of the fall times `steep`.
    steep = 4 / np.log(T2 / T1)
    z = np.linspace(-4, 4, 81)
    weights = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    made = {"ramp": descent(t), "logistic": HIGH + (LOW - HIGH) / (1 + np.exp(-steep * x))}
    for width in (0.5, 1.0):
        parts = zip(z, weights, strict=True)
        made[f"rounded {width}"] = np.sum([w * descent(t * np.exp(width * u)) for u, w in parts], axis=0)
    for left in (0.02, 0.1, 0.3):
        tail = left * (np.maximum(t, 1) / T2) ** -0.5
        made[f"tail {left}"] = np.where(t > T2, tail, descent(t, low=left))
    return made


@pytest.mark.parametrize("kind", list(round_curves(grid())))
def test_the_range_of_definitions_holds_the_corners(kind: str) -> None:
    """Also where the ramp's own corner is far off: 61 and 1.6·10⁴ for the logistic descent."""
    found = regimes(losses(round_curves(grid())[kind], grid()))
    for name, corner in (("t1", T1), ("t2", T2)):
        low, high = float(found[f"{name}_low"]), float(found[f"{name}_high"])
        assert low <= corner <= high, (name, low, high)
        assert low <= float(found[name]) <= high
        assert found[name].attrs["definition"].startswith("corner of the nearest ramp")
    if kind == "ramp":
        # Half a spacing of times, 6 %, and what ln L bends before ln t does.
        assert float(found["t1_high"]) < 1.3 * T1 and float(found["t2_high"]) < 1.1 * T2
        assert is_number(found, "t1") and is_number(found, "t2")
    if kind == "logistic":
        assert [float(found[n]) for n in ("t1", "t2")] == pytest.approx([61, 16290], rel=0.01)
        by = found["t1_by"]
        assert by.sel(definition="line") < T1 < by.sel(definition="bend")
        assert not is_number(found, "t1") and time_in_words(found, "t1").endswith("no single number")


def test_a_collapse_of_displacements_is_a_definition_of_the_end() -> None:
    """Δ/D collapses from t_w = 10⁵ on, and not from 10⁴: t₂ is between, and the ramp's corner is not."""
    t = grid()
    made = run(waiting=[10.0, 100.0, 1e3, 1e4, 1e5, 3e5])
    early = (made["waiting_time"] <= T2) * (made["waiting_time"] / T2) ** -0.5
    moved = made.assign(msd=made["msd"] * (1 + early), energy=losses(descent(t, t2=3e3), t))
    found = regimes(moved)
    assert float(found["t2"]) == pytest.approx(3e3, rel=1e-6)
    assert float(found["t2_by"].sel(definition="collapse")) == pytest.approx(1e4)
    assert float(found["t2_high"]) > 1e4 and not is_number(found, "t2")
    within = regimes(moved.assign(energy=losses(descent(t, t2=5e4), t)))
    assert float(within["t2_by"].sel(definition="collapse")) == pytest.approx(5e4, rel=1e-6)
    assert np.isnan(regimes(moved["energy"])["t2_by"].sel(definition="collapse"))


def test_samples_that_do_not_agree_on_a_knee_are_heard() -> None:
    """Where the jackknife decides otherwise, the corners without the knee count as a definition, too."""
    t = grid(per_decade=8)
    rng, seen = np.random.default_rng(1), set()
    for level in (0.85, 0.9, 0.95, 1.0):
        course = np.interp(np.log(np.maximum(t, 1)), np.log([T1, 1e3, T2]), [HIGH, level, LOW])
        found = regimes(losses(course + 0.15 * rng.standard_normal((5, t.size)), t))
        agreed = found.attrs["knee_agreement"] == 1
        assert np.isnan(found["t2_by"].sel(definition="other_knee")) == agreed or np.isnan(found["t2"])
        seen.add(agreed)
    assert True in seen


def test_errors_cover_the_truth_as_often_as_they_say() -> None:
    """Noise in every time, and replicas with corners of their own; Student, 7 degrees: 65 % within 1 σ."""
    rng, t, tries = np.random.default_rng(2), grid(per_decade=8), 60
    hits = {"noise": np.zeros(2), "own": np.zeros(2)}
    moved = []
    for _ in range(tries):
        own = np.exp(0.2 * rng.standard_normal((2, 8, 1)))
        noisy = descent(t) + 0.1 * rng.standard_normal((8, t.size))
        for kind, values in (("noise", noisy), ("own", descent(t, T1 * own[0], T2 * own[1]))):
            found = regimes(losses(values, t))
            for k, (name, truth) in enumerate((("t1", T1), ("t2", T2))):
                off = np.log(float(found[name]) / truth)
                hits[kind][k] += abs(off) < float(found[f"{name}_error"] / found[name])
                moved += [off] * (kind == "noise")
    for kind, count in hits.items():
        # Binomial: σ = 0.062 for 60 tries; 4 σ, four numbers: a false alarm in 4000.
        assert np.all(np.abs(count / tries - 0.65) < 0.25), (kind, count / tries)
    # Noise of 1.5 % of the fall at 8 times a decade: 1.6 %·1.5·√(20/8) = 3.9 %, ± 0.25 % from 120 values.
    assert np.std(moved) == pytest.approx(0.039, abs=0.0125)


REASONS: dict[str, tuple[Any, str, str]] = {
    "not at its floor": (lambda t: np.where(t > 3e3, np.nan, descent(t)), "", "last level"),
    "a floor too short": (lambda t: np.where(t > 1.5e4, np.nan, descent(t)), "", "last level"),
    "a slow power": (lambda t: HIGH * (1 + t / 1000) ** -0.3, "", "last level"),
    "above the bottom": (lambda t: descent(t, low=0.1 * HIGH), "", "10% of the first"),
    "no level at first": (lambda t: np.where(t == 0, HIGH, descent(t, 0.3)), "first times", ""),
    "constant": (lambda t: 0 * t + HIGH, "does not fall by 10%", "does not fall"),
    "hardly falls": (lambda t: HIGH + 0.03 * descent(t), "does not fall", "does not fall"),
    "rises": (lambda t: HIGH + np.log1p(t), "does not fall", "does not fall"),
    "noise": (lambda t: HIGH + np.random.default_rng(0).standard_normal(t.size), "stands out", "stands out"),
    "waves": (lambda t: HIGH + np.sin(3 * np.log1p(t)), "stands out", "stands out"),
    "unknown": (lambda t: np.nan * t, "too few", "too few"),
    "diverges at once": (lambda t: np.where(t > 2, np.inf, HIGH), "too few", "too few"),
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_is_not_there_is_nan_with_a_reason(kind: str) -> None:
    values, *reasons = REASONS[kind]
    found = regimes(losses(values(grid()), grid()))
    for name, corner, reason in (("t1", T1, reasons[0]), ("t2", T2, reasons[1])):
        if reason:
            assert np.isnan([found[n] for n in (name, f"{name}_error", f"{name}_shift")]).all()
            assert reason in found[name].attrs["reason"]
        else:
            assert "reason" not in found[name].attrs
            assert float(found[name]) == pytest.approx(corner, rel=1e-6) or kind == "a slow power"
    both = reasons[0] and reasons[1]
    assert np.isnan(found["slope"]) == bool(both)
    assert np.isnan(found["level_start"]) == bool(reasons[0])
    assert np.isnan(found["level_end"]) == bool(reasons[1] and kind != "above the bottom")


def test_any_level_is_the_bottom_if_one_says_so() -> None:
    high = losses(descent(grid(), low=0.25 * HIGH), grid())
    assert float(regimes(high, bottom=0.3)["t2"]) == pytest.approx(T2, rel=1e-6)
    negative = regimes(high - HIGH - 1)
    assert float(negative["t2"]) == pytest.approx(T2, rel=1e-6), "an energy is no loss"


def test_a_spike_and_a_late_divergence_leave_the_corners() -> None:
    t = grid()
    spike = 6 * np.exp(-((np.log(np.maximum(t, 1e-9) / 3)) ** 2) / 0.3)
    late = np.where(t > 3e5, np.inf, descent(t))
    for values, tolerance in ((descent(t) + spike, 0.15), (late, 1e-6), (descent(t) * [[1], [1]], 1e-6)):
        found = regimes(losses(values, t))
        assert [float(found["t1"]), float(found["t2"])] == pytest.approx([T1, T2], rel=tolerance)


def test_times_that_crowd_do_not_count_more() -> None:
    """Lags behind every waiting time; on a curve that is no ramp a crowd would pull the corners to itself."""
    t = grid()
    crowded = np.unique(np.concatenate([t, *(w + grid() for w in (3, 2000, 50000))]))
    crowded = crowded[crowded <= 1e6]
    even, uneven = (regimes(losses(HIGH / (1 + times / 1000), times)) for times in (t, crowded))
    assert crowded.size > 3 * t.size
    for name in ("t1", "t2"):
        assert float(uneven[name]) == pytest.approx(float(even[name]), rel=0.02)


def test_shares_integrate() -> None:
    x = np.array([0.0, 1.0, 4.0, 6.0])
    assert shares(x).tolist() == [0.5, 2.0, 2.5, 1.0]
    assert shares(x) @ (2 * x + 1) == 6 * 7, "the trapezoidal rule"


def test_bad_arguments_of_regimes() -> None:
    t = grid(100)
    for name in ("least", "bottom"):
        with pytest.raises(ValueError, match=f"{name} = 1.5"):
            regimes(losses(descent(t), t), **{name: 1.5})
    with pytest.raises(ValueError, match="dimensions"):
        regimes(losses(descent(t), t).rename(time="t"))


# --- collapse ---

ALPHA, BATCH = 0.1, 32


def run(
    factors: Any = 1.0, replicas: int = 1, exponent: float = 1.0, noise: Any = None, waiting: Any = None
) -> xr.Dataset:
    """Δ = factor α² D t^exponent/B; `factors` broadcasts to (replica, waiting_time, lag)."""
    w = np.array([10.0, 100.0, 1e3, 1e4, 1e5, 1e6]) if waiting is None else np.asarray(waiting)
    lag = np.concatenate([[0.0], grid(1e5, 10)[1:]])
    d = 1e-3 * w**-0.5 if noise is None else np.asarray(noise)
    values = np.broadcast_to(factors, (replicas, w.size, lag.size))
    values = values * ALPHA**2 / BATCH * d[:, None] * lag**exponent
    about = {"learning_rate": ALPHA, "batch_size": BATCH}
    return xr.Dataset(
        {
            "msd": (("replica", "waiting_time", "lag"), values),
            "gradient_noise": (("replica", "waiting_time"), np.tile(d, (replicas, 1)), about),
        },
        {"waiting_time": w, "lag": lag, "replica": np.arange(replicas)},
    )


def test_frozen_noise_collapses_exactly() -> None:
    found = collapse(run(), t2=5e3)
    assert found["after_t2"].values.tolist() == [False] * 3 + [True] * 3
    assert found["curves"].values.tolist() == [3, 3]
    np.testing.assert_allclose(found["spread"], 0, atol=1e-12)
    np.testing.assert_allclose(found["spread_by_lag"], 0, atol=1e-12)
    # D falls by √10 from one waiting time to the next: the spread of Δ is that of (0, 1, 2) ln √10.
    np.testing.assert_allclose(found["spread_msd"], np.log(10) / 2)
    np.testing.assert_allclose(found["ratio"], 0, atol=1e-12)
    np.testing.assert_allclose(found["exponent"], 1)
    np.testing.assert_allclose(found["prefactor"], ALPHA**2 / BATCH)
    np.testing.assert_allclose(found["prefactor_ratio"], 1)
    assert 0 not in found["lag"]
    # Half a decade does not fit at the ends, nor where steps are too far apart.
    inner = found["local_exponent"].sel(lag=slice(10, 5e4))
    np.testing.assert_allclose(inner, 1)
    assert np.isnan(found["local_exponent"].sel(lag=[1, 1e5])).all()


def test_the_spread_is_that_of_the_factors() -> None:
    """A factor e^ε for each curve: s² estimates ⟨ε²⟩ without bias, for three curves as for six."""
    rng, sigma, tries = np.random.default_rng(4), 0.3, 40
    squares = []
    for _ in range(tries):
        factors = np.exp(sigma * rng.standard_normal((1, 6, 1)))
        found = collapse(run(factors), t2=5e3)
        every = collapse(run(factors), t2=0.0)
        squares.append([float(every["spread"][1]) ** 2, *(found["spread"].to_numpy() ** 2)])
        assert np.isnan(every["spread"][0]), "nothing before t₂"
        expected = np.log(factors[0, :3, 0])
        assert float(found["spread"][0]) == pytest.approx(np.std(expected, ddof=1))
    # s²/σ² is χ² over its degrees of freedom n − 1: relative error √(2/(n − 1)/tries). False alarm 2·10⁻⁶.
    for k, n in enumerate((6, 3, 3)):
        mean = np.mean(squares, axis=0)[k] / sigma**2
        assert abs(mean - 1) < SIGMAS * np.sqrt(2 / (n - 1) / tries), (n, mean)


def test_errors_and_the_spread_that_they_make() -> None:
    """Factors by replica and waiting time: the errors are those of the mean, and explain the spread."""
    rng, tries, replicas, sigma = np.random.default_rng(6), 30, 8, 0.05
    ratio, off = [], []
    for _ in range(tries):
        found = collapse(run(np.exp(sigma * rng.standard_normal((replicas, 6, 1))), replicas), t2=0.0)
        ratio.append(float((found["spread"] / found["spread_expected"])[1]) ** 2)
        off.append(float(((found["prefactor_ratio"] - 1) / found["prefactor_ratio_error"])[1]))
        error = found["msd_over_noise_error"] / found["msd_over_noise"]
        assert 0.2 < float(error.mean()) / (sigma / np.sqrt(replicas)) < 2
    # χ² of 5 degrees over 30 tries: σ = 0.115, and 0.05 from the errors' errors.
    assert abs(np.mean(ratio) - 1) < 0.6, "5 σ"
    assert 0.6 < np.std(off) < 1.7, "χ with 30 degrees: σ = 0.13·1.18 (Student, 7 degrees); 4 σ"


def test_gradient_descent_on_frozen_gradients() -> None:
    """SGD itself: P fixed gradients with zero mean, batches with replacement. Δ = α² D t/B.

    Negative control: without the square of the mean in D, or with the batch size forgotten, it fails.
    """
    rng = np.random.default_rng(8)
    examples, weights, replicas, steps = 40, 300, 16, 64
    gradients = rng.standard_normal((examples, weights)) * rng.uniform(0.1, 2, weights) + 3
    noise = np.mean(np.mean(gradients**2, 0) - np.mean(gradients, 0) ** 2)
    centred = gradients - gradients.mean(0)
    waiting, lags = np.array([0, 20, 60]), np.array([1, 2, 4, 8, 16, 32, 64])
    path = np.zeros((waiting[-1] + steps + 1, replicas, weights))
    for step in range(path.shape[0] - 1):
        batch = rng.integers(0, examples, (replicas, BATCH))
        path[step + 1] = path[step] - ALPHA * centred[batch].mean(1)
    msd = [[np.mean((path[w + t] - path[w]) ** 2, -1) for t in lags] for w in waiting]
    made = xr.Dataset(
        {
            "msd": (("waiting_time", "lag", "replica"), np.array(msd)),
            "gradient_noise": ("waiting_time", np.full(3, noise)),
        },
        {"waiting_time": waiting + 1.0, "lag": lags},
    )
    made["gradient_noise"].attrs = {"learning_rate": ALPHA, "batch_size": BATCH}
    found = collapse(made, t2=0.0).sel(regime="after")
    for name in ("prefactor_ratio", "exponent"):
        # Student, 15 degrees: 5 σ is a false alarm in 6000.
        assert abs(float(found[name]) - 1) < 5 * float(found[f"{name}_error"]) < 0.3, name
    for wrong in (np.mean(gradients**2), noise / BATCH):
        made["gradient_noise"][:] = wrong
        control = collapse(made, t2=0.0).sel(regime="after")["prefactor_ratio"]
        assert abs(float(control) - 1) > 0.5


def test_an_under_parametrised_net_collapses_at_short_lags() -> None:
    """Aging, Δ = D t/(1 + t/t_w): one curve while t is shorter than every t_w."""
    w, lag = np.geomspace(1e3, 1e5, 5), grid(1e5, 10)[1:]
    factors = np.concatenate([np.ones((5, 1)), 1 / (1 + lag / w[:, None])], axis=1)
    made = run(factors, waiting=w)
    made["energy"] = losses(2.3 - 0.1 * np.log1p(grid()), grid())
    every, short = collapse(made), collapse(made, lags=(1, 50))
    assert np.isnan(every.attrs["t2"]) and every["curves"].values.tolist() == [5, 0]
    assert np.isnan(every["spread"][1])
    assert float(short["spread"][0]) < 0.03 < 0.3 < float(every["spread"][0])
    by_lag = every["spread_by_lag"][0]
    assert float(by_lag.sel(lag=10)) < 0.01 < 1 < float(by_lag.sel(lag=1e5))
    assert float(every["local_exponent"][0].sel(lag=5e4, method="nearest")) < 0.1


def test_only_what_is_known_and_positive_counts() -> None:
    made = run(replicas=3)
    broken = made.copy(deep=True)
    broken["gradient_noise"][:, 4] = 0.0  # underflow
    broken["gradient_noise"][:, 0] *= -1
    broken["gradient_noise"][:, 5] = np.nan
    broken["msd"][:, 3] = broken["msd"][:, 3].where(broken["lag"] < 100)
    broken["msd"][0, 2, 5:] = np.nan
    with np.errstate(all="raise"):
        found = collapse(broken, t2=100.0)
    assert found["curves"].values.tolist() == [1, 2], "t_w = t₂ is not after t₂"
    assert np.isnan(found["msd_over_noise"][[0, 4, 5]]).all() and np.isnan(found["spread"][0])
    assert float(found["spread"][1]) == pytest.approx(0, abs=1e-12)
    assert np.isnan(found["spread_by_lag"][1].sel(lag=slice(100, None))).all(), "one curve is left"
    assert float(found["exponent"][0]) == pytest.approx(1), "a single curve has a power"
    empty = collapse(made.assign(msd=made["msd"] * np.nan), t2=50.0)
    assert empty["curves"].values.tolist() == [0, 0] and np.isnan(empty["exponent"]).all()


def test_replicas_or_not_and_missing_attributes() -> None:
    rng = np.random.default_rng(3)
    made = run(np.exp(0.1 * rng.standard_normal((4, 6, 1))), 4)
    one = made.assign(gradient_noise=made["gradient_noise"].isel(replica=0, drop=True))
    for name in ("spread", "spread_error", "prefactor_ratio", "prefactor_ratio_error"):
        np.testing.assert_allclose(collapse(made, t2=0.0)[name], collapse(one, t2=0.0)[name])
    shared = made.assign(msd=made["msd"].mean("replica"))
    np.testing.assert_allclose(collapse(shared, t2=0.0)["spread"], collapse(made, t2=0.0)["spread"])
    assert np.isnan(collapse(shared, t2=0.0)["spread_error"]).all()
    del one["gradient_noise"].attrs["batch_size"]
    found = collapse(one, t2=0.0)["prefactor_ratio"]
    assert np.isnan(found).all() and "batch_size" in found.attrs["reason"]


def test_a_single_replica_has_the_error_of_the_noise() -> None:
    made = run()
    made["gradient_noise_error"] = 0.1 * made["gradient_noise"]
    found = msd_over_noise(made)
    np.testing.assert_allclose(found.error, 0.1 * found.mean)
    assert float(collapse(made, t2=0.0)["spread_expected"][1]) == pytest.approx(0.1)
    assert np.isnan(msd_over_noise(run()).error).all()


def test_samples_count_once() -> None:
    """Two replicas of each of three samples: the error is that of three values."""
    factors = np.repeat(np.exp([0.1, -0.1, 0.05]), 2)[:, None, None]
    made = run(factors, 6).assign_coords(sample=("replica", np.repeat(np.arange(3), 2)))
    thirds = run(factors[::2], 3)
    for part in zip(msd_over_noise(made), msd_over_noise(thirds), strict=True):
        np.testing.assert_allclose(*part)


def test_bad_arguments_of_collapse() -> None:
    for arguments, message in (
        ({"lags": (5, 2)}, "lags = "),
        ({"decades": 0}, "decades = 0"),
    ):
        with pytest.raises(ValueError, match=message):
            collapse(run(), t2=0.0, **arguments)
    with pytest.raises(ValueError, match="no gradient_noise"):
        collapse(run().drop_vars("gradient_noise"), t2=0.0)
    with pytest.raises(ValueError, match=r"dimensions .* of msd: needed: lag, waiting_time"):
        collapse(run().rename(lag="t"), t2=0.0)
