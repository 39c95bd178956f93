r"""Batch-norm over a batch that several processes share.

Each has its part of the examples, and each channel's number, mean and sum of squared deviations of it; those
of the whole batch follow from all parts without cancellation (Chan, Golub and LeVeque, Am. Stat. 37, 242
(1983)),

    n = Σ_r n_r,    μ = Σ_r n_r μ_r/n,    S = Σ_r [S_r + n_r (μ_r − μ)²],    σ² = S/n.

With x̂ = (x − μ)/√(σ² + ε), y = γ x̂ + β and g = ∂L/∂y, L the loss of the whole batch,

    ∂L/∂x = γ/√(σ² + ε) [g − Σ g/n − x̂ Σ g x̂/n],

where sums run over the examples of all processes; those of a process alone are its part of ∂L/∂γ and ∂L/∂β.
Sums over processes are taken in the order of their numbers, so that all have the same bits.

torch.nn.SyncBatchNorm does this on GPUs alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from langevin.machine.world import World

#: The layers of torch that normalise by their batch in the way above.
NORMS = nn.modules.batchnorm._BatchNorm


def norms_of(module: nn.Module) -> list[nn.Module]:
    """Return the batch-norm layers whose passes are torch's own."""
    layers = [m for m in module.modules() if isinstance(m, NORMS)]
    return [m for m in layers if type(m).forward is NORMS.forward]


@contextmanager
def joint(norms: list[nn.Module], world: World) -> Iterator[None]:
    """Let layers normalise, in training mode, by the batch of all processes in the block."""
    for norm in norms:
        norm.forward = partial(_passed, norm, world)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _passed(norm: Any, world: World, x: Tensor) -> Tensor:
    """Return what a layer makes of this process's part of a batch."""
    if not norm.training:
        passed: Tensor = NORMS.forward(norm, x)
        return passed
    norm._check_input_dim(x)
    normalise: Any = _Joint.apply
    outputs, mean, squares, count = normalise(x, norm.weight, norm.bias, norm.eps, world)
    if norm.track_running_stats:
        with torch.no_grad():
            _follow(norm, mean, squares / (count - 1))
    normalised: Tensor = outputs
    return normalised


def _follow(norm: Any, mean: Tensor, variance: Tensor) -> None:
    """Let running statistics follow those of a batch, as torch does; the variance is without bias."""
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    momentum = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    if norm.running_mean is not None:
        norm.running_mean.lerp_(mean.to(norm.running_mean), momentum)
        norm.running_var.lerp_(variance.to(norm.running_var), momentum)


class _Joint(torch.autograd.Function):
    """Normalised examples, shape (n, C, …); with them means and sums of squares, (C,), and the number."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, world: World
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the outputs, and what running statistics follow from."""
        own = x if weight is None else x.to(weight.dtype)
        dims = [d for d in range(own.ndim) if d != 1]
        size = own.numel() // own.shape[1]
        shape = [1, -1] + [1] * (own.ndim - 2)
        # Two passes are faster than torch.var_mean, and as exact.
        mean = own.sum(dims) / max(1, size)
        squares = (own - mean.view(shape)).square_().sum(dims)
        rows = world.rows(torch.cat([mean.new_full((1,), size), mean, squares]))
        sizes, means, squares = rows[:, :1], *rows[:, 1:].chunk(2, dim=1)
        count = sizes.sum()
        # A GPU is not waited for where this process alone has enough.
        if size < 2 and not bool(count > 1):
            raise ValueError(f"batch-norm needs more than one value per channel; there is {int(count)}")
        mean = (sizes * means).sum(0) / count
        square = (squares + sizes * (means - mean) ** 2).sum(0)
        variance = square / count
        outputs = F.batch_norm(own, mean, variance, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(own, weight, mean, variance, count)
        ctx.eps, ctx.world, ctx.kind = eps, world, x.dtype
        ctx.mark_non_differentiable(mean, square, count)
        return outputs.to(x.dtype), mean, square, count

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        """Return the gradient of the loss of the whole batch with respect to this part of it."""
        x, weight, mean, variance, count = ctx.saved_tensors
        slope, shape = slopes[0].to(x.dtype), [1, -1] + [1] * (x.ndim - 2)
        inverse = torch.rsqrt(variance + ctx.eps)
        factor = inverse if weight is None else inverse * weight
        if len(x):
            # With given statistics: γ g/√(σ² + ε), and the sums of g x̂ and g over this part.
            fixed = (slope, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True])
            inputs, products, sums = torch.ops.aten.native_batch_norm_backward(*fixed)
        else:
            inputs, products, sums = torch.zeros_like(x), torch.zeros_like(mean), torch.zeros_like(mean)
        of_sums, of_products = ctx.world.rows(torch.stack([sums, products])).sum(0) / count
        inputs.addcmul_(x - mean.view(shape), (-factor * inverse * of_products).view(shape))
        inputs.sub_((factor * of_sums).view(shape))
        own = (products, sums) if weight is not None else (None, None)
        return inputs.to(ctx.kind), *own, None, None
