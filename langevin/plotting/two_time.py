"""Energy and two-time observables stand side by side: two panels, or as many as a file gives."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from langevin.results.kinds import TWO_TIME, has, two_time_names

from .panels import draw_displacement_response, draw_energy, draw_two_time, estimate, reached_times
from .registry import register
from .response import draw_response, is_conjugate, with_unit_correlation
from .style import colours_of, panels, waiting_time_legend


@register("two-time observables", names=two_time_names, priority=1)
def two_panels(dataset: xr.Dataset, name: str | None = None) -> Figure:
    """Draw the energy and a two-time observable, by default msd, as Fig. 1 of Baity-Jesi et al. 2018."""
    names = two_time_names(dataset)
    shown = name or next((n for n in ("msd", *names) if n in names), None)
    two_time = [shown] if shown else []
    order = (["energy"] if "energy" in dataset else []) + two_time
    reached = [i for n in two_time for i in reached_times(estimate(dataset, n))]
    # Runs with a response have many waiting times over many decades: no room for a legend among the curves.
    colours = colours_of(reached) if reached and "integrated_response" in dataset else None
    drawn, axes = panels(len(order), len(order))
    for ax, panel in zip(axes, order, strict=True):
        if panel == "energy":
            draw_energy(ax, dataset)
        else:
            draw_two_time(ax, dataset, panel, colours)
    if colours:
        waiting_time_legend(drawn, dataset["waiting_time"], colours)
    return drawn


def _scatters(dataset: xr.Dataset) -> bool:
    """Say whether the correlation is a scattering function, which χ is not conjugate to."""
    there = has(dataset, "correlation", *TWO_TIME)
    return there and dataset["correlation"].attrs.get("kind") == "self_intermediate_scattering"


def _is_rich(dataset: xr.Dataset) -> bool:
    responds = {"correlation", "integrated_response"} <= set(two_time_names(dataset))
    return responds or _scatters(dataset)


@register("response and scattering", fits=_is_rich, names=lambda dataset: [], priority=2)
def many_panels(dataset: xr.Dataset, _: str | None = None) -> Figure:
    """Draw what a file with a response or a scattering function gives.

    With a response four panels: energy, mean square displacement, correlation, and χ against C. With a
    scattering function three: energy, this, and mean square displacement; with a response, too, χ against the
    displacement.
    """
    order = _panels_of(dataset)
    columns = 3 if len(order) == 3 else 2
    drawn, axes = panels(len(order), columns)
    # One colour for a waiting time in every panel, whichever of them it has reached.
    reached = sorted({i for n in order if n != "energy" for i in reached_times(estimate(dataset, n))})
    colours = colours_of(reached)
    # Scattering functions and overlaps have a beginning of their own.
    unit = with_unit_correlation(dataset) if is_conjugate(dataset) else dataset
    for ax, panel in zip(axes, order, strict=True):
        if panel == "energy":
            draw_energy(ax, dataset)
        elif panel == "integrated_response" and _of_displacements(dataset):
            draw_displacement_response(ax, dataset, colours)
        elif panel == "integrated_response":
            draw_response(ax, dataset, colours)
        else:
            draw_two_time(ax, unit, panel, colours)
    waiting_time_legend(drawn, dataset["waiting_time"], colours)
    return drawn


def _panels_of(dataset: xr.Dataset) -> list[str]:
    """Return the panels of a file with a response or a scattering function."""
    order = ("energy", "correlation", "msd") if _scatters(dataset) else ("energy", "msd", "correlation")
    names = [name for name in order if name in dataset]
    if "integrated_response" not in dataset:
        return names
    if dataset["integrated_response"].attrs.get("conjugate", "correlation") == "correlation":
        # χ against F_s would have a line that no theorem gives.
        return names + ["integrated_response"] * (not _scatters(dataset))
    return names + ["integrated_response"] * _of_displacements(dataset)


def _of_displacements(dataset: xr.Dataset) -> bool:
    """Say whether χ is conjugate to displacements that the file has."""
    about = dataset["integrated_response"].attrs
    conjugate = str(about.get("conjugate", ""))
    return conjugate.startswith("msd") and conjugate in dataset and "spatial_dimensions" in about
