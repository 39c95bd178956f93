"""Response stands against displacement, and an effective temperature is read off it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.observables.displacement_response import effective_temperature
from langevin.observables.statistics import average
from langevin.observables.sufficiency import too_few
from langevin.results.kinds import TWO_TIME, has

from .bath import bath_of
from .panels import band, draw_displacement_response, estimate, reached_times
from .registry import register
from .style import GREY, axis_label, colours_of, legend_above, panels, time_label, waiting_time_legend

#: The name that asks for this figure; it is not in the file, but made of what is.
EFFECTIVE_TEMPERATURE = "effective_temperature"


def has_temperature(dataset: xr.Dataset) -> bool:
    """Say whether the file has a response to forces on single coordinates, and their displacements."""
    if not all(has(dataset, name, *TWO_TIME) for name in ("msd", "integrated_response")):
        return False
    about = dataset["integrated_response"].attrs
    if about.get("conjugate") != "msd" or about.get("centre_of_mass_mobility"):
        return False
    # A checkpoint may stand before the first pair.
    return bool(dataset["integrated_response"].notnull().any())


@register(EFFECTIVE_TEMPERATURE, fits=has_temperature)
def temperature_figure(dataset: xr.Dataset) -> Figure:
    """Draw χ against Δ/2, and the effective temperature against the lag."""
    colours = colours_of(reached_times(estimate(dataset, "integrated_response")))
    drawn, (left, right) = panels(2, 2)
    draw_displacement_response(left, dataset, colours)
    draw_temperature(right, dataset, colours)
    waiting_time_legend(drawn, dataset["waiting_time"], colours)
    return drawn


def draw_temperature(ax: Axes, dataset: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw T_eff = dΔ/(2 dχ) against the lag, with that of frozen noise, α D/(2B), where it is known.

    Pairs whose response is not linear are left out (`observables.displacement_response.MOST`).
    """
    temperatures = effective_temperature(
        dataset["msd"], dataset["integrated_response"], nonlinearity=dataset.get("response_nonlinearity")
    )
    name, lag = "effective_temperature", dataset["lag"].to_numpy()
    samples = temperatures[f"{name}_error"].attrs["samples"]
    # An error that does not hold is not drawn.
    lacking = too_few("displacement_temperature", samples)
    frozen = _frozen(dataset)
    for i, colour in colours.items():
        mean, error = temperatures[name][i].to_numpy(), temperatures[f"{name}_error"][i].to_numpy()
        shown = np.isfinite(mean) & (mean > 0)
        band(ax, lag[shown], mean[shown], np.where(bool(lacking), np.nan, error[shown]), colour, "_")
        if frozen is not None and np.isfinite(frozen[i]) and frozen[i] > 0:
            ax.plot([lag[0], lag[-1]], [frozen[i]] * 2, color=colour, ls=":", lw=1.0)
    if frozen is not None:
        ax.plot([], [], color=GREY, ls=":", lw=1.0, label=r"frozen noise, $\alpha D(t_w)/2B$")
    temperature = float(dataset["integrated_response"].attrs.get("temperature", 0.0))
    if temperature > 0:
        ax.axhline(temperature, color=GREY, ls="--", lw=1.0, label=f"bath, $T = {temperature:g}$")
    bath = bath_of(dataset)
    if bath is not None:
        for i, colour in colours.items():
            course = bath.along(float(dataset["waiting_time"][i]) + lag)
            ax.plot(lag, np.where(course > 0, course, np.nan), color=colour, ls="--", lw=1.0)
        ax.plot([], [], color=GREY, ls="--", lw=1.0, label="bath, $T(t_w + t)$")
    if lacking:
        ax.plot([], [], " ", label=f"no bands: {lacking}")
    ax.set(xscale="log", yscale="log", xlabel=time_label(dataset["lag"], "lag $t$"))
    ax.set_ylabel(axis_label(temperatures[name], r"$T_{\rm eff}$"))
    legend_above(ax)


def _frozen(dataset: xr.Dataset) -> Any:
    """Return α D/(2B) at every waiting time; None where it does not follow from the file."""
    if "gradient_noise" not in dataset or not {"learning_rate", "batch_size"} <= set(
        dataset["gradient_noise"].attrs
    ):
        return None
    about = dataset["gradient_noise"].attrs
    noise = average(dataset["gradient_noise"]).mean.to_numpy()
    return float(about["learning_rate"]) * noise / (2 * float(about["batch_size"]))
