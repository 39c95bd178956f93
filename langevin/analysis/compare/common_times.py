"""Results of any systems at common times, so that xarray lays them along a new dimension.

What `langevin.open` gives does not concatenate: times differ, arrays have dimensions that only some systems
have, and the attributes of the first result end up on all of them, such as the asymptote of one model on the
energy of another. Here each result keeps what can be compared. Times are common, and whatever belongs to one
result alone is a variable of it, which gets the new dimension like all others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from langevin.errors import UserError
from langevin.observables.fits.curves import MeasuredCurve, interpolate
from langevin.observables.statistics import Array
from langevin.results import words

from .overlay import Overlay
from .scaled import ScaledCurve, ScaledResult


def on_common_times(found: Overlay, per_decade: int = 10) -> list[xr.Dataset]:
    """Return each result at common times, for `xarray.concat` along a new dimension.

    Times and lags are powers 10^(k/per_decade) on the axes of the overlay, within the range of each curve, by
    monotonic interpolation in the logarithm of time.

    Returns
    -------
    list of Dataset
        One for each result, all with the same coordinates time, waiting_time and lag; values that a result
        does not have are NaN. The scalar coordinate `system` is its name. Attributes are those that all
        share; what belongs to one of them is a variable.

    Raises
    ------
    UserError
        If there are no times in a decade.
    """
    if per_decade < 1:
        raise UserError(f"per_decade = {per_decade}: must be ≥ 1")
    parts = [_part(found, result, per_decade) for result in found.results]
    return list(xr.align(*parts, join="outer"))


def _part(found: Overlay, result: ScaledResult, per_decade: int) -> xr.Dataset:
    """Return one result at its times of the grid."""
    arrays: dict[str, xr.DataArray] = {}
    for quantity in found.quantities:
        curves = result.curves.get(quantity, [])
        if quantity == "energy":
            row = _at_grid(curves[0], "time", per_decade) if curves else _nothing("time")
            value, error = row
        else:
            rows = [_at_grid(curve, "lag", per_decade) for curve in curves] or [_nothing("lag")]
            waiting = xr.Variable("waiting_time", [c.shown_waiting for c in curves] or np.empty(0))
            value, error = (
                xr.concat(column, "waiting_time", join="outer")
                .isel(waiting_time=slice(len(curves)))
                .assign_coords(waiting_time=waiting)
                for column in zip(*rows, strict=True)
            )
        long_name, units = found.meaning(quantity)
        arrays[quantity] = value.assign_attrs(long_name=long_name, units=units)
        arrays[f"{quantity}_error"] = error.assign_attrs(
            long_name=f"standard error of {long_name}", units=units
        )
    # Of arrays with attributes merge would make those of the whole.
    part = xr.merge([array.to_dataset(name=name) for name, array in arrays.items()], join="outer")
    for axis in ("time", "lag", "waiting_time"):
        if axis in part.coords:
            long_name, units = found.meaning(axis)
            part[axis].attrs = {"long_name": long_name, "units": units}
    return part.assign(_scalars(result)).assign_coords(system=words.plain(result.name))


def _scalars(result: ScaledResult) -> dict[str, Any]:
    """Return what belongs to one result alone."""
    way = result.descent
    ends = (math.nan, math.nan, "") if way is None else (way.start, way.limit, way.known_by)
    return {
        "time_unit": ((), result.time_unit, {"long_name": "1 of the axis of time, in the unit of the file"}),
        "energy_start": ((), ends[0], {"long_name": "energy at the first time, in the unit of the file"}),
        "energy_limit": ((), ends[1], {"long_name": "energy that is led to, in the unit of the file"}),
        "energy_limit_from": ((), ends[2], {"long_name": "how energy_limit is known"}),
    }


def _nothing(axis: str) -> tuple[xr.DataArray, xr.DataArray]:
    empty = xr.DataArray(np.empty(0), {axis: np.empty(0)}, axis)
    return empty, empty


def _at_grid(curve: ScaledCurve, axis: str, per_decade: int) -> tuple[xr.DataArray, xr.DataArray]:
    """Return value and error of a curve at the powers of ten in its range; as measured, of two points."""
    x, y, error = curve.x, curve.y, curve.error
    if x.size > 2:
        grid = _grid(x, per_decade)
        y, error = interpolate(MeasuredCurve(x, y, error), grid)[:2]
        x = grid
    value, uncertain = (xr.DataArray(v, {axis: x}, axis) for v in (y, error))
    return value, uncertain


def _grid(x: Array, per_decade: int) -> Array:
    """Return the powers 10^(k/per_decade) in a range: all results get the same numbers."""
    low, high = (per_decade * math.log10(end) for end in (x[0], x[-1]))
    # An end that is a power to rounding counts.
    places = np.arange(math.ceil(low - 1e-7), math.floor(high + 1e-7) + 1)
    # One by one: of arrays the last bits depend on where in them a power stands.
    return np.array([10.0 ** (k / per_decade) for k in places.tolist()])
