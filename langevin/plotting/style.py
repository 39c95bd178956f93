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

from langevin.observables.sufficiency import too_few
from langevin.results.members import text

from . import sheet
from .numerals import number, numbers

#: Okabe and Ito's colours: distinct to every kind of colour vision. Their yellow is too light for a line.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BLUE, VERMILION = PALETTE[:2]
BLACK, GREY = "#000000", "#555555"

#: The house's settings of matplotlib, for a page.
STYLE: Any = sheet.settings()

#: Letters of the names above panels in an inch of a figure's width.
LETTERS = 13

#: Entries that a legend holds at most; of more waiting times it names a part.
NAMED = 12

#: Units that are parameters of the model, as a file writes them: sigma_AA^2/epsilon_AA.
_PARAMETER = re.compile(r"(?P<name>sigma|epsilon|tau)(?:_(?P<index>\w+))?(?:\^(?P<power>-?\d+))?")

SYMBOLS = {
    "msd": r"$\Delta(t_w, t_w+t)$",
    "correlation": "$C(t_w, t_w+t)$",
    "response": "$R(t_w+t, t_w)$",
    "integrated_response": r"$\chi(t_w+t, t_w)$",
}


#: A letter with an index, as run files write it: T_i, q_EA.
_INDEX = re.compile(r"(?<![\w$])([A-Za-zΑ-Ωα-ω])_(\w{1,3})(?!\w)")


def entitle(drawn: Figure, title: str) -> None:
    """Write the title above all panels, in as many lines as the width asks for."""
    wrapped = "\n".join(textwrap.wrap(title, sheet.letters(0.95 * drawn.get_figwidth())))
    drawn.suptitle(as_written(wrapped))


def as_written(text: str) -> str:
    """Return a user's text as figures take it.

    Formulas between dollars are set, other dollars are text; outside of formulas T_i has an index.
    """
    return "\n".join(map(_line, text.split("\n")))


def _line(text: str) -> str:
    if "$" not in text:
        return _INDEX.sub(r"$\1_{\\rm \2}$", text)
    try:
        MathTextParser("path").parse(text)
    except ValueError:
        return text.replace("$", r"\$")
    return text


def panels(
    count: int, columns: int, tall: float = 1.0, named: bool = True, wide: bool = False, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels in rows, several of them named by letters, if at all.

    Parameters
    ----------
    columns : int
        How many stand side by side where there is room for them.
    tall : float
        How much higher than usual a panel is.
    wide : bool
        Panels are wide: where no width is asked for, a single one has a page.
    **shared
        What matplotlib's `subplots` takes besides, such as sharey.
    """
    columns = sheet.columns_of(count, columns)
    rows = math.ceil(count / columns)
    drawn = Figure(figsize=sheet.size_of(rows, columns, tall, wide), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False, **shared).ravel().tolist()
    for ax in axes[count:]:
        ax.remove()
    for ax, letter in zip(axes[: count * (named and count > 1)], ascii_lowercase, strict=False):
        ax.set_title(f"({letter})", loc="left")
    return drawn, axes[:count]


#: Lightness L* of the first and of the last colour of a series: the last has a contrast of 3 to white.
_DARK, _LIGHT = 12.0, 61.0


def colours_of(indices: Sequence[int]) -> dict[int, Any]:
    """Return a colour for each index of a waiting time, early to late from dark to light.

    The hues are those of viridis. Its last ones are too light on white: the lightness of all is such that it
    grows evenly to a last colour that is seen, as is a band of it.
    """
    along = np.linspace(0, 1, max(len(indices), 2))
    rgb = matplotlib.colormaps["viridis"](0.87 * along)[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # Relative luminance of a lightness, CIE 1976.
    wanted = ((_DARK + (_LIGHT - _DARK) * along + 16) / 116) ** 3
    linear *= (wanted / (linear @ [0.2126, 0.7152, 0.0722]))[:, None]
    linear = np.clip(linear, 0, 1)
    shades = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return {i: (*map(float, shade), 1.0) for i, shade in zip(indices, shades, strict=False)}


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
    handles = [Line2D([], [], color=colours[i]) for i in named]
    legend_below(drawn, handles, numbers(float(waiting[i]) for i in named), title)


def member_legend(drawn: Figure, members: Sequence[Mapping[str, Any]], colours: Mapping[int, Any]) -> None:
    """Name the members of a sweep below the panels, by their labels; of many, a part."""
    count = len(members)
    named = np.unique(np.linspace(0, count - 1, min(count, NAMED)).round().astype(int)).tolist()
    labels = [", ".join(map(spoken, members[i].values())) for i in named]
    title = ", ".join(name.replace("_", " ") for name in members[0])
    title += f" ({len(named)} of {count})" if len(named) < count else ""
    legend_below(drawn, [Line2D([], [], color=colours[i]) for i in named], labels, title)


def spoken(value: Any) -> str:
    """Return a swept value as a legend has it: as the run file, but numbers with a power of ten printed."""
    said = text(value)
    return number(value) if isinstance(value, float) and "e" in said else as_written(said)


#: Commands and marks of a formula that take no room of their own.
_TEX = re.compile(r"\\[a-z]+|[${}^_]")


def visible(text: str) -> int:
    """Return how many letters of a text are seen, in its longest line."""
    return max((len(_TEX.sub("", line)) for line in text.split("\n")), default=0)


def columns_for(labels: Sequence[str], inches: float, most: int, by_rows: bool = False) -> int:
    """Return in how many columns a legend has room, `most` at most; entries go down them, or along rows."""
    room = sheet.letters(inches, sheet.small())
    for columns in range(min(most, len(labels)), 1, -1):
        rows = math.ceil(len(labels) / columns)
        own = [labels[k::columns] if by_rows else labels[k * rows : (k + 1) * rows] for k in range(columns)]
        # A sample of a line with its gaps takes the room of eight letters.
        if sum(max(map(visible, part)) + 8 for part in own if part) <= room:
            return columns
    return 1


#: A blank outside of a formula: formulas stand between two dollars.
_BLANK = re.compile(r" (?=(?:[^$]*\$[^$]*\$)*[^$]*$)")


def wrapped(text: str, most: int) -> str:
    """Return a text in lines of so many letters that are seen, broken between words and formulas."""
    lines: list[str] = []
    for line in text.split("\n"):
        lines.append("")
        for word in _BLANK.split(line):
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if lines[-1] and visible(longer) > most:
                lines.append(word)
            else:
                lines[-1] = longer
    return "\n".join(lines)


def fit_legends(drawn: Figure) -> None:
    """Break the lines of legends that are wider than their panels."""
    for ax in drawn.axes:
        legend, place = ax.get_legend(), ax.get_subplotspec()
        if legend is None or place is None:
            continue
        columns = place.get_gridspec().ncols / len(place.colspan)
        # Beside the frame there are ticks and labels; in it a sample of the line.
        inches = drawn.get_figwidth() / columns - 0.08 * sheet.points()
        most = sheet.letters(inches, sheet.small()) - 7
        for entry in legend.get_texts():
            if visible(entry.get_text()) > most:
                entry.set_text(wrapped(entry.get_text(), most))


def legend_below(drawn: Figure, handles: Sequence[Any], labels: Sequence[str], title: str = "") -> None:
    """Put a legend below the panels, in as many columns as the width has room for, read along its rows."""
    if not handles:
        return
    wide = drawn.get_figwidth()
    columns = columns_for(labels, 0.96 * wide, NAMED // 2, by_rows=True)
    rows = math.ceil(len(labels) / columns)
    columns = math.ceil(len(labels) / rows)
    # A legend fills its columns one after the other.
    order = [i for k in range(columns) for i in range(k, len(labels), columns)]
    drawn.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        title="\n".join(textwrap.wrap(title, sheet.letters(0.95 * wide))) or None,
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.4,
    )


def legend_above(ax: Axes, rows: int = 1) -> None:
    """Put the legend on top of the frame, at its right end: no curve runs there.

    It has `rows`, or more, where they have no room beside the letter of the panel.
    """
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        wide = ax.get_position().width * ax.get_figure(root=True).get_figwidth()  # type: ignore[union-attr]
        columns = columns_for(labels, 0.9 * wide, math.ceil(len(handles) / rows))
        ax.legend(
            handles,
            labels,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            borderaxespad=0.2,
            ncols=columns,
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


def ensemble_label(values: xr.DataArray) -> str:
    """Say what was averaged over: replicas and samples, or what the attribute `ensemble` says.

    A second line says what bands show, or that there are too few samples for that.
    """
    if "ensemble" in values.attrs:
        return str(values.attrs["ensemble"])
    replicas, samples = values.sizes["replica"], _samples(values)
    words = f"{replicas} replica{'s' * (replicas > 1)}, {samples} sample{'s' * (samples > 1)}"
    lacking = few(values) or "band: standard error" * (replicas > 1)
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
    # Underscores are of code: "cross_entropy".
    name = str(values.attrs.get("long_name", values.name)).replace("_", " ")
    unit = values.attrs.get("units", "1")
    # "of A" stays together, and apart from the symbol.
    most = sheet.label_letters(_LINE)
    joined = textwrap.wrap(name.replace(" of ", " of\N{NO-BREAK SPACE}"), min(most, 26))
    lines = [line.replace("\N{NO-BREAK SPACE}", " ") for line in joined]
    lines[-1] += "," * bool(symbol and re.search(r"\bof \w+$", lines[-1]))
    if symbol and len(lines[-1]) + visible(symbol) > most:
        lines.append(symbol)
    else:
        lines[-1] = f"{lines[-1]} {symbol}"
    return "\n".join(lines) + ("" if unit == "1" else f" ({unit_label(unit)})")


#: Letters in a line of an axis label.
_LINE = 34
