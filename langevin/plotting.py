"""Figures from result files. What is drawn depends on what is in the file, never on the system's name."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

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


#: Entries that a legend holds at most; of more waiting times it names a part.
NAMED = 12

SYMBOLS = {
    "msd": r"$\Delta(t_w, t_w+t)$",
    "correlation": "$C(t_w, t_w+t)$",
    "response": "$R(t_w+t, t_w)$",
    "integrated_response": r"$\chi(t_w+t, t_w)$",
}


def figure(dataset: xr.Dataset, quantity: str | None = None) -> Figure:
    """Draw the energy and a two-time observable, as Fig. 1 of Baity-Jesi et al. 2018.

    Where the response was measured, and no quantity is asked for, four panels: energy, mean square
    displacement, correlation, and the fluctuation-dissipation plot of χ against C.

    Parameters
    ----------
    dataset : Dataset
        A result, or a checkpoint of an unfinished run.
    quantity : str, optional
        Two-time observable of the right panel of two; by default msd.

    Raises
    ------
    UserError
        If there is nothing of that name to draw.
    """
    two_time = quantities(dataset)
    four = quantity is None and {"correlation", "integrated_response"} <= set(two_time)
    quantity = quantity or "msd"
    if two_time and quantity not in two_time and not four:
        raise UserError(f"--quantity {quantity!r}: not in the file; allowed: {', '.join(two_time)}")
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Means over what the run did not reach: NaN, and left out of the curves.
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        made = _four_panels(dataset) if four else _two_panels(dataset, [quantity] if two_time else [])
        made.suptitle(dataset.attrs.get("title", ""), fontsize=10)
    return made


def quantities(dataset: xr.Dataset) -> list[str]:
    """Return the two-time observables that can be drawn; the error of another is none."""
    two_time = [str(n) for n, v in dataset.data_vars.items() if v.dims == ("replica", "waiting_time", "lag")]
    return [n for n in two_time if not (n.endswith("_error") and n.removesuffix("_error") in dataset)]


def _two_panels(dataset: xr.Dataset, two_time: list[str]) -> Figure:
    panels = (["energy"] if "energy" in dataset else []) + two_time
    reached = [i for n in two_time for i in _reached(estimate(dataset, n))]
    # Runs with a response have many waiting times over many decades: no room for a legend among the curves.
    colours = _colours(reached) if reached and "integrated_response" in dataset else None
    made = Figure(figsize=(4.1 * len(panels), 4.1 if colours else 3.5), layout="constrained")
    axes = np.atleast_1d(np.asarray(made.subplots(1, len(panels))))
    for ax, panel, letter in zip(axes, panels, "ab", strict=False):
        if panel == "energy":
            draw_energy(ax, dataset)
        else:
            draw_two_time(ax, dataset, panel, colours)
        ax.set_title(f"({letter})", loc="left")
    if colours:
        _waiting_time_legend(made, dataset["waiting_time"].to_numpy(), colours)
    return made


def _four_panels(dataset: xr.Dataset) -> Figure:
    panels = [n for n in ("energy", "msd", "correlation", "integrated_response") if n in dataset]
    rows = (len(panels) + 1) // 2
    made = Figure(figsize=(8.2, 3.4 * rows + 0.5), layout="constrained")
    axes = np.asarray(made.subplots(rows, 2, squeeze=False)).ravel()
    # One colour for a waiting time in every panel, whichever of them it has reached.
    reached = sorted({i for n in panels if n != "energy" for i in _reached(estimate(dataset, n))})
    colours = _colours(reached)
    for ax, panel, letter in zip(axes, panels, "abcd", strict=False):
        if panel == "energy":
            draw_energy(ax, dataset)
        elif panel == "integrated_response":
            draw_response(ax, dataset, colours)
        else:
            draw_two_time(ax, dataset, panel, colours)
        ax.set_title(f"({letter})", loc="left")
    for ax in axes[len(panels) :]:
        ax.remove()
    if reached:
        _waiting_time_legend(made, dataset["waiting_time"].to_numpy(), colours)
    return made


def draw_energy(ax: Axes, dataset: xr.Dataset) -> None:
    """Draw energy against log time, its standard error, the matching exponential and the asymptote."""
    energy = dataset["energy"]
    found = estimate(dataset, "energy")
    time = dataset["time"].to_numpy()
    shown = (time > 0) & np.isfinite(found.mean.to_numpy())
    _band(
        ax,
        time[shown],
        found.mean.to_numpy()[shown],
        found.error.to_numpy()[shown],
        BLUE,
        _label(energy),
    )
    exponential = matching_exponential(time, found.mean)
    # In equilibrium there is no decay to compare with: it must exceed the noise.
    noise = np.max(np.nan_to_num(found.error), initial=0.0)
    if exponential is not None and shown.any() and exponential.start - exponential.end > 5 * noise:
        fine = np.geomspace(time[shown][0], time[shown][-1], 300)
        label = f"exponential, τ = {exponential.tau:.2g}"
        ax.plot(fine, exponential(fine), color=VERMILION, ls="--", label=label)
    if "asymptote" in energy.attrs:
        label = f"$E_\\infty = {energy.attrs['asymptote']:.4f}$ ($N\\to\\infty$)"
        ax.axhline(energy.attrs["asymptote"], color=GREY, ls=":", lw=1, label=label)
    ax.set(xscale="log", xlabel="time $t$", ylabel=_axis(energy, "$E(t)$"))
    ax.legend(loc="best")


def draw_two_time(ax: Axes, dataset: xr.Dataset, name: str, colours: Mapping[int, Any] | None = None) -> None:
    """Draw a two-time observable against lag, one curve for each waiting time, early to late.

    With `colours`, by index of the waiting time, a legend is the caller's.
    """
    values, found = dataset[name], estimate(dataset, name)
    waiting = values["waiting_time"].to_numpy()
    reached = _reached(found)
    for i, colour in (_colours(reached) if colours is None else colours).items():
        if i in reached:
            _curve(ax, found, i, colour, f"{waiting[i]:.3g}")
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
            path_effects=[] if colours is None else [withStroke(linewidth=2, foreground="white")],
        )
    ax.set(xscale="log", xlabel="lag $t$", ylabel=_axis(values, SYMBOLS.get(name, "")))
    if name == "msd":
        ax.set_yscale("log")
    if reached and colours is None:
        ax.legend(title="waiting time $t_w$", loc="best", ncols=2 if len(reached) > 4 else 1)


def draw_response(ax: Axes, dataset: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw χ against C along the lag, one curve for each waiting time; bands are the error of χ.

    The temperature and the limits X and q_EA are those of the attributes of `integrated_response`
    (`temperature`, `fdt_ratio`, `q_ea`); of the lines (1 − C)/T and of slope −X/T below q_EA those are drawn
    that they give. At T = 0 neither exists.
    """
    values = dataset["integrated_response"]
    response, correlation = (estimate(dataset, n) for n in ("integrated_response", "correlation"))
    for i, colour in colours.items():
        x, mean, error = (v[i].to_numpy() for v in (correlation.mean, response.mean, response.error))
        shown = np.isfinite(x) & np.isfinite(mean)
        _band(ax, x[shown], mean[shown], error[shown], colour, "_")
    ax.margins(0.03)
    left = min(0.0, ax.get_xlim()[0])
    # The line of the theorem leaves the panel where no curve follows it.
    ax.set(xlim=(left, 1.02), ylim=(None, 1.05 * ax.get_ylim()[1]))
    temperature = values.attrs.get("temperature", 0.0)
    if temperature > 0:
        ends = np.array([left, 1.0])
        ax.plot(
            ends,
            (1 - ends) / temperature,
            color=GREY,
            ls=":",
            lw=1.2,
            label=f"FDT, $(1-C)/T$, $T = {temperature:g}$",
        )
        _aging_line(ax, values, left)
        ax.legend(loc="upper right")
    ax.set(xlabel=_axis(dataset["correlation"], "$C$"), ylabel=_axis(values, r"$\chi$"))


def _aging_line(ax: Axes, values: xr.DataArray, left: float) -> None:
    if not {"fdt_ratio", "q_ea"} <= set(values.attrs):
        return
    temperature, ratio, q = (float(values.attrs[n]) for n in ("temperature", "fdt_ratio", "q_ea"))
    ends = np.array([left, q])
    label = f"slope $-X/T$, $X = {ratio:.3f}$,\nbelow $q_{{EA}} = {q:.3f}$ ($N\\to\\infty$)"
    line = ((1 - q) + ratio * (q - ends)) / temperature
    ax.plot(ends, line, color=VERMILION, ls="--", lw=1.2, label=label)


def estimate(dataset: xr.Dataset, name: str) -> Estimate:
    """Return the average over replicas; of a single replica with the error that the file gives for it."""
    found = average(dataset[name])
    if f"{name}_error" in dataset and dataset.sizes["replica"] == 1:
        return Estimate(found.mean, dataset[f"{name}_error"].isel(replica=0))
    return found


def _reached(found: Estimate) -> list[int]:
    """Return the indices of the waiting times with anything to draw."""
    return np.flatnonzero(np.isfinite(found.mean.to_numpy()).any(-1)).tolist()


def _colours(reached: list[int]) -> dict[int, Any]:
    # The last tenth of viridis is too light on white.
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, max(len(reached), 2)))
    return dict(zip(reached, shades, strict=False))


def _waiting_time_legend(made: Figure, waiting: Any, colours: Mapping[int, Any]) -> None:
    """Name the waiting times below the panels, once for all of them."""
    indices = np.array(list(colours))
    named = indices[np.unique(np.linspace(0, indices.size - 1, min(indices.size, NAMED)).round().astype(int))]
    title = "waiting time $t_w$" + (f" ({named.size} of {indices.size})" if named.size < indices.size else "")
    rows = math.ceil(named.size / (NAMED // 2))
    columns = math.ceil(named.size / rows)
    # A legend fills its columns one after the other; times are read along the rows.
    named = np.concatenate([named[k::columns] for k in range(columns)])
    made.legend(
        [Line2D([], [], color=colours[i]) for i in named],
        [_number(waiting[i]) for i in named],
        title=title,
        loc="outside lower center",
        ncols=columns,
    )


def _number(value: float) -> str:
    """Return three digits as they are printed: 0.1, 31.6, 3.16 × 10⁶."""
    if value == 0 or 1e-2 <= abs(value) < 999.5:
        return f"{value:.3g}"
    digits, _, power = f"{value:.2e}".partition("e")
    digits = digits.rstrip("0").rstrip(".")
    return "$" + (rf"{digits}\times " if digits != "1" else "") + f"10^{{{int(power)}}}$"


def _curve(ax: Axes, found: Estimate, i: int, colour: Any, label: str) -> None:
    mean, error = found.mean[i].to_numpy(), found.error[i].to_numpy()
    shown = np.isfinite(mean)
    _band(ax, found.mean["lag"].to_numpy()[shown], mean[shown], error[shown], colour, label)


def _band(ax: Axes, x: Any, mean: Any, error: Any, colour: Any, label: str) -> None:
    ax.plot(x, mean, color=colour, label=label)
    if np.isfinite(error).all() and error.size:
        ax.fill_between(x, mean - error, mean + error, color=colour, alpha=0.25, lw=0)


def _label(values: xr.DataArray) -> str:
    if "ensemble" in values.attrs:
        return str(values.attrs["ensemble"])
    replicas = values.sizes["replica"]
    samples = np.unique(values["sample"]).size if "sample" in values.coords else 1
    return f"{replicas} replica{'s' * (replicas > 1)}, {samples} sample{'s' * (samples > 1)}"


def _axis(values: xr.DataArray, symbol: str) -> str:
    name = values.attrs.get("long_name", str(values.name))
    unit = values.attrs.get("units", "1")
    wrapped = "\n".join(textwrap.wrap(name, 26))
    return f"{wrapped} {symbol}" + ("" if unit == "1" else f" ({unit})")


def check_format(path: Path) -> None:
    """Make sure that matplotlib can write to a name like this.

    Raises
    ------
    UserError
        If it does not know the ending.
    """
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".") not in known:
        raise UserError(f"{path}: unknown figure format {path.suffix!r}; allowed: {', '.join(sorted(known))}")


def save(dataset: xr.Dataset, path: Path, quantity: str | None = None) -> Path:
    """Draw the figure and write it; the ending names the format (.png, .pdf, .svg).

    Raises
    ------
    UserError
        If matplotlib does not know the ending.
    """
    check_format(path)
    made = figure(dataset, quantity)
    with explained(path):
        made.savefig(path)
    return path
