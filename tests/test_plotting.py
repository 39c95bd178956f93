"""Figures: what is in the file is drawn, nothing overlaps, nothing crashes on unfinished runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import langevin
from langevin import plotting
from langevin.errors import UserError

Maker = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def quench() -> xr.Dataset:
    return langevin.run(
        {
            "title": "a quench",
            "system": {"name": "pspin", "p": 3, "n": 24},
            "dynamics": {"temperature": 0.5, "dt": 0.02, "t_max": 10.0},
            "ensemble": {"replicas": 4, "samples": 2},
        }
    )


def texts(figure: Figure) -> str:
    found = []
    for ax in figure.axes:
        found += [ax.get_xlabel(), ax.get_ylabel(), *(t.get_text() for t in ax.texts)]
        legend = ax.get_legend()
        if legend is not None:
            found += [legend.get_title().get_text(), *(t.get_text() for t in legend.get_texts())]
    return "\n".join(found)


def test_two_panels_with_limits_and_waiting_times(quench: xr.Dataset) -> None:
    made = plotting.figure(quench)
    assert len(made.axes) == 2
    shown = texts(made)
    for word in (
        "time $t$",
        "lag $t$",
        "energy per spin",
        "exponential",
        "-0.8867",
        "q_{EA}",
        "waiting time",
        "2 samples",
    ):
        assert word in shown
    curves = [line for line in made.axes[1].lines if line.get_label()[0] != "_"]
    assert len(curves) == np.sum(quench["msd"].notnull().any(("replica", "lag")))


def test_labels_stay_inside_and_apart(quench: xr.Dataset) -> None:
    made = plotting.figure(quench)
    FigureCanvasAgg(made).draw()
    boxes = [made._suptitle.get_window_extent()]  # type: ignore[attr-defined]
    for ax in made.axes:
        boxes += [
            ax.xaxis.label.get_window_extent(),
            ax.yaxis.label.get_window_extent(),
            ax.get_window_extent(),
        ]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= made.bbox.x1 and box.y1 <= made.bbox.y1
        for other in boxes[i + 1 :]:
            assert not box.overlaps(other)


def test_other_quantities_and_unknown_ones(quench: xr.Dataset, tmp_path: Path) -> None:
    assert "correlation" in texts(plotting.figure(quench, "correlation"))
    with pytest.raises(UserError, match="allowed: msd, correlation"):
        plotting.figure(quench, "entropy")
    with pytest.raises(UserError, match=r"\.docx.*png"):
        plotting.save(quench, tmp_path / "figure.docx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("drop", [["msd", "correlation"], ["energy"]])
def test_a_file_with_one_kind_of_observable(quench: xr.Dataset, drop: list[str]) -> None:
    part = quench.drop_vars(drop)
    assert len(plotting.figure(part, "correlation" if "energy" in drop else "msd").axes) == (
        2 if "msd" in part else 1
    ) - ("energy" in drop)


def test_an_unfinished_run_and_a_single_replica(quench: xr.Dataset) -> None:
    unfinished = quench.where(quench["time"] < 1)
    unfinished["msd"] = quench["msd"].where(quench["lag"] < 0.1)
    plotting.figure(unfinished)
    plotting.figure(quench.isel(replica=[0]))
    plotting.figure(quench.where(quench["time"] < 0).assign(msd=quench["msd"] * np.nan))
