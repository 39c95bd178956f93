"""A pass with rounded factors is tried before a run: not every operation of a user's has one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from langevin.errors import UserError, shortened

from ..descent.training import Problem
from ..nets.layout import beside, copies, put


def tried_rounded(module: nn.Module, problem: Problem, inputs: Tensor, labels: Tensor) -> None:
    """Make sure that loss and gradient exist in the precision of the run; the module is left as it was.

    Parameters
    ----------
    module : Module
    problem : Problem
    inputs, labels : Tensor
        A few examples.

    Raises
    ------
    UserError
        If an operation does not know such numbers, or what comes out is no finite number.
    """
    kept = copies(list(beside(module).values()))
    parameters = [p for p in module.parameters() if p.requires_grad]
    precision = problem.arithmetic.precision
    try:
        loss = problem.loss.mean(problem.arithmetic.passed(module, inputs.clone()), labels)
        torch.autograd.grad(loss, parameters, allow_unused=True)
    except RuntimeError as error:
        said = shortened(" ".join(str(error).split()), 200)
        raise UserError(
            f'dynamics.precision = "{precision}": {type(module).__name__} does not compute so ({said}); '
            'allowed: "single", "double", "tf32"'
        ) from None
    finally:
        put(module, kept)
