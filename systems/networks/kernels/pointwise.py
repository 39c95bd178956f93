"""Pointwise convolutions that skip pixels: oneDNN writes past its memory in their backward pass.

With a kernel of one pixel, a stride, fewer input channels than a vector of the processor holds, and images
whose channels lie innermost, the gradient of the weights copies the pixels that are used to a buffer that is
too short: https://github.com/uxlfoundation/oneDNN/issues/6035, as of version 3.12. With AVX2 (8 numbers in a
vector) the process crashes, hangs or, on several threads, finds other gradients; the code for AVX-512 (16) is
of the same kind. Transposed convolutions have the mistake in their outputs. With channels outermost, or in
double precision, torch takes other ways.

The mistake depends on what an operation does and how memory lies, neither of which a network's layers tell.
So the operation itself is replaced, wherever it is called from; but only once a network comes that may need
it, since others would be slower by a call of Python for each convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

#: Numbers in the largest vector of any processor: with as many channels the buffer is long enough.
VECTOR = 16
#: With so many inputs of every pointwise convolution, channels innermost are faster (benchmarks/channels.py).
FASTER = 8


def _pointwise(shape: Sequence[int]) -> bool:
    """Return whether weights of this shape are those of few channels and a kernel of one pixel."""
    return len(shape) > 2 and shape[1] < VECTOR and all(n == 1 for n in shape[2:])


def _skips(weight: Tensor, stride: Sequence[Any], groups: int) -> bool:
    """Return whether a convolution is of the kind that this module is about."""
    return groups == 1 and _pointwise(weight.shape) and any(step > 1 for step in stride)


def _gradients(
    g: Tensor, x: Tensor, weight: Tensor, biases: Any, stride: list[int], *others: Any
) -> tuple[Tensor | None, ...]:
    """Compute what aten::convolution_backward does, with channels outermost where this matters."""
    *_, groups, wanted = others
    if wanted[1] and _skips(weight, stride, groups):
        # Not contiguous(): of one channel it takes either order for the other.
        g, x, weight = (t.clone(memory_format=torch.contiguous_format) for t in (g, x, weight))
    operation: Any = torch.ops.aten.convolution_backward.default
    key = torch._C.DispatchKey.CompositeExplicitAutograd
    return operation._op_dk(key, g, x, weight, biases, stride, *others)


@cache
def protect() -> object:
    """Replace the operation on processors, in this process, for good."""
    library: Any = torch.library
    replaced = library.Library("aten", "IMPL")
    replaced.impl("convolution_backward", _gradients, "CPU")
    # What is registered lives as long as this does.
    return replaced


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Protects as soon as it sees a convolution that needs it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch.compile is loaded, which takes two seconds and is not used.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the operation, and carry it out."""
        if func is torch.ops.aten.convolution.default and _skips(args[1], args[3], args[8]):
            protect()
        return func(*args, **(kwargs or {}))


def narrow(module: nn.Module) -> bool:
    """Return whether a module has weights of few channels and a kernel of one pixel."""
    return any(_pointwise(p.shape) for p in module.parameters())


@contextmanager
def protected(module: nn.Module) -> Iterator[None]:
    """Protect if the module may need it: by its weights, or by what it does in the block.

    Weights tell of branches that it does not take now. Those that it makes from others are seen at work.
    """
    if narrow(module):
        protect()
    with _Watch():  # type: ignore[no-untyped-call]
        yield


def channels_last_pays(module: nn.Module) -> bool:
    """Return whether single precision is faster on a processor with channels innermost."""
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    narrow = [m for m in layers if m.in_channels < FASTER and m.groups == 1 and _pointwise(m.weight.shape)]
    return bool(layers) and not narrow
