"""Averages of the weights of a run's members: by hand in double precision, with and without batch-norm."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from small_nets import built, settings
from torch import nn

import langevin
from langevin.analysis.ensemble import report
from langevin.analysis.ensemble.command import ensembles
from langevin.plotting import figure
from langevin.systems.networks.network import Network

SYSTEMS: dict[str, dict[str, Any]] = {
    "plain": {"name": "mlp", "widths": [4], "activation": "tanh"},
    "batch-norm": {"name": "network", "module": "small_nets:Normalised"},
}
DATA = {"name": "synthetic", "train": 64, "test": 60}
REPLICAS, BATCH, MEMBERS = 5, 8, 4


def ran(path: Path, which: str, **changes: Any) -> Path:
    given: dict[str, Any] = {
        "system": SYSTEMS[which],
        "data": DATA,
        "dynamics": {
            "learning_rate": 0.5,
            "batch_size": BATCH,
            "device": "cpu",
            "backend": "torch",
            "precision": "double",
            "schedule": "triangular",
            "lowest_learning_rate": 0.01,
            "cycle": 8,
            "t_max": 8 * MEMBERS,
            **changes,
        },
        "ensemble": {"replicas": REPLICAS, "seed": 3},
        "record": {
            "times": [1],
            "waiting_times": [],
            "lags": [],
            "snapshots": "collected",
            "configurations": "never",
        },
        "output": {"figure": False, "path": str(path)},
    }
    langevin.run(given).close()
    return path


@pytest.fixture(scope="module", params=SYSTEMS)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    path = ran(tmp_path_factory.mktemp("swa") / "fge.nc", request.param)
    return request.param, path, ensembles([path])


def network(which: str) -> Network:
    """Return the network of a run, with the same measured examples: all."""
    record = {"energy_examples": 10_000}
    keys = {"precision": "double", "batch_size": BATCH}
    return built(settings(SYSTEMS[which], DATA, REPLICAS, record=record, **keys))[0]


def averaged(which: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities of all test examples at the mean weights of every replica, and the labels.

    In double precision by torch alone. Batch-norm: the mean over the mini-batches that the training examples
    make of each batch's mean and unbiased variance.
    """
    net = network(which)
    with langevin.open(path) as run:
        mean = run["snapshot"].mean("snapshot_time").transpose("replica", "dof").to_numpy()
    inputs, labels = net.test.gather(torch.arange(DATA["test"]))
    said = []
    for position, weights in enumerate(mean):
        module = net.built(0).double().train()
        torch.nn.utils.vector_to_parameters(torch.from_numpy(weights), module.parameters())
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        with torch.no_grad():
            # All 64 training examples, in the order of the measured ones.
            for batch in torch.split(net._learned(position), BATCH):
                module(net.train.gather(batch)[0].double())
            said.append(F.softmax(module.eval()(inputs.double()), dim=1).numpy())
    return np.array(said), labels.numpy()


def test_it_is_the_network_at_the_mean_weights(found: tuple[str, Path, Any]) -> None:
    which, path, made = found
    said, labels = averaged(which, path)
    assert made["averaged_error"].dims == ("method", "budget", "group")
    for k in (1, 2):
        for group in range(REPLICAS // k):
            pooled = said[group * k : (group + 1) * k].mean(axis=0)
            error = np.mean(pooled.argmax(axis=1) != labels)
            loss = -np.mean(np.log(pooled[np.arange(len(labels)), labels]))
            at = made.sel({"method": "fge", "budget": k}).isel(group=group)
            assert float(at["averaged_error"]) == error
            assert float(at["averaged_loss"]) == pytest.approx(loss, rel=1e-12)
    own = made["averaged_loss"].sel({"method": "fge", "budget": 1}).to_numpy()
    assert own.shape == (REPLICAS,)
    loss = made["averaged_loss_mean"].sel({"method": "fge", "budget": 1})
    assert float(loss) == pytest.approx(own.mean(), rel=1e-14)
    error = made["averaged_loss_standard_error"].sel({"method": "fge", "budget": 1})
    assert float(error) == pytest.approx(own.std(ddof=1) / np.sqrt(REPLICAS), rel=1e-12)
    # It is neither the ensemble's nor the last member's.
    for other in ("run_loss", "member_loss"):
        last = made[other].sel({"method": "fge"}).isel(repetition=0, member=MEMBERS - 1)
        assert float(last) != pytest.approx(own[0], rel=1e-6)


def test_statistics_of_batch_norm_are_those_of_the_mean(tmp_path: Path) -> None:
    """Those of the last member would give another loss: what is renewed counts."""
    path = ran(tmp_path / "fge.nc", "batch-norm")
    net = network("batch-norm")
    with langevin.open(path) as run:
        x = run["snapshot"].transpose("replica", "snapshot_time", "dof").to_numpy()[0]
    kept = net.predict(x.mean(0), 0)
    net.landscape.go_to(x[-1], net.companions.values[0], net._learned(0))
    with torch.no_grad():
        net.landscape.weights[0].copy_(torch.from_numpy(x.mean(0)))
    stale = net.landscape.see(torch.arange(DATA["test"]), test=True)
    assert abs(kept.losses.mean() - stale.losses.mean()) > 1e-3


def test_only_members_within_the_budget_are_averaged(tmp_path: Path) -> None:
    path = ran(tmp_path / "fge.nc", "plain")
    two, four = ensembles([path], budget=12.0), ensembles([path])
    assert int(two["networks"][0, 0]) == 2
    assert float(two["averaged_loss"][0, 0, 0]) != float(four["averaged_loss"][0, 0, 0])
    net = network("plain")
    with langevin.open(path) as run:
        x = run["snapshot"].transpose("replica", "snapshot_time", "dof").to_numpy()[0, :2]
    loss = net.predict(x.mean(0), 0).losses.mean()
    assert float(two["averaged_loss"][0, 0, 0]) == pytest.approx(loss, rel=1e-12)


def test_the_table_has_a_row_of_its_own(found: tuple[str, Path, Any], tmp_path: Path) -> None:
    _, _, made = found
    lines = report.text(made).splitlines()
    row = next(line for line in lines if line.startswith("fge, weights averaged"))
    value = 100 * float(made["averaged_error_mean"][0, 0])
    assert f"{value:.2f}" in row and "(1; 5)" in row and "(2; 2)" in row
    rows = list(csv.DictReader(report.write_csv(made, tmp_path / "e.csv").read_text().splitlines()))
    own = [r for r in rows if r["method"] == "fge, weights averaged"]
    assert [int(r["networks"]) for r in own] == [1, 2, 3]
    assert float(own[0]["test_error"]) == float(made["averaged_error_mean"][0, 0])
    labels = figure(made).axes[-2].get_legend_handles_labels()[1]
    assert "fge, weights averaged" in labels


def test_single_members_have_nothing_to_average(tmp_path: Path) -> None:
    path = tmp_path / "ind.nc"
    given = {
        "system": SYSTEMS["plain"],
        "data": DATA,
        "dynamics": {"batch_size": 8, "device": "cpu", "t_max": 8},
        "ensemble": {"replicas": 3, "seed": 1},
        "record": {"times": [1], "waiting_times": [], "lags": [], "snapshots": [8]},
        "output": {"figure": False, "path": str(path)},
    }
    langevin.run(given).close()
    made = ensembles([path])
    assert made["averaged_error"].isnull().all() and made["averaged_error_mean"].isnull().all()
    assert "weights averaged" not in report.text(made)
    xr.testing.assert_equal(made["groups"], made["budget_error"].notnull().sum("group"))
