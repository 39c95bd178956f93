"""Aging is drawn by a threshold: t*(t_w), its power μ, the collapse by t/t_w^μ, μ against the threshold."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.errors import UserError
from langevin.observables.aging import aging_collapse, aging_exponent, exponent_by_threshold
from langevin.results import exponent_words
from langevin.results.kinds import TWO_TIME, has
from langevin.speech import option

from .numerals import number
from .panels import curve, draw_two_time, estimate, reached_times
from .registry import register
from .style import (
    BLUE,
    GREY,
    SYMBOLS,
    VERMILION,
    axis_label,
    colours_of,
    panels,
    time_label,
    waiting_time_legend,
)

#: The name that asks for this figure; it is not in the file, but made of what is.
AGING = "aging"

#: Waiting times that the fit of a power needs.
LEAST = 4
#: Standard errors by which halves differ that do not belong to one power; and a difference that nobody sees.
_SIGMAS, _STRAIGHT = 3.0, 0.01
#: Of the bootstrap: they give an error bar to 3 %.
RESAMPLES = 500


def has_aging(dataset: xr.Dataset) -> bool:
    """Say whether the file has displacements from enough waiting times."""
    if not has(dataset, "msd", *TWO_TIME):
        return False
    known = dataset["msd"].notnull().any(("replica", "lag")) & (dataset["waiting_time"] > 0)
    return int(known.sum()) >= LEAST


@register(AGING, fits=has_aging, options=["threshold"])
def aging_figure(dataset: xr.Dataset, threshold: float | None = None) -> Figure:
    """Draw msd with the threshold, t* against t_w, the collapse by t/t_w^μ, and μ against the threshold.

    Where there is no exponent the figure says why, and curves are drawn against t/t_w.

    Parameters
    ----------
    dataset : Dataset
        With msd of four or more waiting times > 0.
    threshold : float, optional
        Δ*, in the unit of msd; by default `observables.aging.aging_exponent` chooses.

    Raises
    ------
    UserError
        If the threshold is not positive, or too few waiting times reach it.
    """
    if threshold is not None and not 0 < threshold < np.inf:
        raise UserError(f"{option('threshold', f'{threshold:g}')}: must be > 0 (of msd)")
    fit = fit_of(dataset, threshold)
    if threshold is not None and not fit["fitted"].any():
        raise UserError(f"{option('quantity', AGING)}: {exponent_words.reason(fit)}")
    scan = exponent_by_threshold(dataset["msd"], least=LEAST, resamples=RESAMPLES)
    colours = colours_of(reached_times(estimate(dataset, "msd")))
    drawn, axes = panels(4, 2, 1.1)
    _draw_crossings(axes[0], dataset, fit, colours)
    draw_times(axes[1], dataset, fit, colours)
    _draw_collapse(axes[2], dataset, fit, colours, threshold)
    _draw_exponents(axes[3], fit, scan)
    waiting_time_legend(drawn, dataset["waiting_time"], colours)
    return drawn


def fit_of(dataset: xr.Dataset, threshold: float | None = None) -> xr.Dataset:
    """Return the exponent of aging of a file, or why there is none."""
    accuracy = exponent_words.accuracy(dataset)
    return aging_exponent(dataset["msd"], threshold, least=LEAST, resamples=RESAMPLES, accuracy=accuracy)


def described(fit: xr.Dataset, numerical: bool) -> str:
    """Return the lines of a legend: the exponent with its errors, or why there is none."""
    why = exponent_words.reason(fit)
    if not why:
        lines = [rf"$\mu$ = {exponent_words.exponent(fit)}"]
        if is_curved(fit):
            way = "rises" if float(fit["exponent_late"]) > float(fit["exponent_early"]) else "falls"
            lines = [f"no single power: $\\mu$ {way}", f"effective {lines[0]}"]
        lines += [_printed(exponent_words.parts(fit, numerical)).replace(", ", ",\n", 1)]
        return "\n".join([*lines, f"halves of $t_w$: {exponent_words.halves(fit)}"])
    local = exponent_words.local(fit)
    lines = textwrap.wrap(f"no exponent: {why}", 34)
    lines += textwrap.wrap(f"local: {local}", 38) if local else []
    return "\n".join(lines)


def is_curved(fit: xr.Dataset) -> bool:
    """Say whether the exponents of both halves of the waiting times differ by more than noise makes them.

    A half has half of the points over half of the span: the variance of its slope is 2 · 2² = 8 times that of
    the whole, that of half the difference of two halves 4 times.
    """
    drift = abs(float(fit["exponent_late"]) - float(fit["exponent_early"])) / 2
    return drift > max(_SIGMAS * 2 * float(np.nan_to_num(fit["exponent_error"])), _STRAIGHT)


def _printed(words: str) -> str:
    """Return words with the powers of ten set of small numbers; below a millionth they are nothing."""

    def one(found: re.Match[str]) -> str:
        return number(float(found[0])) if float(found[0]) > 1e-6 else "0"

    return re.sub(r"\d+e-\d+", one, words)


def _draw_crossings(ax: Axes, dataset: xr.Dataset, fit: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw msd against the lag, the threshold, and where it is crossed."""
    draw_two_time(ax, dataset, "msd", colours)
    level = float(fit["threshold"])
    if not np.isfinite(level):
        return
    line = ax.axhline(level, color=VERMILION, ls="--", lw=1, label=rf"$\Delta^*$ = {number(level)}")
    times = fit["relaxation_time"].to_numpy()
    known = np.isfinite(times)
    look: Any = {"ls": "", "marker": "o", "ms": 4.5, "mec": VERMILION, "mfc": "white", "zorder": 4}
    (marks,) = ax.plot(times[known], np.full(known.sum(), level), label="$t^*$", **look)
    # Curves rise from the lower left. Their waiting times are named below all panels.
    ax.legend(handles=[line, marks], loc="lower right")


def draw_times(ax: Axes, dataset: xr.Dataset, fit: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw t* against t_w with error bars, the power that is fitted, if there is one, and slope 1."""
    waiting = fit["waiting_time"].to_numpy().astype(float)
    times, used = fit["relaxation_time"].to_numpy(), fit["fitted"].to_numpy()
    errors = np.abs(np.array([fit[f"relaxation_time_{end}"].to_numpy() for end in ("low", "high")]) - times)
    for i in np.flatnonzero(np.isfinite(times) & (waiting > 0)).tolist():
        bar = errors[:, i : i + 1] if np.isfinite(errors[:, i]).all() else None
        # Points whose curves are not asked for are there all the same: the fit is theirs, too.
        colour = colours.get(i, GREY)
        look: Any = {"color": colour, "mfc": colour if used[i] else "white", "zorder": 3}
        ax.errorbar(waiting[i], times[i], bar, fmt="o", ms=5, capsize=2.5, lw=1.2, **look)
    if used.any() and (np.isfinite(times) & (waiting > 0) & ~used).any():
        ax.plot([], [], color=GREY, ls="", marker="o", ms=5, mfc="white", label="not in the fit")
    words = described(fit, exponent_words.accuracy(dataset) is not None)
    if np.isfinite(fit["exponent"]):
        ends = waiting[used][[0, -1]]
        power = float(fit["prefactor"]) * ends ** float(fit["exponent"])
        ax.plot(ends, power, color=VERMILION, ls=":" if is_curved(fit) else "-", label=words)
    else:
        ax.plot([], [], ls="", label=words)
    if used.any():
        # Through the first point, so that the eye sees how far the last one is from it.
        first = np.flatnonzero(used)[0]
        ends = waiting[used][[0, -1]]
        ax.plot(ends, times[first] * ends / ends[0], color=GREY, ls="--", lw=1, label=r"$\propto t_w$")
    ax.set(
        xlabel=time_label(dataset["waiting_time"], "waiting time $t_w$"),
        ylabel=time_label(dataset["lag"], "relaxation time $t^*(t_w)$"),
    )
    if np.isfinite(times).any():
        ax.set(xscale="log", yscale="log")
        # Room above the points for what is said of them.
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * (high / low) ** 0.45)
    ax.legend(loc="upper left", handlelength=1.4)


def _draw_collapse(
    ax: Axes, dataset: xr.Dataset, fit: xr.Dataset, colours: Mapping[int, Any], threshold: float | None
) -> None:
    """Draw msd against t/t_w^μ, or t/t_w; the part by which the collapse is judged is shaded."""
    known = bool(np.isfinite(fit["exponent"]))
    mu, displaced = float(fit["exponent"]) if known else 1.0, estimate(dataset, "msd")
    waiting, used = fit["waiting_time"].to_numpy().astype(float), fit["fitted"].to_numpy()
    for i in np.flatnonzero(used if used.any() else waiting > 0).tolist():
        if i in colours:
            scaled = displaced.mean.assign_coords(lag=displaced.mean["lag"] / waiting[i] ** mu)
            curve(ax, type(displaced)(scaled, displaced.error), i, colours[i], "_")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=r"$t\,/\,t_w^{\mu}$" if known else r"$t\,/\,t_w$",
        ylabel=axis_label(dataset["msd"], SYMBOLS["msd"]),
    )
    if not used.any():
        return
    accuracy = exponent_words.accuracy(dataset)
    if threshold is None:
        judged = aging_collapse(dataset["msd"], None if known else 1.0, least=LEAST, accuracy=accuracy)
    else:
        between = (float(fit["threshold_low"]), float(fit["threshold_high"]))
        judged = aging_collapse(dataset["msd"], mu, between=between, least=LEAST, accuracy=accuracy)
    if np.isfinite(judged["spread"]):
        middle = np.exp(np.log(waiting[judged["fitted"].to_numpy()]).mean())
        low, high = (float(judged[f"scaled_lag_{end}"]) / middle**mu for end in ("low", "high"))
        label = f"rms spread {_percent(judged, 'spread')}"
        if known:
            label += f"\n(by $t/t_w$: {_percent(judged, 'spread_full')})"
        ax.axvspan(low, high, color=GREY, alpha=0.15, lw=0, label=label)
        ax.legend(loc="best")


def _draw_exponents(ax: Axes, fit: xr.Dataset, scan: xr.Dataset) -> None:
    """Draw μ against the threshold with its error, the range that counts, and what was chosen."""
    thresholds, mu = scan["threshold"].to_numpy(), scan["exponent"].to_numpy()
    known = np.isfinite(mu)
    ax.set(xlabel=r"threshold $\Delta^*$", ylabel=r"exponent $\mu$")
    if not known.any():
        ax.text(0.5, 0.5, "no common threshold", transform=ax.transAxes, ha="center", va="center")
        return
    x, y, e = thresholds[known], mu[known], np.nan_to_num(scan["exponent_error"].to_numpy()[known])
    ax.plot(x, y, color=BLUE)
    ax.fill_between(x, y - e, y + e, color=BLUE, alpha=0.25, lw=0)
    low, high, level = (float(fit[name]) for name in ("threshold_low", "threshold_high", "threshold"))
    if np.isfinite(low):
        ax.axvspan(low, high, color=GREY, alpha=0.15, lw=0, label="range of $\\Delta^*$")
    shown = y[(x >= low) & (x <= high)] if np.isfinite(low) else y
    chosen, bar = float(fit["exponent"]), float(fit["exponent_total_error"])
    if np.isfinite(chosen):
        look: Any = {"fmt": "o", "ms": 5, "color": VERMILION, "capsize": 2.5, "zorder": 4}
        label = rf"$\Delta^*$ = {number(level)}, total error"
        ax.errorbar(level, chosen, bar if np.isfinite(bar) else None, label=label, **look)
        shown = np.append(shown, [chosen - np.nan_to_num(bar), chosen + np.nan_to_num(bar)])
    elif np.isfinite(level):
        label = rf"$\Delta^*$ = {number(level)}: no exponent"
        ax.axvline(level, color=VERMILION, ls="--", lw=1, label=label)
    ax.axhline(1, color=GREY, ls=":", lw=1, label=r"$\mu = 1$")
    # Exponents without meaning, at the edges of what is known, must not set the scale.
    shown = shown if shown.size else y
    ax.set_ylim(min(-0.05, shown.min() - 0.1), max(1.1, shown.max() + 0.1))
    ax.set_xscale("log")
    ax.legend(loc="best")


def _percent(judged: xr.Dataset, name: str) -> str:
    """Return a spread with its error, or a bound where it is within two of them of nothing."""
    value, error, high = (float(judged[key]) for key in (name, f"{name}_error", f"{name}_high"))
    if value > np.log(2):
        return f"factor {np.exp(value):.2g}"
    if not np.isfinite(error):
        return f"{100 * value:.2g}%"
    if float(judged[f"{name}_low"]) == 0:
        return f"below {100 * high:.2g}%"
    return f"{100 * value:.2g} ± {100 * error:.1g} %"
