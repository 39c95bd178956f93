"""Threads for compiled kernels, which leave the interpreter's lock while they compute.

They are Python's own. Threads of numba (OpenMP, or its work queue) would end every process that is forked
after their first use, or, used from two Python threads at once, the process itself; and they are no more than
NUMBA_NUM_THREADS.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


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


class _Blas:
    """BLAS on one thread for as long as anybody asks for it: the limit holds for the whole process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._limit = _libraries().limit(limits=1, user_api="blas")
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limit.restore_original_limits()

    def after_fork(self) -> None:
        """Only the thread that forked lives on; the others will never leave."""
        self._lock = threading.Lock()


@cache
def _libraries() -> ThreadpoolController:
    # Looked for once: it takes a walk through all loaded libraries.
    return ThreadpoolController()


_BLAS = _Blas()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_BLAS.after_fork)


@contextmanager
def single_blas() -> Iterator[None]:
    """Let each product of matrices run on the thread that asks for it: so its sums have one order.

    Several threads may be inside at once: the first sets the limit, the last one lifts it.
    """
    _BLAS.enter()
    try:
        yield
    finally:
        _BLAS.leave()
