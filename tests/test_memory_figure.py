"""A sweep over the start is drawn as what late times remember of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from test_plotting import assert_inside_and_apart

import langevin
from langevin import plotting
from langevin.plotting.memory import is_of_starts
from langevin.systems.cugliandolo_kurchan import theory
from langevin.systems.cugliandolo_kurchan.covariance import Covariance

MIXED = Covariance.parse({3: 1.0, 4: 1.0})
STARTS = (0.85, 1.2, float("inf"))


def swept(path: Path, starts: tuple[float, ...], **dynamics: Any) -> xr.Dataset:
    return langevin.run(
        {
            "title": "3 + 4",
            "sweep": {"dynamics.initial_temperature": list(starts)},
            "system": {"name": "cugliandolo_kurchan", "p": {"3": 1.0, "4": 1.0}},
            "dynamics": {"temperature": 0.0, "t_max": 40.0, "tolerance": 1e-4} | dynamics,
            "record": {
                "times": {"start": 0.1, "per_decade": 10},
                "waiting_times": [0.0, 10.0],
                "lags": {"start": 0.1, "per_decade": 10},
            },
            "output": {"path": str(path), "figure": False},
        },
        executor="in_process",
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[float, xr.Dataset]:
    """Return sweeps over T_i at T = 0 and T = 0.4."""
    folder = tmp_path_factory.mktemp("starts")
    return {
        0.0: swept(folder / "descent.nc", STARTS, temperature=0.0),
        0.4: swept(folder / "quench.nc", STARTS[1:], temperature=0.4),
    }


def test_files_state_what_a_quench_that_forgets_would_end_with(results: dict[float, xr.Dataset]) -> None:
    for temperature, dataset in results.items():
        about = dataset["energy"].attrs
        assert about["threshold"] == theory.asymptotic_energy(MIXED, temperature)
        assert about["dynamic_temperature"] == theory.dynamic_temperature(MIXED)
        # Nobody knows whether it forgets: no limit is stated.
        assert "asymptote" not in about


def test_limits_stand_beside_the_threshold(results: dict[float, xr.Dataset]) -> None:
    drawn = plotting.figure(results[0.0])
    energies, correlations, limits, kept, exponents = drawn.axes
    assert [ax.get_title(loc="left") for ax in drawn.axes] == [f"({letter})" for letter in "abcde"]
    # Three curves, and those parts that lie below the threshold.
    late = [line for line in energies.get_lines() if line.get_ls() == "-"]
    assert len(late) == 3
    threshold = theory.threshold_energy(MIXED)
    own = results[0.0]["energy"].isel(replica=0, initial_temperature=-1)
    np.testing.assert_allclose(late[-1].get_ydata(), own.values[1:] - threshold, rtol=1e-12)
    assert any(np.allclose(line.get_ydata(), threshold) for line in limits.get_lines())
    # 1/T_i, with ∞ at the left end.
    places = sorted(float(c.lines[0].get_xdata()[0]) for ax in (limits, kept) for c in ax.containers)
    assert places[0] == 0.0
    assert set(places) <= {0.0, *(1 / t for t in STARTS)}
    assert len(correlations.get_lines()) == 3
    assert "exponent" in exponents.get_ylabel()
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["0.85", "1.2", "∞"]


def test_at_a_temperature_the_ratio_stands_beside_them(results: dict[float, xr.Dataset]) -> None:
    drawn = plotting.figure(results[0.4])
    assert len(drawn.axes) == 6
    ratios = drawn.axes[-1]
    shown = [float(line.get_ydata()[0]) for line in ratios.get_lines() if line.get_marker() == "o"]
    assert len(shown) == 2
    # Aging: between an effective temperature of infinity and the theorem.
    assert all(0 < x < 1 for x in shown)


def test_twenty_starts_stay_inside_and_apart(results: dict[float, xr.Dataset]) -> None:
    starts = [*np.linspace(0.81, 4, 19).tolist(), float("inf")]
    many = results[0.4].isel(initial_temperature=[0] * 20).assign_coords(initial_temperature=starts)
    drawn = plotting.figure(many)
    assert len(drawn.axes) == 6
    assert_inside_and_apart(drawn)


def test_other_sweeps_are_drawn_as_before(results: dict[float, xr.Dataset]) -> None:
    dataset = results[0.0]
    assert is_of_starts(dataset)
    assert not is_of_starts(dataset.isel(initial_temperature=[0]))
    assert not is_of_starts(dataset.drop_vars("energy_error"))
    # Less than two and a half decades.
    assert not is_of_starts(dataset.sel(time=slice(1.0, None)))
    assert len(plotting.figure(dataset, "msd").axes) == 2
