"""Coverage of barriers and of the length of curves: over examples, over samples, and over both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from judging import Row, judge, virtual_runs

import langevin
from langevin.analysis import connect
from langevin.config import build
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.observables.landscape import barriers
from langevin.observables.statistics import average
from langevin.observables.sufficiency import least
from langevin.systems.networks.curve import NetworkCurve, point

RUNS = 200
POSITIONS = 31
T = np.linspace(0, 1, POSITIONS)

#: Means of losses along made-up curves.
PROFILES = {
    "clear maximum": 4 * T * (1 - T) + T / 2,
    "flat top": np.minimum(8 * np.minimum(T, 1 - T), 1) + T / 5,
    "at an end": -0.1 * T,
    "all equal": 0 * T,
}


def of_examples(quantity: str, losses: list[np.ndarray], truth: float) -> Row:
    """Return the row of barriers of the mean losses (T, n) of many virtual runs."""
    found = [barriers.of_losses(each, np.random.default_rng(k), 200) for k, each in enumerate(losses)]
    narrow = [
        barriers.interval_of_losses(each, np.random.default_rng(k), 0.68, 200)
        for k, each in enumerate(losses)
    ]
    wide = np.array([(f.low, f.high) for f in found]).T
    values, errors = (np.array([getattr(f, part) for f in found]) for part in ("value", "error"))
    ends: Any = {0.68: tuple(np.array(narrow).T), 0.95: tuple(wide)}
    size = losses[0].shape[1]
    return judge(quantity, "barrier of examples", size, truth, values, errors, intervals=ends)


def made_up() -> list[Row]:
    """Return rows of made-up losses: skew, as losses are, neighbouring positions alike or not at all."""
    rows, size = [], least("barrier of examples")
    for name, profile in PROFILES.items():
        for reach in (0.0, 0.1):
            apart = ((T[:, None] - T) / max(reach, 1e-9)) ** 2
            root = np.linalg.cholesky(np.exp(-apart / 2) + 1e-9 * np.eye(POSITIONS))
            rng = np.random.default_rng(7)
            noise = rng.standard_normal((RUNS, POSITIONS, size))
            # Exponential of a normal: skewness 1.75.
            skew = np.exp((root @ noise) / 2)
            skew = (skew - np.exp(1 / 8)) / 0.6
            truth = float(barriers.heights(profile[None])[0][0])
            which = "independent" if reach == 0 else "smooth"
            quantity = f"barrier, {name}, {which} noise"
            rows.append(of_examples(quantity, list(profile[:, None] + skew), truth))
    return rows


def network(folder: Path) -> list[Row]:
    """Return rows of curves and segments between small nets: subsets of 4000 examples against all of them."""
    path = folder / "ends.nc"
    langevin.run(
        {
            "system": {"name": "fully_connected", "hidden": 12},
            "data": {"name": "synthetic", "train": 4000, "test": 32, "like": "mnist"},
            "dynamics": {"t_max": 300, "batch_size": 32, "learning_rate": 0.1},
            "ensemble": {"replicas": 2, "seed": 3},
            "record": {"times": [300], "waiting_times": [], "lags": [], "snapshots": [300]},
            "output": {"path": str(path), "figure": False},
        }
    ).close()
    made = connect.settings(path, overrides={"dynamics.t_max": 600, "record.times": [600]})
    system: Any = build.build(made, Ensemble.regular(1, 1, 3, threads=1))
    assert isinstance(system, NetworkCurve)
    noise = Noise(3, [0])
    state = system.advance(system.initial_state(noise), 0, 600, noise)
    control, rows = system.control(state.weights)[0], []
    for name, points in (("curve", control), ("segment", control[[0, -1]])):
        kind = system.kind if name == "curve" else "chain"
        losses = np.stack([system.network.see(point(kind, points, float(t)), 0)[0].losses for t in T])
        truth = float(barriers.heights(losses.mean(1)[None])[0][0])
        for size in (least("barrier of examples"), 400):
            rng = np.random.default_rng(size)
            # With replacement: examples of a population, of which the 4000 are all there is.
            subsets = [losses[:, rng.integers(0, losses.shape[1], size)] for _ in range(RUNS)]
            rows.append(of_examples(f"barrier of nets, {name}", subsets, truth))
    return rows


def spins(folder: Path) -> list[Row]:
    """Return rows of means over samples: barriers and lengths of curves between quenches of 12 spins.

    The ends are young: old ones may be in one minimum, and a length over nothing has no mean.
    """
    ends, most = folder / "spins.nc", least("barrier")
    count = RUNS * most
    keys = {"times": [], "waiting_times": [], "lags": [], "configurations": "never"}
    langevin.run(
        {
            "system": {"name": "pspin", "p": 3, "n": 12},
            "dynamics": {"temperature": 0.0, "dt": 0.05, "t_max": 1.0},
            "ensemble": {"replicas": 2 * count, "samples": count, "seed": 5},
            "record": {**keys, "snapshots": [1.0]},
            "output": {"path": str(ends), "figure": False},
        }
    ).close()
    large = langevin.run(
        {
            "system": {"name": "curve", "start": str(ends)},
            "dynamics": {"temperature": 0.0, "dt": 0.05, "t_max": 2.0},
            "ensemble": {"replicas": count, "samples": count, "seed": 5},
            "record": {**keys, "times": [2.0], "positions": 21},
        }
    )
    found = []
    truth = float(large["barrier"].mean())
    runs = [barriers.mean_barrier(large.isel(replica=s)) for s in virtual_runs(count, most)]
    values, errors = (np.array([float(getattr(r, n)) for r in runs]) for n in ("value", "error"))
    found.append(judge("barrier over samples", "barrier", most, truth, values, errors))
    for samples in (least("length_ratio"), most):
        length = large["length_ratio"][:, -1]
        made = [average(length.isel(replica=s)) for s in virtual_runs(count, samples)[:RUNS]]
        values, errors = np.array([(float(m.mean), float(m.error)) for m in made]).T
        truth = float(length.mean())
        found.append(judge("length of a curve", "length_ratio", samples, truth, values, errors))
    return found


def both() -> Row:
    """Return the row of means over four curves that were measured with the same examples.

    Made up: curve k has the barrier 1 + 0.1 b_k, and each example raises its top by the same number for all
    curves, by another for each.
    """
    rng, curves, size = np.random.default_rng(11), least("barrier"), 400
    found = []
    for run in range(RUNS):
        common, parts = 2 * rng.standard_normal(size), []
        for _ in range(curves):
            losses = 0.5 * rng.standard_normal((5, size))
            losses[2] += 1 + 0.1 * rng.standard_normal() + common + rng.standard_normal(size)
            losses[0] += 0.5
            parts.append(barriers.of_losses(losses, np.random.default_rng(run), 200))
        names = {"barrier": "value", "barrier_bias": "bias"}
        ds = xr.Dataset({n: ("replica", [getattr(p, of) for p in parts]) for n, of in names.items()})
        ds["barrier_resampled"] = (("replica", "resample"), np.stack([p.again for p in parts]))
        found.append(barriers.mean_barrier(ds))
    truth = 0.5
    values, errors = (np.array([float(f[i]) for f in found]) for i in range(2))
    # The interval of 68 % has the same degrees of freedom as that of 95 %: nearly all of the error is known.
    return judge("barrier over curves, common examples", "barrier", curves, truth, values, errors, 1e6)


def rows(folder: Path | None = None) -> list[Row]:
    """Return rows of the table."""
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        where = folder or Path(made)
        return [*made_up(), *network(where), both(), *spins(where)]


@pytest.mark.slow
def test_errors_of_curves_hold(tmp_path: Path) -> None:
    """200 virtual runs each, or more."""
    assert not [fault for row in rows(tmp_path) for fault in row.faults()]


def test_a_barrier_without_its_correction_is_refused() -> None:
    """The plain maximum of equal means ± the error of a difference: what was quoted before."""
    rng, values, errors = np.random.default_rng(3), [], []
    for _ in range(200):
        losses = rng.standard_normal((POSITIONS, 100))
        means = losses.mean(1)
        excess = losses[int(np.argmax(means))] - losses[0 if means[0] >= means[-1] else -1]
        values.append(float(barriers.heights(means[None])[0][0]))
        errors.append(float(excess.std(ddof=1) / 10))
    assert judge("barrier", "barrier of examples", 100, 0.0, values, errors).faults()
