"""Aging curves whose every number is known: C with a plateau, χ of two straight lines."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any

#: p = 3 at T = 0.5: marginal q_EA, X = (1 − q)/q.
T, Q, X = 0.5, 0.638824, 0.565376
LAGS = np.geomspace(1e-2, 1e5, 141)
WAITING = np.array([1e2, 1e3, 1e4, 1e5])


def two_step(waiting: Array = WAITING, lags: Array = LAGS, a: float = 0.448) -> Array:
    """C with a plateau at q_EA, which it approaches as t^{−a} and leaves as −t/t_w (b = 1)."""
    w, t = np.meshgrid(waiting, lags, indexing="ij")
    return (Q + (1 - Q) * (1 + t) ** -a) / (1 + t / w)


def two_lines(c: Array, rounding: float = 0.0) -> Array:
    """χ(C) of one-step replica symmetry breaking; the bend is a hyperbola of width `rounding` in C."""
    bend = ((c - Q) - np.sqrt((c - Q) ** 2 + rounding**2)) / 2
    return (1 - c) / T + (1 - X) / T * bend
