"""The courses of training of a sweep's members stand in one figure: losses, accuracies, noise, aging.

Whether members come to the bottom of their landscapes shows in the loss and in the gradient noise D, which
falls with it; whether aging ends there, in t*(t_w).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from langevin.results.kinds import ONE_TIME, has
from langevin.results.members import members, sweep_dims, text

from .aging import fit_of, has_aging
from .panels import band, course, estimate
from .registry import register
from .style import NAMED, PALETTE, as_written, colours_of, panels, time_label

#: What `--quantity` calls the figure.
TRAINING = "training"

#: Of members that share a colour.
DASHES = ("-", "--", ":", "-.")


class Member(NamedTuple):
    """A member, and how it is drawn."""

    labels: dict[str, Any]
    data: xr.Dataset
    colour: Any
    style: str


def _trains(dataset: xr.Dataset) -> bool:
    swept = sweep_dims(dataset)
    return (
        has(dataset, "energy", *swept, *ONE_TIME)
        and has(dataset, "test_accuracy", *swept, *ONE_TIME)
        and has(dataset, "gradient_noise", *swept, "replica", "waiting_time")
    )


@register(TRAINING, fits=_trains, kinds=["sweep"])
def training_sweep_figure(dataset: xr.Dataset) -> Figure:
    """Draw training losses, test accuracies, gradient noise D(t_w) and t*(t_w) of all members.

    Of several swept keys the first has the colours, the others have dashes, where these are enough.
    """
    own = _drawn_members(dataset)
    drawn, (loss, accuracy, noise, aging) = panels(4, 2)
    for member in own:
        _draw(loss, member, "energy")
        _draw(accuracy, member, "test_accuracy")
        _draw_noise(noise, member)
        _draw_aging(aging, member)
    first = own[0].data
    loss.set(xscale="log", yscale="log", ylabel="training loss $E(t)$")
    accuracy.set(xscale="log", ylabel="test accuracy", ylim=(None, 1.0))
    noise.set(xscale="log", yscale="log", ylabel="gradient noise $D(t_w)$")
    aging.set_title(aging.get_title(loc="left") + r" of each its own $\Delta^*$", loc="left")
    aging.set(xscale="log", yscale="log", ylabel=time_label(first["lag"], "relaxation time $t^*(t_w)$"))
    for ax, words in ((loss, "time $t$"), (accuracy, "time $t$"), (noise, "waiting time $t_w$"),
                      (aging, "waiting time $t_w$")):  # fmt: skip
        ax.set_xlabel(time_label(first["time"], words))
    _legend(drawn, own)
    return drawn


def _drawn_members(dataset: xr.Dataset) -> list[Member]:
    """Return the members that have a loss, with colours and dashes."""
    found = [(labels, data) for labels, data in members(dataset) if "energy" in data]
    first = list(dict.fromkeys(next(iter(labels.values())) for labels, _ in found))
    others = list(dict.fromkeys(tuple(labels.values())[1:] for labels, _ in found))
    apart = len(others) <= len(DASHES)
    count = len(first) if apart else len(found)
    colours = dict(enumerate(PALETTE)) if count <= len(PALETTE) else colours_of(range(count))
    own = []
    for i, (labels, data) in enumerate(found):
        value, *rest = labels.values()
        colour, style = colours[first.index(value) if apart else i], "-"
        own.append(Member(labels, data, colour, DASHES[others.index(tuple(rest))] if apart else style))
    return own


def _draw(ax: Axes, member: Member, name: str) -> None:
    if name in member.data:
        course(ax, member.data, name, member.colour, "", member.style)


def _draw_noise(ax: Axes, member: Member) -> None:
    if "gradient_noise" not in member.data:
        return
    mean, error = (values.to_numpy() for values in estimate(member.data, "gradient_noise"))
    waiting = member.data["waiting_time"].to_numpy()
    shown = (waiting > 0) & (mean > 0)
    band(ax, waiting[shown], mean[shown], error[shown], member.colour, "", member.style)


def _draw_aging(ax: Axes, member: Member) -> None:
    """Draw t*(t_w) with its errors, where a threshold is crossed."""
    if not has_aging(member.data):
        return
    fit = fit_of(member.data)
    waiting, times = (fit[n].to_numpy().astype(float) for n in ("waiting_time", "relaxation_time"))
    error = fit["relaxation_time_error"].to_numpy()
    known = np.isfinite(times) & (waiting > 0)
    bars = error[known] if np.isfinite(error[known]).all() else None
    filled = member.colour if member.style == "-" else "white"
    ax.errorbar(waiting[known], times[known], bars, color=member.colour, ls=member.style, lw=1,
                marker="o", ms=3.5, mfc=filled, capsize=2)  # fmt: skip


def _legend(drawn: Figure, own: list[Member]) -> None:
    """Name the members below the panels; of many, a part."""
    named = np.unique(np.linspace(0, len(own) - 1, min(len(own), NAMED)).round().astype(int)).tolist()
    title = ", ".join(name.replace("_", " ") for name in own[0].labels)
    title += f" ({len(named)} of {len(own)})" if len(named) < len(own) else ""
    drawn.legend(
        [Line2D([], [], color=own[i].colour, ls=own[i].style) for i in named],
        [as_written(", ".join(text(value) for value in own[i].labels.values())) for i in named],
        title=title,
        loc="outside lower center",
        ncols=3,
        handlelength=2.6,
    )
