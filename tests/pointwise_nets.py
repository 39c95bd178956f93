"""Nets with narrow pointwise convolutions that skip pixels, and channels innermost by every way there is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from small_nets import built, settings
from torch import Tensor, nn


class Strided(nn.Module):
    """Two convolutions, the second with a stride, then the mean over the pixels.

    Parameters
    ----------
    shape : tuple of int
    classes : int
    kind : str
        How the second convolution is called, and how memory lies there.
    before, after : int
        Its channels.
    kernel : int
        Its rows and columns.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        kind: str,
        before: int = 3,
        after: int = 9,
        kernel: int = 1,
    ) -> None:
        super().__init__()
        self.kind = kind
        if kind == "transposed":
            before, after = after, before
        self.first = nn.Conv2d(shape[0], before, 3, padding=1)
        if kind == "transposed":
            self.second: nn.Module = nn.ConvTranspose2d(before, after, kernel, 2, output_padding=1)
        elif kind == "line":
            self.second = nn.Conv1d(before, after, kernel, 2)
        else:
            self.second = nn.Conv2d(before, after, kernel, 2, padding=kernel // 2)
        self.matrix = nn.Parameter(torch.randn(before, after) / before) if kind == "matrix" else None
        self.last = nn.Linear(after, classes)
        if kind == "module":
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        h = torch.relu(self.first(x))
        if self.kind in ("permuted", "functional", "matrix", "transposed", "trained"):
            h = h.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        if self.kind == "line":
            h = h.flatten(2).permute(0, 2, 1).contiguous().permute(0, 2, 1)
        if self.kind == "functional":
            h = F.conv2d(h, self.second.weight, self.second.bias, 2)
        elif self.kind == "weights":
            w = self.second.weight.clone(memory_format=torch.channels_last)
            h = F.conv2d(h, w, self.second.bias, 2)
        elif self.kind == "matrix":
            assert self.matrix is not None
            h = F.conv2d(h, self.matrix.T[:, :, None, None], stride=2)
        elif self.kind == "trained" and not self.training:
            # A branch that evaluation does not take.
            h = h[:, :, ::2, ::2].mean(1, keepdim=True).expand(-1, self.last.in_features, -1, -1)
        else:
            h = self.second(h)
        found: Tensor = self.last(h.flatten(2).mean(2))
        return found


def strided(shape: tuple[int, ...], classes: int, kind: str, before: int = 3) -> nn.Module:
    """Return such a net."""
    return Strided(shape, classes, kind, before)


#: Ways of calling the convolution, and of getting channels innermost.
KINDS = (
    "layers",
    "module",
    "weights",
    "permuted",
    "functional",
    "matrix",
    "trained",
    "transposed",
    "line",
)


def trained(kind: str, before: int, **dynamics: Any) -> Any:
    """Return the weights after a few steps, having measured all there is to measure on the way."""
    system = {"name": "network", "module": "pointwise_nets:strided"}
    arguments = {"kind": kind, "before": before}
    data = {"name": "synthetic", "like": "cifar10", "train": 24, "test": 8}
    few = {"energy_examples": 8, "gradient_examples": 20}
    made = settings({**system, "arguments": arguments}, data, 2, record=few, learning_rate=0.1, **dynamics)
    network, noise = built(made, threads=1)
    state = network.initial_state(noise)
    network.measure(state)
    network.at_waiting(state)
    return network.configuration(network.advance(state, 0, 3, noise))


def main() -> None:
    """Train every kind of net in single and double precision; print how far apart the weights are."""
    for kind in KINDS:
        # Of one channel torch takes either order for the other.
        for before in (1, 3) if kind == "permuted" else (3,):
            double = trained(kind, before, precision="double", execution="sequential")
            for execution in ("sequential", "stacked") if kind in ("layers", "permuted") else ("sequential",):
                found = trained(kind, before, execution=execution)
                print(f"weights {kind} {before} {execution} {np.max(np.abs(found - double)):.1e}", flush=True)


if __name__ == "__main__":
    main()
