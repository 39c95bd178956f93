"""Damaged files: whatever is done to a byte, a number is the one that was written, or there is one line."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from test_restart import interrupted

from langevin.commands import cli
from langevin.config import run_files
from langevin.errors import LangevinError, StorageError
from langevin.files import sealing, storage
from langevin.files.paths import Paths
from langevin.running.session import Session
from langevin.sweep import simulation

GIVEN: dict[str, Any] = {
    "title": "springs, at the temperature “1”",
    "system": {"name": "harmonic", "n": 6},
    "dynamics": {"temperature": 1.0, "dt": 0.1, "t_max": 2.0},
    "ensemble": {"replicas": 2, "seed": 5},
    "record": {"waiting_times": [0.0, 0.2, 0.5], "lags": [0.1, 1.2], "sketch": 4, "snapshots": [0.5, 2.0]},
    "output": {"figure": False},
}

#: Flipped bits and zeroed blocks of each kind of file.
TRIES = 6


def given(path: Path) -> dict[str, Any]:
    return {**GIVEN, "output": {"path": str(path), "figure": False}}


def hurt(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with one bit flipped, or up to 512 of them zero that were not."""
    while True:
        changed, place = bytearray(data), rng.randrange(len(data))
        if rng.random() < 0.5:
            changed[place] ^= 1 << rng.randrange(8)
        else:
            changed[place : place + 512] = bytes(len(changed[place : place + 512]))
        if changed != data:
            return bytes(changed)


def contents(path: Path, skipped: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return everything that is in a result, to the bit, but for what tells the time of day."""
    with simulation.open(path) as found:
        found.load()
    held = {
        str(name): (v.dims, v.values.tolist() if v.dtype.kind == "O" else v.values.tobytes(), repr(v.attrs))
        for name, v in found.variables.items()
    }
    return held | {k: v for k, v in found.attrs.items() if k not in skipped}


TELLING = ("history", "wall_time_seconds", "run_file", "settings", "commit")


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[Path, bytes], dict[str, Any]]:
    """Return the files of a run that was stopped, and what its result is to hold."""
    folder = tmp_path_factory.mktemp("run")
    simulation.execute(run_files.load(given(folder / "whole.nc")))
    with pytest.MonkeyPatch.context() as patch:
        paths = interrupted(given(folder / "a.nc"), patch, after=1.0, tick_number=0)
    kept = {path: path.read_bytes() for path in folder.iterdir() if path.name.startswith("a.")}
    assert len(kept) == 5
    assert paths.references.stat().st_size > 0
    return kept, contents(folder / "whole.nc", TELLING)


@pytest.mark.parametrize("kind", ["nc", "configurations", "references", "sketches", "snapshots"])
def test_a_damaged_run_ends_in_the_same_bits_or_not_at_all(
    kind: str, unfinished: tuple[dict[Path, bytes], dict[str, Any]]
) -> None:
    kept, expected = unfinished
    rng, ends = random.Random(kind), Counter[str]()
    path = next(path for path in kept if path.suffix == f".{kind}")
    for _ in range(TRIES if kind != "nc" else 3 * TRIES):
        for other, data in kept.items():
            other.write_bytes(data)
        path.write_bytes(hurt(kept[path], rng))
        result = path.with_name("a.nc")
        try:
            simulation.execute_resume(result)
        except LangevinError as error:
            ends["refused"] += 1
            assert (isinstance(error, StorageError), path.name in str(error)) == (True, True)
            assert str(error).count("\n") == 0
            assert not result.exists()
        else:
            ends["right"] += 1
            assert contents(result, TELLING) == expected
            result.unlink()
    # Damage to the seal alone, or behind the last record that is known, changes nothing.
    assert ends["refused"] > 0.6 * ends.total(), ends


def test_a_damaged_result_is_one_line(tmp_path: Path) -> None:
    path = simulation.execute(run_files.load(given(tmp_path / "a.nc")))
    whole, expected, ends = path.read_bytes(), contents(path), Counter[str]()
    rng = random.Random(1)
    for _ in range(4 * TRIES):
        path.write_bytes(hurt(whole, rng))
        try:
            found = contents(path)
        except LangevinError as error:
            ends["refused"] += 1
            assert (str(error).count("\n"), "a.nc" in str(error)) == (0, True)
        else:
            ends["right"] += 1
            assert found == expected
    assert ends["refused"] > 0.6 * ends.total(), ends


def test_damage_to_the_seal_itself_is_not_taken_for_its_absence(tmp_path: Path) -> None:
    path = simulation.execute(run_files.load(given(tmp_path / "a.nc")))
    whole, seal = path.read_bytes(), sealing.SEAL
    assert sealing.verify(path)
    # A block that ends the file, together with the last number before the seal.
    for first, last in ((-seal - 8, -seal + 504), (-512, None)):
        block = bytearray(whole)
        block[first:last] = bytes(512)
        path.write_bytes(block)
        if first == -512:
            assert contents(path)
        else:
            with pytest.raises(StorageError, match="damaged"):
                simulation.open(path)


@pytest.mark.parametrize("mode", ["a", "r+", "xarray", "xarray adds"])
def test_a_result_that_a_user_edits_is_not_called_damaged(mode: str, tmp_path: Path) -> None:
    path = simulation.execute(run_files.load(given(tmp_path / "a.nc")))
    if mode.startswith("xarray"):
        with xr.open_dataset(path) as opened:
            dataset = opened.load()
        dataset.attrs["title"] = "mine"
        dataset.to_netcdf(path, mode="a" if mode == "xarray adds" else "w")
    else:
        with netCDF4.Dataset(path, mode) as file:
            file.setncattr("title", "mine")
            file["energy"][0, 0] = 7.0
    with simulation.open(path) as found:
        assert found.attrs["title"] == "mine"
        assert float(found["energy"][0, 1]) == float(found["energy"][0, 1])
    assert not sealing.verify(path)


@pytest.mark.parametrize("command", ["plot", "compare", "ensemble", "plane", "export"])
def test_damage_that_shows_on_reading_is_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a file that is too large for a look at its seal, or has none, the chunks have checksums."""
    path = simulation.execute(run_files.load(given(tmp_path / "a.nc")))
    with xr.open_dataset(path) as found:
        expected = {name: found[name].to_numpy().tobytes() for name in ("energy", "configuration")}
    whole = path.read_bytes()
    for name in ("energy", "configuration"):
        place = whole.index(expected[name][: 2 * 6 * 8])
        whole = bytes([*whole[: place + 5], whole[place + 5] ^ 1, *whole[place + 6 :]])
    path.write_bytes(whole[: -sealing.SEAL])
    arguments = {
        "compare": ["compare", "a.nc", "a.nc"],
        "plane": ["plane", "a.nc", "--along", "a.nc"],
    }.get(command, [command, "a.nc"])
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code in (1, 2), (done.output, done.exception)
    assert isinstance(done.exception, SystemExit)
    assert done.output.startswith("langevin: ") or "Usage" in done.output
    if command == "plot":
        assert (done.exit_code, "a.nc is damaged" in done.output) == (1, True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


def test_every_chunk_of_numbers_has_a_checksum(tmp_path: Path) -> None:
    swept = {**given(tmp_path / "s.nc"), "sweep": {"dynamics.temperature": [0.5, 1.0]}}
    for settings in (given(tmp_path / "a.nc"), swept):
        with netCDF4.Dataset(simulation.execute(run_files.load(settings))) as file:
            numbers = [v for v in file.variables.values() if v.ndim and v.dtype is not str]
            assert len(numbers) > 5
            assert all(variable.filters()["fletcher32"] for variable in numbers)


def test_a_damaged_folder_of_a_sweep_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from langevin.files import manifest
    from langevin.sweep import combine

    settings = {**given(tmp_path / "s.nc"), "sweep": {"dynamics.temperature": [0.5, 1.0]}}
    paths = Paths(tmp_path / "s.nc")

    def full(*told: Any) -> Any:
        raise StorageError("cannot write s.nc: no space left")

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="no space left"):
        patch.setattr(combine, "write", full)
        simulation.execute(run_files.load(settings))
    shutil.copytree(paths.sweep, tmp_path / "kept")
    member = paths.sweep / "member-0001.nc"
    rng = random.Random(3)
    for path in [paths.manifest] * 6 + [member] * 2:
        shutil.rmtree(paths.sweep)
        shutil.copytree(tmp_path / "kept", paths.sweep)
        path.write_bytes(hurt(path.read_bytes(), rng))
        with pytest.raises(StorageError, match=f"{path.name}.*(damaged|cannot be read)") as caught:
            simulation.execute_resume(paths.result)
        assert str(caught.value).count("\n") == 0
        assert not paths.result.exists()
    shutil.rmtree(paths.sweep)
    shutil.copytree(tmp_path / "kept", paths.sweep)
    member.unlink()
    simulation.execute_resume(paths.result)
    assert manifest.FORMAT == 3
    with simulation.open(paths.result) as found:
        assert found.attrs["status"] == "complete"


def test_a_checkpoint_without_its_seal_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = interrupted(given(tmp_path / "a.nc"), monkeypatch, 3)
    with netCDF4.Dataset(paths.checkpoint, "a") as file:
        file["restart"]["x"][0, 0] = 7.0
    with pytest.raises(StorageError, match="another program has changed it"):
        simulation.resume(paths.result)


def test_damage_during_the_run_is_noticed_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish: Callable[..., None] = Session._finish

    def harmed(session: Any, status: str) -> None:
        path = session.paths.raw("configuration")
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
        finish(session, status)

    monkeypatch.setattr(Session, "_finish", harmed)
    with pytest.raises(StorageError, match=r"a\.checkpoint\.configurations is damaged"):
        simulation.execute(run_files.load(given(tmp_path / "a.nc")))
    assert not (tmp_path / "a.nc").exists()
    assert not list(tmp_path.glob(".*partial"))


def test_the_notes_of_a_checkpoint_know_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = interrupted(given(tmp_path / "a.nc"), monkeypatch, 5)
    _, _, notes = storage.read_checkpoint(paths.checkpoint)
    assert json.dumps(notes["checksums"]).count(" ") > 3
    assert len(notes["checksums"]["configuration"].split()) == notes["position"]
    assert np.isfinite(notes["time"])
