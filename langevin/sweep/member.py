"""A member of a sweep, or a shard, is an ordinary run, with its files in the folder of the sweep."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from langevin.code import trust
from langevin.code.user_code import Origin, changes
from langevin.config import run_files
from langevin.config.settings import Settings, Shard
from langevin.errors import Diverged, UserError
from langevin.files.destinations import refuse_links
from langevin.files.paths import Paths
from langevin.running import execution

from .executors.base import Job

#: Seconds that a member has at least.
LEAST = 1e-3


def path(folder: Path, number: int) -> Path:
    """Return the result file of the member with this number."""
    return folder / f"member-{number:04d}.nc"


def job(
    settings: Settings,
    result: Path,
    limit: float,
    working: Path,
    left: float | None = None,
    shard: Shard | None = None,
) -> dict[str, Any]:
    """Return what a process needs to know to carry out a member, or a shard of it or of a run.

    Parameters
    ----------
    settings : Settings
        Of the member.
    result : Path
    limit : float
        Bytes that `configurations = "auto"` stores at most.
    working : Path
        The working directory in which the sweep began: from there paths of the run file lead.
    left : float, optional
        Seconds until the sweep has to stop.
    shard : Shard, optional
        Only these of its replicas.

    Whose settings they are, of which code, and whether they are trusted, crosses to the process, too.
    """
    until = None if left is None else time.time() + left
    code = {code.target: dict(code.hashes) for code in settings.code if code.hashes}
    made = job_of(settings.given, settings.folder, result, limit, working, until, shard, settings.origin)
    return {**made, "code": code}


def job_of(
    given: Mapping[str, Any],
    folder: Path,
    result: Path,
    limit: float,
    working: Path,
    until: float | None,
    shard: Shard | None,
    origin: Origin | None,
) -> dict[str, Any]:
    """Return the job of settings that are valid, as they were given; `until` is by the clock on the wall.

    Of code that is to be the same nothing is noted: an `origin` knows it.
    """
    output = {**given.get("output", {}), "path": str(result), "figure": False}
    given = {**given, "output": output}
    if "start" in given:
        given["start"] = {**given["start"], "file": str(working / given["start"]["file"])}
    return {
        "result": str(result),
        "settings": given,
        "folder": str(folder.resolve()),
        "limit": limit,
        # By the clock on the wall: members may run anywhere.
        "until": until,
        "code": {},
        "origin": None if origin is None else asdict(origin),
        "trust": trust.is_given(),
        "shard": None if shard is None else [shard.number, shard.count],
    }


def carry_out(job: Job, threads: int, report: Callable[[float], None], progress: bool = False) -> None:
    """Carry a member to its end, from where it stands; nothing is done of one that has ended.

    A member that diverges has ended, too: its file says so, and holds what was measured until then.
    """
    paths = Paths(Path(job["result"]))
    if paths.result.exists():
        return
    refuse_links(paths)
    # However little time is left, it is more than none.
    left = None if job["until"] is None else max(job["until"] - time.time(), LEAST)
    how: Any = {"threads": threads, "watch": report, "limit": job["limit"], "wall_time": left}
    how["progress"] = progress
    origin = None if job["origin"] is None else Origin(**job["origin"])
    try:
        # What members run, the sweep has remembered.
        with trust.trusting(job["trust"], remembers=False):
            if paths.checkpoint.exists():
                execution.execute_resume(paths.result, **how)
            else:
                settings = run_files.load(job["settings"], folder=Path(job["folder"]), origin=origin)
                _require_unchanged(settings, job["code"])
                if job["shard"] is not None:
                    settings = replace(settings, shard=Shard(*job["shard"]))
                execution.execute(settings, paths.result, **how)
    except Diverged:
        # Only where the run could say so in its file.
        if not paths.result.exists():
            raise


def _require_unchanged(settings: Settings, before: Mapping[str, Mapping[str, str]]) -> None:
    """Make sure that a member runs the code that the sweep began with; of a file's code `trust` does."""
    said = next(changes(settings.code, before), None) if settings.origin is None else None
    if said is not None:
        raise UserError(f"{said} since the sweep began")
