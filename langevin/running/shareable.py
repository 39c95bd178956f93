"""Not every run can be carried by several processes: a run file is asked before anything is computed."""

from __future__ import annotations

from langevin.config.settings import Settings
from langevin.core.capabilities import SharesBatches
from langevin.core.dynamics import as_system
from langevin.errors import UserError
from langevin.speech import command


def require_shareable(settings: Settings) -> None:
    """Make sure that several processes may carry a run together.

    Raises
    ------
    UserError
        If it is a sweep, cut into shards, or of a system that runs in one process.
    """
    if settings.sweep is not None:
        raise UserError(
            "torchrun: [sweep]: allowed: a single run; members of a sweep run side by side without torchrun "
            f"({command('run')})"
        )
    if settings.ensemble.shards > 1:
        raise UserError(
            f"torchrun: ensemble.shards = {settings.ensemble.shards}: allowed: 1; shards run side by side "
            f"without torchrun ({command('run')})"
        )
    if not issubclass(as_system(settings.system_class), SharesBatches):
        raise UserError(
            f"torchrun: system.name = {settings.system_name!r} runs in one process; start it without torchrun"
        )
