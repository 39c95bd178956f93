"""Hundreds of tiny nets at once against the loops that everybody writes: network-steps per second and core.

All contestants take short turns in one process, in an order that rotates; every rate is per processor.

loader      DataLoader(TensorDataset, shuffle=True), no worker processes, one net
indexing    one randperm an epoch, X[i], one net
vmap        torch.func.vmap over all nets in one call, X[i]
kernel      the system with R nets, double and single precision, one thread; batches drawn included
two threads the same on two threads: network-steps per second, not per core

The floor of a step is the larger of two: its multiply-adds at the rate of a matrix product that fits in the
cache, and its tanh and exp at that of long rows. Shown is what part of the rate at this floor is reached.

Of a GPU the case "card" has ten thousand nets of 72 weights: by the kernel, by stacked calls of torch, what
it takes to draw batches and to measure, and the floor. Without a GPU the kernel is interpreted with --quick:
that it runs, no more.

    python benchmarks/tiny_nets.py [--quick] [--case ljat images campaign card]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from network_contest import (
    Bare,
    Batches,
    Contestant,
    contest,
    examples,
    indexed,
    loaded,
    spread,
    synchronise,
    verdict,
)
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

from langevin.config import build, run_files
from langevin.core.ensemble import Ensemble, available_threads
from langevin.core.noise import Noise
from langevin.sweep import simulation
from langevin.systems.networks.data.base import Data
from langevin.systems.networks.kernels import tiny_rows

ROOT = Path(__file__).resolve().parent.parent


#: Steps from one measurement to the next: runs/ljat_3_hidden.toml measures 800 times in 150,000 steps.
STRETCH = 190


class Case(NamedTuple):
    """A net that is timed, and what is demanded: times the loader in double and single, times indexing."""

    widths: tuple[int, ...]
    outputs: int
    batch: int
    replicas: int
    demands: tuple[tuple[str, str, float], ...]


CASES = {
    "ljat": Case(
        (4, 4, 4), 4, 100, 100, (("double", "loader", 150), ("single", "loader", 300), ("two", "double", 1.8))
    ),
    "images": Case((5, 5, 5), 10, 50, 50, (("single", "indexing", 10), ("double", "indexing", 10))),
}


def plain(inputs: int, case: Case, dtype: torch.dtype) -> nn.Module:
    """Return the net as everybody writes it."""
    sizes = (inputs, *case.widths, case.outputs)
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(nn.Flatten(), *layers[:-1]).to(dtype)


class Vmap:
    """All nets in each call of torch, some steps at a time."""

    def __init__(self, inputs: Tensor, labels: Tensor, case: Case) -> None:
        nets = [plain(inputs[0].numel(), case, inputs.dtype) for _ in range(case.replicas)]
        self.net, (self.weights, _) = nets[0], stack_module_state(nets)  # type: ignore[arg-type]
        self.inputs, self.labels, self.case = inputs, labels, case
        self.gradient = vmap(grad(self._loss))

    def _loss(self, weights: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(self.net, weights, (inputs,)), labels)

    def __call__(self, steps: int) -> None:
        """Take steps."""
        for _ in range(steps):
            index = torch.randint(len(self.inputs), (self.case.replicas, self.case.batch))
            found = self.gradient(self.weights, self.inputs[index], self.labels[index])
            with torch.no_grad():
                for name, value in self.weights.items():
                    value.sub_(0.05 * found[name])


class Kernel:
    """The system, some steps at a time."""

    def __init__(self, name: str, case: Case, data: Data, precision: str, threads: int) -> None:
        made = run_files.load(
            {
                "system": {"name": "mlp", "widths": list(case.widths)},
                "data": {"name": "ljat"} if name == "ljat" else {"name": "synthetic"},
                "dynamics": {
                    "learning_rate": 0.05,
                    "weight_decay": 1e-4,
                    "batch_size": case.batch,
                    "precision": precision,
                    "backend": "numba",
                    "t_max": 1000.0,
                },
                "ensemble": {"replicas": case.replicas},
            }
        )
        ensemble = Ensemble.regular(case.replicas, 1, 1, threads)
        self.system = build.build(made, ensemble, data)
        self.noise = Noise(1, ensemble.replica)
        self.state, self.time = self.system.initial_state(self.noise), 0

    def __call__(self, steps: int) -> None:
        """Take steps, so many in a call as there are between two measurements of a long run."""
        for _ in range(steps):
            self.state = self.system.advance(self.state, self.time, self.time + STRETCH, self.noise)
            self.time += STRETCH


def ljat() -> Data:
    """Return the molecules."""
    from langevin.systems.networks.data.ljat import LJAT

    return LJAT(LJAT.Parameters()).load(Ensemble.regular(1, 1, 1))


def floor(sizes: tuple[int, ...], batch: int, kind: type[Any]) -> float:
    """Return the least seconds of a step: multiply-adds, or tanh and exp."""
    products = batch * sum(a * b for a, b in pairwise(sizes))
    back = batch * sum(a * b for a, b in pairwise(sizes[1:]))
    size = 192
    a = np.random.default_rng(1).standard_normal((size, size)).astype(kind)
    row = np.ones((1, 4096), kind)

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def tanh(values: Any) -> None:
        for _ in range(100):
            tiny_rows.tanh(values, 0, 1)

    rates = []
    for call, work in ((lambda: np.dot(a, a), size**3), (lambda: tanh(row), 100 * row.size)):
        call()
        times = []
        for _ in range(30):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        rates.append(work / min(times))
    return (2 * products + back) / rates[0] + batch * sum(sizes[1:]) / rates[1]


def speed(name: str, quick: bool) -> None:
    """Time one case, print its table."""
    case, (seconds, rounds) = CASES[name], (0.3, 5) if quick else (1.0, 9)
    data = ljat() if name == "ljat" else examples("mnist")
    inputs, labels = torch.from_numpy(data.scaled(data.train.inputs)), torch.from_numpy(data.train.labels)
    if name == "ljat":
        rows = data.rows[0]
        inputs, labels = inputs[rows], labels[rows]
    width = inputs[0].numel()

    def bare(batches: Batches) -> Bare:
        return Bare(plain(width, case, torch.float32), batches)

    kernels = {p: Kernel(name, case, data, p, 1) for p in ("double", "single")}
    contestants = [
        Contestant("loader", bare(loaded(inputs, labels, case.batch, 0)), 1, 1),
        Contestant("indexing", bare(indexed(inputs, labels, case.batch)), 1, 1),
        Contestant("vmap", Vmap(inputs, labels, case), case.replicas, 1),
        *(Contestant(p, kernel, STRETCH * case.replicas, 1) for p, kernel in kernels.items()),
        Contestant("two", Kernel(name, case, data, "double", 2), STRETCH * case.replicas, 1),
    ]
    found = dict(zip([c.name for c in contestants], contest(contestants, seconds, rounds, 1), strict=True))
    sizes = (width, *case.widths, case.outputs)
    print(f"\n{name}: {sizes}, B = {case.batch}, {case.replicas} nets, {len(labels)} examples")
    for contestant, turns in found.items():
        rate, cpus = statistics.median(turns.rates), statistics.median(turns.cpus)
        said = f"{contestant:9} {rate:9.0f} network-steps/s, {cpus:.2f} processors"
        if contestant in kernels:
            least = floor(sizes, case.batch, np.float64 if contestant == "double" else np.float32)
            said += f", {max(turns.rates) * least:.0%} of the rate at the floor ({1 / least:.0f})"
        print(said)
    for ours, theirs, least in case.demands:
        ratios = [a / b for a, b in zip(found[ours].rates, found[theirs].rates, strict=True)]
        best = max(found[ours].rates) / max(found[theirs].rates)
        print(
            f"{ours} over {theirs}: {spread(ratios)}, best turns {best:.2f}; "
            + verdict(statistics.median(ratios) >= least, f">= {least:g}")
        )


class CardNets:
    """Nets on LJAT, each in one of a hundred samples, that take so many steps at a time."""

    def __init__(self, replicas: int, case: Case, backend: str, steps: int) -> None:
        began = time.perf_counter()
        made = run_files.load(
            {
                "system": {"name": "mlp", "widths": list(case.widths)},
                "data": {"name": "ljat"},
                "dynamics": {
                    "learning_rate": 0.05,
                    "weight_decay": 2e-4,
                    "batch_size": case.batch,
                    "backend": backend,
                    "execution": "auto" if backend == "triton" else "stacked",
                    "t_max": 1e6,
                },
                "ensemble": {"replicas": replicas, "samples": min(replicas, 100)},
            }
        )
        ensemble = Ensemble.regular(replicas, min(replicas, 100), 1)
        self.system: Any = build.build(made, ensemble, build.load_data(made, ensemble))
        self.noise = Noise(1, ensemble.replica)
        self.state, self.time = self.system.initial_state(self.noise), 0
        self.net_steps, self.steps, self.drawn = replicas * steps, steps, 0
        self.start = time.perf_counter() - began

    def __call__(self) -> None:
        """Take steps."""
        self.system.move(self.state, self.time, self.time + self.steps, self.noise)
        self.time += self.steps

    def draw(self) -> None:
        """Draw the batches of a table."""
        drawing = self.system.units._kernel._drawing
        self.drawn = drawing.last(self.drawn)
        drawing.holding(self.drawn)

    def measure(self) -> None:
        """Measure what is measured at every time."""
        self.system.measure(self.state)

    def at_waiting(self) -> None:
        """Measure what is measured at waiting times."""
        self.system.at_waiting(self.state)


def timed(call: Callable[[], object], rounds: int) -> float:
    """Return the median of the seconds that a call takes, after one that is not timed."""
    seconds = []
    for number in range(rounds + 1):
        synchronise()
        began = time.perf_counter()
        call()
        synchronise()
        if number:
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def card(quick: bool) -> None:
    """Time tiny nets in their thousands on a GPU."""
    on_card, case = torch.cuda.is_available(), CASES["ljat"]
    if not on_card and not quick:
        print("card: no GPU here; --quick interprets the kernel")
        return
    if not on_card:
        # Read when Triton is imported.
        os.environ["TRITON_INTERPRET"] = "1"
    sizes = (2, *case.widths, case.outputs)
    counts, steps, rounds = ((1000, 10_000), STRETCH, 5) if on_card else ((2,), 2, 1)
    print(f"\ncard: {torch.cuda.get_device_name() if on_card else 'interpreted'}, {sizes}, B = {case.batch}")
    for replicas in counts:
        own = CardNets(replicas, case, "triton", steps)
        # Stacked calls draw batches on the host, net after net.
        stacked = CardNets(replicas, case, "torch", max(2, steps // 20))
        ours, theirs = (nets.net_steps / timed(nets, rounds) for nets in (own, stacked))
        print(f"{replicas} nets: kernel {ours:.0f} net-steps/s, stacked calls {theirs:.0f}", end="")
        print(f" ({ours / theirs:.0f} times), start {own.start:.1f} s", flush=True)
        if own.system.units.steppers is not None:
            print("the kernel does not run here; the line on stderr says why")
            continue
        drawn = replicas * (own.system.units._kernel._drawing.last(0)) / timed(own.draw, rounds)
        measured, waited = (1e3 * timed(call, rounds) for call in (own.measure, own.at_waiting))
        print(f"  batches alone {drawn:.0f} net-steps/s, measure {measured:.1f} ms, noise {waited:.1f} ms")
        if replicas == 10_000:
            print("  " + verdict(ours >= 2e7, ">= 20 million net-steps/s"))
    if on_card:
        products = 2 * sum(a * b for a, b in pairwise(sizes)) + sum(a * b for a, b in pairwise(sizes[1:]))
        a = torch.ones(4096, 4096, device="cuda")
        rate = 4096**3 / timed(lambda: a @ a, rounds) / (case.batch * products)
        print(f"multiply-adds alone, at the rate of a large product in single precision: {rate:.0f}")


def campaign(quick: bool) -> None:
    """Run the three LJAT run files with all measurements; print wall time of each."""
    total = 0.0
    for layers in (1, 2, 3):
        with tempfile.TemporaryDirectory() as folder:
            changes = {"output.path": str(Path(folder) / "a.nc"), "output.figure": False}
            if quick:
                changes |= {"ensemble.replicas": 10, "ensemble.samples": 10}
            settings = run_files.load(ROOT / f"runs/ljat_{layers}_hidden.toml", changes)
            began = time.perf_counter()
            simulation.execute(settings)
            spent = time.perf_counter() - began
        total += spent
        print(f"runs/ljat_{layers}_hidden.toml: {spent:.1f} s", flush=True)
    print(f"campaign: {total:.0f} s" + ("" if quick else "; " + verdict(total <= 180, "<= 180 s")))


def main() -> None:
    """Time what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*CASES, "campaign", "card"]
    parser.add_argument("--case", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="shorter turns, fewer nets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{available_threads()} processors")
    for name in options.case:
        if name == "campaign":
            campaign(options.quick)
        elif name == "card":
            card(options.quick)
        else:
            speed(name, options.quick)


if __name__ == "__main__":
    main()
