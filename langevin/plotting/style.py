"""All figures share colours, fonts and words."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from langevin.observables.sufficiency import too_few
from langevin.results.members import text

#: Okabe and Ito's colours: distinct to every kind of colour vision. Their yellow is too light for a line.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BLUE, VERMILION = PALETTE[:2]
BLACK, GREY = "#000000", "#555555"

STYLE: Any = {
    "font.size": 9,
    "axes.labelsize": 10,
    "axes.titlesize": 10,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "lines.linewidth": 1.4,
    "figure.dpi": 150,
    "savefig.dpi": 200,
}

#: Letters of a title in an inch of a figure's width.
LETTERS = 13

#: Entries that a legend holds at most; of more waiting times it names a part.
NAMED = 12

#: Last over first of a logarithmic axis up to which powers of ten alone are too few labels.
FEW = 30.0

#: Units that are parameters of the model, as a file writes them: sigma_AA^2/epsilon_AA.
_PARAMETER = re.compile(r"(?P<name>sigma|epsilon|tau)(?:_(?P<index>\w+))?(?:\^(?P<power>-?\d+))?")

SYMBOLS = {
    "msd": r"$\Delta(t_w, t_w+t)$",
    "correlation": "$C(t_w, t_w+t)$",
    "response": "$R(t_w+t, t_w)$",
    "integrated_response": r"$\chi(t_w+t, t_w)$",
}


def entitle(drawn: Figure, title: str) -> None:
    """Write the title above all panels, in as many lines as the width asks for."""
    wrapped = "\n".join(textwrap.wrap(title, round(LETTERS * drawn.get_figwidth())))
    drawn.suptitle(as_written(wrapped), fontsize=10)


def as_written(text: str) -> str:
    """Return a user's text as figures take it: formulas between dollars are set, other dollars are text."""
    return "\n".join(map(_line, text.split("\n"))) if "$" in text else text


def _line(text: str) -> str:
    try:
        MathTextParser("path").parse(text)
    except ValueError:
        return text.replace("$", r"\$")
    return text


def panels(
    count: int, columns: int, size: tuple[float, float], named: bool = True, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure, `size` in inches, with panels in rows of so many columns, named by letters or not.

    `shared` is what matplotlib's `subplots` takes besides, such as sharey.
    """
    drawn = Figure(figsize=size, layout="constrained")
    axes = drawn.subplots(math.ceil(count / columns), columns, squeeze=False, **shared).ravel().tolist()
    for ax in axes[count:]:
        ax.remove()
    for ax, letter in zip(axes[: count * named], ascii_lowercase, strict=False):
        ax.set_title(f"({letter})", loc="left")
    return drawn, axes[:count]


def colours_of(indices: Sequence[int]) -> dict[int, Any]:
    """Return a colour for each index of a waiting time, early to late from dark to light."""
    # The last tenth of viridis is too light on white.
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, max(len(indices), 2)))
    return dict(zip(indices, shades, strict=False))


def waiting_time_legend(
    drawn: Figure,
    waiting: xr.DataArray,
    colours: Mapping[int, Any],
    words: str = "waiting time $t_w$",
    note: str = "",
) -> None:
    """Name the waiting times, or other `words`, below the panels, once for all of them; with a note."""
    if not colours:
        return
    indices = np.array(list(colours))
    named = indices[np.unique(np.linspace(0, indices.size - 1, min(indices.size, NAMED)).round().astype(int))]
    title = time_label(waiting, words)
    title += f" ({named.size} of {indices.size})" if named.size < indices.size else ""
    title += f"; {note}" * bool(note)
    rows = math.ceil(named.size / (NAMED // 2))
    columns = math.ceil(named.size / rows)
    # A legend fills its columns one after the other; times are read along the rows.
    named = np.concatenate([named[k::columns] for k in range(columns)])
    drawn.legend(
        [Line2D([], [], color=colours[i]) for i in named],
        [number(float(waiting[i])) for i in named],
        title=title,
        loc="outside lower center",
        ncols=columns,
    )


def member_legend(drawn: Figure, members: Sequence[Mapping[str, Any]], colours: Mapping[int, Any]) -> None:
    """Name the members of a sweep below the panels, by their labels; of many, a part."""
    count = len(members)
    named = np.unique(np.linspace(0, count - 1, min(count, NAMED)).round().astype(int)).tolist()
    labels = [as_written(", ".join(text(value) for value in members[i].values())) for i in named]
    title = ", ".join(name.replace("_", " ") for name in members[0])
    title += f" ({len(named)} of {count})" if len(named) < count else ""
    drawn.legend(
        [Line2D([], [], color=colours[i]) for i in named],
        labels,
        title=title,
        loc="outside lower center",
        ncols=min(len(named), 6 if max(map(len, labels)) < 12 else 3),
    )


def label_log(ax: Axes) -> None:
    """Label 1, 2 and 5 of every decade along the logarithmic axes that span few decades."""
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        if axis.get_scale() == "log" and high < FEW * low:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
            axis.set_minor_formatter(NullFormatter())


def legend_above(ax: Axes, rows: int = 1) -> None:
    """Put the legend on top of the frame, at its right end: no curve runs there."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            handles,
            labels,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            borderaxespad=0.2,
            ncols=math.ceil(len(handles) / rows),
            columnspacing=1.2,
            handlelength=1.8,
        )


def time_label(times: xr.DataArray, words: str) -> str:
    """Return the words with the unit of the times, where they have one."""
    unit = times.attrs.get("units", "1")
    return words if unit in ("", "1") else f"{words} ({unit_label(unit)})"


def unit_label(unit: str) -> str:
    """Return a unit as it is printed: "sigma_AA^2" with its letter, index and power."""

    def printed(match: re.Match[str]) -> str:
        index, power = (
            rf"{mark}{{{value}}}" for mark, value in (("_", match["index"]), ("^", match["power"]))
        )
        return rf"$\{match['name']}{index * bool(match['index'])}{power * bool(match['power'])}$"

    return _PARAMETER.sub(printed, unit)


def symbol(values: xr.DataArray) -> str:
    """Return the symbol of a quantity: that of its attribute, else the one that its name has here."""
    return str(values.attrs.get("symbol", SYMBOLS.get(str(values.name), "")))


def number(value: float) -> str:
    """Return three digits as they are printed: 0.1, 31.6, 3.16 × 10⁶."""
    if value == 0 or 1e-2 <= abs(value) < 999.5:
        return f"{value:.3g}"
    digits, _, power = f"{value:.2e}".partition("e")
    digits = digits.rstrip("0").rstrip(".")
    return "$" + (rf"{digits}\times " if digits != "1" else "") + f"10^{{{int(power)}}}$"


def ensemble_label(values: xr.DataArray) -> str:
    """Say what was averaged over: replicas and samples, or what the attribute `ensemble` says.

    Where these are too few for the errors that bands show, a second line says so.
    """
    if "ensemble" in values.attrs:
        return str(values.attrs["ensemble"])
    replicas, samples = values.sizes["replica"], _samples(values)
    words = f"{replicas} replica{'s' * (replicas > 1)}, {samples} sample{'s' * (samples > 1)}"
    lacking = few(values)
    return f"{words}\n{lacking}" if lacking else words


def few(values: xr.DataArray) -> str:
    """Return "bands: too few samples: n of at least m", or "" where they are enough, or there is no band."""
    if values.sizes["replica"] < 2:
        return ""
    samples = _samples(values)
    lacking = too_few(str(values.name), samples if samples > 1 else values.sizes["replica"])
    return f"bands: {lacking}" if lacking else ""


def _samples(values: xr.DataArray) -> int:
    return np.unique(values["sample"]).size if "sample" in values.coords else 1


def axis_label(values: xr.DataArray, symbol: str) -> str:
    """Return name, symbol and unit of a quantity, in lines that an axis has room for."""
    name = values.attrs.get("long_name", str(values.name))
    unit = values.attrs.get("units", "1")
    # "of A" stays together, and apart from the symbol.
    joined = textwrap.wrap(name.replace(" of ", " of\N{NO-BREAK SPACE}"), 26)
    lines = [line.replace("\N{NO-BREAK SPACE}", " ") for line in joined]
    lines[-1] += "," * bool(symbol and re.search(r"\bof \w+$", lines[-1]))
    if symbol and len(lines[-1]) + len(_TEX.sub("", symbol)) > _LINE:
        lines.append(symbol)
    else:
        lines[-1] = f"{lines[-1]} {symbol}"
    return "\n".join(lines) + ("" if unit == "1" else f" ({unit_label(unit)})")


#: Commands and marks of a formula that take no room of their own.
_TEX = re.compile(r"\\[a-z]+|[${}^_]")

#: Letters in a line of an axis label.
_LINE = 34
