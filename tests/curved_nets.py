"""Modules whose second derivatives need care, or are none: for the tests of Hessians."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn

#: Twelve features are three tokens of four.
FEATURES, TOKENS = 12, (3, 4)


class Straight(torch.autograd.Function):
    """The sign, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.sign(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g


class Scaled(torch.autograd.Function):
    """The identity, with another gradient: reversed (−1), or twice as large (2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return ctx.factor * g, None


class HalfTanh(torch.autograd.Function):
    """tanh with the right gradient, whose own derivative is lost."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.slope = 1 - x.tanh().detach() ** 2
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        found: Tensor = g * ctx.slope
        return found


class OnceTanh(torch.autograd.Function):
    """tanh that is differentiable once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        found: Tensor = g * (1 - x.tanh() ** 2)
        return found


def _hooked(h: Tensor) -> Tensor:
    if h.requires_grad:
        h.register_hook(lambda g: g.clamp(-1e-3, 1e-3))
    return torch.tanh(h)


def _unseen(h: Tensor) -> Tensor:
    with torch.no_grad():
        norm = h.norm(dim=1, keepdim=True)
    return h / norm


#: What the hidden units do: no Hessian follows from these by differentiating twice.
REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "straight through": (Straight.apply, "not the derivative"),
    "reversed": (lambda h: torch.tanh(Scaled.apply(h, -1.0)), "not the derivative"),
    "rescaled": (lambda h: torch.tanh(Scaled.apply(h, 2.0)), "not the derivative"),
    "item": (lambda h: torch.stack([row * row.std().item() for row in torch.tanh(h)]), "not the derivative"),
    "detached": (lambda h: torch.tanh(h) * torch.tanh(h).detach(), "not the derivative"),
    "no_grad": (_unseen, "not the derivative"),
    "hook": (_hooked, "not the derivative"),
    "single inside": (lambda h: torch.tanh(h.float()).to(h.dtype), "not in double precision"),
    "half inside": (lambda h: torch.tanh(h.bfloat16()).to(h.dtype), "not in double precision"),
    "second lost": (HalfTanh.apply, "second derivatives by a.weight, a.bias are not those"),
    "once": (OnceTanh.apply, "not symmetric"),
    "cdist": (lambda h: torch.cdist(h[:, None], h.new_ones(1, 4, 4))[:, 0] * h, "not implemented"),
    "at zero": (lambda h: h + (0 * h).norm(dim=1, keepdim=True), "not finite"),
}

#: These have one, whatever they look like.
ALLOWED: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": lambda h: torch.tanh(h) + torch.zeros(4),
    "a matrix made here": lambda h: torch.tanh(h) @ torch.eye(4) * torch.tensor(2.0),
    "shifted by a constant": lambda h: (
        torch.exp(h - h.max(1, keepdim=True)[0].detach())
        / torch.exp(h - h.max(1, keepdim=True)[0].detach()).sum(1, keepdim=True)
    ),
    "in place": lambda h: torch.tanh((h + 0).mul_(2).add_(1)),
    "kinks": lambda h: F.relu(h) + F.hardtanh(h, -0.1, 0.1),
    "rounded": lambda h: torch.round(10 * h) / 10,
}


class Hidden(nn.Module):
    """One hidden layer of four units, and a single number as a parameter."""

    def __init__(self, classes: int, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Linear(FEATURES, 4), nn.Linear(4, classes), act
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.b(self.scale * self.act(self.a(x)))
        return found


def hidden(classes: int, act: str) -> nn.Module:
    """Return a net whose hidden units do what is named."""
    return Hidden(classes, REFUSED[act][0] if act in REFUSED else ALLOWED[act])


def outputs_reversed(classes: int) -> nn.Module:
    """Minus the Hessian, symmetric, and the slope of what this calls a gradient."""

    class Reversed(Hidden):
        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = Scaled.apply(super().forward(x), -1.0)
            return found

    return Reversed(classes, torch.tanh)


class Listed(nn.Module):
    """Keeps a weight in a list, too."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(FEATURES, 4), nn.Linear(4, classes)
        self.kept = [self.a.weight]

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.b(torch.tanh(x @ self.kept[0].T))
        return found


class Plain(nn.Module):
    """Keeps a tensor that is no buffer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.a, self.kept = nn.Linear(4, classes), torch.ones(FEATURES, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.a(torch.tanh(x @ self.kept))
        return found


class Tokens(nn.Module):
    """A layer on three tokens, in front of a mean and a linear layer."""

    def __init__(self, layer: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.layer, self.out = layer, nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, *TOKENS)
        if isinstance(self.layer, nn.MultiheadAttention):
            h = self.layer(x, x, x, need_weights=False)[0]
        elif isinstance(self.layer, nn.LSTM | nn.GRU | nn.RNN):
            start = torch.zeros(2, len(x), 3)
            h = self.layer(x, (start, start) if isinstance(self.layer, nn.LSTM) else start)[0]
        else:
            h = self.layer(x)
        found: Tensor = self.out(h.mean(1))
        return found


class Checkpointed(Hidden):
    """Computes its hidden units once more, when weights put in by name are gone."""

    def __init__(self, classes: int, reentrant: bool) -> None:
        super().__init__(classes, torch.tanh)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return super().forward(x)
        forward = super().forward
        found: Tensor = torch.utils.checkpoint.checkpoint(forward, x, use_reentrant=self.reentrant)
        return found


class Renormed(nn.Module):
    """An embedding that changes its weight as it computes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.a, self.b = nn.Embedding(3, 4, max_norm=0.1), nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.b(torch.tanh(self.a((x.abs() % 3).long()).sum(1)))
        return found


class Fused(nn.Module):
    """scaled_dot_product_attention, called by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x)[:, None].chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0]


def attention(classes: int) -> nn.Module:
    return Tokens(nn.MultiheadAttention(4, 2, batch_first=True), 4, classes)


def fused(classes: int) -> nn.Module:
    return Tokens(Fused(), 4, classes)


def encoder(classes: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0, batch_first=True)
    return Tokens(nn.TransformerEncoder(layer, 1), 4, classes)


def recurrent(classes: int, kind: str) -> nn.Module:
    return Tokens(getattr(nn, kind)(4, 3, batch_first=True, bidirectional=True), 6, classes)


def weight_norm(classes: int, dim: int | None = 0) -> nn.Module:
    """The parametrisation."""
    normed = nn.utils.parametrizations.weight_norm
    layers = normed(nn.Linear(FEATURES, 4), dim=dim), nn.Tanh(), normed(nn.Linear(4, classes), dim=dim)
    return nn.Sequential(nn.Flatten(), *layers)


def old_weight_norm(classes: int) -> nn.Module:
    """The hook, on layers that still are nn.Linear."""
    normed = nn.utils.weight_norm
    return nn.Sequential(
        nn.Flatten(), normed(nn.Linear(FEATURES, 4)), nn.ReLU(), normed(nn.Linear(4, classes))
    )


def bent(classes: int) -> nn.Module:
    """Layers of the closed form, one of which computes something else."""
    made = nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, classes))
    made[1].register_forward_hook(lambda module, inputs, output: output.sin())
    return made


def tied(classes: int) -> nn.Module:
    """Two layers that share a weight."""
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    layers = nn.Linear(FEATURES, 4), nn.Tanh(), a, nn.Tanh(), b, nn.Tanh(), nn.Linear(4, classes)
    return nn.Sequential(nn.Flatten(), *layers)
