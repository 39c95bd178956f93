"""A run that does not fit in memory is refused before anything is computed, or where it asks for more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
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


def room_faults(
    needed: float, said: str, shards: Callable[[float], int | None] = lambda _: None
) -> Iterable[str]:
    """Yield that there is no room for what a run keeps in memory.

    Parameters
    ----------
    needed : float
        Bytes.
    said : str
        The keys that it follows from, with their values.
    shards : callable
        Given the bytes that are free, returns how many shards the run needs; None: shards do not help.
    """
    if needed <= SMALL:
        return
    # Imported here: most runs are small.
    import psutil

    free = psutil.virtual_memory().available
    if needed > free:
        yield (
            f"{said}: needs {needed / 1e9:.3g} GB of memory, {free / 1e9:.3g} GB are free; allowed: "
            f"less{or_shards(shards(free))}"
        )


def or_shards(count: int | None) -> str:
    """Say that a run fits in so many shards; nothing if it fits in none."""
    return "" if count is None else f", or ensemble.shards ≥ {count} (each fits by itself)"


def shards_by_replica(each: float, free: float, replicas: int) -> int | None:
    """Return how many shards `replicas` need of which each keeps `each` bytes; None if not even one fits."""
    fitting = int(free // each)
    return -(-replicas // fitting) if 0 < fitting < replicas else None


def _shards_of_array(error: BaseException, replicas: int) -> int | None:
    """Return how many shards an array asks for that numpy had no room for, if it is one of all replicas."""
    import psutil

    shape, kind = getattr(error, "shape", ()), getattr(error, "dtype", None)
    if replicas not in shape or kind is None:
        return None
    each = kind.itemsize * math.prod(shape) / replicas
    return shards_by_replica(each, psutil.virtual_memory().available, replicas)


@contextmanager
def room_explained(replicas: Callable[[], int] = lambda: 1) -> Iterator[None]:
    """Turn "out of memory", in the words of whoever met it, into one line that says what to reduce.

    Parameters
    ----------
    replicas : callable
        Returns of how many replicas the run is; 1 where it is not to be cut into shards.
    """
    try:
        yield
    except (MemoryError, ValueError, RuntimeError) as error:
        said = str(error).splitlines()[0] if str(error) else "no room"
        if not isinstance(error, MemoryError) and not any(words in said for words in TOO_LARGE):
            raise
        shards = _shards_of_array(error, replicas()) if replicas() > 1 else None
        raise LangevinError(
            f"the memory of this machine does not hold the run ({said}): reduce ensemble.replicas, the sizes "
            "in [system] and [data], or the numbers of record.waiting_times and record.lags"
            f"{or_shards(shards)}"
        ) from None
