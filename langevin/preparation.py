"""How far a start, or what is measured at the end, is: systems that need long report, the bar listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[float], None] | None] = ContextVar("listener", default=None)


def report(done: float) -> None:
    """Say which part is done, from 0 to 1; nothing happens if nobody listens."""
    listener = _listener.get()
    if listener is not None:
        listener(done)


@contextmanager
def heard_by(listener: Callable[[float], None]) -> Iterator[None]:
    """Pass what is reported inside on to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
