"""What modules of compiled kernels share: how these are kept, when they are stale, what the processor has."""

from __future__ import annotations

import hashlib
from pathlib import Path

import llvmlite.binding as llvm

from langevin.kernel_cache import njit

__all__ = ["fingerprint", "host_has", "njit"]


def host_has(feature: str) -> bool:
    """Return whether LLVM knows that this processor has a feature, such as "avx512f"."""
    try:
        return bool(llvm.get_host_cpu_features().get(feature, False))
    except RuntimeError:
        return False


def fingerprint(*files: str) -> int:
    """Return a digest of source files, > 0.

    The disk cache looks at the files of the function and of the compiled functions that it calls, but not at
    those of intrinsics. Its key contains the values that a closure captures: a kernel that captures the
    fingerprint of all its sources is compiled anew when one of them changes.
    """
    digest = hashlib.sha256()
    for name in files:
        digest.update(Path(name).read_bytes())
    return 1 + int.from_bytes(digest.digest()[:4], "little")
