"""A step of a curve between two networks against a plain step of the same network, in time and in memory.

Both are `move` of the system, on the same data, batch size and rule, in turns in one process. A curve's
step finds one gradient, too; what is added are passes over the weights. Its floor, with one bend and
momentum: five numbers more for each weight (φ from three control points, written, and read by the decay).

Memory is the most that the system and two steps hold, beyond plain training, in copies of the weights; (bends
+ 2) are asked for.

    python benchmarks/curves.py [--quick] [--system preresnet]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from network_contest import Contestant, contest
from network_memory import now, peak

import langevin
from langevin.analysis import connect
from langevin.config import build, run_files
from langevin.config.settings import Settings
from langevin.core.ensemble import Ensemble, available_threads
from langevin.core.noise import Noise

#: A curve's step may take so many times a plain one.
DEMAND = 1.15

#: Hidden units of the net whose memory is counted.
WIDE = 2000

#: Name → [system], data set in whose shape examples are drawn, batch size.
NETS: dict[str, tuple[dict[str, Any], str, int]] = {
    "fully_connected": ({"name": "fully_connected"}, "mnist", 128),
    "small_net": ({"name": "small_net"}, "mnist", 128),
    "lenet": ({"name": "lenet"}, "mnist", 128),
    "resnet18": ({"name": "resnet18", "width": 16}, "cifar10", 32),
    "wide": ({"name": "fully_connected", "hidden": WIDE}, "mnist", 8),
    "preresnet": ({"name": "preresnet", "depth": 110}, "cifar10", 128),
}

#: Those that a processor steps through in a reasonable time.
SMALL = ("fully_connected", "small_net", "lenet", "resnet18")

CURVES = (("bezier", 1), ("chain", 1), ("bezier", 3))


class Stepper:
    """A system that takes steps, from where it stands."""

    def __init__(self, settings: Settings, threads: int) -> None:
        ensemble = Ensemble.regular(1, 1, 1, threads)
        self.system: Any = build.build(settings, ensemble)
        self.noise = Noise(1, [0])
        self.state, self.step = self.system.initial_state(self.noise), 0

    def __call__(self, steps: int) -> None:
        """Take steps."""
        last = self.step + steps
        self.state = self.system.move(self.state, self.step, last, self.noise)
        self.step = last


def plain(name: str, folder: Path, momentum: float = 0.9) -> Settings:
    """Return the settings of plain training, of which the files of both ends are made."""
    system, like, batch = NETS[name]
    given = {
        "system": system,
        "data": {"name": "synthetic", "like": like, "train": 2000, "test": 20},
        "dynamics": {"batch_size": batch, "momentum": momentum, "weight_decay": 5e-4, "t_max": 1e6},
        "ensemble": {"replicas": 2, "seed": 1},
        "record": {"times": [1], "waiting_times": [], "lags": [], "snapshots": [1], "energy_examples": 20},
        "output": {"path": str(folder / f"{name}.nc"), "figure": False},
    }
    langevin.run(given, {"dynamics.t_max": 1}, force=True).close()
    return run_files.load(given)


def curve(name: str, folder: Path, kind: str, bends: int) -> Settings:
    """Return the settings of a curve between the first two replicas."""
    fixed = {"dynamics.t_max": 1e6, "dynamics.schedule": "constant", "record.times": [1]}
    return connect.settings(folder / f"{name}.nc", curve=kind, bends=bends, overrides=fixed)


def held(settings: Settings, threads: int) -> float:
    """Return the most bytes in use while a system takes steps, itself included; not while it is built."""
    start = now()
    made = stepped(settings, threads)
    return peak(lambda: made(2)) - start


def stepped(settings: Settings, threads: int) -> Stepper:
    """Return a system after two steps."""
    made = Stepper(settings, threads)
    made(2)
    return made


def memory(folder: Path, momenta: Sequence[float], threads: int) -> None:
    """Print what curves hold beyond plain training, of a wide net on few examples."""
    copy = 4 * (784 * WIDE + WIDE + WIDE * WIDE + WIDE + 10 * WIDE + 10)
    for momentum in momenta:
        training = plain("wide", folder, momentum)
        stepped(training, threads)
        base = held(training, threads)
        print(f"memory, {copy / 1e6:.0f} MB a copy, momentum {momentum:g}: plain {base / copy:.1f} copies")
        for kind, bends in CURVES:
            more = (held(curve("wide", folder, kind, bends), threads) - base) / copy
            # Rounding of pages, and buffers of libraries.
            word = "met" if more <= bends + 2 + 0.25 else "MISSED"
            print(f"  {kind}, {bends}: {more:+.1f} copies; {bends + 2} asked: {word}")


def main() -> None:
    """Let the steps of plain training and of curves take turns; print ratios and copies."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short turns, two nets")
    parser.add_argument("--system", action="append", choices=sorted(NETS))
    options = parser.parse_args()
    threads, rounds = available_threads(), 3 if options.quick else 9
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        if not options.system:
            memory(folder, (0.9,) if options.quick else (0.0, 0.9), threads)
        for name in options.system or (SMALL[:2] if options.quick else SMALL):
            training = plain(name, folder)
            settings = {f"{kind}, {n}": curve(name, folder, kind, n) for kind, n in CURVES}
            steppers = {"plain": Stepper(training, threads)}
            steppers |= {label: Stepper(s, threads) for label, s in settings.items()}
            turns = contest(
                [Contestant(label, stepper) for label, stepper in steppers.items()],
                0.3 if options.quick else 1.0,
                rounds,
                threads,
            )
            report(name, dict(zip(steppers, (t.rates for t in turns), strict=True)))


def report(name: str, rates: dict[str, list[float]]) -> None:
    """Print the time of a step of each, and its ratio to the plain one's, median and range over rounds."""
    base = rates.pop("plain")
    print(f"{name}: plain step {1e3 / statistics.median(base):.3f} ms")
    for label, own in rates.items():
        ratios = sorted(p / q for p, q in zip(base, own, strict=True))
        middle = statistics.median(ratios)
        word = "met" if middle <= DEMAND else "MISSED"
        print(
            f"  {label:12} {middle:.3f} times the plain step ({ratios[0]:.3f} to {ratios[-1]:.3f}); "
            f"{DEMAND} asked: {word}"
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(available_threads()))
    main()
