"""Whether a module and a data set fit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from langevin.errors import FOREIGN, UserError, first_line

from ..kernels.pointwise import protected
from ..nets.layout import multiplications
from ..nets.targets import Target
from .loss_trial import require_outputs


def fitting(module: nn.Module, inputs: Tensor, target: Target) -> tuple[int, int]:
    """Return roughly how many multiplications one example costs, and how many outputs it has.

    Parameters
    ----------
    module : Module
        In training mode, as it is left.
    inputs : Tensor, shape (2, …)
        Two examples.
    target : Target
        What its outputs are compared with.

    Raises
    ------
    UserError
        If the module has no trainable parameters, something random inside, does not take such inputs, or
        gives outputs of another shape.
    """
    name = type(module).__name__
    if not any(p.requires_grad for p in module.parameters()):
        raise UserError(f"system: {name} has no trainable parameters")
    random = [m for m in module.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]
    if random:
        raise UserError(
            f"system: {name} contains {type(random[0]).__name__}; allowed: modules whose output follows "
            "from weights and inputs alone (set p = 0)"
        )
    module.eval()
    try:
        with torch.no_grad(), protected(module):
            outputs = module(inputs)
            work = multiplications(module, inputs)
    except torch.OutOfMemoryError:
        raise
    except FOREIGN as error:
        wanted = "×".join(str(n) for n in inputs.shape[1:])
        raise UserError(
            f"system: {name} does not take inputs of shape {wanted}: {first_line(error)}"
        ) from None
    module.train()
    return work, require_outputs(name, outputs, target)
