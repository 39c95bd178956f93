"""Samples of the p-spin model on several GPUs: each has some of them, with all their replicas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from langevin.core.schemes import Held
from langevin.machine.interruption import carried

from .torch_field import TorchField

Array = NDArray[np.float64]
Result = TypeVar("Result")


class SpreadField:
    """Forces and steps of replicas, as `TorchField` has them, on several devices side by side.

    Parameters
    ----------
    fields : sequence of TorchField
    replicas : sequence of ndarray of int
        Positions of each field's replicas among all.
    """

    def __init__(self, fields: Sequence[TorchField], replicas: Sequence[NDArray[np.int64]]) -> None:
        self.parts = list(zip(fields, replicas, strict=True))
        self._pool = ThreadPoolExecutor(len(self.parts))

    def _each(self, like: Array, task: Callable[[TorchField, NDArray[np.int64]], Array]) -> Array:
        """Return what task(field, positions) gives, in the order of all replicas."""
        gathered = np.empty(like.shape)
        results = self._pool.map(carried(task), *zip(*self.parts, strict=True))
        for (_, own), rows in zip(self.parts, results, strict=True):
            gathered[own] = rows
        return gathered

    def force(self, x: NDArray[np.floating]) -> Array:
        """Return −∂H/∂σ of configurations, shape (R, N), in float64."""
        spins: Array = np.asarray(x, dtype=np.float64)
        return self._each(spins, lambda field, own: field.force(spins[own]))

    def forces(self, x: NDArray[np.floating]) -> Array:
        """Return the forces of every p, shape (P, R, N), in float64."""
        spins: Array = np.asarray(x, dtype=np.float64)
        results = list(self._pool.map(carried(lambda field, own: field.forces(spins[own])),
                                      *zip(*self.parts, strict=True)))  # fmt: skip
        gathered = np.empty((len(results[0]), *spins.shape))
        for (_, own), each in zip(self.parts, results, strict=True):
            gathered[:, own] = each
        return gathered

    def steps(
        self,
        x: Array,
        first: int,
        count: int,
        dt: float,
        temperature: float,
        keys: NDArray[np.int64],
        accumulated: Array | None = None,
        held: Held | None = None,
    ) -> Array:
        """Make Langevin steps, as `TorchField.steps`."""

        def task(field: TorchField, own: NDArray[np.int64]) -> Array:
            sums = None if accumulated is None else accumulated[:, own]
            normals = None if held is None else Held(held.scheme, held.normals[own])
            moved = field.steps(x[own], first, count, dt, temperature, keys[own], sums, normals)
            if accumulated is not None:
                accumulated[:, own] = sums
            if held is not None and normals is not None:
                held.normals[own] = normals.normals
            return moved

        return self._each(x, task)
