r"""Losses of two classes that one output tells apart by its sign, and the margins that they ask for.

With y = ±1 for the labels 1 and 0, f the output and ε the margin, a pattern has the gap

    Δ = ε − y f,

and is satisfied where Δ ≤ 0. The quadratic hinge of P patterns is

    L = (1/2P) Σ_μ max(0, Δ_μ)²,    ∂L/∂f_μ = −y_μ max(0, Δ_μ)/P,    ∂²L/∂f_μ² = θ(Δ_μ)/P

(Geiger et al., Phys. Rev. E 100, 012115 (2019)). Unsatisfied patterns are as contacts between particles that
overlap by Δ: L is 0 where all are satisfied, exactly, and there its gradient is 0, too.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: These take one output, and compare its sign with that of the class.
SIGNED = ("quadratic_hinge",)


def gaps(outputs: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return Δ = ε − y f of outputs of shape (…, 1) for labels 0 or 1, shape (…)."""
    signs = (2 * labels - 1).to(outputs.dtype)
    return margin - signs * outputs.squeeze(-1)


def quadratic_hinge(outputs: Tensor, labels: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """Return max(0, Δ)²/2: its mean, or for `reduction` = "none" that of each example, shape (B,)."""
    each = torch.relu(gaps(outputs, labels, margin)).square() / 2
    return each.mean() if reduction == "mean" else each
