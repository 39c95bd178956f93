r"""In which numbers a network computes, and how torch is told.

Weights, what an optimiser remembers, updates, and all sums over weights are in single precision at least.
What `dynamics.precision` chooses is how products are taken, those of matrices and convolutions:

single
    Of single precision numbers, 24 bits, on every device: torch's own default would round factors in
    convolutions on a GPU.
double
    Weights and data, too, are in double precision, 53 bits.
tf32
    On a GPU factors are rounded to 11 bits, and their products added in single precision. A processor has no
    such products: there it is single.
bf16
    Forward and backward factors are rounded to 8 bits (bfloat16), with sums in single precision, by torch's
    autocast; outputs become single precision before the loss. What is measured is measured as with tf32, but
    for the gradient noise, which is that of the steps.

A step of −α g that is smaller than half a spacing of the weights would be lost if weights were kept in few
bits: with 8 bits at |w| = 0.1 that is α |g| < 2·10⁻⁴, most of a descent. Here weights have 24 bits always,
and the rounding of factors is noise on the gradient. A factor between 1 and 2 that is rounded to spacings
2⁻ᵇ is off by 2⁻²ᵇ/12 in the mean square, 2⁻²ᵇ/24 of its own square on average. With three factors for each of
L layers (activations, weights, gradients), the gradient of a smooth net is off by δ, |δ|² = L 2⁻²ᵇ/8 |g|²:
2·10⁻⁵ of |g|² for bfloat16 (b = 7) and L = 3. At kinks more happens: a unit within rounding of zero, or a
window with two sums that agree to rounding, sends its gradient elsewhere, in a part 2⁻ᵇ or so of all cases.
Such errors have no preferred direction; docs/networks.md says what they come to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from langevin.systems import switches

Precision = Literal["single", "double", "tf32", "bf16"]


@dataclass(frozen=True)
class Arithmetic:
    """How a network computes on a device.

    Attributes
    ----------
    device : torch.device
    precision : {"single", "double", "tf32", "bf16"}
    deterministic : bool
        On a GPU, take algorithms alone that give the same bits again.
    compiled : bool
        Compile loss, gradient and update by `torch.compile`.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "single"
    deterministic: bool = False
    compiled: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Of weights, data and outputs."""
        return torch.float64 if self.precision == "double" else torch.float32

    @property
    def plain(self) -> bool:
        """Whether the passes of a step are in the numbers of the weights throughout."""
        return self.precision != "bf16"

    @property
    def channels_innermost(self) -> bool:
        """Whether convolutions are faster with channels innermost: on the tensor cores of a GPU they are."""
        return self.device.type == "cuda" and self.precision in ("tf32", "bf16")

    def passed(self, network: Callable[..., Any], *inputs: Any) -> Any:
        """Return what a network makes of inputs in a step: in the numbers of the weights."""
        if self.plain:
            return network(*inputs)
        # Casts are not kept: a captured step must make those of its own weights, each time.
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            outputs = network(*inputs)
        return outputs.to(self.dtype) if isinstance(outputs, Tensor) else outputs

    @contextmanager
    def work(self) -> Iterator[None]:
        """Let torch compute so in the block; afterwards it is as the user had it.

        These choices are one for all threads of a process: others who want another precision wait.
        """
        if self.device.type != "cuda":
            yield
            return
        # What asks torch for no device by name is to find this one.
        here = torch.cuda.device(self.device)
        with here, switches.chosen(self.precision in ("tf32", "bf16"), self.deterministic):
            yield
