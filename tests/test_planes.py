"""Planes through configurations: geometry, landscapes that are known, what is said and refused."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import langevin
from langevin import plotting
from langevin.analysis import connect
from langevin.analysis.plane import curve_file, landscape
from langevin.commands.cli import main
from langevin.core.capabilities import HasParts
from langevin.files import netcdf
from langevin.observables.landscape import planes
from langevin.plotting import figure, quantities
from langevin.results import configurations, summary
from langevin.results.rebuild import rebuilt
from langevin.sweep import simulation

#: Of sums of some hundred numbers of order one, in double precision.
ROUNDING = 1e-13

#: Of sums over couplings in single precision, in another order: some 2⁻²⁴ each.
SINGLE = 1e-6


def said(*arguments: Any) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["plane", *map(str, arguments)])
    return done.exit_code, done.output


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures: most of the time, and tested once."""

    def save(dataset: xr.Dataset, path: Path) -> Path:
        path.touch()
        return path

    monkeypatch.setattr(plotting, "save", save)


def ran(path: Path, name: str = "harmonic", seed: int = 1, replicas: int = 3, **tables: Any) -> Path:
    """Run a few steps with every configuration stored."""
    system = {"harmonic": {"n": 6, "stiffness": 2.0}, "pspin": {"n": 20, "p": 3}}[name]
    given = {
        "system": {"name": name, **system, **tables.get("system", {})},
        "dynamics": {"temperature": 0.0, "dt": 0.05, "t_max": 1.0, **tables.get("dynamics", {})},
        "ensemble": {"replicas": replicas, "samples": 1, "seed": seed, **tables.get("ensemble", {})},
        "record": {"lags": {"per_decade": 4}, "configurations": "always", **tables.get("record", {})},
        "output": {"path": str(path), "figure": False},
    }
    langevin.run(given).close()
    return path


@pytest.fixture(scope="module")
def springs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return three runs of one system that differ in their seeds."""
    folder = tmp_path_factory.mktemp("springs")
    return [ran(folder / f"{name}.nc", seed=seed) for seed, name in enumerate("abc")]


@pytest.fixture(scope="module")
def spins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ran(tmp_path_factory.mktemp("spins") / "spins.nc", "pspin")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a short training of a network with batch-norm."""
    return trained(tmp_path_factory.mktemp("net") / "net.nc", 3)


def trained(path: Path, seed: int) -> Path:
    langevin.run(
        {
            "system": {"name": "network", "module": "small_nets:Normalised"},
            "data": {"name": "synthetic", "like": "mnist", "train": 48, "test": 32},
            "dynamics": {"t_max": 20, "batch_size": 16, "learning_rate": 0.1, "device": "cpu"},
            "ensemble": {"replicas": 3, "seed": seed},
            "record": {"times": {"per_decade": 2}, "waiting_times": [0], "lags": {"per_decade": 2}}
            | {"energy_examples": 48, "gradient_examples": 48, "configurations": "always"},
            "output": {"path": str(path), "figure": False},
        }
    ).close()
    return path


# Geometry.


def test_the_basis_is_orthonormal_and_the_plane_contains_its_points() -> None:
    a, b, c = points = np.random.default_rng(1).standard_normal((3, 40))
    for lower in (1.0, 1e-6):
        # The second triangle is flat: the height of c above the line from a to b.
        points[2] = a + 0.3 * (b - a) + lower * (c - a)
        plane = planes.through(points)
        np.testing.assert_allclose(plane.basis @ plane.basis.T, np.eye(2), rtol=0, atol=1e-15 * 4)
        coordinates, distance = plane.coordinates(points)
        np.testing.assert_allclose(plane.at(*coordinates.T), points, rtol=0, atol=ROUNDING)
        assert distance.max() < ROUNDING
        # Footnote 1 of the paper, to the letter.
        u, w = b - a, points[2] - a
        v = w - (w @ u) / (u @ u) * u
        expected = [[0, 0], [np.linalg.norm(u), 0], [w @ u / np.linalg.norm(u), np.linalg.norm(v)]]
        np.testing.assert_allclose(coordinates, expected, rtol=0, atol=ROUNDING)


def test_projection_is_the_nearest_point_of_the_plane() -> None:
    rng = np.random.default_rng(2)
    plane, others = planes.through(rng.standard_normal((3, 30))), rng.standard_normal((7, 30))
    coordinates, distance = plane.coordinates(others)
    for k, other in enumerate(others):
        best, squared, *_ = np.linalg.lstsq(plane.basis.T, other - plane.origin, rcond=None)
        np.testing.assert_allclose(coordinates[k], best, atol=ROUNDING)
        np.testing.assert_allclose(distance[k] ** 2, squared[0], rtol=1e-12)


@pytest.mark.parametrize(("count", "dof"), [(9, 50), (30, 4)])
def test_principal_components_are_those_of_a_singular_value_decomposition(count: int, dof: int) -> None:
    x = np.random.default_rng(3).standard_normal((count, dof)) * np.geomspace(3, 0.3, dof) + 5
    plane, explained = planes.principal(x)
    _, s, v = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(explained, (s**2 / np.sum(s**2))[: explained.size], rtol=1e-9)
    assert explained.size == min(count - 1, dof, 6)
    np.testing.assert_allclose(np.abs(plane.basis @ v[:2].T), np.eye(2), atol=1e-9)
    np.testing.assert_allclose(plane.basis @ plane.basis.T, np.eye(2), atol=4e-15)
    assert (plane.basis @ (x[-1] - x[0]) >= 0).all()
    np.testing.assert_array_equal(plane.origin, x.mean(axis=0))


def test_principal_components_of_a_random_walk() -> None:
    """The k-th explains 6/(π² k²) for many steps in far more dimensions.

    Eigenvalues fluctuate by √(2/M) = 1 %: 5 % are five standard deviations, and off by O(1/T) = 0.7 %.
    """
    walk = np.cumsum(np.random.default_rng(1).standard_normal((150, 20_000)), axis=0)
    expected = 6 / (np.pi * np.arange(1, 7)) ** 2
    np.testing.assert_allclose(planes.principal(walk)[1], expected, rtol=0.05)


def test_what_makes_no_plane() -> None:
    a, b = np.random.default_rng(4).standard_normal((2, 10))
    for points, line in (
        ((a, a, b), "points 1 and 2 coincide"),
        ((a, b, a), "points 1 and 3 coincide"),
        ((a, b, b), "points 2 and 3 coincide"),
        ((a, b, a + 3 * (b - a)), "lie on one line"),
    ):
        with pytest.raises(ValueError, match=line):
            planes.through(np.array(points))
    for points, line in (((a, b), "at least 3"), ((a, b, 2 * a - b), "on one line"), ((a, a, a), "one line")):
        with pytest.raises(ValueError, match=line):
            planes.principal(np.array(points))


def test_the_grid_has_margins() -> None:
    np.testing.assert_allclose(planes.axis(np.array([1.0, 5.0, 2.0]), 0.25, 7), np.arange(0, 7))


# Landscapes.


def test_three_files_give_the_known_landscape(springs: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "plane.nc"
    code, output = said(*springs, "-o", target, "--grid", 9, "--replica", 1)
    assert code == 0, output
    assert f"result  {target}" in output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plane.nc", "plane.png"]
    points = np.stack([configurations.read(path).x[1] for path in springs])
    plane = planes.through(points)
    with langevin.open(target) as found:
        x, y = np.meshgrid(found["x"], found["y"])
        # 81 points, no multiple of those that are evaluated at once. H = (k/2N) Σ x², k = 2, N = 6.
        expected = np.sum(plane.at(x.ravel(), y.ravel()) ** 2, axis=1).reshape(9, 9) / 6
        np.testing.assert_allclose(found["energy"], expected, rtol=1e-12)
        np.testing.assert_allclose(found["point_energy"], np.sum(points**2, axis=1) / 6, rtol=1e-12)
        assert found["point"].values.tolist() == ["a", "b", "c"]
        assert found["point_source"].values.tolist() == [str(path) for path in springs]
        assert found["point_replica"].values.tolist() == [1, 1, 1]
        assert found["point_time"].values.tolist() == [1, 1, 1]
        corners = [float(found[f"point_{axis}"].max() - found[f"point_{axis}"].min()) for axis in "xy"]
        spans = [float(np.ptp(found[axis].values)) for axis in "xy"]
        np.testing.assert_allclose(spans, np.array(corners) * 1.4)
        assert float(found["point_distance"][0, 1]) == pytest.approx(np.linalg.norm(points[1] - points[0]))
        assert (found.attrs["space"], found.attrs["dof"]) == ("flat", 6)
        assert "projection_distance" not in found
        assert "Garipov" in found.attrs["plane"] and "langevin" in found.attrs["source"]
        assert all({"long_name", "units"} <= set(v.attrs) for v in found.data_vars.values())
        assert all(v.dtype == np.float64 for v in found.data_vars.values())


def test_distances_have_the_unit_of_the_configuration(
    springs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langevin.systems.harmonic import Harmonic

    units = {"configuration": {"units": "sigma"}, "time": {"units": "tau"}, "energy": {"units": "epsilon"}}
    monkeypatch.setattr(Harmonic, "attributes", lambda self: units)
    target = tmp_path / "p.nc"
    assert said(springs[0], "--trajectory", springs[0], "-o", target, "--grid", 2, "-q") == (0, "")
    with langevin.open(target) as found:
        groups: dict[str, set[str]] = {}
        for name, variable in found.variables.items():
            groups.setdefault(variable.attrs.get("units", ""), set()).add(str(name))
        distances = {"x", "y", "point_x", "point_y", "point_distance"}
        assert groups["sigma"] == distances | {f"trajectory_{n}" for n in ("x", "y", "residual")}
        assert groups["tau"] == {"point_time", "trajectory_time"}
        assert groups["epsilon"] == {"energy", "point_energy"}
        assert figure(found).axes[0].get_xlabel().endswith(r"($\sigma$)")


def orders(file: Path, tmp_path: Path) -> list[xr.Dataset]:
    """Return planes through three replicas of which each is once the first: in a corner of the grid."""
    made = []
    for k, order in enumerate(("0,1,2", "1,2,0", "2,0,1")):
        target = tmp_path / f"{k}.nc"
        code, output = said(file, "-o", target, "--replicas", order, "--grid", 2, "--margin", 0, "-q")
        assert (code, output) == (0, "")
        made.append(xr.load_dataset(target))
    return made


def test_the_grid_reproduces_the_energies_of_its_points_on_the_sphere(spins: Path, tmp_path: Path) -> None:
    with langevin.open(spins) as run:
        energies = run["energy"][:, -1].values
    for k, found in enumerate(orders(spins, tmp_path)):
        assert found.attrs["space"] == "sphere"
        np.testing.assert_allclose(found["point_energy"], np.roll(energies, -k), rtol=SINGLE)
        # The third point lies above the first and the second: these are corners of the grid.
        assert 0 < found["point_x"][2] < found["point_x"][1]
        at = {"x": found["point_x"][:2].values, "y": 0.0}
        np.testing.assert_allclose(found["energy"].sel(at), found["point_energy"][:2], rtol=SINGLE)
        assert found["projection_distance"].sel(at).max() < ROUNDING * np.sqrt(20)
        assert found["projection_distance"][1].min() > 0.1


def test_points_between_are_projected_onto_the_sphere(spins: Path, tmp_path: Path) -> None:
    assert said(spins, "-o", tmp_path / "p.nc", "--grid", 4)[0] == 0
    run = configurations.read(spins)
    system, _ = rebuilt(run, np.zeros(1, int))
    found = xr.load_dataset(tmp_path / "p.nc")
    raw = planes.through(run.x).at(found["x"].values[[2]], found["y"].values[[1]])
    x = raw * np.sqrt(20 / np.sum(raw**2))
    np.testing.assert_allclose(found["energy"][1, 2], system.evaluate(x)["energy"][0], rtol=SINGLE)
    assert float(found["projection_distance"][1, 2]) == pytest.approx(np.linalg.norm(x - raw))


def test_the_grid_reproduces_losses_and_errors_of_a_network_with_batch_norm(
    net: Path, tmp_path: Path
) -> None:
    run = configurations.read(net)
    system, _ = rebuilt(run)
    expected = system.evaluate(run.x)
    for k, found in enumerate(orders(net, tmp_path)):
        names = {"energy", "train_error", "test_loss", "test_error"}
        assert names == set(quantities(found)) == set(expected)
        for name in names:
            np.testing.assert_array_equal(found[f"point_{name}"], np.roll(expected[name], -k))
            corners = found[name].sel(x=found["point_x"][:2].values, y=0.0)
            # The first point is the origin, to the last bit; the second a sum, rounded to single precision.
            assert corners[0] == found[f"point_{name}"][0]
            np.testing.assert_allclose(corners[1], found[f"point_{name}"][1], rtol=1e-5)
        assert found.attrs["space"] == "flat"


def test_a_planted_start_is_another_disorder(spins: Path, tmp_path: Path) -> None:
    """The seed and the sample are those of the others: the couplings follow from the temperature, too."""
    planted = ran(tmp_path / "planted.nc", "pspin", dynamics={"initial_temperature": 1.0})
    code, output = said(spins, spins, planted, "--replicas", "0,1,2", "-o", tmp_path / "p.nc")
    assert code == 2 and "must share ensemble.seed and sample" in output and output.count("\n") == 1


def test_other_data_are_another_landscape(net: Path, tmp_path: Path) -> None:
    other = trained(tmp_path / "other.nc", 4)
    code, output = said(net, net, other, "--replicas", "0,1,2", "-o", tmp_path / "p.nc")
    assert code == 2 and "must share ensemble.seed and sample" in output and output.count("\n") == 1


# What is projected.


def test_trajectories_lose_what_is_said(springs: list[Path], tmp_path: Path) -> None:
    other = ran(tmp_path / "other.nc", seed=9, dynamics={"t_max": 0.5, "dt": 0.025})
    given = ["--trajectory", springs[0], "--trajectory", other]
    code, output = said(springs[0], "--replica", 2, *given, "-o", tmp_path / "p.nc", "--grid", 2)
    assert code == 0 and "trajectory a:" in output
    found, plane = xr.load_dataset(tmp_path / "p.nc"), planes.through(configurations.read(springs[0]).x)
    assert found["trajectory"].values.tolist() == ["a", "other"]
    for k, path in enumerate((springs[0], other)):
        with langevin.open(path) as run:
            x = run["configuration"].sel(replica=2).values
            times = run["configuration_time"].values
        part = found.isel(trajectory=k).sel(trajectory_time=times)
        coordinates, distance = plane.coordinates(x)
        np.testing.assert_allclose(part["trajectory_x"], coordinates[:, 0], atol=ROUNDING)
        np.testing.assert_allclose(part["trajectory_y"], coordinates[:, 1], atol=ROUNDING)
        np.testing.assert_allclose(part["trajectory_residual"], distance, atol=ROUNDING)
        lost = distance**2 / np.sum((x - plane.origin) ** 2, axis=1)
        np.testing.assert_allclose(part["trajectory_lost"], lost, atol=1e-12)
        assert found["trajectory_x"][k].notnull().sum() == times.size
        seen = np.var(x @ plane.basis.T, axis=0).sum() / np.var(x, axis=0).sum()
        assert float(found["trajectory_explained"][k]) == pytest.approx(seen)


def test_the_plane_of_principal_components(springs: list[Path], tmp_path: Path) -> None:
    path = ran(tmp_path / "hot.nc", seed=4, dynamics={"temperature": 1.0, "t_max": 3.0})
    code, output = said("--principal", path, "--replica", 1, "-o", tmp_path / "p.nc", "--grid", 5)
    assert code == 0 and "variance explained" in output
    with langevin.open(path) as run:
        x = run["configuration"].sel(replica=1).values
    s = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    with langevin.open(tmp_path / "p.nc") as found:
        np.testing.assert_allclose(found["explained_variance"], s**2 / np.sum(s**2), rtol=1e-9)
        assert float(found["trajectory_explained"][0]) == pytest.approx(np.sum(s[:2] ** 2) / np.sum(s**2))
        assert found["point"].values.tolist() == ["mean"]
        assert float(found["point_energy"][0]) == pytest.approx(np.sum(x.mean(axis=0) ** 2) / 6)
        low, high = (float(found["x"][k]) for k in (0, -1))
        assert low < found["trajectory_x"].min() and found["trajectory_x"].max() < high
        label = figure(found).axes[0].get_xlabel()
        assert f"{100 * s[0] ** 2 / np.sum(s**2):.3g} %" in label


def connected(start: Path, path: Path, **given: Any) -> Path:
    """Join the first two replicas by a curve, in few steps."""
    few: dict[str, Any] = {
        "dynamics.t_max": 3,
        "record.times": [3],
        "record.positions": 7,
        "ensemble.replicas": 1,
    }
    few["output.figure"] = False
    made = connect.settings(start, output=path, overrides=few, **given)
    return simulation.execute(made)


def test_a_curve_gives_its_points_and_is_drawn(spins: Path, tmp_path: Path) -> None:
    start = spins
    bezier = connected(start, tmp_path / "bezier.nc")
    chain = connected(start, tmp_path / "chain.nc", curve="chain", bends=2)
    code, output = said(bezier, "--curve", chain, "-o", tmp_path / "p.nc", "--grid", 2)
    assert code == 0 and "curve chain" in output
    found = xr.load_dataset(tmp_path / "p.nc")
    assert found["point"].values.tolist() == ["start", "end", "bend"]
    assert found["curve"].values.tolist() == ["bezier", "chain"]
    run, own = configurations.read(start), xr.load_dataset(bezier)
    control = own["control"][0].values
    np.testing.assert_array_equal(control[[0, 2]], run.x[:2])
    own_plane = planes.through(control[[0, 2, 1]])
    t = found["curve_position"].values[:, None]
    # De Casteljau.
    a, b, c = own_plane.coordinates(control)[0]
    exact = (1 - t) * ((1 - t) * a + t * b) + t * ((1 - t) * b + t * c)
    one = found.sel(curve="bezier")
    np.testing.assert_allclose(np.stack([one["curve_x"], one["curve_y"]], axis=1), exact, atol=1e-10)
    assert one["curve_residual"].max() < 1e-10 and float(one["curve_explained"]) == pytest.approx(1)
    for path in (bezier, chain):
        has_the_energies_of_its_run(path)
    for curve, line in ((chain, "a curve of 2 bends lies in no plane"), (start, "no curve in it")):
        arguments = [curve] if curve is chain else [bezier, "--curve", start]
        code, output = said(*arguments, "-o", tmp_path / "q.nc")
        assert code == 2 and line in output and output.count("\n") == 1
    code, output = said(bezier, "--time", 1, "-o", tmp_path / "q.nc")
    assert code == 2 and "a curve gives its points itself" in output
    own["control"][0, 0] += 0.1
    own.to_netcdf(tmp_path / "moved.nc")
    code, output = said(tmp_path / "moved.nc", "-o", tmp_path / "q.nc")
    assert code == 2 and "its start is no configuration of" in output and output.count("\n") == 1


def has_the_energies_of_its_run(path: Path) -> None:
    """Check that the map has, where a curve is drawn, the energy that the curve's own run found."""
    read = curve_file.read(path, 0)
    here = landscape.RunLandscape(read.owner)
    expected = xr.load_dataset(path)["curve_energy"][0]
    # Seven positions are among sixty-one.
    rows = np.flatnonzero(np.isclose(read.trail.at * 6 % 1, 0) | np.isclose(read.trail.at * 6 % 1, 1))
    np.testing.assert_allclose(read.trail.at[rows], expected["position"], atol=1e-12)
    energy = [here.values(here.constrain(row[None]))["energy"][0] for row in read.trail.x[rows]]
    np.testing.assert_allclose(energy, expected, rtol=1e-5)


def test_a_curve_between_networks(net: Path, tmp_path: Path) -> None:
    path = connected(net, tmp_path / "bezier.nc")
    assert said(path, "-o", tmp_path / "p.nc", "--grid", 2, "-q") == (0, "")
    found = xr.load_dataset(tmp_path / "p.nc")
    expected = xr.load_dataset(path)["curve_test_error"][0, [0, -1]]
    np.testing.assert_allclose(found["point_test_error"][:2], expected, atol=1e-12)
    has_the_energies_of_its_run(path)


def test_the_grid_covers_trajectories_on_request(springs: list[Path], tmp_path: Path) -> None:
    given = [springs[0], "--trajectory", springs[1], "--margin", 0, "--grid", 3, "-q"]
    assert said(*given, "-o", tmp_path / "a.nc") == (0, "")
    assert said(*given, "-o", tmp_path / "b.nc", "--cover") == (0, "")
    plain, wide = (xr.load_dataset(tmp_path / name) for name in ("a.nc", "b.nc"))
    xs = [*plain["point_x"].values, *plain["trajectory_x"].values.ravel()]
    assert plain["x"][0] == plain["point_x"].min()
    np.testing.assert_allclose(wide["x"][[0, -1]], [min(xs), max(xs)], atol=ROUNDING)
    assert np.ptp(wide["x"].values) > np.ptp(plain["x"].values)


# Files, figures, faults.


def test_figure_and_words(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "p.nc"
    assert said(net, "-o", target, "--grid", 5, "--trajectory", net)[0] == 0
    monkeypatch.undo()
    with langevin.open(target) as found:
        made = figure(found)
        panels = [ax for ax in made.axes if ax.get_xlabel()]
        assert [ax.get_title("left") for ax in panels] == ["(a)", "(b)"]
        bars = [" ".join(ax.get_ylabel().split()[:-1]) for ax in made.axes if ax not in panels]
        assert bars == ["training loss (cross entropy) minimum", "test error (%) minimum"]
        for ax in panels:
            assert ax.get_aspect() == 1
            assert {text.get_text() for text in ax.texts} == {"replica 0", "replica 1", "replica 2"}
            np.testing.assert_allclose(ax.get_xlim(), found["x"][[0, -1]])
        assert len([ax for ax in figure(found, "train_error").axes if ax.get_xlabel()]) == 1
        text = summary.contents(found)
        assert "lowest of grid" in text and "trajectory net" in text
        with pytest.raises(langevin.errors.UserError, match="allowed: energy, train_error, test_loss"):
            figure(found, "msd")
    runner = CliRunner()
    for command in (["info", str(target)], ["plot", str(target), "-o", str(tmp_path / "p.svg")]):
        done = runner.invoke(main, command)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "p.svg").exists()


def test_levels_show_the_valley_and_are_capped() -> None:
    from langevin.plotting.plane import LEVELS, levels_of

    r2 = np.add.outer(np.linspace(-1, 1, 41) ** 2, np.linspace(-1, 1, 41) ** 2)
    levels = levels_of(7 + r2**2)
    assert (np.diff(levels) > 0).all() and LEVELS - 2 <= levels.size <= LEVELS + 1
    assert levels[0] == 7 and levels[-1] < 7 + 0.5 * r2.max() ** 2
    # Spaced logarithmically above the minimum, but for rounding by half a gap at most, of ends and levels.
    spaced = np.geomspace(levels[1] - 7, levels[-1] - 7, levels.size - 1)
    most = -2 * np.log(1 - (1 - spaced[0] / spaced[1]) / 2)
    assert (np.abs(np.log((levels[1:] - 7) / spaced)) < most).all()
    # Flat, and partly infinite.
    assert (np.diff(levels_of(np.full((3, 3), 2.0))) > 0).all()
    assert np.isfinite(levels_of(np.array([[1.0, np.inf], [2.0, np.nan]]))).all()


def test_faults_are_one_line(springs: list[Path], spins: Path, tmp_path: Path) -> None:
    bare, nameless, there = (tmp_path / name for name in ("bare.nc", "nameless.nc", "there.nc"))
    with langevin.open(springs[0]) as run:
        run.drop_vars("configuration").to_netcdf(bare)
        run.drop_attrs(deep=False).to_netcdf(nameless)
    there.write_text("precious")
    a, b, _ = springs
    longer = ran(tmp_path / "longer.nc", system={"n": 7})
    disordered = ran(tmp_path / "disordered.nc", "pspin", ensemble={"samples": 3})
    two = ran(tmp_path / "two.nc", replicas=2)
    target = tmp_path / "p.nc"
    for arguments, line in (
        ((a, b), "2 files given; allowed: three, one with three replicas"),
        ((), "0 files given"),
        ((two,), "two.nc: 2 replicas; a plane needs three"),
        ((a, b, a), "points 1 and 3 coincide"),
        ((a, b, longer), "system.n = 7; must be 6"),
        ((a, b, spins), "system.name = 'pspin'; must be 'harmonic'"),
        ((a, b, bare), "bare.nc: no stored configuration; record.snapshots"),
        ((a, b, nameless), "nameless.nc: it does not say from which settings"),
        ((a, b, tmp_path / "none.nc"), "none.nc: no such file"),
        ((disordered,), "must share ensemble.seed and sample"),
        ((a, "--replicas", "0,1"), "--replicas 0,1; a plane needs three"),
        ((a, "--replicas", "0,1,x"), "--replicas 0,1,x: must be three labels"),
        ((a, "--replicas", "0,1,5"), "replica 5 is not in the file; allowed: 0, 1, 2"),
        ((a, "--time", "0.123"), "time = 0.123: no configuration is stored there"),
        ((a, "--trajectory", spins), "system.name = 'pspin'; must be 'harmonic'"),
        ((a, "--trajectory", bare), "bare.nc: no stored configuration"),
        ((a, "--curve", b), "no curve in it"),
        (("--principal", a, b), "--principal: allowed without other files"),
        # At T = 0 an oscillator moves on a line through the origin.
        (("--principal", a), "all points lie on one line"),
        ((a, "-o", tmp_path / "no" / "p.nc"), "there is no folder"),
        ((a, "-o", tmp_path / "p.txt"), "unknown format '.txt'; allowed: .nc"),
        ((a, "-o", a), "is one of the files to read"),
        ((a, "-o", there), "there.nc exists; overwrite it with --force"),
    ):
        code, output = said("-o", target, *arguments)
        assert code == 2 and line in output and output.count("\n") == 1, output
    assert there.read_text() == "precious"
    assert not target.exists() and not target.with_suffix(".png").exists()
    assert said(a, "-o", there, "--force", "--grid", 2)[0] == 0
    with langevin.open(there) as found:
        assert "energy" in found


def test_a_grid_through_the_centre_of_the_sphere(tmp_path: Path) -> None:
    """Two opposite points: the middle of the segment has no projection."""
    path = ran(tmp_path / "spins.nc", "pspin")
    with langevin.open(path) as run:
        changed = run.load()
    changed["configuration"][{"replica": 1}] = -changed["configuration"][{"replica": 0}]
    path.unlink()
    changed.to_netcdf(path)
    code, output = said(path, "-o", tmp_path / "p.nc", "--margin", 0, "--grid", 3)
    assert code == 2 and "change --grid or --margin" in output and output.count("\n") == 1
    assert said(path, "-o", tmp_path / "p.nc", "--margin", 0, "--grid", 4, "-q") == (0, "")


def test_nothing_is_left_of_a_plane_that_is_stopped(
    springs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, calls = landscape.RunLandscape.values, []

    def stopped(self: Any, x: Any) -> Any:
        calls.append(len(x))
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return values(self, x)

    monkeypatch.setattr(landscape.RunLandscape, "values", stopped)
    code, output = said(springs[0], "-o", tmp_path / "p.nc", "--grid", 20)
    assert code == 130 and "stopped by Ctrl-C; nothing was written" in output
    # 400 points, 32 at once: it did not go on to the end.
    assert len(calls) == 3
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_if_writing_fails(
    springs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(dataset: xr.Dataset, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(netcdf, "write", full)
    code, output = said(springs[0], "-o", tmp_path / "p.nc", "--grid", 2)
    assert code == 1 and "no space left" in output
    assert list(tmp_path.iterdir()) == []


def test_a_system_without_a_landscape_is_refused(
    springs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Oscillators have a landscape; they have no tensors.
    monkeypatch.setattr(landscape, "HasLandscape", HasParts)
    code, output = said(springs[0], "-o", tmp_path / "p.nc")
    assert code == 2 and "it evaluates no configurations" in output and output.count("\n") == 1


def test_a_system_offers_its_constraint(spins: Path) -> None:
    run = configurations.read(spins)
    system, _ = rebuilt(run)
    np.testing.assert_allclose(np.sum(system.constrain(3 * run.x) ** 2, axis=1), 20)
