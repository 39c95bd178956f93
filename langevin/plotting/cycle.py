"""A sweep over temperature cycles: what begins anew at the second temperature, what the first keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.observables.statistics import Array, average
from langevin.results.kinds import ONE_TIME, TWO_TIME, has
from langevin.results.members import members, sweep_dims

from .bath import bath_of
from .numerals import moment
from .panels import band, estimate
from .registry import register
from .style import BLACK, axis_label, colours_of, few, member_legend, panels, symbol, time_label
from .sweep import draw_energies, looks_of

#: Energies of replicas are averaged over times from t/AROUND to t·AROUND: one time alone has their noise.
AROUND = 1.25
#: Points in a decade of the time since a jump, and its decades.
PER_DECADE, DECADES = 10, 3


class Cycle(NamedTuple):
    """A member: its second temperature and its result."""

    second: float
    member: xr.Dataset


class Stages(NamedTuple):
    """When members are at the first temperature, at the second, and back."""

    first: float
    left: float
    back: float
    end: float


def _given(member: xr.Dataset) -> dict[str, Any]:
    bath = bath_of(member) if "temperature" in member.coords else None
    given = getattr(bath, "given", None)
    return given if isinstance(given, dict) and given.get("protocol") == "cycle" else {}


def stages_of(cycles: list[dict[str, Any]], end: float) -> Stages | None:
    """Return the stages that all protocols share; None where they do not, or nothing comes after the return.

    One of them has to stay at the first temperature, and another to leave it.
    """
    keys = ("first", "first_time", "second_time")
    shared = {tuple(float(given.get(key, np.nan)) for key in keys) for given in cycles}
    once = all(given and given.get("cycles", 1) == 1 for given in cycles)
    if len(shared) != 1 or not once:
        return None
    ((first, left, there),) = shared
    stays = [float(given["second"]) == first for given in cycles]
    known = any(stays) and not all(stays) and end > left + there
    return Stages(first, left, left + there, end) if known else None


def _stages(dataset: xr.Dataset) -> Stages | None:
    if len(sweep_dims(dataset)) != 1 or not has(dataset, "energy", *sweep_dims(dataset), *ONE_TIME):
        return None
    own = [_given(member) for _, member in _measured(dataset)]
    return stages_of(own, float(dataset["time"].max())) if own else None


def _measured(dataset: xr.Dataset) -> list[tuple[dict[str, Any], xr.Dataset]]:
    """Return the members that have energies; of one that failed there may be none."""
    own = [(labels, member) for labels, member in members(dataset) if "energy" in member]
    return [(labels, member) for labels, member in own if member["energy"].notnull().any()]


@register("cycle", fits=lambda dataset: _stages(dataset) is not None, kinds=["sweep"], priority=2)
def cycle_figure(dataset: xr.Dataset) -> Figure:
    """Draw a sweep over the second temperature of a cycle, beside the member that stays at the first.

    (a) E(t), with T(t) below. (b) At the second temperature: how far E is above its value at the end of that
    stage, from the jump on. Rejuvenation is a descent begun anew, larger than that of the member that stays.
    (c) Back at the first: E from the jump on. Where the time in between is as if it had not been, that is the
    course of the member that stays from the end of the first stage on (dashed); where it counts as so much
    time at the first temperature, that from the return on (black). (d) The same of displacements.
    """
    own = _measured(dataset)
    stages = _stages(dataset)
    assert stages is not None
    cycles = [Cycle(float(_given(member)["second"]), member) for _, member in own]
    stay = next(cycle.member for cycle in cycles if cycle.second == stages.first)
    colours = colours_of(range(len(own)))
    both = _displaced(stay, stages)
    drawn, axes = panels(4 if both else 3, 2 if both else 3, 1.1)
    draw_energies(axes[0], own, looks_of(dataset, own, None))
    _draw_second(axes[1], cycles, stages, colours)
    _draw_back(axes[2], cycles, stay, stages, colours)
    if both:
        _draw_displacements(axes[3], cycles, stay, stages, colours)
    lacking = few(stay["energy"])
    name = "second temperature" + f" ({lacking})" * bool(lacking)
    member_legend(drawn, [{name: cycle.second} for cycle in cycles], colours)
    return drawn


def _around(member: xr.Dataset, begin: float, end: float, since: float, at: Array) -> xr.DataArray:
    """Return the energy at times `since` + `at`, of measurements from `begin` to `end`.

    Of several replicas it is the mean of each over neighbouring times, in the time from the jump at `since`
    on; of one, a numerical solution, the energy between its neighbours.

    Parameters
    ----------
    since : float
        The jump from which on time counts; 0 for a course without a jump.
    at : ndarray, shape (points,)
    """
    energy = member["energy"]
    time = energy["time"].to_numpy() - since
    known = (time > 0) & (energy["time"].to_numpy() >= begin) & (energy["time"].to_numpy() <= end)
    time, values = time[known], energy.to_numpy()[:, known]
    if not time.size:
        # It has not come that far.
        found = np.full((len(values), at.size), np.nan)
    elif energy.sizes["replica"] == 1:
        # Nothing is known before the first measurement.
        wanted, logs = np.log(at), np.log(time)
        found = np.array([np.interp(wanted, logs, row, left=np.nan, right=np.nan) for row in values])
    else:
        rows = []
        for t in at:
            near = (time >= t / AROUND * (1 - 1e-9)) & (time <= t * AROUND * (1 + 1e-9))
            rows.append(values[:, near].mean(axis=1) if near.any() else np.full(len(values), np.nan))
        found = np.stack(rows, axis=1)
    kept = energy.isel(time=0, drop=True).expand_dims(at=at).transpose("replica", "at")
    return kept.copy(data=found)


def _times(stages: Stages) -> tuple[Array, Array]:
    """Return times from the jumps on: at the second temperature, and back at the first."""
    spans = (stages.back - stages.left, stages.end - stages.back)
    points = PER_DECADE * DECADES + 1
    second, back = (np.geomspace(span / 10**DECADES, span, points) for span in spans)
    return second, back


def _draw_second(ax: Axes, cycles: list[Cycle], stages: Stages, colours: Mapping[int, Any]) -> None:
    at, _ = _times(stages)
    for i, (second, member) in enumerate(cycles):
        if second == stages.first:
            # No jump: its times are no denser after it.
            course = _around(member, 0.0, stages.end, 0.0, stages.left + at)
        else:
            # A measurement at the return is of the temperature before it.
            course = _around(member, stages.left, stages.back, stages.left, at)
        mean, error = (values.to_numpy() for values in average(course - course[:, -1]))
        known = (mean > 0) & (np.arange(at.size) < at.size - 1)
        band(ax, at[known], mean[known], error[known], colours[i], "_")
    ax.set(xscale="log", yscale="log", ylabel="energy above that at the end\nof the second stage")
    ax.set_xlabel(time_label(cycles[0].member["time"], r"time $\tau$ since the jump"))
    _heed(ax)


def _heed(ax: Axes) -> None:
    """Set the lower limit of a logarithmic axis by its curves: a band may reach to 0."""
    heights = [float(y) for line in ax.get_lines() for y in np.asarray(line.get_ydata()) if y > 0]
    if heights:
        ax.set_ylim(max(min(heights) / 2, max(heights) / 1e3), max(heights) * 2)


def _draw_back(
    ax: Axes, cycles: list[Cycle], stay: xr.Dataset, stages: Stages, colours: Mapping[int, Any]
) -> None:
    _, at = _times(stages)
    heights: list[float] = []
    for begin, dashes, words in (
        (stages.left, "--", "stays, from the end of the first stage on"),
        (stages.back, "-", "stays, from the return on"),
    ):
        mean, error = (v.to_numpy() for v in average(_around(stay, 0.0, stages.end, 0.0, begin + at)))
        band(ax, at, mean, error, BLACK, words, dashes)
        heights += mean[np.isfinite(mean)].tolist()
    for i, (second, member) in enumerate(cycles):
        if second != stages.first:
            course = _around(member, np.nextafter(stages.back, np.inf), stages.end, stages.back, at)
            mean, error = (values.to_numpy() for values in average(course))
            band(ax, at, mean, error, colours[i], "_")
    if heights:
        room = float(np.ptp(heights))
        ax.set_ylim(min(heights) - room, max(heights) + 0.8 * room)
    ax.set(xscale="log", xlabel=time_label(stay["time"], r"time $\tau$ since the return"))
    ax.set_ylabel(axis_label(stay["energy"], "$E$"))
    ax.legend(loc="upper right")


def _displaced(stay: xr.Dataset, stages: Stages) -> bool:
    """Say whether displacements were measured from the ends of both stages on."""
    if not has(stay, "msd", *TWO_TIME):
        return False
    waiting = stay["waiting_time"].to_numpy()
    return bool(np.isclose(waiting, stages.left).any() and np.isclose(waiting, stages.back).any())


def _draw_displacements(
    ax: Axes, cycles: list[Cycle], stay: xr.Dataset, stages: Stages, colours: Mapping[int, Any]
) -> None:
    lag = stay["lag"].to_numpy()
    for begin, dashes in ((stages.left, "--"), (stages.back, "-")):
        mean, error = _from(stay, begin)
        # Both from the same times on: where the longer one alone is known there is nothing to compare.
        known = lag <= (stages.end - stages.back) * (1 + 1e-9)
        band(ax, lag[known], mean[known], error[known], BLACK, "_", dashes)
    for i, (second, member) in enumerate(cycles):
        if second != stages.first:
            band(ax, member["lag"].to_numpy(), *_from(member, stages.back), colours[i], "_")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=time_label(stay["lag"], r"time $\tau$ since the return"),
    )
    ax.set_ylabel(axis_label(stay["msd"], symbol(stay["msd"])))
    ax.set_title(f"{ax.get_title(loc='left')} $t_w$ = {moment(stages.back)}", loc="left")


def _from(member: xr.Dataset, waiting: float) -> tuple[Array, Array]:
    mean, error = (v.sel(waiting_time=waiting, method="nearest").to_numpy() for v in estimate(member, "msd"))
    return mean, error
