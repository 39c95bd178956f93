"""One ResNet-18 in two processes that share its batches, beside one process with one thread and with two.

All take turns in one run, on the same batches: milliseconds a step, the median of rounds, and ratios round by
round. Beside them stands torch's own DistributedDataParallel with the same net, whose batch-norm has the
statistics of each part alone: a simpler task. The floor is counted, too: half of the step of one thread, and
the time of one sum over both processes of as many bytes as a step sums.

    python benchmarks/network_parallel.py [--quick] [--width 16] [--batch 64] [--steps 4] [--rounds 7]

It starts its processes by torchrun. A machine needs two processors that nobody else uses.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from network_contest import examples
from torch import nn
from torch.nn import functional as F

from langevin.config import build, run_files
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.machine import world
from langevin.systems.networks.nets.modules import ResNet18

LIKE, CLASSES, SHAPE = "cifar10", 10, (3, 32, 32)


def contestant(arguments: argparse.Namespace, threads: int) -> Callable[[int], None]:
    """Return what takes steps of the engine's network, in the world of this moment."""
    given = {
        "system": {"name": "resnet18", "width": arguments.width},
        "data": {"name": "synthetic", "like": LIKE, "train": 4 * arguments.batch, "test": 10},
        "dynamics": {"t_max": 1e6, "batch_size": arguments.batch, "momentum": 0.9, "device": "cpu"},
        "ensemble": {"replicas": 1, "seed": 1},
        "record": {"gradient_examples": 20},
    }
    settings = run_files.load(given)
    ensemble = Ensemble.regular(1, 1, 1, threads)
    system = build.build(settings, ensemble, examples(LIKE, 100 + 4 * arguments.batch))
    noise = Noise(1, ensemble.replica)
    state, done = system.initial_state(noise), 0

    def take(steps: int) -> None:
        nonlocal state, done
        state = system.move(state, done, done + steps, noise)
        done += steps

    return take


def bare(arguments: argparse.Namespace, processes: world.World) -> Callable[[int], None]:
    """Return what takes steps of torch's own data-parallel module."""
    net = nn.parallel.DistributedDataParallel(ResNet18(SHAPE, CLASSES, arguments.width))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    part = processes.part(arguments.batch)
    inputs = torch.randn(arguments.batch, *SHAPE)[part].contiguous(memory_format=torch.channels_last)
    labels = torch.arange(arguments.batch)[part] % CLASSES

    def take(steps: int) -> None:
        for _ in range(steps):
            optimiser.zero_grad()
            F.cross_entropy(net(inputs), labels).backward()
            optimiser.step()

    return take


class Step(NamedTuple):
    """What a step takes: seconds, and seconds of processors, of both processes together."""

    lapse: float
    work: float


def timed(processes: world.World, take: Callable[[int], None], steps: int, together: bool) -> Step:
    """Return what a step takes; without `together` the leading process takes it, and the other waits."""
    processes.gathered(0)
    began, worked = time.perf_counter(), time.process_time()
    if together or processes.leads:
        take(steps)
    lapse, work = time.perf_counter() - began, time.process_time() - worked
    return Step(processes.said(lapse) / steps, sum(processes.gathered(work)) / steps)


def contest(arguments: argparse.Namespace) -> None:
    """Let all take turns, and print what came out."""
    torch.set_num_threads(1)
    single, double = (contestant(arguments, threads) for threads in (1, 2))
    with world.joined() as processes:
        assert processes is not None
        processes.told = True
        pair, torchs = contestant(arguments, 1), bare(arguments, processes)
        before = processes.added
        pair(1)
        summed = processes.added - before
        vector = torch.zeros(summed // 4)

        def sums(count: int) -> None:
            for _ in range(count):
                processes.add(vector)

        ways = {
            "one process, one thread": (single, False),
            "one process, two threads": (double, False),
            "two processes, one thread each": (pair, True),
            "torch's DistributedDataParallel": (torchs, True),
            "the sum of a step's bytes alone": (sums, True),
        }
        rounds: dict[str, list[Step]] = {name: [] for name in ways}
        for turn in range(arguments.rounds + 1):
            for name, (take, together) in ways.items():
                step = timed(processes, take, arguments.steps, together)
                if turn:
                    # The first compiles, and fills caches.
                    rounds[name].append(step)
        report(arguments, rounds, summed)


def report(arguments: argparse.Namespace, rounds: dict[str, list[Step]], summed: int) -> None:
    """Print times, ratios and the floor; the leading process alone is heard."""
    print(f"ResNet-18, width {arguments.width}, B = {arguments.batch}; {summed / 1e6:.2f} MB summed a step")
    print(f"{'milliseconds a step':34}{'time':>10}{'of processors':>16}")
    for name, steps in rounds.items():
        time_, work = (1e3 * statistics.median(column) for column in zip(*steps, strict=True))
        print(f"{name:34}{time_:10.1f}{work:16.1f}")
    one, two, pair, ddp, sums = rounds.values()
    for name, others in (("one thread", one), ("two threads", two), ("DistributedDataParallel", ddp)):
        pairs = list(zip(pair, others, strict=True))
        print(f"two processes over {name}: {ratio([a.lapse / b.lapse for a, b in pairs])}")
        print(f"  of the time of processors: {ratio([a.work / b.work for a, b in pairs])}")
    floor = [p.lapse / (o.lapse / 2 + s.lapse) for p, o, s in zip(pair, one, sums, strict=True)]
    print(f"two processes over the floor: {statistics.median(floor):.3f}")


def ratio(ratios: list[float]) -> str:
    """Return the median of ratios, and the smallest and the largest."""
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} … {max(ratios):.3f})"


def main() -> None:
    """Start the processes, or be one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small net, few rounds")
    for name, value in (("width", 16), ("batch", 64), ("steps", 4), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.width, arguments.batch, arguments.steps, arguments.rounds = 4, 16, 1, 3
    if world.MARK in os.environ:
        contest(arguments)
        return
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LANGEVIN_DEVICE": "cpu"}
    subprocess.run([*started, str(Path(__file__)), *sys.argv[1:]], env=environment, check=True)


if __name__ == "__main__":
    main()
