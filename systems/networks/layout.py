"""A module's trainable weights as one vector, and its running statistics beside it.

The degrees of freedom are the trainable parameters alone, in the order of ``module.parameters()``. Buffers,
such as the running mean and variance of batch-norm, follow from the weights and the batches seen; they are
part of the state, not degrees of freedom.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: torch's default generator is one for all threads of the process.
_DEFAULT_GENERATOR = threading.Lock()


@dataclass(frozen=True)
class Block:
    """Where one parameter stands in the vector."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        """One past its last element."""
        return self.start + math.prod(self.shape)


class Layout:
    """How the trainable parameters of a module lie in a vector of M numbers.

    Parameters
    ----------
    module : Module
        Any copy of the network.
    """

    def __init__(self, module: nn.Module) -> None:
        self.blocks: list[Block] = []
        start = 0
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                self.blocks.append(Block(name, tuple(parameter.shape), start))
                start += parameter.numel()
        self.dof = start
        self.names = [block.name for block in self.blocks]

    def views(self, x: Tensor) -> list[Tensor]:
        """Return the parameters as views of x, shape (M,); of x with shape (R, M), stacked over R."""
        lead = x.shape[:-1]
        return [x[..., b.start : b.stop].view((*lead, *b.shape)) for b in self.blocks]

    def flat(self, tensors: list[Tensor]) -> Tensor:
        """Join parameters, or their gradients, to a vector of shape (M,)."""
        return torch.cat([t.reshape(-1) for t in tensors])

    def of(self, module: nn.Module) -> Tensor:
        """Return a copy of the module's trainable parameters, shape (M,)."""
        return self.flat([p.detach() for p in module.parameters() if p.requires_grad])


def buffers_of(module: nn.Module) -> list[Tensor]:
    """Return copies of the buffers, in the module's order."""
    return [b.detach().clone() for b in module.buffers()]


def transposed(module: nn.Module) -> set[str]:
    """Return the names of parameters whose outputs are along their second axis."""
    layers = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.modules.conv._ConvTransposeNd)]
    return {f"{name}.weight" if name else "weight" for name, _ in layers}


def multiplications(module: nn.Module, inputs: Tensor) -> int:
    """Return roughly how many multiplications one example costs in the layers that have weights.

    Each element of a layer's weight, (outputs, …), is used once for every place of its output.
    """
    counted: list[int] = []

    def count(layer: nn.Module, _: object, output: object) -> None:
        weight = getattr(layer, "weight", None)
        if isinstance(weight, Tensor) and isinstance(output, Tensor) and weight.ndim > 1:
            counted.append(weight.numel() * output.numel() // (weight.shape[0] * len(inputs)))

    hooks = [layer.register_forward_hook(count) for layer in module.modules()]
    try:
        module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counted)


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a module with torch's default generator at `seed`; its state elsewhere is left as it was.

    The module is built on the CPU, so that a seed means the same start on every device.
    """
    with _DEFAULT_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
