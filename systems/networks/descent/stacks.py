"""How many replicas share a call: known before anything is built, and without torch."""

from __future__ import annotations

#: Replicas in a stack on a CPU: enough to hide the overhead, few enough to occupy every processor.
STACK = 16


def stack_size(replicas: int, most: int = STACK) -> int:
    """Return the size of stacks of up to `most` replicas.

    Even ones: twenty replicas make two stacks of ten, not sixteen and four.
    """
    return -(-replicas // -(-replicas // most))
