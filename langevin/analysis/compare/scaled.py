"""The curves of one result, each axis divided by what the scales say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from langevin.observables import scaling
from langevin.observables.asymptote import asymptote
from langevin.observables.statistics import Array, Estimate, average
from langevin.results.kinds import ONE_TIME, TWO_TIME, has

from . import files
from .scales import Scales

#: A fitted E∞ is taken if its error is no more than this part of the descent.
_SURE = 0.05


class NotKnown(ValueError):
    """A result does not know what a scale needs; the message says what."""


class ScaledCurve(NamedTuple):
    """A curve of one result.

    Attributes
    ----------
    waiting : float
        Waiting time in the unit of the file; NaN of the energy.
    at : ndarray, shape (points,)
        Times or lags > 0 in the unit of the file.
    x, y, error : ndarray, shape (points,)
        On the axes; the standard error is NaN where it is not known.
    shown_waiting : float
        Waiting time on the axis of time.
    """

    waiting: float
    at: Array
    x: Array
    y: Array
    error: Array
    shown_waiting: float = math.nan


@dataclass(frozen=True)
class Descent:
    """Where an energy begins and where it leads: E₀, E∞, and how E∞ is known."""

    start: float
    limit: float
    known_by: str

    @property
    def exact(self) -> bool:
        """Say whether E∞ is theory's, so that what is left of the descent has a logarithm at all times."""
        return self.known_by in ("closed form", "lower bound")


@dataclass(frozen=True)
class ScaledResult:
    """One result beside others.

    Attributes
    ----------
    name : str
        In words.
    time_unit : float
        What is 1 on the axis of time, in the unit of the file; NaN where it changes with time.
    time_words : str
        What that is.
    descent : Descent or None
        None without an energy that moves.
    curves : dict of str to list of ScaledCurve
        "energy" (one curve) and two-time observables (one for each waiting time).
    about : dict of str to dict
        Attributes of these variables in the file.
    degrees : float
        Of freedom of the errors; inf where they are known.
    notes : list of str
        What is missing, and why.
    """

    name: str
    source: str
    time_unit: float
    time_words: str
    descent: Descent | None
    curves: dict[str, list[ScaledCurve]]
    about: dict[str, dict[str, Any]]
    degrees: float
    notes: list[str] = field(default_factory=list)


def descent(dataset: xr.Dataset) -> Descent | None:
    """Return E₀, the mean energy at the first time, and E∞, by the best that the file knows of it.

    That is `asymptote` of the energy, in closed form; its `lower_bound`, of losses; a fit of a power of time
    (`langevin.observables.asymptote`), if that is sure to 5 % of the descent; else the last energy.
    """
    if not has(dataset, "energy", *ONE_TIME):
        return None
    energy = dataset["energy"].sortby("time").dropna("time", how="any")
    if energy.sizes["time"] < 2:
        return None
    mean = average(energy).mean
    start, last = float(mean[0]), float(mean[-1])
    for attribute, known_by in (("asymptote", "closed form"), ("lower_bound", "lower bound")):
        if attribute in energy.attrs:
            return Descent(start, float(energy.attrs[attribute]), known_by)
    fit = asymptote(mean)
    limit, error = float(fit["limit"]), float(fit["limit_error"])
    beyond = (limit - last) * (last - start) >= 0
    if error <= _SURE * abs(start - limit) and beyond:
        return Descent(start, limit, f"fitted, ± {error:.2g}")
    return Descent(start, last, "last energy")


def knows_limit(dataset: xr.Dataset) -> bool:
    """Say whether the correlation of a file is the one of its msd: Δ = C(t, t) + C(t_w, t_w) − 2C."""
    both = all(has(dataset, name, *TWO_TIME) for name in ("msd", "correlation"))
    if not both or "kind" in dataset["correlation"].attrs:
        return False
    return dataset["msd"].attrs.get("units", "1") == dataset["correlation"].attrs.get("units", "1")


def scaled(dataset: xr.Dataset, name: str, scales: Scales, quantities: Sequence[str]) -> ScaledResult:
    """Take the curves of a result and divide each axis by its scale.

    Parameters
    ----------
    dataset : Dataset
        Of a single run.
    name : str
        What it is called.
    scales : Scales
    quantities : sequence of str
        "energy" and two-time observables.

    Returns
    -------
    ScaledResult
        Without the curves of what it has not, or whose scale it does not know: `notes` say which.
    """
    way = descent(dataset)
    notes: list[str] = []
    clock = _Clock.of(dataset, scales, way)
    curves: dict[str, list[ScaledCurve]] = {}
    for quantity in quantities:
        try:
            clock.require()
            found = (
                _energy(dataset, scales, way, clock)
                if quantity == "energy"
                else _two_time(dataset, quantity, scales, clock)
            )
        except NotKnown as reason:
            notes.append(f"{name}: {quantity}: {reason}")
            continue
        if found:
            curves[quantity] = found
        else:
            notes.append(f"{name}: {quantity}: nothing measured at a time > 0")
    about = {q: dict(dataset[q].attrs) for q in quantities if q in dataset}
    samples = files.independent(dataset, "energy")[0]
    degrees = samples - 1.0 if samples > 1 else math.inf
    return ScaledResult(
        name, files.source(dataset), clock.unit, clock.words, way, curves, about, degrees, notes
    )


@dataclass(frozen=True)
class _Clock:
    """Turns times of a file into those of the axis.

    `unit` is what is 1 there; where a learning rate changes (`elapsed`), the time is looked up.
    """

    unit: float
    words: str
    over_waiting: bool
    times: Array
    elapsed: Array

    @staticmethod
    def of(dataset: xr.Dataset, scales: Scales, way: Descent | None) -> _Clock:
        unit, words = 1.0, _unit(dataset)
        none = np.empty(0)
        over = scales.lag == "over_waiting_time"
        if scales.time == "relaxation":
            unit, words = _half_time(dataset, way), "τ₀ of the energy"
        elif scales.time == "scaled" and "scaled_time" in dataset.coords:
            if "scaled_lag" not in dataset.coords:
                pairs = [np.asarray(dataset[n], dtype=float) for n in ("time", "scaled_time")]
                order = np.argsort(pairs[0])
                return _Clock(math.nan, "1/α, which changes", over, pairs[0][order], pairs[1][order])
            t, s = (np.asarray(dataset[n], dtype=float) for n in ("time", "scaled_time"))
            unit = float(t[-1] / s[-1])
            words = f"1/α, α = {1 / unit:g}"
        return _Clock(unit, words, over, none, none)

    def require(self) -> None:
        """Raise NotKnown where there is no unit of time."""
        if not (self.times.size or math.isfinite(self.unit)):
            raise NotKnown("τ₀ is not known: half of the descent of the energy is not made")

    def time(self, t: Array) -> Array:
        """Return times of the file on the axis of time."""
        if self.times.size:
            return np.interp(t, self.times, self.elapsed, left=np.nan, right=np.nan)
        return np.asarray(t / self.unit)

    def lag(self, waiting: float, lag: Array) -> tuple[Array, float]:
        """Return lags of the file on the axis of lags, and the waiting time on that of time."""
        begun = float(self.time(np.array([waiting]))[0])
        shown = self.time(waiting + lag) - begun if self.times.size else self.time(lag)
        if self.over_waiting:
            shown = shown / begun if begun > 0 else np.full_like(shown, np.nan)
        return shown, begun


def _half_time(dataset: xr.Dataset, way: Descent | None) -> float:
    """Return τ₀ of the energy; NaN where there is none."""
    if way is None or way.start == way.limit:
        return math.nan
    return scaling.half_time(dataset["energy"], way.start, way.limit)


def _unit(dataset: xr.Dataset) -> str:
    unit = str(dataset["time"].attrs.get("units", "1")) if "time" in dataset.coords else "1"
    return "1" if unit == "1" else f"1 {unit}"


def _energy(dataset: xr.Dataset, scales: Scales, way: Descent | None, clock: _Clock) -> list[ScaledCurve]:
    if way is None:
        raise NotKnown("no energy over time")
    values = dataset["energy"].sortby("time")
    mean, error = estimate(dataset, "energy")
    mean, error = mean.sortby("time"), error.sortby("time")
    if scales.energy == "fraction":
        if way.start == way.limit:
            raise NotKnown("it does not move")
        mean = scaling.energy_fraction(mean, way.start, way.limit)
        error = error / abs(way.start - way.limit)
    t = np.asarray(values["time"], dtype=float)
    return _kept(math.nan, t, clock.time(t), mean, error, math.nan)


def _two_time(dataset: xr.Dataset, name: str, scales: Scales, clock: _Clock) -> list[ScaledCurve]:
    if not has(dataset, name, *TWO_TIME):
        raise NotKnown("not in the file")
    mean, error = (v.sortby("lag").transpose("waiting_time", "lag") for v in _divided(dataset, name, scales))
    lag = np.asarray(mean["lag"], dtype=float)
    found: list[ScaledCurve] = []
    waiting = np.asarray(mean["waiting_time"], dtype=float)
    for k in np.argsort(waiting):
        x, begun = clock.lag(float(waiting[k]), lag)
        found += _kept(float(waiting[k]), lag, x, mean[k], error[k], begun)
    return found


def _kept(
    waiting: float, at: Array, x: Array, mean: xr.DataArray, error: xr.DataArray, begun: float
) -> list[ScaledCurve]:
    """Return the curve where it is known, at times > 0; none if it is nowhere."""
    y, e = (np.asarray(v, dtype=float) for v in (mean, error))
    known = np.isfinite(y) & np.isfinite(x) & (x > 0)
    return [ScaledCurve(waiting, at[known], x[known], y[known], e[known], begun)] if known.any() else []


def _divided(dataset: xr.Dataset, name: str, scales: Scales) -> Estimate:
    """Return a two-time observable over its scale, dimensions waiting_time and lag."""
    values, how = dataset[name], scales[name]
    measured = estimate(dataset, name)
    if how == "measured" or (name == "correlation" and "kind" in values.attrs):
        # Scattering functions are 1 at lag 0.
        return measured
    if how == "plateau":
        if "plateau" not in values.attrs:
            raise NotKnown("the file knows no plateau")
        plateau = float(values.attrs["plateau"])
        return Estimate(measured.mean / plateau, measured.error / plateau)
    if how == "at_waiting_time":
        return _with_stated(scaling.msd_over_waiting(values), measured)
    if not knows_limit(dataset):
        lacks = (
            "grows without bound, as far as the file knows" if name == "msd" else "C(t_w, t_w) is not known"
        )
        raise NotKnown(f"{lacks}: no msd and correlation of the same displacements")
    if name == "msd":
        return _with_stated(scaling.msd_fraction(values, dataset["correlation"]), measured)
    return _with_stated(scaling.correlation_fraction(values, dataset["msd"]), measured)


def _with_stated(ratio: Estimate, measured: Estimate) -> Estimate:
    """Return a ratio with the part of the value that is its error, where that is not from samples."""
    if int(ratio.error.attrs.get("samples", 1)) > 1:
        return ratio
    part = (measured.error / measured.mean).reindex_like(ratio.mean)
    return Estimate(ratio.mean, abs(ratio.mean * part))


def estimate(dataset: xr.Dataset, name: str) -> Estimate:
    """Return the average over replicas, and its error: from samples, and what the file states, in quadrature.

    What a file states of the choice of examples (kind "sampling") is in the scatter of several replicas.
    """
    mean, error = average(dataset[name])
    stated = f"{name}_error"
    known = stated in dataset and dataset[stated].dims == dataset[name].dims
    if known and (dataset[stated].attrs.get("kind") != "sampling"):
        error = (dataset[stated].mean("replica") ** 2 + error.fillna(0.0) ** 2) ** 0.5
    return Estimate(mean, error)
