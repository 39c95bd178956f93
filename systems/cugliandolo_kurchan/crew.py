"""How many processors a piece of work may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numba
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@cache
def _libraries() -> ThreadpoolController:
    # Looked for once: it takes a walk through all loaded libraries.
    return ThreadpoolController()


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Use no more processors than this."""
    before = numba.get_num_threads()
    available: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    numba.set_num_threads(min(threads, available))
    try:
        yield
    finally:
        numba.set_num_threads(before)


@contextmanager
def crew(enough: bool) -> Iterator[None]:
    """Stay on one processor unless there is enough work: waking others costs more than a small loop.

    BLAS always stays on one: the order of its sums depends on how many there are.
    """
    with at_most(numba.get_num_threads() if enough else 1), _libraries().limit(limits=1, user_api="blas"):
        yield
