"""Signals and the wall time are heard at once where nothing is lost by it, else when it suits the work.

A run that is asked to stop writes its checkpoint and leaves. It is asked by Ctrl-C, by the signals that
queues and terminals send (`SIGNALS`), or because its wall time is over. While the state moves, or a file is
written, the request is noted (`Interruption.asked`), and heard after the stretch. While all that is done can
be done again, inside of `Interruption.at_once`, it is heard immediately, by an exception, as Python's own
Ctrl-C is. Threads that such work waits for call `heed` in between.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeVar

from langevin.errors import Interrupted

from .duration import seconds

Result = TypeVar("Result")

#: What terminals and queues send to have a program stop; not all of them exist everywhere.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)

#: Seconds in which a second SIGTERM is the same wish: in a job of Slurm one comes from the queue, one from
#: srun, which passes on what it has heard.
_ECHO = 1.0

#: Exit status of a run that its wall time has ended, that of timeout(1).
TIMED_OUT = 124

#: Part of the wall time that may be kept for the last checkpoint.
_MOST_RESERVED = 0.5


class Request(NamedTuple):
    """Who asks to stop.

    Attributes
    ----------
    how : str
        What follows "stopped": "by SIGTERM".
    exit_code : int
        Exit status that tells it.
    """

    how: str
    exit_code: int

    def interrupted(self) -> Interrupted:
        """Return the exception that says no more than this."""
        return Interrupted(f"stopped {self.how}", self.how, self.exit_code)


def by(number: int) -> Request:
    """Return the request that a signal is."""
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    return Request(f"by {name}", 128 + number)


class Interruption:
    """Whether a run is asked to stop, and by whom.

    Parameters
    ----------
    wall_time : float or str, optional
        After which time it is: seconds, or as `langevin.machine.duration` reads it.
    """

    #: Whether a second signal is noted, too, in place of acting at once.
    patient = False

    def __init__(self, wall_time: float | str | None = None) -> None:
        self._request: Request | None = None
        self._prompt = False
        self._alarmed = False
        said = wall_time if isinstance(wall_time, str) else f"{wall_time or 0:g} s"
        self._over = Request(f"at the wall time ({said})", TIMED_OUT)
        self._time = None if wall_time is None else seconds(wall_time)
        self._began = time.monotonic()
        self._reserve = 0.0

    @property
    def asked(self) -> Request | None:
        """Who has asked, if somebody has."""
        return self._heard()

    def _heard(self) -> Request | None:
        """Return who has asked this process."""
        if self._request is None and (left := self.left) is not None and left <= 0:
            self._request = self._over
        return self._request

    @property
    def left(self) -> float | None:
        """Seconds until it has to stop; None without a wall time."""
        if self._time is None:
            return None
        reserve = min(self._reserve, _MOST_RESERVED * self._time)
        return self._began + self._time - reserve - time.monotonic()

    def reserve(self, needed: float) -> None:
        """Keep so many seconds of the wall time for what has to be done when it is over."""
        self._reserve = needed
        self._set_alarm()

    def note(self, request: Request) -> None:
        """Ask to stop."""
        self._request = self._request or request

    def end(self) -> None:
        """Take the wall time for over, if there is one."""
        if self._time is not None:
            self.note(self._over)

    def heed(self) -> None:
        """Raise `Interrupted` if somebody has asked."""
        if self.asked is not None:
            raise self.asked.interrupted()

    def agree(self) -> None:
        """Agree with other processes of the run upon whether somebody has asked; alone, nothing is done."""
        return

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal raises `Interrupted` wherever the program is; as does one that came before."""
        self.heed()
        before, self._prompt = self._prompt, True
        try:
            yield
        finally:
            self._prompt = before
        self.heed()

    def wait(self) -> None:
        """From now on signals are only noted: whoever works asks often, and has something to save."""
        self._prompt = False

    # Signals.

    @contextmanager
    def handlers(self) -> Iterator[None]:
        """Inside, signals are heard, as far as they are nobody else's (`_taken`)."""

        terminated: list[float] = []

        def heard(number: int, frame: FrameType | None) -> None:
            self.note(by(number))
            if number == signal.SIGTERM and not self.patient:
                terminated.append(time.monotonic())
                if terminated[-1] > terminated[0] + _ECHO:
                    signal.signal(number, before[signal.SIGTERM])
                    os.kill(os.getpid(), number)
            # A second one acts at once; but whoever closes a terminal sends two of these.
            elif not self.patient and number != getattr(signal, "SIGHUP", None):
                signal.signal(number, before[signal.Signals(number)])
            self._raise()

        before = {number: signal.getsignal(number) for number in _taken()}
        set_ = [number for number in before if _set(number, heard)]
        try:
            with self._alarm():
                yield
        finally:
            for number in set_:
                signal.signal(number, before[number])

    def _raise(self) -> None:
        if self._prompt and self.asked is not None:
            # Once: what follows may need its time.
            self._prompt = False
            raise self.asked.interrupted()

    @contextmanager
    def _alarm(self) -> Iterator[None]:
        """Inside, the end of the wall time is a signal, too, unless somebody else uses the alarm clock.

        Without it, it is seen where somebody asks.
        """
        clock = getattr(signal, "SIGALRM", None)
        free = self._time is not None and clock is not None and _default(clock)
        free = free and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        if clock is None or not free or not _set(clock, self._rung):
            yield
            return
        self._alarmed = True
        self._set_alarm()
        try:
            yield
        finally:
            self._alarmed = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(clock, signal.SIG_DFL)

    def _rung(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            # More is reserved now, or less; or this clock is a little faster than the other.
            self._set_alarm()
        self._raise()

    def _set_alarm(self) -> None:
        if self._alarmed and (left := self.left) is not None:
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3))


_current: ContextVar[Interruption | None] = ContextVar("stop", default=None)

#: What listens to the signals of this process.
_listening: Interruption | None = None


@contextmanager
def listening(
    wall_time: float | str | None = None, kind: Callable[[float | str | None], Interruption] = Interruption
) -> Iterator[Interruption]:
    """Listen to signals, and to the clock; only the main thread hears signals.

    Inside of another `listening`, as a run of a sweep in this process is, the outer one is what listens, and
    has the wall time. What listens is made by `kind`, of the wall time.

    Yields
    ------
    Interruption

    Raises
    ------
    UserError
        If `wall_time` is no duration.
    """
    global _listening
    outer = _current.get()
    if outer is not None:
        yield outer
        return
    stop = kind(wall_time)
    token = _current.set(stop)
    try:
        if threading.current_thread() is not threading.main_thread():
            yield stop
            return
        before, _listening = _listening, stop
        try:
            with stop.handlers():
                yield stop
        finally:
            _listening = before
    finally:
        _current.reset(token)


def heed() -> None:
    """Raise `Interrupted` if the run that this is part of is asked to stop; nothing outside of a run.

    For work that is long and can be done again, such as a measurement. Where the state of a run is changed
    in place, or noise has been drawn, it must not be called.
    """
    stop = _current.get()
    if stop is not None:
        stop.heed()


def carried(task: Callable[..., Result]) -> Callable[..., Result]:
    """Return a task for threads in which `heed` hears what the thread that calls this does."""
    context = copy_context()
    return lambda *arguments: context.copy().run(task, *arguments)


def request() -> None:
    """Ask the run of this process to stop, from any thread; a process without one ends, as by SIGTERM."""
    stop = _listening
    # A second signal would act at once, and the first one may have come from elsewhere.
    if stop is None or stop.asked is None:
        # To the process: only the main thread can be woken from what it waits for.
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Inside, nothing that this thread imports sets a handler of signals, as dask-jobqueue does for Ctrl-C.

    In other threads than the main one, where Python allows no handlers, such an import works, too.
    """
    # It loads asyncio.
    from unittest.mock import patch

    set_handler, thread = signal.signal, threading.get_ident()

    def other_threads_alone(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if threading.get_ident() == thread else set_handler(number, handler)

    with patch.object(signal, "signal", other_threads_alone):
        yield


def _set(number: int, handler: Callable[[int, FrameType | None], None]) -> bool:
    """Set a handler; return whether that is possible: in the main interpreter alone."""
    try:
        signal.signal(number, handler)
    except ValueError:
        return False
    return True


def _taken() -> list[signal.Signals]:
    """Return the signals that this process may listen to.

    Ctrl-C and SIGTERM where Python handles them, or nobody; the others where nobody does. One that is
    ignored, as nohup wants it, or that another program's code handles, stays so.
    """
    own = {signal.SIGINT, signal.SIGTERM}
    return [
        number
        for number in SIGNALS
        if _default(number) or (number in own and callable(signal.getsignal(number)))
    ]


def _default(number: int) -> bool:
    """Return whether a signal does what it does by default."""
    return signal.getsignal(number) == signal.SIG_DFL and number not in _handled()


def _handled() -> set[int]:
    """Return the signals that are caught or ignored, as far as the system says so: Python does not know all.

    A library in C may have set a handler since Python began.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return set()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigIgn:", "SigCgt:"))]
    return {number for number in range(1, 65) if any(mask >> (number - 1) & 1 for mask in masks)}


@contextmanager
def interruptible(stop: Interruption, left: Callable[[], str]) -> Iterator[None]:
    """Inside, a request to stop is heard at once, and what it leaves is said.

    Parameters
    ----------
    stop : Interruption
    left : callable
        Returns what follows "stopped by …".
    """
    try:
        with stop.at_once():
            yield
    except Interrupted as error:
        raise error.saying(left()) from None
