"""Where a module would be imported from, found without importing anything; and the hash of its source."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Literal

from langevin.guard import Verified, sha256

#: Whose a module is: of Python's library; of this package; of an installed one; the user's, or whoever's
#: folder it stands in; or only in the memory of this process, as a notebook's are.
Kind = Literal["python", "langevin", "installed", "own", "memory"]


@dataclass(frozen=True)
class Source:
    """A module as it would be imported.

    Attributes
    ----------
    name : str
        Its full name.
    kind : Kind
    file : Path or None
        None where there is none, as of a folder that is a namespace.
    """

    name: str
    kind: Kind
    file: Path | None = None

    @property
    def readable(self) -> bool:
        """Whether the file is source, and not something compiled."""
        return self.file is not None and self.file.suffix == ".py"


def locate(name: str, folders: Sequence[Path] = ()) -> Source | None:
    """Return where a module would be imported from; None if it is nowhere.

    What is imported already counts first, then the module path, then `folders`. No package is imported on the
    way, as `importlib.util.find_spec` would do.

    Parameters
    ----------
    name : str
        Full name, such as "package.module".
    folders : sequence of Path
        Further folders to look in, in order.
    """
    first, *rest = name.split(".")
    if first == "langevin":
        return Source(name, "langevin")
    if first == "__main__" or (first in sys.modules and _spec_of(first) is None):
        return Source(name, "memory")
    spec = _spec_of(first) or importlib.util.find_spec(first)
    if spec is None:
        spec = PathFinder.find_spec(first, [str(folder) for folder in folders])
    full = first
    for part in rest:
        full = f"{full}.{part}"
        spec = None if spec is None else _inner(full, spec)
    return None if spec is None else _source(name, spec)


def _spec_of(name: str) -> ModuleSpec | None:
    """Return what a module that is imported already was made from."""
    return getattr(sys.modules.get(name), "__spec__", None)


def _inner(full: str, outer: ModuleSpec) -> ModuleSpec | None:
    inside = outer.submodule_search_locations
    if isinstance(outer.loader, Verified) and inside is not None:
        inside = [str(Path(outer.loader.path).parent)]
    return _spec_of(full) or (None if inside is None else PathFinder.find_spec(full, list(inside)))


def _source(name: str, spec: ModuleSpec) -> Source:
    if spec.origin in ("built-in", "frozen"):
        return Source(name, "python")
    file = Path(spec.origin) if spec.origin else None
    inside = list(spec.submodule_search_locations or [])
    return Source(name, _kind(file or Path(inside[0] if inside else ".")), file)


def _kind(place: Path) -> Kind:
    library, packages = _places()
    place = place.resolve()
    further = (entry for entry in sys.path if entry and _holds_packages(entry))
    if any(place.is_relative_to(folder) for folder in (*packages, *map(_resolved, further))):
        return "installed"
    return "python" if place.is_relative_to(library) else "own"


@cache
def _places() -> tuple[Path, tuple[Path, ...]]:
    """Return the folder of Python's library, and those of installed packages."""
    paths = sysconfig.get_paths()
    packages = [paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()]
    return Path(paths["stdlib"]).resolve(), tuple(map(_resolved, dict.fromkeys(packages)))


@cache
def _resolved(folder: str) -> Path:
    return Path(folder).resolve()


@cache
def _holds_packages(entry: str) -> bool:
    """Return whether packages were installed to a folder of the module path: pip leaves notes about them."""
    return Path(entry).is_dir() and any(Path(entry).glob("*.dist-info"))


def with_neighbours(source: Source, folders: Sequence[Path] = ()) -> dict[str, tuple[Path, str]]:
    """Return the files that importing a module runs, as far as they are not of installed packages.

    Of a module of an installed package it is that module's file alone.

    Returns
    -------
    dict
        Full name of a module → its file and the SHA-256 of that: first its own, then those of the packages
        around it and of what it imports by name, and so on. Modules whose file cannot be read are not there.
    """
    found: dict[str, tuple[Path, str]] = {}
    waiting, seen = [source.name], {source.name}
    foreign: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        here = source if name == source.name else _own(name, folders, foreign)
        if here is None or here.file is None:
            continue
        try:
            raw = here.file.read_bytes()
        except OSError:
            continue
        found[name] = here.file, sha256(raw)
        if here.kind == "own":
            further = _around(name)
            further += _imports(raw, name, here.file.name == "__init__.py") if here.readable else []
            waiting += [each for each in further if each not in seen]
            seen.update(further)
    return found


def _own(name: str, folders: Sequence[Path], foreign: set[str]) -> Source | None:
    """Return a module, if it is neither of Python nor of an installed package; note which names are."""
    first = name.partition(".")[0]
    if first in foreign:
        return None
    here = locate(first, folders)
    if here is None or here.kind != "own":
        foreign.add(first)
        return None
    return here if name == first else locate(name, folders)


def _around(name: str) -> list[str]:
    """Return the packages that a module stands in."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _imports(raw: bytes, name: str, is_package: bool) -> list[str]:
    """Return the full names that a source imports, or may import: of an object, too, that is no module."""
    try:
        tree = ast.parse(raw)
    except (SyntaxError, ValueError):
        # The import itself will say so.
        return []
    package = name if is_package else name.rpartition(".")[0]
    return list(dict.fromkeys(full for node in ast.walk(tree) for full in _named(node, package)))


def _named(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from [*_around(alias.name), alias.name]
    if isinstance(node, ast.ImportFrom):
        outer = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
        base = ".".join([*outer, *([node.module] if node.module else [])])
        if base:
            yield from [*_around(base), base]
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
