"""Energies and errors run along a curve from one configuration to the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from langevin.observables.statistics import average
from langevin.results.kinds import has

from .registry import register
from .style import BLUE, GREY, VERMILION, few, legend_above, legend_below, panels

CURVE = "curve"

#: What curves are called.
NAMES = {"bezier": "Bezier curve", "chain": "polygonal chain", "band": "elastic band"}

#: Losses are drawn on a logarithmic axis from this ratio of the largest to the smallest on.
_DECADE = 10.0


def has_curve(dataset: xr.Dataset) -> bool:
    """Say whether the file holds what a final curve looks like."""
    return has(dataset, "curve_energy", "replica", "position")


@register(CURVE, fits=has_curve, priority=4)
def curve_figure(dataset: xr.Dataset) -> Figure:
    """Draw energy and, of networks, test error along curve and shortest way, as Fig. 2 of Garipov et al.

    Thick lines are means over replicas, bands their standard errors over samples, thin lines the replicas.
    The legend says so.
    """
    tested = "curve_test_error" in dataset
    drawn, (left, right) = panels(2, 2)
    kind = str(dataset["control"].attrs.get("curve", "curve")) if "control" in dataset else "curve"
    shortest = "segment" if tested else "shortest way"
    what = str(dataset["curve_energy"].attrs.get("long_name", "energy")).partition(", along")[0]
    ways = ((NAMES.get(kind, kind), "curve", BLUE, "-"), (shortest, "shortest", VERMILION, "--"))
    for label, way, colour, style in ways:
        _draw(left, dataset, f"{way}_energy", colour, style, label)
    lowest, highest = _range(dataset, ("curve_energy", "shortest_energy"))
    if lowest > 0 and highest > _DECADE * lowest:
        left.set_yscale("log")
    left.set_ylabel(words_of(what))
    if tested:
        for label, way, colour, style in ways:
            _draw(right, dataset, f"{way}_test_error", colour, style, label, 100)
        pair = "predictions of first end and $t$, averaged"
        _draw(right, dataset, "curve_pair_error", GREY, ":", pair, 100)
        right.set_ylabel("test error (%)")
    else:
        _draw(right, dataset, "distance_from_start", BLUE, "-", "from the first end")
        _draw(right, dataset, "distance_from_end", VERMILION, "--", "from the last end")
        right.set(ylabel="rms distance per degree of freedom", ylim=(0, None))
    _explain(drawn, dataset["curve_energy"])
    for ax in (left, right):
        ax.set(xlabel="position $t$ on the curve", xlim=(0, 1))
        legend_above(ax)
    return drawn


def _explain(drawn: Figure, values: xr.DataArray) -> None:
    """Say below the panels what thin lines and bands are."""
    count = values.sizes["replica"]
    if count < 2:
        return
    handles: list[Any] = [Line2D([], [], color=GREY, lw=1.8), Line2D([], [], color=GREY, lw=0.6, alpha=0.5)]
    labels = ["mean", f"each of {count} replicas"]
    if np.isfinite(average(values).error.to_numpy()).all():
        handles.append(Patch(color=GREY, alpha=0.2, lw=0))
        labels.append(few(values) or "band: standard error")
    legend_below(drawn, handles, labels)


def words_of(what: str) -> str:
    """Return the name of the energy without its place; "cross_entropy" is a name of code."""
    return what.replace(" along the curve", "").replace("_", " ")


def _range(dataset: xr.Dataset, names: tuple[str, ...]) -> tuple[float, float]:
    values = np.concatenate([dataset[n].to_numpy().ravel() for n in names])
    return float(np.nanmin(values)), float(np.nanmax(values))


def _draw(
    ax: Axes, dataset: xr.Dataset, name: str, colour: Any, style: str, label: str, factor: float = 1.0
) -> None:
    """Draw one quantity against the position: replicas thin, their mean thick with its standard error."""
    values, t = factor * dataset[name], dataset["position"].to_numpy()
    averaged = average(values)
    mean, error = averaged.mean.to_numpy(), averaged.error.to_numpy()
    if values.sizes["replica"] > 1:
        ax.plot(t, values.to_numpy().T, color=colour, lw=0.6, alpha=0.35, ls=style)
    ax.plot(t, mean, color=colour, ls=style, lw=1.8, label=label)
    if np.isfinite(error).all():
        ax.fill_between(t, mean - error, mean + error, color=colour, alpha=0.2, lw=0)
