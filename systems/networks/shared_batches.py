"""What a run file may ask for if several processes share every batch of one network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langevin.core.ensemble import Ensemble
from langevin.errors import UserError
from langevin.machine.world import World

from .keys import Descent, RecordDescent


def require_shared(world: World, dynamics: Descent, record: RecordDescent, ensemble: Ensemble) -> None:
    """Make sure that processes can share the batches of a run.

    Raises
    ------
    UserError
        What they cannot have, and what is allowed.
    """
    for fault in _faults(world, dynamics, record, ensemble):
        raise UserError(f"torchrun, {world.size} processes: {fault}")


def require_batch(world: World, size: int, couples: bool, fixed: bool) -> None:
    """Make sure that each process has an example of every batch whose examples depend on each other.

    Raises
    ------
    UserError
        If there may be none for one of them.
    """
    begins = f"torchrun, {world.size} processes"
    if size < world.size:
        raise UserError(
            f"{begins}: dynamics.batch_size = {size}: must be ≥ {world.size}, one for each process"
        )
    if couples and not fixed:
        raise UserError(
            f'{begins}: dynamics.batches = "persistent": allowed: "epochs", "iid", "full" with batch-norm, '
            "or a loss of the whole batch (a batch may leave a process without an example)"
        )


def _faults(world: World, dynamics: Descent, record: RecordDescent, ensemble: Ensemble) -> Iterator[str]:
    keys: Any = dynamics
    if ensemble.size > 1:
        yield (
            f"ensemble.replicas = {ensemble.size}: must be 1 (they share the batches of one network; several "
            "replicas run without torchrun, on all GPUs of the machine)"
        )
    if keys.backend not in ("auto", "torch"):
        yield f'dynamics.backend = "{keys.backend}": allowed: "auto", "torch"'
    if keys.compile:
        yield "dynamics.compile = true: allowed: false"
    if keys.rests:
        yield "dynamics.rests = true: allowed: false"
    if ":" in keys.device:
        yield f'dynamics.device = "{keys.device}": allowed: "auto", "cpu", "cuda" (each takes its own GPU)'
    if getattr(record, "response", False):
        yield "record.response = true: allowed: false (it is measured in one process)"
