"""Closed forms of the spherical p-spin model to rounding, against sixty digits."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy.optimize import fsolve

from langevin.systems.cugliandolo_kurchan import theory as any_model
from langevin.systems.cugliandolo_kurchan.covariance import Covariance
from langevin.systems.cugliandolo_kurchan.longtime import LongTime
from langevin.systems.cugliandolo_kurchan.stepping import Equations
from langevin.systems.pspin import theory as pure

#: Relative error allowed: some ten operations, each off by 1e-16, times powers up to 100.
ROUNDING = 2e-14

MIXED = [{2: 0.3, 3: 1.0}, {3: 0.5, 4: 0.5}, {3: 1.0, 16: 0.2}, {4: 1e-3, 5: 100.0}, {100: 1.0}]


def exact(f: Covariance, temperature: float) -> dict[str, float]:
    """Return ε = 1 − q_EA, X and E of the aging state, from 60 digits beyond those of T."""
    with localcontext() as context:
        context.prec = 60 + 20
        terms = [(p, Decimal(a)) for p, a in zip(f.powers, f.weights, strict=True)]

        def derivative(order: int, q: Decimal) -> Decimal:
            total = Decimal(0)
            for p, a in terms:
                factor = a
                for k in range(order):
                    factor *= p - k
                if p >= order:
                    total += factor * q ** (p - order) if p > order else factor
            return total

        t, one = Decimal(temperature), Decimal(1)
        if t == 0:
            zeroth, first, second = (derivative(k, one) for k in range(3))
            energy = -(first + zeroth * (second / first - 1)) / second.sqrt()
            return {"gap": 0.0, "ratio": 0.0, "energy": float(energy)}
        # The smallest ε at which ε²f''(1 − ε) reaches T²: looked for, then halved.
        low = t / derivative(2, one).sqrt()
        high = low
        while high * high * derivative(2, one - high) < t * t:
            low, high = high, min(high * Decimal("1.002"), one)
        for _ in range(220):
            middle = (low + high) / 2
            below = middle * middle * derivative(2, one - middle) < t * t
            low, high = (middle, high) if below else (low, middle)
        q = one - high
        ratio = (q * derivative(2, q) / derivative(1, q) - 1) * high / q
        energy = -(derivative(0, one) - (1 - ratio) * derivative(0, q)) / t
        return {"gap": float(high), "ratio": float(ratio), "energy": float(energy)}


def temperatures(highest: float) -> list[float]:
    near = [highest * (1 - 10.0**-k) for k in (1, 3, 6)]
    return [*near, *(highest * 10.0**-k for k in (1, 2, 4, 6, 7, 8, 9, 10, 12, 14, 17)), 0.0]


@pytest.mark.parametrize("p", [3, 4, 7, 10])
def test_the_aging_state_is_right_at_every_temperature(p: int) -> None:
    f = Covariance.pure(p)
    for t in temperatures(pure.dynamic_temperature(p)):
        known = exact(f, t)
        for found in (
            (pure.overlap_gap(p, t), pure.fdt_ratio(p, t), pure.asymptotic_energy(p, t)),
            (any_model.overlap_gap(f, t), any_model.fdt_ratio(f, t), any_model.asymptotic_energy(f, t)),
        ):
            assert found == pytest.approx(tuple(known.values()), rel=ROUNDING, abs=0), t


@pytest.mark.parametrize("strengths", MIXED)
def test_so_it_is_for_mixed_models(strengths: dict[int, float]) -> None:
    f = Covariance.mixed(strengths)
    for t in temperatures(any_model.dynamic_temperature(f))[1:]:
        known = exact(f, t)
        found = any_model.overlap_gap(f, t), any_model.fdt_ratio(f, t), any_model.asymptotic_energy(f, t)
        assert found == pytest.approx(tuple(known.values()), rel=10 * ROUNDING, abs=0), t


@pytest.mark.parametrize("p", [3, 4, 5, 10])
def test_the_energy_is_continuous_at_both_ends(p: int) -> None:
    edge = pure.dynamic_temperature(p)
    assert pure.asymptotic_energy(p, edge * (1 - 1e-15)) == pytest.approx(-0.5 / edge, rel=1e-13)
    for tiny in (1e-15, 1e-18, 1e-100, 5e-324):
        found = pure.asymptotic_energy(p, tiny), any_model.asymptotic_energy(Covariance.pure(p), tiny)
        assert found == pytest.approx((pure.threshold_energy(p),) * 2, rel=1e-14)
    assert pure.asymptotic_energy(p, 1e-9) > pure.threshold_energy(p)


@pytest.mark.parametrize("p", [3, 4, 10, 60])
def test_static_and_dynamic_temperatures_agree_and_solve_their_equations(p: int) -> None:
    f = Covariance.pure(p)
    assert any_model.dynamic_temperature(f) == pytest.approx(pure.dynamic_temperature(p), rel=1e-13)
    found = pure.static_temperature(p)
    assert any_model.static_temperature(f) == pytest.approx(found, rel=1e-13)
    with localcontext() as context:
        context.prec = 50
        low, high = Decimal(1) / 10**6, Decimal(1) / (p - 1)
        for _ in range(160):
            gap = (low + high) / 2
            excess = -gap.ln() - (1 - gap) - (1 - gap) ** 2 / (p * gap)
            low, high = (low, gap) if excess > 0 else (gap, high)
        known = (Decimal(p) / 2 * (1 - gap) ** (p - 2) * gap).sqrt()
    assert found == pytest.approx(float(known), rel=1e-14)


def free_energy(p: int, temperature: float, q: float, m: float) -> float:
    """Return −βF/N of one step of replica symmetry breaking, overlap q and breakpoint m."""
    coupled = (1 - (1 - m) * q**p) / (4 * temperature**2)
    return coupled + 0.5 * (math.log(1 - q) + math.log((1 - q + m * q) / (1 - q)) / m)


@pytest.mark.parametrize("p", [3, 4, 10])
def test_the_energy_below_the_static_temperature_makes_the_free_energy_stationary(p: int) -> None:
    edge = pure.static_temperature(p)
    for t in (0.3 * edge, 0.7 * edge, 0.95 * edge):

        def slopes(at: list[float], t: float = t) -> list[float]:
            (q, m), h = at, 1e-6
            by_q = free_energy(p, t, q + h, m) - free_energy(p, t, q - h, m)
            by_m = free_energy(p, t, q, m + h) - free_energy(p, t, q, m - h)
            return [by_q / h, by_m / h]

        # Near the lowest temperature the overlap is 1 − O(T), and the breakpoint O(T).
        gap = pure.static_gap(p) * t / edge
        q, m = fsolve(slopes, [1 - gap, t / edge], xtol=1e-10)
        assert 0 < m < 1 and np.allclose(slopes([q, m]), 0, atol=1e-6)
        assert pure.broken_energy(p, t) == pytest.approx(-(1 - (1 - m) * q**p) / (2 * t), rel=1e-6)
        # Below what aging from a random start comes to.
        assert pure.broken_energy(p, t) < pure.asymptotic_energy(p, t)
    assert pure.broken_energy(p, edge * (1 - 1e-12)) == pytest.approx(-0.5 / edge, rel=1e-10)
    assert pure.broken_energy(p, 1e-9) == pytest.approx(pure.broken_energy(p, 0.0), rel=1e-8)


def test_the_ground_state_of_the_literature() -> None:
    # −1.657 √(N/2) per spin for N → ∞ with unit variance per spin (Auffinger, Ben Arous & Cerny 2013).
    assert pure.broken_energy(3, 0.0) == pytest.approx(-1.65700 / 2**0.5, abs=1e-5)


def test_with_pairs_alone_both_temperatures_are_those_of_the_continuous_transition() -> None:
    for a in (1.0, 4.0):
        f = Covariance.mixed({2: a})
        # f''(0) = a.
        assert any_model.dynamic_temperature(f) == any_model.static_temperature(f) == a**0.5
    assert pure.dynamic_temperature(2) == pure.static_temperature(2) == 1.0
    assert pure.asymptotic_energy(2, 1e-12) == pytest.approx(-1.0, rel=1e-12)


@pytest.mark.parametrize("p", [3, 4, 7, 12])
def test_the_overlap_at_which_states_appear_is_that_of_pure_models(p: int) -> None:
    assert any_model.dynamic_overlap(Covariance.pure(p)) == pytest.approx((p - 2) / (p - 1), rel=ROUNDING)


def test_the_mixed_model_of_the_literature() -> None:
    # Equal terms with p = 3 and 4, f = (q³ + q⁴)/2, known to six digits.
    f = Covariance.parse({3: 1.0, 4: 1.0})
    assert any_model.dynamic_temperature(f) == pytest.approx(0.805166, abs=5e-7)
    assert any_model.dynamic_overlap(f) == pytest.approx(0.590230, abs=5e-7)
    assert any_model.static_temperature(f) == pytest.approx(0.762139, abs=5e-7)
    # f(1) = 1, f'(1) = 7/2, f''(1) = 9.
    assert any_model.threshold_energy(f) == pytest.approx(-(3.5 + 9 / 3.5 - 1) / 3, rel=ROUNDING)
    # Where states appear they are marginal: f''(q_d)(1 − q_d)² = T_d².
    q = any_model.dynamic_overlap(f)
    assert float(f.derivative(2, q)) * (1 - q) ** 2 == pytest.approx(
        any_model.dynamic_temperature(f) ** 2, rel=1e-12
    )


def test_the_overlap_of_a_continuous_transition_is_nothing() -> None:
    assert any_model.dynamic_overlap(Covariance.parse({2: 1.0, 3: 0.5})) == 0.0
    assert any_model.dynamic_overlap(Covariance.pure(2)) == 0.0
    # Enough of p = 3, and states appear with an overlap.
    assert any_model.dynamic_overlap(Covariance.parse({2: 1.0, 3: 1.4})) > 0.2


@pytest.mark.parametrize("p", [3, 4, 7])
def test_minima_of_a_pure_model_are_stable_up_to_the_threshold(p: int) -> None:
    f = Covariance.pure(p)
    assert any_model.marginal_start(f) == pytest.approx(any_model.dynamic_temperature(f), rel=ROUNDING)
    # At the marginal end T_i is a maximum over r: the root is as good as the square root of rounding.
    edge = any_model.followed_state(f, any_model.marginal_start(f) * (1 - 1e-12))
    assert edge.energy == pytest.approx(any_model.threshold_energy(f), abs=1e-9)
    assert edge.marginality == pytest.approx(1.0, abs=1e-4)


def test_gradient_descent_follows_a_state_to_its_minimum() -> None:
    # f = (q³ + q⁴)/2, from below T_SF = 0.79827 (r² = 1 − f'(1)/f''(1) = 11/18, χ = 1/3).
    f, r = Covariance.parse({3: 1.0, 4: 1.0}), (11 / 18) ** 0.5
    assert any_model.marginal_start(f) == pytest.approx((1.5 * r + 2 * r**2) / 3, rel=ROUNDING)
    solver = LongTime(Equations(f, 0.0, 1 / 0.775), 1e-6)
    size = solver.reach(300.0)
    state = any_model.followed_state(f, 0.775)
    # The minimum has a gap: by t = 300 less than the tolerance is left of the approach.
    assert solver.one_time(300.0, size)[0] == pytest.approx(state.energy, abs=1e-6)
    assert solver.two_time(300.0, 0.0, size)[0] == pytest.approx(state.overlap, abs=1e-6)
    with pytest.raises(ValueError, match="no stable minimum"):
        any_model.followed_state(f, 0.8)
