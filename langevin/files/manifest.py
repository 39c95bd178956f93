"""The file ``sweep.json`` in the folder of a sweep says what it is, and what it has come to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langevin.errors import StorageError

from . import sealing
from .disk import replacing

#: Raised when the layout of the folder changes, so that an old one is refused, not misread.
FORMAT = 3


def write(path: Path, notes: Mapping[str, Any]) -> None:
    """Write the notes of a sweep in one line, and their checksum in a second one."""
    text = json.dumps(notes)
    with replacing(path) as aside:
        aside.write_text(f"{text}\n{sealing.short(text.encode())}\n")


def read(path: Path) -> dict[str, Any]:
    """Return the notes of a sweep.

    Raises
    ------
    StorageError
        If they are not what was written.
    """
    try:
        text, _, checksum = path.read_text().partition("\n")
        # One line is what earlier versions wrote; their format says that it is another.
        intact = checksum.strip() == sealing.short(text.encode()) if checksum else True
        notes: dict[str, Any] = json.loads(text) if intact else {}
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    if not intact or (not checksum and notes.get("format") == FORMAT):
        raise StorageError(f"{path} is damaged: it is not what was written (by its checksum)")
    return notes
