"""A sweep goes from settings to file here: its folder, its members, stop, resume, and one file in the end.

A sweep that writes `name.nc` keeps a folder ``name.sweep`` beside it until it ends:

- ``sweep.json``: the settings, and the time that the sweep has taken;
- ``member-0000.nc``, …: the members that have ended;
- ``member-0001.checkpoint.nc``, …: those that have not, with what belongs to them (`langevin.files.storage`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from langevin.code import user_code
from langevin.code.user_code import Origin
from langevin.config import run_files
from langevin.config.settings import Settings, Sweep
from langevin.errors import Diverged, Interrupted, LangevinError, StorageError, UserError, one_line
from langevin.files import manifest, provenance
from langevin.files.disk import explained
from langevin.files.paths import Paths
from langevin.machine.interruption import interruptible
from langevin.record import configurations
from langevin.running import start as beginning
from langevin.running.saved_start import is_start
from langevin.running.session import LOST, Manner, going_on

from . import combine, member
from .executors.base import Abandoned, Executor, Outcome
from .progress import SweepProgress


def start(settings: Settings, paths: Paths, executor: Executor, manner: Manner) -> Path:
    """Carry out a sweep from its start.

    Parameters
    ----------
    settings : Settings
        With `sweep`.
    paths : Paths
        Where it goes; free, and locked by the caller.
    executor : Executor
    manner : Manner
        Whether it is asked to stop, and whether to show a bar.

    Returns
    -------
    Path
        The result.

    Raises
    ------
    UserError
        If the folder of the sweep is there, and is no sweep's.
    Interrupted
        By a signal or the wall time, after the members under way have written their checkpoints.
    Diverged
        If members diverged; the file has been written, NaN where they were not measured.
    LangevinError
        If members failed; the file has been written, and the folder is kept for another try.
    """
    if paths.sweep.exists():
        raise UserError(f"{paths.sweep} is in the way: members are kept there while the sweep goes on")
    notes = {
        "format": manifest.FORMAT,
        "settings": settings.given,
        "text": settings.text,
        "folder": str(settings.folder.resolve()),
        "code": user_code.recorded(settings.code),
        "working": str(Path.cwd()),
        "history": provenance.history_line("run"),
        "wall_time": 0.0,
    }
    with interruptible(manner.stop, lambda: " before the sweep began: it begins anew when it is run again"):
        for one in settings.sweep.members if settings.sweep else ():
            # A file that is not there, or not of this system, is known before anything is computed.
            beginning.read(one)
    with explained(paths.sweep):
        # Under another name first: there is no folder of a sweep that does not say what it is.
        aside = paths.sweep.with_name(f".{paths.sweep.name}.partial")
        # What a process left that was killed here.
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir()
            manifest.write(aside / paths.manifest.name, notes)
            aside.rename(paths.sweep)
        finally:
            # Of a folder that has its name nothing is left here.
            shutil.rmtree(aside, ignore_errors=True)
    return _Campaign(settings, paths, executor, notes, manner).carry_out()


def resume(paths: Paths, executor: Executor, manner: Manner) -> Path:
    """Carry on a sweep; members that failed are tried again. Parameters and errors are those of `start`."""
    notes = manifest.read(paths.manifest)
    if notes["format"] != manifest.FORMAT:
        raise StorageError(
            f"{paths.manifest} was written by another version of langevin (format {notes['format']}, "
            f"here {manifest.FORMAT})"
        )
    origin = Origin.of(paths.manifest, notes.get("code"))
    left = f" before it went on; continue with `langevin resume {paths.result}`"
    with interruptible(manner.stop, lambda: left):
        settings = run_files.load(notes["settings"], folder=Path(notes["folder"]), origin=origin)
        settings = replace(settings, text=notes["text"])
    notes["code"] = user_code.recorded(settings.code)
    notes["history"] += f"\n{provenance.history_line('resume')}, {provenance.versions()}"
    return _Campaign(settings, paths, executor, notes, manner).carry_out()


class _Campaign:
    """One process's share of a sweep."""

    def __init__(
        self, settings: Settings, paths: Paths, executor: Executor, notes: dict[str, Any], manner: Manner
    ) -> None:
        assert settings.sweep is not None
        self.settings, self.paths, self.executor, self.notes = settings, paths, executor, notes
        self.sweep: Sweep = settings.sweep
        folder = paths.sweep.resolve()
        self.results = [member.path(folder, number) for number in range(len(self.sweep.members))]
        #: Members that have not ended, by number.
        self.left = [number for number, path in enumerate(self.results) if not path.exists()]
        self.failed: dict[int, str] = {}
        self.stop = manner.stop
        self.began, self.wall_before = time.monotonic(), float(notes["wall_time"])
        done = len(self.results) - len(self.left)
        kept = paths.result if settings.output.path else None
        self.progress = SweepProgress(
            len(self.results), done, settings.title, kept, manner.progress, manner.log
        )

    def carry_out(self) -> Path:
        """Carry all members to their end and make one file of them."""
        limit = configurations.TRAJECTORY_LIMIT / len(self.results)
        # Of sweeps begun before there was a section [start] it is not known, and not needed.
        working = Path(self.notes.get("working", ""))
        jobs = [
            member.job(self.sweep.members[n], self.results[n], limit, working, self.stop.left)
            for n in self.left
        ]
        try:
            ends = self.executor.map(member.carry_out, jobs, self.progress.part, self._is_stopped)
            with closing(ends):
                for index, outcome in ends:
                    self._end(index, outcome)
        except Abandoned as error:
            raise type(error)(f"{error}; {going_on(self.settings, self.paths)}") from None
        finally:
            self.progress.close()
            self._take_time()
        try:
            self.stop.heed()
            return self._finish()
        except Interrupted as error:
            done = sum(path.exists() for path in self.results)
            where = f" with {done} of {len(self.results)} members done"
            raise error.saying(f"{where}; {going_on(self.settings, self.paths)}") from None

    def _is_stopped(self) -> bool:
        # Executors ask a few times a second, members tell nothing before their first step.
        self.progress.look()
        return self.stop.asked is not None

    def _end(self, index: int, outcome: Outcome) -> None:
        if outcome.kind == "failed":
            self.failed[self.left[index]] = one_line(outcome.why)
        if outcome.kind == "stopped":
            # By itself a member only stops at the wall time, which it sees as its own checkpoints need it.
            self.stop.end()
        else:
            self.progress.end(index)
            self._take_time()

    def _take_time(self) -> None:
        self.notes["wall_time"] = round(self.wall_before + time.monotonic() - self.began, 3)
        manifest.write(self.paths.manifest, self.notes)

    def _finish(self) -> Path:
        attributes = {
            "title": self.settings.title,
            "run_file": self.settings.text,
            "settings": self.settings.as_json(),
            "threads": self.executor.threads,
            "history": self.notes["history"],
            "wall_time_seconds": self.notes["wall_time"],
        }
        files = [self._file(number) for number in range(len(self.results))]
        if not any(files):
            number, why = next(iter(self.failed.items()))
            # Nothing is lost, and nothing there to resume.
            self.paths.discard()
            raise LangevinError(f"no member has measured anything; {self.sweep.label(number)}: {why}")
        ends = combine.write(self.sweep, files, self.failed, attributes, self.paths.result)
        diverged = {n: said for n, said in enumerate(ends) if said.startswith("diverged")}
        if not self.failed:
            self.paths.discard()
        if self.failed or diverged:
            raise self._complaint(diverged)
        return self.paths.result

    def _file(self, number: int) -> Path | None:
        """Return where a member's numbers are: of one that failed, in its checkpoint, if it has any."""
        result, checkpoint = self.results[number], Paths(self.results[number]).checkpoint
        if result.exists():
            return result
        return checkpoint if checkpoint.exists() and not is_start(checkpoint) else None

    def _complaint(self, diverged: Mapping[int, str]) -> LangevinError:
        """Return one line that says what became of the members that did not come to their end."""
        count = len(self.results)
        parts = []
        for name, reasons in (("diverged", diverged), ("failed", self.failed)):
            if reasons:
                number, why = next(iter(reasons.items()))
                what = why.removeprefix("diverged: ")
                more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
                parts.append(
                    f"{len(reasons)} of {count} members {name}: {self.sweep.label(number)}: {what}{more}"
                )
        kept = bool(self.settings.output.path)
        line = "; ".join(parts) + f"; {f'the others are in {self.paths.result}' if kept else LOST}"
        if not self.failed:
            return Diverged(line)
        return LangevinError(line + f"; `langevin resume {self.paths.result}` tries again" * kept)
