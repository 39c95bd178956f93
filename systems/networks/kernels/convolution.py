"""Convolution, max-pooling over 2×2 windows and ReLU in one layer.

Of a window's four sums the layer needs the largest alone, forward and backward. On a CPU the compiled kernels
use that; elsewhere the layer is three operations of torch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def _samples_innermost(x: Tensor, lanes: int) -> bool:
    """Whether images lie as another `ConvPool` returns them, with memory for whole blocks of samples."""
    samples, channels, height, width = x.shape
    pixel = samples + -samples % lanes
    size = x.storage_offset() + channels * height * width * pixel
    step = (1, height * width * pixel, width * pixel, pixel)
    return x.stride() == step and x.untyped_storage().nbytes() >= size * x.itemsize


class _ConvPool(torch.autograd.Function):
    """The compiled kernels for torch: float32 on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        from .pooled_forward import forward, group_size
        from .pooled_tiles import LANES, tag

        weight = weight.contiguous()
        samples, inputs, height, width = x.shape
        outputs, _, rows, columns = weight.shape
        size = group_size(outputs)
        missing = -outputs % size
        grouped = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else weight
        grouped = grouped.view(-1, size, inputs, rows, columns).permute(0, 2, 3, 4, 1).contiguous()
        framed = [n + 2 * padding for n in (height, width)]
        shape = outputs + missing, (framed[0] - rows + 1) // 2, (framed[1] - columns + 1) // 2
        blocks = -(-samples // LANES)
        y = x.new_empty(*shape, blocks * LANES)
        code = x.new_empty(blocks, *shape, LANES, dtype=torch.uint8)
        direct = padding == 0 and _samples_innermost(x, LANES)
        image = x.new_zeros(0 if direct else inputs, *framed, LANES)
        forward(
            x.data_ptr(),
            samples,
            x.stride(),
            padding,
            image.numpy(),
            grouped.numpy(),
            F.pad(bias, (0, missing)).contiguous().numpy(),
            y.numpy(),
            code.numpy(),
            tag(size),
        )
        ctx.save_for_backward(x, weight, code)
        ctx.padding = padding
        return y[:outputs].permute(3, 0, 1, 2)[:samples]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        from .pooled_backward import gradients

        x, weight, code = (t.numpy() for t in ctx.saved_tensors)
        dx, dw, db = gradients(x, weight, code, g.numpy(), ctx.padding, ctx.needs_input_grad[0])
        return None if dx is None else torch.from_numpy(dx), torch.from_numpy(dw), torch.from_numpy(db), None


class ConvPool(nn.Module):
    """max(0, max-pool(convolution)), with stride 1 and windows of 2×2.

    Equal to ``MaxPool2d(2)(ReLU()(Conv2d(…)(x)))``: it starts with the same numbers for the same seed, the
    first of equal maxima gets the gradient, and a maximum of zero gets none.

    Parameters
    ----------
    before, after : int
        Channels of the input and of the output.
    kernel : int
        Rows and columns of the kernel.
    padding : int
        Zeros around the input.

    Attributes
    ----------
    weight : Parameter, shape (after, before, kernel, kernel)
    bias : Parameter, shape (after,)
    compiled : bool
        Whether float32 on a CPU takes the compiled kernels. torch.func cannot look into them, and they have
        no second derivative.
    """

    compiled: bool = False

    def __init__(self, before: int, after: int, kernel: int, padding: int = 0) -> None:
        super().__init__()
        start = nn.Conv2d(before, after, kernel)
        assert start.bias is not None
        self.weight, self.bias, self.padding = start.weight, start.bias, padding

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled maxima, shape (B, after, ⌊h/2⌋, ⌊w/2⌋), h and w being the convolution's size."""
        if self.compiled and self._takes(x):
            return _ConvPool.apply(x, self.weight, self.bias, self.padding)  # type: ignore[no-untyped-call]
        return F.relu(F.max_pool2d(F.conv2d(x, self.weight, self.bias, padding=self.padding), 2))

    def _takes(self, x: Tensor) -> bool:
        """Whether the kernels are for this input; what torch would refuse, torch shall refuse."""
        right = all(t.dtype == torch.float32 and t.device.type == "cpu" for t in (x, self.weight))
        if not right or x.ndim != 4 or 0 in x.shape or x.shape[1] != self.weight.shape[1]:
            return False
        return min(x.shape[2:]) + 2 * self.padding > max(self.weight.shape[2:])

    def extra_repr(self) -> str:
        """Return the sizes, for print."""
        after, before, kernel, _ = self.weight.shape
        return f"{before}, {after}, kernel={kernel}, padding={self.padding}"


def switchable(module: nn.Module) -> list[ConvPool]:
    """Return the layers of a network whose compiled kernels can be switched on and off."""
    return [m for m in module.modules() if isinstance(m, ConvPool)]
