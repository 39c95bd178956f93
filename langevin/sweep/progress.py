"""One bar for all members shows, on stderr, how far a sweep is."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tqdm import tqdm

from langevin.running.progress import LONG, MEASURED, how_to_stop, spoken

BAR = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}, {remaining} left{postfix}]"


class SweepProgress:
    """A bar that counts members, parts of those under way included.

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
    """

    def __init__(self, members: int, done: int, title: str, result: Path | None, shown: bool) -> None:
        self.members, self.ended, self.result, self.shown = members, done, result, shown
        self._parts: dict[int, float] = {}
        self._first: tuple[float, float] | None = None
        self._said = False
        # None: only where someone can see it.
        disable = None if shown else True
        self._bar = tqdm(total=members, initial=done, disable=disable, bar_format=BAR, desc=title[:40])
        self._show()

    @property
    def position(self) -> float:
        """Members that are done, with the parts of the others."""
        return self.ended + sum(self._parts.values())

    def part(self, index: int, part: float) -> None:
        """Note which part of a member is done."""
        self._parts[index] = part
        self._show()
        self._announce()

    def end(self, index: int) -> None:
        """Note that a member has ended."""
        self._parts.pop(index, None)
        self.ended += 1
        self._show()

    def _show(self) -> None:
        self._bar.n = self.position
        self._bar.set_postfix_str(f"{self.ended} of {self.members} members", refresh=False)
        self._bar.update(0)

    def _announce(self) -> None:
        """Say once that a sweep is long; processes start and compile before they first report."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, self.position
        began, before = self._first
        if self._said or not self.shown or now - began < MEASURED or self.position <= before:
            return
        self._said = True
        left = (self.members - self.position) * (now - began) / (self.position - before)
        if left > LONG:
            how = how_to_stop(self.result)
            tqdm.write(f"about {spoken(left)} to go for {self.members} members; {how}", file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
