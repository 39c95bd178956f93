"""Figures: one from outside is drawn as those of the package are; each kind of result finds its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from langevin import plotting
from langevin.errors import UserError
from langevin.plotting import registry
from langevin.results import kinds, summary


def result(**further: tuple[tuple[str, ...], np.ndarray]) -> xr.Dataset:
    energy = (("replica", "time"), np.array([[1.0, 0.5, 0.25]]))
    return xr.Dataset({"energy": energy, **further}, {"time": [0.0, 1.0, 2.0], "replica": [0]})


@pytest.fixture
def toy() -> Iterator[None]:
    """Register a figure as a user would."""

    @plotting.register("toy", fits=lambda dataset: "spring" in dataset, options=["scale"])
    def draw_toy(dataset: xr.Dataset, scale: float = 1.0) -> Figure:
        figure = Figure()
        figure.subplots().plot(scale * dataset["spring"].to_numpy())
        return figure

    yield
    for figures in registry._REGISTERED.values():
        figures.pop("toy", None)


@pytest.mark.usefixtures("toy")
def test_a_figure_from_outside_is_drawn_where_it_fits() -> None:
    with_spring = result(spring=(("replica",), np.array([3.0])))
    assert plotting.quantities(with_spring) == ["energy", "toy"]
    (line,) = plotting.figure(with_spring, quantity="toy").axes[0].lines
    assert line.get_ydata().tolist() == [3.0]
    (line,) = plotting.figure(with_spring, "toy", scale=2.0).axes[0].lines
    assert line.get_ydata().tolist() == [6.0]
    with pytest.raises(UserError, match=r"'toy': not in the file; allowed: energy$"):
        plotting.figure(result(), "toy")
    with pytest.raises(UserError, match=r"scale=2: allowed with quantity='toy' only"):
        plotting.figure(with_spring, scale=2.0)
    with pytest.raises(ValueError, match=r"'toy' of kind 'run': .*draw_toy has this name"):
        plotting.register("toy")(lambda dataset: Figure())


def test_a_figure_of_priority_is_the_default() -> None:
    @plotting.register("toy", kinds=["run"], priority=9)
    def draw_toy(dataset: xr.Dataset) -> Figure:
        return Figure(figsize=(1, 1))

    try:
        assert plotting.figure(result()).get_figwidth() == 1
    finally:
        registry._REGISTERED["run"].pop("toy")
    assert plotting.figure(result()).get_figwidth() > 1


def test_a_kind_is_told_by_what_the_file_holds() -> None:
    run = result()
    swept = run.expand_dims(temperature=[0.5, 1.0]).assign_attrs(sweep_dimensions="temperature")
    curve = run.assign(curve_energy=(("replica", "position"), np.zeros((1, 4))))
    plane = xr.Dataset({"energy": (("y", "x"), np.zeros((2, 2)))})
    ensembles = xr.Dataset({"ensemble_error": (("method", "repetition", "member"), np.zeros((1, 1, 1)))})
    for dataset, name in ((run, "run"), (swept, "sweep"), (curve, "curve"), (plane, "plane")):
        assert kinds.kind_of(dataset).name == name
    assert kinds.kind_of(ensembles).name == "ensembles"
    assert kinds.recognised(run.drop_vars("energy")) is None
    assert kinds.kind_of(swept.drop_vars("energy")).name == "sweep", "a part of a sweep"
    with pytest.raises(
        UserError, match=r"a\.nc: holds a sweep over temperature; allowed: the file of a sing"
    ):
        kinds.require_run(swept, "a.nc")
    with pytest.raises(UserError, match="the file holds a plane"):
        kinds.require_run(plane)
    kinds.require_run(curve)
    with pytest.raises(UserError, match="threshold=1: no figure of a plane takes it"):
        plotting.figure(plane, threshold=1.0)


def test_every_kind_has_a_summary_and_figures() -> None:
    for kind in kinds.KINDS:
        assert registry.drawings(kind), kind.name
        module, _, function = kind.summary.partition(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function))
    assert summary.results(result()).startswith("energy at t = 2: 0.25")
