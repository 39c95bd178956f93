"""Planes along random directions: lengths of filters, what rescaled weights change, files, faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from small_nets import built, settings
from test_planes import ran, said, undrawn

import langevin
from langevin.core.system import Part
from langevin.observables.landscape.random_directions import Normalise, random_direction
from langevin.plotting import figure

__all__ = ["undrawn"]

#: A convolution, a transposed one (filters along the second axis), a norm, a bias.
PARTS = [Part("a", (4, 3, 2), 0), Part("b", (3, 5, 2), 24, 1), Part("c", (6,), 54), Part("d", (2, 3), 60)]
DOF = 66


def configuration() -> np.ndarray:
    x = np.random.default_rng(1).standard_normal(DOF) * np.geomspace(0.1, 10, DOF)
    # One filter is zero.
    x[:6] = 0
    return x


def filters(x: np.ndarray, part: Part) -> np.ndarray:
    own = x[part.start : part.start + int(np.prod(part.shape))].reshape(part.shape)
    return np.linalg.norm(np.moveaxis(own, part.axis, 0).reshape(part.shape[part.axis], -1), axis=1)


def drawn(normalise: Normalise, seed: int = 3) -> np.ndarray:
    return random_direction(configuration(), PARTS, np.random.default_rng(seed), normalise)


def test_each_filter_has_its_length_and_norms_rest() -> None:
    x, d = configuration(), drawn("filter")
    for part in (p for p in PARTS if len(p.shape) > 1):
        np.testing.assert_allclose(filters(d, part), filters(x, part), rtol=1e-13)
    assert (d[54:60] == 0).all() and (d[6:54] != 0).all()


def test_each_layer_or_the_whole_has_its_length() -> None:
    x, layer, none = configuration(), drawn("layer"), drawn("none")
    for part in (p for p in PARTS if len(p.shape) > 1):
        own = slice(part.start, part.start + int(np.prod(part.shape)))
        assert np.linalg.norm(layer[own]) == pytest.approx(np.linalg.norm(x[own]), rel=1e-13)
        assert np.abs(filters(layer, part) - filters(x, part)).max() > 0.01 * filters(x, part).max()
    assert (layer[54:60] == 0).all() and (none != 0).all()
    assert np.linalg.norm(none) == pytest.approx(np.linalg.norm(x), rel=1e-13)
    # The same normals under each: directions differ in their lengths alone.
    np.testing.assert_allclose(np.sign(layer[60:]), np.sign(none[60:]))


def test_directions_are_gaussian() -> None:
    """Of 5000 unit vectors in a filter of six the mean component is 0 ± 1/√30000, |z| < 4.5 once in 10⁵."""
    x = np.ones(6)
    rng = np.random.default_rng(0)
    found = np.array([random_direction(x, [Part("a", (1, 6), 0)], rng) for _ in range(5000)]) / np.sqrt(6)
    assert abs(found.mean()) < 4.5 / np.sqrt(6 * found.size)
    # ⟨u_i²⟩ = 1/6, with variance 2·5/(36·8).
    np.testing.assert_allclose((found**2).mean(0), 1 / 6, atol=4.5 * np.sqrt(10 / 288 / 5000))


def test_nothing_to_move() -> None:
    with pytest.raises(ValueError, match="nothing has filters"):
        random_direction(np.ones(3), [Part("bias", (3,), 0)], np.random.default_rng(0))
    with pytest.raises(ValueError, match="nothing has filters"):
        random_direction(np.zeros(6), [Part("a", (2, 3), 0)], np.random.default_rng(0))


def rescaled(x: np.ndarray, parts: list[Part], factor: float) -> np.ndarray:
    """Multiply the first layer and its bias by a factor, and the next layer's weights by its inverse."""
    found = x.copy()
    for part, by in zip(parts, (factor, factor, 1 / factor), strict=False):
        found[part.start : part.start + int(np.prod(part.shape))] *= by
    return found


@pytest.mark.parametrize(("normalise", "invariant"), [("filter", True), ("layer", True), ("none", False)])
def test_rescaled_relu_nets_have_one_plane(normalise: Normalise, invariant: bool) -> None:
    """Nets that compute the same function, by weights of other lengths: the reason for normalising."""
    system = {"name": "mlp", "widths": [6], "activation": "relu"}
    net, noise = built(settings(system, replicas=1, precision="double"))
    x, planes = net.configuration(net.initial_state(noise))[0], []
    for w in (x, rescaled(x, net.parts(), 7.0)):
        rng = np.random.default_rng(5)
        one, two = (random_direction(w, net.parts(), rng, normalise) for _ in range(2))
        points = [w + a * one + b * two for a in (-1, 0, 0.5) for b in (0, 1)]
        planes.append([net.evaluate(p[None])["energy"][0] for p in points])
    assert planes[0][2] == pytest.approx(planes[1][2], rel=1e-12)
    # Sums in double precision.
    assert np.allclose(*planes, rtol=1e-11) is invariant
    assert np.ptp(planes[0]) > 0.01


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a short training of a network with batch-norm."""
    path = tmp_path_factory.mktemp("net") / "net.nc"
    given = {
        "system": {"name": "network", "module": "small_nets:Normalised"},
        "data": {"name": "synthetic", "train": 40, "test": 20},
        "dynamics": {"t_max": 10, "batch_size": 8, "device": "cpu", "precision": "double"},
        "ensemble": {"replicas": 2, "seed": 1},
        "record": {"times": [0, 10], "waiting_times": [], "lags": [], "configurations": "always"},
        "output": {"path": str(path), "figure": False},
    }
    langevin.run(given).close()
    return path


def plane(*arguments: Any) -> xr.Dataset:
    *files, out = arguments
    code, text = said(*files, "--random", "-o", out, "-q")
    assert code == 0, text
    return xr.load_dataset(out)


def test_the_file_of_a_network(net: Path, tmp_path: Path) -> None:
    found = plane(net, "--grid", 5, "--seed", 4, "--replica", 1, tmp_path / "p.nc")
    np.testing.assert_allclose(found["x"], [-1, -0.5, 0, 0.5, 1])
    # The middle of the grid is the configuration.
    for name in ("energy", "test_error"):
        assert float(found[name][2, 2]) == float(found[f"point_{name}"][0])
    assert found.attrs["direction_seed"] == 4 and found.attrs["normalisation"].startswith("filter: ")
    assert found["x"].attrs["units"] == "1" and found.attrs["space"] == "flat"
    with langevin.open(net) as run:
        x = run["configuration"].sel(replica=1).isel(configuration_time=-1).to_numpy()
    directions = found["direction"].to_numpy()
    # Linear(784, 5), its bias, norm, then Linear(5, classes).
    first = (directions[:, : 784 * 5].reshape(2, 5, 784), x[: 784 * 5].reshape(5, 784))
    lengths = np.linalg.norm(first[1], axis=1)
    np.testing.assert_allclose(np.linalg.norm(first[0], axis=2), np.stack([lengths] * 2), rtol=1e-12)
    assert (directions[:, 784 * 5 : 784 * 5 + 15] == 0).all()
    assert "multiple of the random direction" in figure(found).axes[0].get_xlabel()


def test_a_seed_is_a_plane(net: Path, tmp_path: Path) -> None:
    one, again, other = (
        plane(net, "--grid", 2, "--seed", s, tmp_path / f"{k}.nc") for k, s in enumerate((1, 1, 2))
    )
    xr.testing.assert_identical(one.drop_attrs(), again.drop_attrs())
    assert (one["direction"] != other["direction"]).any() and (one["energy"] != other["energy"]).all()
    layer = plane(net, "--grid", 2, "--seed", 1, "--normalise", "layer", tmp_path / "layer.nc")
    assert (layer["energy"] != one["energy"]).all()


def test_on_a_sphere_directions_are_tangent(tmp_path: Path) -> None:
    spins = ran(tmp_path / "spins.nc", "pspin")
    code, text = said(spins, "--random", "-o", tmp_path / "p.nc")
    assert code == 2 and "--normalise filter: allowed: none, for pspin has no layers with filters" in text
    assert not (tmp_path / "p.nc").exists()
    found = plane(spins, "--normalise", "none", "--grid", 3, tmp_path / "p.nc")
    with langevin.open(spins) as run:
        x = run["configuration"].isel(configuration_time=-1, replica=0).to_numpy()
    # Off by the square of the step, and by rounding over it.
    directions = found["direction"].to_numpy()
    np.testing.assert_allclose(directions @ x / (x @ x), 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), np.linalg.norm(x), rtol=1e-12)
    assert found.attrs["space"] == "sphere"
    assert float(found["energy"][1, 1]) == pytest.approx(float(found["point_energy"][0]), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{f}", "{f}"], "2 files given; allowed: one"),
        ([], "0 files given; allowed: one"),
        (["{f}", "--trajectory", "{f}"], "allowed without --trajectory"),
        (["{f}", "--replicas", "0,1,2"], "allowed without --replicas"),
        (["{f}", "--extent", "inf"], "must be a finite number > 0"),
        (["{f}", "--replica", "9"], "replica 9 is not in the file"),
    ],
)
def test_faults_are_one_line(net: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    given = [a.format(f=net) for a in arguments]
    code, text = said(*given, "--random", "-o", tmp_path / "p.nc")
    assert code == 2 and words in text and len(text.strip().splitlines()) == 1
    assert not (tmp_path / "p.nc").exists()


def test_a_figure_is_drawn(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    code, text = said(net, "--random", "--grid", 4, "-o", tmp_path / "p.nc")
    assert code == 0, text
    assert (tmp_path / "p.png").stat().st_size > 1000
    assert "random directions from net" in xr.load_dataset(tmp_path / "p.nc").attrs["title"]
