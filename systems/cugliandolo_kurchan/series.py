r"""The first moments of time exactly: C and R as power series in t and t'.

For t ≥ t' both are analytic at the origin, C = Σ c_ab t^a t'^b and R = Σ r_ab t^a t'^b. With
F(t, s) = f'(C(t, s)) and G(t, s) = f''(C(t, s)) R(t, s) as series of the same kind, every integral of the
Cugliandolo-Kurchan equations is one of monomials,

    ∫_0^{t'} ds F(t, s) R(t', s)    = Σ F_ab R_cd t^a t'^{b+c+d+1} / (b+d+1),
    ∫_0^{t'} ds G(t, s) C(t', s)    likewise,
    ∫_{t'}^t ds G(t, s) C(s, t')    = Σ G_ab C_cd t^a t'^d [t^{b+c+1} − t'^{b+c+1}] / (b+c+1),

and the right sides at total degree n follow from C and R up to degree n. Then ∂_t fixes c_ab for a ≥ 1 at
degree n + 1, and C(t, t) = R(t, t) = 1 the remaining c_0,n+1. No step, no start-up error: the solver begins
where the series still holds to rounding.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray

from langevin.core.system import Array

from .covariance import Covariance


@cache
def _factors(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return flat indices (x, y, out) of all terms x_ab y_cd of a product up to total degree size − 1."""
    a, b, c, d = _within(size, size)
    return a * size + b, c * size + d, (a + c) * size + b + d


def _within(size: int, above: int) -> NDArray[np.intp]:
    """Return all a, b, c, d ≥ 0 with a + b + c + d < above, in lexicographic order."""
    every = np.indices((size,) * 4).reshape(4, -1)
    return every[:, every.sum(axis=0) < above]


def product(x: Array, y: Array) -> Array:
    """Return the product of two series in (t, t'), shape (K+1, K+1), up to total degree K."""
    size = len(x)
    of_x, of_y, to = _factors(size)
    terms = x.ravel()[of_x] * y.ravel()[of_y]
    return np.asarray(np.bincount(to, weights=terms, minlength=size * size).reshape(size, size), dtype=float)


def truncated(x: Array) -> Array:
    """Drop everything above total degree K."""
    size = len(x)
    return np.where(np.add.outer(np.arange(size), np.arange(size)) < size, x, 0.0)


class Series:
    """C, R and μ up to total degree K.

    Parameters
    ----------
    covariance : Covariance
    temperature : float
        T ≥ 0.
    beta : float
        1/T_i; 0 for a random start.
    degree : int
        K.
    slope : float
        dT/dt of a bath T(t) = temperature + slope·t.

    Attributes
    ----------
    c, r : ndarray, shape (K+1, K+1)
        Coefficients of t^a t'^b.
    mu, energy : ndarray, shape (K+1,)
        Coefficients of t^a.
    """

    def __init__(
        self,
        covariance: Covariance,
        temperature: float,
        beta: float,
        degree: int = 28,
        slope: float = 0.0,
    ) -> None:
        self.covariance, self.temperature, self.beta, self.slope = covariance, temperature, beta, slope
        size = degree + 1
        self.c, self.r = np.zeros((size, size)), np.zeros((size, size))
        self.c[0, 0] = self.r[0, 0] = 1.0
        for n in range(degree):
            self._raise(n)
        self._one_time()

    def _power(self, exponent: int) -> Array:
        out = np.zeros_like(self.c)
        out[0, 0] = 1.0
        for _ in range(exponent):
            out = product(out, self.c)
        return out

    def _derivative(self, order: int) -> Array:
        """Return f^(order)(C) as a series."""
        total = np.zeros_like(self.c)
        for p, weight in zip(self.covariance.powers, self.covariance.weights, strict=True):
            if p >= order:
                total += weight * np.prod(np.arange(p, p - order, -1.0)) * self._power(p - order)
        return total

    def _one_time(self) -> None:
        first, second = self._derivative(1), self._derivative(2)
        memory = product(first + product(second, self.c), self.r)
        size = len(self.c)
        self.mu, self.energy = np.zeros(size), np.zeros(size)
        descent = product(first, self.r)
        for a in range(size):
            for b in range(size - a - 1):
                self.mu[a + b + 1] += memory[a, b] / (b + 1)
                self.energy[a + b + 1] -= descent[a, b] / (b + 1)
        self.mu[0] += self.temperature
        self.mu[1] += self.slope
        if self.beta:
            self.mu += self.beta * product(first, self.c)[:, 0]
            self.energy -= self.beta * self._derivative(0)[:, 0]

    def _raise(self, n: int) -> None:
        """Fix the terms of total degree n + 1 from the equations at total degree n."""
        self._one_time()
        first, kernel = self._derivative(1), product(self._derivative(2), self.r)
        right_c = -product(self._of_t(self.mu), self.c)
        right_r = -product(self._of_t(self.mu), self.r)
        size = len(self.c)
        for x, y in ((first, self.r), (kernel, self.c)):
            right_c += _below(x, y)
        right_c += _between(kernel, self.c)
        right_r += _between(kernel, self.r)
        if self.beta:
            start = np.zeros_like(self.c)
            start[0, :] = self.c[:, 0]
            right_c += self.beta * product(self._of_t(first[:, 0]), start)
        for series, right in ((self.c, right_c), (self.r, right_r)):
            for a in range(1, min(n + 2, size)):
                series[a, n + 1 - a] = right[a - 1, n + 1 - a] / a
            series[0, n + 1] = -sum(series[a, n + 1 - a] for a in range(1, n + 2))

    def _of_t(self, coefficients: Array) -> Array:
        out = np.zeros_like(self.c)
        out[:, 0] = coefficients
        return out

    def at(self, t: float, earlier: Array) -> tuple[Array, Array]:
        """Return C(t, t') and R(t, t') at an array of t'."""
        powers = t ** np.arange(len(self.c))
        c, r = (np.asarray(polynomial.polyval(earlier, powers @ x), dtype=float) for x in (self.c, self.r))
        return c, r

    def one_time(self, t: float) -> tuple[float, float]:
        """Return E(t) and μ(t)."""
        return float(polynomial.polyval(t, self.energy)), float(polynomial.polyval(t, self.mu))

    def radius(self, tolerance: float) -> float:
        """Return the time up to which the last terms stay below a tolerance."""
        largest = 0.0
        size = len(self.c)
        for series in (self.c, self.r):
            for n in range(size - 4, size):
                terms = max(abs(series[a, n - a]) for a in range(n + 1)) * (n + 1)
                largest = max(largest, (terms / tolerance) ** (1 / n) if terms > 0 else 0.0)
        return 1 / largest if largest else 1.0


@cache
def _integrated(size: int) -> tuple[NDArray[np.intp], ...]:
    """Return flat indices of x and y, b, c and d, of all terms whose integral stays within the degree."""
    a, b, c, d = _within(size, size - 1)
    return a * size + b, c * size + d, a, b, c, d


@cache
def _interleaved(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return (term, sign, target) of `_between`: of each (a, b, c) first all ∫^t, then all ∫_{t'}."""
    _, _, a, b, c, d = _integrated(size)
    count = len(a)
    term = np.tile(np.arange(count), 2)
    sign = np.repeat([1.0, -1.0], count)
    target = np.concatenate([(a + b + c + 1) * size + d, a * size + d + b + c + 1])
    order = np.lexsort((np.tile(d, 2), -sign, np.tile(c, 2), np.tile(b, 2), np.tile(a, 2)))
    return term[order], sign[order], target[order]


def _below(x: Array, y: Array) -> Array:
    """Return ∫_0^{t'} ds x(t, s) y(t', s)."""
    size = len(x)
    of_x, of_y, a, b, c, d = _integrated(size)
    terms = x.ravel()[of_x] * y.ravel()[of_y] / (b + d + 1)
    return np.asarray(
        np.bincount(a * size + b + c + d + 1, weights=terms, minlength=size * size).reshape(size, size),
        dtype=float,
    )


def _between(x: Array, y: Array) -> Array:
    """Return ∫_{t'}^t ds x(t, s) y(s, t')."""
    size = len(x)
    of_x, of_y, _, b, c, _ = _integrated(size)
    terms = x.ravel()[of_x] * y.ravel()[of_y] / (b + c + 1)
    term, sign, target = _interleaved(size)
    return np.asarray(
        np.bincount(target, weights=sign * terms[term], minlength=size * size).reshape(size, size),
        dtype=float,
    )
