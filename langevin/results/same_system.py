"""Two results are of one system where their [system] and [data] agree, and the code that these name."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from langevin.code import trust
from langevin.config.settings import Settings
from langevin.errors import UserError


def differing(one: Any, other: Any, apart: Collection[str] = ()) -> Iterator[tuple[str, Any, Any]]:
    """Yield the keys in which two sections of one class differ, with both values, but for those `apart`."""
    for key in type(one).model_fields:
        first, second = getattr(one, key), getattr(other, key, None)
        if key not in apart and first != second:
            yield key, first, second


def require_same_system(
    first: Settings,
    other: Settings,
    names: tuple[object, object],
    dofs: tuple[int, int] = (0, 0),
    data: bool = True,
) -> None:
    """Make sure that two results are of one system; keys that only make a start do not count.

    Parameters
    ----------
    names : tuple
        What messages call the two.
    dofs : tuple of int
        Degrees of freedom of both.
    data : bool
        Whether they must be of one data set, too.

    Raises
    ------
    UserError
        Which key differs.
    """
    here, there = names
    start = first.system_class.start_keys
    for table, apart in (("system", start), ("data", ()))[: 1 + data]:
        named = (getattr(first, f"{table}_name"), getattr(other, f"{table}_name"))
        faults = iter([("name", *named)] if named[0] != named[1] else [])
        if named[0] == named[1] and getattr(first, table) is not None:
            faults = differing(getattr(first, table), getattr(other, table), apart)
        for key, wanted, given in faults:
            raise UserError(f"{there}: {table}.{key} = {given!r}; must be {wanted!r}, as in {here}")
    trust.require_same(first.code, other.code, (here, there))
    if dofs[0] != dofs[1]:
        raise UserError(f"{there}: {dofs[1]} degrees of freedom; must be {dofs[0]}, as in {here}")
