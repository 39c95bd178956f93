"""What run files name that is called to make a network or to give a loss: which objects that may be.

A file can choose the arguments of a factory. So nothing is called that is not made for it: with the right
argument, many a function of Python's library runs a program or removes a folder.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from langevin.code import sources, trust
from langevin.errors import UserError

FACTORY = (
    'allowed: "package.module:factory", a class derived from torch.nn.Module, a function of your own module, '
    "or one of an installed package whose annotation says that it returns a Module"
)


def module_factory(target: str, near: Path | None = None) -> Callable[..., Any]:
    """Return what makes the module of a network, as "package.module:factory" names it.

    Parameters
    ----------
    target : str
    near : Path, optional
        Folder in which the module is looked for, too.

    Raises
    ------
    UserError
        If it is not there, or may not be called.
    UnknownCode
        If a file names it that this user does not trust.
    """
    said = f"system.module = {target!r}"
    named, source = trust.find("system.module", target, near)
    if named is None:
        raise UserError(f"{said}: {source.file or source.name} has no such object; {FACTORY}")
    if not (callable(named) and makes_modules(named)):
        raise UserError(f"{said}: {FACTORY}")
    factory: Callable[..., Any] = named
    return factory


def loss_function(target: str, near: Path | None = None) -> Callable[..., Any] | None:
    """Return the function that "package.module:function" names, None if it is none.

    Parameters and errors are those of `module_factory`.
    """
    named, source = trust.find("system.loss", target, near)
    if named is None:
        raise UserError(f"system.loss = {target!r}: {source.file or source.name} has no such object")
    inner = _innermost(named)
    return named if isinstance(inner, types.FunctionType) or _is_own_callable(inner) else None


def makes_modules(named: Any) -> bool:
    """Return whether an object is meant to make modules of torch: see `FACTORY`."""
    inner = _innermost(named)
    if isinstance(inner, type):
        return issubclass(inner, nn.Module)
    if isinstance(inner, types.FunctionType):
        # What a decorator of another package made in the user's module is the user's.
        return _is_own(inner.__module__) or "<locals>" in inner.__qualname__ or _returns_module(inner)
    return _is_own_callable(inner)


def _innermost(named: Any) -> Any:
    """Return what a partial, a method or a decorated function calls in the end."""
    while True:
        if isinstance(named, functools.partial):
            named = named.func
        elif isinstance(named, types.MethodType):
            named = named.__func__
        elif not isinstance(named, type) and callable(named) and hasattr(named, "__wrapped__"):
            named = inspect.unwrap(named)
        else:
            return named


def _is_own_callable(named: Any) -> bool:
    """Return whether it is an object, of a class of the user's, that can be called; no module itself."""
    return (
        callable(named)
        and not isinstance(named, type | nn.Module | types.BuiltinFunctionType)
        and _is_own(type(named).__module__)
    )


def _is_own(module: str | None) -> bool:
    here = sources.locate(module) if module else None
    return here is not None and here.kind in ("own", "memory")


def _returns_module(function: types.FunctionType) -> bool:
    """Return whether a function's annotation says that it returns a module of torch."""
    said: Any = function.__annotations__.get("return")
    if isinstance(said, str):
        # Looked up, not evaluated.
        first, *rest = said.strip("'\" ").split(".")
        said = function.__globals__.get(first)
        for part in rest:
            said = getattr(said, part, None)
    return isinstance(said, type) and issubclass(said, nn.Module)
