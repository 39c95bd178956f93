"""What Python callers give as a class or a function becomes the name that a run file has for it."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from langevin.code import in_memory
from langevin.errors import UserError

from .registry import DATASETS, SYSTEMS

#: Functions of torch that losses are named by, without their module.
_LOSSES = "torch.nn.functional"

#: The system that carries a module of torch, and the key that names what makes it.
_NETWORK = ("network", "module")


def is_object(value: Any) -> bool:
    """Return whether a value can only be meant as a class or a function, or an object of the caller's."""
    return isinstance(value, type | types.FunctionType | types.BuiltinFunctionType) or _is_module(value)


def name(value: Any) -> str:
    """Return the name of a class or a function.

    Raises
    ------
    UserError
        If it is a module of torch itself, or another object of its name was given besides.
    """
    if _is_module(value):
        raise UserError(
            f"a {type(value).__name__} was given as such; allowed: its class, or a function that returns "
            "a new one: each replica has its own"
        )
    if isinstance(value, types.FunctionType) and value.__module__ == _LOSSES:
        return value.__name__
    for known, target in (*SYSTEMS.items(), *DATASETS.items()):
        module, _, class_name = target.partition(":")
        if class_name == value.__name__ and f"{value.__module__}.".startswith(f"{module}."):
            return known
    target = in_memory.name_of(value)
    if not in_memory.note(target, value):
        raise UserError(f"{target}: two objects of this name were given; allowed: a name of its own for each")
    return target


def with_network(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings in which a module of torch that is given as the system is that of a network."""
    table = given.get("system")
    kind = table.get("name") if isinstance(table, Mapping) else None
    if not (isinstance(kind, types.FunctionType) or _is_module(kind) or _makes_modules(kind)):
        return given
    system, key = _NETWORK
    return {**given, "system": {**table, "name": system, key: kind}}  # type: ignore[dict-item]


def _makes_modules(kind: Any) -> bool:
    """Return whether it is a class of modules of torch, without importing torch."""
    return isinstance(kind, type) and any(
        base.__name__ == "Module" and base.__module__ == "torch.nn.modules.module" for base in kind.__mro__
    )


def _is_module(value: Any) -> bool:
    return not isinstance(value, type) and _makes_modules(type(value))
