"""The stochastic step is written here, once, and makes a system of any model with a force.

Overdamped Langevin dynamics at friction 1,

    dx/dt = f(x, t) + ξ(t),    ⟨ξ_i(t) ξ_j(t')⟩ = 2T δ_ij δ(t − t'),

by a step of one force, with projection onto the model's constraint:

    x ← constrain( x + dt·f(x, t) + √(2 T dt)·η ),

η = ξ_{n+1}, standard normals drawn in step n (Euler-Maruyama), or η = (ξ_n + ξ_{n+1})/2, ξ_n those of the
step before (Leimkuhler-Matthews): the scheme says which (`langevin.core.schemes`), and how accurate it is.
SGD is this step with T = 0, dt the learning rate and f the minibatch force.

*A protocol T(t)* (`langevin.core.protocol`). The kick of step n is k_n = √(2 T_n dt) ξ_{n+1}. Euler-Maruyama
takes as T_n the mean of T(t) over the step: k_n is ∫ √(2T) dW of the step in law, and the noise adds no error
to the scheme's. Leimkuhler-Matthews gives half of k_n to step n and half to the next one, so that the middle
of the kick is t_{n+1}: T_n is the mean from t_n + dt/2 to t_{n+1} + dt/2. With y_n = x_n − k_{n−1}/2 it is

    y_{n+1} = y_n + k_{n−1} + dt f(y_n + k_{n−1}/2),

the force in the middle of one kick, whatever the variances of the kicks. An oscillator in a slow ramp T(t) =
T_0 + rt has ⟨x²⟩ = T/k − r/(2k²). With the mean over the step itself it would be that of the time t − dt/2,
off by r dt/(2k); centred, nothing of order dt is left, as in the stationary state. A jump lies between two
steps; Leimkuhler-Matthews has one kick there, of the mean of both temperatures. A change of slope may lie
inside a step.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from langevin.errors import Diverged, UserError

from .capabilities import (
    BOTH,
    CAPABILITIES,
    BeginsFromConfiguration,
    CarriesArrays,
    ComparesConfigurations,
    DescribesVariables,
    HasKernel,
    HasLandscape,
    HasMinima,
    HasObservables,
    HasSlopes,
    MeasuresResponse,
    constrained,
    names,
)
from .noise import Noise
from .protocol import Leg, Protocol, Temperature, bounds
from .schemes import SCHEMES, Held, Scheme, SchemeName
from .system import Array, Attributes, Model, System

#: A run counts as diverged once an energy exceeds its start by this many times the energy scale.
BLOW_UP = 1e3

#: What a kernel's carried arrays are called in a saved state.
_CARRIED = "carried_"


@dataclass(frozen=True)
class LangevinState:
    """Configuration x, shape (R, dof), and the energies, shape (R,), above which the run has diverged.

    Where the response is measured, `accumulated` is Σ k_n and Σ x_n k_n of the steps since t = 0, shape
    (2, R, dof), with k_n = √(2 T dt) ξ_{n+1} and ξ_{n+1} drawn by the step that leaves from x_n. Where the
    scheme holds normals and T > 0, `held` is ξ_n, shape (R, dof), which the next step needs. `carried`
    is what the model's fused kernel carries from call to call.

    Under a protocol, `bath` is T(t) now, at a jump the value from now on. `unit` is the temperature in whose
    units the others are, that of the last kick: `held` times √(2 unit dt) is that kick, and `accumulated`
    over `unit` is Σ k_n/T_n and Σ x_n k_n/T_n.
    """

    x: Array
    ceiling: Array
    accumulated: Array | None = None
    held: Array | None = None
    carried: Mapping[str, Array] = field(default_factory=dict)
    unit: float | None = None
    bath: float | None = None


def integrated_response(x: Array, accumulated: Array, at_waiting: Array, temperature: float) -> Array:
    r"""Return the integrated response χ(t_w + t, t_w) of a run without a field, shape (R,).

    χ = (1/M) Σ_i ∂⟨x_i(t_w + t)⟩/∂h_i for a constant field h, on from t_w: the force of every later step is
    f + h. A step of Euler-Maruyama moves x by dt·f + k_n, k_n = √(2 T dt) ξ_{n+1}, before the constraint, so
    that h shifts every kick k_n by dt·h. The kicks are independent Gaussians of variance 2 T dt; integration
    by parts over one of them (the Furutsu-Novikov theorem), ⟨x k_n⟩ = 2 T dt ⟨∂x/∂k_n⟩, and the sum over the
    kicks since t_w, W(t_w + t) − W(t_w) = Σ_n k_n = ΔW, give

        χ = (dt/M) Σ_{n,i} ⟨∂x_i(t_w + t)/∂k_{n,i}⟩ = ⟨x(t_w + t)·ΔW⟩/(2 T M).

    This is exact for the scheme at every dt, in and out of equilibrium, with any constraint, and with forces
    that draw numbers of their own.

    Control variate: x_n, where the step finds it, is independent of k_n, so Σ_n x_n·k_n has mean zero. What
    is returned is Σ_n (x(t_w + t) − x_n)·k_n/(2 T M): every kick with the displacement since. For Gaussian x,
    2 T ∫ds ⟨x²⟩ in the variance of 2 T √M χ becomes 2 T ∫ds Δ(s, t_w + t), with Δ the msd: far less at short
    lags, and at most twice as much once ⟨x x_n⟩ has decayed for most n. x(t_w)·ΔW has mean zero, too, but
    Δ(t_w, t_w + t) is the largest of the Δ.

    Leimkuhler-Matthews: step n moves x by dt·f + (k_{n−1} + k_n)/2, with k_n as before, from the normals that
    it draws. x_n depends on k_{n−1} and earlier kicks alone, so nothing changes above but what it means to
    shift the kicks since t_w by dt·h: the first step after t_w is moved by dt·h/2, half of its noise being
    older than t_w, and every later one by dt·h. χ is exactly, at every dt, the response to a field at half
    strength in the first step after t_w and at full strength from then on: near dt/2 after one step. C begins
    with the same half step. An oscillator has, stationary, C(n dt) = C(0)(1 − k dt/2)(1 − k dt)^{n−1} with
    C(0) = T/k, and χ = (C(0) − C)/T, exactly; with Euler-Maruyama χ is (1 − k dt/2)(C(0) − C)/T.

    Under a protocol the kicks differ in variance, 2 T_n dt, and each is divided by its own:
    χ = Σ_n ⟨(x(t_w + t) − x_n)·k_n/T_n⟩/(2M). Sums of k_n/T_n and x_n k_n/T_n go with `temperature` 1.

    Parameters
    ----------
    x : ndarray, shape (R, dof)
        Configuration at t_w + t.
    accumulated, at_waiting : ndarray, shape (2, R, dof)
        Σ k_n and Σ x_n k_n, of the steps up to t_w + t and up to t_w.
    temperature : float
        Bath temperature T > 0.

    References
    ----------
    E. A. Novikov, Sov. Phys. JETP 20, 1290 (1965).
    """
    kicks, products = accumulated - at_waiting
    return np.mean(x * kicks - products, axis=1) / (2 * temperature)


class Langevin(System, BeginsFromConfiguration, HasLandscape, HasMinima, MeasuresResponse):
    """Langevin dynamics of a model: a `System` with the capabilities of that model.

    ``Langevin(model, …)`` is of a class derived from this one that passes on to the model what it is asked.

    Parameters
    ----------
    model : Model
        Supplies force, energy, constraint and start.
    temperature : float or Protocol
        Bath temperature T ≥ 0, in units of energy (k_B = 1), or how it changes with time.
    dt : float
        Time step, in units of 1/(friction · energy per squared coordinate).
    response : bool
        Measure the integrated response, too (`integrated_response`); needs T > 0 at all times.
    scheme : str or Scheme
        One of `langevin.core.schemes.SCHEMES`, or its name. At T = 0 they are the same.
    """

    def __new__(cls, model: Model, *_: Any, **__: Any) -> Self:
        """Return a system of the class that has the model's capabilities."""
        return object.__new__(_composed(cls, type(model)))

    def __init__(
        self,
        model: Model,
        temperature: Temperature,
        dt: float,
        response: bool = False,
        scheme: SchemeName | Scheme = "euler_maruyama",
    ) -> None:
        self.model = model
        self.temperature = temperature
        self.protocol = temperature if isinstance(temperature, Protocol) else None
        self._highest = bounds(temperature, math.inf)[1]
        self.dt = dt
        self.response = response
        self.scheme = scheme if isinstance(scheme, Scheme) else SCHEMES[scheme]
        self.time_step: float | None = dt
        self._varies = self.protocol is not None
        self._holds = self.scheme.holds and self._highest > 0
        self._tells = (
            self.protocol is not None
            and isinstance(model, HasObservables)
            and "temperature" in inspect.signature(model.observables).parameters
        )
        self._kernel = self._serving(model) if isinstance(model, HasKernel) else None
        # Asked for here: of what a model without a serving kernel would carry, nothing is part of the state.
        self._carries = model if self._kernel is not None and isinstance(model, CarriesArrays) else None

    def _serving(self, model: HasKernel) -> Callable[..., Array | None] | None:
        """Return the model's kernel; None if its signature lacks what this run needs."""
        taken = inspect.signature(model.fused_steps).parameters
        needed = {"accumulated": self.response, "held": self._holds}
        serves = all(name in taken for name, wanted in needed.items() if wanted)
        return model.fused_steps if serves else None

    def _carried(self, x: Array) -> dict[str, Array]:
        """Return what the kernel carries at x without a past."""
        return {} if self._carries is None else self._carries.carried(x)

    def step(
        self,
        x: Array,
        t: float,
        noise: Noise,
        accumulated: Array | None = None,
        held: Array | None = None,
        temperature: float | None = None,
    ) -> Array:
        """Return x one time step later.

        Parameters
        ----------
        x : ndarray, shape (R, dof)
            Not changed.
        t : float
        noise : Noise
        accumulated : ndarray, shape (2, R, dof), optional
            To it the step's own noise k = √(2 T dt) ξ_{n+1} and x k are added, in place.
        held : ndarray, shape (R, dof)
            The normals ξ_n of the step before, replaced by those of this one, in place. Needed where the
            scheme holds normals and T > 0; else there is none.
        temperature : float, optional
            That of the step, in whose units `held` is, too. Needed under a protocol.
        """
        if temperature is None:
            if self.protocol is not None:
                raise ValueError("the temperature of the step is missing: it follows a protocol")
            temperature = self._highest
        if (held is not None) != self._holds:
            said = "missing" if held is None else "given"
            raise ValueError(
                f"normals of the step before: {said} for {self.scheme.name}, T = {temperature:g}"
            )
        moved = x + self.dt * self.model.force(x, t, noise)
        if temperature > 0:
            drawn, strength = noise.normal(x.shape[1]), math.sqrt(2 * temperature * self.dt)
            used, summed = (normals[:, 0] for normals in self.scheme.noise(held, drawn[:, None]))
            moved += strength * used
            if accumulated is not None:
                kick = strength * summed
                accumulated[0] += kick
                accumulated[1] += x * kick
            if held is not None:
                held[:] = drawn
        return constrained(self.model, moved)

    def initial_state(self, noise: Noise) -> LangevinState:
        """Return the model's start."""
        x = self.model.initial_configuration(noise)
        return self._at_rest(x, noise.normal(x.shape[1]) if self._holds else None)

    def begun_from(self, state: LangevinState, x: Array) -> LangevinState:
        """Return the start with the configuration x, shape (R, dof).

        Raises
        ------
        UserError
            If the constraint does not hold to rounding: its sums have M terms, each of which may be rounded
            by half of the spacing ε of numbers, so that M ε is what it may be off by.
        """
        off = np.max(np.abs(constrained(self.model, x) - x), axis=1)
        allowed = x.shape[1] * np.finfo(float).eps * np.max(np.abs(x), axis=1)
        if not np.all(off <= allowed):
            worst = int(np.argmax(off - allowed))
            raise UserError(
                f"start.file: the configuration at position {worst} breaks the constraint of the model by "
                f"{off[worst]:.3g}; allowed: {allowed[worst]:.1g}, rounding"
            )
        return self._at_rest(x, state.held)

    def _at_rest(self, x: Array, held: Array | None) -> LangevinState:
        """Return the state in which nothing has happened yet."""
        energy = self.model.energy(x)
        ceiling = energy + BLOW_UP * (1 + np.abs(energy) + self._highest)
        accumulated = np.zeros((2, *x.shape)) if self.response else None
        state = LangevinState(x, ceiling, accumulated, held, self._carried(x))
        if self.protocol is None:
            return state
        unit = self.protocol.at(0.0)
        if held is not None and unit == 0:
            held = np.zeros_like(held)
        return replace(state, held=held, unit=unit, bath=self.protocol.at(0.0))

    def advance(self, state: LangevinState, t0: float, t1: float, noise: Noise) -> LangevinState:
        """Take the steps from t0 to t1, by the model's fused kernel where it has one."""
        accumulated = None if state.accumulated is None else state.accumulated.copy()
        held = None if state.held is None else state.held.copy()
        moved = replace(state, accumulated=accumulated, held=held, carried=dict(state.carried))
        # A diverging trajectory overflows on its way; what it became is judged below.
        with np.errstate(over="ignore", invalid="ignore"):
            first, last = round(t0 / self.dt), round(t1 / self.dt)
            for leg in self._legs(first, last):
                moved = self._along(self._in_units(moved, leg.temperature), leg, noise)
            self._check(moved.x, state.ceiling, t0, t1)
        if self.protocol is None:
            return moved
        return replace(moved, bath=self.protocol.counted(self.dt).at(last))

    def _legs(self, first: int, last: int) -> Iterable[Leg]:
        """Return the steps first … last − 1 by their temperatures."""
        if self.protocol is None:
            return [Leg(first, last, self._highest)]
        # A kick that two steps share has its middle at the end of the first.
        return self.protocol.legs(first, last, self.dt, 0.5 if self.scheme.holds else 0.0)

    def _in_units(self, state: LangevinState, temperature: float) -> LangevinState:
        """Return a state whose held normals and sums are in units of a temperature; at T = 0, as it is."""
        if state.unit is None or temperature in (0, state.unit):
            return state
        accumulated, held = state.accumulated, state.held
        if accumulated is not None:
            accumulated = accumulated * (temperature / state.unit)
        if held is not None:
            held = held * math.sqrt(state.unit / temperature)
        return replace(state, accumulated=accumulated, held=held, unit=temperature)

    def _along(self, state: LangevinState, leg: Leg, noise: Noise) -> LangevinState:
        """Return the state after steps of one temperature; sums and normals of `state` change in place."""
        first, last, temperature = leg
        if temperature == 0 and state.held is not None and state.held.any():
            state, first = self._last_kick(state, state.held, first, noise), first + 1
        carried = dict(state.carried)
        x = self._fused(state.x, last - first, temperature, noise, state.accumulated, state.held, carried)
        if x is None:
            x, given = state.x, {"temperature": temperature} if self._varies else {}
            for n in range(first, last):
                x = self.step(x, n * self.dt, noise, state.accumulated, state.held, **given)
            # The plain step knows nothing of what the kernel carries: it belongs to an x of the past.
            carried = self._carried(x)
        return replace(state, x=x, carried=carried)

    def _last_kick(self, state: LangevinState, held: Array, n: int, noise: Noise) -> LangevinState:
        """Return the state after the first step at T = 0: what is left of the kick before it is its noise."""
        assert state.unit is not None
        used = self.scheme.noise(held, np.zeros_like(held)[:, None]).used[:, 0]
        moved = state.x + self.dt * self.model.force(state.x, n * self.dt, noise)
        moved += math.sqrt(2 * state.unit * self.dt) * used
        x = constrained(self.model, moved)
        return replace(state, x=x, held=np.zeros_like(held), carried=self._carried(x))

    def _fused(
        self,
        x: Array,
        steps: int,
        temperature: float,
        noise: Noise,
        accumulated: Array | None,
        held: Array | None,
        carried: dict[str, Array],
    ) -> Array | None:
        """Return x after the steps of the model's kernel; None where it has none that serves this run."""
        if self._kernel is None:
            return None
        given: dict[str, Any] = {} if accumulated is None else {"accumulated": accumulated}
        if held is not None and temperature > 0:
            given["held"] = Held(self.scheme, held)
        if self._carries is not None:
            given["carried"] = carried
        return self._kernel(x, steps, self.dt, temperature, noise, **given)

    def _check(self, x: Array, ceiling: Array, t0: float, t1: float) -> None:
        energy = self.model.energy(x)
        bad = ~np.isfinite(x).all(axis=1) | ~(energy <= ceiling)
        if bad.any():
            worst = int(np.flatnonzero(bad)[0])
            raise Diverged(
                f"the trajectory diverged between t = {t0:g} and t = {t1:g}: energy of replica {worst} is "
                f"{energy[worst]:g}; try a smaller dynamics.dt (now {self.dt:g})"
            )

    def measure(self, state: LangevinState) -> dict[str, Array]:
        """Return the energy and the model's further observables."""
        if not isinstance(self.model, HasObservables):
            return {"energy": self.model.energy(state.x)}
        given = {"temperature": state.bath} if self._tells else {}
        return {"energy": self.model.energy(state.x), **self.model.observables(state.x, **given)}

    def evaluate(self, x: Array) -> dict[str, Array]:
        """Return the energy of any configurations, shape (R, dof)."""
        return {"energy": self.model.energy(x)}

    def slopes(self, state: LangevinState, x: Array, positions: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return energies, shape (n,), and −force, shape (n, dof), at configurations of some replicas.

        The force is asked for without noise: an estimate of it would lead to no minimum.
        """
        if isinstance(self.model, HasSlopes):
            return self.model.slopes(x, positions)
        whole = state.x.copy()
        whole[positions] = x
        return self.model.energy(whole)[positions], -self.model.force(whole, 0.0, None)[positions]

    def placed(self, state: LangevinState, x: Array) -> LangevinState:
        """Return the state with configurations x, shape (R, dof)."""
        return replace(state, x=x)

    def reference(self, state: LangevinState) -> Array:
        """Return the configuration; with the response, x and the accumulated sums, shape (3, R, dof)."""
        if state.accumulated is None:
            return state.x
        return np.stack([state.x, *self._sums(state, state.accumulated)])

    def _sums(self, state: LangevinState, accumulated: Array) -> Array:
        """Return the sums of kicks, under a protocol each over its temperature."""
        return accumulated if state.unit is None else accumulated / state.unit

    def compare(self, reference: Array, state: LangevinState) -> dict[str, Array]:
        """Return msd Δ = (1/M) Σ (x_i − x_i')² and correlation C = (1/M) Σ x_i x_i', shape (R,).

        The difference is taken first: at short lags Δ is far smaller than C. A model with two-time
        observables of its own gives these instead. With the response, its integral χ comes too.
        """
        x = reference if state.accumulated is None else reference[0]
        if isinstance(self.model, ComparesConfigurations):
            compared = self.model.compare(x, state.x)
        else:
            difference = state.x - x
            compared = {
                "msd": np.mean(difference * difference, axis=1),
                "correlation": np.mean(state.x * x, axis=1),
            }
        if state.accumulated is not None:
            sums, unit = self._sums(state, state.accumulated), 1.0 if self.protocol else self._highest
            compared["integrated_response"] = integrated_response(state.x, sums, reference[1:], unit)
        return compared

    def configuration(self, state: LangevinState) -> Array:
        """Return x, shape (R, dof)."""
        return state.x

    def attributes(self) -> Attributes:
        """Return the attributes of energy and the two-time observables, with the model's additions."""
        own: dict[str, dict[str, Any]] = {
            "energy": {"long_name": "energy per degree of freedom", "units": "1"},
            "msd": {"long_name": "mean square displacement per degree of freedom", "units": "1"},
            "correlation": {"long_name": "two-time correlation per degree of freedom", "units": "1"},
            "integrated_response": {
                "long_name": "integrated response per degree of freedom",
                "units": "1",
                **({} if self.protocol else {"temperature": self.temperature}),
                "method": "without a field, from the noise: Σ_n (x(t_w + t) − x_n)·k_n/(2TM) over the steps "
                "since t_w, k_n = √(2T dt) ξ_{n+1} the noise drawn by the step that leaves from x_n"
                + (", at half strength in the first step after t_w" if self._holds else "")
                + ("; T is that of each step" if self.protocol else ""),
            },
        }
        further = self.model.attributes() if isinstance(self.model, DescribesVariables) else {}
        for name, extra in further.items():
            own[name] = {**own.get(name, {}), **extra}
        return own

    def state_dict(self, state: LangevinState) -> dict[str, NDArray[Any]]:
        """Return the arrays of the state."""
        some = {"accumulated": state.accumulated, "held": state.held}
        baths = {"unit": state.unit, "bath": state.bath}
        some |= {name: None if t is None else np.array(t) for name, t in baths.items()}
        return {
            "x": state.x,
            "ceiling": state.ceiling,
            **{name: array for name, array in some.items() if array is not None},
            **{_CARRIED + name: array for name, array in state.carried.items()},
        }

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> LangevinState:
        """Return the state that `state_dict` saved."""
        return LangevinState(
            saved["x"],
            saved["ceiling"],
            saved["accumulated"] if self.response else None,
            saved["held"] if self._holds else None,
            {k.removeprefix(_CARRIED): array for k, array in saved.items() if k.startswith(_CARRIED)},
            *((float(saved["unit"]), float(saved["bath"])) if self.protocol else (None, None)),
        )


def _of_the_model(capability: type[Any], name: str) -> Any:
    """Return what a `Langevin` has under a name of a capability: what its model has, at x of a state."""

    def method(system: Langevin, *given: Any) -> Any:
        own = getattr(system.model, name)
        return own(*(at.x if isinstance(at, LangevinState) else at for at in given))

    if callable(getattr(capability, name, None)):
        return method
    return property(lambda system: getattr(system.model, name))


@cache
def _composed(kind: type[Langevin], model: type[Model]) -> type[Any]:
    """Return the class derived from `kind` that has the capabilities of a class of models."""
    shared = [capability for capability, of in CAPABILITIES.items() if tuple(of) == BOTH]
    missing = [c for c in shared if issubclass(model, c) and not issubclass(kind, c)]
    passed = {name: _of_the_model(capability, name) for capability in missing for name in names(capability)}
    return (
        type(kind.__name__, (kind, *missing), {"__module__": kind.__module__, **passed}) if missing else kind
    )


def as_system(kind: type[Any]) -> type[System]:
    """Return the class of the system that a run has, if its run file names the class `kind`.

    A system is what it is; of a model it is that which Langevin dynamics makes of it.
    """
    return _composed(Langevin, kind) if issubclass(kind, Model) else kind
