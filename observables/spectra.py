"""Spectra of the Hessian in a result file: edges, negative directions, trace, density."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .hessian import Array, density

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


def _parts(dataset: xr.Dataset) -> tuple[Array, Array, xr.DataArray]:
    """Return values and weights, shape (replica, hessian_time, n), and an array, finite where they are.

    The weights of a spectrum add up to 1.
    """
    if not has_spectrum(dataset):
        raise ValueError("no spectrum of the Hessian in the file (record.hessian asks for it)")
    if is_exact(dataset):
        found = dataset["hessian_eigenvalue"].transpose("replica", "hessian_time", "mode")
        values = found.to_numpy()
        weights = np.full(values.shape, 1 / values.shape[-1])
        return values, weights, found.isel(mode=0, drop=True)
    two = ("replica", "hessian_time", "probe", "ritz")
    found = dataset["ritz_value"].transpose(*two)
    shape = (*found.shape[:2], -1)
    weights = dataset["ritz_weight"].transpose(*two).to_numpy() / found.sizes["probe"]
    return found.to_numpy().reshape(shape), weights.reshape(shape), found.isel(probe=0, ritz=0, drop=True)


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
        `trace_per_row_error`.
    """
    values, weights, like = _parts(dataset)
    reached = like.notnull().to_numpy()
    known = np.isfinite(values)
    low, high = np.where(known, values, np.inf).min(-1), np.where(known, values, -np.inf).max(-1)
    floor = -zero * np.maximum(np.abs(low), np.abs(high))
    below = known & (values < floor[..., None])
    fraction = np.where(below, weights, 0.0).sum(-1)
    units = str(_main(dataset).attrs.get("units", "1"))
    made = xr.Dataset(coords=like.coords)

    def put(name: str, meaning: str, numbers: Array, unit: str = "1") -> None:
        about = {"long_name": meaning, "units": unit}
        made[name] = (like.dims, np.where(reached, numbers, np.nan), about)

    put("lowest", "lowest eigenvalue of the Hessian", low, units)
    put("highest", "highest eigenvalue of the Hessian", high, units)
    put("negative_fraction", "fraction of negative eigenvalues of the Hessian", fraction)
    size = rows(dataset)
    if size is not None:
        number = below.sum(-1) if is_exact(dataset) else fraction * size
        put("negative", "negative eigenvalues of the Hessian", number)
        for name, meaning in (("", "trace of the Hessian per row"), ("_error", "its standard error")):
            whole = dataset.get(f"hessian_trace{name}")
            found = np.zeros(low.shape) if whole is None else whole.transpose(*like.dims).to_numpy() / size
            put(f"trace_per_row{name}", meaning, found, units)
    return made


def rows(dataset: xr.Dataset) -> int | None:
    """Return the number of rows M of the Hessian; None if the file does not say it."""
    if is_exact(dataset):
        return int(dataset.sizes["mode"])
    stated = _main(dataset).attrs.get("rows")
    return None if stated is None else int(stated)


def _main(dataset: xr.Dataset) -> xr.DataArray:
    return dataset["hessian_eigenvalue" if is_exact(dataset) else "ritz_value"]


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
        On (replica, hessian_time, eigenvalue), its integral 1; attribute `width`.
    """
    values, weights, like = _parts(dataset)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    span = max(high - low, 1e-3 * max(abs(low), abs(high)), np.finfo(float).tiny)
    width = WIDTH * span if width is None else width
    at = np.linspace(low - 5 * width, high + 5 * width, POINTS) if at is None else np.asarray(at, dtype=float)
    found = np.stack([density(v, w, at, width) for v, w in zip(values, weights, strict=True)])
    found[~like.notnull().to_numpy()] = np.nan
    about = {"long_name": "density of eigenvalues of the Hessian", "units": "1", "width": width}
    coordinates = {**like.coords, "eigenvalue": at}
    return xr.DataArray(found, coordinates, (*like.dims, "eigenvalue"), "density", about)
