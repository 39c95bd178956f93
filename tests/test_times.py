"""Times that differ by a short lag stay two, those that are the same are one, none changes in silence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from langevin.config import run_files
from langevin.core import times as moments
from langevin.core.capabilities import ComparesAtLag
from langevin.core.noise import Noise
from langevin.core.probe import Run
from langevin.core.schedule import Grid, Schedule
from langevin.errors import ConfigError, UserError
from langevin.observables import aging, pairs, two_time
from langevin.observables.fits import curves
from langevin.results import configurations

NONE = Grid()


def settings(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "system": {"name": "harmonic", "n": 4},
        "dynamics": {"temperature": 0.5, "dt": 0.1, "t_max": 2.0},
        "output": {"figure": False},
    }
    for dotted, value in changes.items():
        section, key = dotted.split("__")
        given.setdefault(section, {})[key] = value
    return given


def ck(**changes: Any) -> dict[str, Any]:
    own = {"system__name": "cugliandolo_kurchan", "dynamics__t_max": 1.1e6, **changes}
    given = settings(**own)
    given["system"] = {"name": "cugliandolo_kurchan", "p": 3}
    del given["dynamics"]["dt"]
    return given


def faults(given: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        run_files.load(given)
    assert all("\n" not in fault for fault in caught.value.faults)
    return caught.value.faults


def stops(plan: Schedule) -> list[float]:
    return [stop.time for stop in plan.stops]


# Where any time can be reached.


def test_lags_are_kept_beside_late_waiting_times() -> None:
    lags = Grid(start=1e-6, stop=1e-3, per_decade=10.0)
    plan = Schedule.build(NONE, Grid((1.0, 1e3, 1e6)), lags, 1.1e6, None)
    met = {pair: stop for stop in plan.stops for pair in stop.pairs}
    assert len(met) == 3 * plan.lags.size
    for (i, j), stop in met.items():
        w, t = plan.waiting_times[i], plan.lags[j]
        assert abs(stop.time - (w + t)) <= 2 * math.ulp(w + t)
        # Two different stops: the pair is due after its waiting time has begun.
        assert stop.time > w
        assert stop.waiting is None
    assert len({met[2, j].time for j in range(plan.lags.size)}) == plan.lags.size


def test_two_ways_to_the_same_time_are_one_stop() -> None:
    plan = Schedule.build(Grid((0.3, 0.7)), Grid((0.1, 0.2, 0.3)), Grid((0.1, 0.2, 0.4)), 0.7, None)
    # 0.1 + 0.2, 0.2 + 0.1, 0.3; 0.1 + 0.4 and 0.3 + 0.2; 0.3 + 0.4 = 0.7000000000000001 is the end.
    assert stops(plan) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert plan.times.tolist() == [0.0, 0.3, 0.7]
    assert sorted(plan.stops[3].pairs) == [(0, 1), (1, 0)] and plan.stops[3].waiting == 2
    assert sorted(plan.stops[-1].pairs) == [(2, 2)]
    both = Schedule.build(NONE, Grid((1.0, 10.0)), Grid((1.0, 10.0)), 30.0, None)
    assert stops(both) == [0.0, 1.0, 2.0, 10.0, 11.0, 20.0, 30.0]
    assert both.times.tolist() == [0.0, 30.0]


def test_times_of_a_list_are_taken_as_they_are() -> None:
    written = (1e6, 1000000.0000001, 1000000.0000002)
    plan = Schedule.build(Grid(written), Grid(written), Grid((0.1 + 0.2,)), 1e6 + 1, None)
    assert tuple(plan.waiting_times) == written
    assert set(written) < set(plan.times)
    assert plan.lags.tolist() == [0.3]


@given(
    w=st.floats(0, 1e6),
    lags=st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=6),
    other=st.floats(0, 10),
)
def test_every_lag_that_is_told_from_nothing_is_met(w: float, lags: list[float], other: float) -> None:
    plan = Schedule.build(NONE, Grid((w, other)), Grid(tuple(lags)), 2e6, None)
    met = {pair: stop.time for stop in plan.stops for pair in stop.pairs}
    for i, start in enumerate(plan.waiting_times):
        for j, t in enumerate(plan.lags):
            if t >= moments.LEAST_LAG * np.spacing(start):
                assert abs(met[i, j] - start - t) <= 8 * math.ulp(start + t)
                assert met[i, j] > start
    assert (np.diff(plan.times) > 0).all()


def test_the_lag_that_was_asked_for_reaches_the_system() -> None:
    class Clock(ComparesAtLag):
        """Notes what it is asked."""

        def __init__(self) -> None:
            self.asked: list[float] = []

        def reference(self, state: float) -> float:
            return state

        def compare_at(self, reference: float, state: float, lag: float) -> dict[str, Any]:
            self.asked.append(lag)
            return {}

    from langevin.core.ensemble import Ensemble
    from langevin.record.recorder import Recorder
    from langevin.record.two_time import TwoTime

    plan, ensemble = (
        Schedule.build(NONE, Grid((1e6,)), Grid((1e-9, 3e-7)), 1.1e6, None),
        Ensemble.regular(1, 1, 0),
    )
    system, noise = Clock(), Noise(0, ensemble.replica)
    run = Run(system, ensemble, plan, [TwoTime({})], Recorder(plan, ensemble), noise, 0.0)  # type: ignore[arg-type]
    for stop in plan.stops:
        run.state = stop.time
        run.measure(stop)
    assert system.asked == [1e-9, 3e-7]


@pytest.mark.parametrize(
    "waiting, lags, words",
    [
        ([1e6], [1e-10], ["record.lags: 1e-10", "record.waiting_times: 1000000", "lags ≥ 1.9e-09"]),
        ([1.0, 1e6], {"start": 1e-12, "per_decade": 5}, ["1e-12", "1000000"]),
    ],
)
def test_a_lag_that_vanishes_beside_its_waiting_time_is_refused(
    waiting: Any, lags: Any, words: list[str]
) -> None:
    (line,) = faults(ck(record__waiting_times=waiting, record__lags=lags))
    for word in words:
        assert word in line


def test_a_lag_that_leads_beyond_the_end_is_no_such_fault() -> None:
    run_files.load(ck(record__waiting_times=[0.0, 1.1e6], record__lags=[1e-12]))
    plan = Schedule.build(NONE, Grid((0.0, 1.1e6)), Grid((1e-12,)), 1.1e6, None)
    assert [pair for stop in plan.stops for pair in stop.pairs] == [(0, 0)]


# Where time is counted in steps.


def test_steps_are_exact_however_many() -> None:
    last = 10**13
    plan = Schedule.build(Grid((float(last - 1), float(last - 2))), NONE, Grid((1.0,)), float(last), 1.0)
    assert plan.times.tolist() == [0.0, last - 2, last - 1, last]
    third = Schedule.build(NONE, Grid((0.0, 1 / 3, 2 / 3)), Grid((1 / 3,)), 1.0, 1 / 3)
    assert [len(stop.pairs) for stop in third.stops] == [0, 1, 1, 1]


def test_half_a_step_is_rounded_one_way() -> None:
    assert [moments.whole(k + 0.5) for k in range(6)] == [1, 2, 3, 4, 5, 6]
    # 0.35/0.1 = 3.4999999999999996, and 0.25/0.1 = 2.5.
    assert [moments.whole(t / 0.1) for t in (0.25, 0.35, 0.45)] == [3, 4, 5]
    found = [moments.whole(t / 0.1) for t in np.arange(0, 500) / 1000]
    assert found == sorted(found)
    assert moments.whole(0.4999) == 0 and moments.whole(2.49) == 2


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"record__lags": [0.25, 0.35]}, "record.lags: 0.25 (and 1 more) is between two steps"),
        ({"record__lags": [0.1, 0.35]}, "nearest: 0.3 and 0.4"),
        ({"record__lags": [0.07]}, "nearest: 0.1"),
        ({"record__waiting_times": [0.0, 0.12]}, "nearest: 0.1 and 0.2"),
        ({"record__times": [1.99]}, "record.times: 1.99 is between two steps (dynamics.dt = 0.1)"),
        ({"record__snapshots": [0.31]}, "record.snapshots: 0.31 is between two steps"),
        ({"record__hessian": [1.55]}, "record.hessian: 1.55 is between two steps"),
        ({"record__lags": {"start": 0.15, "per_decade": 3}}, "record.lags: 0.15 is between two steps"),
        ({"dynamics__t_max": 2.05}, "t_max = 2.05: is between two steps (dynamics.dt = 0.1); nearest: 2 and"),
    ],
)  # fmt: skip
def test_a_time_between_two_steps_is_refused(changes: dict[str, Any], line: str) -> None:
    (found,) = faults(settings(**changes))
    assert line in found


def test_steps_of_networks_are_whole_too() -> None:
    given = settings(dynamics__t_max=100.5, data__name="synthetic")
    given["system"] = {"name": "mlp"}
    del given["dynamics"]["dt"], given["dynamics"]["temperature"]
    (line,) = faults(given)
    assert "dynamics.t_max = 100.5: is between two steps" in line and "nearest: 100 and 101" in line


def test_rounding_of_decimals_is_no_such_fault() -> None:
    for dt in (0.1, 0.02, 0.005, 1 / 3, 0.0125, 1e-4):
        whole = [k * dt for k in (1, 3, 7, 19)]
        for times in (whole, [float(f"{t:.12g}") for t in whole], np.float32(whole).tolist()):
            # What single precision holds may lie beyond the end by its rounding.
            run_files.load(settings(dynamics__dt=dt, dynamics__t_max=float(20 * dt), record__lags=times))
    plan = Schedule.build(Grid(tuple(np.arange(1, 11) * 0.1)), NONE, NONE, 1.0, 0.1)
    assert plan.times.tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


# What was stored.


def dense(order: slice = slice(None)) -> xr.DataArray:
    """Return configurations 0, 1, 2, 3 at times that lie close together, late."""
    t = 1e6 + np.array([0.0, 1e-4, 2e-4, 4e-4])
    x = np.arange(4.0)[:, None, None] * np.ones((1, 1, 3))
    return xr.DataArray(x, {"time": t, "replica": [0]}, ("time", "replica", "dof"))[order]


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_pairs_of_close_times_are_told_apart(order: slice) -> None:
    found = two_time.msd(dense(order), [1e6, 1e6 + 1e-4], [1e-4, 2e-4, 3e-4, 4e-4]).to_numpy()[0]
    np.testing.assert_array_equal(found, [[1, 4, np.nan, 9], [1, np.nan, 4, np.nan]])


def test_a_time_that_is_not_there_is_not_found() -> None:
    t = dense()["time"].to_numpy()
    assert [pairs.index_of(t, 1e6 + lag) for lag in (0.0, 1e-4, 1.5e-4, 3e-4, 4e-4)] == [
        0,
        1,
        None,
        None,
        3,
    ]
    assert pairs.index_of(np.array([1.0, 2.0]), 2.0 + 1e-10) == 1
    assert pairs.index_of(np.array([1.0, 2.0]), 2.001) is None
    assert pairs.index_of(np.array([]), 1.0) is None


def test_times_that_stand_there_twice_are_refused() -> None:
    twice = xr.concat([dense(), dense()], "time")
    with pytest.raises(ValueError, match=r"time = 1000000\.0 stands there twice"):
        two_time.msd(twice, [1e6], [1e-4])
    unknown = dense().assign_coords(time=[0.0, 1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match="finite"):
        two_time.msd(unknown, [0.0], [1.0])


def test_a_stored_configuration_is_that_of_its_time() -> None:
    dataset = dense().to_dataset(name="configuration")
    x, t = configurations.configuration(dataset, 1000000.0001)
    assert (x[0, 0], t) == (1.0, 1e6 + 1e-4)
    with pytest.raises(UserError, match=r"time = 1000000\.0003: .*stored: 1000000, 1000000\.0001"):
        configurations.configuration(dataset, 1000000.0003)


def test_common_times_of_two_curves_are_the_same_times() -> None:
    late = 1e6 + np.array([0.0, 1e-4, 2e-4])
    for other, known in ((late, [0, 1, 2]), (late + 5e-5, []), (late[1:], [1, 2])):
        assert curves.matching(late, other)[0].tolist() == known
    assert curves.matching(np.array([1.0, 2.0]), np.array([1.0 + 1e-10, 2.5]))[0].tolist() == [0]
    np.testing.assert_allclose(pairs.slack(np.array([1.0, 2.0])), 1e-9, rtol=1)


def test_the_order_of_lags_does_not_matter() -> None:
    lag, waiting = np.geomspace(0.01, 100, 41), np.geomspace(1, 100, 7)
    values = 1 - np.exp(-lag[None, None, :] / waiting[None, :, None] ** 0.7)
    msd = xr.DataArray(
        values, {"replica": [0], "waiting_time": waiting, "lag": lag}, ("replica", "waiting_time", "lag")
    )
    known = aging.aging_exponent(msd, 0.3, accuracy=0.0)
    found = aging.aging_exponent(msd[..., ::-1], 0.3, accuracy=0.0)
    assert float(found["exponent"]) == float(known["exponent"]) == pytest.approx(0.7, abs=0.01)
    with pytest.raises(ValueError, match=r"lag = 0\.01 stands there twice"):
        aging.aging_exponent(xr.concat([msd, msd], "lag"), 0.3)
