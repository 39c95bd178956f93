"""Two measured curves are brought to common times here, interpolated where too few are measured."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..pairs import slack
from ..statistics import Array
from .freedom import as_normal, combined, two_sided

#: Part of a time by which the ends of an interpolation may be exceeded.
ROUNDING = 1e-9


class NothingInCommon(ValueError):
    """Two curves have no time at which they can be compared."""


class MeasuredCurve(NamedTuple):
    """A mean and its standard error against time or lag.

    Attributes
    ----------
    x : ndarray, shape (points,)
        Ascending, ≥ 0.
    mean, error : ndarray, shape (points,)
        `mean` finite; `error` NaN where unknown.
    degrees : ndarray, shape (points,), or float
        Degrees of freedom of the error, n − 1 for n samples; inf where it is known.
    """

    x: Array
    mean: Array
    error: Array
    degrees: Array | float = math.inf

    def part(self, chosen: Any) -> MeasuredCurve:
        """Return the points of a mask, slice or array of indices."""
        freedom = np.broadcast_to(self.degrees, self.x.shape)
        return MeasuredCurve(self.x[chosen], self.mean[chosen], self.error[chosen], freedom[chosen])


class Aligned(NamedTuple):
    """Curves a and b at common times, shape (points,) each.

    Attributes
    ----------
    x : ndarray
    a, b : ndarray
        Means.
    a_error, b_error : ndarray
        Standard errors, NaN where unknown.
    interpolation : ndarray
        Error of the interpolation; 0 at times that both curves have.
    interpolated : ndarray of str
        "A" or "B" where that curve is interpolated, else "".
    a_degrees, b_degrees : ndarray
        Degrees of freedom of the errors; inf where they are known.
    """

    x: Array
    a: Array
    b: Array
    a_error: Array
    b_error: Array
    interpolation: Array
    interpolated: NDArray[np.str_]
    a_degrees: Array
    b_degrees: Array

    @property
    def difference(self) -> Array:
        """b − a."""
        return self.b - self.a

    @property
    def sigma(self) -> Array:
        """Standard error of b − a: errors of a, of b and of the interpolation in quadrature."""
        sigma: Array = np.sqrt(self.a_error**2 + self.b_error**2 + self.interpolation**2)
        return sigma

    @property
    def z(self) -> Array:
        """(b − a)/σ; NaN where there is no error bar."""
        sigma = self.sigma
        # σ = 0 would claim that any difference at all is infinitely significant.
        known = sigma > 0
        return np.divide(self.difference, sigma, out=np.full(sigma.shape, np.nan), where=known)

    @property
    def degrees(self) -> Array:
        """Degrees of freedom ν of σ (Welch): z is Student's t with ν where the curves are equal."""
        variances = np.stack([self.a_error, self.b_error, self.interpolation]) ** 2
        # The error of the interpolation is a bound, no estimate that scatters.
        known = np.full(self.x.shape, np.inf)
        return combined(variances, np.stack([self.a_degrees, self.b_degrees, known]))

    @property
    def probability(self) -> Array:
        """Two-sided probability that equal curves have a |z| as large; NaN where there is no error bar."""
        return two_sided(self.z, self.degrees)

    @property
    def deviate(self) -> Array:
        """The normal deviate as improbable as z: z itself where errors are known, nearer 0 where not."""
        return as_normal(self.z, self.degrees)


def align(a: MeasuredCurve, b: MeasuredCurve) -> Aligned:
    """Bring two curves to common times, never beyond the range that both cover.

    If both have at least half of the times of the sparser one, these are compared, as measured. Otherwise the
    curve that can be interpolated with the smaller error (the denser or the smoother one, by `misses`) is
    interpolated to the other's times.

    Raises
    ------
    NothingInCommon
        If they share no range, or share no time and are too sparse to interpolate.
    """
    if not (a.x.size and b.x.size):
        raise NothingInCommon("no finite value")
    low, high = max(a.x[0], b.x[0]), min(a.x[-1], b.x[-1])
    inside_a, inside_b = (_between(curve.x, low, high) for curve in (a, b))
    if not (inside_a.any() or inside_b.any()):
        raise NothingInCommon(
            f"no common range: {a.x[0]:g} to {a.x[-1]:g} in A, {b.x[0]:g} to {b.x[-1]:g} in B"
        )
    i, j = matching(a.x, b.x)
    if i.size and 2 * i.size >= min(inside_a.sum(), inside_b.sum()):
        measured = np.zeros(i.size), np.full(i.size, "")
        return _aligned(a.part(i), b.part(j), *measured)
    rough_a, rough_b = _roughness(a, inside_a), _roughness(b, inside_b)
    if rough_b <= rough_a:
        own, other, extra, between = _brought(b, a.part(inside_a))
        mark = np.where(between, "B", "")
        return _aligned(own, other, extra, mark)
    own, other, extra, between = _brought(a, b.part(inside_b))
    mark = np.where(between, "A", "")
    return _aligned(other, own, extra, mark)


def _aligned(a: MeasuredCurve, b: MeasuredCurve, extra: Array, mark: NDArray[np.str_]) -> Aligned:
    freedom = (np.broadcast_to(c.degrees, a.x.shape) for c in (a, b))
    return Aligned(a.x, a.mean, b.mean, a.error, b.error, extra, mark, *freedom)


def matching(a: Array, b: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the times that two ascending arrays share, to rounding."""
    if b.size == 0:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    near = np.clip(np.searchsorted(b, a), 1, b.size - 1) if b.size > 1 else np.zeros(a.size, dtype=np.intp)
    if b.size > 1:
        near = near - (a - b[near - 1] < b[near] - a)
    same = np.abs(a - b[near]) <= np.minimum(slack(a), slack(b)[near])
    return np.flatnonzero(same), near[same]


def misses(x: Array, y: Array) -> Array:
    """Return by how much interpolation misses each point when every second point is left out.

    Left out, a point lies in the middle of a gap twice as wide as the true one, so the miss exceeds the
    error of interpolating between the points of a smooth curve (some 2^order times); of a noisy one it
    contains the noise. The ends cannot be left out and take their neighbour's.

    Parameters
    ----------
    x, y : ndarray, shape (points ≥ 3,)
        x > 0.
    """
    index = np.arange(x.size)
    out = np.empty(x.size)
    for parity in (0, 1):
        kept = (index % 2 == parity) | (index == 0) | (index == x.size - 1)
        out[~kept] = np.abs(_monotonic(np.log(x[kept]), y[kept], np.log(x[~kept])) - y[~kept])
    out[0], out[-1] = out[1], out[-2]
    return out


def _monotonic(x: Array, y: Array, at: Array) -> Array:
    """Return the monotonic cubic interpolation of y(x)."""
    # Few users of this module need scipy.
    from scipy.interpolate import PchipInterpolator

    return np.asarray(PchipInterpolator(x, y)(at))


def interpolate(curve: MeasuredCurve, at: Array) -> tuple[Array, Array, Array]:
    """Interpolate monotonically (PCHIP) in the logarithm of time.

    Parameters
    ----------
    curve : MeasuredCurve
        At least 3 times > 0.
    at : ndarray, shape (times,)
        Within the curve's times > 0; nothing is extrapolated.

    Returns
    -------
    (ndarray, ndarray, ndarray)
        Mean; its standard error, linear between the neighbours' (as if they were fully correlated: never too
        small); the error of the interpolation, the largest of the four nearest `misses`.
    """
    positive = curve.x > 0
    x, y, error = curve.x[positive], curve.mean[positive], curve.error[positive]
    if at.size and (at.min() < x[0] * (1 - ROUNDING) or at.max() > x[-1] * (1 + ROUNDING)):
        raise ValueError(f"cannot extrapolate from {x[0]:g} … {x[-1]:g} to {at.min():g} … {at.max():g}")
    inner = np.clip(at, x[0], x[-1])
    miss = misses(x, y)
    left = np.clip(np.searchsorted(x, inner, side="right") - 1, 0, x.size - 2)
    fraction = np.log(inner / x[left]) / np.log(x[left + 1] / x[left])
    spread = (1 - fraction) * error[left] + fraction * error[left + 1]
    mean = _monotonic(np.log(x), y, np.log(inner))
    # Two on each side: where the curve turns from convex to concave a single miss passes through zero.
    padded = np.pad(miss, 1, mode="edge")
    return mean, spread, np.max([padded[left + k] for k in range(4)], axis=0)


def _smaller(curve: MeasuredCurve, at: Array) -> Array:
    """Return the degrees of freedom of an interpolated error: the smaller of the two neighbours'."""
    freedom = np.broadcast_to(curve.degrees, curve.x.shape)
    left = np.clip(np.searchsorted(curve.x, at, side="right") - 1, 0, curve.x.size - 2)
    return np.asarray(np.minimum(freedom[left], freedom[left + 1]))


def _between(x: Array, low: float, high: float) -> NDArray[np.bool_]:
    near = slack(x)
    return (x >= low - near) & (x <= high + near)


def _roughness(curve: MeasuredCurve, inside: NDArray[np.bool_]) -> float:
    """Return the median error of interpolating a curve; infinite where it has too few points."""
    positive = curve.x > 0
    if positive.sum() < 3:
        return np.inf
    miss = misses(curve.x[positive], curve.mean[positive])
    near = inside[positive]
    return float(np.median(miss[near] if near.any() else miss))


def _brought(
    curve: MeasuredCurve, to: MeasuredCurve
) -> tuple[MeasuredCurve, MeasuredCurve, Array, NDArray[np.bool_]]:
    """Bring a curve to those times of another where it can be had: as measured, else interpolated.

    Returned are the other at these times, the curve at these times, the error of the interpolation, and where
    there is one.
    """
    there, own = matching(to.x, curve.x)
    between = np.zeros(to.x.size, dtype=bool)
    positive = curve.x[curve.x > 0]
    if positive.size >= 3:
        # Below the first positive time there is no logarithm to interpolate in.
        between = (to.x > 0) & _between(to.x, positive[0], positive[-1])
    between[there] = False
    usable = between.copy()
    usable[there] = True
    if not usable.any():
        raise NothingInCommon("no common times, and too few to interpolate between (3 are needed)")
    mean, error, extra, freedom = (np.zeros(to.x.size) for _ in range(4))
    mean[there], error[there] = curve.mean[own], curve.error[own]
    freedom[there] = np.broadcast_to(curve.degrees, curve.x.shape)[own]
    if between.any():
        mean[between], error[between], extra[between] = interpolate(curve, to.x[between])
        freedom[between] = _smaller(curve, to.x[between])
    brought = MeasuredCurve(to.x[usable], mean[usable], error[usable], freedom[usable])
    return to.part(usable), brought, extra[usable], between[usable]
