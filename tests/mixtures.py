"""Particles for tests: mixtures of any potential, and their forces by a double loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from langevin.systems.particles.kernels import Geometry
from langevin.systems.particles.potentials import PairPotential
from langevin.systems.particles.tile import HARMONIC, LENNARD_JONES

FORMS = {
    "lennard_jones": (LENNARD_JONES, 2.5),
    "wca": (LENNARD_JONES, 2 ** (1 / 6)),
    "harmonic": (HARMONIC, 1.0),
}
#: Kob-Andersen's.
SIGMA, EPSILON = np.array([[1.0, 0.8], [0.8, 0.88]]), np.array([[1.0, 1.5], [1.5, 0.5]])


def geometry(
    name: str, counts: tuple[int, ...], box: float, skin: float = 0.45, cutoff: float = 0.0
) -> Geometry:
    """Return a mixture of up to two species."""
    form, usual = FORMS[name]
    kinds = len(counts)
    potential = PairPotential(form, SIGMA[:kinds, :kinds], EPSILON[:kinds, :kinds], cutoff or usual)
    return Geometry(box, np.repeat(np.arange(kinds), counts).astype(np.int64), potential, skin)


def spaced(count: int, box: float, rng: np.random.Generator, jitter: float = 0.1) -> np.ndarray:
    """Return positions near sites of a cubic lattice, in any image of the box, shape (3 count,)."""
    m = int(np.ceil(count ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(m)] * 3, indexing="ij"), -1).reshape(-1, 3)
    x = (sites[rng.permutation(len(sites))[:count]] + jitter * rng.standard_normal((count, 3))) * box / m
    return np.ravel(x + box * rng.integers(-3, 4, x.shape))


def double_loop(x: np.ndarray, g: Geometry) -> tuple[np.ndarray, float, float]:
    """Return force (3N,), energy and virial, pair by pair; every pair at its nearest image."""
    p, r = g.potential, x.reshape(-1, 3)
    force, energy, virial = np.zeros_like(r), 0.0, 0.0
    for i in range(len(r)):
        for j in range(i):
            a, b = g.species[i], g.species[j]
            sigma, epsilon = p.sigma[a, b], p.epsilon[a, b]
            d = r[i] - r[j]
            d -= g.box * np.round(d / g.box)
            distance = float(np.sqrt(d @ d))
            if distance >= p.cutoff * sigma:
                continue
            value, slope = _pair(p.form, distance / sigma, p.cutoff)
            energy += epsilon * value
            push = -epsilon * slope / sigma * d / distance
            force[i] += push
            force[j] -= push
            virial += push @ d
    return force.ravel(), energy, virial


def _pair(form: int, s: float, cutoff: float) -> tuple[float, float]:
    """Return φ(s) and φ'(s)."""
    if form == HARMONIC:
        return (1 - s) ** 2 / 2, -(1 - s)

    def bare(s: float) -> float:
        return 4 * (s**-12 - s**-6)

    return bare(s) - bare(cutoff), -4 * (12 * s**-13 - 6 * s**-7)


def settings(name: str = "kob_andersen", **changed: Any) -> dict[str, Any]:
    """Return settings of a small run; ``section__key=value`` changes one."""
    given: dict[str, Any] = {
        "system": {"name": name, "n": 160, "equilibration_time": 0.01},
        "dynamics": {"temperature": 0.5, "initial_temperature": 2.0, "dt": 1e-4, "t_max": 0.05},
        "ensemble": {"replicas": 2, "samples": 2, "seed": 1},
        "record": {"waiting_times": [0.0, 0.01], "lags": {"per_decade": 3}, "shells": 20},
        "output": {"figure": False},
    }
    for dotted, value in changed.items():
        section, key = dotted.split("__")
        given[section][key] = value
    return given
