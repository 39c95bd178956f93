"""Finite-size extrapolation: weighted polynomial fits in 1/N, and the intercept's standard error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Fit(NamedTuple):
    """A linear least-squares fit of known standard errors.

    Attributes
    ----------
    coefficients : ndarray, shape (terms, …)
    errors : ndarray, shape (terms, …)
        Standard errors of the coefficients. They come from the errors of the data alone: a poor fit does not
        widen them, χ² shows it.
    chi2 : ndarray, shape (…)
    degrees : int
        Degrees of freedom: data minus terms. With 0 the fit passes through the data and nothing tests it.
    """

    coefficients: Array
    errors: Array
    chi2: Array
    degrees: int


def least_squares(terms: ArrayLike, values: ArrayLike, errors: ArrayLike) -> Fit:
    """Fit y = Σ_k c_k terms[:, k], each datum weighted by 1/error².

    Parameters
    ----------
    terms : array_like, shape (data, terms)
    values, errors : array_like, shape (data, …)
        Independent data and their standard errors; every further axis is a fit of its own.

    Returns
    -------
    Fit
        NaN where a value is missing or an error is not positive.

    Raises
    ------
    ValueError
        If the data do not determine the coefficients.
    """
    design, y, sigma = (np.asarray(a, dtype=float) for a in (terms, values, errors))
    data, count = design.shape
    if np.linalg.matrix_rank(design / np.abs(design).max(axis=0)) < count:
        raise ValueError(f"{data} data do not determine {count} coefficients")
    y, sigma = np.broadcast_arrays(y, sigma)
    shape = y.shape[1:]
    y, sigma = y.reshape(data, -1), sigma.reshape(data, -1)
    found = np.full((2, count, y.shape[1]), np.nan)
    chi2 = np.full(y.shape[1], np.nan)
    for k in range(y.shape[1]):
        if not (np.isfinite(y[:, k]).all() and np.isfinite(sigma[:, k]).all() and (sigma[:, k] > 0).all()):
            continue
        weighted, target = design / sigma[:, k, None], y[:, k] / sigma[:, k]
        # By the pseudo-inverse, not the normal equations: these square the condition number.
        inverse = np.linalg.pinv(weighted, rcond=1e-13)
        found[0, :, k] = inverse @ target
        found[1, :, k] = np.sqrt(np.sum(inverse**2, axis=1))
        chi2[k] = np.sum((target - weighted @ found[0, :, k]) ** 2)
    coefficients, standard = found.reshape(2, count, *shape)
    return Fit(coefficients, standard, chi2.reshape(shape), data - count)


def extrapolate(sizes: ArrayLike, values: ArrayLike, errors: ArrayLike, order: int = 1) -> Fit:
    """Fit y(N) = y_∞ + c_1/N + … + c_order/N^order; coefficient 0 is the limit N → ∞.

    Parameters
    ----------
    sizes : array_like, shape (data,)
        N of each datum.
    values, errors : array_like, shape (data, …)
        Means and standard errors from independent runs, for instance along time.
    order : int

    Raises
    ------
    ValueError
        If there are fewer than order + 1 different sizes.
    """
    n = np.asarray(sizes, dtype=float)
    different = np.unique(n).size
    if different < order + 1:
        raise ValueError(f"order {order} in 1/N needs {order + 1} sizes; there are {different}")
    return least_squares((1 / n)[:, None] ** np.arange(order + 1), values, errors)
