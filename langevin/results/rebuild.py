"""The system of a result file is built again, to look at its landscape elsewhere than the run went."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from langevin.code import trust
from langevin.config.build import build
from langevin.core.capabilities import StandsBeside, Verifies
from langevin.core.ensemble import Ensemble, available_threads
from langevin.core.system import System

from .configurations import StoredRun


def rebuilt(
    run: StoredRun, positions: NDArray[np.int64] | None = None, threads: int | None = None
) -> tuple[System, Ensemble]:
    """Return the system that a run was of, with the disorder that it had, and its ensemble.

    Parameters
    ----------
    positions : ndarray of int, shape (R',), optional
        Of replicas, which may be there more than once; default: all.
    threads : int, optional
        Processors to use.
    """
    keep = np.arange(len(run.replica)) if positions is None else positions
    seed = run.settings.ensemble.seed
    ensemble = Ensemble(run.replica[keep], run.sample[keep], seed, threads or available_threads())
    system = build(run.settings, ensemble)
    if run.beside is not None and isinstance(system, StandsBeside):
        system.recall(run.beside.of(keep))
    # Whoever trusts code that has changed knows that energies may have.
    if run.energy is not None and isinstance(system, Verifies) and not trust.is_given():
        system.verify(run.x[keep], run.energy[keep], str(run.path))
    return system, ensemble
