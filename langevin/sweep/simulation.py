"""Run files are carried out here, whether they hold one run or a sweep."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from langevin.code.trust import trusting
from langevin.config import run_files
from langevin.config.settings import Settings
from langevin.errors import LangevinWarning, UserError
from langevin.files.paths import Paths
from langevin.results.open import open_result as open
from langevin.running import execution as running
from langevin.running.execution import SingleRun
from langevin.running.session import Manner
from langevin.speech import option

from . import execution
from .executors import chosen
from .executors.base import Executor, Remote
from .executors.processes import LocalProcesses


def run(
    source: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
    resume: bool = False,
    threads: int | None = None,
    wall_time: float | str | None = None,
    progress: bool = False,
    trust: bool = False,
    executor: str | Executor | None = None,
) -> xr.Dataset:
    """Run a simulation and return its result.

    Parameters
    ----------
    source : path or mapping
        A run file, or a dict of the same shape. A dict without ``output.path`` leaves no file behind.
    overrides : mapping, optional
        "section.key" → value, for instance ``{"dynamics.temperature": 0.6}``; `langevin.config.UNSET` removes
        a key. What a nearer ``dynamics.t_max``, or fewer replicas, leaves no room for is left out, with a
        warning.
    force : bool
        Overwrite an existing result, discard an unfinished run.
    resume : bool
        Go on where an unfinished run of the same settings stands; where its result is complete, do nothing.
    threads : int, optional
        Processors to use (default: all that this process may). The result does not depend on it.
    wall_time : float or str, optional
        After which time to write a checkpoint and stop: seconds, or "23h50m", "01:30:00", "1-12:00:00".
    progress : bool
        Show a progress bar.
    trust : bool
        Run the code, too, that files name which the run reads, such as ends of curves, even if this user has
        not run it before; `source` may name code in any case.
    executor : str or Executor
        What carries out the members of a sweep, or shards: "processes" of this machine (default),
        "in_process", one that another package has registered, or an object (`langevin.sweep.executors`).

    Returns
    -------
    Dataset
        Dimensions replica, time, waiting_time, lag; opened lazily from the result file. With [sweep], one
        more in front for every swept key: `langevin.members` takes them apart again.

    Raises
    ------
    ConfigError
        All faults of the run file at once.
    Diverged
        The physics broke; what was measured until then is in the file.
    Interrupted
        By Ctrl-C or another signal (heard in the main thread alone), or since the wall time is over; the
        message says how the run goes on. It is a `KeyboardInterrupt`.
    """
    with trusting(trust):
        settings = run_files.load(source, overrides)
        if settings.left_out:
            warnings.warn(settings.left_out, LangevinWarning, stacklevel=2)
        how: Any = {"threads": threads, "wall_time": wall_time, "progress": progress}
        how["carrier"] = RunOrSweep(executor)
        if settings.output.path:
            return open(execute(settings, force=force, resume=resume, **how))
        if resume:
            raise UserError("resume: needs output.path, the file that a run goes on with")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "result.nc"
            with open(execute(settings, path, **how)) as dataset:
                return dataset.load()


def resume(
    path: str | Path,
    *,
    threads: int | None = None,
    wall_time: float | str | None = None,
    progress: bool = False,
    trust: bool = False,
    executor: str | Executor | None = None,
) -> xr.Dataset:
    """Continue a run from its checkpoint; the result is bitwise that of an uninterrupted run.

    Parameters
    ----------
    path : path
        The result file that the run was to write, or its checkpoint.
    threads, wall_time, progress
        As for `run`.
    trust : bool
        Run the code that the checkpoint names even if this user has not run it before, or it has changed
        since, and remember it. Code in a file from somebody else can do whatever you can.
    executor : str or Executor
        As for `run`.
    """
    with trusting(trust):
        carrier = RunOrSweep(executor)
        how: Any = {"threads": threads, "wall_time": wall_time, "progress": progress, "carrier": carrier}
        return open(execute_resume(path, **how))


class RunOrSweep(SingleRun):
    """The carrier of one run, of its shards, or of every member of a sweep.

    Parameters
    ----------
    executor : str, Executor or None
        What carries out members and shards, as for `langevin.sweep.executors.chosen`.
    """

    def __init__(self, executor: str | Executor | None = None) -> None:
        self.executor = executor

    def begin(self, settings: Settings, paths: Paths, manner: Manner, lock: int) -> Path:
        """Carry out a run or a sweep from its start and return the path of the result."""
        alone = settings.sweep is None and settings.ensemble.shards == 1
        if alone and self.executor is None:
            return super().begin(settings, paths, manner, lock)
        executor = chosen(self.executor, manner.threads, lock)
        _require_found(settings, executor)
        if alone and not isinstance(executor, Remote):
            return super().begin(settings, paths, manner, lock)
        paths.discard()
        return execution.start(settings, paths, executor, manner)

    def carry_on(self, paths: Paths, manner: Manner, lock: int) -> Path:
        """Carry on a run or a sweep and return the path of the result."""
        if not paths.sweeping:
            return super().carry_on(paths, manner, lock)
        return execution.resume(paths, chosen(self.executor, manner.threads, lock), manner)


def _require_found(settings: Settings, executor: Executor) -> None:
    """Make sure that processes of their own find the code that they are to run."""
    if not isinstance(executor, LocalProcesses | Remote):
        return
    for code in settings.code:
        if code.source.kind == "memory":
            raise UserError(
                f"{code.key} = {code.target!r}: runs in processes of their own do not find what stands in no "
                f"file; allowed: a class in a module, or {option('executor', 'in_process')}"
            )


#: As `langevin.running.execution.execute` and `execute_resume`, of sweeps, too.
execute = partial(running.execute, carrier=RunOrSweep())
execute_resume = partial(running.execute_resume, carrier=RunOrSweep())
