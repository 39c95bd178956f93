"""Two-time curves cross a threshold at t*(t_w), found here for averages over samples and resamples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..fits.regression import inverse, line, mean_where
from ..pairs import positive_lags, require_dimensions, slack
from ..statistics import Array, Mask, Resampled, bootstrap, replica_mean

#: A waiting time is fitted if t* is reached in this part of the resamples at least: where it is reached in
#: some of them only, these are the fast ones.
_REACHED = 0.95


class AgingCurves:
    """Curves over the lag that rise through a threshold, or fall through it.

    Their heights are interpolated in ln t: ln Δ of curves that rise (powers become straight lines), −C of
    curves that fall (C may be negative). A height always rises.

    Parameters
    ----------
    values : DataArray
        Dimensions waiting_time, lag, and replica where there is one. Pairs that are not known are NaN.
    falling : bool

    Attributes
    ----------
    values, mean : DataArray
        At lags > 0, dimensions (…, waiting_time, lag); `mean` is the average over replicas.
    waiting, log_waiting, x : ndarray
        Waiting times, their logarithms (0 where they are not positive), and ln t of the lags.

    Raises
    ------
    ValueError
        If the dimensions are others, or a lag stands there twice.
    """

    def __init__(self, values: xr.DataArray, *, falling: bool = False) -> None:
        require_dimensions(values, "waiting_time", "lag")
        self.values, self.falling = positive_lags(values), falling
        self.mean = replica_mean(self.values)
        self.waiting = self.mean["waiting_time"].to_numpy().astype(float)
        self.log_waiting = np.log(np.where(self.waiting > 0, self.waiting, 1.0))
        self.x = np.log(self.mean["lag"].to_numpy().astype(float))

    def height(self, values: ArrayLike) -> Array:
        """Return ln Δ, or −C of curves that fall; NaN where Δ is not positive."""
        given = np.asarray(values, dtype=float)
        if self.falling:
            return -given
        return np.log(given, out=np.full(given.shape, np.nan), where=given > 0)

    def threshold(self, height: ArrayLike) -> Array:
        """Return Δ or C from its height."""
        return -np.asarray(height, dtype=float) if self.falling else np.exp(height)

    def check(self, threshold: float) -> None:
        """Raise ValueError for a threshold that no curve can cross."""
        if not math.isfinite(threshold) or not (self.falling or threshold > 0):
            allowed = "a finite number" if self.falling else "a finite number > 0"
            raise ValueError(f"threshold = {threshold}: must be {allowed} (unit: that of the curves)")

    def chosen(self, between: tuple[float, float]) -> Mask:
        """Say which waiting times are > 0 and in a range, ends included, to rounding."""
        if not 0 <= between[0] < between[1]:
            raise ValueError(
                f"waiting_times = {between}: must be (first, last) with 0 ≤ first < last (unit: time)"
            )
        ascending = np.argsort(self.waiting)
        near = np.empty(self.waiting.size)
        near[ascending] = slack(self.waiting[ascending])
        inside: Mask = self.waiting > 0
        inside &= (self.waiting >= between[0] - near) & (self.waiting <= between[1] + near)
        return inside

    def log_times(self, thresholds: ArrayLike, resamples: int, seed: int) -> Resampled:
        """Return ln t*, shape (threshold, waiting_time), of the average and of its resamples."""
        levels = self.height(np.atleast_1d(thresholds))

        def crossings(averages: Array) -> Array:
            rising = Rising(self.x, self.height(averages))
            return np.stack([rising.crossing(float(level)) for level in levels], axis=1)

        return bootstrap(crossings, self.values, resamples=resamples, seed=seed)


class Rising:
    """Curves y(x), points along the last axis; NaN where unknown."""

    def __init__(self, x: Array, y: Array) -> None:
        known = np.isfinite(y)
        self.x, self.y = x, np.where(known, y, -np.inf)
        #: The last known point until each; −1: none.
        self.last = np.maximum.accumulate(np.where(known, np.arange(x.size, dtype=np.int32), -1), axis=-1)

    def crossing(self, levels: ArrayLike) -> Array:
        """Return where each curve first reaches a level, on the straight line from the point before.

        NaN where it does not, or where it has at its first known point already.

        Parameters
        ----------
        levels : array_like, shape () or (B,)
            One for all curves, or one for each of the first axis.
        """
        level = np.asarray(levels, dtype=float)
        level = level.reshape(level.shape + (1,) * (self.last.ndim - 1 - level.ndim))
        above = self.y >= level[..., None]
        first = above.argmax(-1)
        reached = np.take_along_axis(above, first[..., None], -1)[..., 0]
        index = np.ix_(*map(np.arange, first.shape))
        return self._straight(first, reached, level, index)

    def crossings(self, levels: Array) -> Array:
        """Return the same, shape (B, K, W), for K levels of each, shape (B, K), of curves (B, W)."""
        highest = np.maximum.accumulate(self.y, axis=-1)
        first = np.count_nonzero(highest[:, None] < levels[:, :, None, None], axis=-1)
        reached = first < self.x.size
        rows, _, columns = np.ix_(*map(np.arange, first.shape))
        return self._straight(np.where(reached, first, 0), reached, levels[..., None], (rows, columns))

    def _straight(
        self, first: NDArray[np.int_], reached: Mask, level: Array, index: tuple[Any, ...]
    ) -> Array:
        """Return x where the line to the point `first` from the known one before it has the level."""
        before = self.last[(*index, np.maximum(first - 1, 0))]
        crossed = reached & (first > 0) & (before >= 0)
        before = np.where(crossed, before, 0)
        y0, y1 = (np.where(crossed, self.y[(*index, k)], np.nan) for k in (before, first))
        x0, x1 = self.x[before], self.x[first]
        return np.asarray(x0 + (x1 - x0) * (level - y0) * inverse(y1 - y0))


def fitted(log_times: Resampled, chosen: Mask) -> Mask:
    """Say which waiting times have a t* that is reached in enough resamples; shape as `log_times.value`."""
    good: Mask = np.isfinite(log_times.value) & (log_times.share() >= _REACHED) & chosen
    return good


@dataclass(frozen=True)
class Power:
    """The straight line of least squares through ln t* against ln t_w.

    Attributes
    ----------
    slope : Resampled
        μ.
    at_one : Resampled
        ln t* at t_w = 1.
    scatter : ndarray
        Standard error of μ from the scatter of ln t* about the line; NaN for two points.
    """

    slope: Resampled
    at_one: Resampled
    scatter: Array


def slopes(log_waiting: Array, log_times: Array, used: Mask) -> tuple[Array, Array]:
    """Return μ and ln A of ln t* = ln A + μ ln t_w, every waiting time (last axis) with the same weight.

    NaN where t* is not known at a waiting time that is used.
    """
    shape = log_times.shape
    slope, centre, height = line(np.broadcast_to(log_waiting, shape), log_times, np.broadcast_to(used, shape))
    return slope, height - slope * centre


def fit_power(log_waiting: Array, log_times: Resampled, used: Mask) -> Power:
    """Fit ln t* = ln A + μ ln t_w, every waiting time with the same weight.

    Parameters
    ----------
    log_waiting : ndarray, shape (waiting_time,)
    log_times : Resampled
        Shape (..., waiting_time).
    used : ndarray of bool, shape (..., waiting_time)
        A resample without t* at one of them has no fit.
    """
    x = log_waiting

    def both(y: Array) -> Array:
        return np.stack(slopes(x, y, used), axis=1)

    lines = log_times.apply(both)
    slope, at_one = (Resampled(lines.value[k], lines.again[:, k], lines.samples) for k in (0, 1))
    count, centre = used.sum(-1), mean_where(x, used)
    spread = (np.where(used, x - centre[..., None], 0.0) ** 2).sum(-1)
    residual = log_times.value - at_one.value[..., None] - slope.value[..., None] * x
    squares = np.where(used, residual, 0.0) ** 2
    variance = squares.sum(-1) * inverse(np.maximum(count - 2.0, 0.0)) * inverse(spread)
    return Power(slope, at_one, np.sqrt(variance))
