"""How far a run is whose cost goes by the logarithm of time: its decade, and what the others will take."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

#: Seconds that the pace is measured for.
MEASURED = 5.0


class TimeLeft(NamedTuple):
    """Seconds left, and seconds for one step, where there are steps."""

    left: float
    step: float | None


class Note(NamedTuple):
    """The system's clock, and the seconds that the run has taken until then."""

    clock: float
    seconds: float


class DecadeForecast:
    """Says what is left of a run by the clock of its system, on which equal stretches cost about the same.

    The pace is that of the last decade. Where it was faster in the decade before, since there was less to
    remember, it goes on growing as it did from one to the other.

    Parameters
    ----------
    clock_of : callable
        Time → the system's clock, which grows as ln t (`langevin.core.capabilities.HasClock`).
    end : float
        Time at which the run ends.
    seconds : callable
    """

    def __init__(
        self, clock_of: Callable[[float], float], end: float, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock_of, self.end, self._seconds = clock_of, end, seconds
        self._since: float | None = None
        self._notes: list[Note] = []
        self._said = False

    def stretch(self, run_time: float, position: int) -> TimeLeft | None:
        """Note that a stretch ended at `run_time`; return the pace, once, when it is known."""
        lapse = self._lapse()
        spent = self._notes[-1].seconds + lapse if self._notes else 0.0
        self._notes.append(Note(self.clock_of(run_time), spent))
        if self._said:
            return None
        pace = self.pace()
        self._said = pace is not None
        return pace

    def stop(self) -> None:
        """Measuring is a part of the pace: it goes by the logarithm of time, too."""

    def skip(self) -> None:
        """Leave out the time since the last note."""
        self._since = self._seconds()

    def pace(self) -> TimeLeft | None:
        """Return what is left; None as long as it is not known."""
        if not self._notes or self._notes[-1].seconds < MEASURED:
            return None
        now = self._notes[-1]
        last = self._before(now)
        if now.clock <= last.clock:
            return None
        first, pace = self._before(last), _pace(last, now)
        growth = 0.0
        if last.clock > first.clock:
            growth = max(0.0, pace - _pace(first, last)) / ((now.clock - first.clock) / 2)
        rest = max(0.0, self.clock_of(self.end) - now.clock)
        # From the middle of the last decade, whose mean is known, to that of what is left.
        return TimeLeft(rest * (pace + growth * (now.clock - last.clock + rest) / 2), None)

    def _before(self, note: Note) -> Note:
        """Return the note of a decade before; the first, if there is none."""
        later = bisect_right(self._notes, note.clock - math.log(10), key=lambda one: one.clock)
        return self._notes[max(later - 1, 0)]

    def _lapse(self) -> float:
        now = self._seconds()
        before, self._since = self._since, now
        return 0.0 if before is None else now - before


def _pace(earlier: Note, later: Note) -> float:
    return (later.seconds - earlier.seconds) / (later.clock - earlier.clock)


def decade(now: float, end: float) -> str:
    """Return "decade 5 of 7" for t = 3·10⁴ of 10⁷, counted from t = 1; nothing where there is but one."""
    whole = math.ceil(math.log10(end) - 1e-9) if end > 0 else 0
    if whole < 2 or now < 1:
        return ""
    return f"decade {min(whole, math.floor(math.log10(now) + 1e-9) + 1)} of {whole}"
