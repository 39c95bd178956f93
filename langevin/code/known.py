"""The code that a user has run is remembered here, for them alone, so that nobody asks for it again.

One small file for each object and its sources, in the folder ``trusted`` of the user's state: whoever removes
one forgets that code. Files are written aside and renamed, so that processes at work at the same time need no
lock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .sources import sha256

#: Environment variable that names another folder for the user's state.
VARIABLE = "LANGEVIN_STATE"


def folder() -> Path:
    """Return the folder of the user's state; it need not exist.

    Raises
    ------
    OSError
        If there is none that belongs to the user: a path from the working directory would belong to whoever
        filled that.
    """
    # Imported here: only who names code of their own needs it.
    import platformdirs

    path = Path(os.environ.get(VARIABLE) or platformdirs.user_state_dir("langevin", appauthor=False))
    if not path.is_absolute():
        raise OSError(0, f"no home, or no absolute {VARIABLE}", str(path))
    return path


def _entry(target: str, hashes: Mapping[str, str]) -> Path:
    """Return the file that says that an object of these sources is known."""
    return folder() / "trusted" / f"{sha256(json.dumps([target, sorted(hashes.items())]).encode())}.json"


def knows(target: str, hashes: Mapping[str, str]) -> bool:
    """Return whether this user has run an object.

    Parameters
    ----------
    target : str
        "package.module:object".
    hashes : mapping of str to str
        Module → SHA-256 of its source.
    """
    said = _said(target, hashes)
    return (said.get("target"), said.get("sources")) == (target, dict(hashes))


def remember(target: str, hashes: Mapping[str, str], place: Path) -> None:
    """Remember that this user has run an object; `place` is the folder in which its module was found.

    Raises
    ------
    OSError
        If that cannot be written.
    """
    if knows(target, hashes):
        return
    path = _entry(target, hashes)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    said = {
        "target": target,
        "sources": dict(hashes),
        "folder": str(place),
        "since": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    aside = path.with_name(f".{path.stem}.{os.getpid()}")
    try:
        aside.write_text(json.dumps(said, indent=1))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def place(target: str, hashes: Mapping[str, str]) -> Path | None:
    """Return the folder in which this user had the module of an object, of these sources."""
    said = _said(target, hashes)
    return Path(str(said["folder"])) if said.get("target") == target and "folder" in said else None


def places(target: str, hashes: Mapping[str, str] | None = None) -> Iterator[Path]:
    """Yield the folders in which this user had the module of an object; first that of these sources."""
    first = None if hashes is None else place(target, hashes)
    if first is not None:
        yield first
    try:
        entries = sorted((folder() / "trusted").glob("*.json"))
    except OSError:
        return
    for entry in entries:
        said = _read(entry)
        if said.get("target") == target:
            yield Path(str(said.get("folder", "")))


def _said(target: str, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Return what the entry of an object says; nothing where the user's state has no folder."""
    try:
        return _read(_entry(target, hashes))
    except OSError:
        return {}


def _read(path: Path) -> dict[str, Any]:
    """Return what an entry says; nothing of one that is not there, or is damaged."""
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
