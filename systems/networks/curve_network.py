"""The network whose weights the ends of curves are, as they were stored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langevin.code import trust
from langevin.core.ensemble import Ensemble
from langevin.errors import UserError
from langevin.machine.later import later
from langevin.results.configurations import StoredRun
from langevin.systems.curves.ends import Ends

from .data.base import Data
from .data.sameness import same_data
from .keys import Descent, RecordDescent
from .network import Network

if TYPE_CHECKING:
    from . import kit
else:
    kit = later(f"{__package__}.kit")


def network_of(ends: Ends, dynamics: Descent, ensemble: Ensemble, record: RecordDescent) -> Network:
    """Return the network whose weights the ends are, on the data that it learned from."""
    run = ends.run
    kind = run.settings.system_class
    if not (isinstance(kind, type) and issubclass(kind, Network)):
        raise UserError(
            f"system.start = {str(run.path)!r}: of {run.settings.system_name}, which is no network; for "
            'models with a force: system.name = "curve"'
        )
    sample = ends.sample[ensemble.replica]
    data = _data(ends.run, sample)
    if ends.differently_drawn and not same_data(data, _data(ends.other, sample)):
        raise ends.refuse("data")
    # Of a later generation: the mini-batches are not those that the ends have seen.
    inner = replace(ensemble, sample=sample, generation=ensemble.generation + 1)
    with trust.building(run.settings):
        return kind(run.settings.system, dynamics, inner, data, record=record)


def _data(run: StoredRun, sample: NDArray[np.int64]) -> Data:
    """Return the data of the samples that these curves lie in, drawn by the seed of a run."""
    inner = Ensemble(np.arange(len(sample)), sample, run.settings.ensemble.seed)
    loaded = kit.load_data(run.settings, inner)
    assert isinstance(loaded, Data)
    return loaded


def recall(network: Network, ends: Ends, ensemble: Ensemble) -> None:
    """Let a network have what stood beside the first ends, and never changes.

    Raises
    ------
    UserError
        If it is not the same beside the last ends, or a file does not hold it.
    """
    fixed, _ = network.beside_sizes
    first, last = ends.beside
    if first is None or last is None:
        if fixed:
            raise UserError(
                f"ends of a curve: {ends.run.path} does not hold what its network has frozen; allowed: files "
                "of this version, which do: run it again"
            )
        return
    own = ensemble.replica
    differ = kit.differing(first, last)[own]
    if differ.any():
        k = int(own[np.argmax(differ)])
        raise UserError(
            f"ends of a curve: replica {ends.run.replica[ends.positions[k]]} of {ends.run.path} and replica "
            f"{ends.other.replica[ends.others[k]]} of {ends.other.path} differ in what is frozen (parameters "
            "that do not descend, buffers that do not change); a curve joins weights of one network"
        )
    network.recall(first.of(own))
