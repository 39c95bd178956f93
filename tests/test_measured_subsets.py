"""What a network is measured on: subsets of its own for every replica, and errors that know it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import SIGMAS, z_score
from small_nets import built, settings

from langevin.analysis.compare import files
from langevin.observables.statistics import average
from langevin.sweep import simulation
from langevin.systems.networks.data import subsets
from langevin.systems.networks.measure import measurement

LJAT = {"name": "ljat", "points": 2000, "train": 400, "test": 300}
FEW = {"energy_examples": 60, "gradient_examples": 50, "hessian_examples": 30}
EVERY = {"energy_examples": 400, "gradient_examples": 400}
NORMALISED = {"name": "network", "module": "small_nets:Normalised"}
NET = {"name": "mlp", "widths": [4, 3]}


def twins(
    record: dict[str, Any], replicas: int, backend: str = "numba", **keys: Any
) -> dict[str, np.ndarray]:
    """Return what is measured of replicas that all have the weights of the first, after some steps."""
    made = settings(NET, LJAT, replicas, record=record, precision="double", backend=backend, **keys)
    network, noise = built(made)
    state = network.advance(network.initial_state(noise), 0, 30, noise)
    state = replace(state, weights=state.weights[:1].repeat(replicas, 1))
    return {**network.measure(state), **network.at_waiting(state)}


@pytest.mark.slow
def test_the_scatter_of_replicas_is_the_error_of_their_subsets() -> None:
    """200 subsets: means at 5 σ from those of all examples; squared errors at 5 σ, √(2/200) each."""
    truth, found = twins(EVERY, 1), twins(FEW, 200)
    for name in ("energy", "train_accuracy", "test_loss", "test_accuracy", "gradient_noise"):
        assert abs(z_score(found[name], truth[name][0])) < SIGMAS, name
        quoted = np.mean(found[f"{name}_error"] ** 2)
        # The error of D is a scatter of ten parts, and of values with long tails.
        allowed = SIGMAS * math.sqrt(2 / 200) * (1.5 if name == "gradient_noise" else 1)
        assert abs(np.log(np.var(found[name], ddof=1) / quoted)) < allowed, name
    assert truth["gradient_square"][0] == pytest.approx(truth["gradient_norm"][0] ** 2, rel=1e-12)
    assert abs(z_score(found["gradient_square"], truth["gradient_square"][0])) < SIGMAS


def test_the_norm_of_a_subset_is_that_of_all() -> None:
    """2000 subsets of 10 of 30 vectors, in unequal parts: |G|² at 5 σ; the length of their mean must fail."""
    rng = np.random.default_rng(1)
    vectors = 0.5 + rng.standard_normal((30, 5))
    truth, found, longer = float(np.sum(vectors.mean(0) ** 2)), [], []
    for _ in range(2000):
        sums = [p.sum(0) for p in np.array_split(rng.permutation(vectors)[:10], 4)]
        square = float(np.sum(sum(sums) ** 2))
        between = sum(float(s @ s) / n for s, n in zip(sums, (3, 3, 2, 2), strict=True))
        found.append(measurement.unbiased(square, between, 4, 10, 1 - 10 / 30))
        longer.append(square / 100)
    assert abs(z_score(found, truth)) < SIGMAS < abs(z_score(longer, truth))


def test_an_average_over_few_replicas_knows_its_error() -> None:
    """50 averages of 4: (mean − truth)/error has Student's quantiles; 68 % inside at 5 σ of the count."""
    truth, found = twins(EVERY, 1), twins(FEW, 200)
    for name in ("energy", "test_loss", "gradient_noise"):
        values = xr.DataArray(found[name].reshape(50, 4), dims=("run", "replica"))
        made = average(values)
        z = (made.mean - truth[name][0]) / made.error
        # Student's quantile of 68 % with 3 degrees of freedom.
        assert abs(float((abs(z) < 1.19).mean()) - 0.68) < SIGMAS * math.sqrt(0.68 * 0.32 / 50), name


def test_both_backends_measure_the_same() -> None:
    for record in (FEW, {**EVERY, "energy_examples": 70}, EVERY):
        one, two = (twins(record, 3, backend) for backend in ("numba", "torch"))
        assert one.keys() == two.keys()
        for name, values in one.items():
            np.testing.assert_allclose(values, two[name], rtol=1e-9, err_msg=name)


def test_subsets_belong_to_replicas_and_hold_each_other() -> None:
    network, _ = built(settings(NET, LJAT, 4, 2, record=FEW))
    chosen = network.chosen
    drawn = {label: set(subset.index.tolist()) for label, subset in chosen.trained.items()}
    assert len({frozenset(d) for d in drawn.values()}) == 4
    for label, sample in zip(
        network.ensemble.replica.tolist(), network.ensemble.sample.tolist(), strict=True
    ):
        assert drawn[label] <= set(network._rows[sample].tolist())
        assert set(chosen.probed[label].index.tolist()) <= drawn[label]
        assert set(chosen.curved[label].index.tolist()) <= set(chosen.probed[label].index.tolist())
    alone, _ = built(settings(NET, LJAT, 1, 1, record=FEW))
    assert torch.equal(alone.chosen.trained[0].index, chosen.trained[0].index)
    every, _ = built(settings(NET, LJAT, 4, 2, record=EVERY))
    assert every.chosen.trained[0] is every.chosen.trained[2]
    assert every.chosen.trained[0] is not every.chosen.trained[1]


def test_the_file_has_errors_of_subsets_and_says_of_how_many(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    times = {"times": [1, 10], "waiting_times": [1], "lags": [1]}
    for record, there, replicas in ((FEW, True, 1), (FEW, True, 3), (EVERY, False, 1)):
        made = settings(NET, LJAT, replicas, record={**record, **times})
        with xr.open_dataset(simulation.execute(made, tmp_path / f"{there}{replicas}.nc")) as found:
            names = {"energy_error", "test_loss_error", "train_accuracy_error", "test_accuracy_error"}
            assert names & set(found) == (names if there else set())
            assert bool((found["gradient_noise_error"] > 0).all()) == there
            about = found["energy"].attrs
            assert (about["examples"], about["examples_of"]) == (60 if there else 400, 400)
            # Several replicas: their scatter, which holds that of the subsets. Of one the seed is not known.
            drawn = files.curves(found, "msd", "A").energy
            expected = average(found["energy"]).error[-2:] if replicas > 1 else np.full(2, np.nan)
            np.testing.assert_allclose(drawn.error[-2:], expected, rtol=1e-12)


# Batch-norm: from mini-batches.


def gradients(network: Any, state: Any, batches: Any) -> np.ndarray:
    """Return the gradient of each of these batches, in training mode, shape (batches, M)."""
    network.units.load(0, state)
    probe = network.units.probe(0, 0)
    rows = []
    with probe.scratch_buffers():
        for batch in batches:
            _, found = probe.gradient(torch.tensor([batch]))
            rows.append(network.layout.flat(found).double().numpy())
    return np.array(rows)


@pytest.mark.parametrize(("examples", "size"), [(7, 2), (6, 3), (5, 3), (12, 2)])
def test_with_batch_norm_d_and_norm_are_those_of_all_batches(examples: int, size: int) -> None:
    """All pairs of disjoint batches (all batches, where none are disjoint) are enumerated; 100 draws, 5 σ.

    Batches that share examples, as a subset gave that began again from its beginning, differ less.
    """
    data = {"name": "synthetic", "train": examples, "test": 8}
    made = settings(
        NORMALISED, data, 100, precision="double", batch_size=size, record={"gradient_examples": 20}
    )
    network, noise = built(made, threads=2)
    state = network.advance(network.initial_state(noise), 0, 5, noise)
    first = {"weights": state.weights[:1].repeat(100, 1)}
    state = replace(state, **first, buffers=[b[:1].expand(100, *b.shape[1:]).clone() for b in state.buffers])
    every = list(itertools.combinations(range(examples), size))
    g = gradients(network, state, every)
    inside = np.array([[i in batch for i in range(examples)] for batch in every])
    products, overlap = g @ g.T, inside.astype(int) @ inside.T
    squares = np.diag(products)
    differences = squares[:, None] + squares - 2 * products
    if 2 * size <= examples:
        d = size * differences[overlap == 0].mean() / 2 / network.dof
    else:
        d = size / (1 - size / examples) * g.var(axis=0).mean()
    norm = float(np.sum(g.mean(0) ** 2))
    found = network.at_waiting(state)
    assert abs(z_score(found["gradient_noise"], d)) < SIGMAS
    assert abs(z_score(network.measure(state)["gradient_square"], norm)) < SIGMAS
    ratio = np.var(found["gradient_noise"], ddof=1) / np.mean(found["gradient_noise_error"] ** 2)
    assert 0.3 < ratio < 2


def test_with_batch_norm_a_full_batch_has_no_noise() -> None:
    data = {"name": "synthetic", "train": 12, "test": 8}
    network, noise = built(settings(NORMALISED, data, 2, precision="double", batches="full"))
    state = network.initial_state(noise)
    assert np.isnan(network.at_waiting(state)["gradient_noise"]).all()
    (g,) = gradients(network, state, [list(range(12))])
    assert network.measure(state)["gradient_norm"][0] == pytest.approx(np.linalg.norm(g), rel=1e-10)
    assert network.measure(state)["gradient_square"][0] == pytest.approx(g @ g, rel=1e-10)


def test_rounds_of_batches_are_disjoint() -> None:
    data = {"name": "synthetic", "train": 40, "test": 8}
    for size, shape in (
        (2, (2, 5, 2)),
        (8, (2, 4, 8)),
        (16, (subsets.ROUNDS, 2, 16)),
        (30, (8, 1, 30)),
        (40, (1, 1, 40)),
    ):
        network, _ = built(settings(NORMALISED, data, 2, batch_size=size, record={"gradient_examples": 20}))
        one, two = (network.chosen.probed[k].batches for k in (0, 1))
        assert tuple(one.shape) == shape
        assert size == 40 or not torch.equal(one, two)
        for own in one:
            assert own.unique().numel() == own.numel()
