"""Training takes its course in losses, accuracies, displacements, and these over the gradient noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from langevin.observables.statistics import Estimate
from langevin.observables.training import msd_over_noise
from langevin.observables.training.regimes import is_number, regimes
from langevin.results.kinds import ONE_TIME, TWO_TIME, has, two_time_names

from .aging import AGING, draw_times, fit_of, has_aging
from .bath import draw_bath
from .numerals import number
from .panels import course, curve, draw_displacement_response, draw_two_time, estimate, reached_times
from .registry import register
from .sheet import columns_of, size_of
from .style import BLUE, GREY, VERMILION, colours_of, legend_above, time_label, waiting_time_legend
from .temperature import EFFECTIVE_TEMPERATURE, has_temperature

#: The name that asks for Δ/D alone; it is not in the file, but made of what is.
MSD_OVER_NOISE = "msd_over_noise"

#: A line is in sight over this factor of the lag; a slope stands this factor below the curves.
_SEEN, _BELOW = 10.0, 4.0

_SCALED = r"$\Delta(t_w, t_w+t)\,/\,D(t_w)$"

#: Variables of the panel of accuracies, and how the legend calls them.
_ACCURACIES = {"train_accuracy": "training", "test_accuracy": "test"}


def _trains(dataset: xr.Dataset) -> bool:
    return all(has(dataset, name, *ONE_TIME) for name in ("energy", "test_loss"))


@register("course of training", fits=_trains, names=lambda dataset: [], priority=3)
def training_figure(dataset: xr.Dataset, _: str | None = None) -> Figure:
    """Draw losses and accuracies with t₁ and t₂, displacements, and their collapse by the gradient noise.

    As Figs. 2 to 5 of Baity-Jesi et al. 2018. Where the loss has not come to its bottom, so that the noise
    need not collapse anything, the last panel is t* against t_w, if displacements have a power of the waiting
    time (Herrera Segura et al. 2022); without gradient noise it is the correlation. Of a file with a response
    it is the response against displacements.
    """
    corners, scaled, two_time = regimes(dataset), _scaled(dataset), two_time_names(dataset)
    t2 = float(corners["t2"])
    upper = ["losses"] + ["accuracies"] * any(n in dataset for n in _ACCURACIES)
    fit = _aging(dataset) if "msd" in two_time and not np.isfinite(t2) else None
    last = AGING if fit is not None else "correlation" if scaled is None else "collapse"
    last = EFFECTIVE_TEMPERATURE if has_temperature(dataset) else last
    lower = [n for n in ("msd", last) if n in (*two_time, "collapse", AGING, EFFECTIVE_TEMPERATURE)]
    colours = colours_of(sorted({i for n in two_time for i in reached_times(estimate(dataset, n))}))
    groups = _groups(scaled, t2) if last == "collapse" and scaled is not None else {}
    drawn, cells = _cells(upper, lower, len(groups) > 1)
    letters = iter("abcde")
    for panel, own in zip((*upper, *lower), cells, strict=True):
        if panel == "collapse" and scaled is not None:
            _draw_collapse(drawn, own, dataset, scaled, t2, colours, letters)
            continue
        ax = drawn.add_subplot(own[0])
        # Its place on the sheet is known to what follows.
        ax.set_title(f"({next(letters)})", loc="left")
        if panel == "losses":
            draw_losses(ax, dataset, corners)
        elif panel == "accuracies":
            draw_accuracies(ax, dataset, corners)
        elif panel == EFFECTIVE_TEMPERATURE:
            draw_displacement_response(ax, dataset, colours)
        elif panel == AGING and fit is not None:
            draw_times(ax, dataset, fit, colours)
        else:
            draw_two_time(ax, dataset, panel, colours)
    waiting_time_legend(drawn, dataset["waiting_time"], colours)
    return drawn


def _cells(upper: list[str], lower: list[str], stacked: bool) -> tuple[Figure, list[list[SubplotSpec]]]:
    """Return a figure, and the cells of each panel; `stacked`: the last has two, one above the other.

    Two panels stand side by side, where there is room for them, else all stand one below the other.
    """
    rows = [part for part in (upper, lower) if part]
    if columns_of(2, 2) == 1:
        rows = [[panel] for part in rows for panel in part]
    # One grid for all: frames of nested ones would not line up.
    heights, spans = list[float](), list[slice]()
    for k, part in enumerate(rows):
        last = k == len(rows) - 1
        own = [0.7, 0.7] if last and stacked else [1.2] if part == lower else [1.0]
        spans.append(slice(len(heights), len(heights) + len(own)))
        heights += own
    columns = max(map(len, rows))
    drawn = Figure(figsize=size_of(1, columns, sum(heights)), layout="constrained")
    grid = drawn.add_gridspec(len(heights), columns, height_ratios=heights)
    cells = []
    for span, part in zip(spans, rows, strict=True):
        for k, panel in enumerate(part):
            across = slice(k, k + 1) if len(part) > 1 else slice(None)
            single = panel == "collapse" and stacked
            cells.append(
                [grid[row, across] for row in range(span.start, span.stop)]
                if single
                else [grid[span, across]]
            )
    return drawn, cells


def _aging(dataset: xr.Dataset) -> xr.Dataset | None:
    """Return t*(t_w) with its power, or why there is none; None where no threshold is crossed."""
    if not has_aging(dataset):
        return None
    fit = fit_of(dataset)
    return fit if fit["fitted"].any() else None


def has_noise(dataset: xr.Dataset) -> bool:
    """Say whether the file has what Δ/D is made of."""
    return has(dataset, "msd", *TWO_TIME) and has(dataset, "gradient_noise", "replica", "waiting_time")


@register(MSD_OVER_NOISE, fits=has_noise)
def collapse_figure(dataset: xr.Dataset) -> Figure:
    """Draw Δ/D alone, as Figs. 4 and 5 of Baity-Jesi et al. 2018."""
    scaled = msd_over_noise(dataset)
    t2 = float(regimes(dataset)["t2"]) if "energy" in dataset else np.nan
    colours = colours_of(reached_times(scaled))
    rows = len(_groups(scaled, t2))
    drawn = Figure(figsize=size_of(rows, 1, 1.2 if rows == 1 else 0.9), layout="constrained")
    grid = drawn.add_gridspec(rows, 1)
    _draw_collapse(drawn, [grid[row, 0] for row in range(rows)], dataset, scaled, t2, colours, iter(()))
    waiting_time_legend(drawn, dataset["waiting_time"], colours)
    return drawn


def draw_losses(ax: Axes, dataset: xr.Dataset, corners: xr.Dataset) -> None:
    """Draw training and test loss against log time, and the times between the regimes.

    These are the `corners` of `observables.training.regimes`. The axis of the loss is linear: on it the
    descent between them is straight.
    """
    course(ax, dataset, "energy", BLUE, "training")
    course(ax, dataset, "test_loss", VERMILION, "test")
    _mark(ax, corners, named=True)
    ax.set(xscale="log", xlabel=time_label(dataset["time"], "time $t$"), ylabel="loss")
    draw_bath(ax, dataset)
    legend_above(ax, rows=2)


def draw_accuracies(ax: Axes, dataset: xr.Dataset, corners: xr.Dataset) -> None:
    """Draw the accuracies against log time; parameters as of `draw_losses`."""
    for (name, label), colour in zip(_ACCURACIES.items(), (BLUE, VERMILION), strict=True):
        if name in dataset:
            course(ax, dataset, name, colour, label)
    _mark(ax, corners, named=False)
    ax.set(xscale="log", xlabel=time_label(dataset["time"], "time $t$"), ylabel="accuracy")
    legend_above(ax)


def _mark(ax: Axes, corners: xr.Dataset, named: bool) -> None:
    """Draw t₁ and t₂ where there are, and the range of their definitions, with the statistical error."""
    for name, symbol, style in (("t1", "t_1", "--"), ("t2", "t_2", "-.")):
        t, error, low, high = (float(corners[f"{name}{kind}"]) for kind in ("", "_error", "_low", "_high"))
        if not np.isfinite(t):
            continue
        relative = error / t if np.isfinite(error) else 0.0
        ends = f"{number(low)} to {number(high)}"
        label = f"${symbol}$ = {number(t)} ({ends})" if is_number(corners, name) else f"${symbol}$: {ends}"
        ax.axvline(t, color=GREY, ls=style, lw=1, label=label if named else None)
        ax.axvspan(low * np.exp(-relative), high * np.exp(relative), color=GREY, alpha=0.15, lw=0)


def _scaled(dataset: xr.Dataset) -> Estimate | None:
    """Return Δ/D where any of it is known."""
    scaled = msd_over_noise(dataset) if has_noise(dataset) else None
    return scaled if scaled is not None and reached_times(scaled) else None


def _groups(scaled: Estimate, t2: float) -> dict[str, list[int]]:
    """Return the indices of the waiting times to draw, those until t₂ and those after it apart."""
    reached = reached_times(scaled)
    late = [i for i in reached if scaled.mean["waiting_time"][i] > t2]
    groups = {r"$t_w \leq t_2$": [i for i in reached if i not in late], "$t_w > t_2$": late}
    # Without any, an empty panel.
    return {name: indices for name, indices in groups.items() if indices} or {"": []}


def _draw_collapse(
    drawn: Figure,
    cells: Sequence[SubplotSpec],
    dataset: xr.Dataset,
    scaled: Estimate,
    t2: float,
    colours: Mapping[int, Any],
    letters: Iterator[str],
) -> None:
    """Draw Δ/D against the lag: waiting times until t₂ above, those after it below, on the same axes."""
    groups = _groups(scaled, t2)
    axes: list[Axes] = []
    for (name, indices), cell in zip(groups.items(), cells, strict=True):
        shared = axes[0] if axes else None
        ax = drawn.add_subplot(cell, sharex=shared, sharey=shared)
        for i in indices:
            curve(ax, scaled, i, colours[i], "_")
        ax.set(xscale="log", yscale="log", ylabel=_SCALED)
        letter = next(letters, None)
        title = [f"({letter})"] * (letter is not None) + [name] * bool(name and np.isfinite(t2))
        ax.set_title(" ".join(title), loc="left")
        ax.tick_params(labelbottom=cell is cells[-1])
        axes.append(ax)
    # Limits are known when all curves are drawn.
    for ax, indices in zip(axes, groups.values(), strict=True):
        _draw_diffusion(ax, scaled, indices, dataset["gradient_noise"].attrs)
        legend_above(ax)
    axes[-1].set_xlabel(time_label(dataset["lag"], "lag $t$"))


def _draw_diffusion(
    ax: Axes, scaled: Estimate, indices: Sequence[int], attributes: Mapping[str, Any]
) -> None:
    """Draw α² t/B, diffusion in frozen noise; where that is unknown or out of sight, a slope of 1."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    lag, curves = scaled.mean["lag"].to_numpy().astype(float), scaled.mean[indices].to_numpy()
    look: Any = {"color": GREY, "ls": "--", "lw": 1.0, "zorder": 3}
    if {"learning_rate", "batch_size"} <= set(attributes):
        scale = float(attributes["learning_rate"]) ** 2 / float(attributes["batch_size"])
        seen = min(right, high / scale) / max(left, low / scale)
        if seen > _SEEN:
            ax.plot([left, right], [scale * left, scale * right], label=r"$\alpha^2 t/B$", **look)
            ax.set(xlim=(left, right), ylim=(low, high))
            return
    known = np.isfinite(curves).any(0)
    if not known.any():
        return
    # Over the middle half of the lags, below all curves.
    first, last = lag[known][[0, -1]]
    ends = first * (last / first) ** np.array([0.25, 0.75])
    between = known & (lag >= ends[0]) & (lag <= ends[1])
    if between.any():
        level = np.nanmin(curves[:, between] / lag[between]) / _BELOW
        ax.plot(ends, level * ends, label=r"$\propto t$", **look)
