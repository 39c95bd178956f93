"""On a GPU several replicas compute at once, each in a lane of its own, with captured steps.

A mini-batch of one network leaves a large GPU half empty. Lanes are streams of commands that run side by
side; a thread gives commands for a few steps of each in turn. Captured steps know their tensors by addresses.
They work on the memory of the state that is first seen, so that no second copy of the weights is needed: a
run moves its state in place. When another state comes there is a copy; all are brought there from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..descent.training import Captured, Stepper
from ..schedules import Rates

Result = TypeVar("Result")

#: Weights of a group's replicas, and their slots.
Rows = tuple[Tensor, dict[str, Tensor]]

#: Lanes, at most: each has memory of its own for what lies between the layers.
LANES = 4
#: Steps that are given to a lane before it is the next one's turn.
TURN = 8


class Lanes:
    """So many lanes of a device.

    Parameters
    ----------
    groups : int
        That are to be carried out; a group k takes lane k mod `LANES`.
    device : torch.device
        A GPU; elsewhere lanes are taken one after the other.
    """

    def __init__(self, groups: int, device: torch.device) -> None:
        self.count = min(groups, LANES)
        self._device = device
        self._pools: dict[int, Any] = {}

    @cached_property
    def streams(self) -> list[Any]:
        """A stream for each lane of a GPU."""
        stream: Any = torch.cuda.Stream
        return [stream(self._device) for _ in range(self.count)] if self._device.type == "cuda" else []

    def stream(self, group: int) -> Any:
        """Return the stream of a group's lane; None where there are none."""
        return self.streams[group % self.count] if self.streams else None

    def pool(self, group: int) -> Any:
        """Return the memory of captured steps of a lane: they never run at the same time."""
        lane = group % self.count
        if lane not in self._pools and self.streams:
            self._pools[lane] = torch.cuda.graph_pool_handle()
        return self._pools.get(lane)

    def of(self, group: int) -> tuple[Any, Any]:
        """Return stream and memory of a group's lane."""
        return self.stream(group), self.pool(group)

    def take_turns(self, tasks: Sequence[Generator[None, None, Result]]) -> list[Result]:
        """Return what tasks return, which give commands for a few steps and yield."""
        results: dict[int, Result] = {}
        for first in range(0, len(tasks), self.count):
            self._fork()
            open_tasks = dict(enumerate(tasks[first : first + self.count], first))
            while open_tasks:
                for number, task in list(open_tasks.items()):
                    with self._in(number):
                        try:
                            next(task)
                        except StopIteration as end:
                            results[number] = end.value
                            del open_tasks[number]
            self._join()
        return [results[number] for number in range(len(tasks))]

    def _in(self, group: int) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self.stream(group)) if self.streams else nullcontext()

    def _fork(self) -> None:
        """Let lanes wait for what was done outside of them."""
        for stream in self.streams:
            stream.wait_stream(torch.cuda.current_stream(self._device))

    def _join(self) -> None:
        """Let what comes after wait for the lanes."""
        for stream in self.streams:
            torch.cuda.current_stream(self._device).wait_stream(stream)


def ended(task: Generator[None, None, Result]) -> Result:
    """Return what a task returns that takes no turns with others."""
    while True:
        try:
            next(task)
        except StopIteration as end:
            result: Result = end.value
            return result


class CapturedSteps:
    """The captured steps of all groups, and the memory that they work on."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._rows: dict[int, Rows] = {}
        self._apart: set[int] = set()
        self._captured: dict[int, Captured] = {}

    def bind(self, number: int, stepper: Stepper, rows: Rows) -> None:
        """Let a group's stepper work on rows of a state: there, or on a copy where captured steps find it."""
        known = self._rows.get(number)
        if known is None:
            self._move_to(number, stepper, rows)
        elif number in self._apart:
            copy(known, rows)
        elif not _same(known, rows):
            # The memory known so far is another state's, which may still be in use.
            self._apart.add(number)
            weights, slots = rows
            own = weights.clone(), {name: slot.clone() for name, slot in slots.items()}
            self._move_to(number, stepper, own)

    def _move_to(self, number: int, stepper: Stepper, rows: Rows) -> None:
        self._captured.pop(number, None)
        self._rows[number] = rows
        stepper.bind(*rows)

    def store(self, number: int, rows: Rows) -> None:
        """Bring what was changed to the state from which it came."""
        if number in self._apart:
            copy(rows, self._rows[number])

    def of(self, number: int, stepper: Stepper, index: Tensor, rates: Rates) -> Callable[..., Tensor]:
        """Return what takes a group's steps; it is captured at the first call, as `Captured`."""
        if number not in self._captured:
            self._captured[number] = Captured(stepper, index, rates, *self._lanes.of(number))
        return self._captured[number].run


def copy(target: Rows, source: Rows) -> None:
    """Copy weights and slots."""
    target[0].copy_(source[0])
    for name, slot in target[1].items():
        slot.copy_(source[1][name])


def _same(a: Rows, b: Rows) -> bool:
    """Return whether both are the same places in memory."""
    pairs = [(a[0], b[0]), *((slot, b[1][name]) for name, slot in a[1].items())]
    return all(p.data_ptr() == q.data_ptr() and p.shape == q.shape for p, q in pairs)
