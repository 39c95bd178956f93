r"""Statics and asymptotics of the spherical model with covariance f, in closed form up to roots.

As in `langevin.systems.pspin.theory`, for any f(q) = Σ a_p q^p (Crisanti & Sommers 1992; Cugliandolo &
Kurchan 1993):

- a metastable overlap q of equilibrium at T solves q/(1 − q) = f'(q)/T²; T_d is the largest T with a root q >
  0, T_d² = max_q f'(q)(1 − q)/q;
- at T_K its free energy meets the paramagnet's, f(q)/T² = −ln(1 − q) − q;
- the aging state of a quench from T_i = ∞ is marginal, f''(q)(1 − q)² = T², and its fluctuation-dissipation
  ratio is X = [q f''(q)/f'(q) − 1](1 − q)/q, for pure p equal to (p − 2)(1 − q)/q;
- its energy is −[f(1) − (1 − X) f(q)]/T, for T → 0 with X/T = [f''(1)/f'(1) − 1]/√f''(1):
  E_th = −[f'(1) + f(1)(f''(1)/f'(1) − 1)]/√f''(1).

For mixed f the aging part assumes that memory of the start is lost, which is exact for pure p only (Folena,
Franz & Ricci-Tersenghi 2020); limits of mixed models are therefore not drawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from langevin.later import callables

from .covariance import Covariance

if TYPE_CHECKING:
    from scipy.optimize import brentq, minimize_scalar
else:
    brentq, minimize_scalar = callables("scipy.optimize", "brentq", "minimize_scalar")

_EDGE = 1e-12


def _metastable_square(f: Covariance, q: float) -> float:
    """Return T² at which q is an equilibrium overlap."""
    return float(f.derivative(1, q)) * (1 - q) / q


def _overlap_at_dynamic(f: Covariance) -> float:
    # The maximum may be at q → 0 (terms with p = 2): look at a grid first, then close in.
    grid = np.linspace(1e-6, 1 - 1e-6, 2001)
    best = int(np.argmax(f.derivative(1, grid) * (1 - grid) / grid))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
    return float(minimize_scalar(lambda q: -_metastable_square(f, q), bounds=(low, high), method="bounded",
                                 options={"xatol": 1e-13}).x)  # fmt: skip


def dynamic_temperature(f: Covariance) -> float:
    """Return T_d."""
    return math.sqrt(_metastable_square(f, _overlap_at_dynamic(f)))


def static_temperature(f: Covariance) -> float:
    """Return T_K; T_d where the two coincide (p = 2)."""

    def excess(q: float) -> float:
        # Free energy of the metastable state above the paramagnet's, times 2β, at the T where q is an
        # overlap.
        return -math.log1p(-q) - q - float(f.derivative(0, q)) / _metastable_square(f, q)

    low, high = _overlap_at_dynamic(f), 1 - _EDGE
    if low < 1e-3 or excess(low) <= 0:
        return dynamic_temperature(f)
    return math.sqrt(_metastable_square(f, brentq(excess, low, high)))


def edwards_anderson(f: Covariance, temperature: float) -> float:
    """Return q_EA of the aging state: the largest root of f''(q)(1 − q)² = T²; 0 ≤ T < T_d."""

    def square(q: float) -> float:
        return float(f.derivative(2, q)) * (1 - q) ** 2

    grid = np.linspace(0, 1, 2001)
    peak = float(grid[int(np.argmax(f.derivative(2, grid) * (1 - grid) ** 2))])
    return float(brentq(lambda q: square(q) - temperature**2, peak, 1.0))


def fdt_ratio(f: Covariance, temperature: float) -> float:
    """Return X of the aging regime; 0 ≤ T < T_d."""
    q = edwards_anderson(f, temperature)
    return (q * float(f.derivative(2, q)) / float(f.derivative(1, q)) - 1) * (1 - q) / q


def equilibrium_energy(f: Covariance, temperature: float) -> float:
    """Return −f(1)/T, the energy in equilibrium above T_K."""
    return -float(f.derivative(0, 1.0)) / temperature


def asymptotic_energy(f: Covariance, temperature: float) -> float:
    """Return lim E(t) of a quench from T_i = ∞ to T ≥ 0."""
    if temperature == 0:
        zeroth, first, second = (float(f.derivative(k, 1.0)) for k in range(3))
        return -(first + zeroth * (second / first - 1)) / math.sqrt(second)
    if temperature >= dynamic_temperature(f):
        return equilibrium_energy(f, temperature)
    q = edwards_anderson(f, temperature)
    kept = (1 - fdt_ratio(f, temperature)) * float(f.derivative(0, q))
    return -(float(f.derivative(0, 1.0)) - kept) / temperature
