r"""The three regimes of training by stochastic gradient descent, and the times t₁ and t₂ between them.

Over-parametrised networks explore at first, and the loss hardly changes; between t₁ and t₂ it falls about as
the logarithm of time; after t₂ it stays low, and the weights diffuse at the bottom of the landscape
(Baity-Jesi et al. 2018, arXiv:1803.06969). Here t₁ and t₂ are the corners of the ramp "level, straight
descent in ln t, lower level" that is nearest to the mean loss L(t) in least squares over ln t. Where the
descent is clearly in two parts, fast and slow, it is given a knee: t₂ is then the end of the slow part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from .bent import Bent, fit_bent
from .pairs import ordered
from .ramp import Ramp, fit_ramp
from .regression import line, shares
from .statistics import Array, average, jackknife, tabulate

#: Times are averaged in cells of ln t, this many in a decade: they crowd behind every waiting time.
_CELLS = 24
#: A loss above its first value counts as that, plus this part of the fall: a spike is no descent.
_EXCESS = 0.05
#: A level lasts for at least this factor of time, and has at least so many cells.
_LEVEL, _POINTS = 2.0, 3
#: The slope on a level is at most this part of the descent's.
_FLAT = 0.25
#: A ramp leaves at most this part of the variance: noise alone does not look like one.
_UNEXPLAINED = 0.2

#: A descent has a knee if that explains at least this factor more, of a ramp that leaves at least this part
#: of the variance, and if each of its two parts is at least this part of the fall.
_BETTER, _POOR, _PART = 4.0, 0.01, 0.1

METHOD = (
    "corners of the ramp (level, straight descent in ln t, lower level) that is nearest to the mean loss in "
    "least squares over ln t, its descent with a knee where that explains much more; _error: jackknife over "
    "samples; _shift: corners of the straight line through the middle half of the descent, minus these"
)

_ABOUT = {
    "t1": "end of the first level, begin of the descent",
    "t2": "end of the descent, begin of the last level",
    "slope": "dL/d ln t of the descent (of its first part, where it has a knee)",
    "level_start": "loss before t1",
    "level_end": "loss after t2",
    "knee": "time at which the descent slows down",
    "level_knee": "loss at the knee",
}
#: Those whose unit is that of time, and whose logarithm is fitted.
_TIMES = ("t1", "t2", "knee")


class _Curve(NamedTuple):
    """Cells of a loss: ln t, mean loss, width in ln t."""

    x: Array
    loss: Array
    width: Array


def regimes(loss: xr.Dataset | xr.DataArray, *, least: float = 0.1, bottom: float = 0.05) -> xr.Dataset:
    """Return t₁ and t₂, begin and end of the logarithmic descent of a loss.

    Measured on curves with known corners at 10² and 10⁴, 20 times a decade up to 10⁶: exact on a ramp; noise
    of 1 % of the fall at each time moves the corners by 1.6 %; corners rounded by a factor e move t₁ by
    −27 %, t₂ by +37 % (`_shift`: +27 %, −21 %); a tail t^(−1/2) from t₂ on moves t₂ by 15 % if 4 % of the
    loss are left there, by 70 % if 13 % are. L(0)/(1 + t/τ) has them at 0.09 τ and 11.7 τ (`_shift`: +48 %,
    −32 %).

    Parameters
    ----------
    loss : Dataset or DataArray
        The training loss, or a dataset with it as `energy`. Dimension time, and replica where there is one,
        over which the loss is averaged first. NaN where unknown. A loss that first drops to a level, from
        which it descends much later, has two descents: select the times of one.
    least : float
        A fall by less than this part of the first level is no descent.
    bottom : float
        A last level above this part of the first is not the bottom of the landscape, and its begin is no t2:
        an under-parametrised network slows down there and goes on to age. 1 takes any level.

    Returns
    -------
    Dataset
        t1 and t2 (unit: that of time); slope, dL/d ln t; level_start and level_end; knee and level_knee, the
        time and the loss where a fast descent turns into a slow one, if there is one. Each with its standard
        error over samples as `<name>_error` (jackknife; NaN for a single replica). t1 and t2 have a
        systematic error besides, `<name>_shift`: by how much they move if the straight line through the
        middle half of the descent is extended to the levels; NaN where that half has fewer than three times.
        Where there is no such time it is NaN, and its attribute `reason` says why: there is no descent; no
        level before it, or none after it, of at least a factor 2 in time and three times, with less than a
        quarter of the descent's slope; the last level is not the bottom (it is given all the same).

    Raises
    ------
    ValueError
        If the dimensions are others, or `least` or `bottom` is out of range.
    """
    for name, part in (("least", least), ("bottom", bottom)):
        if not 0 < part <= 1:
            raise ValueError(f"{name} = {part}: must be in (0, 1] (part of the first level)")
    energy = loss["energy"] if isinstance(loss, xr.Dataset) else loss
    if not {"time"} <= set(energy.dims) <= {"time", "replica"}:
        raise ValueError(f"dimensions {energy.dims}: needed: time, and replica or not")
    energy = ordered(energy, "time")
    mean = average(energy).mean if "replica" in energy.dims else energy
    time = mean["time"].to_numpy().astype(float)

    curve = _cells(time, mean.to_numpy())
    ramp = _nearest(curve)

    def again(values: Array) -> Array:
        # Knee or not, and where, was decided for the mean of all.
        part = _cells(time, values)
        return _numbers(fit_bent(*part, near=ramp) if isinstance(ramp, Bent) else fit_ramp(*part))

    value, error = jackknife(again, energy)
    missing = _missing(curve, ramp, least, bottom)
    lost = [name in missing for name in _ABOUT]
    value[lost] = error[lost] = np.nan
    # The error of ln t is the relative one of t.
    times = [name in _TIMES for name in _ABOUT]
    value[times] = np.exp(value[times])
    error[times] *= value[times]
    shift = value[:2] * np.expm1(_extended(curve, ramp) - np.log(value[:2]))
    return _report(mean, value, error, shift, missing)


def _cells(time: Array, loss: Array) -> _Curve:
    """Average over cells of ln t, after a loss above its first value was cut off."""
    known = np.isfinite(loss) & np.isfinite(time) & (time >= 0)
    time, loss = time[known], loss[known]
    if loss.size:
        first = loss[0]
        loss = np.minimum(loss, first + _EXCESS * (first - loss.min()))
    x, loss = np.log(time[time > 0]), loss[time > 0]
    cell = np.floor(x * (_CELLS / math.log(10)) + 1e-9)
    _, cell, count = np.unique(cell, return_inverse=True, return_counts=True)
    x, loss = (np.bincount(cell, v) / count for v in (x, loss))
    return _Curve(x, loss, shares(x) if x.size > 1 else np.ones(x.size))


def _nearest(curve: _Curve) -> Ramp | Bent | None:
    """Return the nearest ramp; one with a knee if the descent is clearly in two parts."""
    ramp = fit_ramp(*curve)
    if ramp is None or ramp.unexplained < _POOR:
        return ramp
    bent = fit_bent(*curve)
    if bent is None or bent.unexplained > ramp.unexplained / _BETTER:
        return ramp
    first = (bent.high - bent.height) / (bent.high - bent.low)
    return bent if _PART <= first <= 1 - _PART else ramp


def _numbers(ramp: Ramp | Bent | None) -> Array:
    """Return ln t₁, ln t₂, slope, first and last level, ln t and level of the knee."""
    if ramp is None:
        return np.full(len(_ABOUT), np.nan)
    knee = (ramp.knee, ramp.height) if isinstance(ramp, Bent) else (np.nan, np.nan)
    return np.array([ramp.begin, ramp.end, _slope(_piece(ramp, before=True)), ramp.high, ramp.low, *knee])


class _Piece(NamedTuple):
    """A straight part of the descent: where it begins and ends, and its heights there."""

    begin: float
    end: float
    high: float
    low: float


def _piece(ramp: Ramp | Bent, before: bool) -> _Piece:
    """Return the part of the descent that begins at t₁, or that ends at t₂; without a knee, all of it."""
    if isinstance(ramp, Ramp):
        return _Piece(ramp.begin, ramp.end, ramp.high, ramp.low)
    if before:
        return _Piece(ramp.begin, ramp.knee, ramp.high, ramp.height)
    return _Piece(ramp.knee, ramp.end, ramp.height, ramp.low)


def _slope(piece: _Piece) -> float:
    return (piece.low - piece.high) / (piece.end - piece.begin)


def _extended(curve: _Curve, ramp: Ramp | Bent | None) -> Array:
    """Return ln t₁ and ln t₂ where the line through the middle half of the descent meets the levels."""
    if ramp is None:
        return np.full(2, np.nan)
    met = np.full(2, np.nan)
    for k, level in enumerate((ramp.high, ramp.low)):
        piece = _piece(ramp, before=k == 0)
        middle = np.abs(curve.x - (piece.begin + piece.end) / 2) <= (piece.end - piece.begin) / 4
        slope, at, height = line(curve.x, curve.loss, middle)
        if middle.sum() >= _POINTS and slope < 0:
            met[k] = at + (level - height) / slope
    return met


def _missing(curve: _Curve, ramp: Ramp | Bent | None, least: float, bottom: float) -> dict[str, str]:
    """Say which numbers there are not, and why."""
    if curve.x.size < 2 * _POINTS:
        return dict.fromkeys(_ABOUT, "too few times")
    if ramp is None or ramp.high - ramp.low < least * abs(ramp.high):
        return dict.fromkeys(_ABOUT, f"the loss does not fall by {least:.0%}")
    if ramp.unexplained > _UNEXPLAINED:
        return dict.fromkeys(_ABOUT, "no descent that stands out of the other changes of the loss")
    missing: dict[str, str] = {}
    if isinstance(ramp, Ramp):
        missing |= dict.fromkeys(("knee", "level_knee"), "the descent is in one part")
    if not _is_level(curve, ramp, before=True):
        missing |= dict.fromkeys(("t1", "level_start"), "the loss descends from the first times on")
    if not _is_level(curve, ramp, before=False):
        missing |= dict.fromkeys(("t2", "level_end"), "the loss has not come to a last level")
    elif ramp.low > bottom * ramp.high:
        missing["t2"] = f"the last level is {ramp.low / ramp.high:.0%} of the first, not the bottom"
    return missing


def _is_level(curve: _Curve, ramp: Ramp | Bent, before: bool) -> bool:
    """Say whether the curve before or after the descent is long and flat enough to be called a level."""
    part = curve.x <= ramp.begin if before else curve.x >= ramp.end
    length = ramp.begin - curve.x[0] if before else curve.x[-1] - ramp.end
    if part.sum() < _POINTS or length < math.log(_LEVEL):
        return False
    slope, _, _ = line(curve.x, curve.loss, part)
    return bool(abs(slope) <= _FLAT * abs(_slope(_piece(ramp, before))))


def _report(
    mean: xr.DataArray, value: Array, error: Array, shift: Array, missing: Mapping[str, str]
) -> xr.Dataset:
    unit, loss_unit = (str(v.attrs.get("units", "1")) for v in (mean["time"], mean))
    about = {
        name: {"long_name": meaning, "units": unit if name in _TIMES else loss_unit}
        for name, meaning in _ABOUT.items()
    }
    scalar = mean.isel(time=0, drop=True)
    made = tabulate({name: (value[k], error[k]) for k, name in enumerate(_ABOUT)}, scalar, about)
    for name in _ABOUT:
        made[f"{name}_error"].attrs["units"] = about[name]["units"]
        if name in missing:
            made[name].attrs["reason"] = missing[name]
    for name, moved in zip(("t1", "t2"), shift, strict=True):
        attributes = {"long_name": f"systematic error of {name}", "units": unit}
        made[f"{name}_shift"] = ((), moved, attributes)
    made.attrs["method"] = METHOD
    return made
