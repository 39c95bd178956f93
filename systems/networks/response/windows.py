"""When the responses of a run are measured, and what takes the steps between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

from torch import Tensor

from langevin.core.schedule import Schedule

from ..descent.state import NetworkState


class Advance(Protocol):
    """Takes the steps first … last − 1 in place, in a field; returns step and position of what diverged."""

    def __call__(
        self, state: NetworkState, first: int, last: int, streams: Sequence[Any], field: Tensor | None = None
    ) -> tuple[int, int] | None:
        """Take them."""


class Windows:
    """When the responses of a run begin and end, in steps.

    Parameters
    ----------
    schedule : Schedule
    """

    def __init__(self, schedule: Schedule) -> None:
        #: Waiting time → time of its last pair.
        self.ends: dict[int, int] = {}
        for stop in schedule.stops:
            for waiting, _ in stop.pairs:
                self.ends[round(schedule.waiting_times[waiting])] = round(stop.time)

    def segments(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return the stretches of first … last between which something begins or ends."""
        inside = {t for pair in self.ends.items() for t in pair if first < t < last}
        return list(pairwise([first, *sorted(inside), last])) if last > first else []

    @property
    def most(self) -> int:
        """The largest number of waiting times in progress at once."""
        return max((sum(t <= now < end for t, end in self.ends.items()) for now in self.ends), default=0)

    def settle(self, kept: dict[int, Any], now: int, begin: Callable[[], Any]) -> None:
        """Drop what ends by now, and keep what `begin` returns of a waiting time that begins."""
        for t in [t for t in kept if self.ends.get(t, now) <= now]:
            del kept[t]
        if now in self.ends and now not in kept:
            kept[now] = begin()


def times_of(saved: Mapping[str, Any], start: str, end: str) -> list[int]:
    """Return the waiting times that arrays are saved of, in order."""
    names = (n.removeprefix(f"{start}_") for n in saved if n.startswith(f"{start}_"))
    return sorted(int(n.removesuffix(end)) for n in names if n.removesuffix(end).isdigit())
