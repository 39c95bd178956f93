"""Networks on the engine against bare PyTorch loops: steps per second, a whole run's cost, memory.

All contestants of a case take short turns in one process, in an order that rotates. Shown are the median
rate, the ratio of rates round by round (median, least and largest), the ratio of the best turns, and that of
the medians per second of processor time. Whatever else runs on the machine slows every contestant down, those
with several threads most: no verdict then. Processor time hardly changes, but forgives idle processors; the
best turns come near to what a quiet machine would say, if one was quiet. (Worker processes of a loader are
not in the processor time.)

Data are random bytes in the shape and number of MNIST's or CIFAR's training set. The bare loops hold them in
single precision, scaled once for all; the system holds bytes, as it does with real images, and scales each
batch.

loader      DataLoader(TensorDataset, shuffle=True) with 0 or 2 worker processes, whichever is faster here
indexing    one randperm an epoch, X[i]; on all threads, and on one
advance     the system, all its replicas in each call

Replicas of a bare loop run one after another: one network's steps per second are those of all. `peak`: the
flops of forward and backward pass, as torch counts them for the plain net, in the best turn, against matrix
products on all processors in theirs. (The compiled convolution needs fewer flops than the plain one.)

resnet18    a whole run, logarithmic measurements and checkpoints included; between its calls of `advance` a
            bare loop takes as many steps
memory      what `advance` holds at most beyond data set, references and activations, in copies of the weights

    python benchmarks/networks.py [--case NAME ...] [--quick] [--threads N] [--width 64]
"""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import network_memory
import network_run
import numpy as np
import torch
from network_contest import (
    DEVICE,
    Bare,
    Contestant,
    Turns,
    busy,
    contest,
    examples,
    indexed,
    loaded,
    products,
    spread,
    verdict,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from langevin.config import build, run_files
from langevin.core.ensemble import Ensemble, available_threads
from langevin.core.noise import Noise
from langevin.systems.networks.data.base import Data


class Case(NamedTuple):
    """A network that is timed: [system], shape of the data, B, R, and the same network in plain torch."""

    system: dict[str, Any]
    like: str
    batch: int
    replicas: int
    plain: Callable[[], nn.Module]
    squared: bool = False


def perceptron(*widths: int, hidden: type[nn.Module], last: tuple[nn.Module, ...] = ()) -> nn.Module:
    """Return a fully connected net as everybody writes it."""
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), hidden())]
    return nn.Sequential(nn.Flatten(), *layers[:-1], *last)


def convolutional() -> nn.Module:
    """Return the small net as everybody writes it."""
    first = [nn.Conv2d(3, 10, 5), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(10, 20, 5), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(500, 100), nn.ReLU(), nn.Linear(100, 10))


def hundreds() -> nn.Module:
    """Return the fully connected net as everybody writes it."""
    return perceptron(784, 100, 100, 10, hidden=nn.ReLU)


def toy() -> nn.Module:
    """Return the toy net as everybody writes it."""
    return perceptron(3072, 10, 10, hidden=nn.ReLU, last=(nn.Sigmoid(),))


def sevens() -> nn.Module:
    """Return the net of three times seven units as everybody writes it."""
    return perceptron(784, 7, 7, 7, 10, hidden=nn.Tanh)


CASES = {
    "fully_connected": Case({"name": "fully_connected"}, "mnist", 128, 8, hundreds),
    "small_net": Case({"name": "small_net"}, "cifar10", 100, 8, convolutional),
    "toy": Case({"name": "toy", "hidden": 10}, "cifar10", 100, 8, toy, squared=True),
    "mlp_8": Case({"name": "mlp", "widths": [7, 7, 7]}, "mnist", 100, 8, sevens),
    "mlp_50": Case({"name": "mlp", "widths": [7, 7, 7]}, "mnist", 100, 50, sevens),
}

#: So many times as fast as these has `advance` to be.
DEMANDS = {"loader": 3.0, "indexing": 1.0}


class Advance:
    """The system: all replicas, some steps at a time."""

    def __init__(self, case: Case, data: Data, threads: int) -> None:
        checked = run_files.load(
            {
                "system": case.system,
                "data": {"name": "synthetic", "like": case.like},
                "dynamics": {"learning_rate": 0.01, "batch_size": case.batch, "t_max": 1000.0},
                "ensemble": {"replicas": case.replicas},
            }
        )
        ensemble = Ensemble.regular(case.replicas, 1, 1, threads)
        self.system = build.build(checked, ensemble, data)
        self.noise = Noise(1, ensemble.replica)
        self.state, self.time = self.system.initial_state(self.noise), 0

    def __call__(self, steps: int) -> None:
        """Take steps."""
        self.state = self.system.advance(self.state, self.time, self.time + steps, self.noise)
        self.time += steps


def flops(case: Case, batch: tuple[Tensor, Tensor]) -> float:
    """Return the flops of one step of one network: forward and backward pass."""
    bare = Bare(case.plain(), iter([batch]), case.squared)
    with FlopCounterMode(display=False) as counter:
        bare(1)
    return float(counter.get_total_flops())


def faster_loader(case: Case, data: tuple[Tensor, Tensor], seconds: float, threads: int) -> Contestant:
    """Return the loader with or without worker processes, whichever is faster here."""
    tried = [
        Contestant(
            f"loader, {workers} workers", Bare(case.plain(), loaded(*data, case.batch, workers), case.squared)
        )
        for workers in (0, 2)
    ]
    rates = [max(turns.rates) for turns in contest(tried, seconds, 5, threads)]
    print(", ".join(f"{t.name}: {r:.0f} steps/s" for t, r in zip(tried, rates, strict=True)))
    return tried[int(np.argmax(rates))]


def speed(name: str, case: Case, quick: bool, threads: int) -> None:
    """Time one case, print its table."""
    seconds, rounds = (0.5, 5) if quick else (1.0, 11)
    data = examples(case.like)
    inputs, labels = torch.from_numpy(data.scaled(data.train.inputs)), torch.from_numpy(data.train.labels)
    if case.squared:
        labels = F.one_hot(labels, data.classes).float()
    dof = sum(p.numel() for p in case.plain().parameters())
    print(
        f"\n{name}: {dof} weights, B = {case.batch}, {len(labels)} examples like {case.like}, "
        f"{case.replicas} replicas, {DEVICE}, {threads} threads"
    )
    # Before the system: its threads and a loader's forks are better kept apart.
    loader = faster_loader(case, (inputs, labels), seconds, threads)
    ours = Advance(case, data, threads)
    # The same network, or the comparison means nothing.
    assert dof == ours.system.dof, (dof, ours.system.dof)
    inputs, labels = inputs.to(DEVICE), labels.to(DEVICE)
    peak, product = products(threads)
    contestants = [
        loader,
        *(
            Contestant(title, Bare(case.plain(), indexed(inputs, labels, case.batch), case.squared), 1, count)
            for title, count in (("indexing", None), ("indexing, one thread", 1))
        ),
        Contestant("advance", ours, case.replicas),
        peak,
    ]
    found = contest(contestants, seconds, rounds, threads)
    step = flops(case, (inputs[: case.batch], labels[: case.batch]))
    report(contestants, found, step, product, threads)


def report(
    contestants: list[Contestant], found: list[Turns], step: float, product: float, threads: int
) -> None:
    """Print the table of a case, the system and the matrix products last in the lists.

    Parameters
    ----------
    contestants, found : list
    step, product : float
        Flops of one step of one network, and of one of the matrix products'.
    threads : int
        Processors that may be used.
    """
    ours, peak, got = found[-2], product * max(found[-1].rates), statistics.median(found[-1].cpus)
    print(
        f"one step of one network {step / 1e6:.2f} Mflop, matrix products {peak / 1e9:.0f} Gflop/s, "
        f"on {got:.1f} processors"
    )
    print("contestant               steps/s  cpus   peak  advance is faster     best  per cpu s  demanded")
    for contestant, turns in zip(contestants[:-1], found[:-1], strict=True):
        rate, cpus = statistics.median(turns.rates), statistics.median(turns.cpus)
        share, best = step * max(turns.rates) / peak, max(ours.rates) / max(turns.rates)
        ratios = [b / a for a, b in zip(turns.rates, ours.rates, strict=True)]
        cheaper = statistics.median(ours.per_cpu()) / statistics.median(turns.per_cpu())
        demand = DEMANDS.get(contestant.name.split(",")[0]) if contestant.threads is None else None
        said = "" if demand is None else verdict(statistics.median(ratios) >= demand, f">= {demand:g}")
        if said and busy(got, threads):
            said = f">= {demand:g}: no verdict, others use this machine"
        print(
            f"{contestant.name:20s} {rate:11.0f} {cpus:5.1f} {100 * share:5.1f}%  {spread(ratios):20s} "
            f"{best:5.2f}  {cheaper:9.2f}  {said}",
            flush=True,
        )


def main() -> None:
    """Time what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*CASES, "resnet18", "memory"]
    parser.add_argument(
        "--case", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--quick", action="store_true", help="shorter turns, fewer steps")
    parser.add_argument("--threads", type=int, default=available_threads())
    parser.add_argument(
        "--width",
        type=int,
        help="of ResNet-18 in its run; the paper's has 64 (default: 64 on a GPU, 16 on a CPU, 4 if quick)",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    width = options.width or (64 if DEVICE.type == "cuda" else 4 if options.quick else 16)
    for name in options.case:
        if name == "resnet18":
            network_run.compare(width, options.quick, options.threads)
        elif name == "memory":
            network_memory.measure(options.quick, options.threads)
        else:
            speed(name, CASES[name], options.quick, options.threads)
        gc.collect()


if __name__ == "__main__":
    main()
