"""These checks find times that no run can meet: between steps, beyond the end, too many, too close."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from langevin.core.protocol import Protocol
from langevin.core.schedule import Grid, clock_of
from langevin.core.times import LEAST_LAG, MOST_STEPS, SAME, is_whole, tidy

from . import shards

if TYPE_CHECKING:
    from .settings import Settings

#: The first time of a grid without `start` where there is no step, as a part of t_max.
FIRST = 1e-6
#: Arrays of two-time observables that every run has at least: msd and correlation.
AT_LEAST = 2
#: Bytes that the schedule itself takes for each time and for each pair.
ENTRY = 200


def time_faults(settings: Settings) -> Iterable[str]:
    """Yield times that no step meets, that lie beyond the end of the run, or that are too many."""
    record: Any = settings.record
    dynamics = settings.dynamics
    # A section that does not derive from DynamicsKeys names no step: any time will do.
    step = getattr(dynamics, "time_step", None)
    said = _said(getattr(dynamics, "time_step_key", None), step)
    faults = list(_end_faults(dynamics, step, said))
    yield from faults
    if not faults:
        yield from _jump_faults(dynamics, step, said)
    if faults or record is None:
        return
    grids = {
        name: getattr(record, name) for name in ("times", "waiting_times", "lags", "hessian", "inherent")
    }
    grids["snapshots"] = record.snapshot_grid(dynamics)
    grids |= {f"probes.{probe.name}.times": probe.times for probe in settings.probes}
    faults = [f for name, grid in grids.items() for f in _grid_faults(name, grid, step, said, dynamics.t_max)]
    yield from faults
    if not faults:
        yield from _pair_faults(settings, grids, step)


def _said(key: str | None, step: float | None) -> str:
    """Say what the time step is; nothing where there is none."""
    if step is None:
        return ""
    return f"time is counted in steps of {step:g}" if key is None else f"dynamics.{key} = {step:g}"


def _end_faults(dynamics: Any, step: float | None, said: str) -> Iterable[str]:
    """Yield an end that is no whole number of steps, or of too many."""
    t_max, key = dynamics.t_max, getattr(dynamics, "time_step_key", None)
    if step is None:
        # The first time of a grid must be a number of full precision.
        if t_max * FIRST < sys.float_info.min:
            yield f"dynamics.t_max = {t_max:g}: must be ≥ {sys.float_info.min / FIRST:.2g}"
    elif step > t_max and key is None:
        yield f"dynamics.t_max = {t_max:g}: must be ≥ {step:g} ({said})"
    elif step > t_max:
        yield f"dynamics.{key} = {step:g}: must be ≤ dynamics.t_max = {t_max:g}"
    elif not t_max / step <= MOST_STEPS:
        yield f"dynamics.t_max = {t_max:g}: must be ≤ {MOST_STEPS:.1e} steps ({said})"
    elif not is_whole(t_max / step):
        yield f"dynamics.t_max = {t_max:.15g}: is between two steps ({said}); {_nearest(t_max, step, 1)}"


def _jump_faults(dynamics: Any, step: float | None, said: str) -> Iterable[str]:
    """Yield jumps of the temperature inside a step: no step is at two temperatures."""
    temperature = getattr(dynamics, "temperature", None)
    if step is None or not isinstance(temperature, Protocol):
        return
    for t in temperature.jumps:
        if t < dynamics.t_max and not is_whole(t / step):
            near = _nearest(t, step, 1)
            yield f"dynamics.temperature: the jump at t = {t:.15g} is between two steps ({said}); {near}"
            return


def _nearest(t: float, step: float, least: int) -> str:
    """Say between which multiples of the step a time lies."""
    below = math.floor(t / step)
    allowed = [tidy(k * step) for k in (below, below + 1) if k >= least]
    return f"nearest: {' and '.join(f'{v:.15g}' for v in allowed)}"


def _grid_faults(name: str, grid: Grid, step: float | None, said: str, t_max: float) -> Iterable[str]:
    given = (*grid.values, *([grid.start] if grid.start else []))
    # As far as the same time may be reached in another way.
    beyond = [v for v in given if v > t_max + SAME * math.ulp(t_max)]
    if beyond:
        yield f"record.{name}: {beyond[0]:g} lies beyond dynamics.t_max = {t_max:g}"
        return
    least = (step or 0) / 2
    short = [v for v in given if v <= least and (name == "lags" or v > 0)]
    if short and step is None:
        # Only zero, and only as a lag.
        yield f"record.{name}: {short[0]:g} is no lag; must be > 0"
    elif short:
        yield f"record.{name}: {short[0]:g} is no time step ({said})"
    elif step is not None and (between := [v for v in given if not is_whole(v / step)]):
        more = f" (and {len(between) - 1} more)" if len(between) > 1 else ""
        nearest = _nearest(between[0], step, int(name == "lags"))
        yield f"record.{name}: {between[0]:.15g}{more} is between two steps ({said}); {nearest}"
    elif grid.per_decade is not None and grid.points(step or t_max * FIRST, t_max).size == 0:
        first = said or f"{t_max * FIRST:g}"
        yield f"record.{name}: stop = {grid.stop:g} leaves no time (the first would be {first})"


def _pair_faults(settings: Settings, grids: dict[str, Grid], step: float | None) -> Iterable[str]:
    """Yield lags that vanish beside their waiting time, and pairs that do not fit in memory."""
    t_max, clock = settings.dynamics.t_max, clock_of(step)
    first = step or t_max * FIRST
    waiting, lags, times = (
        np.array(clock.points(grids[name], first, t_max, least), dtype=float)
        for name, least in (("waiting_times", False), ("lags", True), ("times", False))
    )
    end = clock.at(t_max)
    waiting, lags = waiting[waiting <= end], lags[lags <= end]
    if step is None and waiting.size and lags.size:
        least = float(lags[0])
        swallowed = waiting[(least < LEAST_LAG * np.spacing(waiting)) & (least <= end - waiting)]
        if swallowed.size:
            w = float(swallowed[-1])
            yield (
                f"record.lags: {least:g} is lost beside record.waiting_times: {w:.15g}, where numbers are "
                f"{math.ulp(w):.2g} apart; allowed there: lags ≥ {LEAST_LAG * math.ulp(w):.2g}"
            )
            return
    ensemble: Any = settings.ensemble  # None where it has faults of its own
    if ensemble is None:
        return
    pairs = int(np.searchsorted(lags, end - waiting, side="right").sum())
    stops = min(pairs + times.size + waiting.size, end + 1 if step else math.inf)
    replicas = ensemble.replicas
    values = AT_LEAST * waiting.size * lags.size + times.size
    yield from shards.room_faults(
        settings,
        lambda replicas, _: 8 * replicas * values + ENTRY * (pairs + stops),
        f"ensemble.replicas = {replicas}, {waiting.size} record.waiting_times × {lags.size} record.lags, "
        f"{stops} times",
    )
