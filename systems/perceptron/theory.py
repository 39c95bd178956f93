r"""Closed forms of the spherical perceptron for N → ∞, replica symmetric: exact for margins σ ≥ 0.

The overlap of two replicas in equilibrium at temperature T = 1/β is q (Gardner 1988; Franz & Parisi 2016).
With Dz the standard normal measure the free energy per degree of freedom is stationary in q,

    −βf = ½[ln(1 − q) + q/(1 − q)] + α ∫Dz ln ∫Dt e^{−βv(√q z + √(1−q) t − σ)},    v(h) = h² θ(−h)/2.

**T = 0.** Where the minimum of the energy is above 0, q → 1 and χ = β(1 − q) stays finite. The integral over
t is taken at its saddle point, v is replaced by the least v(h) + (h − z + σ)²/(2χ), which lies at h = z − σ
for z > σ and at h = (z − σ)/(1 + χ) for z < σ, and is (z − σ)²/(2(1 + χ)) there:

    e = max_χ { −1/(2χ) + α I(σ)/(2(1 + χ)) },    I(σ) = ∫_{−∞}^{σ} Dz (z − σ)² = (1 + σ²) Φ(σ) + σ φ(σ).

The maximum is at 1/χ = √(αI) − 1. With α_J = 1/I(σ), Gardner's capacity,

    e(α) = ½ (√(α/α_J) − 1)²,    α > α_J,

and 0 below. A share Φ(σ) of the patterns is unsatisfied in the minimum, at α_J the contacts are α_J Φ(σ) N: N
at σ = 0, fewer for σ > 0 (hypostatic). The replica symmetric state is stable if α Φ(σ) χ²/(1 + χ)² =
Φ(σ)/I(σ) ≤ 1, for any α: if σ ≥ 0. For σ < 0 the same α_J is only an upper bound of the threshold.

**T > 0.** With m = √q z − σ, s² = 1 − q and c² = 1 + βs² the inner integral is

    Z(m) = Φ(m/s) + e^{−βm²/(2c²)} Φ(−m/(s c))/c.

Stationarity in q, after an integration by parts over z, is q/(1 − q)² = α ∫Dz (∂_m ln Z)², and the energy is
e = −α ∫Dz ∂_β ln Z.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from langevin.systems.roots import brentq

#: Exponents of the gaps and of the forces at jamming where replica symmetry is broken (Charbonneau, Kurchan,
#: Parisi, Urbani & Zamponi 2014), P(h) ~ h^−γ and P(f) ~ f^θ; γ = 1/(2 + θ).
GAP_EXPONENT, FORCE_EXPONENT = 0.41269, 0.42311

#: Nodes of the integrals over z, and the z up to which they go: e^{−z²/2} is 10⁻³² there.
_NODES, _FAR = 400, 12.0


def density(z: float) -> float:
    """Return φ(z), the standard normal density."""
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def unsatisfied_share(margin: float) -> float:
    """Return Φ(σ), the share of patterns that are unsatisfied in the minimum above jamming."""
    return math.erfc(-margin / math.sqrt(2)) / 2


def jamming_load(margin: float) -> float:
    """Return α_J(σ) = 1/I(σ): the threshold for σ ≥ 0, an upper bound of it for σ < 0."""
    return 1 / ((1 + margin**2) * unsatisfied_share(margin) + margin * density(margin))


def jamming_margin(load: float) -> float:
    """Return σ_J(α), the inverse of `jamming_load`: α_J falls from ∞ to 0 as σ grows."""

    def excess(margin: float) -> float:
        return math.log(jamming_load(margin) / load)

    # α_J → 1/σ² at large σ; e^{σ²/2} at large −σ, where erfc is a normal number up to 37.
    return brentq(excess, -30.0, 2 + 2 / math.sqrt(load), xtol=1e-14)


def contacts_at_jamming(margin: float) -> float:
    """Return the contacts per degree of freedom at jamming: α_J Φ(σ) for σ ≥ 0, 1 for σ < 0 (isostatic)."""
    return jamming_load(margin) * unsatisfied_share(margin) if margin > 0 else 1.0


def minimum_energy(load: float, margin: float) -> float:
    """Return the minimum of H/N: ½(√(α/α_J) − 1)² above α_J, 0 below; a lower bound for σ < 0."""
    return max(0.0, math.sqrt(load / jamming_load(margin)) - 1) ** 2 / 2


@cache
def _normal_nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes z and weights of averages over the normal distribution, from an eigenvalue problem."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    z = _FAR * nodes
    return z, _FAR * weights * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _terms(q: float, beta: float, margin: float) -> tuple[NDArray[np.float64], ...]:
    """Return nodes' weights, ∂_m ln Z and ∂_β ln Z."""
    from scipy.special import log_ndtr

    z, weights = _normal_nodes()
    s2 = 1 - q
    s, c2 = math.sqrt(s2), 1 + beta * s2
    c = math.sqrt(c2)
    m = math.sqrt(q) * z - margin
    satisfied = log_ndtr(m / s)
    violated = -beta * m * m / (2 * c2) + log_ndtr(-m / (s * c)) - math.log(c)
    log_z = np.logaddexp(satisfied, violated)
    inside = np.exp(violated - log_z)
    # What the two Gaussians at h = 0 leave: densities of Φ(m/s) and Φ(−m/(sc)) cancel in ∂_m, but for 1/c.
    edge = np.exp(-m * m / (2 * s2) - log_z) / math.sqrt(2 * math.pi)
    by_m = -beta * m / c2 * inside + edge / s * (1 - 1 / c2)
    by_beta = -(m * m / (2 * c2 * c2) + s2 / (2 * c2)) * inside + edge * m * s / (2 * c2 * c2)
    return weights, by_m, by_beta


def overlap(load: float, margin: float, temperature: float) -> float:
    """Return q of equilibrium at T > 0, for σ ≥ 0."""
    beta = 1 / temperature

    def excess(x: float) -> float:
        q = 1 / (1 + math.exp(-x))
        weights, by_m, _ = _terms(q, beta, margin)
        return math.log(q / (1 - q) ** 2) - math.log(load * float(weights @ by_m**2))

    return 1 / (1 + math.exp(-brentq(excess, -30.0, 25.0, xtol=1e-12)))


def equilibrium_energy(load: float, margin: float, temperature: float) -> float:
    """Return H/N of equilibrium at T > 0, for σ ≥ 0."""
    weights, _, by_beta = _terms(overlap(load, margin, temperature), 1 / temperature, margin)
    return -load * float(weights @ by_beta)


@cache
def energy(load: float, margin: float, temperature: float) -> float:
    """Return H/N of equilibrium at T ≥ 0, for σ ≥ 0."""
    if temperature == 0:
        return minimum_energy(load, margin)
    return equilibrium_energy(load, margin, temperature)


def gap_window(n: int) -> tuple[float, float]:
    """Return between which gaps P(h) ∝ h^−γ can be seen at N: above the smallest of N gaps, below order 1.

    ∫_0^h P ~ h^{1−γ} is 1/N at N^{−1/(1−γ)}; ten of these count as far above, a thirtieth as small.
    """
    return 10 * n ** (-1 / (1 - GAP_EXPONENT)), 1 / 30


def force_window(n: int) -> tuple[float, float]:
    """Return between which forces over their mean P(f) ∝ f^θ can be seen at N: from the smallest of N forces.

    ∫_0^f P ~ f^{1+θ} is 1/N at N^{−1/(1+θ)}. Above a fifth of the mean P(f) bends, at any N.
    """
    return n ** (-1 / (1 + FORCE_EXPONENT)), 0.2
