"""A plane through three configurations is drawn as contours, with points, curves and trajectories.

After Fig. 1 of Garipov et al. 2018, arXiv:1802.10026: levels are spaced logarithmically above the minimum, so
that the valley is seen, and end below the highest values, which say nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import matplotlib
import numpy as np
import xarray as xr
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .registry import register
from .style import VERMILION, as_written, axis_label, number, panels, unit_label

#: Contours: their number, and over which power of ten they spread at most.
LEVELS, DECADES = 12, 3.0

#: The top level is this quantile of the values: the plane rises steeply towards its corners.
CAP = 0.85

#: Width over height of a field from which on it is wide.
WIDE = 1.6

#: Dimensions of what is drawn.
GRID = ("y", "x")

#: Beside the energy a panel of its own, where a file has one of these.
BESIDE = ("test_error", "test_loss")

#: White lines around what is drawn on top: it is seen on every colour.
_HALO = [patheffects.withStroke(linewidth=2.6, foreground="white")]

#: Of curves and trajectories, in turn.
_STYLES, _MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D")


def planar(dataset: xr.Dataset) -> list[str]:
    """Return what can be drawn on the plane."""
    return [str(name) for name, values in dataset.data_vars.items() if values.dims == GRID]


@register("quantities on a plane", names=planar, kinds=["plane"], priority=1)
def plane_figure(dataset: xr.Dataset, quantity: str | None = None) -> Figure:
    """Draw energy and test error side by side; the energy alone where there is no test set.

    Parameters
    ----------
    dataset : Dataset
        As `langevin plane` writes it.
    quantity : str, optional
        One quantity on the plane, in a single panel.
    """
    allowed = planar(dataset)
    shown = [quantity] if quantity else ["energy", *[n for n in BESIDE if n in allowed][:1]]
    width, height = (float(np.ptp(dataset[axis].to_numpy())) for axis in "xy")
    # Room for labels and the colour bar beside a field of some 3.4 inches, whatever its shape. Wide ones
    # stand one above the other.
    stacked = width > WIDE * height
    tall = min(max(3.4 * height / width, 1.6), 4.6)
    wide = min(tall * width / height, 6.0 if stacked else 4.6)
    tall = max(wide * height / width, 1.2)
    rows, columns = (len(shown), 1) if stacked else (1, len(shown))
    size = (wide + 1.7) * columns, (tall + 0.7) * rows + 0.6
    drawn, axes = panels(len(shown), columns, size, named=len(shown) > 1)
    for ax, name in zip(axes, shown, strict=True):
        _contours(drawn, ax, dataset[name])
        _drawn_in(ax, dataset)
        _frame(ax, dataset)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        drawn.legend(handles, labels, loc="outside lower center", ncols=min(len(handles), 4))
    return drawn


def levels_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return contour levels, ascending: the minimum, then logarithmically spaced above it up to a cap.

    Parameters
    ----------
    values : ndarray
        On the grid; what is not finite does not count.
    """
    finite = np.sort(values[np.isfinite(values)])
    if finite.size == 0 or finite[0] == finite[-1]:
        return np.array([0.0, 1.0]) + (finite[0] if finite.size else 0.0)
    above = finite - finite[0]
    top = float(np.quantile(above, CAP)) or float(above[-1])
    positive = above[above > 0]
    # The lowest level tells the deepest fiftieth of the plane from the rest.
    low = max(float(np.quantile(positive, 0.02)), top * 10**-DECADES)
    low = min(low, top / 10)
    return finite[0] + np.concatenate([[0.0], np.geomspace(low, top, LEVELS)])


def _contours(drawn: Figure, ax: Axes, values: xr.DataArray) -> None:
    x, y, z = values["x"].to_numpy(), values["y"].to_numpy(), values.to_numpy()
    levels = levels_of(z)
    shades = matplotlib.colormaps["viridis"]
    finite = np.ma.masked_invalid(np.where(np.isposinf(z), np.finfo(float).max, z))
    extend: Literal["max", "neither"] = "max" if float(finite.max()) > levels[-1] else "neither"
    norm = BoundaryNorm(levels, shades.N, extend=extend)
    filled = ax.contourf(x, y, finite, levels=levels, cmap=shades, norm=norm, extend=extend)
    ax.contour(x, y, finite, levels=levels[1:], colors="white", linewidths=0.4, alpha=0.6)
    bar = drawn.colorbar(filled, ax=ax, ticks=levels[::2], spacing="uniform", pad=0.02, shrink=0.9)
    bar.ax.set_yticklabels(_printed(levels[::2]))
    bar.ax.minorticks_off()
    bar.set_label(axis_label(values, ""))


def _printed(levels: NDArray[np.float64]) -> list[str]:
    """Return levels with as many digits as tell them from each other."""
    decimals = max(0, math.ceil(-math.log10(float(np.diff(levels).min()))))
    if decimals <= 3 or float(levels[1] - levels[0]) < 1e-2 * abs(float(levels[0])):
        return [f"{level:.{decimals}f}".replace("-", "−") for level in levels]
    return [number(float(level)) for level in levels]


def _drawn_in(ax: Axes, dataset: xr.Dataset) -> None:
    for k, (name, x, y) in enumerate(_trails(dataset, "curve")):
        style = _STYLES[k % len(_STYLES)]
        ax.plot(x, y, color=VERMILION, lw=1.6, ls=style, label=as_written(name), path_effects=_HALO, zorder=4)
    for k, (name, x, y) in enumerate(_trails(dataset, "trajectory")):
        style, marker = _STYLES[k % len(_STYLES)], _MARKERS[k % len(_MARKERS)]
        ax.plot(x, y, color="white", lw=2.6, zorder=3)
        line: Any = {"color": "black", "lw": 0.9, "ls": style, "marker": marker, "zorder": 3}
        ax.plot(x, y, ms=2.4, mew=0.5, mfc="black" if k % 2 == 0 else "white", label=as_written(name), **line)
        ax.plot(x[-1:], y[-1:], ms=6, mec="white", mew=0.7, **line)
    if "point" not in dataset.dims:
        return
    x, y = dataset["point_x"].to_numpy(), dataset["point_y"].to_numpy()
    ax.plot(x, y, ls="", marker="o", ms=6, mfc="white", mec="black", mew=1.1, zorder=6)
    middle = float(dataset["y"].mean())
    for name, px, py in zip(dataset["point"].to_numpy(), x, y, strict=True):
        # Away from the middle of the figure, where lines between the points may run.
        ax.annotate(
            as_written(str(name)),
            (px, py),
            xytext=(0, 6 if py > middle else -6),
            textcoords="offset points",
            ha="center",
            va="bottom" if py > middle else "top",
            fontsize=8,
            path_effects=_HALO,
            zorder=7,
        )


def _trails(dataset: xr.Dataset, kind: str) -> Iterator[tuple[str, Any, Any]]:
    if kind not in dataset.dims or f"{kind}_x" not in dataset:
        return
    for k, name in enumerate(dataset[kind].to_numpy()):
        x, y = (dataset[f"{kind}_{axis}"][k].to_numpy() for axis in "xy")
        there = np.isfinite(x)
        yield f"{kind} {name}", x[there], y[there]


def _frame(ax: Axes, dataset: xr.Dataset) -> None:
    ax.set_aspect("equal")
    for axis in "xy":
        ends = dataset[axis].to_numpy()[[0, -1]]
        getattr(ax, f"set_{axis}lim")(*ends)
    if dataset.attrs.get("space") == "sphere":
        ax.set_title("evaluated on the sphere $|x|^2 = M$", loc="right", fontsize=7.5)
    if "explained_variance" in dataset:
        part = dataset["explained_variance"].to_numpy()
        ax.set_xlabel(f"principal component 1 ({100 * part[0]:.3g} % of variance)")
        ax.set_ylabel(f"component 2 ({100 * part[1]:.3g} %)")
    elif "direction" in dataset:
        for axis, way in (("x", r"$\delta$"), ("y", r"$\eta$")):
            getattr(ax, f"set_{axis}label")(f"multiple of the random direction {way}")
    else:
        for axis, way in (("x", r"$\hat u$"), ("y", r"$\hat v$")):
            unit = unit_label(dataset[axis].attrs.get("units", "1"))
            words = f"distance along {way}" + (f" ({unit})" if unit != "1" else "")
            getattr(ax, f"set_{axis}label")(words)
