"""What another process has is waited for: it may still write the checkpoint of what it had to give up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from langevin.files.locking import Taken

Result = TypeVar("Result")

#: Seconds for which files are waited for that another process has, and between two looks.
PATIENCE, LOOK = 120.0, 1.0


def patiently(task: Callable[[], Result]) -> Result:
    """Return task(), which waits as long as another process has the files; not for ever."""
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            return task()
        except Taken:
            if time.monotonic() > ends:
                raise
            time.sleep(LOOK)
