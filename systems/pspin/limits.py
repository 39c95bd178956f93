"""Closed forms of a model by its strengths: those of pure models from `theory`, of mixed ones from f.

For mixed f they are those of `langevin.systems.cugliandolo_kurchan.theory`. Which of them are exact, and so
drawn, is said here, too: a quench of a mixed model to T < T_d need not forget its start (Folena, Franz &
Ricci-Tersenghi, PRX 10, 031045 (2020)), so that its limits are not known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property

from langevin.systems.cugliandolo_kurchan import theory as of_any
from langevin.systems.cugliandolo_kurchan.covariance import Covariance

from . import theory


class Limits:
    """N → ∞ closed forms of the model with f(q) = Σ_p a_p q^p/2.

    Parameters
    ----------
    strengths : mapping
        a_p by p. Of one p with strength 1 every number is that of `theory`, to the bit.
    """

    def __init__(self, strengths: Mapping[int, float]) -> None:
        self.powers = tuple(sorted(strengths))
        self.f = Covariance.mixed(strengths)
        #: p of a model with f = q^p/2; None of any other.
        self.pure = self.powers[0] if list(strengths.values()) == [1.0] else None

    @cached_property
    def dynamic_temperature(self) -> float:
        """T_d."""
        if self.pure is not None:
            return theory.dynamic_temperature(self.pure)
        return of_any.dynamic_temperature(self.f)

    @cached_property
    def static_temperature(self) -> float:
        """T_K."""
        if self.pure is not None:
            return theory.static_temperature(self.pure)
        return of_any.static_temperature(self.f)

    def equilibrium_energy(self, temperature: float) -> float:
        """Return −f(1)/T, the energy per spin in equilibrium above T_K."""
        if self.pure is not None:
            return theory.equilibrium_energy(temperature)
        return of_any.equilibrium_energy(self.f, temperature)

    def quench_energy(self, temperature: float) -> float | None:
        """Return lim E(t) of a quench from T_i = ∞, per spin; None where it is not known."""
        if self.pure is not None:
            return theory.asymptotic_energy(self.pure, temperature)
        if len(self.powers) == 1 or temperature >= self.dynamic_temperature:
            return of_any.asymptotic_energy(self.f, temperature)
        return None

    def static_energy(self, temperature: float) -> float | None:
        """Return the energy per spin in equilibrium at any T ≥ 0; None where it is not known, below T_K."""
        if temperature >= self.static_temperature:
            return self.equilibrium_energy(temperature)
        if self.pure is not None and self.pure > 2:
            return theory.broken_energy(self.pure, temperature)
        return None

    def ages(self, temperature: float) -> bool:
        """Return whether a quench from T_i = ∞ ages, to limits that are known."""
        return len(self.powers) == 1 and temperature < self.dynamic_temperature

    def edwards_anderson(self, temperature: float) -> float:
        """Return q_EA of the aging state; 0 ≤ T < T_d."""
        if self.pure is not None:
            return theory.edwards_anderson(self.pure, temperature)
        return of_any.edwards_anderson(self.f, temperature)

    def fdt_ratio(self, temperature: float) -> float:
        """Return X of the aging regime; 0 ≤ T < T_d."""
        if self.pure is not None:
            return theory.fdt_ratio(self.pure, temperature)
        return of_any.fdt_ratio(self.f, temperature)

    @property
    def hessian_radius(self) -> float:
        """The radius 2√f''(1) of the semicircle that is the spectrum of the Hessian (`theory`)."""
        if self.pure is not None:
            return theory.hessian_radius(self.pure)
        return 2 * math.sqrt(self.f.derivative(2, 1.0))

    def largest_step(self, temperature: float) -> float:
        """Return the time step from which on the scheme is unstable, or far too coarse, as in `theory`."""
        if self.pure is not None:
            return theory.largest_step(self.pure, temperature)
        if temperature == 0:
            return 1 / self.hessian_radius
        # The multiplier of equilibrium is T + f'(1)/T.
        warm = float(self.f.derivative(1, 1.0)) / max(temperature, self.dynamic_temperature)
        return theory.step_below(self.hessian_radius, temperature, warm)

    def initial_slope(self, n: int) -> float:
        """Return dE/dt at t = 0⁺ from a random start, at finite N: the sum of those of each p."""
        return self._summed(theory.initial_slope, n)

    def initial_curvature(self, n: int) -> float:
        """Return d²E/dt² at t = 0⁺ from a random start over T, at finite N; f'(1) + f''(1) for N → ∞."""
        return self._summed(theory.initial_curvature, n)

    def _summed(self, of_pure: Callable[[int, int], float], n: int) -> float:
        weights = zip(self.powers, self.f.weights, strict=True)
        return math.fsum(2 * a * of_pure(p, n) for p, a in weights)
