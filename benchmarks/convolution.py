"""Cost of the fused convolution: layer by layer, in a whole step of a network, and with two replicas at once.

All variants take turns in one process, on one thread of torch except where it says otherwise; the tables
show the fastest repetition. The floor of a pass is its multiplications over the measured rate of a float32
matrix product: forward all of them, backward those of the events (positive maxima), which depend on the
weights. `torch` is Conv2d, ReLU, MaxPool2d, and `last` the same in the layout channels_last.

    python benchmarks/convolution.py [--quick] [--batch 100]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from langevin.systems.networks.kernels.convolution import ConvPool
from langevin.systems.networks.nets.modules import LeNet, SmallNet

LAYERS = {
    "small_net 1": (3, 32, 10, 0),
    "small_net 2": (10, 14, 20, 0),
    "lenet 1": (1, 28, 6, 2),
    "lenet 2": (6, 14, 16, 0),
}
EXAMPLES = 2000
RATE = 0.01


def fastest(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Milliseconds of each call, the fastest of many, in alternating blocks that find their memory warm."""
    for call in calls.values():
        call()
    best = dict.fromkeys(calls, float("inf"))
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        for name, call in calls.items():
            for _ in range(5):
                start = time.perf_counter()
                call()
                best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def multiplications_per_millisecond(seconds: float) -> float:
    """Rate of a float32 matrix product on one thread."""
    n = 1024
    a, b = torch.randn(n, n), torch.randn(n, n)
    return n**3 / fastest({"": lambda: a @ b}, seconds)[""]


def plain(module: ConvPool, padding: int, last: bool) -> nn.Module:
    """Return the layer as torch users write it, with the same weights."""
    after, before, kernel, _ = module.weight.shape
    conv = nn.Conv2d(before, after, kernel, padding=padding)
    conv.load_state_dict(module.state_dict())
    net = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2))
    return net.to(memory_format=torch.channels_last) if last else net


def layer(name: str, batch: int, rate: float, seconds: float) -> None:
    """Print one layer's times forward and backward."""
    channels, side, filters, padding = LAYERS[name]
    fused = ConvPool(channels, filters, 5, padding)
    fused.compiled = True
    x = torch.randn(batch, channels, side, side)
    first = channels <= 3
    versions: dict[str, tuple[nn.Module, Tensor]] = {
        "fused": (fused, x),
        "torch": (plain(fused, padding, False), x),
        "last": (plain(fused, padding, True), x.contiguous(memory_format=torch.channels_last)),
    }
    if not first:
        # Inner layers get what the one before returns: the samples innermost.
        maker = ConvPool(1, channels, 1)
        maker.compiled = True
        like = maker(torch.randn(batch, 1, 2 * side, 2 * side)).detach()
        versions["fused"] = fused, like.copy_(x)
    forward: dict[str, Callable[[], object]] = {}
    backward: dict[str, Callable[[], object]] = {}
    live = 0.0
    for key, (module, given) in versions.items():
        forward[key] = partial(module, given)
        leaf = given.detach().requires_grad_(not first)
        y = module(leaf)
        live = float((y > 0).double().mean())
        wanted = [*module.parameters(), *([] if first else [leaf])]
        backward[key] = partial(torch.autograd.grad, y, wanted, torch.randn_like(y), retain_graph=True)
    dense = 4 * y.numel() * channels * 25
    floors = {"forward": dense / rate, "backward": live * dense / 4 * (1 if first else 2) / rate}
    for title, calls in (("forward", forward), ("backward", backward)):
        found = fastest(calls, seconds)
        ratios = [found[key] / found["fused"] for key in ("torch", "last")]
        print(
            f"{name:12} {title:9} {found['fused']:7.2f} {found['torch']:7.2f} {found['last']:7.2f}"
            f" {ratios[0]:8.1f} {ratios[1]:7.1f} {floors[title]:7.2f} {floors[title] / found['fused']:7.0%}"
        )


class Step:
    """One step of plain SGD of a network on a batch of stored examples."""

    def __init__(self, net: nn.Module, data: Tensor, labels: Tensor, batch: int, last: bool = False) -> None:
        self.net = net.to(memory_format=torch.channels_last) if last else net
        self.data, self.labels, self.batch, self.last = data, labels, batch, last
        self.parameters = list(net.parameters())

    def gather(self) -> tuple[Tensor, Tensor]:
        index = torch.randint(len(self.data), (self.batch,))
        x = self.data.index_select(0, index)
        return x.contiguous(memory_format=torch.channels_last) if self.last else x, self.labels[index]

    def update(self, gradients: list[Tensor]) -> None:
        with torch.no_grad():
            torch._foreach_add_(self.parameters, gradients, alpha=-RATE)

    def __call__(self) -> None:
        x, y = self.gather()
        self.update(list(torch.autograd.grad(F.cross_entropy(self.net(x), y), self.parameters)))


def unfused(net: SmallNet | LeNet) -> nn.Module:
    """Return the network with torch's own layers."""
    for i, module in enumerate(net.convolutions):
        assert isinstance(module, ConvPool)
        net.convolutions[i] = plain(module, module.padding, False)
    return net


def compiled(net: SmallNet | LeNet) -> nn.Module:
    """Return the network with the compiled layers."""
    for module in net.convolutions:
        assert isinstance(module, ConvPool)
        module.compiled = True
    return net


def steps(shape: tuple[int, int, int], make: type[SmallNet | LeNet], batch: int, seconds: float) -> None:
    """Print whole steps on one thread, and the parts of the fused one."""
    data, labels = torch.randn(EXAMPLES, *shape), torch.randint(10, (EXAMPLES,))
    fused = Step(compiled(make(shape, 10)), data, labels, batch)
    versions = {
        "fused": fused,
        "torch": Step(unfused(make(shape, 10)), data, labels, batch),
        "last": Step(unfused(make(shape, 10)), data, labels, batch, last=True),
    }
    found = fastest(dict(versions), 2 * seconds)
    print(
        f"{make.__name__:12} step      {found['fused']:7.2f} {found['torch']:7.2f} {found['last']:7.2f}"
        f" {found['torch'] / found['fused']:8.1f} {found['last'] / found['fused']:7.1f}"
    )
    x, y = fused.gather()
    assert isinstance(fused.net, SmallNet | LeNet)
    convolutions = fused.net.convolutions
    features = convolutions(x).detach()
    leaf = features.clone().requires_grad_()
    gradients = [torch.randn_like(p) for p in fused.parameters]
    net, inner = fused.net, fused.parameters[4:]
    end = torch.randn_like(features)

    def head() -> object:
        hidden = leaf.flatten(1)
        layers = net.layers if isinstance(net, LeNet) else nn.Sequential(net.hidden, nn.ReLU(), net.output)
        return torch.autograd.grad(F.cross_entropy(layers(hidden), y), [leaf, *inner])

    def body() -> object:
        return torch.autograd.grad(convolutions(x), fused.parameters[:4], end)

    parts = {"gather": fused.gather, "convolutions": body, "linear layers and loss": head}
    parts["update"] = partial(fused.update, gradients)
    for key, value in fastest(parts, seconds).items():
        print(f"    {key:22} {value:7.2f} ms")


def plain_loop(batch: int, seconds: float) -> float:
    """Network-steps per second of the usual loop over a DataLoader, on all threads."""
    shape = (3, 32, 32)
    net = unfused(SmallNet(shape, 10))
    data = TensorDataset(torch.randn(EXAMPLES, *shape), torch.randint(10, (EXAMPLES,)))
    loader = DataLoader(data, batch_size=batch, shuffle=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    best = 0.0
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        began = time.perf_counter()
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        best = max(best, len(loader) / (time.perf_counter() - began))
    return best


def replicas(batch: int, seconds: float) -> float:
    """Network-steps per second of as many replicas as processors, each on a thread."""
    count = os.cpu_count() or 1
    data, labels = torch.randn(EXAMPLES, 3, 32, 32), torch.randint(10, (EXAMPLES,))
    all_steps = [Step(compiled(SmallNet((3, 32, 32), 10)), data, labels, batch) for _ in range(count)]

    def many(step: Step) -> None:
        for _ in range(20):
            step()

    best = 0.0
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        stop = time.perf_counter() + seconds
        while time.perf_counter() < stop:
            began = time.perf_counter()
            list(pool.map(many, all_steps))
            best = max(best, 20 * count / (time.perf_counter() - began))
    return best


def tables(batch: int, seconds: float) -> None:
    """Print the layers and the steps.

    To be called on a thread of its own, as the system's units are: on the main thread glibc gives memory back
    to the operating system at every step, and a third of the time goes into getting it again.
    """
    rate = multiplications_per_millisecond(seconds)
    print(f"matrix product: {2e-6 * rate:.0f} GFlop/s on one thread; batch {batch}; times in ms\n")
    print("                         fused   torch    last  torch/f  last/f   floor of floor")
    for name in LAYERS:
        layer(name, batch, rate, seconds)
    steps((3, 32, 32), SmallNet, batch, seconds)
    steps((1, 28, 28), LeNet, batch, seconds)


def main() -> None:
    """Time all, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    parser.add_argument("--batch", type=int, default=100)
    options = parser.parse_args()
    seconds = 0.3 if options.quick else 3.0
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        pool.submit(tables, options.batch, seconds).result()
    ours, theirs = 0.0, 0.0
    for _ in range(3):
        torch.set_num_threads(1)
        ours = max(ours, replicas(options.batch, seconds))
        torch.set_num_threads(threads)
        theirs = max(theirs, plain_loop(options.batch, seconds))
    print(f"\nsmall_net on all {os.cpu_count()} processors, network-steps per second:")
    print(f"    {ours:.0f} with one replica per thread, {theirs:.0f} of a loop over a DataLoader", end="")
    print(f" (one replica after another): ratio {ours / theirs:.1f}")


if __name__ == "__main__":
    main()
