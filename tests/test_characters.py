"""Text of known entropy: its statistics, and the recurrent nets that learn it."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
import torch
from conftest import ROOT, SIGMAS
from torch import nn

import langevin
from langevin.config import build, registry, run_files
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import ConfigError, UserError
from langevin.systems.networks.data.characters import Characters, entropies, stationary

ONE = Ensemble.regular(1, 1, 4)


def characters(**keys):
    return Characters(Characters.Parameters(**keys))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_stationary_distribution(order):
    table = characters(letters=4, order=order).language(ONE, 0)
    contexts, size = table.shape
    matrix = np.zeros((contexts, contexts))
    for context in range(contexts):
        for letter in range(size):
            matrix[context, (context * size + letter) % contexts] += table[context, letter]
    values, vectors = np.linalg.eig(matrix.T)
    found = np.real(vectors[:, np.argmax(values.real)])
    np.testing.assert_allclose(stationary(table), found / found.sum(), atol=1e-13)


def test_entropies_of_chains_that_are_known():
    # A coin for each letter: all are ln 2. A chain of order 1 with one parameter: binary entropy.
    np.testing.assert_allclose(entropies(np.full((4, 2), 0.5)), [np.log(2)] * 3, rtol=1e-14)
    p = 0.1
    binary = -p * np.log(p) - (1 - p) * np.log(1 - p)
    np.testing.assert_allclose(entropies(np.array([[1 - p, p], [p, 1 - p]])), [np.log(2), binary], rtol=1e-13)
    # The same chain, as one of order 2.
    np.testing.assert_allclose(
        entropies(np.tile([[1 - p, p], [p, 1 - p]], (2, 1))), [np.log(2), binary, binary], rtol=1e-13
    )


@pytest.mark.parametrize("order", [1, 2])
def test_no_predictor_is_better_on_average_than_said(order):
    """The true probabilities lose on passages what is said, at every place; 5 σ each."""
    data = characters(letters=5, order=order, length=4)
    table, text = data.language(ONE, 0), data.passages(ONE, 0, "data", 20_000)
    assert text.shape == (20_000, 5) and text.min() == 0 and text.max() == 4
    longest = stationary(table)[:, None] * table
    rates = []
    for place in range(1, 5):
        known = min(place, order)
        blocks = longest.reshape(5 ** (known + 1), -1).sum(axis=1).reshape(-1, 5)
        given = blocks / blocks.sum(axis=1, keepdims=True)
        context = np.zeros(len(text), int)
        for letter in text[:, place - known : place].T:
            context = 5 * context + letter
        losses = -np.log(given[context, text[:, place]])
        rates.append(entropies(table)[known])
        assert abs(losses.mean() - rates[-1]) < SIGMAS * losses.std() / np.sqrt(len(text))
    assert data.best_loss(ONE, 0) == pytest.approx(np.mean(rates), rel=1e-12)
    # A wrong language is found out.
    other = characters(letters=5, order=order, length=4).language(Ensemble.regular(1, 1, 5), 0)
    assert abs(entropies(other)[order] - rates[-1]) > 0.01


def test_text_follows_from_seed_and_sample():
    data, ensemble = characters(train=6, test=5), Ensemble.regular(4, 2, 9)
    made, again = data.load(ensemble), data.load(Ensemble.regular(2, 2, 9))
    assert made.tokens == made.classes == 8
    np.testing.assert_array_equal(made.train.inputs, again.train.inputs)
    np.testing.assert_array_equal(made.train.inputs[:, 1:], made.train.labels[:, :-1])
    samples = [made.train.inputs[made.rows[s]] for s in (0, 1)]
    assert not np.array_equal(*samples)
    alone = data.load(Ensemble(np.array([7]), np.array([1]), 9))
    np.testing.assert_array_equal(alone.train.inputs, samples[1])
    # Fewer passages are the beginning of more.
    more = characters(train=9, test=5).load(ensemble)
    np.testing.assert_array_equal(more.train.inputs[more.rows[0]][:6], samples[0])
    assert made.attributes["best_loss"].count(",") == 1


@pytest.mark.parametrize("length", [1, 2])
def test_passages_shorter_than_the_memory(length):
    data = characters(train=50, order=3, letters=3, length=length).load(ONE)
    assert data.train.inputs.shape == (50, length)


def test_too_many_contexts_are_refused():
    given = {
        "system": {"name": "gru"},
        "data": {"name": "characters", "letters": 40, "order": 3},
        "dynamics": {"t_max": 10},
    }
    with pytest.raises(ConfigError, match=r"data\.letters = 40: must be ≤ 36 with data.order = 3"):
        run_files.load(given)


# Recurrent nets.


@pytest.mark.parametrize("name", ["gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_layers_are_those_of_torch(name, layers):
    system, _ = small_system(name, layers=layers)
    module = system.build().double()
    theirs = {"gru": nn.GRU, "lstm": nn.LSTM}[name](2, 3, layers, batch_first=True).double()
    own = [p for layer in list(module)[1:-1] for p in layer.parameters()]
    with torch.no_grad():
        for ours, other in zip(own, theirs.parameters(), strict=True):
            assert ours.shape == other.shape
            other.copy_(ours)
    tokens = torch.arange(12).reshape(3, 4) % 3
    expected = module[-1](theirs(module[0](tokens))[0])
    np.testing.assert_allclose(module(tokens).detach(), expected.detach(), atol=1e-14)
    # The start, too: uniform in ±1/√hidden; 5 % of 27 numbers at least lie near the ends.
    for parameter in own:
        assert float(parameter.detach().abs().max()) <= 1 / np.sqrt(3)


def small_system(name, replicas=2, precision="double", **keys):
    given = {
        "system": {"name": name, "hidden": 3, "embedding": 2, **keys},
        "data": {"name": "characters", "train": 30, "test": 20, "length": 4, "letters": 3, "order": 1},
        "dynamics": {
            "batch_size": 10,
            "t_max": 20,
            "learning_rate": 0.5,
            "precision": precision,
            "momentum": 0.5,
        },
        "record": {"times": [0, 20], "waiting_times": [0, 4], "lags": [4], "hessian": [20]},
        "ensemble": {"replicas": replicas, "seed": 3},
    }
    system = build.build(run_files.load(given), Ensemble.regular(replicas, 1, 3))
    return system, given


@pytest.mark.parametrize("name", ["gru", "lstm"])
@pytest.mark.parametrize("precision", ["single", "double"])
def test_replicas_in_one_call_are_replicas_alone(name, precision):
    system, given = small_system(name, precision=precision)
    noise = Noise(3, system.ensemble.replica)
    together = system.advance(system.initial_state(noise), 0, 12, noise)
    given["dynamics"]["execution"] = "sequential"
    other = build.build(run_files.load(given), Ensemble.regular(2, 1, 3))
    alone = other.advance(other.initial_state(noise), 0, 12, noise)
    assert len(system.units.groups) == 1 < len(other.units.groups)
    part = 1e-4 if precision == "single" else 1e-12
    np.testing.assert_allclose(together.weights, alone.weights, rtol=part, atol=part)
    for one, two in zip(system.at_waiting(together).values(), other.at_waiting(alone).values(), strict=True):
        np.testing.assert_allclose(one, two, rtol=100 * part)


@pytest.mark.parametrize("name", ["gru", "lstm"])
@pytest.mark.parametrize("precision", ["single", "double"])
def test_an_interrupted_run_has_the_same_bits(name, precision):
    system, _ = small_system(name, precision=precision)
    noise = Noise(3, system.ensemble.replica)
    whole = system.advance(system.initial_state(noise), 0, 20, noise)
    part = system.advance(system.initial_state(noise), 0, 7, noise)
    again, _ = small_system(name, precision=precision)
    rest = again.advance(again.load_state(system.state_dict(part)), 7, 20, Noise(3, system.ensemble.replica))
    assert torch.equal(whole.weights, rest.weights) and torch.equal(
        whole.slots["velocity"], rest.slots["velocity"]
    )


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_whole_run(name):
    _, given = small_system(name)
    found = langevin.run(given)
    assert found["energy"].notnull().all() and found["gradient_noise"].notnull().all()
    assert found["hessian_eigenvalue"].notnull().all()
    assert 0 < float(found.attrs["data_best_loss"]) < np.log(3)
    # Of a net that knows nothing: ln 3, and what its start is off by.
    assert (found["energy"][:, -1] < found["energy"][:, 0]).all()


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_images_are_refused(name):
    given = {
        "system": {"name": name},
        "data": {"name": "synthetic", "train": 20, "test": 20},
        "dynamics": {"batch_size": 10, "t_max": 20},
    }
    with pytest.raises(UserError, match=f"system.name = '{name}': needs sequences of tokens .*1×28×28"):
        langevin.run(given)


def test_run_files_are_of_one_text():
    """The curve's ends are those of the run file that it names; ours is the data set of both nets."""
    files = [tomllib.loads((ROOT / "runs" / f"{n}.toml").read_text()) for n in ("gru", "lstm", "gru_curve")]
    assert files[0]["data"] == files[1]["data"] and files[2]["system"]["start"] == "gru.nc"
    assert "characters" in registry.DATASETS and registry.load("gru").data == "characters"


@pytest.mark.slow
def test_a_net_finds_what_there_is_to_find():
    """A GRU on many passages comes to the best loss from above: within 3 % of what frequencies miss."""
    given = {
        "system": {"name": "gru", "hidden": 32, "embedding": 8},
        "data": {"name": "characters", "train": 6000, "test": 4000, "letters": 4, "length": 12, "order": 2},
        "dynamics": {"batch_size": 100, "t_max": 3000, "learning_rate": 1.0, "schedule": "piecewise_linear"},
        "record": {"times": [3000], "waiting_times": [], "lags": [], "configurations": "never"},
        "ensemble": {"replicas": 1, "seed": 2},
    }
    found = langevin.run(given)
    data = characters(**{k: v for k, v in given["data"].items() if k != "name"})
    ensemble = Ensemble.regular(1, 1, 2)
    best, blind = data.best_loss(ensemble, 0), entropies(data.language(ensemble, 0))[0]
    loss = float(found["test_loss"][0, -1])
    # 48,000 letters, losses of a scatter of about 1: 0.005; 4 of these below.
    assert best - 0.02 < loss < best + 0.03 * (blind - best) + 0.02
