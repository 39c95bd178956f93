"""The errors a user can meet. Each is one clear message; `exit_code` is the command's exit status."""

from __future__ import annotations

from collections.abc import Sequence


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
        if len(self.faults) == 1:
            text = f"{source}: {self.faults[0]}"
        else:
            text = f"{source}: {len(self.faults)} faults\n" + "\n".join(f"  {fault}" for fault in self.faults)
        super().__init__(text)


class LangevinWarning(UserWarning):
    """Something that a user should know of, and that stops nothing. Commands say it in one line."""


class Diverged(LangevinError):
    """The trajectory left the physics: a NaN, or an energy far above its start."""


class StorageError(LangevinError):
    """A file could not be written or read back: disk full, permission, damage."""


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

    def saying(self, what: str) -> Interrupted:
        """Return it with another message: "stopped by … " and this."""
        return Interrupted(f"stopped {self.how}{what}", self.how, self.exit_code)


class UnknownCode(LangevinError):
    """A file names code that is not imported, since its user has neither run nor trusted it (exit code 2)."""

    exit_code = 2


def one_line(text: str) -> str:
    """Return a message as one line, such as for an attribute or a row of a table."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())
