"""A trajectory of 8 GB is analysed in 1 GB, and exported; numbers are those of the definitions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import large_results
import numpy as np
import pytest

from langevin.observables import pieces

pytestmark = pytest.mark.slow

TIMES, DOF = 1042, 240_000
#: Bytes that a process may need, all in all.
MOST = 1e9


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("large")
    if shutil.disk_usage(folder).free < 18e9:
        pytest.skip("needs 18 GB on the disk")
    path = folder / "large.nc"
    large_results.write(path, TIMES, DOF)
    yield path
    shutil.rmtree(folder)


@pytest.mark.parametrize("chunks", [{}, None])
def test_eight_gigabytes_are_analysed_in_one(chunks: Any, large: Path) -> None:
    assert large.stat().st_size > 8e9
    # Without Dask values are averaged where they come to lie in memory: not all of them.
    every = 1 if chunks is not None else 25
    said = large_results.analysed(large, chunks, pieces.HELD, pieces.BLOCK, every)
    print(chunks, {name: f"{said[name] / 1e6:.0f} MB" for name in ("peak", "grown")})
    for name, expected in large_results.directly(large, every).items():
        # Sums of 10⁵ numbers in another order.
        np.testing.assert_allclose(said[name][: len(expected)], expected, rtol=1e-9, err_msg=name)
    assert said["peak"] < MOST


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "large.nc"],
        ["plot", "large.nc"],
        ["export", "large.nc", "-o", "large.zarr"],
        ["info", "large.zarr"],
        ["compare", "large.nc", "large.zarr"],
    ],
    ids=" ".join,
)
def test_commands_need_little_memory(arguments: list[str], large: Path) -> None:
    run = f"import sys\nfrom langevin.commands.cli import main\nmain({arguments!r}, standalone_mode=False)\n"
    # Of this process alone: what getrusage says begins with that of the process that started it.
    measure = "lines = open('/proc/self/status').read().splitlines()\n"
    measure += "print(next(line.split()[1] for line in lines if line.startswith('VmHWM:')))"
    done = subprocess.run(
        [sys.executable, "-c", run + measure], cwd=large.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak = 1024 * int(done.stdout.splitlines()[-1])
    print(" ".join(arguments), f"{peak / 1e6:.0f} MB")
    assert peak < MOST
