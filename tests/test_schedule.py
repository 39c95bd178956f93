"""Grids, and the union of times that a run stops at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langevin.core.schedule import Grid, Schedule

TIMES = Grid(per_decade=10.0)


def test_logarithmic_grid_ends_on_its_stop() -> None:
    points = Grid.parse({"start": 1.0, "stop": 1000.0, "per_decade": 2}).points(0.1, 5.0)
    np.testing.assert_allclose(points, 10 ** np.arange(0, 3.25, 0.5), rtol=1e-14)


@pytest.mark.parametrize(
    ("given_", "word"),
    [
        ("soon", "allowed: a list"),
        (3.0, "allowed: a list"),
        ([1.0, -2.0], "≥ 0"),
        ([1.0, True], "≥ 0"),
        ([float("inf")], "finite"),
        ({"start": 1.0}, "per_decade is missing"),
        ({"per_decade": 0}, "per_decade = 0"),
        ({"per_decade": 2, "strat": 1.0}, "'strat'"),
        ({"per_decade": 2, "start": 5.0, "stop": 1.0}, "before start"),
    ],
)
def test_bad_grids_say_what_is_allowed(given_: object, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Grid.parse(given_)


@given(
    dt=st.sampled_from([0.02, 0.05, 0.1, 1.0, None]),
    t_max=st.floats(5, 200),
    waiting=st.lists(st.floats(0, 50), max_size=5),
    per_decade=st.integers(1, 15),
)
def test_every_reachable_pair_is_met_once(
    dt: float | None, t_max: float, waiting: list[float], per_decade: int
) -> None:
    plan = Schedule.build(TIMES, Grid(tuple(waiting)), Grid(per_decade=float(per_decade)), t_max, dt)
    times = np.array([stop.time for stop in plan.stops])
    assert times[0] == plan.times[0] == 0 and times[-1] == plan.times[-1]
    assert (np.diff(times) > 0).all()
    if dt is not None:
        np.testing.assert_allclose(times / dt, np.round(times / dt), atol=1e-9)
    met = {pair: stop.time for stop in plan.stops for pair in stop.pairs}
    assert len(met) == sum(len(stop.pairs) for stop in plan.stops)
    for i, w in enumerate(plan.waiting_times):
        for j, lag in enumerate(plan.lags):
            # Within rounding of the end a pair may be met or not.
            if w + lag <= plan.times[-1] * (1 - 1e-9):
                assert met[i, j] == pytest.approx(w + lag, rel=1e-9)
            elif w + lag > plan.times[-1] * (1 + 1e-9):
                assert (i, j) not in met
    begun = {stop.waiting: stop.time for stop in plan.stops if stop.waiting is not None}
    assert begun == pytest.approx(dict(enumerate(plan.waiting_times)))


def test_since_continues_where_a_checkpoint_stood() -> None:
    plan = Schedule.build(TIMES, Grid((1.0,)), Grid(per_decade=5.0), 10.0, 0.1)
    assert [stop.index for stop in plan.since(len(plan) - 2)] == [len(plan) - 2, len(plan) - 1]
