"""Whether two loads of a data set are the same examples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Data

#: Examples that are compared at once.
AT_ONCE = 256


def same_data(one: Data, other: Data) -> bool:
    """Return whether two loads of data are the same training and test examples for every sample."""
    parts = ((one.train, other.train), (one.test, other.test))
    if any(a.inputs.shape != b.inputs.shape for a, b in parts):
        return False
    labelled = [(a.labels, b.labels) for a, b in parts]
    if any((a is None) != (b is None) for a, b in labelled):
        return False
    arrays: list[tuple[NDArray[Any], NDArray[Any]]] = [(a.inputs, b.inputs) for a, b in parts]
    arrays += [(a, b) for a, b in labelled if a is not None and b is not None]
    arrays += [(one.scale, other.scale), (one.shift, other.shift)]
    for a, b in ((one.rows, other.rows), (one.test_rows, other.test_rows)):
        if a.keys() != b.keys():
            return False
        arrays += [(a[k], b[k]) for k in a]
    return all(_equal(a, b) for a, b in arrays)


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Return whether two arrays are the same, by parts: they may be larger than the memory."""
    pieces = range(0, max(len(a), 1), AT_ONCE)
    return a.shape == b.shape and all(np.array_equal(a[n : n + AT_ONCE], b[n : n + AT_ONCE]) for n in pieces)
