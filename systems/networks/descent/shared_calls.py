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

from langevin.core.ensemble import Ensemble
from langevin.errors import UserError
from langevin.machine.interruption import carried
from langevin.systems.threads import Pool

from .stacks import STACK, stack_size

Result = TypeVar("Result")

#: On a CPU, replicas of nets with up to this many weights are stacked: operations are mostly overhead then.
SMALL = 6000
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
        size = stack_size(replicas, STACK if device == "cpu" else max(1, STACK_WEIGHTS // dof))
    return [range(start, min(start + size, replicas)) for start in range(0, replicas, size)]


def groups_of(ensemble: Ensemble, dof: int, execution: str, device: str) -> list[range]:
    """Return the positions of the replicas that share each call: of a shard the groups that the run has.

    Raises
    ------
    UserError
        If a shard has some of the replicas of a group: alone they would leave other bits.
    """
    groups = call_groups(ensemble.whole.size, dof, execution, device)
    if ensemble.run is None:
        return groups
    place = {label: position for position, label in enumerate(ensemble.replica.tolist())}
    labels = ensemble.run.replica
    own = []
    for group in groups:
        inside = [place[k] for k in labels[group.start : group.stop].tolist() if k in place]
        if inside and len(inside) < len(group):
            allowed = f"up to {len(groups)} shards, or " if device == "cpu" and len(groups) > 1 else ""
            raise UserError(
                f"ensemble.shards: {len(group)} replicas of this network share a call, and in parts they "
                f'round otherwise; allowed: {allowed}dynamics.execution = "sequential"'
            )
        if inside:
            own.append(range(inside[0], inside[-1] + 1))
    return own


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
