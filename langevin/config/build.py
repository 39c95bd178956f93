"""Validated settings become a system here, with the data that it learns from."""

from __future__ import annotations

from collections.abc import Callable

from langevin.code import trust
from langevin.core.capabilities import HasRecordKeys
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.schemes import SchemeName
from langevin.core.system import LoadedData, Model, System
from langevin.errors import FOREIGN, LangevinError, UserError, first_line

from .keys import ChangesData, toml
from .settings import Settings


def load_data(settings: Settings, ensemble: Ensemble) -> LoadedData | None:
    """Load what [data] names, for every quenched sample of the run; None for a system without data.

    A shard, too, loads those of all samples: what is said of the data in its file is then that of the run.
    """
    if settings.data_class is None:
        return None
    with trust.building(settings):
        try:
            data: LoadedData = settings.data_class(settings.data).load(ensemble.whole)
            if isinstance(settings.data, ChangesData):
                data = settings.data.changed(data, ensemble.whole)
        except LangevinError:
            raise
        except FOREIGN as error:
            if settings.data_class.__module__.startswith("langevin."):
                raise
            said = f"its data cannot be loaded: {first_line(error)}"
            raise UserError(f"data.name = {toml(settings.data_name)}: {said}") from error
    return data


def build(settings: Settings, ensemble: Ensemble, data: LoadedData | None = None) -> System:
    """Build the system of validated settings; a model with a force becomes a `Langevin` system.

    A system that learns from data is given them as a fourth argument: `data`, or what `load_data` returns.
    """
    if data is None:
        data = load_data(settings, ensemble)
    further = [] if data is None else [data]
    construct: Callable[..., System | Model] = settings.system_class
    record = {"record": settings.record} if issubclass(settings.system_class, HasRecordKeys) else {}
    with trust.building(settings):
        built = construct(settings.system, settings.dynamics, ensemble, *further, **record)
    if isinstance(built, System):
        return built
    dynamics = settings.dynamics
    # Keys of a model's own need not offer the choice.
    scheme: SchemeName = getattr(dynamics, "scheme", "euler_maruyama")
    return Langevin(built, dynamics.temperature, dynamics.dt, settings.record.response, scheme)
