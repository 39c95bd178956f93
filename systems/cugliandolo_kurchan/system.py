r"""The Cugliandolo-Kurchan equations as a `System`: the dynamics of the spherical p-spin model for N → ∞.

For covariance f (docs/cugliandolo_kurchan.md derives them), t > t':

    ∂_t C(t,t') = −μ(t) C(t,t') + ∫_0^{t'} ds f'(C(t,s)) R(t',s) + ∫_0^t ds f''(C(t,s)) R(t,s) C(s,t')
                  + β_i f'(C(t,0)) C(t',0)
    ∂_t R(t,t') = −μ(t) R(t,t') + ∫_{t'}^t ds f''(C(t,s)) R(t,s) R(s,t'),    R(t⁺,t) = 1
    μ(t) = T + ∫_0^t ds [f'(C(t,s)) + f''(C(t,s)) C(t,s)] R(t,s) + β_i f'(C(t,0)) C(t,0)
    E(t) = −∫_0^t ds f'(C(t,s)) R(t,s) − β_i f(C(t,0))

Cugliandolo & Kurchan, PRL 71, 173 (1993); β_i = 1/T_i of the start. Nothing is random, and there is one
replica.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray
from pydantic import BeforeValidator

from langevin.config.keys import TEMPERATURES, DynamicsKeys, Section, TemperatureKey, key, shown
from langevin.config.settings import Settings
from langevin.core.capabilities import (
    ChecksSettings,
    ComparesAtLag,
    Deterministic,
    HasClock,
    MeasuresResponse,
)
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.protocol import Protocol, Temperature
from langevin.core.system import Array, Attributes, System
from langevin.core.times import is_whole
from langevin.machine import notices

from . import theory
from .covariance import Covariance

#: From which error of C on, in units of the tolerance, a run says so.
_LOST_CLOCK = 30.0


@dataclass(frozen=True)
class Reached:
    """A time, and how much of the solution belongs to it: slices of either solver, or rows."""

    t: float
    sizes: tuple[int, ...]


class CugliandoloKurchan(System, ChecksSettings, Deterministic, MeasuresResponse, ComparesAtLag, HasClock):
    """Spherical p-spin model, N → ∞: correlation, response and energy from closed equations.

    Two solvers: "long-time" steps implicitly in ln t, with errors controlled by `tolerance`, to t = 10⁷ in
    half a minute and to 10¹⁰ in some five; "direct" fills a uniform grid with extrapolation in its step,
    the reference for early times.
    """

    #: For N → ∞ there is no configuration.
    dof = 0

    class Parameters(Section):
        """What stands under [system]."""

        p: Annotated[Covariance, BeforeValidator(Covariance.parse)] = key(
            "spins in each interaction; a mixed model: several, with strengths, f(q) = Σ strength·q^p/2",
            example=3,
            kind="integer ≥ 2, or a table { 3 = 0.5, 4 = 0.5 }",
        )

    class Dynamics(DynamicsKeys):
        """[dynamics]: the direct solver has a step, the other reaches any time."""

        time_step_key = "grid_step"

        temperature: TemperatureKey = key("bath temperature T", example=0.5, kind=TEMPERATURES, unit="energy")
        initial_temperature: float = key(
            "temperature of the equilibrium start; inf: a random configuration",
            default=float("inf"),
            ge=0,
            inf=True,
            unit="energy",
        )
        t_max: float = key("end of the run", example=1000.0, gt=0, le=1e12, unit="time")
        solver: Literal["long-time", "direct"] = key("how the equations are solved", default="long-time")
        tolerance: float = key(
            "error aimed at in the energy, by the long-time solver", default=1e-7, ge=1e-9, le=1e-3
        )
        grid_step: float = key(
            "coarsest step of the direct solver, which extrapolates from it, its half and its quarter",
            default=0.05,
            gt=0,
            le=0.2,
            unit="time",
        )

        @property
        def time_step(self) -> float | None:
            """Step of the uniform grid, where there is one."""
            return self.grid_step if self.solver == "direct" else None

    def __init__(self, parameters: Any, dynamics: Any, ensemble: Ensemble) -> None:
        self.covariance: Covariance = parameters.p
        self.temperature: Temperature = dynamics.temperature
        self.initial_temperature: float = dynamics.initial_temperature
        self.beta = 1 / dynamics.initial_temperature  # 0 for T_i = ∞; T_i = 0 does not pass `check`
        self.tolerance: float = dynamics.tolerance
        self.t_max: float = dynamics.t_max
        self.threads = ensemble.threads
        self.time_step: float | None = dynamics.time_step

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield a start that is no equilibrium, and a grid that does not fit."""
        f, dynamics = settings.system.p, settings.dynamics
        # Of a random start nothing is asked, and no root finder loaded.
        planted = dynamics.initial_temperature < float("inf")
        if planted and dynamics.initial_temperature <= (lowest := theory.static_temperature(f)):
            yield (
                f"dynamics.initial_temperature = {dynamics.initial_temperature:g}: must be above "
                f"T_K = {lowest:.6f} of this model (below it a planted start is not equilibrium), or inf"
            )
        yield from _protocol_faults(dynamics)
        if dynamics.solver == "direct":
            yield from _direct_faults(dynamics)

    @cached_property
    def solvers(self) -> tuple[Any, ...]:
        """The solution and its companion, `LongTime` both, or the one that extrapolates, `Direct`."""
        from langevin.systems.threads import Pool, allowed

        from .stepping import Equations

        threads = allowed(self.threads)
        crew = Pool(threads)
        protocol = self.temperature if isinstance(self.temperature, Protocol) else None
        # The direct solver puts T(t) of a protocol in the place of the temperature here.
        bath = self.temperature.at(0.0) if isinstance(self.temperature, Protocol) else self.temperature
        problem = Equations(self.covariance, bath, self.beta, _slope(protocol) if protocol else 0.0)
        if self.time_step is None:
            from .companion import Companion
            from .longtime import LongTime

            # Two halves of the threads, for the two solutions at the same time.
            half = Pool(max(1, threads // 2))
            solution = LongTime(problem, self.tolerance, half)
            return solution, Companion(solution, half, self.t_max if threads > 1 else None)
        from .direct import Direct

        return (Direct(problem, self.time_step, round(self.t_max / self.time_step), crew, protocol),)

    def initial_state(self, noise: Noise) -> Reached:
        """Return the start, t = 0."""
        return self._at(0.0)

    def advance(self, state: Reached, t0: float, t1: float, noise: Noise) -> Reached:
        """Return the state at t1. Slices and rows are only ever added: earlier states stay valid."""
        return self._at(t1)

    def progress_clock(self, t: float) -> float:
        """Return ln(1 + t): slices of the long-time solver lie about evenly in it."""
        return math.log1p(t)

    def _at(self, t: float) -> Reached:
        # The companion first, which sends its guide ahead.
        return Reached(t, tuple(solver.reach(t) for solver in reversed(self.solvers))[::-1])

    def _one_time(self, state: Reached) -> tuple[Array, Array]:
        """Return (E, μ) and their errors."""
        if self.time_step is not None:
            (direct,), (size,) = self.solvers, state.sizes
            return direct.one_time(state.t, size)
        from .accuracy import one_time

        return one_time(self.solvers, state.sizes, state.t)

    def _two_time(self, earlier: float, state: Reached, lag: float) -> tuple[Array, Array]:
        """Return (C, R, χ) and their errors."""
        if lag == 0:
            return np.array([1.0, 1.0, 0.0]), np.zeros(3)
        if self.time_step is not None:
            (direct,), (size,) = self.solvers, state.sizes
            return direct.two_time(state.t, earlier, size)
        from .accuracy import TimePair, two_time

        return two_time(self.solvers, state.sizes, TimePair(state.t, earlier, lag))

    def measure(self, state: Reached) -> dict[str, Array]:
        """Return energy and μ with their estimated errors, shape (1,) each."""
        values, errors = self._one_time(state)
        return _with_errors(("energy", "mu"), values, errors)

    def reference(self, state: Reached) -> float:
        """Return the time."""
        return state.t

    def compare(self, reference: float, state: Reached) -> dict[str, Array]:
        """Return C, R, χ and Δ = 2(1 − C) with their estimated errors, shape (1,) each."""
        return self.compare_at(reference, state, state.t - float(reference))

    def compare_at(self, reference: float, state: Reached, lag: float) -> dict[str, Array]:
        """Return what `compare` returns, at a lag that the two times have to rounding only."""
        values, errors = self._two_time(float(reference), state, lag)
        if self.time_step is None and errors[0] > _LOST_CLOCK * self.tolerance:
            notices.once(
                "clock",
                f"from t = {state.t:.3g} on C is good to {errors[0]:.0e} only, where dynamics.tolerance = "
                f"{self.tolerance:g} holds for the energy (the clock of an aging state is soft); see "
                "correlation_error, or lower the tolerance",
            )
        compared = _with_errors(("correlation", "response", "integrated_response"), values, errors)
        compared["msd"] = 2 * (1 - compared["correlation"])
        compared["msd_error"] = 2 * compared["correlation_error"]
        return compared

    def configuration(self, state: Reached) -> None:
        """Return nothing: for N → ∞ there is no configuration."""

    def attributes(self) -> Attributes:
        """Name the variables, and give the limits that figures draw."""
        return self._attributes

    @cached_property
    def _attributes(self) -> Attributes:
        f = self.covariance
        # No closed form is that of a temperature that changes: comparisons with what is no number are false.
        changes = isinstance(self.temperature, Protocol)
        temperature = math.nan if isinstance(self.temperature, Protocol) else self.temperature
        equilibrium = temperature == self.initial_temperature
        aging = self.beta == 0 and len(f.powers) == 1 and f.powers[0] > 2
        aging = aging and temperature < theory.dynamic_temperature(f)
        own: dict[str, dict[str, Any]] = {
            "energy": {"long_name": "energy per spin", "units": "1", "ensemble": "N → ∞"},
            "mu": {"long_name": "Lagrange multiplier of the sphere", "units": "1"},
            "msd": {"long_name": "mean square displacement per spin", "units": "1"},
            "correlation": {"long_name": "spin correlation", "units": "1"},
            "response": {"long_name": "linear response", "units": "1"},
            "integrated_response": {
                "long_name": "integrated response",
                "units": "1",
                **({} if changes else {"temperature": temperature}),
            },
        }
        if aging or equilibrium:
            limit = theory.equilibrium_energy if equilibrium else theory.asymptotic_energy
            own["energy"]["asymptote"] = limit(f, temperature)
            own["energy"]["asymptote_meaning"] = "E(t → ∞), closed form"
        elif self._may_forget:
            own["energy"]["threshold"] = theory.asymptotic_energy(f, temperature)
            own["energy"]["threshold_meaning"] = "E(t → ∞) if the start is forgotten, closed form"
            own["energy"]["dynamic_temperature"] = theory.dynamic_temperature(f)
        if aging and temperature > 0:
            q = theory.edwards_anderson(f, temperature)
            for name, plateau, meaning in (("msd", 2 * (1 - q), "2(1 − q_EA)"), ("correlation", q, "q_EA")):
                own[name].update(plateau=plateau, plateau_meaning=f"{meaning} for t_w → ∞, closed form")
            own["integrated_response"].update(q_ea=q, fdt_ratio=theory.fdt_ratio(f, temperature))
        for name in ("energy", "mu", "msd", "correlation", "response", "integrated_response"):
            own[f"{name}_error"] = {"long_name": f"estimated numerical error of {name}", "units": "1"}
        return own

    @property
    def _may_forget(self) -> bool:
        """Whether the run is a quench below T_d from above, whose start may be forgotten, or not."""
        f = self.covariance
        if min(f.powers) == 2:
            return False
        if isinstance(self.temperature, Protocol):
            return False
        return self.temperature < theory.dynamic_temperature(f) <= self.initial_temperature

    def state_dict(self, state: Reached) -> dict[str, NDArray[Any]]:
        """Return the slices or rows up to the state's time."""
        saved: dict[str, NDArray[Any]] = {"t": np.array(state.t)}
        for k, (solver, size) in enumerate(zip(self.solvers, state.sizes, strict=True)):
            saved.update({f"solution{k}_{name}": a for name, a in solver.state_dict(size).items()})
        return saved

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> Reached:
        """Return the state that `state_dict` saved."""
        if self.time_step is None:
            self.solvers[1].halt()
        for k, solver in enumerate(self.solvers):
            prefix = f"solution{k}_"
            own = {name.removeprefix(prefix): a for name, a in saved.items() if name.startswith(prefix)}
            solver.load_state(own)
        return self._at(float(saved["t"]))


def _with_errors(names: Iterable[str], values: Array, errors: Array) -> dict[str, Array]:
    named = {}
    for name, value, error in zip(names, values, errors, strict=True):
        named[name], named[f"{name}_error"] = np.array([value]), np.array([error])
    return named


def _slope(protocol: Protocol) -> float:
    """Return dT/dt of the ramp that a protocol begins with."""
    first = protocol.stretches[0]
    return 0.0 if first.constant else (first.last - first.first) / (first.end - first.start)


def _protocol_faults(dynamics: Any) -> Iterable[str]:
    """Yield that a solver has no protocols, or that its grids do not meet the breaks of one."""
    if not isinstance(dynamics.temperature, Protocol):
        return
    if dynamics.solver != "direct":
        first = dynamics.temperature.stretches[0]
        if first.end < dynamics.t_max * (1 - 1e-12):
            yield (
                f"dynamics.temperature = {shown(dynamics.temperature.given)}: its course changes at t = "
                f"{first.end:.15g}; needed with dynamics.solver = "
                '"long-time": one ramp, linear in t, from 0 to dynamics.t_max (or solver = "direct")'
            )
        return
    jumps, step = set(dynamics.temperature.jumps), dynamics.grid_step
    for t in dynamics.temperature.breaks:
        # Jumps between steps are refused of every system.
        if t < dynamics.t_max and t not in jumps and not is_whole(t / step):
            yield (
                f"dynamics.temperature: its course changes at t = {t:.15g}, between two steps "
                f"(dynamics.grid_step = {step:g}); needed: a multiple of grid_step"
            )
            return


def _direct_faults(dynamics: Any) -> Iterable[str]:
    from .direct import bytes_needed

    needed, free = bytes_needed(dynamics.t_max, dynamics.grid_step), psutil.virtual_memory().available
    if needed > free:
        yield (
            f"dynamics.t_max = {dynamics.t_max:g}: the direct solver needs {needed / 1e9:.1f} GB at "
            f"grid_step = {dynamics.grid_step:g}, {free / 1e9:.1f} GB are free; "
            'take solver = "long-time", or a larger step'
        )
