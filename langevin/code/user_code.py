"""Files record the code of users that settings name, and later tell whether it is still the same."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import in_memory, loading, sources
from .sources import Source, SourceFile

#: Sources of an object: full name of a module → SHA-256.
Hashes = Mapping[str, str]

#: Modules that any file may name: layers and losses of torch, and everything here that run files can name.
#: What of them may be called is decided where it is called.
OPEN = ("torch.nn", "langevin.systems")


@dataclass(frozen=True)
class Origin:
    """A file whose settings may be somebody else's.

    Attributes
    ----------
    file : str
        What messages call it.
    recorded : mapping
        Object → its sources when the file was made; nothing in files of older versions.
    """

    file: str
    recorded: Mapping[str, Hashes] = field(default_factory=dict)

    @classmethod
    def of(cls, file: str | Path, code: Any) -> Origin:
        """Return the origin of settings in a file; `code` is its attribute of that name, as `recorded`."""
        try:
            said = json.loads(code)
        except (TypeError, ValueError, RecursionError):
            said = {}
        parts = said.items() if isinstance(said, dict) else ()
        return cls(str(file), {name: hashes for name, hashes in parts if isinstance(hashes, dict)})


@dataclass(frozen=True)
class Code:
    """An object that settings name, imported.

    Attributes
    ----------
    key : str
        Key of the run file.
    target : str
        "package.module:object".
    source : Source
    files : mapping
        Full name of a module → its file: of the object's own module first, then of what that imports.
    module : module or None
        What was imported.
    held : object or None
        The object itself, where it stands in no file.
    """

    key: str
    target: str
    source: Source
    files: Mapping[str, SourceFile] = field(default_factory=dict)
    module: types.ModuleType | None = field(default=None, compare=False, repr=False)
    held: Any = field(default=None, compare=False, repr=False)

    @property
    def hashes(self) -> Hashes:
        """Full name of a module → SHA-256."""
        return {name: file.digest for name, file in self.files.items()}

    @property
    def ran(self) -> Hashes:
        """The same, with the modules that were imported since by a name that no source holds."""
        further = loading.further(self.module) if self.files else {}
        return {**{name: file.digest for name, file in further.items()}, **self.hashes}

    @property
    def named(self) -> Any:
        """The object; None if the module has none of this name."""
        return (
            self.held
            if self.held is not None
            else in_memory.inside(self.module, self.target.partition(":")[2])
        )

    @property
    def place(self) -> Path:
        """Folder that the module is found in; of what stands in no file, the working directory."""
        if self.source.file is None:
            return Path.cwd()
        up = self.source.name.count(".") + (self.source.file.name == "__init__.py")
        return self.source.file.absolute().parents[up]

    @property
    def is_open(self) -> bool:
        """Whether any file may name it."""
        return is_open(self.source.name)


def is_open(module: str) -> bool:
    """Return whether any file may name what is in a module."""
    inside = any(module == package or module.startswith(f"{package}.") for package in OPEN)
    return inside and "__main__" not in module


def change(code: Code, before: Hashes) -> str:
    """Say which source is no longer what it was."""
    for name, now in code.hashes.items():
        if before.get(name) != now:
            then = f", then {before[name]}" if name in before else ""
            return f"{code.files[name].path} has changed (sha256 {now}{then})"
    lost = next(name for name in before if name not in code.hashes)
    return f"it imported {lost}, and no longer does: {code.files[code.source.name].path} has changed"


def described(code: Code) -> str:
    """Name the files of code, and the hash of the first."""
    file, *others = code.files.values()
    more = f", which imports {', '.join(str(other.path) for other in others)}" if others else ""
    return f"{file.path} (sha256 {file.digest}){more}"


def union(parts: Iterable[Iterable[Code]]) -> tuple[Code, ...]:
    """Return the code of several settings, each object once."""
    return tuple({(code.key, code.target): code for part in parts for code in part}.values())


def recorded(used: Iterable[Code]) -> str:
    """Return the attribute `code` of a file: JSON, object → module → SHA-256; empty if there is no code."""
    said = {code.target: dict(code.ran) for code in used if code.hashes}
    return json.dumps(said) if said else ""


def recorded_files(
    before: Mapping[str, Any], files: Mapping[str, SourceFile], folders: Sequence[Path]
) -> dict[str, SourceFile]:
    """Return the files in folders of modules that a file has recorded and that no source names."""
    further: dict[str, SourceFile] = {}
    for name in before:
        if name in files or not all(part.isidentifier() for part in name.split(".")):
            continue
        there = sources.beside(name, folders)
        file = None if there is None else sources.read(there, folders)
        if file is not None:
            further[name] = file
    return further


def imports(used: Iterable[Code]) -> str:
    """Say what a run file imports, in a few words; nothing if it imports nothing of a user's."""
    said = [
        f"{code.source.file or code.source.name} ({code.key} = {code.target!r})" for code in union([used])
    ]
    return f"; imports {', '.join(said)}" if said else ""


def changes(used: Iterable[Code], before: Mapping[str, Hashes]) -> Iterator[str]:
    """Yield what has changed of code since a file recorded it; nothing of what it has not recorded."""
    for code in used:
        then = before.get(code.target)
        if then is None:
            continue
        code = replace(code, files={**code.files, **recorded_files(then, code.files, [code.place])})
        if dict(then) != dict(code.hashes):
            yield f"{code.key} = {code.target!r}: {change(code, then)}"


def differences(one: Iterable[Code], other: Iterable[Code]) -> Iterator[tuple[str, SourceFile, SourceFile]]:
    """Yield the objects of systems that two results name alike and that are of other sources.

    Data are compared by what they are.

    Yields
    ------
    said : str
        Key and object.
    here, there : SourceFile
        The first files that differ.
    """
    theirs = {(code.key, code.target): code for code in other}
    for code in one:
        same = theirs.get((code.key, code.target))
        if same is None or not code.key.startswith("system.") or dict(code.hashes) == dict(same.hashes):
            continue
        pairs = [(file, same.files[name]) for name, file in code.files.items() if name in same.files]
        differing = [pair for pair in pairs if pair[0].digest != pair[1].digest] or pairs
        for here, there in differing[:1]:
            yield f"{code.key} = {code.target!r}", here, there
