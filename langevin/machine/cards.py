"""Processes of one command share the GPUs of a machine: each takes one of them, by its number."""

from __future__ import annotations

#: Number of this process among those that work side by side; None: it works alone.
_number: int | None = None


def share(number: int) -> None:
    """Let this process be one of several, with this number, from 0 on."""
    global _number
    _number = number


def mine(count: int) -> int | None:
    """Return which of `count` GPUs this process takes; None if it works alone, and any may be its own."""
    return None if _number is None else _number % count
