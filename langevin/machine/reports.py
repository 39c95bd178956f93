"""Systems that need long report how far a start is, or a measurement at the end, and where it stands.

A start that says where it is can be stopped there, or killed later, and goes on from there to the same bits:
`report` with a `Place`, and `saved` when it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .interruption import heed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Place:
    """Where a start is: all that it needs to go on.

    Attributes
    ----------
    arrays : mapping of str to ndarray
    generators : sequence of numpy.random.Generator
        What it draws from; where they stand is saved.
    """

    arrays: Mapping[str, NDArray[Any]]
    generators: Sequence[np.random.Generator] = ()


@dataclass(frozen=True)
class Saved:
    """The place that an earlier process has saved.

    Attributes
    ----------
    arrays : mapping of str to ndarray
    states : sequence
        Where the generators stood.
    """

    arrays: Mapping[str, NDArray[Any]]
    states: Sequence[Mapping[str, Any]]

    def restore(self, generators: Sequence[np.random.Generator]) -> None:
        """Set the generators to where they stood."""
        for generator, state in zip(generators, self.states, strict=True):
            generator.bit_generator.state = state


#: Told which part is done, and whom to ask for the place, if one is offered.
Listener: TypeAlias = Callable[[float, Callable[[], Place] | None], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_saved: ContextVar[Saved | None] = ContextVar("saved", default=None)


def report(done: float, place: Callable[[], Place] | None = None) -> None:
    """Say which part is done, from 0 to 1; it may raise `Interrupted`, if the run is asked to stop.

    Parameters
    ----------
    done : float
    place : callable, optional
        Gives the place of a start; asked for when it is saved. Whoever gives it reports about twice a second:
        from the first time on a request to stop waits for the next report.
    """
    listener = _listener.get()
    if listener is not None:
        listener(done, place)
    heed()


def saved() -> Saved | None:
    """Return where an earlier process left this start; None if it begins."""
    return _saved.get()


@contextmanager
def heard_by(listener: Listener, begun: Saved | None = None) -> Iterator[None]:
    """Pass what is reported inside on to `listener`; a start inside goes on from where it was saved."""
    tokens = _listener.set(listener), _saved.set(begun)
    try:
        yield
    finally:
        _listener.reset(tokens[0])
        _saved.reset(tokens[1])
