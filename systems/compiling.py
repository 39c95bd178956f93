"""What modules of compiled kernels share: how these are kept, when they are stale, what the processor has."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any

from langevin.machine.kernel_cache import njit

__all__ = ["fingerprint", "host_has", "njit"]


def host_has(feature: str) -> bool:
    """Return whether numba compiles for a processor with a feature, such as "avx512f".

    NUMBA_CPU_FEATURES says so, if that is set. What it does not name counts as missing, but for what all
    processors of the architecture have.
    """
    from numba import core

    numba: Any = core
    told = numba.config.CPU_FEATURES
    chosen: str = numba.codegen.get_host_cpu_features() if told is None else told
    known = {name[1:]: name[0] == "+" for name in chosen.split(",") if name}
    always = feature == "sse2" and platform.machine().lower() in ("x86_64", "amd64")
    return known.get(feature, always)


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
