"""What a system, a model or a data set may be able to do besides its duty is a class of its own here.

A class derives from its base (`langevin.core.system`) and from the capabilities that it has, in any order:
``class PSpin(Model, HasConstraint, HasHessian)``. Whoever wants to know asks ``isinstance(system,
HasHessian)``; of a class that a run file names, ``issubclass(as_system(kind), HasHessian)``
(`langevin.core.dynamics`). A class that defines a name of a capability without deriving from it is refused
where it is defined, so that nothing is left out in silence.

The argument `at` is the state of a system, and the configuration x, shape (R, dof), of a model: what
`Langevin` makes of a model has the capabilities of that model.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .answers import (
    Array,
    Attributes,
    Beside,
    Coordinates,
    Curvature,
    Dimensions,
    Part,
    Predictions,
    Reference,
    State,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from .noise import Noise
    from .schedule import Schedule

#: Capability → whose it may be, and "run file" where the settings ask the class that a run file names.
#: ARCHITECTURE.md has the table.
CAPABILITIES: dict[type[Any], Collection[str]] = {}

BOTH = ("system", "model")
RUN_FILES = (*BOTH, "run file")


class Capability(ABC):  # noqa: B024
    """Each derived class that says ``of=`` is a capability of these; the others have it."""

    def __init_subclass__(cls, of: Collection[str] = (), **named: Any) -> None:
        """Enter a capability into the table."""
        super().__init_subclass__(**named)
        if of:
            CAPABILITIES[cls] = of


# Of run files.


class ChecksSettings(Capability, of=(*RUN_FILES, "data set")):
    """It knows faults that only several keys of a run file together show."""

    @classmethod
    @abstractmethod
    def check(cls, settings: Any) -> Iterable[str]:
        """Yield these faults of `Settings`, one line each."""


class HasRecordKeys(Capability, of=RUN_FILES):
    """It declares further keys of [record], and its constructor is given that section as ``record=``."""

    Record: ClassVar[type[Any]]
    """Derived from `langevin.config.sections.RecordKeys`."""


class LearnsFromData(Capability, of=RUN_FILES):
    """Its run files may have a section [data], and its constructor gets the data as a fourth argument."""

    data: ClassVar[str]
    """Name of the default data set."""


class ReadsInputs(Capability, of=BOTH):
    """It reads files that its run file names, besides [data]: a run is resumed only with the same."""

    inputs_hash: str
    """Identifies what was read."""


class SuggestsSettings(Capability, of=RUN_FILES):
    """It makes curves between stored configurations, and suggests how a run of such curves is set."""

    @staticmethod
    @abstractmethod
    def suggested(settings: Any, t_max: float | None = None) -> dict[str, Any]:
        """Return sections [dynamics] and [record] for curves between results of these `Settings`."""


# Of measurements.


class MeasuresAtWaiting(Capability, of=BOTH):
    """It measures more where a waiting time begins."""

    @abstractmethod
    def at_waiting(self, at: Any, /) -> Mapping[str, Array]:
        """Return these observables, shape (R,) each, or (R, …) as `dimensions` says.

        It is called once for every waiting time, and may cost far more than `measure` does.
        """


class MeasuresAtEnd(Capability, of=BOTH):
    """It measures something once, when the run has come to its end."""

    end_name: str = "end"
    """The progress bar calls it so."""

    @abstractmethod
    def at_end(self, at: Any, /) -> Mapping[str, Array]:
        """Return these observables, shape (R,) each, or (R, …) as `dimensions` says; stored without a time.

        It may take long: it tells `langevin.machine.reports.report` how far it is. A run that is stopped or
        killed meanwhile measures it again when it is resumed.
        """


class HasHessian(Capability, of=BOTH):
    """It gives the Hessian of its energy, and may be asked for spectra (`record.hessian`)."""

    @abstractmethod
    def hessian(self, at: Any, position: int, /) -> Curvature:
        """Return the Hessian of the replica at `position`, of the extensive energy where it is extensive.

        In `attributes`, what is said of "hessian" goes to all variables of the spectrum.
        """


class HasMinima(Capability, of=["system"]):
    """It gives energy and gradient of any configurations: quenches lead to minima (`record.inherent`)."""

    @abstractmethod
    def slopes(self, state: State, x: Array, positions: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return energies as `measure` says them, shape (n,), and gradients of the extensive one, (n, dof).

        Of configurations x, shape (n, dof), of the replicas at these positions; all else is as in `state`,
        which is not changed, and nothing random has a part. Row k depends on no other row. With a constraint
        the gradient may be that in all of R^dof.
        """

    @abstractmethod
    def placed(self, state: State, x: Array) -> State:
        """Return the state with configurations x, shape (R, dof), in place of its own, to be measured."""


class HasSlopes(Capability, of=["model"]):
    """The model gives energy and gradient of some replicas alone; else quenches ask for those of all."""

    @abstractmethod
    def slopes(self, x: Array, positions: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return energies as `energy` does, shape (n,), and −force, (n, dof), of replicas at positions."""


class HasGaussNewton(Capability, of=["system"]):
    """It gives the Gauss-Newton matrix of its energy, and may be asked for its spectrum (`record.ggn`)."""

    @abstractmethod
    def gauss_newton(self, at: Any, position: int, /) -> Curvature:
        """Return the part of the Hessian that stems from the curvature of the loss in a network's outputs."""


class HasFurtherDimensions(Capability, of=BOTH):
    """Some of its observables are more than one number for each replica."""

    @abstractmethod
    def dimensions(self) -> Dimensions:
        """Return their further dimensions: name → dimensions after replica and times.

        What is measured under one of these names has the shape (R, …), with one axis for each of them, always
        of the same size. The size is that of its `coordinates`, where there are any.
        """


class HasCoordinates(Capability, of=BOTH):
    """It knows coordinates along time, waiting_time, lag, replica or further dimensions."""

    @abstractmethod
    def coordinates(self, schedule: Schedule) -> Coordinates:
        """Return them; they follow from the schedule and the settings alone, not from the state.

        For instance ``{"scaled_time": ("time", rate * schedule.times, {"long_name": …, "units": "1"})}``, or
        ``{"species": ("species", np.array(["A", "B"]), {"long_name": …})}``.
        """


class ComparesAtLag(Capability, of=["system"]):
    """It compares at the lag that was asked for: the system's times are no multiples of a step.

    Such a system reaches t_w + t to rounding only. At t_w = 10⁶ that is 10⁻¹⁰, a large part of a short lag.
    """

    @abstractmethod
    def compare_at(self, reference: Reference, state: State, lag: float) -> dict[str, Array]:
        """Return what `compare` returns, for this lag."""


class HasClock(Capability, of=["system"]):
    """It has no step, and its cost goes by a clock such as ln t: so do progress and forecasts."""

    @abstractmethod
    def progress_clock(self, t: float) -> float:
        """Return the clock, which grows as ln t at late times; 0 at t = 0."""


class MeasuresResponse(Capability, of=["system"]):
    """Its `compare` returns "integrated_response" where `record.response` is true; else that is refused."""


# Of configurations.


class HasConstraint(Capability, of=BOTH):
    """Its configurations fill not all of R^dof, such as a sphere."""

    @abstractmethod
    def constrain(self, x: Array) -> Array:
        """Project any x, shape (R, dof), onto the space of configurations."""


class HasLandscape(Capability, of=["system"]):
    """It knows the energy of any configuration, whatever its state."""

    @abstractmethod
    def evaluate(self, x: Array) -> Mapping[str, Array]:
        """Return what is known of configurations, shape (R, dof): "energy" at least, shape (R,) each.

        Row k in the disorder of replica k. What belongs to a configuration, such as running statistics, is
        computed anew. In `attributes`, what is said of "evaluated" goes to all of it.
        """


class Classifies(Capability, of=["system"]):
    """It classifies test examples at any configuration: there are ensembles of its members to look at."""

    @abstractmethod
    def predict(self, x: Array, position: int, beside: Beside | None = None) -> Predictions | None:
        """Return what the configuration x, shape (dof,), says of all test examples; None: they have no class.

        Those of the replica at `position`, always in the same order. `beside` is what a file holds beside x,
        of one replica; without, it is computed anew, as for `evaluate`.
        """


class HasParts(Capability, of=["system"]):
    """Its configurations consist of tensors, such as weights of layers."""

    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """Return them. Random directions are as long in each filter as the configuration is there."""


class BeginsFromConfiguration(Capability, of=["system"]):
    """Its runs may begin from a stored configuration: run files may have a section [start]."""

    @abstractmethod
    def begun_from(self, state: State, x: Array) -> State:
        """Return the state at t = 0 with the configuration x, shape (R, dof), in place of that of `state`.

        `state` is what `initial_state` returned. Raises `UserError` if x breaks a constraint.
        """


class StandsBeside(Capability, of=["system"]):
    """Something belongs to its configurations that is not in them: it is stored where they are stored."""

    @property
    @abstractmethod
    def beside_sizes(self) -> tuple[int, int]:
        """How many numbers of a replica stand beside it: that never change, that do."""

    @abstractmethod
    def beside(self, state: State) -> Beside:
        """Return what stands beside the configurations of a state."""

    @abstractmethod
    def recall(self, beside: Beside) -> None:
        """Take what `beside` returned of these replicas, from a file.

        `begun_from` begins with it. `evaluate` relies on what never changes of it.
        """


class Verifies(Capability, of=["system"]):
    """A system that is built from a result makes sure that it is the one that left it."""

    @abstractmethod
    def verify(self, x: Array, energy: Array, name: str) -> None:
        """Make sure that stored configurations have the energies, shape (R,), that their run measured.

        Called after `recall`. Raises `UserError`, which begins with the name of the file, if they have
        others: it is another system.
        """


class JoinedByCurves(Capability, of=["system"]):
    """Curves between its stored configurations are of a system of their own (`langevin connect`)."""

    connected_by: ClassVar[str]
    """Name of that system. Of models it is "curve"."""


# Of the way that a system goes, and of what it runs on.


class MovesInPlace(Capability, of=["system"]):
    """It advances without a second state: for states of which memory has no room for two."""

    @abstractmethod
    def move(self, state: State, t0: float, t1: float, noise: Noise) -> State:
        """Return what `advance` returns; `state` may be used up by it.

        The engine moves the state that it has; what `reference` returned must stay as it was.
        """


class LoadsReferences(Capability, of=["system"]):
    """Its references are more than the arrays that `numpy.asarray` makes of them."""

    @abstractmethod
    def load_reference(self, saved: NDArray[Any]) -> Reference:
        """Return the reference of which `numpy.asarray` made the array `saved`."""


class Deterministic(Capability, of=["system"]):
    """It has neither noise nor disorder: one replica is all, and more are refused."""


class KeepsTogether(Capability, of=RUN_FILES):
    """It says which replicas stay together when a run is cut into shards, and else leave other bits."""

    @classmethod
    @abstractmethod
    def together(cls, settings: Any) -> Sequence[NDArray[Any]]:
        """Return labels of groups that stay together, one or more ways to group, coarse ones first.

        Each is an array of int, shape (R,). The first that has as many groups as there are to be shards is
        taken. Without this capability replicas of a quenched sample stay together, unless the class says that
        it has no `quenched_disorder`.
        """


class SharesBatches(Capability, of=["system"]):
    """One run of it may be carried by several processes, which share every batch (`langevin.machine.world`).

    Whatever it computes is the same in all of them, and they ask each other in the same order.
    """


class RunsOnDevice(Capability, of=BOTH):
    """It may run on something else than the processor, such as a GPU."""

    device_name: str
    """The attribute `device` of the file."""


# Of models alone.


class HasObservables(Capability, of=["model"]):
    """The model measures more than its energy."""

    @abstractmethod
    def observables(self, x: Array) -> dict[str, Array]:
        """Return further one-time observables of x, shape (R, dof): shape (R,) each.

        The signature may have an argument ``temperature=None``: where the bath's temperature changes with
        time, it is given the one at which x is measured.
        """


class DescribesVariables(Capability, of=["model"]):
    """The model says what its variables mean: names, units, limits that figures draw."""

    @abstractmethod
    def attributes(self) -> Attributes:
        """Return netCDF attributes, added to those of Langevin dynamics for each variable."""


class ComparesConfigurations(Capability, of=["model"]):
    """The model has two-time observables of its own, in place of msd and correlation per degree of freedom.

    The integrated response, if it is measured, is added in either case.
    """

    @abstractmethod
    def compare(self, reference: Array, x: Array) -> dict[str, Array]:
        """Return them, shape (R,) each, of configurations, shape (R, dof); "msd" is among them."""


class HasKernel(Capability, of=["model"]):
    """The model has a compiled kernel that takes many steps at once, equal to the plain step."""

    @abstractmethod
    def fused_steps(
        self, x: Array, steps: int, dt: float, temperature: float, noise: Noise, /
    ) -> Array | None:
        """Return x after many steps; None: the kernel does not take them.

        The signature may have three further arguments: ``accumulated=None, held=None, carried=None``. A run
        that needs one of the first two, which the signature lacks, takes the plain step. Where the bath's
        temperature changes with time, it is called for the steps of each temperature.

        Parameters
        ----------
        x : ndarray, shape (R, dof)
            Configuration; not changed.
        steps : int
        dt, temperature : float
        noise : Noise
            Its "thermal" streams give dof normals per replica and step; none at T = 0.
        accumulated : ndarray, shape (2, R, dof), optional
            Given when the response is measured. To it k and x k are added, in place, step after step: k is
            √(2 T dt) times the normals that `Scheme.noise` calls `summed`, x as the step finds it.
        held : langevin.core.schemes.Held, optional
            Given by schemes that hold normals, at T > 0: a step is then moved by √(2 T dt) times the normals
            that ``held.scheme.noise(held.normals, drawn)`` calls `used`; without it, by those drawn.
        carried : dict of str to ndarray, optional
            Given to models that carry arrays: what `carried` or the call before left. The kernel replaces
            entries, never what is in the arrays. Steps taken in two calls must end in the bits of one.
        """


class CarriesArrays(Capability, of=["model"]):
    """The kernel carries arrays from call to call besides x: they are part of the state."""

    @abstractmethod
    def carried(self, x: Array) -> dict[str, Array]:
        """Return what the kernel carries, as it is without a past.

        It is saved and restored with x, unlike attributes of the model. For instance the positions at which a
        list of neighbours was built. Called at the start, and where the plain step moved x.
        """


# Of data sets alone.


class StandsInFiles(Capability, of=["data set"]):
    """The data set is read from files."""

    @classmethod
    @abstractmethod
    def located(cls) -> str:
        """Say where its files lie on this machine."""


class Fetched(Capability, of=["data set"]):
    """The files of the data set can be fetched."""

    @classmethod
    @abstractmethod
    def fetch(cls, directory: Path | None = None) -> list[Path]:
        """Make sure that its files are on this machine, and return their paths."""


def names(capability: type[Any]) -> list[str]:
    """Return the methods and attributes that a capability consists of."""
    own = [*vars(capability), *inspect.get_annotations(capability)]
    return [name for name in dict.fromkeys(own) if not name.startswith("_")]


class Declares:
    """Its classes derive from the capabilities whose names they define: else they would never be asked."""

    capable_as: ClassVar[str] = ""
    """What `CAPABILITIES` calls them."""

    def __init_subclass__(cls, **named: Any) -> None:
        """Refuse a class that has a capability and does not say so, by a `TypeError`."""
        super().__init_subclass__(**named)
        defined = {name for base in cls.__mro__ for name in vars(base)}
        for capability, of in CAPABILITIES.items():
            both = [name for name in names(capability) if name in defined]
            if both and cls.capable_as in of and not issubclass(cls, capability):
                raise TypeError(
                    f"class {cls.__name__} defines {', '.join(both)}, and must derive from "
                    f"{capability.__module__}.{capability.__name__}, too"
                )


def constrained(kind: Any, x: Array) -> Array:
    """Return the projection of x, shape (R, dof), onto the configurations of a system or a model."""
    return kind.constrain(x) if isinstance(kind, HasConstraint) else x
