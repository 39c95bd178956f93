"""Replicas fluctuate: the dynamical susceptibility χ₄ and the distribution of overlaps show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from langevin.observables.overlaps import dynamical_susceptibility, overlap_distribution, overlaps
from langevin.observables.sufficiency import too_few
from langevin.results.configurations import holders
from langevin.results.kinds import TWO_TIME, has

from .numerals import moment
from .panels import band
from .registry import register
from .style import BLUE, GREY, colours_of, ensemble_label, panels, time_label, waiting_time_legend

#: The figure's name among quantities.
CHI4 = "chi4"


def has_fluctuations(dataset: xr.Dataset) -> bool:
    """Say whether the file holds C of several replicas, per degree of freedom, and how many these are."""
    if not has(dataset, "correlation", *TWO_TIME):
        return False
    values = dataset["correlation"]
    return values.attrs.get("kind") is None and _size(dataset) > 0 and values.sizes["replica"] > 2


def _size(dataset: xr.Dataset) -> int:
    """Return N, 0 if it is not known."""
    return int(dataset["correlation"].attrs.get("dof", dataset.sizes.get("dof", 0)))


@register(CHI4, fits=has_fluctuations)
def fluctuation_figure(dataset: xr.Dataset) -> Figure:
    """Draw χ₄(t_w, t) against the lag, and P(q) of the last stored configuration.

    (a) χ₄ of each waiting time (bands: standard error, of enough samples), and broken its part within
    samples, where these have several replicas; (b) the overlaps of replicas of the same sample (bars:
    standard error over samples), where configurations are stored.
    """
    values = dataset["correlation"]
    chi4 = dynamical_susceptibility(values, _size(dataset))
    reached = np.flatnonzero(np.isfinite(chi4["chi4"].to_numpy()).any(-1)).tolist()
    colours, pairs = colours_of(reached), _pairs(dataset)
    count = 1 if pairs is None else 2
    drawn, axes = panels(count, count)
    lag, split = dataset["lag"].to_numpy(), False
    lacking = too_few("chi4", int(chi4["chi4_error"].attrs["samples"]))
    for i, colour in colours.items():
        mean, error, inside = (chi4[n][i].to_numpy() for n in ("chi4", "chi4_error", "chi4_thermal"))
        band(axes[0], lag, mean, np.where(bool(lacking), np.nan, error), colour, "_")
        apart = np.isfinite(mean) & np.isfinite(inside) & np.isfinite(chi4["chi4_disorder"][i].to_numpy())
        axes[0].plot(lag[apart], inside[apart], color=colour, ls="--", lw=1)
        split = split or bool(apart.any())
    _finish(axes[0], dataset, lacking, split)
    if pairs is not None:
        _draw_overlaps(axes[1], *pairs)
    waiting_time_legend(drawn, dataset["waiting_time"], colours)
    return drawn


def _finish(ax: Axes, dataset: xr.Dataset, lacking: str, split: bool) -> None:
    said = ensemble_label(dataset["correlation"]).partition("\n")[0]
    ax.plot([], [], color=GREY, label=said + (f"\nno bands: {lacking}" if lacking else ""))
    if split:
        ax.plot([], [], color=GREY, ls="--", lw=1, label="part within samples")
    ax.legend(loc="best")
    ax.set(
        xscale="log" if np.size(ax.get_lines()[0].get_xdata()) else "linear",
        xlabel=time_label(dataset["lag"], "lag $t$"),
        ylabel=r"$\chi_4 = N\,[\langle C^2\rangle - \langle C\rangle^2]$",
    )
    # Room for the legend above the curves.
    ax.set_ylim(0, 1.3 * ax.get_ylim()[1])


def _pairs(dataset: xr.Dataset) -> tuple[xr.DataArray, float] | None:
    """Return the overlaps at the last stored time that the run has reached; None if there are none."""
    labels = (
        dataset["sample"].to_numpy() if "sample" in dataset.coords else np.zeros(dataset.sizes["replica"])
    )
    if np.unique(labels).size == labels.size:
        return None
    for name, dim in reversed(holders(dataset).items()):
        for k in reversed(range(dataset.sizes[dim])):
            x = dataset[name].isel({dim: k})
            if bool(x.notnull().all()):
                return overlaps(x.drop_vars(dim).load()), float(dataset[dim][k])
    return None


def _draw_overlaps(ax: Axes, pairs: xr.DataArray, time: float) -> None:
    distribution = overlap_distribution(pairs)
    low, high, density, error = (
        distribution[n].to_numpy() for n in ("overlap_low", "overlap_high", "density", "density_error")
    )
    samples = int(distribution["density_error"].attrs["samples"])
    of = "samples" if np.unique(pairs["sample"]).size > 1 else "replicas"
    lacking = too_few("overlap_density", samples)
    label: Any = f"{pairs.size} pairs, {samples} {of}" + (f"\nno bars: {lacking}" if lacking else "")
    ax.stairs(density, np.append(low, high[-1]), color=BLUE, lw=1.2, label=label)
    known = np.isfinite(error) & (density > 0) & (not lacking)
    ax.errorbar((low + high)[known] / 2, density[known], error[known], color=BLUE, ls="", lw=0.8, capsize=0)
    ax.set(xlabel=f"overlap $q$ at $t = $ {moment(time)}", ylabel="$P(q)$")
    # Room for the legend above the highest bar.
    ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.legend(loc="best")
