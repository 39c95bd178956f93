"""Whose code is run: the one place where what settings name as "package.module:object" is imported.

Registered systems and data sets are code that the user installed, and never come here. What a run file names
is imported because the user asks for it by running that. Settings in a result or a checkpoint (`Origin`) may
be somebody else's: what they name is imported only if this user has run the same object of the same sources,
or if they say that they trust it. Before that nothing of it is imported, and its folder never comes onto the
module path (`langevin.guard`). What was imported is in `Settings.code`.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from langevin import guard, known, sources
from langevin.errors import LangevinWarning, UnknownCode, UserError
from langevin.sources import Source

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
    hashes : mapping
        Full name of a module → SHA-256.
    """

    key: str
    target: str
    source: Source
    files: Mapping[str, Path]
    hashes: Hashes

    @property
    def place(self) -> Path:
        """Folder that the module is found in."""
        assert self.source.file is not None
        up = self.source.name.count(".") + (self.source.file.name == "__init__.py")
        return self.source.file.absolute().parents[up]

    @property
    def is_open(self) -> bool:
        """Whether any file may name it."""
        return _is_open(self.source.name)


#: On whose behalf code is imported: a file's; None: the user's own.
_origin: ContextVar[Origin | None] = ContextVar("origin", default=None)
#: Whether the user said that they trust the files that they named, and whether that is to be remembered.
_given: ContextVar[tuple[bool, bool]] = ContextVar("trust", default=(False, True))
#: Where the code that is found is noted.
_noted: ContextVar[list[Code] | None] = ContextVar("noted", default=None)

#: What this process imported for the user and what has no source file: objects of a notebook.
_in_memory: set[str] = set()


@contextmanager
def trusting(trust: bool, remembers: bool = True) -> Iterator[None]:
    """Take the code of every file for trusted, if `trust`; `remembers`: from then on, too."""
    before = _given.get()
    token = _given.set((trust or before[0], remembers and before[1]))
    try:
        yield
    finally:
        _given.reset(token)


def is_given() -> bool:
    """Return whether the user said that they trust the files that they named."""
    return _given.get()[0]


@contextmanager
def on_behalf_of(origin: Origin | None) -> Iterator[None]:
    """Import code for the settings of a file; None: for whom it was before."""
    token = _origin.set(origin or _origin.get())
    try:
        yield
    finally:
        _origin.reset(token)


def origin() -> Origin | None:
    """Return for which file's settings code is imported; None: for the user."""
    return _origin.get()


@contextmanager
def collecting() -> Iterator[list[Code]]:
    """Note the code that is imported, also that of files that are read on the way."""
    outer, found = _noted.get(), list[Code]()
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)
        if outer is not None:
            outer += found


def find(key: str, target: str, near: Path | None = None) -> tuple[Any, Source]:
    """Return what settings name as "package.module:object", and where its module stands.

    Parameters
    ----------
    key : str
        Key of the run file.
    target : str
    near : Path, optional
        Folder of the run file, or of the result: the module is looked for there, too.

    Returns
    -------
    object
        None if the module has no such object.
    Source

    Raises
    ------
    UserError
        If the module cannot be imported.
    UnknownCode
        If a file names it that this user does not trust.
    """
    module, _, name = target.partition(":")
    if not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f'{key} = {target!r}: cannot import {module!r}: write "package.module:object"')
    folders = [] if near is None else [near.resolve()]
    importing = _for_user if _origin.get() is None else _for_a_file
    code = importing(key, target, module, folders)
    noted = _noted.get()
    if noted is not None and not code.is_open:
        noted.append(code)
    return getattr(sys.modules[module], name, None), code.source


def _for_user(key: str, target: str, module: str, folders: list[Path]) -> Code:
    """Import what the user's own run file names."""
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    _import(key, target, module)
    # What was imported and is nowhere was made in memory.
    code = _code(key, target, module, folders) or Code(key, target, Source(module, "memory"), {}, {})
    if code.source.kind == "memory":
        _in_memory.add(target)
    return code


def _for_a_file(key: str, target: str, module: str, folders: list[Path]) -> Code:
    """Import what the settings of a file name, if it may run."""
    asking = _origin.get()
    assert asking is not None
    folders = [*folders, *known.places(target)]
    code = _code(key, target, module, folders)
    if code is None:
        looked = ", ".join(map(str, [*dict.fromkeys(folders), "the module path"]))
        raise UnknownCode(
            f"{asking.file}: {key} = {target!r}: cannot import {module!r}: it is not in {looked}"
        )
    _require(code, asking)
    if code.source.kind == "own":
        guard.admit(code.files, code.hashes)
    _import(key, target, module)
    return code


def _import(key: str, target: str, module: str) -> None:
    try:
        importlib.import_module(module)
    except (ImportError, SyntaxError, ValueError, TypeError) as error:
        raise UserError(f"{key} = {target!r}: cannot import {module!r}: {error}") from error


def _is_open(module: str) -> bool:
    inside = any(module == package or module.startswith(f"{package}.") for package in OPEN)
    return inside and "__main__" not in module


def _code(key: str, target: str, module: str, folders: list[Path]) -> Code | None:
    """Return what would be imported; None if the module is nowhere."""
    importlib.invalidate_caches()
    source = sources.locate(module, folders)
    if source is None:
        return None
    code = Code(key, target, source, {}, {})
    if source.file is None or source.kind == "python" or code.is_open:
        return code
    found = sources.with_neighbours(source, [code.place, *folders[:1]])
    files = {name: file for name, (file, _) in found.items()}
    hashes = {name: digest for name, (_, digest) in found.items()}
    return replace(code, files=files, hashes=hashes)


def _require(code: Code, asking: Origin) -> None:
    """Make sure that code may run which a file names."""
    if code.is_open:
        return
    said = f"{asking.file}: {code.key} = {code.target!r}"
    if code.source.kind == "memory":
        if code.target in _in_memory or is_given():
            return
        raise UnknownCode(f"{said}: it has no file that could be looked at; --trust (trust=True) runs it")
    if code.source.kind == "python":
        raise UnknownCode(f"{said}: {code.source.name} is of Python's library; allowed: code of your own")
    if not code.hashes or (code.source.kind == "own" and not _all_readable(code)):
        raise UnknownCode(f"{said}: {code.source.file or code.source.name} is no source file; never imported")
    before = asking.recorded.get(code.target)
    changed = before is not None and dict(before) != dict(code.hashes)
    if is_given():
        remember([code])
    elif changed:
        raise UnknownCode(
            f"{said}: {_change(code, before or {})} since; --trust (trust=True) goes on with it"
        )
    elif not known.knows(code.target, code.hashes):
        raise UnknownCode(
            f"{said}: code that you have not run yet, of {described(code)}; look at it, then --trust "
            "(trust=True) runs it and remembers it"
        )


def _all_readable(code: Code) -> bool:
    return all(file.suffix == ".py" for file in code.files.values())


def _change(code: Code, before: Hashes) -> str:
    """Say which source is no longer what it was."""
    for name, now in code.hashes.items():
        if before.get(name) != now:
            then = f", then {before[name]}" if name in before else ""
            return f"{code.files[name]} has changed (sha256 {now}{then})"
    lost = next(name for name in before if name not in code.hashes)
    return f"it imported {lost}, and no longer does: {code.files[code.source.name]} has changed"


def described(code: Code) -> str:
    """Name the files of code, and the hash of the first."""
    (name, file), *others = code.files.items()
    more = f", which imports {', '.join(str(other) for _, other in others)}" if others else ""
    return f"{file} (sha256 {code.hashes[name]}){more}"


def remember(found: Iterable[Code]) -> None:
    """Remember that this user runs code; what cannot be remembered is said once, and no fault."""
    if not _given.get()[1]:
        return
    for code in found:
        if not code.hashes:
            continue
        try:
            known.remember(code.target, code.hashes, code.place)
        except OSError as error:
            _warn(f"cannot remember that {code.target} is yours: {error.strerror} ({error.filename})")
            return


_said: set[str] = set()


def _warn(text: str) -> None:
    if text not in _said:
        _said.add(text)
        text = f"{text}; resume, connect, plane and ensemble will ask for --trust"
        warnings.warn(text, LangevinWarning, stacklevel=2)


def union(parts: Iterable[Iterable[Code]]) -> tuple[Code, ...]:
    """Return the code of several settings, each object once."""
    return tuple({(code.key, code.target): code for part in parts for code in part}.values())


def recorded(found: Iterable[Code]) -> str:
    """Return the attribute `code` of a file: JSON, object → module → SHA-256; empty if there is no code."""
    said = {code.target: dict(code.hashes) for code in found if code.hashes}
    return json.dumps(said) if said else ""


def imports(found: Iterable[Code]) -> str:
    """Say what a run file imports, in a few words; nothing if it imports nothing of a user's."""
    said = [
        f"{code.source.file or code.source.name} ({code.key} = {code.target!r})" for code in union([found])
    ]
    return f"; imports {', '.join(said)}" if said else ""
