"""Response stands against correlation: in one panel of a figure, and in a figure with its two slopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.observables.equal_time import equal_time
from langevin.observables.fixed_time import at_observation_time
from langevin.observables.response import fdt_ratio, fdt_ratio_at
from langevin.observables.statistics import Array, Estimate, average
from langevin.results.kinds import TWO_TIME, has

from .bath import draw_no_theorem
from .numerals import number
from .panels import band, estimate, reached_times
from .registry import register
from .style import GREY, VERMILION, axis_label, colours_of, few, panels, time_label, waiting_time_legend

#: The figure's name among quantities.
FDT = "fdt"

#: What C(t, t) may differ from 1 by on a sphere: rounding, of numbers that were stored.
_ROUNDING = 1e-6
#: Above this a correlation is none that begins at 1, whatever its noise.
_ABOVE = 1.2
#: Where all correlations are above this, the axis begins near them, not at 0.
_NEAR_ONE = 0.5
#: Observation times in a panel, at most.
_TIMES = 4
#: X is shown between these, at most: at the end of a curve slopes are of any size.
_SHOWN = (-1.0, 2.0)
#: Window in C of the slopes of data with noise.
_WINDOW = 0.15
#: Pairs that a slope is shown of, at least.
_LEAST = 5


def is_conjugate(dataset: xr.Dataset) -> bool:
    """Say whether the file holds a correlation and the response that is conjugate to it."""
    names = ("correlation", "integrated_response")
    if not all(has(dataset, n, *TWO_TIME) for n in names):
        return False
    of = dataset["integrated_response"].attrs.get("conjugate", "correlation")
    return bool(of == "correlation") and dataset["correlation"].attrs.get("kind") is None


def units(dataset: xr.Dataset) -> xr.Dataset | None:
    """Return C(t, t) of a file (`equal_time.equal_time`); None where it is 1, or not known.

    It follows from msd and correlation, which have the same dimensions.
    """
    names = ("msd", "correlation")
    if not all(has(dataset, n, *TWO_TIME) for n in names):
        return None
    unit = equal_time(dataset["correlation"], dataset["msd"])
    off = np.abs(unit["at_end"].to_numpy() - 1)
    return None if np.nanmax(off, initial=0.0) <= _ROUNDING else unit


def parts_of(values: xr.DataArray, unit: xr.DataArray) -> xr.DataArray:
    """Return numbers for each replica whose mean is mean(values)/mean(unit), and whose spread is its error.

    To first order the ratio of two means m/u moves by (δm − (m/u) δu)/u. The means are those of `average`.
    """
    mean, whole = average(values).mean, average(unit).mean
    ratio = mean / whole.where(whole > 0)
    parts = ratio + (values - ratio * unit) / whole.where(whole > 0)
    return parts.transpose(*values.dims).assign_attrs(values.attrs)


def with_unit_correlation(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset with C(t_w, t_w + t)/C(t_w, t_w) as correlation, where C does not begin at 1."""
    unit = units(dataset)
    if unit is None:
        return dataset
    scaled = parts_of(dataset["correlation"], unit["at_waiting"].broadcast_like(dataset["correlation"]))
    about = {"symbol": "$C(t_w, t_w+t)/C(t_w, t_w)$", "long_name": "two-time correlation"}
    scaled.attrs = {**dataset["correlation"].attrs, **about, "units": "1"}
    changed = dataset.drop_vars("correlation_error", errors="ignore")
    return changed.assign(correlation=scaled)


def draw_response(ax: Axes, dataset: xr.Dataset, colours: Mapping[int, Any]) -> None:
    """Draw χ against C along the lag, one curve for each waiting time; bands are the error of χ.

    Where C(t, t) at the later time is not 1, both are divided by it: the theorem is then (1 − C)/T all the
    same. The temperature and the limits X and q_EA are those of the attributes of `integrated_response`
    (`temperature`, `fdt_ratio`, `q_ea`); of the lines (1 − C)/T and of slope −X/T below q_EA those are drawn
    that they give. At T = 0 neither exists.
    """
    unit = units(dataset)
    correlation, response = _both(dataset, unit)
    shown = []
    for i, colour in colours.items():
        c, chi, error = (v[i].to_numpy() for v in (correlation.mean, response.mean, response.error))
        shown += _draw_curve(ax, c, chi, error, colour, "_")
    _finish(ax, dataset, shown, "t_w+t" if unit is not None else "")


def _both(dataset: xr.Dataset, unit: xr.Dataset | None) -> tuple[Estimate, Estimate]:
    """Return C and χ, in units of C(t, t) at the later time."""
    names = ("correlation", "integrated_response")
    if unit is None:
        c, chi = (estimate(dataset, n) for n in names)
    else:
        c, chi = (average(parts_of(dataset[n], unit["at_end"])) for n in names)
    return c, chi


def _draw_curve(ax: Axes, x: Array, mean: Array, error: Array, colour: Any, label: str) -> list[float]:
    band(ax, x, mean, error, colour, label)
    return list(map(float, x[np.isfinite(x) & np.isfinite(mean)]))


def _finish(ax: Axes, dataset: xr.Dataset, shown: list[float], later: str) -> None:
    """Set limits and labels, and draw the lines of theory."""
    values = dataset["integrated_response"]
    least, most = min(shown, default=0.0), max(shown, default=1.0)
    # A correlation above 1 whose C(t, t) is not known begins anywhere.
    unknown = most > _ABOVE
    start = most if unknown else 1.0
    left = min(0.0, least) if least < _NEAR_ONE * start else start - 1.15 * (start - least)
    right = max(start, most)
    room = 0.02 * (right - left or 1.0)
    ax.margins(0.03)
    # The line of the theorem leaves the panel where no curve follows it.
    bottom, top = ax.get_ylim()
    low = min(bottom, -0.02 * top)
    ax.set(xlim=(left - room, right + room), ylim=(low, 1.05 * top))
    temperature = float(values.attrs.get("temperature", 0.0))
    if temperature > 0 and unknown:
        ax.plot([], [], " ", label="$C(t, t)$ is not known:\nno line of the theorem")
        ax.legend(loc="best")
    elif temperature > 0:
        ends = np.array([left - room, right])
        label = f"FDT, $(1-C)/T$, $T = {temperature:g}$"
        ax.plot(ends, (1 - ends) / temperature, color=GREY, ls=":", lw=1.2, label=label)
        _draw_aging_line(ax, values, left)
        ax.legend(loc="upper right")
    draw_no_theorem(ax, dataset)
    if later:
        ax.set_xlabel(f"$C/C({later}, {later})$")
        ax.set_ylabel(axis_label(values, rf"$\chi/C({later}, {later})$"))
    else:
        ax.set(xlabel=axis_label(dataset["correlation"], "$C$"), ylabel=axis_label(values, r"$\chi$"))


def _draw_aging_line(ax: Axes, values: xr.DataArray, left: float) -> None:
    if not {"fdt_ratio", "q_ea"} <= set(values.attrs):
        return
    temperature, ratio, q = (float(values.attrs[n]) for n in ("temperature", "fdt_ratio", "q_ea"))
    ends = np.array([min(left, q), q])
    label = f"slope $-X/T$, $X = {ratio:.3f}$,\nbelow $q_{{EA}} = {q:.3f}$ ($N\\to\\infty$)"
    line = ((1 - q) + ratio * (q - ends)) / temperature
    ax.plot(ends, line, color=VERMILION, ls="--", lw=1.2, label=label)


def observation_times(dataset: xr.Dataset) -> list[float]:
    """Return times at which enough waiting times have a pair for a plot with t fixed; of many, a part.

    They are waiting times, which are spread as the run file spreads them, and the last time of all pairs.
    """
    known = dataset["correlation"].notnull().any("replica") & dataset["integrated_response"].notnull().any(
        "replica"
    )
    pairs = (dataset["waiting_time"] + dataset["lag"]).where(known).to_numpy()
    if not np.isfinite(pairs).any():
        return []
    wanted = [*dataset["waiting_time"].to_numpy().tolist(), float(np.nanmax(pairs))]
    times = []
    for t in sorted({float(t) for t in wanted if t > 0}):
        try:
            at = at_observation_time(dataset["integrated_response"], t)
        except ValueError:
            continue
        if at.sizes["lag"] >= _LEAST:
            times.append(t)
    spread = np.linspace(0, len(times) - 1, min(len(times), _TIMES)).round().astype(int)
    return [times[k] for k in np.unique(spread)]


@register(FDT, fits=is_conjugate)
def fdt_figure(dataset: xr.Dataset) -> Figure:
    """Draw χ against C along the lag, and with the observation time t fixed, and the X that both give.

    (a) each waiting time, with the lag as parameter; (b) each observation time, with the waiting time as
    parameter; (c) X against C: with t fixed, the ratio of R to ∂C/∂t_w (`response.fdt_ratio_at`), and along
    the lag (`response.fdt_ratio`, broken) at the same pairs. Of several replicas X is the slope in a window
    of C. Without enough pairs at any observation time, (a) alone, and X along the lag.
    """
    unit, times = units(dataset), observation_times(dataset)
    colours = colours_of(reached_times(estimate(dataset, "integrated_response")))
    count = 3 if times else 2
    drawn, axes = panels(count, count, 1.1)
    draw_response(axes[0], dataset, colours)
    if times:
        _draw_at_times(axes[1], dataset, unit, times)
    _draw_ratios(axes[-1], dataset, unit, times, colours)
    note = few(dataset["integrated_response"])
    waiting_time_legend(drawn, dataset["waiting_time"], colours, "(a) waiting time $t_w$", note)
    return drawn


def _draw_at_times(ax: Axes, dataset: xr.Dataset, unit: xr.Dataset | None, times: list[float]) -> None:
    correlation, response = _both(dataset, unit)
    shown = []
    for t, colour in zip(times, colours_of(range(len(times))).values(), strict=True):
        c, chi = (at_observation_time(v, t).to_numpy() for v in (correlation.mean, response.mean))
        error = np.full(chi.shape, np.nan)
        if bool(response.error.notnull().any()):
            error = at_observation_time(response.error, t).to_numpy()
        shown += _draw_curve(ax, c, chi, error, colour, number(t))
    _finish(ax, dataset, shown, "t" if unit is not None else "")
    handles, labels = ax.get_legend_handles_labels()
    chosen = [k for k, label in enumerate(labels) if not label.startswith(("FDT", "slope"))]
    ax.legend(
        [handles[k] for k in chosen],
        [labels[k] for k in chosen],
        title=time_label(dataset["lag"], "observation time $t$"),
        # Curves fall from the upper left to the lower right.
        loc="lower left",
    )


def _draw_ratios(
    ax: Axes, dataset: xr.Dataset, unit: xr.Dataset | None, times: list[float], colours: Mapping[int, Any]
) -> None:
    """Draw X against C."""
    c, chi = dataset["correlation"], dataset["integrated_response"]
    temperature = float(chi.attrs.get("temperature", 0.0))
    width = _WINDOW if dataset.sizes["replica"] > 1 else None
    # Without T > 0 the slope itself is what can be drawn, 1/T_eff.
    scale = temperature if temperature > 0 else 1.0
    given: dict[str, Any] = {"width": width, "equal_time": 1.0 if unit is None else unit["at_end"]}
    along, names = fdt_ratio(c, chi, scale, **given), ["fdt_ratio", "correlation", "fdt_ratio_error"]
    for t, colour in zip(times, colours_of(range(len(times))).values(), strict=True):
        at = fdt_ratio_at(c, chi, scale, t, **given)
        _draw_ratio(ax, at, colour, "-")
        try:
            same = at_observation_time(along[names].to_array(), t)
        except ValueError:
            # Slopes along the lag may be known at fewer pairs.
            continue
        _draw_ratio(ax, same.to_dataset("variable"), colour, "--")
    # At fixed times there may be too few pairs for a slope: then X of the waiting times, along the lag.
    fixed = any(np.size(line.get_xdata()) > 1 for line in ax.get_lines())
    if not fixed:
        for i, colour in colours.items():
            _draw_ratio(ax, along.isel(waiting_time=i), colour, "--")
    bottom, top = ax.get_ylim()
    if temperature > 0:
        ax.set_ylim(max(min(bottom, 0.0), _SHOWN[0]), min(max(top, 1.1), _SHOWN[1]))
        ax.axhline(1, color=GREY, ls=":", lw=1.2, label="$X = 1$: the theorem")
    if temperature > 0 and "fdt_ratio" in chi.attrs:
        ratio = float(chi.attrs["fdt_ratio"])
        label = f"$X = {ratio:.3f}$ ($N\\to\\infty$)"
        ax.axhline(ratio, color=VERMILION, ls="--", lw=1.2, label=label)
    if fixed:
        ax.plot([], [], color=GREY, ls="-", label="$t$ fixed")
    ax.plot([], [], color=GREY, ls="--", label="along the lag")
    ax.legend(loc="best", title=f"colours as in ({'b' if fixed else 'a'})")
    ax.set_xlabel(axis_label(c, "$C$") if unit is None else "$C/C(t, t)$")
    ax.set_ylabel("fluctuation-dissipation ratio $X$" if temperature > 0 else "$-d\\chi/dC$, $1/T_{eff}$")


def _draw_ratio(ax: Axes, ratio: xr.Dataset, colour: Any, style: str) -> None:
    x, mean, error = (ratio[n].to_numpy() for n in ("correlation", "fdt_ratio", "fdt_ratio_error"))
    known = np.isfinite(x) & np.isfinite(mean)
    order = np.argsort(x[known])
    x, mean, error = (v[known][order] for v in (x, mean, error))
    ax.plot(x, mean, color=colour, ls=style, lw=1.2)
    if np.isfinite(error).all() and error.size:
        ax.fill_between(x, mean - error, mean + error, color=colour, alpha=0.2 if style == "-" else 0.1, lw=0)
