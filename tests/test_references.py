"""References are written once, and are on the disk before any checkpoint that relies on them."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import netCDF4
import numpy as np
import pytest
import walkers
from test_recorder import walking
from test_restart import assert_same, interrupted

from langevin.config import run_files
from langevin.core import probe
from langevin.errors import LangevinError, StorageError
from langevin.files import storage
from langevin.files.paths import Paths
from langevin.machine import pace
from langevin.record.references import References
from langevin.running import session
from langevin.sweep import simulation

GENERATOR = np.random.default_rng(3)

ARRAYS: dict[str, Any] = {
    "a time": np.asarray(2.5),
    "a number": 7.0,
    "configurations": GENERATOR.normal(size=(4, 30)),
    "with sums": GENERATOR.normal(size=(3, 4, 30)),
    "single precision": GENERATOR.normal(size=(2, 50)).astype(np.float32),
    "integers": np.arange(-5, 5, dtype=np.int8),
    "truths": np.array([True, False]),
    "complex": np.exp(1j * np.arange(4.0)),
    "the other byte order": np.arange(3, dtype=">f8"),
    "columns first": np.asfortranarray(GENERATOR.normal(size=(3, 5))),
    "every other": np.arange(20.0)[::2],
    "nothing": np.empty((0, 3)),
    "a record": np.array([(1, 2.5)], dtype=[("step", "i4"), ("x", "f8")]),
    "nan": np.array([np.nan, -0.0, np.inf]),
}


def assert_equal(found: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


def test_whatever_numpy_makes_of_a_reference_comes_back(tmp_path: Path) -> None:
    path, given = tmp_path / "a.references", dict(enumerate(ARRAYS.values()))
    stored = References(path)
    for count in (0, 1, 5, len(given)):
        before = path.read_bytes()
        stored.write({i: given[i] for i in range(count)})
        # Appended: what was there is not touched.
        assert path.read_bytes().startswith(before)
    places = json.loads(json.dumps(stored.places))
    stored.close()
    again = References(path, places)
    found = again.read()
    again.close()
    assert list(found) == list(given)
    for index, expected in given.items():
        assert_equal(found[index], expected)


def test_what_no_checkpoint_knows_of_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.references"
    stored = References(path)
    stored.write({0: np.zeros(3)})
    known = dict(stored.places)
    stored.write({0: np.zeros(3), 1: np.ones(500)})
    stored.close()
    again = References(path, known)
    again.write({0: np.zeros(3), 1: np.arange(4)})
    np.testing.assert_array_equal(again.read()[1], np.arange(4))
    again.close()
    both = References(path, again.places).read()
    np.testing.assert_array_equal(both[0], np.zeros(3))
    np.testing.assert_array_equal(both[1], np.arange(4))


def test_what_is_no_array_of_numbers_is_refused(tmp_path: Path) -> None:
    stored = References(tmp_path / "a.references")
    with pytest.raises(LangevinError, match=r"waiting time number 2 is a set, of which numpy\.asarray makes"):
        stored.write({0: np.zeros(3), 2: {1.0}})
    assert list(stored.places) == [0]


class Kept:
    """Counts how often it is asked for its array."""

    asked: ClassVar[Counter[float]] = Counter()

    def __init__(self, x: Any) -> None:
        self.x = x

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        self.asked[float(self.x.sum())] += 1
        return np.asarray(self.x, dtype=dtype)


def test_a_reference_is_written_once_and_not_into_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = walkers.Walkers.compare
    monkeypatch.setattr(Kept, "asked", Counter())
    monkeypatch.setattr(walkers.Walkers, "reference", lambda self, state: Kept(state))
    monkeypatch.setattr(walkers.Walkers, "compare", lambda self, kept, state: compare(self, kept.x, state))
    monkeypatch.setattr(walkers.Walkers, "load_reference", lambda self, saved: Kept(saved))
    given = walking(waiting_times=[0.0, 4.0, 9.0])
    given["output"] = {"path": str(tmp_path / "a.nc"), "checkpoint_interval": 0.0}
    paths = interrupted(given, monkeypatch, 12)
    with netCDF4.Dataset(paths.checkpoint) as file:
        assert set(file["restart"].variables) == {"x", "notes"}
    assert (len(Kept.asked), set(Kept.asked.values())) == (3, {1})
    simulation.resume(paths.result).close()
    assert set(Kept.asked.values()) == {1}


class PowerCut(BaseException):
    """The machine stops here."""


class Disk:
    """Counts what reaches the disk; at the operation number `last` the power goes.

    Then what was written to the references and not synced is lost, and renamings since the folder was synced.
    """

    def __init__(self, references: Path, last: int) -> None:
        self.references, self.last, self.done = references, last, 0
        self.synced = b""
        self.renamed: dict[Path, bytes | None] = {}
        self.replace = Path.replace

    def _operation(self) -> None:
        if self.done == self.last:
            if self.references.exists():
                self.references.write_bytes(self.synced)
            for path, before in self.renamed.items():
                path.unlink()
                if before is not None:
                    path.write_bytes(before)
            raise PowerCut
        self.done += 1

    def sync(self, number: int) -> None:
        self._operation()
        if stat.S_ISDIR(os.fstat(number).st_mode):
            self.renamed.clear()
        if self.references.exists() and os.fstat(number).st_ino == self.references.stat().st_ino:
            self.synced = self.references.read_bytes()

    def rename(self, path: Path, target: Path) -> Path:
        self._operation()
        before = target.read_bytes() if target.exists() else None
        self.renamed.setdefault(target, before)
        return self.replace(path, target)


def test_a_power_cut_at_any_operation_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations are the syncs and the renamings: between them nothing on the disk changes for good."""
    monkeypatch.setattr(os, "fsync", lambda number: None)
    given: dict[str, Any] = {
        "system": {"name": "harmonic", "n": 5},
        "dynamics": {"temperature": 1.0, "initial_temperature": 0.5, "dt": 0.1, "t_max": 0.8},
        "ensemble": {"replicas": 2, "seed": 5},
        # The room of the first is used again while the second is needed.
        "record": {"waiting_times": [0.0, 0.2, 0.5], "lags": [0.1, 0.3]},
        "output": {"path": str(tmp_path / "whole.nc"), "checkpoint_interval": 0.0},
    }
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "cut.nc")
    paths, ended = Paths(tmp_path / "cut.nc"), False
    # In steps that meet every operation of a checkpoint: of five or six.
    for last in range(4, 400, 7):
        disk = Disk(paths.references, last)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", disk.sync)
            patch.setattr(Path, "replace", lambda path, target, d=disk: d.rename(path, target))
            try:
                simulation.execute(run_files.load(given), force=True)
                ended = True
            except PowerCut:
                pass
        if ended:
            break
        if paths.checkpoint.exists():
            simulation.resume(paths.result).close()
        assert_same(tmp_path / "whole.nc", paths.result)
    assert ended
    assert last > 40
    assert {p.name for p in tmp_path.iterdir()} == {"whole.nc", "cut.nc"}


def test_room_is_used_again_once_no_checkpoint_relies_on_it(tmp_path: Path) -> None:
    stored, arrays = References(tmp_path / "a.references"), {k: np.full(10, float(k)) for k in range(9)}
    stored.write({0: arrays[0], 1: arrays[1]})
    stored.settle()
    before = References(tmp_path / "a.references", stored.places)
    # The checkpoint on the disk relies on number 0 until the next one is there.
    stored.write({1: arrays[1], 2: arrays[2]})
    np.testing.assert_array_equal(before.read()[0], arrays[0])
    stored.settle()
    stored.write({k: arrays[k] for k in (1, 2, 3)})
    stored.settle()
    assert (tmp_path / "a.references").stat().st_size == 3 * 80
    for k, found in stored.read().items():
        np.testing.assert_array_equal(found, arrays[k])
    # What is larger than the gap goes behind the rest.
    stored.write({2: arrays[2], 3: arrays[3]})
    stored.settle()
    stored.write({2: arrays[2], 3: arrays[3], 4: np.arange(11.0)})
    assert stored.places[4][0] == 3 * 80


def test_references_are_let_go_after_their_last_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those without a pair are not made at all; on resuming, those that are needed come back."""
    made, most, runs, measure = [], [], [], probe.Run.measure

    def reference(self: Any, state: Any) -> Any:
        made.append(len(made))
        return state

    def watched(run: Any, stop: Any) -> None:
        most.append(len(run.references))
        measure(run, stop)
        runs.append(run)

    monkeypatch.setattr(walkers.Walkers, "reference", reference)
    monkeypatch.setattr(probe.Run, "measure", watched)
    given = walking(waiting_times=list(np.arange(0.0, 21.0)), lags=[2.0, 3.0])
    given["output"] = {"path": str(tmp_path / "whole.nc"), "figure": False}
    simulation.execute(run_files.load(given))
    # The last two waiting times, 19 and 20, have no pair; three are waited for at once.
    assert (len(made), max(most), len(runs[-1].references)) == (19, 3, 0)
    given["output"]["path"] = str(tmp_path / "a.nc")
    paths = interrupted(given, monkeypatch, 12)
    with netCDF4.Dataset(paths.checkpoint) as file:
        places = json.loads(file["restart"]["notes"][...].tobytes())["references"]
    assert len(places) == 3
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)


def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """All three references are needed to the end."""
    record = {"waiting_times": [0.0, 4.0, 9.0], "lags": [1.0, 11.0, 16.0, 20.0]}
    given = {**walking(**record), "output": {"path": str(tmp_path / "a.nc")}}
    return interrupted(given, monkeypatch, after=9.0, tick_number=0)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda b: None, "a.checkpoint.references lacks references that were stored: it was removed or cut"),
        (lambda b: b[:-1], "a.checkpoint.references lacks references"),
        (lambda b: b"\0" * len(b), "a.checkpoint.references is damaged"),
        (lambda b: bytes([*b[:1300], b[1300] ^ 4, *b[1301:]]), "a.checkpoint.references is damaged"),
    ],
)
def test_references_that_are_not_there_any_more(
    harm: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = stopped(tmp_path, monkeypatch)
    whole = paths.references.read_bytes()
    harmed = harm(whole)
    paths.references.unlink()
    if harmed is not None:
        paths.references.write_bytes(harmed)
    with pytest.raises(StorageError) as caught:
        simulation.resume(paths.result)
    assert said in str(caught.value)
    paths.references.write_bytes(whole)
    simulation.resume(paths.result).close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


def test_what_a_killed_process_left_behind_the_last_checkpoint_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**walking(waiting_times=[0.0, 4.0, 15.0]), "output": {"path": str(tmp_path / "whole.nc")}}
    simulation.execute(run_files.load(given))
    given["output"] = {"path": str(tmp_path / "a.nc")}
    paths = interrupted(given, monkeypatch, 8)
    with paths.references.open("ab") as file:
        file.write(b"half of a reference")
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)


def test_a_new_run_takes_nothing_from_a_discarded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = stopped(tmp_path, monkeypatch)
    given = {**walking(waiting_times=[0.0]), "output": {"path": str(paths.result)}}
    given["ensemble"] = {"replicas": 1, "seed": 6}
    assert len(paths.references.read_bytes()) == 3 * 1200
    seen = []
    monkeypatch.setattr(References, "close", lambda self: seen.append(self.path.stat().st_size))
    simulation.execute(run_files.load(given), force=True)
    # Of this run there is no checkpoint after t = 0, or one with the single reference.
    assert max(seen) <= 128 + 50 * 8
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


def test_a_checkpoint_of_the_layout_before_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(storage, "CHECKPOINT_FORMAT", 1)
        paths = stopped(tmp_path, monkeypatch)
    words = rf"another version of langevin \(format 1, here {storage.CHECKPOINT_FORMAT}\)"
    with pytest.raises(StorageError, match=words):
        simulation.resume(paths.result)


@pytest.mark.parametrize(
    ("interval", "took", "expected"),
    [(30.0, 0.1, 30.0), (30.0, 2.0, 200.0), (1.0, 0.1, 10.0), (0.0, 9.0, 0.0)],
)
def test_the_rest_after_a_checkpoint(interval: float, took: float, expected: float) -> None:
    assert pace.rest(interval, took) == pytest.approx(expected)


def test_writing_checkpoints_takes_a_hundredth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock where a step takes 1 s and a checkpoint 2 s: one in 202 s."""
    clock, written = SimpleNamespace(now=0.0), []
    advance, write = walkers.Walkers.advance, storage.write_checkpoint

    def slow_step(self: Any, state: Any, t0: float, t1: float, noise: Any) -> Any:
        clock.now += t1 - t0
        return advance(self, state, t0, t1, noise)

    def slow_write(*given: Any) -> None:
        written.append(clock.now)
        clock.now += 2.0
        write(*given)

    monkeypatch.setattr(walkers.Walkers, "advance", slow_step)
    monkeypatch.setattr(storage, "write_checkpoint", slow_write)
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: clock.now))
    times = list(np.arange(0.0, 501.0))
    given = {**walking(times=times, waiting_times=[0.0], lags=[1.0], configurations="never")}
    given["dynamics"] = {"t_max": 500.0}
    given["output"] = {"path": str(tmp_path / "a.nc"), "checkpoint_interval": 30.0}
    simulation.execute(run_files.load(given))
    # The first before anything is computed, the second soon after: with it there is something to plot.
    assert written == [0.0, 3.0, 205.0, 407.0]
