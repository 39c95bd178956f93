"""A one-time observable stands alone against time."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from langevin.results.kinds import ONE_TIME

from .panels import draw_energy, draw_one_time
from .registry import register
from .style import panels


def one_time_names(dataset: xr.Dataset) -> list[str]:
    """Return the one-time observables, each a figure of its own; the energy, which others show too, last."""
    names = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if variable.dims == ONE_TIME and not str(name).endswith("_error")
    ]
    return sorted(names, key="energy".__eq__)


@register("one-time observables", names=one_time_names)
def one_panel(dataset: xr.Dataset, name: str) -> Figure:
    """Draw one observable against time."""
    drawn, (ax,) = panels(1, 1, named=False)
    if name == "energy":
        draw_energy(ax, dataset)
    else:
        draw_one_time(ax, dataset, name)
    return drawn
