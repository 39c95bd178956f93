"""A data set where the network lives: gathered by index, never by a loader."""

from __future__ import annotations

import copy
import warnings
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Numbers in the inputs of one piece of a long evaluation: it bounds the memory that activations take.
PIECE = 2**21

#: So many times larger is a piece on a GPU where no gradient is asked for.
ROOMY = 4

#: Part of a GPU's free memory that the inputs of one set may take; the rest is for the network.
SHARE = 0.5


def too_large(size: int, device: torch.device) -> bool:
    """Return whether inputs of so many bytes are to stay in the memory of the machine, or on its disk."""
    return device.type == "cuda" and size > SHARE * torch.cuda.mem_get_info(device)[0]


class OnDevice:
    """Inputs and what outputs are compared with, gathered for a device.

    Images stay bytes, a quarter of the memory of single precision, and become scale·byte + shift when a batch
    is gathered. They lie on the device; if they would take more than half of its free memory, they stay where
    they are, and each batch is gathered there and copied. Both give the same bits. Arrays that are mapped
    from a file (`numpy.memmap`) are never read whole on a CPU, and not on a GPU either if they stay.

    Parameters
    ----------
    inputs : ndarray, shape (P, …)
        uint8 or floating point; or int64, which stay what they are.
    labels : ndarray of int64 or of floating point, shape (P, …), or None
        None: outputs are compared with the inputs as the network gets them.
    scale, shift : ndarray, shape (channels,)
    device : torch.device
    dtype : torch.dtype
        Of what the network gets.
    on_host : bool, optional
        Whether inputs and labels stay where they are (default: if `too_large`).
    """

    def __init__(
        self,
        inputs: NDArray[Any],
        labels: NDArray[Any] | None,
        scale: NDArray[Any],
        shift: NDArray[Any],
        device: torch.device,
        dtype: torch.dtype,
        on_host: bool | None = None,
    ) -> None:
        self.on_host = too_large(inputs.nbytes, device) if on_host is None else on_host
        self.inputs = _tensor(np.ascontiguousarray(inputs))
        self.labels = None if labels is None else _tensor(_labels(labels))
        if not self.on_host:
            self.inputs = self.inputs.to(device, dtype if self.inputs.is_floating_point() else None)
            self.labels = None if self.labels is None else self.labels.to(device)
        self.dtype = dtype
        #: Numbers that a network makes of one example, if that is more than it holds.
        self.outputs = 1
        #: Where what is gathered goes.
        self.device = device
        self.identity = bool(np.all(np.asarray(scale) == 1) and np.all(np.asarray(shift) == 0))
        by_channel = (-1, *[1] * (inputs.ndim - 2))
        self.scale = torch.as_tensor(np.asarray(scale), dtype=dtype, device=device).reshape(by_channel)
        self.shift = torch.as_tensor(np.asarray(shift), dtype=dtype, device=device).reshape(by_channel)

    def brought_to(self, device: torch.device) -> Self:
        """Return the same examples for another device; what stays on the host is shared."""
        there = copy.copy(self)
        there.device = device
        there.scale, there.shift = self.scale.to(device), self.shift.to(device)
        if not self.on_host:
            there.inputs = self.inputs.to(device)
            there.labels = None if self.labels is None else self.labels.to(device)
        return there

    def __len__(self) -> int:
        """Return the number of examples P."""
        return len(self.inputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.inputs.shape[1:])

    @property
    def piece(self) -> int:
        """How many examples an evaluation takes at once."""
        return max(1, min(2000, PIECE // max(1, self.outputs, self.inputs[0].numel())))

    @property
    def evaluated(self) -> int:
        """How many examples an evaluation without a gradient takes at once: more on a GPU, to fill it."""
        return max(self.piece, min(2000, ROOMY * self.piece)) if self.device.type == "cuda" else self.piece

    @property
    def classes(self) -> NDArray[np.int64]:
        """The labels on a CPU, shape (P,), where each example has one class."""
        assert self.labels is not None
        return np.asarray(self.labels.numpy())

    def upload(self, index: NDArray[np.int64]) -> Tensor:
        """Bring indices to where the examples lie: a GPU need not be asked for them then."""
        return torch.from_numpy(index).to(self.inputs.device, non_blocking=True)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of the examples `index`, whose shape leads theirs, on the device."""
        inputs, labels = self.rows(index.reshape(-1))
        return self.paired(self.scaled(inputs), labels, index.shape)

    def paired(self, inputs: Tensor, labels: Tensor | None, lead: torch.Size) -> tuple[Tensor, Tensor]:
        """Return inputs as a network gets them and what its outputs are compared with, in this shape."""
        inputs = inputs.view(*lead, *self.shape)
        if labels is None:
            # A module may begin with an operation in place.
            return inputs, inputs.clone()
        if labels.is_floating_point():
            labels = labels.to(self.dtype)
        return inputs, labels.view(*lead, *labels.shape[1:])

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return inputs and labels as they are stored, on the device, copies of the rows `index`, (n,)."""
        # Indices that come from a GPU are waited for.
        index = index.to(self.inputs.device, non_blocking=not self.on_host)
        if not self.on_host:
            inputs, labels = self.inputs.index_select(0, index), self.labels
            return inputs, None if labels is None else labels.index_select(0, index)
        labels = self.labels
        return self._copied(self.inputs, index), None if labels is None else self._copied(labels, index)

    def _copied(self, kept: Tensor, index: Tensor) -> Tensor:
        """Gather rows on the host, and copy them to the device while it computes."""
        # From pageable memory a copy would wait. The allocator knows when the pinned block is free again.
        shape, pinned = (len(index), *kept.shape[1:]), self.device.type == "cuda"
        rows_there = torch.empty(shape, dtype=kept.dtype, pin_memory=pinned)
        torch.index_select(kept, 0, index, out=rows_there)
        return rows_there.to(self.device, non_blocking=True)

    def scaled(self, inputs: Tensor) -> Tensor:
        """Return inputs as a network gets them, shape (n, …); those given may be overwritten."""
        if inputs.dtype == torch.int64:
            # Tokens, and other numbers that index something.
            return inputs
        if inputs.dtype != self.dtype:
            inputs = inputs.to(self.dtype)
        return inputs if self.identity else inputs.mul_(self.scale).add_(self.shift)


def _labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels as they are kept: integers of 64 bits, or real numbers."""
    kept = labels.dtype if labels.dtype.kind == "f" else np.dtype(np.int64)
    return np.ascontiguousarray(labels, dtype=kept)


def _tensor(array: NDArray[Any]) -> Tensor:
    """Return a tensor of the array's memory, which nobody writes to: it may be a file's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
