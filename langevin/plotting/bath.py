"""The temperature of the bath, where it changes with time: as a strip below a quantity, and in legends."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from langevin.core.protocol import Protocol
from langevin.observables.statistics import Array

from .numerals import Numbers
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


def is_ramped(dataset: xr.Dataset) -> bool:
    """Say whether a run was cooled, or heated, all along without a jump: then T(t) may stand for t."""
    bath = bath_of(dataset)
    if bath is None or [t for t in bath.jumps if t <= float(dataset["time"][-1])]:
        return False
    change = np.diff(dataset["temperature"].to_numpy())
    return bool(change.size and ((change < 0).all() or (change > 0).all()))


def draw_bath(ax: Axes, dataset: xr.Dataset) -> None:
    """Draw T(t) in a strip below what the panel shows, with an axis of its own on the right.

    Called when all curves, limits and scales of a panel are there; nothing happens for one temperature.
    """
    draw_baths(ax, [dataset], [GREEN])


def draw_baths(ax: Axes, members: Sequence[xr.Dataset], colours: Sequence[Any]) -> None:
    """Draw T(t) of several runs, each in its colour, as `draw_bath` does."""
    baths = [bath_of(member) for member in members]
    if all(bath is None for bath in baths):
        return
    # Room for a legend above the curves, and for the strip below them.
    legend = ax.get_legend()
    lines = 0 if legend is None else sum(t.get_text().count("\n") + 1 for t in legend.get_texts())
    above = 0.02 + 0.09 * lines if lines else 0.0
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log":
        high *= (high / low) ** above
        ax.set_ylim(high * (low / high) ** (1 / (1 - STRIP)), high)
    else:
        high += above * (high - low)
        ax.set_ylim(high - (high - low) / (1 - STRIP), high)
    right, values, units = ax.twinx(), list[float](), "1"
    for bath, member, colour in zip(baths, members, colours, strict=True):
        if bath is not None:
            time, temperature = _course(bath, member["time"].to_numpy(), ax.get_xscale() == "log")
            right.plot(time, temperature, color=colour, lw=1.1)
            values += bath.bounds(float(member["time"][-1]))
            units = member["temperature"].attrs.get("units", "1")
    _finish(ax, right, sorted(set(values)), units, len(members) == 1)


def _finish(ax: Axes, right: Axes, values: list[float], units: str, alone: bool) -> None:
    """Set limits, ticks and labels of a panel with a strip."""
    least, most = values[0], values[-1]
    room = (most - least or max(most, 1.0)) / FILLED
    bottom = least - 0.5 * (1 - FILLED) * room
    right.set_ylim(bottom, bottom + room / STRIP)
    right.set_yticks(sorted({least, most}))
    right.yaxis.set_major_formatter(Numbers())
    unit, colour = unit_label(units), GREEN if alone else GREY
    words = "$T(t)$" + (f" ({unit})" if unit != "1" else "")
    right.set_ylabel(words, color=colour, y=0.5 * STRIP, ha="center", labelpad=2)
    right.tick_params(axis="y", colors=colour)
    ax.plot([0, 1], [STRIP, STRIP], transform=ax.transAxes, color=GREY, lw=0.6)
    ax.tick_params(axis="y", right=False)
    _label_above(ax)
    if ax.get_legend() is not None:
        ax.legend(loc="upper right")


def _label_above(ax: Axes) -> None:
    """Take away the ticks of the quantity that would stand beside the strip."""
    low, high = ax.get_ylim()
    along = ax.transData.transform
    bottom, top = along((1, low))[1], along((1, high))[1]
    ticks = [t for t in ax.get_yticks() if (along((1, t))[1] - bottom) > STRIP * (top - bottom) and t <= high]
    ax.set_yticks(ticks)
    ax.set_ylim(low, high)


def _course(bath: Protocol, known: Array, logarithmic: bool) -> tuple[Array, Array]:
    """Return times and temperatures that draw T(t); at a jump there are two."""
    start, end = float(known[known > 0][0] if logarithmic else known[0]), float(known[-1])
    times = np.geomspace(start, end, 200) if logarithmic else np.linspace(start, end, 200)
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
