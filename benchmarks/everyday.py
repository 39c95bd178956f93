"""An everyday run of the Cugliandolo-Kurchan equations, from command to figure, against what cannot be less.

p = 3, T = 0.5, default path, t = 10⁴, tolerance 10⁻⁵. The floor is counted in processes of their own: Python,
the libraries that such a run needs, what is loaded of our own, and the solution alone. Whatever else shares
the processor lengthens all of them: they are run in turn, and of each the least CPU time counts. Kernels and
bytecode are on the disk (one round is not counted).

With two threads the two solutions are computed side by side, and the figure is drawn by a process beside the
run, which loads what it needs meanwhile: more CPU time, less wall time, where two processors are free.

    python benchmarks/everyday.py [--quick] [--rounds 5] [--threads 2]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN_FILE = """
title = "3-spin quench to T = 0.5, N → ∞"
[system]
name = "cugliandolo_kurchan"
p = 3
[dynamics]
temperature = 0.5
initial_temperature = inf
t_max = {t_max}
tolerance = 1e-5
[record]
times = {{ start = 0.01, per_decade = 20 }}
waiting_times = {{ start = 1.0, stop = {waiting}, per_decade = 1 }}
lags = {{ start = 0.01, per_decade = 10 }}
[output]
path = "everyday.nc"
figure = {figure}
"""

LIBRARIES = "import click, matplotlib.figure, netCDF4, numba, numpy, pydantic, scipy.linalg, tqdm, xarray"
SOLUTION = """
import time
from langevin.systems.cugliandolo_kurchan.companion import Companion
from langevin.systems.cugliandolo_kurchan.covariance import Covariance
from langevin.systems.cugliandolo_kurchan.longtime import LongTime
from langevin.systems.cugliandolo_kurchan.stepping import Equations
solution = LongTime(Equations(Covariance.pure(3), 0.5, 0.0), 1e-5)
Companion(solution).reach({t_max})
"""


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """Return wall and CPU seconds of a command."""
    # Some set this where files are copied; users keep bytecode.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, cwd=folder, env=kept, capture_output=True, check=True)
    wall, after = time.perf_counter() - began, os.times()
    return wall, sum(getattr(after, n) - getattr(before, n) for n in ("children_user", "children_system"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of the last row (the others have one)")
    parser.add_argument("--quick", action="store_true", help="one round, up to t = 10")
    given = parser.parse_args()
    t_max, waiting = (10.0, 4.0) if given.quick else (1e4, 1e3)
    python, cli = [sys.executable, "-c"], "import sys; from langevin.commands.cli import main; main()"

    def run(figure: str, threads: int = 1) -> list[str]:
        return [*python, cli, "run", f"figure_{figure}.toml", "--force", "--threads", str(threads)]

    rows = {
        "Python": [*python, "pass"],
        "numpy, matplotlib": [*python, "import numpy, matplotlib.figure"],
        "the libraries": [*python, LIBRARIES],
        "the solution, and its error": [*python, SOLUTION.format(t_max=t_max)],
        "the command, no figure": run("false"),
        "the command": run("true"),
        f"the command, {given.threads} threads": run("true", given.threads),
    }
    best: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for figure in ("true", "false"):
            text = RUN_FILE.format(t_max=t_max, waiting=waiting, figure=figure)
            (folder / f"figure_{figure}.toml").write_text(text, encoding="utf-8")
        for k in range(1 + (1 if given.quick else given.rounds)):
            for label, command in rows.items():
                spent = measured(command, folder)
                if k:
                    best[label] = tuple(map(min, spent, best.get(label, spent)))  # type: ignore[assignment]
    print(f"{'':30} wall s   CPU s   CPU, and wall, over those of the libraries")
    for label, (wall, cpu) in best.items():
        least_wall, least_cpu = best["the libraries"]
        print(f"{label:30} {wall:6.2f}  {cpu:6.2f}   {cpu / least_cpu:6.2f} {wall / least_wall:6.2f}")


if __name__ == "__main__":
    main()
