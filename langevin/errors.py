"""The errors a user can meet. Each is one clear message; `exit_code` is the command's exit status."""

from __future__ import annotations

import os
from collections.abc import Sequence

#: Faults of a run file that are shown, and characters of each.
MOST_FAULTS, LONGEST_FAULT = 20, 1800

#: Characters of a value that a message shows.
LONGEST_VALUE = 300


class LangevinError(Exception):
    """Something failed that is not the user's mistake (exit code 1)."""

    exit_code = 1


class UserError(LangevinError):
    """A mistake in a run file, on the command line or in a call (exit code 2)."""

    exit_code = 2


class ConfigError(UserError):
    """All faults of a run file at once.

    Parameters
    ----------
    faults : sequence of str
        One line each: the key, what it was, what is allowed.
    source : str
        What was read: a path, or "settings".
    """

    def __init__(self, faults: Sequence[str], source: str = "settings") -> None:
        self.faults = list(faults)
        self.source = source
        # Each in one line, whatever names and values hold.
        lines = [
            " ".join(shortened(fault, LONGEST_FAULT).splitlines()) for fault in self.faults[:MOST_FAULTS]
        ]
        said = " ".join(shortened(source).splitlines())
        if len(self.faults) == 1:
            text = f"{said}: {lines[0]}"
        else:
            text = f"{said}: {len(self.faults)} faults\n" + "\n".join(f"  {line}" for line in lines)
        if (further := len(self.faults) - len(lines)) > 0:
            text += f"\n  … and {further} more"
        super().__init__(text)


class Diverged(LangevinError):
    """The trajectory left the physics: a NaN, or an energy far above its start."""


class StorageError(LangevinError):
    """A file could not be written or read back: disk full, permission, damage."""


class Interrupted(LangevinError):
    """The run was asked to stop and wrote its checkpoint (exit code 130, as shells use for Ctrl-C)."""

    exit_code = 130


def shortened(text: str, most: int = LONGEST_VALUE) -> str:
    """Return a text, or its beginning and how long it is."""
    if len(text) <= most:
        return text
    return f"{text[: most - 30]} … ({len(text):,} characters)"


def explanation(error: OSError) -> str:
    """Say in one line what the operating system said, and of which file."""
    reason = error.strerror or str(error) or type(error).__name__
    name = error.filename
    if name is None or isinstance(name, int):
        return reason
    return f"{shortened(os.fsdecode(name))}: {reason}"
