"""Where stderr is no terminal, such as in the log of a queue, lines say how far a run is."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable

from langevin.machine.bars import in_notebook
from langevin.machine.duration import spoken
from langevin.machine.pace import Growing
from langevin.machine.transliteration import visible


class Log:
    """Lines of one process on stderr: at its start, then at growing intervals; none where there is a bar.

    Parameters
    ----------
    shown : bool
        False: nothing at all.
    clock : callable
        Seconds.
    """

    def __init__(self, shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.shown = shown and sys.stderr is not None and not (sys.stderr.isatty() or in_notebook())
        self.clock, self._growing = clock, Growing(clock)

    @property
    def due(self) -> bool:
        """Whether a line is to be written now."""
        return self.shown and self._growing.strikes()

    def say(self, title: str, *parts: str) -> None:
        """Write a line.

        Parameters
        ----------
        title : str
            Of what it speaks.
        parts : str
            What it says; empty ones are left out.
        """
        if self.shown and sys.stderr is not None:
            line = f"{title}: {', '.join(part for part in parts if part)}"
            # Where nobody listens there is nothing to say.
            with contextlib.suppress(OSError, ValueError):
                print(visible(line), file=sys.stderr, flush=True)


def reached(now: float, end: float, where: str = "") -> str:
    """Say which time of how long a run is reached: `where`, or how many per cent that is."""
    return f"t = {now:.4g} of {end:.4g} ({where or percent(now / end)})"


def percent(part: float) -> str:
    """Return a part, from 0 to 1, in per cent: to two digits, and 100 only of what is done."""
    if part >= 0.1:
        return f"{math.floor(100 * part)} %"
    return f"{100 * part:.2g} %"


def left(seconds: float | None) -> str:
    """Say how long something will take; nothing if it is not known."""
    return "" if seconds is None else f"about {spoken(seconds)} left"


def shortly(seconds: float | None) -> str:
    """Say the same in a bar, which has little room; nothing of less than a second."""
    return "" if seconds is None or seconds < 1 else f"{spoken(seconds)} left"
