r"""How weights have turned, whatever they have grown: what a longer vector does not take for aging.

Training changes the norm of weights and their direction. With ReLU a part of this changes nothing of the
network: the weights and biases of a layer times c > 0, the weights of the next over c. With a = w(t_w) and
b = w(t_w + t), all their M components:

normalised_overlap
    a·b/(|a| |b|), 1 at t = 0: does not change when all weights grow by one factor, as they do, roughly, where
    the loss falls along its logarithmic tail. It does change when one layer is rescaled against another, for
    each layer enters by its own norm.
layer_angle
    For each tensor of weights W (a matrix, a stack of filters; biases and scales of batch-norm are left out)
    the angle between W(t_w) and W(t_w + t), in radians. A factor of a whole layer does not change it: a
    rescaled copy of the trajectory, W → c W in one layer and W → W/c in the next, has the same angles. Biases
    are vectors apart, since they do not scale as the weights of their layer do: with W_1, b_1 times c and W_2
    over c, b_2 stays. Factors of single units, c_j for row j, do change it: the angle between matrices weighs
    rows by their norms.

The angle comes from the difference d = b − a of the two times, which is exact, not from its cosine, which
knows no angle below 10⁻⁸: with a·b = |a|² + a·d, and |a|²|b|² − (a·b)² = |a|²|d|² − (a·d)²,

    tan θ = √(|a|²|d|² − (a·d)²)/(|a|² + a·d).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from langevin.core.system import Array, Coordinates
from langevin.errors import UserError

from ..descent.state import HELD
from ..nets.layout import Block, Layout


def normalised_overlap(square: Array, msd: Array, correlation: Array) -> Array:
    """Return a·b/(|a||b|), shape (R,), from means over the weights of a², (a − b)² and a b, shape (R,) each.

    |b|² = |a − b|² + 2 a·b − |a|². NaN where all weights vanish.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        other = np.maximum(msd + 2 * correlation - square, 0.0)
        return np.asarray(np.clip(correlation / np.sqrt(square * other), -1.0, 1.0))


def layers(layout: Layout) -> list[Block]:
    """Return the tensors of weights: parameters of more than one dimension."""
    return [block for block in layout.blocks if len(block.shape) > 1]


def layer_names(layout: Layout) -> Coordinates:
    """Return the coordinate of layers: the names of their parameters."""
    names = np.array([block.name for block in layers(layout)], dtype=object)
    if not len(names):
        raise UserError("record.layer_angles = true: allowed: false with weights that have one axis only")
    return {"layer": ("layer", names, {"long_name": "tensor of weights"})}


def layer_angles(layout: Layout, a: Tensor, b: Tensor, among: list[Block] | None = None) -> Array:
    """Return the angles between the layers of a and of b, shape (R, layers), for weights of shape (R, M).

    Of all `layers`, or of the tensors `among`. In radians; NaN where all weights of a layer vanish at one of
    the times.
    """
    own = layers(layout) if among is None else among
    return np.array([[_angle(p, q, block) for block in own] for p, q in zip(a, b, strict=True)])


def _angle(a: Tensor, b: Tensor, block: Block) -> float:
    """Return the angle between the weights of one tensor."""
    square = moved = along = other = 0.0
    pieces = (torch.split(w[block.start : block.stop], HELD) for w in (a, b))
    for p, q in zip(*pieces, strict=True):
        u, v = p.double(), q.double()
        d = v - u
        square, other = square + float(u @ u), other + float(v @ v)
        moved, along = moved + float(d @ d), along + float(u @ d)
    if square == 0 or other == 0:
        return float("nan")
    across = np.sqrt(max(0.0, square * moved - along * along))
    return float(np.arctan2(across, square + along))
