"""The angles by which the layers of a network have turned, a panel for each."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from .panels import draw_two_time, estimate, reached_times
from .style import colours_of, waiting_time_legend

LAYERS = "layer_angle"

#: Panels at most: of a deeper net these are spread evenly from the first layer to the last.
_PANELS = 6


def has_layers(dataset: xr.Dataset) -> bool:
    """Return whether a file has angles of layers over waiting time and lag."""
    return LAYERS in dataset and dataset[LAYERS].dims == ("replica", "waiting_time", "lag", "layer")


def layer_figure(dataset: xr.Dataset) -> Figure:
    """Draw the angle of each layer against the lag, one curve for each waiting time, on axes they share."""
    count = dataset.sizes["layer"]
    shown = np.unique(np.linspace(0, count - 1, min(count, _PANELS)).round().astype(int))
    parts = [dataset.assign({LAYERS: dataset[LAYERS].isel(layer=int(k))}) for k in shown]
    reached = sorted({i for part in parts for i in reached_times(estimate(part, LAYERS))})
    colours = colours_of(reached)
    columns = min(3, len(parts))
    rows = math.ceil(len(parts) / columns)
    made = Figure(figsize=(max(4.6, 3.6 * columns), 3.2 * rows + 0.6), layout="constrained")
    axes = np.asarray(made.subplots(rows, columns, squeeze=False, sharey=True)).ravel()
    for ax, part, k in zip(axes, parts, shown, strict=False):
        draw_two_time(ax, part, LAYERS, colours)
        ax.set_title(f"{dataset['layer'].to_numpy()[k]} ({k + 1} of {count})", fontsize=9)
        ax.set_yscale("log")
        ax.label_outer()
    for ax in axes[len(parts) :]:
        ax.remove()
    if reached:
        waiting_time_legend(made, dataset["waiting_time"], colours)
    return made
