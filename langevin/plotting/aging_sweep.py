"""Every member of a sweep ages: t* stands against t_w, and μ beside μ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.errors import UserError
from langevin.results.kinds import TWO_TIME, has
from langevin.results.members import members, sweep_dims, text
from langevin.speech import option

from .aging import AGING, LEAST, fit_of, has_aging
from .numerals import number
from .registry import register
from .style import GREY, colours_of, member_legend, panels, time_label

#: Members whose labels there is room for along an axis.
_LABELLED = 12


class Member(NamedTuple):
    """Labels of a member, and the fit of its relaxation times."""

    labels: dict[str, Any]
    fit: xr.Dataset


def _has_displacements(dataset: xr.Dataset) -> bool:
    return has(dataset, "msd", *sweep_dims(dataset), *TWO_TIME)


@register(AGING, fits=_has_displacements, kinds=["sweep"], options=["threshold"])
def aging_sweep_figure(dataset: xr.Dataset, threshold: float | None = None) -> Figure:
    """Draw t* against t_w with its power for each member, and the exponents.

    Parameters
    ----------
    dataset : Dataset
        With swept dimensions.
    threshold : float, optional
        Δ* of all members; by default each has the one that `observables.aging` chooses for it.

    Raises
    ------
    UserError
        If no member has enough waiting times that reach a threshold.
    """
    own = [(labels, member) for labels, member in members(dataset) if has_aging(member)]
    fits = [Member(labels, fit_of(member, threshold)) for labels, member in own]
    fits = [member for member in fits if member.fit["fitted"].any()]
    if not fits:
        raise UserError(
            f"{option('quantity', AGING)}: no member has {LEAST} waiting times that reach a threshold"
        )
    colours = colours_of(range(len(fits)))
    drawn, (left, right) = panels(2, 2)
    draw_times(left, own[0][1], fits, colours)
    dims = sweep_dims(dataset)
    numeric = len(dims) == 1 and dataset[dims[0]].dtype.kind in "iuf"
    said = "of each its own $\\Delta^*$" if threshold is None else rf"$\Delta^*$ = {number(threshold)}"
    draw_exponents(right, fits, colours, [m.labels[dims[0]] for m in fits] if numeric else None, said)
    right.set_xlabel(", ".join(d.replace("_", " ") for d in dims))
    member_legend(drawn, [member.labels for member in fits], colours)
    return drawn


def draw_times(ax: Axes, first: xr.Dataset, fits: Sequence[Member], colours: Mapping[int, Any]) -> None:
    """Draw t*(t_w) of each member, what was fitted filled, with its power; units are those of the first."""
    for i, (_, fit) in enumerate(fits):
        waiting, times = (fit[n].to_numpy().astype(float) for n in ("waiting_time", "relaxation_time"))
        used, known = fit["fitted"].to_numpy(), np.isfinite(times) & (waiting > 0)
        look: Any = {"color": colours[i], "ls": "", "marker": "o", "ms": 4.5}
        ax.plot(waiting[known & ~used], times[known & ~used], mfc="white", **look)
        error = fit["relaxation_time_error"].to_numpy()[used]
        bars = error if np.isfinite(error).all() else None
        ax.errorbar(waiting[used], times[used], bars, capsize=2, lw=1, **look)
        ends = waiting[used][[0, -1]]
        # NaN where there is no exponent: no line.
        ax.plot(ends, float(fit["prefactor"]) * ends ** float(fit["exponent"]), color=colours[i], lw=1.2)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=time_label(first["waiting_time"], "waiting time $t_w$"),
        ylabel=time_label(first["lag"], "relaxation time $t^*(t_w)$"),
    )


def draw_exponents(
    ax: Axes, fits: Sequence[Member], colours: Mapping[int, Any], places: Sequence[float] | None, said: str
) -> None:
    """Draw μ ± its total error of each member, at these numbers, or side by side; `said` names the threshold.

    Where a member has no exponent, those of both halves of its waiting times are drawn, open.
    """
    x = np.arange(float(len(fits))) if places is None else np.asarray(places, dtype=float)
    open_ones = False
    for i, (_, fit) in enumerate(fits):
        error = float(fit["exponent_total_error"])
        if np.isfinite(fit["exponent"]):
            bar = error if np.isfinite(error) else None
            ax.errorbar(x[i], float(fit["exponent"]), bar, color=colours[i], fmt="o", ms=5, capsize=3)
            continue
        parts = [float(fit[f"exponent_{half}"]) for half in ("early", "late")]
        label = "_" if open_ones else "no power: halves of $t_w$"
        ax.plot([x[i]] * 2, parts, color=colours[i], ls=":", lw=1, marker="o", ms=4, mfc="white", label=label)
        open_ones = True
    ax.axhline(1, color=GREY, ls=":", lw=1, label=r"$\mu = 1$")
    ax.set_ylabel(rf"exponent $\mu$ ({said})")
    ax.set_ylim(min(0.0, ax.get_ylim()[0]), max(1.1, ax.get_ylim()[1]))
    if places is None:
        words = [", ".join(text(v) for v in m.labels.values()) for m in fits]
        ax.set_xticks(x, words if len(fits) <= _LABELLED else [""] * len(fits))
        if len(fits) > 1 and max(map(len, words)) * len(fits) > 36:
            ax.tick_params("x", rotation=30)
        ax.set_xlim(-0.5, len(fits) - 0.5)
    ax.legend(loc="lower right")
