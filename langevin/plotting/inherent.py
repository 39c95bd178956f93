"""Energies of inherent structures stand beside those of the configurations that quenches began from.

Of members that are cooled, or heated, at several rates they stand against T(t), as energies do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from langevin.results.members import members

from .bath import bath_of, is_ramped
from .panels import band, estimate
from .registry import register
from .style import BLACK, BLUE, GREY, VERMILION, axis_label, few, legend_above, panels, time_label
from .sweep import Look, _legend, _numeric_axis, looks_of

#: The name that asks for this figure.
INHERENT = "inherent_energy"
#: What the second panel shows: the first of these that is more than one number.
_SECOND = ("inherent_index", "inherent_distance")


def has_inherent(dataset: xr.Dataset) -> bool:
    """Say whether a run measured inherent structures."""
    return INHERENT in dataset and bool(dataset[INHERENT].notnull().any())


def _other(own: list[xr.Dataset]) -> str:
    """Return the name of what the second panel shows: indices, unless all of them are 0."""
    index = [m[_SECOND[0]] for m in own if _SECOND[0] in m]
    return _SECOND[0] if any(bool((values > 0).any()) for values in index) else _SECOND[1]


@register(INHERENT, fits=has_inherent)
def inherent_figure(dataset: xr.Dataset) -> Figure:
    """Draw both energies, and distances, or indices where some are not 0, of a single run."""
    other = _other([dataset])
    drawn, (left, right) = panels(2, 2)
    _draw(left, dataset, "energy", "time", BLUE, "configurations", "-")
    _draw(left, dataset, INHERENT, "inherent_time", VERMILION, "inherent structures", "--", "o")
    _draw(right, dataset, other, "inherent_time", VERMILION, "_", "--", "o")
    _finish(left, [dataset], "energy", dataset["energy"])
    _finish(right, [dataset], other, dataset[other])
    _threshold(left, [dataset])
    if lacking := few(dataset[INHERENT]):
        left.plot([], [], " ", label=lacking)
    legend_above(left, rows=2)
    return drawn


@register(INHERENT, fits=has_inherent, kinds=["sweep"])
def inherent_of_sweep(dataset: xr.Dataset) -> Figure:
    """Draw energies of all members thin, those of their inherent structures with points, and distances."""
    own = [(labels, member) for labels, member in members(dataset) if has_inherent(member)]
    runs = [member for _, member in own]
    looks, other = looks_of(dataset, own, _numeric_axis(dataset)), _other(runs)
    drawn, (left, right) = panels(2, 2)
    for member, look in zip(runs, looks, strict=True):
        # Dashes tell what else is swept; energies of configurations are thin.
        _draw(left, member, "energy", "time", look.colour, "_", look.style, width=0.7)
        _draw(left, member, INHERENT, "inherent_time", look.colour, "_", look.style, "o")
        _draw(right, member, other, "inherent_time", look.colour, "_", look.style, "o")
    _finish(left, runs, "energy", runs[0]["energy"])
    _finish(right, runs, other, runs[0][other])
    left.plot([], [], color=GREY, lw=0.7, label="configurations")
    left.plot([], [], color=GREY, marker="o", ms=3, label="inherent structures")
    _threshold(left, runs)
    legend_above(left, rows=2)
    _name_styles(right, own, looks)
    _legend(drawn, dataset, own, looks)
    return drawn


def _draw(
    ax: Axes,
    dataset: xr.Dataset,
    name: str,
    axis: str,
    colour: Any,
    label: str,
    style: str,
    marker: str = "",
    width: float = 1.4,
) -> None:
    """Draw the mean of one observable with its band, against time, or T(t) on a ramp."""
    mean, error = (values.to_numpy() for values in estimate(dataset, name))
    at, known = _along(dataset, axis), np.isfinite(mean)
    band(ax, at[known], mean[known], error[known], colour, label, style)
    line = ax.lines[-1]
    line.set(marker=marker, markersize=3, linewidth=width)


def _along(dataset: xr.Dataset, axis: str) -> Any:
    times, bath = dataset[axis].to_numpy(), bath_of(dataset)
    return times if bath is None or not is_ramped(dataset) else np.asarray(bath.along(times))


def _finish(ax: Axes, runs: list[xr.Dataset], name: str, values: xr.DataArray) -> None:
    """Set labels and scales of a panel."""
    ax.set_ylabel(axis_label(values, ""))
    if name == _SECOND[0]:
        ax.set_ylim(bottom=0)
    if all(is_ramped(run) for run in runs):
        ax.set_xlabel(time_label(runs[0]["temperature"], "temperature $T(t)$"))
        return
    times = sorted({float(t) for run in runs for t in run["inherent_time"]})
    ax.set_xlabel(time_label(runs[0]["time"], "time $t$"))
    first, last = next((t for t in times if t > 0), 1.0), max(float(run["time"][-1]) for run in runs)
    if times[0] == 0 and last > 10 * first:
        # The start has a place, too.
        ax.set_xscale("symlog", linthresh=first, linscale=0.5)
    elif last > 10 * first:
        ax.set_xscale("log")
    ax.set_xlim((0 if times[0] == 0 else first / 1.3), last)


def _threshold(ax: Axes, runs: list[xr.Dataset]) -> None:
    """Draw the threshold that the file states, once."""
    about = [run[INHERENT].attrs for run in runs]
    for value in sorted({float(said["threshold"]) for said in about if "threshold" in said}):
        ax.axhline(value, color=BLACK, ls=":", lw=1, label=rf"$E_{{\rm th}}$ = {value:.4f}")


def _name_styles(ax: Axes, own: Any, looks: list[Look]) -> None:
    """Name the dashes where they tell members of the same colour apart."""
    if len({look.entry for look in looks}) == len(looks):
        return
    names: dict[str, str] = {}
    for (labels, _), look in zip(own, looks, strict=True):
        alike = [mate for (mate, _), other in zip(own, looks, strict=True) if other.style == look.style]
        common = {k: v for k, v in labels.items() if all(mate[k] == v for mate in alike)}
        names[look.style] = ", ".join(str(v) for v in common.values())
    handles = [Line2D([], [], color=GREY, ls=style) for style in names]
    ax.legend(handles, list(names.values()), loc="lower right", bbox_to_anchor=(1, 1), ncols=len(names))
