"""A run is cut into shards here: parts of its replicas that are carried out as runs of their own.

Everything random about a replica is keyed by its labels, so that a shard leaves the numbers that the run
would. Only replicas that meet stay together: those of a quenched sample, or whatever the system says
(`KeepsTogether`). A shard knows all replicas of its run (`Ensemble.whole`), for what depends on their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langevin.core.capabilities import Deterministic, KeepsTogether
from langevin.core.ensemble import Ensemble

if TYPE_CHECKING:
    from .settings import Settings


#: Replicas up to which groups of them are looked for.
MOST = 10**8


@dataclass(frozen=True)
class Shard:
    """One of the parts that a run is cut into.

    Attributes
    ----------
    number : int
        From 0.
    count : int
        How many there are.
    """

    number: int
    count: int


def faults(settings: Settings) -> Iterable[str]:
    """Yield that a run cannot be cut into so many shards."""
    keys, kind = settings.ensemble, settings.system_class
    # So many replicas are refused for the memory that they need.
    if keys.shards == 1 or keys.replicas > MOST:
        return
    said = f"ensemble.shards = {keys.shards}"
    if issubclass(kind, Deterministic):
        yield f"{said}: must be 1 (all replicas of this system are the same: there is nothing to share out)"
    elif keys.samples <= keys.replicas and keys.shards > (most := largest_count(settings)):
        if most == keys.replicas:
            yield f"{said}: must be ≤ ensemble.replicas = {most}"
        elif most == keys.samples:
            yield f"{said}: must be ≤ ensemble.samples = {most} (the replicas of a sample stay together)"
        else:
            yield f"{said}: must be ≤ {most}, the groups of replicas that {settings.system_name} keeps together"


def largest_count(settings: Settings) -> int:
    """Return into how many shards a run may be cut."""
    return 1 if issubclass(settings.system_class, Deterministic) else len(np.unique(_together(settings)[-1]))


def cut(settings: Settings) -> list[NDArray[np.int64]]:
    """Return the positions of the replicas of every shard, ascending."""
    count = settings.ensemble.shards
    if count == 1:
        return [np.arange(settings.ensemble.replicas)]
    labels = next(labels for labels in _together(settings) if len(np.unique(labels)) >= count)
    return [np.flatnonzero(np.isin(labels, part)) for part in np.array_split(np.unique(labels), count)]


def largest(settings: Settings, count: int) -> tuple[int, int]:
    """Return the most replicas, and the most samples, of one of `count` shards."""
    keys = settings.ensemble
    own = cut(_with(settings, count))
    return max(map(len, own)), max(len(np.unique(places % keys.samples)) for places in own)


def whole(settings: Settings) -> Ensemble:
    """Return all replicas of a run."""
    keys = settings.ensemble
    return Ensemble.regular(keys.replicas, keys.samples, keys.seed)


def ensemble(settings: Settings, threads: int | None = None, generation: int = 0) -> Ensemble:
    """Return the replicas of a run, or of the shard of it that the settings are of."""
    keys = settings.ensemble
    every = Ensemble.regular(keys.replicas, keys.samples, keys.seed, threads, generation)
    shard = settings.shard
    return every if shard is None else every.shard(cut(settings)[shard.number])


def _together(settings: Settings) -> Sequence[NDArray[np.int64]]:
    """Return what stays together, as `KeepsTogether.together` does, of every system."""
    kind: Any = settings.system_class
    if issubclass(kind, KeepsTogether):
        return kind.together(settings)
    replica = np.arange(settings.ensemble.replicas)
    sample = replica % settings.ensemble.samples
    # Of itself: a class derived from one without disorder may add some.
    disordered = vars(kind).get("quenched_disorder", True)
    return [sample] if disordered else [sample, replica]


def _with(settings: Settings, count: int) -> Settings:
    return replace(settings, ensemble=settings.ensemble.model_copy(update={"shards": count}))
