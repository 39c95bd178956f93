"""Gradients of convolutional nets with channels innermost against channels outermost, by width.

Both take turns in one process, on one thread of torch. The table shows the fastest step with channels
outermost, the ratio of the other to it (below 1 channels innermost are faster), and what the system chooses.

    python benchmarks/channels.py [--quick] [--batch 16] [--seconds 4] [--double]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from langevin.systems.networks.kernels.pointwise import channels_last_pays, protect
from langevin.systems.networks.nets.deep_modules import VGG16, PreResNet, WideResNet
from langevin.systems.networks.nets.modules import ResNet18

SHAPE, CLASSES = (3, 32, 32), 100
NETS: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...]]] = {
    "resnet18": (lambda width: ResNet18(SHAPE, CLASSES, width), (1, 2, 4, 8, 16, 32)),
    "vgg16": (lambda width: VGG16(SHAPE, CLASSES, width, False), (1, 2, 4, 8, 16)),
    "wide_resnet, depth 10": (lambda width: WideResNet(SHAPE, CLASSES, 10, 1, width), (1, 2, 4, 8, 16, 32)),
    "preresnet, depth 20": (lambda width: PreResNet(SHAPE, CLASSES, 20, True, width), (2, 4, 16)),
}


def step(
    module: nn.Module, batch: int, order: torch.memory_format, dtype: torch.dtype
) -> Callable[[], object]:
    """Return what finds the gradient on a batch whose images lie in this order."""
    images = torch.randn(batch, *SHAPE, dtype=dtype).contiguous(memory_format=order)
    labels = torch.randint(CLASSES, (batch,))
    parameters = list(module.parameters())
    return lambda: torch.autograd.grad(F.cross_entropy(module(images), labels), parameters)


def fastest(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Seconds of the processor that each call takes, the least of many, in turns."""
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        for name, call in calls.items():
            start = time.process_time()
            call()
            best[name] = min(best[name], time.process_time() - start)
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--quick", action="store_true", help="short turns, the narrowest net of each kind")
    given = parser.parse_args()
    seconds = 0.2 if given.quick else given.seconds
    torch.set_num_threads(1)
    # Without it narrow nets would write past their memory.
    protect()
    dtype = torch.float64 if given.double else torch.float32
    print(f"B = {given.batch}, {dtype}, {torch.backends.cpu.get_cpu_capability()}")
    print(f"{'net':24s}{'width':>6s}{'outermost':>12s}{'innermost':>11s}  chosen")
    for name, (build, widths) in NETS.items():
        for width in widths[:1] if given.quick else widths:
            module = build(width).to(dtype)
            orders = {"outermost": torch.contiguous_format, "innermost": torch.channels_last}
            calls = {key: step(module, given.batch, order, dtype) for key, order in orders.items()}
            spent = fastest(calls, seconds)
            ratio = spent["innermost"] / spent["outermost"]
            chosen = "innermost" if channels_last_pays(module) else "outermost"
            print(
                f"{name:24s}{width:6d}{1e3 * spent['outermost']:9.1f} ms{ratio:11.2f}  {chosen}", flush=True
            )


if __name__ == "__main__":
    main()
