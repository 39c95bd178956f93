r"""Closed forms of the spherical p-spin model for N → ∞, in the project's normalisation.

H = −Σ_{i1<…<ip} J σ…σ with ⟨J²⟩ = p!/(2N^{p−1}) has ⟨H(σ)H(σ')⟩ = N f(q), f(q) = q^p/2, q the overlap.
Equilibrium correlations and the aging solution follow from f (Crisanti & Sommers 1992; Cugliandolo &
Kurchan 1993):

- Above T_d the overlap relaxes to 0 and E = −1/(2T).
- A metastable overlap q > 0 solves q/(1 − q) = f'(q)/T². As a condition on T² it has a maximum over q at
  q = (p−2)/(p−1): that is T_d.
- At T_K its free energy equals the paramagnet's: −ln(1 − q) − q = f(q)/T². Dividing by the first
  condition, −ln(1 − q) − q = q²/(p(1 − q)) fixes q.
- The aging state below T_d, reached from T_i = ∞, is marginal: f''(q)(1 − q)² = T².

All of it is computed from ε = 1 − q, which is small where T is: ε ≈ T/√f''(1). From q itself differences of
numbers near 1 would be left, with an error of 10⁻¹⁶/T in the energy.
"""

from __future__ import annotations

import math

from langevin.systems.roots import brentq

#: Of ln ε, by which roots are bracketed; all of them lie above, for any p that fits in memory.
_LOWEST = -40.0
#: ε below which it changes no digit of a closed form in which it is added to 1.
_NOTHING = 1e-20


def coupling_variance(p: int, n: int) -> float:
    """Return ⟨J²⟩ = p!/(2 N^{p−1})."""
    return math.factorial(p) / (2 * float(n) ** (p - 1))


def dynamic_temperature(p: int) -> float:
    """Return T_d, below which the quench from T_i = ∞ ages for ever (p = 2: T_c = 1)."""
    if p == 2:
        return 1.0
    q = (p - 2) / (p - 1)
    return math.sqrt(p / 2 * q ** (p - 2) * (1 - q))


def static_temperature(p: int) -> float:
    """Return T_K, at or below which planting no longer gives equilibrium (p = 2: T_c = 1)."""
    if p == 2:
        return 1.0
    gap = static_gap(p)
    return math.sqrt(p / 2 * (1 - gap) ** (p - 2) * gap)


def static_gap(p: int) -> float:
    """Return ε = 1 − q of the states at T_K; p > 2."""

    def excess(log: float) -> float:
        # −ln ε − q = q²/(pε), for ε = e^log.
        gap = math.exp(log)
        return -log - (1 - gap) - (1 - gap) ** 2 / (p * gap)

    # T_d has q = (p−2)/(p−1), and T_K a larger one.
    return math.exp(brentq(excess, _LOWEST, -math.log(p - 1), xtol=1e-15))


def threshold_energy(p: int) -> float:
    """Return E_th at T = 0, per spin: −√(2(p−1)/p)."""
    return -math.sqrt(2 * (p - 1) / p)


def overlap_gap(p: int, temperature: float) -> float:
    """Return ε = 1 − q_EA of the aging state, to rounding of ε itself; 0 ≤ T < T_d.

    With b = T/√f''(1), f''(1) = p(p−1)/2, the root of ε(1 − ε)^{(p−2)/2} = b is ε = b y, where

        h(y) = ln y + (p−2)/2 ln(1 − b y) = 0.

    h is concave and h(1) ≤ 0, so that Newton's method climbs from y = 1 to the smallest root: the largest q.
    """
    return _smallest_gap(temperature / math.sqrt(p * (p - 1) / 2), p)


def _smallest_gap(b: float, p: int) -> float:
    """Return the smallest root of ε(1 − ε)^{(p−2)/2} = b, as `overlap_gap` finds it."""
    k = (p - 2) / 2
    y, moved = 1.0, 1.0
    # Quadratic; more is needed only where h is flat, at the largest T with a root, above T_d.
    for _ in range(100):
        if moved <= 1e-16 * y:
            break
        moved = -(math.log(y) + k * math.log1p(-b * y)) / (1 / y - k * b / (1 - b * y))
        y += moved
    return b * y


def edwards_anderson(p: int, temperature: float) -> float:
    """Return q_EA of the aging state: the largest root of p(p−1)/2·q^{p−2}(1−q)² = T²; 0 ≤ T < T_d."""
    return 1 - overlap_gap(p, temperature)


def fdt_ratio(p: int, temperature: float) -> float:
    """Return X = (p−2)(1−q)/q, the fluctuation-dissipation ratio of the aging regime; 0 ≤ T < T_d."""
    gap = overlap_gap(p, temperature)
    return (p - 2) * gap / (1 - gap)


def equilibrium_energy(temperature: float) -> float:
    """Return −1/(2T), the energy per spin in equilibrium above T_K."""
    return -0.5 / temperature


def broken_energy(p: int, temperature: float) -> float:
    """Return the energy per spin in equilibrium at 0 ≤ T < T_K, where replica symmetry breaks once; p > 2.

    The free energy (Crisanti & Sommers 1992) is stationary in the overlap q and in the breakpoint m. With
    y = m q/(1 − q) the two conditions are

        y²/(p (1 + y)) = ln(1 + y) − y/(1 + y),        p (1 + y) q^{p−2} (1 − q)²/2 = T².

    The first knows nothing of T: at T_K it holds with m = 1. The second is that of `overlap_gap` with 1 + y
    in place of p − 1. E = −[1 − (1 − m) q^p]/(2T), summed as in `asymptotic_energy`.
    """
    kept = static_gap(p)
    y = (1 - kept) / kept
    slope = math.sqrt(p * (1 + y) / 2)
    if temperature / slope < _NOTHING:
        return -(p + y) / (2 * slope)
    gap = _smallest_gap(temperature / slope, p)
    breakpoint = y * gap / (1 - gap)
    log_power = p * math.log1p(-gap)
    return -(-math.expm1(log_power) + breakpoint * math.exp(log_power)) / (2 * temperature)


def asymptotic_energy(p: int, temperature: float) -> float:
    """Return lim E(t) of a quench from T_i = ∞ to T ≥ 0, per spin.

    −1/(2T) above T_d, else −(1/2T)[1 − (1−X) q^p], which tends to E_th for T → 0. With ε = 1 − q the bracket
    is the sum [1 − (1 − ε)^p] + X (1 − ε)^p of two positive terms of the size of T.
    """
    gap = temperature / math.sqrt(p * (p - 1) / 2)
    if gap < _NOTHING:
        return threshold_energy(p)
    if temperature >= dynamic_temperature(p):
        return equilibrium_energy(temperature)
    log_power = p * math.log1p(-overlap_gap(p, temperature))
    lost = -math.expm1(log_power) + fdt_ratio(p, temperature) * math.exp(log_power)
    return -lost / (2 * temperature)


def initial_slope(p: int, n: int) -> float:
    """Return dE/dt at t = 0⁺ from a random start, at finite N and any T.

    dE/dt = −⟨|∇_tangent H|²⟩/N (the Laplacian of H averages to 0 over the couplings), where
    |∇_tangent H|² = |f|² − (σ·f)²/N and σ·f = −pH. Over the sphere ⟨σ_1²…σ_k²⟩ = N^k/(N(N+2)…(N+2k−2)).
    """

    def moment(k: int) -> float:
        return math.prod(n / (n + 2 * i) for i in range(k))

    variance = coupling_variance(p, n)
    force = n * math.comb(n - 1, p - 1) * variance * moment(p - 1)
    radial = p**2 * math.comb(n, p) * variance * moment(p) / n
    return -(force - radial) / n


def initial_curvature(p: int, n: int) -> float:
    """Return d²E/dt² at t = 0⁺ from a random start, over T, at finite N; p²/2 for N → ∞.

    With the generator L = TΔ − ∇H·∇ on the sphere d²⟨H⟩/dt² = ⟨L²H⟩. A Laplacian averages to 0 over the
    sphere, and −∇H·∇|∇H|², cubic in the couplings, over these. What is left is −T⟨∇H·∇ΔH⟩ = T⟨(ΔH)²⟩,
    where ΔH = −p(N + p − 2)H/N: without repeated indices H is a spherical harmonic.
    """
    return (p * (n + p - 2) / n) ** 2 * energy_square(p, n)


def energy_square(p: int, n: int) -> float:
    """Return ⟨H²⟩/N over couplings and the sphere at finite N; 1/2 for N → ∞, as f(1)."""
    moment = math.prod(n / (n + 2 * i) for i in range(p))
    return math.comb(n, p) * coupling_variance(p, n) * moment / n


def hessian_radius(p: int) -> float:
    """Return the radius 2√(p(p−1)/2) of the semicircle that is the spectrum of the Hessian on the sphere.

    ∂²H/∂σ_i∂σ_j = −Σ J_ij… Π σ is a sum over N^{p−2}/(p−2)! sets of p − 2 spins, each of variance
    ⟨J²⟩ = p!/(2N^{p−1}) at ⟨Πσ²⟩ = 1: a Gaussian matrix with elements of variance s² = p(p−1)/(2N) =
    f''(1)/N and a semicircle of radius 2√(N s²). On the tangent plane it does not depend on H: ∂²H is
    correlated with H along σ_i σ_j alone. It lies around μ = −pE (`hessian_centre`), and begins at 0 where
    E = −√(2(p−1)/p), the threshold energy.
    """
    return 2 * math.sqrt(p * (p - 1) / 2)


def hessian_centre(p: int, energy: float) -> float:
    """Return the centre μ = −pE of that semicircle; the derivation of μ stands in `curvature`."""
    return -p * energy


def largest_step(p: int, temperature: float) -> float:
    """Return the time step from which on the scheme is unstable, or far too coarse.

    - Stability: dt < 2/λ_max, the largest curvature λ_max = μ + 2√f''(1), with μ = T − pE and f''(1) =
      p(p−1)/2. On the threshold at T = 0 μ = 2√f''(1); in equilibrium μ = T + p/(2T). The larger counts.
    - Kicks: 2T dt < 1/5, the square of one step's noise against a spin's size 1.
    """
    radius = hessian_radius(p)
    if temperature == 0:
        return 1 / radius
    return step_below(radius, temperature, p / (2 * max(temperature, dynamic_temperature(p))))


def step_below(radius: float, temperature: float, warm: float) -> float:
    """Return what the two conditions of `largest_step` give; `warm` is −Σ p E_p of equilibrium, T > 0."""
    mu = max(radius, temperature + warm)
    return min(2 / (mu + radius), 0.1 / temperature)
