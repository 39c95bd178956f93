"""Arrays of one call of the compiled steps of one group of replicas."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .couplings import Layout, aligned_zeros
from .microkernel import lanes_tag
from .stepping import SYNC_WORDS

# Normals drawn ahead for one group, in numbers: short enough to stay in cache and to stop promptly.
_NOISE_BUFFER = 1 << 17


class Workspace:
    """Arrays of one call of `advance`, for any group of as many lanes."""

    def __init__(self, place: Layout, dtype: np.dtype[Any], lanes: int, team: int) -> None:
        shape = (place.sites, lanes)
        size = place.sites * lanes
        slices = len(place.bounds) - 1
        self.lanes = lanes
        self.tag = lanes_tag(lanes)
        self.s = aligned_zeros(size, dtype).reshape(shape)
        self.f = aligned_zeros(team * size, dtype).reshape(team, *shape)
        self.parts = aligned_zeros(slices * size, np.dtype(np.float64)).reshape(slices, *shape)
        self.sync = np.zeros(SYNC_WORDS, dtype=np.int64)
        self.x = np.zeros((lanes, place.n))
        self.chunk = max(1, _NOISE_BUFFER // (lanes * place.n))
        self.noise = np.zeros(lanes * place.n * self.chunk)
        self._means: NDArray[np.float64] | None = None

    def normals(self, steps: int) -> NDArray[np.float64]:
        """Return room for the normals of at most `chunk` steps, shape (lanes, steps * n)."""
        return self._cut(self.noise, steps)

    def averaged(
        self, steps: int, held: NDArray[np.float64], replicas: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the mean of the normals of each step and of the step before.

        Parameters
        ----------
        steps : int
            Steps whose normals stand in `normals(steps)`.
        held : ndarray, shape (R, n)
            Normals of the step before the first; replaced, in place, by those of the last.
        replicas : ndarray of int
            The rows of `held` that the lanes stand for. Spare lanes move by whatever is left there.

        Returns
        -------
        ndarray, shape (lanes, steps * n)
        """
        if self._means is None:
            self._means = np.zeros_like(self.noise)
        lanes, n = len(replicas), self.x.shape[1]
        drawn, means = self.normals(steps)[:lanes], self._cut(self._means, steps)
        # Half of the sum, as the plain step has it.
        np.add(held[replicas], drawn[:, :n], out=means[:lanes, :n])
        np.add(drawn[:, :-n], drawn[:, n:], out=means[:lanes, n:])
        means[:lanes] *= 0.5
        held[replicas] = drawn[:, -n:]
        return means

    def _cut(self, room: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        size = steps * self.x.shape[1]
        return room[: self.lanes * size].reshape(self.lanes, size)
