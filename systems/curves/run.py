"""Curves between stored configurations of a model, as a system that run files name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from langevin.config.sections import LangevinDynamics
from langevin.config.settings import Settings
from langevin.core.capabilities import (
    ChecksSettings,
    DescribesVariables,
    HasConstraint,
    HasCoordinates,
    HasFurtherDimensions,
    HasObservables,
    HasRecordKeys,
    KeepsTogether,
    MeasuresAtEnd,
    ReadsInputs,
    SuggestsSettings,
)
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.protocol import bounds
from langevin.core.schedule import Schedule
from langevin.core.system import Array, Attributes, Coordinates, Dimensions, Model
from langevin.errors import UserError
from langevin.machine.later import callables
from langevin.results.configurations import StoredRun

from . import geometry
from .band import Band
from .ends import CurveKeys, Ends, RecordModelCurve
from .model import Curve
from .profile import described, profile

if TYPE_CHECKING:
    from langevin.results.rebuild import rebuilt
else:
    (rebuilt,) = callables("langevin.results.rebuild", "rebuilt")

#: Variables of the final curve → their names in the dataset of `profile`.
FOUND = {
    "curve_energy": "energy",
    "shortest_energy": "shortest_energy",
    "distance_from_start": "distance_from_start",
    "distance_from_end": "distance_from_end",
    "arc_length": "arc_length",
    "barrier": "barrier",
    "barrier_position": "barrier_position",
    "barrier_refinement": "barrier_refinement",
    "shortest_barrier": "shortest_barrier",
}


class ModelCurve(
    Model,
    ChecksSettings,
    HasRecordKeys,
    ReadsInputs,
    SuggestsSettings,
    HasConstraint,
    HasObservables,
    DescribesVariables,
    MeasuresAtEnd,
    HasFurtherDimensions,
    HasCoordinates,
    KeepsTogether,
):
    """A curve between two stored configurations of a model (p-spin or your own): its bends descend."""

    Record: ClassVar[type[RecordModelCurve]] = RecordModelCurve
    #: The landscape is that of the ends, whatever the seed of the curve.
    quenched_disorder = False
    own_descent = True

    class Parameters(CurveKeys):
        """What stands under [system]."""

    def __init__(
        self, parameters: Any, dynamics: LangevinDynamics, ensemble: Ensemble, record: RecordModelCurve
    ) -> None:
        self.positions, self.ensemble = record.positions, ensemble
        ends, keep = Ends.read(parameters), ensemble.replica
        self.inputs_hash = ends.hash
        start, end = ends.start[keep], ends.end[keep]
        model = _model(ends, ends.run, ensemble)
        if ends.differently_drawn:
            other = _model(ends, ends.other, ensemble)
            if not np.array_equal(model.energy(start), other.energy(start)):
                raise ends.refuse("disorder")
        self.name, bends = parameters.curve, parameters.bends
        self.curve: Curve | Band
        if parameters.curve == "band":
            self.curve = Band(model, start, end, bends=bends, spring=parameters.spring, kick=parameters.kick)
        else:
            kind, loss = parameters.curve, parameters.loss
            self.curve = Curve(model, start, end, bends=bends, kind=kind, loss=loss, kick=parameters.kick)
        self.curve.rows = geometry.Rows.of(ensemble)

    @classmethod
    def together(cls, settings: Settings) -> list[NDArray[np.int64]]:
        """Keep the replicas of a sample together: some models round by how many share their disorder."""
        return [np.arange(settings.ensemble.replicas) % settings.ensemble.samples]

    @staticmethod
    def suggested(settings: Settings, t_max: float | None = None) -> dict[str, Any]:
        """Return [dynamics] and [record] of a run of curves, unless it says otherwise; `t_max` as it says.

        Descent with the step that the ends were made with: the force on a bend is that at points of the
        curve, weighted by at most 1.
        """
        end = 100.0 if t_max is None else t_max
        dynamics = {"temperature": 0.0, "dt": settings.dynamics.dt, "t_max": end}
        quiet = {"waiting_times": [], "lags": [], "configurations": "never"}
        return {
            "dynamics": dynamics,
            "record": {"times": {"start": min(1.0, 0.01 * end), "per_decade": 5}, **quiet},
        }

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield the faults of files and keys together."""
        yield from Ends.check(settings)
        if settings.dynamics.initial_temperature != float("inf"):
            yield (
                f"dynamics.initial_temperature = {settings.dynamics.initial_temperature:g}: allowed: inf (a "
                "curve starts on the shortest way)"
            )
        if settings.system.curve == "band":
            hottest = bounds(settings.dynamics.temperature, settings.dynamics.t_max)[1]
            if hottest > 0:
                given = f"dynamics.temperature = {hottest:g}"
                yield f'{given}: must be 0 with system.curve = "band", whose force has no potential'
            if (limit := 0.5 / settings.system.spring) <= settings.dynamics.dt:
                yield f"dynamics.dt = {settings.dynamics.dt:g}: must be < {limit:g}, 1/(2 system.spring)"

    def initial_configuration(self, noise: Noise) -> Array:
        """Return the shortest way, kicked off it, shape (R, bends·dof)."""
        return self.curve.initial_configuration(noise)

    def force(self, x: Array, t: float, noise: Noise | None) -> Array:
        """Return the force on the bends."""
        return self.curve.force(x, t, noise)

    def energy(self, x: Array) -> Array:
        """Return the mean energy along the curve, per degree of freedom of the model, shape (R,)."""
        return self.curve.energy(x)

    def constrain(self, x: Array) -> Array:
        """Put the bends on the sphere, where there is one."""
        return self.curve.constrain(x)

    def observables(self, x: Array) -> dict[str, Array]:
        """Return the highest energy and the length."""
        return self.curve.observables(x)

    def at_end(self, x: Array) -> Mapping[str, Array]:
        """Return what the final curve looks like from end to end (`profile`), and its control points."""
        whole = profile(self.curve, x, self.positions)
        return {name: whole[theirs].to_numpy() for name, theirs in FOUND.items()} | {
            "control": self.curve.control(x)
        }

    def dimensions(self) -> Dimensions:
        """Return the dimensions of what the final curve looks like."""
        along = ("curve_energy", "shortest_energy", "distance_from_start", "distance_from_end", "arc_length")
        return dict.fromkeys(along, ("position",)) | {"control": ("control_point", "component")}

    def coordinates(self, schedule: Schedule) -> Coordinates:
        """Return the positions."""
        return {"position": position_coordinate(self.positions)}

    def attributes(self) -> Attributes:
        """Name what is measured."""
        names = described(self.curve.space)
        own = {name: {"long_name": names[theirs], "units": "1"} for name, theirs in FOUND.items()}
        control = "control points of the final curve, ends included"
        return {
            **self.curve.attributes(),
            **own,
            "control": {"long_name": control, "units": "1", "curve": self.name},
        }


def position_coordinate(count: int) -> tuple[str, Array, dict[str, str]]:
    """Return the coordinate `position` of a final curve."""
    about = {"long_name": "position t along the curve", "units": "1"}
    return "position", np.linspace(0, 1, count), about


def _model(ends: Ends, run: StoredRun, ensemble: Ensemble) -> Model:
    """Return the model of the replicas' first ends, in the disorder of a run."""
    positions = ends.positions[ensemble.replica]
    system, _ = rebuilt(
        replace(run, replica=ends.run.replica, sample=ends.run.sample), positions, ensemble.threads
    )
    if not isinstance(system, Langevin):
        raise UserError(
            f"system.start = {str(run.path)!r}: of {run.settings.system_name}, which is no model with a "
            'force; for networks: system.name = "network_curve"'
        )
    return system.model
