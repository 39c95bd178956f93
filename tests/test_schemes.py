"""Each scheme has the order that it states, measured without statistics.

Averages over the noise are sums over the nodes of Gauss-Hermite quadrature: the project's own step is taken
from every state of a grid with every node as its noise, and what comes out is the transfer operator.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from landscapes import LandscapeAlone
from numpy.polynomial.hermite_e import hermegauss
from scipy.linalg import expm

from langevin.core.capabilities import HasConstraint
from langevin.core.dynamics import Langevin
from langevin.core.schemes import SCHEMES, SchemeName
from langevin.core.system import Array

EM: SchemeName = "euler_maruyama"
LM: SchemeName = "leimkuhler_matthews"
T = 0.7


class Given:
    """Stands in for `Noise`: the normals that it was given."""

    def __init__(self, normals: Array) -> None:
        self.normals = normals

    def normal(self, dof: int) -> Array:
        assert self.normals.shape[1] == dof
        return self.normals


class OnALine(LandscapeAlone):
    """One coordinate in V = cos(2x)/2 + 0.3 cos x: two wells, periodic, so that nothing is cut off."""

    dimension, radius = 1, 1.0

    def force(self, x: Array, t: float, noise: Any) -> Array:
        return np.sin(2 * x) + 0.3 * np.sin(x)

    def potential(self, angle: Array) -> Array:
        return np.cos(2 * angle) / 2 + 0.3 * np.cos(angle)

    def place(self, angle: Array) -> Array:
        return angle[:, None]

    def angle(self, x: Array) -> Array:
        return x[:, 0]


class OnACircle(LandscapeAlone, HasConstraint):
    """Two spins on the sphere |x|² = 2, E = −h·x − x·Jx/2, projected as those of the p-spin model."""

    dimension, radius = 2, math.sqrt(2)
    h, j = np.array([0.7, 0.2]), np.array([0.5, -0.3])

    def force(self, x: Array, t: float, noise: Any) -> Array:
        return self.h + self.j * x

    def constrain(self, x: Array) -> Array:
        return x * np.sqrt(2 / np.sum(x * x, axis=1, keepdims=True))

    def potential(self, angle: Array) -> Array:
        x = self.place(angle)
        return -x @ self.h - (x * x) @ self.j / 2

    def place(self, angle: Array) -> Array:
        return self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def angle(self, x: Array) -> Array:
        return np.arctan2(x[:, 1], x[:, 0])


def waves(angle: Array, modes: int) -> Array:
    """1, cos φ, sin φ, …, cos mφ, sin mφ at every angle, shape (angles, 2m + 1)."""
    k = np.arange(1, modes + 1)
    pairs = np.stack([np.cos(np.outer(angle, k)), np.sin(np.outer(angle, k))], axis=2)
    return np.concatenate([np.ones((len(angle), 1)), pairs.reshape(len(angle), -1)], axis=1)


def transfer(system: Langevin, modes: int, nodes: int) -> tuple[Array, Array, Array]:
    """The operator u → E[u after a step], on functions u(φ, ξ) of the angle and the held normals.

    Returns it as a matrix on values at (grid of angles) × (nodes); the grid; the nodes' weights.
    """
    model: Any = system.model
    grid = 2 * np.pi * np.arange(2 * modes + 1) / (2 * modes + 1)
    points, weights = hermegauss(nodes)
    normals = np.stack(np.meshgrid(*[points] * model.dimension, indexing="ij"), -1)
    normals = normals.reshape(-1, model.dimension)
    weight = np.ones(1)
    for _ in range(model.dimension):
        weight = np.outer(weight, weights / weights.sum()).ravel()
    count, holds = len(weight), system.scheme.holds
    held_count = count if holds else 1
    a, b, c = np.meshgrid(np.arange(len(grid)), np.arange(held_count), np.arange(count), indexing="ij")
    held = normals[b.ravel()].copy() if holds else None
    noise = Given(normals[c.ravel()])
    moved = system.step(model.place(grid)[a.ravel()], 0.0, noise, held=held)  # type: ignore[arg-type]
    back = waves(model.angle(moved), modes) @ np.linalg.inv(waves(grid, modes))
    operator = back.reshape(len(grid) * held_count, count, len(grid)) * weight[:, None]
    if not holds:
        return operator.sum(axis=1), grid, np.ones(1)
    # The new held normals are those drawn, as the step says.
    assert held is not None
    np.testing.assert_array_equal(held, normals[c.ravel()])
    return operator.transpose(0, 2, 1).reshape(len(operator), -1), grid, weight


def averages(system: Langevin, times: list[float], **size: int) -> Array:
    """⟨cos φ⟩ at these times after a start at φ = 1, ξ_0 standard normal; last, in the stationary state."""
    operator, grid, weight = transfer(system, **size)
    values = start = np.repeat(np.cos(grid), len(weight))
    read = waves(np.ones(1), size["modes"]) @ np.linalg.inv(waves(grid, size["modes"]))
    found, now = [], 0
    for t in times:
        for _ in range(now, now := round(t / system.dt)):
            values = operator @ values
        found.append((read @ values.reshape(len(grid), -1) @ weight).item())
    # The stationary measure on the nodes: the left null vector of the operator − 1, normalised.
    equations = operator.T - np.eye(len(operator))
    equations[0] = 1.0
    return np.array([*found, np.linalg.solve(equations, np.eye(len(operator))[0]) @ start])


def exact(model: Any, times: list[float], modes: int = 40) -> Array:
    """The same of the stochastic differential equation: the exponential of its generator; ∫ e^{−V/T}."""
    grid = 2 * np.pi * np.arange(2 * modes + 1) / (2 * modes + 1)
    basis, k = waves(grid, modes), np.repeat(np.arange(modes + 1), 2)[1:]
    inverse, slope = np.linalg.inv(basis), np.zeros_like(basis)
    slope[:, 1::2], slope[:, 2::2] = -k[1::2] * basis[:, 2::2], k[2::2] * basis[:, 1::2]
    drift = -(slope @ inverse @ model.potential(grid))
    generator = (drift[:, None] * slope - T * k**2 * basis) @ inverse / model.radius**2
    read = waves(np.ones(1), modes) @ inverse
    late = [(read @ expm(t * generator) @ np.cos(grid)).item() for t in times]
    return np.array([*late, np.average(np.cos(grid), weights=np.exp(-model.potential(grid) / T))])


STEPS = (0.04, 0.02, 0.01)


@lru_cache
def errors(kind: type[Any], scheme: SchemeName) -> Array:
    """Errors of ⟨cos φ⟩, shape (step, time): t = 0.16, 0.8, 24; last, of the stationary state."""
    # More modes and nodes move no order below by more than 0.003.
    size = {"modes": 12, "nodes": 11} if kind is OnALine else {"modes": 8, "nodes": 7}
    times = [0.16, 0.8, 24.0] if kind is OnALine else [0.16, 0.8]
    found = [averages(Langevin(kind(), T, dt, scheme=scheme), times, **size) for dt in STEPS]
    return np.array(found) - exact(kind(), times)


def orders(found: Array) -> Array:
    """Order of every column. An error a·dt^p + b·dt^{p+1} gives p + O(dt): extrapolated, p + O(dt²)."""
    pairs = np.log2(found[:-1] / found[1:])
    return np.asarray(2 * pairs[1] - pairs[0])


#: What O(dt²) leaves of an order at these steps, at most (measured: 0.03). Between two orders lies 1.
NEAR = 0.05


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_has_the_orders_that_it_states(scheme: SchemeName) -> None:
    system = Langevin(OnALine(), T, 0.02, scheme=scheme)
    found = errors(OnALine, scheme)
    early, late, stationary = found[:, :2], found[:, 2], found[:, 3]
    assert np.abs(orders(early) - system.scheme.weak_order).max() < NEAR
    assert abs(orders(stationary) - system.scheme.stationary_order) < NEAR
    # What is more at early times decays exponentially, and leaves the error of the stationary state.
    np.testing.assert_allclose(late, stationary, rtol=0.01)


def test_averaged_noise_is_far_closer_to_the_stationary_state() -> None:
    plain, averaged = (np.abs(errors(OnALine, scheme)[:, -1]) for scheme in (EM, LM))
    assert (averaged < 0.1 * plain).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_with_a_constraint_the_order_is_one(scheme: SchemeName) -> None:
    """Projection costs the second order, and averaged noise makes the error larger (docs/pspin.md)."""
    found = errors(OnACircle, scheme)
    assert np.abs(orders(found) - 1).max() < NEAR
    assert (np.abs(errors(OnACircle, LM)[:, -1]) > 5 * np.abs(errors(OnACircle, EM)[:, -1])).all()
