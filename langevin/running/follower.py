"""A process that another one leads carries a run with it, and leaves no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from langevin.files.raw_records import Stored, Trajectory

from .session import Session


class _Dropped(Trajectory):
    """What the leading process stores, and this one does not."""

    def __init__(self) -> None:
        return

    def write(self, frame: int, values: NDArray[Any]) -> None:
        """Write nothing."""
        return


class Follower(Session):
    """The share of a process that follows: it computes all, and writes nothing; made as `Session`."""

    def _opened(self, stored: Sequence[Stored], checksums: Mapping[str, str]) -> list[Trajectory]:
        self.recorder.raw = {s.name: _Dropped() for s in stored}
        return []

    def _checkpoint(self) -> None:
        self._held = self.run.time, self.run.position

    def _finish(self, status: str) -> None:
        self.references.close()
