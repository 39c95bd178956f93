"""Ctrl-C and SIGTERM, heard where it suits the work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def listening(note: Callable[[str], None]) -> Iterator[None]:
    """Call `note` with "Ctrl-C" or "SIGTERM" when one comes, and go on; a second one acts at once.

    Only the main thread hears signals: in another one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(number: int, frame: FrameType | None) -> None:
        note("Ctrl-C" if number == signal.SIGINT else "SIGTERM")
        signal.signal(number, before[signal.Signals(number)])

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
