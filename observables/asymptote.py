r"""Where a quantity goes that approaches its limit as a power of time, how fast, and how sure that is.

In a window of late times the law

    y(t) = y_∞ + a t^{−b}

is fitted: for given b it is linear, and b is where the sum of squares is least. Times are taken as they lie,
about evenly in ln t, and each counts by the inverse of what is left, t^b, so that the end of the window,
where the law is best, has its say.

The law is asymptotic: with corrections, y = y_∞ + a t^{−b}(1 + c t^{−d} + …), every window gives another
limit. So windows of `decades` decades are fitted that end at the last time T, at T/√10 and at T/10. Say they
give L_0, L_1 and L_2; with corrections the differences D_0 = L_0 − L_1 and D_1 = L_1 − L_2 fall by ρ =
|D_0/D_1| < 1, and what is left of them is D_0 ρ/(1 − ρ). Differences pass through zero, and say nothing
there: a window of two thirds of the length, which ends at T, gives L_s. Quoted are L_0 and

    error² = drift² + numerical²,
    drift  = max(|D_0|, |D_0| ρ/(1 − ρ), |D_1|/2, |L_0 − L_s|, |y(T) − L_0| δb/b),

ρ no more than `_SLOWEST`. The exponent b follows in the same way, with the first four terms as its drift δb;
the fifth says that where the decay is slow, and much of it to come, a small change of b is a large one of
the limit. `numerical` is what the limit moves by if the data do by their own stated error: all by as much,
along a straight line in ln t, or along a parabola, each added in quadrature, for errors of a solution are
smooth in time.

No choice here depends on the errors. What the error covers is measured in tests/error_bars.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from .statistics import Array

#: Exponents that are looked for.
_LEAST, _LARGEST = 0.02, 3.0
#: ρ, by which differences fall from one window to the next: no larger one is believed.
_SLOWEST = 0.9
#: Times that a window needs.
_POINTS = 6
#: Steps of the search for the exponent: a grid, then golden sections.
_GRID, _SECTIONS = 60, 40
_GOLDEN = (5**0.5 - 1) / 2


class PowerLaw(NamedTuple):
    """y = limit + amplitude t^{−exponent}."""

    limit: float
    amplitude: float
    exponent: float


_NOTHING = PowerLaw(np.nan, np.nan, np.nan)


def asymptote(
    values: xr.DataArray,
    error: xr.DataArray | ArrayLike | None = None,
    *,
    decades: float = 1.5,
    limit: float | None = None,
    at_least: float | None = None,
    dim: str = "time",
) -> xr.Dataset:
    """Return limit and exponent of the approach to it, with errors.

    Parameters
    ----------
    values : DataArray, shape (time,)
        With times as its coordinate `dim`, over two and a half decades at least; NaN is left out.
    error : DataArray or array_like, shape (time,), optional
        Stated numerical error of each value.
    decades : float
        Length of a window, in powers of ten.
    limit : float, optional
        A limit that is known: the exponent alone is then fitted.
    at_least : float, optional
        A limit cannot be lower, such as 0 for a correlation: a lower one becomes this, with an error that
        reaches as far as what was fitted.
    dim : str

    Returns
    -------
    Dataset
        limit, exponent and amplitude; limit_error and exponent_error; their parts limit_drift,
        limit_numerical, exponent_drift, exponent_numerical; last_time. NaN where there are not enough times,
        or where the data do not approach anything as a power.

    Notes
    -----
    Of made-up power laws (b from 0.3 to 1; corrections c t^{−d}, d from 0.2 to 1, up to 0.3 where the last
    window begins; smooth errors of the data) three in four get errors: of the others early windows hold no
    power law. All of these limits are within their error, which is six times the true one in the geometric
    mean, for a drift that is seen is not taken off. Exponents are within their error in four of five, and all
    within two (tests/test_asymptotes.py). The pure 3-spin model at T = 0, up to t = 10⁶: −1.15470055 ±
    0.00000004, exact −1.15470054; exponent 0.6664 ± 0.0001, exact 2/3: of an approach as regular as this the
    error of the exponent is too small by two or three.
    """
    t = values[dim].to_numpy().astype(float)
    y = values.to_numpy().astype(float)
    e = np.zeros_like(y) if error is None else np.broadcast_to(np.asarray(error, dtype=float), y.shape)
    known = np.isfinite(y) & np.isfinite(e) & (t > 0)
    t, y, e = t[known], y[known], e[known]
    fits, numerical = [], np.full(2, np.nan)
    for back, length in ((0.0, decades), (0.5, decades), (1.0, decades), (0.0, decades / 1.5)):
        high = t[-1] * 10.0**-back if t.size else 0.0
        inside = (t <= high * (1 + 1e-9)) & (t >= high * 10.0**-length * (1 - 1e-9))
        if inside.sum() < _POINTS or t[0] > high * 10.0 ** (-length + 0.1):
            fits.append(_NOTHING)
            continue
        fits.append(fitted(t[inside], y[inside], limit))
        if len(fits) == 1:
            numerical = _numerical(t[inside], y[inside], e[inside], fits[0], limit)
    summary = _summary(fits, numerical, y[-1] if y.size else np.nan)
    if limit is not None:
        summary |= dict.fromkeys(("limit_error", "limit_drift", "limit_numerical"), 0.0)
    if at_least is not None and summary["limit"] < at_least:
        summary["limit_error"] = max(summary["limit_error"], at_least - summary["limit"])
        summary["limit"] = at_least
    summary["last_time"] = float(t[-1]) if t.size else np.nan
    return xr.Dataset(summary)


def fitted(t: Array, y: Array, limit: float | None = None) -> PowerLaw:
    """Return the power law through values at times t > 0, shape (n,), by least squares.

    First every value counts as much, then by the inverse of what is left of the decay at its time.
    """
    x = t / t[-1]
    weight = np.ones_like(x) if limit is None else 1 / np.maximum(np.abs(y - limit), np.finfo(float).tiny)
    exponent = _exponent(x, y, weight, limit)
    if limit is None and np.isfinite(exponent):
        weight = x**exponent
        exponent = _exponent(x, y, weight, limit)
    if not np.isfinite(exponent):
        return _NOTHING
    end, amplitude, _ = _linear(x, y, weight, exponent, limit)
    return PowerLaw(end, amplitude * float(t[-1]) ** exponent, exponent)


def _exponent(x: Array, y: Array, weight: Array, limit: float | None) -> float:
    """Return the exponent that leaves least; NaN if it is none of those that are looked for."""
    grid = np.geomspace(_LEAST, _LARGEST, _GRID)
    best = int(np.argmin([_linear(x, y, weight, b, limit)[2] for b in grid]))
    if best in (0, grid.size - 1):
        return float("nan")
    low, high = float(grid[best - 1]), float(grid[best + 1])
    for _ in range(_SECTIONS):
        one, other = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if _linear(x, y, weight, one, limit)[2] < _linear(x, y, weight, other, limit)[2]:
            high = other
        else:
            low = one
    return (low + high) / 2


def _linear(
    x: Array, y: Array, weight: Array, exponent: float, limit: float | None
) -> tuple[float, float, float]:
    """Return limit, amplitude and the weighted mean square of what is left, for an exponent."""
    power = x**-exponent
    total = weight @ weight
    # About the last value, so that nothing is lost to its size.
    end = float(y[-1]) if limit is None else limit
    target, middle, mean = y - end, 0.0, 0.0
    if limit is None:
        middle, mean = (float(weight**2 @ v / total) for v in (power, target))
    power, target = weight * (power - middle), weight * (target - mean)
    amplitude = float(power @ target / (power @ power))
    rest = target - amplitude * power
    return end + mean - amplitude * middle, amplitude, float(rest @ rest / total)


def _numerical(t: Array, y: Array, e: Array, law: PowerLaw, limit: float | None) -> Array:
    """Return what limit and exponent move by if the data move by their errors."""
    place = np.log(t)
    place = 2 * (place - place[0]) / (place[-1] - place[0]) - 1
    moved = []
    for shape in (np.ones_like(place), place, 2 * place**2 - 1) if e.any() else ():
        other = fitted(t, y + e * shape, limit)
        moved.append([other.limit - law.limit, other.exponent - law.exponent])
    return np.asarray(np.sqrt(np.sum(np.square(moved).reshape(-1, 2), axis=0)))


def _drift(estimates: list[float]) -> float:
    """Return how far the first estimate may be off; two end ever earlier, the last is of a shorter window."""
    last, before, first, short = estimates
    near, far = abs(last - before), abs(before - first)
    ratio = min(near / far, _SLOWEST) if far else 0.0
    return float(np.max([near, near * ratio / (1 - ratio), far / 2, abs(last - short)]))


def _summary(fits: list[PowerLaw], numerical: Array, last: float) -> dict[str, float]:
    law = fits[0]
    exponent_drift, limit_drift = (
        _drift([float(getattr(f, n)) for f in fits]) for n in ("exponent", "limit")
    )
    limit_drift = float(np.maximum(limit_drift, abs(last - law.limit) * exponent_drift / law.exponent))
    return {
        "limit": law.limit,
        "limit_error": float(np.hypot(limit_drift, numerical[0])),
        "limit_drift": limit_drift,
        "limit_numerical": float(numerical[0]),
        "exponent": law.exponent,
        "exponent_error": float(np.hypot(exponent_drift, numerical[1])),
        "exponent_drift": exponent_drift,
        "exponent_numerical": float(numerical[1]),
        "amplitude": law.amplitude,
    }
