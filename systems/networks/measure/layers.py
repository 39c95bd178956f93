r"""What is measured of each layer apart: which layers there are, and how far each has moved.

A layer is one tensor of trainable weights, with the name that ``module.named_parameters()`` gives it: the
matrix of a linear layer is one, its bias another. Of M_l numbers in layer l,

    Δ_l(t_w, t_w + t) = (1/M_l) Σ_{i in l} (w_i(t_w) − w_i(t_w + t))²,    Δ = Σ_l M_l Δ_l/M,

and alike of the gradient noise (`layer_noise`). `layer_dof` holds the M_l, so that means over any layers
together follow from the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from langevin.core.system import Array, Attributes, Coordinates

from ..descent.state import HELD
from ..nets.layout import Block, Layout

#: What the file holds of each layer, apart from its angle: name → further dimensions.
DIMENSIONS = dict.fromkeys(("layer_msd", "layer_gradient_noise", "layer_gradient_noise_error"), ("layer",))


def blocks(layout: Layout) -> list[Block]:
    """Return the layers: all tensors of trainable weights that hold any number."""
    return [block for block in layout.blocks if block.stop > block.start]


def coordinates(layout: Layout) -> Coordinates:
    """Return the coordinates of layers: names, sizes M_l, and the number of axes."""
    own = blocks(layout)
    sizes, axes = ([float(n) for n in numbers] for numbers in zip(*map(_size_and_axes, own), strict=True))
    about = {"long_name": "axes of the tensor", "comment": "biases, scales and shifts have one"}
    return {
        "layer": ("layer", np.array([b.name for b in own], object), {"long_name": "tensor of weights"}),
        "layer_dof": ("layer", np.array(sizes), {"long_name": "weights of the layer", "units": "1"}),
        "layer_axes": ("layer", np.array(axes), {**about, "units": "1"}),
    }


def _size_and_axes(block: Block) -> tuple[int, int]:
    return block.stop - block.start, len(block.shape)


def msd(layout: Layout, a: Tensor, b: Tensor) -> Array:
    """Return Δ_l between weights a and b, shape (R, M) each, of every layer, shape (R, layers).

    As `state.compare`: differences are squared and summed in double precision.
    """
    return np.array([[_msd(p, q, block) for block in blocks(layout)] for p, q in zip(a, b, strict=True)])


def _msd(a: Tensor, b: Tensor, block: Block) -> float:
    total = 0.0
    for p, q in zip(*(torch.split(w[block.start : block.stop], HELD) for w in (a, b)), strict=True):
        if a.device.type == "cpu":
            # numpy's sums do not depend on threads.
            total += float(np.sum((p.double().numpy() - q.double().numpy()) ** 2))
        else:
            total += float(torch.sum((p.double() - q.double()) ** 2))
    return total / (block.stop - block.start)


def attributes(common: Attributes) -> dict[str, dict[str, Any]]:
    """Return the attributes of what is measured of each layer, from those of the whole network."""
    weighted = "the mean over layers, weighted by layer_dof, is {}"
    noise, curved = common["gradient_noise"], common["hessian"]
    kept = {name: value for name, value in curved.items() if name != "rows"}
    block = "of the diagonal block of a layer's weights"
    made: dict[str, dict[str, Any]] = {
        "layer_msd": {
            "long_name": "mean square displacement per weight of a layer",
            "symbol": r"$\Delta_l(t_w, t_w+t)$",
            "comment": weighted.format("msd"),
        },
        "layer_gradient_noise": {
            **noise,
            "long_name": f"{noise['long_name']}, of a layer",
            "comment": "; ".join(filter(None, (noise.get("comment"), weighted.format("gradient_noise")))),
        },
        "layer_gradient_noise_error": {
            **common["gradient_noise_error"],
            "long_name": "standard error of the gradient noise of a layer",
        },
        "layer_hessian_trace": {
            "long_name": f"trace of the Hessian {block}",
            "comment": "the sum over layers is the trace of the Hessian",
            **kept,
        },
        "layer_hessian_trace_error": {
            "long_name": "standard error of the trace of a layer's block",
            "method": "from the scatter of the probes (Hutchinson); 0 where the block is known",
            "kind": "sampling",
        },
        "layer_hessian_top": {"long_name": f"largest eigenvalue of the Hessian {block}", **kept},
        "layer_hessian_top_residual": {
            "long_name": "distance of layer_hessian_top within which an eigenvalue of the block lies",
            "method": "of the largest Ritz value (Lanczos); 0 where the block is known",
        },
    }
    return {name: {"units": "1", **about} for name, about in made.items()}
