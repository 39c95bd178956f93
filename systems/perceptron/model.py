r"""The spherical perceptron: H = ½ Σ_μ h_μ² θ(−h_μ), h_μ = ξ_μ·x/√N − σ, on the sphere Σx_i² = N.

P = αN patterns ξ_μ of independent standard normal components are the quenched disorder. A gap h_μ < 0 is an
unsatisfied constraint, as an overlap of two spheres is. For a margin σ ≥ 0 the problem is convex, and solved
(`theory`); for σ < 0 it is not, and its jamming transition has the exponents of spheres in infinite dimension
(Franz & Parisi, J. Phys. A 49, 145001 (2016); Franz, Parisi, Sevelev, Urbani & Zamponi, SciPost Phys. 2, 019
(2017)). Energies are per degree of freedom, H/N.

The projection onto the sphere after each step supplies the multiplier T + μ, μ = −x·∂H/N (`pspin.model`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from langevin.config.keys import Section, key, shown
from langevin.config.sections import LangevinDynamics, RecordKeys
from langevin.config.settings import Settings
from langevin.config.shards import room_faults
from langevin.core.capabilities import (
    ChecksSettings,
    DescribesVariables,
    HasConstraint,
    HasFurtherDimensions,
    HasHessian,
    HasKernel,
    HasObservables,
    HasRecordKeys,
    MeasuresAtEnd,
)
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.protocol import Protocol, bounds
from langevin.core.schemes import Held
from langevin.core.system import Array, Attributes, Model
from langevin.machine.reports import report
from langevin.systems.sphere import onto_sphere, uniform_on_sphere

from . import theory

if TYPE_CHECKING:
    from .jamming import Jammed
    from .kernels import Evaluation, Field
    from .landscape import Point, TangentHessian


class PerceptronKeys(Section):
    """What stands under [system]."""

    n: int = key("dimension N of x", example=128, ge=4, le=100_000)
    alpha: float = key("patterns per dimension α = P/N; P is rounded", example=4.0, gt=0, le=10_000)
    margin: float = key(
        "margin σ: a pattern is satisfied where ξ·x/√N ≥ σ; convex for σ ≥ 0", default=0.0, ge=-10, le=10
    )


class PerceptronRecord(RecordKeys):
    """[record]: where the run ends."""

    end: Literal["gaps", "minimum", "jamming"] = key(
        'what is measured of all patterns when the run has ended: "gaps" of its last configuration; '
        '"minimum": those of the minimum of the energy below it; "jamming": gaps and forces where it jams as '
        "the margin is lowered from there",
        default="gaps",
    )


#: Value of `end` → where gaps are measured.
_WHERE = {"gaps": "of the last configuration", "minimum": "of the minimum", "jamming": "at jamming"}


def pattern_count(alpha: float, n: int) -> int:
    """Return P = αN, rounded."""
    return round(alpha * n)


def largest_step(alpha: float, margin: float, temperature: float) -> float:
    """Return the time step from which on the scheme is unstable, or far too coarse.

    - Stability: dt < 2/λ_max. AᵀA of all patterns has eigenvalues up to (1 + √α)² (Marchenko & Pastur), and
      the
      multiplier is at most σ Σ|h|/N, α σ (σ Φ(σ) + φ(σ)) at a random x, and less in a minimum.
    - Kicks: 2T dt < 1/5, the square of one step's noise against a coordinate's size 1.
    """
    mean = margin * theory.unsatisfied_share(margin) + theory.density(margin)
    limit = 2 / ((1 + math.sqrt(alpha)) ** 2 + alpha * max(margin, 0.0) * mean)
    return limit if temperature == 0 else min(limit, 0.1 / temperature)


class SphericalPerceptron(
    Model,
    ChecksSettings,
    HasRecordKeys,
    HasConstraint,
    HasKernel,
    HasHessian,
    HasObservables,
    HasFurtherDimensions,
    DescribesVariables,
    MeasuresAtEnd,
):
    """The spherical perceptron with a margin, finite N.

    Replicas of one sample share its patterns; each has a random start of its own.
    """

    Parameters = PerceptronKeys
    Record = PerceptronRecord

    def __init__(
        self, parameters: Any, dynamics: LangevinDynamics, ensemble: Ensemble, record: Any = None
    ) -> None:
        self.n: int = parameters.n
        self.patterns_each = pattern_count(parameters.alpha, self.n)
        self.margin: float = parameters.margin
        # No closed form is that of a temperature that changes: not a number.
        bath = dynamics.temperature
        self.temperature = math.nan if isinstance(bath, Protocol) else bath
        self.ensemble = ensemble
        self.end: str = (record or self.Record()).end
        self.end_name = self.end
        self.samples, self._position = np.unique(ensemble.sample, return_inverse=True)
        self._known: Evaluation | None = None

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield too few patterns, a step that is not stable, a start that cannot be, too little memory."""
        p, dynamics = settings.system, settings.dynamics
        count = pattern_count(p.alpha, p.n)
        if count < 1:
            yield f"system.alpha = {p.alpha:g}: leaves no pattern at system.n = {p.n}; allowed: ≥ {1 / p.n:g}"
        if dynamics.initial_temperature < math.inf:
            yield (
                f"dynamics.initial_temperature = {dynamics.initial_temperature:g}: allowed: inf, a random "
                "configuration"
            )
        hottest = bounds(dynamics.temperature, dynamics.t_max)[1]
        limit = largest_step(p.alpha, p.margin, hottest)
        if dynamics.dt >= limit:
            yield (
                f"dynamics.dt = {dynamics.dt:g}: must be below {limit:.4f} for system.alpha = {p.alpha:g}, "
                f"system.margin = {shown(p.margin)}, T = {hottest:g} (stability, and a kick √(2 T dt) that "
                "is small; unit: time)"
            )
        # The patterns; configurations before and after a step, and forces.
        said = f"system.n = {p.n}, system.alpha = {p.alpha:g}, ensemble.samples = {settings.ensemble.samples}"
        yield from room_faults(
            settings, lambda replicas, samples: 8.0 * p.n * (count * samples + 4 * replicas), said
        )

    @cached_property
    def patterns(self) -> list[Array]:
        """The patterns ξ of each quenched sample, shape (P, N)."""
        shape = self.patterns_each, self.n
        return [self.ensemble.quenched("disorder", s).standard_normal(shape) for s in self.samples]

    @cached_property
    def field(self) -> Field:
        """The compiled forces and steps."""
        from .kernels import Field

        return Field(self.patterns, self._position, self.margin, self.ensemble.threads)

    def initial_configuration(self, noise: Noise) -> Array:
        """Return a random start for each replica, shape (R, N)."""
        rngs = [self.ensemble.quenched("start", k) for k in self.ensemble.replica]
        return np.array([uniform_on_sphere(self.n, rng) for rng in rngs])

    def evaluate(self, x: Array) -> Evaluation:
        """Return force, energy and unsatisfied patterns of configurations x, shape (R, N)."""
        # Measurements and the next step ask at the same x; configurations are never changed in place.
        if self._known is None or self._known.x is not x:
            self._known = self.field.evaluate(x)
        return self._known

    def force(self, x: Array, t: float = 0.0, noise: Noise | None = None) -> Array:
        """Return −∂H/∂x, shape (R, N)."""
        return self.evaluate(x).force

    def energy(self, x: Array) -> Array:
        """Return H/N, shape (R,)."""
        return self.evaluate(x).energy / self.n

    def constrain(self, x: Array) -> Array:
        """Rescale onto the sphere Σx² = N."""
        return onto_sphere(x)

    def observables(self, x: Array) -> dict[str, Array]:
        """Return how many patterns are unsatisfied, N_Δ, and which share N_Δ/P of them."""
        count = self.evaluate(x).unsatisfied
        return {"unsatisfied": count.copy(), "unsatisfied_share": count / self.patterns_each}

    def fused_steps(
        self,
        x: Array,
        steps: int,
        dt: float,
        temperature: float,
        noise: Noise,
        accumulated: Array | None = None,
        held: Held | None = None,
    ) -> Array:
        """Take many steps in compiled code; equal to the plain step to rounding."""
        generators = noise.streams() if temperature > 0 else []
        start = self.evaluate(x)
        self._known = self.field.steps(start, steps, dt, temperature, generators, accumulated, held)
        return self._known.x

    def hessian(self, x: Array, position: int) -> TangentHessian:
        """Return the Hessian on the sphere of one replica, with N − 1 rows."""
        from .landscape import TangentHessian

        return TangentHessian(self.patterns[int(self._position[position])], x[position], self.margin)

    def at_end(self, x: Array) -> Mapping[str, Array]:
        """Return the gaps of all patterns, shape (R, P), of the configurations, of minima, or at jamming.

        What could not be reached is NaN: a minimum that Newton's method has not settled in, a jammed
        configuration whose conditions are not met.
        """
        from langevin.machine.blas import single_blas

        from .landscape import Point

        found = []
        with single_blas():
            for r, position in enumerate(self._position):
                report(r / len(x))
                found.append(self._ended(Point.at(self.patterns[int(position)], x[r], self.margin)))
        return {name: np.array([each[name] for each in found]) for name in found[0]}

    def _ended(self, point: Point) -> dict[str, Any]:
        """Return what is measured at the end of one replica."""
        from .jamming import jam
        from .landscape import minimum, settled

        if self.end == "gaps":
            return {"gap": point.gaps}
        if self.end == "minimum":
            lowest = minimum(point)
            known = 1.0 if settled(lowest) else math.nan
            return {
                "gap": known * lowest.gaps,
                "minimum_energy": known * lowest.energy / self.n,
                "minimum_unsatisfied": known * (0 if lowest.satisfied else np.sum(lowest.gaps < 0)),
            }
        return self._jammed(jam(point))

    def _jammed(self, found: Jammed | None) -> dict[str, Any]:
        if found is None:
            unknown = np.full(self.patterns_each, math.nan)
            return {
                "gap": unknown, "contact_force": unknown, "jamming_margin": math.nan, "contacts": math.nan
            }  # fmt: skip
        return {
            # Of contacts it is 0 to rounding, and rounding says nothing.
            "gap": np.where(found.contacts, 0.0, found.gaps),
            "contact_force": found.forces,
            "jamming_margin": found.margin,
            "contacts": float(found.contacts.sum()),
        }

    def dimensions(self) -> Mapping[str, tuple[str, ...]]:
        """Say that gaps and forces are one for each pattern."""
        return {"gap": ("pattern",), "contact_force": ("pattern",)}

    def attributes(self) -> Attributes:
        """Name the observables; give the limits for N → ∞ that are known in closed form."""
        load = self.patterns_each / self.n
        energy: dict[str, Any] = {"long_name": "energy per degree of freedom"}
        if self.margin >= 0 and not math.isnan(self.temperature):
            energy["asymptote"] = theory.energy(load, self.margin, self.temperature)
            energy["asymptote_meaning"] = "E(t → ∞) for N → ∞, replica symmetric, exact for σ ≥ 0"
        return {
            "energy": energy,
            "msd": {"long_name": "mean square displacement per degree of freedom"},
            "correlation": {"long_name": "correlation per degree of freedom", "dof": self.n},
            "integrated_response": {"long_name": "integrated response"},
            "unsatisfied": {"long_name": "number of unsatisfied patterns", "units": "1", "dof": self.n},
            "unsatisfied_share": {
                "long_name": "share of the patterns that is unsatisfied", "units": "1"
            },
            "hessian": {
                "rows": self.n - 1,
                "definition": "∂²H/∂x_i∂x_j − (x·∂H/N) δ_ij on the sphere's tangent plane, H extensive",
            },
            **self._attributes_at_end(load),
        }  # fmt: skip

    def _attributes_at_end(self, load: float) -> Attributes:
        """Name what is measured at the end, with what theory says of it for N → ∞."""
        gap: dict[str, Any] = {"long_name": f"gap h = ξ·x/√N − σ {_WHERE[self.end]}", "units": "1"}
        if self.end == "gaps":
            return {"gap": gap}
        if self.end == "minimum":
            return {"gap": gap, **self._attributes_of_minimum(load)}
        margin = theory.jamming_margin(load)
        exact = margin >= 0
        force: dict[str, Any] = {"long_name": "contact force at jamming, over its mean", "units": "1"}
        if not exact:
            gap |= _of_law(theory.GAP_EXPONENT, -1, theory.gap_window(self.n))
            force |= _of_law(theory.FORCE_EXPONENT, 1, theory.force_window(self.n))
        return {
            "gap": gap,
            "contact_force": force,
            "contacts": {
                "long_name": "number of contacts at jamming",
                "units": "1",
                "dof": self.n,
                "per_dof": theory.contacts_at_jamming(margin),
                "per_dof_meaning": "contacts/N for N → ∞, exact",
            },
            "jamming_margin": {
                "long_name": "margin σ_J at which the replica jams",
                "units": "1",
                "replica_symmetric": margin,
                "replica_symmetric_meaning": f"for N → ∞, {'exact' if exact else 'an upper bound'}",
            },
        }

    def _attributes_of_minimum(self, load: float) -> Attributes:
        exact = self.margin >= 0
        energy: dict[str, Any] = {
            "long_name": "energy of the minimum per degree of freedom",
            "units": "1",
            "jamming_load": theory.jamming_load(self.margin),
            "jamming_load_meaning": f"threshold α_J for N → ∞, {'exact' if exact else 'an upper bound'}",
            "replica_symmetric": theory.minimum_energy(load, self.margin),
            "replica_symmetric_meaning": f"for N → ∞, {'exact' if exact else 'a lower bound'}",
        }
        count: dict[str, Any] = {
            "long_name": "number of unsatisfied patterns of the minimum", "units": "1", "dof": self.n
        }  # fmt: skip
        if exact:
            count["share"] = theory.unsatisfied_share(self.margin)
            count["share_meaning"] = "N_Δ/P above the threshold for N → ∞, exact"
        return {"minimum_energy": energy, "minimum_unsatisfied": count}


def _of_law(exponent: float, sign: int, window: tuple[float, float]) -> dict[str, float]:
    """Say what power law P ∝ x^(sign·exponent) theory has, and where it can be seen at this N."""
    return {
        "exponent": exponent, "exponent_sign": sign, "window_low": window[0], "window_high": window[1]
    }  # fmt: skip
