"""The sections of a run file declare their keys here, as far as every system shares them."""

from __future__ import annotations

from langevin.core.capabilities import HasRecordKeys
from langevin.core.schemes import SchemeName
from langevin.core.system import Named
from langevin.errors import UserError

from .keys import (
    ATTRACTIONS,
    TEMPERATURES,
    AttractionKey,
    DynamicsKeys,
    ExchangeKey,
    HessianKeys,
    InherentKeys,
    MeasuringKeys,
    ResultPathKey,
    RuleKey,
    Section,
    SnapshotKeys,
    TemperatureKey,
    key,
)

#: [data] stands only in run files of systems that learn from data.
#: [start] in those of runs that begin where another one was.
SECTIONS = ("system", "data", "start", "dynamics", "ensemble", "record", "output")

#: Characters of a title.
LONGEST_TITLE = 1000


class LangevinDynamics(DynamicsKeys):
    """[dynamics] of every system that Langevin dynamics drives."""

    time_step_key = "dt"

    temperature: TemperatureKey = key("bath temperature T", example=0.5, kind=TEMPERATURES, unit="energy")
    initial_temperature: float = key(
        "temperature of the equilibrium the start is drawn from; inf: a random configuration",
        default=float("inf"),
        ge=0,
        inf=True,
        unit="energy",
    )
    dt: float = key("time step (weak order 1: averages are off by O(dt))", example=0.02, gt=0, unit="time")
    scheme: SchemeName = key(
        "noise of a step: its own normals, or their mean with those of the step before, for which stationary "
        "averages are off by O(dt²), if there is no constraint",
        default="euler_maruyama",
    )
    t_max: float = key("end of the run", example=100.0, gt=0, unit="time")
    exchange: ExchangeKey = key(
        "replica exchange: further temperatures, of copies of every replica, and steps between swaps",
        default=None,
        example={},
        kind="table { hotter = [0.6, 0.7], every = 10 }",
    )
    rule: RuleKey = key(
        "rule of descent at T = 0: gradient descent, with momentum, or Adam",
        default=None,
        example="gradient",
        kind='"gradient", "momentum", "adam", or a table { name = "momentum", momentum = 0.9 }, { name = '
        '"adam", betas = [0.9, 0.999], epsilon = 1e-8 }',
    )
    attraction: AttractionKey = key(
        "attraction of groups of replicas to their centre: how many share one, the part of the way that a "
        "pull takes (0 … 1, or its protocol), steps between pulls",
        default=None,
        example={},
        kind=ATTRACTIONS,
    )


class EnsembleKeys(Section):
    """[ensemble]."""

    replicas: int = key("independent copies", default=1, example=16, ge=1)
    samples: int = key(
        "quenched samples that the replicas are dealt over in turn", default=1, example=4, ge=1
    )
    seed: int = key("seed of every random number of the run", default=0, example=1, ge=0)
    shards: int = key(
        "parts that the replicas are computed in, anywhere and in any order: the result is that of one run",
        default=1,
        ge=1,
    )


class RecordKeys(InherentKeys, HessianKeys, SnapshotKeys, MeasuringKeys):
    """[record]."""


class OutputKeys(Section):
    """[output]."""

    path: ResultPathKey = key(
        "result file; without it: the run file's name with .nc, in the working directory", default=""
    )
    figure: bool = key("draw the figure when the run ends", default=True)
    track: str = key(
        "tracker that is told of one-time observables, such as the loss, while the run goes on: "
        '"tensorboard", or your own "package.module:function"; none by default',
        default="",
    )
    checkpoint_interval: float = key(
        "time between checkpoints; longer where writing them would take more than 1 % of the run; "
        "0: twice a second, whatever it takes",
        default=30.0,
        ge=0,
        le=60,
        unit="s",
    )


def dynamics_keys(system_class: type[Named]) -> type[Section]:
    """Return the class that declares [dynamics] for a system: its own, else Langevin dynamics."""
    return system_class.Dynamics or LangevinDynamics


def record_keys(system_class: type[Named]) -> type[RecordKeys]:
    """Return the class that declares [record] for a system: its own, else that of every system.

    Raises
    ------
    UserError
        If its own does not derive from `RecordKeys`, whose keys every run needs.
    """
    if not issubclass(system_class, HasRecordKeys):
        return RecordKeys
    kind = system_class.Record
    if not (isinstance(kind, type) and issubclass(kind, RecordKeys)):
        raise UserError(
            f"{system_class.__name__}.Record: must derive from langevin.config.sections.RecordKeys"
        )
    return kind
