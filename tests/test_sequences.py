"""Tokens in, classes out, at every position: against loops over single positions in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sequence_cases as cases
import torch
import torch.nn.functional as F
from test_losses import BY_HAND, MODULES

import langevin
from langevin.config import build, run_files
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import UserError
from langevin.systems.networks.nets.losses import CLASSES, Loss
from langevin.systems.networks.nets.targets import Target


def run_file(module="Bag", loss="cross_entropy", labels="position", arguments=None, **dynamics):
    return {
        "system": {
            "name": "network",
            "module": f"sequence_cases:{module}",
            "loss": loss,
            "arguments": arguments or {},
        },
        "data": {"name": "sequence_cases:Tokens", "labels": labels},
        "dynamics": {
            "batch_size": 10,
            "t_max": 20.0,
            "learning_rate": 0.1,
            "precision": "double",
            **dynamics,
        },
        "record": {"times": [0.0, 20.0], "waiting_times": [0.0], "lags": [20.0], "snapshots": [20.0]},
        "ensemble": {"replicas": 2, "seed": 3},
    }


def system_of(**given):
    system = build.build(run_files.load(run_file(**given)), Ensemble.regular(2, 1, 3))
    return system, system.initial_state(Noise(3, system.ensemble.replica))


def data(labels="position"):
    made = cases.Tokens(cases.Tokens.Parameters(labels=labels)).load(Ensemble.regular(1, 1, 0))
    return made.train.inputs, made.train.labels


def net_at(x, module, **arguments):
    made = getattr(cases, module)(tokens=5, classes=3, **arguments).double()
    torch.nn.utils.vector_to_parameters(torch.as_tensor(x), made.parameters())
    return made


@pytest.mark.parametrize("loss", ["cross_entropy", "sequence_cases:own", "sequence_cases:weighted"])
@pytest.mark.parametrize("module", ["Bag", "Reader"])
def test_a_class_at_every_position(module, loss):
    system, state = system_of(module=module, loss=loss)
    found = system.measure(state)
    inputs, labels = data()
    weights = {"sequence_cases:weighted": [0.1, 1.0, 3.0]}.get(loss, [1.0, 1.0, 1.0])
    for k in range(2):
        with torch.no_grad():
            outputs = net_at(state.weights[k], module)(torch.tensor(inputs)).numpy()
        total = norm = right = 0.0
        for row, sequence in zip(outputs, labels, strict=True):
            for scores, label in zip(row, sequence, strict=True):
                total += weights[label] * (math.log(np.exp(scores).sum()) - scores[label])
                norm += weights[label]
                right += int(np.argmax(scores) == label)
        assert found["energy"][k] == pytest.approx(total / norm, rel=1e-12)
        assert found["train_accuracy"][k] == pytest.approx(right / labels.size, rel=1e-12)
    assert system.loss.separable == (loss != "sequence_cases:weighted")


def test_steps_are_those_of_torch():
    """Plain descent by hand, in double precision, on the batches that the system draws."""
    system, state = system_of(module="Reader", execution="sequential")
    noise = Noise(3, system.ensemble.replica)
    after = system.advance(state, 0, 6, noise)
    inputs, labels = (torch.tensor(a) for a in data())
    made = net_at(state.weights[0].clone(), "Reader")
    optimiser = torch.optim.SGD(made.parameters(), lr=0.1)
    for index in system.batches.table(0, 0, 6):
        optimiser.zero_grad()
        F.cross_entropy(made(inputs[index]).flatten(0, 1), labels[index].flatten()).backward()
        optimiser.step()
    expected = torch.nn.utils.parameters_to_vector(made.parameters())
    np.testing.assert_allclose(after.weights[0], expected.detach(), rtol=1e-11)


@pytest.mark.parametrize("execution", ["sequential", "stacked"])
def test_noise_and_norm_of_the_gradient(execution):
    system, state = system_of(execution=execution)
    inputs, labels = (torch.tensor(a) for a in data())
    made = net_at(state.weights[1], "Bag")
    gradients = []
    for x, y in zip(inputs, labels, strict=True):
        found = torch.autograd.grad(F.cross_entropy(made(x[None])[0], y), list(made.parameters()))
        gradients.append(torch.cat([g.flatten() for g in found]).numpy())
    gradients = np.array(gradients)
    noise = gradients.var(axis=0, ddof=1).sum() / system.dof
    assert system.at_waiting(state)["gradient_noise"][1] == pytest.approx(noise, rel=1e-10)
    norm = np.linalg.norm(gradients.mean(axis=0))
    assert system.measure(state)["gradient_norm"][1] == pytest.approx(norm, rel=1e-10)


def test_hessian():
    system, state = system_of(module="Reader")
    inputs, labels = (torch.tensor(a) for a in data())

    def loss(x):
        parts = dict(zip(system.layout.names, system.layout.views(x), strict=True))
        outputs = torch.func.functional_call(net_at(x.detach(), "Reader"), parts, (inputs,))
        return F.cross_entropy(outputs.flatten(0, 1), labels.flatten())

    x, step = state.weights[0], 1e-5
    rows = []
    for k in (0, 20, system.dof - 1):
        shift = step * torch.eye(system.dof, dtype=torch.float64)[k]
        slopes = [torch.autograd.functional.jacobian(loss, x + sign * shift) for sign in (1, -1)]
        rows.append((slopes[0] - slopes[1]) / (2 * step))
    columns = system.hessian(state, 0).matvec(np.eye(system.dof)[:, [0, 20, system.dof - 1]])
    # Central differences: 10⁻¹⁰ of third derivatives, and rounding of 10⁻¹⁶/10⁻⁵.
    np.testing.assert_allclose(columns.T, torch.stack(rows), atol=1e-9)


def test_one_class_of_a_sequence():
    system, state = system_of(labels="whole", arguments={"whole": True})
    inputs, labels = (torch.tensor(a) for a in data("whole"))
    outputs = net_at(state.weights[0], "Bag", whole=True)(inputs)
    found = system.measure(state)
    assert found["energy"][0] == pytest.approx(float(F.cross_entropy(outputs, labels).detach()), rel=1e-12)
    assert found["train_accuracy"][0] == (outputs.argmax(1) == labels).double().mean()


def test_tokens_without_labels():
    system, state = system_of(labels="none", loss="sequence_cases:perplexity", arguments={"classes": 3})
    inputs = torch.tensor(data("none")[0])
    outputs = net_at(state.weights[0], "Bag")(inputs)
    found = system.measure(state)
    assert found["energy"][0] == pytest.approx(
        float(cases.perplexity(outputs, inputs, "mean").detach()), rel=1e-12
    )
    assert not any("accuracy" in name for name in found)


@pytest.mark.parametrize("name", CLASSES)
def test_losses_of_torch_at_every_position(name):
    """The loss of a sequence is the mean over its positions, each as an example."""
    rng = torch.Generator().manual_seed(1)
    outputs, labels = torch.randn(6, 3, 4, generator=rng).double(), torch.arange(18).reshape(6, 3) % 4
    if name in MODULES:
        outputs = {"logarithms": torch.log_softmax(outputs, -1), "positive": torch.sigmoid(outputs)}[
            MODULES[name]
        ]
    loss = Loss(name, 4, Target("class", (3,), 4))
    expected = float(BY_HAND[name](outputs.flatten(0, 1), labels.flatten()))
    assert float(loss.mean(outputs, labels)) == pytest.approx(expected, rel=1e-12)
    each = loss.each(outputs, labels)
    by_rows = [float(BY_HAND[name](x, y)) for x, y in zip(outputs, labels, strict=True)]
    np.testing.assert_allclose(each, by_rows, rtol=1e-12)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"labels": "whole"}, r"gives outputs of shape \(2, 4, 3\) .*needed: \(2, 3\), one for each class"),
        (
            {"arguments": {"whole": True}},
            r"shape \(2, 3\) .*needed: \(2, 4, 3\), one for each class at every",
        ),
        ({"arguments": {"classes": 2}}, r"shape \(2, 4, 2\) .*needed: \(2, 4, 3\)"),
        ({"labels": "none"}, "loss = 'cross_entropy': .*probabilities|the inputs must be"),
        ({"labels": "none", "loss": "nll_loss", "arguments": {"classes": 3}}, "compares with classes"),
    ],
)
def test_what_does_not_fit_is_refused(given, said):
    with pytest.raises(UserError, match=said) as refused:
        system_of(**given)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["mlp", "fully_connected", "lenet", "toy"])
def test_nets_that_read_no_tokens_say_so(name):
    given = run_file()
    given["system"] = {"name": name}
    with pytest.raises(UserError, match=r"does not take inputs|needs images") as refused:
        build.build(run_files.load(given), Ensemble.regular(2, 1, 3))
    assert "\n" not in str(refused.value)


def test_a_run_stores_tokens_of_single_precision_nets():
    """Trained, resumed from the file, evaluated at stored weights: the file's own numbers."""
    given = run_file(precision="single")
    found = langevin.run(given)
    settings = run_files.load(given)
    system = build.build(settings, Ensemble.regular(2, 1, 3))
    again = system.evaluate(found["snapshot"].to_numpy()[0])
    np.testing.assert_allclose(again["energy"], found["energy"][:, -1], rtol=1e-6)
    np.testing.assert_allclose(again["test_error"], 1 - found["test_accuracy"][:, -1], rtol=1e-6)
    said = system.predict(found["snapshot"].to_numpy()[0, 1], 1)
    assert said.outputs.shape == (24 * 4, 3) and said.labels.shape == (24 * 4,) and said.losses.shape == (24,)
    assert np.mean(said.outputs.argmax(1) != said.labels) == pytest.approx(again["test_error"][1], rel=1e-12)
