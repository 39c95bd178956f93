r"""An exponent of aging has an error of three parts, found here: statistics, threshold and drift.

The whole analysis, choice of waiting times and threshold (`choice`) included, is a function of the mean
curves. `Analysis` makes it for many averages at once, and it is repeated for every resample of the samples.
The parts of the error of μ:

statistics
    The standard error over samples of the bootstrap; for up to 50 samples that of the jackknife, if it is
    larger, but no more than a fourth. From few samples whose curves differ by factors the bootstrap is too
    small by some percent, which the jackknife is not. Where curves are flat t* jumps, and the jackknife says
    nothing.
threshold
    By how much another threshold would change μ: rms of μ(Δ*′) − μ(Δ*) over the range that counts.
drift
    Half of |μ_late − μ_early|, of the two halves of the waiting times: where each has an exponent of its own,
    the μ of all lies between.

Squares are biased upwards by noise. With V the square of the data, and V_b those of the resamples, which have
the noise twice, 2V − mean of V_b is taken, or 0 where that is negative: noise is not counted twice. The total
error is the root of the sum of the three squares.

Where a straight line is no description there is no number: where |μ_late − μ_early| exceeds a third of μ; or
where the rms deviation of ln t* from the line exceeds a fifth of the rms of μ ln t_w about its mean; both
surely, that is, less two of their standard errors. For a μ below 0.2 these are parts of 0.2. This selects no
large or small μ: the slope of equally weighted points is independent of their deviations from the line. A
drift that noise could have made is no reason to give no number, as its error is quoted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr

from ..fits.regression import inverse, mean_where
from ..statistics import Array, Mask, Resampled, bootstrap, independent
from ..sufficiency import too_few
from .choice import POINTS, AgingChoice, around, choose, within
from .crossings import AgingCurves, Rising, slopes

#: Name of μ in `sufficiency.LEAST`.
QUANTITY = "aging_exponent"
#: A drift, and a deviation from the line, that leave no exponent, as parts of μ, or of the least μ.
DRIFT, DEVIATION, _SMALL = 1 / 3, 0.2, 0.2
#: Standard errors by which the drift has to exceed this.
_SIGMAS = 2.0
#: Samples up to which there is a jackknife, too: for more both errors are the same.
_JACKKNIFE = 50
#: The jackknife's error over the bootstrap's, beyond which it is one of jumps.
_JUMPY = 1.25
#: Part of the resamples that may lack a fit.
_LOST = 0.05

#: Names of the numbers that `Analysis` returns, in this order.
_NAMES = (
    "exponent",
    "at_one",
    "early",
    "late",
    "drift",
    "drift_squared",
    "threshold_squared",
    "deviation_squared",
    "centre",
    "low",
    "high",
)


class Analysis:
    """The analysis as a function of averages.

    Parameters
    ----------
    curves : AgingCurves
    chosen : ndarray of bool, shape (waiting_time,)
        Waiting times that are allowed.
    levels : tuple of float
        Heights of a threshold that is given, or of a lowest and a highest one; none: it chooses.
    least, points : int
        Waiting times that a fit needs; thresholds of the range.
    """

    def __init__(
        self,
        curves: AgingCurves,
        chosen: Mask,
        levels: tuple[float, ...] = (),
        least: int = 4,
        points: int = POINTS,
    ) -> None:
        self.curves, self.chosen, self.levels = curves, chosen, levels
        self.least, self.points = least, points

    def choice(self, averages: Array) -> AgingChoice:
        """Return waiting times and thresholds."""
        given = (self.curves, averages, self.chosen, self.least, self.points)
        return around(*given, self.levels) if self.levels else choose(*given)

    def times(self, averages: Array, choice: AgingChoice) -> Array:
        """Return ln t* at the threshold, shape (B, waiting_time)."""
        return Rising(self.curves.x, self.curves.height(averages)).crossing(choice.centre)

    def __call__(self, averages: Array) -> Array:
        """Return the numbers of `_NAMES`, shape (B, names), of averages, shape (B, waiting_time, lag)."""
        choice, waiting = self.choice(averages), self.curves.log_waiting
        times = self.times(averages, choice)
        slope, at_one = slopes(waiting, times, choice.members)
        early, late = (slopes(waiting, times, part)[0] for part in halves(choice.members))
        drift = late - early
        change = np.where(choice.weights > 0, choice.slopes - slope[:, None], 0.0) ** 2
        deviation = self._deviation(times, choice.members, slope, at_one)
        ends = (choice.centre, choice.low, choice.high)
        squares = (drift**2, (within(choice) * change).sum(-1), deviation)
        return np.stack([slope, at_one, early, late, drift, *squares, *ends], axis=-1)

    def _deviation(self, times: Array, used: Mask, slope: Array, at_one: Array) -> Array:
        """Return the mean square of ln t* about the line over that of ln t_w about its mean."""
        x = self.curves.log_waiting
        off = np.where(used, times - at_one[:, None] - slope[:, None] * x, 0.0)
        spread = np.where(used, x - mean_where(x, used)[:, None], 0.0)
        return np.asarray((off**2).sum(-1) * inverse((spread**2).sum(-1)))


class ExponentParts(NamedTuple):
    """An exponent, its errors, and further numbers of the analysis; NaN where there is none.

    Attributes
    ----------
    value, error : dict of str to float
        By the names of `_NAMES`: numbers of the averages over all samples, and their statistical errors.
    threshold, drift : float
        Parts of the error of μ.
    samples : int
    lost : int
        Resamples without a fit.
    resamples : int
    deviation, surely : float
        Root mean square of ln t* about the line over that of ln t_w about its mean, noise deducted; the same
        of the square less two of its standard errors.
    """

    value: dict[str, float]
    error: dict[str, float]
    threshold: float
    drift: float
    samples: int
    lost: int
    resamples: int
    deviation: float
    surely: float

    def fault(self, counted: bool) -> str:
        """Return why there is no exponent, or "".

        Parameters
        ----------
        counted : bool
            Whether the values are of samples, and not of a solution.
        """
        lacking = too_few(QUANTITY, self.samples) if counted else ""
        if lacking:
            return lacking
        if self.lost > _LOST * self.resamples:
            return f"{self.lost} of {self.resamples} resamples do not reach the threshold"
        mu = self.value["exponent"]
        scale = max(abs(mu), _SMALL)
        drift, error = abs(self.value["drift"]), self.error["drift"]
        if drift - _SIGMAS * (error if math.isfinite(error) else 0.0) > DRIFT * scale:
            of_halves = f"{self.value['early']:.2f} and {self.value['late']:.2f}"
            return f"{of_halves} in the two halves of the waiting times"
        if self.surely > DEVIATION * scale:
            return f"ln t* is off the line by {self.deviation / scale:.0%} of its rise, rms"
        return ""


def parts(analysis: Analysis, resamples: int, seed: int) -> ExponentParts:
    """Return the exponent and its errors over samples."""
    values = analysis.curves.values
    numbers = bootstrap(analysis, values, resamples=resamples, seed=seed)
    error = standard_error(numbers, analysis, values)
    value = dict(zip(_NAMES, numbers.value.tolist(), strict=True))
    squares = {name: unbiased(numbers, k) for k, name in enumerate(_NAMES) if name.endswith("_squared")}
    lost = int(np.isnan(numbers.again[:, 0]).sum())
    unsure = float(np.nan_to_num(numbers.error()[_NAMES.index("deviation_squared")]))
    return ExponentParts(
        value,
        dict(zip(_NAMES, error.tolist(), strict=True)),
        math.sqrt(squares["threshold_squared"]),
        math.sqrt(squares["drift_squared"]) / 2,
        numbers.samples,
        lost,
        len(numbers.again),
        math.sqrt(squares["deviation_squared"]),
        math.sqrt(max(squares["deviation_squared"] - _SIGMAS * unsure, 0.0)),
    )


def standard_error(numbers: Resampled, function: Callable[[Array], Array], values: xr.DataArray) -> Array:
    """Return the standard error of bootstrap and jackknife, as the module says; NaN for a single sample.

    Parameters
    ----------
    numbers : Resampled
    function : callable
        The function of averages, with a leading axis, that was resampled.
    values : DataArray
    """
    error = numbers.error()
    if not 1 < numbers.samples <= _JACKKNIFE:
        return error
    # All at once: `statistics.jackknife` would ask for each sample in turn.
    left_out = function(_without_each(values))
    squares = (left_out - left_out.mean(0)) ** 2
    jackknife = np.sqrt((1 - 1 / numbers.samples) * squares.sum(0))
    return np.asarray(np.fmax(error, np.fmin(jackknife, _JUMPY * error)))


def _without_each(values: xr.DataArray) -> Array:
    """Return the averages without each independent sample in turn, shape (samples, ...)."""
    alone, dim = independent(values)
    array = np.asarray(alone.transpose(dim, ...).to_numpy(), dtype=float)
    known = np.isfinite(array)
    filled = np.where(known, array, 0.0)
    return np.asarray((filled.sum(0) - filled) * inverse((known.sum(0) - known).astype(float)))


def unbiased(numbers: Resampled, k: int) -> float:
    """Return the k-th number, a square, less the part that noise adds, and not below 0."""
    value = float(numbers.value[k])
    again = numbers.again[:, k]
    again = again[np.isfinite(again)]
    # Of resamples noise is smaller by (n − 1)/n.
    factor = numbers.samples / max(numbers.samples - 1, 1)
    noise = factor * (again.mean() - value) if again.size else 0.0
    return max(value - noise, 0.0) if math.isfinite(value) else value


def halves(used: Mask) -> tuple[Mask, Mask]:
    """Return first and second half of the waiting times (last axis, ascending); the middle one in both."""
    count = used.sum(-1, keepdims=True)
    half = (count + 1) // 2
    rank = np.cumsum(used, -1)
    return used & (rank <= half), used & (rank > count - half)
