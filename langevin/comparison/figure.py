"""The figure of a comparison: energies, two-time curves, and below each the difference in σ."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from langevin.comparison.report import spread
from langevin.comparison.results import Comparison, Extrapolation
from langevin.observables.curves import Aligned, Curve, matching
from langevin.plotting import BLUE, GREY, STYLE, VERMILION, check_format, unit_label
from langevin.plotting.style import as_written
from langevin.storage import replacing

#: Okabe and Ito's colours, the reference black; their yellow is too light for a line on white.
REFERENCE = "#000000"
COLOURS = (VERMILION, BLUE, "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
MARKERS = "os^Dv*"

#: More waiting times are not told apart.
MOST_WAITING = 4

SYMBOLS = {"energy": "$E(t)$", "msd": r"$\Delta(t_w, t_w+t)$", "correlation": "$C(t_w, t_w+t)$"}


def figure(comparisons: Sequence[Comparison]) -> Figure:
    """Draw energies and two-time curves, one colour a file, with the differences below.

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
    columns = len(names) + bool(fitted)
    with matplotlib.rc_context(STYLE):
        made = Figure(figsize=(max(4.3 * columns, 5.0), 4.6), layout="constrained")
        grid = made.add_gridspec(2, columns, height_ratios=(3, 1.1))
        for k, name in enumerate(names):
            upper = made.add_subplot(grid[0, k])
            lower = made.add_subplot(grid[1, k], sharex=upper)
            if name == "energy":
                _draw_energies(upper, comparisons)
            else:
                _draw_two_time(upper, comparisons, name)
            _draw_differences(lower, comparisons, name)
            upper.tick_params(labelbottom=False)
            upper.set_title(f"({'abc'[k]})", loc="left")
        if fitted:
            ax = made.add_subplot(grid[:, -1])
            _draw_fits(ax, *fitted[0])
            ax.set_title(f"({'abc'[columns - 1]})", loc="left")
    return made


def _draw_energies(ax: Axes, comparisons: Sequence[Comparison]) -> None:
    reference = comparisons[0].a
    _curve(ax, reference.energy, REFERENCE, None, f"A: {reference.label}")
    for k, comparison in enumerate(comparisons):
        for f in comparison.fits:
            if f.quantity == "energy":
                _draw_sizes(ax, f)
        _curve(ax, comparison.b.energy, *_look(k), f"B: {comparison.b.label}")
    ax.set(xscale="log", ylabel=_axis(comparisons, "energy"))
    handles, names = ax.get_legend_handles_labels()
    ax.legend(handles, [_wrapped(name) for name in names], loc="best")


def _draw_sizes(ax: Axes, f: Extrapolation) -> None:
    """Draw the finite sizes behind a limit, small to large from light to dark."""
    for k, n in enumerate(f.sizes):
        curve = Curve(f.x, f.values[k], f.errors[k])
        _curve(ax, curve, _tinted(BLUE, 1 - (k + 1) / f.sizes.size), None, f"N = {n:g}")


def _draw_two_time(ax: Axes, comparisons: Sequence[Comparison], name: str) -> None:
    """Draw the paired waiting times: a file's colour, from light (early) to full (late)."""
    waiting = _waiting(comparisons, name)
    for u in waiting:
        _curve(ax, comparisons[0].a.two_time[u], _tinted(REFERENCE, _shade(u, waiting)), None)
    for k, comparison in enumerate(comparisons):
        colour, marker = _look(k)
        for difference in comparison.of(name):
            u, w = difference.waiting or (0.0, 0.0)
            if u in waiting:
                _curve(ax, comparison.b.two_time[w], _tinted(colour, _shade(u, waiting)), marker)
    ax.set(xscale="log", ylabel=_axis(comparisons, name))
    if name == "msd":
        ax.set_yscale("log")
    handles = [
        Line2D([], [], color=_tinted(REFERENCE, _shade(u, waiting)), label=f"{u:.3g}") for u in waiting
    ]
    every = len({d.waiting[0] for c in comparisons for d in c.of(name) if d.waiting})
    title = "waiting time $t_w$" + (f"\n({len(waiting)} of {every})" if every > len(waiting) else "")
    ax.legend(handles=handles, title=title, loc="best")


def _draw_differences(ax: Axes, comparisons: Sequence[Comparison], name: str) -> None:
    """Draw (B − A)/σ; without any error bar B − A."""
    in_sigma = any(c.summary(name).with_error for c in comparisons if c.of(name))
    waiting = _waiting(comparisons, name)
    for k, comparison in enumerate(comparisons):
        for d in comparison.of(name):
            if d.waiting and d.waiting[0] not in waiting:
                continue
            colour, marker = _look(k)
            tint = _tinted(colour, _shade(d.waiting[0], waiting) if d.waiting else 0.0)
            y = d.points.z if in_sigma else d.points.difference
            shown = (d.points.x > 0) & np.isfinite(y)
            x = d.points.x[shown]
            ax.plot(x, y[shown], color=tint, marker=marker, ms=2.5, lw=0.8, markevery=spread(x, 10))
    ax.axhline(0, color=REFERENCE, lw=0.8)
    if in_sigma:
        ax.axhspan(-2, 2, color=GREY, alpha=0.15, lw=0)
        # Equal curves should look equal: a range narrower than ±3 σ would magnify noise.
        low, high = ax.get_ylim()
        ax.set_ylim(min(low, -3.2), max(high, 3.2))
    ax.set(xscale="log", xlabel="time $t$" if name == "energy" else "lag $t$")
    ax.set_ylabel("$(B-A)/\\sigma$" if in_sigma else "$B-A$")


def _draw_fits(ax: Axes, f: Extrapolation, points: Aligned) -> None:
    """Draw energies against 1/N as distances from the reference, with fits and limits, at a few times."""
    # Where the limit itself was interpolated there is no fit to draw.
    here, there = matching(points.x, f.x)
    places = [(here[k], there[k]) for k in spread(f.x[there], 4)]
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.8, max(len(places), 2)))
    fine = np.linspace(0, 1.05 / f.sizes.min(), 100)
    for i, (colour, marker, (k, j)) in enumerate(zip(colours, MARKERS, places, strict=False)):
        zero = points.a[k]
        powers = fine[:, None] ** np.arange(f.fit.coefficients.shape[0])
        ax.plot(fine, powers @ f.fit.coefficients[:, j] - zero, color=colour, lw=1)
        look: Any = {"color": colour, "marker": marker, "ms": 4, "ls": "", "capsize": 2}
        ax.errorbar(1 / f.sizes, f.values[:, j] - zero, f.errors[:, j], label=f"{f.x[j]:.3g}", **look)
        # Limits side by side, left of the origin: agreement would put them on top of each other.
        at, limit, error = -0.025 * (i + 1) / f.sizes.min(), f.fit.coefficients[0, j], f.fit.errors[0, j]
        ax.errorbar(at, limit - zero, error, **{**look, "mfc": "white"})
    ax.axhline(0, color=REFERENCE, lw=0.8)
    ax.set(xlabel="$1/N$", ylabel=r"$E_N(t) - E_{\mathrm{A}}(t)$")
    ax.axvline(0, color=GREY, lw=0.8, ls=":")
    ax.set_xlim(-0.14 / f.sizes.min(), fine[-1])
    ax.legend(title="time $t$ (open: limit)", loc="best")


def _curve(ax: Axes, curve: Curve | None, colour: Any, marker: str | None, label: str | None = None) -> None:
    """Draw a curve and its error band; markers, if any, at a few points."""
    if curve is None:
        return
    shown = curve.x > 0
    x, mean, error = curve.x[shown], curve.mean[shown], curve.error[shown]
    marks = spread(x, 10) if marker else None
    width = 1.2 if marker else 2.0
    ax.plot(x, mean, color=colour, lw=width, marker=marker, ms=3.5, markevery=marks, label=label)
    known = np.isfinite(error)
    ax.fill_between(x, mean - error, mean + error, where=known, color=colour, alpha=0.25, lw=0)


def _wrapped(label: str) -> str:
    # "T = 0.5" stays on one line.
    return as_written("\n".join(textwrap.wrap(label.replace(" = ", "\u00a0=\u00a0"), 34)))


def _axis(comparisons: Sequence[Comparison], name: str) -> str:
    """Return what A calls the quantity; its plain name, where it is something else in a B."""
    curves = comparisons[0].a
    if any(c.b.meanings.get(name, name) != curves.meanings.get(name, name) for c in comparisons):
        return f"{name}\n(in each file's own sense and unit)"
    meaning = unit_label("\n".join(textwrap.wrap(curves.meanings.get(name, name), 26)))
    return f"{meaning} {curves.symbols.get(name, SYMBOLS.get(name, ''))}".strip()


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


def save(comparisons: Sequence[Comparison], path: Path) -> Path:
    """Draw the figure and write it; the ending names the format (.png, .pdf, .svg)."""
    check_format(path)
    made = figure(comparisons)
    with replacing(path) as aside:
        made.savefig(aside, format=path.suffix.lstrip("."))
    return path
