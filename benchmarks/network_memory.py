"""What training holds in memory, in copies of the weights."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from network_contest import DEVICE, Bare, examples, indexed, synchronise, verdict

from langevin.config import build as builder
from langevin.config import run_files
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise

#: Copies that `advance` may hold beyond data set, references and activations.
DEMAND = 2
#: References that are held, as in a run with so many waiting times behind it.
REFERENCES = 3

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def now() -> float:
    """Return the bytes in use: of the GPU's memory, else of this process."""
    gc.collect()
    synchronise()
    if DEVICE.type == "cuda":
        return float(torch.cuda.memory_allocated())
    # What was freed goes back to the operating system, or later it would seem to cost nothing.
    ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim(0)
    return status("VmRSS")


def peak(task: Callable[[], Any]) -> float:
    """Return the most bytes in use while the task is carried out."""
    now()
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        RESET.write_text("5")
    # Kept until the peak is known: a result is in memory, too.
    kept = task()
    synchronise()
    most = float(torch.cuda.max_memory_allocated()) if DEVICE.type == "cuda" else status("VmHWM")
    del kept
    return most


def status(name: str) -> float:
    """Return an entry of the operating system's account of this process, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024.0 * int(line.split()[1])


def build(system: dict[str, Any], batch: int, threads: int) -> tuple[Callable[[], Any], Any]:
    """Return a function that builds the system, and its data."""
    data = examples("cifar10", 1000)
    checked = run_files.load(
        {
            "system": system,
            "data": {"name": "synthetic", "like": "cifar10"},
            "dynamics": {"learning_rate": 0.01, "batch_size": batch, "t_max": 100.0},
            "record": {"energy_examples": 50, "gradient_examples": 20},
        }
    )
    ensemble = Ensemble.regular(1, 1, 1, threads)
    return lambda: builder.build(checked, ensemble, data), data


def bare(made: Any, data: Any, batch: int) -> float:
    """Return the most bytes that a bare loop holds: weights, gradient, activations."""
    inputs = torch.from_numpy(data.scaled(data.train.inputs)).to(DEVICE)
    batches = indexed(inputs, torch.from_numpy(data.train.labels).to(DEVICE), batch)
    start = now()
    loop = Bare(made.build(), batches)
    return peak(lambda: loop(2)) - start


def report(name: str, system: dict[str, Any], batch: int, threads: int) -> None:
    """Measure one network, print its table."""
    make, data = build(system, batch, threads)
    made = make()
    copy = float(torch.empty(0, dtype=made.dtype).element_size() * made.dof)
    # Twice: libraries take memory of their own in their first calls, for good.
    alone = [bare(made, data, batch) for _ in range(2)][1] / copy
    activations = max(0.0, alone - 2)
    del made
    start = now()
    made, noise = make(), Noise(1, [0])
    state, references = made.initial_state(noise), []
    for time in range(REFERENCES):
        state = made.advance(state, time, time + 1, noise)
        references.append(made.reference(state))
    state = made.advance(state, REFERENCES, REFERENCES + 1, noise)
    tasks: dict[str, Callable[[], Any]] = {
        # As the engine does it.
        "advance": lambda: made.move(state, REFERENCES + 1, REFERENCES + 3, noise),
        "measure": lambda: made.measure(state),
        "compare": lambda: made.compare(references[0], state),
        "at_waiting": lambda: made.at_waiting(state),
    }
    print(
        f"\nmemory, {name}: {made.dof} weights, {copy / 2**20:.0f} MB a copy, B = {batch}, "
        f"{REFERENCES} references"
    )
    print(f"activations {activations:.2f} copies: a bare loop's {alone:.2f} less weights and gradient")
    rest = (now() - start) / copy - REFERENCES
    print(f"between calls {rest:.2f} copies beyond data set and references")
    for task, carry in tasks.items():
        held = (peak(carry) - start) / copy - REFERENCES
        line = f"{task:12s} {held:6.2f} copies beyond data set and references"
        if task == "advance":
            left = held - activations
            # Libraries' buffers and the rounding of pages.
            line += f", {left:.2f} without activations  {verdict(left <= DEMAND + 0.25, f'<= {DEMAND}')}"
        print(line, flush=True)


def measure(quick: bool, threads: int) -> None:
    """Measure the toy model in full and, unless it has to be quick, ResNet-18."""
    if DEVICE.type == "cpu" and not RESET.exists():
        print("\nmemory: not measured, this system does not say what a process held at most")
        return
    report("toy", {"name": "toy", "hidden": 10_000}, 20, threads)
    if not quick:
        report("resnet18", {"name": "resnet18"}, 4, threads)
