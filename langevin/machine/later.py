"""Some modules are imported when something of them is first used.

A run file is checked, and a result read, without torch, numba and scipy: each takes as long to load as all
the rest of such a command. For the type checker the import stands under ``if TYPE_CHECKING``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any


class _Module:
    """Stands for a module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


class _Callable:
    """Stands for a function or class of a module that is only called, not looked at."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return getattr(importlib.import_module(self._module), self._name)(*arguments, **named)


def later(module: str) -> Any:
    """Return what stands for a module."""
    return _Module(module)


def callables(module: str, *names: str) -> Iterator[Any]:
    """Yield what stands for functions and classes of a module; they can be called, nothing else."""
    return (_Callable(module, name) for name in names)
