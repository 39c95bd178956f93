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

All of it is computed from ε = 1 − q, which is small where T is, as ε ≈ T/√f''(1); what would be a difference
of numbers near each other is written as a sum of positive terms:

    q f''(q) − f'(q) = Σ a_p p(p − 2) q^{p−1},    f(1) − f(q) = Σ a_p [1 − (1 − ε)^p].

- gradient descent from equilibrium at T_i, of a state that it does not leave, ends in a minimum at overlap r
  with the start. Given the start, H is a random function plus −f(q)/T_i (docs/cugliandolo_kurchan.md), and
  the lowest energy at overlap r is that of a replica-symmetric ground state,
  −f(r)/T_i − √(f'(1)(1 − r²)). It is stationary where f'(r)/T_i = r √(f'(1)/(1 − r²)), and a stable minimum
  while f''(1) χ² < 1, χ = √((1 − r²)/f'(1)) its susceptibility.

For mixed f the aging part assumes that memory of the start is lost, which is exact for pure p only (Folena,
Franz & Ricci-Tersenghi 2020); limits of mixed models are therefore not drawn.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from langevin.core.system import Array
from langevin.systems.roots import brentq

from .covariance import Covariance

#: Of ln ε, where the search for T_K begins.
_LOWEST = -40.0
#: ε below which it changes no digit of a closed form in which it is added to 1.
_NOTHING = 1e-20
#: Points between which the largest overlap is looked for.
_POINTS = 4001


def _metastable_square(f: Covariance, q: Array | float, gap: Array | float) -> Array:
    """Return T² at which q = 1 − gap is an equilibrium overlap, f'(q)(1 − q)/q; its limit at q = 0."""
    # f'(q)/q, as a sum over p ≥ 2.
    parts = (a * p * np.asarray(q) ** (p - 2) for p, a in zip(f.powers, f.weights, strict=True))
    return np.asarray(sum(parts) * gap)


def dynamic_overlap(f: Covariance) -> float:
    """Return q_d, the overlap of the states that appear at T_d: where f'(q)(1 − q)/q is largest; 0 for p = 2.

    There its derivative Σ a_p p [(p − 2) q^{p−3} (1 − q) − q^{p−2}] changes sign.
    """
    terms = [(p, a * p) for p, a in zip(f.powers, f.weights, strict=True)]

    def slope(q: float) -> float:
        rising = math.fsum(a * (p - 2) * q ** (p - 3) for p, a in terms if p > 2)
        return rising * (1 - q) - math.fsum(a * q ** (p - 2) for p, a in terms)

    # There may be several maxima, and one at q = 0 (terms with p = 2): look at a grid first, then close in.
    grid = np.linspace(0, 1, 2001)
    best = int(np.argmax(_metastable_square(f, grid, 1 - grid)))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, grid.size - 1)])
    if slope(low) <= 0:
        return low
    q = brentq(slope, low, high, xtol=1e-15)
    return 0.0 if _metastable_square(f, 0.0, 1.0) >= _metastable_square(f, q, 1 - q) else q


def dynamic_temperature(f: Covariance) -> float:
    """Return T_d, also called T_MCT: below it equilibrium states trap the dynamics."""
    q = dynamic_overlap(f)
    return math.sqrt(_metastable_square(f, q, 1 - q))


def static_temperature(f: Covariance) -> float:
    """Return T_K; T_d where the two coincide (p = 2)."""

    def excess(log: float) -> float:
        # Free energy of the metastable state above the paramagnet's, times 2β, at the T where q is an
        # overlap; ln(1 − q) = log.
        gap = math.exp(log)
        q = -math.expm1(log)
        return _entropy(q, log) - float(f.derivative(0, q) / _metastable_square(f, q, gap))

    low = dynamic_overlap(f)
    if low < 1e-3 or excess(math.log1p(-low)) <= 0:
        return dynamic_temperature(f)
    log = brentq(excess, _LOWEST, math.log1p(-low), xtol=1e-15)
    return math.sqrt(_metastable_square(f, -math.expm1(log), math.exp(log)))


def _entropy(q: float, log: float) -> float:
    """Return −ln(1 − q) − q; log = ln(1 − q)."""
    if q > 0.1:
        return -log - q
    return math.fsum(q**k / k for k in range(2, 20))


def overlap_gap(f: Covariance, temperature: float) -> float:
    """Return ε = 1 − q_EA of the aging state, to rounding of ε itself; 0 ≤ T < T_d.

    The smallest root of ε √f''(1 − ε) = T is b y, with b = T/√f''(1) and y ≥ 1, for f'' does not decrease:

        ln y + ½ ln[f''(1 − b y)/f''(1)] = 0.

    The left side is ≤ 0 at y = 1. It may have several roots, so the first change of sign is looked for.
    """
    if temperature == 0:
        return 0.0
    top = float(f.derivative(2, 1.0))
    b = temperature / math.sqrt(top)
    if b < _NOTHING:
        return b

    def height(y: float) -> float:
        return math.log(y) + 0.5 * math.log(float(f.derivative(2, 1 - b * y)) / top)

    grid = np.geomspace(1, 1 / b, _POINTS)[:-1]
    above = np.log(grid) + 0.5 * np.log(f.derivative(2, 1 - b * grid) / top) > 0
    if not above.any():
        raise ValueError(f"temperature = {temperature:g}: no aging state; needed: T < T_d")
    k = int(np.argmax(above))
    return b * float(brentq(height, grid[k - 1], grid[k], xtol=1e-15)) if k else b


def edwards_anderson(f: Covariance, temperature: float) -> float:
    """Return q_EA of the aging state: the largest root of f''(q)(1 − q)² = T²; 0 ≤ T < T_d."""
    return 1 - overlap_gap(f, temperature)


def _curvature_excess(f: Covariance, q: float) -> float:
    """Return q f''(q)/f'(q) − 1; f'(q) > 0."""
    parts = [a * p * q ** (p - 2) for p, a in zip(f.powers, f.weights, strict=True)]
    return math.fsum((p - 2) * part for p, part in zip(f.powers, parts, strict=True)) / math.fsum(parts)


def fdt_ratio(f: Covariance, temperature: float) -> float:
    """Return X of the aging regime; 0 ≤ T < T_d."""
    gap = overlap_gap(f, temperature)
    return _curvature_excess(f, 1 - gap) * gap / (1 - gap)


def equilibrium_energy(f: Covariance, temperature: float) -> float:
    """Return −f(1)/T, the energy in equilibrium above T_K."""
    return -float(f.derivative(0, 1.0)) / temperature


def threshold_energy(f: Covariance) -> float:
    """Return E_th: of gradient descent from T_i = ∞, if it forgets its start."""
    zeroth, first, second = (float(f.derivative(k, 1.0)) for k in range(3))
    return -(first + zeroth * _curvature_excess(f, 1.0)) / math.sqrt(second)


def asymptotic_energy(f: Covariance, temperature: float) -> float:
    """Return lim E(t) of a quench from T_i = ∞ to T ≥ 0."""
    if temperature < _NOTHING * math.sqrt(float(f.derivative(2, 1.0))):
        return threshold_energy(f)
    if temperature >= dynamic_temperature(f):
        return equilibrium_energy(f, temperature)
    gap = overlap_gap(f, temperature)
    logs = {p: p * math.log1p(-gap) for p in f.powers}
    weighted = list(zip(f.powers, f.weights, strict=True))
    lost = math.fsum(-a * math.expm1(logs[p]) for p, a in weighted)
    kept = math.fsum(a * math.exp(logs[p]) for p, a in weighted)
    return -(lost + fdt_ratio(f, temperature) * kept) / temperature


class FollowedState(NamedTuple):
    """The minimum below an equilibrium state.

    Attributes
    ----------
    overlap : float
        C(t → ∞, 0) of gradient descent.
    energy : float
    marginality : float
        f''(1) χ²: 1 where the minimum has directions without curvature.
    """

    overlap: float
    energy: float
    marginality: float


def marginal_start(f: Covariance) -> float:
    """Return T_SF, below which the minimum of a start in equilibrium at T_i is stable; T_d for pure models.

    f''(1) χ² = 1 gives r² = 1 − f'(1)/f''(1), and T_SF = f'(r) χ/r. For terms with p > 2 only.
    """
    first, second = (float(f.derivative(k, 1.0)) for k in (1, 2))
    r = math.sqrt(1 - first / second)
    return float(f.derivative(1, r)) / (r * math.sqrt(second))


def followed_state(f: Covariance, temperature: float) -> FollowedState:
    """Return where gradient descent ends that starts in equilibrium at T_i; T_K < T_i ≤ T_SF.

    Raises
    ------
    ValueError
        If T_i lies above: there the minimum is not stable, and descent ages.
    """
    first, second = (float(f.derivative(k, 1.0)) for k in (1, 2))
    if not 0 < temperature <= marginal_start(f):
        raise ValueError(f"temperature = {temperature:g}: no stable minimum; needed: 0 < T_i ≤ T_SF")
    least = math.sqrt(1 - first / second)

    def pull(gap: float) -> float:
        r = 1 - gap
        return float(f.derivative(1, r)) * math.sqrt(gap * (1 + r) / first) / r - temperature

    # The root of the stable minimum lies between r of T_SF and 1.
    gap = brentq(pull, 0.0, 1 - least, xtol=1e-16)
    r, chi = 1 - gap, math.sqrt(gap * (2 - gap) / first)
    energy = -float(f.derivative(0, r)) / temperature - first * chi
    return FollowedState(r, energy, second * chi**2)
