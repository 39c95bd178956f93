r"""Begin and end of a descent are found here by other definitions than the nearest ramp.

No loss is a ramp, and a round curve has a corner by definition only. Take a logistic descent in
ln t whose tangent at the steepest point meets the levels at 10² and 10⁴: the nearest ramp has its corners at
61 and 1.6·10⁴. So each t₁ and t₂ comes with these:

- **line**: the straight line through the middle half of the descent meets the level there (that of its first
  or last part, where it has a knee);
- **bend**: the loss against ln t bends most there. |d²L/d(ln t)²| is that of parabolas through windows of a
  third of the descent's length. On a ramp this is its corner; a round one has it inside of the ramp's;
- **log_loss**: this is the corner of ln L instead of L. The ramp is the one nearest to ln L until half of the
  first level is lost (t₁), and from the geometric mean of the levels on (t₂). A descent that ends on a linear
  axis may be in its middle on a logarithmic one; where ln L has no last level, there is no such corner;
- **collapse** (t₂): from some waiting time on all Δ(t_w, t_w + t)/D(t_w) lie on one curve, to `COLLAPSED`
  rms. t₂ is between that waiting time and the one before: the time there that is nearest to the ramp's
  corner.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import xarray as xr

from ..fits.regression import line
from ..pairs import positive_lags
from ..statistics import Array, replica_mean
from .curve_families import CurveFamily
from .ramps import fit_ramp

#: Curves lie on one if their rms spread, of the logarithm, is at most this.
COLLAPSED = 0.25
#: A parabola needs so many points.
_POINTS = 5


class Course(NamedTuple):
    """A loss in cells of ln t: ln t, mean loss, width in ln t, shape (cells,)."""

    x: Array
    loss: Array
    width: Array


class Piece(NamedTuple):
    """A straight part of a descent: where it begins and ends, and its heights there."""

    begin: float
    end: float
    high: float
    low: float

    @property
    def middle(self) -> float:
        """Half-way in ln t."""
        return (self.begin + self.end) / 2

    @property
    def slope(self) -> float:
        """Of the loss against ln t."""
        return (self.low - self.high) / (self.end - self.begin)


def extended(course: Course, piece: Piece, first: bool) -> float:
    """Return ln t where the line through the middle half of a piece meets the first or the last level."""
    middle = np.abs(course.x - piece.middle) <= (piece.end - piece.begin) / 4
    slope, at, height = line(course.x, course.loss, middle)
    if middle.sum() < 3 or not slope < 0:
        return math.nan
    return float(at + ((piece.high if first else piece.low) - height) / slope)


def sharpest(course: Course, piece: Piece, first: bool) -> float:
    """Return ln t where the course bends most, before or after the middle of a piece; NaN if nowhere."""
    reach = (piece.end - piece.begin) / 6
    x, y = course.x, course.loss
    best, corner = 0.0, math.nan
    # A round corner bends inside of the ramp's; far outside of it only noise does.
    low, high = (piece.begin - reach, piece.middle) if first else (piece.middle, piece.end + reach)
    for at in x[(x >= low) & (x <= high)]:
        inside = np.abs(x - at) <= reach * (1 + 1e-9)
        # One-sided windows would call the beginning of the data a corner.
        if x[0] > at - reach or x[-1] < at + reach or inside.sum() < _POINTS:
            continue
        curvature = float(np.polynomial.polynomial.polyfit(x[inside] - at, y[inside], 2)[2])
        if (-curvature if first else curvature) > best:
            best, corner = abs(curvature), float(at)
    return corner


def in_log_loss(course: Course, levels: tuple[float, float], first: bool) -> float:
    """Return ln t at the corner of ln L; NaN where L is not positive, or ln L has no such level.

    Parameters
    ----------
    course : Course
    levels : (float, float)
        First and last level of the loss.
    first : bool
        The begin of the descent, or its end.
    """
    x, y, width = course
    if not (y > 0).all() or not 0 < levels[1] < levels[0]:
        return math.nan
    half = levels[0] / 2
    if first:
        below = np.flatnonzero(y < half)
        chosen = np.arange(x.size) <= (below[0] if below.size else x.size)
    else:
        above = np.flatnonzero(y > min(half, math.sqrt(levels[0] * levels[1])))
        chosen = np.arange(x.size) >= (above[-1] if above.size else 0)
    ramp = fit_ramp(x[chosen], np.log(y[chosen]), width[chosen])
    if ramp is None:
        return math.nan
    at = ramp.begin if first else ramp.end
    level = x <= at if first else x >= at
    span = at - x[0] if first else x[-1] - at
    if level.sum() < 3 or span < math.log(2):
        return math.nan
    slope, _, _ = line(x, np.log(y), level)
    steep = (ramp.low - ramp.high) / (ramp.end - ramp.begin)
    return at if abs(slope) <= abs(steep) / 4 else math.nan


def of_collapse(dataset: xr.Dataset) -> tuple[float, float]:
    """Return the ends in ln t_w between which displacements over gradient noise begin to collapse.

    NaN where there are none, where nothing collapses, and where all does: t₂ is before the first t_w then.
    """
    nothing = math.nan, math.nan
    shapes = {"msd": {"waiting_time", "lag"}, "gradient_noise": {"waiting_time"}}
    for name, dims in shapes.items():
        if name not in dataset or not dims <= set(dataset[name].dims) <= dims | {"replica"}:
            return nothing
    msd, noise = (replica_mean(dataset[name]) for name in shapes)
    msd = positive_lags(msd).sortby("waiting_time")
    d = noise.sel(waiting_time=msd["waiting_time"]).to_numpy()[:, None]
    values, waiting = msd.to_numpy(), msd["waiting_time"].to_numpy().astype(float)
    good = (values > 0) & (d > 0) & np.isfinite(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_y = np.where(good, np.log(np.where(good, values, 1.0) / d), np.nan)
    known = np.flatnonzero(good.any(1) & (waiting > 0))
    x, between = np.log(msd["lag"].to_numpy().astype(float)), nothing
    # From the latest two on, one more at a time, as long as they lie on one curve.
    for k in range(known.size - 2, -1, -1):
        judged = good & (np.arange(waiting.size) >= known[k])[:, None]
        if not CurveFamily(x, judged).spread(log_y) <= COLLAPSED:
            return between
        between = nothing if k == 0 else (math.log(waiting[known[k - 1]]), math.log(waiting[known[k]]))
    return nothing
