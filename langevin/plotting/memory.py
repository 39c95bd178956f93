"""A sweep over the temperature of the start: what late times remember of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.observables.asymptote import asymptote
from langevin.observables.response import aging_line
from langevin.results.kinds import ONE_TIME, TWO_TIME, has
from langevin.results.members import members, sweep_dims

from .numerals import moment, number
from .registry import register
from .style import BLUE, GREY, VERMILION, colours_of, member_legend, panels, time_label

#: What is swept.
AXIS = "initial_temperature"
#: Decades that limits are judged by need.
_DECADES = 2.5
#: Part of q_EA, or of 1 where that is not known, between which X is fitted.
_AGING = (0.3, 0.6)


class Start(NamedTuple):
    """A member: 1/T_i, what its curves tend to, and X with the curves of the waiting time that it is from."""

    inverse: float
    member: xr.Dataset
    energy: xr.Dataset
    correlation: xr.Dataset
    ratio: xr.Dataset | None


def is_of_starts(dataset: xr.Dataset) -> bool:
    """Say whether a dataset is a sweep over the start alone, with late times and errors of a solver."""
    dims = sweep_dims(dataset)
    if dims != (AXIS,) or dataset.sizes.get("replica", 0) != 1 or dataset.sizes[AXIS] < 2:
        return False
    if not (has(dataset, "energy_error", *dims, *ONE_TIME) and has(dataset, "correlation", *dims, *TWO_TIME)):
        return False
    times = dataset["time"].to_numpy()
    times = times[times > 0]
    return bool(times.size and times[-1] >= 10**_DECADES * times[0] and 0 in dataset["waiting_time"])


@register("memory of the start", fits=is_of_starts, kinds=["sweep"], priority=2)
def memory_figure(dataset: xr.Dataset) -> Figure:
    """Draw what a sweep over T_i says of the memory of the start.

    (a) E(t) less its threshold; broken where it lies below. (b) C(t, 0). (c) E(t → ∞) with its error against
    1/T_i, beside the threshold. (d) C(t → ∞, 0). (e) the exponents of both. At T > 0 also (f) X of the last
    waiting time. Limits and errors are those of `observables.asymptote`.
    """
    starts = [_start(member) for _, member in members(dataset) if "energy" in member]
    colours = colours_of(range(len(starts)))
    responds = any(start.ratio is not None for start in starts)
    drawn, axes = panels(6 if responds else 5, 3, 1.1)
    _draw_energies(axes[0], starts, colours)
    _draw_correlations(axes[1], starts, colours)
    _draw_limits(axes[2], starts, "energy", r"$E(t\to\infty)$")
    _draw_limits(axes[3], starts, "correlation", r"$C(t\to\infty, 0)$")
    _draw_exponents(axes[4], starts)
    if responds:
        _draw_ratios(axes[5], starts)
    named = [number(1 / start.inverse) if start.inverse else "∞" for start in starts]
    member_legend(
        drawn, [{"start in equilibrium at (bars: errors of limits)": name} for name in named], colours
    )
    return drawn


def _start(member: xr.Dataset) -> Start:
    own = member.isel(replica=0)
    kept = own.sel(waiting_time=0.0)
    lags = partial(asymptote, dim="lag", at_least=0.0)
    temperature = float(member[AXIS])
    return Start(
        1 / temperature if np.isfinite(temperature) else 0.0,
        own,
        asymptote(own["energy"], own["energy_error"]),
        lags(kept["correlation"], kept.get("correlation_error")),
        _ratio(member),
    )


def _ratio(member: xr.Dataset) -> xr.Dataset | None:
    """Return X of the last waiting time with enough lags; None at T = 0, where there is no X."""
    if "integrated_response" not in member:
        return None
    about = member["integrated_response"].attrs
    temperature = float(about.get("temperature", 0.0))
    if temperature <= 0:
        return None
    plateau = float(about.get("q_ea", 1.0))
    between = (_AGING[0] * plateau, _AGING[1] * plateau)
    line = aging_line(member["correlation"], member["integrated_response"], temperature, between=between)
    known = np.flatnonzero(np.isfinite(line["fdt_ratio"].to_numpy()))
    return line.isel(waiting_time=int(known[-1])) if known.size else None


def _draw_energies(ax: Axes, starts: list[Start], colours: Mapping[int, Any]) -> None:
    about = starts[0].member["energy"].attrs
    threshold = float(about.get("threshold", about.get("asymptote", np.nan)))
    for i, start in enumerate(starts):
        reference = threshold if np.isfinite(threshold) else float(start.energy["limit"])
        t, above = start.member["time"].to_numpy(), start.member["energy"].to_numpy() - reference
        for sign, style in ((1, "-"), (-1, "--")):
            shown = (t > 0) & (sign * above > 0)
            ax.plot(t[shown], sign * above[shown], color=colours[i], ls=style, lw=1.2)
    words = r"$|E(t)-E_{th}|$" if np.isfinite(threshold) else r"$E(t)-E(\infty)$"
    if np.isfinite(threshold):
        ax.plot([], [], color=GREY, ls="--", label="below the threshold")
    ax.set(xscale="log", yscale="log", xlabel=time_label(starts[0].member["time"], "time $t$"), ylabel=words)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(loc="upper right")


def _draw_correlations(ax: Axes, starts: list[Start], colours: Mapping[int, Any]) -> None:
    for i, start in enumerate(starts):
        kept = start.member["correlation"].sel(waiting_time=0.0)
        ax.plot(kept["lag"], kept.where(kept > 0), color=colours[i], lw=1.2)
    lag = starts[0].member["lag"]
    ax.set(xscale="log", yscale="log", xlabel=time_label(lag, "time $t$"), ylabel="$C(t, 0)$")


def _draw_limits(ax: Axes, starts: list[Start], name: str, words: str) -> None:
    """Draw limits with errors; where there is no error, the last value as an open circle."""
    last = {"energy": "time", "correlation": "lag"}[name]
    shown: list[float] = []
    errors: list[float] = []
    for start in starts:
        limit = getattr(start, name)
        value, error = float(limit["limit"]), float(limit["limit_error"])
        if np.isfinite(error):
            # A correlation that tends to nothing is known from above only.
            below = min(error, value) if name == "correlation" else error
            ax.errorbar(start.inverse, value, [[below], [error]], color=BLUE, fmt="o", ms=3.5, capsize=2)
            shown.append(value)
            errors.append(error)
            continue
        course = start.member[name] if last == "time" else start.member[name].sel(waiting_time=0.0)
        label = "_" if len(shown) > len(errors) else "last value: no limit yet"
        shown.append(float(course.dropna(last)[-1]))
        ax.plot(start.inverse, shown[-1], "o", ms=4, mfc="none", color=GREY, label=label)
    about = starts[0].member["energy"].attrs
    if name == "energy" and "threshold" in about:
        label = f"$E_{{th}} = {about['threshold']:.6f}$"
        ax.axhline(about["threshold"], color=VERMILION, ls="--", lw=1, label=label)
        shown.append(float(about["threshold"]))
    elif name == "correlation":
        ax.axhline(0, color=GREY, ls=":", lw=1)
    # Errors larger than most say that nothing is known; they must not set the scale.
    room = max(0.2 * float(np.ptp(shown)), 2 * float(np.median(errors)) if errors else 0.0)
    if room > 0:
        ax.set_ylim(min(shown) - room, max(shown) + room)
    _finish(ax, starts, words)


def _draw_exponents(ax: Axes, starts: list[Start]) -> None:
    for name, colour, marker, words in (
        ("energy", BLUE, "o", "$E(t)$"),
        ("correlation", VERMILION, "s", "$C(t, 0)$"),
    ):
        laws = [(start.inverse, getattr(start, name)) for start in starts]
        points = [(x, float(law["exponent"]), float(law["exponent_error"])) for x, law in laws]
        known = [point for point in points if np.isfinite(point).all()]
        if known:
            x, y, e = zip(*known, strict=True)
            ax.errorbar(x, y, e, color=colour, fmt=marker, ms=3.5, capsize=2, label=words)
    about = starts[0].member.get("integrated_response")
    if about is not None and float(about.attrs.get("temperature", np.nan)) == 0:
        ax.axhline(2 / 3, color=GREY, ls=":", lw=1, label="2/3: pure models, $E(t)$")
    # Room for the legend above most errors.
    ax.set_ylim(0, 1.35 * min(max(ax.get_ylim()[1], 1.0), 2.0))
    _finish(ax, starts, "exponent of the approach")


def _draw_ratios(ax: Axes, starts: list[Start]) -> None:
    for start in starts:
        if start.ratio is not None:
            waiting = float(start.ratio["waiting_time"])
            ax.plot(start.inverse, float(start.ratio["fdt_ratio"]), "o", ms=4, color=BLUE)
            ax.set_title(f"(f) $t_w$ = {moment(waiting)}", loc="left")
    _finish(ax, starts, "fluctuation-dissipation ratio $X$")


def _finish(ax: Axes, starts: list[Start], words: str) -> None:
    dynamic = float(starts[0].member["energy"].attrs.get("dynamic_temperature", np.nan))
    if np.isfinite(dynamic):
        ax.axvline(1 / dynamic, color=GREY, ls="-.", lw=1, label="$1/T_{MCT}$")
    ax.set(xlabel="$1/T_i$", ylabel=words)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(loc="best")
