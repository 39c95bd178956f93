"""Final energies stand against what was swept, beside the lines that theory has at the last temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from langevin.results.members import sweep_dims

from .sheet import small
from .style import BLACK

#: Last over first of swept numbers from which on their axis is logarithmic.
DECADES = 100.0
#: Attribute of the energy → what a figure calls it, and its dashes, which no curve has.
LINES: dict[str, tuple[str, tuple[int, tuple[int, ...]]]] = {
    "threshold_at_end": ("threshold", (0, (9, 2))),
    "equilibrium_at_end": ("equilibrium", (0, (9, 2, 1, 2))),
}


def swept_numbers(dataset: xr.Dataset) -> dict[str, int]:
    """Return the swept coordinates that are finite numbers, at least two, with how many values each has."""
    dims = sweep_dims(dataset)
    return {
        str(name): coordinate.size
        for name, coordinate in dataset.coords.items()
        if len(coordinate.dims) == 1
        and coordinate.dims[0] in dims
        and coordinate.dtype.kind in "iuf"
        and coordinate.size > 1
        and np.isfinite(coordinate).all()
    }


def swept_label(coordinate: xr.DataArray) -> str:
    """Return what an axis calls a swept number."""
    if str(coordinate.attrs.get("sweep_key", "")).endswith("temperature.rate"):
        return r"rate $|dT/dt|$"
    return str(coordinate.name).replace("_", " ")


def logarithmic(values: Any) -> bool:
    """Say whether swept numbers span decades, so that their axis is logarithmic."""
    swept = np.asarray(values, dtype=float)
    return bool(swept.min() > 0 and swept.max() >= DECADES * swept.min())


def lines_of(energies: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the energies that theory has at the last temperature, where all files that know them agree.

    Parameters
    ----------
    energies : sequence of mapping
        Attributes of the energy in each of several results.
    """
    known = {name: {float(about[name]) for about in energies if name in about} for name in LINES}
    return {name: values.pop() for name, values in known.items() if len(values) == 1}


def draw_lines(ax: Axes, known: Mapping[str, float]) -> None:
    """Draw what `lines_of` found, named at the right: the highest above its line, others below theirs.

    Called when all curves are there.
    """
    if not known:
        return
    low, high = ax.get_ylim()
    low, high = min(low, *known.values()), max(high, *known.values())
    # Room for the words below the lowest.
    ax.set_ylim(low - 0.09 * (high - low), high)
    for name, energy in known.items():
        words, dashes = LINES[name]
        ax.axhline(energy, color=BLACK, ls=dashes, lw=0.8)
        above = energy == max(known.values())
        ax.annotate(
            f"{words}: {energy:.4f}".replace("-", "−"),
            (0.98, energy),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2 if above else -2),
            textcoords="offset points",
            ha="right",
            va="bottom" if above else "top",
            fontsize=small(),
        )


def draw_above(ax: Axes, x: Any, excess: Any, error: Any, look: Mapping[str, Any]) -> None:
    """Draw points with bars on logarithmic axes: those below 0 open, by their distance."""
    x, excess, error = (np.asarray(values, dtype=float) for values in (x, excess, error))
    distance = np.abs(excess)
    known = np.isfinite(error)
    # A bar that reaches 0 has no end on a logarithmic axis: it goes to the lower edge.
    low = np.where(known, np.minimum(error, 0.999 * distance), 0.0)
    high = np.where(known, error, 0.0)
    for below, face in ((False, look["color"]), (True, "white")):
        part = (excess < 0) == below
        if part.any():
            bars = np.stack([low[part], high[part]])
            ax.errorbar(x[part], distance[part], bars, **{**look, "mfc": face, "ls": ""})
