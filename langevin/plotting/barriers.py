"""Barriers of a sweep's curves stand against what was swept."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.observables.landscape.barriers import mean_barrier
from langevin.observables.statistics import average
from langevin.results.members import sweep_dims

from .curves import NAMES, words_of
from .registry import register
from .sheet import label_letters
from .style import GREY, PALETTE, as_written, few, legend_below, panels


def has_barriers(dataset: xr.Dataset) -> bool:
    """Say whether a sweep holds barriers of curves, and something to draw them against."""
    return "barrier" in dataset and _axis(dataset) is not None


def _axis(dataset: xr.Dataset) -> str | None:
    """Return the swept dimension of most numbers, at least two, all above 0; None if there is none."""
    lengths = {
        dim: dataset.sizes[dim]
        for dim in sweep_dims(dataset)
        if dataset[dim].dtype.kind in "iuf" and dataset.sizes[dim] > 1 and bool((dataset[dim] > 0).all())
    }
    return max(lengths, key=lambda dim: lengths[dim]) if lengths else None


@register("barriers", fits=has_barriers, kinds=["sweep"], priority=2)
def barrier_figure(dataset: xr.Dataset) -> Figure:
    """Draw the barriers of a sweep's curves against what was swept: one line for each of the other values.

    Means over samples with standard errors: (a) barriers, of the shortest way between the ends as well;
    (b) the highest energy along each of them, and that of the higher end. The legend says where samples are
    too few for the errors.
    """
    axis = _axis(dataset)
    assert axis is not None
    others = [dim for dim in sweep_dims(dataset) if dim != axis]
    parts = [n for n in dataset.data_vars if "barrier" in str(n)]
    kept = dataset[[*parts, "curve_energy"]]
    ends = kept["curve_energy"].isel(position=[0, -1]).max("position")
    kept = kept.assign(top=kept["barrier"] + ends, shortest_top=kept["shortest_barrier"] + ends, end=ends)
    stacked = kept.stack({"line": others}) if others else kept.expand_dims(line=[()])
    drawn, (left, right) = panels(2, 2)
    first = stacked.isel(line=0)
    _line(left, first["shortest_barrier"], axis, GREY, "s", "shortest way", first)
    _line(right, first["shortest_top"], axis, GREY, "s", "_")
    _line(right, first["end"], axis, "black", "_", "higher end")
    for k, values in enumerate(stacked["line"].to_numpy()):
        one, colour, marker = stacked.isel(line=k), PALETTE[k % len(PALETTE)], "o^vDPX*"[k % 7]
        label = ", ".join(_spoken(dataset, dim, value) for dim, value in zip(others, values, strict=True))
        _line(left, one["barrier"], axis, colour, marker, as_written(label) or "curve", one)
        _line(right, one["top"], axis, colour, marker, "_")
    swept = str(dataset[axis].attrs.get("sweep_key", axis))
    words = "age $t_w$ of the ends" if swept == "system.time" else swept
    name = str(dataset["barrier"].attrs.get("long_name", "barrier")).partition(":")[0]
    energy = words_of(str(dataset["curve_energy"].attrs.get("long_name", "energy")).partition(", along")[0])
    for ax, what in ((left, name), (right, f"highest {energy}")):
        ax.set(xscale="log", xlabel=words, ylabel="\n".join(textwrap.wrap(what, label_letters(26))))
    (lines, words_left), (tops, words_right) = (ax.get_legend_handles_labels() for ax in (left, right))
    handles, labels = [*lines, *tops], [*words_left, *words_right]
    lacking = few(kept["barrier"]).replace("bands", "bars")
    legend_below(drawn, handles, labels, lacking or "bars: standard errors over samples")
    return drawn


def _spoken(dataset: xr.Dataset, dim: str, value: Any) -> str:
    """Return what stands at a place of a swept dimension: of a group, its curve, bends and loss."""
    place = dataset.sel({dim: value})
    known = [n for n in ("curve", "bends", "loss") if n in dataset.coords and dataset[n].dims == (dim,)]
    if not known:
        return f"{dim} = {value}"
    # Labels that would be the same without have quotation marks.
    said = {n: str(place[n].item()).strip('"') for n in known}
    words = [NAMES.get(said["curve"], said["curve"])] if "curve" in said else []
    if "bends" in said:
        kind = "pivot" if said.get("curve") == "band" else "bend"
        words.append(f"{said['bends']} {kind}{'s' * (said['bends'] != '1')}")
    if said.get("loss") == "uniform_length":
        words.append("uniform in length")
    return ", ".join(words)


def _line(
    ax: Axes,
    values: xr.DataArray,
    axis: str,
    colour: Any,
    marker: str,
    label: str,
    dataset: xr.Dataset | None = None,
) -> None:
    """Draw a number of each curve against what was swept, with its error; of a `dataset` a barrier."""
    averaged = average(values) if dataset is None else mean_barrier(dataset, str(values.name))
    x, mean, error = (np.asarray(v, dtype=float) for v in (values[axis], averaged[0], averaged[1]))
    bars = np.where(np.isfinite(error), error, 0.0)
    ax.errorbar(x, mean, bars, color=colour, marker=marker, ms=4, lw=1.2, capsize=2, label=label)
