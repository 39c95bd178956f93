"""A family of curves against the lag is judged here: how far apart they lie, their common power."""

from __future__ import annotations

import numpy as np

from ..fits.regression import inverse, shares
from ..statistics import Array, Mask


class CurveFamily:
    """Curves that are compared with each other; all sums over lags have the weight d ln t.

    Parameters
    ----------
    x : ndarray, shape (lag,)
        ln t.
    judged : ndarray of bool, shape (waiting_time, lag)
    """

    def __init__(self, x: Array, judged: Mask) -> None:
        self.x, self.judged = x, judged
        self.shares = shares(x) if x.size > 1 else np.ones(x.size)
        self.curves = int(judged.any(1).sum())
        #: Curves to compare at each lag; of n, n − 1 differ from their mean: a single one counts for nothing.
        self.count = judged.sum(0)

    def quality(self, log_d: Array, log_y: Array) -> Array:
        """Return five numbers from ln Δ and ln(Δ/D), shape (waiting_time, lag) each.

        Spread of ln(Δ/D), spread of ln Δ, their ratio, the power of t in Δ, the geometric mean of Δ/(D t).
        """
        spread, of_msd = self.spread(log_y), self.spread(log_d)
        weight = np.where(self.judged, self.shares, 0.0)
        prefactor = np.exp(_sum(weight, log_y - self.x) * inverse(weight.sum()))
        return np.array([spread, of_msd, spread * inverse(of_msd), self._exponent(log_d), prefactor])

    def by_lag(self, values: Array) -> Array:
        """Return the spread of the values, shape (waiting_time, lag), at each lag; NaN for a single curve."""
        return np.sqrt(self._squares(values) * inverse(np.maximum(self.count - 1.0, 0.0)))

    def spread(self, values: Array) -> Array:
        """Return the spread of the values, shape (..., waiting_time, lag), over all lags; shape (...)."""
        return np.sqrt(_sum(self.shares, self._squares(values), -1) * self._freedom())

    def _squares(self, values: Array) -> Array:
        """Return the sum over curves of the squared deviations from their mean, at each lag."""
        mean = _sum(self.judged, values, -2) / np.maximum(self.count, 1)
        return _sum(self.judged, (values - mean[..., None, :]) ** 2, -2)

    def expected(self, errors: Array) -> float:
        """Return the spread that independent errors, shape (waiting_time, lag), make of equal curves."""
        weight = self.judged * self.shares * (1 - 1 / np.maximum(self.count, 1))
        squares = _sum(weight, errors**2)
        return float(np.sqrt(squares * self._freedom()))

    def _freedom(self) -> Array:
        return inverse(np.sum(self.shares * np.maximum(self.count - 1, 0)))

    def _exponent(self, log_d: Array) -> Array:
        """Return the slope of ln Δ against ln t, one for all curves, each with its own offset."""
        weight = np.where(self.judged, self.shares, 0.0)
        total = inverse(weight.sum(1))[:, None]
        dx = self.x - _sum(weight, np.broadcast_to(self.x, weight.shape), 1)[:, None] * total
        dy = log_d - _sum(weight, log_d, 1)[:, None] * total
        return _sum(weight, dx * dy) * inverse(_sum(weight, dx * dx))


def _sum(weight: Array | Mask, values: Array, axis: int | None = None) -> Array:
    """Return Σ weight·values; a value without weight may be NaN."""
    return np.asarray(np.sum(np.where(weight != 0, values, 0.0) * weight, axis=axis))
