"""The protocols: all that the engine knows of a system, and all that `Langevin` knows of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .answers import Array as Array
from .answers import Beside as Beside
from .answers import Curvature as Curvature
from .answers import Part as Part
from .answers import Predictions as Predictions

if TYPE_CHECKING:
    from .ensemble import Ensemble
    from .noise import Noise
    from .schedule import Schedule

Configuration: TypeAlias = NDArray[np.float64] | NDArray[np.float32]
State: TypeAlias = Any
Reference: TypeAlias = Any
Attributes: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Name of a variable → its netCDF attributes (`long_name`, `units`, …)."""
Coordinates: TypeAlias = Mapping[str, tuple[str, NDArray[Any], Mapping[str, Any]]]
"""Name of a coordinate → its dimension, its values there (numbers or words), its netCDF attributes."""
Dimensions: TypeAlias = Mapping[str, tuple[str, ...]]
"""Name of an observable → its dimensions after replica and its times, such as ("species", "wavenumber")."""


class System(Protocol):
    """What evolves: R replicas at once; the state at t1 follows from the state at t0 and the noise between.

    A state is never changed in place: `advance` returns a new one. A class whose `compare` returns
    "integrated_response" says so with the class attribute ``measures_response = True``; without it,
    ``record.response = true`` is refused. What is built from a run file is built as
    ``System(parameters, dynamics, ensemble)``; a class `Record`, derived from `langevin.config.RecordKeys`,
    declares further keys of [record], and the constructor is then given that section as ``record=``.

    The methods with a default are optional: a class that does not derive from this one may lack them.
    """

    time_step: float | None
    """Times are multiples of it, and `advance` may be split at any of them. None: any time can be reached."""
    dof: int | None = None
    """Degrees of freedom M of a replica; 0: no configuration. None: `configuration` is called to see."""
    start_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of [system] that say how a start is made, or how it is computed: a run that begins from a stored
    configuration may have others than the run that stored it."""
    disorder_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of [dynamics] from which, besides the seed and [system], the quenched disorder follows."""
    quenched_disorder: ClassVar[bool] = True
    """Whether anything but starts and noise is drawn from the seed: if so, a run that begins from a stored
    configuration needs its seed. A class that says False says it of itself, not of those derived from it."""
    end_name: str = "end"
    """What the progress bar of `at_end` calls it."""
    inputs_hash: str = ""
    """Identifies what it has read from files that its run file names, besides [data]: a run is resumed only
    with the same. Empty: nothing. A model may have it, too."""
    device_name: str | None = None
    """What it runs on, such as a GPU's name, for the attribute `device` of the file. None: the processor."""

    def initial_state(self, noise: Noise) -> State:
        """Return the state at t = 0.

        A start that takes long tells `langevin.machine.reports.report` how far it is and where, and begins
        from `langevin.machine.reports.saved`: it is then resumed as a run is.
        """

    def advance(self, state: State, t0: float, t1: float, noise: Noise) -> State:
        """Return the state at t1 that follows from `state` at t0. Raises `Diverged` if it cannot.

        Where a single call takes long, it may call `langevin.machine.interruption.heed`, as long as `state`
        is what it was and no noise is drawn: the run then goes on from t0.
        """

    def begun_from(self, state: State, x: Array) -> State:
        """Return the state at t = 0 with the configuration x, shape (R, dof), in place of that of `state`.

        `state` is what `initial_state` returned. Needed where a run file may have a section [start]; a class
        that does not override it is refused such a one. Raises `UserError` if x breaks a constraint.
        """
        raise NotImplementedError

    beside_sizes: tuple[int, int] = (0, 0)
    """How many numbers of a replica `beside` returns: that never change, that do."""

    def beside(self, state: State) -> Beside | None:
        """Return what belongs to the configuration, and is not in it; it is stored where that is stored."""
        return None

    def recall(self, found: Beside) -> None:
        """Take what `beside` returned of these replicas, from a file.

        `begun_from` begins with it. `evaluate` relies on what never changes of it.
        """
        return

    def verify(self, x: Array, energy: Array, name: str) -> None:
        """Make sure that stored configurations have the energies, shape (R,), that their run measured.

        Called after `recall`, of a system that is built from a result. Raises `UserError`, which begins with
        the name of the file, if they have others: it is another system. Default: nothing is asked.
        """
        return

    def move(self, state: State, t0: float, t1: float, noise: Noise) -> State:
        """Return what `advance` returns; `state` may be used up by it. Default: `advance`.

        For states of which memory has no room for two. The engine moves the one that it has; what `reference`
        returned must stay as it was.
        """
        return self.advance(state, t0, t1, noise)

    def measure(self, state: State) -> dict[str, Array]:
        """Return the one-time observables, shape (R,) each; "energy" is among them."""

    def reference(self, state: State) -> Reference:
        """Return what is kept at a waiting time. `numpy.asarray` must be able to save it."""

    def compare(self, reference: Reference, state: State) -> dict[str, Array]:
        """Return the two-time observables between a reference and now, shape (R,) each."""

    def compare_at(self, reference: Reference, state: State, lag: float) -> dict[str, Array]:
        """Return what `compare` returns, for the lag that was asked for. Default: `compare`.

        A system whose times are no multiples of a step reaches t_w + t to rounding only. At t_w = 10⁶ that is
        10⁻¹⁰, a large part of a short lag: whoever needs the difference of the two times takes it from here.
        """
        return self.compare(reference, state)

    def at_waiting(self, state: State) -> Mapping[str, Array]:
        """Return what is measured only where a waiting time begins, shape (R,) each. Default: nothing.

        It is called once for every waiting time, after `measure`, and may cost far more than that does.
        """
        return {}

    def at_end(self, state: State) -> Mapping[str, Array]:
        """Return what is measured once, when the run has come to its end. Default: nothing.

        Shape (R,) each, or (R, …) as `dimensions` says; stored without a time. It may take long: it tells
        `langevin.machine.reports.report` how far it is. A run that is stopped or killed meanwhile measures it
        again when it is resumed.
        """
        return {}

    def evaluate(self, x: Array) -> Mapping[str, Array]:
        """Return what is known of any configurations, shape (R, dof): "energy" at least, shape (R,) each.

        Row k in the disorder of replica k. Nothing of a state is needed: what belongs to a configuration,
        such as running statistics, is computed anew. Default: nothing, and there is no landscape to look at.
        """
        return {}

    def predict(self, x: Array, position: int) -> Predictions | None:
        """Return what a classifier at the configuration x, shape (dof,), says of all its test examples.

        Those of the replica at `position`, always in the same order. Nothing of a state is needed, as for
        `evaluate`. A class with a method `beside` takes a further argument `beside`: what a file holds beside
        x, of one replica. Default: None, nothing is classified, and there are no ensembles of members to look
        at.
        """
        return None

    def parts(self) -> Sequence[Part]:
        """Return the tensors that a configuration consists of, such as weights of layers. Default: none.

        Random directions of `langevin plane --random` are as long in each filter as the configuration is
        there."""
        return ()

    def constrain(self, x: Array) -> Array:
        """Project any x, shape (R, dof), onto the space of configurations. Default: all of R^dof."""
        return x

    def load_reference(self, saved: NDArray[Any]) -> Reference:
        """Return the reference of which `numpy.asarray` made the array `saved`. Default: the array itself."""
        return saved

    def hessian(self, state: State, position: int) -> Curvature | None:
        """Return the Hessian of the replica at `position`; None, as by default: there is none.

        A class that overrides it may be asked for spectra (`record.hessian`). In `attributes`, what it says
        of "hessian" goes to all variables of the spectrum.
        """
        return None

    def gauss_newton(self, state: State, position: int) -> Curvature | None:
        """Return the Gauss-Newton matrix of the replica at `position`; None, as by default: there is none.

        The part of the Hessian that stems from the curvature of the loss in the outputs of a network. A class
        that overrides it may be asked for its spectrum (`record.ggn`).
        """
        return None

    def configuration(self, state: State) -> Configuration | None:
        """Return the degrees of freedom, shape (R, dof); None if the system has no configuration.

        In single precision if they live in it; the file holds float64. It is called at every scheduled time
        if configurations or sketches are stored, else not at all where `dof` is stated.
        """

    def coordinates(self, schedule: Schedule) -> Coordinates:
        """Return coordinates along time, waiting_time, lag, replica or further dimensions. Default: none.

        For instance ``{"scaled_time": ("time", rate * schedule.times, {"long_name": …, "units": "1"})}``, or
        ``{"species": ("species", np.array(["A", "B"]), {"long_name": …})}``. They follow from the schedule
        and the settings alone, and are not part of the state.
        """
        return {}

    def dimensions(self) -> Dimensions:
        """Return the further dimensions of the observables that have such. Default: none has.

        What `measure`, `at_waiting`, `compare` and `at_end` return under one of these names has the shape
        (R, …), with one axis for each further dimension, always of the same size. The size is that of its
        `coordinates`, where there are any.
        """
        return {}

    def attributes(self) -> Attributes:
        """Return the netCDF attributes of the variables that the system measures.

        Those of "time", "waiting_time" and "lag" are added to the schema's own and go before them: for
        instance ``{"time": {"units": "steps"}}``.
        """

    def state_dict(self, state: State) -> dict[str, NDArray[Any]]:
        """Return arrays from which `load_state` restores the state exactly."""

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> State:
        """Return the state that `state_dict` saved."""


def optional(system: System, method: str) -> Callable[..., Any]:
    """Return a method of a system; the default that `System` has where the class lacks it."""
    default: Callable[..., Any] = partial(getattr(System, method), system)
    return getattr(system, method, default)


def overrides(kind: type[Any], method: str) -> bool:
    """Return whether a class of systems or models has an optional method of its own."""
    return getattr(kind, method, None) not in (
        None,
        getattr(System, method, None),
        getattr(Model, method, None),
    )


class Model(Protocol):
    """Anything with a force: what `langevin.core.dynamics.Langevin` turns into a `System`.

    Subclass it for the defaults (no constraint, no further observables, no fused kernel). It is built as
    ``Model(parameters, dynamics, ensemble)``; `Parameters` declares what stands under [system]. A class, of a
    `System` too, that says ``data = "name of a data set"`` is given the loaded data as a fourth argument.
    """

    Parameters: ClassVar[type[Any]]
    start_keys: ClassVar[tuple[str, ...]] = ()
    """As of a `System`."""
    disorder_keys: ClassVar[tuple[str, ...]] = ()
    """As of a `System`."""
    quenched_disorder: ClassVar[bool] = True
    """As of a `System`."""

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

    def at_waiting(self, x: Array) -> Mapping[str, Array]:
        """Return what is measured only where a waiting time begins, shape (R,) each. Default: nothing."""
        return {}

    end_name: ClassVar[str] = "end"
    """As of a `System`."""

    def at_end(self, x: Array) -> Mapping[str, Array]:
        """Return what is measured once, when the run has ended, as `System.at_end`. Default: nothing."""
        return {}

    def compare(self, reference: Array, x: Array) -> dict[str, Array] | None:
        """Return the two-time observables of two configurations, shape (R, dof) each; "msd" is among them.

        Shape (R,) each. Default: None, and the mean square displacement and the correlation per degree of
        freedom are taken. The integrated response, if it is measured, is added in either case.
        """
        return None

    def coordinates(self, schedule: Schedule) -> Coordinates:
        """Return further coordinates, as `System.coordinates`. Default: none."""
        return {}

    def dimensions(self) -> Dimensions:
        """Return the further dimensions of observables, as `System.dimensions`. Default: none has any."""
        return {}

    def fused_steps(
        self,
        x: Array,
        steps: int,
        dt: float,
        temperature: float,
        noise: Noise,
        accumulated: Array | None = None,
        held: Array | None = None,
        carried: dict[str, Array] | None = None,
    ) -> Array | None:
        """Return x after many steps at once, from a kernel equal to the plain step; None: there is none.

        The last three arguments are optional in the signature: what a run needs and the signature lacks makes
        it take the plain step. `accumulated` and `held` are changed in place.

        Parameters
        ----------
        x : ndarray, shape (R, dof)
            Configuration; not changed.
        steps : int
        dt, temperature : float
        noise : Noise
            Its "thermal" streams give dof normals per replica and step; none at T = 0.
        accumulated : ndarray, shape (2, R, dof), optional
            Given when the response is measured. To it k = √(2 T dt) ξ_{n+1} and x_n k are added, step after
            step: ξ_{n+1} the normals that the step draws, x_n as the step finds it.
        held : ndarray, shape (R, dof), optional
            Given by the scheme "leimkuhler_matthews" at T > 0: the normals ξ_n that the step before drew. A
            step is then moved by √(2 T dt) (ξ_n + ξ_{n+1})/2. On return, the last normals drawn.
        carried : dict of str to ndarray, optional
            Given whenever the signature has it: what `carried` or the call before left. The kernel replaces
            entries, never what is in the arrays. Steps taken in two calls must end in the bits of one.
        """
        return None

    def carried(self, x: Array) -> dict[str, Array]:
        """Return what the fused kernel carries from call to call besides x, as it is without a past.

        It is part of the state: saved and restored with x, unlike attributes of the model. For instance the
        positions at which a list of neighbours was built. Called at the start, and where the plain step
        moved x. Default: nothing.
        """
        return {}

    def hessian(self, x: Array, position: int) -> Curvature | None:
        """Return the Hessian of the extensive energy of the replica at `position` of x, shape (R, dof).

        Default: None, there is none.
        """
        return None

    def attributes(self) -> Attributes:
        """Return netCDF attributes, added to the engine's own for each variable. Default: none."""
        return {}

    @classmethod
    def check(cls, settings: Any) -> Iterable[str]:
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
    def check(cls, settings: Any) -> Iterable[str]:
        """Yield the faults that only several sections of a run file together show. Default: none."""
        return ()
