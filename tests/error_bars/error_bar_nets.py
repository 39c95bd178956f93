"""A net with batch-norm, for the coverage of errors."""

from __future__ import annotations

from torch import Tensor, nn


class Normalised(nn.Module):
    """Two inputs, batch-norm behind a layer of six."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        found: Tensor = self.layers(x)
        return found
