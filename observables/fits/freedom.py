r"""Errors that were estimated have degrees of freedom; deviations in units of such errors are judged here.

The error of a mean of n samples is itself uncertain. Its square has, for Gaussian samples, the distribution
of σ² χ²_ν/ν with ν = n − 1 degrees of freedom, and (mean − truth)/error is Student's t with ν, not a normal
deviate: its variance is ν/(ν − 2). A sum of independent parts with variances v_k of ν_k degrees has the mean
Σ v_k and the variance Σ 2 v_k²/ν_k. A σ² χ²_ν/ν with the same two has

    ν = (Σ v_k)² / Σ (v_k²/ν_k)

degrees (Satterthwaite 1946, Biometrics Bull. 2, 110; Welch 1947, Biometrika 34, 28). Known parts have ν_k =
∞. With estimates in place of the v_k, ν comes out somewhat low, never below the smallest ν_k: intervals err
on the wide side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..statistics import Array

#: Tails below this are taken from Wallace's approximation: they are about to underflow.
_TINY = 1e-290


def combined(variances: ArrayLike, degrees: ArrayLike) -> Array:
    """Return the degrees of freedom of a sum of independent estimated variances.

    Parameters
    ----------
    variances : array_like, shape (parts, …)
        ≥ 0.
    degrees : array_like
        Degrees of freedom of each; inf where it is known. Broadcasts to `variances`.

    Returns
    -------
    ndarray, shape (…)
        inf where all that is not 0 is known.
    """
    v, nu = np.broadcast_arrays(np.asarray(variances, float), np.asarray(degrees, float))
    total = v.sum(0)
    # Shares, not variances: the squares of small ones would underflow.
    share = np.divide(v, total, out=np.zeros(v.shape), where=total > 0)
    uncertain = (share**2 / nu).sum(0)
    return np.divide(1.0, uncertain, out=np.full(total.shape, np.inf), where=uncertain != 0)


def two_sided(t: ArrayLike, degrees: ArrayLike) -> Array:
    """Return the probability of a deviation of |t| estimated errors or more; NaN where t is."""
    from scipy.special import ndtr, stdtr

    t, nu = np.broadcast_arrays(np.asarray(t, float), np.asarray(degrees, float))
    below = -np.abs(t)
    known = np.isinf(nu)
    return np.asarray(2 * np.where(known, ndtr(below), stdtr(np.where(known, 1.0, nu), below)))


def as_normal(t: ArrayLike, degrees: ArrayLike) -> Array:
    """Return the normal deviate that is as improbable as a deviation of t estimated errors.

    Both have the same tail. t itself where the error is known (`degrees` inf). Where the tail underflows it
    is that of Wallace 1959, Ann. Math. Stat. 30, 1121: √(ν ln(1 + t²/ν)) (8ν + 1)/(8ν + 3).
    """
    from scipy.special import ndtri

    t, nu = np.broadcast_arrays(np.asarray(t, float), np.asarray(degrees, float))
    known = np.isinf(nu)
    finite = np.where(known, 1.0, nu)
    tail = two_sided(t, nu) / 2
    far = tail < _TINY
    size = -ndtri(np.where(far, 0.5, tail))
    with np.errstate(invalid="ignore"):
        wallace = np.sqrt(finite * np.log1p(t**2 / finite)) * (8 * finite + 1) / (8 * finite + 3)
    deviate = np.sign(t) * np.where(far, wallace, size)
    return np.asarray(np.where(known, t, deviate))


def expected_rms(degrees: ArrayLike) -> float:
    """Return the rms of deviations in units of estimated errors, of a right model: √(mean of ν/(ν − 2)).

    Infinite where any ν ≤ 2, that is, from two or three samples: Student's t has no variance then.
    """
    nu = np.asarray(degrees, float)
    if nu.size == 0:
        return float("nan")
    if (nu <= 2).any():
        return float("inf")
    return float(np.sqrt(np.mean(np.where(np.isinf(nu), 1.0, nu / np.where(np.isinf(nu), 1.0, nu - 2)))))
