"""Replica exchange against closed forms, each with what must fail where the physics is wrong.

Energies and swaps are tested on models whose "steps" are draws from Boltzmann's law itself, so that no time
step and no correlation in time stands between the closed form and the test.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from conftest import SIGMAS, z_score
from scipy.integrate import quad
from scipy.special import betainc

from langevin.config import build, run_files
from langevin.core import exchange
from langevin.core.capabilities import HasFurtherDimensions, HasKernel
from langevin.core.ensemble import Ensemble
from langevin.core.exchange import Ladder, LadderState, ReplicaExchange
from langevin.core.noise import Noise
from langevin.core.system import Array, Model
from langevin.systems.harmonic import Harmonic

LADDER = (0.5, 0.8, 1.3, 1.5)


class Drawn(Model, HasKernel):
    """Oscillators whose steps are independent draws from Boltzmann's law."""

    class Parameters: ...

    def __init__(self, n: int, replicas: int) -> None:
        self.n, self.replicas = n, replicas

    def initial_configuration(self, noise: Noise) -> Array:
        return np.zeros((self.replicas, self.n))

    def force(self, x: Array, t: float, noise: Noise | None) -> Array:
        return -x

    def energy(self, x: Array) -> Array:
        return np.mean(x * x, axis=1) / 2

    def fused_steps(self, x: Array, steps: int, dt: float, temperature: float, noise: Noise) -> Array:
        return np.sqrt(temperature) * noise.normal(self.n)


class DrawnQuartic(Drawn):
    """Particles in the double well V = (x² − 1)², drawn from Boltzmann's law by its inverse on a grid."""

    def energy(self, x: Array) -> Array:
        return np.mean((x * x - 1) ** 2, axis=1)

    def fused_steps(self, x: Array, steps: int, dt: float, temperature: float, noise: Noise) -> Array:
        grid = np.linspace(-4, 4, 20_001)
        below = np.cumsum(np.exp(-((grid**2 - 1) ** 2) / temperature))
        uniform = np.array([g.random(self.n) for g in noise.streams()])
        return np.interp(uniform * below[-1], below, grid)


def offered(model: Drawn, offers: int, ladder: tuple[float, ...] = LADDER) -> tuple[np.ndarray, LadderState]:
    """Energies, extensive, after each offer of swaps, shape (offers, R, K); and the last state."""
    system = ReplicaExchange(model, ladder[0], 0.1, Ladder(ladder[1:], 1))
    noise = Noise(3, range(model.replicas))
    state: Any = system.initial_state(noise)
    found = []
    for k in range(offers):
        state = system.advance(state, k * 0.1, (k + 1) * 0.1, noise)
        found.append(model.n * system.measure(state)["level_energy"])
    return np.array(found), state


def largest_z_of_moments(energies: np.ndarray, n: int) -> float:
    """Distance of mean and variance of the energy at every level from n T/2 and n T²/2."""
    scores = []
    for level, temperature in enumerate(LADDER):
        # Offers are independent, for every step draws anew.
        own = energies[..., level].ravel()
        scores += [z_score(own, n * temperature / 2)]
        scores += [z_score((own - n * temperature / 2) ** 2, n * temperature**2 / 2)]
    return float(np.max(np.abs(scores)))


def test_swaps_leave_boltzmann_s_law_alone() -> None:
    energies, _ = offered(Drawn(3, 2000), 10)
    assert largest_z_of_moments(energies, 3) < SIGMAS


@pytest.mark.parametrize("factor", [-1.0, 1 / 3, 2.0], ids=["sign", "per degree of freedom", "twice"])
def test_a_wrong_acceptance_is_noticed(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = exchange.log_acceptance
    monkeypatch.setattr(exchange, "log_acceptance", lambda *given: factor * right(*given))
    energies, _ = offered(Drawn(3, 2000), 10)
    assert largest_z_of_moments(energies, 3) > SIGMAS


@pytest.mark.parametrize("n", [1, 4, 20])
def test_swap_rates_of_oscillators_are_an_incomplete_beta_function(n: int) -> None:
    _, state = offered(Drawn(n, 500), 40)
    for pair, (cold, hot) in enumerate(pairwise(LADDER)):
        # β_hot/(β_cold + β_hot) = T_cold/(T_cold + T_hot).
        expected = 2 * betainc(n / 2, n / 2, cold / (cold + hot))
        rates = state.accepted[:, pair] / state.tried[:, pair]
        assert abs(z_score(rates, expected)) < SIGMAS, (n, pair)
        assert state.tried[:, pair].tolist() == [20] * 500


def test_levels_of_a_double_well_have_the_marginals_of_quadratures() -> None:
    energies, _ = offered(DrawnQuartic(1, 2000), 8)

    def mean(of: Any, temperature: float) -> float:
        weight = quad(lambda x: np.exp(-((x * x - 1) ** 2) / temperature), -4, 4)[0]
        return quad(lambda x: of(x) * np.exp(-((x * x - 1) ** 2) / temperature), -4, 4)[0] / weight

    for level, temperature in enumerate(LADDER):
        for power in (1, 2):
            expected = mean(lambda x, p=power: (x * x - 1) ** (2 * p), temperature)
            assert abs(z_score(energies[..., level].ravel() ** power, expected)) < SIGMAS


class DoubleWell(Model):
    """One particle in V = 2.5 (x² − 1)², that starts on the right."""

    class Parameters: ...

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas

    def initial_configuration(self, noise: Noise) -> Array:
        return np.ones((self.replicas, 1))

    def force(self, x: Array, t: float, noise: Noise | None) -> Array:
        return -10 * x * (x * x - 1)

    def energy(self, x: Array) -> Array:
        return 2.5 * np.mean((x * x - 1) ** 2, axis=1)


def test_exchange_crosses_a_barrier_that_the_coldest_copy_cannot() -> None:
    # A barrier of 12.5 T at the coldest, 1.9 T at the hottest. Left and right are alike, at every time step.
    model, noise = DoubleWell(200), Noise(1, range(200))
    system = ReplicaExchange(model, 0.2, 0.01, Ladder((0.38, 0.7, 1.3), 10))
    state = system.advance(system.initial_state(noise), 0.0, 15.0, noise)
    assert abs(z_score(state.x[:, 0] < 0, 0.5)) < SIGMAS
    assert state.trips.sum() > 50
    alone = ReplicaExchange(model, 0.2, 0.01, Ladder((0.21,), 10**6))
    stuck = alone.advance(alone.initial_state(noise), 0.0, 2.0, noise)
    assert (stuck.x[:, 0] > 0).mean() > 0.9


def test_walkers_and_round_trips_are_those_of_a_count_by_hand() -> None:
    model, noise = Drawn(2, 5), Noise(4, range(5))
    system = ReplicaExchange(model, LADDER[0], 0.1, Ladder(LADDER[1:], 1))
    state: Any = system.initial_state(noise)
    trips = np.zeros(5)
    reached = np.zeros((5, len(LADDER)), bool)
    started = np.tile(np.arange(len(LADDER)) == 0, (5, 1))
    for k in range(300):
        state = system.advance(state, k * 0.1, (k + 1) * 0.1, noise)
        measured = system.measure(state)
        at = measured["walker_temperature"]
        assert (np.sort(at, axis=1) == np.array(LADDER)).all()
        for r in range(5):
            for w in range(len(LADDER)):
                if at[r, w] == LADDER[-1] and started[r, w]:
                    reached[r, w] = True
                if at[r, w] == LADDER[0]:
                    trips[r] += reached[r, w]
                    started[r, w], reached[r, w] = True, False
    np.testing.assert_array_equal(measured["round_trips"], trips)
    assert trips.min() > 5


def test_one_temperature_takes_the_steps_of_langevin_dynamics_between_offers() -> None:
    from langevin.core.dynamics import Langevin

    dynamics = Harmonic.Dynamics(temperature=0.5, dt=0.02, t_max=1.0)
    model = Harmonic(Harmonic.Parameters(n=4), dynamics, Ensemble.regular(3, 1, 5))
    found = []
    for system in (Langevin(model, 0.5, 0.02), ReplicaExchange(model, 0.5, 0.02, Ladder((0.7,), 100))):
        noise = Noise(5, range(3))
        found.append(system.advance(system.initial_state(noise), 0.0, 1.0, noise).x)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", ["pspin", "kob_andersen"])
def test_dimensions_of_a_ladder_are_none_of_the_model_s(name: str, small: Any) -> None:
    given = small(name, dynamics__temperature=1.0)
    plain = build.build(run_files.load(given), Ensemble.regular(4, 2, 7))
    given["dynamics"] |= {"exchange": {"hotter": [1.1]}, "scheme": "euler_maruyama"}
    ladder = build.build(run_files.load(given), Ensemble.regular(4, 2, 7))
    assert isinstance(ladder, ReplicaExchange)
    theirs = plain.dimensions() if isinstance(plain, HasFurtherDimensions) else {}
    taken = {dim for dims in theirs.values() for dim in dims}
    own = {dim for name, dims in ladder.dimensions().items() if name not in theirs for dim in dims}
    assert own == {"level", "neighbours", "walker"}
    assert not own & taken
