"""What would not fit in memory, said before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable

#: Bytes below which nobody looks how much is free.
SMALL = 2**28


def room_faults(needed: float, said: str) -> Iterable[str]:
    """Yield that there is no room for what a run keeps in memory.

    Parameters
    ----------
    needed : float
        Bytes.
    said : str
        The keys that it follows from, with their values.
    """
    if needed <= SMALL:
        return
    # Imported here: most runs are small.
    import psutil

    free = psutil.virtual_memory().available
    if needed > free:
        yield f"{said}: needs {needed / 1e9:.3g} GB of memory, {free / 1e9:.3g} GB are free; allowed: less"
