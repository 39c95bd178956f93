"""Steps of the p = 3 model on a device of torch: packed couplings against the dense N × N² product.

The forces that a run uses are compared with those of double precision first. Steps are timed in batches, the
variants one after the other in one process; the fastest batch counts. TFlop/s counts 4 flops for each
coupling and replica; GB/s counts one reading of the packed couplings, beside a copy of memory in the same
process (which reads and writes). Random numbers stand for couplings, padding included: nothing is drawn on
the host.

    python benchmarks/pspin_gpu.py [--device cuda|cpu] [--quick] [--blocks]

`--blocks` prints, for a card, a step for each of several cuts of the kernels of Triton.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from math import comb

import numpy as np
import torch
from torch import Tensor

from langevin.systems import switches
from langevin.systems.pspin import philox, torch_field
from langevin.systems.pspin.tiles import Tiling
from langevin.systems.pspin.torch_field import TorchField
from langevin.systems.pspin.torch_force import TorchForce
from langevin.systems.pspin.triton_force import ONE, SEVERAL, TritonForce, fastest

DT, TEMPERATURE = 0.02, 0.5
#: (N, replicas), and for `--quick`.
CASES = [(1024, 64), (512, 16), (4096, 1)]
QUICK = [(96, 8), (48, 4), (128, 1)]
#: Bytes above which the dense matrix is not tried.
DENSE = 3e10


def waited(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(call: Callable[[int], object], device: torch.device, seconds: float) -> float:
    """Return the time of one of the things that `call` does so many of; the fastest of several batches."""
    call(2)
    waited(device)
    began = time.perf_counter()
    call(2)
    waited(device)
    each = max((time.perf_counter() - began) / 2, 1e-6)
    count = max(2, int(seconds / 4 / each))
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        call(count)
        waited(device)
        best = min(best, (time.perf_counter() - began) / count)
    return 1e3 * best


def couplings(tiling: Tiling, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return random numbers of the couplings' size."""
    data = torch.empty((1, tiling.size), dtype=dtype, device=device)
    data.normal_(generator=torch.Generator(device).manual_seed(1)).mul_((3 / tiling.n**2) ** 0.5)
    return data


def stepper(
    force: Callable[[Tensor], Tensor], n: int, replicas: int, device: torch.device
) -> Callable[[int], object]:
    """Return what takes steps of a run, noise included."""
    field = TorchField(force, np.zeros(replicas, np.int64), n, device)
    keys = np.arange(2 * replicas).reshape(replicas, 2)
    x = np.random.default_rng(1).standard_normal((replicas, n))
    return lambda count: field.steps(x, 0, count, DT, TEMPERATURE, keys)


def repeated(force: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[int], object]:
    """Return what computes a force so many times."""
    return lambda count: [force(x) for _ in range(count)]


def noise(count: int, n: int, replicas: int, device: torch.device) -> None:
    """Draw the normals of so many steps, as many at a time as a run does."""
    keys = torch.arange(2 * replicas, device=device).view(1, replicas, 2)
    at_once = max(1, min(1 << 10, torch_field._NOISE_BUFFER // (n * replicas)))
    for first in range(0, count, at_once):
        philox.normals(keys, first, min(at_once, count - first), n)


def dense(n: int, replicas: int, device: torch.device) -> Callable[[int], object]:
    """Return the trial: J as N × N², for all replicas at once, in single precision."""
    matrix = torch.randn((n, n * n), device=device, generator=torch.Generator(device).manual_seed(1)) / n
    x = torch.randn((n, replicas), device=device, dtype=torch.float64)
    noise = torch.randn((n, replicas), device=device, dtype=torch.float64)

    def steps(count: int) -> None:
        nonlocal x
        for _ in range(count):
            s = x.float()
            f = matrix @ (s[:, None] * s[None]).view(n * n, replicas)
            x = x + DT * f + (2 * TEMPERATURE * DT) ** 0.5 * noise
            x = x * torch.sqrt(n / (x * x).sum(0))

    return steps


def copy_speed(device: torch.device, size: int, seconds: float) -> float:
    """Return bytes a second, read and written, of a copy."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    each = milliseconds(lambda count: [target.copy_(source) for _ in range(count)], device, seconds)
    return 2e3 * size / each


def difference(forces: dict[str, Callable[[Tensor], Tensor]], x: Tensor, exact: Tensor) -> str:
    """Say by what part of its size, rms, each force differs from the exact one."""
    scale = exact.square().mean().sqrt()
    return ", ".join(
        f"{name} {float((force(x) - exact).square().mean().sqrt() / scale):.1e}"
        for name, force in forces.items()
    )


def compare(device: torch.device, n: int, replicas: int) -> None:
    """Print the errors of the forces, root mean square, relative to double precision."""
    tiling = Tiling(3, n)
    data = couplings(tiling, device, torch.float32)
    x = torch.randn((1, n, replicas), dtype=torch.float64, device=device)
    exact = TorchForce(tiling, data.double())(x)
    forces: dict[str, Callable[[Tensor], Tensor]] = {}
    for name, tf32 in (("single", False), ("tf32", True)):
        force = fastest(tiling, data, tf32, replicas)
        forces[f"{name} ({type(force).__name__})"] = force
        forces[f"{name} (products of torch)"] = TorchForce(tiling, data, tf32)
    print(f"errors of forces, N = {n}, {replicas} replicas: {difference(forces, x, exact)}", flush=True)


def case(device: torch.device, n: int, replicas: int, seconds: float, copied: float) -> None:
    """Print the table of one size."""
    tiling, floor = Tiling(3, n), comb(n, 3)
    print(
        f"\nN = {n}, replicas = {replicas}: {4 * tiling.size / 1e9:.3g} GB packed, "
        f"{tiling.size / floor:.3f} of the floor"
    )
    print(f"{'':34}{'ms a step':>10}{'TFlop/s':>9}{'GB/s':>8}{'of a copy':>11}")

    def line(name: str, each: float) -> None:
        read = 4e3 * tiling.size / each
        rate = 4e-9 * floor * replicas / each
        print(f"{name:34}{each:10.4f}{rate:9.3f}{read / 1e9:8.1f}{read / copied:11.3f}", flush=True)

    data = couplings(tiling, device, torch.float32)
    times = {}
    for name, tf32 in (("single", False), ("tf32", True)):
        force = fastest(tiling, data, tf32, replicas)
        times[name] = milliseconds(stepper(force, n, replicas, device), device, seconds)
        line(f"{name}, as in a run", times[name])
        if type(force) is not TorchForce:
            torch_force = TorchForce(tiling, data, tf32)
            line(
                f"{name}, products of torch",
                milliseconds(stepper(torch_force, n, replicas, device), device, seconds),
            )
        x = torch.randn((1, n, replicas), dtype=torch.float64, device=device)
        line(f"{name}, force alone", milliseconds(repeated(force, x), device, seconds / 4))
    drawn = milliseconds(lambda count: noise(count, n, replicas, device), device, seconds / 4)
    print(f"{'noise alone':34}{drawn:10.4f}")
    del data, force
    if 4 * n**3 > DENSE:
        print(f"dense trial: {4 * n**3 / 1e9:.0f} GB, not tried")
        return
    trial = dense(n, replicas, device)
    for name, tf32 in (("single", False), ("tf32", True)):
        with switches.chosen(tf32):
            each = milliseconds(trial, device, seconds)
        print(f"{f'dense trial, {name}':34}{each:10.4f}")
        print(f"{name}, dense over packed: {each / times[name]:.2f}", flush=True)


def blocks(device: torch.device, seconds: float) -> None:
    """Print steps of the kernels of Triton for several ways to cut the work."""
    from triton.errors import TritonError

    for n, replicas in CASES:
        tiling = Tiling(3, n)
        data = couplings(tiling, device, torch.float32)
        if replicas == 1:
            cuts = [
                replace(ONE, columns=c, warps=w, stages=s)
                for c, w, s in itertools.product((64, 128, 256), (4, 8), (2, 3, 4))
            ]
        else:
            cuts = [
                replace(SEVERAL, columns=c, warps=w, prefixes=q)
                for c, w, q in itertools.product((32, 64, 128), (4, 8), (32, 64, 128))
            ]
        for cut in cuts:
            force = TritonForce(tiling, data, several=cut, one=cut)
            try:
                each = milliseconds(stepper(force, n, replicas, device), device, seconds)
                print(f"N = {n}, replicas = {replicas}, {cut}: {each:.4f} ms", flush=True)
            except (TritonError, RuntimeError) as error:
                print(f"N = {n}, replicas = {replicas}, {cut}: {str(error).splitlines()[0]}", flush=True)
        del data, force


def main() -> None:
    """Time what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="small sizes, short measurements")
    parser.add_argument("--blocks", action="store_true", help="several cuts of the kernels of Triton")
    given = parser.parse_args()
    device, seconds = torch.device(given.device), 0.1 if given.quick else 1.0
    if device.type == "cpu":
        torch.set_num_threads(1)
        print("device: processor, one thread")
    else:
        print(f"device: {torch.cuda.get_device_name(device)}, torch {torch.__version__}")
    if given.blocks:
        blocks(device, 0.5)
        return
    copied = copy_speed(device, 1 << 24 if given.quick else 1 << 32, seconds)
    print(f"copy: {copied / 1e9:.1f} GB/s")
    for replicas in (1, 16):
        compare(device, 64 if given.quick else 512, replicas)
    for n, replicas in QUICK if given.quick else CASES:
        case(device, n, replicas, seconds, copied)


if __name__ == "__main__":
    main()
