"""The syntax of a source shows what a module imports and defines: nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

#: Sources of which it is known what they say: a sweep asks for each of its members.
SEVERAL = 64


@lru_cache(maxsize=SEVERAL)
def _parsed(raw: bytes) -> ast.Module:
    try:
        return ast.parse(raw)
    except (SyntaxError, ValueError, RecursionError):
        # The import itself will say so.
        return ast.Module(body=[], type_ignores=[])


def around(name: str) -> list[str]:
    """Return the packages that a module stands in."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def absolute(name: str, level: int, importing: str, is_package: bool) -> str:
    """Return the full name that a relative import means; empty if it leads out of the package.

    Parameters
    ----------
    name : str
        What follows the dots.
    level : int
        Number of dots.
    importing : str
        Full name of the module that imports.
    is_package : bool
        Whether that is a package.
    """
    outer = (importing if is_package else importing.rpartition(".")[0]).split(".")
    if not outer[0] or level > len(outer):
        return ""
    return ".".join([*outer[: len(outer) + 1 - level], *([name] if name else [])])


@lru_cache(maxsize=SEVERAL)
def imports(raw: bytes, name: str, is_package: bool) -> tuple[str, ...]:
    """Return the full names that a source imports, or may import: of an object, too, that is no module."""
    nodes = ast.walk(_parsed(raw))
    return tuple(dict.fromkeys(full for node in nodes for full in _named(node, name, is_package)))


def _named(node: ast.AST, name: str, is_package: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from [*around(alias.name), alias.name]
    if isinstance(node, ast.ImportFrom):
        said = node.module or ""
        base = absolute(said, node.level, name, is_package) if node.level else said
        if base:
            yield from [*around(base), base]
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


@lru_cache(maxsize=SEVERAL)
def wanted(raw: bytes) -> dict[str, frozenset[str]]:
    """Return what a source takes from what it imports.

    Returns
    -------
    dict
        First part of an imported name → names that are imported from it or looked up in it.
    """
    taken: dict[str, set[str]] = {}
    #: Name in this source → what it is.
    bound: dict[str, str] = {}
    tree = _parsed(raw)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first, _, rest = alias.name.partition(".")
                taken.setdefault(first, set()).update([rest.partition(".")[0]] if rest else [])
                if not (alias.asname and rest):
                    bound[alias.asname or first] = first
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            first, _, rest = node.module.partition(".")
            names = [rest.partition(".")[0]] if rest else [a.name for a in node.names if a.name != "*"]
            taken.setdefault(first, set()).update(names)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            continue
        if node.value.id in bound and not node.attr.startswith("__"):
            taken[bound[node.value.id]].add(node.attr)
    return {first: frozenset(names) for first, names in taken.items()}


def defined(file: Path) -> frozenset[str] | None:
    """Return the names that a module has, those of a package's modules among them; None if it does not say.

    Names in every module, such as ``__name__``, do not count.
    """
    if file.suffix != ".py":
        return None
    try:
        tree = _parsed(file.read_bytes())
        inside = (
            {path.name.partition(".")[0] for path in file.parent.iterdir()}
            if file.stem == "__init__"
            else set()
        )
    except OSError:
        return None
    names = set(_bound(tree.body))
    if "*" in names or "__getattr__" in names:
        return None
    return frozenset(names | inside)


def _bound(body: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names that statements bind, those of branches, loops and the like among them."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or (alias.name if alias.name == "*" else alias.name.partition(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            yield from _bound(ast.iter_child_nodes(node))
