"""Spectra of the Hessian are drawn: by rank, as boxes and densities, with negative part, trace and edges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from langevin.observables.landscape.spectra import (
    ZERO,
    eigenvalues,
    gauss_newton,
    has_spectrum,
    is_exact,
    spectral_density,
    subspace_overlap,
    summary,
)
from langevin.observables.statistics import average

from .numerals import moment, numbers
from .panels import band
from .registry import register
from .style import (
    BLUE,
    GREY,
    VERMILION,
    colours_of,
    few,
    legend_above,
    panels,
    time_label,
    unit_label,
    waiting_time_legend,
)

#: The name that asks for this figure.
HESSIAN = "hessian"

#: Boxes that are labelled, and times whose curves a panel holds, at most.
LABELLED, CURVES = 8, 10

#: Largest over smallest index from which on its axis is logarithmic.
_WIDE = 30.0

#: A symmetric logarithmic axis is linear below this quantile of the moduli, and has so many decades at most.
_LINEAR, _DECADES = 0.25, 6


@register(HESSIAN, fits=has_spectrum)
def spectrum_figure(dataset: xr.Dataset) -> Figure:
    """Draw the spectra of a file in four panels, and in further ones what is stored besides.

    All eigenvalues: by rank and as boxes (Figs. 7 and A.1 of Herrera Segura et al. 2022), the number of the
    negative, and the trace against the generalisation error (Fig. A.2) where the file has a test loss, else
    the edges. Where the attributes name a semicircle, and for Ritz values, densities in place of ranks.

    The further ones: the Gauss-Newton matrix beside the Hessian; the part of the gradient in the span of
    eigenvectors, and how far their space is that of the last time.
    """
    spectrum = summary(dataset)
    reached = np.flatnonzero(spectrum["lowest"].notnull().any("replica").to_numpy()).tolist()
    places = np.linspace(0, len(reached) - 1, min(CURVES, len(reached))).round().astype(int)
    colours = colours_of([reached[i] for i in places])
    further = [draw for draw, name in _FURTHER if name in dataset]
    drawn, axes = panels(4 + len(further), 2, 1.05, named=bool(reached))
    circle = "semicircle_radius" in eigenvalues(dataset).attrs
    if not reached:
        for ax in axes:
            ax.set_axis_off()
        return drawn
    if circle or not is_exact(dataset):
        draw_density(axes[0], dataset, colours)
    else:
        draw_ranks(axes[0], dataset, colours)
    if is_exact(dataset):
        draw_boxes(axes[1], dataset, reached)
    else:
        draw_edges(axes[1], dataset, spectrum)
    draw_negative(axes[2], spectrum, "" if is_exact(dataset) else ",\nfrom Ritz weights")
    if {"energy", "test_loss"} <= set(dataset) and "trace_per_row" in spectrum:
        draw_trace(axes[3], dataset, spectrum, colours)
    elif is_exact(dataset):
        draw_edges(axes[3], dataset, spectrum)
    else:
        axes[3].remove()
    for ax, draw in zip(axes[4:], further, strict=True):
        draw(ax, dataset, colours)
    waiting_time_legend(drawn, dataset["hessian_time"], colours, "time $t$", few(eigenvalues(dataset)))
    return drawn


def draw_ranks(ax: Axes, dataset: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw the mean k-th eigenvalue against k, one curve for each time, with its standard error."""
    averaged = average(dataset["hessian_eigenvalue"])
    rank = np.arange(1, dataset.sizes["mode"] + 1)
    for i, colour in colours.items():
        mean, error = averaged.mean[i].to_numpy(), averaged.error[i].to_numpy()
        band(ax, rank, mean, error, colour, "_")
    ax.axhline(0, color=GREY, lw=0.6)
    _symmetric(ax, dataset["hessian_eigenvalue"].to_numpy(), averaged.mean.to_numpy())
    ax.set(xlabel="rank $k$, from the lowest", ylabel=r"eigenvalue $\lambda_k$, mean over replicas")


def draw_boxes(ax: Axes, dataset: xr.Dataset, times: list[int]) -> None:
    """Draw quartiles of the eigenvalues at every time; whiskers from 5 to 95 %, and the mean extreme ones."""
    values = dataset["hessian_eigenvalue"].transpose("hessian_time", "replica", "mode")
    lists = [v[np.isfinite(v)] for v in values.to_numpy()[times]]
    ax.boxplot(
        lists,
        positions=range(len(times)),
        whis=(5, 95),
        showfliers=False,
        widths=0.55,
        medianprops={"color": VERMILION},
        boxprops={"color": BLUE},
        whiskerprops={"color": BLUE},
        capprops={"color": BLUE},
    )
    means = values.mean("replica").to_numpy()[times]
    ax.plot(
        [],
        [],
        color=BLUE,
        marker="s",
        mfc="none",
        ls="",
        ms=6,
        label="quartiles, median; whiskers: 5 to 95 %",
    )
    for end, label in ((0, "lowest, highest (mean)"), (-1, "_")):
        ax.plot(range(len(times)), means[:, end], ls="", marker="_", ms=9, color=GREY, label=label)
    ax.axhline(0, color=GREY, lw=0.6)
    step = math.ceil(len(times) / LABELLED)
    named = range(0, len(times), step)
    clock = dataset["hessian_time"]
    ax.set_xticks(list(named), numbers(float(clock[times[k]]) for k in named))
    ax.minorticks_off()
    if "semicircle_radius" not in values.attrs:
        _symmetric(ax, values.to_numpy(), means)
    ax.set(xlabel=time_label(clock, "time $t$"), ylabel=r"eigenvalue $\lambda$")
    legend_above(ax, rows=2)


def draw_density(ax: Axes, dataset: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw the mean density at each time, and the semicircle that the attributes name, at the mean energy."""
    densities = spectral_density(dataset)
    at, attributes = densities["eigenvalue"].to_numpy(), eigenvalues(dataset).attrs
    mean = average(densities).mean.to_numpy()
    for i, colour in colours.items():
        ax.plot(at, mean[i], color=colour)
    ax.axvline(0, color=GREY, lw=0.6)
    circle = "semicircle_radius" in attributes
    if circle and "energy" in dataset:
        radius = float(attributes["semicircle_radius"])
        for i, centre in zip(colours, _centres(dataset, list(colours)), strict=True):
            x = np.linspace(-radius, radius, 200)
            label = r"semicircle, $N\to\infty$" if i == next(iter(colours)) else "_"
            height = 2 / (np.pi * radius**2) * np.sqrt(radius**2 - x**2)
            ax.plot(centre + x, height, color=colours[i], ls=":", lw=1, label=label)
    if circle:
        ax.set_ylim(0, None)
    else:
        # A bulk at zero and a few large ones are not seen together on a linear axis.
        top = float(np.nanmax(mean))
        ax.set(yscale="log", ylim=(1e-6 * top, 3 * top))
    width = float(densities.attrs["width"])
    ax.set(xlabel=r"eigenvalue $\lambda$", ylabel=rf"density $\rho(\lambda)$, peaks of width {width:.2g}")
    legend_above(ax)


def _centres(dataset: xr.Dataset, times: list[int]) -> NDArray[np.float64]:
    """Return the centre of the semicircle at the mean energy of these times, or energies, of several p."""
    prefix, centres = "semicircle_centre_over_", np.zeros(len(times))
    for name, slope in eigenvalues(dataset).attrs.items():
        if str(name).startswith(prefix):
            energy = dataset[str(name).removeprefix(prefix)].sel(time=dataset["hessian_time"])
            centres += float(slope) * energy.mean("replica").to_numpy()[times]
    return centres


def draw_negative(ax: Axes, spectrum: xr.Dataset, addition: str = "") -> None:
    """Draw the number of negative eigenvalues against time; their fraction where it alone is known."""
    name, word = ("negative", "number") if "negative" in spectrum else ("negative_fraction", "fraction")
    _against_time(ax, spectrum[name], BLUE, "_")
    mean = average(spectrum[name]).mean.to_numpy()
    positive = mean[mean > 0]
    if positive.size and positive.max() > _WIDE * positive.min():
        # The index falls over decades, and may come to 0.
        ax.set_yscale("symlog", linthresh=10 ** math.floor(math.log10(positive.min())), linscale=0.5)
        ax.set_ylim(0, 2 * positive.max())
    else:
        ax.set_ylim(0, None)
    ax.set_ylabel(f"{word} of negative eigenvalues{addition}")
    _time_axis(ax, spectrum)


def draw_edges(ax: Axes, dataset: xr.Dataset, spectrum: xr.Dataset) -> None:
    """Draw the lowest and the highest eigenvalue against time, beside the edges of the semicircle."""
    for name, colour in (("lowest", BLUE), ("highest", VERMILION)):
        _against_time(ax, spectrum[name], colour, name)
    attributes = eigenvalues(dataset).attrs
    if "semicircle_radius" in attributes and "energy" in dataset:
        every = np.arange(spectrum.sizes["hessian_time"])
        centre, radius = _centres(dataset, every.tolist()), float(attributes["semicircle_radius"])
        time = spectrum["hessian_time"].to_numpy()
        for sign, label in ((-1, r"edges, $N\to\infty$"), (1, "_")):
            ax.plot(time[time > 0], (centre + sign * radius)[time > 0], color=GREY, ls=":", label=label)
    ax.axhline(0, color=GREY, lw=0.6)
    ax.set_ylabel(r"extreme eigenvalue $\lambda$")
    _time_axis(ax, spectrum)
    legend_above(ax)


def draw_trace(ax: Axes, dataset: xr.Dataset, spectrum: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw the trace per row against test loss minus training loss, a point for each replica and time."""
    at = {"time": dataset["hessian_time"]}
    gap = (dataset["test_loss"].sel(at) - dataset["energy"].sel(at)).transpose("replica", "hessian_time")
    trace, error = (
        spectrum[name].transpose("replica", "hessian_time").to_numpy()
        for name in ("trace_per_row", "trace_per_row_error")
    )
    size = max(4.0, 30.0 / math.sqrt(max(1, gap.sizes["replica"] / 10)))
    for i, colour in colours.items():
        ax.scatter(gap.to_numpy()[:, i], trace[:, i], s=size, color=colour, alpha=0.8, lw=0)
        if (error[:, i] > 0).any():
            ax.errorbar(gap.to_numpy()[:, i], trace[:, i], error[:, i], ls="", color=colour, lw=0.7)
    ax.set(xlabel="test loss − training loss", ylabel="trace per weight, tr $H/M$")


def draw_gauss_newton(ax: Axes, dataset: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw the mean densities of H and of the Gauss-Newton matrix at the last time, weighted by the scale of
    both.

    Exact spectra: the eigenvalues above zero by rank from the highest, where both are large.
    """
    last = max(colours)
    other = gauss_newton(dataset)
    if is_exact(dataset):
        for part, colour, label in ((dataset, BLUE, "$H$"), (other, VERMILION, "$G$")):
            averaged = average(part["hessian_eigenvalue"].isel(hessian_time=last, mode=slice(None, None, -1)))
            mean, error = averaged.mean.to_numpy(), averaged.error.to_numpy()
            shown = mean > ZERO * mean[0]
            # What is not positive has no place on the axis: H crosses zero where the curve ends.
            end = int(np.argmin(shown)) if not shown.all() else len(shown)
            band(ax, np.arange(1, end + 1), mean[:end], error[:end], colour, label)
        lowest = min(float(line.get_ydata()[-1]) for line in ax.get_lines())  # type: ignore[index, arg-type]
        ax.set(xscale="log", yscale="log", xlabel="rank $k$, from the highest")
        ax.set_ylim(bottom=lowest / 3)
        ax.set_ylabel(r"eigenvalue $\lambda_k$, mean over replicas")
    else:
        low, high = (
            min(float(part["ritz_value"].isel(hessian_time=last).min()) for part in (dataset, other)),
            max(float(part["ritz_value"].isel(hessian_time=last).max()) for part in (dataset, other)),
        )
        width = 0.01 * (high - low)
        at, top = np.linspace(low - 5 * width, high + 5 * width, 400), 0.0
        for part, colour, label in ((dataset, BLUE, "$H$"), (other, VERMILION, "$G$")):
            density = average(spectral_density(part, at, width)).mean.isel(hessian_time=last).to_numpy()
            ax.plot(at, density, color=colour, label=label)
            top = max(top, float(np.nanmax(density)))
        ax.set(yscale="log", ylim=(1e-6 * top, 3 * top), xlabel=r"eigenvalue $\lambda$")
        ax.set_ylabel(rf"density $\rho(\lambda)$, peaks of width {width:.2g}")
    clock = dataset["hessian_time"]
    unit = unit_label(clock.attrs.get("units", "1"))
    said = f"$t$ = {moment(float(clock[last]))}" + (f" {unit}" if unit != "1" else "")
    ax.legend(title=f"Hessian $H$, Gauss-Newton $G$\nat {said}", loc="best", frameon=False)


def draw_overlaps(ax: Axes, dataset: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw against time the part of the gradient in the top space, and its overlap with that of the end."""
    count = dataset.sizes["eigenvector"]
    spaces = subspace_overlap(dataset)
    last = spaces.isel(other_time=max(colours), drop=True)
    if "gradient_overlap" in dataset:
        part = dataset["gradient_overlap"].isel(eigenvector=-1)
        _against_time(ax, part, BLUE, f"$|g|^2$ in the top {count}")
    _against_time(ax, last, VERMILION, f"top {count} and those at the end")
    ax.axhline(float(spaces.attrs["random"]), color=GREY, ls=":", lw=1, label="random, $k/M$")
    ax.set(ylim=(0, 1.05), ylabel="overlap")
    if (last["hessian_time"] > 0).any():
        ax.set_xscale("log")
    ax.set_xlabel(time_label(last["hessian_time"], "time $t$"))
    ax.legend(loc="best", frameon=False)


#: What is drawn where the file has a variable.
_FURTHER = ((draw_gauss_newton, "ggn_trace"), (draw_overlaps, "hessian_vector"))


def _against_time(ax: Axes, values: xr.DataArray, colour: str, label: str) -> None:
    """Draw mean and standard error against log time; t = 0 has no place there and becomes a line."""
    averaged, time = average(values), values["hessian_time"].to_numpy()
    mean, error = averaged.mean.to_numpy(), averaged.error.to_numpy()
    shown = (time > 0) & np.isfinite(mean)
    ax.plot(time[shown], mean[shown], ls="", marker="o", ms=3, color=colour)
    band(ax, time[shown], mean[shown], error[shown], colour, label)
    for k in np.flatnonzero((time == 0) & np.isfinite(mean)):
        ax.axhline(mean[k], color=colour, ls="--", lw=0.8)
        if "at $t = 0$" not in ax.get_legend_handles_labels()[1]:
            ax.plot([], [], color=GREY, ls="--", lw=0.8, label="at $t = 0$")


def _time_axis(ax: Axes, spectrum: xr.Dataset) -> None:
    if (spectrum["hessian_time"] > 0).any():
        ax.set_xscale("log")
    ax.set_xlabel(time_label(spectrum["hessian_time"], "time $t$"))
    legend_above(ax)


def _symmetric(ax: Axes, values: NDArray[np.float64], shown: NDArray[np.float64]) -> None:
    """Let an axis of eigenvalues be logarithmic on both sides of zero, where they span decades.

    `values` are all of them; of `shown` the extreme ones are kept off the frame.
    """
    moduli = np.abs(values[np.isfinite(values)])
    moduli = moduli[moduli > 0]
    if moduli.size == 0 or moduli.max() < 30 * np.quantile(moduli, _LINEAR):
        return
    linear = max(float(np.quantile(moduli, _LINEAR)), float(moduli.max()) * 10.0**-_DECADES)
    ax.set_yscale("symlog", linthresh=10 ** math.floor(math.log10(linear)))
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    ax.set_ylim(2 * low if low < 0 else low / 2, 2 * high if high > 0 else high / 2)
