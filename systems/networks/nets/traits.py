"""What a module does that a run has to know: told by its layers, or found out by trying (`contract`)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Traits:
    """How a module behaves.

    Attributes
    ----------
    couples : bool
        Whether the loss of one example depends on the others of its mini-batch, in training mode.
    modal : bool
        Whether outputs differ between training and evaluation mode, of examples that do not couple.
    moving : frozenset of str
        Names of the buffers that a forward pass in training mode changes.
    memory : frozenset of str
        Those of them on which what it gives in training mode depends.
    reassigns : bool
        Whether a forward pass puts new tensors in the place of buffers.
    vectorises : bool
        Whether torch.func finds the gradients of single examples, all at once.
    stacks : bool
        Whether torch.func runs it with the weights of many replicas at once.
    compiles : bool
        Whether compiled steps may take the place of a fully connected net's own.
    """

    couples: bool = False
    modal: bool = False
    moving: frozenset[str] = frozenset()
    memory: frozenset[str] = frozenset()
    reassigns: bool = False
    vectorises: bool = True
    stacks: bool = True
    compiles: bool = True

    @property
    def remembers(self) -> bool:
        """Whether what it gives in training mode depends on the passes before."""
        return bool(self.memory)


def by_layers(module: nn.Module) -> Traits:
    """Return the traits of a module of layers that do what torch's own do: batch-norm alone has any."""
    norms = [
        (name, m) for name, m in module.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    moving = {
        f"{name}.{buffer}" if name else buffer
        for name, m in norms
        for buffer, _ in m.named_buffers(recurse=False)
    }
    return Traits(couples=bool(norms), moving=frozenset(moving))
