"""Validated settings become a system here, with the data that it learns from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langevin.code import trust
from langevin.core.attraction import AttractedLangevin
from langevin.core.capabilities import HasRecordKeys
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.exchange import ReplicaExchange
from langevin.core.rules import RuledDescent
from langevin.core.schemes import SchemeName
from langevin.core.system import LoadedData, Model, System
from langevin.errors import FOREIGN, LangevinError, UserError, first_line

from .algorithms import ALGORITHMS
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
    return _driven(built, settings.dynamics, ensemble, settings.record.response)


def _driven(model: Model, dynamics: Any, ensemble: Ensemble, response: bool) -> Langevin:
    """Return the system that the dynamics of a run file makes of a model."""
    # Keys of a model's own need not offer the choices.
    scheme: SchemeName = getattr(dynamics, "scheme", "euler_maruyama")
    exchange, rule, attraction = (getattr(dynamics, name, None) for name in ALGORITHMS)
    if exchange is not None:
        return ReplicaExchange(model, dynamics.temperature, dynamics.dt, exchange)
    if rule is not None:
        return RuledDescent(model, dynamics.dt, rule)
    if attraction is not None:
        return AttractedLangevin(model, dynamics.temperature, dynamics.dt, attraction, ensemble, scheme)
    return Langevin(model, dynamics.temperature, dynamics.dt, response, scheme)
