"""Every benchmark runs to its end in its quick form, and prints a ratio; some ten minutes on two cores."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

#: Name of a benchmark → a line of its output that holds a ratio, in parentheses.
RATIOS = {
    "channels": r"\d ms +(\S+)  (?:inner|outer)most$",
    "cluster": r"Dask / processes: (\S+) ",
    "convolution": r": ratio (\S+)$",
    "cugliandolo_kurchan": r"finest over coarsest tolerance: (\S+)$",
    "curves": r" (\S+) times the plain step",
    "engine_overhead": r"overhead, pair by pair +(\S+) %",
    "hessian": r" (\S+) ×$",
    "kob_andersen": r"; over lammps: +(\S+) ",
    "network_gpu": r"takes (\S+) times the fastest bare step$",
    "network_parallel": r"over one thread: (\S+) ",
    "networks": r"%  +(\S+) \(",
    "pspin_force": r"^packed f32 .* (\S+) +\S+$",
    "pspin_gpu": r", dense over packed: (\S+)$",
    "tiny_nets": r" over \w+: +(\S+) \(",
}


@pytest.mark.parametrize(
    "name", [f.stem for f in sorted(ROOT.glob("benchmarks/*.py")) if "__main__" in f.read_text()]
)
def test_a_benchmark_runs_in_its_quick_form(name: str) -> None:
    if name == "kob_andersen" and shutil.which("lmp") is None:
        pytest.skip("no LAMMPS to compare with")
    command = [sys.executable, str(ROOT / f"benchmarks/{name}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ratios = re.findall(RATIOS[name], done.stdout, re.MULTILINE)
    assert ratios and all(math.isfinite(float(ratio)) for ratio in ratios), done.stdout
