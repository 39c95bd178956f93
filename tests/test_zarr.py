"""Export to Zarr: what xarray reads back is the result, of whatever kind, and nothing is half-written."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from test_restart import interrupted

import langevin
from langevin.commands.cli import main
from langevin.errors import LangevinError, StorageError, UserError
from langevin.files import disk, zarr_folder
from langevin.results import summary

GIVEN: dict[str, Any] = {
    "title": "springs, at the temperature “1”",
    "system": {"name": "harmonic", "n": 6},
    "dynamics": {"temperature": 1.0, "dt": 0.1, "t_max": 2.0},
    "ensemble": {"replicas": 4, "samples": 2, "seed": 5},
    # Of shorter runs not all pairs are reached: some values are NaN.
    "record": {
        "waiting_times": [0.0, 0.2, 0.5],
        "lags": [0.1, 1.0],
        "sketch": 4,
        "configurations": "always",
        "snapshots": [0.5, 1.0],
    },
}


def given(path: Path, **tables: Any) -> dict[str, Any]:
    return {**GIVEN, **tables, "output": {"path": str(path), "figure": False}}


def make_sweep(path: Path, patch: pytest.MonkeyPatch) -> Path:
    langevin.run(given(path, sweep={"system.n": [4, 6], "dynamics.t_max": [1.2, 2.0]})).close()
    return path


def make_curve(path: Path, patch: pytest.MonkeyPatch) -> Path:
    ends = path.with_name("ends.nc")
    langevin.run(given(ends)).close()
    few = {"dynamics.t_max": 0.2, "record.times": [0.0, 0.2], "output.figure": False}
    langevin.connect(ends, bends=2, overrides=few, output=path).close()
    return path


def make_plane(path: Path, patch: pytest.MonkeyPatch) -> Path:
    points = path.with_name("points.nc")
    langevin.run(given(points)).close()
    langevin.plane(points, grid=3, output=path).close()
    return path


def make_checkpoint(path: Path, patch: pytest.MonkeyPatch) -> Path:
    return interrupted(given(path), patch).checkpoint


def make_run(path: Path, patch: pytest.MonkeyPatch) -> Path:
    langevin.run(given(path)).close()
    return path


MAKERS: dict[str, Callable[[Path, pytest.MonkeyPatch], Path]] = {
    "run": make_run,
    "sweep": make_sweep,
    "curve": make_curve,
    "plane": make_plane,
    "checkpoint": make_checkpoint,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder, there = tmp_path_factory.mktemp("zarr"), {}

    def result(name: str) -> Path:
        if name not in there:
            with pytest.MonkeyPatch.context() as patch:
                there[name] = MAKERS[name](folder / f"{name}.nc", patch)
        return there[name]

    return result


@pytest.fixture
def run(results: Callable[[str], Path]) -> Path:
    return results("run")


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.zarr"
    with langevin.open(run) as dataset:
        zarr_folder.write(dataset, path)
    return path


def said(*arguments: Any) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(map(str, arguments)))
    return done.exit_code, done.output


@pytest.mark.parametrize("name", MAKERS)
def test_it_reads_back(name: str, results: Callable[[str], Path], tmp_path: Path) -> None:
    source, target = results(name), tmp_path / "out.zarr"
    code, text = said("export", source, "-o", target)
    assert code == 0 and text.startswith(f"{target} ("), text
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]
    with xr.open_dataset(source) as expected, warnings.catch_warnings():
        warnings.simplefilter("error")
        with xr.open_zarr(target) as found, langevin.open(target) as opened:
            for one in (found, opened):
                xr.testing.assert_identical(one, expected)
                assert list(one.data_vars) == list(expected.data_vars)
            for n, variable in expected.variables.items():
                assert opened[n].dtype == variable.dtype and opened[n].dims == variable.dims, n
        with langevin.open(target, chunks={}) as lazy:
            assert all(
                v.chunks is not None for v in lazy.data_vars.values() if v.dtype.kind == "f" and v.ndim
            )
            xr.testing.assert_identical(lazy.compute(), expected)


def test_what_holds_is_said_as_of_the_netcdf_file(run: Path, exported: Path, tmp_path: Path) -> None:
    with langevin.open(run) as expected, langevin.open(exported) as found:
        assert summary.contents(found) == summary.contents(expected)
    assert said("info", exported) == said("info", run)
    code, _ = said("plot", exported, "-o", tmp_path / "a.png")
    assert code == 0 and said("plot", run, "-o", tmp_path / "b.png")[0] == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    code, text = said("compare", run, exported, "-o", tmp_path / "c.png")
    assert code == 0, text


def test_members_of_a_sweep_are_exported(results: Callable[[str], Path], tmp_path: Path) -> None:
    target = tmp_path / "one.zarr"
    at = ["--at", "n=4", "--at", "t_max=1.2"]
    code, text = said("export", results("sweep"), "-o", target, *at)
    assert code == 0, text
    with langevin.open(results("sweep")) as sweep, langevin.open(target) as found:
        (member,) = (m for labels, m in langevin.members(sweep) if (labels["n"], labels["t_max"]) == (4, 1.2))
        xr.testing.assert_identical(found.load(), member.load())


def test_shards_hold_chunks_with_checksums(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, path = 4 * 6 * 8, tmp_path / "run.zarr"
    monkeypatch.setattr(zarr_folder, "SHARD", 5 * frame + 1)
    read: list[int] = []
    with langevin.open(run) as dataset:
        wrapper = type(dataset["configuration"].variable._data.array.array.array)
        plain = wrapper._getitem

        def getitem(self: Any, key: Any) -> Any:
            values = plain(self, key)
            if values.shape[-2:] == (4, 6):
                read.append(values.nbytes)
            return values

        monkeypatch.setattr(wrapper, "_getitem", getitem)
        count = dataset.sizes["configuration_time"]
        told: list[int] = []
        zarr_folder.write(dataset, path, told.append)
        assert sum(told) == zarr_folder.parts(dataset)
        # A shard at a time is in memory.
        assert read and max(read) <= zarr_folder.SHARD
    array = zarr.open_group(str(path), mode="r")["configuration"]
    assert array.metadata.zarr_format == 3
    assert (array.shards, array.chunks) == ((5, 4, 6), (1, 4, 6))
    assert array.metadata.dimension_names == ("configuration_time", "replica", "dof")
    about = json.loads((path / "configuration" / "zarr.json").read_text())
    (sharding,) = about["codecs"]
    for codecs in (sharding["configuration"]["codecs"], sharding["configuration"]["index_codecs"]):
        assert codecs[-1]["name"] == "crc32c"
    assert len(list((path / "configuration" / "c").rglob("0"))) > 0
    files = [p for p in (path / "configuration" / "c").rglob("*") if p.is_file()]
    assert len(files) == math.ceil(count / 5)
    assert "consolidated_metadata" in json.loads((path / "zarr.json").read_text())


def test_of_dask_arrays_it_is_the_same(run: Path, tmp_path: Path) -> None:
    with langevin.open(run) as plain, langevin.open(run, chunks={"configuration_time": 3}) as lazy:
        zarr_folder.write(lazy, tmp_path / "a.zarr")
        with xr.open_zarr(tmp_path / "a.zarr") as found:
            xr.testing.assert_identical(found, plain)


def test_variables_of_all_kinds(tmp_path: Path) -> None:
    dataset = xr.Dataset(
        {
            "flag": ("a", [True, False]),
            "words": ("a", np.array(["short", "quite a bit longer, “ü”"])),
            "nothing": (("a", "none"), np.empty((2, 0))),
            "single": ("a", np.float32([1, np.nan])),
            "unknown": ("a", [np.nan, np.nan]),
            "zero": ("a", [0, 0]),
            "number": ((), 3.5, {"units": "m", "list": [1, 2], "about": "ü"}),
            "word": ((), "one"),
            "whole": ("a", np.int32([7, -1])),
        },
        {"a": ["x", "y"]},
        {"title": "all kinds"},
    )
    zarr_folder.write(dataset, tmp_path / "a.zarr")
    with xr.open_zarr(tmp_path / "a.zarr") as found, zarr_folder.open_folder(tmp_path / "a.zarr") as again:
        xr.testing.assert_identical(found, dataset)
        xr.testing.assert_identical(again, dataset)
    dates = dataset.assign(when=("a", np.array(["2020-01-01", "2021-01-01"], "datetime64[ns]")))
    with pytest.raises(UserError, match=r"^when: values of type datetime64\[ns\] have no place"):
        zarr_folder.write(dates, tmp_path / "b.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_refusals(run: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.zarr"
    other.mkdir()
    (other / "thesis.tex").touch()
    (tmp_path / "file.zarr").touch()
    before = sorted(tmp_path.rglob("*"))
    for arguments, expected in (
        ([run, "-o", exported], f"{exported} exists; overwrite it with --force, or give another name"),
        ([run, "-o", "a.zip"], "a.zip: unknown format '.zip'; allowed: .gsd, .zarr"),
        ([run, "-o", tmp_path / "no" / "a.zarr"], f"there is no folder {tmp_path / 'no'}"),
        ([run, "-o", other, "--force"], "is a folder with something else than Zarr in it"),
        ([run, "-o", tmp_path / "file.zarr", "--force"], "is a file; give a folder, such as pspin.zarr"),
        ([exported, "-o", exported, "--force"], f"{exported} is one of the files to read"),
        (
            [run, "-o", tmp_path / "a.zarr", "--every", 2],
            "--every: of frames of a .gsd; a .zarr folder holds all",
        ),
        ([tmp_path / "none.nc", "-o", tmp_path / "a.zarr"], f"{tmp_path / 'none.nc'}: no such file"),
    ):
        code, text = said("export", *arguments)
        assert code == 2 and text.startswith("langevin: ") and text.count("\n") == 1, text
        assert expected in text
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "zarr" else there(name))
    for arguments in (["export", run, "-o", tmp_path / "a.zarr"], ["info", exported]):
        code, text = said(*arguments)
        assert code == 2 and 'needs zarr, which is not installed: pip install "langevin-engine[zarr]"' in text
    assert sorted(tmp_path.rglob("*")) == before


def test_force_replaces_and_a_failure_does_not(
    run: Path, exported: Path, results: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported.parent
    before = {p: p.read_bytes() for p in exported.rglob("*") if p.is_file()}
    # What a killed process left.
    for left in (".run.zarr.partial", ".run.zarr.replaced"):
        (folder / left).mkdir()
        (folder / left / "zarr.json").write_text("{}")

    count = iter(range(100))

    def full(*given: Any) -> Any:
        if next(count) == 7:
            raise OSError(28, "No space left on device")
        return plain(*given)

    plain = zarr.Array.__setitem__
    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", full)
        code, text = said("export", results("sweep"), "-o", exported, "--force")
    assert (code, text) == (
        1,
        f"langevin: cannot write {exported}: no space left on the file system of {folder}\n",
    )
    assert {p: p.read_bytes() for p in exported.rglob("*") if p.is_file()} == before
    assert [p.name for p in folder.iterdir()] == ["run.zarr"]
    assert said("export", results("sweep"), "-o", exported, "--force")[0] == 0
    with xr.open_zarr(exported) as found, xr.open_dataset(results("sweep")) as expected:
        xr.testing.assert_identical(found, expected)
    assert [p.name for p in folder.iterdir()] == ["run.zarr"]


def test_killed_between_two_renamings_the_old_one_comes_back(exported: Path) -> None:
    before = {p.name: p.read_bytes() for p in exported.iterdir() if p.is_file()}
    exported.rename(exported.with_name(".run.zarr.replaced"))
    exported.with_name(".run.zarr.partial").mkdir()
    with pytest.raises(StorageError), disk.replacing_folder(exported) as aside:
        raise OSError(28, f"No space left on device: {aside}")
    assert {p.name: p.read_bytes() for p in exported.iterdir() if p.is_file()} == before
    assert [p.name for p in exported.parent.iterdir()] == ["run.zarr"]


def test_a_signal_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = iter(range(1000))
    plain = zarr.Array.__setitem__

    def interrupted_at_the_fifth(*given: Any) -> Any:
        if next(count) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(*given)

    monkeypatch.setattr(zarr.Array, "__setitem__", interrupted_at_the_fifth)
    code, text = said("export", run, "-o", tmp_path / "a.zarr")
    assert (code, text.splitlines()[-1]) == (130, "langevin: stopped by Ctrl-C; nothing was written")
    assert not list(tmp_path.iterdir())


def test_without_dask_and_killed(run: Path, exported: Path) -> None:
    script = (
        "import os, signal, sys\nsys.modules['dask'] = sys.modules['dask.array'] = None\n"
        "import zarr\nfrom langevin.commands.cli import main\n"
        "plain, count = zarr.Array.__setitem__, iter(range(1000))\n"
        "def killed(*given):\n"
        "    if next(count) == 5:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return plain(*given)\n"
        f"main(['export', {str(run)!r}, '-o', 'other.zarr'], standalone_mode=False)\n"
        "zarr.Array.__setitem__ = killed\n"
        f"main(['export', {str(run)!r}, '-o', 'run.zarr', '--force'], standalone_mode=False)\n"
    )
    before = {p: p.read_bytes() for p in exported.rglob("*") if p.is_file()}
    given = {"cwd": exported.parent, "capture_output": True, "check": False}
    done = subprocess.run([sys.executable, "-c", script], **given)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with xr.open_zarr(exported.with_name("other.zarr")) as found, xr.open_dataset(run) as expected:
        xr.testing.assert_identical(found, expected)
    # The old one is as it was.
    assert {p: p.read_bytes() for p in exported.rglob("*") if p.is_file()} == before
    names = {p.name for p in exported.parent.iterdir()}
    assert names == {"run.zarr", "other.zarr", ".run.zarr.partial"}
    assert said("export", run, "-o", exported, "--force")[0] == 0
    assert not exported.with_name(".run.zarr.partial").exists()


def values(path: Path) -> dict[str, Any]:
    with langevin.open(path) as dataset:
        dataset.load()
        return {str(n): v.to_numpy() for n, v in dataset.variables.items()}


def test_damage_is_told_in_one_line(exported: Path, tmp_path: Path) -> None:
    rng, expected = random.Random(1), values(exported)
    shards = sorted(p for p in exported.rglob("*") if p.is_file() and p.name != "zarr.json")
    for k in range(24):
        path = tmp_path / f"{k}.zarr"
        shutil.copytree(exported, path)
        hurt = path / rng.choice(shards).relative_to(exported)
        data = bytearray(hurt.read_bytes())
        if k % 2:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        else:
            del data[rng.randrange(len(data)) :]
        hurt.write_bytes(data)
        with pytest.raises(StorageError) as raised:
            values(path)
        assert "\n" not in str(raised.value) and f"{path} is damaged" in str(raised.value)
    np.testing.assert_equal(values(exported), expected)


def test_a_shard_that_is_missing_is_damage(exported: Path) -> None:
    (shard,) = (p for p in (exported / "configuration" / "c").rglob("*") if p.is_file())
    shard.unlink()
    # Zarr itself takes it for NaN.
    assert np.isnan(xr.open_zarr(exported)["configuration"].to_numpy()).all()
    code, text = said("info", exported)
    assert (code, text) == (
        1,
        f"langevin: {exported} is damaged: 1 of 1 parts of configuration are missing\n",
    )


@pytest.mark.parametrize("text", ["", "{", '{"zarr_format": 3, "node_type": "group"}', None])
def test_what_is_no_zarr_folder_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    if text is not None:
        (path / "zarr.json").write_text(text)
    code, output = said("info", path)
    assert code == 2 and output.startswith(f"langevin: {path}: not a ") and output.count("\n") == 1, output
    (tmp_path / "b").mkdir()
    with pytest.raises(LangevinError, match="is a folder"):
        langevin.open(tmp_path / "b")
