"""What modules hold that is neither a weight nor a number of a known kind: hooks, lazy parts, attributes."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from langevin.errors import UserError

from ..nets.layout import beside, packed, unpacked

#: Attribute's full name → something that is equal if it is.
Attributes: TypeAlias = Mapping[str, Any]

ONE_STRUCTURE = "is built otherwise from another seed; allowed: one structure for all replicas"
#: What every module has, which torch itself looks after.
_TORCH = frozenset(vars(nn.Module()))
#: Containers in containers that are looked into.
_DEPTH = 3


def require_parts(modules: Sequence[nn.Module], name: str) -> None:
    """Make sure that modules consist of what a run can carry, all replicas' of the same.

    Raises
    ------
    UserError
        What it is that a run cannot carry.
    """
    first, said = modules[0], f"system: {name}"
    for key, p in first.named_parameters():
        if not p.requires_grad:
            continue
        if p.is_complex():
            raise UserError(
                f"{said}: {key} is complex; allowed: real trainable parameters (torch.view_as_complex makes "
                "complex numbers of pairs)"
            )
        if p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None):
            raise UserError(
                f"{said}: {key} has a hook on its gradient, which Hessians and gradients of single examples "
                "would not see; allowed: requires_grad_(False) for what is not to move, a "
                "torch.autograd.Function, a loss"
            )
    for key, t in [*first.named_parameters(), *first.named_buffers()]:
        if t.layout != torch.strided or t.is_quantized or t.is_nested:
            raise UserError(f"{said}: {key} is sparse, nested or quantized; allowed: dense tensors")
    for key, t in beside(first).items():
        (back,) = unpacked(packed([t]), [t])
        if not torch.equal(back, t) and not (t.is_floating_point() and bool(t.isnan().any())):
            raise UserError(
                f"{said}: {key} holds integers beyond 2^53; allowed: what double precision can hold"
            )
    kinds = [
        [(key, tuple(t.shape), t.requires_grad) for key, t in [*m.named_parameters(), *m.named_buffers()]]
        for m in modules
    ]
    if any(kind != kinds[0] for kind in kinds):
        raise UserError(f"{said} {ONE_STRUCTURE}")


def require_apart(module: nn.Module, name: str) -> None:
    """Make sure that no two tensors of a module, as it is built, share memory.

    Parameters that are one object in several places are one. Raises `UserError`.
    """
    held: list[tuple[int, int, str]] = []
    for key, t in [*module.named_parameters(), *module.named_buffers()]:
        if nn.parameter.is_lazy(t) or t.layout != torch.strided or t.is_nested or not t.numel():
            continue
        reach = sum((size - 1) * step for size, step in zip(t.shape, t.stride(), strict=True))
        held.append((t.data_ptr(), t.data_ptr() + (reach + 1) * t.element_size(), key))
    for (_, end, key), (begin, _, other) in pairwise(sorted(held)):
        if begin < end:
            raise UserError(
                f"system: {name}: {key} and {other} share memory, which a step would move twice; allowed: "
                "one nn.Parameter in both places, tensors with memory of their own"
            )


def require_steady(module: nn.Module, name: str) -> None:
    """Make sure that the same parameters descend in both modes; it is left in training mode."""
    trainable = []
    for training in (False, True):
        module.train(training)
        trainable.append([key for key, p in module.named_parameters() if p.requires_grad])
    differ = sorted(set(trainable[0]) ^ set(trainable[1]))
    if differ:
        raise UserError(
            f"system: {name}: {differ[0]} descends in one mode and is frozen in the other; allowed: the same "
            "in training and in evaluation mode"
        )


def attributes(module: nn.Module) -> Attributes:
    """Return the attributes of a module and of those inside that are no parameters, buffers or modules."""
    return {
        f"{prefix}.{key}" if prefix else key: _imprint(value)
        for prefix, m in module.named_modules()
        for key, value in vars(m).items()
        if key not in _TORCH
    }


def changed(before: Attributes, after: Attributes) -> str | None:
    """Return the name of an attribute that differs; None if none does."""
    for key in [*before, *after]:
        if before.get(key) != after.get(key):
            return key
    return None


def _imprint(value: Any, depth: int = _DEPTH) -> Any:
    """Return something that is equal if numbers, tensors, generators or containers of such are."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, Tensor):
        if isinstance(value, nn.Parameter) or value.layout != torch.strided:
            return id(value)
        held = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        return str(value.dtype), tuple(value.shape), held.view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes() if value.dtype != object else id(value)
    if isinstance(value, np.random.Generator | np.random.RandomState):
        state = value.bit_generator.state if isinstance(value, np.random.Generator) else value.get_state()
        return repr(state)
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if depth and isinstance(value, list | tuple | deque):
        return type(value).__name__, tuple(_imprint(v, depth - 1) for v in value)
    if depth and isinstance(value, set | frozenset):
        return type(value).__name__, len(value)
    if depth and isinstance(value, Mapping):
        return type(value).__name__, tuple((repr(k), _imprint(v, depth - 1)) for k, v in value.items())
    plain = not callable(value) and not isinstance(value, type | nn.Module)
    if depth and plain and hasattr(value, "__dict__"):
        return type(value).__name__, _imprint(vars(value), depth - 1)
    return type(value).__name__
