"""The figure of a comparison shows energies, two-time curves, and below each the difference in σ."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import SymmetricalLogLocator

from langevin.observables.fits.curves import Aligned, MeasuredCurve, matching
from langevin.observables.fits.extrapolation import POOR
from langevin.observables.statistics import interval
from langevin.plotting import style
from langevin.plotting.final import draw_above, draw_lines, lines_of, logarithmic
from langevin.plotting.style import BLACK, BLUE, GREY, PALETTE, VERMILION, as_written

from .files import Curves
from .report import FAR, spread
from .results import Comparison, Extrapolation

#: The reference is black; finite sizes behind a limit are blue, so that the limit is not.
REFERENCE = BLACK
COLOURS = (VERMILION, BLUE, *PALETTE[2:])
MARKERS = "os^Dv*"

#: Inches of a column of panels: as printed on half a page, text keeps two thirds of its size.
WIDTH = 3.5

#: Bands and bars hold the truth so often; the band of differences 95 %, of normal deviates.
LEVEL, BAND = 0.6827, 1.96

#: More waiting times are not told apart.
MOST_WAITING = 4

SYMBOLS = {"energy": "$E(t)$", "msd": r"$\Delta(t_w, t_w+t)$", "correlation": "$C(t_w, t_w+t)$"}


def figure(comparisons: Sequence[Comparison]) -> Figure:
    """Draw energies and two-time curves, one colour a file, with the differences below.

    Bands and bars are intervals of 68 %. Where a file means another quantity, or has another unit, than the
    reference, it is drawn on an axis of its own, and there is no difference.

    Parameters
    ----------
    comparisons : sequence of Comparison
        All with the same reference A.
    """
    energy = any(c.of("energy") for c in comparisons)
    quantity = next((c.quantity for c in comparisons if c.quantity and c.of(c.quantity)), None)
    fitted = [
        (f, c.of("energy")[0].points)
        for c in comparisons
        for f in c.fits
        if f.quantity == "energy" and c.of("energy")
    ]
    names = (["energy"] if energy else []) + ([quantity] if quantity else [])
    swept = comparisons[0].a.along != "time"
    lines = _lines(comparisons)
    above = "threshold_at_end" in lines and _over_decades(comparisons)
    columns = len(names) + bool(fitted) + above
    with matplotlib.rc_context(style.STYLE):
        drawn = Figure(figsize=(max(WIDTH * columns, 4.4), 4.8), layout="constrained")
        grid = drawn.add_gridspec(2, columns, height_ratios=(3, 1.1))
        for k, name in enumerate(names):
            alike = any(c.alike(name) for c in comparisons if c.of(name))
            upper = drawn.add_subplot(grid[0, k] if alike else grid[:, k])
            if swept:
                _draw_final(upper, comparisons, lines)
            elif name == "energy":
                _draw_energies(upper, comparisons)
            else:
                _draw_two_time(upper, comparisons, name)
            if alike:
                lower = drawn.add_subplot(grid[1, k], sharex=upper)
                _draw_differences(lower, comparisons, name)
                upper.tick_params(labelbottom=False)
            _name_times(lower if alike else upper, comparisons, name)
            upper.set_title(f"({'abc'[k]})", loc="left")
        if fitted or above:
            ax = drawn.add_subplot(grid[:, -1])
            if above:
                _draw_above(ax, comparisons, lines["threshold_at_end"])
            else:
                _draw_fits(ax, *fitted[0])
            ax.set_title(f"({'abc'[columns - 1]})", loc="left")
        _name_files(drawn, comparisons)
    return drawn


def _name_files(drawn: Figure, comparisons: Sequence[Comparison]) -> None:
    """Name the files above all panels, where no curve runs."""
    handles = [Line2D([], [], color=REFERENCE, lw=2.0)]
    names = [f"A: {comparisons[0].a.label}"]
    for k, comparison in enumerate(comparisons):
        colour, marker = _look(k)
        handles.append(Line2D([], [], color=colour, marker=marker, ms=3.5, lw=1.2))
        names.append(f"{comparison.letter}: {comparison.b.label}")
    fits = [f for c in comparisons for f in c.fits if f.quantity == "energy"][:1]
    room = round(style.LETTERS * drawn.get_figwidth()) // (2 if fits else 1) - 8
    wrapped = ["\n".join(textwrap.wrap(_whole(name), room)) for name in names]
    drawn.legend(handles, [as_written(name) for name in wrapped], loc="outside upper left")
    for f in fits:
        # The finite sizes behind the limit, to the right of it.
        members = [Line2D([], [], color=_size_colour(f, k), lw=1.4) for k in range(f.sizes.size)]
        sizes = [_member(f, k) for k in range(f.sizes.size)]
        rows = max(3, len(names))
        drawn.legend(members, sizes, loc="outside upper right", ncols=-(-len(sizes) // rows))


def _draw_energies(ax: Axes, comparisons: Sequence[Comparison]) -> None:
    other = _other_axis(ax, comparisons, "energy")
    _curve(ax, comparisons[0].a.energy, REFERENCE, None)
    for k, comparison in enumerate(comparisons):
        for f in comparison.fits:
            if f.quantity == "energy":
                _draw_sizes(ax, f)
        _curve(ax if comparison.alike("energy") else other, comparison.b.energy, *_look(k))
    ax.set(xscale="log")


def _lines(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """Return the energies of theory that the files agree on, of those with the energy of A."""
    own = [c.b for c in comparisons if c.alike("energy")]
    return lines_of([curves.lines for curves in (comparisons[0].a, *own)])


def _over_decades(comparisons: Sequence[Comparison]) -> bool:
    """Say whether sweeps are over a number that spans decades."""
    energy = comparisons[0].a.energy
    return energy is not None and comparisons[0].a.along != "time" and logarithmic(energy.x)


def _final(
    comparisons: Sequence[Comparison], alike: bool = True
) -> list[tuple[MeasuredCurve, dict[str, Any]]]:
    """Return the final energies of each sweep that means the same as the first, or not; and their looks."""
    own = [(comparisons[0].a, REFERENCE, "x")] if alike else []
    own += [(c.b, *_look(k)) for k, c in enumerate(comparisons) if c.alike("energy") == alike]
    return [
        (curves.energy, {"color": colour, "marker": marker, "ms": 4, "capsize": 2, "lw": 1.2})
        for curves, colour, marker in own
        if curves.energy is not None
    ]


def _draw_final(ax: Axes, comparisons: Sequence[Comparison], lines: Mapping[str, float]) -> None:
    """Draw final energies against what was swept, with the lines of theory."""
    other = _other_axis(ax, comparisons, "energy")
    for each in {ax, other}:
        each.set_ylabel("final " + each.get_ylabel().removesuffix(SYMBOLS["energy"]).strip())
    for where, alike in ((ax, True), (other, False)):
        for curve, look in _final(comparisons, alike):
            where.errorbar(curve.x, curve.mean, _bars(curve), **look)
    draw_lines(ax, lines)


def _draw_above(ax: Axes, comparisons: Sequence[Comparison], threshold: float) -> None:
    """Draw final energies above the threshold of the last temperature, on two logarithmic axes."""
    for curve, look in _final(comparisons):
        excess = curve.mean - threshold
        ax.plot(curve.x, np.abs(excess), color=look["color"], lw=look["lw"])
        draw_above(ax, curve.x, excess, _bars(curve), look)
    ax.set(xscale="log", yscale="log", xlabel=comparisons[0].a.words)
    ax.set_ylabel("final energy above the threshold")


def _bars(curve: MeasuredCurve) -> Any:
    """Return half of the 68 % intervals; 0 where there is no error."""
    return np.nan_to_num(reach(curve.error, curve.degrees))


def _draw_sizes(ax: Axes, f: Extrapolation) -> None:
    """Draw the finite sizes behind a limit, small to large from light to dark."""
    for k in range(f.sizes.size):
        _curve(ax, MeasuredCurve(f.x, f.values[k], f.errors[k], f.degrees[k]), _size_colour(f, k), None)


def _size_colour(f: Extrapolation, k: int) -> tuple[float, float, float]:
    return _tinted(BLUE, 0.85 * (1 - (k + 1) / f.sizes.size))


def _member(f: Extrapolation, k: int) -> str:
    return f"N = {f.sizes[k]:g}" + ("" if f.steps is None else f", dt = {f.steps[k]:g}")


def _draw_two_time(ax: Axes, comparisons: Sequence[Comparison], name: str) -> None:
    """Draw the paired waiting times: a file's colour, from light (early) to full (late)."""
    waiting = _waiting(comparisons, name)
    other = _other_axis(ax, comparisons, name)
    for u in waiting:
        _curve(ax, comparisons[0].a.two_time[u], _tinted(REFERENCE, _shade(u, waiting)), None)
    for k, comparison in enumerate(comparisons):
        colour, marker = _look(k)
        for difference in comparison.of(name):
            u, w = difference.waiting or (0.0, 0.0)
            if u in waiting:
                where = ax if comparison.alike(name) else other
                _curve(where, comparison.b.two_time[w], _tinted(colour, _shade(u, waiting)), marker)
    ax.set(xscale="log")
    if name == "msd":
        for axes in {ax, other}:
            axes.set_yscale("log")
            _heed_curves(axes)
        if other is not ax:
            _same_decades(ax, other)
    handles = [
        Line2D([], [], color=_tinted(REFERENCE, _shade(u, waiting)), label=f"{u:.3g}") for u in waiting
    ]
    every = len({d.waiting[0] for c in comparisons for d in c.of(name) if d.waiting})
    title = "waiting time $t_w$" + (f" ({len(waiting)} of {every})" if every > len(waiting) else "")
    ax.legend(
        handles=handles,
        title=title,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.2,
        ncols=len(handles),
        columnspacing=1.0,
        handlelength=1.4,
        title_fontsize=8,
    )


def _heed_curves(ax: Axes) -> None:
    """Set the limits of a logarithmic axis by its curves: a band may reach to 0."""
    heights = [
        float(y) for line in ax.get_lines() for y in np.asarray(line.get_ydata(), dtype=float) if y > 0
    ]
    if heights:
        ax.set_ylim(min(heights) / 2, max(heights) * 2)


def _same_decades(ax: Axes, other: Axes) -> None:
    """Let two logarithmic axes span as many decades: a power then has the same slope on both."""
    spans = [np.log10(a.get_ylim()) for a in (ax, other)]
    most = max(high - low for low, high in spans)
    for a, (low, high) in zip((ax, other), spans, strict=True):
        extra = (most - (high - low)) / 2
        a.set_ylim(10 ** (low - extra), 10 ** (high + extra))


def _draw_differences(ax: Axes, comparisons: Sequence[Comparison], name: str) -> None:
    """Draw (B − A)/σ as a normal deviate, with the band of 95 %; without any error bar B − A."""
    shown = [(k, c) for k, c in enumerate(comparisons) if c.of(name) and c.alike(name)]
    in_sigma = any(c.summary(name).with_error for _, c in shown)
    waiting = _waiting(comparisons, name)
    for k, comparison in shown:
        for d in comparison.of(name):
            if d.waiting and d.waiting[0] not in waiting:
                continue
            colour, marker = _look(k)
            tint = _tinted(colour, _shade(d.waiting[0], waiting) if d.waiting else 0.0)
            y = d.points.deviate if in_sigma else d.points.difference
            seen = (d.points.x > 0) & np.isfinite(y)
            x = d.points.x[seen]
            ax.plot(x, y[seen], color=tint, marker=marker, ms=2.5, lw=0.8, markevery=spread(x, 10))
    ax.axhline(0, color=REFERENCE, lw=0.8)
    what = f"${shown[0][1].letter}-A$" if len(shown) == 1 else "from $A$"
    if not in_sigma:
        ax.set_ylabel(what)
        return
    ax.axhspan(-BAND, BAND, color=GREY, alpha=0.15, lw=0)
    # Equal curves should look equal: a range narrower than ±3 σ would magnify noise.
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, -3.2), max(high, 3.2))
    if max(-low, high) > FAR:
        # Different physics: what is far beyond noise should not hide what is not.
        ax.set_yscale("symlog", linthresh=BAND)
        ax.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=BAND))
    ax.set_ylabel(f"{what}\n(deviates)")


def _name_times(ax: Axes, comparisons: Sequence[Comparison], name: str) -> None:
    """Name the axis of time or lag, with its unit, or that there are several."""
    if comparisons[0].a.along != "time":
        ax.set(xlabel=comparisons[0].a.words, xscale="log" if _over_decades(comparisons) else "linear")
        return
    units = list(dict.fromkeys(u for c in comparisons for u in (c.a.time_unit, c.b.time_unit) if u))
    unit = f" ({style.unit_label(units[0])})" if len(units) == 1 and units[0] != "1" else ""
    unit = " (in each file's unit)" if len(units) > 1 else unit
    ax.set(xscale="log", xlabel=("time $t$" if name == "energy" else "lag $t$") + unit)


def _other_axis(ax: Axes, comparisons: Sequence[Comparison], name: str) -> Axes:
    """Name the axis, and make a second one where a file means something else by the name."""
    own = comparisons[0].a
    # What the first file that means the same as A by the name calls it, where A does not say.
    said = (c.b.meanings[name] for c in comparisons if name in c.b.meanings and c.alike(name))
    ax.set_ylabel(_axis(own, name, next(said, "")))
    others = [(k, c) for k, c in enumerate(comparisons) if c.of(name) and not c.alike(name)]
    if not others:
        return ax
    meanings = {c.b.meanings.get(name, name) for _, c in others}
    k, first = others[0]
    other = ax.twinx()
    ax.tick_params(right=False, which="both")
    colour = _look(k)[0] if len(others) == 1 else GREY
    label = _axis(first.b, name, "") if len(meanings) == 1 else f"{name} (in each file's sense and unit)"
    other.set_ylabel(label, color=colour)
    other.tick_params(axis="y", colors=colour, which="both", left=False)
    return other


def _draw_fits(ax: Axes, f: Extrapolation, points: Aligned) -> None:
    """Draw energies against 1/N as distances from the reference, with fits and limits, at a few times."""
    # Where the limit itself was interpolated there is no fit to draw.
    here, there = matching(points.x, f.x)
    places = [(here[k], there[k]) for k in spread(f.x[there], 4)]
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.8, max(len(places), 2)))
    fine = np.linspace(0, 1.05 / f.sizes.min(), 100)
    values, reaches = f.without_bias, reach(f.errors, f.degrees)
    limits = reach(f.fit.errors[0], f.fit.error_degrees[0])
    for i, (colour, marker, (k, j)) in enumerate(zip(colours, MARKERS, places, strict=False)):
        zero = points.a[k]
        powers = fine[:, None] ** np.arange(f.order + 1)
        chance = float(f.fit.probability[j])
        said = f" (p = {chance:.2g})" if np.isfinite(chance) else ""
        dashes = ":" if chance < POOR else "-"
        ax.plot(fine, powers @ f.fit.coefficients[: f.order + 1, j] - zero, color=colour, lw=1, ls=dashes)
        look: Any = {"color": colour, "marker": marker, "ms": 4, "ls": "", "capsize": 2}
        label = f"{f.x[j]:.3g}{said}"
        ax.errorbar(1 / f.sizes, values[:, j] - zero, reaches[:, j], label=label, **look)
        # Limits side by side, left of the origin: agreement would put them on top of each other.
        at, limit, error = -0.025 * (i + 1) / f.sizes.min(), f.fit.coefficients[0, j], limits[j]
        ax.errorbar(at, limit - zero, error, **{**look, "mfc": "white"})
    ax.axhline(0, color=REFERENCE, lw=0.8)
    ax.set(
        xlabel="$1/N$",
        ylabel=r"$E_N(t) - E_{\mathrm{A}}(t)$" + (", bias of dt removed" if f.steps is not None else ""),
    )
    ax.axvline(0, color=GREY, lw=0.8, ls=":")
    ax.set_xlim(-0.14 / f.sizes.min(), fine[-1])
    style.legend_above(ax, rows=2)
    if (legend := ax.get_legend()) is not None:
        legend.set_title("time $t$ (open: limit)", prop=FontProperties(size=8))


def _curve(ax: Axes, curve: MeasuredCurve | None, colour: Any, marker: str | None) -> None:
    """Draw a curve and the band of its 68 % interval; markers, if any, at a few points."""
    if curve is None:
        return
    curve = curve.part(curve.x > 0)
    x, mean, error = curve.x, curve.mean, reach(curve.error, curve.degrees)
    marks = spread(x, 10) if marker else None
    width = 1.2 if marker else 2.0
    ax.plot(x, mean, color=colour, lw=width, marker=marker, ms=3.5, markevery=marks)
    known = np.isfinite(error)
    ax.fill_between(x, mean - error, mean + error, where=known, color=colour, alpha=0.25, lw=0)


def reach(error: Any, degrees: Any) -> Any:
    """Return half the width of the 68 % interval of Student's distribution."""
    low, high = interval(0.0, error, degrees, LEVEL)
    return (high - low) / 2


def _whole(label: str) -> str:
    # "T = 0.5" stays on one line.
    return label.replace(" = ", "\u00a0=\u00a0")


def _axis(curves: Curves, name: str, meaning: str) -> str:
    """Return what a file calls the quantity, or `meaning` where it does not say, with its symbol."""
    said = curves.meanings.get(name, "") or meaning
    label = style.unit_label("\n".join(textwrap.wrap(said or name, 26)))
    return f"{label} {curves.symbols.get(name, SYMBOLS.get(name, ''))}".strip()


def _look(k: int) -> tuple[str, str]:
    # When colours repeat, they come with other markers.
    return COLOURS[k % len(COLOURS)], MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]


def _waiting(comparisons: Sequence[Comparison], name: str) -> list[float]:
    """Return the waiting times of the reference that are drawn."""
    every = np.array(sorted({d.waiting[0] for c in comparisons for d in c.of(name) if d.waiting}))
    if every.size <= MOST_WAITING:
        return [float(w) for w in every]
    return [float(every[k]) for k in np.linspace(0, every.size - 1, MOST_WAITING).round().astype(int)]


def _shade(waiting: float, drawn: Sequence[float]) -> float:
    """Return how light a waiting time is drawn: 0 for the latest."""
    return 0.65 * (1 - (drawn.index(waiting) + 1) / len(drawn)) * len(drawn) / max(len(drawn) - 1, 1)


def _tinted(colour: str, lightness: float) -> tuple[float, float, float]:
    """Mix a colour with white."""
    red, green, blue = (c + (1 - c) * lightness for c in to_rgb(colour))
    return red, green, blue
