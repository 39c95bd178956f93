"""A contest: a sweep over algorithms, its scores, and its figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import langevin
from langevin import plotting
from langevin.errors import UserError
from langevin.results import contest

GIVEN: dict[str, Any] = {
    "system": {"name": "harmonic", "n": 6},
    "dynamics": {"temperature": 0.0, "dt": 0.01, "t_max": 4.0},
    "ensemble": {"replicas": 8, "seed": 2},
    "record": {
        "waiting_times": {"start": 0.02, "stop": 2.0, "per_decade": 10},
        "lags": {"start": 0.01, "per_decade": 10},
    },
    "output": {"figure": False},
    "sweep": {
        "algorithm.dynamics.rule": ["gradient", {"name": "momentum", "momentum": 0.5}, "gradient"],
        "algorithm.dynamics.exchange": [{}, {}, {"hotter": [1e-7, 2e-7]}],
        "algorithm.dynamics.temperature": [0.0, 0.0, 5e-8],
    },
}


@pytest.fixture(scope="module")
def swept() -> xr.Dataset:
    return langevin.run(GIVEN, executor="in_process")


def test_momentum_runs_the_clock_of_slow_modes_faster(swept: xr.Dataset) -> None:
    plain, heavy, ladder = contest.scores(swept)
    assert [one.label for one, _ in (plain, heavy, ladder)] == [
        "constant rate",
        "momentum",
        "replica exchange",
    ]
    # All oscillators have one k: E falls as e^{−2kt}, and with momentum 1/(1 − μ) = 2 times as fast, but for
    # the start: under a constant force n steps go as far as 2n − 2(1 − 2^{−n}) plain ones, one gradient less.
    assert plain[1].median / 2 < heavy[1].median < plain[1].median / 2 + 1
    # The coldest copy descends as one alone, and pays three gradients a step.
    assert ladder[1].median == pytest.approx(3 * plain[1].median, rel=0.02)


def test_a_clock_alone_leaves_one_triangle(swept: xr.Dataset) -> None:
    _, travelled, curves = contest.triangles(swept)
    assert travelled > 0
    first, heavy = (curve for _, curve in curves[:2])
    assert first is not None
    assert heavy is not None
    common = np.isfinite(first.value) & np.isfinite(heavy.value)
    assert common.sum() > 5
    # Straight descent: √Δ adds up. Of momentum after its first steps, too.
    np.testing.assert_allclose(heavy.value[common], first.value[common], rtol=0.1)


def test_the_figure_is_drawn_by_default_and_says_who_arrives(swept: xr.Dataset) -> None:
    drawn = plotting.figure(swept)
    (legend,) = drawn.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert [text.split(":")[0] for text in words] == ["constant rate", "momentum", "replica exchange"]
    assert len(drawn.axes) == 2


def test_other_results_are_no_contest() -> None:
    alone = langevin.run({key: value for key, value in GIVEN.items() if key != "sweep"})
    with pytest.raises(UserError, match="needed: a sweep along one dimension in which an algorithm changes"):
        contest.scores(alone)


@pytest.mark.parametrize(
    ("dynamics", "name"),
    [
        ({"temperature": 0.5}, "constant, T = 0.5"),
        ({"temperature": [[0, 1.0], [1, 0.0]]}, "annealed"),
        ({"rule": {"name": "adam"}}, "Adam"),
        ({"batches": "persistent"}, "persistent batches"),
        ({"optimiser": "nesterov"}, "momentum"),
        ({"schedule": "cosine", "optimiser": "sgd"}, "annealed rate"),
        ({"attraction": {"replicas": 2}}, "replicated"),
        ({"exchange": {}, "attraction": {}, "rule": "gradient"}, "constant rate"),
    ],
)
def test_algorithms_have_names(dynamics: dict[str, Any], name: str) -> None:
    assert contest.name(dynamics) == name
