"""Every benchmark runs to its end in its quick form, and prints a ratio; some ten minutes on two cores."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import track

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", track.RATIOS)
def test_a_benchmark_runs_in_its_quick_form(name: str) -> None:
    if name == "kob_andersen" and shutil.which("lmp") is None:
        pytest.skip("no LAMMPS to compare with")
    command = [sys.executable, str(ROOT / f"benchmarks/{name}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ratios = track.ratios(name, done.stdout)
    assert ratios and all(map(math.isfinite, ratios.values())), done.stdout
