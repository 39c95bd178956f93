"""Spectra of the Hessian in a result file are described here: edges, negative directions, trace, density."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from .. import pieces
from ..statistics import Array
from .hessian import density

#: Eigenvalues within this part of the largest modulus count as zero: rounding gives zeros of either sign.
ZERO = 1e-10

#: Points of a broadened density, and the width of its peaks over the span of the values.
POINTS, WIDTH = 400, 0.01


def has_spectrum(dataset: xr.Dataset) -> bool:
    """Return whether the file holds spectra of the Hessian."""
    return "hessian_eigenvalue" in dataset or {"ritz_value", "ritz_weight"} <= set(dataset)


def is_exact(dataset: xr.Dataset) -> bool:
    """Return whether the spectra are all eigenvalues, not Ritz values."""
    return "hessian_eigenvalue" in dataset


def eigenvalues(dataset: xr.Dataset) -> xr.DataArray:
    """Return the eigenvalues of a file, or the Ritz values where it has these."""
    return dataset["hessian_eigenvalue" if is_exact(dataset) else "ritz_value"]


def _cuts(dataset: xr.Dataset) -> list[slice]:
    """Return the times whose spectra are read together."""
    if not has_spectrum(dataset):
        return [slice(None)]
    values = eigenvalues(dataset)
    if not pieces.is_large(values):
        return [slice(None)]
    times = values.sizes["hessian_time"]
    return pieces.slices(times, values.nbytes / max(times, 1))


class _Stored:
    """The spectra of a dataset, as `_parts` returns them: iterates over the times that are read together."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset, self._cuts = dataset, _cuts(dataset)
        self._read = [_parts(dataset)] if len(self._cuts) == 1 else []
        dims = ("replica", "hessian_time", ...)
        #: An array with dimensions and coordinates of the spectra.
        self.like = eigenvalues(dataset).transpose(*dims)
        self.like = self.like.isel(dict.fromkeys(self.like.dims[2:], 0), drop=True)

    def __iter__(self) -> Iterator[tuple[Array, Array, xr.DataArray]]:
        """Iterate over the parts."""
        if self._read:
            return iter(self._read)
        return (_parts(self._dataset.isel(hessian_time=cut)) for cut in self._cuts)

    def ends(self) -> tuple[float, float]:
        """Return the lowest and the highest value."""
        ends = np.array([_ends(values) for values, _, _ in self])
        return float(np.nanmin(ends[:, 0])), float(np.nanmax(ends[:, 1]))


def _ends(values: Array) -> tuple[float, float]:
    """Return lowest and highest value, NaN where there is none."""
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)


def _broadened(part: tuple[Array, Array, xr.DataArray], at: Array, width: float) -> Array:
    """Return densities, shape (replica, hessian_time, points); NaN where the run has not been."""
    values, weights, like = part
    densities = np.stack([density(v, w, at, width) for v, w in zip(values, weights, strict=True)])
    densities[~like.notnull().to_numpy()] = np.nan
    return densities


def _of_dof(vectors: xr.DataArray) -> list[slice]:
    """Return the degrees of freedom that are read together."""
    if not pieces.is_large(vectors):
        return [slice(None)]
    return pieces.slices(vectors.sizes["dof"], vectors.nbytes / vectors.sizes["dof"])


def _parts(dataset: xr.Dataset) -> tuple[Array, Array, xr.DataArray]:
    """Return values and weights, shape (replica, hessian_time, n), and an array, finite where they are.

    The weights of a spectrum add up to 1.
    """
    if not has_spectrum(dataset):
        raise ValueError("no spectrum of the Hessian in the file (record.hessian asks for it)")
    if is_exact(dataset):
        exact = dataset["hessian_eigenvalue"].transpose("replica", "hessian_time", "mode")
        values = exact.to_numpy()
        weights = np.full(values.shape, 1 / values.shape[-1])
        return values, weights, exact.isel(mode=0, drop=True)
    two = ("replica", "hessian_time", "probe", "ritz")
    ritz = dataset["ritz_value"].transpose(*two)
    shape = (*ritz.shape[:2], -1)
    weights = dataset["ritz_weight"].transpose(*two).to_numpy() / ritz.sizes["probe"]
    return ritz.to_numpy().reshape(shape), weights.reshape(shape), ritz.isel(probe=0, ritz=0, drop=True)


def summary(dataset: xr.Dataset, zero: float = ZERO) -> xr.Dataset:
    """Return a few numbers of every spectrum.

    Parameters
    ----------
    dataset : Dataset
        A result with spectra of the Hessian.
    zero : float
        Values above −zero·max|λ| do not count as negative.

    Returns
    -------
    Dataset
        On (replica, hessian_time), NaN where the run has not been: `lowest`, `highest` (of Ritz values the
        extreme ones, which lie inside of the spectrum), `negative_fraction`, and, where the number M of rows
        is known, `negative` (their number, the index of the point in the landscape), `trace_per_row` and
        `trace_per_row_error`. Spectra that are large (`pieces.is_large`) are read in pieces, with the same
        bits.
    """
    cuts = _cuts(dataset)
    if len(cuts) > 1:
        tables = [summary(dataset.isel(hessian_time=cut).compute(), zero) for cut in cuts]
        return xr.concat(tables, "hessian_time", data_vars="all", combine_attrs="override")
    values, weights, like = _parts(dataset)
    reached = like.notnull().to_numpy()
    known = np.isfinite(values)
    low, high = np.where(known, values, np.inf).min(-1), np.where(known, values, -np.inf).max(-1)
    floor = -zero * np.maximum(np.abs(low), np.abs(high))
    below = known & (values < floor[..., None])
    fraction = np.where(below, weights, 0.0).sum(-1)
    units = str(eigenvalues(dataset).attrs.get("units", "1"))
    table = xr.Dataset(coords=like.coords)

    def put(name: str, meaning: str, numbers: Array, unit: str = "1") -> None:
        about = {"long_name": meaning, "units": unit}
        table[name] = (like.dims, np.where(reached, numbers, np.nan), about)

    put("lowest", "lowest eigenvalue of the Hessian", low, units)
    put("highest", "highest eigenvalue of the Hessian", high, units)
    put("negative_fraction", "fraction of negative eigenvalues of the Hessian", fraction)
    size = rows(dataset)
    if size is not None:
        number = below.sum(-1) if is_exact(dataset) else fraction * size
        put("negative", "negative eigenvalues of the Hessian", number)
        for name, meaning in (("", "trace of the Hessian per row"), ("_error", "its standard error")):
            whole = dataset.get(f"hessian_trace{name}")
            trace = np.zeros(low.shape) if whole is None else whole.transpose(*like.dims).to_numpy() / size
            put(f"trace_per_row{name}", meaning, trace, units)
    return table


def rows(dataset: xr.Dataset) -> int | None:
    """Return the number of rows M of the Hessian; None if the file does not say it."""
    if is_exact(dataset):
        return int(dataset.sizes["mode"])
    stated = eigenvalues(dataset).attrs.get("rows")
    return None if stated is None else int(stated)


def spectral_density(
    dataset: xr.Dataset, at: Array | None = None, width: float | None = None
) -> xr.DataArray:
    """Return the density of every spectrum, each value broadened to a Gaussian.

    Parameters
    ----------
    dataset : Dataset
        A result with spectra of the Hessian.
    at : ndarray, shape (points,), optional
        Where; by default over all that the spectra cover.
    width : float, optional
        Standard deviation of the Gaussian; by default a hundredth of the span. Ritz values stand some
        2/m of the span apart, m being the steps: a narrower width shows them one by one.

    Returns
    -------
    DataArray
        On (replica, hessian_time, eigenvalue), its integral 1; attribute `width`. Spectra that are large
        (`pieces.is_large`) are read in pieces, with the same bits.
    """
    stored = _Stored(dataset)
    low, high = stored.ends()
    span = max(high - low, 1e-3 * max(abs(low), abs(high)), np.finfo(float).tiny)
    width = WIDTH * span if width is None else width
    at = np.linspace(low - 5 * width, high + 5 * width, POINTS) if at is None else np.asarray(at, dtype=float)
    densities = np.concatenate([_broadened(part, at, width) for part in stored], axis=1)
    like = stored.like
    about = {"long_name": "density of eigenvalues of the Hessian", "units": "1", "width": width}
    coordinates = {**like.coords, "eigenvalue": at}
    return xr.DataArray(densities, coordinates, (*like.dims, "eigenvalue"), "density", about)


def gauss_newton(dataset: xr.Dataset) -> xr.Dataset:
    """Return the spectra of the Gauss-Newton matrix under the names of the Hessian's: for all functions here.

    Raises
    ------
    ValueError
        If there are none in the file.
    """
    names = {str(n): n for n in dataset.data_vars if str(n).startswith("ggn_")}
    if not names:
        raise ValueError("no spectrum of the Gauss-Newton matrix in the file (record.ggn asks for it)")
    ours = [n for n in dataset.data_vars if str(n).startswith(("hessian_", "ritz_"))]
    renamed = {}
    for name in names:
        plain = name.removeprefix("ggn_")
        renamed[name] = plain if plain.startswith("ritz_") else f"hessian_{plain}"
    return dataset.drop_vars(ours).rename(renamed)


def subspace_overlap(dataset: xr.Dataset, count: int | None = None) -> xr.DataArray:
    """Return the overlap of the spaces of the stiffest directions at two times.

    Parameters
    ----------
    dataset : Dataset
        A result with eigenvectors of the Hessian.
    count : int, optional
        Eigenvectors k that span each space; default: all that are stored.

    Returns
    -------
    DataArray
        tr P P'/k on (replica, hessian_time, other_time), P and P' the projections onto the two spaces: 1 of
        equal spaces, 0 of orthogonal ones (Gur-Ari et al. 2018, arXiv:1812.04754, eq. 3). NaN where the run
        has not been. Attribute `random`: its mean for independent random spaces, k/M. Of vectors that are
        large (`pieces.is_large`) some degrees of freedom are read at a time: the same to rounding.

    Raises
    ------
    ValueError
        If there are not so many eigenvectors in the file.
    """
    if "hessian_vector" not in dataset:
        raise ValueError("no eigenvectors of the Hessian in the file (record.hessian_vectors asks for them)")
    dims = ("replica", "hessian_time", "eigenvector", "dof")
    vectors = dataset["hessian_vector"].transpose(*dims)
    stored, dof = vectors.sizes["eigenvector"], vectors.sizes["dof"]
    count = stored if count is None else count
    if not 1 <= count <= stored:
        raise ValueError(f"count = {count}: allowed: from 1 to {stored}, the eigenvectors in the file")
    products = np.zeros(())
    for cut in _of_dof(vectors):
        v = vectors[..., cut].to_numpy()[:, :, :count]
        products = products + np.einsum("rakn,rbln->rabkl", v, v, optimize=True)
    words = "overlap of the spaces of the stiffest directions"
    about = {"long_name": words, "units": "1", "random": count / dof}
    coordinates = {name: vectors[name] for name in ("replica", "hessian_time") if name in vectors.coords}
    parts, axes = (products**2).sum((-1, -2)) / count, ("replica", "hessian_time", "other_time")
    overlap = xr.DataArray(parts, coordinates, axes, attrs=about)
    times = dataset["hessian_time"]
    return overlap.assign_coords(other_time=("other_time", times.to_numpy(), dict(times.attrs)))
