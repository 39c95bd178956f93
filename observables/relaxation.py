"""One-time relaxation: how an energy descends."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Exponential(NamedTuple):
    """E(t) = end + (start − end)·exp(−t/τ)."""

    start: float
    end: float
    tau: float

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        """Evaluate at times t."""
        decay: NDArray[np.float64] = self.end + (self.start - self.end) * np.exp(-np.asarray(t) / self.tau)
        return decay


def matching_exponential(time: ArrayLike, energy: ArrayLike) -> Exponential | None:
    """Return the exponential with the same first and last value and the same 1/e time.

    What a system with a single relaxation time would do: aging shows as the slow tail beside it
    (Fig. 1 of Baity-Jesi et al. 2018).

    Parameters
    ----------
    time, energy : array_like, shape (time,)
        `time` ascending from 0.

    Returns
    -------
    Exponential or None
        None if the energy does not fall.
    """
    t, e = np.asarray(time, dtype=float), np.asarray(energy, dtype=float)
    known = np.isfinite(e)
    t, e = t[known], e[known]
    if t.size < 3 or e[-1] >= e[0]:
        return None
    left = (e - e[-1]) / (e[0] - e[-1])
    below = int(np.argmax(left <= np.exp(-1)))
    # Linear between the two times that enclose the crossing.
    fraction = (left[below - 1] - np.exp(-1)) / (left[below - 1] - left[below])
    tau = t[below - 1] + fraction * (t[below] - t[below - 1])
    return Exponential(float(e[0]), float(e[-1]), float(tau))
