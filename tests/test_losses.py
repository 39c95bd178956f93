"""Losses: which are means over examples, what is measured of those that are not, and which are refused."""

from __future__ import annotations

import loss_cases as cases
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import langevin
from langevin.config import build, run_files
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import UserError
from langevin.systems.networks.measure import whole
from langevin.systems.networks.nets.losses import CLASSES, OTHERS, Loss

DYNAMICS = {"batch_size": 10, "t_max": 60.0, "learning_rate": 0.2, "precision": "double"}
RECORD = {"times": [0.0, 60.0], "waiting_times": [0.0], "lags": [60.0], "configurations": "always"}


def run_file(loss, module="net", **changes):
    sections = {
        "system": {"name": "network", "module": f"loss_cases:{module}", "loss": loss},
        "data": {"name": "loss_cases:Clouds"},
        "dynamics": DYNAMICS,
        "record": RECORD,
        "ensemble": {"replicas": 2, "seed": 3},
    }
    return {name: {**section, **changes.get(name, {})} for name, section in sections.items()}


def system_of(loss, module="net", **changes):
    return build.build(run_files.load(run_file(loss, module, **changes)), Ensemble.regular(2, 1, 3))


def clouds(**keys):
    made = cases.Clouds(cases.Clouds.Parameters(**keys)).load(Ensemble.regular(1, 1, 0))
    return [(torch.tensor(p.inputs).double(), p.labels) for p in (made.train, made.test)]


def module_at(x, made):
    module = made((2,), 4).double()
    torch.nn.utils.vector_to_parameters(torch.tensor(x), module.parameters())
    return module


def by_hand(loss, x, part, made=cases.net):
    inputs, labels = clouds()[part]
    return float(loss(module_at(x, made)(inputs).detach(), torch.tensor(labels), reduction="mean"))


@pytest.mark.parametrize("loss", [cases.weighted, cases.summed, cases.contrast, cases.ignoring])
def test_energy_of_a_whole_batch(loss):
    found = langevin.run(run_file(f"loss_cases:{loss.__name__}", dynamics={"learning_rate": 0.01}))
    for k in range(2):
        for i in range(2):
            x = found["configuration"].to_numpy()[i, k]
            for part, name in enumerate(("energy", "test_loss")):
                np.testing.assert_allclose(found[name][k, i], by_hand(loss, x, part), rtol=1e-12)
    assert "no mean over examples" in found["energy"].attrs["reduction"]
    assert "energy_error" not in found


@pytest.mark.parametrize("loss", [cases.weighted, cases.contrast])
def test_stored_weights_have_the_energy_of_the_run(loss, tmp_path):
    """In curves, planes and ensembles: the loss of all examples, and values whose mean it is."""
    given = run_file(
        f"loss_cases:{loss.__name__}", record={"snapshots": [60.0]}, dynamics={"learning_rate": 0.01}
    )
    path = tmp_path / "run.nc"
    found = langevin.run({**given, "output": {"path": str(path)}})
    system, x = system_of(f"loss_cases:{loss.__name__}"), found["snapshot"].to_numpy()[0]
    again = system.evaluate(x)
    for name in ("energy", "test_loss"):
        np.testing.assert_allclose(again[name], found[name][:, -1], rtol=1e-12)
    said = system.predict(x[1], 1)
    assert said.losses.mean() == pytest.approx(float(found["test_loss"][1, -1]), rel=1e-12)
    curve = {
        "system": {"name": "network_curve", "start": str(path)},
        "dynamics": {**DYNAMICS, "t_max": 4.0},
        "record": {"times": [4.0], "waiting_times": [], "lags": [], "positions": 5},
        "ensemble": {"replicas": 1, "seed": 3},
    }
    made = langevin.run(curve)
    ends = made["curve_energy"].to_numpy()[0, [0, -1]]
    np.testing.assert_allclose(ends, found["energy"][:, -1], rtol=1e-12)
    assert (made["barrier_high"] >= made["barrier_low"]).all() and made["barrier_error"].notnull().all()


def test_noise_of_a_whole_batch():
    system = system_of("loss_cases:weighted")
    state = system.initial_state(Noise(3, system.ensemble.replica))
    inputs, labels = clouds()[0]
    labels = torch.tensor(labels)
    for k, value in enumerate(system.at_waiting(state)["gradient_noise"]):
        module = module_at(state.weights[k].numpy(), cases.net)
        # The mini-batches are the system's; all else is by hand.
        rounds = system.chosen.probed[k].batches
        differences = []
        for batches in rounds:
            gradients = []
            for index in batches:
                loss = cases.weighted(module(inputs[index]), labels[index], "mean")
                grads = torch.autograd.grad(loss, list(module.parameters()))
                gradients.append(torch.cat([g.flatten() for g in grads]))
            count = len(gradients)
            assert count == 4 and len(set(batches.flatten().tolist())) == 40
            differences += [
                float(((gradients[a] - gradients[b]) ** 2).sum()) for a in range(count) for b in range(a)
            ]
        by_pairs = 10 * np.mean(differences) / (2 * system.dof)
        np.testing.assert_allclose(value, by_pairs, rtol=1e-10)


def test_hessian_of_a_whole_batch(monkeypatch):
    system = system_of("loss_cases:weighted")
    state = system.initial_state(Noise(3, system.ensemble.replica))
    # Pieces of seven examples, if there were any.
    monkeypatch.setattr(type(system.train), "piece", 7)
    inputs, labels = clouds()[0]

    def loss(x):
        module = cases.net((2,), 4).double()
        parts = dict(zip(dict(module.named_parameters()), system.layout.views(x), strict=True))
        return cases.weighted(
            torch.func.functional_call(module, parts, (inputs,)), torch.tensor(labels), "mean"
        )

    exact = torch.autograd.functional.hessian(loss, state.weights[0])
    np.testing.assert_allclose(system.hessian(state, 0).dense(), exact, atol=1e-12)


@pytest.mark.parametrize("loss", cases.SEPARABLE, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("precision", ["single", "double"])
def test_means_over_examples_are_known(loss, precision):
    system = system_of(f"loss_cases:{loss.__name__}", dynamics={"precision": precision})
    assert system.loss.separable
    assert not system.units.couples


@pytest.mark.parametrize("loss", cases.WHOLE, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("precision", ["single", "double"])
def test_functions_of_a_batch_are_known(loss, precision):
    name = f"loss_cases:{loss.__name__}"
    if (loss, precision) == (cases.single_weights, "double"):
        with pytest.raises(UserError, match="expected scalar type Double"):
            system_of(name, dynamics={"precision": precision})
        return
    system = system_of(name, dynamics={"precision": precision})
    assert not system.loss.separable
    assert system.units.couples
    assert system.chosen.probed[0].batches.shape[-1] == 10


@pytest.mark.parametrize(("loss", "said"), cases.REFUSED.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_what_is_no_loss_is_refused(loss, said):
    with pytest.raises(UserError, match=f"system.loss = 'loss_cases:{loss.__name__}': .*{said}") as refused:
        system_of(f"loss_cases:{loss.__name__}")
    assert "\n" not in str(refused.value)


def test_a_batch_whose_size_changes_is_refused():
    with pytest.raises(UserError, match=r'dynamics\.batches = "persistent": allowed.*loss_cases:weighted'):
        system_of("loss_cases:weighted", dynamics={"batches": "persistent"})


def test_values_of_a_mean_are_the_losses():
    rng = torch.Generator().manual_seed(1)
    outputs, labels = torch.randn(30, 4, generator=rng).double(), torch.arange(30) % 4
    total, values = whole.values(Loss("cross_entropy", 4), outputs, labels)
    each = F.cross_entropy(outputs, labels, reduction="none")
    np.testing.assert_allclose(values, each, rtol=1e-12)
    assert total == pytest.approx(float(each.mean()), rel=1e-14)
    # Groups: the variance of the mean, and its own scatter of √(2/49) = 20 %; here at most 4 of it.
    outputs, labels = torch.randn(5003, 4, generator=rng).double(), torch.randint(4, (5003,), generator=rng)
    total, values = whole.values(Loss("cross_entropy", 4), outputs, labels)
    each = F.cross_entropy(outputs, labels, reduction="none")
    assert values.mean() == pytest.approx(total, rel=1e-13) == pytest.approx(float(each.mean()), rel=1e-13)
    assert abs(values.var() / float(each.var()) - 1) < 0.8


def test_error_of_a_whole_batch():
    """Of weighted losses of 300 examples drawn 400 times: the scatter is known to 3.5 %, the error to 1 %.

    So 20 % is beyond five standard deviations of both, were there no bias; that of order 1/n is 0.3 %.
    """
    rng = torch.Generator().manual_seed(2)
    loss = Loss("loss_cases:weighted", 4)
    found, errors = [], []
    for _ in range(400):
        outputs, labels = torch.randn(300, 4, generator=rng), torch.randint(4, (300,), generator=rng)
        total, values = whole.values(loss, outputs, labels)
        found.append(total)
        errors.append(values.std(ddof=1) / np.sqrt(300))
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.2)
    # The scatter of `reduction="none"` would be another.
    each = cases.weighted(outputs, labels, "none")
    assert float(each.std()) / np.sqrt(300) != pytest.approx(np.std(found), rel=0.1)


def test_subsets_have_an_error():
    found = langevin.run(run_file("loss_cases:weighted", record={"energy_examples": 20}))
    error = found["energy_error"].to_numpy()
    assert (error > 0).all() and (error < found["energy"]).all()


# Losses of torch.


def one_hot(labels):
    return F.one_hot(labels, 4).double()


BY_HAND = {
    "cross_entropy": lambda x, y: -torch.log_softmax(x, 1).gather(1, y[:, None]).mean(),
    "nll_loss": lambda x, y: -x.gather(1, y[:, None]).mean(),
    "multi_margin_loss": lambda x, y: (
        ((1 - x.gather(1, y[:, None]) + x).clamp(min=0).sum(1) - 1) / 4
    ).mean(),
    "soft_margin_loss": lambda x, y: torch.log1p(torch.exp(-(2 * one_hot(y) - 1) * x)).mean(),
    "mse_loss": lambda x, y: ((x - one_hot(y)) ** 2).mean(),
    "l1_loss": lambda x, y: (x - one_hot(y)).abs().mean(),
    "smooth_l1_loss": lambda x, y: _huber(x - one_hot(y)).mean(),
    "huber_loss": lambda x, y: _huber(x - one_hot(y)).mean(),
    "binary_cross_entropy": lambda x, y: -torch.log(torch.where(one_hot(y) > 0, x, 1 - x)).mean(),
    "binary_cross_entropy_with_logits": lambda x, y: _logistic(x, y).mean(),
    "multilabel_soft_margin_loss": lambda x, y: _logistic(x, y).mean(),
    "kl_div": lambda x, y: -x.gather(1, y[:, None]).mean() / 4,
    "poisson_nll_loss": lambda x, y: (torch.exp(x) - one_hot(y) * x).mean(),
}
MODULES = {"nll_loss": "logarithms", "kl_div": "logarithms", "binary_cross_entropy": "positive"}


def _huber(d):
    return torch.where(d.abs() < 1, d**2 / 2, d.abs() - 0.5)


def _logistic(x, y):
    return torch.log1p(torch.exp(-(2 * one_hot(y) - 1) * x))


def test_all_losses_of_torch_are_known():
    """A new one has to be looked at: whether it knows classes, or is refused."""
    import inspect

    reduced = set()
    for name in dir(F):
        found = getattr(F, name)
        try:
            if callable(found) and "reduction" in inspect.signature(found).parameters:
                reduced.add(name)
        except ValueError:
            continue
    assert (
        reduced == {*CLASSES, *OTHERS, "hinge_embedding_loss"} == {*BY_HAND, *OTHERS, "hinge_embedding_loss"}
    )


@pytest.mark.parametrize("name", CLASSES)
def test_losses_of_torch(name):
    module = MODULES.get(name, "net")
    system = system_of(name, module)
    assert system.loss.separable
    state = system.initial_state(Noise(3, system.ensemble.replica))
    found, inputs, labels = system.measure(state), *clouds()[0]
    made = module_at(state.weights[0].numpy(), getattr(cases, module))
    expected = BY_HAND[name](made(inputs), torch.tensor(labels))
    assert found["energy"][0] == pytest.approx(float(expected.detach()), rel=1e-12)


@pytest.mark.parametrize("name", [*OTHERS, "hinge_embedding_loss"])
def test_losses_of_torch_that_know_no_classes(name):
    with pytest.raises(UserError, match=f"system.loss = '{name}': .*allowed") as refused:
        system_of(name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("nll_loss", "LogSoftmax"), ("kl_div", "LogSoftmax"), ("binary_cross_entropy", "fails")],
)
def test_outputs_that_are_no_probabilities(name, said):
    with pytest.raises(UserError, match=f"system.loss = '{name}': .*{said}"):
        system_of(name)


def test_a_loss_of_torch_by_its_module():
    """Not labels of shape (B,) against outputs (B, K)."""
    by_name, by_module = (system_of(f"{before}mse_loss") for before in ("", "torch.nn.functional:"))
    state = by_name.initial_state(Noise(3, by_name.ensemble.replica))
    np.testing.assert_array_equal(by_name.measure(state)["energy"], by_module.measure(state)["energy"])
