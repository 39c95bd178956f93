"""Aging by a threshold: t*(t_w), its power μ, the collapse by t/t_w^μ, and μ against the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.errors import UserError
from langevin.observables.aging import aging_collapse, aging_exponent, exponent_by_threshold

from .panels import curve, draw_two_time, estimate, reached_times
from .style import (
    BLUE,
    GREY,
    SYMBOLS,
    VERMILION,
    axis_label,
    colours_of,
    label_log,
    number,
    time_label,
    waiting_time_legend,
)

#: The name that asks for this figure; it is not in the file, but made of what is.
AGING = "aging"

#: Waiting times that the fit of a power needs.
LEAST = 4
#: Of the bootstrap: they give an error bar to 3 %.
RESAMPLES = 500


def has_aging(dataset: xr.Dataset) -> bool:
    """Say whether the file has displacements from enough waiting times."""
    if "msd" not in dataset or dataset["msd"].dims != ("replica", "waiting_time", "lag"):
        return False
    known = dataset["msd"].notnull().any(("replica", "lag")) & (dataset["waiting_time"] > 0)
    return int(known.sum()) >= LEAST


def aging_figure(dataset: xr.Dataset, threshold: float | None = None) -> Figure:
    """Draw msd with the threshold, t* against t_w, the collapse by t/t_w^μ, and μ against the threshold.

    Parameters
    ----------
    dataset : Dataset
        With msd of four or more waiting times > 0.
    threshold : float, optional
        Δ*, in the unit of msd; by default `observables.aging.exponent_by_threshold` chooses.

    Raises
    ------
    UserError
        If the threshold is not positive, or too few waiting times reach it.
    """
    msd = dataset["msd"]
    if threshold is not None and not 0 < threshold < np.inf:
        raise UserError(f"--threshold {threshold:g}: must be > 0 (of msd)")
    fit = aging_exponent(msd, threshold, least=LEAST, resamples=RESAMPLES)
    if not np.isfinite(fit["exponent"]):
        raise UserError(f"--quantity {AGING}: {fit['exponent'].attrs['reason']}")
    scan = exponent_by_threshold(msd, least=LEAST, resamples=RESAMPLES)
    colours = colours_of(reached_times(estimate(dataset, "msd")))
    made = Figure(figsize=(8.2, 7.4), layout="constrained")
    axes = np.asarray(made.subplots(2, 2)).ravel()
    _draw_crossings(axes[0], dataset, fit, colours)
    draw_times(axes[1], dataset, fit, colours)
    _draw_collapse(axes[2], dataset, fit, colours)
    _draw_exponents(axes[3], dataset, fit, scan)
    for ax, letter in zip(axes, "abcd", strict=True):
        ax.set_title(f"({letter})", loc="left")
    waiting_time_legend(made, dataset["waiting_time"], colours)
    return made


def uncertainty(fit: xr.Dataset) -> tuple[float, str]:
    """Return the error of μ and what it is: over samples, or of a single one the scatter about the fit."""
    error = float(fit["exponent_error"])
    if np.isfinite(error):
        return error, ""
    return float(fit["exponent_scatter"]), "scatter of the fit"


def _draw_crossings(ax: Axes, dataset: xr.Dataset, fit: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw msd against the lag, the threshold, and where it is crossed."""
    draw_two_time(ax, dataset, "msd", colours)
    level = float(fit["threshold"])
    line = ax.axhline(level, color=VERMILION, ls="--", lw=1, label=rf"$\Delta^*$ = {number(level)}")
    times = fit["relaxation_time"].to_numpy()
    known = np.isfinite(times)
    look: Any = {"ls": "", "marker": "o", "ms": 4.5, "mec": VERMILION, "mfc": "white", "zorder": 4}
    (marks,) = ax.plot(times[known], np.full(known.sum(), level), label="$t^*$", **look)
    # Curves rise from the lower left. Their waiting times are named below all panels.
    ax.legend(handles=[line, marks], loc="lower right")


def draw_times(ax: Axes, dataset: xr.Dataset, fit: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw t* against t_w with error bars, the power that is fitted, and slope 1."""
    waiting = fit["waiting_time"].to_numpy().astype(float)
    times, used = fit["relaxation_time"].to_numpy(), fit["fitted"].to_numpy()
    errors = np.abs(np.array([fit[f"relaxation_time_{end}"].to_numpy() for end in ("low", "high")]) - times)
    for i in np.flatnonzero(np.isfinite(times) & (waiting > 0)).tolist():
        bar = errors[:, i : i + 1] if np.isfinite(errors[:, i]).all() else None
        look: Any = {"color": colours[i], "mfc": colours[i] if used[i] else "white", "zorder": 3}
        ax.errorbar(waiting[i], times[i], bar, fmt="o", ms=5, capsize=2.5, lw=1.2, **look)
    ends = waiting[used][[0, -1]]
    mu, factor = float(fit["exponent"]), float(fit["prefactor"])
    error, kind = uncertainty(fit)
    label = rf"$\mu$ = {mu:.3f} ± {error:.3f}" + f" ({kind})" * bool(kind)
    label += f"\nlater half: {float(fit['exponent_late']):.3f}"
    ax.plot(ends, factor * ends**mu, color=VERMILION, label=label)
    # Through the first time, so that the eye sees how far the last one is from it.
    first = factor * ends[0] ** mu
    ax.plot(ends, first * ends / ends[0], color=GREY, ls="--", lw=1, label=r"$\propto t_w$")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=time_label(dataset["waiting_time"], "waiting time $t_w$"),
        ylabel=time_label(dataset["lag"], "relaxation time $t^*(t_w)$"),
    )
    label_log(ax)
    ax.legend(loc="upper left")


def _draw_collapse(ax: Axes, dataset: xr.Dataset, fit: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw msd against t/t_w^μ; the part by which the collapse is judged is shaded."""
    mu, found = float(fit["exponent"]), estimate(dataset, "msd")
    waiting, used = fit["waiting_time"].to_numpy().astype(float), fit["fitted"].to_numpy()
    ends = waiting[used][[0, -1]]
    judged = aging_collapse(dataset["msd"], mu, waiting_times=(ends[0], ends[1]), least=LEAST)
    for i in np.flatnonzero(used).tolist():
        scaled = found.mean.assign_coords(lag=found.mean["lag"] / waiting[i] ** mu)
        curve(ax, type(found)(scaled, found.error), i, colours[i], "_")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=r"$t\,/\,t_w^{\mu}$",
        ylabel=axis_label(dataset["msd"], SYMBOLS["msd"]),
    )
    spread = [float(judged[name]) for name in ("spread", "spread_full")]
    if np.isfinite(spread).all():
        middle = np.exp(np.log(waiting[judged["fitted"].to_numpy()]).mean())
        low, high = (float(judged[f"scaled_lag_{end}"]) / middle**mu for end in ("low", "high"))
        label = f"rms spread {_percent(spread[0])}\n(by $t/t_w$: {_percent(spread[1])})"
        ax.axvspan(low, high, color=GREY, alpha=0.15, lw=0, label=label)
        ax.legend(loc="best")


def _draw_exponents(ax: Axes, dataset: xr.Dataset, fit: xr.Dataset, scan: xr.Dataset) -> None:
    """Draw μ against the threshold with its error, the plateau, and what was chosen."""
    thresholds, mu = scan["threshold"].to_numpy(), scan["exponent"].to_numpy()
    known = np.isfinite(mu)
    error = scan["exponent_error"].to_numpy()
    if not np.isfinite(error).any():
        error = scan["exponent_scatter"].to_numpy()
    if known.any():
        x, y, e = thresholds[known], mu[known], np.nan_to_num(error[known])
        ax.plot(x, y, color=BLUE)
        ax.fill_between(x, y - e, y + e, color=BLUE, alpha=0.25, lw=0)
    low, high = (float(scan[f"plateau_{end}"]) for end in ("low", "high"))
    if np.isfinite(low):
        ax.axvspan(low, high, color=GREY, alpha=0.15, lw=0, label=r"$\mu$ constant")
    bar, _ = uncertainty(fit)
    level, chosen = float(fit["threshold"]), float(fit["exponent"])
    look: Any = {"fmt": "o", "ms": 5, "color": VERMILION, "capsize": 2.5, "zorder": 4}
    ax.errorbar(
        level, chosen, bar if np.isfinite(bar) else None, label=rf"$\Delta^*$ = {number(level)}", **look
    )
    ax.axhline(1, color=GREY, ls=":", lw=1)
    # An exponent without meaning, at the edge of what is known, must not set the scale.
    ax.set_ylim(min(-0.05, chosen - 0.2), max(1.1, chosen + 0.2))
    ax.set(xscale="log", xlabel=r"threshold $\Delta^*$", ylabel=r"exponent $\mu$")
    label_log(ax)
    ax.legend(loc="best")


def _percent(spread: float) -> str:
    return f"{100 * spread:.2g}%" if spread < 0.995 else f"factor {np.exp(spread):.2g}"
