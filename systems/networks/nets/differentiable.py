r"""Operations of torch whose fast form has no second derivative, or a wrong one: a form that has it.

- The fused kernels of `scaled_dot_product_attention` have none: its plain form is taken. What
  `MultiheadAttention` and `TransformerEncoderLayer` do in one step in evaluation mode has not even a first.
- cuDNN's recurrent nets have none: torch's own are taken on a GPU, too.
- `torch._weight_norm`, which both forms of weight norm call, has a wrong one: the backward pass of its fused
  kernel treats what it has kept as constant. w = g v/‖v‖ is composed of plain operations instead.
- Functions compiled by `torch.compile` have none: they are called as they were written.

Tensors that a module makes while it computes, such as `torch.zeros(n)`, have torch's default precision,
single. Beside weights in double precision they are a mistake, if they do not say their precision: they are
given it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

_functions: Any = torch._C._VariableFunctions
#: Calls of recurrent nets, which cuDNN may take.
_RECURRENT = (_functions.lstm, _functions.gru, _functions.rnn_tanh, _functions.rnn_relu)
#: Functions that make tensors of torch's default precision.
_MAKERS = frozenset(_device_constructors())


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """Return g v/‖v‖ as `torch._weight_norm` does: norms over all axes but `dim`; over all of them at −1."""
    norm: Tensor = v.norm() if dim == -1 else torch.norm_except_dim(v, 2, dim)
    return v * (g / norm)


class _Plain(TorchFunctionMode):
    """Calls plain forms, in double precision, whichever module or function of the user's asks for them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is _functions._weight_norm:
            return weight_norm(*args, **given)
        if func in _RECURRENT:
            with torch.backends.cudnn.flags(enabled=False):
                return func(*args, **given)
        found = func(*args, **given)
        if func in _MAKERS and given.get("dtype") is None and found.dtype == torch.get_default_dtype():
            return found.double()
        return found


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Compute with operations that have second derivatives, in double precision, in the block."""
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_Plain())
        yield
