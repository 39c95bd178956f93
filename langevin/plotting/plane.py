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

from .numerals import number, numbers
from .registry import register
from .sheet import columns_of, frame, points, size_of, small
from .style import VERMILION, as_written, axis_label, legend_below, panels, unit_label

#: Contours: their number, and over which power of ten they spread at most.
LEVELS, DECADES = 12, 3.0

#: The top level is this quantile of the values: the plane rises steeply towards its corners.
CAP = 0.85

#: Width over height of a field from which on it is wide.
WIDE = 1.6

#: The same, from which on both axes have scales of their own: a field as long as that is a strip.
STRIP = 5.0

#: Inches for each point of text that labels and the colour bar take beside a field.
_BESIDE = 0.17

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
    # Wide ones stand one above the other.
    stacked = WIDE < width / height <= STRIP
    columns = columns_of(len(shown), 1 if stacked else 2)
    # The panel is as high as the field that has room beside labels and the colour bar.
    inches, usual = size_of(1, columns, wide=stacked)
    beside = _BESIDE * points()
    field = (inches / columns - beside) * (
        min(height / width, 1.6) if width <= STRIP * height else 0.8
    ) + 0.07 * points()
    drawn, axes = panels(len(shown), columns, max(field, 1.4) / usual, named=len(shown) > 1, wide=stacked)
    for ax, name in zip(axes, shown, strict=True):
        _contours(drawn, ax, dataset[name])
        _drawn_in(ax, dataset)
        _frame(ax, dataset)
    handles, labels = axes[0].get_legend_handles_labels()
    legend_below(drawn, handles, labels)
    return drawn


def levels_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return contour levels, ascending: the minimum, then round ones, ever wider apart up to a cap.

    They are the round numbers next to levels that are spaced logarithmically above the minimum.

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
    spaced = finite[0] + np.geomspace(min(low, top / 10), top, LEVELS)
    gaps = np.diff(np.concatenate([[finite[0]], spaced]))
    levels = np.array([round_number(level, gap) for level, gap in zip(spaced, gaps, strict=True)])
    return np.unique(np.concatenate([[finite[0]], levels[levels > finite[0]]]))


def round_number(value: float, within: float) -> float:
    """Return the multiple of 1, 2 or 5 times a power of ten, no larger than `within`, next to a number."""
    power = 10.0 ** math.floor(math.log10(within) + 1e-9)
    unit = max(m * power for m in (1, 2, 5) if m * power <= within * (1 + 1e-9))
    # Without the rounding of the product: 0.3, not 0.30000000000000004.
    return float(f"{round(value / unit) * unit:.12g}")


def smooth(x: Any, y: Any, values: NDArray[np.float64]) -> tuple[Any, Any, NDArray[np.float64]]:
    """Return a finer grid with the values between, by cubic splines of their logarithm above the minimum.

    The grid is left as it is where a value is not finite, or there are too few points.
    """
    if min(values.shape) < 4 or not np.isfinite(values).all() or np.ptp(values) == 0:
        return x, y, values
    from scipy.interpolate import RectBivariateSpline

    least = values.min()
    # Of the lowest part the logarithm has no say: it is level.
    scale = max(float(np.quantile(values - least, 0.02)), float(np.ptp(values)) * 10**-DECADES)
    fine = [np.linspace(axis[0], axis[-1], _FINE) for axis in (x, y)]
    spline = RectBivariateSpline(y, x, np.log((values - least) / scale + 1))
    between = least + scale * np.expm1(np.maximum(spline(fine[1], fine[0]), 0))
    return *fine, between


#: Points along each axis of what contours are drawn of.
_FINE = 241


def _contours(drawn: Figure, ax: Axes, values: xr.DataArray) -> None:
    percent = str(values.name).endswith("_error") and values.attrs.get("units", "1") == "1"
    z = (100.0 if percent else 1.0) * values.to_numpy().astype(float)
    x, y, z = smooth(values["x"].to_numpy(), values["y"].to_numpy(), z)
    levels = levels_of(z)
    shades = matplotlib.colormaps["viridis"]
    finite = np.ma.masked_invalid(np.where(np.isposinf(z), np.finfo(float).max, z))
    extend: Literal["max", "neither"] = "max" if float(finite.max()) > levels[-1] else "neither"
    norm = BoundaryNorm(levels, shades.N, extend=extend)
    filled = ax.contourf(x, y, finite, levels=levels, cmap=shades, norm=norm, extend=extend)
    ax.contour(x, y, finite, levels=levels[1:], colors="white", linewidths=0.4, alpha=0.6)
    # As many labels as the bar has lines for.
    every = math.ceil((levels.size - 1) / max(2.0, 0.9 * frame() * 72 / (1.4 * points())))
    named = levels[1:][::every]
    bar = drawn.colorbar(filled, ax=ax, ticks=named, spacing="uniform", pad=0.02, shrink=0.9)
    bar.ax.set_yticklabels(_printed(named))
    bar.ax.minorticks_off()
    what = f"{str(values.name).replace('_', ' ')} (%)" if percent else axis_label(values, "").strip()
    bar.set_label(f"{what}\nminimum {_precise(float(levels[0]))}")


def _printed(levels: NDArray[np.float64]) -> list[str]:
    """Return round levels: with a power of ten together, where some need one."""
    if ((levels >= 1e-3) & (levels < 1e4)).all() or (levels < 0).any():
        return [f"{level:g}".replace("-", "−") for level in levels]
    return numbers(levels)


def _precise(value: float) -> str:
    """Return four digits."""
    return f"{value:.4g}".replace("-", "−") if 1e-3 <= abs(value) < 1e4 or value == 0 else number(value)


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
    ends = dataset["y"].to_numpy()[[0, -1]].astype(float)
    # A label takes two and a half lines.
    middle, near = float(ends.mean()), float(np.ptp(ends)) * 2.5 * points() / (72 * frame())
    for name, px, py in zip(dataset["point"].to_numpy(), x, y, strict=True):
        # Away from the middle of the figure, where lines between the points may run, but not onto the ticks.
        above = (py > middle) != (min(abs(py - ends)) < near)
        ax.annotate(
            as_written(str(name)),
            (px, py),
            xytext=(0, 6 if above else -6),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=small(),
            path_effects=_HALO,
            zorder=7,
        )


def _trails(dataset: xr.Dataset, kind: str) -> Iterator[tuple[str, Any, Any]]:
    if kind not in dataset.dims or f"{kind}_x" not in dataset:
        return
    for k, name in enumerate(dataset[kind].to_numpy()):
        x, y = (dataset[f"{kind}_{axis}"][k].to_numpy() for axis in "xy")
        there = np.isfinite(x)
        # One of its kind needs no name.
        yield kind if dataset.sizes[kind] == 1 else f"{kind} {name}", x[there], y[there]


def _frame(ax: Axes, dataset: xr.Dataset) -> None:
    wide, tall = (float(np.ptp(dataset[axis].to_numpy())) for axis in "xy")
    if 1 / STRIP <= tall / wide <= STRIP:
        ax.set_aspect("equal")
    else:
        ax.set_title("axes of different scales", loc="right", fontsize=small())
    for axis in "xy":
        ends = dataset[axis].to_numpy()[[0, -1]]
        getattr(ax, f"set_{axis}lim")(*ends)
    if dataset.attrs.get("space") == "sphere":
        ax.set_title("evaluated on the sphere $|x|^2 = M$", loc="right", fontsize=small())
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
