"""Barriers between nets as they were stored, and with units permuted to fit, against the size of the nets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.observables.landscape.barriers import mean_barrier
from langevin.observables.statistics import average
from langevin.results.members import members

from .registry import register
from .style import BLUE, GREY, VERMILION, few, panels

#: Whether the units were permuted → label, colour, marker, line.
LOOKS: dict[bool, tuple[str, str, str, str]] = {
    False: ("as stored", BLUE, "o", "-"),
    True: ("aligned", VERMILION, "s", "--"),
}
#: Sizes that are named along an axis, at most.
TICKS = 8


class Point(NamedTuple):
    """What is drawn of the segments of one member: means over samples with their errors."""

    aligned: bool
    weights: int
    """Of a net."""
    barrier: tuple[float, float]
    end: tuple[float, float]
    """Training loss of the higher end."""
    distance: tuple[float, float]
    """Root mean square, per weight."""


def has_alignment(dataset: xr.Dataset) -> bool:
    """Say whether some members of a sweep aligned the ends of their curves."""
    return "aligned_distance" in dataset and "shortest_barrier" in dataset


def points_of(dataset: xr.Dataset) -> list[Point]:
    """Return a point for each member that came to its end, in the order of sizes."""
    found = []
    for _, member in members(dataset):
        if "shortest_barrier" not in member or not bool(member["shortest_barrier"].notnull().all()):
            continue
        aligned = "aligned_distance" in member
        mean = mean_barrier(member, "shortest_barrier")
        end = average(member["shortest_energy"].isel(position=[0, -1]).max("position"))
        far = average(member["distance_from_start"].isel(position=-1))
        pairs = [(float(pair[0]), float(pair[1])) for pair in (mean, end, far)]
        found.append(Point(aligned, member.sizes["component"], *pairs))
    return sorted(found, key=lambda point: point.weights)


@register("alignment", fits=has_alignment, kinds=["sweep"], priority=3)
def alignment_figure(dataset: xr.Dataset) -> Figure:
    """Draw what the permutation of units does to segments between nets, against the number of weights.

    Means over samples with standard errors: (a) barriers of the training loss, and the loss of the higher
    end; (b) distances of the ends.
    """
    points = points_of(dataset)
    drawn, (left, right) = panels(2, 2)
    sizes = sorted({point.weights for point in points})
    ticks = sizes[:: -(-len(sizes) // TICKS)]
    for aligned, look in LOOKS.items():
        own = [point for point in points if point.aligned == aligned]
        _line(left, own, "barrier", look)
        _line(right, own, "distance", look)
    _line(left, [p for p in points if not p.aligned], "end", ("loss of the higher end", GREY, "_", ":"))
    left.axhline(0, color=GREY, lw=0.6)
    left.set_ylabel("barrier of the training loss")
    right.set_ylabel("root mean square distance\nof the ends, per weight")
    right.set_ylim(bottom=0)
    for ax in (left, right):
        ax.set(xscale="log", xlabel="weights of a net $M$")
        ax.set_xticks(ticks, [str(m) for m in ticks])
        ax.minorticks_off()
    lacking = few(dataset["shortest_barrier"])
    drawn.legend(
        *left.get_legend_handles_labels(), title=lacking or None, loc="outside lower center", ncols=3
    )
    return drawn


def _line(ax: Axes, points: list[Point], name: str, look: tuple[str, str, str, str]) -> None:
    """Draw means and errors of one number."""
    label, colour, marker, dashes = look
    pairs = np.array([getattr(point, name) for point in points]).reshape(-1, 2)
    style: dict[str, Any] = {"color": colour, "marker": marker, "ls": dashes, "ms": 4, "lw": 1.2}
    errors = np.where(np.isfinite(pairs[:, 1]), pairs[:, 1], 0.0)
    ax.errorbar([p.weights for p in points], pairs[:, 0], errors, capsize=2, label=label, **style)
