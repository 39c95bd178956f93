"""The protocols: all that the engine knows of a system, and all that `Langevin` knows of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from langevin.config import Settings
    from langevin.ensemble import Ensemble
    from langevin.noise import Noise

Array: TypeAlias = NDArray[np.float64]
State: TypeAlias = Any
Reference: TypeAlias = Any
Attributes: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Name of a variable → its netCDF attributes (`long_name`, `units`, …)."""


class System(Protocol):
    """What evolves: R replicas at once; the state at t1 follows from the state at t0 and the noise between.

    A state is never changed in place: `advance` returns a new one. A class whose `compare` returns
    "integrated_response" says so with the class attribute ``measures_response = True``; without it,
    ``record.response = true`` is refused.
    """

    time_step: float | None
    """Times are multiples of it, and `advance` may be split at any of them. None: any time can be reached."""

    def initial_state(self, noise: Noise) -> State:
        """Return the state at t = 0."""

    def advance(self, state: State, t0: float, t1: float, noise: Noise) -> State:
        """Return the state at t1 that follows from `state` at t0. Raises `Diverged` if it cannot."""

    def measure(self, state: State) -> dict[str, Array]:
        """Return the one-time observables, shape (R,) each; "energy" is among them."""

    def reference(self, state: State) -> Reference:
        """Return what is kept at a waiting time. `numpy.asarray` must be able to save it."""

    def compare(self, reference: Reference, state: State) -> dict[str, Array]:
        """Return the two-time observables between a reference and now, shape (R,) each."""

    def configuration(self, state: State) -> Array | None:
        """Return the degrees of freedom, shape (R, dof); None if the system has no configuration."""

    def attributes(self) -> Attributes:
        """Return the netCDF attributes of the variables that the system measures."""

    def state_dict(self, state: State) -> dict[str, NDArray[Any]]:
        """Return arrays from which `load_state` restores the state exactly."""

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> State:
        """Return the state that `state_dict` saved."""


class Model(Protocol):
    """Anything with a force: what `langevin.dynamics.Langevin` turns into a `System`.

    Subclass it for the defaults (no constraint, no further observables, no fused kernel). It is built as
    ``Model(parameters, dynamics, ensemble)``; `Parameters` declares what stands under [system]. A class, of a
    `System` too, that says ``data = "name of a data set"`` is given the loaded data as a fourth argument.
    """

    Parameters: ClassVar[type[Any]]

    def initial_configuration(self, noise: Noise) -> Array:
        """Return the configuration at t = 0, shape (R, dof)."""

    def force(self, x: Array, t: float, noise: Noise | None) -> Array:
        """Return −∇E of the extensive energy, or an unbiased estimate of it, shape (R, dof)."""

    def energy(self, x: Array) -> Array:
        """Return the energy per degree of freedom, shape (R,)."""

    def constrain(self, x: Array) -> Array:
        """Project x, shape (R, dof), onto the configuration space. Default: all of R^dof."""
        return x

    def observables(self, x: Array) -> dict[str, Array]:
        """Return further one-time observables, shape (R,) each. Default: none."""
        return {}

    def fused_steps(
        self,
        x: Array,
        steps: int,
        dt: float,
        temperature: float,
        noise: Noise,
        accumulated: Array | None = None,
    ) -> Array | None:
        """Return x after many steps at once, from a kernel equal to the plain step; None: there is none.

        To `accumulated`, shape (2, R, dof), if given, k = √(2 T dt) η of every step and x k, x as the step
        finds it, are added in place, step after step. A kernel whose signature lacks the argument serves runs
        without the response; those with it take the plain step.
        """
        return None

    def attributes(self) -> Attributes:
        """Return netCDF attributes, added to the engine's own for each variable. Default: none."""
        return {}

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield the faults that only several sections of a run file together show. Default: none."""
        return ()


class Data(Protocol):
    """What a data set loads. The engine looks only at its attributes; a system takes it as it is."""

    @property
    def attributes(self) -> Mapping[str, str]:
        """Where the data come from, for the result file; "hash", if there, identifies the contents."""


class DataSet(Protocol):
    """Where the data of a system come from: what [data] names, for system classes that say ``data = "…"``.

    It is built as ``DataSet(parameters)``; `Parameters` declares what stands under [data] besides the name.
    """

    Parameters: ClassVar[type[Any]]

    def load(self, ensemble: Ensemble) -> Data:
        """Return the data in memory: the share of every quenched sample of `ensemble`."""

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield the faults that only several sections of a run file together show. Default: none."""
        return ()
