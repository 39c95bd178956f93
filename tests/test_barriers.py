"""Barriers of noisy mean losses: bias of a maximum, upper limits at zero, means over curves."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from langevin.observables.landscape import barriers
from langevin.observables.statistics import average
from langevin.results import summary

POSITIONS = 61
T = np.linspace(0, 1, POSITIONS)


def made_up(profile: np.ndarray, examples: int, seed: int, correlation: float = 0.1) -> np.ndarray:
    """Return losses (T, n) of mean `profile` and deviation 1; neighbouring positions share their noise."""
    covariance = np.exp(-(((T[:, None] - T) / correlation) ** 2) / 2) + 1e-9 * np.eye(POSITIONS)
    noise = np.linalg.cholesky(covariance) @ np.random.default_rng(seed).standard_normal(
        (POSITIONS, examples)
    )
    return profile[:, None] + noise


def of(losses: np.ndarray, seed: int = 0) -> barriers.Barrier:
    return barriers.of_losses(losses, np.random.default_rng(seed), 200)


def test_a_clear_barrier_has_the_error_of_a_difference() -> None:
    """Losses 0 at the ends, noise at the top alone: 400 examples of deviation 1, resamples give it to 5 %."""
    losses = np.zeros((5, 400))
    losses[0] -= 1
    losses[2] += 3 + np.random.default_rng(1).standard_normal(400)
    found = of(losses)
    assert found.error == pytest.approx(losses[2].std() / 20, rel=0.15)
    assert found.bias == pytest.approx(0, abs=0.01)
    # The end is 0: the parabola adds nothing at a point whose neighbours are alike.
    assert found.value == pytest.approx(losses[2].mean(), abs=0.01)
    assert found.high - found.low == pytest.approx(4 * found.error, rel=0.2)


def test_the_bias_of_equally_high_positions_is_reduced() -> None:
    """100 flat curves: the plain maximum is too high by 0.9 errors, the value by much less."""
    found = [of(made_up(np.zeros(POSITIONS), 100, seed)) for seed in range(100)]
    plain = np.array([f.value + f.bias for f in found]) * 10
    corrected = np.array([f.value for f in found]) * 10
    assert plain.mean() > 0.75
    assert corrected.mean() < 0.65 * plain.mean()
    assert (corrected < 0).any() and all(f.low >= 0 for f in found)


def test_a_maximum_at_an_end_has_an_upper_limit() -> None:
    """The loss falls by 0.01 from end to end, the noise is 1/√400: a rise of 0.1 may have been missed."""
    losses = made_up(-0.01 * T, 400, 3, correlation=0.5)
    losses[1:] -= np.maximum(losses.mean(1)[1:] - losses.mean(1)[0] + 0.001, 0)[:, None]
    assert barriers.heights(losses.mean(1)[None])[0][0] == 0
    found = of(losses)
    assert found.low == 0 and 0.005 < found.high < 0.2 and 0 < found.error < found.high


def test_which_end_is_the_higher_is_resampled() -> None:
    """Ends of equal loss, measured apart: the higher of two is too high by σ/√π, and the barrier too low."""
    rng, runs = np.random.default_rng(2), 200
    found = []
    for k in range(runs):
        losses = np.zeros((5, 100))
        losses[2] = 3
        losses[0], losses[4] = rng.standard_normal((2, 100))
        found.append(of(losses, k))
    plain, value = (np.array([f.value + f.bias * b for f in found]) * 10 for b in (1, 0))
    # In errors of one end; 200 runs know the mean to 0.06.
    assert plain.mean() - 30 == pytest.approx(-1 / np.sqrt(np.pi), abs=0.2)
    assert value.mean() > plain.mean() + 0.15


def test_a_single_example_has_no_error() -> None:
    found = of(np.arange(5.0)[::-1, None] ** 2)
    assert found.value == 0 and np.isnan([found.error, found.low, found.high]).all()


def dataset(landscape: float, common: float, own: float, curves: int, seed: int) -> xr.Dataset:
    """Return barriers of curves: spread of the landscape, error of the common examples and of one's own."""
    rng = np.random.default_rng(seed)
    shared = common * rng.standard_normal()
    values = 5 + landscape * rng.standard_normal(curves) + shared + own * rng.standard_normal(curves)
    again = values + common * rng.standard_normal(300)[:, None] + own * rng.standard_normal((300, curves))
    return xr.Dataset(
        {
            "barrier": ("replica", values),
            "barrier_bias": ("replica", np.zeros(curves)),
            "barrier_resampled": (("replica", "resample"), again.T),
        }
    )


@pytest.mark.parametrize(("landscape", "common", "own"), [(0.1, 1.0, 0.3), (1.0, 0.0, 0.3)])
def test_the_error_of_a_mean_holds_that_of_common_examples(
    landscape: float, common: float, own: float
) -> None:
    """150 sets of four curves: z has variance about that of Student's t; the spread alone misses `common`."""
    made = [dataset(landscape, common, own, 4, seed) for seed in range(150)]
    found = [barriers.mean_barrier(one) for one in made]
    inside = np.mean([float(f.low) <= 5 <= float(f.high) for f in found])
    # 95 % to 3 σ of 150 draws, one-sided: a false alarm in 700 seeds.
    assert inside > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 150)
    spread = [average(one["barrier"]) for one in made]
    plain = np.mean([abs(float(s.mean) - 5) <= 3.18 * float(s.error) for s in spread])
    if common > landscape:
        assert plain < 0.7


def line(values: list[float], **more: object) -> str:
    ds = xr.Dataset({"barrier": ("replica", np.array(values))})
    for name, number in more.items():
        ds[name] = ("replica", np.full(len(values), number))
    ds["curve_energy"] = (("replica", "position"), np.zeros((len(values), 3)), {"examples": 1000})
    return barriers.barrier_in_words(ds)


def test_what_is_said_of_a_barrier() -> None:
    assert line([0.0, 0.0, 0.0, 0.0]) == "0: an end is the highest of all 4 curves"
    assert line([1.0, 1.1]).startswith("1.05 (too few samples: 2 of at least")
    assert line([1.0, 1.1, 1.05, 0.9, 1.0, 1.02, 1.01, 0.98, 1.2, 0.95]).startswith("1.021 ± 0.026")
    assert line([0.0] * 9 + [1.0]).startswith("none is seen; below 0.3")
    own = {"barrier_error": 0.1, "barrier_low": 0.8, "barrier_high": 1.2}
    assert line([1.0], **own) == "1 ± 0.1"
    assert (
        line([-0.01], **(own | {"barrier_low": 0.0, "barrier_high": 0.2})) == "none is seen; below 0.2 (95 %)"
    )
    assert line([1.0], barrier_error=0.1) == "1 ± 0.1"
    assert line([1.0]) == "1"


def test_the_summary_says_it() -> None:
    ds = xr.Dataset({"barrier": ("replica", np.zeros(4)), "shortest_barrier": ("replica", np.zeros(4))})
    assert "barrier along the curve: 0: an end is the highest of all 4 curves" in summary.results(ds)
