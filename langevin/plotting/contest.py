"""A contest of algorithms: energies against evaluations of the gradient, and triangles that see no clock."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.observables.clocks import Arrival
from langevin.observables.statistics import average
from langevin.observables.sufficiency import too_few
from langevin.results import contest
from langevin.results.contest import Competitor

from .panels import band
from .registry import register
from .style import GREY, PALETTE, axis_label, legend_below, panels

#: Colours and marks of competitors, in their order.
COLOURS = (*PALETTE, "black")
MARKERS = "o^vDPX*"


@register("contest", fits=contest.is_contest, kinds=["sweep"], priority=3)
def contest_figure(dataset: xr.Dataset) -> Figure:
    """Draw a sweep over algorithms.

    (a) Mean energies against evaluations of the gradient for one replica; the legend has the number at which
    half of the runs have been at the target, the energy of the first member at a tenth of its time. (b) The
    triangle Δ(t₃, t₂) over Δ(t₃, t₁), from one energy at t₁ on and for one way Δ(t₂, t₁) = a: members that
    differ by their clocks alone share a curve. Bars are standard errors over samples.
    """
    drawn, (left, right) = panels(2, 2)
    scored = contest.scores(dataset)
    energy = contest.target(scored[0][0])
    left.axhline(energy, color=GREY, ls=":", lw=1)
    for k, (one, arrival) in enumerate(scored):
        _draw_energy(left, one, f"{one.label}: {said(arrival)}", k)
    left.set(xscale="log", xlabel="gradient evaluations of one replica")
    left.set_ylabel(axis_label(dataset["energy"], "$E$"))
    left.set_title(f"(a) gradients to $E = {energy:.4g}$ (dotted)", loc="left")
    _draw_triangles(right, dataset)
    handles, labels = left.get_legend_handles_labels()
    lacking = too_few("steps_to", min(_samples(one) for one, _ in scored))
    said_of = f"intervals: {lacking}" if lacking else "half of the runs are there after (68 % interval)"
    legend_below(drawn, handles, labels, said_of)
    return drawn


def _samples(one: Competitor) -> int:
    """Return how many independent samples a competitor ran."""
    return int(average(one.result["energy"]).error.attrs["samples"])


def said(arrival: Arrival) -> str:
    """Say when half of the runs arrive, with the interval."""
    if not np.isfinite(arrival.median):
        return f"> {_three_digits(arrival.lasted)} ({arrival.arrived} of {arrival.runs} runs)"
    high = _three_digits(arrival.high) if np.isfinite(arrival.high) else "∞"
    return f"{_three_digits(arrival.median)} ({_three_digits(arrival.low)} … {high})"


def _three_digits(value: float) -> str:
    """Return a number with three significant digits, and without a power of ten below a million."""
    return f"{float(f'{value:.3g}'):g}"


def _draw_energy(ax: Axes, one: Competitor, label: str, k: int) -> None:
    estimated, colour = average(one.result["energy"]), COLOURS[k % len(COLOURS)]
    x = one.evaluations
    later = x > 0
    mean, error = (np.asarray(part)[later] for part in (estimated.mean, estimated.error))
    # Dashed, so that one which falls on another leaves that visible.
    band(ax, x[later], mean, error, colour, label, "--" if k > 2 else "-")


def _draw_triangles(ax: Axes, dataset: xr.Dataset) -> None:
    levels, travelled, curves = contest.triangles(dataset)
    ax.plot(levels, levels - travelled, color=GREY, ls=":", lw=1, label="no memory")
    for k, (_, curve) in enumerate(curves):
        if curve is not None and np.isfinite(curve.value).any():
            ax.errorbar(
                levels, curve.value, curve.error(), color=COLOURS[k % len(COLOURS)], lw=0.8,
                ls="--" if k > 2 else "-", marker=MARKERS[k % 7], ms=7 - k % 7, mfc="none",
            )  # fmt: skip
    ax.legend(loc="upper left")
    ax.set(xlabel=r"$\Delta(t_3, t_1)$", ylabel=r"$\Delta(t_3, t_2)$")
    ax.set_title(rf"(b) $\Delta(t_2, t_1) = {travelled:.3g}$", loc="left")
