"""Objects that stand in no file are held here, so that this process goes on with what it has begun."""

from __future__ import annotations

import sys
from typing import Any

from . import in_memory
from .sources import Source
from .user_code import Code, Hashes

#: Name → object: what this process has run for the user.
_held: dict[str, Any] = {}


def is_held(target: str) -> bool:
    """Return whether this process has run an object of this name for its user."""
    return target in _held


def for_user(key: str, target: str) -> Code:
    """Return what a user means by a name: what they gave, else what it means now, or once did."""
    meant = (in_memory.given(target), in_memory.there(target), _held.get(target))
    named = next((one for one in meant if one is not None), None)
    if named is not None:
        _held[target] = named
    return _code(key, target, named)


def for_file(key: str, target: str, before: Hashes | None) -> Code | None:
    """Return what a file means by a name; None if it means nothing here.

    Of what this process has run and what the name means now, that whose definition the file has recorded
    comes first.
    """
    there = [named for named in (_held.get(target), in_memory.there(target)) if named is not None]
    codes = [_code(key, target, named) for named in there]
    same = (code for code in codes if before is None or dict(code.hashes) == dict(before))
    return next(same, codes[-1] if codes else None)


def _code(key: str, target: str, named: Any) -> Code:
    module = target.partition(":")[0]
    file = None if named is None else in_memory.definition(named)
    files = {} if file is None else {module: file}
    return Code(key, target, Source(module, "memory"), files, sys.modules.get(module), named)
