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


#: numpy's SeedSequence: words of its pool, and the constants of its hash.
_POOL = 4
_INIT_A, _MULT_A, _INIT_B, _MULT_B = 0x43B0D7E5, 0x931E8875, 0x8B51F9DD, 0x58F38DED
_LEFT, _RIGHT = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)


class _Hash:
    """Hashes words, each by the next constant."""

    def __init__(self, start: int, factor: int) -> None:
        self._at, self._factor = start, factor

    def __call__(self, words: NDArray[np.uint32]) -> NDArray[np.uint32]:
        words = words ^ np.uint32(self._at)
        self._at = self._at * self._factor % 2**32
        words = words * np.uint32(self._at)
        return words ^ (words >> np.uint32(16))


def _mixed(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> NDArray[np.uint32]:
    mixed = _LEFT * a - _RIGHT * b
    return mixed ^ (mixed >> np.uint32(16))


def seeds(seed: int, role: str, *index: NDArray[np.int64] | int) -> NDArray[np.uint64]:
    """Return with what numbers the bit generators of many streams begin, shape (n, 4): for other machines.

    Row k is what ``SeedSequence(seed, spawn_key=…).generate_state(4, uint64)`` is for the stream of `role`
    and the labels k, all of them at once: ten thousand streams take as long as a hundred by themselves.

    Parameters
    ----------
    seed : int
    role : str
    *index : int or ndarray of int, shape (n,)
        Labels, 0 ≤ label < 2³².
    """
    labels = np.broadcast_arrays(*(np.atleast_1d(np.asarray(i)) for i in index))
    if any(label.min() < 0 or label.max() >= 2**32 for label in labels):
        raise ValueError("labels of streams must be ≥ 0 and < 2³²")
    words = [seed >> shift & 0xFFFFFFFF for shift in range(0, max(seed.bit_length(), 1), 32)]
    words += [0] * (_POOL - len(words)) + [zlib.crc32(role.encode())]
    entropy = [np.full(labels[0].shape, word, np.uint32) for word in words]
    entropy += [label.astype(np.uint32) for label in labels]
    mix = _Hash(_INIT_A, _MULT_A)
    pool = [mix(word) for word in entropy[:_POOL]]
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                pool[target] = _mixed(pool[target], mix(pool[source]))
    for word in entropy[_POOL:]:
        pool = [_mixed(own, mix(word)) for own in pool]
    out = _Hash(_INIT_B, _MULT_B)
    halves = [out(pool[k % _POOL]).astype(np.uint64) for k in range(8)]
    return np.stack(
        [low | high << np.uint64(32) for low, high in zip(halves[::2], halves[1::2], strict=True)], axis=1
    )


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

    @property
    def labels(self) -> list[int]:
        """Labels of the replicas."""
        return self._replica

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
