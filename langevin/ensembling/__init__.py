"""Members of ensembles from stored runs, and what the ensembles are worth (`langevin ensemble`)."""

from __future__ import annotations

from langevin.ensembling.command import ensembles

__all__ = ["ensembles"]
