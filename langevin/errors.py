"""The errors a user can meet. Each is one clear message; `exit_code` is the command's exit status."""

from __future__ import annotations

import os
from collections.abc import Sequence

#: Faults of a run file that are shown, and characters of each.
MOST_FAULTS, LONGEST_FAULT = 20, 1800

#: Characters of a value that a message shows.
LONGEST_VALUE = 300


#: What code of others may raise, a user's module or the library that it is made with: anything. Whoever
#: catches it lets a `LangevinError` through.
FOREIGN = Exception


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


class LangevinWarning(UserWarning):
    """Something that a user should know of, and that stops nothing. Commands say it in one line."""


class Diverged(LangevinError):
    """The trajectory left the physics: a NaN, or an energy far above its start."""


class StorageError(LangevinError):
    """A file could not be written or read back: disk full, permission, damage."""


class Lost(LangevinError):
    """A process that carries the run together with this one has ended.

    Parameters
    ----------
    message : str
    exit_code : int
        That of the other process, if it has said why it ends.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop: by Ctrl-C, by another signal, or because its wall time is over.

    It is a `KeyboardInterrupt`, and no `Exception`: whoever catches the errors of one run of many with
    `except Exception` still stops at Ctrl-C, and a notebook shows it as what it is.

    Parameters
    ----------
    message : str
        One line: why it stopped, where, and how to go on.
    how : str
        What follows "stopped", such as "by SIGTERM".
    exit_code : int
        Exit status of the command: 128 + number of the signal, as shells have it; 124 for the wall time, as
        timeout(1) has it.
    """

    exit_code = 130

    def __init__(self, message: str, how: str = "by Ctrl-C", exit_code: int = 130) -> None:
        super().__init__(message)
        self.how, self.exit_code = how, exit_code

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of it: who has stopped a run asks for no place in the program."""
        return [f"KeyboardInterrupt: {self}"]

    def saying(self, what: str) -> Interrupted:
        """Return it with another message: "stopped by … " and this."""
        return Interrupted(f"stopped {self.how}{what}", self.how, self.exit_code)


class UnknownCode(LangevinError):
    """A file names code that is not imported, since its user has neither run nor trusted it (exit code 2)."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says; the name of its class if it says nothing."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__


def one_line(text: str) -> str:
    """Return a message as one line, such as for an attribute or a row of a table."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


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
