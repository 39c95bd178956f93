"""Files of one or two samples: every figure is drawn, without bands that do not hold, and says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import langevin
from langevin import plotting
from langevin.analysis import compare
from langevin.plotting.temperature import has_temperature
from langevin.results import summary


def oscillators(replicas: int, samples: int) -> xr.Dataset:
    return langevin.run(
        {
            "system": {"name": "harmonic", "n": 20},
            "dynamics": {"temperature": 1.0, "dt": 0.05, "t_max": 8.0},
            "ensemble": {"replicas": replicas, "samples": samples},
            "record": {
                "waiting_times": [0.5, 1, 2, 3, 4, 5],
                "lags": {"start": 0.1, "per_decade": 8},
                "response": True,
            },
        }
    )


def words(figure: Any) -> str:
    parts = [
        t.get_text() for ax in figure.axes for t in (ax.get_legend().get_texts() if ax.get_legend() else [])
    ]
    titles = [legend.get_title().get_text() for legend in figure.legends]
    # Lines are broken where a panel is narrow.
    return " ".join(" ".join(parts + titles).split())


@pytest.mark.parametrize(("replicas", "samples"), [(1, 1), (2, 2), (4, 2)])
def test_the_plot_of_responses_is_drawn(replicas: int, samples: int) -> None:
    made = plotting.figure(oscillators(replicas, samples), "fdt")
    assert ("bands: too few samples" in words(made)) == (replicas > 1)


def test_fluctuations_without_an_error_are_drawn_without_one() -> None:
    made = plotting.figure(oscillators(4, 2), "chi4")
    assert "no bands: too few samples: 2 of at least 32" in words(made)
    assert np.isfinite(made.axes[0].get_lines()[0].get_ydata()).any()
    assert not made.axes[0].collections


def test_a_response_that_has_no_pair_yet_has_no_figure() -> None:
    dims = ("replica", "waiting_time", "lag")
    empty = (dims, np.full((2, 1, 3), np.nan))
    found = xr.Dataset({"msd": empty, "integrated_response": (*empty, {"conjugate": "msd"})})
    assert not has_temperature(found)
    found["integrated_response"][0, 0, 0] = 1.0
    assert has_temperature(found)


def test_the_error_of_examples_is_not_that_of_a_network() -> None:
    """Two seeds of one setting: of single networks there is no σ, and the summary says what its error is."""
    made = []
    for seed in (1, 5):
        settings: dict[str, Any] = {
            "system": {"name": "mlp", "widths": [4]},
            "data": {"name": "synthetic", "train": 200, "test": 100},
            "dynamics": {"t_max": 8, "batch_size": 10},
            "ensemble": {"replicas": 1, "seed": seed},
            "record": {"times": [4, 8], "waiting_times": [1], "lags": [1], "energy_examples": 50},
        }
        made.append(langevin.run(settings))
    assert made[0]["energy_error"].attrs["kind"] == "sampling"
    table = compare.compare(*made).table()
    assert np.isnan(table["z"]).all()
    assert "over examples" in summary.results(made[0])
