"""This module says whether what a process has imported by its bare name is what a file holds.

Python does not keep what a module was made from. It is what the file holds now, if that has not been changed
since this process began, or if the bytecode that the import left is of this very file. From then on its
digest is known.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import sources
from .sources import SourceFile

#: Module that this process has imported itself → what it was made from, and the digest of that.
_known: dict[str, tuple[Any, str]] = {}
#: Seconds by which the time at which this process began may be off: files and processes have that of the
#: kernel's last tick. No module is imported as early as this.
_TICK = 0.02
#: The same where that time is known to the second.
_ROUNDING = 2.0


def find(module: str, files: Mapping[str, SourceFile]) -> types.ModuleType | None:
    """Return the module that this process imported by its bare name, if it is what these files say."""
    there = sys.modules.get(module)
    script = sys.modules.get("__main__")
    if not _is_of(there, files.get(module)):
        there = script if _is_of(script, files.get(module)) else None
    if there is None:
        return None
    for name, file in files.items():
        one = there if name == module else sys.modules.get(name)
        if one is None:
            # It would be imported later, and from there.
            located = sources.locate(name)
            if located is None or located.file is None or not _is_same_file(located.file, file.path):
                return None
        elif not (_is_of(one, file) and _is_current(one, file)):
            return None
    return there


def _is_same_file(one: Path | str, other: Path) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def _is_of(module: types.ModuleType | None, file: SourceFile | None) -> bool:
    there = getattr(module, "__file__", None)
    return isinstance(there, str) and file is not None and _is_same_file(there, file.path)


def _is_current(module: types.ModuleType, file: SourceFile) -> bool:
    """Return whether a file has the contents that a module was imported from."""
    # Another one after `importlib.reload`.
    made_from = getattr(module, "__spec__", None) or module
    before = _known.get(module.__name__)
    if before is not None and before[0] is made_from:
        return before[1] == file.digest
    if not (_is_older_than_this_process(file.path) or _is_compiled(made_from, file)):
        return False
    _known[module.__name__] = made_from, file.digest
    return True


def _is_older_than_this_process(path: Path) -> bool:
    try:
        about = path.stat()
    except OSError:
        return False
    return max(about.st_mtime, about.st_ctime) < _began()


def _began() -> float:
    """Return a time before which no change of a file can be later than an import of this process."""
    try:
        # The 22nd field; the second, a name in parentheses, may hold blanks.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.time() - up + ticks / os.sysconf("SC_CLK_TCK") + _TICK
    except (OSError, AttributeError, ValueError, IndexError):
        import psutil

        return psutil.Process().create_time() - _ROUNDING


def _is_compiled(spec: Any, file: SourceFile) -> bool:
    """Return whether the bytecode that importing left is that of a file as it is."""
    try:
        kept = Path(spec.cached)
        with kept.open("rb") as opened:
            head = opened.read(16)
        source, when = file.path.stat(), kept.stat().st_mtime_ns
    except (AttributeError, TypeError, OSError):
        return False
    said = [int.from_bytes(head[k : k + 4], "little") for k in (4, 8, 12)]
    now = [0, int(source.st_mtime) & 0xFFFFFFFF, source.st_size & 0xFFFFFFFF]
    return head[:4] == importlib.util.MAGIC_NUMBER and said == now and source.st_mtime_ns <= when
