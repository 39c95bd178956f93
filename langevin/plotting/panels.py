"""A panel shows one quantity of a dataset on axes that are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from langevin.observables.relaxation import matching_exponential
from langevin.observables.statistics import Array, Estimate, average

from .bath import bath_of, draw_bath, draw_no_theorem, time_scale
from .numerals import number, numbers
from .sheet import small
from .style import (
    BLUE,
    GREY,
    VERMILION,
    axis_label,
    colours_of,
    ensemble_label,
    symbol,
    time_label,
    unit_label,
)
from .view import wanted

#: Attributes of two-time observables that stand in their panel → their letters.
_PARAMETERS = {"wavenumber": "k", "overlap_distance": "a"}


#: E − E_∞ is drawn where it falls by this factor; an exponential beside it where its τ is so far inside the
#: times of the data.
_FALLS, _INSIDE = 3.0, 3.0


def draw_energy(ax: Axes, dataset: xr.Dataset) -> None:
    """Draw energy against log time with its standard error.

    Where the file knows E_∞ and the energy comes down to it from above, E − E_∞ is drawn, on two logarithmic
    axes: a power is straight there. Beside it stands the exponential of the same 1/e time. Else the energy
    itself, with E_∞ as a line. Where the bath's temperature changes, T(t) is drawn below.
    """
    energy, estimated = dataset["energy"], estimate(dataset, "energy")
    ax.set(xscale=time_scale(dataset), xlabel=time_label(dataset["time"], "time $t$"))
    if bath_of(dataset) is None and comes_down(dataset):
        _draw_excess(ax, dataset, estimated)
    else:
        course(ax, dataset, "energy", BLUE, ensemble_label(energy))
        if "asymptote" in energy.attrs:
            limit = float(energy.attrs["asymptote"])
            ax.axhline(limit, color=GREY, ls=":", lw=1, label=asymptote_words(energy))
        ax.set_ylabel(axis_label(energy, "$E(t)$"))
    ax.legend(loc="best")
    draw_bath(ax, dataset)


def asymptote_words(energy: xr.DataArray) -> str:
    """Return "E_∞ = −0.8867", with N → ∞ where that is its limit."""
    infinite = " ($N\\to\\infty$)" * ("N → ∞" in str(energy.attrs.get("asymptote_meaning", "N → ∞")))
    return f"$E_\\infty = {energy.attrs['asymptote']:.4f}$" + infinite


def comes_down(dataset: xr.Dataset) -> bool:
    """Say whether the mean energy falls towards an E_∞ that the file knows, and stays above it."""
    if "asymptote" not in dataset["energy"].attrs:
        return False
    mean, error = (values.to_numpy() for values in estimate(dataset, "energy"))
    known = np.isfinite(mean) & (dataset["time"].to_numpy() > 0)
    excess = mean[known] - float(dataset["energy"].attrs["asymptote"])
    # In equilibrium there is no decay to look at: it must exceed the noise.
    noise = np.max(np.nan_to_num(error), initial=0.0)
    return bool(
        excess.size > 2
        and (excess > 0).all()
        and excess.max() > _FALLS * excess[-1]
        and excess.max() > 5 * noise
    )


def _draw_excess(ax: Axes, dataset: xr.Dataset, estimated: Estimate) -> None:
    """Draw E − E_∞ on two logarithmic axes."""
    energy = dataset["energy"]
    limit, time = float(energy.attrs["asymptote"]), dataset["time"].to_numpy()
    mean, error = (values.to_numpy() for values in estimated)
    shown = (time > 0) & np.isfinite(mean)
    t, excess = time[shown], mean[shown] - limit
    ax.set_yscale("log")
    band(ax, t, excess, error[shown], BLUE, ensemble_label(energy))
    heed(ax)
    matching = matching_exponential(time, mean, end=limit)
    if matching is not None and t[0] * _INSIDE < matching.tau < t[-1] / _INSIDE:
        fine = np.geomspace(t[0], t[-1], 300)
        # Far below all data it is nothing to look at.
        above = np.maximum(matching(fine) - limit, 0)
        seen = above > ax.get_ylim()[0]
        label = f"exponential, τ = {number(matching.tau)}"
        ax.plot(fine[seen], above[seen], color=VERMILION, ls="--", lw=1, label=label, scaley=False)
    ax.plot([], [], " ", label=asymptote_words(energy))
    ax.set_ylabel(axis_label(energy, r"$E(t)-E_\infty$"))


def heed(ax: Axes) -> None:
    """Set the limits of a logarithmic axis by its curves: bands that reach to 0 have no say."""
    heights = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()])
    heights = heights[np.isfinite(heights) & (heights > 0)]
    if heights.size:
        ax.set_ylim(heights.min() / 1.6, heights.max() * 1.6)


def evenly(time: Array) -> Array:
    """Return which of ascending times > 0 stand apart by half of the usual gap in ln t; the last does.

    Where the grids of two measurements meet, the density of times jumps, and with it the noise that is seen.
    The usual gap is the median along the axis.
    """
    logs = np.log(time)
    gaps = np.sort(np.diff(logs))
    if gaps.size < 2:
        return np.ones(time.shape, dtype=bool)
    usual = gaps[np.searchsorted(np.cumsum(gaps), gaps.sum() / 2)]
    kept, last = np.zeros(time.shape, dtype=bool), -np.inf
    for i, value in enumerate(logs):
        if value >= last + usual / 2 * (1 - 1e-9):
            kept[i], last = True, value
    kept[-1:] = True
    return kept


def draw_one_time(ax: Axes, dataset: xr.Dataset, name: str) -> None:
    """Draw a one-time observable against log time with its standard error; logarithmic, if over decades."""
    if time_scale(dataset) == "log":
        time = dataset["time"].to_numpy()
        known = np.flatnonzero((time > 0) & np.isfinite(estimate(dataset, name).mean.to_numpy()))
        dataset = dataset.isel(time=known[evenly(time[known])])
    _, mean = course(ax, dataset, name, BLUE, ensemble_label(dataset[name]))
    ax.set(xscale=time_scale(dataset), xlabel=time_label(dataset["time"], "time $t$"))
    ax.set_ylabel(axis_label(dataset[name], ""))
    if mean.size and mean.min() > 0 and mean.max() > 10 * mean.min():
        ax.set_yscale("log")
    ax.legend(loc="best")
    draw_bath(ax, dataset)


def course(
    ax: Axes, dataset: xr.Dataset, name: str, colour: Any, label: str, style: str = "-"
) -> tuple[Array, Array]:
    """Draw a one-time observable with its error at known times > 0; return these times, and its means."""
    estimated, time = estimate(dataset, name), dataset["time"].to_numpy()
    shown = (time > 0) & np.isfinite(estimated.mean.to_numpy())
    mean, error = (values.to_numpy()[shown] for values in estimated)
    band(ax, time[shown], mean, error, colour, label, style)
    return time[shown], mean


def draw_two_time(ax: Axes, dataset: xr.Dataset, name: str, colours: Mapping[int, Any] | None = None) -> None:
    """Draw a two-time observable against lag, one curve for each waiting time, early to late.

    With `colours`, by index of the waiting time, a legend is the caller's.
    """
    values, estimated = dataset[name], estimate(dataset, name)
    waiting = values["waiting_time"].to_numpy()
    reached = reached_times(estimated)
    labels = dict(zip(reached, numbers(waiting[reached]), strict=True))
    for i, colour in (colours_of(reached) if colours is None else colours).items():
        if i in reached:
            curve(ax, estimated, i, colour, labels[i])
    for key, letter in _PARAMETERS.items():
        if key in values.attrs:
            # Scattering functions and overlaps fall from the upper left.
            words = f"${letter}$ = {float(values.attrs[key]):g}"
            white = [withStroke(linewidth=2, foreground="white")]
            ax.text(0.03, 0.04, words, transform=ax.transAxes, fontsize=small(), path_effects=white)
    if "plateau" in values.attrs:
        ax.axhline(values.attrs["plateau"], color=GREY, ls=":", lw=1)
        meaning = values.attrs["plateau_meaning"].partition(" for ")[0].replace("q_EA", "$q_{EA}$")
        ax.annotate(
            meaning,
            (0.02, values.attrs["plateau"]),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2.5),
            textcoords="offset points",
            va="bottom",
            fontsize=small(),
            color=GREY,
            path_effects=[] if colours is None else [withStroke(linewidth=2, foreground="white")],
        )
    ax.set(
        xscale="log", xlabel=time_label(dataset["lag"], "lag $t$"), ylabel=axis_label(values, symbol(values))
    )
    if name == "msd" or name.startswith("msd_"):
        ax.set_yscale("log")
    if reached and colours is None:
        ax.legend(
            title=time_label(dataset["waiting_time"], "waiting time $t_w$"),
            loc="best",
            ncols=2 if len(reached) > 4 else 1,
        )


def draw_displacement_response(ax: Axes, dataset: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw χ against Δ/(2d) along the lag, where χ is conjugate to displacements: the theorem is χ = Δ/(2dT).

    Of `integrated_response` the attribute `conjugate` names the displacements, `spatial_dimensions` is d: Δ
    is per particle, χ per coordinate. The mobility of the centre of mass (`centre_of_mass_mobility`), times
    the lag, is taken off χ, since Δ is measured from the centre of mass. Logarithmic: both span decades, and
    the line has slope 1 at any T.
    """
    values = dataset["integrated_response"]
    name = str(values.attrs["conjugate"])
    response, msd = (estimate(dataset, n) for n in ("integrated_response", name))
    free = float(values.attrs.get("centre_of_mass_mobility", 0.0)) * dataset["lag"].to_numpy()
    scale, ends = 2 * float(values.attrs["spatial_dimensions"]), []
    for i, colour in colours.items():
        x, mean, error = msd.mean[i].to_numpy() / scale, response.mean[i].to_numpy() - free, response.error[i]
        shown = (x > 0) & (mean > 0)
        band(ax, x[shown], mean[shown], error.to_numpy()[shown], colour, "_")
        ends += x[shown].tolist()
    ax.set(xscale="log", yscale="log")
    temperature = float(values.attrs.get("temperature", 0.0))
    if temperature > 0 and ends:
        line = np.array([min(ends), max(ends)])
        label = rf"FDT, $\Delta/{scale:g}T$, $T = {temperature:g}$"
        ax.plot(line, line / temperature, color=GREY, ls=":", lw=1.2, label=label, zorder=3)
        ax.legend(loc="upper left")
    draw_no_theorem(ax, dataset)
    unit = unit_label(dataset[name].attrs.get("units", "1"))
    less = "\nless the centre of mass" if free.any() else ""
    of = "" if name == "msd" else rf"_{{\rm {name.removeprefix('msd_')}}}"
    ax.set_xlabel(rf"$\Delta{of}(t_w, t_w+t)/{scale:g}$" + (f" ({unit})" if unit != "1" else ""))
    ax.set_ylabel(axis_label(values, symbol(values)) + less)


def estimate(dataset: xr.Dataset, name: str) -> Estimate:
    """Return the average over replicas; of a single replica with the error that the file gives for it."""
    estimated = average(dataset[name])
    if f"{name}_error" in dataset and dataset.sizes["replica"] == 1:
        return Estimate(estimated.mean, dataset[f"{name}_error"].isel(replica=0))
    return estimated


def reached_times(estimated: Estimate) -> list[int]:
    """Return the indices of the waiting times to draw: those with anything, or the chosen ones of them."""
    known = np.flatnonzero(np.isfinite(estimated.mean.to_numpy()).any(-1)).tolist()
    return wanted(estimated.mean["waiting_time"], known)


def curve(ax: Axes, estimated: Estimate, i: int, colour: Any, label: str) -> None:
    """Draw one waiting time against the lag, where it is known."""
    mean, error = (values[i].to_numpy() for values in estimated)
    band(ax, estimated.mean["lag"].to_numpy(), mean, error, colour, label)


def band(ax: Axes, x: Any, mean: Any, error: Any, colour: Any, label: str, style: str = "-") -> None:
    """Draw a curve where it is known and, where all its errors are, their band."""
    known = np.isfinite(x) & np.isfinite(mean)
    x, mean, error = x[known], mean[known], error[known]
    ax.plot(x, mean, color=colour, label=label, ls=style)
    if np.isfinite(error).all() and error.size:
        ax.fill_between(x, mean - error, mean + error, color=colour, alpha=0.25, lw=0)
