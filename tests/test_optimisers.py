"""Optimisers equal those of torch.optim; a run takes one of a user's own, and refuses what is none."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_nets import built, settings
from test_parameter_groups import by_torch
from test_restart import assert_same, interrupted
from torch import nn

import langevin
from langevin.code import known
from langevin.config import run_files
from langevin.config.keys import Section, key
from langevin.errors import ConfigError, UnknownCode
from langevin.observables.training import noise_collapse
from langevin.systems.networks.descent.perceptron import Compiled
from langevin.systems.networks.descent.training import Alone, Stacked
from langevin.systems.networks.optimisers import BUILT_IN, SGD

MLP = {"name": "mlp", "widths": [4], "activation": "tanh"}
FACTORS = {"*.bias": 3.0, "1.weight": 0.5}

#: Keys of [dynamics], and torch's optimiser with the same numbers.
OPTIMISERS: dict[str, tuple[dict[str, Any], Any]] = {
    "sgd": ({"momentum": 0.8, "learning_rate": 0.1}, partial(torch.optim.SGD, momentum=0.8)),
    "nesterov": (
        {"momentum": 0.8, "learning_rate": 0.1},
        partial(torch.optim.SGD, momentum=0.8, nesterov=True),
    ),
    "adam": (
        {"betas": [0.8, 0.99], "epsilon": 0.01, "learning_rate": 0.01},
        partial(torch.optim.Adam, betas=(0.8, 0.99), eps=0.01),
    ),
    "adamw": (
        {"betas": [0.8, 0.99], "epsilon": 0.01, "learning_rate": 0.01},
        partial(torch.optim.AdamW, betas=(0.8, 0.99), eps=0.01),
    ),
    "rmsprop": (
        {"smoothing": 0.9, "epsilon": 0.01, "momentum": 0.5, "learning_rate": 0.003},
        partial(torch.optim.RMSprop, alpha=0.9, eps=0.01, momentum=0.5),
    ),
}


def test_all_optimisers_are_compared() -> None:
    assert OPTIMISERS.keys() == BUILT_IN.keys()


@pytest.mark.parametrize("execution", ["sequential", "stacked"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_three_hundred_steps_are_those_of_torch_with_groups(name: str, execution: str, device: str) -> None:
    keys, make = OPTIMISERS[name]
    keys = {**keys, "device": device}
    given = {"optimiser": name, "decay": "weights", "weight_decay": 0.05, "rate_factors": FACTORS, **keys}
    network, noise = tanh(execution, **given)
    assert isinstance(network.units.steppers[0], Stacked) == (execution == "stacked")
    end = network.advance(network.initial_state(noise), 0, 300, noise)
    expected = by_torch(network, 1, 300, "weights", FACTORS, make)
    # Rounding, which steps over roots of squares amplify; a step is some 1e-2.
    torch.testing.assert_close(end.weights[1], expected, rtol=0, atol=1e-9)


def tanh(execution: str, **dynamics: Any) -> Any:
    """Return a smooth net on the torch path, two replicas: nothing amplifies rounding."""
    keys = {"precision": "double", "backend": "torch", "execution": execution}
    return built(settings(MLP, replicas=2, **keys, **dynamics))


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop"])
def test_the_defaults_are_those_of_torch(name: str) -> None:
    plain = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}[name]
    given = {"optimiser": name, "learning_rate": 1e-3, "weight_decay": 0.1}
    network, noise = tanh("stacked", **given)
    end = network.advance(network.initial_state(noise), 0, 20, noise)
    expected = by_torch(network, 1, 20, "all", {}, plain)
    # Of ε = 1e-8 a gradient of 1e-16, which is rounding, moves a weight by 1e-11.
    torch.testing.assert_close(end.weights[1], expected, rtol=0, atol=1e-9)


def test_what_some_batches_do_not_use_counts_no_step() -> None:
    """Each way of a module that takes one or the other has moments, and a number of steps, of its own."""
    system = {"name": "network", "module": "test_parameter_groups:Routed"}
    keys = {"precision": "double", "learning_rate": 0.05, "optimiser": "adam", "weight_decay": 0.05}
    data = {"name": "test_network_hessian:Cloud", "count": 64}
    network, noise = built(settings(system, data, **keys, execution="sequential", batch_size=1))
    module = network.built(0)
    descent = torch.optim.Adam(module.parameters(), lr=0.05, weight_decay=0.05)
    for step in range(30):
        chosen = network.batches.table(0, step, step + 1)[0].astype(np.int64)
        inputs, labels = network.train.gather(torch.from_numpy(network._rows[0][chosen]))
        descent.zero_grad()
        nn.functional.cross_entropy(module(inputs), labels).backward()
        descent.step()
    end = network.advance(network.initial_state(noise), 0, 30, noise)
    torch.testing.assert_close(end.weights[0], network.layout.of(module), rtol=0, atol=1e-10)
    counts = end.slots["steps"][0]
    assert counts[0] + counts[2] == 30 and 0 < counts[0] < 30


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("name", [name for name in OPTIMISERS if name != "sgd"])
def test_a_run_may_be_cut_anywhere(name: str, precision: str) -> None:
    keys = {**OPTIMISERS[name][0], "optimiser": name, "precision": precision, "schedule": "cosine"}

    def end(*cuts: int) -> dict[str, np.ndarray]:
        network, noise = built(settings(MLP, **keys))
        state, now = network.initial_state(noise), 0
        for cut in (*cuts, 25):
            state = network.load_state(network.state_dict(network.advance(state, now, cut, noise)))
            now = cut
        return network.state_dict(state)

    whole, parts = end(), end(1, 4, 17)
    assert whole.keys() == parts.keys() and any(n.startswith("slot_") for n in whole)
    for array_name, array in whole.items():
        np.testing.assert_array_equal(parts[array_name], array, err_msg=array_name)


def test_compiled_steps_are_those_of_sgd_alone() -> None:
    kinds = {name: type(built(settings(MLP, optimiser=name))[0].units).__name__ for name in OPTIMISERS}
    assert kinds == {**dict.fromkeys(OPTIMISERS, "ReplicaSteppers"), "sgd": "TinyReplicas"}
    network, _ = built(
        settings({"name": "mlp", "widths": [65]}, optimiser="nesterov", execution="sequential")
    )
    (stepper, *_) = network.units.steppers
    assert isinstance(stepper, Alone) and not isinstance(stepper, Compiled)


def test_a_field_answers_to_nesterov_as_its_matrices_say() -> None:
    """Frozen weights but for the field: after n steps w moves by Σ, as torch's own steps do."""
    record = {"response": True, "response_from": "field", "waiting_times": [2], "lags": [4], "times": [0]}
    system = {"name": "network", "module": "small_nets:linear", "loss": "mse_loss"}
    keys = {"precision": "double", "batches": "full", "batch_size": 2, "learning_rate": 0.1, "t_max": 6}
    given = settings(system, {"name": "small_nets:Line"}, 2, record=record, optimiser="nesterov", **keys)
    network, noise = built(given)
    early = network.advance(network.initial_state(noise), 0, 2, noise)
    kept = network.reference(early)
    found = network.compare_at(kept, network.advance(early, 2, 6, noise), 4.0)["integrated_response"]
    # The loss is a parabola of curvature ⟨x²⟩ (two outputs, averaged): each weight by itself.
    curvature = float((network.train.gather(torch.arange(8))[0].double() ** 2).mean())
    weight, velocity = 0.0, 0.0
    for _ in range(4):
        slope = curvature * weight - 1
        velocity = 0.9 * velocity + slope
        weight -= 0.1 * (slope + 0.9 * velocity)
    np.testing.assert_allclose(found, weight, rtol=1e-7)


# The file, and faults.


def test_the_file_says_the_optimiser_and_takes_no_rate_for_granted() -> None:
    found = langevin.run(settings(MLP, optimiser="adam", record={"waiting_times": [0, 4]}).given)
    about = found["gradient_noise"].attrs
    assert about["optimiser"] == "adam" and about["base_learning_rate"] == 0.01
    assert "learning_rate" not in about
    judged = noise_collapse.collapse(found, t2=1.0)["prefactor_ratio"]
    assert np.isnan(judged).all()
    assert judged.attrs["reason"] == "the steps of adam are not the learning rate times a gradient"


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (
            {"betas": [0.9, 0.9]},
            'dynamics.betas: a key of dynamics.optimiser = "adam", "adamw" alone; nearest',
        ),
        (
            {"optimiser": "adam", "momentum": 0.9},
            'dynamics.momentum: a key of dynamics.optimiser = "sgd", "nest',
        ),
        (
            {"optimiser": "adan"},
            "dynamics.optimiser = 'adan': no such optimiser; nearest: 'adam'; allowed: adam,",
        ),
        ({"optimiser": 3}, "dynamics.optimiser = 3: allowed: string"),
        (
            {"optimiser": "adam", "betas": [1.0, 0.9]},
            "dynamics.betas = [1.0, 0.9]: must be two numbers, 0 ≤ β",
        ),
        (
            {"optimiser": "adam", "temperature": 0.1},
            "dynamics.temperature = 0.1: must be 0 with dynamics.optim",
        ),
        (
            {"optimiser": "nesterov", "temperature": 0.1},
            "dynamics.temperature = 0.1: must be 0 with dynamics.op",
        ),
        (
            {"optimiser": "rmsprop", "backend": "numba"},
            'dynamics.backend = "numba": allowed: "auto", "torch" with',
        ),
        (
            {"optimiser": "small_nets:Line"},
            "dynamics.optimiser = 'small_nets:Line': class Line must derive from",
        ),
        (
            {"optimiser": "test_optimisers:Alike"},
            "dynamics.optimiser = 'test_optimisers:Alike': class Alike must derive from",
        ),
        (
            {"optimiser": "test_optimisers:Greedy"},
            "dynamics.optimiser: Greedy declares budget, which [dynamics]",
        ),
    ],
    ids=lambda given: "" if isinstance(given, str) else ", ".join(given),
)
def test_what_cannot_be_is_one_line(keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings(MLP, **keys)
    assert len(error.value.faults) == 1 and error.value.faults[0].startswith(fault)


def test_a_field_is_refused_where_steps_do_not_follow_it() -> None:
    record = {"response": True, "waiting_times": [1], "lags": [2]}
    with pytest.raises(
        ConfigError, match=r'response = true: allowed: false with dynamics\.optimiser = "rmsprop"'
    ):
        settings(MLP, optimiser="rmsprop", record=record)


class Alike:
    """Has what an optimiser has, and is none."""

    def update(self) -> None:
        """Do nothing."""


class Greedy(SGD):
    """Wants a key that [dynamics] has."""

    class Parameters(Section):
        """A budget."""

        budget: int = key("of another kind", default=1)


# One of a user's own.

#: Lion (arXiv:2302.06675), as a user would write it.
LION = '''
import torch
from langevin.config.keys import Section, key
from langevin.systems.networks.optimisers import Optimiser


class Lion(Optimiser):
    """Steps of the sign of the mean gradient."""

    slots = {"mean": "weight", "calls": "tensor"}
    decouples = True

    class Parameters(Section):
        slowness: float = key("part of the mean that a step keeps", default=0.99, ge=0, lt=1)

    def update(self, weights, gradients, slots, rate):
        for w, g, mean, calls in zip(weights, gradients, slots["mean"], slots["calls"], strict=True):
            w -= rate * torch.sign(0.9 * mean + 0.1 * g)
            mean += (1 - self.parameters.slowness) * (g - mean)
            calls += 1
'''

RUN = """
[system]
name = "mlp"
widths = [4]
[data]
name = "synthetic"
train = 64
test = 32
[dynamics]
optimiser = "lion:Lion"
slowness = 0.9
learning_rate = 0.01
weight_decay = 0.1
precision = "double"
batch_size = 8
t_max = 12
[ensemble]
replicas = 2
seed = 3
[record]
times = [0, 5, 10, 12]
waiting_times = [0]
lags = [1, 12]
configurations = "always"
[output]
figure = false
"""


def test_one_of_a_users_own_runs_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(known.VARIABLE, str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    Path("lion.py").write_text(LION)
    Path("run.toml").write_text(RUN)
    with langevin.run("run.toml", {"output.path": "whole.nc"}) as found:
        assert "lion:Lion" in found.attrs["code"]
        end = found["configuration"].isel(configuration_time=-1).to_numpy()
    network, _ = built(run_files.load("run.toml"))
    for replica in range(2):
        np.testing.assert_allclose(end[replica], by_hand(network, replica), rtol=0, atol=1e-12)
    Path("run.toml").write_text(RUN.replace("figure", 'path = "stopped.nc"\nfigure'))
    paths = interrupted(Path("run.toml"), monkeypatch, 0, after=4)
    Path("lion.py").write_text(LION.replace("0.1 * g", "0.2 * g"))
    with pytest.raises(UnknownCode, match=r"dynamics\.optimiser = 'lion:Lion': .*lion\.py.* since"):
        langevin.resume(paths.result)
    Path("lion.py").write_text(LION)
    langevin.resume(paths.result).close()
    assert_same(Path("whole.nc"), paths.result)


def by_hand(network: Any, replica: int) -> np.ndarray:
    """Take the twelve steps of one replica as the paper writes them."""
    module = network.built(replica)
    means = [torch.zeros_like(p) for p in module.parameters()]
    for step in range(12):
        chosen = network.batches.table(replica, step, step + 1)[0].astype(np.int64)
        inputs, labels = network.train.gather(torch.from_numpy(network._rows[0][chosen]))
        slopes = torch.autograd.grad(nn.functional.cross_entropy(module(inputs), labels), module.parameters())
        with torch.no_grad():
            for p, mean, g in zip(module.parameters(), means, slopes, strict=True):
                p -= 0.01 * (torch.sign(0.9 * mean + 0.1 * g) + 0.1 * p)
                mean.mul_(0.9).add_(0.1 * g)
    return np.asarray(network.layout.of(module))
