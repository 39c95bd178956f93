"""Exact Hessians of a small net, side by side: closed form, batched products, curvlinops, column by column.

A fully connected net of layers 2-4-4-4-4 (72 weights), mean cross-entropy of 1000 examples, double precision,
one thread. Each makes the whole matrix; they take turns, and medians are compared. The naive way
differentiates the gradient once for each column. Printed apart: the eigenvalues, and one product with a
vector for the small convolutional net, vector by vector and batched.

    python benchmarks/hessian.py [--quick] [--repeat 15]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from curvlinops import HessianLinearOperator
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from langevin.systems.networks.data.examples import OnDevice
from langevin.systems.networks.measure.curvature import LossHessian, Twin
from langevin.systems.networks.nets.layout import Layout, multiplications
from langevin.systems.networks.nets.losses import Loss
from langevin.systems.networks.nets.modules import SmallNet, multilayer


def prepared(module: nn.Module, shape: tuple[int, ...], classes: int, examples: int) -> LossHessian:
    """Return the Hessian of a net as it starts, on Gaussian inputs with random labels."""
    rng = np.random.default_rng(1)
    inputs, labels = rng.standard_normal((examples, *shape)), rng.integers(classes, size=examples)
    one = np.ones(shape[0])
    data = OnDevice(inputs, labels, one, 0 * one, torch.device("cpu"), torch.float64)
    layout, weights = Layout(module), Layout(module).of(module)
    work = multiplications(module, torch.zeros(1, *shape))
    twin = Twin(module, layout, Loss("cross_entropy", classes), data, work, 1)
    return LossHessian(twin, weights, {}, torch.arange(examples))


def naive(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the matrix by differentiating every component of the gradient."""
    parameters = list(module.parameters())
    loss = nn.functional.cross_entropy(module(inputs), labels)
    found = torch.autograd.grad(loss, parameters, create_graph=True)
    slope = torch.cat([g.reshape(-1) for g in found])
    rows = []
    for component in slope:
        second = torch.autograd.grad(component, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([g.reshape(-1) for g in second]))
    return torch.stack(rows)


def turns(contestants: dict[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """Return the median seconds of each, taking turns; the first turn does not count."""
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    for n in range(repeat + 1):
        for name, contestant in contestants.items():
            began = time.perf_counter()
            contestant()
            if n:
                spent[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in spent.items()}


def small(repeat: int) -> None:
    """Compare the ways to the whole matrix of the net with 72 weights."""
    torch.manual_seed(0)
    module = multilayer((2,), [4, 4, 4], 4, "tanh")
    ours = prepared(module, (2,), 4, 1000)
    inputs, labels = ours.twin.gather(ours.index)
    parameters = list(module.parameters())
    identity = np.eye(ours.size)

    def theirs() -> Any:
        operator = HessianLinearOperator(
            module, nn.CrossEntropyLoss(), parameters, [(inputs, labels)], check_deterministic=False
        )
        return operator @ torch.eye(ours.size, dtype=torch.float64)

    contestants = {
        "closed form": ours.dense,
        "double backward, batched": lambda: ours.matvec(identity),
        "curvlinops": theirs,
        "naive, column by column": lambda: naive(module, inputs, labels),
    }
    matrices = [np.asarray(make()) for make in contestants.values()]
    for other in matrices[1:]:
        np.testing.assert_allclose(other, matrices[0], atol=1e-12)
    found = turns({**contestants, "eigenvalues": lambda: np.linalg.eigvalsh(matrices[0])}, repeat)
    base = found["closed form"]
    print(
        f"Hessian of 2-4-4-4-4, {ours.size} weights, 1000 examples, float64, one thread; medians of {repeat}"
    )
    for name, seconds in found.items():
        print(f"{name:28}{1e3 * seconds:9.2f} ms {1 / seconds:9.0f} /s {seconds / base:9.1f} ×")


def convolutional(repeat: int) -> None:
    """Compare products with eight vectors, one after the other and together."""
    torch.manual_seed(0)
    ours = prepared(SmallNet((3, 32, 32), 10), (3, 32, 32), 10, 100)
    vectors = np.random.default_rng(0).standard_normal((ours.size, 8))

    def product(batched: bool) -> None:
        ours.twin.batched = batched
        ours.matvec(vectors)

    found = turns({"in turn": lambda: product(False), "together": lambda: product(True)}, max(1, repeat // 5))
    for name, seconds in found.items():
        about = f"small_net, {ours.size} weights, 100 examples, vectors {name}"
        print(f"{about}: {1e3 * seconds / 8:.0f} ms a product")


def main() -> None:
    """Time all, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="two turns")
    options = parser.parse_args()
    repeat = 2 if options.quick else options.repeat
    warnings.filterwarnings("ignore", category=UserWarning)
    torch.set_num_threads(1)
    with threadpool_limits(limits=1, user_api="blas"):
        small(repeat)
        convolutional(repeat)


if __name__ == "__main__":
    main()
