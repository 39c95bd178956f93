"""A data set where the network lives: gathered by index, never by a loader."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Numbers in the inputs of one piece of a long evaluation: it bounds the memory that activations take.
PIECE = 2**21


class Examples:
    """Inputs and labels on a device.

    Images stay bytes, a quarter of the memory of single precision, and become scale·byte + shift when a batch
    is gathered.

    Parameters
    ----------
    inputs : ndarray, shape (P, …)
        uint8 or floating point.
    labels : ndarray of int, shape (P,)
    scale, shift : ndarray, shape (channels,)
    device : torch.device
    dtype : torch.dtype
        Of what the network gets.
    """

    def __init__(
        self,
        inputs: NDArray[Any],
        labels: NDArray[np.int64],
        scale: NDArray[Any],
        shift: NDArray[Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        kept = torch.from_numpy(np.ascontiguousarray(inputs))
        self.inputs = kept.to(device, dtype if kept.is_floating_point() else None)
        self.labels = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64)).to(device)
        self.dtype = dtype
        self.device = device
        self.identity = bool(np.all(np.asarray(scale) == 1) and np.all(np.asarray(shift) == 0))
        by_channel = (-1, *[1] * (inputs.ndim - 2))
        self.scale = torch.as_tensor(np.asarray(scale), dtype=dtype, device=device).reshape(by_channel)
        self.shift = torch.as_tensor(np.asarray(shift), dtype=dtype, device=device).reshape(by_channel)

    def __len__(self) -> int:
        """Return the number of examples P."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.inputs.shape[1:])

    @property
    def piece(self) -> int:
        """How many examples an evaluation takes at once."""
        return max(1, min(2000, PIECE // max(1, self.inputs[0].numel())))

    def upload(self, index: NDArray[np.int64]) -> Tensor:
        """Bring indices to the device."""
        return torch.from_numpy(index).to(self.device, non_blocking=True)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of the examples `index`, whose shape leads theirs."""
        flat = index.reshape(-1)
        inputs = self.scaled(self.inputs.index_select(0, flat))
        return inputs.view(*index.shape, *self.shape), self.labels.index_select(0, flat).view(index.shape)

    def scaled(self, inputs: Tensor) -> Tensor:
        """Return inputs as a network gets them, shape (n, …); those given may be overwritten."""
        if inputs.dtype != self.dtype:
            inputs = inputs.to(self.dtype)
        return inputs if self.identity else inputs.mul_(self.scale).add_(self.shift)
