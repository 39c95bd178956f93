"""Figures from result files. What is drawn depends on what is in the file, never on the system's name."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.errors import UserError
from langevin.observables.relaxation import matching_exponential
from langevin.observables.statistics import Estimate, average
from langevin.storage import explained

#: Okabe and Ito's colours: distinct to every kind of colour vision.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#555555"

STYLE: Any = {
    "font.size": 9,
    "axes.labelsize": 10,
    "axes.titlesize": 10,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "lines.linewidth": 1.4,
    "figure.dpi": 150,
    "savefig.dpi": 200,
}


def figure(dataset: xr.Dataset, quantity: str = "msd") -> Figure:
    """Draw the energy and a two-time observable, as Fig. 1 of Baity-Jesi et al. 2018.

    Parameters
    ----------
    dataset : Dataset
        A result, or a checkpoint of an unfinished run.
    quantity : str
        Two-time observable of the right panel.

    Raises
    ------
    UserError
        If there is nothing of that name to draw.
    """
    two_time = [str(n) for n, v in dataset.data_vars.items() if v.dims == ("replica", "waiting_time", "lag")]
    if two_time and quantity not in two_time:
        raise UserError(f"--quantity {quantity!r}: not in the file; allowed: {', '.join(two_time)}")
    panels = (["energy"] if "energy" in dataset else []) + ([quantity] if two_time else [])
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Means over what the run did not reach: NaN, and left out of the curves.
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        made = Figure(figsize=(4.1 * len(panels), 3.5), layout="constrained")
        axes = np.atleast_1d(np.asarray(made.subplots(1, len(panels))))
        for ax, panel, letter in zip(axes, panels, "ab", strict=False):
            if panel == "energy":
                draw_energy(ax, dataset)
            else:
                draw_two_time(ax, dataset[panel])
            ax.set_title(f"({letter})", loc="left")
        made.suptitle(dataset.attrs.get("title", ""), fontsize=10)
    return made


def draw_energy(ax: Axes, dataset: xr.Dataset) -> None:
    """Draw energy against log time, its standard error, the matching exponential and the asymptote."""
    energy = dataset["energy"]
    estimate = average(energy)
    time = dataset["time"].to_numpy()
    shown = (time > 0) & np.isfinite(estimate.mean.to_numpy())
    _band(
        ax,
        time[shown],
        estimate.mean.to_numpy()[shown],
        estimate.error.to_numpy()[shown],
        BLUE,
        _label(energy),
    )
    exponential = matching_exponential(time, estimate.mean)
    # In equilibrium there is no decay to compare with: it must exceed the noise.
    noise = np.max(np.nan_to_num(estimate.error), initial=0.0)
    if exponential is not None and shown.any() and exponential.start - exponential.end > 5 * noise:
        fine = np.geomspace(time[shown][0], time[shown][-1], 300)
        label = f"exponential, τ = {exponential.tau:.2g}"
        ax.plot(fine, exponential(fine), color=VERMILION, ls="--", label=label)
    if "asymptote" in energy.attrs:
        label = f"$E_\\infty = {energy.attrs['asymptote']:.4f}$ ($N\\to\\infty$)"
        ax.axhline(energy.attrs["asymptote"], color=GREY, ls=":", lw=1, label=label)
    ax.set(xscale="log", xlabel="time $t$", ylabel=_axis(energy, "$E(t)$"))
    ax.legend(loc="best")


def draw_two_time(ax: Axes, values: xr.DataArray) -> None:
    """Draw a two-time observable against lag, one curve for each waiting time, early to late."""
    estimate = average(values)
    waiting = values["waiting_time"].to_numpy()
    reached = [i for i in range(waiting.size) if np.isfinite(estimate.mean[i]).any()]
    # The last tenth of viridis is too light on white.
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, max(len(reached), 2)))
    for colour, i in zip(colours, reached, strict=False):
        _curve(ax, estimate, i, colour, f"{waiting[i]:.3g}")
    if "plateau" in values.attrs:
        ax.axhline(values.attrs["plateau"], color=GREY, ls=":", lw=1)
        meaning = values.attrs["plateau_meaning"].partition(" for ")[0].replace("q_EA", "$q_{EA}$")
        ax.annotate(
            meaning,
            (0.02, values.attrs["plateau"]),
            xycoords=("axes fraction", "data"),
            va="bottom",
            fontsize=7.5,
            color=GREY,
        )
    symbols = {
        "msd": r"$\Delta(t_w, t_w+t)$",
        "correlation": "$C(t_w, t_w+t)$",
        "integrated_response": r"$\chi(t_w+t, t_w)$",
    }
    symbol = symbols.get(str(values.name), "")
    ax.set(xscale="log", xlabel="lag $t$", ylabel=_axis(values, symbol))
    if values.name == "msd":
        ax.set_yscale("log")
    if reached:
        ax.legend(title="waiting time $t_w$", loc="best", ncols=2 if len(reached) > 4 else 1)


def _curve(ax: Axes, estimate: Estimate, i: int, colour: Any, label: str) -> None:
    mean, error = estimate.mean[i].to_numpy(), estimate.error[i].to_numpy()
    shown = np.isfinite(mean)
    _band(ax, estimate.mean["lag"].to_numpy()[shown], mean[shown], error[shown], colour, label)


def _band(ax: Axes, x: Any, mean: Any, error: Any, colour: Any, label: str) -> None:
    ax.plot(x, mean, color=colour, label=label)
    if np.isfinite(error).all() and error.size:
        ax.fill_between(x, mean - error, mean + error, color=colour, alpha=0.25, lw=0)


def _label(values: xr.DataArray) -> str:
    replicas = values.sizes["replica"]
    samples = np.unique(values["sample"]).size if "sample" in values.coords else 1
    return f"{replicas} replica{'s' * (replicas > 1)}, {samples} sample{'s' * (samples > 1)}"


def _axis(values: xr.DataArray, symbol: str) -> str:
    name = values.attrs.get("long_name", str(values.name))
    unit = values.attrs.get("units", "1")
    wrapped = "\n".join(textwrap.wrap(name, 26))
    return f"{wrapped} {symbol}" + ("" if unit == "1" else f" ({unit})")


def save(dataset: xr.Dataset, path: Path, quantity: str = "msd") -> Path:
    """Draw the figure and write it; the ending names the format (.png, .pdf, .svg).

    Raises
    ------
    UserError
        If matplotlib does not know the ending.
    """
    made = figure(dataset, quantity)
    known = made.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".") not in known:
        raise UserError(f"{path}: unknown figure format {path.suffix!r}; allowed: {', '.join(sorted(known))}")
    with explained(path):
        made.savefig(path)
    return path
