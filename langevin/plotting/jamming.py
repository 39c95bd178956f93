"""Nets of a sweep over the number of patterns jam: unsatisfied patterns, losses and gaps against r = P/N."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.observables import jamming
from langevin.results.members import members, shortened_labels, sweep_dims, text

from .registry import register
from .style import BLACK, GREY, PALETTE, panels

#: The key of the run file that is swept, and the markers of what else is.
PATTERNS, MARKERS = "data.train", "osv^DP"
#: Ratios that differ by more than this factor stand on a logarithmic axis.
WIDE = 5.0
#: What legends call values of data.labels and data.inputs.
STRUCTURE = {
    ("labels", "given"): "labels as given",
    ("labels", "shuffled"): "labels shuffled",
    ("labels", "teacher"): "labels of a teacher",
    ("inputs", "given"): "",
    ("inputs", "gaussian_matched"): "Gaussian inputs",
}
#: Gaps are drawn from minus this on, in bins of this width: 0 is where two of them meet.
NEAR, WIDTH = 6.0, 0.25


class Line(NamedTuple):
    """The members that differ in the number of patterns alone, in the order of r, and where they jam."""

    label: str
    ratios: np.ndarray
    """r, shape (n,)."""
    unsatisfied: np.ndarray
    """N_Δ/N at the end, shape (n, nets)."""
    loss: np.ndarray
    gaps: list[np.ndarray | None]
    """Δ at the end, shape (nets, P) each; None where they were not measured."""
    point: jamming.JammingPoint | None


def _swept(dataset: xr.Dataset) -> str | None:
    """Return the dimension along which the number of patterns is swept; None if it is not."""
    for dim in sweep_dims(dataset):
        along = (c for c in dataset.coords.values() if c.dims == (dim,))
        if any(c.attrs.get("sweep_key") == PATTERNS for c in along) and dataset.sizes[dim] > 1:
            return dim
    return None


def has_jamming(dataset: xr.Dataset) -> bool:
    """Say whether a sweep over the number of patterns counted the unsatisfied ones."""
    return "unsatisfied_per_weight" in dataset and _swept(dataset) is not None


def lines_of(dataset: xr.Dataset) -> list[Line]:
    """Return a line for each value of what else is swept; members that came to their end count.

    Keys that are swept together with the number of patterns make lines, too: nets of several sizes have
    other numbers of patterns each.
    """
    dim = _swept(dataset)
    together = beside_patterns(dataset, dim)
    groups: dict[tuple[Any, ...], list[tuple[float, xr.Dataset]]] = {}
    named: dict[tuple[Any, ...], str] = {}
    for (labels, member), index in zip(members(dataset), _indices(dataset), strict=True):
        if "unsatisfied_per_weight" not in member or member.attrs.get("status") != "complete":
            continue
        about = member["unsatisfied_per_weight"].attrs
        others = {name: value for name, value in labels.items() if name != dim}
        here = {name: values[index[dim]] for name, values in together.items()}
        place = (*others.values(), *here.values())
        groups.setdefault(place, []).append((about["patterns"] / about["couplings"], member))
        words = [spoken(name, value) for name, value in (shortened_labels(dataset, others) | here).items()]
        named[place] = ", ".join(word for word in words if word)
    return [_line(named[place], group) for place, group in groups.items()]


def _indices(dataset: xr.Dataset) -> Iterator[dict[str | None, int]]:
    """Iterate over the places of the members along the swept dimensions, in the order of `members`."""
    dims = sweep_dims(dataset)
    for index in itertools.product(*(range(dataset.sizes[dim]) for dim in dims)):
        yield dict(zip(dims, index, strict=True))


def beside_patterns(dataset: xr.Dataset, dim: str | None) -> dict[str, list[Any]]:
    """Return the values of the other keys that are swept along the dimension of the number of patterns."""
    along = {
        str(name): c for name, c in dataset.coords.items() if c.dims == (dim,) and "sweep_key" in c.attrs
    }
    others = {name: c.values.tolist() for name, c in along.items() if c.attrs["sweep_key"] != PATTERNS}
    # Of two keys that go together, such as widths and the dimension of patterns, one says it all.
    told: dict[str, list[Any]] = {}
    for name, values in sorted(others.items(), key=lambda item: item[0] != "widths"):
        if all(len(set(zip(values, known, strict=True))) > len(set(known)) for known in told.values()):
            told[name] = values
    return told


def spoken(name: str, value: Any) -> str:
    """Return what a legend calls a swept value: of the widths of hidden layers how many there are."""
    if name == "widths":
        layers = str(value).strip("[]").split(",")
        return f"{len(layers)} hidden layer{'s' * (len(layers) > 1)} of {layers[0].strip()}"
    if name == "file":
        return f"begun {Path(str(value)).stem.replace('_', ' ')}"
    if name in ("labels", "inputs"):
        said = str(value).strip('"')
        return STRUCTURE.get((name, said), f"{name} {said}")
    return f"{name.replace('_', ' ')} = {text(value)}"


def _line(label: str, group: Sequence[tuple[float, xr.Dataset]]) -> Line:
    ordered = sorted(group, key=lambda pair: pair[0])
    own = [member for _, member in ordered]
    ratios = np.array([ratio for ratio, _ in ordered])
    unsatisfied, loss = (
        np.array([m[name].isel(time=-1).to_numpy() for m in own])
        for name in ("unsatisfied_per_weight", "energy")
    )
    gaps = [m["gap"].isel({str(m["gap"].dims[1]): -1}).to_numpy() if "gap" in m else None for m in own]
    jammed = unsatisfied > jamming.JAMMED
    known = len(ratios) > 1 and jammed.any() and not jammed.all()
    point = jamming.jamming_point(ratios, jammed) if known else None
    return Line(label, ratios, unsatisfied, loss, gaps, point)


@register("jamming", fits=has_jamming, kinds=["sweep"], priority=3)
def jamming_figure(dataset: xr.Dataset) -> Figure:
    """Draw what becomes of nets as patterns are added, a colour for each of the other swept values.

    (a) N_Δ/N of every net at the end; (b) the fraction of jammed nets with the logistic function of the
    largest likelihood, and r_J with its error as a band in both; (c) the loss of every net; (d) where gaps
    were measured, their density in nets that are not jammed and in jammed ones, at the ratios on both sides
    of r_J.
    """
    lines = lines_of(dataset)
    with_gaps = any(gaps is not None for line in lines for gaps in line.gaps)
    count = 4 if with_gaps else 3
    drawn, axes = panels(count, 2 if with_gaps else 3)
    looks = [(PALETTE[k % len(PALETTE)], MARKERS[k % len(MARKERS)]) for k in range(len(lines))]
    for line, (colour, marker), shift in zip(lines, looks, _shifts(lines), strict=True):
        _draw_nets(axes[0], line, line.unsatisfied, colour, marker, shift)
        _draw_point(axes[0], line, colour)
        _draw_fraction(axes[1], line, colour, marker)
        _draw_nets(axes[2], line, line.loss, colour, marker, shift)
        if with_gaps:
            _draw_gaps(axes[3], line, colour)
    ratios = np.concatenate([line.ratios for line in lines])
    for ax in axes[:3]:
        if ratios.max() > WIDE * ratios.min():
            ax.set_xscale("log")
        ax.set_xlabel("patterns for each weight $r = P/N$")
    axes[0].set_ylabel("unsatisfied patterns\nfor each weight $N_\\Delta/N$")
    axes[1].set(ylabel="fraction of jammed nets", ylim=(-0.04, 1.04))
    axes[2].set_ylabel("loss at the end")
    axes[2].set_yscale("symlog", linthresh=1e-5)
    axes[2].set_ylim(bottom=-2e-6)
    if with_gaps:
        axes[3].set(xlabel=r"gap $\Delta = \epsilon - y f$", ylabel="density of gaps", yscale="log")
        axes[3].plot([], [], color=GREY, ls="--", label="not jammed")
        axes[3].plot([], [], color=GREY, label="jammed")
        axes[3].axvline(0, color=BLACK, lw=0.6)
        axes[3].legend(loc="upper left")
    drawn.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=min(2, len(lines)))
    return drawn


def _shifts(lines: Sequence[Line]) -> list[float]:
    """Return by how much the points of each line move aside, so that all are seen."""
    spacing = min((float(np.diff(line.ratios).min()) for line in lines if len(line.ratios) > 1), default=0.0)
    return [0.12 * spacing * (k - (len(lines) - 1) / 2) for k in range(len(lines))]


def _draw_nets(ax: Axes, line: Line, of_nets: Any, colour: Any, marker: str, shift: float) -> None:
    """Draw a point for each net, at the ratio of its line; `of_nets` has shape (ratios, nets)."""
    look: Mapping[str, Any] = {
        "color": colour,
        "marker": marker,
        "ls": "",
        "ms": 3.5,
        "mfc": "none",
        "mew": 0.8,
    }
    for ratio, values in zip(line.ratios, of_nets, strict=True):
        ax.plot(np.full(len(values), ratio + shift), values, **look)


def _draw_point(ax: Axes, line: Line, colour: Any) -> None:
    """Draw r_J and its error."""
    if line.point is not None:
        ax.axvspan(
            line.point.value - line.point.error,
            line.point.value + line.point.error,
            color=colour,
            alpha=0.2,
            lw=0,
        )
        ax.axvline(line.point.value, color=colour, lw=0.8)


def _draw_fraction(ax: Axes, line: Line, colour: Any, marker: str) -> None:
    words = line.label
    if line.point is not None:
        found = rf"$r_J$ = {line.point.value:.2f} ± {line.point.error:.2f}"
        words = f"{words}: {found}" if words else found
        fine = np.linspace(line.ratios[0], line.ratios[-1], 200)
        ax.plot(fine, line.point.fraction(fine), color=colour, lw=1)
    jammed = (line.unsatisfied > jamming.JAMMED).mean(1)
    ax.plot(line.ratios, jammed, color=colour, marker=marker, ls="", ms=4.5, label=words)
    _draw_point(ax, line, colour)


def _draw_gaps(ax: Axes, line: Line, colour: Any) -> None:
    """Draw the densities of gaps at the ratios on both sides of r_J, of nets not jammed and jammed."""
    if line.point is None:
        return
    below = [k for k in range(len(line.ratios)) if line.ratios[k] < line.point.value][-1:]
    above = [k for k in range(len(line.ratios)) if line.ratios[k] >= line.point.value][:1]
    for places, wanted, dashes in ((below, False, "--"), (above, True, "-")):
        chosen = [
            gaps[(line.unsatisfied[k] > jamming.JAMMED) == wanted].ravel()
            for k in places
            if (gaps := line.gaps[k]) is not None
        ]
        values = np.concatenate(chosen) if chosen else np.empty(0)
        values = values[np.isfinite(values)]
        if values.size:
            # Far below 0 patterns are satisfied with ease, and say nothing of the transition.
            edges = np.arange(-NEAR, max(float(values.max()), 0.0) + WIDTH, WIDTH)
            counts, _ = np.histogram(values, edges)
            known, density = counts > 0, counts / (values.size * np.diff(edges))
            ax.plot(((edges[1:] + edges[:-1]) / 2)[known], density[known], color=colour, ls=dashes, lw=1)
