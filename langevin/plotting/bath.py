"""The temperature of the bath, where it changes with time: as a strip below a quantity, and in legends."""

from __future__ import annotations

import tomllib

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from langevin.core.protocol import Protocol
from langevin.observables.statistics import Array

from .style import GREY, PALETTE, unit_label

#: No curve beside which T(t) stands has this colour.
GREEN = PALETTE[2]
#: Part of a panel's height that the strip takes, and part of the strip that T(t) takes.
STRIP, FILLED = 0.26, 0.62
#: A time axis is linear where the run is less than this many times as long as what precedes the first break.
SQUEEZED = 20.0


def bath_of(dataset: xr.Dataset) -> Protocol | None:
    """Return the protocol of a run; None where there is one temperature, or each member has its own."""
    given = dataset["temperature"].attrs.get("protocol") if "temperature" in dataset.coords else None
    return None if given is None else Protocol.parse(tomllib.loads(f"given = {given}")["given"])


def time_scale(dataset: xr.Dataset) -> str:
    """Return the scale of a time axis: linear where a logarithm would squeeze the whole protocol."""
    bath, end = bath_of(dataset), float(dataset["time"][-1])
    breaks = [] if bath is None else [t for t in bath.breaks if t < end]
    logarithmic = bath is not None and any(s.course == "logarithmic" for s in bath.stretches)
    return "linear" if breaks and not logarithmic and end < SQUEEZED * breaks[0] else "log"


def draw_bath(ax: Axes, dataset: xr.Dataset) -> None:
    """Draw T(t) in a strip below what the panel shows, with an axis of its own on the right.

    Called when all curves, limits and scales of a panel are there; nothing happens for one temperature.
    """
    bath = bath_of(dataset)
    if bath is None:
        return
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log":
        ax.set_ylim(high * (low / high) ** (1 / (1 - STRIP)), high)
    else:
        ax.set_ylim(high - (high - low) / (1 - STRIP), high)
    known = dataset["time"].to_numpy()
    first = known[known > 0][0] if ax.get_xscale() == "log" else known[0]
    time, temperature = _course(bath, float(first), float(known[-1]), ax.get_xscale() == "log")
    right = ax.twinx()
    right.plot(time, temperature, color=GREEN, lw=1.1)
    least, most = float(min(temperature)), float(max(temperature))
    room = (most - least or max(most, 1.0)) / FILLED
    bottom = least - 0.5 * (1 - FILLED) * room
    right.set_ylim(bottom, bottom + room / STRIP)
    right.set_yticks(sorted({least, most}))
    right.yaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{t:.3g}"))
    right.tick_params(axis="y", colors=GREEN, labelsize=7.5)
    unit = unit_label(dataset["temperature"].attrs.get("units", "1"))
    words = "$T(t)$" + (f" ({unit})" if unit != "1" else "")
    right.set_ylabel(words, color=GREEN, fontsize=8, y=0.5 * STRIP, ha="center", labelpad=2)
    ax.plot([0, 1], [STRIP, STRIP], transform=ax.transAxes, color=GREY, lw=0.6)
    ax.tick_params(axis="y", right=False)
    _label_above(ax)
    if ax.get_legend() is not None:
        # Where the strip is there is no room.
        ax.legend(loc="best", bbox_to_anchor=(0.0, STRIP, 1.0, 1 - STRIP))


def _label_above(ax: Axes) -> None:
    """Take away the ticks of the quantity that would stand beside the strip."""
    low, high = ax.get_ylim()
    along = ax.transData.transform
    bottom, top = along((1, low))[1], along((1, high))[1]
    ticks = [t for t in ax.get_yticks() if (along((1, t))[1] - bottom) > STRIP * (top - bottom) and t <= high]
    ax.set_yticks(ticks)
    ax.set_ylim(low, high)


def _course(bath: Protocol, start: float, end: float, logarithmic: bool) -> tuple[Array, Array]:
    """Return times and temperatures that draw T(t); at a jump there are two."""
    if logarithmic and start < end:
        times = np.geomspace(start, end, 200)
    else:
        times = np.linspace(start, end, 200)
    inner = [t for t in bath.breaks if start < t < end]
    pairs = [(t, bath.at(t)) for t in times] + [(t, bath.at(t)) for t in inner]
    pairs += [(float(np.nextafter(t, 0)), bath.before(t)) for t in inner]
    ordered = np.array(sorted(pairs))
    return ordered[:, 0], ordered[:, 1]


def draw_no_theorem(ax: Axes, dataset: xr.Dataset) -> None:
    """Say in the legend why there is no line of the theorem, where T changes."""
    if bath_of(dataset) is not None:
        ax.plot([], [], " ", label="$T(t)$ changes: no line of the theorem")
        ax.legend(loc="best")
