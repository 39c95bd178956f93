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


class Diverged(LangevinError):
    """The trajectory left the physics: a NaN, or an energy far above its start."""


class StorageError(LangevinError):
    """A file could not be written or read back: disk full, permission, damage."""


class Interrupted(LangevinError):
    """The run was asked to stop and wrote its checkpoint (exit code 130, as shells use for Ctrl-C)."""

    exit_code = 130


class UnknownCode(LangevinError):
    """A file names code that is not imported, since its user has neither run nor trusted it (exit code 2)."""

    exit_code = 2
