r"""Training by stochastic gradient descent has three regimes; the times t₁, t₂ between them are found here.

Over-parametrised networks explore at first, and the loss hardly changes; between t₁ and t₂ it falls about as
the logarithm of time; after t₂ it stays low, and the weights diffuse at the bottom of the landscape
(Baity-Jesi et al. 2018, arXiv:1803.06969). Here t₁ and t₂ are the corners of the ramp "level, straight
descent in ln t, lower level" that is nearest to the mean loss L(t) in least squares over ln t. Where the
descent is clearly in two parts, fast and slow, it is given a knee: t₂ is then the end of the slow part.

That is one definition of a corner. Others (`corners`) give other times; how far these lie apart is a
systematic error, which no number of samples makes smaller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import xarray as xr

from ..fits.regression import line, shares
from ..pairs import ordered, require_dimensions
from ..statistics import Array, jackknife, replica_mean, sample_count, tabulate
from ..sufficiency import too_few
from .corners import Course, Piece, extended, in_log_loss, of_collapse, sharpest
from .ramps import KneedRamp, Ramp, fit_kneed_ramp, fit_ramp

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

#: If definitions of a corner differ by more than this factor, it is given as a range, and no number.
VAGUE = 1.5

METHOD = (
    "corners of the ramp (level, straight descent in ln t, lower level) that is nearest to the mean loss in "
    "least squares over ln t, its descent with a knee where that explains much more; _error: jackknife over "
    "samples; _by: by several definitions; _low, _high: their range, and half the spacing of times; _shift: "
    "corners of the straight line through the middle half of the descent, minus these"
)

#: Names of the definitions of the corners → the definitions.
DEFINITIONS = {
    "ramp": "corner of the nearest ramp; the one that is quoted",
    "line": "the line through the middle half of the descent meets the level",
    "bend": "largest curvature of the loss against ln t",
    "log_loss": "corner of the logarithm of the loss",
    "collapse": "msd over gradient noise is one curve from here on",
    "other_knee": "corner of the ramp with a knee where none was taken, or without, if samples do not agree",
}

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
        t1_by and t2_by have the corner by every `definition` of `DEFINITIONS`, NaN where one has none; t1_low
        and t1_high (t2_…) are the range of these, widened by half the spacing of times: the systematic error.
        Where high/low exceeds `VAGUE` there is no such time to speak of, only a range. The attribute
        `knee_agreement` is the part of the jackknife that decides on the knee as all samples together.
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
    require_dimensions(energy, "time")
    energy = ordered(energy, "time")
    mean = replica_mean(energy)
    time = mean["time"].to_numpy().astype(float)
    curve = _cells(time, mean.to_numpy())
    ramp: Ramp | KneedRamp | None = fit_ramp(*curve)
    # A knee is looked for everywhere once, then near the place where it was found.
    near = fit_kneed_ramp(*curve) if ramp is not None and ramp.unexplained >= _POOR else None
    ramp = _nearest(curve, near)

    settled: list[bool] = []

    def again(values: Array) -> Array:
        # Knee or not was decided for the mean of all; that samples decide alike is watched.
        part = _cells(time, values)
        nearest = _nearest(part, near)
        settled.append(isinstance(nearest, KneedRamp) == isinstance(ramp, KneedRamp))
        if not settled[-1]:
            kneed = isinstance(ramp, KneedRamp)
            nearest = fit_kneed_ramp(*part, near=near) if kneed else fit_ramp(*part)
        return _numbers(nearest)

    value, error = jackknife(again, energy)
    other = None if all(settled) else fit_ramp(*curve) if isinstance(ramp, KneedRamp) else near
    missing = _missing(curve, ramp, least, bottom)
    lost = [name in missing for name in _ABOUT]
    value[lost] = error[lost] = np.nan
    # The error of ln t is the relative one of t.
    times = [name in _TIMES for name in _ABOUT]
    value[times] = np.exp(value[times])
    error[times] *= value[times]
    by = _by_definition(loss, curve, ramp, other)
    by[lost[:2]] = np.nan
    ends = np.exp(np.array([_range(curve, corners) for corners in by]))
    shift = value[:2] * np.expm1(by[:, 1] - np.log(value[:2]))
    table = _report(mean, value, error, shift, missing)
    table = _with_definitions(table, np.exp(by), ends, float(np.mean(settled)))
    return table.assign_attrs(samples=sample_count(energy))


def _cells(time: Array, loss: Array) -> Course:
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
    return Course(x, loss, shares(x) if x.size > 1 else np.ones(x.size))


def _nearest(curve: Course, near: KneedRamp | None) -> Ramp | KneedRamp | None:
    """Return the nearest ramp; one with a knee, `near` that one, if the descent is clearly in two parts."""
    ramp = fit_ramp(*curve)
    if ramp is None or near is None or ramp.unexplained < _POOR:
        return ramp
    kneed = fit_kneed_ramp(*curve, near=near)
    if kneed is None or kneed.unexplained > ramp.unexplained / _BETTER:
        return ramp
    first = (kneed.high - kneed.height) / (kneed.high - kneed.low)
    return kneed if _PART <= first <= 1 - _PART else ramp


def _numbers(ramp: Ramp | KneedRamp | None) -> Array:
    """Return ln t₁, ln t₂, slope, first and last level, ln t and level of the knee."""
    if ramp is None:
        return np.full(len(_ABOUT), np.nan)
    knee = (ramp.knee, ramp.height) if isinstance(ramp, KneedRamp) else (np.nan, np.nan)
    return np.array([ramp.begin, ramp.end, _piece(ramp, before=True).slope, ramp.high, ramp.low, *knee])


def _piece(ramp: Ramp | KneedRamp, before: bool) -> Piece:
    """Return the part of the descent that begins at t₁, or that ends at t₂; without a knee, all of it."""
    if isinstance(ramp, Ramp):
        return Piece(ramp.begin, ramp.end, ramp.high, ramp.low)
    if before:
        return Piece(ramp.begin, ramp.knee, ramp.high, ramp.height)
    return Piece(ramp.knee, ramp.end, ramp.height, ramp.low)


def _by_definition(
    loss: xr.Dataset | xr.DataArray,
    curve: Course,
    ramp: Ramp | KneedRamp | None,
    other: Ramp | KneedRamp | None,
) -> Array:
    """Return ln t₁ and ln t₂ by each of `DEFINITIONS`, shape (2, definitions); NaN where one has none."""
    corners = np.full((2, len(DEFINITIONS)), np.nan)
    if ramp is None:
        return corners
    collapse = float(np.clip(ramp.end, *of_collapse(loss))) if isinstance(loss, xr.Dataset) else np.nan
    levels = (ramp.high, ramp.low)
    for k, first in enumerate((True, False)):
        piece = _piece(ramp, before=first)
        corner = (ramp.begin, ramp.end)[k]
        beside = np.nan if other is None else (other.begin, other.end)[k]
        others = (
            extended(curve, piece, first),
            sharpest(curve, piece, first),
            in_log_loss(curve, levels, first),
        )
        corners[k] = corner, *others, np.nan if first else collapse, beside
    return corners


def _range(curve: Course, corners: Array) -> tuple[float, float]:
    """Return the range of ln t of the definitions, widened by half the spacing of times at the first one."""
    if not np.isfinite(corners[0]) or curve.x.size < 2:
        return np.nan, np.nan
    place = np.clip(np.searchsorted(curve.x, corners[0]), 1, curve.x.size - 1)
    half = float(curve.x[place] - curve.x[place - 1]) / 2
    return float(np.nanmin(corners)) - half, float(np.nanmax(corners)) + half


def _missing(curve: Course, ramp: Ramp | KneedRamp | None, least: float, bottom: float) -> dict[str, str]:
    """Return the names of the numbers that do not exist, and the reasons."""
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


def _is_level(curve: Course, ramp: Ramp | KneedRamp, before: bool) -> bool:
    """Say whether the curve before or after the descent is long and flat enough to be called a level."""
    part = curve.x <= ramp.begin if before else curve.x >= ramp.end
    length = ramp.begin - curve.x[0] if before else curve.x[-1] - ramp.end
    if part.sum() < _POINTS or length < math.log(_LEVEL):
        return False
    slope, _, _ = line(curve.x, curve.loss, part)
    return bool(abs(slope) <= _FLAT * abs(_piece(ramp, before).slope))


def _report(
    mean: xr.DataArray, value: Array, error: Array, shift: Array, missing: Mapping[str, str]
) -> xr.Dataset:
    unit, loss_unit = (str(v.attrs.get("units", "1")) for v in (mean["time"], mean))
    about = {
        name: {"long_name": meaning, "units": unit if name in _TIMES else loss_unit}
        for name, meaning in _ABOUT.items()
    }
    scalar = mean.isel(time=0, drop=True)
    table = tabulate({name: (value[k], error[k]) for k, name in enumerate(_ABOUT)}, scalar, about)
    for name in _ABOUT:
        table[f"{name}_error"].attrs["units"] = about[name]["units"]
        if name in missing:
            table[name].attrs["reason"] = missing[name]
    for name, moved in zip(("t1", "t2"), shift, strict=True):
        attributes = {"long_name": f"systematic error of {name}", "units": unit}
        table[f"{name}_shift"] = ((), moved, attributes)
    table.attrs["method"] = METHOD
    return table


def _with_definitions(table: xr.Dataset, by: Array, ends: Array, settled: float) -> xr.Dataset:
    """Add t₁ and t₂ by every definition, their ranges, and how far samples agree on the knee."""
    words = {"long_name": "; ".join(map(": ".join, DEFINITIONS.items()))}
    table = table.assign_coords(definition=("definition", list(DEFINITIONS), words))
    for k, name in enumerate(("t1", "t2")):
        unit = table[name].attrs["units"]
        about = {"long_name": f"{name} by definition", "units": unit}
        table[f"{name}_by"] = ("definition", by[k], about)
        for end, value in zip(("low", "high"), ends[k], strict=True):
            label = f"{'smallest' if end == 'low' else 'largest'} {name} of all definitions"
            table[f"{name}_{end}"] = ((), value, {"long_name": label, "units": unit})
        table[name].attrs["definition"] = DEFINITIONS["ramp"]
    return table.assign_attrs(knee_agreement=settled)


def time_in_words(times: xr.Dataset, name: str) -> str:
    """Return t1 or t2 of `regimes` in words: the number, its errors; only its range, if it is no number.

    It is none where definitions differ by more than `VAGUE`, or the statistical error exceeds half of it.
    """
    if "reason" in times[name].attrs:
        return f"none: {times[name].attrs['reason']}"
    t, error, low, high = (float(times[f"{name}{kind}"]) for kind in ("", "_error", "_low", "_high"))
    samples = int(times.attrs["samples"])
    ends = f"{low:.3g} to {high:.3g} between definitions"
    if not is_number(times, name):
        return f"{ends}, no single number"
    statistical = [too_few(name, samples) or f"± {error:.2g} statistical"] * bool(np.isfinite(error))
    return f"{t:.4g} ({', '.join([*statistical, ends])}: systematic)"


def is_number(times: xr.Dataset, name: str) -> bool:
    """Say whether t1 or t2 of `regimes` is a number, and not a range only."""
    t, error, low, high = (float(times[f"{name}{kind}"]) for kind in ("", "_error", "_low", "_high"))
    return bool(np.isfinite(t) and high <= VAGUE * low and not error > t / 2)
