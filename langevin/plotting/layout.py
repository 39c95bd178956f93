"""Which panels a file gives, and where they stand."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from langevin.errors import UserError
from langevin.files.storage import explained
from langevin.results.members import sweep_dims

from .aging import AGING, aging_figure, has_aging
from .aging_sweep import aging_sweep_figure
from .curves import CURVE, barrier_figure, curve_figure, has_barriers, has_curve
from .ensembles import ensemble_figure, has_ensembles
from .fluctuations import CHI4, fluctuation_figure, has_fluctuations
from .layers import (
    LAYER_MSD,
    LAYERS,
    has_layer_displacements,
    has_layers,
    layer_figure,
    layer_msd_figure,
)
from .panels import (
    draw_displacement_response,
    draw_energy,
    draw_one_time,
    draw_two_time,
    estimate,
    reached_times,
)
from .plane import has_plane, planar, plane_figure
from .response import FDT, draw_response, fdt_figure, is_conjugate, with_unit_correlation
from .spectra import HESSIAN, has_spectrum, spectrum_figure
from .structure import PAIRS, SCATTERING, has_pairs, has_scattering, pair_figure, scattering_figure
from .style import STYLE, colours_of, entitle, waiting_time_legend
from .sweep import refused, sweep_figure
from .temperature import EFFECTIVE_TEMPERATURE, has_temperature, temperature_figure
from .training import MSD_OVER_NOISE, collapse_figure, has_noise, training_figure

#: What is made of several variables, and stands alone; aging takes a threshold, too.
_DRAWN: dict[str, Callable[[xr.Dataset], Figure]] = {
    MSD_OVER_NOISE: collapse_figure,
    HESSIAN: spectrum_figure,
    PAIRS: pair_figure,
    SCATTERING: scattering_figure,
    CURVE: curve_figure,
    FDT: fdt_figure,
    CHI4: fluctuation_figure,
    LAYERS: layer_figure,
    LAYER_MSD: layer_msd_figure,
    EFFECTIVE_TEMPERATURE: temperature_figure,
}
_ALONE = (AGING, *_DRAWN)


def figure(dataset: xr.Dataset, quantity: str | None = None, threshold: float | None = None) -> Figure:
    """Draw the energy and a two-time observable, as Fig. 1 of Baity-Jesi et al. 2018.

    Where no quantity is asked for, some files give more: with a response four panels, energy, mean square
    displacement, correlation, and the fluctuation-dissipation plot of χ against C; with a correlation that is
    a scattering function three, energy, this, and mean square displacement, and with a response the plot of χ
    against the displacement; with a test loss, the course of training (`training.training_figure`). Of a
    sweep: `sweep.sweep_figure`.

    Parameters
    ----------
    dataset : Dataset
        A result, or a checkpoint of an unfinished run.
    quantity : str, optional
        Two-time observable of the right panel of two; by default msd. A one-time observable, or one that
        stands alone: msd_over_noise, aging (`aging.aging_figure`), fdt (`response.fdt_figure`), chi4
        (`fluctuations.fluctuation_figure`), hessian (`spectra.spectrum_figure`), pair_correlation,
        self_scattering (`structure`), layer_angle, layer_msd (`layers`), effective_temperature
        (`temperature.temperature_figure`), curve (`curves.curve_figure`; the default where there is one). Of
        a plane (`plane.plane_figure`), what is drawn on it. None of ensembles (`ensembles`).
    threshold : float, optional
        Δ* of aging; chosen if it is not given.

    Raises
    ------
    UserError
        If there is nothing of that name to draw, or a threshold for another figure.
    """
    if has_plane(dataset) or has_ensembles(dataset):
        return _of_no_run(dataset, quantity, threshold)
    allowed = quantities(dataset)
    one_time = one_time_names(dataset)
    two_time = [n for n in allowed if n not in (*_ALONE, *one_time)]
    richer = quantity is None and (
        {"correlation", "integrated_response"} <= set(two_time) or _scatters(dataset) or _trains(dataset)
    )
    swept = sweep_dims(dataset)
    if quantity is not None and quantity not in allowed and not swept:
        raise refused(dataset, quantity, allowed)
    wanted = quantity or next((n for n in ("msd", *two_time) if n in two_time), "")
    if threshold is not None and quantity != AGING:
        raise UserError(f"--threshold {threshold:g}: allowed with --quantity {AGING} only")
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Means over what the run did not reach: NaN, and left out of the curves.
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        if swept and wanted == AGING:
            made = aging_sweep_figure(dataset, threshold)
        elif swept:
            barriers = quantity is None and has_barriers(dataset)
            made = barrier_figure(dataset) if barriers else sweep_figure(dataset, quantity)
        elif wanted == AGING:
            made = aging_figure(dataset, threshold)
        elif wanted in _DRAWN:
            made = _DRAWN[wanted](dataset)
        elif quantity is None and has_curve(dataset):
            made = curve_figure(dataset)
        elif wanted in one_time:
            made = _one_panel(dataset, wanted)
        elif not richer:
            made = _two_panels(dataset, [wanted] * bool(wanted))
        elif _trains(dataset):
            made = training_figure(dataset, two_time)
        else:
            made = _many_panels(dataset, _panels_of(dataset))
        entitle(made, str(dataset.attrs.get("title", "")))
    return made


def _of_no_run(dataset: xr.Dataset, quantity: str | None, threshold: float | None) -> Figure:
    """Draw a plane, or ensembles."""
    plane = has_plane(dataset)
    if threshold is not None:
        raise UserError(f"--threshold {threshold:g}: {'a plane has' if plane else 'ensembles have'} none")
    if quantity is not None and not plane:
        raise UserError(f"--quantity {quantity!r}: of ensembles there is one figure; allowed: no --quantity")
    with matplotlib.rc_context(STYLE):
        made = plane_figure(dataset, quantity) if plane else ensemble_figure(dataset)
        entitle(made, str(dataset.attrs.get("title", "")))
    return made


def quantities(dataset: xr.Dataset) -> list[str]:
    """Return the observables that can be drawn, and the figures of other kinds by their names."""
    if has_plane(dataset):
        return planar(dataset)
    two_time = [str(n) for n, v in dataset.data_vars.items() if v.dims == ("replica", "waiting_time", "lag")]
    found = [n for n in two_time if not (n.endswith("_error") and n.removesuffix("_error") in dataset)]
    alone = {
        MSD_OVER_NOISE: has_noise,
        AGING: has_aging,
        HESSIAN: has_spectrum,
        PAIRS: has_pairs,
        SCATTERING: has_scattering,
        CURVE: has_curve,
        LAYERS: has_layers,
        LAYER_MSD: has_layer_displacements,
        EFFECTIVE_TEMPERATURE: has_temperature,
        FDT: is_conjugate,
        CHI4: has_fluctuations,
    }
    return found + one_time_names(dataset) + [name for name, there in alone.items() if there(dataset)]


def one_time_names(dataset: xr.Dataset) -> list[str]:
    """Return the one-time observables, each a figure of its own; the energy, which others show too, last."""
    found = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if variable.dims == ("replica", "time") and not str(name).endswith("_error")
    ]
    return sorted(found, key="energy".__eq__)


def _trains(dataset: xr.Dataset) -> bool:
    return all(n in dataset and dataset[n].dims == ("replica", "time") for n in ("energy", "test_loss"))


def _scatters(dataset: xr.Dataset) -> bool:
    """Say whether the correlation is a scattering function, which χ is not conjugate to."""
    there = "correlation" in dataset and dataset["correlation"].dims == ("replica", "waiting_time", "lag")
    return there and dataset["correlation"].attrs.get("kind") == "self_intermediate_scattering"


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


def _one_panel(dataset: xr.Dataset, name: str) -> Figure:
    made = Figure(figsize=(4.6, 3.5), layout="constrained")
    if name == "energy":
        draw_energy(made.subplots(), dataset)
    else:
        draw_one_time(made.subplots(), dataset, name)
    return made


def _two_panels(dataset: xr.Dataset, two_time: list[str]) -> Figure:
    panels = (["energy"] if "energy" in dataset else []) + two_time
    reached = [i for n in two_time for i in reached_times(estimate(dataset, n))]
    # Runs with a response have many waiting times over many decades: no room for a legend among the curves.
    colours = colours_of(reached) if reached and "integrated_response" in dataset else None
    made = Figure(figsize=(4.1 * len(panels), 4.1 if colours else 3.5), layout="constrained")
    axes = np.atleast_1d(np.asarray(made.subplots(1, len(panels))))
    for ax, panel, letter in zip(axes, panels, "ab", strict=False):
        if panel == "energy":
            draw_energy(ax, dataset)
        else:
            draw_two_time(ax, dataset, panel, colours)
        ax.set_title(f"({letter})", loc="left")
    if colours:
        waiting_time_legend(made, dataset["waiting_time"], colours)
    return made


def _many_panels(dataset: xr.Dataset, panels: list[str]) -> Figure:
    columns = 3 if len(panels) == 3 else 2
    rows = math.ceil(len(panels) / columns)
    made = Figure(figsize=(4.1 * columns, 3.4 * rows + 0.5), layout="constrained")
    axes = np.asarray(made.subplots(rows, columns, squeeze=False)).ravel()
    # One colour for a waiting time in every panel, whichever of them it has reached.
    reached = sorted({i for n in panels if n != "energy" for i in reached_times(estimate(dataset, n))})
    colours = colours_of(reached)
    # Scattering functions and overlaps have a beginning of their own.
    unit = with_unit_correlation(dataset) if is_conjugate(dataset) else dataset
    for ax, panel, letter in zip(axes, panels, "abcd", strict=False):
        if panel == "energy":
            draw_energy(ax, dataset)
        elif panel == "integrated_response" and _of_displacements(dataset):
            draw_displacement_response(ax, dataset, colours)
        elif panel == "integrated_response":
            draw_response(ax, dataset, colours)
        else:
            draw_two_time(ax, unit, panel, colours)
        ax.set_title(f"({letter})", loc="left")
    for ax in axes[len(panels) :]:
        ax.remove()
    if reached:
        waiting_time_legend(made, dataset["waiting_time"], colours)
    return made


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


def save(
    dataset: xr.Dataset, path: Path, quantity: str | None = None, threshold: float | None = None
) -> Path:
    """Draw the figure and write it; the ending names the format (.png, .pdf, .svg).

    Raises
    ------
    UserError
        If matplotlib does not know the ending.
    """
    check_format(path)
    made = figure(dataset, quantity, threshold)
    with explained(path):
        made.savefig(path)
    return path
