"""Compiled functions are kept on disk, where that is possible.

Numba's own ``cache=True`` refuses to work where no folder can be written, ends a run if a disk is full or a
file damaged, and lets two processes that write at once mix up what they write. `njit` takes numba's choice of
a folder (NUMBA_CACHE_DIR, beside the source, the user's cache), and differs in these points:

- without such a folder, or when a file cannot be written, functions are compiled in every process, and one
  line says so;
- every signature and processor has a file of its own, so that no index is shared. The file is written aside
  and renamed. It begins with a digest of its contents and of all that they depend on: versions, processor,
  types and sources. A file that does not fit is as good as none, and nothing of it is read any further;
- what numba knows of Python and numpy (its registries, a fifth of a second) is loaded when something is
  compiled. A kernel from the disk needs machine code's symbols alone, and its file names them.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import pickle
import uuid
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import caching as numba_caching
from numba.core.registry import CPUDispatcher
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps as numba_dumps

from langevin.code import loading

from . import notices

# Of numba some is typed, and some is not.
caching: Any = numba_caching
dumps: Any = numba_dumps

_DIGEST = hashlib.sha256().digest_size
#: What a file holds: symbols, and what numba keeps. Of another kind, it has another name.
_FORMAT = "symbols, kernel"


def njit(*signatures: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function as ``numba.njit`` does, and keep it on disk where that is possible.

    Parameters
    ----------
    signatures
        Types to compile the function for at once, and for no others; without them, for whatever it is given.
    options
        As of ``numba.njit``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = numba.njit(**options)(function)
        try:
            compiled._cache = _Cache(function)
        except (RuntimeError, OSError):
            # No folder, or no source: numba's default, which keeps nothing, stays.
            _cannot_keep("no folder for them can be written")
        for signature in signatures:
            compiled.compile(signature)
        if signatures:
            compiled.disable_compile()
        return compiled

    return decorate


def _cannot_keep(why: str) -> None:
    notices.once(
        "kernels",
        f"compiled functions are not kept ({why}): every run compiles its own; NUMBA_CACHE_DIR may name a "
        "folder that can be written",
    )


@cache
def _file_digest(path: str, changed: int, size: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _digests(function: Callable[..., Any]) -> dict[str, str]:
    """Return digests of the file of a function, and of those that a user's module was loaded with."""
    path = inspect.getfile(function)
    about = Path(path).stat()
    mine = {path: _file_digest(path, about.st_mtime_ns, about.st_size)}
    own = loading.files_of(function.__module__)
    if own:
        # What is kept looks for its module by the name that this has, edited or not.
        mine[function.__module__] = ""
    # Numbers that a kernel has from a module beside its own are constants to it.
    return mine | {str(file.path): file.digest for file in own.values()}


def _constant(value: Any) -> str | None:
    """Return a digest of what a kernel takes as a constant; nothing of what is no constant to it."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        held = repr((value.dtype.str, value.shape)).encode() + value.tobytes()
    elif isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        held = repr(value).encode()
    elif isinstance(value, tuple):
        parts = [_constant(part) for part in value]
        if None in parts:
            return None
        held = repr(parts).encode()
    else:
        return None
    return hashlib.sha256(held).hexdigest()


def _named(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what the names in a function stand for, those of other modules ("module.name") included."""
    names, known = function.__code__.co_names, function.__globals__
    named = {name: known[name] for name in names if name in known}
    for module, held in list(named.items()):
        if isinstance(held, ModuleType):
            named |= {f"{module}.{name}": vars(held)[name] for name in names if name in vars(held)}
    return named


def _sources(function: Callable[..., Any]) -> dict[str, str]:
    """Return digests of the files of a function and of the compiled functions that it calls, all the way.

    And of the numbers that these have from other modules.
    """
    digests: dict[str, str] = {}
    seen: set[Any] = set()
    waiting: list[Any] = [function]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        digests |= _digests(one)
        captured = [cell.cell_contents for cell in one.__closure__ or ()]
        named = _named(one)
        for name, value in named.items():
            constant = _constant(value)
            if constant is not None:
                digests[f"{one.__module__}.{one.__qualname__}: {name}"] = constant
        for used in [*captured, *named.values()]:
            if isinstance(used, CPUDispatcher):
                waiting.append(used.py_func)
    return digests


@cache
def _machine() -> tuple[Any, ...]:
    """Return versions, and what this processor can do: modules choose constants by it.

    Numba's key has what it compiles for, which NUMBA_CPU_NAME and NUMBA_CPU_FEATURES can change.
    """
    features = sorted(name for name, has in llvm.get_host_cpu_features().items() if has)
    return numba.__version__, llvmlite.__version__, llvm.get_host_cpu_name(), tuple(features)


class _Home(caching.UserWideCacheLocator):  # type: ignore[misc]
    """The user's cache, if there is a user: numba makes a folder named "~" for one without a home."""

    @classmethod
    def from_function(cls, function: Callable[..., Any], path: str) -> Any:
        if not Path(cls(function, path).get_cache_path()).is_absolute():
            return None
        return super().from_function(function, path)


class _Folders(caching.CompileResultCacheImpl):  # type: ignore[misc]
    """Numba's choice of a folder, but for users without a home."""

    _locator_classes = [  # noqa: RUF012
        _Home if locator is caching.UserWideCacheLocator else locator
        for locator in caching.CompileResultCacheImpl._locator_classes
    ]


class _Files:
    """The files of one function, in place of numba's index and what it points to."""

    def __init__(self, folder: str, name: str, function: Callable[..., Any]) -> None:
        self._folder, self._name = Path(folder), name
        # Now, when what is imported is what the files hold; what stands further down in the module, once
        # it is there.
        self._function, self._early = function, _sources(function)

    @cached_property
    def _sources(self) -> bytes:
        return repr(sorted((_sources(self._function) | self._early).items())).encode()

    def _of(self, key: Any) -> tuple[Path, bytes]:
        """Return the file for a key, and all that its contents depend on."""
        kind = repr((_FORMAT, key, _machine())).encode()
        path = self._folder / f"{self._name}-{hashlib.sha256(kind).hexdigest()[:16]}.kernel"
        return path, kind + self._sources

    def load(self, key: Any) -> Any:
        """Return what was saved under a key; None where there is nothing that fits."""
        path, needed = self._of(key)
        try:
            raw = path.read_bytes()
        except OSError:
            return None
        contents = raw[_DIGEST:]
        if raw[:_DIGEST] != hashlib.sha256(needed + contents).digest():
            return None
        return pickle.loads(contents)

    def save(self, key: Any, data: Any) -> None:
        """Save under a key: aside first, so that nobody reads half a file."""
        path, needed = self._of(key)
        contents = dumps(data)
        aside = path.with_name(f".{uuid.uuid4().hex}.kernel")
        try:
            aside.write_bytes(hashlib.sha256(needed + contents).digest() + contents)
            aside.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise

    def flush(self) -> None:
        """Forget what was saved, as `recompile` of numba wants it."""
        for path in self._folder.glob(f"{self._name}-*.kernel"):
            with contextlib.suppress(OSError):
                path.unlink()


def _symbols(library: Any) -> list[str]:
    """Return the names that machine code has from outside."""
    module = library._final_module
    used = [*module.functions, *module.global_variables]
    return [one.name for one in used if one.is_declaration and not one.name.startswith("llvm.")]


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function, with files of our own."""

    _impl_class = _Folders

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, function)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return what was compiled before; None where there is nothing that fits."""
        if not self._enabled:
            return None
        rtsys.initialize(target)
        kept = self._cache_file.load(self._index_key(signature, target.codegen()))
        if kept is None:
            return None
        symbols, data = kept
        if not all(map(llvm.address_of_symbol, symbols)):
            # Some come with the registries.
            target.refresh()
        return self._impl.rebuild(target, data)

    def _save_overload(self, signature: Any, data: Any) -> None:
        if self._enabled and self._impl.check_cachable(data):
            self._impl.locator.ensure_cache_path()
            kept = _symbols(data.library), self._impl.reduce(data)
            self._cache_file.save(self._index_key(signature, data.codegen), kept)

    def save_overload(self, signature: Any, data: Any) -> None:
        """Save what was compiled; a run goes on without."""
        try:
            super().save_overload(signature, data)
        except OSError as error:
            _cannot_keep(f"{self._cache_path}: {os.strerror(error.errno) if error.errno else error}")
