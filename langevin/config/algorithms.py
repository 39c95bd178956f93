"""Checks of replica exchange, rules of descent and attraction: what they ask of other keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from langevin.core.attraction import Attraction
from langevin.core.exchange import Ladder
from langevin.core.protocol import Protocol, bounds
from langevin.core.rules import Rule
from langevin.core.system import Model

from .keys import shown, toml

if TYPE_CHECKING:
    from .settings import Settings

#: Keys of [dynamics] that name an algorithm; a run has one of them at most.
ALGORITHMS = ("exchange", "rule", "attraction")


def faults(settings: Settings) -> Iterable[str]:
    """Yield what keeps the algorithm that [dynamics] names from driving this run."""
    dynamics: Any = settings.dynamics
    asked = {name: given for name in ALGORITHMS if (given := getattr(dynamics, name, None)) is not None}
    if len(asked) > 1:
        first, second, *_ = asked
        yield f"dynamics.{second}: allowed: none with dynamics.{first} (a run has one algorithm)"
        return
    if not asked:
        return
    ((name, given),) = asked.items()
    if settings.record is not None and settings.record.response:
        yield f"record.response = true: allowed: false with dynamics.{name}, which moves what responds"
    if issubclass(settings.system_class, Model):
        yield from _of_models(settings, name)
    if isinstance(given, Ladder):
        yield from _exchange_faults(settings, given)
    elif isinstance(given, Rule):
        yield from _rule_faults(settings)
    elif isinstance(given, Attraction) and settings.ensemble is not None:
        yield from _attraction_faults(settings, given)


def _of_models(settings: Settings, name: str) -> Iterable[str]:
    """Yield what no algorithm but Langevin dynamics does."""
    kind = settings.system_class
    if issubclass(kind, Model) and kind.own_descent:
        yield f"dynamics.{name}: allowed: none ({settings.system_name} is not driven by it)"
    device = getattr(settings.dynamics, "device", "cpu")
    if device != "cpu":
        yield f'dynamics.device = {toml(device)}: allowed: "cpu" with dynamics.{name}'


def _exchange_faults(settings: Settings, ladder: Ladder) -> Iterable[str]:
    temperature = settings.dynamics.temperature
    if isinstance(temperature, Protocol):
        yield f"dynamics.temperature = {shown(temperature.given)}: must be a number with dynamics.exchange"
    elif not 0 < temperature < ladder.hotter[0]:
        yield (
            f"dynamics.temperature = {temperature:g}: must be > 0, < {ladder.hotter[0]:g}, the first of "
            "dynamics.exchange.hotter"
        )
    scheme = getattr(settings.dynamics, "scheme", "euler_maruyama")
    if scheme != "euler_maruyama":
        yield (
            f'dynamics.scheme = {toml(scheme)}: allowed: "euler_maruyama" with dynamics.exchange (a '
            "configuration that is exchanged would leave half of a kick behind)"
        )


def _rule_faults(settings: Settings) -> Iterable[str]:
    highest = bounds(settings.dynamics.temperature, settings.dynamics.t_max)[1]
    if highest > 0:
        yield (
            f"dynamics.temperature: reaches {highest:g}; must be 0 with dynamics.rule (noise on top of its "
            "steps samples no known distribution)"
        )


def _attraction_faults(settings: Settings, attraction: Attraction) -> Iterable[str]:
    replicas, samples = settings.ensemble.replicas, settings.ensemble.samples
    needed = attraction.replicas * samples
    if replicas % needed:
        yield (
            f"ensemble.replicas = {replicas}: must be a multiple of {needed}, dynamics.attraction.replicas "
            f"= {attraction.replicas} of each of ensemble.samples = {samples}"
        )
