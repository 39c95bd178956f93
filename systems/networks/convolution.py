"""Convolution, pooling and ReLU in one layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvPool(nn.Conv2d):
    """relu(max_pool2d(conv2d(x)))."""

    compiled = False

    def __init__(self, before: int, after: int, kernel: int, padding: int = 0) -> None:
        super().__init__(before, after, kernel, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        return F.relu(F.max_pool2d(super().forward(x), 2))
