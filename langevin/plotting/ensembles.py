"""Members and their ensembles are drawn along the cycles, and at one, two, three budgets."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from langevin.observables.ensembles import mean
from langevin.observables.statistics import Array
from langevin.observables.sufficiency import least

from .numerals import number
from .registry import register
from .sheet import columns_of, size_of
from .style import BLACK, GREY, PALETTE, as_written, legend_above, legend_below

#: A marker for each colour, so that print in grey tells them apart, too.
COLOURS = (*PALETTE, BLACK)
MARKERS = "osD^vP*"

#: Columns of cycles at most: what does not fit is in the panel of budgets.
CYCLES = 3


@register("ensembles", kinds=["ensembles"], priority=1)
def ensemble_figure(dataset: xr.Dataset) -> Figure:
    """Draw test errors, distances and learning rates along the cycles, and errors against budgets.

    A column for each method with cycles, as Fig. 3 of Garipov et al. 2018: errors of its members and of the
    ensemble of those so far, over the first budget; the distance from the start; the learning rate. Means
    over replicas, with their standard errors. The last column has what k budgets buy, and how often members
    disagree.
    """
    cyclic = [m for m, kind in enumerate(np.atleast_1d(dataset.attrs["cycles"])) if kind][:CYCLES]
    columns = columns_of(len(cyclic) + 1, CYCLES + 1)
    rows = math.ceil((len(cyclic) + 1) / columns)
    drawn = Figure(figsize=size_of(2 * rows, columns, 1.15), layout="constrained")
    grid = drawn.add_gridspec(6 * rows, columns)
    letters = iter("abcdefghijklmnop")
    shared: list[Axes] = []
    for place, method in enumerate(cyclic):
        first, column = 6 * (place // columns), place % columns
        top = drawn.add_subplot(grid[first : first + 3, column], sharey=shared[0] if shared else None)
        middle = drawn.add_subplot(grid[first + 3 : first + 5, column], sharex=top)
        bottom = drawn.add_subplot(grid[first + 5, column], sharex=top)
        shared.append(top)
        for ax in (top, middle, bottom):
            ax.set_title(f"({next(letters)})", loc="left")
        _draw_cycles(top, middle, bottom, dataset, method)
    first, column = 6 * (len(cyclic) // columns), len(cyclic) % columns
    budgets = drawn.add_subplot(grid[first : first + 3, column])
    _draw_budgets(budgets, dataset)
    pairs = drawn.add_subplot(grid[first + 3 : first + 6, column])
    _draw_disagreement(pairs, dataset)
    for ax in (budgets, pairs):
        ax.set_title(f"({next(letters)})", loc="left")
    _legend(drawn, dataset)
    return drawn


def _legend(drawn: Figure, dataset: xr.Dataset) -> None:
    """Name the methods below all panels, and what bars and dotted lines are."""
    handles, labels = [], []
    for method in range(dataset.sizes["method"]):
        handles.append(Line2D([], [], **_look(method), markersize=5))
        labels.append(_name(dataset, method))
    if any(_is_averaged(dataset, method) for method in range(dataset.sizes["method"])):
        handles.append(Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle=":"))
        labels.append("weights averaged")
    legend_below(drawn, handles, labels, "bars: standard errors over replicas")


def _name(dataset: xr.Dataset, method: int) -> str:
    """Return what a method is called: by the title of its run, less what all have, else by its file."""
    files = [str(name) for name in dataset["method"].to_numpy()]
    settings = str(dataset.attrs.get("settings", "")).split("\n")
    titles = [str(json.loads(own).get("title", "")) if own else "" for own in settings]
    parts = [[part.strip() for part in title.split(",")] for title in titles]
    own = [", ".join(p for p in part if not all(p in other for other in parts)) for part in parts]
    known = len(own) == len(files) > 1 and all(own) and len(set(own)) == len(own)
    return as_written(own[method] if known else files[method])


def _look(method: int) -> dict[str, Any]:
    return {"color": COLOURS[method % len(COLOURS)], "marker": MARKERS[method % len(MARKERS)]}


def _per_replica(dataset: xr.Dataset, name: str, method: int) -> Array:
    """Return a quantity of members, shape (replicas, members of one replica)."""
    run = dataset["run"].to_numpy()[method]
    count = int(np.sum(run == 0))
    values = dataset[name].to_numpy()[method][:, np.isfinite(run)]
    return np.asarray(values.reshape(-1, count), dtype=float)


def _bars(ax: Axes, x: Array, values: Array, scale: float, **style: Any) -> None:
    """Draw means over the first axis, with their standard errors where there are any."""
    means = [mean(column) for column in values.T]
    value, error = (np.array([m[place] for m in means]) * scale for place in (0, 1))
    ax.errorbar(x, value, np.nan_to_num(error), **{"capsize": 2, "markersize": 4, **style})


def _draw_cycles(top: Axes, middle: Axes, bottom: Axes, dataset: xr.Dataset, method: int) -> None:
    run = dataset["run"].to_numpy()[method]
    cost = dataset["cost"].to_numpy()[method][run == 0]
    look, name = _look(method), _name(dataset, method)
    own, ensemble = (_per_replica(dataset, kind, method) for kind in ("member_error", "run_error"))
    open_marks = {"linestyle": "none", "markerfacecolor": "white", "label": "each member", "zorder": 3}
    _bars(top, cost, own, 100, **look, **open_marks)
    _bars(top, cost, ensemble, 100, **look, label="ensemble so far")
    _draw_independent(top, dataset)
    top.set_ylabel("test error (%)")
    top.set_title(f"{top.get_title(loc='left')} {name}", loc="left")
    legend = top.legend(loc="best")
    legend.set_frame_on(True)
    legend.get_frame().set(alpha=0.8, linewidth=0)
    if np.isfinite(_per_replica(dataset, "distance_from_start", method)).any():
        distance = _per_replica(dataset, "distance_from_start", method)
        _bars(middle, cost, distance, 1, **look, label="from the start")
    # A single point is no course.
    if cost.size > 2:
        first = dataset["distance_from_first"].to_numpy()[method][:, run == 0]
        _bars(middle, cost[1:], first[:, 1:], 1, **look, linestyle="--", label="from the first member")
    if middle.get_legend_handles_labels()[1]:
        middle.set_ylim(bottom=0)
        legend_above(middle)
    middle.set_ylabel("distance of weights")
    bottom.plot(dataset["rate_cost"][method], dataset["learning_rate"][method], color=GREY, linewidth=1)
    for at in cost:
        label = "members" if at == cost[0] else "_"
        bottom.axvline(at, color=look["color"], linewidth=0.9, linestyle=":", label=label)
    legend_above(bottom)
    bottom.set_ylim(bottom=0)
    bottom.set_ylabel("learning\nrate")
    bottom.set_xlabel("steps spent")


def _draw_independent(ax: Axes, dataset: xr.Dataset) -> None:
    """Draw what one network without cycles is worth at the end of its budget: a line to compare with."""
    for method, kind in enumerate(np.atleast_1d(dataset.attrs["cycles"])):
        if not kind:
            single = 100 * float(dataset["budget_error_mean"][method, 0])
            label, colour = f"{_name(dataset, method)}, one network", _look(method)["color"]
            ax.axhline(single, color=colour, linewidth=1, linestyle="-.", label=label)


def _draw_budgets(ax: Axes, dataset: xr.Dataset) -> None:
    budgets = dataset["budget"].to_numpy()
    count = dataset.sizes["method"]
    # Of too few groups there is no bar.
    sure = dataset["groups"].to_numpy() >= least("budget_error")
    for method in range(count):
        look = _look(method)
        hollow = {**look, "markerfacecolor": "white", "linestyle": ":"}
        # Beside each other, so that error bars can be told apart.
        shift = 0.06 * (method - (count - 1) / 2)
        kinds = (("budget", "", shift, look), ("averaged", ", weights averaged", shift + 0.03, hollow))
        for kind, said, aside, style in kinds[: 1 + _is_averaged(dataset, method)]:
            names = (f"{kind}_error_{part}" for part in ("mean", "standard_error"))
            values, errors = (100 * dataset[name].to_numpy()[method] for name in names)
            bars, label = np.where(sure[method], np.nan_to_num(errors), 0.0), _name(dataset, method) + said
            ax.errorbar(budgets + aside, values, bars, capsize=2, markersize=5, label=label, **style)
    ax.set_xticks(budgets)
    ax.set_xlim(budgets[0] - 0.4, budgets[-1] + 0.4)
    ax.set_xlabel(f"budgets of {number(float(dataset.attrs['budget_steps']))} steps")
    ax.set_ylabel("test error of the ensemble (%)")


def _is_averaged(dataset: xr.Dataset, method: int) -> bool:
    """Say whether the weights of a method were averaged; older files know nothing of it."""
    known = dataset.get("averaged_error_mean")
    return known is not None and bool(np.isfinite(known.to_numpy()[method]).any())


def _pairs(dataset: xr.Dataset, method: int) -> Sequence[Array]:
    """Return the normalised disagreement of pairs within a replica and between replicas, by repetition."""
    run = dataset["run"].to_numpy()[method]
    values = dataset["normalised_disagreement"].to_numpy()[method]
    upper = np.triu(np.ones((run.size, run.size), dtype=bool), 1)
    upper &= np.isfinite(run)[:, None] & np.isfinite(run)[None, :]
    same = run[:, None] == run[None, :]
    return [np.array([mean(v[kind & upper]).value for v in values]) for kind in (same, ~same)]


def _draw_disagreement(ax: Axes, dataset: xr.Dataset) -> None:
    names = [_name(dataset, method) for method in range(dataset.sizes["method"])]
    styles = (("white", "members of one replica"), (None, "members of different replicas"))
    for method in range(len(names)):
        look = _look(method)
        for (face, _), values, shift in zip(styles, _pairs(dataset, method), (-0.1, 0.1), strict=True):
            averaged = mean(values)
            if averaged.number:
                error = 0.0 if np.isnan(averaged.error) else averaged.error
                filled = face or look["color"]
                ax.errorbar(method + shift, averaged.value, error, capsize=2, markerfacecolor=filled, **look)
    for face, label in styles:
        filled = face or GREY
        ax.plot([], [], "o", color=GREY, markerfacecolor=filled, label=label)
    # The legend below names them by their marks.
    ax.set_xticks([])
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("disagreement of two members\nover their mean test error")
    ax.legend(loc="best")
