"""Members of ensembles come from stored runs, and are judged together (`langevin ensemble`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .command import ensembles

__all__ = ["ensembles"]


def __getattr__(name: str) -> Any:
    """Load the function when it is asked for: who prints a table of errors needs it not."""
    if name == "ensembles":
        from .command import ensembles

        return ensembles
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
