"""What is left of the structure of data: labels, inputs, components; by permutations, moments, teachers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from conftest import SIGMAS
from test_restart import assert_same, interrupted
from tiny_archive import CONTENTS, Tiny

import langevin
from langevin.config import build, run_files
from langevin.config.keys import key
from langevin.core.ensemble import Ensemble
from langevin.errors import ConfigError, UserError
from langevin.systems.networks.data import principal, teacher
from langevin.systems.networks.data.base import Data, Examples
from langevin.systems.networks.data.sameness import same_data
from langevin.systems.networks.data.structure import Structure, restructured
from langevin.systems.networks.data.synthetic import Synthetic

ENSEMBLE = Ensemble.regular(4, 2, seed=11)
#: Numbers d of an input, directions r in which inputs vary, examples of a sample, classes.
SHAPE, WIDTH, RANK, TRAIN, TEST, CLASSES = (2, 3, 2), 12, 7, 60, 40, 5


def plain(train: int = TRAIN, available: int = 3 * TRAIN, seed: int = 3) -> Data:
    """Return inputs of rank 7 in R^12, scaled by channel; samples share examples, as those of archives do."""
    rng = np.random.default_rng(seed)
    mixing, mean = rng.standard_normal((RANK, WIDTH)), 3 * rng.standard_normal(WIDTH)
    parts = []
    for count in (available, 2 * TEST):
        labels = rng.integers(CLASSES, size=count)
        coordinates = rng.exponential(size=(count, RANK)) + labels[:, None]
        parts.append(Examples((mean + coordinates @ mixing).astype(np.float32).reshape(-1, *SHAPE), labels))
    rows = {s: np.random.default_rng(s).permutation(available)[:train] for s in (0, 1)}
    test_rows = {s: np.arange(TEST) + s for s in (0, 1)}
    scale, shift = np.array([0.5, 2.0], np.float32), np.array([-1.0, 0.3], np.float32)
    population = dict.fromkeys(rows, np.arange(available))
    attributes = {"hash": "plain"}
    return Data("plain", *parts, CLASSES, scale, shift, rows, test_rows, attributes, population=population)


def changed(data: Data, **wanted: Any) -> Data:
    return restructured(data, Structure(**wanted), ENSEMBLE)


def table(data: Data, sample: int, which: Literal["train", "test"] = "train") -> np.ndarray:
    """Return what enters a network of this sample, shape (n, d)."""
    rows = (data.rows if which == "train" else data.test_rows)[sample]
    inputs = getattr(data, which).inputs[rows]
    return data.scaled(inputs).reshape(len(inputs), -1).astype(np.float64)


def labels(data: Data, sample: int, which: Literal["train", "test"] = "train") -> np.ndarray:
    rows = (data.rows if which == "train" else data.test_rows)[sample]
    return np.asarray(getattr(data, which).labels[rows])


def moments(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return points.mean(axis=0), np.cov(points.T, bias=True)


# --- labels ---


def test_without_these_keys_nothing_changes() -> None:
    data = plain()
    assert changed(data) is data
    # What is not asked of a teacher or of components means nothing.
    assert changed(data, teacher_units=3, component_scaling="none") is data


@pytest.mark.parametrize("which", ["train", "test"])
def test_shuffled_labels_are_a_permutation_of_each_sample(which: Literal["train", "test"]) -> None:
    data = plain()
    shuffled = changed(data, labels="shuffled")
    orders = []
    for sample in (0, 1):
        before, after = labels(data, sample, which), labels(shuffled, sample, which)
        np.testing.assert_array_equal(table(shuffled, sample, which), table(data, sample, which))
        np.testing.assert_array_equal(np.bincount(after), np.bincount(before))
        # No order leaves more than a few labels where they were: mean P/5, five standard deviations.
        kept = np.mean(before == after)
        assert kept < 1 / CLASSES + 5 * np.sqrt(0.16 / len(before))
        orders.append(after)
    # The same example has another label in each sample.
    assert (orders[0] != orders[1]).any()
    assert same_data(shuffled, changed(data, labels="shuffled"))


def test_shuffled_labels_say_nothing_of_the_inputs() -> None:
    """χ² of the table of old and new labels, 200 seeds: the mean of (K − 1)² within 5 standard errors."""
    data, found = plain(), []
    for seed in range(200):
        after = restructured(data, Structure(labels="shuffled"), Ensemble.regular(1, 1, seed))
        before, own = labels(data, 0), labels(after, 0)
        counts = np.zeros((CLASSES, CLASSES))
        np.add.at(counts, (before, own), 1)
        expected = np.outer(np.bincount(before), np.bincount(own)) / TRAIN
        found.append(np.sum((counts - expected) ** 2 / expected))
    # Of a random permutation with given margins the mean of χ² is exactly (K − 1)² P/(P − 1).
    mean, error = np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(mean - (CLASSES - 1) ** 2 * TRAIN / (TRAIN - 1)) < SIGMAS * error


def test_numbers_are_shuffled_as_classes_are() -> None:
    data = plain()
    real = [Examples(p.inputs, np.arange(len(p), dtype=np.float32)) for p in (data.train, data.test)]
    shuffled = changed(replace(data, train=real[0], test=real[1], classes=0), labels="shuffled")
    for sample in (0, 1):
        np.testing.assert_array_equal(np.sort(labels(shuffled, sample)), np.sort(data.rows[sample]))


def test_parity_and_classes_are_labels_modulo() -> None:
    data = plain()
    parity, three = changed(data, labels="parity"), changed(data, classes=3)
    assert (parity.classes, three.classes) == (2, 3)
    np.testing.assert_array_equal(parity.test.labels, data.test.labels % 2)
    np.testing.assert_array_equal(three.train.labels, data.train.labels % 3)
    # In the same random order.
    shuffled, both = changed(data, labels="shuffled"), changed(data, labels="shuffled", classes=2)
    np.testing.assert_array_equal(both.train.labels, shuffled.train.labels % 2)
    assert both.classes == 2


@pytest.mark.parametrize("classes", [0, 2, 7])
@pytest.mark.parametrize("components", [0, 3])
def test_a_teacher_by_hand(classes: int, components: int) -> None:
    wanted = {"labels": "teacher", "classes": classes, "components": components, "teacher_units": 6}
    data, number = changed(plain(), **wanted), classes or CLASSES
    assert data.classes == number
    for sample in (0, 1):
        stream, width = ENSEMBLE.quenched("teacher", sample), components or WIDTH
        w, a = stream.standard_normal((6, width)), stream.standard_normal(6)
        train, test = (
            [a @ np.tanh(w @ x / np.sqrt(width)) / np.sqrt(6) for x in table(data, sample, which)]
            for which in ("train", "test")
        )
        # Ranks of the training examples, cut into equal parts; for test examples how many are below.
        order = np.argsort(np.argsort(train))
        expected = [sum(rank >= c * TRAIN // number for c in range(1, number)) for rank in order]
        np.testing.assert_array_equal(labels(data, sample), expected)
        counts = np.bincount(labels(data, sample), minlength=number)
        assert counts.max() - counts.min() <= 1
        first = [c * TRAIN // number for c in range(1, number)]
        ordered = sorted(train)
        edges = [(ordered[n - 1], ordered[n]) for n in first]
        by_hand = [sum(f > (low + high) / 2 for low, high in edges) for f in test]
        np.testing.assert_array_equal(labels(data, sample, "test"), by_hand)


def test_equal_inputs_are_of_one_class() -> None:
    outputs = np.array([0.0, 0.0, 0.0, 1.0])
    np.testing.assert_array_equal(teacher.classified(outputs, teacher.bounds(outputs, 2)), [0, 0, 0, 1])


# --- inputs ---


@pytest.mark.parametrize("count", [WIDTH - 3, WIDTH, 50], ids=["fewer than d", "as many as d", "more"])
def test_principal_axes_make_the_covariance(count: int) -> None:
    """By eigenvectors or singular values: the moments and the rank, to rounding of double precision."""
    points = table(plain(), 0)[:count]
    found = principal.axes(principal.Source.of(points))
    mean, covariance = moments(points)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-13)
    assert found.rank == min(RANK, count - 1) or count - 1 < RANK
    square = (found.vectors * found.variances) @ found.vectors.T
    # Inputs of single precision leave RANK directions but for 10⁻¹⁴ of the variance.
    np.testing.assert_allclose(square, covariance, atol=1e-12 * covariance.max())
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(found.rank), atol=1e-12)
    assert (np.diff(found.variances) <= 0).all()
    assert (found.vectors.max(axis=0) >= -found.vectors.min(axis=0)).all()
    # Normals of exactly unit covariance give exactly these moments.
    normals = np.linalg.qr(np.random.default_rng(1).standard_normal((200, found.rank + 1)) + 0)[0]
    normals -= normals.mean(axis=0)
    normals = np.linalg.qr(normals[:, : found.rank])[0] * np.sqrt(200)
    own_mean, own = moments(found.drawn(normals))
    np.testing.assert_allclose(own_mean, mean, atol=1e-12 * np.abs(mean).max())
    np.testing.assert_allclose(own, covariance, atol=1e-11 * covariance.max())


def by_normal_moments(points: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Return the largest deviation of mean and covariance from those of a Gaussian, in standard errors.

    Of n draws of a Gaussian the mean has variance Σ_ii/n, (1/n) Σ δx_i δx_j has (Σ_ii Σ_jj + Σ_ij²)/n.
    """
    n, centred = len(points), points - mean
    of_mean = np.abs(centred.mean(axis=0)) / np.sqrt(np.diag(covariance) / n)
    product = centred.T @ centred / n
    variance = (np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / n
    return float(max(of_mean.max(), (np.abs(product - covariance) / np.sqrt(variance)).max()))


@pytest.mark.parametrize("which", ["train", "test"])
def test_gaussian_inputs_have_the_moments_of_the_population(which: Literal["train", "test"]) -> None:
    """90 moments of 20,000 draws within 5 standard errors: a false alarm once in 10⁴."""
    many = {s: np.zeros(20_000, np.int64) + s for s in (0, 1)}
    data = plain()
    mean, covariance = moments(data.scaled(data.train.inputs).reshape(-1, WIDTH).astype(float))
    wide = replace(data, rows=many, test_rows=many)
    found = changed(wide, inputs="gaussian_matched")
    assert found.train.inputs.shape == (40_000, *SHAPE)
    assert by_normal_moments(table(found, 1, which), mean, covariance) < SIGMAS
    # It notices a covariance that is off by a tenth, and the moments of another population.
    assert by_normal_moments(table(found, 1, which), mean, 1.1 * covariance) > SIGMAS
    own = replace(wide, population={1: data.rows[0], 0: data.rows[0]})
    assert (
        by_normal_moments(table(changed(own, inputs="gaussian_matched"), 1, which), mean, covariance) > SIGMAS
    )
    # A Gaussian: the fourth moment along the first axis is 3, of n draws within √(96/n).
    along = principal.axes(principal.Source.of(table(found, 0, which))).whitened(table(found, 0, which), 1)
    assert abs(np.mean(along**4) - 3) < SIGMAS * np.sqrt(96 / 20_000)
    assert not np.allclose(table(found, 0), table(found, 1))
    np.testing.assert_array_equal(labels(found, 0), labels(wide, 0))


def test_gaussian_inputs_of_each_class() -> None:
    """5 classes of 90 moments, 4,000 draws each, within 5.5 standard errors: a false alarm once in 6·10⁴."""
    data = plain()
    members = [np.flatnonzero(data.train.labels == c) for c in range(CLASSES)]
    many = {0: np.concatenate([np.resize(m, 4000) for m in members])}
    wide = replace(
        data, rows=many, test_rows={0: np.arange(TEST)}, population={0: np.arange(len(data.train))}
    )
    found = changed(wide, inputs="gaussian_by_class")
    points = data.scaled(data.train.inputs).reshape(-1, WIDTH).astype(float)
    for c, rows in enumerate(members):
        mean, covariance = moments(points[rows])
        own = table(found, 0)[labels(found, 0) == c]
        assert len(own) == 4000
        assert by_normal_moments(own, mean, covariance) < 5.5
        assert by_normal_moments(own, *moments(points)) > 5.5


def test_fewer_gaussian_inputs_are_the_beginning_of_more() -> None:
    many, few = (changed(plain(n), inputs="gaussian_matched") for n in (TRAIN, 20))
    # Products of matrices of other sizes may round differently.
    np.testing.assert_allclose(table(few, 1), table(many, 1)[:20], rtol=1e-5)


@pytest.mark.parametrize("scaling", ["whitened", "sphere", "none"])
def test_components(scaling: str) -> None:
    data, k = plain(), 4
    found = changed(data, components=k, component_scaling=scaling)
    assert found.train.inputs.shape == (2 * TRAIN, k)
    points = data.scaled(data.train.inputs).reshape(-1, WIDTH).astype(float)
    mean, covariance = moments(points)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), range(k)])
    for sample in (0, 1):
        for which in ("train", "test"):
            along = (table(data, sample, which) - mean) @ vectors
            expected = along / np.sqrt(values)
            if scaling == "none":
                expected = along
            if scaling == "sphere":
                expected *= np.sqrt(k) / np.linalg.norm(expected, axis=1, keepdims=True)
            np.testing.assert_allclose(table(found, sample, which), expected, rtol=2e-5, atol=2e-6)
    if scaling == "whitened":
        # Of the population, exactly.
        whole = replace(data, rows={0: np.arange(len(points))}, test_rows={0: np.arange(TEST)})
        own = table(changed(whole, components=k), 0)
        np.testing.assert_allclose(np.cov(own.T, bias=True), np.eye(k), atol=2e-6)
        np.testing.assert_allclose(own.mean(axis=0), 0, atol=2e-6)


@pytest.mark.parametrize("scaling", ["whitened", "none"])
def test_gaussian_inputs_and_components_commute(scaling: str) -> None:
    """To rounding of the single precision in which inputs are stored."""
    data, k = plain(), 4
    both = changed(data, components=k, inputs="gaussian_matched", component_scaling=scaling)
    gaussian = changed(data, inputs="gaussian_matched")
    own = principal.axes(principal.Source.of(data.scaled(data.train.inputs).reshape(-1, WIDTH).astype(float)))
    for sample in (0, 1):
        for which in ("train", "test"):
            after = own.whitened(table(gaussian, sample, which), k)
            after = after * (np.sqrt(own.variances[:k]) if scaling == "none" else 1)
            np.testing.assert_allclose(table(both, sample, which), after, rtol=1e-4, atol=2e-5)


def test_a_shuffle_commutes_with_inputs() -> None:
    wanted: dict[str, Any] = {"inputs": "gaussian_matched", "components": 3}
    both = changed(plain(), labels="shuffled", **wanted)
    assert same_data(both, changed(changed(plain(), **wanted), labels="shuffled"))
    # The other way round where the sample's own examples are the population: a shuffle leaves no others.
    own = replace(plain(), population={})
    both = changed(own, labels="shuffled", **wanted)
    assert same_data(both, changed(changed(own, labels="shuffled"), **wanted))


# --- faults ---


@pytest.mark.parametrize(
    ("change", "wanted", "said"),
    [
        ({}, {"components": RANK + 1}, "data.components = 8: must be ≤ 7, the directions in which the 180 "),
        ({}, {"labels": "teacher", "classes": 61}, "no more than 60 classes, the training examples; has 61"),
        ({"tokens": True}, {"components": 1}, "data.components = 1: must be left out .* inputs are int"),
        ({"tokens": True}, {"labels": "shuffled"}, 'data.labels = "shuffled": must be left out'),
        ({"labels": None}, {"labels": "shuffled"}, 'data.labels = "shuffled": data.name = .* has no labels'),
        ({"labels": None}, {"labels": "parity"}, "data.labels = .* has not one class an example"),
        ({"labels": None}, {"classes": 2}, "data.classes = 2: .* has not one class an example"),
        ({"labels": None}, {"labels": "teacher"}, "data.classes: missing; needed with"),
        ({"labels": None}, {"inputs": "gaussian_by_class"}, "has not one class an example"),
        ({"equal": True}, {"inputs": "gaussian_matched"}, "all inputs of data.name = .plain. are the same"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(change: dict[str, bool], wanted: dict[str, Any], said: str) -> None:
    data = plain()
    parts = []
    for part in (data.train, data.test):
        inputs = np.ones_like(part.inputs) if "equal" in change else part.inputs
        if "tokens" in change:
            inputs = np.zeros((len(part), 3), np.int64)
        parts.append(Examples(inputs, None if "labels" in change else part.labels))
    ones = {"scale": np.ones(1, np.float32), "shift": np.zeros(1, np.float32)} if "tokens" in change else {}
    classes = 0 if "labels" in change else CLASSES
    other = replace(data, train=parts[0], test=parts[1], classes=classes, **ones)
    with pytest.raises(UserError, match=said) as caught:
        changed(other, **wanted)
    assert "\n" not in str(caught.value)


def test_without_labels_inputs_alone_change() -> None:
    data = plain().unlabelled()
    found = changed(data, inputs="gaussian_matched", components=2)
    assert found.train.labels is None
    assert changed(data, labels="teacher", classes=3).classes == 3


def test_room_is_asked_for_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langevin.machine.memory.SMALL", 0)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    with pytest.raises(
        UserError, match=r'^data.inputs = "gaussian_matched" with inputs of 12 numbers: needs'
    ):
        changed(plain(), inputs="gaussian_matched")


GIVEN: dict[str, Any] = {
    "system": {"name": "learners:Linear"},
    "data": {"name": "synthetic", "train": 40, "test": 20, "noise": 1.0},
    "dynamics": {"temperature": 0.01, "dt": 0.01, "t_max": 0.12},
    "ensemble": {"replicas": 4, "samples": 2, "seed": 3},
    "record": {"waiting_times": [0.0, 0.02, 0.09], "lags": [0.01, 0.03], "configurations": "always"},
    "output": {"figure": False},
}
ALL = {"components": 6, "inputs": "gaussian_matched", "labels": "teacher", "classes": 2}


def given(path: Path | None = None, ensemble: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    output = {"figure": False} if path is None else {"figure": False, "path": str(path)}
    own = {**GIVEN["ensemble"], **(ensemble or {})}
    return {**GIVEN, "data": {**GIVEN["data"], **data}, "output": output, "ensemble": own}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"labels": "random"}, 'data.labels = "random": allowed: one of "given", "shuffled"'),
        ({"labels": "parity", "classes": 3}, "data.classes = 3: must be 2, or left out"),
        ({"classes": 1}, "data.classes = 1: must be 0 (as many as there are), or ≥ 2"),
        ({"components": -1}, "data.components = -1: allowed: integer ≥ 0"),
        ({"component": 3}, "data.component: unknown key; nearest: data.components"),
        ({"teacher_units": 0}, "data.teacher_units = 0: allowed: integer ≥ 1"),
        ({"name": "characters", "train": 9, "test": 9, "labels": "shuffled"}, "cannot be done to text"),
    ],
)
def test_faults_of_the_run_file(data: dict[str, Any], said: str) -> None:
    table = data if "name" in data else {**GIVEN["data"], **data}
    with pytest.raises(ConfigError) as caught:
        run_files.load({**GIVEN, "data": table})
    assert said in str(caught.value)


def test_samples_with_all_examples_may_differ_by_their_labels() -> None:
    own = {"name": "fashion_mnist"}
    with pytest.raises(ConfigError, match="must be 1 with all of fashion_mnist"):
        run_files.load({**GIVEN, "data": own})
    with pytest.raises(ConfigError, match="must be 1 with all of fashion_mnist"):
        run_files.load({**GIVEN, "data": {**own, "labels": "parity", "components": 3}})
    for key_and_value in ({"labels": "shuffled"}, {"inputs": "gaussian_matched"}, {"labels": "teacher"}):
        run_files.load({**GIVEN, "data": {**own, **key_and_value}})


# --- runs ---


class Fine(Synthetic):
    """A set that means something else by one of these names."""

    class Parameters(Synthetic.Parameters):
        """What stands under [data]."""

        labels: Literal["fine", "coarse"] = key("which of its labels", default="fine")  # type: ignore[assignment]


def test_a_key_that_a_set_declares_is_its_own() -> None:
    settings = run_files.load(given(name="test_structure_of_data:Fine", labels="coarse", classes=3))
    assert settings.data.structure == Structure(classes=3)
    own = build.load_data(settings, Ensemble.regular(4, 2, 3))
    assert isinstance(own, Data)
    assert own.classes == 3


def test_the_archives_share_their_population(tmp_path: Path) -> None:
    for name, content in CONTENTS.items():
        (tmp_path / name).write_bytes(content)
    keys = Tiny.Parameters(directory=str(tmp_path), train=3, components=3)
    data = Tiny(keys).load(ENSEMBLE)
    assert [len(rows) for rows in data.population.values()] == [4, 4]
    found = keys.changed(data, ENSEMBLE)
    points = data.scaled(data.train.inputs).reshape(4, -1).astype(float)
    whitened = principal.axes(principal.Source.of(points)).whitened(points, 3)
    # Of P points in general position the whitened ones are a simplex, |z_i − z_j|² = 2P.
    distances = np.sum((whitened[:, None] - whitened) ** 2, axis=2)
    np.testing.assert_allclose(distances, 8 * (1 - np.eye(4)), atol=1e-5)
    for sample in (0, 1):
        np.testing.assert_allclose(table(found, sample), whitened[data.rows[sample]], atol=1e-5)


def test_the_hash_tells_what_was_done() -> None:
    hashes = [
        changed(plain(), **wanted).attributes["hash"]
        for wanted in (
            {},
            {"labels": "shuffled"},
            {"labels": "teacher"},
            {"labels": "teacher", "teacher_units": 3},
            {"components": 2},
            {"components": 2, "component_scaling": "sphere"},
            {"inputs": "gaussian_matched"},
        )
    ]
    assert len(set(hashes)) == len(hashes)
    assert all(h.startswith("plain") for h in hashes)


def test_a_stopped_run_resumes_and_shards_join_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    langevin.run(given(tmp_path / "whole.nc", **ALL)).close()
    stopped = interrupted(given(tmp_path / "stopped.nc", **ALL), monkeypatch, 0, after=0.02)
    langevin.resume(stopped.result).close()
    assert_same(tmp_path / "whole.nc", stopped.result)
    cut = given(tmp_path / "cut.nc", {"shards": 2}, **ALL)
    langevin.run(cut, threads=1, executor="in_process").close()
    assert_same(tmp_path / "whole.nc", tmp_path / "cut.nc")


def test_a_sweep_over_labels_holds_what_each_run_is() -> None:
    kinds = [{"labels": "shuffled"}, {"labels": "teacher", "inputs": "gaussian_matched"}]
    keys = ("labels", "inputs")
    group = {f"data.{k}": [kind.get(k, "given") for kind in kinds] for k in keys}
    swept = langevin.run({**given(components=6), "sweep": {"set": group}}, threads=1, executor="in_process")
    for (labels_of, member), kind in zip(langevin.members(swept), kinds, strict=True):
        single = langevin.run(given(components=6, **kind), threads=1)
        np.testing.assert_array_equal(member["energy"], single["energy"])
        np.testing.assert_array_equal(member["configuration"], single["configuration"])
        assert kind["labels"] in str(labels_of["set"])
    one, other = (member["energy"].to_numpy() for _, member in langevin.members(swept))
    # From the same weights, zero.
    assert (one[:, 1:] != other[:, 1:]).all()
