"""For the benchmarks of networks: data, bare PyTorch loops, and contestants that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from langevin.systems.networks.data.base import Data, Examples, scaling
from langevin.systems.networks.data.synthetic import SHAPES

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

#: Training examples of the data sets in whose shape the examples are drawn.
SIZES = {"mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000}

Batches = Iterator[tuple[Tensor, Tensor]]


class Contestant(NamedTuple):
    """Something that takes steps, each of so many networks; `threads`: of torch, if not as many as all."""

    name: str
    take: Callable[[int], None]
    networks: int = 1
    threads: int | None = None


class Turns(NamedTuple):
    """Network-steps per second, and processors in use, of one contestant in every round."""

    rates: list[float]
    cpus: list[float]

    def per_cpu(self) -> list[float]:
        """Return network-steps in a second of one processor."""
        return [rate / cpus for rate, cpus in zip(self.rates, self.cpus, strict=True)]


def examples(like: str, count: int = 0) -> Data:
    """Return random bytes in the shape of a data set: `count` of them, by default as many as there."""
    rng, count = np.random.default_rng(1), count or SIZES[like]
    shape, classes = SHAPES[like]
    inputs = rng.integers(256, size=(count, *shape), dtype=np.uint8)
    train = Examples(inputs, rng.integers(classes, size=count))
    test = Examples(inputs[:100], train.labels[:100])
    scale, shift = scaling(inputs, "standard")
    return Data("noise", train, test, classes, scale, shift, {0: np.arange(count)}, {0: np.arange(100)})


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


class Bare:
    """The loop that everybody writes, some steps at a time."""

    def __init__(self, model: nn.Module, batches: Batches, squared: bool = False) -> None:
        self.model = model.to(DEVICE)
        self.loss = F.mse_loss if squared else F.cross_entropy
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.batches = batches

    def __call__(self, steps: int) -> None:
        """Take steps."""
        for _ in range(steps):
            inputs, labels = next(self.batches)
            self.optimizer.zero_grad()
            self.loss(self.model(inputs.to(DEVICE)), labels.to(DEVICE)).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()


def loaded(inputs: Tensor, labels: Tensor, size: int, workers: int) -> Batches:
    """Yield batches of a DataLoader, epoch after epoch."""
    data, keep = TensorDataset(inputs, labels), workers > 0
    loader = DataLoader(
        data, size, shuffle=True, num_workers=workers, persistent_workers=keep, drop_last=True
    )
    while True:
        yield from loader


def indexed(inputs: Tensor, labels: Tensor, size: int) -> Batches:
    """Yield batches by tensor indexing, epoch after epoch."""
    while True:
        order = torch.randperm(len(inputs), device=inputs.device)
        for first in range(0, len(inputs) - size + 1, size):
            index = order[first : first + size]
            yield inputs[index], labels[index]


def products(threads: int) -> tuple[Contestant, float]:
    """Return single precision matrix products on all processors, and the flops of one step of theirs.

    A product for every processor, not one by all: less waiting for each other on a machine that is busy.
    """
    size, together = (8192, 1) if DEVICE.type == "cuda" else (768, threads)
    pairs = [torch.randn(2, size, size, device=DEVICE) for _ in range(together)]
    pool = ThreadPoolExecutor(together, initializer=torch.set_num_threads, initargs=(1,))

    def take(steps: int) -> None:
        def one(pair: Tensor) -> None:
            for _ in range(steps):
                torch.mm(pair[0], pair[1])

        list(pool.map(one, pairs))

    return Contestant("matrix products", take), 2.0 * size**3 * together


def turn(contestant: Contestant, steps: int, threads: int) -> tuple[float, float]:
    """Let a contestant take its steps; return seconds, and seconds of all this process's processors."""
    # torch keeps this number for every thread: the system's own are not touched.
    torch.set_num_threads(contestant.threads or threads)
    synchronise()
    began, busy = time.perf_counter(), time.process_time()
    contestant.take(steps)
    synchronise()
    return time.perf_counter() - began, time.process_time() - busy


def contest(contestants: list[Contestant], seconds: float, rounds: int, threads: int) -> list[Turns]:
    """Let all take turns of about so many seconds, in an order that rotates."""
    steps = []
    for contestant in contestants:
        # The first steps of a net compile and allocate: they say nothing.
        turn(contestant, 3, threads)
        many = 1
        # Processor time, on a CPU: waiting for others must not make turns so short that each is mostly start.
        while (spent := turn(contestant, many, threads)[DEVICE.type == "cpu"]) < seconds / 4:
            many *= 2
        steps.append(max(1, round(seconds * many / spent)))
    found = [Turns([], []) for _ in contestants]
    for first in range(rounds):
        for k in range(len(contestants)):
            number = (first + k) % len(contestants)
            spent, busy = turn(contestants[number], steps[number], threads)
            found[number].rates.append(steps[number] * contestants[number].networks / spent)
            found[number].cpus.append(busy / spent)
    return found


def spread(ratios: list[float]) -> str:
    """Return median, least and largest."""
    return f"{statistics.median(ratios):6.2f} ({min(ratios):.2f} … {max(ratios):.2f})"


def busy(cpus: float, threads: int) -> bool:
    """Return whether others use the machine: the matrix products did not get all processors."""
    return DEVICE.type == "cpu" and cpus < 0.9 * threads


def verdict(met: bool, demand: str) -> str:
    """Return a demand, and whether it is met."""
    return f"{demand}: {'met' if met else 'MISSED'}"
