"""The pace of a run: how often it looks up on a long way, waits for a checkpoint, and says that it lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

#: Wall time, in seconds, of one call to `advance`: how soon progress shows and Ctrl-C is heard.
STRETCH = 0.5

#: Part of its wall time that a run may spend on writing checkpoints.
CHECKPOINT_SHARE = 0.01

#: Seconds from its start to the first line of a log, and at most from one line to the next.
SOON, RARE = 10.0, 600.0


def rest(interval: float, took: float) -> float:
    """Return the seconds from the end of a checkpoint to the start of the next.

    Parameters
    ----------
    interval : float
        `output.checkpoint_interval`.
    took : float
        Seconds that writing the checkpoint took.

    Returns
    -------
    float
        The interval; longer if writing would take more than `CHECKPOINT_SHARE` of the time. Of 0 nothing is
        made longer: whoever gives it wants a checkpoint after every stretch, at any price.
    """
    return max(interval, took / CHECKPOINT_SHARE) if interval else 0.0


class Growing:
    """A clock that strikes at growing intervals: each time as much has passed again, at most `RARE` seconds.

    That is after 10, 20, 40, 80, 160, 320, 640 seconds, and from then on every ten minutes.

    Parameters
    ----------
    clock : callable
        Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began, self._due = clock, clock(), SOON

    def strikes(self) -> bool:
        """Return whether it strikes now; what it has missed meanwhile it does not make up for."""
        passed = self._clock() - self._began
        if passed < self._due:
            return False
        self._due = passed + min(passed, RARE)
        return True


class Pace:
    """Cuts long gaps into stretches of about `STRETCH` seconds; the first is one step, which may be long.

    Where it cuts depends on the clock, the result does not: the noise of a step is the same in any stretch.
    """

    def __init__(self, time_step: float | None) -> None:
        self.time_step = time_step
        self.steps = 1
        self._advanced = 0.0

    def advanced(self) -> None:
        """Note that a stretch is computed: what follows, such as a checkpoint, is none of its time."""
        self._advanced = time.perf_counter()

    def stretches(self, start: float, end: float) -> Iterator[float]:
        """Yield the ends of the stretches from `start` to `end`; nothing if they coincide."""
        if self.time_step is None:
            if end > start:
                yield end
            return
        now, last = round(start / self.time_step), round(end / self.time_step)
        while now < last:
            asked = min(self.steps, last - now)
            now += asked
            began = time.perf_counter()
            yield end if now == last else now * self.time_step
            # At most fourfold up: one quick stretch must not promise a long one.
            ended = self._advanced if self._advanced > began else time.perf_counter()
            ratio = STRETCH * asked / (self.steps * max(ended - began, 1e-6))
            self.steps = self.chosen(max(1, int(self.steps * min(4.0, max(0.25, ratio)))))

    def chosen(self, steps: int) -> int:
        """Return the steps of the next stretch, of which the clock has given so many."""
        return steps
