"""Threads for compiled kernels, which leave the interpreter's lock while they compute.

They are Python's own. Threads of numba (OpenMP, or its work queue) would end every process that is forked
after their first use, or, used from two Python threads at once, the process itself; and they are no more than
NUMBA_NUM_THREADS.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def allowed(threads: int) -> int:
    """Return how many of these threads kernels may have.

    No more than numba's own kernels: NUMBA_NUM_THREADS and ``numba.set_num_threads`` limit ours, too.
    """
    import numba

    try:
        return int(min(threads, numba.get_num_threads()))
    except ValueError:
        # The layer that NUMBA_THREADING_LAYER names is not there: numba's own kernels would not run at all.
        return threads


class Pool:
    """A pool of threads; a forked process makes it anew, since of its parent's threads none lives there.

    Parameters
    ----------
    threads : int
    prepare : callable, optional
        Called with `given` in every thread that begins.
    given : Any
    """

    def __init__(self, threads: int, prepare: Callable[..., None] | None = None, *given: Any) -> None:
        self.threads, self._prepare, self._given = threads, prepare, given
        self._made: tuple[int, ThreadPoolExecutor] | None = None

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The threads of this process."""
        process = os.getpid()
        if self._made is None or self._made[0] != process:
            made = ThreadPoolExecutor(self.threads, "langevin", self._prepare, self._given)
            self._made = process, made
        return self._made[1]

    def share(self, kernel: Callable[..., None], *arguments: Any) -> None:
        """Call ``kernel(*arguments, rank, team)`` for every rank below the team's size, side by side.

        Parameters
        ----------
        kernel : callable
            Carries out the part of the work that belongs to `rank`; parts must not depend on each other.
        """
        team = self.threads
        others = [self.executor.submit(kernel, *arguments, rank, team) for rank in range(1, team)]
        kernel(*arguments, 0, team)
        for other in others:
            other.result()


#: No thread but the caller's.
ALONE = Pool(1)
