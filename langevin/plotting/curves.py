"""Curves between two configurations: energies and errors from one end to the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.observables.landscape.barriers import mean_barrier
from langevin.observables.statistics import average
from langevin.results.members import sweep_dims

from .style import BLUE, GREY, VERMILION, as_written, few, legend_above

CURVE = "curve"

#: What curves are called.
NAMES = {"bezier": "Bezier curve", "chain": "polygonal chain", "band": "elastic band"}

#: More of Okabe and Ito's colours, for lines of a sweep.
SERIES = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

#: Losses are drawn on a logarithmic axis from this ratio of the largest to the smallest on.
_DECADE = 10.0


def has_curve(dataset: xr.Dataset) -> bool:
    """Say whether the file holds what a final curve looks like."""
    return "curve_energy" in dataset and dataset["curve_energy"].dims == ("replica", "position")


def curve_figure(dataset: xr.Dataset) -> Figure:
    """Draw energy and, of networks, test error along curve and shortest way, as Fig. 2 of Garipov et al.

    Thick lines are means over replicas, bands their standard errors over samples, thin lines the replicas.
    """
    tested = "curve_test_error" in dataset
    made = Figure(figsize=(8.2, 3.6), layout="constrained")
    left, right = made.subplots(1, 2)
    kind = str(dataset["control"].attrs.get("curve", "curve")) if "control" in dataset else "curve"
    shortest = "segment" if tested else "shortest way"
    what = str(dataset["curve_energy"].attrs.get("long_name", "energy")).partition(", along")[0]
    ways = ((NAMES.get(kind, kind), "curve", BLUE, "-"), (shortest, "shortest", VERMILION, "--"))
    for label, way, colour, style in ways:
        _draw(left, dataset, f"{way}_energy", colour, style, label)
    lowest, highest = _range(dataset, ("curve_energy", "shortest_energy"))
    if lowest > 0 and highest > _DECADE * lowest:
        left.set_yscale("log")
    left.set(xlabel="position $t$ on the curve", ylabel=_words(what), xlim=(0, 1))
    legend_above(left)
    if tested:
        for label, way, colour, style in ways:
            _draw(right, dataset, f"{way}_test_error", colour, style, label, 100)
        pair = "mean prediction of $\\phi(0)$ and $\\phi(t)$"
        _draw(right, dataset, "curve_pair_error", GREY, ":", pair, 100)
        right.set(xlabel="position $t$ on the curve", ylabel="test error (%)", xlim=(0, 1))
    else:
        for end, colour, style in (("start", BLUE, "-"), ("end", VERMILION, "--")):
            words = "first" if end == "start" else "last"
            _draw(right, dataset, f"distance_from_{end}", colour, style, f"from the {words} end")
        right.set(
            xlabel="position $t$ on the curve",
            ylabel="rms distance per degree of freedom",
            xlim=(0, 1),
            ylim=(0, None),
        )
    legend_above(right)
    for ax, letter in zip((left, right), "ab", strict=True):
        ax.set_title(f"({letter})", loc="left")
    return made


def _words(what: str) -> str:
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
    found = average(values)
    mean, error = found.mean.to_numpy(), found.error.to_numpy()
    if values.sizes["replica"] > 1:
        ax.plot(t, values.to_numpy().T, color=colour, lw=0.6, alpha=0.35, ls=style)
    ax.plot(t, mean, color=colour, ls=style, lw=1.8, label=label)
    if np.isfinite(error).all():
        ax.fill_between(t, mean - error, mean + error, color=colour, alpha=0.2, lw=0)


def has_barriers(dataset: xr.Dataset) -> bool:
    """Say whether a sweep holds barriers of curves, and something to draw them against."""
    return "barrier" in dataset and _axis(dataset) is not None


def _axis(dataset: xr.Dataset) -> str | None:
    """Return the swept dimension of most numbers, at least two, all above 0; None if there is none."""
    found = {
        dim: dataset.sizes[dim]
        for dim in sweep_dims(dataset)
        if dataset[dim].dtype.kind in "iuf" and dataset.sizes[dim] > 1 and bool((dataset[dim] > 0).all())
    }
    return max(found, key=lambda dim: found[dim]) if found else None


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
    made = Figure(figsize=(8.2, 3.9), layout="constrained")
    left, right = made.subplots(1, 2)
    first = stacked.isel(line=0)
    _line(left, first["shortest_barrier"], axis, GREY, "s", "shortest way", first)
    _line(right, first["shortest_top"], axis, GREY, "s", "_")
    _line(right, first["end"], axis, "black", "_", "higher end")
    for k, values in enumerate(stacked["line"].to_numpy()):
        one, colour, marker = stacked.isel(line=k), SERIES[k % len(SERIES)], "o^vDPX*"[k % 7]
        label = ", ".join(_spoken(dataset, dim, value) for dim, value in zip(others, values, strict=True))
        _line(left, one["barrier"], axis, colour, marker, as_written(label) or "curve", one)
        _line(right, one["top"], axis, colour, marker, "_")
    swept = str(dataset[axis].attrs.get("sweep_key", axis))
    words = "age $t_w$ of the ends" if swept == "system.time" else swept
    name = str(dataset["barrier"].attrs.get("long_name", "barrier")).partition(":")[0]
    energy = _words(str(dataset["curve_energy"].attrs.get("long_name", "energy")).partition(", along")[0])
    for ax, what, letter in zip((left, right), (name, f"highest {energy}"), "ab", strict=True):
        ax.set(xscale="log", xlabel=words, ylabel=what)
        ax.set_title(f"({letter})", loc="left")
    drawn = [ax.get_legend_handles_labels() for ax in (left, right)]
    handles, labels = ([item for pair in drawn for item in pair[i]] for i in (0, 1))
    lacking = few(kept["barrier"])
    made.legend(handles, labels, title=lacking or None, loc="outside lower center", ncols=min(len(labels), 3))
    return made


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
    found = average(values) if dataset is None else mean_barrier(dataset, str(values.name))
    x, mean, error = (np.asarray(v, dtype=float) for v in (values[axis], found[0], found[1]))
    bars = np.where(np.isfinite(error), error, 0.0)
    ax.errorbar(x, mean, bars, color=colour, marker=marker, ms=4, lw=1.2, capsize=2, label=label)
