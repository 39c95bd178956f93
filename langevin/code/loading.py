"""Modules of users are loaded by path: those of each folder apart, as they were when they were looked at.

Two folders may hold a ``net.py`` each, and one process both. So a user's module is never imported by its bare
name, and its folder never comes onto the module path: no module there can stand in for one that others look
for. ``net`` of a folder is the module ``langevin_user.<digest of the folder>.net``. What it imports by a bare
name is looked for in its folder by a function ``__import__`` that stands among the builtins of that module
alone; torch, numpy and everybody else never see it.

What is run are the bytes that were looked at, and hashed: nothing that was written since, and no bytecode. If
a file has changed since, its module, and those that imported it, are loaded anew under other names; objects
of the old ones go on to work. A module that this process has imported under its bare name, from the same
file, is taken as it is, unless the file may have changed since then.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import os
import sys
import threading
import types
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

from . import already_imported, sources, syntax
from .sources import PRIVATE, SourceFile


@dataclass(eq=False)
class Unit:
    """A module or a package of a folder, with all that is in it.

    Attributes
    ----------
    space : Space
    top : str
        Its name.
    prefix : str
        Name of the package that it stands in, among all modules.
    files : dict
        Full name → file, of its modules and of whatever they may import.
    ran : dict
        Full name → file, of its modules that were run.
    needs : dict
        Name → other units, whose modules it has imported.
    asked : dict
        Module that was asked for → names of the files that importing it runs.
    made_up : dict
        Full name → file, of modules that were imported by a name that no source holds.
    """

    space: Space
    top: str
    prefix: str
    files: dict[str, SourceFile]
    ran: dict[str, SourceFile] = field(default_factory=dict)
    needs: dict[str, Unit] = field(default_factory=dict)
    asked: dict[str, frozenset[str]] = field(default_factory=dict)
    made_up: dict[str, SourceFile] = field(default_factory=dict)

    def spec(self, name: str) -> ModuleSpec:
        """Return what a module in it is made from.

        Raises
        ------
        ModuleNotFoundError
            If there is none.
        """
        full = f"{self.prefix}.{name}"
        file = self.files.get(name) or self._further(name)
        if file is not None:
            self.ran[name] = file
            loader = Pinned(full, name, self) if file.path.suffix == ".py" else None
            inside = [str(file.path.parent)] if file.is_package else None
            spec = importlib.util.spec_from_file_location(
                full, file.path, loader=loader, submodule_search_locations=inside
            )
            assert spec is not None
            return spec
        if folders := self._namespace(name):
            spec = ModuleSpec(full, None, is_package=True)
            spec.submodule_search_locations = folders
            return spec
        raise ModuleNotFoundError(f"No module named {name!r}", name=full)

    def _further(self, name: str) -> SourceFile | None:
        """Look at a module that no source names: of the user's own folders alone."""
        if self.space.is_closed:
            return None
        there = sources.beside(name, self.space.folders)
        file = None if there is None else sources.read(there, self.space.folders)
        if file is not None:
            self.files[name] = self.made_up[name] = file
        return file

    def _namespace(self, name: str) -> list[str]:
        if any(known.startswith(f"{name}.") for known in self.files) or not self.space.is_closed:
            return [str(path) for path in sources.folders_inside(name, self.space.folders)]
        return []

    def imported(
        self,
        importing: str,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        """Import for a module of the unit, whose name is `importing`; the rest is as of `__import__`."""
        file = self.ran[importing]
        if level:
            name = syntax.absolute(name, level, importing, file.is_package)
            if not name:
                raise ImportError("attempted relative import with no known parent package")
        top = name.partition(".")[0]
        there = None if top in file.outside else self._unit_of(top)
        if there is None:
            module = builtins.__import__(name, globals, locals, fromlist or (), 0)
            return self._own_importlib(importing) if module is importlib else module
        self.needs[top] = there
        full = f"{there.prefix}.{name}"
        importlib.import_module(full)
        if fromlist:
            return builtins.__import__(full, None, None, fromlist, 0)
        return sys.modules[f"{there.prefix}.{top}"]

    def _own_importlib(self, importing: str) -> types.ModuleType:
        """Return what a module of the unit has for importlib: its `import_module` looks where imports do."""

        def import_module(name: str, package: str | None = None) -> types.ModuleType:
            if name.startswith("."):
                return importlib.import_module(name, package)
            return self.imported(importing, name, fromlist=("__name__",))

        module = types.ModuleType(importlib.__name__, importlib.__doc__)
        module.__dict__.update({**vars(importlib), "import_module": import_module})
        return module

    def _unit_of(self, top: str) -> Unit | None:
        """Return the unit of its folder that a name means; None if it means what it means to Python."""
        if top == self.top:
            return self
        if top in self.needs:
            return self.needs[top]
        named = {name: file for name, file in self.files.items() if name.partition(".")[0] == top}
        if not named and (self.space.is_closed or sources.is_foreign(top, self.space.folders)):
            return None
        if not named and sources.beside(top, self.space.folders) is None:
            return None
        return self.space.unit(top, self.files)


@dataclass(eq=False)
class Space:
    """The modules of a folder.

    Attributes
    ----------
    folders : tuple of Path
        Where they are, in order.
    is_closed : bool
        Whether nothing is imported from there but what was looked at.
    units : dict
        Name → the unit that a new import gets.
    """

    folders: tuple[Path, ...]
    is_closed: bool
    units: dict[str, Unit] = field(default_factory=dict)

    def unit(self, top: str, files: Mapping[str, SourceFile]) -> Unit:
        """Return the unit of a name, as it is in `files`."""
        reached = sources.reached(top, files)
        known = self.units.get(top)
        if known is not None and not _has_changed(known, reached):
            for name, file in reached.items():
                known.files.setdefault(name, file)
            return known
        unit = Unit(self, top, self._free(top), reached)
        _units[unit.prefix, top] = unit
        self.units.setdefault(top, unit)
        return unit

    def _free(self, top: str) -> str:
        """Return a package in which there is no module of this name yet."""
        # The same in every process: numba keeps names of modules in its cache.
        first = f"{PRIVATE}.{sources.sha256(os.fsencode(self.folders[0]))[:12]}"
        prefix, count = first, 1
        while (prefix, top) in _units:
            count += 1
            prefix = f"{first}_{count}"
        return prefix

    def forget_changed(self, module: str, files: Mapping[str, SourceFile]) -> None:
        """Drop units of which a file has changed, and those that have imported them."""
        stale = {unit for unit in self.units.values() if _has_changed(unit, files)}
        top = self.units.get(module.partition(".")[0])
        if top is not None and top.asked.get(module, frozenset(files)) != frozenset(files):
            stale.add(top)
        while further := {u for u in self.units.values() if stale & set(u.needs.values())} - stale:
            stale |= further
        self.units = {top: unit for top, unit in self.units.items() if unit not in stale}

    def load(self, module: str, files: Mapping[str, SourceFile]) -> types.ModuleType:
        """Import a module of the folder."""
        self.forget_changed(module, files)
        unit = self.unit(module.partition(".")[0], files)
        # No source names the others: they are imported by names that the program makes up.
        unit.files |= files
        try:
            imported = importlib.import_module(f"{unit.prefix}.{module}")
        except BaseException:
            if self.units.get(unit.top) is unit:
                # Half of it may be there.
                del self.units[unit.top]
            raise
        unit.asked[module] = frozenset(files)
        return imported


def _same(one: SourceFile, other: SourceFile) -> bool:
    return (one.path, one.digest, one.outside) == (other.path, other.digest, other.outside)


def _has_changed(unit: Unit, files: Mapping[str, SourceFile]) -> bool:
    """Return whether a unit is of other files than these; of what they do not hold, the disk is asked."""
    return any(not _same(files[name], file) for name, file in unit.files.items() if name in files) or any(
        sources.digest(file.path) != file.digest for name, file in unit.ran.items() if name not in files
    )


class _Finder:
    """Finds modules of users by the names that they have among all modules.

    What was kept on disk by a process that had loaded a folder more than once may name its second or third
    package: that is the one that this process has.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what a module is made from; None if it is no user's."""
        parts = fullname.split(".", 2)
        if parts[0] != PRIVATE:
            return None
        if len(parts) < 3:
            return ModuleSpec(fullname, None, is_package=True)
        unit = _unit(fullname)
        if unit is not None:
            return unit.spec(parts[2])
        folder, top = parts[1].partition("_")[0], parts[2].partition(".")[0]
        others = [
            prefix
            for prefix, name in _units
            if name == top and prefix.split(".")[1].partition("_")[0] == folder
        ]
        if not others:
            return None
        loader = Alias(f"{others[-1]}.{parts[2]}")
        return importlib.util.spec_from_loader(fullname, loader, is_package=False)


_FINDER = _Finder()
#: Package among all modules, name in a folder → unit.
_units: dict[tuple[str, str], Unit] = {}
_spaces: dict[tuple[tuple[Path, ...], bool], Space] = {}
_lock = threading.RLock()


def _unlocked() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_unlocked)


def alone() -> AbstractContextManager[Any]:
    """Return what keeps other threads from looking for modules, or loading them, at the same time."""
    return _lock


def load(
    module: str, files: Mapping[str, SourceFile], folders: Iterable[Path], is_closed: bool = False
) -> types.ModuleType:
    """Return a module of a user's, imported from the files that were looked at.

    Parameters
    ----------
    module : str
        Its full name in its folder.
    files : mapping of str to SourceFile
        Full name → file: the module's, and those of what it imports (`sources.with_neighbours`).
    folders : iterable of Path
        Where they stand.
    is_closed : bool
        Whether it may import no other file of the folders.
    """
    places = tuple(dict.fromkeys(folders))
    with _lock:
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)
        if (there := already_imported.find(module, files)) is not None:
            return there
        mine = _spaces.setdefault((places, False), Space(places, False))
        if is_closed and not _is_loaded(mine, module, files):
            mine = _spaces.setdefault((places, True), Space(places, True))
        return mine.load(module, files)


def _is_loaded(space: Space, module: str, files: Mapping[str, SourceFile]) -> bool:
    """Return whether the user's own run has loaded just this."""
    unit = space.units.get(module.partition(".")[0])
    if unit is None or unit.asked.get(module) != frozenset(files):
        return False
    return all(name in unit.files and _same(file, unit.files[name]) for name, file in files.items())


def files_of(module: str) -> dict[str, SourceFile]:
    """Return the files that a module of a user's was loaded with; none of any other module."""
    unit = _unit(module)
    return {} if unit is None else dict(unit.files)


def _unit(module: str) -> Unit | None:
    """Return what a module belongs to, by its name among all modules."""
    parts = module.split(".", 2)
    if parts[0] != PRIVATE or len(parts) < 3:
        return None
    return _units.get((f"{PRIVATE}.{parts[1]}", parts[2].partition(".")[0]))


def further(module: types.ModuleType | None) -> dict[str, SourceFile]:
    """Return the files of modules that a user's module has imported so far by names that no source holds."""
    unit = None if module is None else _unit(module.__name__)
    waiting, seen = [unit] if unit else [], set[Unit]()
    made_up: dict[str, SourceFile] = {}
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            made_up |= one.made_up
            waiting += one.needs.values()
    return made_up


def bare(text: str) -> str:
    """Return a message with the names that modules have in their folders."""
    words = text.split(f"{PRIVATE}.")
    return words[0] + "".join(word.partition(".")[2] for word in words[1:])


class Pinned(SourceFileLoader):
    """Runs the source that was looked at; keeps no bytecode, and reads none.

    Parameters
    ----------
    name : str
        Of the module among all modules.
    own : str
        The name that its folder knows it by.
    unit : Unit
        What it belongs to.
    """

    def __init__(self, name: str, own: str, unit: Unit) -> None:
        self.own, self.unit, self.file = own, unit, unit.files[own]
        super().__init__(name, str(self.file.path))

    def get_code(self, fullname: str) -> types.CodeType:
        """Return the compiled source."""
        code: types.CodeType = self.source_to_code(self.file.raw, self.path)
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the source, with imports of its own."""
        further = {"__import__": partial(self.unit.imported, self.own)}
        module.__dict__["__builtins__"] = {**vars(builtins), **further}
        super().exec_module(module)


class Alias(Loader):
    """Gives a module another name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        """Return the module."""
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Leave the module as it is."""
        module.__spec__ = self.spec
