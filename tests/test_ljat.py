"""LJAT: the potential, its minima, the labels, and how the molecules are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.spatial import cKDTree

from langevin.config import run_files
from langevin.core.ensemble import Ensemble
from langevin.errors import ConfigError, StorageError
from langevin.machine import notices
from langevin.systems.networks.data import depot, ljat, trimer
from langevin.systems.networks.data.archives import MNIST
from langevin.systems.networks.data.ljat import LJAT, molecules

ONE = Ensemble.regular(1, 1, seed=5)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ljat.depot, "cache", lambda: tmp_path)
    return tmp_path


def angles(x: np.ndarray) -> float:
    """Product of the cosines of the three angles, from scalar products of positions (3, 2)."""
    product = 1.0
    for i, j, k in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        a, b = x[j] - x[i], x[k] - x[i]
        product *= a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return product


def potential(x: np.ndarray) -> float:
    """V of positions (3, 2), as it is written down."""
    r = np.array([np.linalg.norm(x[i] - x[j]) for i, j in ((0, 1), (0, 2), (1, 2))])
    return 4 * np.sum(r**-12 - r**-6) + trimer.Z * (1 + 3 * angles(x)) / np.prod(r) ** 3


def distances(x: np.ndarray) -> np.ndarray:
    return np.array([np.linalg.norm(x[i] - x[j]) for i, j in ((0, 1), (0, 2), (1, 2))])


def force(x: np.ndarray) -> np.ndarray:
    found = np.empty(6)
    trimer.forces(x.ravel(), found)
    return found


def test_potential_and_force_follow_from_its_definition() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        x = 1.5 * rng.random((3, 2)) + np.array([[0, 0], [1, 0], [0.3, 1.1]])
        assert trimer.energy(*distances(x)) == pytest.approx(potential(x), rel=1e-12)
        numeric, h = np.empty(6), 1e-5
        for i in range(6):
            step = np.zeros(6)
            step[i] = h
            moved = [potential(x + s * step.reshape(3, 2)) for s in (-2, -1, 1, 2)]
            numeric[i] = -(moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * h)
        # Fourth order: h⁴ times a fifth derivative, and rounding 1e-16·V/h.
        np.testing.assert_allclose(force(x), numeric, rtol=1e-7, atol=1e-7 * np.abs(numeric).max())


@pytest.mark.parametrize(
    ("number", "r", "energy"), [(0, 1.16875, -2.18510), (1, 1.10876, -2.21910), (2, 1.10876, -2.21910)]
)
def test_the_minima_are_those_of_the_paper(number: int, r: float, energy: float) -> None:
    d = trimer.MINIMA[number]
    assert d.min() == pytest.approx(r, abs=5e-6)
    assert trimer.energy(*d) == pytest.approx(energy, abs=5e-6)
    x = np.zeros(6)
    trimer._place(d, x)
    found = np.empty(6)
    trimer.forces(x, found)
    # Distances have ten digits, stiffness is some 10².
    assert np.abs(found).max() < 1e-7
    matrix = np.array([force(x + h) - force(x - h) for h in 1e-5 * np.eye(6)]) / -2e-5
    # Two translations and a rotation cost nothing; all else costs energy.
    values = np.sort(np.linalg.eigvalsh((matrix + matrix.T) / 2))
    assert np.abs(values[:3]).max() < 1e-3
    assert values[3] > 0.5


def test_a_line_has_the_other_atoms_at_its_ends() -> None:
    for middle in (1, 2, 3):
        r12, r13, r23 = trimer.MINIMA[middle]
        of = {1: (r12, r13), 2: (r12, r23), 3: (r13, r23)}
        assert sum(of[middle]) == pytest.approx(max(r12, r13, r23))


@pytest.mark.slow
def test_labels_are_those_of_an_accurate_integration() -> None:
    """Steepest descent by an implicit method, far past the point where our labels are given."""
    found = molecules(20, seed=3)
    assert set(found.labels) == {0, 1, 2, 3}
    for start, label in zip(found.distances, found.labels, strict=True):
        x = np.zeros(6)
        trimer._place(start, x)
        end = solve_ivp(lambda t, y: force(y), (0, 50), x, method="Radau", rtol=1e-9, atol=1e-11).y[:, -1]
        off = np.abs(trimer.MINIMA - distances(end.reshape(3, 2))).max(1)
        assert off[label] < 1e-4
        # The other minima are far away.
        assert np.sort(off)[1] > 0.5


def test_labels_follow_the_atoms_when_these_change_names() -> None:
    d = molecules(500, seed=2).distances
    renamed = np.ascontiguousarray(d[:, [1, 0, 2]])
    labels = [np.empty(len(d), np.int64) for _ in range(2)]
    for given, into in zip((d, renamed), labels, strict=True):
        trimer.label(given, 1e-6, trimer.MINIMA, into)
    # Atoms 2 and 3 have changed names.
    np.testing.assert_array_equal(np.array([0, 1, 3, 2])[labels[0]], labels[1])


def test_molecules_are_the_same_whatever_the_threads_and_the_tolerance() -> None:
    # The first block is drawn whole, or cut.
    few, many = molecules(300, threads=1), molecules(5000, threads=2)
    np.testing.assert_array_equal(few.distances, many.distances[:300])
    np.testing.assert_array_equal(few.labels, many.labels[:300])
    loose = molecules(5000, tolerance=1e-4)
    np.testing.assert_array_equal(loose.labels, many.labels)
    assert molecules(300, seed=2).hash != few.hash
    # The same numbers on every machine, or the labels of two machines' runs could not be compared.
    assert few.hash == "c85e26566cc8e8cab8008a00c61be807dfe6fc929e8b57f84114f99e856126f5"


def test_starts_are_uniform_in_the_cube_but_for_the_closest() -> None:
    d = molecules(20_000).distances
    assert d.min() >= 0.3
    assert d.max() <= 1.35 * np.sqrt(3)
    # An independent draw; 4 σ of either mean is exceeded once in 8000 times.
    rng = np.random.default_rng(1)
    x = 1.35 * rng.random((200_000, 3, 3))
    pairs = np.stack([np.linalg.norm(x[:, i] - x[:, j], axis=1) for i, j in ((0, 1), (0, 2), (1, 2))], 1)
    kept = pairs[(pairs >= 0.3).all(1)]
    for power in (1, 2):
        ours, theirs = (a[:, 0] ** power for a in (d, kept))
        error = np.sqrt(ours.var() / ours.size + theirs.var() / theirs.size)
        assert abs(ours.mean() - theirs.mean()) < 4 * error


def test_classes_and_the_best_accuracy_are_those_of_the_paper() -> None:
    found = molecules(20_000)
    share = np.bincount(found.labels) / 20_000
    # By symmetry the lines are equally likely: their shares differ by counting, 0.002 each.
    assert np.ptp(share[1:]) < 4 * np.sqrt(2 * 0.085 / 20_000)
    assert share[0] == pytest.approx(0.745, abs=0.012)
    assert -np.sum(share * np.log(share)) == pytest.approx(0.85, abs=0.02)
    tree = cKDTree(found.distances[:10_000, :2])
    _, near = tree.query(found.distances[10_000:, :2], k=15)
    votes = [np.bincount(v).argmax() for v in found.labels[near]]
    # The paper's best is 0.8; error of counting 0.004.
    assert np.mean(votes == found.labels[10_000:]) == pytest.approx(0.79, abs=0.02)


def test_molecules_are_kept_and_a_damaged_file_is_made_anew(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = molecules(200)
    (path,) = (own_cache / "ljat").iterdir()
    made = ljat._make
    monkeypatch.setattr(ljat, "_make", None)
    assert molecules(200).hash == first.hash
    monkeypatch.setattr(ljat, "_make", made)
    kept = path.read_bytes()
    for damaged in (b"", kept[:100], kept[:300] + bytes(50) + kept[350:]):
        path.write_bytes(damaged)
        assert molecules(200).hash == first.hash
    assert path.stat().st_size == len(kept)


def test_a_cache_that_cannot_be_written_is_said_once(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_cache / "ljat").write_text("in the way")
    monkeypatch.setattr(notices, "_said", set())
    for _ in range(2):
        assert len(molecules(50).labels) == 50
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("langevin: cannot keep LJAT's molecules in ")


def test_a_bit_that_flipped_in_the_cache_is_noticed(own_cache: Path) -> None:
    first = molecules(60)
    (path,) = (own_cache / "ljat").iterdir()
    raw, rng = path.read_bytes(), np.random.default_rng(4)
    # Some make zipfile look for other methods of compression, or numpy for other sizes.
    for place in rng.choice(8 * len(raw), 600, replace=False):
        damaged = bytearray(raw)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        found = ljat._read(path)
        assert found is None or found.hash == first.hash


def test_nobody_without_a_home_leaves_a_folder_named_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "~/.cache")
    monkeypatch.setattr(notices, "_said", set())
    monkeypatch.setattr(depot, "cache", lambda: Path("~/.cache/langevin"))
    assert len(molecules(50).labels) == 50
    assert "no home folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError, match="no home folder"):
        depot.fetch(MNIST.archive, None)


def load(**keys: Any) -> Any:
    return LJAT(LJAT.Parameters(**{"points": 400, "train": 50, "test": 40, **keys})).load(ONE)


def test_the_data_are_two_distances_or_three() -> None:
    two, three = load(), load(distances=3)
    assert two.train.inputs.shape == (200, 2)
    assert three.train.inputs.shape == (200, 3)
    np.testing.assert_array_equal(two.train.inputs, three.train.inputs[:, :2])
    np.testing.assert_array_equal(two.scaled(two.train.inputs), two.train.inputs)
    # By its former name.
    np.testing.assert_array_equal(load(inputs=3).train.inputs, three.train.inputs)
    assert [len(two.rows[0]), len(two.test_rows[0])] == [50, 40]
    assert two.attributes["hash"].startswith("sha256:")
    standard = load(scaling="standard")
    scaled = standard.scaled(standard.train.inputs)
    # Single precision.
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(0), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "samples", "fault"),
    [
        ({"train": 201}, 1, "data.train = 201: must be ≤ 200, half of data.points"),
        ({"test": 201}, 1, "data.test = 201: must be ≤ 200"),
        ({"train": 200}, 2, "ensemble.samples = 2: must be 1 with data.train = 200"),
        ({"closest": 0.7, "edge": 1.35}, 1, "data.closest = 0.7: must be ≤ 0.675, half of data.edge"),
        ({"distances": 4}, 1, "data.distances = 4: allowed: one of 2, 3"),
        ({"inputs": 4}, 1, 'data.inputs = 4: allowed: one of "given", "gaussian_matched"'),
        ({"inputs": 3, "distances": 2}, 1, 'data.inputs = 3: allowed: one of "given", "gaussian_matched"'),
        ({"edge": -1.0}, 1, "data.edge = -1.0: allowed: number > 0"),
    ],
)
def test_faults(keys: dict[str, Any], samples: int, fault: str) -> None:
    given = {
        "system": {"name": "mlp"},
        "data": {"name": "ljat", "points": 400, "train": 50, "test": 40, **keys},
        "dynamics": {"t_max": 10, "batch_size": 10},
        "ensemble": {"replicas": 2, "samples": samples},
    }
    with pytest.raises(ConfigError) as caught:
        run_files.load(given)
    assert fault in str(caught.value)
