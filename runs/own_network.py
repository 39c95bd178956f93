"""A network for own_network.toml: it reads an image row by row."""

import torch
from torch import Tensor, nn


class RowReader(nn.Module):
    """A gated linear recurrence over the rows of an image, and a linear readout of its last state."""

    def __init__(self, shape: tuple[int, ...], classes: int, width: int) -> None:
        super().__init__()
        channels, _, columns = shape
        self.enter = nn.Linear(channels * columns, width)
        self.gate = nn.Linear(channels * columns, width)
        self.leave = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs, shape (B, classes)."""
        rows = images.movedim(2, 1).flatten(2)
        new, kept = torch.tanh(self.enter(rows)), torch.sigmoid(self.gate(rows))
        state = torch.zeros_like(new[:, 0])
        for row in range(rows.shape[1]):
            state = kept[:, row] * state + (1 - kept[:, row]) * new[:, row]
        return self.leave(state)


def row_reader(shape: tuple[int, ...], classes: int, width: int = 32) -> nn.Module:
    """Return a new network; the program gives `shape` and `classes`, the run file `width`."""
    return RowReader(shape, classes, width)
