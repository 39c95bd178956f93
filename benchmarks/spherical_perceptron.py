"""Steps of the spherical perceptron, side by side: the compiled kernel, and two products of matrices by BLAS.

One thread. Both make the same step on the sphere at T = 0, for replicas that share their patterns; they take
turns, and medians are compared. Beside them stands the floor: the floating-point operations that are needed,
2PN(1 + u) with u the share of unsatisfied patterns, over what BLAS makes of a product of large matrices; and
the bytes of the patterns over what a sum of a large array reads. The larger of both bounds a step from below.

    python benchmarks/spherical_perceptron.py [--quick] [--repeat 15]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from langevin.systems.perceptron.kernels import Field
from langevin.systems.sphere import uniform_on_sphere

#: Dimension, patterns per dimension, replicas of one sample.
SIZES = ((256, 4, 1), (256, 4, 8), (1024, 4, 1), (1024, 4, 8))
MARGIN, STEP = -0.3, 0.05


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


def by_blas(xi: np.ndarray, x: np.ndarray, steps: int) -> np.ndarray:
    """Take steps by two products with the whole matrix of patterns."""
    n = x.shape[1]
    for _ in range(steps):
        pushed = np.minimum(x @ xi.T / math.sqrt(n) - MARGIN, 0)
        x = x - STEP * (pushed @ xi) / math.sqrt(n)
        x = x * np.sqrt(n / np.sum(x * x, axis=1, keepdims=True))
    return x


def contest(n: int, load: int, replicas: int, repeat: int) -> None:
    """Print the times of a step, as ratios, and the floor."""
    rng = np.random.default_rng(1)
    xi, x = rng.standard_normal((load * n, n)), uniform_on_sphere(n, rng, replicas)
    field = Field([xi], np.zeros(replicas, np.int64), MARGIN, 1)
    start = field.evaluate(x)
    steps = max(2, 2**27 // (xi.size * replicas))
    ours = field.steps(start, steps, STEP, 0.0, [])
    np.testing.assert_allclose(ours.x, by_blas(xi, x, steps), rtol=0, atol=1e-8)
    square, large = rng.standard_normal((768, 768)), rng.standard_normal(2**22)
    spent = turns(
        {
            "kernel": lambda: field.steps(start, steps, STEP, 0.0, []),
            "BLAS": lambda: by_blas(xi, x, steps),
            "product": lambda: square @ square,
            "read": lambda: large.sum(),
        },
        repeat,
    )
    share = (start.unsatisfied.mean() + ours.unsatisfied.mean()) / 2 / len(xi)
    each = spent["kernel"] / steps
    operations = 2 * xi.size * replicas * (1 + share) * spent["product"] / (2 * 768**3)
    bytes_read = xi.nbytes * spent["read"] / large.nbytes
    print(
        f"N = {n:5d}, P = {len(xi)}, {replicas} replicas: {1e6 * each / replicas:8.0f} us a step, replica; "
        f"BLAS takes {spent['BLAS'] / spent['kernel']:.2f} times as long; floor / kernel: operations "
        f"{operations / each:.2f}, bytes {bytes_read / each:.2f}"
    )


def main() -> None:
    """Run all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeat", type=int, default=15)
    given = parser.parse_args()
    with threadpool_limits(1):
        for n, load, replicas in SIZES[:2] if given.quick else SIZES:
            contest(n, load, replicas, 2 if given.quick else given.repeat)


if __name__ == "__main__":
    main()
