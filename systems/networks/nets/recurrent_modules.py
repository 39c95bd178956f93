r"""Recurrent nets for sequences of tokens: what comes next, at every position.

The layers are those of torch.nn.GRU and torch.nn.LSTM, with the same names and starts of parameters (a test
holds them together), written as plain operations. torch's own are one operation, of which neither torch.func
(gradients of single examples, replicas in one call) nor, on a GPU, a second derivative (Hessians) is known.
What the inputs contribute is computed for all positions at once; what is left is one product for each.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Layer(nn.Module):
    """One recurrent layer: parameters as torch names them, uniform in ±1/√hidden."""

    gates: int

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden, rows = hidden, self.gates * hidden
        self.weight_ih = nn.Parameter(torch.empty(rows, inputs))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden))
        self.bias_ih, self.bias_hh = (nn.Parameter(torch.empty(rows)) for _ in range(2))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Return the hidden states at all positions, shape (B, T, hidden), of inputs (B, T, …)."""
        raise NotImplementedError


class GRULayer(_Layer):
    """r, z = σ(…), n = tanh(W x + b + r (U h + c)), h ← (1 − z) n + z h (Cho et al. 2014, as torch)."""

    gates = 3

    def forward(self, x: Tensor) -> Tensor:
        """Return the hidden states."""
        given, states = F.linear(x, self.weight_ih, self.bias_ih), []
        h = given.new_zeros(len(x), self.hidden)
        for now in given.unbind(1):
            old = F.linear(h, self.weight_hh, self.bias_hh)
            (r, z, n), (p, q, m) = now.chunk(3, 1), old.chunk(3, 1)
            r, z = torch.sigmoid(r + p), torch.sigmoid(z + q)
            n = torch.tanh(n + r * m)
            h = n + z * (h - n)
            states.append(h)
        return torch.stack(states, dim=1)


class LSTMLayer(_Layer):
    """c ← σ(f) c + σ(i) tanh(g), h = σ(o) tanh(c) (Hochreiter and Schmidhuber 1997, as in torch)."""

    gates = 4

    def forward(self, x: Tensor) -> Tensor:
        """Return the hidden states."""
        given, states = F.linear(x, self.weight_ih, self.bias_ih), []
        h = c = given.new_zeros(len(x), self.hidden)
        for now in given.unbind(1):
            i, f, g, o = (now + F.linear(h, self.weight_hh, self.bias_hh)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        return torch.stack(states, dim=1)


def recurrent(
    layer: type[_Layer], tokens: int, classes: int, embedding: int, hidden: int, layers: int
) -> nn.Sequential:
    """Return embedding, recurrent layers and a linear one: tokens (B, T) → outputs (B, T, classes)."""
    sizes = [embedding] + [hidden] * layers
    between = [layer(n, hidden) for n in sizes[:-1]]
    return nn.Sequential(nn.Embedding(tokens, embedding), *between, nn.Linear(hidden, classes))
