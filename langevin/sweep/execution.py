"""A sweep goes from settings to file here: its folder, its members, stop, resume, and one file in the end.

A sweep that writes `name.nc` keeps a folder ``name.sweep`` beside it until it ends:

- ``sweep.json``: the settings, and the time that the sweep has taken;
- ``member-0000.nc``, …: the members that have ended;
- ``member-0001.checkpoint.nc``, …: those that have not, with what belongs to them (`langevin.files.storage`).

A run that is cut into shards has such a folder, too, with ``shard-0000.nc``, … in place of members; members
that are cut have ``member-0000-shard-0000.nc``, …, which become ``member-0000.nc`` when all have ended.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from langevin.code import user_code
from langevin.code.user_code import Origin
from langevin.config import run_files, shards
from langevin.config.settings import Settings
from langevin.errors import Diverged, Interrupted, LangevinError, StorageError, UserError, one_line
from langevin.files import manifest, provenance
from langevin.files.disk import explained
from langevin.files.paths import Paths
from langevin.machine.interruption import interruptible
from langevin.record import configurations
from langevin.running import start as beginning
from langevin.running.saved_start import is_start
from langevin.running.session import LOST, Manner, going_on
from langevin.running.unfinished import attributes
from langevin.speech import command

from . import combine, join, member
from .executors.base import Abandoned, Executor, Outcome
from .executors.in_process import InProcess
from .progress import SweepProgress
from .units import Layout, Unit, label, members_of


def start(settings: Settings, paths: Paths, executor: Executor, manner: Manner) -> Path:
    """Carry out a sweep, or a run in shards, from its start.

    Parameters
    ----------
    settings : Settings
        With `sweep`, or with shards.
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
    notes = prepare(settings, paths, manner, "run")
    return Campaign(settings, paths, executor, notes, manner).carry_out()


def prepare(settings: Settings, paths: Paths, manner: Manner, action: str) -> dict[str, Any]:
    """Make the folder of a sweep, in which nothing is computed yet; errors are those of `start`.

    Parameters
    ----------
    action : str
        What the history of the result says was done.

    Returns
    -------
    dict
        The notes of its manifest.
    """
    if paths.sweep.exists():
        kept = Layout.of(settings, paths.sweep).word
        raise UserError(f"{paths.sweep} is in the way: {kept} are kept there while the run goes on")
    notes = {
        "format": manifest.FORMAT,
        "settings": settings.given,
        "text": settings.text,
        "folder": str(settings.folder.resolve()),
        "code": user_code.recorded(settings.code),
        "working": str(Path.cwd()),
        "history": provenance.history_line(action),
        "wall_time": 0.0,
        "units": Layout.of(settings, paths.sweep).noted(),
    }
    with interruptible(
        manner.stop, lambda: f" before the {_called(settings)} began: it begins anew when it is run again"
    ):
        for one in members_of(settings):
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
    return notes


def resume(paths: Paths, executor: Executor, manner: Manner) -> Path:
    """Carry on a sweep, or a run in shards; what failed is tried again.

    Parameters and errors are those of `start`.
    """
    settings, notes = reopened(paths, manner)
    notes["code"] = user_code.recorded(settings.code)
    notes["history"] += f"\n{provenance.history_line('resume')}, {provenance.versions()}"
    return Campaign(settings, paths, executor, notes, manner).carry_out()


def reopened(paths: Paths, manner: Manner) -> tuple[Settings, dict[str, Any]]:
    """Return the settings of a folder, all of them validated, and the notes of its manifest."""
    notes = read_notes(paths)
    origin = Origin.of(paths.manifest, notes.get("code"))
    left = f" before it went on; continue with {command('resume', paths.result)}"
    with interruptible(manner.stop, lambda: left):
        settings = run_files.load(notes["settings"], folder=Path(notes["folder"]), origin=origin)
        return replace(settings, text=notes["text"]), notes


def read_notes(paths: Paths) -> dict[str, Any]:
    """Return the notes of a manifest; one of another version is refused."""
    notes = manifest.read(paths.manifest)
    if notes["format"] != manifest.FORMAT:
        raise StorageError(
            f"{paths.manifest} was written by another version of langevin (format {notes['format']}, "
            f"here {manifest.FORMAT})"
        )
    return notes


def _called(settings: Settings) -> str:
    return "run" if settings.sweep is None else "sweep"


def combine_only(paths: Paths, manner: Manner) -> Path:
    """Make the file of a sweep, or of a run in shards, of what is there; nothing is computed.

    The folder stays as long as anything is left. Errors are those of `start`.
    """
    settings, notes = reopened(paths, manner)
    notes["history"] += f"\n{provenance.history_line('combine')}, {provenance.versions()}"
    campaign = Campaign(settings, paths, InProcess(notes.get("threads", 1)), notes, manner)
    for number in campaign.left:
        unit = campaign.units[number]
        why = failure(unit).read_text().strip() if failure(unit).exists() else ""
        (campaign.failed if why else campaign.unended)[number] = why or _state(unit)
    notes["wall_time"] = notes["wall_time"] or campaign.spent()
    with interruptible(manner.stop, lambda: f"; {command('combine', paths.result)} begins anew"):
        return campaign.finish(keeps=True)


def left(layout: Layout) -> list[int]:
    """Return the numbers of the units that have not ended."""
    return [number for number, unit in enumerate(layout) if not has_ended(layout, unit)]


def has_ended(layout: Layout, unit: Unit) -> bool:
    """Return whether a unit has left its result, or has gone into that of its member."""
    return unit.result.exists() or (layout.sweeping and layout.member(unit.member).exists())


def failure(unit: Unit) -> Path:
    """Return the file that says why a unit failed, of one that a queue carried out."""
    return unit.result.with_suffix(".failed")


def _state(unit: Unit) -> str:
    checkpoint = Paths(unit.result).checkpoint
    if not checkpoint.exists():
        return "not begun"
    return str(attributes(checkpoint).get("status", "")).replace("unfinished: ", "at ")


class Campaign:
    """One process's share of a sweep, or of a run in shards.

    Parameters
    ----------
    settings : Settings
    paths : Paths
        Locked by the caller.
    executor : Executor
    notes : dict
        Of the manifest.
    manner : Manner
    """

    def __init__(
        self, settings: Settings, paths: Paths, executor: Executor, notes: dict[str, Any], manner: Manner
    ) -> None:
        self.settings, self.paths, self.executor, self.notes = settings, paths, executor, notes
        self.manner, self.stop = manner, manner.stop
        self.members = members_of(settings)
        self.layout = Layout.of(settings, paths.sweep.resolve())
        self.units = list(self.layout)
        #: Units that have not ended, by number.
        self.left = left(self.layout)
        self.failed: dict[int, str] = {}
        #: Those that nobody carries out now, and how far they are: `combine_only`.
        self.unended: dict[int, str] = {}
        self.began, self.wall_before = time.monotonic(), float(notes["wall_time"])

    def _ended(self, unit: Unit) -> bool:
        return has_ended(self.layout, unit)

    def carry_out(self) -> Path:
        """Carry all units to their end and make one file of them."""
        limit = configurations.TRAJECTORY_LIMIT / len(self.members)
        # Of sweeps begun before there was a section [start] it is not known, and not needed.
        working = Path(self.notes.get("working", ""))
        jobs = [
            member.job(
                self.members[self.units[n].member],
                self.units[n].result,
                limit,
                working,
                self.stop.left,
                self.units[n].shard,
            )
            for n in self.left
        ]
        progress = self._progress()
        try:
            ends = self.executor.map(
                member.carry_out, jobs, progress.part, lambda: self._is_stopped(progress)
            )
            with closing(ends):
                for index, outcome in ends:
                    self._end(index, outcome, progress)
        except Abandoned as error:
            raise type(error)(f"{error}; {going_on(self.settings, self.paths)}") from None
        finally:
            progress.close()
            self._take_time()
        try:
            self.stop.heed()
            return self.finish()
        except Interrupted as error:
            done = sum(map(self._ended, self.units))
            where = f" with {done} of {len(self.units)} {self.layout.word} done"
            raise error.saying(f"{where}; {going_on(self.settings, self.paths)}") from None

    def _progress(self) -> SweepProgress:
        done = len(self.units) - len(self.left)
        kept = self.paths.result if self.settings.output.path else None
        shown, log = self.manner.progress, self.manner.log
        return SweepProgress(len(self.units), done, self.settings.title, kept, shown, log, self.layout.word)

    def _is_stopped(self, progress: SweepProgress) -> bool:
        # Executors ask a few times a second, members tell nothing before their first step.
        progress.look()
        return self.stop.asked is not None

    def _end(self, index: int, outcome: Outcome, progress: SweepProgress) -> None:
        if outcome.kind == "failed":
            self.failed[self.left[index]] = one_line(outcome.why)
        if outcome.kind == "stopped":
            # By itself a member only stops at the wall time, which it sees as its own checkpoints need it.
            self.stop.end()
        else:
            progress.end(index)
            self._take_time()

    def spent(self) -> float:
        """Return the seconds that all that has ended took, one after the other."""
        files = {
            unit.result if unit.result.exists() else self.layout.member(unit.member) for unit in self.units
        }
        return round(sum(float(attributes(f)["wall_time_seconds"]) for f in files if f.exists()), 3)

    def _take_time(self) -> None:
        self.notes["wall_time"] = round(self.wall_before + time.monotonic() - self.began, 3)
        manifest.write(self.paths.manifest, self.notes)

    def finish(self, keeps: bool = False) -> Path:
        """Make one file of what units have left; say what became of those that did not come to their end.

        With `keeps` the folder stays where nothing has been measured.
        """
        if not any(self._ended(unit) or self._file(unit) for unit in self.units):
            word = self.layout.word.removesuffix("s")
            number, why = next(iter({**self.failed, **self.unended}.items()))
            if not keeps:
                # Nothing is lost, and nothing there to resume.
                self.paths.discard()
            raise LangevinError(f"no {word} has measured anything; {self._label(number)}: {why}")
        diverged = self._combined() if self.layout.sweeping else self._joined_run()
        if not (self.failed or self.unended):
            self.paths.discard()
        if self.failed or self.unended or diverged:
            raise self._complaint(diverged)
        return self.paths.result

    @property
    def _attributes(self) -> dict[str, Any]:
        """Global attributes of the result that are not those of its units."""
        return {
            "title": self.settings.title,
            "run_file": self.settings.text,
            "settings": self.settings.as_json(),
            "threads": self.executor.threads,
            "history": self.notes["history"],
        }

    def _joined_run(self) -> dict[str, str]:
        """Join the shards of a run; return label → why, of shards that diverged."""
        join.write(self._parts(0), shards.whole(self.settings), self._attributes, self.paths.result)
        return self._diverged(range(len(self.units)))

    def _combined(self) -> dict[str, str]:
        """Make one file of the members; return label → why, of those that diverged."""
        assert self.settings.sweep is not None
        attributes = {**self._attributes, "wall_time_seconds": self.notes["wall_time"]}
        failed = self._failed_members()
        if self.layout.shards == 1:
            files = [self._file(unit) for unit in self.units]
        else:
            files = [self._joined_member(number) for number in range(len(self.members))]
        ends = combine.write(self.settings.sweep, files, failed, attributes, self.paths.result)
        for number in range(len(self.members)) if self.layout.shards > 1 else ():
            self._aside(number).unlink(missing_ok=True)
        sweep = self.settings.sweep
        return {sweep.label(n): said for n, said in enumerate(ends) if said.startswith("diverged")}

    def _failed_members(self) -> dict[int, str]:
        """Return the members that failed, or of which shards did, and why."""
        if self.layout.shards == 1:
            return self.failed
        failed = {}
        for number in range(len(self.members)):
            of_it = {n: self.failed[n] for n in self.layout.of_member(number) if n in self.failed}
            if of_it:
                n, why = next(iter(of_it.items()))
                shard = self.units[n].shard
                assert shard is not None
                failed[number] = f"{len(of_it)} of {shard.count} shards failed: shard {shard.number}: {why}"
        return failed

    def _joined_member(self, number: int) -> Path | None:
        """Return the file of a member, joined from those of its shards; None if there is none of them.

        Where shards failed it stands aside, for the others are to go on later.
        """
        result, parts = self.layout.member(number), self._parts(number)
        if result.exists() or not any(part.file for part in parts):
            return result if result.exists() else None
        units = [self.units[n] for n in self.layout.of_member(number)]
        complete = all(unit.result.exists() for unit in units)
        path = result if complete else self._aside(number)
        settings = self.members[number]
        attributes = {"title": settings.title, "settings": settings.as_json()}
        join.write(parts, shards.whole(settings), attributes, path)
        if complete:
            for unit in units:
                unit.result.unlink()
        return path

    def _aside(self, number: int) -> Path:
        return self.layout.member(number).with_suffix(".joined.nc")

    def _parts(self, number: int) -> list[join.Part]:
        """Return the shards of a member, or of the run."""
        own = zip(self.layout.of_member(number), shards.cut(self.members[number]), strict=True)
        return [join.Part(cut, self._file(self.units[n]), self.failed.get(n, "")) for n, cut in own]

    def _diverged(self, numbers: Iterable[int]) -> dict[str, str]:
        """Return label → why, of shards that diverged."""
        said = {n: str(attributes(self.units[n].result)["status"]) for n in numbers if self._there(n)}
        return {self._label(n): status for n, status in said.items() if status.startswith("diverged")}

    def _there(self, number: int) -> bool:
        return self.units[number].result.exists()

    def _file(self, unit: Unit) -> Path | None:
        """Return where a unit's numbers are: of one that failed, in its checkpoint, if it has any."""
        result, checkpoint = unit.result, Paths(unit.result).checkpoint
        if result.exists():
            return result
        return checkpoint if checkpoint.exists() and not is_start(checkpoint) else None

    def _label(self, number: int) -> str:
        return label(self.settings, self.units[number])

    def _complaint(self, diverged: Mapping[str, str]) -> LangevinError:
        """Return one line that says what became of the units that did not come to their end."""
        failed = {self._label(number): why for number, why in self.failed.items()}
        # Members diverge as a whole, and fail by their shards.
        counts = len(self.members), "members"
        parts = []
        unended = {self._label(number): why for number, why in self.unended.items()}
        for name, reasons in (("diverged", diverged), ("failed", failed), ("left", unended)):
            if reasons:
                count, word = (
                    counts
                    if name == "diverged" and self.layout.sweeping
                    else (
                        len(self.units),
                        self.layout.word,
                    )
                )
                which, why = next(iter(reasons.items()))
                what = why.removeprefix("diverged: ")
                more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
                parts.append(f"{len(reasons)} of {count} {word} {name}: {which}: {what}{more}")
        kept = bool(self.settings.output.path)
        line = "; ".join(parts) + f"; {f'the others are in {self.paths.result}' if kept else LOST}"
        if not (self.failed or self.unended):
            return Diverged(line)
        again = "goes on" if self.unended else "tries again"
        return LangevinError(line + f"; {command('resume', self.paths.result)} {again}" * kept)
