"""A sweep over temperature cycles is drawn as what begins anew, and what is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from test_plotting import assert_inside_and_apart

import langevin
from langevin import plotting
from langevin.plotting.registry import chosen

LEFT, THERE, END = 1.0, 2.0, 4.0


def cycles(seconds: list[float], replicas: int = 6, waiting: list[float] | None = None, **given: Any) -> Any:
    """Return oscillators at T = 1 that visit other temperatures."""
    protocol = {"protocol": "cycle", "first": 1.0, "second": 1.0, "first_time": LEFT, "second_time": THERE}
    dynamics = {"temperature": protocol | given, "initial_temperature": 4.0, "dt": 0.01, "t_max": END}
    return langevin.run(
        {
            "title": "oscillators in cycles of the temperature",
            "sweep": {"dynamics.temperature.second": seconds},
            "system": {"name": "harmonic", "n": 50},
            "dynamics": dynamics,
            "ensemble": {"replicas": replicas},
            "record": {
                "times": {"start": 0.01, "per_decade": 20},
                "waiting_times": [LEFT, LEFT + THERE] if waiting is None else waiting,
                "lags": {"start": 0.01, "per_decade": 5},
            },
        },
        executor="in_process",
    )


@pytest.fixture(scope="module")
def springs() -> xr.Dataset:
    dataset: xr.Dataset = cycles([1.0, 0.5, 0.2])
    return dataset


def test_four_panels(springs: xr.Dataset) -> None:
    assert chosen(springs, None).name == "cycle"
    drawn = plotting.figure(springs)
    energies, second, back, moved = drawn.axes[:4]
    assert [ax.get_title(loc="left")[:3] for ax in drawn.axes[:4]] == ["(a)", "(b)", "(c)", "(d)"]
    assert energies.get_xscale() == "linear"
    assert (second.get_yscale(), moved.get_yscale()) == ("log", "log")
    # Both courses of the member that stays, and a curve of each of the others.
    for ax in (back, moved):
        assert [line.get_ls() for line in ax.get_lines()] == ["--", "-", "-", "-"]
        assert [line.get_color() for line in ax.get_lines()[:2]] == ["#000000"] * 2
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["1", "0.5", "0.2"]
    # The strip of T(t) has its axis in the panel of the energies.
    drawn.axes[4].remove()
    assert_inside_and_apart(drawn)


def test_displacements_are_those_of_both_waiting_times(springs: xr.Dataset) -> None:
    moved = plotting.figure(springs).axes[3]
    stays = springs["msd"].sel(second=1.0).mean("replica")
    for line, waiting in zip(moved.get_lines()[:2], (LEFT, LEFT + THERE), strict=True):
        known = stays.sel(waiting_time=waiting, lag=line.get_xdata())
        np.testing.assert_allclose(line.get_ydata(), known, rtol=1e-12)
    assert float(moved.get_lines()[0].get_xdata()[-1]) == pytest.approx(END - LEFT - THERE)
    cold = springs["msd"].sel(second=0.2, waiting_time=LEFT + THERE).mean("replica")
    line = moved.get_lines()[-1]
    np.testing.assert_allclose(line.get_ydata(), cold.sel(lag=line.get_xdata()), rtol=1e-12)


def with_law(dataset: xr.Dataset) -> xr.Dataset:
    """Return a sweep of one replica with energies of a known law in the time since the last jump."""
    made = dataset.copy(deep=True)
    t = made["time"]
    stays = -np.log(1 + t)
    # Measurements at a jump are of the stage before it.
    cold = xr.where(
        t <= LEFT, stays, xr.where(t <= LEFT + THERE, -2 - (t - LEFT), -5 - 3 * (t - LEFT - THERE))
    )
    for second, law in ((1.0, stays), (0.5, cold)):
        made["energy"].loc[{"second": second}] = law.where(made["energy"].sel(second=second).notnull())
    return made


def test_a_numerical_solution_is_drawn_as_it_is() -> None:
    drawn = plotting.figure(with_law(cycles([1.0, 0.5], replicas=1)))
    _, second, back, _ = drawn.axes[:4]
    kept, counted, cold = back.get_lines()
    tau = kept.get_xdata()
    # The member that stays, from both ends of stages on; between its times it is interpolated.
    np.testing.assert_allclose(kept.get_ydata(), -np.log(1 + LEFT + tau), atol=0.005)
    np.testing.assert_allclose(counted.get_ydata(), -np.log(1 + LEFT + THERE + tau), atol=0.005)
    np.testing.assert_allclose(cold.get_ydata(), -5 - 3 * cold.get_xdata(), rtol=0.01)
    # Nothing stands before the first measurement after the return.
    assert cold.get_xdata().min() >= 0.01 * (1 - 1e-9)
    anew = second.get_lines()[1]
    np.testing.assert_allclose(anew.get_ydata(), THERE - anew.get_xdata(), rtol=0.02, atol=0.02)


def test_replicas_are_averaged_over_neighbouring_times(springs: xr.Dataset) -> None:
    back = plotting.figure(springs).axes[2]
    cold = springs["energy"].sel(second=0.2)
    tau = cold["time"].to_numpy() - LEFT - THERE
    for at, height in zip(*back.get_lines()[-1].get_data(), strict=True):
        near = (tau > 1e-9) & (tau >= at / 1.25 * (1 - 1e-9)) & (tau <= at * 1.25 * (1 + 1e-9))
        values = cold.isel(time=np.flatnonzero(near)).dropna("time")
        assert height == pytest.approx(float(values.mean()), rel=1e-9)


def lost(springs: xr.Dataset, second: float, since: float = 0.0) -> xr.Dataset:
    """Return a sweep of which one member has no energies from some time on."""
    made = springs.copy(deep=True)
    own = made["energy"].sel(second=second)
    made["energy"].loc[{"second": second}] = own.where(own["time"] < since)
    return made


def test_a_member_without_energies_is_left_out(springs: xr.Dataset) -> None:
    drawn = plotting.figure(lost(springs, 0.2))
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["1", "0.5"]
    assert len(drawn.axes[2].get_lines()) == 3
    # Without one that stays there is nothing to compare with.
    for nothing in (lost(springs, 1.0), lost(lost(lost(springs, 1.0), 0.5), 0.2)):
        assert chosen(nothing, None).name == "members of a sweep"
        plotting.figure(nothing)


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("since", [LEFT / 2, LEFT + THERE / 2])
def test_a_member_that_has_stopped_is_drawn_as_far_as_it_came(replicas: int, since: float) -> None:
    whole = cycles([1.0, 0.5], replicas)
    kept, counted, cold = plotting.figure(lost(whole, 0.5, since)).axes[2].get_lines()
    assert (kept.get_xdata().size > 0, counted.get_xdata().size > 0) == (True, True)
    assert cold.get_xdata().size == 0
    kept, counted, cold = plotting.figure(lost(whole, 1.0, since)).axes[2].get_lines()
    assert (kept.get_xdata().size > 0, counted.get_xdata().size > 0) == (since > LEFT, False)
    assert cold.get_xdata().size > 0


def test_without_displacements_there_are_three_panels() -> None:
    drawn = plotting.figure(cycles([1.0, 0.5], waiting=[LEFT]))
    assert [ax.get_title(loc="left")[:3] for ax in drawn.axes[:3]] == ["(a)", "(b)", "(c)"]
    assert not any("displacement" in ax.get_ylabel() for ax in drawn.axes)
    drawn.axes[3].remove()
    assert_inside_and_apart(drawn)


@pytest.mark.parametrize(
    ("seconds", "given"),
    [
        # None stays; several cycles; no return.
        ([0.5, 0.2], {}),
        ([1.0, 0.5], {"cycles": 2, "second_time": 0.5, "first_time": 0.5}),
        ([1.0, 0.5], {"second_time": 3.0}),
    ],
)
def test_other_sweeps_are_drawn_as_before(seconds: list[float], given: dict[str, Any]) -> None:
    dataset = cycles(seconds, 2, **given)
    assert chosen(dataset, None).name == "members of a sweep"
    plotting.figure(dataset)
