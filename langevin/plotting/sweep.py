"""A sweep is one figure: a curve for each member, and final energies against what was swept.

Of members that are cooled, or heated, at several rates energies stand against T(t). Where theory knows the
energy that infinitely slow cooling ends at, the distance from it is drawn, too, on two logarithmic axes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.results.kinds import two_time_names
from langevin.results.members import members, shortened_labels, text

from .bath import bath_of, draw_baths, is_ramped, time_scale
from .final import draw_above, draw_lines, lines_of, logarithmic, swept_label, swept_numbers
from .numerals import moment
from .panels import asymptote_words, band, comes_down, course, estimate, heed
from .registry import register
from .style import (
    BLACK,
    GREY,
    NAMED,
    as_written,
    axis_label,
    colours_of,
    member_legend,
    panels,
    symbol,
    time_label,
)
from .view import is_selecting, wanted

#: Lags that every member must have at the waiting time that is drawn, where there is such a one.
_LAGS = 10


def _names(dataset: xr.Dataset) -> list[str]:
    return [*two_time_names(dataset), *["energy"] * ("energy" in dataset)]


@register("members of a sweep", names=_names, kinds=["sweep"], priority=1)
def sweep_figure(dataset: xr.Dataset, quantity: str | None = None) -> Figure:
    """Draw energy and a two-time observable of all members, and final energies over a swept number.

    Parameters
    ----------
    dataset : Dataset
        With swept dimensions.
    quantity : str, optional
        Two-time observable; by default msd, if there is one. It is drawn at the latest waiting time that
        every member has curves at. "energy": that alone.
    """
    own = [(labels, member) for labels, member in members(dataset) if "energy" in member or "msd" in member]
    names = two_time_names(dataset)
    two_time = quantity or ("msd" if "msd" in names else next(iter(names), None))
    two_time = None if two_time == "energy" else two_time
    axis = _numeric_axis(dataset)
    lines = lines_of([member["energy"].attrs for _, member in own if "energy" in member])
    shown = ["energy"] * ("energy" in dataset) + ["two_time"] * (two_time is not None)
    shown += ["final"] * ("energy" in dataset and axis is not None)
    slow = "final" in shown and axis is not None and logarithmic(dataset[axis])
    shown += ["above"] * (slow and "threshold_at_end" in lines)
    looks = looks_of(dataset, own, axis)
    drawn, axes = panels(len(shown), len(shown))
    for ax, panel in zip(axes, shown, strict=True):
        if panel == "energy":
            draw_energies(ax, own, looks)
        elif panel == "two_time" and two_time is not None:
            words = _draw_two_time(ax, own, two_time, looks)
            ax.set_title(ax.get_title(loc="left") + words, loc="left")
        elif axis is not None:
            _draw_final(ax, dataset, own, axis, looks, lines, panel == "above")
    _legend(drawn, dataset, own, looks)
    return drawn


def _numeric_axis(dataset: xr.Dataset) -> str | None:
    """Return the coordinate of a swept number with most values, at least two; None if there is none."""
    sizes = swept_numbers(dataset)
    return max(sizes, key=lambda name: sizes[name]) if sizes else None


Members = list[tuple[dict[str, Any], xr.Dataset]]


class Look(NamedTuple):
    """How a member is drawn, and which of the entries of the legend is its."""

    colour: Any
    style: str
    entry: int


def looks_of(dataset: xr.Dataset, own: Members, axis: str | None) -> list[Look]:
    """Return a colour for each value of the number that is swept, and dashes for each of the others.

    Where the others are more than there are dashes, every member has a colour of its own.
    """
    dim = None if axis is None else str(dataset[axis].dims[0])
    others = list(dict.fromkeys(_others(labels, dim) for labels, _ in own))
    if dim is None or not 1 < len(others) <= len(DASHES):
        return [Look(colour, "-", i) for i, colour in colours_of(range(len(own))).items()]
    places = dataset[dim].to_numpy().tolist()
    colours = colours_of(range(len(places)))
    entries = [places.index(labels[dim]) for labels, _ in own]
    styles = [DASHES[others.index(_others(labels, dim))] for labels, _ in own]
    return [Look(colours[k], style, k) for k, style in zip(entries, styles, strict=True)]


#: Of the curves of one value of the other swept keys.
DASHES = ("-", "--", ":", "-.")


def _others(labels: Mapping[str, Any], dim: str | None) -> tuple[Any, ...]:
    return tuple(value for name, value in labels.items() if name != dim)


def _legend(drawn: Figure, dataset: xr.Dataset, own: Members, looks: list[Look]) -> None:
    """Name the members below the panels; where dashes tell the others apart, the swept number alone."""
    axis = _numeric_axis(dataset)
    dim = None if axis is None else str(dataset[axis].dims[0])
    alone = len({look.entry for look in looks}) < len(looks)
    entries = {
        look.entry: (
            {str(dim): labels[str(dim)]} if alone else labels,
            look.colour,
        )
        for (labels, _), look in zip(own, looks, strict=True)
    }
    named = [shortened_labels(dataset, labels) for labels, _ in entries.values()]
    member_legend(drawn, named, dict(enumerate(colour for _, colour in entries.values())))


def draw_energies(ax: Axes, own: Members, looks: list[Look]) -> None:
    """Draw the energies of members against t, with T(t) in a strip below; of ramps against T(t)."""
    having = [(member, look) for (_, member), look in zip(own, looks, strict=True) if "energy" in member]
    first = having[0][0]
    ax.set_ylabel(axis_label(first["energy"], "$E(t)$"))
    # Of a member that failed there may be nothing: neither times nor a temperature.
    having = [(member, look) for member, look in having if member["energy"].notnull().any()]
    if not having:
        ax.set_xlabel(time_label(first["time"], "time $t$"))
        return
    if all(is_ramped(member) for member, _ in having):
        for member, look in having:
            mean, error = (values.to_numpy() for values in estimate(member, "energy"))
            band(ax, member["temperature"].to_numpy(), mean, error, look.colour, "_", look.style)
        ax.set_xlabel(time_label(first["temperature"], "temperature $T(t)$"))
        return
    scales = {time_scale(member) for member, _ in having}
    ax.set(xscale=min(scales), xlabel=time_label(first["time"], "time $t$"))
    if all(bath_of(member) is None and comes_down(member) for member, _ in having):
        _draw_excesses(ax, having)
        return
    for member, look in having:
        course(ax, member, "energy", look.colour, "_", look.style)
    _draw_asymptotes(ax, having)
    draw_baths(ax, [member for member, _ in having], [look.colour for _, look in having])


def _draw_excesses(ax: Axes, having: list[tuple[xr.Dataset, Look]]) -> None:
    """Draw E − E_∞, of each member its own, on two logarithmic axes."""
    ax.set_yscale("log")
    for member, look in having:
        mean, error = (values.to_numpy() for values in estimate(member, "energy"))
        time = member["time"].to_numpy()
        shown = time > 0
        excess = mean - float(member["energy"].attrs["asymptote"])
        band(ax, time[shown], excess[shown], error[shown], look.colour, "_", look.style)
    heed(ax)
    ax.set_ylabel(axis_label(having[0][0]["energy"], r"$E(t)-E_\infty$"))
    known = {asymptote_words(member["energy"]) for member, _ in having}
    words = known.pop() if len(known) == 1 else r"of each its own $E_\infty$"
    ax.plot([], [], " ", label=words)
    ax.legend(loc="best")


def _draw_asymptotes(ax: Axes, having: list[tuple[xr.Dataset, Look]]) -> None:
    """Draw the E_∞ that members know as lines, once where it is the same."""
    known: dict[float, Any] = {}
    for member, look in having:
        if "asymptote" in member["energy"].attrs:
            value = float(member["energy"].attrs["asymptote"])
            known[value] = GREY if value in known else look.colour
    for value, colour in known.items():
        ax.axhline(value, color=colour, ls=":", lw=0.9)
    if known:
        ax.plot([], [], color=GREY, ls=":", lw=0.9, label=r"$E_\infty$ that the file knows")
        ax.legend(loc="best")


def _draw_two_time(ax: Axes, own: Members, name: str, looks: list[Look]) -> str:
    """Draw the observable at one waiting time, and return the words that say which."""
    estimates = {i: estimate(member, name) for i, (_, member) in enumerate(own) if name in member}
    counts = {
        i: {
            float(w): int(n)
            for w, n in zip(e.mean["waiting_time"], np.isfinite(e.mean.to_numpy()).sum(-1), strict=True)
        }
        for i, e in estimates.items()
    }
    # Members that were not measured at all have no say.
    having = [c for c in counts.values() if any(c.values())]
    common = set.intersection(*(set(c) for c in having)) if having else set()
    least = {w: min(c[w] for c in having) for w in common}
    waiting = max((w for w in least if least[w] >= _LAGS), default=None)
    if waiting is None:
        waiting = max((w for w in least if least[w]), key=lambda w: least[w], default=None)
    if is_selecting():
        # One panel has one waiting time of all members: the last that was asked for.
        there = sorted(w for w in least if least[w])
        waiting = there[wanted(there, range(len(there)))[-1]]
    for i, estimated in estimates.items():
        lag = estimated.mean["lag"].to_numpy()
        if waiting is not None and waiting in counts[i]:
            mean, error = (v.sel(waiting_time=waiting).to_numpy() for v in estimated)
            band(ax, lag, mean, error, looks[i].colour, "_", looks[i].style)
    values = own[0][1][name]
    ax.set(xscale="log", xlabel=time_label(values["lag"], "lag $t$"))
    ax.set_ylabel(axis_label(values, symbol(values)))
    if (name == "msd" or name.startswith("msd_")) and waiting is not None:
        ax.set_yscale("log")
    return "" if waiting is None else f" $t_w$ = {moment(waiting)}"


def _draw_final(
    ax: Axes,
    dataset: xr.Dataset,
    own: Members,
    axis: str,
    looks: list[Look],
    lines: Mapping[str, float],
    above: bool,
) -> None:
    """Draw the last energy of each member against a swept number, a curve for each value of the others.

    `above` draws its distance from the threshold, on two logarithmic axes.
    """
    dim = str(dataset[axis].dims[0])
    zero = lines["threshold_at_end"] if above else 0.0
    curves: dict[str, list[tuple[float, float, float, int]]] = {}
    for i, (labels, member) in enumerate(own):
        short = shortened_labels(dataset, {name: v for name, v in labels.items() if name != dim})
        others = ", ".join(f"{name} = {text(v)}" for name, v in short.items())
        known = estimate(member, "energy") if "energy" in member else None
        reached = np.flatnonzero(np.isfinite(known.mean.to_numpy())) if known else np.empty(0, dtype=int)
        # Of a member that did not come to its end the last energy is that of another time.
        if known is not None and reached.size and reached[-1] == known.mean.size - 1:
            point = (float(member[axis]), float(known.mean[-1]) - zero, float(known.error[-1]), i)
            curves.setdefault(others, []).append(point)
    for (others, points), style in zip(curves.items(), itertools.cycle(DASHES)):
        points = sorted(points)
        x, mean = (np.array([point[k] for point in points]) for k in (0, 1))
        label = "_" if above else as_written(others) or "_"
        ax.plot(x, np.abs(mean) if above else mean, color=GREY, ls=style, lw=1, label=label)
        for value, last, error, i in points:
            look: Any = {"color": looks[i].colour, "marker": "o", "ms": 4}
            if above:
                draw_above(ax, [value], [last], [error], look)
            else:
                ax.errorbar(value, last, error if np.isfinite(error) else None, **look)
    ax.set(xlabel=swept_label(dataset[axis]), ylabel="final energy" + " above the threshold" * above)
    if logarithmic(dataset[axis]):
        ax.set_xscale("log")
    if above:
        ax.set_yscale("log")
        return
    limits = sorted(
        (float(member[axis]), float(member["energy"].attrs["asymptote"]))
        for _, member in own
        if "energy" in member and "asymptote" in member["energy"].attrs
    )
    if limits and not lines:
        # Where another number is swept, too, there may be several at a place.
        joined = ":" if len(set(limits)) == len({x for x, _ in limits}) else ""
        ax.plot(
            *zip(*limits, strict=True), color=BLACK, ls=joined, lw=1, marker="_", ms=6, label=r"$E_\infty$"
        )
    draw_lines(ax, lines)
    if (any(curves) or (limits and not lines)) and len(curves) <= NAMED // 2:
        ax.legend(loc="upper left" if lines else "best")
