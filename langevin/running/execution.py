"""What a run file asks for is carried out here: it is begun, or what stands unfinished goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from langevin.code import trust
from langevin.config.settings import Settings
from langevin.errors import UserError
from langevin.files.destinations import refuse_links
from langevin.files.paths import Paths
from langevin.machine import world
from langevin.machine.interruption import Interruption

from . import single_run, unfinished
from .session import Manner


class Carrier(Protocol):
    """What carries out settings, and goes on with what stands unfinished; the lock is held meanwhile."""

    def begin(self, settings: Settings, paths: Paths, manner: Manner, lock: int) -> Path:
        """Carry out settings from their start and return the path of the result."""

    def carry_on(self, paths: Paths, manner: Manner, lock: int) -> Path:
        """Carry on what stands unfinished and return the path of the result."""


class SingleRun:
    """The carrier of one run."""

    def begin(self, settings: Settings, paths: Paths, manner: Manner, lock: int) -> Path:
        """Carry out a run from its start and return the path of the result."""
        return single_run.begin(settings, paths, manner)

    def carry_on(self, paths: Paths, manner: Manner, lock: int) -> Path:
        """Carry on a run from its checkpoint and return the path of the result."""
        return single_run.carry_on(paths, manner)


_SINGLE = SingleRun()


def execute(
    settings: Settings,
    path: Path | None = None,
    *,
    force: bool = False,
    resume: bool = False,
    threads: int | None = None,
    wall_time: float | str | None = None,
    progress: bool = False,
    watch: Callable[[float], None] | None = None,
    limit: float | None = None,
    carrier: Carrier = _SINGLE,
) -> Path:
    """Carry out a run from its start and return the path of the result.

    Parameters
    ----------
    settings : Settings
    path : Path, optional
        Where the result goes (default: `output.path`).
    force, resume, threads, wall_time, progress
        As for `run`.
    watch : callable, optional
        Called about twice a second with the part of the run that is done, from 0 to 1.
    limit : float, optional
        Bytes that `configurations = "auto"` stores at most (default: `TRAJECTORY_LIMIT` in
        `langevin.record.configurations`).
    carrier : Carrier
        What carries out the settings, and goes on with what stands unfinished: one run, if it is not said.
    """
    if force and resume:
        raise UserError("resume goes on where a run was, force begins anew: give one of them")
    paths = Paths(path or Path(settings.output.path))
    with world.listening(wall_time) as stop:
        manner = manner_of(stop, threads, progress, watch, limit)
        if not resume:
            paths.check(force, settings.output.figure)
        trust.remember(settings.code)
        with paths.locked() as lock:
            standing = unfinished.standing(settings, paths) if resume else "nothing"
            if standing == "complete":
                return paths.result
            if standing == "unfinished":
                return carrier.carry_on(paths, manner, lock)
            if resume:
                paths.check(force=False)
            return carrier.begin(settings, paths, manner, lock)


def execute_resume(
    path: str | Path,
    *,
    threads: int | None = None,
    wall_time: float | str | None = None,
    progress: bool = False,
    watch: Callable[[float], None] | None = None,
    limit: float | None = None,
    carrier: Carrier = _SINGLE,
) -> Path:
    """Carry on a run from its checkpoint; parameters and result are those of `execute`."""
    with world.listening(wall_time) as stop:
        paths = _find_unfinished(Path(path))
        with paths.locked() as lock:
            return carrier.carry_on(paths, manner_of(stop, threads, progress, watch, limit), lock)


def manner_of(stop: Interruption, threads: int | None, *further: Any) -> Manner:
    """Return how this process carries out runs: in a world, with its share of the processors."""
    together = world.current()
    if threads is None and together is not None:
        threads = together.threads
    return replace(Manner(stop, threads, *further), world=together)


def _find_unfinished(path: Path) -> Paths:
    if path.suffix != ".nc":
        raise UserError(f"{path}: give the result (name.nc) that the run was to write, or its checkpoint")
    if path.name.endswith(".checkpoint.nc"):
        paths = Paths(path.with_name(path.name.removesuffix(".checkpoint.nc") + ".nc"))
    else:
        paths = Paths(path)
    if not (paths.checkpoint.exists() or paths.sweeping):
        done = f"{paths.result} is complete" if paths.result.exists() else f"there is no {paths.checkpoint}"
        raise UserError(f"nothing to resume: {done}")
    refuse_links(paths)
    return paths
