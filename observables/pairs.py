"""Values at pairs of times are looked up, checked and ordered here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from . import pieces
from .statistics import Array

#: A time given is a time stored if the two differ by no more than this part of the time. It lets decimals be
#: typed; between times that lie close together the part of their distance counts.
ROUNDING = 1e-9
#: The part of the distance to the next stored time, and of the lag.
APART = 1e-6
#: Floating-point spacings by which sums of times may be off.
SPACINGS = 4


class StoredTimes:
    """Times at which something is stored, in any order, and where each stands.

    Parameters
    ----------
    times : array_like, shape (times,)
    name : str
        Name of the times in messages.

    Raises
    ------
    ValueError
        If they are not finite, or one stands there twice.
    """

    def __init__(self, times: Any, name: str = "time") -> None:
        given = np.asarray(times, dtype=float)
        self._order = np.argsort(given, kind="stable")
        self.sorted: Array = given[self._order]
        if not np.isfinite(self.sorted).all():
            raise ValueError(f"{name}: must hold finite values")
        gaps = np.diff(self.sorted)
        if (gaps == 0).any():
            twice = self.sorted[int(np.argmin(gaps))]
            raise ValueError(f"{name} = {float(twice)!r} stands there twice; needed: every {name} once")

    def index(self, t: float, lag: float = np.inf) -> int | None:
        """Return where a time stands, to rounding; None if it is not there.

        Parameters
        ----------
        t : float
        lag : float
            Since another time, if only their difference counts: rounding is then a part of it.
        """
        if not (self.sorted.size and np.isfinite(t)):
            return None
        k = int(np.searchsorted(self.sorted, t))
        near = min(
            (i for i in (k - 1, k) if 0 <= i < self.sorted.size), key=lambda i: abs(self.sorted[i] - t)
        )
        around = self.sorted[max(near - 1, 0) : near + 2]
        allowed = slack(around)[min(near, 1)]
        allowed = min(allowed, max(APART * lag, SPACINGS * float(np.spacing(abs(t)))))
        return int(self._order[near]) if abs(self.sorted[near] - t) <= allowed else None


def slack(times: Array) -> Array:
    """Return how far from each of ascending times another one is still the same: rounding of decimals.

    A part of the time itself, but never more than a small part of the distance to the next: times may lie
    close together, late.
    """
    wide = np.concatenate([[np.inf], np.diff(times), [np.inf]])
    apart = np.minimum(wide[:-1], wide[1:])
    typed = np.minimum(ROUNDING * np.abs(times), APART * apart)
    return np.asarray(np.maximum(typed, SPACINGS * np.spacing(np.abs(times))))


def time_axis(stored: xr.DataArray) -> str:
    """Return the name of the dimension that holds the times at which something is stored.

    Of configurations and sketches it is configuration_time, in files of earlier versions time, which they
    shared with the energy.

    Raises
    ------
    ValueError
        If there is no such dimension.
    """
    named = [str(dim) for dim in stored.dims if str(dim) == "time" or str(dim).endswith("_time")]
    if len(named) != 1:
        raise ValueError(f"dimensions {stored.dims}: needed: one of times, such as configuration_time")
    return named[0]


def ordered(values: xr.DataArray, dim: str) -> xr.DataArray:
    """Return values with the times along a dimension ascending.

    Raises
    ------
    ValueError
        If one of the times is not finite, or stands there twice.
    """
    times = values[dim].to_numpy()
    StoredTimes(times, dim)
    return values if (np.diff(times) > 0).all() else values.sortby(dim)


def over_pairs(
    stored: xr.DataArray,
    waiting_times: Any,
    lags: Any,
    pair: Callable[[Array, Array], Array],
    name: str,
    further: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Take a function of the arrays stored at t_w and at t_w + t, for every pair of times.

    Parameters
    ----------
    stored : DataArray
        Dimensions replica, one of times (`time_axis`) and one more; may be lazy: two times are held at once,
        of some replicas if all have more than `pieces.HELD` bytes. Times in any order. Of Dask, the result
        is, too, with the same bits: `pieces.HELD` bytes of waiting times are held, and the rest goes by.
    waiting_times, lags : array_like, shape (waiting_time,) and (lag,)
    pair : callable
        Two arrays of shape (R, size), at t_w and at t_w + t → shape (R, …).
    name : str
        Name of the result.
    further : mapping, optional
        Further dimensions of the result, in the order of the axes that `pair` returns → their coordinates.

    Returns
    -------
    DataArray
        Dimensions replica, waiting_time, lag, …; NaN where t_w or t_w + t was not stored. A stored time is
        t_w + t if it is so to rounding of the lag t, not only of the time.

    Raises
    ------
    ValueError
        If a stored time is not finite, or stands there twice.
    """
    axis = time_axis(stored)
    x = stored.transpose(axis, "replica", ...)
    further = {} if further is None else further
    times = StoredTimes(x[axis].to_numpy(), axis)
    waiting, lag = np.asarray(waiting_times, dtype=float), np.asarray(lags, dtype=float)
    grid = PairGrid(times, waiting, lag)
    shape = (x.sizes["replica"], waiting.size, lag.size, *map(len, further.values()))
    if pieces.is_chunked(x):
        from .lazy_pairs import over_blocks

        out = over_blocks(x.data, grid, pair, shape)
    else:
        out = np.full(shape, np.nan)
        for part in _replicas(x):
            for i, first, later in grid:
                reference = x[first, part].to_numpy()
                for j, last in later:
                    out[part, i, j] = pair(reference, x[last, part].to_numpy())
    coordinates = {"replica": x["replica"], "waiting_time": waiting, "lag": lag, **further}
    return xr.DataArray(out, coordinates, ("replica", "waiting_time", "lag", *further), name)


class PairGrid:
    """Which stored times are t_w and t_w + t: iterates over waiting times, with all their later times.

    Yields
    ------
    int
        Place of the waiting time among those that are asked for.
    int
        Where it is stored.
    list of (int, int)
        Place of each lag, and where t_w + t is stored; only lags with one.
    """

    def __init__(self, times: StoredTimes, waiting: Array, lag: Array) -> None:
        self._times, self._waiting, self._lag = times, waiting, lag

    def __iter__(self) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
        """Iterate over the waiting times that are stored."""
        for i, start in enumerate(self._waiting):
            first = self._times.index(start)
            if first is None:
                continue
            places = [self._times.index(start + t, abs(t)) for t in self._lag]
            yield i, first, [(j, last) for j, last in enumerate(places) if last is not None]


def _replicas(x: xr.DataArray) -> list[slice]:
    """Return parts of the replicas whose configurations at one time are read together."""
    if not x.size or not pieces.is_large(x[0]):
        return [slice(None)]
    return pieces.slices(x.sizes["replica"], x[0, 0].nbytes)


def index_of(times: Array, t: float) -> int | None:
    """Return the index of `t` in `times`, in any order, to rounding; None if it is not there.

    Raises
    ------
    ValueError
        If one of the times is not finite, or stands there twice.
    """
    return StoredTimes(times).index(t)


def require_dimensions(values: xr.DataArray, *needed: str, of: str = "") -> None:
    """Raise ValueError unless values have the dimensions that are needed, replica or not, and no others."""
    if not set(needed) <= set(values.dims) <= {*needed, "replica"}:
        raise ValueError(f"dimensions {values.dims}{of}: needed: {', '.join(needed)}, and replica or not")


def positive_lags(values: xr.DataArray) -> xr.DataArray:
    """Return values at lags > 0, ascending; dimensions waiting_time and lag last, replica before them."""
    values = ordered(values, "lag")
    return values.sel(lag=values["lag"] > 0).transpose(..., "waiting_time", "lag")


def lag_last(*values: xr.DataArray) -> list[xr.DataArray]:
    """Return values of the same axes in one order of dimensions: replica, others, lag, which ascends."""
    others = [d for d in values[0].dims if d not in ("replica", "lag")]
    first = ["replica"] if "replica" in values[0].dims else []
    return [ordered(v, "lag").transpose(*first, *others, "lag") for v in values]


def check_same_axes(first: xr.DataArray, second: xr.DataArray, names: tuple[str, str]) -> None:
    """Refuse two quantities, of these names, that are not of the same pairs of times.

    Raises
    ------
    ValueError
        If their dimensions differ or lag is not among them, or a coordinate differs.
    """
    if set(first.dims) != set(second.dims) or "lag" not in first.dims:
        raise ValueError(
            f"dimensions {first.dims} of the {names[0]} and {second.dims} of the {names[1]}: must be the "
            "same, lag among them"
        )
    check_coordinates(first, second, names)


def check_coordinates(first: xr.DataArray, second: xr.DataArray, names: tuple[str, str]) -> None:
    """Raise ValueError if a coordinate along a dimension of the second quantity differs from the first's."""
    for dim in second.dims:
        if not np.array_equal(first[dim], second[dim]):
            raise ValueError(f"coordinate {dim!r} differs between {names[0]} and {names[1]}")
