"""Products of matrices on one thread: the last bits of BLAS's sums depend on how many threads there are."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


class _Blas:
    """BLAS on one thread for as long as anybody asks for it: the limit holds for the whole process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                _allow_this_thread()
                self._limit = _libraries().limit(limits=1, user_api="blas")
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                _allow_this_thread()
                self._limit.restore_original_limits()
                _allow_this_thread()

    def after_fork(self) -> None:
        """Only the thread that forked lives on; the others will never leave."""
        self._lock = threading.Lock()


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    # Looked for once: it takes a walk through all loaded libraries.
    return ThreadpoolController()


def _allow_this_thread() -> None:
    """Let the thread that calls set the limit of OpenBLAS.

    From version 3.8 on threadpoolctl lets only the thread do that which was the first to do it, for as long
    as it lives: others ask in vain, without a word.
    """
    from threadpoolctl import OpenBLASController

    allow = getattr(OpenBLASController, "clear_controlling_thread", None)
    if allow is not None:
        allow(force=True)


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
