"""Averages over replicas and samples are taken here, with their standard errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

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
        degrees of freedom (`interval`).
    """
    alone, dim = independent(values)
    mean, known = alone.mean(dim, keep_attrs=True), alone.count(dim)
    # Points that nothing has reached have no samples at all, and say nothing of the others.
    counts = known.to_numpy()[known.to_numpy() > 0]
    samples = int(counts.min()) if counts.size else alone.sizes[dim]
    if alone.sizes[dim] == 1:
        return Estimate(mean, xr.full_like(mean, np.nan).assign_attrs(samples=1))
    error = alone.std(dim, ddof=1) / np.sqrt(known.where(known > 1))
    return Estimate(mean, error.assign_attrs(samples=samples))


def replica_mean(values: xr.DataArray) -> xr.DataArray:
    """Return the average over replicas; the values themselves where there is no dimension replica."""
    return average(values).mean if "replica" in values.dims else values


def sample_count(values: xr.DataArray) -> int:
    """Return the number of independent samples, as `average` counts them; 1 without the dimension replica."""
    return int(average(values).error.attrs["samples"]) if "replica" in values.dims else 1


def independent(values: xr.DataArray) -> tuple[xr.DataArray, str]:
    """Return the values that are independent of each other, and the dimension that counts them."""
    # Where every replica has a sample of its own there is nothing to group, which is slow.
    if "sample" in values.coords and 1 < np.unique(values["sample"]).size < values.sizes["replica"]:
        return values.groupby("sample").mean("replica"), "sample"
    return values, "replica"


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
        `average`: replicas of one sample count once.
    """
    alone = [independent(v if "replica" in v.dims else v.expand_dims("replica")) for v in values]
    arrays = [v.transpose(dim, ...).to_numpy() for v, dim in alone]
    counts = {a.shape[0] for a in arrays}
    if len(counts) > 1:
        raise ValueError(f"independent samples: {sorted(counts)}; needed: the same number in all arguments")
    n = counts.pop()
    known = [np.isfinite(a).sum(0) for a in arrays]
    total = [np.nansum(a, 0) for a in arrays]

    def without(k: int) -> Array:
        parts = zip(arrays, total, known, strict=True)
        rest = (_ratio(t - np.nan_to_num(a[k]), c - np.isfinite(a[k])) for a, t, c in parts)
        return np.asarray(function(*rest))

    value = np.asarray(function(*(_ratio(t, c) for t, c in zip(total, known, strict=True))), dtype=float)
    if n == 1:
        return value, np.full_like(value, np.nan)
    left_out = np.array([without(k) for k in range(n)])
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
        The same seed, the same resamples.
    """
    alone, dim = independent(values if "replica" in values.dims else values.expand_dims("replica"))
    array = np.asarray(alone.transpose(dim, ...).to_numpy(), dtype=float)
    n, shape = array.shape[0], array.shape[1:]
    flat = array.reshape(n, -1)
    known = np.isfinite(flat)
    filled = np.where(known, flat, 0.0)
    alike = bool((known == known[0]).all())

    def averages(weight: Array) -> Array:
        count = np.outer(weight.sum(1), known[0]) if alike else weight @ known
        return _ratio(weight @ filled, count).reshape(-1, *shape)

    value = np.asarray(function(averages(np.ones((1, n)))))
    if n == 1:
        return Resampled(value[0], np.empty((0, *value.shape[1:])), n)
    rng = np.random.default_rng(seed)
    weight = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    at_once = max(1, _HELD // max(flat.shape[1], 1))
    again = [function(averages(weight[k : k + at_once])) for k in range(0, resamples, at_once)]
    return Resampled(value[0], np.concatenate(again), n)


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
