"""The state of a network system, and what is kept of it at a waiting time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.core.system import Array
from langevin.errors import UserError

#: Weights whose difference is held in double precision at once.
HELD = 2**22

#: How names of slots begin in a saved state.
_SLOT = "slot_"


class Followed(Protocol):
    """What is kept of a state's past so that its response is known."""

    def copy(self) -> Followed:
        """Return what may be changed in place."""

    def saved(self) -> dict[str, NDArray[Any]]:
        """Return arrays from which it can be made again."""


@dataclass(frozen=True)
class NetworkState:
    """Weights, and what else the next step needs.

    Attributes
    ----------
    weights : Tensor, shape (R, M)
    slots : mapping
        What the optimiser remembers, by its names for it: Tensors of shape (R, M), or (R, parameter tensors).
    buffers : list of Tensor, shape (R, …) each
        Running statistics, in the module's order.
    memory : ndarray of int8, shape (R, P) or (R, 0)
        Who is in the batch, where batches are persistent.
    response : Followed or None
        Where the response is measured: what it follows from (`response`).
    """

    weights: Tensor
    slots: Mapping[str, Tensor]
    buffers: list[Tensor]
    memory: NDArray[np.int8]
    response: Followed | None = None

    def copy(self) -> NetworkState:
        """Return a state that may be changed in place."""
        slots = {name: slot.clone() for name, slot in self.slots.items()}
        response = None if self.response is None else self.response.copy()
        buffers = [b.clone() for b in self.buffers]
        return NetworkState(self.weights.clone(), slots, buffers, self.memory.copy(), response)

    def saved(self) -> dict[str, NDArray[Any]]:
        """Return arrays from which `restored` makes the same state."""
        arrays: dict[str, NDArray[Any]] = {"weights": self.weights.cpu().numpy(), "memory": self.memory}
        arrays |= {f"{_SLOT}{name}": slot.cpu().numpy() for name, slot in self.slots.items()}
        arrays |= {f"buffer_{i}": _bytes(b) for i, b in enumerate(self.buffers)}
        return arrays | (self.response.saved() if self.response is not None else {})


def _bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """Return what a tensor of any type holds, byte by byte: files know few of torch's types."""
    held: NDArray[np.uint8] = tensor.cpu().resolve_conj().contiguous().reshape(-1).view(torch.uint8).numpy()
    return held


def restored(
    saved: Mapping[str, NDArray[Any]], device: torch.device, like: Sequence[Tensor] = ()
) -> NetworkState:
    """Return the state whose `saved` arrays these are, on a device; its response is not followed.

    Parameters
    ----------
    saved : mapping
    device : torch.device
    like : sequence of Tensor
        One replica's of what stands beside the weights: for types and shapes.

    Raises
    ------
    UserError
        If what is saved beside the weights is of other types and shapes.
    """

    def back(name: str) -> Tensor:
        return torch.from_numpy(np.array(saved[name])).to(device)

    weights, buffers = back("weights"), []
    sizes = [len(saved[f"buffer_{i}"]) for i in range(sum(name.startswith("buffer_") for name in saved))]
    if sizes != [len(weights) * t.numel() * t.element_size() for t in like]:
        raise UserError("what was saved beside the weights is not what the network has: its code has changed")
    for i, own in enumerate(like):
        held = back(f"buffer_{i}")
        held = held.view(own.dtype) if len(held) else held.to(own.dtype)
        buffers.append(held.reshape(len(weights), *own.shape))
    slots = {name.removeprefix(_SLOT): back(name) for name in saved if name.startswith(_SLOT)}
    return NetworkState(weights, slots, buffers, np.array(saved["memory"], dtype=np.int8))


class Reference:
    """Weights kept at a waiting time, shape (R, M), on their device; `numpy.asarray` copies them."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    @cached_property
    def square(self) -> Array:
        """The mean over the weights of their squares, shape (R,)."""
        return np.asarray(compare(self.weights, self.weights)[1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the weights."""
        return np.asarray(self.weights.cpu().numpy(), dtype=dtype)


def compare(a: Tensor, b: Tensor) -> Array:
    """Return the means over the weights of (a − b)² and of a b, shape (2, R), for a and b of shape (R, M).

    Two single precision numbers are subtracted, squared and summed in double precision; of
    |a|² + |b|² − 2 a·b nothing would be left where the distance is small.
    """
    if a.device.type == "cpu" and a.numel() <= HELD:
        return _sums(a, b) / a.shape[1]
    return np.stack([_compare_row(p, q) for p, q in zip(a, b, strict=True)], axis=1) / a.shape[1]


def _sums(a: Tensor, b: Tensor) -> Array:
    """Return Σ (a − b)² and Σ a b over the last axis; numpy's sums do not depend on threads."""
    x, y = a.double().numpy(), b.double().numpy()
    return np.stack([np.sum((x - y) ** 2, axis=-1), np.sum(x * y, axis=-1)])


def _compare_row(a: Tensor, b: Tensor) -> Array:
    total = np.zeros(2)
    for p, q in zip(torch.split(a, HELD), torch.split(b, HELD), strict=True):
        if a.device.type == "cpu":
            total += _sums(p, q)
        else:
            u, v = p.double(), q.double()
            total += np.array([float(torch.sum((u - v) ** 2)), float(torch.sum(u * v))])
    return total


def dots(a: Tensor, b: Tensor) -> Tensor:
    """Return Σ_i a_i b_i over the last axis in double precision; on a CPU it does not depend on threads."""
    if a.device.type == "cpu":
        x, y = a.double().numpy(), b.double().numpy()
        return torch.as_tensor(np.sum(x * y, axis=-1))
    return torch.sum(a.double() * b.double(), dim=-1)


def first_not_finite(weights: Tensor) -> int | None:
    """Return the position of the first replica with a weight that is not finite, if there is one."""
    if weights.device.type == "cpu":
        # Extremes stand for all weights, without a copy; torch would start its threads for each of them.
        values = weights.numpy()
        finite = np.isfinite(values.max(axis=1)) & np.isfinite(values.min(axis=1))
    else:
        finite = torch.isfinite(torch.stack(torch.aminmax(weights, dim=1))).all(0).cpu().numpy()
    return None if finite.all() else int(np.argmin(finite))
