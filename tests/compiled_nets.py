"""Compile the kernels of Triton for an H100, which need not be there: `test_tiny_gpu` runs it in a process.

Prints the name of each kernel that compiles, and how often it was compiled.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget

from langevin.systems.networks.kernels import drawing_triton, tiny_triton


class Absent:
    """The driver of a GPU on which nothing is started."""

    def get_current_target(self) -> Any:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: Any = None) -> int:
        return 0


def compiled(kernel: Any, calls: list[tuple[Any, ...]], **constants: Any) -> None:
    """Compile a kernel for these calls; print how many of them need code of their own."""
    codes = {id(kernel.warmup(*call, grid=(1,), **constants)) for call in calls}
    print(kernel.__name__, len(codes), flush=True)


def main() -> None:
    """Compile all kernels."""
    triton.runtime.driver.set_active(Absent())
    real, whole, long = torch.float32, torch.int32, torch.int64
    for kernel, sizes in ((tiny_triton.descend, (2, 3, 2, 4)), (tiny_triton.descend_wide, (40, 3, 2))):
        starts = tuple(accumulate(((a + 1) * b for a, b in pairwise(sizes)), initial=0))
        constants = {
            "SIZES": sizes, "STARTS": starts, "B": 20, "LANES": 32, "TANH": True, "MOMENTUM": True,
            "FIELD": True, "num_warps": 1,
        }  # fmt: skip
        if kernel is tiny_triton.descend_wide:
            behind = tuple(s - sizes[0] * sizes[1] for s in starts)
            constants |= {"BEHIND": behind, "UNITS": 16, "CHUNK": 16}
        tensors = (real, real, real, real, whole, whole, whole, whole, real, whole)
        calls = [
            (*tensors, steps, start, 10, 1000, 32_000, 1000, 0.9, 1e-4, 0.05)
            for steps, start in ((1, 0), (16, 16), (190, 37))
        ]
        compiled(kernel, calls, **constants)
    shuffled = [(whole, long, long, count, epochs, 1000, 333) for count, epochs in ((320, 32), (1, 1))]
    compiled(drawing_triton.shuffle, shuffled, WIDTH=53, PLACES=3, LANES=32, num_warps=1)
    drawn = [(whole, long, nets, 25_600, 1000, 296) for nets in (1, 16, 300)]
    compiled(drawing_triton.choose, drawn, LANES=32, num_warps=1)


if __name__ == "__main__":
    main()
