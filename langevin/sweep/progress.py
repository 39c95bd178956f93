"""One bar, or lines, for all members or shards show on stderr how far a sweep is."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from langevin.machine.bars import bar
from langevin.machine.duration import spoken
from langevin.running.log import Log, left, percent, shortly
from langevin.running.progress import LONG, Rate, how_to_stop

BAR = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}{postfix}]"


class SweepProgress:
    """A bar, or lines in a log, that count jobs, parts of those under way included.

    Parameters
    ----------
    jobs : int
        Members of the sweep, or shards.
    done : int
        Those that had ended before.
    title : str
    result : Path or None
        The file that the sweep writes; None if nothing of it is kept.
    shown : bool
        False: nothing at all.
    log : Log, optional
        Where lines are written.
    word : str
        What the jobs are.
    """

    def __init__(
        self,
        jobs: int,
        done: int,
        title: str,
        result: Path | None,
        shown: bool,
        log: Log | None = None,
        word: str = "members",
    ) -> None:
        self.jobs, self.ended, self.title, self.result = jobs, done, title, result
        self.word = word
        self.shown, self.log = shown, log or Log(False)
        self._parts: dict[int, float] = {}
        self._rate = Rate(lambda: time.monotonic())
        self._said = False
        self._bar = bar(title, shown, total=jobs, initial=done, bar_format=BAR)
        self._show()
        self.log.say(title, "start", self._count)

    @property
    def position(self) -> float:
        """Jobs that are done, with the parts of the others."""
        return self.ended + sum(self._parts.values())

    @property
    def _count(self) -> str:
        return f"{self.ended} of {self.jobs} {self.word}"

    def part(self, index: int, part: float) -> None:
        """Note which part of a job is done."""
        self._parts[index] = part
        # Processes start and compile before they first report.
        self._rate.note(self.position)
        self._show()
        self._announce()
        self.look()

    def end(self, index: int) -> None:
        """Note that a job has ended."""
        self._parts.pop(index, None)
        self.ended += 1
        self._rate.note(self.position)
        self._show()

    def look(self) -> None:
        """Write a line where one is due, whether jobs have reported or not."""
        if self.log.due:
            part = percent(self.position / self.jobs)
            self.log.say(self.title, f"{self._count} done ({part})", left(self._rate.left(self.jobs)))

    def _show(self) -> None:
        self._bar.n = self.position
        said = shortly(self._rate.left(self.jobs)), self._count
        self._bar.set_postfix_str(", ".join(filter(None, said)), refresh=False)
        self._bar.update(0)

    def _announce(self) -> None:
        """Say once that a sweep is long."""
        remaining = self._rate.left(self.jobs)
        if self._said or not self.shown or remaining is None:
            return
        self._said = True
        if remaining > LONG:
            how = how_to_stop(self.result)
            self._bar.write(
                f"about {spoken(remaining)} to go for {self.jobs} {self.word}; {how}", file=sys.stderr
            )

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
