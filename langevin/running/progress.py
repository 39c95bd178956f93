"""A bar shows how far a run is, and one line says how long it will take, to whoever has to plan."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from langevin.core.probe import Run
from langevin.core.schedule import Schedule
from langevin.machine.reports import Listener, Place, Saved, heard_by
from langevin.record.recorder import Recorder

BAR = "{desc} {percentage:3.0f}%|{bar}| t = {n:.4g}/{total:.4g} [{elapsed}, {remaining} left{postfix}]"

#: Seconds that the pace is measured for, and seconds left from which on a run is announced as long.
MEASURED, LONG = 5.0, 3600.0

#: From how many seconds on a unit is used, its length in seconds, its name.
UNITS = (
    (2 * 86400.0, 86400.0, "days"),
    (3600.0, 3600.0, "h"),
    (60.0, 60.0, "min"),
    (1.0, 1.0, "s"),
    (1e-3, 1e-3, "ms"),
    (1e-6, 1e-6, "µs"),
    (0.0, 1e-9, "ns"),
)


class TimeLeft(NamedTuple):
    """Seconds left, and seconds for one step."""

    left: float
    step: float


class Forecast:
    """Measures how long steps and stops take, apart, and says once what is left of both.

    Stops lie dense at early times of a logarithmic schedule: time per step, measurements included, would
    promise far too long a run. The first stretch does not count: it may compile.

    Parameters
    ----------
    schedule : Schedule
    time_step : float
    clock : callable
        Seconds.
    """

    def __init__(
        self, schedule: Schedule, time_step: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.schedule, self.time_step, self.clock = schedule, time_step, clock
        self._since = clock()
        self._step: int | None = None
        self._steps = self._stops = 0
        self._advancing = self._measuring = 0.0
        self._said = False

    def stretch(self, run_time: float, position: int) -> TimeLeft | None:
        """Note that a stretch ended at `run_time`, on the way to the stop with this index.

        Returns
        -------
        TimeLeft or None
            The pace, at the first stretch after which it is known; never again.
        """
        lapse, before = self._lapse(), self._step
        self._step = round(run_time / self.time_step)
        if before is None:
            return None
        self._advancing += lapse
        self._steps += self._step - before
        if self._said or self._advancing + self._measuring < MEASURED:
            return None
        self._said = True
        step = self._advancing / self._steps
        steps = round(float(self.schedule.times[-1]) / self.time_step) - self._step
        stops = len(self.schedule) - position
        return TimeLeft(steps * step + stops * self._measuring / max(self._stops, 1), step)

    def stop(self) -> None:
        """Note that all that is due at a stop is done."""
        lapse = self._lapse()
        if self._step is not None:
            self._measuring += lapse
            self._stops += 1

    def skip(self) -> None:
        """Leave out the time since the last note."""
        self._lapse()

    def _lapse(self) -> float:
        before, self._since = self._since, self.clock()
        return self._since - before


class Progress:
    """What one process shows of a run, on stderr: a bar in a terminal, the forecast anywhere.

    Parameters
    ----------
    run : Run
    recorder : Recorder
        Has the energy that the bar shows.
    title : str
    result : Path or None
        The file that the run writes; None if nothing of it is kept.
    shown : bool
        False: nothing at all.
    """

    def __init__(self, run: Run, recorder: Recorder, title: str, result: Path | None, shown: bool) -> None:
        self.recorder, self.result = recorder, result
        step = run.system.time_step
        self._forecast = Forecast(run.schedule, step) if shown and step is not None else None
        self._bar = tqdm(
            total=round(float(run.schedule.times[-1]), 9),
            initial=run.time,
            # None: only where someone can see it.
            disable=None if shown else True,
            bar_format=BAR,
            desc=title[:40],
        )

    def stretch(self, run: Run) -> None:
        """Note that a stretch ended."""
        energy = self.recorder.last("energy", run.time) if run.position else None
        self._bar.n = run.time
        self._bar.set_postfix_str("" if energy is None else f"energy {np.mean(energy):.4f}", refresh=False)
        self._bar.update(0)
        pace = self._forecast.stretch(run.time, run.position) if self._forecast else None
        if pace is not None and pace.left > LONG:
            tqdm.write(announcement(pace, self.result), file=sys.stderr)

    def stop(self) -> None:
        """Note that all that is due at a stop is done."""
        if self._forecast:
            self._forecast.stop()

    def skip(self) -> None:
        """Leave the time since the last note out of the forecast: it was no part of the run."""
        if self._forecast:
            self._forecast.skip()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


@contextmanager
def preparing(
    title: str, shown: bool, named: str = "start", heard: Listener | None = None, begun: Saved | None = None
) -> Iterator[None]:
    """Show, in a terminal, how far something is that takes long: a start, or what is measured at the end.

    Parameters
    ----------
    title : str
    shown : bool
    named : str
        What the bar calls it.
    heard : callable, optional
        Called at every report, as `machine.reports.report` is; it may raise to interrupt the work.
    begun : Saved, optional
        Where an earlier process left a start.
    """
    bar_format = f"{{desc}} {{percentage:3.0f}}%|{{bar}}| {named} [{{elapsed}}, {{remaining}} left]"
    # What that is made at once has no bar: it is drawn after `delay` seconds, and leaves nothing behind.
    bar = tqdm(
        total=1.0,
        disable=None if shown else True,
        bar_format=bar_format,
        desc=title[:40],
        delay=1,
        leave=False,
    )

    def show(done: float, place: Callable[[], Place] | None) -> None:
        bar.n = done
        bar.update(0)
        if heard is not None:
            heard(done, place)

    with bar, heard_by(show, begun):
        yield


def announcement(pace: TimeLeft, result: Path | None) -> str:
    """Return the line that says how long a run will take, and how to stop it."""
    return f"about {spoken(pace.left)} to go ({spoken(pace.step)} per step); {how_to_stop(result)}"


def how_to_stop(result: Path | None) -> str:
    """Say how a long run is stopped; `result` is the file that it writes, None if nothing of it is kept."""
    if result is None:
        return "give output.path, or what it has computed is lost when it stops"
    return f"Ctrl-C stops it, `langevin resume {result}` goes on"


def spoken(seconds: float) -> str:
    """Return a duration to two digits or so, in the unit that fits."""
    length, name = next((length, name) for least, length, name in UNITS if seconds >= least)
    number = seconds / length
    return f"{number:.{0 if number >= 9.95 else 1}f} {name}"
