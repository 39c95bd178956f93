"""Particles have pair correlation functions, and scattering functions at several wavenumbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from langevin.errors import UserError
from langevin.observables.statistics import average
from langevin.results.kinds import TWO_TIME, has
from langevin.speech import option

from .numerals import moment
from .panels import band
from .registry import register
from .style import GREY, axis_label, colours_of, few, panels, symbol, time_label, waiting_time_legend

PAIRS, SCATTERING = "pair_correlation", "self_scattering"

#: Lags that the waiting time of the scattering functions should have, where there is such a one.
_LAGS = 10


def has_pairs(dataset: xr.Dataset) -> bool:
    """Say whether the file has pair correlation functions."""
    return has(dataset, PAIRS, "replica", "waiting_time", "pair", "distance")


def has_scattering(dataset: xr.Dataset) -> bool:
    """Say whether the file has scattering functions at several wavenumbers."""
    return has(dataset, SCATTERING, *TWO_TIME, "species", "wavenumber")


@register(PAIRS, fits=has_pairs)
def pair_figure(dataset: xr.Dataset) -> Figure:
    """Draw g_ab(r), a panel for each pair of species, a curve for each waiting time.

    UserError if the run has reached no waiting time.
    """
    values, averaged = dataset[PAIRS], average(dataset[PAIRS])
    reached = np.flatnonzero(np.isfinite(averaged.mean.to_numpy()).any((1, 2))).tolist()
    if not reached:
        raise UserError(f"{option('quantity', PAIRS)}: the run has reached no waiting time yet")
    colours, r = colours_of(reached), dataset["distance"].to_numpy()
    # Counts of few pairs are skew: below one pair in every second sample the error does not hold.
    paired = ((values > 0).mean("replica") >= 0.5).to_numpy()
    drawn, axes = _grid(values.sizes["pair"])
    for k, ax in enumerate(axes):
        for i, colour in colours.items():
            mean, error = (v[i, k].to_numpy() for v in averaged)
            shown = np.isfinite(mean)
            ax.plot(r[shown], mean[shown], color=colour, label="_")
            sure = np.where(paired[i, k], error, np.nan)[shown]
            ax.fill_between(r[shown], mean[shown] - sure, mean[shown] + sure, color=colour, alpha=0.25, lw=0)
        ax.axhline(1, color=GREY, ls=":", lw=1)
        pair = str(dataset["pair"][k].item())
        ax.set(xlabel=time_label(dataset["distance"], "distance $r$"), xlim=(0, None), ylim=(0, None))
        ax.set_ylabel(axis_label(values, rf"$g_{{{pair}}}(r)$"))
        ax.set_title(f"({chr(ord('a') + k)}) {pair}", loc="left")
    waiting_time_legend(drawn, dataset["waiting_time"], colours, note=few(values))
    return drawn


@register(SCATTERING, fits=has_scattering)
def scattering_figure(dataset: xr.Dataset) -> Figure:
    """Draw F_s(k) at the latest waiting time with enough lags, a panel for each species, a curve for each k.

    UserError if the run has reached no pair of times.
    """
    values, averaged = dataset[SCATTERING], average(dataset[SCATTERING])
    counts = np.isfinite(averaged.mean.to_numpy()).any((2, 3)).sum(1)
    if not counts.any():
        raise UserError(f"{option('quantity', SCATTERING)}: the run has reached no pair of times yet")
    i = int(np.flatnonzero(counts >= min(_LAGS, counts.max()))[-1])
    order = np.argsort(dataset["wavenumber"].to_numpy()).tolist()
    colours, lag = colours_of(order), dataset["lag"].to_numpy()
    drawn, axes = _grid(values.sizes["species"])
    for s, ax in enumerate(axes):
        for k, colour in colours.items():
            mean, error = (v[i, :, s, k].to_numpy() for v in averaged)
            band(ax, lag, mean, error, colour, "_")
        ax.set(xscale="log", xlabel=time_label(dataset["lag"], "lag $t$"))
        ax.set_ylabel(axis_label(values, symbol(values)))
        waiting = moment(float(dataset["waiting_time"][i]))
        ax.set_title(f"({chr(ord('a') + s)}) {dataset['species'][s].item()}, $t_w$ = {waiting}", loc="left")
    waiting_time_legend(drawn, dataset["wavenumber"], colours, "wavenumber $k$", few(values))
    return drawn


def _grid(count: int) -> tuple[Figure, list[Any]]:
    """Return a figure with so many panels, in rows of three at most."""
    return panels(count, 3)
