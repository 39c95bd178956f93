"""A bar shows how far a run is, and one line says how long it will take, to whoever has to plan."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from langevin.core.capabilities import HasClock
from langevin.core.probe import Run
from langevin.core.schedule import Schedule
from langevin.machine.bars import bar
from langevin.machine.duration import spoken
from langevin.machine.reports import Listener, Place, Saved, heard_by
from langevin.record.recorder import Recorder
from langevin.speech import command

from .decades import DecadeForecast, TimeLeft, decade
from .log import Log, left, percent, reached, shortly

BAR = "{desc} {percentage:3.0f}%|{bar}| t = {n:.4g}/{total:.4g} [{elapsed}{postfix}]"
#: Of a run whose cost goes by the logarithm of time.
DECADE_BAR = "{desc} {percentage:3.0f}%|{bar}| {unit} [{elapsed}{postfix}]"

#: Seconds that the pace is measured for, and seconds left from which on a run is announced as long.
MEASURED, LONG = 5.0, 3600.0
#: Stops of one kind that may be judged by a single one, which may have compiled.
FEW = 3


#: What is due at a stop: axes of times, and whether there are pairs.
Kind: TypeAlias = tuple[frozenset[str], bool]


@dataclass
class _Cost:
    """What stops of one kind took, in seconds; the first apart, for it may compile."""

    first: float
    later: float = 0.0
    count: int = 0

    def add(self, lapse: float) -> None:
        self.later += lapse
        self.count += 1

    @property
    def mean(self) -> float:
        return self.later / self.count if self.count else self.first


class Forecast:
    """Measures how long steps and stops of every kind take, apart, and says what is left of all of them.

    Stops lie dense at early times of a logarithmic schedule, and spectra are due at few: time per step,
    measurements included, would promise far too long a run. The first stretch does not count, nor does the
    first stop of a kind that comes again: they may compile. As long as most of what is left is judged by such
    a first stop, nothing is said. Work on a GPU is waited for before either ends, since both leave numbers on
    the host.

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
        self._end = round(float(schedule.times[-1]) / time_step)
        self._since = clock()
        self._step: int | None = None
        self._steps = 0
        self._advancing = 0.0
        self._kinds = [(frozenset(stop.due), bool(stop.pairs)) for stop in schedule.stops]
        #: Kind of stops → how many are to come, and what those took that have been.
        self._ahead = Counter[Kind]()
        self._costs: dict[Kind, _Cost] = {}
        self._next = 0
        self._said = False

    def stretch(self, run_time: float, position: int) -> TimeLeft | None:
        """Note that a stretch ended at `run_time`, on the way to the stop with this index.

        Returns
        -------
        TimeLeft or None
            The pace, at the first stretch after which it is known; never again.
        """
        lapse, before = self._lapse(), self._step
        self._step, self._next = round(run_time / self.time_step), position
        if before is None:
            self._ahead.update(self._kinds[position:])
            return None
        self._advancing += lapse
        self._steps += self._step - before
        if self._said:
            return None
        pace = self.pace()
        self._said = pace is not None
        return pace

    def stop(self) -> None:
        """Note that all that is due at a stop is done."""
        lapse = self._lapse()
        if self._step is not None:
            kind = self._kinds[self._next]
            self._ahead[kind] -= 1
            if kind in self._costs:
                self._costs[kind].add(lapse)
            else:
                self._costs[kind] = _Cost(lapse)

    def skip(self) -> None:
        """Leave out the time since the last note."""
        self._lapse()

    def pace(self) -> TimeLeft | None:
        """Return the pace, and what is left at it; None as long as it is not known."""
        timed = self._advancing + sum(cost.later for cost in self._costs.values())
        if not self._steps or self._step is None or timed < MEASURED:
            return None
        step = self._advancing / self._steps
        usual = self._usual()
        whole, guessed = (self._end - self._step) * step, 0.0
        for kind, count in self._ahead.items():
            cost = self._costs.get(kind, usual)
            seconds = count * cost.mean
            whole += seconds
            guessed += 0.0 if cost.count or count <= FEW else seconds
        return None if guessed > whole / 2 else TimeLeft(whole, step)

    def _usual(self) -> _Cost:
        """Return what stops of a kind are taken to cost that has not been yet: as much as the others."""
        costs = self._costs.values()
        if count := sum(cost.count for cost in costs):
            return _Cost(0.0, sum(cost.later for cost in costs), count)
        return _Cost(sum(cost.first for cost in costs) / max(len(costs), 1))

    def _lapse(self) -> float:
        before, self._since = self._since, self.clock()
        return self._since - before


class Progress:
    """What one process shows of a run on stderr: a bar where one is seen, else lines; the forecast anywhere.

    Parameters
    ----------
    run : Run
    recorder : Recorder
        Has the energy that is shown.
    title : str
    result : Path or None
        The file that the run writes; None if nothing of it is kept.
    shown : bool
        False: nothing at all.
    log : Log, optional
        Where lines are written.
    """

    def __init__(
        self,
        run: Run,
        recorder: Recorder,
        title: str,
        result: Path | None,
        shown: bool,
        log: Log | None = None,
    ) -> None:
        self.recorder, self.title, self.result, self.shown = recorder, title, result, shown
        self.log = log or Log(False)
        self._end, self._energy = float(run.schedule.times[-1]), ""
        system, step = run.system, run.system.time_step
        #: Time → the clock that the run's cost goes by.
        self._clock: Callable[[float], float] = float
        self._forecast: Forecast | DecadeForecast | None = None
        self._by_decades = step is None and isinstance(system, HasClock)
        if step is not None:
            self._forecast = Forecast(run.schedule, step)
        elif isinstance(system, HasClock):
            self._clock = system.progress_clock
            self._forecast = DecadeForecast(self._clock, self._end)
        self._bar = bar(
            title,
            shown,
            total=round(self._clock(self._end), 9),
            initial=self._clock(run.time),
            bar_format=DECADE_BAR if self._by_decades else BAR,
            unit=self._reached(run.time),
        )

    def stretch(self, run: Run) -> None:
        """Note that a stretch ended."""
        # Where it is due and not yet measured stands the one before.
        for now in (run.time, np.nextafter(run.time, 0.0)) if run.position else ():
            energy = self.recorder.last("energy", now)
            if energy is not None and not np.isnan(mean := np.mean(energy)):
                self._energy = f"energy {mean:.5g}"
                break
        pace = self._forecast.stretch(run.time, run.position) if self._forecast else None
        self._draw(run.time)
        if self.shown and pace is not None and pace.left > LONG:
            self._bar.write(announcement(pace, self.result), file=sys.stderr)
        if self.log.due:
            where = decade(run.time, self._end) if self._by_decades else ""
            self.log.say(self.title, reached(run.time, self._end, where), self._energy, left(self.left))

    def _draw(self, now: float) -> None:
        if self._bar.disable:
            return
        # Of less than a second nothing is said.
        said = [shortly(self.left), self._energy]
        if self._by_decades:
            self._bar.unit = self._reached(now)
        self._bar.n = self._clock(now)
        self._bar.set_postfix_str(", ".join(filter(None, said)), refresh=False)
        self._bar.update(0)

    def _reached(self, now: float) -> str:
        return ", ".join(filter(None, [f"t = {now:.2g}", decade(now, self._end)]))

    def part(self, now: float) -> float:
        """Return which part of the way a time is, by the clock that the cost goes by."""
        return self._clock(now) / self._clock(self._end)

    @property
    def forecasts(self) -> bool:
        """Whether the pace of the run is measured, and known in time."""
        return self._forecast is not None

    @property
    def left(self) -> float | None:
        """Seconds that the run will take from here; None as long as it is not known."""
        pace = self._forecast.pace() if self._forecast else None
        return None if pace is None else pace.left

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
    title: str,
    shown: bool,
    named: str = "start",
    heard: Listener | None = None,
    begun: Saved | None = None,
    log: Log | None = None,
) -> Iterator[None]:
    """Show how far something is that takes long: a start, or what is measured at the end.

    Parameters
    ----------
    title : str
    shown : bool
    named : str
        What the bar, or a line, calls it.
    heard : callable, optional
        Called at every report, as `machine.reports.report` is; it may raise to interrupt the work.
    begun : Saved, optional
        Where an earlier process left a start.
    log : Log, optional
        Where lines are written.
    """
    bar_format = f"{{desc}} {{percentage:3.0f}}%|{{bar}}| {named} [{{elapsed}}{{postfix}}]"
    # What that is made at once has no bar: it is drawn after `delay` seconds, and leaves nothing behind.
    drawn = bar(title, shown, total=1.0, bar_format=bar_format, delay=1, leave=False)
    log = log or Log(False)
    rate = Rate(log.clock)

    def show(done: float, place: Callable[[], Place] | None) -> None:
        rate.note(done)
        drawn.n = done
        drawn.set_postfix_str(shortly(rate.left(1.0)), refresh=False)
        drawn.update(0)
        if log.due:
            log.say(title, f"{named} {percent(done)}", left(rate.left(1.0)))
        if heard is not None:
            heard(done, place)

    with drawn, heard_by(show, begun):
        yield


class Rate:
    """How fast something goes that is known by the part of it that is done.

    Parameters
    ----------
    clock : callable
        Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0)

    def note(self, done: float) -> None:
        """Note what is done; what had been at the first note does not count."""
        self._last = self._clock(), done
        self._first = self._first or self._last

    def left(self, whole: float) -> float | None:
        """Return the seconds until all is done; None as long as they are not known."""
        if self._first is None:
            return None
        passed, done = (last - first for last, first in zip(self._last, self._first, strict=True))
        if passed < MEASURED or done <= 0:
            return None
        return max(0.0, whole - self._last[1]) * passed / done


def announcement(pace: TimeLeft, result: Path | None) -> str:
    """Return the line that says how long a run will take, and how to stop it."""
    step = "" if pace.step is None else f" ({spoken(pace.step)} per step)"
    return f"about {spoken(pace.left)} to go{step}; {how_to_stop(result)}"


def how_to_stop(result: Path | None) -> str:
    """Say how a long run is stopped; `result` is the file that it writes, None if nothing of it is kept."""
    if result is None:
        return "give output.path, or what it has computed is lost when it stops"
    return f"Ctrl-C stops it, {command('resume', result)} goes on"
