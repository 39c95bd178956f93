"""Runs of networks: restart with every kind of state, and what a user may get wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from small_nets import built, on_a_line, settings

import langevin
from langevin.commands import cli
from langevin.core.noise import Noise
from langevin.errors import Diverged, LangevinError, UserError
from langevin.sweep import simulation
from langevin.systems.networks.descent.training import Stepper
from langevin.systems.networks.replicas import lanes

MLP = {"name": "mlp", "widths": [4]}
NORMALISED = {"name": "network", "module": "small_nets:Normalised"}


@pytest.mark.parametrize(
    ("system", "options"),
    [
        (MLP, {"momentum": 0.9, "weight_decay": 0.01}),
        (MLP, {"batches": "iid", "temperature": 0.1}),
        (MLP, {"batches": "persistent", "persistence": 3.0}),
        (MLP, {"batches": "full"}),
        (NORMALISED, {"momentum": 0.5}),
    ],
    ids=["momentum", "thermal", "persistent", "full", "batch-norm"],
)
def test_a_state_survives_saving_with_all_that_belongs_to_it(
    system: dict[str, Any], options: dict[str, Any]
) -> None:
    network, noise = built(settings(system, **options))
    state = network.advance(network.initial_state(noise), 0, 9, noise)
    saved, streams = network.state_dict(state), noise.state_dict()
    expected = network.state_dict(network.advance(state, 9, 30, noise))
    other, noise = built(settings(system, **options), threads=1)
    noise.load_state(streams)
    found = other.state_dict(other.advance(other.load_state(saved), 9, 30, noise))
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize(
    ("system", "keys"),
    [(MLP, {}), (MLP, {"execution": "stacked", "momentum": 0.5}), (NORMALISED, {"momentum": 0.5})],
    ids=["compiled", "stacked", "batch-norm"],
)
def test_a_state_stays_as_it_is(system: dict[str, Any], keys: dict[str, Any]) -> None:
    network, noise = built(settings(system, **keys))
    start = network.advance(network.initial_state(noise), 0, 3, noise)
    before = {name: array.copy() for name, array in network.state_dict(start).items()}
    network.advance(start, 3, 9, noise)
    network.measure(start)
    network.at_waiting(start)
    for name, array in network.state_dict(start).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


class Replayed:
    """Stands for a captured step where there is no GPU: it knows the tensors that the unit had at first."""

    def __init__(self, unit: Stepper, index: torch.Tensor, rates: np.ndarray, *lane: object) -> None:
        self.unit, self.addresses = (
            unit,
            [unit.weights.data_ptr(), *(v.data_ptr() for v in unit._slots["velocity"])],
        )

    def run(self, batches: torch.Tensor, rates: np.ndarray) -> torch.Tensor:
        """Take the steps."""
        now = [self.unit.weights.data_ptr(), *(v.data_ptr() for v in self.unit._slots["velocity"])]
        assert now == self.addresses
        return self.unit.run(batches, rates)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("system", [MLP, NORMALISED], ids=["mlp", "batch-norm"])
def test_captured_steps_keep_their_tensors(system: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langevin.systems.networks.replicas.lanes.Captured", Replayed)
    ends = []
    for capture in (False, True):
        network, noise = built(settings(system, momentum=0.5, backend="torch"))
        if capture:
            cpu = torch.device("cpu")
            network.units._lanes = lanes.Lanes(3, cpu)
            network.units._captured = lanes.CapturedSteps(network.units._lanes)
        state = network.initial_state(noise)
        for first in (0, 10, 20):
            state = network.advance(state, first, first + 10, noise)
            network.measure(state)
        ends.append(network.state_dict(state))
    for name, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][name], err_msg=name)


def test_running_statistics_are_saved_but_are_no_degrees_of_freedom() -> None:
    network, noise = built(settings(NORMALISED))
    start = network.initial_state(noise)
    end = network.advance(start, 0, 10, noise)
    assert network.dof == 784 * 5 + 5 + 5 + 5 + 5 * 10 + 10
    assert any(not torch.equal(a, b) for a, b in zip(start.buffers, end.buffers, strict=True))
    assert network.configuration(end).shape == (3, network.dof)


def test_the_file_says_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = {"waiting_times": [1, 10], "lags": {"per_decade": 4}}
    made = settings(MLP, record=record, learning_rate=0.1)
    with xr.open_dataset(simulation.execute(made, tmp_path / "made.nc")) as found:
        assert found["gradient_noise"].dims == ("replica", "waiting_time")
        assert (found["gradient_noise"] > 0).all()
        attributes = found["gradient_noise"].attrs
        assert (attributes["learning_rate"], attributes["batch_size"]) == (0.1, 8)
        for name in ("energy", "test_loss", "train_accuracy", "test_accuracy", "gradient_norm"):
            assert found[name].dims == ("replica", "time")
        for name in ("time", "waiting_time", "lag"):
            np.testing.assert_allclose(found[f"scaled_{name}"], 0.1 * found[name])
        assert found["energy"].attrs["examples"] == 40


# What a user may get wrong.


def faults(**dynamics: Any) -> str:
    with pytest.raises(LangevinError) as caught:
        built(settings(MLP, **dynamics))
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_keys_that_do_not_go_together() -> None:
    assert "dynamics.temperature = 0.1: must be 0 with dynamics.momentum = 0.9" in faults(
        temperature=0.1, momentum=0.9
    )
    assert "dynamics.batch_size = 65: must be ≤ 64" in faults(batch_size=65)
    assert 'dynamics.device = \'gpu\': allowed: "auto", "cpu"' in faults(device="gpu")
    assert "dynamics.device = 'cuda:7': this machine has" in faults(device="cuda:7")
    assert 'dynamics.batches = "epoch": allowed: one of "epochs"' in faults(batches="epoch")
    assert "dynamics.learning_rate = 0: allowed: number > 0" in faults(learning_rate=0)


@pytest.mark.parametrize(
    ("system", "said"),
    [
        (
            {"name": "mlp", "loss": "cross_entropi"},
            "system.loss = 'cross_entropi': allowed: a loss of torch.nn",
        ),
        ({"name": "mlp", "loss": "relu"}, "system.loss = 'relu': allowed"),
        ({"name": "mlp", "widths": [0]}, "system.widths"),
        ({"name": "network", "module": "small_nets:nothing"}, 'allowed: "package.module:factory"'),
        ({"name": "network", "module": "no_such_module:make"}, "cannot import 'no_such_module'"),
        ({"name": "network", "module": "small_nets:dropping"}, "contains Dropout"),
        ({"name": "network", "module": "small_nets:linear"}, "does not take inputs of shape 1×28×28"),
        ({"name": "network", "module": "builtins:list"}, "builtins is of Python's library; allowed: "),
        (
            {"name": "network", "module": "small_nets:Normalised", "arguments": {"width": 3}},
            "unexpected keyword argument 'width'",
        ),
        (
            {"name": "network", "module": "small_nets:Normalised", "arguments": {"classes": 9}},
            "gives outputs of shape (2, 9) for a batch of 2; needed: (2, 10)",
        ),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_systems_that_cannot_be(system: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        built(settings(system))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_convolutions_need_images_of_their_size() -> None:
    data = {"name": "small_nets:Line"}
    with pytest.raises(UserError, match=r"small_net.: needs images"):
        built(settings({"name": "small_net"}, data, batch_size=2))


def test_a_diverging_run_keeps_what_it_measured_and_says_when(tmp_path: Path) -> None:
    run_file = tmp_path / "run.toml"
    run_file.write_text(
        """
        system = { name = "mlp", widths = [4], activation = "relu", loss = "mse_loss" }
        data = { name = "synthetic", train = 64, test = 32 }
        dynamics = { learning_rate = 1e6, batch_size = 8, t_max = 100, device = "cpu" }
        ensemble = { replicas = 2 }
        record = { energy_examples = 20, gradient_examples = 20, waiting_times = [0], times = [1, 2] }
        """
    )
    done = CliRunner().invoke(cli.main, ["run", str(run_file), "--set", f"output.path={tmp_path}/run.nc"])
    assert done.exit_code == 1
    line = done.stderr.strip().splitlines()[-1]
    assert "is not a finite number at step" in line
    assert "smaller dynamics.learning_rate (now 1e+06)" in line
    with langevin.open(tmp_path / "run.nc") as found:
        assert found.attrs["status"].startswith("diverged: the loss of replica")
        assert np.isfinite(found["energy"][:, 0]).all()


def test_the_first_replica_to_diverge_is_named() -> None:
    network, noise = on_a_line(3, batches="full", learning_rate=1e30)
    with pytest.raises(Diverged, match="replica 0 is not a finite number at step"):
        network.advance(network.initial_state(noise), 0, 300, noise)


def test_a_gpu_without_memory_says_what_to_reduce(monkeypatch: pytest.MonkeyPatch) -> None:
    network, noise = on_a_line()
    state = network.initial_state(noise)

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore")

    monkeypatch.setattr(type(network.units.steppers[0]), "step", full)
    with pytest.raises(LangevinError, match=r"reduce ensemble.replicas, dynamics.batch_size"):
        network.advance(state, 0, 1, noise)


def test_the_callers_threads_are_left_alone() -> None:
    before = torch.get_num_threads()
    network, noise = built(settings(MLP))
    network.advance(network.initial_state(noise), 0, 3, noise)
    assert torch.get_num_threads() == before


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    network, noise = built(settings(MLP))
    network.advance(network.initial_state(noise), 0, 3, noise)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.parametrize("system", [MLP, NORMALISED], ids=["mlp", "batch-norm"])
def test_a_captured_step_is_the_plain_one(system: dict[str, Any]) -> None:
    ends = []
    for capture in (False, True):
        made = settings(system, device="cuda", cuda_graph=capture, deterministic=True, momentum=0.5)
        network, noise = built(made)
        ends.append(network.state_dict(network.advance(network.initial_state(noise), 0, 30, noise)))
    for key, value in ends[0].items():
        np.testing.assert_array_equal(ends[1][key], value)


@pytest.mark.gpu
def test_a_gpu_takes_the_same_steps_as_a_cpu() -> None:
    ends = []
    for device in ("cpu", "cuda"):
        network, noise = built(settings(MLP, device=device, precision="double"))
        ends.append(network.advance(network.initial_state(noise), 0, 30, noise).weights.cpu())
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-11)


def test_noise_of_other_roles_is_not_used() -> None:
    """Batches of fixed size and thermal kicks follow from their step: no stream moves."""
    network, _ = built(settings(MLP, temperature=0.1))
    noise = Noise(3, network.ensemble.replica)
    network.advance(network.initial_state(noise), 0, 3, noise)
    assert noise.state_dict() == {}
