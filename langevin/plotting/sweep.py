"""A sweep is one figure: a curve for each member, and final energies against what was swept."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.results.kinds import two_time_names
from langevin.results.members import members, sweep_dims, text

from .bath import draw_baths, time_scale
from .panels import band, course, estimate
from .registry import register
from .style import (
    GREY,
    NAMED,
    as_written,
    axis_label,
    colours_of,
    member_legend,
    number,
    panels,
    symbol,
    time_label,
)

#: Lags that every member must have at the waiting time that is drawn, where there is such a one.
_LAGS = 10


def _names(dataset: xr.Dataset) -> list[str]:
    return [*two_time_names(dataset), *["energy"] * ("energy" in dataset)]


@register("members of a sweep", names=_names, kinds=["sweep"], priority=1)
def sweep_figure(dataset: xr.Dataset, quantity: str | None = None) -> Figure:
    """Draw energy and a two-time observable of all members, and final energies over a swept number.

    Parameters
    ----------
    dataset : Dataset
        With swept dimensions.
    quantity : str, optional
        Two-time observable; by default msd, if there is one. It is drawn at the latest waiting time that
        every member has curves at. "energy": that alone.
    """
    own = [(labels, member) for labels, member in members(dataset) if "energy" in member or "msd" in member]
    names = two_time_names(dataset)
    two_time = quantity or ("msd" if "msd" in names else next(iter(names), None))
    two_time = None if two_time == "energy" else two_time
    axis = _numeric_axis(dataset)
    shown = ["energy"] * ("energy" in dataset) + ["two_time"] * (two_time is not None)
    shown += ["final"] * ("energy" in dataset and axis is not None)
    colours = colours_of(range(len(own)))
    drawn, axes = panels(len(shown), len(shown), (3.7 * len(shown), 3.7))
    for ax, panel in zip(axes, shown, strict=True):
        if panel == "energy":
            _draw_energies(ax, own, colours)
        elif panel == "two_time" and two_time is not None:
            words = _draw_two_time(ax, own, two_time, colours)
            ax.set_title(ax.get_title(loc="left") + words, loc="left")
        elif axis is not None:
            _draw_final(ax, dataset, own, axis, colours)
    member_legend(drawn, [labels for labels, _ in own], colours)
    return drawn


def _numeric_axis(dataset: xr.Dataset) -> str | None:
    """Return the coordinate of a swept number with most values, at least two; None if there is none."""
    dims = sweep_dims(dataset)
    sizes = {
        str(name): coordinate.size
        for name, coordinate in dataset.coords.items()
        if len(coordinate.dims) == 1
        and coordinate.dims[0] in dims
        and coordinate.dtype.kind in "iuf"
        and coordinate.size > 1
        and np.isfinite(coordinate).all()
    }
    return max(sizes, key=lambda name: sizes[name]) if sizes else None


#: Last over first of swept numbers from which on their axis is logarithmic.
DECADES = 100.0

Members = list[tuple[dict[str, Any], xr.Dataset]]


def _draw_energies(ax: Axes, own: Members, colours: Mapping[int, Any]) -> None:
    for i, (_, member) in enumerate(own):
        if "energy" in member:
            course(ax, member, "energy", colours[i], "_")
    first = own[0][1]
    scales = {time_scale(member) for _, member in own}
    ax.set(xscale=min(scales), xlabel=time_label(first["time"], "time $t$"))
    ax.set_ylabel(axis_label(first["energy"], "$E(t)$"))
    draw_baths(ax, [member for _, member in own], [colours[i] for i in range(len(own))])


def _draw_two_time(ax: Axes, own: Members, name: str, colours: Mapping[int, Any]) -> str:
    """Draw the observable at one waiting time, and return the words that say which."""
    estimates = {i: estimate(member, name) for i, (_, member) in enumerate(own) if name in member}
    counts = {
        i: {
            float(w): int(n)
            for w, n in zip(e.mean["waiting_time"], np.isfinite(e.mean.to_numpy()).sum(-1), strict=True)
        }
        for i, e in estimates.items()
    }
    # Members that were not measured at all have no say.
    having = [c for c in counts.values() if any(c.values())]
    common = set.intersection(*(set(c) for c in having)) if having else set()
    least = {w: min(c[w] for c in having) for w in common}
    waiting = max((w for w in least if least[w] >= _LAGS), default=None)
    if waiting is None:
        waiting = max((w for w in least if least[w]), key=lambda w: least[w], default=None)
    for i, estimated in estimates.items():
        lag = estimated.mean["lag"].to_numpy()
        if waiting is not None and waiting in counts[i]:
            mean, error = (v.sel(waiting_time=waiting).to_numpy() for v in estimated)
            band(ax, lag, mean, error, colours[i], "_")
    values = own[0][1][name]
    ax.set(xscale="log", xlabel=time_label(values["lag"], "lag $t$"))
    ax.set_ylabel(axis_label(values, symbol(values)))
    if (name == "msd" or name.startswith("msd_")) and waiting is not None:
        ax.set_yscale("log")
    return "" if waiting is None else f" $t_w$ = {number(waiting)}"


def _draw_final(ax: Axes, dataset: xr.Dataset, own: Members, axis: str, colours: Mapping[int, Any]) -> None:
    """Draw the last energy of each member against a swept number, a curve for each value of the others."""
    dim = str(dataset[axis].dims[0])
    lines: dict[str, list[tuple[float, float, float, int]]] = {}
    for i, (labels, member) in enumerate(own):
        others = ", ".join(f"{name} = {text(v)}" for name, v in labels.items() if name != dim)
        known = estimate(member, "energy") if "energy" in member else None
        reached = np.flatnonzero(np.isfinite(known.mean.to_numpy())) if known else np.empty(0, dtype=int)
        # Of a member that did not come to its end the last energy is that of another time.
        if known is not None and reached.size and reached[-1] == known.mean.size - 1:
            point = (float(member[axis]), float(known.mean[-1]), float(known.error[-1]), i)
            lines.setdefault(others, []).append(point)
    for (others, points), style in zip(lines.items(), itertools.cycle(("-", "--", ":", "-."))):
        points = sorted(points)
        x, mean = ([point[k] for point in points] for k in (0, 1))
        ax.plot(x, mean, color=GREY, ls=style, lw=1, label=as_written(others) or "_")
        for value, last, error, i in points:
            ax.errorbar(value, last, error if np.isfinite(error) else None, color=colours[i], fmt="o", ms=4)
    ax.set(xlabel=axis.replace("_", " "), ylabel="final energy")
    swept = dataset[axis].to_numpy()
    if swept.min() > 0 and swept.max() >= DECADES * swept.min():
        ax.set_xscale("log")
    if any(lines) and len(lines) <= NAMED // 2:
        ax.legend(loc="best")
