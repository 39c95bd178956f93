"""ResNet-18: a whole run on the engine against a bare PyTorch loop."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from network_contest import DEVICE, Bare, Contestant, examples, indexed, spread, turn, verdict

from langevin.config import run_files
from langevin.core import engine
from langevin.machine import pace
from langevin.sweep import simulation
from langevin.systems.networks.nets.modules import ResNet18

#: `advance` may be slower than the bare loop by so much, in per cent.
DEMAND = 3.0
#: Calls of `advance` whose times do not count: algorithms are chosen, graphs captured.
WARM = 2

BATCH = 64


class Timed:
    """Times the calls of a system, in place; after each `move` the bare loops take as many steps.

    Attributes
    ----------
    calls : dict
        Name of a method → seconds of each call.
    stretches : list
        Steps of each `advance`, and name of a contestant → its seconds, and those of all its processors.
    """

    TIMED = ("measure", "at_waiting", "reference", "compare_at")

    def __init__(self, system: Any, bare: list[Contestant], threads: int) -> None:
        self.dof, self._move, self._bare, self._threads = system.dof, system.move, bare, threads
        self.calls: dict[str, list[float]] = {name: [] for name in self.TIMED}
        self.stretches: list[tuple[int, dict[str, tuple[float, float]]]] = []

        system.move = self.move
        for name in self.TIMED:
            setattr(system, name, self._timed(name, getattr(system, name)))

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            result: list[Any] = []
            contestant = Contestant(name, lambda _: result.append(method(*arguments)))
            self.calls[name].append(turn(contestant, 1, self._threads)[0])
            return result[0]

        return call

    def move(self, state: Any, t0: float, t1: float, noise: Any) -> Any:
        """Move the system, as the engine does it; then let the bare loops take their steps."""
        steps, result = round(t1 - t0), []
        ours = Contestant("advance", lambda _: result.append(self._move(state, t0, t1, noise)))
        order = [ours, *self._bare]
        # Who comes first changes from stretch to stretch.
        first = len(self.stretches) % len(order)
        spent = {c.name: turn(c, steps, self._threads) for c in order[first:] + order[:first]}
        self.stretches.append((steps, spent))
        return result[0]


def settings(width: int, steps: int, path: Path) -> dict[str, Any]:
    """Return the settings of the run that is timed."""
    few = DEVICE.type == "cpu"
    return {
        "system": {"name": "resnet18", "width": width},
        "data": {"name": "synthetic", "like": "cifar100", "train": 1000, "test": 500},
        "dynamics": {"learning_rate": 0.01, "batch_size": BATCH, "t_max": float(steps)},
        "record": {
            "times": {"per_decade": 5},
            "waiting_times": {"start": 1.0, "per_decade": 1},
            "lags": {"start": 1.0, "per_decade": 5},
            "energy_examples": 100 if few else 500,
            "gradient_examples": 4 * BATCH,
        },
        "output": {"path": str(path), "figure": False},
    }


def bare_loops(width: int) -> list[Contestant]:
    """Return the loop that everybody writes; on a CPU also with channels last, as the system orders them."""
    data = examples("cifar100", 1000)
    inputs = torch.from_numpy(data.scaled(data.train.inputs)).to(DEVICE)
    labels = torch.from_numpy(data.train.labels).to(DEVICE)
    orders = {"bare loop": torch.contiguous_format}
    if DEVICE.type == "cpu":
        orders["bare, channels last"] = torch.channels_last
    loops = []
    for name, order in orders.items():
        ordered = inputs.contiguous(memory_format=order)
        model = ResNet18((3, 32, 32), 100, width).to(memory_format=order)  # type: ignore[call-overload]
        loops.append(Contestant(name, Bare(model, indexed(ordered, labels, BATCH))))
    return loops


def run(width: int, steps: int, threads: int) -> tuple[Timed, float]:
    """Carry out the run; return the timed system, and the seconds of the engine's loop."""
    loop, stretch = engine.run, pace.STRETCH
    kept: list[Any] = []

    def timed(run: Any, *arguments: Any) -> None:
        timing = Timed(run.system, bare_loops(width), threads)
        began = time.perf_counter()
        loop(run, *arguments)
        kept.extend([timing, time.perf_counter() - began])

    # The bare loops spend the larger part of each stretch: the system's own share stays as long as ever.
    engine.run = timed  # type: ignore[assignment]
    pace.STRETCH = stretch * (3 if DEVICE.type == "cpu" else 2)
    try:
        with tempfile.TemporaryDirectory() as folder:
            checked = run_files.load(settings(width, steps, Path(folder) / "result.nc"))
            simulation.execute(checked, threads=threads)
    finally:
        engine.run, pace.STRETCH = loop, stretch
    return kept[0], kept[1]


def compare(width: int, quick: bool, threads: int) -> None:
    """Time a run and the bare loops, print the table."""
    steps = (40 if quick else 300) if DEVICE.type == "cpu" else (300 if quick else 3000)
    system, loop = run(width, steps, threads)
    print(
        f"\nresnet18: width {width}, {system.dof} weights, B = {BATCH}, {steps} steps on the engine, "
        f"{DEVICE}, {threads} threads"
    )
    report(system.stretches[WARM:])
    totals = {name: sum(spent) for name, spent in system.calls.items()}
    advancing = sum(spent["advance"][0] for _, spent in system.stretches)
    both = sum(seconds for _, spent in system.stretches for seconds, _ in spent.values())
    print(f"{'advance':12s} {advancing:8.3f} s in {len(system.stretches):4d} calls")
    for name, seconds in totals.items():
        print(f"{name:12s} {seconds:8.3f} s in {len(system.calls[name]):4d} calls")
    rest = loop - both - sum(totals.values())
    print(f"{'the rest':12s} {rest:8.3f} s: schedule, checkpoints, configurations", flush=True)


def report(stretches: list[tuple[int, dict[str, tuple[float, float]]]]) -> None:
    """Print seconds per step, and by how much `advance` is slower, stretch by stretch."""
    for name in sorted(stretches[0][1]):
        each = statistics.median([1e3 * spent[name][0] / n for n, spent in stretches])
        cpus = statistics.median([spent[name][1] / spent[name][0] for _, spent in stretches])
        line = f"{name:20s} {each:9.2f} ms a step on {cpus:.1f} processors"
        if name != "advance":
            slower = [100 * (spent["advance"][0] / spent[name][0] - 1) for _, spent in stretches]
            met = statistics.median(slower) <= DEMAND
            line += f"; advance is slower by {spread(slower)} %  {verdict(met, f'<= {DEMAND:g} %')}"
        print(line)
