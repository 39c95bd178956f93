"""Curves between two configurations: geometry, forces, known minima and barriers, the p-spin model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import SIGMAS, z_score
from landscapes import LandscapeAlone

from langevin.config.sections import LangevinDynamics
from langevin.core.capabilities import HasConstraint
from langevin.core.dynamics import Langevin, LangevinState
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.system import Array
from langevin.errors import Diverged, UserError
from langevin.systems.curves import Band, Curve, barrier, profile
from langevin.systems.curves import geometry as g
from langevin.systems.curves.band import tangents
from langevin.systems.curves.spaces import FLAT, SPHERE
from langevin.systems.pspin import PSpin

KINDS = g.KINDS


class Valley(LandscapeAlone):
    """(x² − 1)² + k (y − a (1 − x²))²: minima (±1, 0), a valley between them over the saddle (0, a), E = 1.

    Every path between the minima crosses x = 0, where E ≥ 1: no barrier is lower. The valley is a parabola,
    thus the Bezier curve with the bend (0, 2a). The segment's barrier is 1 + k a².
    """

    dof = 2

    def __init__(self, k: float = 4.0, a: float = 0.5) -> None:
        self.k, self.a = k, a

    def energy(self, x: Array) -> Array:
        away = x[:, 1] - self.a * (1 - x[:, 0] ** 2)
        return ((x[:, 0] ** 2 - 1) ** 2 + self.k * away**2) / self.dof

    def force(self, x: Array, t: float = 0.0, noise: Noise | None = None) -> Array:
        away = x[:, 1] - self.a * (1 - x[:, 0] ** 2)
        by_x = 4 * x[:, 0] * (x[:, 0] ** 2 - 1) + 4 * self.a * self.k * away * x[:, 0]
        return -np.stack([by_x, 2 * self.k * away], axis=1)


class Quadratic(LandscapeAlone):
    """½ x·H x, extensive."""

    hessian_matrix = np.diag([1.0, 2.0, 3.0])

    def energy(self, x: Array) -> Array:
        return 0.5 * np.einsum("ri,ij,rj->r", x, self.hessian_matrix, x) / x.shape[1]

    def force(self, x: Array, t: float = 0.0, noise: Noise | None = None) -> Array:
        return -x @ self.hessian_matrix


LEFT, RIGHT = np.array([[-1.0, 0.0]]), np.array([[1.0, 0.0]])


def spins(n: int = 12, replicas: int = 2) -> tuple[PSpin, Array, Array]:
    """A p-spin model in double precision, and two random configurations of each replica."""
    model = PSpin(
        PSpin.Parameters(p=3, n=n, couplings="float64"),
        LangevinDynamics(temperature=0.0, dt=0.02, t_max=1.0),
        Ensemble.regular(replicas, replicas, seed=5, threads=1),
    )
    rng = np.random.default_rng(11)
    start, end = (model.constrain(rng.standard_normal((replicas, n))) for _ in range(2))
    return model, start, end


def descend(model: Curve | Band, t_max: float, dt: float = 0.02, x: Array | None = None) -> Array:
    noise = Noise(3, range(len(model.start)))
    engine = Langevin(model, 0.0, dt)
    state = engine.initial_state(noise)
    if x is not None:
        state = LangevinState(x, state.ceiling)
    return engine.advance(state, 0.0, t_max, noise).x


# Geometry


def de_casteljau(t: float, control: Array) -> Array:
    while len(control) > 1:
        control = (1 - t) * control[:-1] + t * control[1:]
    return control[0]


@pytest.mark.parametrize("bends", [1, 2, 3, 8])
def test_bezier_against_de_casteljau_and_chain_against_interpolation(bends: int) -> None:
    rng, t = np.random.default_rng(1), np.linspace(0, 1, 23)
    control = rng.standard_normal((2, bends + 2, 3))
    found = g.points("bezier", t, control)
    known = [[de_casteljau(s, c) for s in t] for c in control]
    np.testing.assert_allclose(found, known, atol=1e-14)
    grid = np.linspace(0, 1, bends + 2)
    known = np.stack([[np.interp(t, grid, c[:, i]) for i in range(3)] for c in control]).swapaxes(1, 2)
    np.testing.assert_allclose(g.points("chain", t, control), known, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", [FLAT, SPHERE], ids=lambda s: s.name)
def test_ends_are_exact_and_derivatives_are_differences(kind: g.Kind, space: Any) -> None:
    rng = np.random.default_rng(2)
    control = rng.standard_normal((3, 5, 7))
    control *= np.sqrt(7 / np.sum(control**2, axis=2, keepdims=True))
    ends = g.path(kind, np.array([0.0, 1.0]), control, space)
    assert (ends[:, 0] == control[:, 0]).all() and (ends[:, 1] == control[:, -1]).all()
    # Not at kinks of the chain. A central difference of step h errs by h² times a third derivative.
    t, h = np.array([0.1, 0.37, 0.62, 0.9]), 1e-5
    c, rate = g.points(kind, t, control), g.derivative(kind, t, control)
    numeric = (g.path(kind, t + h, control, space) - g.path(kind, t - h, control, space)) / (2 * h)
    np.testing.assert_allclose(space.pull_back(c, rate), numeric, atol=1e-6)
    np.testing.assert_allclose(g.rates(kind, t, 3) @ control, rate, atol=1e-12)
    np.testing.assert_allclose(g.speed(kind, t, control, space), np.linalg.norm(numeric, axis=2), rtol=1e-6)


def test_lengths() -> None:
    # y = x² from 0 to 1, with bend (1/2, 0): length √5/2 + asinh(2)/4.
    parabola = np.array([[[0.0, 0.0], [0.5, 0.0], [1.0, 1.0]]])
    np.testing.assert_allclose(g.length("bezier", parabola), np.sqrt(5) / 2 + np.arcsinh(2) / 4, rtol=1e-12)
    np.testing.assert_allclose(g.length("chain", parabola), 0.5 + np.sqrt(1.25), rtol=1e-15)
    # A chain along the axes of the sphere: two quarters of great circles of radius √3.
    axes = np.sqrt(3) * np.eye(3)[None]
    np.testing.assert_allclose(g.length("chain", axes, SPHERE), np.sqrt(3) * np.pi, rtol=1e-15)
    t = np.linspace(0, 1, 2001)
    for kind in KINDS:
        fine = np.linalg.norm(np.diff(g.path(kind, t, axes, SPHERE)[0], axis=0), axis=1).sum()
        np.testing.assert_allclose(g.length(kind, axes, SPHERE), fine, rtol=1e-5)  # chords: 1/T² of it


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", [FLAT, SPHERE], ids=lambda s: s.name)
def test_equal_arc_lengths(kind: g.Kind, space: Any) -> None:
    control = np.random.default_rng(4).standard_normal((2, 5, 4))
    control *= 2 / np.linalg.norm(control, axis=2, keepdims=True)
    t = g.at_arc_lengths(kind, control, 9, space)
    for k in range(2):
        found = g.arc_lengths(kind, t[k], control[k : k + 1], space)[0]
        whole = g.length(kind, control[k : k + 1], space)
        np.testing.assert_allclose(found, np.linspace(0, 1, 9) * whole, atol=1e-6 * whole[0])


def test_the_way_to_a_point_of_the_sphere() -> None:
    _, start, end = spins()
    way = SPHERE.towards(start, end)
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), SPHERE.distance(start, end), rtol=1e-13)
    np.testing.assert_allclose(np.sum(way * start, axis=1), 0, atol=1e-12)
    # The exponential map of that vector is the end.
    angle = np.linalg.norm(way, axis=1, keepdims=True) / np.sqrt(12)
    np.testing.assert_allclose(np.cos(angle) * start + np.sin(angle) / angle * way, end, atol=1e-13)
    half = SPHERE.geodesic(start, end, np.array([0.5]))[:, 0]
    np.testing.assert_allclose(SPHERE.distance(start, half), SPHERE.distance(half, end), rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_the_shortest_way(kind: g.Kind) -> None:
    model, start, end = spins()
    t = np.linspace(0, 1, 11)
    arc = Curve(model, start, end, bends=3, kind=kind)
    found = arc.path(arc.initial_configuration(), t)
    np.testing.assert_allclose(np.mean(found**2, axis=2), 1, rtol=1e-14)
    # Each point lies on the arc: its distances from the ends add up.
    way = SPHERE.distance(found, start[:, None]) + SPHERE.distance(found, end[:, None])
    np.testing.assert_allclose(way, SPHERE.distance(start, end)[:, None] * np.ones(11), rtol=1e-12)
    flat = Curve(Valley(), LEFT, RIGHT, bends=4, kind=kind)
    known = LEFT + (RIGHT - LEFT) * t[:, None]
    np.testing.assert_allclose(flat.path(flat.initial_configuration(), t)[0], known, atol=1e-14)


class Ridge(LandscapeAlone, HasConstraint):
    """−z², in R^M or on the sphere: whatever lies in the plane z = 0 feels no force out of it."""

    def __init__(self, on_sphere: bool) -> None:
        self.on_sphere = on_sphere

    def energy(self, x: Array) -> Array:
        return -(x[:, 2] ** 2) / x.shape[1]

    def force(self, x: Array, t: float = 0.0, noise: Noise | None = None) -> Array:
        return 2 * x * np.array([0.0, 0.0, 1.0])

    def constrain(self, x: Array) -> Array:
        return SPHERE.project(x) if self.on_sphere else x


@pytest.mark.parametrize("on_sphere", [False, True])
@pytest.mark.parametrize("bends", [1, 3])
@pytest.mark.parametrize("kind", ["uniform_t", "drawn", "uniform_length", "band"])
def test_every_search_leaves_a_plane_that_symmetry_would_hold_it_in(
    kind: Any, bends: int, on_sphere: bool
) -> None:
    start, end = np.sqrt(3) * np.eye(3)[:2, None]
    found = {}
    for kick in (0.0, 1e-3):
        if kind == "band":
            model: Curve | Band = Band(Ridge(on_sphere), start, end, bends=bends, kick=kick)
        else:
            loss = "uniform_length" if kind == "uniform_length" else "uniform_t"
            draws = None if kind == "drawn" else 0
            model = Curve(Ridge(on_sphere), start, end, bends=bends, loss=loss, draws=draws, kick=kick)  # type: ignore[arg-type]
        found[kick] = np.abs(descend(model, 5.0).reshape(bends, 3)[:, 2]).max()
    # Drawn positions do not help: no force points out of the plane.
    assert found[0.0] == 0
    assert found[1e-3] > 5e-3


@pytest.mark.parametrize("on_sphere", [False, True])
def test_the_kick_is_small_seeded_and_of_each_replica(on_sphere: bool) -> None:
    """2000 replicas: the mean square of a bend's displacement is (kick·distance)² to 5 σ."""
    count, dof = 2000, 5
    start, end = np.sqrt(dof) * np.eye(dof)[:2, None].repeat(count, 1)
    options: dict[str, Any] = {"bends": 2, "kick": 0.01}
    curve = Curve(Ridge(on_sphere), start, end, **options)
    straight = curve.initial_configuration()
    x = curve.initial_configuration(Noise(7, range(count)))
    np.testing.assert_array_equal(x, curve.initial_configuration(Noise(7, range(count))))
    assert (x != curve.initial_configuration(Noise(8, range(count)))).all()
    alone = Curve(Ridge(on_sphere), start[3:4], end[3:4], **options)
    np.testing.assert_array_equal(alone.initial_configuration(Noise(7, [3])), x[3:4])
    np.testing.assert_allclose(curve.constrain(x), x, atol=1e-14)
    squared = np.sum((x - straight).reshape(count, 2, dof) ** 2, axis=2)
    free = dof - 1 if on_sphere else dof
    far = np.pi / 2 * np.sqrt(dof) if on_sphere else np.sqrt(2 * dof)
    expected = (0.01 * far) ** 2 * free / dof
    # Projecting back onto the sphere shortens a displacement by its square, 10⁻⁴ of it.
    assert abs(squared.mean() / expected - 1) < SIGMAS * np.sqrt(2 / (free * 2 * count)) + 1e-3
    still = Curve(Ridge(on_sphere), start, end, bends=2, kick=0.0)
    np.testing.assert_array_equal(still.initial_configuration(Noise(7, range(count))), straight)


# Forces


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ["uniform_t", "uniform_length"])
@pytest.mark.parametrize("on", ["flat", "sphere"])
def test_forces_are_gradients(kind: g.Kind, loss: Any, on: str) -> None:
    model, start, end = (Valley(), LEFT, RIGHT) if on == "flat" else spins()
    decay = 0.3 if on == "flat" else 0.0
    curve = Curve(model, start, end, bends=2, kind=kind, loss=loss, weight_decay=decay, nodes=8)
    rng = np.random.default_rng(6)
    x = curve.initial_configuration() + 0.3 * rng.standard_normal((len(start), 2 * curve.dof))
    numeric, h = np.empty_like(x), 1e-5
    for i in range(x.shape[1]):
        up, down = x.copy(), x.copy()
        up[:, i] += h
        down[:, i] -= h
        numeric[:, i] = -(curve.objective(up) - curve.objective(down)) / (2 * h)
    # Truncation h² and rounding 1e-16/h, both below 1e-9 of forces of order 1.
    np.testing.assert_allclose(curve.force(x), curve.dof * numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", ["uniform_t", "uniform_length"])
def test_drawn_forces_are_unbiased(loss: Any) -> None:
    # 2,000 replicas of one curve; 2 values tested: a false alarm in 10⁶ seeds.
    count = 2000
    x = np.tile([[0.4, 0.9]], (count, 1))
    curve = Curve(
        Valley(), np.tile(LEFT, (count, 1)), np.tile(RIGHT, (count, 1)), loss=loss, weight_decay=0.2
    )
    drawn, mean = curve.force(x, 0.0, Noise(8, range(count))), curve.force(x[:1].repeat(count, 0))
    assert (np.abs(z_score(drawn - mean, 0.0)) < SIGMAS).all()
    assert (drawn.std(axis=0) > 0.1).all()


# What is found


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_curve_of_a_quadratic_energy(kind: g.Kind) -> None:
    # ∫ w_1 H c dt = 0: of hat functions ∫w_0 w_1 = 1/12, ∫w_1² = 1/3; of Bernstein polynomials 1/10 and 2/15.
    start, end = np.array([[1.0, 2.0, -1.0]]), np.array([[0.5, -1.0, 3.0]])
    curve = Curve(Quadratic(), start, end, kind=kind, draws=0, nodes=8)
    found = descend(curve, 200.0, dt=1.0)
    share = {"chain": 1 / 4, "bezier": 3 / 4}[kind]
    np.testing.assert_allclose(found, -share * (start + end), atol=1e-10)


def test_one_bend_in_a_curved_valley() -> None:
    """The symmetric Bezier curve is the valley itself: without a kick, since the mean has a saddle there."""
    model = Valley()
    curve = Curve(model, LEFT, RIGHT, kind="bezier", draws=0, nodes=8, kick=0.0)
    x = descend(curve, 20.0)
    np.testing.assert_allclose(x, [[0, 2 * model.a]], atol=1e-6)
    found = profile(curve, x)
    np.testing.assert_allclose(found["barrier"] * 2, 1, atol=1e-9)
    np.testing.assert_allclose(found["shortest_barrier"] * 2, 1 + model.k * model.a**2, rtol=1e-12)
    np.testing.assert_allclose(curve.energy(x) * 2, 8 / 15, rtol=1e-9)  # ∫₀¹ ((2t−1)² − 1)² dt
    found = curve.observables(x)
    # Half the parabola of height a over a base of 1 has the length ½√(1+4a²) + asinh(2a)/(4a).
    np.testing.assert_allclose(found["length_ratio"], np.sqrt(2) / 2 + np.arcsinh(1) / 2, rtol=1e-6)
    t = curve._t
    np.testing.assert_allclose(found["highest_energy"] * 2, (((2 * t - 1) ** 2 - 1) ** 2).max(), rtol=1e-6)


def test_a_chain_leaves_the_symmetric_saddle() -> None:
    """Minimise ∫(y(1−x) − a(1−x²))² among bends (0, y): y = 5a/4. The mean falls to both sides of it.

    Mean and barrier of the minimum, 0.43399 and 1.4006, are scipy's `minimize` of the same mean by midpoints.
    """
    model = Valley()
    held = Curve(model, LEFT, RIGHT, draws=0, nodes=8, kick=0.0)
    x = descend(held, 20.0)
    np.testing.assert_allclose(x, [[0, 1.25 * model.a]], atol=1e-9)
    np.testing.assert_allclose(profile(held, x)["barrier"] * 2, 1 + model.k * model.a**2 / 16, rtol=1e-9)
    # The curvature across is -0.617: after t = 20 a deviation has grown e^12-fold, if it was not 0.
    chain = Curve(model, LEFT.repeat(4, 0), RIGHT.repeat(4, 0), draws=0, nodes=16)
    x = descend(chain, 40.0)
    np.testing.assert_allclose(np.abs(x), [[0.8518, 0.3529]] * 4, atol=2e-4)
    np.testing.assert_allclose(chain.energy(x) * 2, 0.43399, atol=1e-5)
    np.testing.assert_allclose(profile(chain, x, 601)["barrier"] * 2, 1.4006, atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_bends_uniform_along_the_curve_find_the_barrier(kind: g.Kind) -> None:
    # A chord of the valley over h = 2/(bends + 1) in x is off it by a h²/4, in energy by k (a h²/4)².
    model, bends = Valley(), 3
    curve = Curve(model, LEFT, RIGHT, bends=bends, kind=kind, loss="uniform_length", draws=0, nodes=16)
    height = profile(curve, descend(curve, 8.0))["barrier"].item() * 2
    assert 1 - 1e-9 <= height <= 1 + model.k * (model.a * (2 / (bends + 1)) ** 2 / 4) ** 2


def test_more_bends_uniform_in_t_cross_faster_not_lower() -> None:
    # The mean counts time, not height: two bends stay in the minima, and one piece jumps over.
    one, two = (Curve(Valley(), LEFT, RIGHT, bends=n, draws=0, nodes=8) for n in (1, 2))
    x, y = descend(one, 10.0), descend(two, 10.0)
    assert two.energy(y) < 0.5 * one.energy(x)
    assert profile(two, y)["barrier"] > 1.1 * profile(one, x)["barrier"]


def test_the_band_finds_the_barrier() -> None:
    # An even number of pivots: by symmetry none is on the saddle.
    model, bends = Valley(), 4
    band = Band(model, LEFT, RIGHT, bends=bends)
    x = descend(band, 10.0)
    gaps = np.linalg.norm(np.diff(band.control(x)[0], axis=0), axis=1)
    # A chord of that length over the saddle is too low by a h²/4. Twice its energy: the pivots themselves are
    # off the valley by less than that.
    allowed = 2 * model.k * (model.a * gaps.max() ** 2 / 4) ** 2
    assert 1 - 1e-9 <= profile(band, x)["barrier"].item() * 2 <= 1 + allowed < 1.01
    # The band is at rest: the force across it vanishes, and the pivots are equally far apart along it.
    assert np.abs(band.force(x)).max() < 1e-5
    np.testing.assert_allclose(gaps, gaps.mean(), rtol=1e-4)
    climbing = Band(model, LEFT, RIGHT, bends=bends, climbing=True)
    x = descend(climbing, 20.0, x=x)
    np.testing.assert_allclose(2 * climbing.observables(x)["highest_energy"], 1, atol=1e-6)
    top = climbing.control(x)[0][np.argmax(model.energy(climbing.control(x)[0]))]
    np.testing.assert_allclose(top, [0, model.a], atol=1e-3)  # E is quadratic about the saddle


def test_curves_of_spins_never_lie_above_the_great_arc() -> None:
    model, start, end = spins(n=20, replicas=3)
    for curve in (
        Curve(model, start, end, bends=2, draws=0, nodes=8),
        Curve(model, start, end, kind="bezier", loss="uniform_length", draws=0, nodes=8),
    ):
        noise, engine = Noise(1, range(3)), Langevin(curve, 0.0, 0.05)
        state = engine.initial_state(noise)
        energies = [curve.energy(state.x)]
        for k in range(6):
            state = engine.advance(state, 0.5 * k, 0.5 * (k + 1), noise)
            energies.append(curve.energy(state.x))
        assert (np.diff(energies, axis=0) < 0).all()
        np.testing.assert_allclose(np.sum(state.x.reshape(3, -1, 20) ** 2, axis=2), 20, rtol=1e-13)
    band = Band(model, start, end, bends=5)
    assert (band.energy(descend(band, 2.0)) < band.energy(band.initial_configuration())).all()


def test_a_band_of_spins_comes_to_rest_on_the_sphere() -> None:
    model, start, end = spins()
    band = Band(model, start, end, bends=4, spring=2.0)
    x = descend(band, 60.0)
    # Tangential to the sphere; what is left of random forces of order 1 decays exponentially.
    assert np.abs(band.force(x)).max() < 1e-3 < np.abs(band.force(band.initial_configuration())).max()
    gaps = SPHERE.distance(band.control(x)[:, :-1], band.control(x)[:, 1:])
    np.testing.assert_allclose(gaps, gaps.mean(axis=1, keepdims=True) * np.ones(5), rtol=1e-3)


def test_tangents_point_to_the_higher_neighbour() -> None:
    ahead, behind = np.array([[[1.0, 0.0]]]), np.array([[[0.0, 1.0]]])

    def tangent(*energies: float) -> Array:
        return tangents(ahead, behind, np.array([energies]))[0, 0]

    np.testing.assert_allclose(tangent(0, 1, 2), [1, 0])
    np.testing.assert_allclose(tangent(2, 1, 0), [0, 1])
    # At extrema: the larger difference, 3, goes to the higher neighbour, the smaller, 1, to the other.
    np.testing.assert_allclose(tangent(0, 3, 2), np.array([3, 1]) / np.sqrt(10))
    np.testing.assert_allclose(tangent(2, 3, 0), np.array([1, 3]) / np.sqrt(10))
    np.testing.assert_allclose(tangent(1, 0, 3), np.array([3, 1]) / np.sqrt(10))
    np.testing.assert_allclose(tangent(0, 0, 0), np.array([1, 1]) / np.sqrt(2))


def test_a_replica_is_the_same_alone_and_among_others() -> None:
    model, start, end = spins(replicas=3)
    curve, x = Curve(model, start, end, nodes=4), start + end
    among = curve.force(x, 0.0, Noise(1, range(3)))
    parameters = PSpin.Parameters(p=3, n=12, couplings="float64")
    ensemble = model.ensemble.subset(np.array([2]))
    one = PSpin(parameters, LangevinDynamics(temperature=0.0, dt=0.02, t_max=1.0), ensemble)
    alone = Curve(one, start[2:], end[2:], nodes=4).force(x[2:], 0.0, Noise(1, [2]))
    np.testing.assert_array_equal(alone, among[2:])


@pytest.mark.parametrize("temperature", [0.0, 0.2])
@pytest.mark.parametrize("loss", ["uniform_t", "uniform_length"])
def test_split_and_restored_runs_have_the_same_bits(temperature: float, loss: Any) -> None:
    model, start, end = spins()
    engine = Langevin(Curve(model, start, end, bends=2, loss=loss, nodes=4), temperature, 0.02)
    whole_noise = Noise(4, range(2))
    whole = engine.advance(engine.initial_state(whole_noise), 0.0, 0.4, whole_noise)
    noise = Noise(4, range(2))
    half = engine.advance(engine.initial_state(noise), 0.0, 0.14, noise)
    later = Noise(4, range(2))
    later.load_state(noise.state_dict())
    model, start, end = spins()
    again = Langevin(Curve(model, start, end, bends=2, loss=loss, nodes=4), temperature, 0.02)
    split = again.advance(again.load_state(engine.state_dict(half)), 0.14, 0.4, later)
    assert (split.x == whole.x).all()
    # Positions have streams of their own: thermal noise does not depend on whether they are drawn.
    drawn = {"curve position", "curve kick"}
    assert set(noise.state_dict()) == drawn | ({"thermal"} if temperature > 0 else set())


# Profile


def test_the_parabola_and_the_higher_end() -> None:
    t = np.linspace(0, 1, 21)
    smooth = 1 - 4 * (t - 0.512) ** 2
    # Concave where it begins, but highest at the end: nothing to refine.
    falling = -(t**2)
    height, place, refinement = barrier(np.stack([smooth, falling, np.zeros(21)]))
    np.testing.assert_allclose(height, [1 - max(smooth[0], smooth[-1]), 0, 0], atol=1e-14)
    np.testing.assert_allclose(place, [0.512, 0, 0], atol=1e-14)
    np.testing.assert_allclose(refinement, [4 * 0.012**2, 0, 0], atol=1e-14)


def test_the_profile_is_a_dataset_of_the_schema() -> None:
    model, start, end = spins(replicas=3)
    curve = Curve(model, start, end, bends=2, kind="bezier")
    x = curve.initial_configuration()
    found = profile(curve, x, ensemble=model.ensemble)
    assert (found["sample"] == model.ensemble.sample).all()
    assert found.sizes == {"replica": 3, "position": 61}
    assert all({"long_name", "units"} <= set(v.attrs) for v in found.data_vars.values())
    np.testing.assert_array_equal(found["energy"][:, 0], model.energy(start))
    np.testing.assert_array_equal(found["energy"][:, -1], model.energy(end))
    for name, end_of_it in (("distance_from_start", start), ("distance_from_end", end)):
        known = np.sqrt(np.mean((curve.path(x, found["position"].values) - end_of_it[:, None]) ** 2, axis=2))
        np.testing.assert_allclose(found[name], known, rtol=1e-14)
    np.testing.assert_allclose(found["length_ratio"], 1, rtol=1e-8)
    # The start is the great arc, at another speed.
    np.testing.assert_allclose(found["barrier"], found["shortest_barrier"], atol=1e-4)
    height = found["barrier"].values
    np.testing.assert_allclose(found["barrier_mean_error"], height.std(ddof=1) / np.sqrt(3))
    assert (np.diff(found["arc_length"], axis=1) > 0).all()
    alone = profile(Curve(Valley(), LEFT, RIGHT), np.array([[0.0, 0.5]]), positions=5)
    assert np.isnan(alone["barrier_mean_error"]) and alone.sizes["position"] == 5


# Bad input


@pytest.mark.parametrize(
    ("start", "end", "options", "words"),
    [
        (LEFT, RIGHT, {"bends": 0}, "bends = 0: must be an integer of at least 1"),
        (LEFT, RIGHT, {"bends": 1.5}, "bends = 1.5"),
        (LEFT, RIGHT, {"kind": "spline"}, "curve = 'spline': must be one of chain, bezier"),
        (LEFT, RIGHT, {"loss": "length"}, "loss = 'length': must be one of uniform_t"),
        (LEFT, RIGHT, {"loss": "uniform_length", "draws": 1}, "draws = 1: must be 0 .* at least 2"),
        (LEFT, RIGHT, {"weight_decay": -1.0}, "weight_decay = -1"),
        (LEFT, RIGHT, {"nodes": 1}, "nodes = 1: must be at least 2"),
        (LEFT, RIGHT, {"kick": -0.1}, "kick = -0.1: must be at least 0 and below 1"),
        (LEFT, RIGHT, {"kick": np.nan}, "kick = nan"),
        (LEFT, LEFT, {}, "coincide in replica 0"),
        (LEFT, np.zeros((1, 3)), {}, r"shapes \(1, 2\) and \(1, 3\)"),
        (LEFT[0], RIGHT[0], {}, r"must be \(replica, dof\)"),
        (LEFT, np.array([[np.nan, 0.0]]), {}, "not finite"),
    ],
)
def test_bad_input_is_one_clear_line(start: Array, end: Array, options: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        Curve(Valley(), start, end, **options)
    assert "\n" not in str(caught.value)


def test_bad_input_on_the_sphere_and_of_the_band() -> None:
    model, start, end = spins()
    for ends, options, words in (
        ((start, -start), {}, "antipodal in replica 0"),
        ((start, 1.1 * end), {}, r"\|x\|²/dof = 1.21"),
        ((start, end), {"weight_decay": 0.1}, "weight_decay = 0.1: must be 0 on the sphere"),
    ):
        with pytest.raises(UserError, match=words):
            Curve(model, *ends, **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="spring = 0"):
        Band(Valley(), LEFT, RIGHT, spring=0.0)
    with pytest.raises(UserError, match="positions = 2"):
        profile(Curve(Valley(), LEFT, RIGHT), np.zeros((1, 2)), positions=2)
    with pytest.raises(Diverged, match="centre of the sphere"):
        SPHERE.project(np.zeros((1, 3)))


def test_other_constraints_are_refused() -> None:
    class Box(Valley, HasConstraint):
        def constrain(self, x: Array) -> Array:
            return x % 1.0

    with pytest.raises(UserError, match="Box: its constraint is neither"):
        Curve(Box(), LEFT, RIGHT)
