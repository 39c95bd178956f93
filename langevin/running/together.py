"""Processes that torchrun has started carry one run together: the first one leads, the others follow.

The leading process does what a process alone does: it takes the lock, looks what stands where the result is
to be, writes, draws and prints. The others wait for its word, and carry the same run from the same start, or
from the checkpoint that it has read, with places of files in a folder of their own that stays empty.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from langevin.config.settings import Settings
from langevin.errors import UserError
from langevin.files.paths import Paths
from langevin.machine import world
from langevin.speech import command

from . import single_run
from .execution import SingleRun, manner_of
from .session import Manner
from .shareable import require_shareable

#: What the leading process tells the others to do.
BEGIN, CARRY_ON = "begin", "carry on"


class Leader(SingleRun):
    """The carrier of the leading process: it tells the others to come along."""

    def __init__(self, together: world.World) -> None:
        self.world = together

    def begin(self, settings: Settings, paths: Paths, manner: Manner, lock: int) -> Path:
        """Carry out a run from its start, in all processes."""
        require_shareable(settings)
        self.world.order((BEGIN, settings.as_json()))
        return super().begin(settings, paths, manner, lock)

    def carry_on(self, paths: Paths, manner: Manner, lock: int) -> Path:
        """Carry on a run from its checkpoint, in all processes."""
        if paths.sweeping:
            raise UserError(
                f"torchrun: {paths.sweep} is a sweep: allowed: a single run; members of a sweep run side by "
                f"side without torchrun ({command('resume')})"
            )
        self.world.order((CARRY_ON, ""))
        return super().carry_on(paths, manner, lock)


def follow(settings: Settings | None = None, threads: int | None = None) -> None:
    """Do what the leading process says, until the run ends.

    Parameters
    ----------
    settings : Settings, optional
        As this process has read them, of a run that may begin.
    threads : int, optional
        Processors to use (default: this process's share of its machine's).
    """
    together = world.current()
    assert together is not None
    if settings is not None:
        require_shareable(settings)
    with world.listening() as stop:
        word = together.said()
        if word is None:
            # There was nothing to do.
            return
        manner = manner_of(stop, threads)
        with tempfile.TemporaryDirectory(prefix="langevin-follower-") as folder:
            paths = Paths(Path(folder) / "result.nc")
            if word[0] == CARRY_ON:
                single_run.carry_on(paths, manner)
                return
            assert settings is not None
            if settings.as_json() != word[1]:
                raise UserError("torchrun: the processes have read run files of different contents")
            single_run.begin(settings, paths, manner)
