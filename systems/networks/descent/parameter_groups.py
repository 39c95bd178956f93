r"""Groups of parameters: how fast each of them descends, and which of them decay.

Parameter tensor i has a factor f_i ≥ 0 on the learning rate of the step, and decays or not, c_i ∈ {0, 1}:

    g_i ← g_i + c_i λ w_i,    v_i ← μ v_i + g_i,    w_i ← w_i − α f_i v_i + √(2 T α f_i) η_i,

at T = 0 torch.optim.SGD with a group {"lr": α f_i, "weight_decay": c_i λ} for each tensor; so it is with the
other `optimisers`. With T > 0 the
diagonal matrix F = diag(f) is a constant mobility: of dw = −F ∇U ds + √(2TF) dW, U = L + λ Σ_i c_i |w_i|²/2,
the probability current F (P ∇U + T ∇P) vanishes for P ∝ exp(−U/T), whatever F > 0 is. What is sampled does
not depend on the factors; how fast it is does. A factor of 0 keeps a tensor where it is: it stays a degree of
freedom, over which averages per weight are taken.

A factor is the product over all patterns that match a tensor's name, so that their order does not matter.

A tensor on which the loss of a batch does not depend has no gradient; torch.optim.SGD leaves it alone, its
decay and its velocity included. So does the step here: of one network alone as each backward pass says, of
several in one call, whose operations do not depend on the data, as one backward pass at the start says
(`unused`). At T > 0 such a tensor diffuses freely.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from langevin.errors import UserError

from ..kernels.pointwise import protected
from ..keys import Descent
from ..nets.layout import Layout

if TYPE_CHECKING:
    from ..nets.losses import Loss

#: Layers whose scales and shifts do not decay with decay = "weights", whatever their shapes.
NORMS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    *([nn.RMSNorm] if hasattr(nn, "RMSNorm") else []),
)

#: Names that a message shows.
_SHOWN = 3


@dataclass(frozen=True)
class ParameterGroups:
    """Factors and decay of all parameter tensors, in the order of the layout.

    Attributes
    ----------
    names : tuple of str
    sizes : tuple of int
        Numbers in each tensor.
    factors : tuple of float
        f_i.
    decays : tuple of bool
        Whether weight decay acts on it, where the loss depends on it.
    unused : tuple of str
        Names of those on which the loss of the first examples does not depend.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    factors: tuple[float, ...]
    decays: tuple[bool, ...]
    unused: tuple[str, ...] = ()

    @cached_property
    def _alike(self) -> dict[int, list[tuple[float, bool, list[int]]]]:
        return {}

    def alike(self, count: int) -> list[tuple[float, bool, list[int]]]:
        """Return factor, decay and places of the tensors that share both, among `count` in a row.

        The count is a multiple of the number of tensors: those of several networks, one after the other.
        """
        if count not in self._alike:
            shared: dict[tuple[float, bool], list[int]] = {}
            for place in range(count):
                k = place % len(self.names)
                shared.setdefault((self.factors[k], self.decays[k]), []).append(place)
            self._alike[count] = [(*key, places) for key, places in shared.items()]
        return self._alike[count]

    @cached_property
    def idle(self) -> frozenset[int]:
        """The places of those that are not used."""
        return frozenset(k for k, name in enumerate(self.names) if name in self.unused)

    def _parts(self, x: Tensor) -> Iterator[Tensor]:
        """Yield views of the tensors' parts of x, shape (…, M), or (…, n M) of n networks in a row."""
        rows = x.view(-1, sum(self.sizes))
        yield from torch.split(rows, list(self.sizes), dim=1)

    def decayed(self, x: Tensor) -> Tensor:
        """Return a copy of x, shape (…, M), with zeros for what does not decay."""
        kept = x.clone()
        for k, (part, decays) in enumerate(zip(self._parts(kept), self.decays, strict=True)):
            if not decays or k in self.idle:
                part.zero_()
        return kept

    def spread(self, normals: Tensor) -> Tensor:
        """Multiply normals, shape (…, n M), by √f_i in place, and return them."""
        for part, factor in zip(self._parts(normals), self.factors, strict=True):
            if factor != 1:
                part.mul_(math.sqrt(factor))
        return normals

    @property
    def one_rate(self) -> bool:
        """Whether all descend at the rate of the schedule."""
        return all(factor == 1 for factor in self.factors)

    @property
    def slowest(self) -> float:
        """The smallest factor of what moves at all."""
        return min((factor for factor in self.factors if factor), default=1.0)

    def attributes(self) -> dict[str, str]:
        """Return what a file says of them; the names are those of the module's parameters."""
        named = list(zip(self.names, self.factors, self.decays, strict=True))
        said = {}
        if not self.one_rate:
            said["rate_factors"] = ", ".join(f"{name}: {f:g}" for name, f, _ in named if f != 1)
        if not all(self.decays):
            said["without_decay"] = ", ".join(name for name, _, decays in named if not decays)
        if self.unused:
            said["unused_by_loss"] = ", ".join(self.unused)
        return said


def grouped(
    module: nn.Module, layout: Layout, dynamics: Descent, idle: Collection[str] = ()
) -> ParameterGroups | None:
    """Return the groups that [dynamics] asks for; None where all parameters are treated alike.

    Parameters
    ----------
    module : Module
    layout : Layout
    dynamics : Descent
    idle : collection of str
        Names of parameters on which the loss does not depend (`unused`).

    Raises
    ------
    UserError
        If a pattern of `dynamics.rate_factors` matches no parameter.
    """
    factors = _factors(layout.names, dynamics.rate_factors)
    spared = _no_weights(module) if dynamics.decay == "weights" else set()
    unused = tuple(name for name in layout.names if name in idle)
    decays = tuple(name not in spared for name in layout.names)
    if all(f == 1 for f in factors) and (not dynamics.weight_decay or (all(decays) and not unused)):
        return None
    sizes = tuple(block.stop - block.start for block in layout.blocks)
    return ParameterGroups(tuple(layout.names), sizes, factors, decays, unused)


def _factors(names: list[str], patterns: dict[str, float]) -> tuple[float, ...]:
    """Return the product of the factors of all patterns that match each name."""
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=_SHOWN, cutoff=0.0)
            raise UserError(
                f'dynamics.rate_factors: "{pattern}" matches none of the {len(names)} parameters that '
                f"descend; nearest: {', '.join(near)}; allowed: names, or patterns with * ? []"
            )
    return tuple(
        math.prod(factor for pattern, factor in patterns.items() if _matches(name, pattern)) for name in names
    )


def _matches(name: str, pattern: str) -> bool:
    # A name itself, too, whatever signs it has.
    return name == pattern or fnmatchcase(name, pattern)


def _no_weights(module: nn.Module) -> set[str]:
    """Return the names of parameters of fewer than two axes, and of all that normalisation layers have."""
    normal = {id(p) for m in module.modules() if isinstance(m, NORMS) for p in m.parameters()}
    return {name for name, p in module.named_parameters() if p.ndim < 2 or id(p) in normal}


def unused(module: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor) -> list[str]:
    """Return the names of trainable parameters on which the loss does not depend, by one backward pass.

    Buffers are left as they were.

    Parameters
    ----------
    module : Module
        In the mode in which it descends.
    loss : Loss
    inputs, labels : Tensor
        A few examples.
    """
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    places = [(m._buffers, name) for m in module.modules() for name in m._buffers]
    # The forward pass may change them, or put others in their place.
    kept = [(held, name, b, b.detach().clone()) for held, name in places if (b := held[name]) is not None]
    try:
        with torch.enable_grad(), protected(module):
            value: Any = loss.mean(module(inputs), labels)
            if not value.requires_grad:
                return list(named)
            gradients = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    finally:
        with torch.no_grad():
            for held, name, buffer, value in kept:
                held[name] = buffer.copy_(value)
    return [name for name, gradient in zip(named, gradients, strict=True) if gradient is None]
