"""A workspace holds the arrays of one call of the compiled steps of one group of replicas."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.core.schemes import Held, StepNoise

from .couplings import aligned_zeros
from .microkernel import lanes_tag
from .mixture import Walk
from .stepping import SYNC_WORDS

# Normals drawn ahead for one group, in numbers: short enough to stay in cache and to stop promptly.
_NOISE_BUFFER = 1 << 17


class Workspace:
    """Arrays of one call of `advance`, for any group of as many lanes."""

    def __init__(self, place: Walk, dtype: np.dtype[Any], lanes: int, team: int) -> None:
        shape = (place.sites, lanes)
        size = place.sites * lanes
        self.lanes = lanes
        self.tag = lanes_tag(lanes)
        self.s = aligned_zeros(size, dtype).reshape(shape)
        self.f = aligned_zeros(team * size, dtype).reshape(team, *shape)
        self.parts = aligned_zeros(place.forces * size, np.dtype(np.float64)).reshape(place.forces, *shape)
        self.sync = np.zeros(SYNC_WORDS, dtype=np.int64)
        self.x = np.zeros((lanes, place.n))
        self.chunk = max(1, _NOISE_BUFFER // (lanes * place.n))
        self._normals = np.zeros(lanes * place.n * self.chunk)
        self._used: NDArray[np.float64] | None = None

    def normals(self, steps: int) -> NDArray[np.float64]:
        """Return room for the normals of at most `chunk` steps, shape (lanes, steps * n)."""
        return self._cut(self._normals, steps)

    def noise(self, steps: int, held: Held | None, replicas: NDArray[np.int64]) -> StepNoise:
        """Return the noise of the steps whose normals stand in `normals(steps)`, shape (lanes, steps * n).

        Parameters
        ----------
        steps : int
        held : Held, optional
            What the scheme holds of all replicas, if it holds any; brought up to the last step, in place.
        replicas : ndarray of int
            The replicas that the lanes stand for. Spare lanes move by whatever is left there.
        """
        drawn = self.normals(steps)
        if held is None:
            return StepNoise(drawn, drawn)
        if self._used is None:
            self._used = np.zeros_like(self._normals)
        used, lanes = self._cut(self._used, steps), len(replicas)
        each, room = (a[:lanes].reshape(lanes, steps, -1) for a in (drawn, used))
        held.scheme.noise(held.normals[replicas], each, room)
        held.normals[replicas] = each[:, -1]
        return StepNoise(used, drawn)

    def _cut(self, room: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        size = steps * self.x.shape[1]
        return room[: self.lanes * size].reshape(self.lanes, size)
