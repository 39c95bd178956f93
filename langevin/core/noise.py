"""One seed gives independent streams: one for every (role, index).

A stream is numpy's PCG64DXSM seeded by ``SeedSequence(seed, spawn_key=(role, index))``. Streams that
advance with time ("thermal", later "batch") belong to :class:`Noise` and are part of a checkpoint;
quenched ones ("disorder", "start") are made anew at their beginning by ``Ensemble.quenched``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def stream(seed: int, role: str, *index: int) -> np.random.Generator:
    """Return the stream of `role` and `index` (one label or several) at its beginning.

    The role enters as the CRC-32 of its name: a number that no release of Python or of this package
    changes, so that a seed means the same run everywhere.
    """
    key = (zlib.crc32(role.encode()), *(int(i) for i in index))
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=key)))


def later(generation: int) -> tuple[int, ...]:
    """Return what further labels a stream of the dynamics has in a run of this generation."""
    return (generation,) if generation else ()


class Noise:
    """The streams of an ensemble that advance with time: one per replica and role.

    Parameters
    ----------
    seed : int
        Seed of the run.
    replica : iterable of int
        Labels of the replicas.
    generation : int
        Of a run that begins from what another one has stored: as `Ensemble.generation`.
    """

    def __init__(self, seed: int, replica: Iterable[int], generation: int = 0) -> None:
        self._seed, self._later = seed, later(generation)
        self._replica = [int(k) for k in replica]
        self._streams: dict[str, list[np.random.Generator]] = {}

    def streams(self, role: str = "thermal") -> list[np.random.Generator]:
        """Return the generators of `role`, one per replica, where they now stand."""
        if role not in self._streams:
            self._streams[role] = self.beginnings(role)
        return self._streams[role]

    def beginnings(self, role: str) -> list[np.random.Generator]:
        """Return generators of `role`, one per replica, at their beginning; they do not stand for `streams`.

        What is drawn from them follows from the seed, the labels and the generation alone.
        """
        return [stream(self._seed, role, k, *self._later) for k in self._replica]

    def normal(self, dof: int, role: str = "thermal") -> NDArray[np.float64]:
        """Draw standard normals, shape (R, dof): row k from the stream of replica k alone."""
        out = np.empty((len(self._replica), dof))
        for row, generator in zip(out, self.streams(role), strict=True):
            generator.standard_normal(out=row)
        return out

    def state_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return where every stream stands, as plain numbers and strings (JSON can hold it)."""
        return {role: [g.bit_generator.state for g in gs] for role, gs in self._streams.items()}  # type: ignore[misc]

    def load_state(self, saved: dict[str, list[dict[str, Any]]]) -> None:
        """Set every stream to where `state_dict` found it."""
        for role, states in saved.items():
            for generator, state in zip(self.streams(role), states, strict=True):
                generator.bit_generator.state = state
