"""This module finds where another would be imported from, and its source, without importing anything.

What a run file names is looked for in its folder first, then where Python looks. So it is with what a user's
module imports, with one exception: a name that Python's library or an installed package has, too, means the
module of the folder only if that defines all that is imported from it. A folder may hold a ``random.py`` for
one run file, beside a module that wants Python's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Literal

from . import syntax

#: Whose a module is: of Python's library; of this package; of an installed one; the user's, or whoever's
#: folder it stands in; or only in the memory of this process, as a notebook's are.
Kind = Literal["python", "langevin", "installed", "own", "memory"]

#: Modules of users are imported below this name, those of each folder apart (`langevin.code.loading`).
PRIVATE = "langevin_user"

#: Names that no file of a folder stands in for.
NEVER = ("langevin", "__main__")


def sha256(raw: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal digits."""
    return hashlib.sha256(raw).hexdigest()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read."""
    try:
        return sha256(path.read_bytes())
    except OSError:
        return ""


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


@dataclass(frozen=True)
class SourceFile:
    """The file of a module, as it was when it was looked at.

    Attributes
    ----------
    path : Path
    raw : bytes
        What is run: not what the file holds later.
    digest : str
        SHA-256 of that.
    outside : frozenset of str
        First parts of names that it imports and that mean no module beside it, though there is one.
    """

    path: Path
    raw: bytes = field(repr=False)
    digest: str
    outside: frozenset[str] = frozenset()

    @property
    def is_package(self) -> bool:
        """Whether it is that of a package."""
        return self.path.stem == "__init__"


def locate(name: str, folders: Sequence[Path] = ()) -> Source | None:
    """Return where a module would be imported from; None if it is nowhere.

    `folders` count first, then what is imported already, then the module path. No package is imported on the
    way, as `importlib.util.find_spec` would do. A folder stands in for no part of langevin.

    Parameters
    ----------
    name : str
        Full name, such as "package.module".
    folders : sequence of Path
        In order.
    """
    first = name.partition(".")[0]
    if first == "langevin":
        return Source(name, "langevin")
    if first == "__main__":
        return Source(name, "memory")
    if first == PRIVATE:
        spec = _spec_of(name)
        return None if spec is None else _source(name, spec)
    return beside(name, folders) or _elsewhere(name, folders)


def beside(name: str, folders: Sequence[Path]) -> Source | None:
    """Return the module that folders hold under a name; None if they hold none, or a bare folder at most."""
    for folder in folders:
        spec = _along(name, PathFinder.find_spec(name.partition(".")[0], [str(folder)]))
        if spec is not None and spec.loader is not None and spec.origin is not None:
            return _source(name, spec)
    return None


def _elsewhere(name: str, folders: Sequence[Path]) -> Source | None:
    """Return the module that Python finds; at last a folder of that name, a namespace, in `folders`."""
    first = name.partition(".")[0]
    if first in sys.modules and _spec_of(first) is None:
        return Source(name, "memory")
    spec = _along(name, _spec_of(first) or importlib.util.find_spec(first))
    if spec is None:
        spec = _along(name, PathFinder.find_spec(first, [str(folder) for folder in folders]))
    return None if spec is None else _source(name, spec)


def _along(name: str, spec: ModuleSpec | None) -> ModuleSpec | None:
    """Return what a full name means, from what its first part does."""
    for part in name.split(".")[1:]:
        inside = None if spec is None else spec.submodule_search_locations
        # By its last name: of a full one, the package that it stands in would have to be imported.
        spec = None if inside is None else PathFinder.find_spec(part, list(inside))
    return spec


def _spec_of(name: str) -> ModuleSpec | None:
    """Return what a module that is imported already was made from."""
    return getattr(sys.modules.get(name), "__spec__", None)


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


def is_foreign(name: str, folders: Sequence[Path] = ()) -> bool:
    """Return whether a name is one of Python's library, of an installed package, or of langevin.

    Parameters
    ----------
    name : str
        The first part of a module's name.
    folders : sequence of Path
        What these hold does not count, should they be on the module path.
    """
    if name in NEVER or name in sys.stdlib_module_names:
        return True
    spec = _spec_of(name) if name in sys.modules else importlib.util.find_spec(name)
    if spec is not None and _source(name, spec).kind == "own":
        others = [entry for entry in sys.path if Path(entry or ".").resolve() not in folders]
        spec = PathFinder.find_spec(name, others)
    return spec is not None and _source(name, spec).kind in ("python", "installed")


def read(source: Source, folders: Sequence[Path] = ()) -> SourceFile | None:
    """Look at the file of a module; None if it cannot be read.

    Parameters
    ----------
    source : Source
    folders : sequence of Path
        Where what it imports may stand.
    """
    if source.file is None:
        return None
    try:
        raw = source.file.read_bytes()
    except OSError:
        return None
    path = source.file.absolute()
    if source.kind != "own" or not source.readable:
        return SourceFile(path, raw, sha256(raw))
    outside = [
        first for first, names in syntax.wanted(raw).items() if _is_outside(first, names, source, folders)
    ]
    return SourceFile(path, raw, sha256(raw), frozenset(outside))


def _is_outside(first: str, names: frozenset[str], importing: Source, folders: Sequence[Path]) -> bool:
    """Return whether an import means no module of the folders, though they hold one of that name."""
    there = beside(first, folders)
    if there is None or there.file is None or not is_foreign(first, folders):
        return False
    itself = importing.name == first and importing.file == there.file
    if first in NEVER or (itself and there.file.stem != "__init__"):
        # A module that imports its own name wants the other.
        return True
    defined = syntax.defined(there.file)
    return defined is not None and not names <= defined


def with_neighbours(source: Source, folders: Sequence[Path] = ()) -> dict[str, SourceFile]:
    """Return the files that importing a module runs, as far as they are not of installed packages.

    Of a module of an installed package it is that module's file alone.

    Returns
    -------
    dict
        Full name of a module → its file: first its own, then those of the packages around it and of what it
        imports by name, and so on. Modules whose file cannot be read are not there.
    """
    files: dict[str, SourceFile] = {}
    waiting = [source.name]
    seen = {source.name}
    while waiting:
        name = waiting.pop(0)
        here = source if name == source.name else _own(name, folders)
        file = None if here is None else read(here, folders)
        if here is None or file is None:
            continue
        files[name] = file
        if here.kind == "own":
            further = syntax.around(name)
            further += syntax.imports(file.raw, name, file.is_package) if here.readable else ()
            inside = [full for full in further if full.partition(".")[0] not in file.outside]
            waiting += [each for each in inside if each not in seen]
            seen.update(inside)
    return files


def reached(top: str, files: Mapping[str, SourceFile]) -> dict[str, SourceFile]:
    """Return the files of a module or package, and of what these import, all the way: some of `files`."""
    waiting = [name for name in files if name.partition(".")[0] == top]
    reached: dict[str, SourceFile] = {}
    while waiting:
        name = waiting.pop()
        if name in reached or name not in files:
            continue
        reached[name] = file = files[name]
        waiting += syntax.around(name)
        if file.path.suffix == ".py":
            named = syntax.imports(file.raw, name, file.is_package)
            waiting += [full for full in named if full.partition(".")[0] not in file.outside]
    return reached


def _own(name: str, folders: Sequence[Path]) -> Source | None:
    """Return a module, if it is neither of Python nor of an installed package."""
    here = locate(name, folders)
    return here if here is not None and here.kind == "own" else None


def folders_inside(name: str, folders: Sequence[Path]) -> list[Path]:
    """Return the folders that a package without a file of its own stands for: a namespace."""
    parts = name.split(".")
    return [path for path in (folder.joinpath(*parts) for folder in folders) if path.is_dir()]
