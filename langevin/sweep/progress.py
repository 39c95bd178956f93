"""One bar, or lines, for all members show on stderr how far a sweep is."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tqdm import tqdm

from langevin.machine.duration import spoken
from langevin.running.log import Log, left, percent
from langevin.running.progress import LONG, Rate, how_to_stop

BAR = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}, {remaining} left{postfix}]"


class SweepProgress:
    """A bar, or lines in a log, that count members, parts of those under way included.

    Parameters
    ----------
    members : int
        Members of the sweep.
    done : int
        Those that had ended before.
    title : str
    result : Path or None
        The file that the sweep writes; None if nothing of it is kept.
    shown : bool
        False: nothing at all.
    log : Log, optional
        Where lines are written.
    """

    def __init__(
        self,
        members: int,
        done: int,
        title: str,
        result: Path | None,
        shown: bool,
        log: Log | None = None,
    ) -> None:
        self.members, self.ended, self.title, self.result = members, done, title, result
        self.shown, self.log = shown, log or Log(False)
        self._parts: dict[int, float] = {}
        self._rate = Rate(lambda: time.monotonic())
        self._said = False
        # None: only where someone can see it.
        disable = None if shown else True
        self._bar = tqdm(total=members, initial=done, disable=disable, bar_format=BAR, desc=title[:40])
        self._show()
        self.log.say(title, "start", self._members)

    @property
    def position(self) -> float:
        """Members that are done, with the parts of the others."""
        return self.ended + sum(self._parts.values())

    @property
    def _members(self) -> str:
        return f"{self.ended} of {self.members} members"

    def part(self, index: int, part: float) -> None:
        """Note which part of a member is done."""
        self._parts[index] = part
        self._show()
        # Processes start and compile before they first report.
        self._rate.note(self.position)
        self._announce()
        self.look()

    def end(self, index: int) -> None:
        """Note that a member has ended."""
        self._parts.pop(index, None)
        self.ended += 1
        self._show()
        self._rate.note(self.position)

    def look(self) -> None:
        """Write a line where one is due, whether members have reported or not."""
        if self.log.due:
            part = percent(self.position / self.members)
            self.log.say(self.title, f"{self._members} done ({part})", left(self._rate.left(self.members)))

    def _show(self) -> None:
        self._bar.n = self.position
        self._bar.set_postfix_str(self._members, refresh=False)
        self._bar.update(0)

    def _announce(self) -> None:
        """Say once that a sweep is long."""
        remaining = self._rate.left(self.members)
        if self._said or not self.shown or remaining is None:
            return
        self._said = True
        if remaining > LONG:
            how = how_to_stop(self.result)
            tqdm.write(f"about {spoken(remaining)} to go for {self.members} members; {how}", file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
