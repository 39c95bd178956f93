"""What the engine costs beyond force, noise and step: whole runs against the bare kernel.

The same steps of the 3-spin model are taken twice: by one call of the fused kernel (force, noise, step), and
by a whole run with logarithmic measurements, two-time observables, stored configurations, checkpoints and the
result file. Runs alternate; medians are compared. Printed apart: what building the couplings costs.

    python benchmarks/engine_overhead.py [--quick] [--n 256] [--t-max 40] [--repeat 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from langevin.config import build, run_files
from langevin.core import engine
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.sweep import simulation


def settings(n: int, t_max: float, path: Path) -> dict[str, Any]:
    """Return the settings of the quench that is timed."""
    return {
        "system": {"name": "pspin", "p": 3, "n": n},
        "dynamics": {"temperature": 0.5, "dt": 0.02, "t_max": t_max},
        "ensemble": {"replicas": 16, "samples": 4, "seed": 1},
        "record": {"waiting_times": {"start": 1.0, "per_decade": 2}, "lags": {"per_decade": 20}},
        "output": {"path": str(path), "checkpoint_interval": 30.0},
    }


def bare(given: dict[str, Any]) -> float:
    """Seconds of the kernel alone, in one call."""
    checked = run_files.load(given)
    ensemble = Ensemble.regular(16, 4, 1)
    model = build.build(checked, ensemble).model  # type: ignore[attr-defined]
    noise = Noise(1, ensemble.replica)
    x = model.initial_configuration(noise)
    model.force(x)
    steps = round(checked.dynamics.t_max / checked.dynamics.dt)
    began = time.perf_counter()
    model.fused_steps(x, steps, checked.dynamics.dt, checked.dynamics.temperature, noise)
    return time.perf_counter() - began


def whole(given: dict[str, Any]) -> tuple[float, float]:
    """Seconds of the engine's loop, checkpoints included; seconds of all that stands around it."""
    loop, spent = engine.run, []

    def timed(*arguments: Any) -> None:
        began = time.perf_counter()
        loop(*arguments)
        spent.append(time.perf_counter() - began)

    engine.run = timed
    began = time.perf_counter()
    try:
        simulation.execute(run_files.load(given), force=True)
    finally:
        engine.run = loop
    return spent[0], time.perf_counter() - began - spent[0]


def main() -> None:
    """Time both, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--t-max", type=float, default=40.0)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="64 spins, a shorter run, three turns")
    options = parser.parse_args()
    if options.quick:
        options.n, options.t_max, options.repeat = 64, 10.0, 3
    with tempfile.TemporaryDirectory() as folder:
        given = settings(options.n, options.t_max, Path(folder) / "result.nc")
        bare({**given, "dynamics": {**given["dynamics"], "t_max": 2.0}})
        kernel, loop, rest = [], [], []
        for _ in range(options.repeat):
            kernel.append(bare(given))
            seconds, other = whole(given)
            loop.append(seconds)
            rest.append(other)
    k, w, r = (statistics.median(v) for v in (kernel, loop, rest))
    ratios = [b / a for a, b in zip(kernel, loop, strict=True)]
    print(
        f"3-spin, N = {options.n}, 16 replicas, 4 samples, t = {options.t_max:g}, medians of {options.repeat}"
    )
    print(f"kernel alone (force, noise, step)           {k:9.3f} s")
    print(f"engine loop (measure, compare, store)       {w:9.3f} s")
    low, middle, high = (100 * (f(ratios) - 1) for f in (min, statistics.median, max))
    print(f"overhead, pair by pair                      {middle:+9.2f} %   ({low:+.2f} to {high:+.2f})")
    print(f"couplings, first checkpoint, result file    {r:9.3f} s, once a run")


if __name__ == "__main__":
    main()
