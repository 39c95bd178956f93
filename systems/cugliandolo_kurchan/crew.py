"""How many processors a piece of work is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba


@contextmanager
def crew(enough: bool) -> Iterator[None]:
    """Stay on one processor unless there is enough work: waking and joining others costs more than small loops."""
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(before if enough else 1)
        yield
    finally:
        numba.set_num_threads(before)
