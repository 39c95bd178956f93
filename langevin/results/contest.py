"""A contest is a sweep over algorithms: who is the fastest, and who goes another way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from langevin.errors import UserError
from langevin.observables import clocks
from langevin.observables.statistics import Array, Resampled

from .members import members, sweep_dims

#: The keys of [dynamics] that say which algorithm a member has.
KEYS = ("temperature", "rule", "exchange", "attraction", "optimiser", "batches", "momentum", "schedule")
#: A target is the mean energy of the first member at this part of its time.
PART = 1 / 10
#: Triangles begin at the energy of this part of the first member's time, and travel as far as it does in a
#: second part; there are so many levels of Δ(t₃, t₁).
BEGINS, TRAVELS, LEVELS = 1 / 60, 1 / 15, 12


@dataclass(frozen=True)
class Competitor:
    """One member of a contest.

    Attributes
    ----------
    label : str
        Its algorithm, in words.
    result : Dataset
        As of a single run.
    time_step : float
        Time of one step.
    gradients : int
        Evaluations of the gradient in one step of a replica.
    """

    label: str
    result: xr.Dataset
    time_step: float
    gradients: int

    @property
    def evaluations(self) -> Array:
        """How many gradients have been evaluated at the times of the energy, for one replica."""
        return np.asarray(self.result["time"]) / self.time_step * self.gradients


def is_contest(dataset: xr.Dataset) -> bool:
    """Say whether members of a sweep differ in an algorithm, along one dimension."""
    dims = sweep_dims(dataset)
    algorithmic = ("exchange", "rule", "attraction", "optimiser", "batches")
    return len(dims) == 1 and "energy" in dataset and any(name in dataset.coords for name in algorithmic)


def competitors(dataset: xr.Dataset) -> list[Competitor]:
    """Return the members of a contest."""
    own = [member for _, member in members(dataset)]
    tables = [json.loads(member.attrs["settings"])["dynamics"] for member in own]
    found = []
    for member, dynamics in zip(own, tables, strict=True):
        ladder = dynamics.get("exchange") or {}
        found.append(
            Competitor(
                name(dynamics), member, float(dynamics.get("dt", 1.0)), 1 + len(ladder.get("hotter", ()))
            )
        )
    return found


def name(dynamics: Mapping[str, Any]) -> str:
    """Return an algorithm in words, from the keys of [dynamics]."""
    temperature, rule = dynamics.get("temperature", 0.0), dynamics.get("rule", "gradient")
    rule = rule["name"] if isinstance(rule, Mapping) else rule
    optimiser = dynamics.get("optimiser", "sgd")
    if dynamics.get("exchange"):
        return "replica exchange"
    if dynamics.get("attraction"):
        return "replicated"
    if not isinstance(temperature, int | float):
        return "annealed"
    if dynamics.get("schedule", "constant") != "constant":
        return "annealed rate"
    if dynamics.get("batches") == "persistent":
        return "persistent batches"
    if rule != "gradient" or optimiser != "sgd" or dynamics.get("momentum"):
        chosen = rule if rule != "gradient" else optimiser if optimiser != "sgd" else "momentum"
        return str({"adam": "Adam", "nesterov": "momentum"}.get(chosen, chosen))
    return f"constant, T = {temperature:g}" if temperature else "constant rate"


def target(reference: Competitor) -> float:
    """Return the energy that is to be reached: the mean of a member at a tenth of its time."""
    mean = reference.result["energy"].mean("replica")
    return float(np.interp(PART * float(mean["time"].max()), mean["time"], mean))


def scores(dataset: xr.Dataset, energy: float | None = None) -> list[tuple[Competitor, clocks.Arrival]]:
    """Return when the members of a contest arrive at an energy; by default the `target` of the first one.

    Raises
    ------
    UserError
        If it is no contest.
    """
    if not is_contest(dataset):
        raise UserError("contest: needed: a sweep along one dimension in which an algorithm changes")
    own = competitors(dataset)
    energy = target(own[0]) if energy is None else energy
    return [
        (one, clocks.steps_to(
            one.result["energy"], energy, time_step=one.time_step, gradients_per_step=one.gradients
        ))
        for one in own
    ]  # fmt: skip


def triangles(dataset: xr.Dataset) -> tuple[Array, float, list[tuple[Competitor, Resampled | None]]]:
    """Return levels of Δ(t₃, t₁), the way a = Δ(t₂, t₁), and the curves of Δ(t₃, t₂) of all members.

    All begin at the energy that the first member has at a sixtieth of its time; a is what it travels in a
    fifteenth. None: a member is never at this energy, or only before its first waiting time.
    """
    own = competitors(dataset)
    first = own[0].result
    end, mean = float(first["time"].max()), first["energy"].mean("replica")
    energy = float(np.interp(BEGINS * end, mean["time"], mean))
    start = clocks.age_at(first["energy"], energy)
    waiting = np.asarray(first["waiting_time"])
    chosen = int(np.argmin(np.abs(np.log(np.maximum(waiting, 1e-300) / start))))
    along = first["msd"].isel(waiting_time=chosen).mean("replica").dropna("lag")
    travelled = float(np.interp(TRAVELS * end, along["lag"], along))
    levels = np.linspace(travelled, float(along[-1]), LEVELS + 1)[1:]
    curves: list[tuple[Competitor, Resampled | None]] = []
    for one in own:
        age = clocks.age_at(one.result["energy"], energy)
        late = np.isfinite(age) and age >= 0.5 * float(one.result["waiting_time"].min())
        curve = clocks.triangle(one.result["msd"], age, travelled, levels) if late else None
        curves.append((one, curve))
    return levels, travelled, curves
