r"""Fluctuations between replicas are measured here: the susceptibility χ₄, the distribution P(q) of overlaps.

With C the correlation of one replica, a mean over N degrees of freedom,

    χ₄(t_w, t) = N [⟨C²⟩ − ⟨C⟩²].

⟨…⟩ over replicas of one sample (the noise, and random starts) gives the thermal part, averaged over samples;
the variance of the sample's own ⟨C⟩ over samples gives the disorder part; their sum is χ₄ of a replica in a
sample of its own. With R replicas in each of n samples, w_s the unbiased variance within sample s and m_s its
mean,

    thermal = N mean(w_s),    disorder = N [n/(n − 1) (mean(m²) − mean(m)²) − mean(w_s/R_s)]:

the variance of the m_s holds w_s/R_s of the thermal one, which is taken off. The disorder part may come out
negative, where it is smaller than its error.

Overlaps of two replicas a ≠ b of one sample at one time, q_ab = (1/N) Σ_i x_i^a x_i^b, have in the sample the
distribution P_J(q); P(q) is its mean over samples. Pairs that share a replica or a sample are not
independent: errors are over samples, each of which has one histogram and one of every moment.

Closed forms. Independent uniform points on the sphere Σ x² = N (the paramagnet, a random start): ⟨q²⟩ = 1/N,
⟨q⁴⟩ = 3/(N(N + 2)). Independent Gaussians of variance s²: ⟨q²⟩ = s⁴/N, ⟨q⁴⟩ = 3(N + 2) s⁸/N³. Gaussian pairs
(x, x′) at two times of variances a, b and covariance c: χ₄ = ⟨x²x′²⟩ − c² = ab + c².
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from . import pieces
from .statistics import Array, average, interval, jackknife_error, tabulate

_ABOUT = {
    "chi4": {"long_name": "dynamical susceptibility, N times the variance of the correlation over replicas"},
    "chi4_thermal": {"long_name": "part of chi4 within a sample"},
    "chi4_disorder": {"long_name": "part of chi4 between samples"},
}
#: Powers of q of which the mean is taken.
MOMENTS = (1, 2, 4)


def dynamical_susceptibility(
    correlation: xr.DataArray, size: int | None = None, *, confidence: float = 0.95
) -> xr.Dataset:
    """Return χ₄(t_w, t) and its parts within and between samples.

    Parameters
    ----------
    correlation : DataArray
        C of each replica; dimension replica and any others, coordinate sample(replica) where samples are
        known. At least two replicas.
    size : int, optional
        N, degrees of freedom; by default the attribute `dof` of the correlation.
    confidence : float
        Confidence of the intervals.

    Returns
    -------
    Dataset
        chi4, chi4_thermal, chi4_disorder, each with its standard error (jackknife over samples, as
        `<name>_error`; of a single sample over its replicas), chi4 and chi4_thermal also with the ends
        of their intervals: variances are positive and skew, so that Student's interval is that of
        their logarithm. Where there is one sample, chi4 is the thermal part, and chi4_disorder NaN; where
        every sample has one replica, the two parts are NaN. A correlation that is large (`pieces.is_large`)
        is taken in pieces, with the same bits.

    References
    ----------
    C. Donati, S. Franz, S. C. Glotzer and G. Parisi, J. Non-Cryst. Solids 307-310, 215 (2002).
    """
    if "replica" not in correlation.dims or correlation.sizes["replica"] < 2:
        raise ValueError("correlation: needed: at least two replicas, along the dimension replica")
    size = correlation.attrs.get("dof") if size is None else size
    if size is None or not size >= 1:
        raise ValueError(f"size = {size}: needed: N ≥ 1, degrees of freedom (or the attribute dof)")
    dim, cuts = pieces.in_pieces(correlation, ("replica",))
    if len(cuts) > 1:
        tables = [
            dynamical_susceptibility(correlation.isel({dim: cut}).compute(), size, confidence=confidence)
            for cut in cuts
        ]
        return xr.concat(tables, str(dim), combine_attrs="override", data_vars="all")
    mean, variance, replicas = _by_sample(correlation)
    count, samples = len(mean), int(np.unique(_labels(correlation)).size)
    like = correlation.isel(replica=0, drop=True)
    numbers: dict[str, tuple[Array, ...]] = {}
    for name, (value, left_out) in _parts(mean, variance, replicas, samples).items():
        numbers[name] = size * value, size * jackknife_error(left_out)
        if name == "chi4_disorder":
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            error = jackknife_error(np.log(left_out))
            ends = np.exp(interval(np.log(size * value), error, max(count - 1, 1), confidence))
        numbers[name] += tuple(ends)
    return tabulate(numbers, like, _ABOUT, count)


def _labels(values: xr.DataArray) -> Any:
    if "sample" in values.coords:
        return values["sample"].to_numpy()
    return np.zeros(values.sizes["replica"], int)


def _by_sample(correlation: xr.DataArray) -> tuple[Array, Array, Array]:
    """Return mean m, variance w, and the number of replicas R of each independent unit (first axis).

    The units of a single sample are its replicas. A common shift changes no variance, and keeps digits.
    """
    values = correlation.transpose("replica", ...)
    centred = (values - values.mean("replica")).to_numpy()
    labels = _labels(correlation)
    samples = np.unique(labels)
    if samples.size in (1, labels.size):
        return centred, np.full(centred.shape, np.nan), np.ones(len(centred))
    groups = [centred[labels == label] for label in samples]
    nothing = np.full(centred.shape[1:], np.nan)
    variance = [g.var(0, ddof=1) if len(g) > 1 else nothing for g in groups]
    return np.array([g.mean(0) for g in groups]), np.array(variance), np.array([len(g) for g in groups])


def _parts(mean: Array, variance: Array, replicas: Array, samples: int) -> dict[str, tuple[Array, Array]]:
    """Return χ₄/N and its parts, of all units, and without each of them in turn (first axis)."""
    n = len(mean)
    every = np.ones((1, n), bool)
    parts = [_variances(mean, variance, replicas, kept) for kept in (every, ~np.eye(n, dtype=bool))]
    (thermal, between), (thermal_left, between_left) = parts
    nothing = between * np.nan, between_left * np.nan
    if samples > 1 and np.isnan(variance).all() and (replicas == 1).all():
        named = {"chi4": (between, between_left), "chi4_thermal": nothing, "chi4_disorder": nothing}
    elif samples == 1:
        whole = between, between_left
        named = {"chi4": whole, "chi4_thermal": whole, "chi4_disorder": nothing}
    else:
        named = {
            "chi4": (between + thermal, between_left + thermal_left),
            "chi4_thermal": (thermal, thermal_left),
            "chi4_disorder": (between, between_left),
        }
    return {name: (value[0], left) for name, (value, left) in named.items()}


def _variances(mean: Array, variance: Array, replicas: Array, kept: Any) -> tuple[Array, Array]:
    """Return the variance within units, and that between them without its thermal part, for rows of units."""
    thermal, between = [], []
    for row in kept:
        m, w, r = mean[row], variance[row], replicas[row]
        known = np.isfinite(w)
        count = known.sum(0)
        total = np.where(known, w, 0.0).sum(0)
        inside = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        spread = m.var(0, ddof=1) if len(m) > 1 else np.full(total.shape, np.nan)
        thermal.append(inside)
        between.append(spread - np.where(count > 0, inside * np.mean(1 / r), 0.0))
    return np.array(thermal), np.array(between)


def overlaps(configuration: xr.DataArray) -> xr.DataArray:
    """Return the overlaps q_ab = (1/N) Σ x_i^a x_i^b of all pairs of replicas of the same sample.

    Parameters
    ----------
    configuration : DataArray
        Dimensions replica and dof, coordinate sample(replica) where samples are known: a stored
        configuration, or a snapshot, at one time.

    Returns
    -------
    DataArray
        Dimension pair, with the coordinates sample, first and second (replica labels). Of Dask if the
        configuration is: degrees of freedom are summed in blocks, the same to rounding. Of a file one sample
        is read at a time.

    Raises
    ------
    ValueError
        If no sample has two replicas.
    """
    if set(configuration.dims) != {"replica", "dof"}:
        raise ValueError(f"dimensions {configuration.dims}: needed: replica and dof, at one time")
    x = configuration.transpose("replica", "dof")
    if not (pieces.is_chunked(x) or pieces.is_large(x)):
        x = x.compute()
    labels = _labels(configuration)
    names = configuration["replica"].to_numpy()
    values: list[Any] = []
    coordinates: dict[str, list[Any]] = {"sample": [], "first": [], "second": []}
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        first, second = np.triu_indices(members.size, 1)
        values.append(_of_sample(x, members, first, second))
        coordinates["sample"].append(np.full(first.size, label))
        coordinates["first"].append(names[members[first]])
        coordinates["second"].append(names[members[second]])
    of_pairs = np.concatenate(values)
    if not of_pairs.size:
        raise ValueError("no sample has two replicas: needed for an overlap")
    along = {name: ("pair", np.concatenate(parts)) for name, parts in coordinates.items()}
    unit = configuration.attrs.get("units", "1")
    about = {"long_name": "overlap of two replicas of a sample", "units": unit}
    return xr.DataArray(of_pairs, along, ("pair",), "overlap", about)


def _of_sample(x: xr.DataArray, members: Any, first: Any, second: Any) -> Any:
    """Return the overlaps of pairs of some rows of x, shape (R, dof); of Dask if x is."""
    if pieces.is_chunked(x):
        return _of_blocks(x.data[members], first, second)
    rows = x[members].to_numpy() if pieces.is_large(x) else x.to_numpy()[members]
    # A copy: of one and the same array the library would make another product, with other bits.
    return (rows @ rows.copy().T / x.shape[1])[first, second]


def _of_blocks(x: Any, first: Any, second: Any) -> Any:
    """Return the overlaps of pairs of the rows of a Dask array, summed over blocks of degrees of freedom."""
    delayed = pieces.dask().delayed
    blocks = pieces.along(x, 1, pieces.nbytes(x.shape[:1], x.dtype.itemsize))
    parts = [delayed(_products)(pieces.source(x[:, block]), first, second) for block in blocks]
    mean = delayed(sum)(parts) / x.shape[1]
    return pieces.dask("dask.array").from_delayed(mean, first.shape, dtype=np.float64)


def _products(source: Any, first: Any, second: Any) -> Array:
    """Return Σ x_i^a x_i^b of pairs over some degrees of freedom."""
    rows = pieces.read(source)
    return np.asarray((rows @ rows.T)[first, second])


def overlap_distribution(pairs: xr.DataArray, *, bins: int | Any = 40) -> xr.Dataset:
    """Return P(q) and its moments, with errors over samples.

    Parameters
    ----------
    pairs : DataArray
        As `overlaps` returns it.
    bins : int or array_like
        Their number, between −m and m, where m is 1 or, if this is larger, the largest |q|; or their edges.

    Returns
    -------
    Dataset
        density(overlap), the histogram, at the centres of the bins (`overlap_low`, `overlap_high`: edges;
        normalised to the pairs inside them), and moment(power), ⟨q⟩, ⟨q²⟩, ⟨q⁴⟩, each with its standard error
        `<name>_error`. Samples count the same, however many replicas they have. A single sample gives P_J(q),
        with the error over its replicas (jackknife: each is left out with all its pairs); NaN for two.
    """
    q = pairs.to_numpy()
    if not np.isfinite(q).all():
        raise ValueError("pairs: must be finite")
    reach = max(1.0, float(np.abs(q).max()))
    edges = np.linspace(-reach, reach, bins + 1) if isinstance(bins, int) else np.asarray(bins, dtype=float)
    if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f"bins = {bins}: must be a number ≥ 1, or ascending edges")
    labels = pairs["sample"].to_numpy()
    samples = np.unique(labels)
    if samples.size > 1:
        rows = xr.DataArray([_statistics(q[labels == s], edges) for s in samples], dims=("replica", "of"))
        (mean, error), count = average(rows), samples.size
        values, errors = mean.to_numpy(), error.to_numpy()
    else:
        first, second = (pairs[n].to_numpy() for n in ("first", "second"))
        names = np.union1d(first, second)
        values, count = _statistics(q, edges), names.size
        kept = [(first != a) & (second != a) for a in names]
        left_out = [_statistics(q[k], edges) for k in kept] if count > 2 else [values * np.nan]
        errors = jackknife_error(np.array(left_out))
    about = {"long_name": "overlap q", "units": "1"}
    low, high = edges[:-1], edges[1:]
    distribution = xr.Dataset(
        coords={"power": list(MOMENTS), "overlap": ("overlap", (high + low) / 2, about)}
    ).assign_coords(overlap_low=("overlap", low), overlap_high=("overlap", high))
    cut = len(MOMENTS)
    for name, dim, part, words in (
        ("moment", "power", slice(None, cut), "mean of a power of the overlap"),
        ("density", "overlap", slice(cut, None), "distribution of overlaps P(q)"),
    ):
        distribution[name] = (dim, values[part], {"long_name": words, "units": "1"})
        of_error: dict[str, Any] = {"long_name": f"error of {name}", "samples": count}
        distribution[f"{name}_error"] = (dim, errors[part], of_error)
    return distribution


def _statistics(q: Array, edges: Array) -> Array:
    """Return the moments and the histogram of overlaps."""
    counts = np.histogram(q, edges)[0]
    density = counts / (max(int(counts.sum()), 1) * np.diff(edges))
    return np.concatenate([[np.mean(q**k) for k in MOMENTS], density])
