"""Tasks of a queue carry out units of a folder, by number; nothing else of it is validated."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langevin.code.user_code import Origin
from langevin.config import sweep
from langevin.errors import Interrupted, LangevinError, UserError, one_line
from langevin.files.claims import Claim
from langevin.files.locking import Taken
from langevin.files.paths import Paths
from langevin.machine.interruption import TIMED_OUT
from langevin.record import configurations
from langevin.speech import command

from . import member, patience
from .execution import failure, has_ended, read_notes
from .executors.base import Job
from .units import Layout, Unit


def numbers(said: Sequence[str], count: int) -> list[int]:
    """Return the numbers of units that "3" or "0-99" name; a range may reach beyond the end.

    Raises
    ------
    UserError
        If there are no such units.
    """
    named: list[int] = []
    for one in said:
        first, dash, last = one.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UserError(f"{one!r}: must be a number, such as 3, or a range, such as 0-99")
        if int(first) >= count:
            raise UserError(f"{one}: there are {count}, 0 to {count - 1}")
        named += range(int(first), min(int(last), count - 1) + 1 if dash else int(first) + 1)
    return named


def carry_out(
    paths: Paths, wanted: Sequence[str], threads: int, wall_time: float | None, progress: bool
) -> None:
    """Carry out units, one after the other; what ends badly is noted, and the others are carried out.

    Parameters
    ----------
    paths : Paths
        Of the result, beside which the folder is.
    wanted : sequence of str
        Numbers and ranges.
    threads : int
    wall_time : float or None
        Seconds after which a checkpoint is written.
    progress : bool
        Write lines.

    Raises
    ------
    Interrupted
        At the wall time, or by a signal.
    LangevinError
        If units failed.
    """
    until = None if wall_time is None else time.time() + wall_time
    notes = read_notes(paths)
    if "units" not in notes:
        raise UserError(f"{paths.manifest} was written by another version; {command('resume', paths.result)}")
    layout = Layout.read(notes, paths.sweep.resolve())
    failed: dict[int, str] = {}
    fresh = True
    for number in numbers(wanted, len(layout)):
        unit = layout[number]
        if has_ended(layout, unit):
            continue
        failure(unit).unlink(missing_ok=True)
        try:
            _carry_out(_job(notes, unit, paths, layout, until), unit, threads, progress, fresh)
        except Taken:
            raise
        except LangevinError as error:
            failed[number] = one_line(str(error))
            failure(unit).write_text(failed[number] + "\n")
        fresh = False
    if failed:
        number, why = next(iter(failed.items()))
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise LangevinError(f"{layout.word.removesuffix('s')} {number} failed: {why}{more}")


def _job(notes: dict[str, Any], unit: Unit, paths: Paths, layout: Layout, until: float | None) -> Job:
    """Return the job of a unit, as the process that has validated all of them makes it."""
    given = sweep.member(notes["settings"], unit.member) if layout.sweeping else notes["settings"]
    origin = Origin.of(paths.manifest, notes.get("code"))
    limit = configurations.TRAJECTORY_LIMIT / layout.members
    return member.job_of(
        given, Path(notes["folder"]), unit.result, limit, Path(notes["working"]), until, unit.shard, origin
    )


def _carry_out(job: Job, unit: Unit, threads: int, progress: bool, fresh: bool) -> None:
    """Carry out a job; if it stops at the wall time it must have come farther, or it would for ever."""
    paths = Paths(unit.result)
    checkpoint, before = paths.checkpoint, _written(unit)
    claim, ends = Claim(paths.claim), time.monotonic() + patience.PATIENCE
    if not claim.take(lambda: time.monotonic() > ends):
        raise Taken(f"another process is working on {unit.result}")
    try:
        with claim.beating():
            patience.patiently(lambda: member.carry_out(job, threads, lambda part: None, progress))
    except Interrupted as error:
        if error.exit_code == TIMED_OUT and fresh and _written(unit) == before:
            raise LangevinError(
                f"stopped {error.how}, before it could write {checkpoint.name}: it needs a longer one"
            ) from None
        raise


def _written(unit: Unit) -> int | None:
    checkpoint = Paths(unit.result).checkpoint
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
