"""A run that does not fit in memory is refused before anything is computed, or where it asks for more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from langevin.errors import LangevinError

#: Bytes below which nobody looks how much is free.
SMALL = 2**28
#: What numpy and torch say, in errors of other kinds, of arrays that no memory holds.
TOO_LARGE = (
    "array is too big",
    "Maximum allowed dimension exceeded",
    "can't allocate memory",
    "not enough memory",
    "Storage size calculation overflowed",
)


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


@contextmanager
def room_explained() -> Iterator[None]:
    """Turn "out of memory", in the words of whoever met it, into one line that says what to reduce."""
    try:
        yield
    except (MemoryError, ValueError, RuntimeError) as error:
        said = str(error).splitlines()[0] if str(error) else "no room"
        if not isinstance(error, MemoryError) and not any(words in said for words in TOO_LARGE):
            raise
        raise LangevinError(
            f"the memory of this machine does not hold the run ({said}): reduce ensemble.replicas, the sizes "
            "in [system] and [data], or the numbers of record.waiting_times and record.lags"
        ) from None
