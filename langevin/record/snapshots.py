"""Snapshots are configurations at chosen times: `record.snapshots`, whatever is stored elsewhere."""

from __future__ import annotations

from langevin.core.probe import Run
from langevin.core.schedule import Grid

from .configurations import ConfigurationProbe, required


class Snapshots(ConfigurationProbe):
    """Stores the configuration at the times of a grid."""

    def __init__(self, times: Grid) -> None:
        super().__init__("snapshot", times, "degrees of freedom at the times of snapshots")

    def prepare(self, run: Run) -> None:
        """Refuse systems without a configuration."""
        self.plan(run, required(run, "record.snapshots", "[]"))
