"""Cost, memory and error of the Cugliandolo-Kurchan solvers, decade by decade.

Each row is one process, so that CPU time and memory are those of a whole run, start-up included. Errors are
distances from the run of the finest tolerance in the table (its own is estimated from the second finest):
largest over t ≥ 0.1 up to the row's time. At the end stands the ratio of the CPU times of the finest and the
coarsest tolerance.

    python benchmarks/cugliandolo_kurchan.py [--quick] [--temperature 0] [--t-max 1e7] [--tolerances 1e-4 …]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np


def solve(temperature: float, tolerance: float, t_max: float) -> None:
    """Run in this process; print what it took and found, decade by decade, as JSON."""
    from langevin.systems.cugliandolo_kurchan.covariance import Covariance
    from langevin.systems.cugliandolo_kurchan.longtime import LongTime
    from langevin.systems.cugliandolo_kurchan.stepping import Equations

    began = time.perf_counter()
    solver = LongTime(Equations(Covariance.pure(3), temperature, 0.0), tolerance)
    rows = []
    times = np.geomspace(0.1, t_max, 1 + 20 * round(np.log10(t_max / 0.1)))
    energies, halves = [], []
    for k, t in enumerate(times):
        size = solver.reach(t)
        energies.append(solver.one_time(t, size)[0])
        halves.append(solver.two_time(t, t / 2, size)[:2])
        if k % 20 == 0:
            rows.append(
                {
                    "t": t,
                    "wall": time.perf_counter() - began,
                    "cpu": time.process_time(),
                    "slices": size,
                    "nodes": solver.history.slabs[-1].values.shape[-1],
                    "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                    "start": solver.two_time(t, 0.0, size)[0],
                }
            )
    print(json.dumps({"rows": rows, "times": times.tolist(), "energies": energies, "halves": halves}))


def in_own_process(temperature: float, tolerance: float, t_max: float) -> dict[str, list[dict[str, float]]]:
    """Return what `solve` printed in a process of its own."""
    command = [sys.executable, __file__, "--solve", *map(str, (temperature, tolerance, t_max))]
    found: dict[str, list[dict[str, float]]] = json.loads(
        subprocess.run(command, capture_output=True, check=True).stdout
    )
    return found


def table(temperature: float, tolerances: list[float], t_max: float) -> None:
    """Print one line for each tolerance and decade, the coarsest first."""
    in_own_process(temperature, 1e-3, 10.0)  # Compiles: not counted, a run after the first finds it on disk.
    runs = [in_own_process(temperature, tolerance, t_max) for tolerance in sorted(tolerances, reverse=True)]
    best = runs[-1]
    print(f"T = {temperature:g}, 3-spin, random start")
    print("tolerance        t   wall s   CPU s      MB  slices  nodes   |ΔE| so far  |ΔC(t,t/2)|")
    for tolerance, run in zip(sorted(tolerances, reverse=True), runs, strict=True):
        other = runs[-2] if run is best and len(runs) > 1 else best
        off = np.abs(np.array(run["energies"]) - np.array(other["energies"]))
        half = np.abs(np.array(run["halves"])[:, 0] - np.array(other["halves"])[:, 0])
        for k, row in enumerate(run["rows"]):
            print(
                f"{tolerance:9.0e} {row['t']:8.0e} {row['wall']:8.2f} {row['cpu']:7.2f} {row['MB']:7.0f} "
                f"{row['slices']:7d} {row['nodes']:6d}   {off[: 20 * k + 1].max():11.1e} {half[20 * k]:12.1e}"
            )
    for row, energy, (c, r) in zip(best["rows"], best["energies"][::20], best["halves"][::20], strict=True):
        print(f"t = {row['t']:8.0e}  E = {energy:.10f}  C(t,0) = {row['start']:.9f}", end="")
        print(f"  C(t,t/2) = {c:.8f}  R(t,t/2) = {r:.7e}")
    fine, coarse = (run["rows"][-1]["cpu"] for run in (best, runs[0]))
    print(f"CPU time, finest over coarsest tolerance: {fine / coarse:.2f}")


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--t-max", type=float, default=1e7)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
    parser.add_argument("--quick", action="store_true", help="two tolerances, up to t = 100")
    parser.add_argument("--solve", type=float, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.solve:
        solve(*given.solve)
    else:
        table(given.temperature, *([1e-4, 1e-5], 100.0) if given.quick else (given.tolerances, given.t_max))


if __name__ == "__main__":
    main()
