"""Export to GSD: read back by the library of the format, the trajectory is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gsd.hoomd
import numpy as np
import pytest
import xarray as xr
from cages import caged
from click.testing import CliRunner

import langevin
from langevin.commands.cli import main
from langevin.errors import StorageError
from langevin.observables.particles import BoxedMixture
from langevin.results import export


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("export") / "run.nc"
    langevin.run({**caged(), "output": {"path": str(made), "figure": False}}).close()
    return made


def said(*arguments: Any) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["export", *map(str, arguments)])
    return done.exit_code, done.output


def test_it_reads_back(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.gsd"
    assert said(path, "-o", target, "--replica", 2, "--every", 3) == (0, f"{target} (12 frames)\n")
    with langevin.open(path) as found, gsd.hoomd.open(target, "r") as frames:
        x, mixture = found["configuration"].sel(replica=2), BoxedMixture.of(found["configuration"])
        assert len(frames) == 12 == len(found["configuration_time"][::3])
        for frame, time in zip(frames, found["configuration_time"].values[::3], strict=True):
            assert frame.log["time"][0] == time
            assert frame.configuration.step == round(time / 0.005)
            np.testing.assert_array_equal(frame.configuration.box, np.float32([mixture.box] * 3 + [0] * 3))
            assert (frame.particles.N, frame.particles.types) == (50, ["A", "B"])
            assert frame.particles.typeid.tolist() == [0] * 40 + [1] * 10
            inside = frame.particles.position.astype(float)
            assert (np.abs(inside) <= np.float32(mixture.box / 2)).all()
            unwrapped = inside + mixture.box * frame.particles.image
            # Single precision inside a box of edge 3.5: half a unit of the last of 24 bits.
            expected = x.sel(configuration_time=time).values.reshape(50, 3)
            np.testing.assert_allclose(unwrapped, expected, rtol=0, atol=2**-24 * 2)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gsd"]


def particles_at(x: Any, box: float = 3.0) -> xr.Dataset:
    """Return a run of one particle at x, shape (time, 3)."""
    about = BoxedMixture(box, ("A",), (1,)).attributes()
    frames = np.asarray(x, dtype=float)[:, None]
    made = xr.Dataset({"configuration": (("time", "replica", "dof"), frames, about)})
    return made.assign_coords(time=np.arange(float(len(frames))), replica=[0])


def test_faces_far_images_and_times_not_reached(tmp_path: Path) -> None:
    # The first lies below the upper face by less than single precision can tell.
    x = [[1.5 - 1e-12, 0.0, -1.5], [3001.0, -7.0, 2.9], [np.nan] * 3]
    assert export.save(particles_at(x), tmp_path / "a.gsd") == 2
    with gsd.hoomd.open(tmp_path / "a.gsd", "r") as frames:
        first, second = frames
        assert first.particles.position.tolist() == [[-1.5, 0.0, -1.5]]
        assert first.particles.image.tolist() == [[1, 0, 0]]
        assert second.particles.image.tolist() == [[1000, -2, 1]]
        np.testing.assert_allclose(second.particles.position, [[1.0, -1.0, -0.1]], rtol=1e-6)
        # Without a time step in the file, frames are counted.
        assert [frame.configuration.step for frame in frames] == [0, 1]


def test_faults_are_one_line(path: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.nc"
    with langevin.open(path) as found:
        found.drop_vars("configuration").to_netcdf(bare)
    oscillators: dict[str, Any] = {"system": {"name": "harmonic", "n": 3}, "dynamics": caged()["dynamics"]}
    spins = tmp_path / "spins.nc"
    langevin.run({**oscillators, "output": {"path": str(spins), "figure": False}}).close()
    there = tmp_path / "there.gsd"
    there.write_text("precious")
    for arguments, line in (
        ((bare,), "no configurations in the file; record.configurations"),
        ((spins,), "configuration: no particles in a box: it lacks box, species_counts, species_names"),
        ((path, "-o", tmp_path / "a.xyz"), "unknown format '.xyz'; allowed: .gsd"),
        ((path, "-o", there), "there.gsd exists; overwrite it with --force"),
        ((path, "-o", tmp_path / "no" / "a.gsd"), "there is no folder"),
        ((path, "--replica", 3, "-o", tmp_path / "a.gsd"), "--replica 3: not in the file; allowed: 0, 1, 2"),
        ((path, "--every", 0, "-o", tmp_path / "a.gsd"), "--every 0: must be ≥ 1"),
        ((path, "--at", "n=3"), "--at 'n=3': the file holds no sweep"),
        ((tmp_path / "none.nc",), "no such file"),
    ):
        code, output = said(*arguments)
        assert code == 2 and line in output and output.count("\n") == 1, output
    assert there.read_text() == "precious"
    assert said(path, "-o", there, "--force")[0] == 0
    with gsd.hoomd.open(there, "r") as frames:
        assert len(frames) == 36


def test_nothing_is_left_of_an_export_that_fails(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(gsd.hoomd.HOOMDTrajectory, "append", full)
    with langevin.open(path) as found, pytest.raises(StorageError, match=r"a\.gsd: .*no space left"):
        export.save(found, tmp_path / "a.gsd")
    assert list(tmp_path.iterdir()) == []
