"""Aging across the jamming transition: displacements, gradient noise and unsatisfied patterns against r."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from langevin.observables.statistics import average
from langevin.observables.training.regimes import regimes
from langevin.results.members import members

from .aging import fit_of, has_aging
from .aging_sweep import Member as Fit
from .aging_sweep import draw_exponents, draw_times
from .jamming import has_jamming
from .registry import register
from .style import BLUE, GREY, VERMILION, colours_of, panels

#: A net is at rest that moves by less than this part of the largest Δ that it ever has.
REST = 1e-3
OWN = r"of each its own $\Delta^*$"
RATIO = "patterns for each weight $r = P/N$"


class Member(NamedTuple):
    """A member that ages, and its ratio r = P/N."""

    ratio: float
    data: xr.Dataset


def has_aging_nets(dataset: xr.Dataset) -> bool:
    """Say whether a sweep over the number of patterns has two-time displacements and the gradient noise."""
    return has_jamming(dataset) and "msd" in dataset and "gradient_noise" in dataset


def _own(dataset: xr.Dataset) -> list[Member]:
    found = []
    for _, member in members(dataset):
        if (
            "msd" in member
            and "unsatisfied_per_weight" in member
            and member.attrs.get("status") == "complete"
        ):
            about = member["unsatisfied_per_weight"].attrs
            found.append(Member(about["patterns"] / about["couplings"], member))
    return sorted(found, key=lambda one: one.ratio)


@register("jamming and aging", fits=has_aging_nets, kinds=["sweep"], priority=4)
def jamming_aging_figure(dataset: xr.Dataset) -> Figure:
    """Draw how nets with ever more patterns age under SGD, one colour for each r = P/N.

    (a) Δ(t_w, 2 t_w), at a lag of the age: constant in t_w where aging is simple, falling where it is
    interrupted; (b) the gradient noise D(t_w); both as means over nets with standard errors, on axes that end
    linearly at 0, for a net that is satisfied stands still. (c) Of the nets of each r: which part is at rest
    from the last waiting time on, and N_Δ/N at the end, as a mean over nets. (d) The times t*(t_w) at which Δ
    crosses a threshold, of each r its own; (e) the exponents μ of t* ~ t_w^μ, where there is none those of
    both halves of the waiting times; (f) t₁ and t₂, begin and end of the descent of the loss.
    """
    own = _own(dataset)
    colours = colours_of(range(len(own)))
    drawn, (left, middle, right, times, exponents, corners) = panels(6, 3)
    for k, member in enumerate(own):
        _draw_ages(left, member.data, colours[k])
        _draw_noise(middle, member.data, colours[k])
    _draw_rest(right, own)
    fits = [Fit({RATIO: member.ratio}, fit_of(member.data)) for member in own if has_aging(member.data)]
    hues = {i: colours[k] for i, k in enumerate(k for k in range(len(own)) if has_aging(own[k].data))}
    if fits:
        draw_times(times, own[0].data, fits, hues)
        draw_exponents(
            exponents, fits, hues, [one.labels[RATIO] for one in fits], r"of each its own $\Delta^*$"
        )
        # Room for the words below the bars.
        low, high = exponents.get_ylim()
        exponents.set_ylim(low - 0.35 * (high - low), high)
        exponents.legend(loc="lower right")
    exponents.set_xlabel(RATIO)
    _draw_corners(corners, own)
    left.set_ylabel(r"displacement $\Delta(t_w, 2t_w)$")
    middle.set_ylabel("gradient noise $D(t_w)$")
    for ax in (left, middle):
        ax.set(xscale="log", xlabel="waiting time $t_w$ (steps)")
        heights = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.lines])
        least = float(np.min(heights[heights > 0])) if (heights > 0).any() else 1e-9
        ax.set_yscale("symlog", linthresh=10 ** np.floor(np.log10(least)))
        ax.set_ylim(bottom=0)
    drawn.legend(
        [Line2D([], [], color=colours[k], marker="o", ms=3.5) for k in range(len(own))],
        [f"{member.ratio:.2f}" for member in own],
        title=RATIO,
        loc="outside lower center",
        ncols=min(len(own), 8),
    )
    return drawn


def _draw_ages(ax: Axes, member: xr.Dataset, colour: Any) -> None:
    """Draw Δ(t_w, t_w + t) at the lag t that is next to t_w in ln t, if it is within a factor of 1.3."""
    msd = average(member["msd"])
    waiting, lag = (member[n].to_numpy().astype(float) for n in ("waiting_time", "lag"))
    chosen = []
    for i, w in enumerate(waiting):
        known = np.flatnonzero((lag > 0) & np.isfinite(msd.mean[i].to_numpy()))
        if w > 0 and known.size:
            j = known[np.argmin(np.abs(np.log(lag[known] / w)))]
            if abs(np.log(lag[j] / w)) < np.log(1.3):
                chosen.append((w, float(msd.mean[i, j]), float(msd.error[i, j])))
    if chosen:
        x, mean, error = np.array(chosen).T
        ax.errorbar(x, mean, error, color=colour, marker="o", ms=3.5, lw=1.2)


def _draw_noise(ax: Axes, member: xr.Dataset, colour: Any) -> None:
    noise = average(member["gradient_noise"])
    x = member["waiting_time"].to_numpy()
    ax.errorbar(x, noise.mean.to_numpy(), noise.error.to_numpy(), color=colour, marker="o", ms=3.5, lw=1.2)


def _draw_rest(ax: Axes, own: list[Member]) -> None:
    ratios = [member.ratio for member in own]
    still = [_still(member.data) for member in own]
    counts = [average(member.data["unsatisfied_per_weight"].isel(time=-1)) for member in own]
    ax.plot(ratios, still, color=BLUE, marker="o", ms=4.5, label="part of nets at rest")
    means, errors = ([float(c[k]) for c in counts] for k in (0, 1))
    ax.errorbar(ratios, means, errors, color=VERMILION, marker="s", ms=4.5, label=r"$N_\Delta/N$ at the end")
    ax.axhline(0, color=GREY, lw=0.6)
    ax.set(xlabel=RATIO, ylabel=r"part of the nets; $N_\Delta/N$")
    ax.legend(loc="upper left")


def _draw_corners(ax: Axes, own: list[Member]) -> None:
    """Draw t₁ and t₂ against r, where there are any; bars are their ranges between definitions."""
    descents = [(member.ratio, regimes(member.data)) for member in own]
    for name, marker, colour in (("t1", "o", BLUE), ("t2", "s", VERMILION)):
        known = [(ratio, times) for ratio, times in descents if np.isfinite(float(times[name]))]
        if known:
            x = [ratio for ratio, _ in known]
            value, low, high = (
                np.array([float(times[name + end]) for _, times in known]) for end in ("", "_low", "_high")
            )
            bars = np.array([np.maximum(value - low, 0), np.maximum(high - value, 0)])
            label = f"${name[0]}_{name[1]}$, bars: other definitions"
            ax.errorbar(x, value, bars, color=colour, marker=marker, ms=4.5, ls="", capsize=2, label=label)
    ax.set(yscale="log", xlabel=RATIO, ylabel="time (steps)")
    ax.set_xlim(own[0].ratio - 0.2, own[-1].ratio + 0.2)
    if ax.get_legend_handles_labels()[0]:
        # Room for the words above the times.
        ax.set_ylim(top=30 * ax.get_ylim()[1])
        ax.legend(loc="upper right")


def _still(member: xr.Dataset) -> float:
    """Return the part of nets that hardly move after the last waiting time (`REST`)."""
    msd = member["msd"]
    return float((msd.isel(waiting_time=-1).max("lag") < REST * msd.max(("waiting_time", "lag"))).mean())
