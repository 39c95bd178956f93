"""The figure of an overlay: a panel for each quantity, a colour and a marker for each result.

It has the size in which it is printed (`plotting.sheet`): a column of a journal, panels below each other, or
a page or slide, side by side.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from string import ascii_lowercase
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from langevin.observables.statistics import interval
from langevin.observables.sufficiency import too_few
from langevin.plotting import style
from langevin.plotting.numerals import finish
from langevin.plotting.sheet import SHEETS, laid_on, remember
from langevin.plotting.style import BLACK, GREY, PALETTE

from .overlay import Overlay
from .report import spread
from .scaled import ScaledCurve, ScaledResult

#: Inches that a panel is high, by width.
_HEIGHTS = {"column": 1.75, "page": 2.2, "slide": 3.4}

#: As many as results can be: colours first, then the same with other markers.
_COLOURS = (BLACK, *PALETTE)
_MARKERS = ("", "o", "s", "^", "D", "v", "P", "*", "X", "<", ">", "p")

#: Waiting times that a result shows: first, middle, last.
_WAITING = 3
#: Marks on a curve.
_MARKS = 6
#: Least letters in an inch of a legend, and inches of its line, at 8 points.
_LETTERS, _LINE = 17, 0.14

_SYMBOLS = {
    "energy": {"fraction": r"$(E-E_\infty)/(E_0-E_\infty)$", "measured": "$E(t)$"},
    "msd": {
        "measured": r"$\Delta(t_w, t_w+t)$",
        "plateau": r"$\Delta(t_w, t_w+t)/\Delta_{\rm plateau}$",
        "limit": r"$\Delta(t_w, t_w+t)/\Delta(t_w, \infty)$",
        "at_waiting_time": r"$\Delta(t_w, t_w+t)/\Delta(t_w, 2t_w)$",
    },
    "correlation": {
        "measured": "$C(t_w, t_w+t)$",
        "start": r"$C(t_w, t_w+t)/C(t_w, t_w)$",
    },
}


def figure(found: Overlay, width: str = "column") -> Figure:
    """Draw results over each other.

    Parameters
    ----------
    found : Overlay
    width : {"column", "page", "slide"}
        3.4 inches, panels below each other; 7 or 10 inches, side by side.
    """
    count, sheet = len(found.quantities), SHEETS[width]
    names, columns = _legend_names(found, width)
    lines = math.ceil(sum(name.count("\n") + 1 for name in names) / columns) + 2
    rows, across = (count, 1) if width == "column" else (1, count)
    height = _HEIGHTS[width] * rows + sheet.points / 8 * (_LINE * lines + 0.25)
    with laid_on(width):
        drawn = Figure(figsize=(sheet.inches, height), layout="constrained")
        axes = drawn.subplots(rows, across, squeeze=False).ravel().tolist()
        for k, (ax, quantity) in enumerate(zip(axes, found.quantities, strict=True)):
            if count > 1:
                ax.set_title(f"({ascii_lowercase[k]})", loc="left", pad=3)
            _panel(ax, found, quantity)
        if width == "column":
            _share_lags(axes, found.quantities)
        _legends(drawn, found, names, columns)
        finish(drawn)
        remember(drawn)
    return drawn


def _panel(ax: Axes, found: Overlay, quantity: str) -> None:
    """Draw a quantity of all results."""
    logarithmic = _is_logarithmic(found, quantity)
    for k, result in enumerate(found.results):
        curves = chosen(result.curves.get(quantity, []))
        for j, curve in enumerate(curves):
            last = j == len(curves) - 1
            shade = 0.0 if last else 0.6 * (1 - j / (len(curves) - 1))
            _draw(ax, result, curve, _tinted(_COLOURS[k % len(_COLOURS)], shade), _MARKERS[k] * last)
    ax.set(xscale="log", yscale="log" if logarithmic else "linear")
    if found.scales[quantity] in ("fraction", "start", "limit", "plateau", "at_waiting_time"):
        ax.axhline(1.0, color=GREY, lw=0.6, ls=":", zorder=0)
    if found.scales[quantity] in ("fraction", "start") and not logarithmic:
        ax.axhline(0.0, color=GREY, lw=0.6, ls=":", zorder=0)
    ax.set_xlabel(_times(found, quantity))
    ax.set_ylabel(_values(found, quantity))


def _is_logarithmic(found: Overlay, quantity: str) -> bool:
    """Say whether values have a logarithmic axis: msd, and descents whose end is known exactly."""
    if quantity.startswith("msd"):
        return True
    ways = [r.descent for r in found.results if quantity in r.curves]
    return (
        quantity == "energy"
        and found.scales.energy == "fraction"
        and all(way is not None and way.exact for way in ways)
    )


def chosen(curves: Sequence[ScaledCurve]) -> list[ScaledCurve]:
    """Return the curves that are drawn: first, middle and last of those that reach far enough.

    That is a lag as long as the waiting time, if any does.
    """
    far = [c for c in curves if c.x.size > 1 and (math.isnan(c.waiting) or c.at[-1] >= 0.999 * c.waiting > 0)]
    known = far or [c for c in curves if c.x.size > 1] or list(curves)
    places = np.unique(np.linspace(0, len(known) - 1, min(len(known), _WAITING)).round().astype(int))
    return [known[k] for k in places]


def _draw(ax: Axes, result: ScaledResult, curve: ScaledCurve, colour: Any, marker: str) -> None:
    """Draw a curve, and the band that holds it with 68 %, where there are samples enough for one."""
    marks = spread(curve.x, _MARKS) if marker else None
    ax.plot(curve.x, curve.y, color=colour, marker=marker or None, ms=3, markevery=marks)
    samples = result.degrees + 1
    if np.isfinite(curve.error).all() and not (
        math.isfinite(samples) and too_few("comparison", int(samples))
    ):
        low, high = interval(curve.y, curve.error, result.degrees, 0.6827)
        ax.fill_between(curve.x, low, high, color=colour, alpha=0.25, lw=0)


def _share_lags(axes: Sequence[Axes], quantities: Sequence[str]) -> None:
    """Give panels of lags that stand below each other one axis, named at the lowest."""
    lags = [ax for ax, quantity in zip(axes, quantities, strict=True) if quantity != "energy"]
    for upper, lower in pairwise(lags):
        upper.sharex(lower)
        upper.set_xlabel("")
        upper.tick_params(labelbottom=False, which="both")
    if len(lags) > 1:
        lags[-1].autoscale(axis="x")


def _times(found: Overlay, quantity: str) -> str:
    """Return what the horizontal axis is called."""
    if quantity != "energy" and found.scales.lag == "over_waiting_time":
        return "lag over waiting time $t/t_w$"
    name = "time" if quantity == "energy" else "lag"
    if found.scales.time == "relaxation":
        return rf"{name} $t/\tau_0$, half of the descent at $\tau_0$"
    if found.scales.time == "scaled":
        rates = ["α" in r.time_words for r in found.results]
        symbol = r"$\alpha t$" if all(rates) else r"$t/\tau_0$"
        return f"scaled {name} " + (r"$\alpha t$ or $t/\tau_0$" if any(rates) and not all(rates) else symbol)
    unit = "in each file's unit" if found.time_unit is None else style.unit_label(found.time_unit)
    return f"{name} $t$" + (f" ({unit})" if unit != "1" else "")


def _values(found: Overlay, quantity: str) -> str:
    """Return what the vertical axis is called."""
    scale = found.scales[quantity]
    symbol = _SYMBOLS.get(quantity, {}).get(scale, "")
    long_name, units = found.meaning(quantity)
    own = [r.about[quantity] for r in found.results if quantity in r.curves]
    if scale != "measured":
        kinds = {a.get("kind", "") for a in own}
        also = {"self_intermediate_scattering": "$F_s$"}
        further = [also.get(kind, kind.replace("_", " ")) for kind in sorted(kinds - {""})]
        return f"{symbol}{' or ' if '' in kinds else ''}{', '.join(further)}" if further else symbol
    symbols = {str(a["symbol"]) for a in own if "symbol" in a}
    symbol = symbols.pop() if len(symbols) == 1 else symbol
    unit = f" ({style.unit_label(units)})" if units != "1" else ""
    return "\n".join(textwrap.wrap(long_name, 22)) + f"\n{symbol}{unit}".rstrip()


def _legend_names(found: Overlay, width: str) -> tuple[list[str], int]:
    """Return the names as the legend has room for them, and in how many columns they stand."""
    sheet = SHEETS[width]
    room = int(_LETTERS * sheet.inches * 8 / sheet.points) - 6
    longest = max(len(r.name.replace("$", "")) for r in found.results)
    columns = max(1, min(len(found.results), room // (longest + 8)))
    return ["\n".join(textwrap.wrap(r.name, max(room // columns, 20))) for r in found.results], columns


def _legends(drawn: Figure, found: Overlay, names: Sequence[str], columns: int) -> None:
    """Name the results above the panels, and say below them how waiting times and errors are drawn."""
    handles: list[Any] = [
        Line2D([], [], color=_COLOURS[k % len(_COLOURS)], marker=_MARKERS[k] or None, ms=3)
        for k in range(len(names))
    ]
    drawn.legend(handles, [style.as_written(n) for n in names], loc="outside upper center", ncols=columns)
    said: dict[str, Any] = {}
    if any(len(chosen(c)) > 1 for r in found.results for q, c in r.curves.items() if q != "energy"):
        shades = tuple(Line2D([], [], color=_tinted(GREY, s)) for s in (0.6, 0.3, 0.0))
        said["waiting times, early to late"] = shades
    if any(ax.collections for ax in drawn.axes):
        said["68 % intervals"] = Patch(color=GREY, alpha=0.25, lw=0)
    if said:
        drawn.legend(
            list(said.values()),
            list(said),
            loc="outside lower center",
            ncols=len(said),
            handler_map={tuple: HandlerTuple(ndivide=None, pad=0.2)},
        )


def _tinted(colour: str, lightness: float) -> tuple[float, float, float]:
    """Mix a colour with white."""
    red, green, blue = (c + (1 - c) * lightness for c in to_rgb(colour))
    return red, green, blue
