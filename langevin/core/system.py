"""A system is all that the engine knows of physics; a model is all that `Langevin` needs to make a system.

The base classes here hold what every class must define. What it may define besides stands in
`langevin.core.capabilities`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from numpy.typing import NDArray

from .answers import Array as Array
from .answers import Attributes as Attributes
from .answers import Beside as Beside
from .answers import Configuration as Configuration
from .answers import Coordinates as Coordinates
from .answers import Curvature as Curvature
from .answers import Dimensions as Dimensions
from .answers import Part as Part
from .answers import Predictions as Predictions
from .answers import Reference as Reference
from .answers import State as State
from .capabilities import Declares

if TYPE_CHECKING:
    from .ensemble import Ensemble
    from .noise import Noise


class Named(Declares, ABC):
    """A class that [system] of a run file may name says this of itself: the base of `System` and `Model`."""

    Parameters: ClassVar[type[Any]]
    """Declares what stands under [system]."""
    Dynamics: ClassVar[type[Any] | None] = None
    """Declares what stands under [dynamics]. None: the keys of Langevin dynamics."""
    start_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of [system] that say how a start is made, or how it is computed: a run that begins from a stored
    configuration may have others than the run that stored it."""
    disorder_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of [dynamics] from which, besides the seed and [system], the quenched disorder follows."""
    quenched_disorder: ClassVar[bool] = True
    """Whether anything but starts and noise is drawn from the seed: if so, a run that begins from a stored
    configuration needs its seed. A class that says False says it of itself, not of those derived from it."""


class System(Named):
    """What evolves: R replicas at once; the state at t1 follows from the state at t0 and the noise between.

    A state is never changed in place: `advance` returns a new one. What is built from a run file is built as
    ``System(parameters, dynamics, ensemble)``.
    """

    capable_as = "system"
    time_step: float | None
    """Times are multiples of it, and `advance` may be split at any of them. None: any time can be reached."""
    dof: int | None = None
    """Degrees of freedom M of a replica; 0: no configuration. None: `configuration` is called to see."""

    @abstractmethod
    def initial_state(self, noise: Noise) -> State:
        """Return the state at t = 0.

        A start that takes long tells `langevin.machine.reports.report` how far it is and where, and begins
        from `langevin.machine.reports.saved`: it is then resumed as a run is.
        """

    @abstractmethod
    def advance(self, state: State, t0: float, t1: float, noise: Noise) -> State:
        """Return the state at t1 that follows from `state` at t0. Raises `Diverged` if it cannot.

        Where a single call takes long, it may call `langevin.machine.interruption.heed`, as long as `state`
        is what it was and no noise is drawn: the run then goes on from t0.
        """

    @abstractmethod
    def measure(self, state: State) -> dict[str, Array]:
        """Return the one-time observables, shape (R,) each; "energy" is among them."""

    @abstractmethod
    def reference(self, state: State) -> Reference:
        """Return what is kept at a waiting time. `numpy.asarray` must be able to save it."""

    @abstractmethod
    def compare(self, reference: Reference, state: State) -> dict[str, Array]:
        """Return the two-time observables between a reference and now, shape (R,) each."""

    @abstractmethod
    def configuration(self, state: State) -> Configuration | None:
        """Return the degrees of freedom, shape (R, dof); None if the system has no configuration.

        In single precision if they live in it; the file holds float64. It is called at every stop
        if configurations or sketches are stored, else not at all where `dof` is stated.
        """

    @abstractmethod
    def attributes(self) -> Attributes:
        """Return the netCDF attributes of the variables that the system measures.

        Those of "time", "waiting_time" and "lag" are added to the schema's own and go before them: for
        instance ``{"time": {"units": "steps"}}``. Those of "configuration" tell `observables.two_time` what
        it is looking at.
        """

    @abstractmethod
    def state_dict(self, state: State) -> dict[str, NDArray[Any]]:
        """Return arrays from which `load_state` restores the state exactly."""

    @abstractmethod
    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> State:
        """Return the state that `state_dict` saved."""


class Model(Named):
    """Anything with a force: what `langevin.core.dynamics.Langevin` turns into a `System`.

    It is built as ``Model(parameters, dynamics, ensemble)``. Curves between stored configurations of any
    model are those of the system "curve".
    """

    capable_as = "model"
    own_descent: ClassVar[bool] = False
    """Whether its force is no gradient of a `total_energy`: then only Langevin dynamics drives it."""

    @abstractmethod
    def initial_configuration(self, noise: Noise) -> Array:
        """Return the configuration at t = 0, shape (R, dof)."""

    @abstractmethod
    def force(self, x: Array, t: float, noise: Noise | None) -> Array:
        """Return −∇E of the extensive energy, or an unbiased estimate of it, shape (R, dof)."""

    @abstractmethod
    def energy(self, x: Array) -> Array:
        """Return the energy per degree of freedom, shape (R,)."""

    def total_energy(self, x: Array) -> Array:
        """Return the extensive energy E, of which the force is −∇E, shape (R,).

        Boltzmann's law is that of this energy. A model whose `energy` is not E/dof, such as an energy per
        particle, must say here what E is.
        """
        return x.shape[1] * self.energy(x)


class LoadedData(Protocol):
    """What a data set loads. The engine looks only at its attributes; a system takes it as it is."""

    @property
    def attributes(self) -> Mapping[str, str]:
        """Where the data come from, for the result file; "hash", if there, identifies the contents."""


class DataSet(Declares, ABC):
    """Where the data of a system come from: what [data] names, for systems that learn from data.

    It is built as ``DataSet(parameters)``.
    """

    capable_as = "data set"
    Parameters: ClassVar[type[Any]]
    """Declares what stands under [data] besides the name."""
    shape: tuple[int, ...] | None = None
    """Shape of one input, for `langevin data list`. None: any."""
    classes: int | None = None
    """Number of classes. None: any."""
    sizes: tuple[int | str, int | str] = ("any", "any")
    """Numbers of training and of test examples."""

    def __init__(self, parameters: Any) -> None:
        self.parameters = parameters

    @abstractmethod
    def load(self, ensemble: Ensemble) -> LoadedData:
        """Return the data in memory: the share of every quenched sample of `ensemble`."""
