"""Here, and nowhere else, is imported what settings name as "package.module:object", if its code may run.

Registered systems and data sets are code that the user installed, and never come here. What a run file names
is imported because the user asks for it by running that: from the folder of the run file first, then as
Python would. Settings in a result or a checkpoint (`Origin`) may be somebody else's: what they name is
imported only if this user has run the same object of the same sources, or if they say that they trust it.
Before that nothing of it is imported. The user's own modules are loaded by path (`langevin.code.loading`),
and what was loaded is in `Settings.code`: whoever builds a system gets that, whatever has become of the
files.
"""

from __future__ import annotations

import importlib
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from langevin.errors import LangevinWarning, UnknownCode, UserError
from langevin.speech import command, option

from . import held, in_memory, known, loading, sources
from .sources import Source
from .user_code import Code, Hashes, Origin, change, described, differences, is_open, recorded_files

#: What a user's module may raise while it is imported; `SystemExit` is what a script does that ends itself.
BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemExit,
    TypeError,
    ValueError,
)

Value = TypeVar("Value")

#: Where code is looked for that is named without a folder, and what was found when settings were read.
_beside: ContextVar[tuple[Path | None, tuple[Code, ...]]] = ContextVar("beside", default=(None, ()))
#: On whose behalf code is imported: a file's; None: the user's own.
_origin: ContextVar[Origin | None] = ContextVar("origin", default=None)
#: Whether the user said that they trust the files that they named, and whether that is to be remembered.
_given: ContextVar[tuple[bool, bool]] = ContextVar("trust", default=(False, True))
#: Where the code that is found is noted.
_noted: ContextVar[list[Code] | None] = ContextVar("noted", default=None)


@contextmanager
def _within(variable: ContextVar[Value], value: Value) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def trusting(trust: bool, remembers: bool = True) -> AbstractContextManager[None]:
    """Take the code of every file for trusted, if `trust`; `remembers`: from then on, too."""
    before = _given.get()
    return _within(_given, (trust or before[0], remembers and before[1]))


def is_given() -> bool:
    """Return whether the user said that they trust the files that they named."""
    return _given.get()[0]


def on_behalf_of(origin: Origin | None) -> AbstractContextManager[None]:
    """Import code for the settings of a file; None: for whom it was before."""
    return _within(_origin, origin or _origin.get())


def origin() -> Origin | None:
    """Return for which file's settings code is imported; None: for the user."""
    return _origin.get()


def beside(folder: Path, code: tuple[Code, ...] = ()) -> AbstractContextManager[None]:
    """Look for code in a folder, and take what `code` holds for found."""
    return _within(_beside, (folder, code))


class Coded(Protocol):
    """Settings, as far as they name code."""

    @property
    def code(self) -> tuple[Code, ...]:
        """Code of the user's, imported."""

    @property
    def folder(self) -> Path:
        """Where the user's modules are looked for."""

    @property
    def origin(self) -> Origin | None:
        """The file that they were read from; None: the user's own."""


@contextmanager
def building(settings: Coded) -> Iterator[None]:
    """Inside, what settings name is what it was when they were read."""
    with on_behalf_of(settings.origin), beside(settings.folder, settings.code):
        yield


@contextmanager
def collecting() -> Iterator[list[Code]]:
    """Note the code that is imported, also that of files that are read on the way."""
    outer, collected = _noted.get(), list[Code]()
    try:
        with _within(_noted, collected):
            yield collected
    finally:
        if outer is not None:
            outer += collected


def find(key: str, target: str, near: Path | None = None) -> tuple[Any, Source]:
    """Return what settings name as "package.module:object", and where its module stands.

    Parameters
    ----------
    key : str
        Key of the run file.
    target : str
    near : Path, optional
        Folder of the run file, or of the result: the module is looked for there first, then among what is
        imported already and on the module path. Default: what was found when the settings were read.

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
    module = target.partition(":")[0]
    if not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f'{key} = {target!r}: cannot import {module!r}: write "package.module:object"')
    folder, before = _beside.get()
    code = next((c for c in before if (c.key, c.target) == (key, target)), None) if near is None else None
    asking = _origin.get()
    if code is None:
        near = folder if near is None else near
        # What any file may name is never what stands in a folder.
        folders = [] if near is None or is_open(module) else [near.resolve()]
        importing = _for_user if asking is None else _for_a_file
        with loading.alone():
            importlib.invalidate_caches()
            code = importing(key, target, module, folders)
    elif asking is not None:
        _require(code, asking)
    noted = _noted.get()
    if noted is not None and not code.is_open:
        noted.append(code)
    return code.named, code.source


def _for_user(key: str, target: str, module: str, folders: list[Path]) -> Code:
    """Import what the user's own run file, or call, names."""
    given = in_memory.given(target)
    if in_memory.has_no_file(target, folders):
        return held.for_user(key, target)
    code = _code(key, target, module, folders)
    if code is None:
        looked = ", ".join([*map(str, folders), "the module path"])
        raise UserError(f"{key} = {target!r}: cannot import {module!r}: it is not in {looked}")
    if code.source.kind == "python":
        allowed = '"package.module:object" of your own, or of an installed package'
        raise UserError(f"{key} = {target!r}: {module} is of Python's library; allowed: {allowed}")
    code = _imported(code, folders, is_closed=False)
    if given is not None and code.named is not given:
        if in_memory.there(target) is not given:
            raise UserError(
                f"{key} = {target!r}: its module has another object of this name by now; give that"
            )
        raise UserError(
            f"{key} = {target!r}: {code.source.file} may have changed since this process imported it; "
            f"importlib.reload({module}) and give {given.__name__} again, or its name, {target!r}"
        )
    return code


def _for_a_file(key: str, target: str, module: str, folders: list[Path]) -> Code:
    """Import what the settings of a file name, if it may run."""
    asking = _origin.get()
    assert asking is not None
    before = asking.recorded.get(target)
    if in_memory.has_no_file(target, folders) or (held.is_held(target) and _is_nowhere(module, folders)):
        return _defined_again(key, target, asking)
    folders = list(dict.fromkeys([*folders, *known.places(target, before)]))
    code = _recorded(key, target, module, folders, before)
    if code is None:
        looked = ", ".join(map(str, [*folders, "the module path"]))
        raise UnknownCode(
            f"{asking.file}: {key} = {target!r}: cannot import {module!r}: it is not in {looked}"
        )
    _require(code, asking)
    return _imported(code, folders[:1], is_closed=True)


def _recorded(key: str, target: str, module: str, folders: list[Path], before: Hashes | None) -> Code | None:
    """Return the code of the folder whose sources a file has recorded; of the first, if there is none."""
    near, places = folders[:1], [[folder] for folder in folders if sources.beside(module, [folder])]
    if before is not None and places[1:]:
        for place in places:
            code = _code(key, target, module, [*place, *near], before)
            if code is not None and dict(code.hashes) == dict(before):
                return code
        # That in which it was then, if this user has run it, has changed.
        was = [place for place in places if place[0] == known.place(target, before)]
        places = was or places
    if before is None and places[:1] != [near]:
        _require_one(key, target, module, places)
    return _code(key, target, module, [*(places[0] if places else []), *near], before)


def _is_nowhere(module: str, folders: Sequence[Path]) -> bool:
    return sources.locate(module, folders) is None


def _defined_again(key: str, target: str, asking: Origin) -> Code:
    """Return code of an object that stands in no file, and that a file names, if it may run."""
    code = held.for_file(key, target, asking.recorded.get(target))
    if code is None:
        raise UnknownCode(
            f"{asking.file}: {key} = {target!r} was defined in a notebook, a script or a function, and is in "
            f"no file; define it there again, then {command('resume')} with {option('trust')} goes on"
        )
    _require(code, asking)
    return code


def _require_one(key: str, target: str, module: str, places: Sequence[list[Path]]) -> None:
    """Make sure that it is clear which code is meant by a file that does not say it: of an older version."""
    codes = [code for place in places if (code := _code(key, target, module, place)) is not None]
    if any(dict(code.hashes) != dict(codes[0].hashes) for code in codes):
        said = " or ".join(str(code.source.file) for code in codes)
        asking = _origin.get()
        name = asking.file if asking else "settings"
        raise UnknownCode(
            f"{name}: {key} = {target!r}: {said}? it does not say which; allowed: the right one in its folder"
        )


def _imported(code: Code, folders: Sequence[Path], is_closed: bool) -> Code:
    """Return code with its module."""
    module = code.source.name
    said = f"{code.key} = {code.target!r}: cannot import {module!r}"
    try:
        if code.source.kind == "own" and module in code.files:
            imported = loading.load(module, code.files, [code.place, *folders], is_closed)
        elif code.source.kind == "own" and code.source.file is not None and code.source.file.exists():
            # By its bare name it would be whatever Python finds.
            raise UserError(f"{said}: {code.source.file} cannot be read")
        else:
            imported = importlib.import_module(module)
    except BROKEN as error:
        raise UserError(f"{said}: {_explained(error, code)}") from error
    return replace(code, module=imported)


def _explained(error: BaseException, code: Code) -> str:
    """Say in one line what a module raised, and where."""
    words = loading.bare(" ".join(str(error).split())) or "it says no more"
    kind = "" if isinstance(error, ImportError | SyntaxError) else f"{type(error).__name__}: "
    if isinstance(error, SystemExit):
        return f"it ends the program ({words})"
    paths = {str(file.path) for file in code.files.values()}
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in paths]
    if isinstance(error, SyntaxError):
        return f"{words} ({error.filename})" if error.filename else words
    return f"{kind}{words}" + (f" ({places[-1].filename}, line {places[-1].lineno})" if places else "")


def _code(
    key: str, target: str, module: str, folders: Sequence[Path], before: Hashes | None = None
) -> Code | None:
    """Return what would be imported; None if the module is nowhere.

    `before` is what a file has recorded: of modules whose names the program makes up, too.
    """
    source = sources.locate(module, folders)
    if source is None:
        return None
    code = Code(key, target, source)
    if source.file is None or source.kind == "python" or code.is_open:
        return code
    folders = [code.place, *folders]
    files = sources.with_neighbours(source, folders)
    further = recorded_files(before or {}, files, folders) if source.kind == "own" else {}
    return replace(code, files={**files, **further})


def _require(code: Code, asking: Origin) -> None:
    """Make sure that code may run which a file names."""
    if code.is_open:
        return
    said = f"{asking.file}: {code.key} = {code.target!r}"
    if code.source.kind == "memory":
        before = asking.recorded.get(code.target)
        if is_given():
            return
        if before is not None and dict(before) != dict(code.hashes):
            raise UnknownCode(f"{said}: {change(code, before)} since; {option('trust')} goes on with it")
        if held.is_held(code.target):
            return
        raise UnknownCode(f"{said}: it has no file that could be looked at; {option('trust')} runs it")
    if code.source.kind == "python":
        raise UnknownCode(f"{said}: {code.source.name} is of Python's library; allowed: code of your own")
    readable = all(file.path.suffix == ".py" for file in code.files.values())
    if not code.hashes or (code.source.kind == "own" and not readable):
        raise UnknownCode(f"{said}: {code.source.file or code.source.name} is no source file; never imported")
    before = asking.recorded.get(code.target)
    changed = before is not None and dict(before) != dict(code.hashes)
    if is_given():
        remember([code])
    elif changed:
        raise UnknownCode(f"{said}: {change(code, before or {})} since; {option('trust')} goes on with it")
    elif not known.knows(code.target, code.hashes):
        raise UnknownCode(
            f"{said}: code that you have not run yet, of {described(code)}; look at it, then "
            f"{option('trust')} runs it and remembers it"
        )


def remember(used: Iterable[Code]) -> None:
    """Remember that this user runs code; what cannot be remembered is said once, and no fault."""
    if not _given.get()[1]:
        return
    for code in used:
        if not code.hashes or code.source.kind == "memory":
            continue
        try:
            known.remember(code.target, code.ran, code.place)
        except OSError as error:
            _warn(f"cannot remember that {code.target} is yours: {error.strerror} ({error.filename})")
            return


#: Warnings that were given.
_said: set[str] = set()


def _warn(text: str) -> None:
    if text not in _said:
        _said.add(text)
        text = f"{text}; resume, connect, plane and ensemble will ask for {option('trust')}"
        warnings.warn(text, LangevinWarning, stacklevel=2)


def require_same(one: Iterable[Code], other: Iterable[Code], names: tuple[object, object]) -> None:
    """Make sure that two results are of the same code, unless the user says that this is all the same.

    Parameters
    ----------
    one, other : iterable of Code
    names : tuple
        What messages call the results.

    Raises
    ------
    UserError
        If an object that both name is of other sources.
    """
    differing = None if is_given() else next(differences(one, other), None)
    if differing is not None:
        said, here, there = differing
        raise UserError(
            f"{names[1]}: {said} is {there.path} (sha256 {there.digest}), but {here.path} (sha256 "
            f"{here.digest}) in {names[0]}: must be the same; {option('trust')} goes on"
        )
