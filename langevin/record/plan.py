"""The probes of a run, and the schedule that unites their times, follow from its settings."""

from __future__ import annotations

from collections.abc import Sequence

from langevin.code import trust
from langevin.config.settings import Settings
from langevin.core.capabilities import MeasuresAtWaiting
from langevin.core.ensemble import Ensemble
from langevin.core.probe import Measurement, Probe
from langevin.core.schedule import Grid, Schedule
from langevin.core.system import Dimensions, System
from langevin.errors import UserError

from . import bath
from .at_waiting import AtWaiting
from .configurations import CONFIGURATION_TIME, Configurations
from .hessian import Spectra
from .inherent import InherentStructures
from .one_time import OneTime
from .recorder import TAKEN
from .sketches import Sketches
from .snapshots import Snapshots
from .two_time import TwoTime
from .users_probe import UsersProbe


def probes(
    settings: Settings, system: System, ensemble: Ensemble, dimensions: Dimensions, limit: float | None = None
) -> list[Measurement]:
    """Return what is measured at the stops of a run.

    Parameters
    ----------
    settings : Settings
    system : System
    ensemble : Ensemble
    dimensions : mapping
        Further dimensions of the system's observables.
    limit : float, optional
        Bytes of configurations that "auto" stores at most (default: `configurations.TRAJECTORY_LIMIT`).

    Raises
    ------
    UserError
        If a probe of the user's takes a name that another variable has.
    """
    record = settings.record
    planned: list[Measurement] = [OneTime(record.times, dimensions), TwoTime(dimensions)]
    if isinstance(system, MeasuresAtWaiting):
        planned.append(AtWaiting(system, record.waiting_times, dimensions))
    if record.hessian != Grid():
        planned.append(Spectra(record, ensemble, system, settings))
    if record.inherent != Grid():
        planned.append(InherentStructures(record, ensemble, system))
    known = [name for probe in planned for name in probe.attributes()]
    planned += _of_users(settings, [*TAKEN, *system.attributes(), *known])
    planned.append(Configurations(record.configurations, limit))
    snapshots = record.snapshot_grid(settings.dynamics)
    if snapshots != Grid():
        planned.append(Snapshots(snapshots))
    if record.sketch:
        planned.append(Sketches(record.sketch, ensemble))
    return planned


def schedule(settings: Settings, time_step: float | None, planned: Sequence[Measurement]) -> Schedule:
    """Return the union of the probes' times and of all pairs."""
    record = settings.record
    grids = {p.axes[0]: p.times for p in planned if isinstance(p, Probe)}
    own: dict[str, Grid | None] = {a: t for a, t in grids.items() if a not in ("time", "waiting_time")}
    observed = [p.axes[0] for p in planned if isinstance(p, Spectra | InherentStructures | Snapshots)]
    after = bath.times(settings.dynamics, record.times, time_step)
    if after is not None:
        own[bath.AXIS] = after
        observed.append(bath.AXIS)
    own[CONFIGURATION_TIME] = None
    times = record.times, record.waiting_times, record.lags
    return Schedule.build(*times, settings.dynamics.t_max, time_step, own, observed)


def _of_users(settings: Settings, taken: Sequence[str]) -> list[Probe]:
    """Return the probes that a run file names."""
    names = dict.fromkeys(taken, "the system or the schema")
    own_probes: list[Probe] = []
    for said in settings.probes:
        with trust.building(settings):
            probe = said.probe_class(said.name, said.times, said.keys)
            variables = probe.attributes()
        own = (*probe.axes, *variables, *probe.coordinates())
        for variable in own:
            if variable in names:
                raise UserError(
                    f"record.probes.{said.name}: the name {variable!r} is that of a variable of "
                    f"{names[variable]}; allowed: another one"
                )
            if not variable.isidentifier():
                raise UserError(f"record.probes.{said.name}: the name {variable!r} is no plain word")
        names |= dict.fromkeys(own, f"record.probes.{said.name}")
        own_probes.append(UsersProbe(probe))
    return own_probes
