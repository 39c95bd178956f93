"""A device beside the CPU, on machines that have no other: its tensors compute on the processor.

None of them meets a tensor of the CPU's in one operation, and none becomes an array without being brought
back: what a GPU refuses is refused here. Outside they look as if on the device "meta".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

HERE = torch.device("meta")

#: Operations that take tensors of two devices.
BETWEEN = (torch.ops.aten.copy_, torch.ops.aten._to_copy)


class There(torch.Tensor):
    """A tensor of the second device; the numbers stand in one of the CPU's."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> There:
        place: dict[str, Any] = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, held.shape, **place, dtype=held.dtype, device=HERE)
        made.held = held
        return made

    @property
    def data(self) -> torch.Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, value: There) -> None:
        self.held = value.held

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return carried(func, args, kwargs or {})


class SecondDevice(TorchDispatchMode):
    """Inside, what is made on the device "meta", or brought there, is of the second device."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return carried(func, args, kwargs or {})


#: Names of operations that wait for the host or copy from it, where somebody listens.
_crossings: list[str] | None = None


@contextmanager
def crossings() -> Iterator[list[str]]:
    """Collect what crosses between host and device in the block: a captured step may do nothing of it."""
    global _crossings
    _crossings = []
    try:
        yield _crossings
    finally:
        _crossings = None


def _listen(func: Any, tensors: Sequence[torch.Tensor], asked: Any) -> None:
    places = {isinstance(t, There) for t in tensors}
    if asked is not None:
        places.add(torch.device(asked).type == HERE.type)
    reads = func is torch.ops.aten._local_scalar_dense.default and True in places
    crosses = func._overloadpacket in BETWEEN and len(places) == 2
    if _crossings is not None and (crosses or reads):
        _crossings.append(str(func))


def carried(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Carry out an operation of torch on whichever device it is."""
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    there = any(isinstance(t, There) for t in tensors)
    if (
        there
        and func._overloadpacket not in BETWEEN
        and any(not isinstance(t, There) and t.dim() for t in tensors)
    ):
        raise RuntimeError(f"{func}: Expected all tensors to be on the same device")
    asked = kwargs.get("device")
    _listen(func, tensors, asked)
    if asked is not None:
        there = torch.device(asked).type == HERE.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    plain = tree_map(lambda t: t.held if isinstance(t, There) else t, (args, dict(kwargs)))
    result = func(*plain[0], **plain[1])
    if not there:
        return result
    wrapped = tree_map(lambda t: There(t) if isinstance(t, torch.Tensor) else t, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)
