"""ResNet-18 on a GPU: a step on the engine beside bare ways of writing it, the cost of measurements, memory.

All numbers are of one process: milliseconds for a step of one network on a batch of 64 of CIFAR's shape, the
median of rounds that take turns. The floor is counted, too: flops of forward and backward pass over the rate
of large matrix products in the same numbers.

    python benchmarks/network_gpu.py [--quick] [--width 64] [--steps 50]

Without a GPU the captured ways are left out, and the rest says no more than that it runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from network_contest import DEVICE, examples, synchronise
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from langevin.config import build, run_files
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.systems.networks.arithmetic import Arithmetic
from langevin.systems.networks.nets.modules import ResNet18

ON_GPU = DEVICE.type == "cuda"
CLASSES, SHAPE, BATCH = 100, (3, 32, 32), 64
#: Steps of the paper's run.
PAPER = 300_000


class BareStep:
    """The step that everybody writes, in one of several ways.

    Parameters
    ----------
    width, batch : int
    precision : {"single", "tf32", "bf16"}
    innermost, graph, compiled : bool
        Channels innermost; captured in a CUDA graph; loss and gradient by torch.compile.
    """

    def __init__(
        self,
        width: int,
        precision: str,
        innermost: bool,
        graph: bool = False,
        compiled: bool = False,
        batch: int = BATCH,
    ) -> None:
        layout = torch.channels_last if innermost else torch.contiguous_format
        self.net = ResNet18(SHAPE, CLASSES, width).to(DEVICE, memory_format=layout)
        self.arithmetic = Arithmetic(DEVICE, "single" if precision == "single" else "tf32")
        self.rounded = precision == "bf16"
        self.inputs = torch.randn(batch, *SHAPE, device=DEVICE).contiguous(memory_format=layout)
        self.labels = torch.randint(CLASSES, (batch,), device=DEVICE)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01)
        self.loss: Callable[[], Tensor] = torch.compile(self._loss) if compiled else self._loss
        self.graph: Any = None
        with self.arithmetic.work():
            self._warm(graph)

    def _warm(self, graph: bool) -> None:
        if not graph:
            for _ in range(3):
                self._step()
            return
        aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._step()

    def _loss(self) -> Tensor:
        cast = torch.autocast(DEVICE.type, torch.bfloat16, cache_enabled=False)
        with cast if self.rounded else nullcontext():
            outputs = self.net(self.inputs)
        return F.cross_entropy(outputs.float(), self.labels)

    def _step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def __call__(self, steps: int) -> None:
        """Take steps."""
        with self.arithmetic.work():
            for _ in range(steps):
                if self.graph is None:
                    self._step()
                else:
                    self.graph.replay()


class OnEngine:
    """The system, as a run has it."""

    def __init__(self, width: int, replicas: int, count: int, **dynamics: Any) -> None:
        given = {
            "system": {"name": "resnet18", "width": width},
            "data": {"name": "synthetic", "like": "cifar100", "train": count, "test": count},
            "dynamics": {"learning_rate": 0.01, "batch_size": BATCH, "t_max": PAPER, **dynamics},
            "ensemble": {"replicas": replicas, "seed": 1},
            "output": {"figure": False},
        }
        ensemble = Ensemble.regular(replicas, 1, 1, 1)
        self.system: Any = build.build(run_files.load(given), ensemble, examples("cifar100", count))
        self.noise, self.time = Noise(1, ensemble.replica), 0
        self.state = self.system.initial_state(self.noise)
        self(3)

    def __call__(self, steps: int) -> None:
        """Take steps."""
        self.state = self.system.move(self.state, self.time, self.time + steps, self.noise)
        self.time += steps

    def measure(self) -> None:
        """Measure at one time."""
        self.system.measure(self.state)

    def at_waiting(self) -> None:
        """Measure the gradient noise."""
        self.system.at_waiting(self.state)

    def pair(self) -> None:
        """Compare two times."""
        self.system.compare(self.system.reference(self.state), self.state)


def seconds(command: Callable[[], Any], rounds: int = 5) -> float:
    """Return the median time of a command, the first call not counted."""
    times = []
    for _ in range(rounds + 1):
        synchronise()
        began = time.perf_counter()
        command()
        synchronise()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def turns(ways: dict[str, Callable[[int], None]], steps: int, rounds: int) -> dict[str, float]:
    """Return the median time of a step, in milliseconds, of each of several ways that take turns."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, take in ways.items():
            synchronise()
            began = time.perf_counter()
            take(steps)
            synchronise()
            spent[name].append(1e3 * (time.perf_counter() - began) / steps)
    return {name: statistics.median(times) for name, times in spent.items()}


def product_rate(precision: str, size: int) -> float:
    """Return flops a second of large matrix products."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, size, size, device=DEVICE).to(kind)
    with Arithmetic(DEVICE, "single" if precision == "single" else "tf32").work():
        return 2.0 * size**3 / seconds(lambda: torch.mm(a, b))


def flops(width: int) -> int:
    """Return the flops of forward and backward pass of a step."""
    net = ResNet18(SHAPE, CLASSES, width)
    counter = FlopCounterMode(display=False)
    with counter:
        net(torch.zeros(BATCH, *SHAPE)).sum().backward()
    return counter.get_total_flops()


def bare_ways(width: int, compiled: bool) -> dict[str, Callable[[int], None]]:
    """Return the bare steps by what they are called: those that are compiled, or the others."""
    if compiled:
        return {
            "compiled, graph, TF32, channels innermost": BareStep(width, "tf32", True, True, True),
            "compiled, graph, bf16, channels innermost": BareStep(width, "bf16", True, True, True),
        }
    ways: dict[str, Callable[[int], None]] = {
        "eager, single": BareStep(width, "single", False),
        "eager, bf16, channels innermost": BareStep(width, "bf16", True),
    }
    if ON_GPU:
        ways |= {
            "graph, single": BareStep(width, "single", False, graph=True),
            "graph, TF32": BareStep(width, "tf32", False, graph=True),
            "graph, TF32, channels innermost": BareStep(width, "tf32", True, graph=True),
            "graph, bf16, channels innermost": BareStep(width, "bf16", True, graph=True),
        }
        large = BareStep(width, "bf16", True, graph=True, batch=8 * BATCH)
        ways["the same, B = 512, for 64 images"] = lambda steps: large(max(1, steps // 8))
    return ways


def compare(width: int, steps: int, rounds: int, count: int, compiled: bool) -> None:
    """Print the table of steps that are compiled, or of those that are not, and what goes with it."""
    precisions = ("single", "tf32", "bf16") if ON_GPU else ("single", "bf16")
    ways = bare_ways(width, compiled)
    for precision in precisions[compiled:]:
        began = time.perf_counter()
        made = OnEngine(width, 1, count, precision=precision, compile=compiled)
        ways[f"langevin, {precision}{', compiled' * compiled}"] = made
        print(f"  langevin, {precision}: ready after {time.perf_counter() - began:.1f} s", flush=True)
    table = turns(ways, steps, rounds)
    for label, spent in table.items():
        print(f"  {label:45s} {spent:8.3f} ms", flush=True)
    for precision in ("tf32", "bf16"):
        bare = [
            v for n, v in table.items() if precision in n.lower() and n[:8] != "langevin" and "512" not in n
        ]
        mine = [v for n, v in table.items() if n.startswith(f"langevin, {precision}")]
        if bare and mine:
            print(f"  {precision}: the engine takes {min(mine) / min(bare):.3f} times the fastest bare step")
    costs(width, count, rounds, steps, precisions[-1], compiled, table[label])


def floors(width: int, precisions: tuple[str, ...]) -> None:
    """Print how long a step takes at the rate of large products."""
    work, size = flops(width), 8192 if ON_GPU else 512
    for precision in precisions:
        floor = 1e3 * work / product_rate(precision, size)
        print(
            f"  {'floor, ' + precision + ': flops at the rate of products':45s} {floor:8.3f} ms", flush=True
        )


def costs(
    width: int, count: int, rounds: int, steps: int, precision: str, compiled: bool, alone: float
) -> None:
    """Print what two replicas cost together, what measurements cost, and how much memory there is in use."""
    if ON_GPU:
        before = torch.cuda.memory_allocated()
    pair = OnEngine(width, 2, count, precision=precision, compile=compiled)
    together = turns({"two": pair}, steps, rounds)["two"]
    gain = 2 * alone / together
    said = f"two replicas, {precision}: {together:.3f} ms for both"
    print(f"  {said}, {gain:.2f} times the throughput of one", flush=True)
    if ON_GPU:
        held = (torch.cuda.memory_allocated() - before) / (8 * pair.system.dof)
        print(f"  memory held by two replicas, data included: {held:.2f} copies of their weights")
    measured, noise, compared = (seconds(c, 3) for c in (pair.measure, pair.at_waiting, pair.pair))
    own = [f"{1e3 * spent:.2f}" for spent in (measured, noise, compared)]
    print(f"  ms for two replicas: measure {own[0]}, gradient noise {own[1]}, pair of times {own[2]}")
    # runs/resnet18.toml: ten times and two waiting times a decade, pairs of each with all later lags.
    for total in (100_000, PAPER):
        decades = torch.log10(torch.tensor(float(total))).item()
        times, waits = 10 * decades + 2, 2 * decades + 1
        pairs = waits * 10 * decades / 2
        share = times * measured + waits * noise + pairs * compared
        run = total * together / 1e3
        print(
            f"  {total} steps: {run / 60:.1f} min of steps and {share / 60:.2f} min of measurements "
            f"({100 * share / (run + share):.1f} %)"
        )


def main() -> None:
    """Time what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few steps, a narrow net, nothing compiled")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50, help="of a turn")
    options = parser.parse_args()
    width = 16 if options.quick else options.width
    steps, rounds = (2, 2) if options.quick else (options.steps, 5)
    count = 200 if options.quick else 20_000
    name = torch.cuda.get_device_name() if ON_GPU else "no GPU"
    print(f"ResNet-18 of width {width}, B = {BATCH}, on: {name}", flush=True)
    floors(width, ("single", "tf32", "bf16") if ON_GPU else ("single", "bf16"))
    compare(width, steps, rounds, count, compiled=False)
    if ON_GPU and not options.quick:
        compare(width, steps, rounds, count, compiled=True)


if __name__ == "__main__":
    main()
