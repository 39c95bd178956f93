"""A run that is cut into shards leaves what the run leaves, whatever becomes of the shards meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import xarray as xr
from conftest import every_system, learns
from test_restart import wait_for

import langevin
from langevin.commands.cli import main
from langevin.config import registry, run_files, shards
from langevin.config.settings import Shard
from langevin.core.capabilities import Deterministic, HasGaussNewton, HasHessian, MeasuresResponse
from langevin.core.dynamics import as_system
from langevin.core.probe import Probe
from langevin.errors import ConfigError, Diverged, Interrupted, LangevinError
from langevin.files import manifest
from langevin.files.paths import Paths
from langevin.machine import memory
from langevin.results import summary
from langevin.sweep import combine, member
from langevin.sweep.executors.base import Job, Outcome, Report, Task

Maker = Callable[..., dict[str, Any]]

#: What follows from where, when and in what parts a run was computed.
CIRCUMSTANCES = ("history", "wall_time_seconds", "settings", "threads")


def harmonic(**sections: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a small run: 5 replicas, so that shards differ in size."""
    given: dict[str, Any] = {
        "title": "springs",
        "system": {"name": "harmonic", "n": 3},
        "dynamics": {"temperature": 1.0, "dt": 0.1, "t_max": 2.0},
        "ensemble": {"replicas": 5, "samples": 2, "seed": 1},
        "record": {"times": [1.0], "waiting_times": [0.0, 1.0], "lags": [0.5], "configurations": "always"},
        "output": {"figure": False},
    }
    for name, table in sections.items():
        given[name] = {**given.get(name, {}), **table}
    return given


def both(given: dict[str, Any], folder: Path, count: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the result of a run, and that of its shards."""
    results = []
    for name, parts in (("one", 1), ("cut", count)):
        own = {
            **given,
            "output": {**given["output"], "path": str(folder / f"{name}.nc")},
            "ensemble": {**given["ensemble"], "shards": parts},
        }
        results.append(langevin.run(own, threads=1, executor="in_process"))
        assert not (folder / f"{name}.sweep").exists()
    return results[0], results[1]


def assert_same(single: xr.Dataset, joined: xr.Dataset) -> None:
    """Make sure that two results are the same: bits, types, order, attributes, chunks."""
    assert list(joined.data_vars) == list(single.data_vars)
    assert sorted(map(str, joined.coords)) == sorted(map(str, single.coords))
    for name, expected in single.variables.items():
        own = joined.variables[name]
        assert (own.dims, own.dtype) == (expected.dims, expected.dtype), name
        if own.dtype.kind == "O":
            assert own.values.tolist() == expected.values.tolist(), name
        else:
            # Bits, of NaN, too.
            assert own.values.tobytes() == expected.values.tobytes(), name
        assert own.encoding.get("chunksizes") == expected.encoding.get("chunksizes"), name
    xr.testing.assert_identical(joined.drop_attrs(deep=False), single.drop_attrs(deep=False))
    kept = {k: v for k, v in single.attrs.items() if k not in CIRCUMSTANCES}
    assert {k: v for k, v in joined.attrs.items() if k not in CIRCUMSTANCES} == kept
    told, known = (json.loads(d.attrs["settings"]) for d in (joined, single))
    told["ensemble"].pop("shards"), known["ensemble"].pop("shards")
    assert {**told, "output": {}} == {**known, "output": {}}


#: Networks whose spectra are measured: those of the others are torch's, too, and take longer.
SPECTRA = ("mlp", "toy")


def everything(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return settings that record all that the system can."""
    kind = as_system(registry.load(name))
    end = given["dynamics"]["t_max"]
    record = given["record"]
    if kind.dof != 0:
        record |= {"configurations": "always", "sketch": 4, "snapshots": [0.0, end]}
    if issubclass(kind, HasHessian) and (name in SPECTRA or not learns(name)):
        record |= {"hessian": [end], "hessian_exact": 0, "hessian_steps": 3, "hessian_probes": 2}
    if issubclass(kind, HasGaussNewton) and (name in SPECTRA or not learns(name)):
        record |= {"ggn": True, "layers": True, "layer_angles": True}
    if issubclass(kind, MeasuresResponse) and given["dynamics"].get("temperature", 1) > 0:
        record |= {"response": True}
    return given


@pytest.mark.parametrize("name", every_system())
def test_every_system_is_cut_to_the_bits_of_the_single_run(
    name: str, small: Maker, tmp_path: Path, one_thread: None
) -> None:
    given = small(name)
    if issubclass(registry.load(name), Deterministic):
        with pytest.raises(ConfigError, match=r"ensemble\.shards = 2: must be 1 \(all replicas of this"):
            run_files.load({**given, "ensemble": {**given["ensemble"], "shards": 2}})
        return
    if "execution" in given["dynamics"]:
        given["dynamics"] |= {"execution": "sequential", "t_max": 2}
        given["record"] |= {"waiting_times": [0], "lags": [1]}
    if name in ("kob_andersen", "particles"):
        given["dynamics"] |= {"t_max": 0.02}
        given["record"] |= {"waiting_times": [0, 0.01], "lags": [0.01]}
    assert_same(*both(everything(name, given), tmp_path, 2))


PSPIN: dict[str, dict[str, Any]] = {
    # Replica 4 of 5 is alone with its sample in a shard, and so are others in the run: nobody has a partner.
    "uneven": {"ensemble": {"replicas": 5, "samples": 4}},
    # Shards of 3 and of 2 replicas a sample: vectors of other widths.
    "lanes": {"ensemble": {"replicas": 5, "samples": 2}},
    "double": {"system": {"couplings": "float64", "p": 4}},
    "planted": {"dynamics": {"initial_temperature": 0.8}},
}


@pytest.mark.parametrize("name", PSPIN)
def test_samples_of_the_pspin_model_stay_whole(name: str, small: Maker, tmp_path: Path) -> None:
    given = small("pspin", system__n=8)
    for section, keys in PSPIN[name].items():
        given[section] = {**given[section], **keys}
    single, joined = both(given, tmp_path, given["ensemble"]["samples"])
    assert ("overlap" in single) == (name != "uneven")
    assert_same(single, joined)


def test_replicas_that_share_calls_stay_together(small: Maker, tmp_path: Path, one_thread: None) -> None:
    """Of 18 replicas of a small net of torch 9 share each call: two shards keep them, three do not."""
    given = small("mlp", dynamics__backend="torch", dynamics__t_max=3, data__train=16, data__test=16)
    given["record"] |= {"waiting_times": [0], "lags": [1]}
    given["ensemble"] = {"replicas": 18, "samples": 1}
    assert_same(*both(given, tmp_path, 2))
    given["ensemble"] |= {"shards": 3}
    given["output"] = {"path": str(tmp_path / "torn.nc")}
    with pytest.raises(
        LangevinError, match=r"no shard has .*: 9 replicas .* up to 2 shards, or dynamics\.exec"
    ):
        langevin.run(given, executor="in_process")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.nc", "one.nc"]


def test_data_are_those_of_all_samples(small: Maker, tmp_path: Path, one_thread: None) -> None:
    """A shard, too, that has replicas of one sample alone: the file says which data the run learned from."""
    given = small("gru", dynamics__t_max=2, dynamics__execution="sequential")
    given["record"] |= {"waiting_times": [0], "lags": [1]}
    single, joined = both(given, tmp_path, 4)
    assert len(np.unique(single["sample"])) == 2
    assert len(single.attrs["data_best_loss"].split(", ")) == 2
    assert_same(single, joined)


def test_the_default_trajectory_is_that_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What "auto" stores is decided by all replicas: a shard alone would have room for them."""
    monkeypatch.setattr("langevin.record.configurations.TRAJECTORY_LIMIT", 400)
    single, joined = both(harmonic(record={"configurations": "auto"}), tmp_path, 5)
    assert "configuration" not in single
    assert_same(single, joined)


def test_it_is_joined_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that hold neither all times nor all replicas; along the first dimension and the second."""
    for piece in (8, 40, 100):
        monkeypatch.setattr(combine, "PIECE", piece)
        (folder := tmp_path / str(piece)).mkdir()
        assert_same(*both(harmonic(), folder, 2))


def test_members_of_a_sweep_are_cut(tmp_path: Path) -> None:
    """Each as the run: the file of the sweep is the same, whatever the members were computed in."""
    swept = {"dynamics.temperature": [0.5, 1.0], "ensemble.replicas": [3, 5]}
    single, joined = both(harmonic(sweep=swept, record={"sketch": 2}), tmp_path, 2)
    spent = ["wall_time_seconds"]
    same = {"replica_present", "sample"} & set(single.variables)
    assert same
    xr.testing.assert_identical(
        joined.drop_vars(spent).drop_attrs(deep=False), single.drop_vars(spent).drop_attrs(deep=False)
    )
    assert {n: v.attrs for n, v in joined.variables.items()} == {
        n: v.attrs for n, v in single.variables.items()
    }


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"ensemble": {"shards": 6}}, "ensemble.shards = 6: must be ≤ ensemble.replicas = 5"),
        ({"ensemble": {"replicas": 1, "samples": 1, "shards": 2}}, "must be ≤ ensemble.replicas = 1"),
        ({"ensemble": {"shards": 0}}, "ensemble.shards = 0: allowed: integer ≥ 1"),
        ({"ensemble": {"replicas": 10**9, "shards": 2}}, "must be 1 with ensemble.replicas = 1000000000"),
        ({"sweep": {"ensemble.shards": [1, 2]}}, "sweep.ensemble.shards: cannot be swept"),
        (
            {"sweep": {"ensemble.replicas": [5, 2]}, "ensemble": {"shards": 3}},
            "ensemble.shards = 3: must be ≤ ensemble.replicas = 2",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(sections: dict[str, dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run_files.load(harmonic(**sections))
    assert said in str(caught.value)


def test_shards_keep_samples(small: Maker) -> None:
    given = small("pspin")
    given["ensemble"] |= {"replicas": 7, "samples": 3, "shards": 2}
    settings = run_files.load(given)
    assert [own.tolist() for own in shards.cut(settings)] == [[0, 1, 3, 4, 6], [2, 5]]
    given["ensemble"] |= {"shards": 4}
    with pytest.raises(ConfigError, match=r"must be ≤ ensemble\.samples = 3 \(the replicas of a sample"):
        run_files.load(given)
    given["ensemble"] |= {"shards": 2}
    given["dynamics"] |= {"backend": "torch"}
    with pytest.raises(ConfigError, match=r"ensemble\.shards: must be 1 with .*torch multiplies all samples"):
        run_files.load(given)


class _Some:
    """An executor that carries out some of the jobs; of the others it says that they failed, or stops."""

    threads = 1

    def __init__(self, done: Sequence[int], kind: Any = "failed") -> None:
        self.done, self.kind = done, kind

    def map(
        self, task: Task, jobs: Sequence[Job], report: Report, stopped: Callable[[], bool]
    ) -> Generator[tuple[int, Outcome], None, None]:
        for index, job in enumerate(jobs):
            if index in self.done:
                task(job, 1, lambda part: None)
                yield index, Outcome("done")
            else:
                yield index, Outcome(self.kind, "no such luck")


def test_failed_shards_are_nan_and_are_tried_again(tmp_path: Path) -> None:
    given = harmonic(output={"path": str(tmp_path / "a.nc")}, ensemble={"shards": 2})
    single, _ = both(harmonic(), tmp_path, 2)
    with pytest.raises(LangevinError) as caught:
        langevin.run(given, executor=_Some([0]))
    assert str(caught.value) == (
        f"1 of 2 shards failed: shard 1 (replicas 1, 3): no such luck; the others are in {tmp_path}/a.nc; "
        f"`langevin.resume({str(tmp_path / 'a.nc')!r})` tries again"
    )
    with langevin.open(tmp_path / "a.nc") as partial:
        assert partial.attrs["status"] == "incomplete: 1 of 2 shards failed"
        assert partial["replica"].values.tolist() == [0, 1, 2, 3, 4]
        assert np.isfinite(partial["energy"].values).all(1).tolist() == [True, False, True, False, True]
        assert "incomplete" in summary.contents(partial)
    with langevin.resume(tmp_path / "a.nc", executor="in_process") as resumed:
        assert_same(single, resumed)
        assert len(resumed.attrs["history"].splitlines()) == 2
    assert not (tmp_path / "a.sweep").exists()


def test_nothing_but_failures(tmp_path: Path) -> None:
    given = harmonic(output={"path": str(tmp_path / "a.nc")}, ensemble={"shards": 5})
    with pytest.raises(
        LangevinError, match=r"no shard has measured anything; shard 0 \(replica 0\): no such luck"
    ):
        langevin.run(given, executor=_Some([]))
    assert not list(tmp_path.iterdir())


def test_failed_shards_of_members(tmp_path: Path) -> None:
    """A member of which a shard failed has what the others measured; later it goes on, and nothing else."""
    given = harmonic(
        output={"path": str(tmp_path / "a.nc")},
        ensemble={"shards": 2},
        sweep={"dynamics.temperature": [0.5, 1.0]},
    )
    with pytest.raises(LangevinError) as caught:
        langevin.run(given, executor=_Some([0, 1, 2]))
    assert "1 of 4 shards failed: dynamics.temperature = 1.0, shard 1 (replicas 1, 3): no such" in str(
        caught.value
    )
    with langevin.open(tmp_path / "a.nc") as partial:
        assert partial["status"].values.tolist() == [
            "complete",
            "failed: 1 of 2 shards failed: shard 1: no such luck",
        ]
        assert np.isfinite(partial["energy"].values).all(2).sum(1).tolist() == [5, 3]
    names = sorted(p.name for p in (tmp_path / "a.sweep").iterdir())
    assert names == ["member-0000.nc", "member-0001-shard-0000.nc", "sweep.json"]
    with langevin.resume(tmp_path / "a.nc", executor="in_process") as resumed:
        assert resumed.attrs["status"] == "complete"
        assert np.isfinite(resumed["energy"].values).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


def test_it_stops_and_goes_on(tmp_path: Path) -> None:
    given = harmonic(output={"path": str(tmp_path / "a.nc")}, ensemble={"shards": 5})
    with pytest.raises(Interrupted, match=r"with 3 of 5 shards done; continue with `langevin\.resume\("):
        langevin.run(given, executor=_Some([0, 1, 2], "stopped"), wall_time=1000)
    assert manifest.read(Paths(tmp_path / "a.nc").manifest)["settings"]["ensemble"]["shards"] == 5
    # What another number of shards was asked for is not this.
    with pytest.raises(LangevinError, match=r"its ensemble\.shards is 5, here 2: must be the same"):
        langevin.run(given, {"ensemble.shards": 2}, resume=True)
    langevin.run(given, resume=True, executor="in_process").close()
    # Of a result it is not asked.
    with langevin.run(given, {"ensemble.shards": 2}, resume=True) as complete:
        assert complete.attrs["status"] == "complete"


def test_a_shard_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Its checkpoint says of which replicas it is; without that it would go on as the whole run."""
    given = harmonic(
        dynamics={"t_max": 2000.0},
        record={"configurations": "never"},
    )
    settings = run_files.load({**given, "ensemble": {**given["ensemble"], "shards": 2}})
    results = []
    for name in ("a", "b"):
        job = member.job(settings, tmp_path / f"{name}.nc", 0, tmp_path, shard=Shard(1, 2))
        if name == "b":
            # As soon as it is told how far it is: after its first checkpoint.
            with pytest.raises(Interrupted):
                member.carry_out(job, 1, lambda part: os.kill(os.getpid(), signal.SIGTERM))
            assert (tmp_path / "b.checkpoint.nc").exists()
        member.carry_out(job, 1, lambda part: None)
        results.append(langevin.open(tmp_path / f"{name}.nc"))
    assert results[0]["replica"].values.tolist() == [1, 3]
    assert_equal_values(*results)


def assert_equal_values(first: xr.Dataset, second: xr.Dataset) -> None:
    for name in first.variables:
        assert first[name].values.tobytes() == second[name].values.tobytes(), name


class Explodes(Probe):
    """Diverges in one replica."""

    def take(self, run: Any, stop: Any) -> Any:
        """Return zeros, or break."""
        if 3 in run.ensemble.replica and stop.time > 0.5:
            raise Diverged("replica 3 is gone")
        return {"zero": ((), np.zeros(run.ensemble.size))}

    def attributes(self) -> Any:
        """Name it."""
        return {"zero": {"long_name": "nothing", "units": "1"}}


def test_shards_that_diverge(tmp_path: Path) -> None:
    """The others go on to their end; the file says how many did not."""
    probes = {"own": {"use": "test_shards:Explodes", "times": [0.5, 1.0]}}
    given = harmonic(
        output={"path": str(tmp_path / "a.nc")}, ensemble={"shards": 2}, record={"probes": probes}
    )
    with pytest.raises(Diverged) as caught:
        langevin.run(given, executor="in_process")
    assert str(caught.value).startswith(
        "1 of 2 shards diverged: shard 1 (replicas 1, 3): replica 3 is gone; "
    )
    with langevin.open(tmp_path / "a.nc") as dataset:
        assert dataset.attrs["status"] == "diverged: replica 3 is gone (1 of 2 shards)"
        assert np.isfinite(dataset["zero"].values).all(1).tolist() == [True, False, True, False, True]
    assert not (tmp_path / "a.sweep").exists()


def test_what_follows_takes_it_for_a_run(tmp_path: Path) -> None:
    """[start], a figure, `info`, --resume: as of any result."""
    path = tmp_path / "a.nc"
    given = harmonic(output={"path": str(path)}, ensemble={"shards": 3}, record={"snapshots": [2.0]})
    langevin.run(given, executor="in_process").close()
    further = harmonic(start={"file": str(path)}, ensemble={"shards": 2})
    assert_same(*both(further, tmp_path, 2))
    with langevin.open(path) as dataset:
        assert "springs" in summary.contents(dataset)
    main(["plot", str(path), "-o", str(tmp_path / "a.png")], standalone_mode=False)
    assert (tmp_path / "a.png").exists()


def test_lines_count_shards(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text(
        '[system]\nname = "harmonic"\nn = 2\n[dynamics]\ntemperature = 1.0\ndt = 0.1\nt_max = 1.0\n'
        f'[ensemble]\nreplicas = 4\n[output]\npath = "{tmp_path}/a.nc"\nfigure = false\n'
    )
    main(["validate", str(tmp_path / "a.toml"), "--set", "ensemble.shards=2"], standalone_mode=False)
    main(
        ["run", str(tmp_path / "a.toml"), "--shards", "2", "--executor", "in_process"], standalone_mode=False
    )
    out, err = capfd.readouterr()
    assert "valid (harmonic, 4 replicas in 2 shards)" in out
    assert "harmonic: start, 0 of 2 shards" in err
    assert "member" not in err


def test_processes_and_a_signal(tmp_path: Path) -> None:
    """In processes of their own; Ctrl-C in the middle; the same bits in the end."""
    given = harmonic(
        dynamics={"t_max": 3000.0},
        record={"configurations": "never"},
        ensemble={"shards": 2},
        output={"path": str(tmp_path / "a.nc"), "checkpoint_interval": 0},
    )
    code = f"import langevin; langevin.run({given!r}, threads=1)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "a.sweep" / "shard-0000.checkpoint.nc", process, times=2)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait() != 0
    assert "of 2 shards done; continue with" in said
    with langevin.resume(tmp_path / "a.nc", executor="in_process") as resumed:
        single, _ = both({**given, "ensemble": {**given["ensemble"]}}, tmp_path, 1)
        assert_equal_values(single, resumed)


def test_a_run_that_does_not_fit_says_in_how_many_shards_it_does(
    small: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Free:
        available = 2**30

    monkeypatch.setattr(psutil, "virtual_memory", Free)
    # 3 arrays of 10⁷ numbers: 240 MB for each replica, of which four fit into 1.07 GB.
    given = harmonic(system={"n": 10**7}, ensemble={"replicas": 10, "samples": 1})
    with pytest.raises(
        ConfigError, match=r"needs 2\.4 GB .*, or ensemble\.shards ≥ 3 \(each fits by itself\)"
    ):
        run_files.load(given)
    given["ensemble"] |= {"shards": 2}
    with pytest.raises(ConfigError, match=r"ensemble\.shards = 2: needs 1\.2 GB of memory.* ≥ 3 \("):
        run_files.load(given)
    given["ensemble"] |= {"shards": 3}
    assert run_files.load(given).ensemble.shards == 3
    # Not even one replica fits.
    with pytest.raises(ConfigError, match=r"allowed: less$"):
        run_files.load(harmonic(system={"n": 10**8}, ensemble={"replicas": 2, "samples": 1}))
    # Couplings of a sample are not cut: with N = 900, 0.48 GB each.
    spins = small("pspin", system__n=900)
    spins["ensemble"] |= {"replicas": 8, "samples": 4}
    with pytest.raises(
        ConfigError, match=r"couplings of 4 samples need 1\.9 GB.*, or ensemble\.shards ≥ 2 \("
    ):
        run_files.load(spins)
    spins["ensemble"] |= {"shards": 2}
    assert run_files.load(spins).ensemble.shards == 2


def test_an_array_that_does_not_fit_says_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Free:
        available = 2.5e9

    monkeypatch.setattr(psutil, "virtual_memory", Free)
    with pytest.raises(LangevinError, match=r"ensemble\.shards ≥ 4 \("), memory.room_explained(lambda: 7):
        # 7 × 1 GB in an array of more than any memory holds: what numpy says has its shape.
        raise np._core._exceptions._ArrayMemoryError((7, 125_000_000), np.dtype("f8"))  # type: ignore[attr-defined]
    with pytest.raises(LangevinError) as caught, memory.room_explained(lambda: 7):
        torch.empty(2**60)
    assert "shards" not in str(caught.value)
