"""Ensembles: errors, disagreement and budgets against brute force; files of tiny nets from end to end."""

from __future__ import annotations

import csv
import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from click.testing import CliRunner
from matplotlib.figure import Figure
from small_nets import built, settings
from torch import nn

import langevin
from langevin import plotting
from langevin.analysis.ensemble.command import ensembles
from langevin.commands.cli import main
from langevin.errors import UserError
from langevin.observables.ensembles import PredictionPool, disagreement, groups, mean, normalised
from langevin.systems.networks.network import Network

SYSTEM = {"name": "mlp", "widths": [4], "activation": "tanh"}
DATA = {"name": "synthetic", "train": 64, "test": 50}
BUDGET, CYCLE = 40, 8

#: What each file is: replicas, [dynamics], and the times at which members are stored.
KINDS: dict[str, tuple[int, dict[str, Any], Any]] = {
    "ind": (7, {"schedule": "piecewise_linear", "t_max": BUDGET}, [32, BUDGET]),
    "sse": (3, {"schedule": "cosine", "cycles": 4, "t_max": BUDGET}, "collected"),
    "fge": (
        4,
        {"schedule": "triangular", "lowest_learning_rate": 0.01, "cycle": CYCLE, "t_max": 2 * CYCLE},
        "collected",
    ),
}


def ran(path: Path, kind: str, start: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Run a kind of method and write its file; `changes` of sections go over it."""
    replicas, dynamics, snapshots = KINDS[kind]
    given: dict[str, Any] = {
        "system": SYSTEM,
        "data": DATA,
        "dynamics": {"learning_rate": 0.3, "batch_size": 8, "device": "cpu", "backend": "torch", **dynamics},
        "ensemble": {"replicas": replicas, "seed": 3},
        "record": {
            "times": [1],
            "waiting_times": [],
            "lags": [],
            "snapshots": snapshots,
            "configurations": "never",
            "energy_examples": 20,
            "gradient_examples": 20,
        },
        "output": {"figure": False, "path": str(path)},
    }
    if start:
        given["start"] = start
    for section, keys in changes.items():
        given[section] = {**given[section], **keys}
    langevin.run(given)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three files of the paper's comparison."""
    folder = tmp_path_factory.mktemp("methods")
    found = {kind: ran(folder / f"{kind}.nc", kind) for kind in ("ind", "sse")}
    begun = {"file": str(found["ind"]), "time": 32}
    return {**found, "fge": ran(folder / "fge.nc", "fge", begun)}


@pytest.fixture(scope="module")
def made(files: dict[str, Path]) -> xr.Dataset:
    """Their ensembles."""
    return ensembles(list(files.values()))


def snapshot(path: Path, replica: int, time: float) -> np.ndarray:
    """Return a stored configuration."""
    with langevin.open(path) as found:
        return found["snapshot"].sel(replica=replica, snapshot_time=time).to_numpy()


@functools.cache
def bare() -> tuple[Network, nn.Module]:
    """Return a network with the data of all files, and a module to put weights into."""
    network, _ = built(settings(SYSTEM, DATA, 1, backend="torch"))
    return network, network.built(0)


@functools.cache
def probabilities(path: Path, replica: int, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Return class probabilities and labels of all test examples, by a module with weights set by hand."""
    network, module = bare()
    torch.nn.utils.vector_to_parameters(
        torch.from_numpy(snapshot(path, replica, time)).float(), module.parameters()
    )
    inputs, labels = network.test.gather(torch.arange(DATA["test"]))
    with torch.no_grad():
        return F.softmax(module(inputs).double(), dim=1).numpy(), labels.numpy()


# Numbers.


def test_a_pool_is_the_mean_of_all_predictions() -> None:
    rng = np.random.default_rng(1)
    given, labels = rng.dirichlet(np.ones(4), size=(6, 30)), rng.integers(4, size=30)
    one, other = PredictionPool(labels, 4), PredictionPool(labels, 4)
    for k, predictions in enumerate(given):
        (one if k % 2 else other).add(predictions)
    one.merge(other)
    assert one.count == 6
    wrong, loss = 0, 0.0
    for n in range(30):
        expected = [sum(given[k, n, c] for k in range(6)) / 6 for c in range(4)]
        wrong += max(range(4), key=expected.__getitem__) != labels[n]
        loss -= np.log(expected[labels[n]]) / 30
    assert one.error() == wrong / 30
    assert one.loss() == pytest.approx(loss, rel=1e-13)


def test_an_impossible_answer_costs_a_finite_loss() -> None:
    pool = PredictionPool(np.array([1, 0]), 2)
    pool.add(np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert pool.loss() == pytest.approx(-np.log(np.finfo(float).tiny) / 2)


def test_disagreement_is_counted_pair_by_pair() -> None:
    rng = np.random.default_rng(2)
    answers, labels = rng.integers(3, size=(5, 40)), rng.integers(3, size=40)
    found = disagreement(answers)
    error = (answers != labels).mean(axis=1)
    for a, b in itertools.product(range(5), repeat=2):
        differing = sum(answers[a, n] != answers[b, n] for n in range(40)) / 40
        assert found[a, b] == differing
        ratio = normalised(found, error)[a, b]
        assert ratio == pytest.approx(differing / ((error[a] + error[b]) / 2))
    # Wrong answers without anything in common, and members that never err.
    assert normalised(disagreement([[1, 0, 0, 0], [0, 1, 0, 0]]), [0.25, 0.25])[0, 1] == 2.0
    assert np.isnan(normalised(np.zeros((2, 2)), [0.0, 0.0])).all()


@pytest.mark.parametrize(("runs", "size", "count"), [(9, 3, 3), (9, 2, 4), (2, 3, 0), (5, 1, 5)])
def test_groups_are_disjoint_and_full(runs: int, size: int, count: int) -> None:
    found = [list(group) for group in groups(runs, size)]
    assert list(itertools.chain(*found)) == list(range(count * size))
    assert all(len(group) == size for group in found)


def test_a_mean_leaves_out_what_is_not_there() -> None:
    found = mean([1.0, np.nan, 3.0, 5.0])
    assert found == (3.0, pytest.approx(2 / np.sqrt(3)), 3)
    assert np.isnan(mean([2.0]).error) and mean([np.nan]).number == 0


# Files.


def test_every_ensemble_is_that_of_brute_force(files: dict[str, Path], made: xr.Dataset) -> None:
    times = {"ind": [40.0], "sse": [10.0, 20.0, 30.0, 40.0], "fge": [4.0]}
    assert made.attrs["budget_steps"] == BUDGET
    for m, (kind, path) in enumerate(files.items()):
        replicas = KINDS[kind][0]
        members = {(k, t): probabilities(path, k, t) for k in range(replicas) for t in times[kind]}
        labels = next(iter(members.values()))[1]
        joined = [(k, t) for k in range(3) for t in times[kind]]
        for count in range(1, len(joined) + 1):
            average = sum(members[key][0] for key in joined[:count]) / count
            at = made.isel(method=m, repetition=0, member=count - 1)
            assert float(at["ensemble_error"]) == np.mean(average.argmax(1) != labels)
            own = members[joined[count - 1]][0]
            assert float(at["member_error"]) == np.mean(own.argmax(1) != labels)
            # Single precision networks, evaluated in pieces of another size.
            loss = -np.log(average[np.arange(50), labels]).mean()
            np.testing.assert_allclose(at["ensemble_loss"], loss, rtol=1e-5)
            np.testing.assert_allclose(
                at["member_loss"], -np.log(own[np.arange(50), labels]).mean(), rtol=1e-5
            )
        for k in (1, 2, 3):
            errors = []
            for group in groups(replicas, k):
                pooled = sum(members[r, t][0] for r in group for t in times[kind])
                errors.append(np.mean(pooled.argmax(1) != labels))
            found = made["budget_error"].isel(method=m, budget=k - 1).dropna("group")
            np.testing.assert_array_equal(found, errors)
            assert int(made["networks"][m, k - 1]) == k * len(times[kind])


def test_disagreement_and_distances_are_those_of_the_members(
    files: dict[str, Path], made: xr.Dataset
) -> None:
    at = made.isel(method=1, repetition=0)
    times = [10.0, 20.0, 30.0, 40.0]
    answers = [probabilities(files["sse"], k, t)[0].argmax(1) for k in range(3) for t in times]
    for a, b in itertools.product(range(12), repeat=2):
        assert float(at["disagreement"][a, b]) == np.mean(answers[a] != answers[b])
    x = [snapshot(files["sse"], k, t) for k in range(3) for t in times]
    np.testing.assert_allclose(at["distance_from_first"], [np.linalg.norm(v - x[0]) for v in x])
    rms = [np.sqrt(np.mean((v - x[0]) ** 2)) for v in x]
    np.testing.assert_allclose(at["rms_distance_from_first"], rms)
    network, noise = built(settings(SYSTEM, DATA, 3))
    starts = network.initial_state(noise).weights.numpy()
    expected = [np.linalg.norm(x[4 * k + j] - starts[k]) for k in range(3) for j in range(4)]
    np.testing.assert_allclose(at["distance_from_start"], expected, rtol=1e-12)


def test_a_run_counts_what_it_began_from(files: dict[str, Path], made: xr.Dataset) -> None:
    cost = made["cost"].sel({"method": "fge"}).dropna("member")
    # One member within the budget, 32 + 4 steps; the second, at 44, is one too many.
    np.testing.assert_array_equal(cost, [36, 40 + 36, 80 + 36])
    np.testing.assert_array_equal(made["cost"].sel({"method": "ind"}).dropna("member"), [40, 80, 120])
    began = [snapshot(files["ind"], k, 32.0) for k in range(3)]
    ends = [snapshot(files["fge"], k, 4.0) for k in range(3)]
    expected = [np.linalg.norm(a - b) for a, b in zip(ends, began, strict=True)]
    found = made["distance_from_start"].sel({"method": "fge"})[0].dropna("member")
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_larger_budget_buys_more_members(files: dict[str, Path]) -> None:
    found = ensembles([files["fge"]])
    assert found.attrs["budget_steps"] == 48
    assert found.sizes["member"] == 6
    assert ensembles([files["fge"]], size=1).sizes["repetition"] == 4


def test_the_command_writes_file_table_and_figure(
    files: dict[str, Path], made: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Most of the time of a figure; that nothing overlaps was looked at.
    monkeypatch.setattr(Figure, "get_layout_engine", lambda figure: None)
    command = ["ensemble", *map(str, files.values()), "-o", "e.nc", "--csv", "e.csv"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    with langevin.open("e.nc") as found:
        xr.testing.assert_identical(found["budget_error"].load(), made["budget_error"])
        for variable in found.data_vars.values():
            assert variable.attrs["long_name"] and "units" in variable.attrs
            assert variable.dtype.kind in "fi"
        row = next(csv.DictReader(Path("e.csv").read_text().splitlines()))
        assert float(row["test_error"]) == float(found["budget_error_mean"][0, 0])
        cell = f"{100 * float(found['budget_error_mean'][0, 2]):.2f} ("
        few = int(found["groups"].where(found["groups"] > 1).min())
    assert cell in done.output and "e.png" in done.output
    assert f"where there is no ±: too few groups: {few} of at least 4" in done.output
    assert "from the choice of 50 test examples" in done.output
    said = CliRunner().invoke(main, ["info", "e.nc"])
    assert said.exit_code == 0 and "3 budgets" in said.output
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 2 and "--force" in again.output
    drawn = CliRunner().invoke(main, ["plot", "e.nc", "-o", "other.svg"])
    assert drawn.exit_code == 0 and Path("other.svg").exists()
    asked = CliRunner().invoke(main, ["plot", "e.nc", "--quantity", "msd"])
    assert asked.exit_code == 2


def test_the_figure_draws_the_numbers_of_the_file(made: xr.Dataset) -> None:
    axes = plotting.figure(made).axes
    # Two methods with cycles, three panels each, and two of budgets and pairs.
    assert len(axes) == 8
    line = axes[6].containers[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), 100 * made["budget_error_mean"][0])
    members = axes[0].containers[0].lines[0]
    np.testing.assert_allclose(
        members.get_ydata(), 100 * made["member_error"][1, 0].to_numpy().reshape(3, 4).mean(0)
    )


# Faults.

Maker = Callable[[Path, dict[str, Path]], list[Path]]


def _lone(folder: Path, files: dict[str, Path]) -> list[Path]:
    return [ran(folder / "one.nc", "ind", ensemble={"replicas": 1})]


def _samples(folder: Path, files: dict[str, Path]) -> list[Path]:
    return [ran(folder / "two.nc", "ind", ensemble={"samples": 2})]


def _other_widths(folder: Path, files: dict[str, Path]) -> list[Path]:
    return [files["ind"], ran(folder / "wide.nc", "ind", system={"widths": [5]})]


def _other_seed(folder: Path, files: dict[str, Path]) -> list[Path]:
    return [files["ind"], ran(folder / "seed.nc", "ind", ensemble={"seed": 4})]


def _unstored(folder: Path, files: dict[str, Path]) -> list[Path]:
    return [ran(folder / "none.nc", "ind", record={"snapshots": []})]


def _uncollected(folder: Path, files: dict[str, Path]) -> list[Path]:
    return [ran(folder / "late.nc", "sse", record={"snapshots": [BUDGET]})]


def _pspin(folder: Path, files: dict[str, Path]) -> list[Path]:
    path = folder / "glass.nc"
    langevin.run(
        {
            "system": {"name": "harmonic", "n": 4},
            "dynamics": {"temperature": 1.0, "dt": 0.1, "t_max": 1.0},
            "output": {"path": str(path), "figure": False},
        }
    )
    return [path]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_lone, "it gives 1 member"),
        (_samples, "ensemble.samples = 1"),
        (_other_widths, "system.widths"),
        (_other_seed, "its examples are not those of"),
        (_unstored, "record.snapshots = [t_max]"),
        (_uncollected, "3 of 4 members are not stored, those of t = 10, 20, 30"),
        (_pspin, "classifies nothing"),
        (lambda folder, files: [files["ind"], files["ind"]], "the same file twice"),
        (lambda folder, files: [folder / "nowhere.nc"], "no such file"),
        (lambda folder, files: [folder], "is a folder"),
        (lambda folder, files: [], "given: 0"),
    ],
)
def test_what_cannot_be_averaged_is_one_line(
    make: Maker, said: str, files: dict[str, Path], tmp_path: Path
) -> None:
    paths, output = make(tmp_path, files), tmp_path / "e.nc"
    done = CliRunner().invoke(main, ["ensemble", *map(str, paths), "-o", str(output)])
    assert done.exit_code == 2, done.output
    assert said in done.output and done.output.count("\n") == 1
    assert not output.exists() and not output.with_suffix(".png").exists()


def test_sizes_and_budgets_that_cannot_be_are_faults(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"size=4: allowed: 1 to 3, the replicas of .*sse.nc"):
        ensembles([files["sse"]], size=4)
    with pytest.raises(
        UserError, match=r"its first member costs 36 steps; allowed: no less than that with budget="
    ):
        ensembles([files["fge"]], budget=35)
    with pytest.raises(UserError, match="must be > 0"):
        ensembles([files["ind"]], budget=0)


# What a network says.


def test_all_test_examples_are_asked_whatever_is_measured() -> None:
    system = {"name": "network", "module": "small_nets:Normalised"}
    few, many = (
        built(settings(system, DATA, record={"energy_examples": n}, backend="torch"))[0] for n in (20, 64)
    )
    x = np.random.default_rng(4).normal(0, 0.5, many.dof)
    assert len(few.predict(x, 0).labels) == DATA["test"] == len(few.predict(x, 0).outputs)
    said, (_, seen) = many.predict(x, 0), many.see(x, 0)
    # The same network on the same examples, in another order; its statistics of batch-norm renewed each time.
    assert said.probabilities and said.outputs.sum(1) == pytest.approx(1)
    np.testing.assert_allclose(said.losses.mean(), seen.losses.mean(), rtol=1e-6)
    assert np.mean(said.outputs.argmax(1) != said.labels) == seen.wrong.mean()


def test_outputs_that_are_no_probabilities_have_no_ensemble_loss(tmp_path: Path) -> None:
    path = ran(tmp_path / "mse.nc", "ind", system={**SYSTEM, "loss": "mse_loss"}, ensemble={"replicas": 2})
    found = ensembles([path])
    assert found["ensemble_loss"].isnull().all() and found["budget_loss"].isnull().all()
    assert np.isfinite(found["ensemble_error"]).all() and np.isfinite(found["member_loss"]).all()


def test_a_start_that_is_gone_leaves_its_distance_unknown(files: dict[str, Path], tmp_path: Path) -> None:
    with xr.open_dataset(files["fge"]) as found:
        given = json.loads(found.attrs["settings"])
        given["start"]["file"] = str(tmp_path / "gone.nc")
        found.assign_attrs(settings=json.dumps(given)).to_netcdf(tmp_path / "fge.nc")
    assert ensembles([tmp_path / "fge.nc"])["distance_from_start"].isnull().all()
