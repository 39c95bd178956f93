"""Jammed configurations: gaps and forces beside the power laws of theory; energies above jamming."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from langevin.observables.power_laws import cumulative, power_law
from langevin.observables.statistics import average
from langevin.results.members import sweep_dims

from .registry import register
from .style import BLACK, BLUE, GREY, VERMILION, few, panels

#: Ends of a window that holds something to fit differ by so much.
_WIDE = 3.0


def is_jammed(dataset: xr.Dataset) -> bool:
    """Say whether a run holds gaps and forces at jamming."""
    return all(n in dataset and dataset[n].dims == ("replica", "pattern") for n in ("gap", "contact_force"))


@register("gaps and forces", fits=is_jammed, priority=4)
def jamming_figure(dataset: xr.Dataset) -> Figure:
    """Draw what is known at jamming.

    (a) Cumulative distribution of the gaps, (b) of the forces over their mean, both of all samples together,
    with the power law of theory through the middle of the window, where theory has one. The exponents are
    those of `observables.power_laws` in the shaded window. (c) The margins at which samples jam, beside the
    replica symmetric one.
    """
    drawn, (left, middle, right) = panels(3, 3, 1.15)
    _draw_law(left, dataset["gap"], r"\gamma", "gap", "$h$")
    _draw_law(middle, dataset["contact_force"], r"\theta", "force", r"$f/\langle f\rangle$")
    _draw_margins(right, dataset["jamming_margin"])
    return drawn


def _draw_law(ax: Axes, values: xr.DataArray, letter: str, words: str, symbol: str) -> None:
    """Draw a cumulative distribution; where theory knows an exponent, its power law and the measured one."""
    about = values.attrs
    found = cumulative(values.where(values > 0))
    ax.plot(found["x"], found, color=BLUE, lw=1.4, label="measured")
    low, high = (float(about.get(f"window_{end}", np.nan)) for end in ("low", "high"))
    if high > _WIDE * low and found.size:
        ax.axvspan(low, high, color=GREY, alpha=0.12, lw=0, label="window of the fit")
        law = power_law(values.where(values > 0), (low, high))
        sign = float(about.get("exponent_sign", 1))
        measured, error = sign * float(law["exponent"]), float(law["exponent_error"])
        theory = float(about["exponent"])
        said = f"${letter} = {theory:.3f}$: theory"
        centre = np.sqrt(low * high)
        x = np.geomspace(low / 5, high * 2, 50)
        level = float(found.interp(x=centre))
        ax.plot(x, level * (x / centre) ** (1 + sign * theory), color=VERMILION, ls="--", lw=1.2, label=said)
        lacking = few(values.isel(pattern=0))
        spread = f" ± {error:.3f}" if np.isfinite(error) and not lacking else ""
        ax.plot([], [], " ", label=f"${letter} = {measured:.3f}${spread}: in the window")
    ax.set(xscale="log", yscale="log", xlabel=f"{words} {symbol}", ylabel=f"share below {symbol}")
    # Room for the words above the curve.
    ax.set_ylim(top=30)
    ax.legend(loc="upper left")


def _draw_margins(ax: Axes, margins: xr.DataArray) -> None:
    known = margins.to_numpy()[np.isfinite(margins.to_numpy())]
    if known.size:
        ax.hist(known, bins="sturges", color=BLUE, alpha=0.75, label=f"{known.size} samples")
    limit = float(margins.attrs.get("replica_symmetric", np.nan))
    if np.isfinite(limit):
        kind = "exact" if limit >= 0 else "upper bound"
        label = rf"$\sigma_J = {limit:.4f}$: {kind}, $N\to\infty$"
        ax.axvline(limit, 0, 0.72, color=VERMILION, ls="--", lw=1.2, label=label)
    ax.set(xlabel=r"margin at jamming $\sigma_J$", ylabel="samples")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_ylim(0, 1.45 * ax.get_ylim()[1])
    ax.legend(loc="upper left")


def _has_minima(dataset: xr.Dataset) -> bool:
    """Say whether a sweep over the load α holds minima."""
    dims = sweep_dims(dataset)
    fits = dims == ("alpha",) and dataset.sizes["alpha"] > 1
    return fits and "minimum_energy" in dataset


@register("minima above jamming", fits=_has_minima, kinds=["sweep"], priority=3)
def minima_figure(dataset: xr.Dataset) -> Figure:
    """Draw minima against the load α, with standard errors, beside the replica symmetric limit.

    (a) √(2E), in theory linear in √α, that vanishes at jamming. (b) The share of unsatisfied patterns.
    """
    drawn, (left, right) = panels(2, 2)
    root = (2 * dataset["minimum_energy"]) ** 0.5
    share = dataset["minimum_unsatisfied"] / (dataset["alpha"] * dataset["minimum_unsatisfied"].attrs["dof"])
    alpha = dataset["alpha"].to_numpy()
    _points(left, alpha, root, r"$\sqrt{2E}$ of the minimum")
    _points(right, alpha, share, r"share of unsatisfied patterns $N_\Delta/P$")
    about = dataset["minimum_energy"].attrs
    if "share" in dataset["minimum_unsatisfied"].attrs:
        at, limit = float(about["jamming_load"]), float(dataset["minimum_unsatisfied"].attrs["share"])
        x = np.linspace(min(alpha.min(), at), alpha.max(), 300)
        above, words = np.maximum(np.sqrt(x / at) - 1, 0), r"$\sqrt{\alpha/\alpha_J}-1$, $N\to\infty$"
        left.plot(x, above, color=VERMILION, ls="--", lw=1.2, label=words)
        left.axvline(at, color=BLACK, ls=":", lw=0.8, label=rf"$\alpha_J = {at:.4f}$")
        right.plot(x[x >= at], np.full((x >= at).sum(), limit), color=VERMILION, ls="--", lw=1.2,
                   label=rf"$\Phi(\sigma) = {limit:.4f}$, $N\to\infty$")  # fmt: skip
        right.axvline(at, color=BLACK, ls=":", lw=0.8)
    for ax in (left, right):
        ax.set(xlabel=r"patterns per dimension $\alpha$")
        ax.legend(loc="best")
    return drawn


def _points(ax: Axes, x: Any, values: xr.DataArray, words: str) -> None:
    mean, error = average(values)
    bars = np.where(np.isfinite(error), error, 0.0)
    ax.errorbar(
        x, mean, bars, color=BLUE, marker="o", ms=4, ls="", capsize=2, label="measured, standard error"
    )
    ax.set_ylabel(words)
