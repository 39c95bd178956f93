"""A run is cut into shards here: parts of its replicas that are carried out as runs of their own.

Everything random about a replica is keyed by its labels, so that a shard leaves the numbers that the run
would. Only replicas that meet stay together: those of a quenched sample, or whatever the system says
(`KeepsTogether`). A shard knows all replicas of its run (`Ensemble.whole`), for what depends on their number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.core.capabilities import Deterministic, KeepsTogether
from langevin.core.ensemble import Ensemble
from langevin.machine import memory

from .settings import Settings

#: Replicas up to which groups of them are looked for.
MOST = 10**7


def faults(settings: Settings) -> Iterable[str]:
    """Yield that a run cannot be cut into so many shards."""
    keys, kind = settings.ensemble, settings.system_class
    if keys.shards == 1:
        return
    said = f"ensemble.shards = {keys.shards}"
    if keys.replicas > MOST:
        yield f"{said}: must be 1 with ensemble.replicas = {keys.replicas} > {MOST}"
    elif issubclass(kind, Deterministic):
        yield f"{said}: must be 1 (all replicas of this system are the same: there is nothing to share out)"
    elif keys.samples <= keys.replicas and keys.shards > (most := largest_count(settings)):
        if most == keys.replicas:
            yield f"{said}: must be ≤ ensemble.replicas = {most}"
        elif most == keys.samples:
            yield f"{said}: must be ≤ ensemble.samples = {most} (the replicas of a sample stay together)"
        else:
            yield f"{said}: must be ≤ {most}, the groups of replicas that stay together"


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
    samples = settings.ensemble.samples
    if count == 1:
        return settings.ensemble.replicas, samples
    groups = next(labels for labels in _together(settings) if len(np.unique(labels)) >= count)
    sizes = [int(part.sum()) for part in np.array_split(np.unique(groups, return_counts=True)[1], count)]
    by_sample = np.array_equal(groups, np.arange(len(groups)) % samples)
    return max(sizes), -(-samples // count) if by_sample else min(samples, max(sizes))


def fewest(settings: Settings, needed: Callable[[int, int], float], free: float) -> int | None:
    """Return how many shards a run needs at least, for the largest one to fit into memory.

    Parameters
    ----------
    settings : Settings
    needed : callable
        Bytes that so many replicas, of so many samples, need.
    free : float
        Bytes that are free.

    Returns
    -------
    int or None
        None: it cannot be cut into parts that fit.
    """
    keys = settings.ensemble
    if not keys.samples <= keys.replicas <= MOST:
        return None
    most = largest_count(settings)
    if needed(*largest(settings, most)) > free:
        return None
    # It needs less the more there are.
    return bisect_left(range(most + 1), True, lo=1, key=lambda k: needed(*largest(settings, k)) <= free)


def room_faults(settings: Settings, needed: Callable[[int, int], float], said: str) -> Iterable[str]:
    """Yield that there is no room for what a run, or its largest shard, keeps in memory.

    Parameters
    ----------
    settings : Settings
    needed : callable
        Bytes that so many replicas, of so many samples, need.
    said : str
        The keys that it follows from, with their values.
    """
    keys = settings.ensemble
    own = keys.replicas, keys.samples
    if keys.shards > 1:
        if next(iter(faults(settings)), None):
            return
        own = largest(settings, keys.shards)
        said += f", ensemble.shards = {keys.shards}"
    yield from memory.room_faults(needed(*own), said, lambda free: fewest(settings, needed, free))


def whole(settings: Settings) -> Ensemble:
    """Return all replicas of a run."""
    keys = settings.ensemble
    return Ensemble.regular(keys.replicas, keys.samples, keys.seed)


def ensemble(settings: Settings, threads: int | None = None, generation: int = 0) -> Ensemble:
    """Return the replicas of a run, or of the shard of it that the settings are of."""
    keys = settings.ensemble
    every = Ensemble.regular(keys.replicas, keys.samples, keys.seed, threads, generation)
    shard = settings.shard
    return every if shard is None or shard.count == 1 else every.shard(cut(settings)[shard.number])


def _together(settings: Settings) -> Sequence[NDArray[np.int64]]:
    """Return what stays together, as `KeepsTogether.together` does, of every system."""
    kind: Any = settings.system_class
    if issubclass(kind, KeepsTogether):
        return kind.together(settings)
    replica = np.arange(settings.ensemble.replicas)
    sample = replica % settings.ensemble.samples
    attraction = getattr(settings.dynamics, "attraction", None)
    if attraction is not None:
        groups = attraction.labels(replica, sample, settings.ensemble.samples)
        # Of itself, as below: without disorder the groups alone stay together.
        return [sample, groups] if vars(kind).get("quenched_disorder", True) is False else [sample]
    # Of itself: a class derived from one without disorder may add some.
    disordered = vars(kind).get("quenched_disorder", True)
    return [sample] if disordered else [sample, replica]
