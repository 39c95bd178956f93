"""Classes and functions that a caller gives as such stand in settings by their names, as in a run file.

``{"name": DoubleWell}`` of a notebook is ``name = "__main__:DoubleWell"``. An object of a module with a file
is found again by that name, by whoever reads the settings in a result. One that was defined in a notebook, a
script or a function is in the memory of this process alone; a hash of its source is recorded all the same, as
far as Python kept it, so that whoever goes on with a result is told if the definition has changed.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from . import sources
from .sources import SourceFile

#: Name → object, of what is given while settings are read.
_given: ContextVar[dict[str, Any] | None] = ContextVar("given", default=None)

#: What stands in the names of objects that no module knows: "<locals>" of a function, "<lambda>".
NAMELESS = "<"


@contextmanager
def reading() -> Iterator[None]:
    """Inside, settings are read: what is given as an object is known by its name."""
    token = _given.set({})
    try:
        yield
    finally:
        _given.reset(token)


def given(target: str) -> Any:
    """Return the object that was given, None if none of this name was."""
    return (_given.get() or {}).get(target)


def note(target: str, named: Any) -> bool:
    """Note an object that is given; return whether it is the only one of its name."""
    known = _given.get()
    return known is None or known.setdefault(target, named) is named


def name_of(named: type[Any] | types.FunctionType) -> str:
    """Return the name of a class or function, as settings have it."""
    return f"{named.__module__}:{named.__qualname__}"


def short(target: str) -> str:
    """Return the bare name of an object."""
    return target.rpartition(":")[2].rpartition(".")[2]


def has_no_file(target: str, folders: Sequence[Path] = ()) -> bool:
    """Return whether a name is one of a notebook, of a script, or of what a function defined.

    `folders` are those in which its module is looked for first.
    """
    if NAMELESS in target:
        return True
    source = sources.locate(target.partition(":")[0], folders)
    # Of a module that is nowhere there may be an object all the same.
    return given(target) is not None if source is None else source.kind == "memory"


def inside(module: types.ModuleType | None, path: str) -> Any:
    """Return what a module has under a name with dots; None if it has nothing."""
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def there(target: str) -> Any:
    """Return what a name means in the modules that are imported; None if it means nothing."""
    module, _, path = target.partition(":")
    return inside(sys.modules.get(module), path)


def definition(named: Any) -> SourceFile | None:
    """Return the source of a class or function; of a class, with the bases that stand in no file either.

    What it uses besides, such as functions of other cells, is not in it. None where Python has not kept it.
    """
    parts = [named]
    if isinstance(named, type):
        parts = [kind for kind in named.__mro__ if has_no_file(name_of(kind))]
    texts = [text for part in parts if (text := _text(part))]
    if not texts:
        return None
    raw = "\n".join(texts).encode()
    return SourceFile(Path(f"definition of {named.__qualname__}"), raw, sources.sha256(raw))


def _text(named: Any) -> str:
    """Return the source of one class or function; empty where it is not known."""
    if not isinstance(named, type):
        try:
            return inspect.getsource(named)
        except (OSError, TypeError):
            return ""
    # Python does not say in which cell a class was defined, but of its methods.
    codes = [c for value in vars(named).values() if (c := _code_of(value)) is not None]
    for code in codes:
        source = "".join(linecache.getlines(code.co_filename))
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == named.__name__:
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                if first <= code.co_firstlineno <= (node.end_lineno or 0):
                    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    return ""


def _code_of(value: Any) -> types.CodeType | None:
    if isinstance(value, property):
        value = value.fget
    code = getattr(inspect.unwrap(getattr(value, "__func__", value)), "__code__", None)
    return code if isinstance(code, types.CodeType) else None
