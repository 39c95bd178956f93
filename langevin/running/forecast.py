"""How long a run will take is measured: its beginning is computed, and nothing of it is kept."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from langevin.config.settings import Settings
from langevin.errors import Interrupted, LangevinError
from langevin.machine.duration import spoken
from langevin.machine.interruption import TIMED_OUT

from . import progress
from .execution import execute

#: Seconds that a forecast may take; most are done sooner.
PATIENCE = 120.0


class _Enough(LangevinError):
    """The pace of a run is known."""


def forecast(settings: Settings, threads: int | None = None) -> str:
    """Compute the beginning of a run, and say how long all of it would take here.

    Parameters
    ----------
    settings : Settings
        Of a sweep the first member is judged.
    threads : int, optional
        Processors to use (default: all).

    Returns
    -------
    str
        In a few words.
    """
    if settings.sweep is not None:
        of_one = forecast(settings.sweep.members[0], threads)
        return f"first of {len(settings.sweep.members)} members: {of_one}"
    began = time.monotonic()
    whole: list[float] = []

    def watch(part: float) -> None:
        passed = time.monotonic() - began
        if part > 0 and passed >= progress.MEASURED:
            whole.append(passed / part)
            raise _Enough("known")

    # Its own files only: neither a figure, nor what a tracker would be told.
    output = settings.output.model_copy(update={"figure": False, "checkpoint_interval": 60.0})
    alone = replace(settings, output=output, track=None)
    with tempfile.TemporaryDirectory() as folder:
        try:
            execute(alone, Path(folder) / "result.nc", threads=threads, watch=watch, wall_time=PATIENCE)
        except _Enough:
            return f"about {spoken(whole[0])}, start included"
        except Interrupted as error:
            if error.exit_code != TIMED_OUT:
                raise
            return f"over {spoken(PATIENCE)}: its start, or its first step, takes as long"
    return f"{spoken(time.monotonic() - began)}: it was carried out"
