"""Each layer of a network turns by an angle, and is displaced."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from langevin.observables.statistics import Estimate, average
from langevin.results.kinds import TWO_TIME, has

from .numerals import moment
from .panels import draw_two_time, estimate, reached_times
from .registry import register
from .sheet import columns_of, small
from .style import (
    GREY,
    axis_label,
    colours_of,
    ensemble_label,
    panels,
    symbol,
    time_label,
    waiting_time_legend,
)

LAYERS, LAYER_MSD = "layer_angle", "layer_msd"

#: Panels at most: of a deeper net, or of more waiting times, these are spread evenly from first to last.
_PANELS = 6

#: Layers up to which each is named; more are told by a bar of colours.
_NAMED = 10

#: Marks on a bar of colours.
_MARKS = 7

#: Of biases, scales and shifts.
_DASHED = (0, (3, 1.5))


def has_layers(dataset: xr.Dataset, name: str = LAYERS) -> bool:
    """Return whether a file has angles, or displacements, of layers over waiting time and lag."""
    return has(dataset, name, *TWO_TIME, "layer")


def _evenly(count: int, most: int) -> list[int]:
    """Return indices, spread evenly from the first to the last."""
    return [int(k) for k in np.unique(np.linspace(0, count - 1, min(count, most)).round())] if count else []


@register(LAYERS, fits=has_layers)
def layer_figure(dataset: xr.Dataset) -> Figure:
    """Draw the angle of each layer against the lag, one curve for each waiting time, on axes they share."""
    count = dataset.sizes["layer"]
    shown = _evenly(count, _PANELS)
    parts = [dataset.assign({LAYERS: dataset[LAYERS].isel(layer=k)}) for k in shown]
    reached = sorted({i for part in parts for i in reached_times(estimate(part, LAYERS))})
    colours = colours_of(reached)
    drawn, axes = panels(len(parts), 3, named=False, sharey=True)
    for ax, part, k in zip(axes, parts, shown, strict=True):
        draw_two_time(ax, part, LAYERS, colours)
        ax.set_title(f"{dataset['layer'].to_numpy()[k]} ({k + 1} of {count})")
        ax.set_yscale("log")
        ax.label_outer()
    waiting_time_legend(drawn, dataset["waiting_time"], colours)
    return drawn


@register(LAYER_MSD, fits=partial(has_layers, name=LAYER_MSD))
def layer_msd_figure(dataset: xr.Dataset) -> Figure:
    """Draw the mean square displacement of each layer against the lag, a panel for each waiting time.

    Colours go from the input to the output: names for few layers, a bar for many. Matrices and filters are
    solid, biases, scales and shifts (one axis) are dashed; the whole network is black.
    """
    values = dataset[LAYER_MSD].transpose("replica", "waiting_time", "lag", "layer")
    averaged = average(values)
    known = np.flatnonzero(np.isfinite(averaged.mean.to_numpy()).any(axis=(1, 2)))
    shown = [int(known[k]) for k in _evenly(known.size, _PANELS)]
    most = 2 if len(shown) == 4 else 3
    drawn, axes = panels(max(1, len(shown)), most, sharex=True, sharey=True)
    columns = columns_of(max(1, len(shown)), most)
    count = dataset.sizes["layer"]
    colours = colours_of(range(count))
    whole = average(dataset["msd"]).mean if "msd" in dataset else None
    for ax, i, letter in zip(axes, shown, "abcdef", strict=False):
        _draw_layers(ax, Estimate(*(part.isel(waiting_time=i) for part in averaged)), colours)
        if whole is not None:
            ax.plot(whole["lag"], whole.isel(waiting_time=i), color="black", lw=1.6, zorder=4)
        ax.set_title(f"({letter}) $t_w$ = {moment(float(dataset['waiting_time'][i]))}", loc="left")
        ax.set(xscale="log", yscale="log", xlabel=time_label(dataset["lag"], "lag $t$"))
        ax.set_ylabel(axis_label(values, symbol(values)))
    for k, ax in enumerate(axes):
        # A panel below another has the labels of both.
        ax.tick_params(labelbottom=k + columns >= len(shown), labelleft=k % columns == 0)
        ax.set_xlabel(ax.get_xlabel() if k + columns >= len(shown) else "")
        ax.set_ylabel(ax.get_ylabel() if k % columns == 0 else "")
    if shown:
        _name_layers(drawn, axes, dataset, colours)
    return drawn


def _vectors(dataset: xr.Dataset | xr.DataArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which layers have one axis only."""
    if "layer_axes" not in dataset.coords:
        return np.zeros(dataset.sizes["layer"], bool)
    return dataset["layer_axes"].to_numpy() < 2


def _draw_layers(ax: Axes, averaged: Estimate, colours: Mapping[int, Any]) -> None:
    """Draw a curve for each layer at one waiting time; of few layers with the band of its error."""
    lag, many = averaged.mean["lag"].to_numpy(), len(colours) > _NAMED
    for k, vector in enumerate(_vectors(averaged.mean)):
        mean, error = (part.isel(layer=k).to_numpy() for part in averaged)
        there = np.isfinite(mean) & (mean > 0)
        # Vectors are half of a deep net, and the smaller part of its weights: behind the others.
        width = (0.6 if vector else 1.0) if many else 1.3
        (line,) = ax.plot(lag[there], mean[there], color=colours[k], ls=_DASHED if vector else "-", lw=width)
        line.set(zorder=1.5 if vector else 2, alpha=0.45 if many and vector else 1)
        if not many and np.isfinite(error[there]).all():
            edges = (mean - error)[there], (mean + error)[there]
            ax.fill_between(lag[there], *edges, color=colours[k], alpha=0.2, lw=0)


def _name_layers(drawn: Figure, axes: list[Axes], dataset: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Say which colour is which layer: a legend below the panels for few, a bar beside them for many."""
    names, vectors = dataset["layer"].to_numpy(), _vectors(dataset)
    handles = [(Line2D([], [], color="black", lw=1.6), "whole network")] if "msd" in dataset else []
    few = len(names) <= _NAMED
    if few:
        kinds = [_DASHED if vector else "-" for vector in vectors]
        handles += [
            (Line2D([], [], color=colours[k], ls=kinds[k]), str(name)) for k, name in enumerate(names)
        ]
    elif vectors.any():
        handles += [
            (Line2D([], [], color=GREY, lw=1.0), "matrices and filters"),
            (Line2D([], [], color=GREY, lw=0.6, ls=_DASHED), "biases, scales, shifts"),
        ]
    width = drawn.get_figwidth()
    longest = max(len(label) for _, label in handles) if handles else 1
    # A sample of the line takes the room of six letters, a letter a fifteenth of an inch.
    columns = max(1, min(len(handles), int(15 * width / (longest + 6))))
    if handles:
        marks, labels = zip(*handles, strict=True)
        title = ensemble_label(dataset[LAYER_MSD]).replace("\n", "; ")
        drawn.legend(marks, labels, loc="outside lower center", ncols=columns, title=title)
    if few:
        return
    shades = matplotlib.colors.ListedColormap([colours[k] for k in range(len(names))])
    scale = ScalarMappable(BoundaryNorm(np.arange(len(names) + 1) + 0.5, len(names)), shades)
    bar = drawn.colorbar(scale, ax=axes, pad=0.02, aspect=30)
    main = np.flatnonzero(~vectors) if not vectors.all() else np.arange(len(names))
    marked = [int(main[k]) for k in _evenly(main.size, _MARKS)]
    bar.set_ticks([k + 1 for k in marked], labels=[str(names[k]) for k in marked], fontsize=small())
    bar.ax.minorticks_off()
    bar.ax.invert_yaxis()
    bar.set_label(f"layer, from input to output ({len(marked)} of {len(names)} named)")
