"""Replicas share calls, and calls run side by side.

On a CPU a stepper runs on one thread of torch, and several run on as many Python threads: torch leaves the
interpreter's lock while it computes, and for nets of this size that is faster than two threads inside each
operation. How replicas are grouped depends on the network and their number alone, so that results do not
depend on the number of threads. Only when there are fewer steppers than threads, and a step is large, do
operations themselves use several threads; sums may then run in another order, and the last bits follow the
number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from langevin.machine.interruption import carried
from langevin.systems.threads import Pool

Result = TypeVar("Result")

#: On a CPU, replicas of nets with up to this many weights are stacked: operations are mostly overhead then.
SMALL = 6000
#: Replicas in a stack on a CPU: enough to hide the overhead, few enough to occupy every processor.
STACK = 16
#: On a GPU stacks hold up to this many weights together.
STACK_WEIGHTS = 10**7
#: Multiplications of a step, forward, from which on a stepper uses all threads that no other needs.
LARGE = 10**8


def call_groups(replicas: int, dof: int, execution: str, device: str) -> list[range]:
    """Return the positions of the replicas that share each call.

    Parameters
    ----------
    replicas : int
        R.
    dof : int
        Weights M of one replica.
    execution : str
        "sequential": every replica alone; "stacked"; "auto": by size.
    device : str
        "cpu" or "cuda".
    """
    if execution == "auto":
        execution = "stacked" if _stacking_pays(replicas, dof, device) else "sequential"
    size = 1
    if execution == "stacked":
        size = STACK if device == "cpu" else max(1, STACK_WEIGHTS // dof)
        # Even groups: twenty replicas make two stacks of ten, not sixteen and four.
        size = -(-replicas // -(-replicas // size))
    return [range(start, min(start + size, replicas)) for start in range(0, replicas, size)]


def _stacking_pays(replicas: int, dof: int, device: str) -> bool:
    if device == "cpu":
        return replicas > 1 and dof <= SMALL
    return replicas > 1 and 2 * dof <= STACK_WEIGHTS


class CallPool:
    """Carries out a task for every stepper, side by side where that pays.

    Parameters
    ----------
    steppers : int
    threads : int
        Processors that may be used.
    work : int
        Multiplications of one step of one stepper, roughly.
    device : str
        On a GPU everything runs on the calling thread.
    """

    def __init__(self, steppers: int, threads: int, work: int, device: str) -> None:
        self.workers = 1 if device != "cpu" else min(steppers, threads)
        self.inner = max(1, threads // self.workers) if work >= LARGE else 1
        self._pool: Pool | None = None
        if device == "cpu":
            # The caller's own number of threads is left as it is: torch keeps one for every thread.
            self._pool = Pool(self.workers, torch.set_num_threads, self.inner)

    def map(self, task: Callable[[int], Result], steppers: Sequence[int]) -> list[Result]:
        """Return task(number) for every stepper, in order."""
        if self._pool is None:
            return [task(number) for number in steppers]
        return list(self._pool.executor.map(carried(task), steppers))
