"""Cost of the p = 3 force against dense BLAS and against the measured peaks of one core.

All variants run interleaved in one process; the table shows the fastest repetition.  GFlop/s counts the floor
of a symmetric product, 4 flops per coupling and replica; GB/s counts the packed couplings read once per pass
over them.  `of peak` is the share of the FMA peak, or of the memory bandwidth if that is larger and the
couplings do not fit in the cache.  A step of the mixed 3 + 4 model stands beside those of its two parts.

    python benchmarks/pspin_force.py [--quick]
"""

import os

# One thread for the dense comparison; it must be set before numpy loads its BLAS.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from math import comb  # noqa: E402
from typing import NamedTuple  # noqa: E402

import numba  # noqa: E402
import numpy as np  # noqa: E402
from llvmlite import ir  # noqa: E402
from numba import types  # noqa: E402
from numba.core import cgutils  # noqa: E402
from numba.extending import intrinsic  # noqa: E402

from langevin.systems.pspin.couplings import Couplings, packed_bytes  # noqa: E402
from langevin.systems.pspin.kernels import ForceField, lane_widths  # noqa: E402
from langevin.systems.pspin.microkernel import max_lanes  # noqa: E402

CACHE = 1 << 26  # more than the last-level cache of the machines in use
CHAINS = 12  # enough independent FMAs to hide their latency on two ports


@intrinsic
def fma_loop(typingctx, rounds):
    """Run `rounds` times CHAINS independent float32 vector FMAs in registers."""

    def codegen(context, builder, signature, args):
        kind = ir.VectorType(ir.FloatType(), max_lanes(4))
        name = f"llvm.fma.v{kind.count}f32"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        slots = [cgutils.alloca_once(builder, kind) for _ in range(CHAINS)]
        factor = ir.Constant(kind, [0.5] * kind.count)
        for value, slot in enumerate(slots):
            builder.store(ir.Constant(kind, [float(value)] * kind.count), slot)
        with cgutils.for_range(builder, args[0]):
            for slot in slots:
                builder.store(builder.call(fma, [builder.load(slot), factor, factor]), slot)
        total = builder.load(slots[0])
        for slot in slots[1:]:
            total = builder.fadd(total, builder.load(slot))
        return builder.extract_element(total, ir.IntType(32)(0))

    return types.float32(types.int64), codegen


@numba.njit
def run_fma(rounds):
    """Compile `fma_loop`."""
    return fma_loop(rounds)


class Case(NamedTuple):
    """One row of the table."""

    name: str
    n: int
    replicas: int
    threads: int
    call: Callable[[], object]
    packed: bool  # whether the byte count of the packed couplings applies


def fastest(
    calls: list[Callable[[], object]], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Minimum seconds of each call, all interleaved, by a clock of the wall or of the processor."""
    inner = []
    for call in calls:
        call()
        start = clock()
        call()
        inner.append(max(1, int(0.01 / max(clock() - start, 1e-7))))
    best = [np.inf] * len(calls)
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or not np.isfinite(best[-1]):
        for k, call in enumerate(calls):
            start = clock()
            for _ in range(inner[k]):
                call()
            best[k] = min(best[k], (clock() - start) / inner[k])
    return best


def spins(replicas: int, n: int) -> np.ndarray:
    """Return random configurations on the sphere, shape (replicas, n)."""
    x = np.random.default_rng(1).standard_normal((replicas, n))
    return x * np.sqrt(n / np.sum(x**2, axis=1, keepdims=True))


def dense_call(tensor: np.ndarray, replicas: int) -> Callable[[], object]:
    """Return the dense force: J as N × N² times the outer products of the spins."""
    n = tensor.shape[0]
    matrix = tensor.reshape(n, n * n)
    x = spins(replicas, n).astype(tensor.dtype)
    if replicas == 1:
        return lambda: 0.5 * (matrix @ np.multiply.outer(x[0], x[0]).ravel())
    return lambda: 0.5 * (matrix @ np.einsum("ri,rj->ijr", x, x).reshape(n * n, replicas))


def cases(n: int, replicas: int, threads: list[int], dense: bool) -> list[Case]:
    """Return the rows of one (n, replicas), to be timed interleaved."""
    result = []
    for dtype, name in ((np.float32, "packed f32"), (np.float64, "packed f64")):
        sample = Couplings.draw(3, n, np.random.default_rng(0), dtype=dtype)
        if dense:
            tensor = sample.dense().astype(dtype)
            call = dense_call(tensor, replicas)
            result.append(Case(name.replace("packed", "dense"), n, replicas, 1, call, False))
        for count in threads:
            field = ForceField([sample], np.zeros(replicas, int), count)
            x = spins(replicas, n)
            # Through `steps` at T = 0, as in a simulation: one entry for several forces.
            batch = max(8, 4_000_000 // comb(n, 3))
            dt = 1e-3 / batch

            # As many forces as steps: the first is known, one follows the last step.
            force = field.force(x)

            def call(field=field, x=x, force=force, batch=batch, dt=dt):
                return field.steps(x, force, batch, dt, 0.0, [])

            result.append(Case(f"{name} x{batch}", n, replicas, count, call, True))
    return result


def report(group: list[Case], times: list[float], bandwidth: list[float], flops: float) -> None:
    """Print the rows of one group."""
    dense = next((t for c, t in zip(group, times, strict=True) if c.name == "dense f32"), None)
    for case, elapsed in zip(group, times, strict=True):
        batch = int(case.name.split("x")[1]) if case.packed else 1
        seconds = elapsed / batch
        kind = np.float64 if "f64" in case.name else np.float32
        passes = len(lane_widths(case.replicas, np.dtype(kind).itemsize)) if case.packed else 1
        size = packed_bytes(3, case.n, kind) * passes if case.packed else np.dtype(kind).itemsize * case.n**3
        bytes_rate = size / seconds / 1e9
        flop_rate = 4 * comb(case.n, 3) * case.replicas / seconds / 1e9
        top = flops * case.threads * np.dtype(np.float32).itemsize / np.dtype(kind).itemsize
        share = flop_rate / top
        if size / passes > CACHE:
            share = max(share, bytes_rate / bandwidth[case.threads - 1])
        ratio = f"{dense / seconds:7.1f}" if dense else "      -"
        print(
            f"{case.name.split(' x')[0]:11s} {case.n:5d} {case.replicas:4d} {case.threads:3d} "
            f"{1e3 * seconds / case.replicas:11.4f} {bytes_rate:8.1f} {flop_rate:8.1f} {ratio} {share:8.2f}",
            flush=True,
        )


def full_step(n: int, replicas: int, seconds: float) -> None:
    """Noise and update against the force alone."""
    sample = Couplings.draw(3, n, np.random.default_rng(0))
    field = ForceField([sample], np.zeros(replicas, int), 1)
    rngs = [np.random.default_rng(r) for r in range(replicas)]
    x = spins(replicas, n)
    steps, known = 8, field.force(x)
    calls = [
        lambda: field.force(x),
        lambda: field.steps(x, known, steps, 1e-3, 0.0, rngs),
        lambda: field.steps(x, known, steps, 1e-3, 0.5, rngs),
    ]
    force, cold, warm = fastest(calls, seconds)
    print(
        f"\nN = {n}, R = {replicas}, one thread: force {1e6 * force:.1f} us, fused step without noise "
        f"{1e6 * cold / steps:.1f} us, with noise {1e6 * warm / steps:.1f} us"
    )


def mixed(n: int, replicas: int, seconds: float) -> None:
    """Print a step of the 3 + 4 model against the sum of a step of either part, in time of the processor."""
    three, four = (Couplings.draw(p, n, np.random.default_rng(p)) for p in (3, 4))
    x, calls, steps = spins(replicas, n), [], 8
    for sample in (three, four, (three, four)):
        field = ForceField([sample], np.zeros(replicas, int), 1)
        known = field.force(x)

        def call(field=field, known=known):
            return field.steps(x, known, steps, 1e-4, 0.0, [])

        calls.append(call)
    first, second, both = (t / steps for t in fastest(calls, seconds, time.process_time))
    print(
        f"N = {n}, R = {replicas}, one thread, step of p = 3: {1e3 * first:.4f} ms, p = 4: "
        f"{1e3 * second:.4f} ms, 3 + 4: {1e3 * both:.4f} ms, over their sum: {both / (first + second):.3f}",
        flush=True,
    )


def main() -> None:
    """Measure the peaks, then every size; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    quick = parser.parse_args().quick
    seconds = 0.5 if quick else 3.0

    rounds = 1 << 20
    large = np.ones(1 << 26, dtype=np.float32)
    a, b = (np.ones((1024, 1024), dtype=np.float32) for _ in range(2))
    halves = np.split(large, 2)
    with ThreadPoolExecutor(2) as pool:
        peak, read, both, gemm = fastest(
            [
                lambda: run_fma(rounds),
                lambda: large @ large,
                lambda: list(pool.map(lambda v: v @ v, halves)),
                lambda: a @ b,
            ],
            seconds,
        )
    flops = 2 * CHAINS * max_lanes(4) * rounds / peak / 1e9
    bandwidth = [large.nbytes / t / 1e9 for t in (read, both)]
    print(f"one core: FMA peak {flops:.0f} GFlop/s, sgemm {2 * 1024**3 / gemm / 1e9:.0f} GFlop/s")
    print(f"memory read: one thread {bandwidth[0]:.1f} GB/s, two threads {bandwidth[1]:.1f} GB/s")
    print(f"packed / needed bytes at N = 384: {packed_bytes(3, 384) / (4 * comb(384, 3)):.3f}\n")

    print("kernel          N    R thr ms/rep-step     GB/s  GFlop/s  vs f32  of peak")
    small = [(48, 1), (48, 16), (64, 1), (64, 16), (128, 1), (128, 2), (128, 4), (128, 16)]
    big = [(256, 1), (256, 16), (384, 1), (384, 2), (384, 16), (512, 1), (512, 16)]
    sizes = small if quick else small + big
    for n, replicas in sizes:
        group = cases(n, replicas, [1, 2] if n >= 128 else [1], n <= 384)
        report(group, fastest([c.call for c in group], seconds), bandwidth, flops)
    full_step(64 if quick else 256, 16, seconds)
    print()
    for n, replicas in (
        [(24, 16), (48, 1), (48, 16)] if quick else [(32, 16), (64, 1), (64, 16), (96, 16), (128, 16)]
    ):
        mixed(n, replicas, seconds)


if __name__ == "__main__":
    main()
