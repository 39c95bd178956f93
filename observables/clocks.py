r"""Does an algorithm find another way, or does it only run the clock faster? Scores and curves that tell.

*How fast.* `steps_to` is the time after which half of the runs have been at an energy, in evaluations of the
gradient. Runs that never arrive are censored: they are known to take longer than they lasted.

*Which way.* Let one dynamics have the two-time function Δ(t', t), and another one the same with all times
replaced by h(t), h any growing function, Δ'(t', t) = Δ(h(t'), h(t)). Then every relation between values of Δ
in which no time stands is shared by both. Of three times t₁ < t₂ < t₃ this is the triangle relation

    Δ(t₃, t₂) = f( Δ(t₃, t₁), Δ(t₂, t₁) ),

where f may depend on how old the system is at t₁, which must be told by something else than t₁ itself: the
energy there. So two algorithms are compared at the same energy at t₁, at the same Δ(t₂, t₁) = a, by the curve
of Δ(t₃, t₂) over Δ(t₃, t₁) with the parameter t₃. A mere clock leaves one curve. Ghimenti, Berthier, Kurchan
and van Wijland (arXiv:2409.17121) conjecture that this is all that algorithms for glasses ever do.

Some f are trivial. Of motion without memory, with independent increments, Δ adds up, Δ(t₃, t₂) =
Δ(t₃, t₁) − a, whatever the clock. Curves that fall on each other say the more the farther they are from
this line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .statistics import Array, Resampled, bootstrap

#: Resamples of a triangle curve, and of a median.
RESAMPLES, MEDIANS = 400, 2000


class Arrival(NamedTuple):
    """When runs arrive at an energy.

    Attributes
    ----------
    median : float
        Gradient evaluations after which half of the runs have been there; inf: fewer than half ever were.
    low, high : float
        Ends of its interval; inf where it is not known from above.
    arrived, runs : int
        How many were there, of how many.
    lasted : float
        Gradient evaluations that the longest run took: what never arrived took more.
    """

    median: float
    low: float
    high: float
    arrived: int
    runs: int
    lasted: float


def first_passage(energy: xr.DataArray, target: float) -> tuple[Array, NDArray[np.bool_]]:
    """Return when each run is first at or below an energy, and whether it ever is.

    Parameters
    ----------
    energy : DataArray
        Dimensions replica and time. Values that are missing at the end are those of a run that was cut off.
    target : float

    Returns
    -------
    ndarray, shape (R,)
        The time, on the straight line in time between the two measurements around it; of a run that does not
        arrive, how long it was watched.
    ndarray of bool, shape (R,)
    """
    values = energy.transpose("replica", "time").sortby("time")
    times, replicas = values["time"].to_numpy().astype(float), values.sizes["replica"]
    passed, there = np.zeros(replicas), np.zeros(replicas, bool)
    for r in range(replicas):
        # One run at a time: together they may be larger than memory.
        row = values.isel(replica=r).to_numpy().astype(float)
        known = np.isfinite(row)
        t, e = times[known], row[known]
        below = np.flatnonzero(e <= target)
        there[r] = below.size > 0
        if not there[r]:
            passed[r] = t[-1] if t.size else 0.0
        elif (k := int(below[0])) == 0:
            passed[r] = t[0]
        else:
            share = (e[k - 1] - target) / (e[k - 1] - e[k])
            passed[r] = t[k - 1] + share * (t[k] - t[k - 1])
    return passed, there


def median_passage(times: Array, there: NDArray[np.bool_]) -> float:
    """Return Kaplan and Meier's median of times, of which some are only known to be exceeded; inf: none.

    The share that has not arrived is multiplied by 1 − 1/n at every arrival, n those still watched.
    """
    return float(_medians(np.asarray(times, dtype=float)[None], np.asarray(there)[None])[0])


def _medians(times: Array, there: NDArray[np.bool_]) -> Array:
    """Return the medians of many rows, shape (rows, n)."""
    # An arrival goes before what was lost at the same time.
    order = np.lexsort((~there, times), axis=1)
    times, there = np.take_along_axis(times, order, 1), np.take_along_axis(there, order, 1)
    alive = np.cumprod(np.where(there, 1 - 1 / np.arange(times.shape[1], 0, -1), 1.0), axis=1)
    half = there & (alive <= 0.5 + 1e-12)
    first = np.take_along_axis(times, half.argmax(1)[:, None], 1)[:, 0]
    return np.where(half.any(1), first, np.inf)


def steps_to(
    energy: xr.DataArray,
    target: float,
    *,
    time_step: float = 1.0,
    gradients_per_step: int = 1,
    confidence: float = 0.68,
    seed: int = 0,
) -> Arrival:
    """Return after how many evaluations of the gradient half of the runs have been at an energy.

    Parameters
    ----------
    energy : DataArray
        Dimensions replica and time.
    target : float
    time_step : float
        Time of one step.
    gradients_per_step : int
        Evaluations of the gradient in one step of a replica: of replica exchange one for each temperature.
    confidence : float
        Of the interval, from quenched samples drawn with replacement, with all of their replicas.
    seed : int
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: must lie between 0 and 1")
    times, there = first_passage(energy, target)
    counts = times / time_step * gradients_per_step
    replicas = np.arange(len(times))
    labels = energy["sample"].to_numpy() if "sample" in energy.coords else replicas
    # As `statistics.independent`: of one sample, the replicas are what differs.
    labels = labels if len(np.unique(labels)) > 1 else replicas
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    rng = np.random.default_rng(seed)
    again = rng.integers(len(groups), size=(MEDIANS if len(groups) > 1 else 0, len(groups)))
    if len({len(rows) for rows in groups}) == 1:
        rows = np.array(groups)[again].reshape(len(again), len(times))
        medians = np.sort(_medians(counts[rows], there[rows]))
    else:
        drawn = (np.concatenate([groups[k] for k in row]) for row in again)
        medians = np.sort([median_passage(counts[rows], there[rows]) for rows in drawn])
    tail = (1 - confidence) / 2
    # An order statistic, for between a number and inf there is nothing.
    ends = [medians[round(q * (len(medians) - 1))] if len(medians) else np.nan for q in (tail, 1 - tail)]
    median = median_passage(counts, there)
    lasted = float(energy["time"].max()) / time_step * gradients_per_step
    return Arrival(median, float(ends[0]), float(ends[1]), int(there.sum()), len(times), lasted)


def age_at(energy: xr.DataArray, target: float) -> float:
    """Return the time at which the mean energy is first at or below a value; NaN if it never is."""
    mean = energy.mean("replica").expand_dims("replica")
    passed, there = first_passage(mean, target)
    return float(passed[0]) if there[0] else np.nan


def triangle(
    displacement: xr.DataArray, first: float, travelled: float, levels: Array, *, resamples: int = RESAMPLES
) -> Resampled:
    """Return Δ(t₃, t₂) at given Δ(t₃, t₁), where Δ(t₂, t₁) = `travelled`.

    Parameters
    ----------
    displacement : DataArray
        Δ, dimensions replica, waiting_time, lag.
    first : float
        t₁; the stored waiting time that is nearest to it in ratio is taken.
    travelled : float
        a = Δ(t₂, t₁).
    levels : ndarray, shape (n,)
        Values of Δ(t₃, t₁), above a.
    resamples : int

    Returns
    -------
    Resampled
        Shape (n,); NaN where the run does not reach. t₂ runs over waiting times; between two of them the
        curves are on straight lines in Δ(t₂, t₁), and Δ between two lags in ln t.
    """
    values = displacement.transpose("replica", ..., "waiting_time", "lag").sortby(["waiting_time", "lag"])
    waiting, lags = (values[name].to_numpy().astype(float) for name in ("waiting_time", "lag"))
    positive, later = lags > 0, np.flatnonzero(waiting > 0)
    start = int(later[np.argmin(np.abs(np.log(waiting[later] / first)))])
    log_lags, from_first = np.log(lags[positive]), waiting[start]
    seconds = np.flatnonzero(waiting > from_first)

    def of_average(average: Array) -> Array:
        along = _until_missing(log_lags, average[start][positive])
        own = [np.interp(np.log(waiting[j] - from_first), *along, right=np.nan) for j in seconds]
        curves = []
        for j in seconds:
            reached, ahead = _until_missing(lags[positive], average[j][positive])
            x = np.interp(np.log(waiting[j] + reached - from_first), *along, right=np.nan)
            good = np.isfinite(x)
            # What fluctuates down is where the curve was already.
            grown = np.maximum.accumulate(x[good])
            known = good.sum() > 1
            curves.append(
                np.interp(levels, grown, ahead[good], left=np.nan, right=np.nan)
                if known
                else np.full(len(levels), np.nan)
            )
        return _between(np.array(own), np.array(curves), travelled)

    return bootstrap(
        lambda averages: np.array([of_average(average) for average in averages]), values, resamples=resamples
    )


def _until_missing(at: Array, values: Array) -> tuple[Array, Array]:
    known = np.isfinite(values)
    return at[known], values[known]


def _between(own: Array, curves: Array, travelled: float) -> Array:
    """Return the curve at Δ(t₂, t₁) = a on straight lines between those of two t₂ around it."""
    above = np.flatnonzero(own >= travelled)
    if not above.size or above[0] == 0:
        return np.full(curves.shape[1], np.nan)
    k = int(above[0])
    share = (travelled - own[k - 1]) / (own[k] - own[k - 1])
    return (1 - share) * curves[k - 1] + share * curves[k]


class Collapse(NamedTuple):
    """How far one curve is from another.

    Attributes
    ----------
    offset, error : float
        Mean difference of the two at their common levels, and its standard error.
    scale : float
        Mean value of the second curve there.
    levels : int
        How many levels both reach.
    """

    offset: float
    error: float
    scale: float
    levels: int

    @property
    def sigmas(self) -> float:
        """The offset in units of its error."""
        return self.offset / self.error if self.error > 0 else np.nan


def collapse(curve: Resampled, other: Resampled) -> Collapse:
    """Return how far two curves at the same levels are apart.

    The error is from the resamples of the mean over all common levels, so that it holds however correlated
    the points of a curve are. Both curves count as independent.
    """
    common = np.isfinite(curve.value) & np.isfinite(other.value)
    if not common.any():
        return Collapse(np.nan, np.nan, np.nan, 0)
    means = [one.apply(lambda rows: np.nanmean(rows[:, common], axis=1)) for one in (curve, other)]
    error = float(np.hypot(*(mean.error() for mean in means)))
    values = [float(mean.value) for mean in means]
    return Collapse(values[0] - values[1], error, values[1], int(common.sum()))
