"""Averages over replicas and samples are taken here, with their standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from . import pieces

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Estimate(NamedTuple):
    """A mean and its standard error (NaN where there is a single independent value)."""

    mean: xr.DataArray
    error: xr.DataArray


def interval(
    value: ArrayLike, error: ArrayLike, degrees: ArrayLike, confidence: float
) -> tuple[Array, Array]:
    """Return the ends of the interval value ± t·error, t the quantile of Student's distribution.

    Parameters
    ----------
    value, error : array_like
    degrees : array_like
        Degrees of freedom from which the error was estimated: n − 1 for a mean of n; inf where it is known.
    confidence : float
        Confidence of the two-sided interval, such as 0.95.
    """
    check_confidence(confidence)
    from scipy.special import stdtrit

    reach = stdtrit(np.asarray(degrees, dtype=float), (1 + confidence) / 2) * np.asarray(error, dtype=float)
    return np.asarray(value - reach), np.asarray(value + reach)


def check_confidence(confidence: float) -> None:
    """Raise ValueError for the confidence of an interval that is not between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: must be between 0 and 1")


def average(values: xr.DataArray) -> Estimate:
    """Average over replicas.

    Replicas of one quenched sample share its disorder and are not independent: the mean of each sample
    is one value, and the standard error is that of the samples' means. With a single sample the error is
    over its replicas, that is, for this sample only.

    Parameters
    ----------
    values : DataArray
        With dimension replica, and coordinate sample(replica) where samples are known.

    Returns
    -------
    Estimate
        The attribute `samples` of the error is the number n of independent values, the smallest of all
        points that have any (values may be NaN); its interval is that of Student's distribution with n − 1
        degrees of freedom (`interval`). Of Dask, mean and error are, too, to rounding; for `samples` alone
        all values are looked at once, in pieces. Values in a file are averaged piece by piece.
    """
    dim, cuts = pieces.in_pieces(values, ("replica",))
    if len(cuts) > 1 and not pieces.is_chunked(values):
        parts = [_average(values.isel({dim: cut})) for cut in cuts]
        known = [fewest for _, _, fewest in parts if fewest]
        mean = xr.concat([mean for mean, _, _ in parts], str(dim))
        error = xr.concat([error for _, error, _ in parts], str(dim))
        fewest = min(known, default=0)
    else:
        mean, error, fewest = _average(values)
    return Estimate(mean, error.assign_attrs(samples=fewest or _units(values)))


def _average(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray, int]:
    """Return mean, error and the smallest number of independent values at a point; 0: no point has any."""
    alone, dim = independent(values)
    mean = alone.mean(dim, keep_attrs=True)
    if alone.sizes[dim] == 1:
        return mean, xr.full_like(mean, np.nan), 1
    known = alone.count(dim)
    error = alone.std(dim, ddof=1) / np.sqrt(known.where(known > 1))
    return mean, error, _fewest(known)


def _fewest(known: xr.DataArray) -> int:
    """Return the smallest count but 0; 0 if there is no other."""
    # Points that nothing has reached have no samples at all, and say nothing of the others.
    if pieces.is_chunked(known):
        least = float(known.where(known > 0).min())
        return int(least) if np.isfinite(least) else 0
    counts = known.to_numpy()[known.to_numpy() > 0]
    return int(counts.min()) if counts.size else 0


def _units(values: xr.DataArray) -> int:
    """Return how many independent values there may be at a point."""
    alone, dim = independent(values.isel({d: 0 for d in values.dims if d != "replica" and values.sizes[d]}))
    return alone.sizes[dim]


def replica_mean(values: xr.DataArray) -> xr.DataArray:
    """Return the average over replicas; the values themselves where there is no dimension replica."""
    if "replica" not in values.dims:
        return values
    if pieces.is_chunked(values):
        # Without the counting, which reads everything.
        alone, dim = independent(values)
        return alone.mean(dim, keep_attrs=True)
    return average(values).mean


def sample_count(values: xr.DataArray) -> int:
    """Return the number of independent samples, as `average` counts them; 1 without the dimension replica."""
    return int(average(values).error.attrs["samples"]) if "replica" in values.dims else 1


def independent(values: xr.DataArray) -> tuple[xr.DataArray, str]:
    """Return the values that are independent of each other, and the dimension that counts them."""
    # Where every replica has a sample of its own there is nothing to group, which is slow.
    if "sample" in values.coords and 1 < np.unique(values["sample"]).size < values.sizes["replica"]:
        if pieces.is_chunked(values) and len(values.chunksizes["replica"]) == 1:
            return _sample_means(values), "sample"
        return values.groupby("sample").mean("replica"), "sample"
    return values, "replica"


def _sample_means(values: xr.DataArray) -> xr.DataArray:
    """Return the mean of each sample, of a Dask array that holds all replicas in each chunk.

    A task for each chunk: `groupby` makes one for each sample of each.
    """
    labels = values["sample"].to_numpy()
    samples = np.unique(labels)

    def means(block: Array) -> Array:
        groups = [block[..., labels == label] for label in samples]
        return np.stack([_ratio(np.nansum(g, -1), (~np.isnan(g)).sum(-1)) for g in groups], axis=-1)

    of_samples: xr.DataArray = xr.apply_ufunc(
        means,
        values,
        input_core_dims=[["replica"]],
        output_core_dims=[["sample"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"sample": samples.size}},
        keep_attrs=True,
    )
    dims = ["sample" if dim == "replica" else dim for dim in values.dims]
    return of_samples.assign_coords(sample=samples).transpose(*dims)


def jackknife(function: Callable[..., Any], *values: xr.DataArray) -> tuple[Array, Array]:
    r"""Return a function of averages, and its standard error by leaving out each sample in turn.

    A function g of averages, such as a ratio or a fit, is not the average of the function: g is taken of
    the averages over all samples, which is off by O(1/n), and not of each sample. With g₍ₖ₎ its value without
    sample k, the squared error is (n − 1)/n Σ_k (g₍ₖ₎ − mean of g₍ₖ₎)²; for a linear g this is the error of
    `average` (Efron 1982, The jackknife, the bootstrap and other resampling plans, ch. 3).

    Parameters
    ----------
    function : callable
        Takes arrays without the dimension replica, one for each of `values`, and returns an array; its
        windows and other choices must not depend on these arrays.
    values : DataArray
        With dimension replica (without it, the error is NaN), of the same samples.

    Returns
    -------
    ndarray, ndarray
        Value and error; the error is NaN where there is a single independent value. Samples are those of
        `average`: replicas of one sample count once. Values that are large (`pieces.is_large`) are read
        twice, some samples at a time: the same to rounding. Averages are held whole.
    """
    alone = [independent(v if "replica" in v.dims else v.expand_dims("replica")) for v in values]
    rows = [v.transpose(dim, ...) for v, dim in alone]
    counts = {row.shape[0] for row in rows}
    if len(counts) > 1:
        raise ValueError(f"independent samples: {sorted(counts)}; needed: the same number in all arguments")
    n, stored = counts.pop(), pieces.Rows(*rows)
    blocks = iter(stored)
    sums = [(np.isfinite(a).sum(0), np.nansum(a, 0)) for a in next(blocks)]
    for arrays in blocks:
        more = ((np.isfinite(a).sum(0), np.nansum(a, 0)) for a in arrays)
        sums = [(c + further, t + rest) for (c, t), (further, rest) in zip(sums, more, strict=True)]

    def without(arrays: Sequence[Array], k: int) -> Array:
        parts = zip(arrays, sums, strict=True)
        rest = (_ratio(t - np.nan_to_num(a[k]), c - np.isfinite(a[k])) for a, (c, t) in parts)
        return np.asarray(function(*rest))

    value = np.asarray(function(*(_ratio(t, c) for c, t in sums)), dtype=float)
    if n == 1:
        return value, np.full_like(value, np.nan)
    left_out = np.array([without(arrays, k) for arrays in stored for k in range(len(arrays[0]))])
    return value, jackknife_error(left_out)


def jackknife_error(left_out: Array) -> Array:
    """Return the standard error from values without each of n samples in turn, shape (n, ...)."""
    n = len(left_out)
    return np.asarray(np.sqrt((n - 1) / n * np.sum((left_out - left_out.mean(0)) ** 2, 0)))


class Resampled(NamedTuple):
    """A function of averages, and the same of averages over samples drawn with replacement.

    Attributes
    ----------
    value : ndarray, shape (...)
        The function of the averages over all samples.
    again : ndarray, shape (resamples, ...)
        The same of the resamples; none if there is a single independent value. NaN where the function has no
        value.
    samples : int
        Independent values, n.
    """

    value: Array
    again: Array
    samples: int

    def apply(self, function: Callable[[Array], Array]) -> Resampled:
        """Return a function of each of these; it takes and returns a leading axis of resamples."""
        return Resampled(function(self.value[None])[0], function(self.again), self.samples)

    def share(self) -> Array:
        """Return the part of the resamples with a value; 1 or 0 of the value itself if there are none."""
        known = np.isfinite(self.again if len(self.again) else self.value[None])
        return np.asarray(known.mean(0))

    def error(self) -> Array:
        """Return the standard error: the deviation of the resamples, times √(n/(n − 1)); NaN where unknown.

        Resamples without a value do not count. The factor makes the variance of a mean unbiased.
        """
        known = np.isfinite(self.again)
        count = known.sum(0)
        mean = _ratio(np.where(known, self.again, 0.0).sum(0), count)
        squares = np.where(known, self.again - mean, 0.0) ** 2
        variance = _ratio(squares.sum(0), np.maximum(count - 1, 0))
        return np.asarray(np.sqrt(variance * self.samples / max(self.samples - 1, 1)))

    def interval(self, confidence: float) -> tuple[Array, Array]:
        """Return the ends of the percentile interval, NaN where unknown.

        Its tails are widened to Φ(−√(n/(n − 1)) t), t the quantile of Student's distribution with n − 1
        degrees of freedom: plain percentiles are too narrow for few samples (Hesterberg 2015, What teachers
        should know about the bootstrap, The American Statistician 69, 371, "expanded percentile interval").
        """
        if not len(self.again):
            return np.full_like(self.value, np.nan), np.full_like(self.value, np.nan)
        from scipy.special import ndtr, stdtrit

        quantile = stdtrit(self.samples - 1, (1 - confidence) / 2)
        tail = float(ndtr(np.sqrt(self.samples / (self.samples - 1)) * quantile))
        # NaN sorts to the end.
        ordered = np.sort(self.again, axis=0)
        last = np.isfinite(self.again).sum(0) - 1

        def percentile(part: float) -> Array:
            at = part * np.maximum(last, 0)
            k = np.floor(at).astype(int)
            below, above = (np.take_along_axis(ordered, i[None], 0)[0] for i in (k, np.minimum(k + 1, last)))
            return np.where(last >= 0, below + (at - k) * (above - below), np.nan)

        return percentile(tail), percentile(1 - tail)


#: Numbers of resampled averages that are held at once.
_HELD = 2**22


def bootstrap(
    function: Callable[[Array], Array], values: xr.DataArray, *, resamples: int = 2000, seed: int = 0
) -> Resampled:
    """Return a function of averages, and the same for samples drawn with replacement.

    For functions that are not smooth in the data, such as the time at which a curve crosses a level, where
    leaving out one sample says little (Efron 1982, chs. 3 and 5), and for intervals.

    Parameters
    ----------
    function : callable
        Takes averages, shape (any number, ...), and returns an array with the same leading axis.
    values : DataArray
        With dimension replica, or without. Samples are those of `average`: replicas of one sample count once.
    resamples : int
    seed : int
        The same seed, the same resamples. Values that are large (`pieces.is_large`) are read some samples at
        a time, again for every 2²² numbers of resampled averages: the same to rounding.
    """
    alone, dim = independent(values if "replica" in values.dims else values.expand_dims("replica"))
    rows = pieces.Rows(alone.transpose(dim, ...))
    n, shape = alone.sizes[dim], alone.transpose(dim, ...).shape[1:]
    averages = _Averages(rows, shape)
    value = np.asarray(function(averages(np.ones((1, n)))))
    if n == 1:
        return Resampled(value[0], np.empty((0, *value.shape[1:])), n)
    rng = np.random.default_rng(seed)
    weight = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    at_once = max(1, _HELD // max(math.prod(shape), 1))
    again = [function(averages(weight[k : k + at_once])) for k in range(0, resamples, at_once)]
    return Resampled(value[0], np.concatenate(again), n)


class _Averages:
    """Averages of weighted rows: takes weights, shape (any number, n), and returns (any number, …).

    Parameters
    ----------
    rows : pieces.Rows
        Of one array.
    shape : tuple of int
        Of a row.
    """

    def __init__(self, rows: pieces.Rows, shape: tuple[int, ...]) -> None:
        self._rows, self._shape = rows, shape
        self._held = self._filled(rows.whole[0]) if rows.whole is not None else None
        self._alike = self._held is not None and bool((self._held[0] == self._held[0][0]).all())

    def _filled(self, array: Any) -> tuple[Mask, Array]:
        """Return where rows are known, and the rows with 0 elsewhere, shape (rows, points)."""
        flat = np.asarray(array, dtype=float).reshape(len(array), -1)
        known = np.isfinite(flat)
        return known, np.where(known, flat, 0.0)

    def __call__(self, weight: Array) -> Array:
        """Return the averages."""
        if self._held is not None:
            known, filled = self._held
            count = np.outer(weight.sum(1), known[0]) if self._alike else weight @ known
            return _ratio(weight @ filled, count).reshape(-1, *self._shape)
        points = math.prod(self._shape)
        total, counted = np.zeros((len(weight), points)), np.zeros((len(weight), points))
        for block, (array,) in zip(self._rows.blocks, self._rows, strict=True):
            known, filled = self._filled(array)
            total += weight[:, block] @ filled
            counted += weight[:, block] @ known
        return _ratio(total, counted).reshape(-1, *self._shape)


def _ratio(total: Array, count: Any) -> Array:
    """Return total/count, NaN where nothing was counted."""
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def tabulate(
    numbers: Mapping[str, Sequence[Array | float | None]],
    like: xr.DataArray,
    about: Mapping[str, Mapping[str, Any] | str],
    samples: int | None = None,
) -> xr.Dataset:
    """Return numbers, their errors and the ends of their intervals on the dimensions of another array.

    Parameters
    ----------
    numbers : mapping
        Name → value and error, which becomes `<name>_error` unless it is None; or these two and the lower and
        the upper end of the interval, `<name>_low` and `<name>_high`.
    like : DataArray
    about : mapping
        Name → attributes of the value, or its long_name; its unit is 1 if they name none.
    samples : int, optional
        Independent samples behind the errors, an attribute of these.
    """
    table = xr.Dataset(coords={d: like[d] for d in like.dims if d in like.coords})
    counted = {} if samples is None else {"samples": samples}
    for name, (value, error, *ends) in numbers.items():
        said = about[name]
        attributes = {"long_name": said} if isinstance(said, str) else said
        table[name] = (like.dims, value, {"units": "1", **attributes})
        if error is not None:
            of_error = {"long_name": f"error of {name}", "units": "1", **counted}
            table[f"{name}_error"] = (like.dims, error, of_error)
        for end, at in zip(("low", "high"), ends, strict=False):
            label = {"long_name": f"{end} end of the interval of {name}", "units": "1"}
            table[f"{name}_{end}"] = (like.dims, at, label)
    return table
