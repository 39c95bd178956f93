"""Learning-rate schedules: the published formulas at every step, and steps that take these rates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_nets import built, settings

import langevin
from langevin.errors import ConfigError
from langevin.observables import training
from langevin.systems.networks import schedules
from langevin.systems.networks.descent.step_rule import StepRule
from langevin.systems.networks.descent.training import Captured, Stepper
from langevin.systems.networks.network import Network
from langevin.systems.networks.optimisers import SGD
from langevin.systems.networks.replicas import lanes
from langevin.systems.networks.schedules import RateSchedule

TINY = {"name": "mlp", "widths": [4], "activation": "tanh"}
#: Too wide for the kernels of tiny nets.
WIDE = {"name": "mlp", "widths": [65], "activation": "tanh"}
CYCLE = {"schedule": "triangular", "learning_rate": 0.3, "lowest_learning_rate": 0.01, "cycle": 10}

#: Who takes the steps: system, and keys of [dynamics].
PATHS = {
    "one by one": (TINY, {"execution": "sequential", "backend": "torch"}),
    "stacked": (TINY, {"execution": "stacked", "backend": "torch"}),
    "compiled": (WIDE, {"backend": "numba"}),
    "tiny": (TINY, {"backend": "numba"}),
}


def fge(i: int, high: float, low: float, c: int) -> float:
    """Return α(i) of fast geometric ensembling, i = 1, 2, …, as the paper writes it."""
    t = ((i - 1) % c + 1) / c
    return (1 - 2 * t) * high + 2 * t * low if t <= 0.5 else (2 - 2 * t) * low + (2 * t - 1) * high


def snapshots(i: int, rate: float, budget: int, cycles: int) -> float:
    """Return α(i) of snapshot ensembles, i = 1, 2, …, as the paper writes it."""
    period = math.ceil(budget / cycles)
    return rate / 2 * (math.cos(math.pi * ((i - 1) % period) / period) + 1)


def recipe(n: int, rate: float, budget: int) -> float:
    """Return the rate of step n of Garipov's training recipe."""
    if n <= 0.5 * budget:
        return rate
    return rate * (1 - 0.99 * (n / budget - 0.5) / 0.4) if n <= 0.9 * budget else 0.01 * rate


# The formulas.


@pytest.mark.parametrize("cycle", [2, 4, 10, 782])
def test_a_triangular_cycle_is_the_papers_at_every_step(cycle: int) -> None:
    made = RateSchedule(0.05, "triangular", lowest=5e-4, cycle=cycle)
    expected = [fge(i, 0.05, 5e-4, cycle) for i in range(1, 2 * cycle + 1)]
    # Rounding of four operations on numbers below 2.
    np.testing.assert_allclose(made.between(0, 2 * cycle), expected, rtol=1e-13, atol=0)
    collected = made.collected(2 * cycle)
    # As in the paper's algorithm: after iteration i with mod(i, c) = c/2, where the rate is α₂.
    assert collected.tolist() == [i for i in range(1, 2 * cycle + 1) if i % cycle == cycle // 2]
    np.testing.assert_allclose(made.rates(collected - 1), 5e-4, rtol=1e-13)
    assert made.between(0, 2 * cycle).min() >= 5e-4 * (1 - 1e-13)


@pytest.mark.parametrize(("budget", "cycles"), [(20, 2), (21, 2), (100, 5)])
def test_cosine_cycles_are_the_papers_at_every_step(budget: int, cycles: int) -> None:
    made = RateSchedule(0.2, "cosine", budget=budget, cycles=cycles)
    expected = [snapshots(i, 0.2, budget, cycles) for i in range(1, budget + 1)]
    np.testing.assert_allclose(made.between(0, budget), expected, rtol=1e-12, atol=1e-16)
    period = math.ceil(budget / cycles)
    ends = [i for i in range(1, budget + 1) if i % period == 0]
    assert made.collected(budget).tolist() == ends
    # A new cycle begins where one is collected.
    np.testing.assert_array_equal(made.rates(ends), 0.2)


@pytest.mark.parametrize("budget", [10, 1000, 1001])
def test_the_recipe_is_constant_then_linear_then_constant(budget: int) -> None:
    made = RateSchedule(0.05, "piecewise_linear", budget=budget)
    expected = [recipe(n, 0.05, budget) for n in range(budget + 5)]
    # 1 − 0.99 is known to 10⁻¹⁶, a hundredth of which is left.
    np.testing.assert_allclose(made.between(0, budget + 5), expected, rtol=1e-13)
    assert made.rates(budget // 2) == 0.05
    assert made.collected(budget).size == 0


def test_a_divided_rate_falls_by_ten_every_so_many_steps() -> None:
    made = RateSchedule(1e-4, "divided", lowest=1e-7, division=250)
    expected = [max(1e-4 / 10 ** (n // 250), 1e-7) for n in range(1500)]
    np.testing.assert_allclose(made.between(0, 1500), expected, rtol=1e-14)
    assert made.rates([249, 250, 749, 750, 10**7]).tolist() == pytest.approx([1e-4, 1e-5, 1e-6, 1e-7, 1e-7])
    assert made.attributes() == {"schedule": "divided", "highest": 1e-4, "lowest": 1e-7, "division": 250}


def test_a_constant_rate_is_the_number_itself() -> None:
    made = RateSchedule(0.1)
    np.testing.assert_array_equal(made.between(3, 9), np.full(6, 0.1))
    np.testing.assert_array_equal(made.elapsed([0.0, 3.0, 7.0]), 0.1 * np.array([0.0, 3.0, 7.0]))
    assert made.collected(10).size == 0
    with pytest.raises(ValueError, match="no such schedule"):
        RateSchedule(0.1, "other").rates(0)


def test_the_time_of_gradient_flow_is_the_sum_of_the_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "HELD", 3)
    made = RateSchedule(0.3, "triangular", lowest=0.01, cycle=10)
    times = np.array([0.0, 1.0, 2.0, 9.0, 9.0, 25.0])
    expected = [sum(fge(i, 0.3, 0.01, 10) for i in range(1, int(t) + 1)) for t in times]
    np.testing.assert_allclose(made.elapsed(times), expected, rtol=1e-13)


# The steps.


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.01}], ids=["plain", "both"])
def test_steps_are_those_of_torch_optim_sgd_at_these_rates(path: str, options: dict[str, float]) -> None:
    system, keys = PATHS[path]
    network, noise = built(settings(system, precision="double", **keys, **CYCLE, **options))
    end = network.advance(network.initial_state(noise), 0, 25, noise)
    for position, replica in enumerate(network.ensemble.replica):
        module = network.built(replica)
        optimizer = torch.optim.SGD(module.parameters(), lr=1.0, **options)
        for step, places in enumerate(network.batches.table(int(replica), 0, 25)):
            optimizer.param_groups[0]["lr"] = fge(step + 1, 0.3, 0.01, 10)
            inputs, labels = network.train.gather(torch.from_numpy(network.units.rows[0][places]))
            optimizer.zero_grad()
            F.cross_entropy(module(inputs), labels).backward()
            optimizer.step()
        # Twenty-five steps of double precision arithmetic in another order.
        torch.testing.assert_close(end.weights[position], network.layout.of(module), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("path", [*PATHS, "thermal", "persistent"])
def test_a_cycle_may_be_cut_anywhere(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    others = {"thermal": {"temperature": 0.01}, "persistent": {"batches": "persistent"}}
    system, keys = PATHS.get(path, (TINY, {"backend": "torch", **others.get(path, {})}))

    def end(*cuts: int) -> dict[str, np.ndarray]:
        network, noise = built(settings(system, **keys, **CYCLE))
        state, now = network.initial_state(noise), 0
        for cut in (*cuts, 25):
            # What is saved is all there is.
            state = network.load_state(network.state_dict(network.advance(state, now, cut, noise)))
            now = cut
        return network.state_dict(state)

    whole = end()
    with monkeypatch.context() as patch:
        # Calls of a few steps each, besides.
        patch.setattr("langevin.systems.networks.replicas.steppers.STEPS", 4)
        patch.setattr("langevin.systems.networks.replicas.tiny.INDICES", 24)
        for name, value in end(3, 4, 17).items():
            np.testing.assert_array_equal(value, whole[name])


def test_thermal_noise_has_the_width_of_its_steps_rate() -> None:
    keys = {"execution": "sequential", "backend": "torch", "precision": "double", **CYCLE}
    cold, warm = (built(settings(TINY, temperature=t, **keys)) for t in (0.0, 0.02))
    network, noise = cold
    start = network.initial_state(noise)
    for step in (0, 4):
        kicks = warm[0].advance(start, step, step + 1, warm[1]).weights
        kicks = kicks - network.advance(start, step, step + 1, noise).weights
        for k, found in zip(network.ensemble.replica, kicks, strict=True):
            drawn = network.ensemble.quenched("thermal", int(k), step).standard_normal(network.dof)
            expected = math.sqrt(2 * 0.02 * fge(step + 1, 0.3, 0.01, 10)) * drawn
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_a_rate_on_the_device_makes_the_same_step() -> None:
    rule = StepRule(RateSchedule(0.1), SGD(SGD.Parameters(momentum=0.5)), weight_decay=0.1)
    ends = []
    for rate in (0.037, torch.tensor(0.037, dtype=torch.float64)):
        generator = torch.Generator().manual_seed(1)
        w, g, v = (torch.randn(50, dtype=torch.float64, generator=generator) for _ in range(3))
        rule.apply([w], [g], {"velocity": [v]}, rate)
        ends.append(w)
    torch.testing.assert_close(*ends, rtol=1e-14, atol=1e-15)


class Recorded(Captured):
    """Stands for a captured step where there is no GPU: it knows index and rate by their place."""

    def __init__(self, stepper: Stepper, index: torch.Tensor, rates: np.ndarray, *lane: object) -> None:
        (rate,) = stepper.each(rates[:1])
        self.stepper, self.index, self.rate, self.graph = stepper, index.clone(), rate.clone(), self

    def replay(self) -> None:
        """Take the step."""
        self.losses = self.stepper.step(self.index, self.rate)


def test_a_replayed_step_is_told_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"execution": "stacked", "backend": "torch", "precision": "double", "momentum": 0.5, **CYCLE}
    network, noise = built(settings(TINY, **keys))
    plain = network.advance(network.initial_state(noise), 0, 25, noise).weights
    monkeypatch.setattr("langevin.systems.networks.replicas.lanes.Captured", Recorded)
    monkeypatch.setattr(Stepper, "each", lambda unit, rates: list(torch.from_numpy(rates).unbind()))
    network.units._lanes = lanes.Lanes(1, torch.device("cpu"))
    network.units._captured = lanes.CapturedSteps(network.units._lanes)
    replayed = network.advance(network.initial_state(noise), 0, 25, noise).weights
    assert isinstance(network.units._captured._captured[0], Recorded)
    # Another rounding of α v, for twenty-five steps.
    torch.testing.assert_close(replayed, plain, rtol=1e-12, atol=1e-13)


@pytest.mark.gpu
def test_a_captured_step_takes_the_rate_of_each_step() -> None:
    ends = []
    for capture in (True, False):
        keys = {"device": "cuda", "cuda_graph": capture, "deterministic": True, "momentum": 0.5, **CYCLE}
        network, noise = built(settings(WIDE, **keys))
        ends.append(network.advance(network.initial_state(noise), 0, 25, noise).weights)
    assert torch.equal(*ends)


# The file, and faults.


def measured(**dynamics: Any) -> Any:
    return langevin.run(
        {
            "system": TINY,
            "data": {"name": "synthetic", "train": 64, "test": 32},
            "dynamics": {"t_max": 30, "batch_size": 8, "device": "cpu", **dynamics},
            "ensemble": {"replicas": 2, "seed": 3},
            "record": {"waiting_times": [0, 4, 8], "energy_examples": 40, "gradient_examples": 40},
            "output": {"figure": False},
        }
    )


def test_the_file_says_the_schedule_and_scales_no_noise_with_a_constant_rate() -> None:
    found = measured(**CYCLE)
    rate = found["learning_rate"]
    assert rate.dims == ("time",)
    assert rate.attrs["schedule"] == "triangular" and rate.attrs["cycle"] == 10
    expected = [fge(int(t) + 1, 0.3, 0.01, 10) for t in found["time"]]
    np.testing.assert_allclose(rate, expected, rtol=1e-13)
    sums = [sum(fge(i, 0.3, 0.01, 10) for i in range(1, int(t) + 1)) for t in found["time"]]
    np.testing.assert_allclose(found["scaled_time"], sums, rtol=1e-13)
    assert "scaled_waiting_time" in found.coords and "scaled_lag" not in found.coords
    assert "learning_rate" not in found["gradient_noise"].attrs
    judged = training.collapse(found, t2=5.0)["prefactor_ratio"]
    assert np.isnan(judged).all()
    assert judged.attrs["reason"] == "the learning rate is not constant (schedule triangular)"


@pytest.mark.parametrize(
    ("keys", "joined"),
    [(CYCLE, [5, 15, 25]), ({"schedule": "cosine", "learning_rate": 0.3, "cycles": 3}, [10, 20, 30])],
    ids=["mid-cycle", "end of cycle"],
)
def test_what_is_collected_is_the_weights_there(keys: dict[str, Any], joined: list[int]) -> None:
    record = {"snapshots": "collected", "energy_examples": 40, "gradient_examples": 40}
    made = settings(TINY, replicas=2, record=record, backend="torch", t_max=30, **keys)
    found = langevin.run(made.given)
    assert found["snapshot_time"].to_numpy().tolist() == joined
    network, noise = built(made)
    for time in joined:
        # Told nothing of cycles: the plain steps to that time.
        weights = network.advance(network.initial_state(noise), 0, time, noise).weights
        np.testing.assert_array_equal(found["snapshot"].sel(snapshot_time=time), weights)


def test_a_constant_rate_scales_as_before() -> None:
    found = measured(learning_rate=0.3)
    assert {"scaled_time", "scaled_lag"} <= set(found.coords) and "learning_rate" not in found.coords
    np.testing.assert_array_equal(found["scaled_lag"], 0.3 * found["lag"])
    assert found["gradient_noise"].attrs["learning_rate"] == 0.3


def test_the_budget_is_the_run_unless_the_run_file_says_otherwise() -> None:
    assert settings(TINY, schedule="cosine").dynamics.rates.budget == 40
    assert settings(TINY, schedule="cosine", budget=100).dynamics.rates.budget == 100


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"cycle": 9}, 'dynamics.cycle = 9: must be even with dynamics.schedule = "triangular"'),
        (
            {"lowest_learning_rate": 0.5},
            "dynamics.lowest_learning_rate = 0.5: must be ≤ dynamics.learning_rate = 0.3 with "
            'dynamics.schedule = "triangular"',
        ),
        (
            {"schedule": "cosine", "cycles": 41},
            'dynamics.cycles = 41: must be ≤ 40, the steps of the budget, with dynamics.schedule = "cosine"',
        ),
    ],
)
def test_a_schedule_that_cannot_be_is_a_fault(keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings(TINY, **{**CYCLE, **keys})
    assert error.value.faults == [fault]


def test_a_network_without_a_schedule_is_no_fault() -> None:
    assert isinstance(built(settings(TINY, cycle=9, lowest_learning_rate=5.0))[0], Network)
