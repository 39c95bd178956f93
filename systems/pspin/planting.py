r"""Equilibrium starts at a finite temperature, by planting.

Wanted: a pair (σ, J) from the joint measure P(J) e^{−βH_J(σ)}: given J, σ is a Boltzmann sample, and above
T_K the marginal of J differs from P(J) by nothing that survives N → ∞. Taken in the other order it is easy:

1. Given σ, completing the square in P(J) e^{βJ σ…σ}, each J is Gaussian with mean β⟨J²⟩ σ_{i1}…σ_{ip} and
   unchanged variance. In a mixed model this holds for every p, with ⟨J²⟩ that of its couplings.
2. The marginal of σ is ∝ ∏ e^{β²⟨J²⟩(σ_{i1}…σ_{ip})²/2} = exp(½β²⟨J²⟩ e_p(σ²)), e_p the elementary
   symmetric polynomial. With couplings i1<…<ip only it is not constant on the sphere, so a uniform σ
   would be off by O(1/N); rejection makes it exact. By Maclaurin's inequality e_p(σ²) ≤ C(N, p). Of several
   p the exponents add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.systems.sphere import uniform_on_sphere

from .theory import coupling_variance

Array = NDArray[np.float64]


def elementary_symmetric(y: NDArray[Any], p: int) -> Array:
    """Return e_p(y) = Σ_{i1<…<ip} y_{i1}…y_{ip} along the last axis, by Newton's identities."""
    power = [np.sum(y**k, axis=-1) for k in range(1, p + 1)]
    e = [np.ones_like(power[0])]
    for k in range(1, p + 1):
        e.append(sum((-1) ** (j - 1) * e[k - j] * power[j - 1] for j in range(1, k + 1)) / k)
    return e[p]


def equilibrium_configuration(
    strengths: int | Mapping[int, float], n: int, beta: float, rng: np.random.Generator, batch: int = 256
) -> Array:
    """Draw σ, shape (n,), from its marginal in P(J) e^{−βH_J(σ)}.

    About exp(½β² f''(1)) tries are needed, f''(1) = Σ a_p p(p−1)/2: 10 for p = 3 at T = 0.8, some 10⁵ for
    p = 4 at T_K.

    Parameters
    ----------
    strengths : int or mapping
        p, or a_p by p.
    n : int
    beta : float
    rng : numpy.random.Generator
    batch : int
        Configurations tried at once.
    """
    table = {strengths: 1.0} if isinstance(strengths, int) else strengths
    scales = {p: beta**2 * (a * coupling_variance(p, n)) / 2 for p, a in table.items()}
    while True:
        x = uniform_on_sphere(n, rng, batch)
        square = x * x
        first, *further = (
            scale * (elementary_symmetric(square, p) - math.comb(n, p)) for p, scale in scales.items()
        )
        excess = sum(further, first)
        accepted = np.flatnonzero(np.log(rng.random(batch)) < excess)
        if accepted.size:
            return x[accepted[0]]
