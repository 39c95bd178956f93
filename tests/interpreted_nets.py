"""Kernels of Triton, interpreted on a CPU, against the plain steps: `test_tiny_gpu` runs it in a process.

The interpreter is chosen when Triton is imported, for a whole process: TRITON_INTERPRET=1 must be set.
Results go to the file that is named, weights and measurements by case.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_nets import built, settings

from langevin.core.ensemble import Ensemble
from langevin.errors import Diverged
from langevin.systems.networks.data import batches as sources
from langevin.systems.networks.replicas import drawn
from langevin.systems.networks.replicas.drawn import drawing
from langevin.systems.networks.replicas.tiny_gpu import TinyOnCard

LJAT = {"name": "ljat", "points": 400, "train": 70, "test": 50}
IMAGES = {"name": "synthetic", "train": 64, "test": 32}
#: Net, and [dynamics] and [record] besides.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "tanh": ({"widths": [3, 2, 3]}, {"batch_size": 37}, {"energy_examples": 40, "gradient_examples": 30}),
    "relu": ({"widths": [4, 3], "activation": "relu"}, {"momentum": 0.9, "weight_decay": 0.1}, {}),
    "logistic": ({"widths": []}, {"batches": "iid", "weight_decay": 1e-3}, {}),
    "full": ({"widths": [2]}, {"batches": "full", "schedule": "cosine", "momentum": 0.5}, {}),
    "chain": ({"widths": [1, 1, 1]}, {"batch_size": 1}, {}),
    "images": ({"widths": [5, 3]}, {"batch_size": 20, "momentum": 0.9, "weight_decay": 0.1}, {}),
    "logistic images": ({"widths": []}, {"batch_size": 20}, {}),
}
STEPS = (1, 3)


def network_of(case: str, backend: str, **dynamics: Any) -> tuple[Any, Any]:
    """Return a network of two replicas, each in a sample of its own, and its noise."""
    system, own, record = CASES[case]
    keys = {"learning_rate": 0.1, "batch_size": 16, "t_max": 20.0, **own, **dynamics, "backend": backend}
    data = IMAGES if "images" in case else LJAT
    return built(settings({"name": "mlp", **system}, data, 2, 2, record=record, **keys))


def course(case: str, backend: str) -> dict[str, Any]:
    """Return weights, slots and measurements after some steps, in two calls."""
    network, noise = network_of(case, backend)
    state = network.initial_state(noise)
    for first, last in zip((0, *STEPS), STEPS, strict=False):
        state = network.advance(state, first, last, noise)
    measured = {**network.measure(state), **network.at_waiting(state)}
    own = isinstance(network.units, TinyOnCard) and network.units.steppers is None
    slots = {name: slot.numpy() for name, slot in state.slots.items()}
    return {"by kernel": own, "weights": state.weights.numpy(), **slots, **measured}


def pushed(case: str) -> list[Any]:
    """Return the weights after steps in a field, by the kernel and by the plain steps."""
    ends = []
    for backend in ("triton", "torch"):
        network, noise = network_of(case, backend)
        state = network.initial_state(noise).copy()
        field = torch.linspace(-1, 1, state.weights.numel()).reshape(state.weights.shape)
        network.units.advance(state, 0, 2, network.streams(noise), field)
        ends.append(state.weights.numpy())
    return ends


def diverged() -> str:
    """Return what is said of a run that diverges."""
    network, noise = network_of("full", "triton", learning_rate=1e38, momentum=0.0)
    try:
        network.advance(network.initial_state(noise), 0, 6, noise)
    except Diverged as error:
        return str(error)
    return ""


def tables(device: torch.device) -> dict[str, list[Any]]:
    """Return batches by the kernels and by numpy, of steps in several tables."""
    ensemble = Ensemble(np.array([3, 0]), np.zeros(2, np.int64), 2**40 + 5, 1, generation=2)
    kinds = {
        "100 by 16": sources.Epochs(100, 16, ensemble),
        "2 by 1": sources.Epochs(2, 1, ensemble),
        "iid 7 by 2": sources.Independent(7, 2, ensemble),
        # Every fourth number is drawn again.
        "iid 3·2²⁹ by 1": sources.Independent(3 * 2**29, 1, ensemble),
        "full": sources.Full(5),
    }
    if device.type == "cuda":
        # One number for each place; an interpreter takes seconds.
        kinds["2100 by 1000"] = sources.Epochs(2100, 1000, ensemble)
    pairs: dict[str, list[Any]] = {}
    for name, kind in kinds.items():
        source, end = drawing(kind, device), getattr(kind, "batches", sources.BLOCK)
        for step in (end - 1, end):
            table = source.holding(step)
            assert table.first <= step < table.last == source.last(step)
            n = step - table.first
            start = n // table.period * table.stride + n % table.period * kind.size
            for row, label in enumerate(ensemble.replica.tolist()):
                place = row * table.width + start
                own = table.places[place : place + kind.size].cpu().numpy()
                pairs.setdefault(name, []).append((own, kind.table(label, step, step + 1)[0]))
    return pairs


def main() -> None:
    """Compute everything, few batches from every stream: an interpreter is slow."""
    sources.BLOCK = drawn.BLOCK = 32
    sources.PLACES, drawn.TABLE = 256, 300
    both = {case: [course(case, backend) for backend in ("triton", "torch")] for case in CASES}
    found = {
        "both": both,
        "pushed": [pushed(case) for case in ("full", "images")],
        "diverged": diverged(),
        "tables": tables(torch.device("cpu")),
    }
    Path(sys.argv[1]).write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main()
