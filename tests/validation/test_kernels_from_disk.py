"""A kernel that was compiled in this process gives the bits of the same kernel from the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Prints the bits of a short run: of a tiny net, and of one whose steps another kernel takes.
RUN = """
import langevin
for replicas, widths in ((8, [6]), (1, [40])):
    ds = langevin.run({
        "system": {"name": "mlp", "widths": widths},
        "data": {"name": "synthetic", "train": 300, "test": 50},
        "dynamics": {"learning_rate": 0.05, "batch_size": 100, "momentum": 0.9, "t_max": 200},
        "ensemble": {"replicas": replicas},
    })
    print(ds["gradient_norm"].to_numpy().tobytes().hex())
"""


@pytest.mark.slow
def test_kernels_from_disk_give_the_same_bits(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    assert outputs[0].stdout
    assert outputs[0].stdout == outputs[1].stdout
