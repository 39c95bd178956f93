"""Imports of code that a file of unknown origin names: of files whose contents were looked at, and no other.

The folder of such a file never stands on the module path. Else a module beside it could stand in for one that
is looked for later, and the bytecode that Python keeps (``__pycache__``) could be another program than the
source that was looked at.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path


def sha256(raw: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal digits."""
    return hashlib.sha256(raw).hexdigest()


class Verified(importlib.machinery.SourceFileLoader):
    """Compiles a file from its source, if that still has a hash; keeps no bytecode, and reads none.

    Parameters
    ----------
    name : str
        Of the module.
    file : Path
    expected : str
        SHA-256 of the source.
    """

    def __init__(self, name: str, file: Path, expected: str) -> None:
        super().__init__(name, str(file))
        self.expected = expected

    def get_code(self, fullname: str) -> types.CodeType:
        """Return the compiled source."""
        raw = self.get_data(self.path)
        if sha256(raw) != self.expected:
            raise ImportError(f"{self.path} was changed while it was looked at")
        code: types.CodeType = self.source_to_code(raw, self.path)
        return code


class _Finder:
    """Finds the modules that were looked at, before Python looks for any of their names itself."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[Path, str]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return where the module is, if it was looked at."""
        if fullname not in self.known:
            return None
        file, expected = self.known[fullname]
        # Nothing to search: what else stands in the folder of a package was not looked at.
        inside: list[str] | None = [] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname, file, loader=Verified(fullname, file, expected), submodule_search_locations=inside
        )


_FINDER = _Finder()


def admit(files: Mapping[str, Path], hashes: Mapping[str, str]) -> None:
    """Let these modules be imported from now on, each from its file, as long as it has its hash.

    Parameters
    ----------
    files : mapping of str to Path
        Full name of a module → its source.
    hashes : mapping of str to str
        Full name → SHA-256.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _FINDER.known |= {name: (file, hashes[name]) for name, file in files.items()}
