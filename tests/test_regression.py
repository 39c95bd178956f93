"""Real numbers as labels, and inputs that are their own: energies by hand, accuracies that do not exist."""

from __future__ import annotations

import loss_cases as cases
import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from test_losses import run_file

import langevin
from langevin.commands.cli import main
from langevin.config import build, run_files
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import UserError
from langevin.systems.networks.data.base import Data, Examples
from langevin.systems.networks.nets.losses import DOMAINS, Loss
from langevin.systems.networks.nets.targets import Target


def system_of(loss="mse_loss", module="net", targets="value", **changes):
    given = run_file(loss, module, data={"targets": targets}, **changes)
    system = build.build(run_files.load(given), Ensemble.regular(2, 1, 3))
    return system, system.initial_state(Noise(3, system.ensemble.replica))


def clouds(targets):
    made = cases.Clouds(cases.Clouds.Parameters(targets=targets)).load(Ensemble.regular(1, 1, 0))
    labels = made.train.labels
    return made.train.inputs.astype(float), None if labels is None else labels.astype(float)


def outputs_at(x, module, outputs):
    made = getattr(cases, module)((2,), outputs).double()
    torch.nn.utils.vector_to_parameters(torch.as_tensor(x), made.parameters())
    return made


def test_one_number_for_each_example():
    """Outputs are (B, 1), labels (B,): not B² differences."""
    system, state = system_of()
    inputs, labels = clouds("value")
    for k, energy in enumerate(system.measure(state)["energy"]):
        outputs = outputs_at(state.weights[k], "net", 1)(torch.tensor(inputs)).detach().numpy()
        assert outputs.shape == (40, 1)
        assert energy == pytest.approx(np.mean((outputs[:, 0] - labels) ** 2), rel=1e-12)


@pytest.mark.parametrize(("loss", "module"), [("squared", "net"), ("gaussian", "two_outputs")])
def test_losses_of_ones_own(loss, module):
    system, state = system_of(f"loss_cases:{loss}", module)
    inputs, labels = clouds("value")
    made = outputs_at(state.weights[0], module, 1)
    outputs = made(torch.tensor(inputs)).detach().numpy()
    if loss == "squared":
        expected = np.mean((outputs[:, 0] - labels) ** 2)
    else:
        expected = np.mean((outputs[:, 0] - labels) ** 2 / np.exp(outputs[:, 1]) / 2 + outputs[:, 1] / 2)
    assert system.measure(state)["energy"][0] == pytest.approx(expected, rel=1e-12)
    assert system.loss.separable


def test_several_numbers_by_compiled_nets_too():
    """An mlp with the squared error has kernels that know classes alone: they are not taken."""
    given = run_file("mse_loss", data={"targets": "values"})
    given["system"] = {"name": "mlp", "widths": [4], "loss": "mse_loss"}
    system = build.build(run_files.load(given), Ensemble.regular(2, 1, 3))
    assert system.compiled is None
    state = system.initial_state(Noise(3, system.ensemble.replica))
    inputs, labels = clouds("values")
    module = system.build().double()
    torch.nn.utils.vector_to_parameters(state.weights[0], module.parameters())
    outputs = module(torch.tensor(inputs))
    assert outputs.shape == labels.shape
    expected = float(((outputs - torch.tensor(labels)) ** 2).mean().detach())
    assert system.measure(state)["energy"][0] == pytest.approx(expected, rel=1e-12)
    # The closed form of the Hessian knows classes alone, too.
    columns = system.hessian(state, 0)
    np.testing.assert_allclose(columns.dense(), columns.matvec(np.eye(system.dof)), atol=1e-12)


def test_steps_noise_and_hessian():
    """Linear regression: the gradient of one example is 2 (w·x + b − y)(x, 1)."""
    given = run_file("mse_loss", data={"targets": "value"})
    given["system"] |= {"module": "loss_cases:linear"}
    system = build.build(run_files.load(given), Ensemble.regular(2, 1, 3))
    state = system.initial_state(Noise(3, system.ensemble.replica))
    inputs, labels = clouds("value")
    x = np.column_stack([inputs, np.ones(40)])
    w = state.weights[0].numpy().copy()
    gradients = 2 * ((x @ w) - labels)[:, None] * x
    noise = gradients.var(axis=0, ddof=1).sum() / 3
    assert system.at_waiting(state)["gradient_noise"][0] == pytest.approx(noise, rel=1e-10)
    np.testing.assert_allclose(system.hessian(state, 0).dense(), 2 * x.T @ x / 40, atol=1e-12)
    after = system.advance(state, 0, 1, Noise(3, system.ensemble.replica))
    batch = system.batches.table(0, 0, 1)[0]
    np.testing.assert_allclose(after.weights[0], w - 0.2 * gradients[batch].mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("loss", ["mse_loss", "loss_cases:squared"])
def test_without_labels_the_target_is_the_input(loss):
    system, state = system_of(loss, "autoencoder", "none")
    inputs, _ = clouds("none")
    outputs = outputs_at(state.weights[1], "autoencoder", 2)(torch.tensor(inputs)).detach().numpy()
    found = system.measure(state)
    assert found["energy"][1] == pytest.approx(np.mean((outputs - inputs) ** 2), rel=1e-12)
    assert "train_accuracy" not in found


def test_labels_may_be_left_aside():
    system, state = system_of("mse_loss", "autoencoder", "class", system={"target": "inputs"})
    other, _ = system_of("mse_loss", "autoencoder", "none")
    labelled, unlabelled = system.measure(state), other.measure(state)
    np.testing.assert_array_equal(labelled["energy"], unlabelled["energy"])
    assert labelled.keys() == unlabelled.keys()


def test_an_operation_in_place_does_not_change_the_target(monkeypatch):
    def made(shape, classes):
        return torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Linear(2, 2))

    monkeypatch.setattr(cases, "clipping", made, raising=False)
    system, state = system_of("mse_loss", "clipping", "none")
    inputs, _ = clouds("none")
    outputs = outputs_at(state.weights[0], "clipping", 2)(torch.tensor(inputs)).detach().numpy()
    assert system.measure(state)["energy"][0] == pytest.approx(np.mean((outputs - inputs) ** 2), rel=1e-12)


def test_images_without_labels():
    """Bytes, scaled channel by channel; an image may come out as a vector."""
    images = np.random.default_rng(1).integers(256, size=(6, 1, 2, 2), dtype=np.uint8)
    part, one = Examples(images), np.ones(1, np.float32)
    data = Data("images", part, part, 0, one / 255, 0 * one, {0: np.arange(6)}, {0: np.arange(6)})
    loss = Loss("mse_loss", 0, Target.of(data))
    scaled = torch.tensor(data.scaled(images))
    assert float(loss.mean(torch.zeros(6, 4), scaled)) == pytest.approx(
        np.mean((images / 255) ** 2), rel=1e-6
    )


ACCURATE = ("accuracy", "train_error", "test_error", "pair_error")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A run of regression, with what a curve and a plane need."""
    path = tmp_path_factory.mktemp("regression") / "run.nc"
    record = {"snapshots": [60.0], "times": [1.0, 10.0, 60.0]}
    given = run_file("mse_loss", data={"targets": "value"}, record=record, ensemble={"replicas": 4})
    langevin.run({**given, "output": {"path": str(path)}})
    return path


def command(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_commands_do_without_accuracies(result, tmp_path):
    with langevin.open(result) as found:
        assert not any(word in str(name) for name in found.variables for word in ACCURATE)
        assert found["energy"].notnull().all() and found["test_loss"].notnull().all()
    said = command("info", result)
    assert said.exit_code == 0 and "loss " in said.output and "accuracy" not in said.output
    assert command("plot", result, "--output", tmp_path / "run.png").exit_code == 0
    curve = tmp_path / "curve.nc"
    keys = ["dynamics.t_max=5", "record.times=[0, 5]", "record.positions=4"]
    options = [part for key in keys for part in ("--set", key)]
    said = command("connect", result, "--output", curve, *options)
    assert said.exit_code == 0, said.output
    with xr.open_dataset(curve) as found:
        assert not any(word in str(name) for name in found.variables for word in ACCURATE)
        assert found["curve_energy"].notnull().all()
    said = command("plane", curve, "--output", tmp_path / "plane.nc", "--grid", 3)
    assert said.exit_code == 0, said.output
    said = command("ensemble", result, "--output", tmp_path / "ensemble.nc")
    assert said.exit_code == 2 and said.output.strip().endswith("classifies nothing")


# What is refused.


@pytest.mark.parametrize(
    ("loss", "module", "targets", "said"),
    [
        ("nll_loss", "net", "value", "compares with classes, the data have real numbers"),
        ("multi_margin_loss", "net", "none", "compares with classes, the data have the inputs themselves"),
        ("cross_entropy", "net", "value", "probabilities of several classes"),
        ("cross_entropy", "net", "values", r"the training labels must be probabilities .*; there is -?\d"),
        ("kl_div", "net", "values", "must be probabilities"),
        ("binary_cross_entropy", "positive", "value", "labels must be between 0 and 1; there is"),
        ("binary_cross_entropy_with_logits", "net", "none", "inputs must be between 0 and 1; there is"),
        ("poisson_nll_loss", "net", "value", "must be ≥ 0; there is -"),
        ("soft_margin_loss", "net", "value", "must be −1 or 1"),
        (
            "mse_loss",
            "two_outputs",
            "value",
            r"outputs of shape \(2, 2\) .*needed: \(2,\), that of the labels",
        ),
        ("mse_loss", "two_outputs", "values", r"outputs of shape \(2, 2\) .*needed: \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(loss, module, targets, said):
    with pytest.raises(UserError, match=said) as refused:
        system_of(loss, module, targets)
    assert "\n" not in str(refused.value)


def test_domains_of_losses():
    rng = torch.Generator().manual_seed(1)
    outputs = torch.rand(8, 3, generator=rng).double()
    labels = torch.softmax(torch.randn(8, 3, generator=rng).double(), 1)
    by_hand = -(labels * torch.log_softmax(outputs, 1)).sum(1).mean()
    found = Loss("cross_entropy", 0, Target("value", (3,), 0)).mean(outputs, labels)
    assert float(found) == pytest.approx(float(by_hand), rel=1e-12)
    # Of sequences torch would take positions for classes.
    deep = Loss("cross_entropy", 0, Target("value", (2, 3), 0))
    both = deep.mean(outputs.view(4, 2, 3), labels.view(4, 2, 3))
    assert float(both) == pytest.approx(float(by_hand), rel=1e-12)
    assert set(DOMAINS) >= {"mse_loss", "hinge_embedding_loss"}


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        (np.zeros(3, np.float64), 0, "labels are float64 of shape"),
        (np.zeros(3, np.float32), 2, "float32, but classes = 2"),
        (np.array([0, np.nan, 1], np.float32), 0, "labels are not all finite"),
        (np.zeros((2, 3), np.float32), 0, r"labels are float32 of shape \(2, 3\), of 3 inputs"),
        (None, 2, "there are no training labels, but classes = 2"),
        (np.zeros((3, 0), np.int64), 2, "are none"),
        (np.full((3, 2), 2), 2, "a training label is 2"),
    ],
)
def test_labels_are_checked(labels, classes, said):
    part, one, rows = (
        Examples(np.zeros((3, 2), np.float32), labels),
        np.ones(2, np.float32),
        {0: np.arange(3)},
    )
    with pytest.raises(UserError, match=said):
        Data("bad", part, part, classes, one, 0 * one, rows, rows)


@pytest.mark.parametrize(
    ("inputs", "tokens", "scale", "said"),
    [
        (np.array([[0, 1], [2, 5]]), 5, 1.0, "inputs are 0 to 5; allowed: 0 to 4"),
        (np.array([[0, -1], [2, 1]]), 5, 1.0, "inputs are -1 to 2; allowed: 0 to 4"),
        (np.array([[0, 1], [2, 4]]), 5, 2.0, "scale and shift must be 1 and 0"),
        (np.array([0, 1]), 0, 1.0, r"inputs are int64 of shape \(2,\)"),
        (np.zeros((2, 2), np.int32), 0, 1.0, "inputs are int32"),
        (np.zeros((2, 2), bool), 0, 1.0, "inputs are bool"),
    ],
)
def test_integer_inputs_are_checked(inputs, tokens, scale, said):
    part, one, rows = Examples(inputs, np.array([0, 1])), np.ones(1, np.float32), {0: np.arange(2)}
    with pytest.raises(UserError, match=said):
        Data("bad", part, part, 2, scale * one, 0 * one, rows, rows, {}, tokens)


def test_training_and_test_labels_are_alike():
    inputs, one, rows = np.zeros((2, 2), np.float32), np.ones(2, np.float32), {0: np.arange(2)}
    parts = Examples(inputs, np.zeros((2, 3), np.float32)), Examples(inputs, np.zeros(2, np.float32))
    with pytest.raises(UserError, match=r"training and test labels differ in shape, \(3,\) and \(\)"):
        Data("bad", *parts, 0, one, 0 * one, rows, rows)
