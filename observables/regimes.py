r"""The three regimes of training by stochastic gradient descent, and the times t₁ and t₂ between them.

Over-parametrised networks explore at first, and the loss hardly changes; between t₁ and t₂ it falls about as
the logarithm of time; after t₂ it stays low, and the weights diffuse at the bottom of the landscape
(Baity-Jesi et al. 2018, arXiv:1803.06969). Here t₁ and t₂ are the corners of the ramp "level, straight
descent in ln t, lower level" that is nearest to the mean loss L(t) in least squares over ln t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

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

METHOD = (
    "corners of the ramp (level, straight descent in ln t, lower level) that is nearest to the mean loss in "
    "least squares over ln t; _error: jackknife over samples; _shift: corners of the straight line through "
    "the middle half of the descent, minus these"
)

_ABOUT = {
    "t1": "end of the first level, begin of the descent",
    "t2": "end of the descent, begin of the last level",
    "slope": "dL/d ln t of the descent",
    "level_start": "loss before t1",
    "level_end": "loss after t2",
}


class _Curve(NamedTuple):
    """Cells of a loss: ln t, mean loss, width in ln t."""

    x: Array
    loss: Array
    width: Array


def regimes(loss: xr.Dataset | xr.DataArray, *, least: float = 0.1, bottom: float = 0.2) -> xr.Dataset:
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
        t1 and t2 (unit: that of time); slope, dL/d ln t; level_start and level_end. Each with its standard
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
    mean = average(energy).mean if "replica" in energy.dims else energy
    time = mean["time"].to_numpy().astype(float)

    curve = _cells(time, mean.to_numpy())
    ramp = fit_ramp(*curve)
    value, error = jackknife(lambda e: _numbers(fit_ramp(*_cells(time, e))), energy)
    missing = _missing(curve, ramp, least, bottom)
    lost = [name in missing for name in _ABOUT]
    value[lost] = error[lost] = np.nan
    # The error of ln t is the relative one of t.
    value[:2] = np.exp(value[:2])
    error[:2] *= value[:2]
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


def _numbers(ramp: Ramp | None) -> Array:
    """Return ln t₁, ln t₂, slope, first and last level."""
    if ramp is None:
        return np.full(5, np.nan)
    return np.array([ramp.begin, ramp.end, _slope(ramp), ramp.high, ramp.low])


def _slope(ramp: Ramp) -> float:
    return (ramp.low - ramp.high) / (ramp.end - ramp.begin)


def _extended(curve: _Curve, ramp: Ramp | None) -> Array:
    """Return ln t₁ and ln t₂ where the line through the middle half of the descent meets the levels."""
    if ramp is None:
        return np.full(2, np.nan)
    quarter = (ramp.end - ramp.begin) / 4
    middle = np.abs(curve.x - (ramp.begin + ramp.end) / 2) <= quarter
    slope, at, height = line(curve.x, curve.loss, middle)
    if not (middle.sum() >= _POINTS and slope < 0):
        return np.full(2, np.nan)
    return np.array([at + (level - height) / slope for level in (ramp.high, ramp.low)])


def _missing(curve: _Curve, ramp: Ramp | None, least: float, bottom: float) -> dict[str, str]:
    """Say which numbers there are not, and why."""
    if curve.x.size < 2 * _POINTS:
        return dict.fromkeys(_ABOUT, "too few times")
    if ramp is None or ramp.high - ramp.low < least * abs(ramp.high):
        return dict.fromkeys(_ABOUT, f"the loss does not fall by {least:.0%}")
    if ramp.unexplained > _UNEXPLAINED:
        return dict.fromkeys(_ABOUT, "no descent that stands out of the other changes of the loss")
    missing: dict[str, str] = {}
    if not _is_level(curve, ramp, before=True):
        missing |= dict.fromkeys(("t1", "level_start"), "the loss descends from the first times on")
    if not _is_level(curve, ramp, before=False):
        missing |= dict.fromkeys(("t2", "level_end"), "the loss has not come to a last level")
    elif ramp.low > bottom * ramp.high:
        missing["t2"] = f"the last level is {ramp.low / ramp.high:.0%} of the first, not the bottom"
    return missing


def _is_level(curve: _Curve, ramp: Ramp, before: bool) -> bool:
    """Say whether the curve before or after the descent is long and flat enough to be called a level."""
    part = curve.x <= ramp.begin if before else curve.x >= ramp.end
    length = ramp.begin - curve.x[0] if before else curve.x[-1] - ramp.end
    if part.sum() < _POINTS or length < math.log(_LEVEL):
        return False
    slope, _, _ = line(curve.x, curve.loss, part)
    return bool(abs(slope) <= _FLAT * abs(_slope(ramp)))


def _report(
    mean: xr.DataArray, value: Array, error: Array, shift: Array, missing: Mapping[str, str]
) -> xr.Dataset:
    unit, loss_unit = (str(v.attrs.get("units", "1")) for v in (mean["time"], mean))
    about = {
        name: {"long_name": meaning, "units": unit if name in ("t1", "t2") else loss_unit}
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
