"""A user's probe measures at times of its own, of any system; what is due is measured, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from numpy.typing import NDArray
from test_restart import assert_same, interrupted
from test_sweep import assert_members_are_single_runs, harmonic, here

import langevin
from langevin.commands.cli import main
from langevin.config import run_files
from langevin.config.keys import Section, key
from langevin.core.capabilities import HasObservables
from langevin.core.probe import Probe, Run, Taken
from langevin.core.schedule import Stop
from langevin.core.system import Attributes, Coordinates
from langevin.errors import ConfigError, Interrupted, LangevinError, UserError
from langevin.machine.interruption import Request
from langevin.observables import sketch, two_time
from langevin.results import configurations
from langevin.sweep import simulation
from langevin.systems.harmonic import Harmonic

Maker = Callable[..., dict[str, Any]]

#: A fixture of the tests of sweeps, used here, too.
__all__ = ["here"]


class Moments(Probe):
    """Moments of the configuration, and the part of it that lies beyond a distance."""

    class Parameters(Section):
        beyond: float = key("distance", default=1.0, gt=0)

    calls: ClassVar[list[float]] = []

    def take(self, run: Run, stop: Stop) -> Taken:
        self.calls.append(stop.time)
        x = run.configuration()
        moments = np.stack([np.mean(x**n, axis=1) for n in (2, 4)], axis=1)
        return {
            "moment": (("order",), moments),
            "outside": ((), np.mean(np.abs(x) > self.keys.beyond, axis=1)),
        }

    def attributes(self) -> Attributes:
        about = {"moment": "moment of the coordinates", "outside": "part beyond a distance"}
        return {name: {"long_name": words, "units": "1"} for name, words in about.items()}

    def coordinates(self) -> Coordinates:
        return {"order": ("order", np.array([2.0, 4.0]), {"long_name": "order of the moment", "units": "1"})}


class Largest(Probe):
    """The largest energy that it has seen: a measurement that remembers."""

    def __init__(self, name: str, times: Any, keys: Any = None) -> None:
        super().__init__(name, times, keys)
        self.seen = np.zeros(0)

    def take(self, run: Run, stop: Stop) -> Taken:
        energy = run.system.measure(run.state)["energy"]
        self.seen = (
            np.stack([self.seen[0] + 1, np.maximum(self.seen[1], energy)])
            if self.seen.size
            else (np.stack([np.ones_like(energy), energy]))
        )
        return {f"{self.name}_count": ((), self.seen[0]), f"{self.name}_energy": ((), self.seen[1])}

    def attributes(self) -> Attributes:
        return {f"{self.name}_{n}": {"long_name": n, "units": "1"} for n in ("count", "energy")}

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {"seen": self.seen}

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> None:
        self.seen = saved["seen"]


class Stopping(Largest):
    """The same; while it measures for the third time, somebody asks the run to stop."""

    takes = 0
    raised: ClassVar[bool] = False

    def take(self, run: Run, stop: Stop) -> Taken:
        taken = super().take(run, stop)
        type(self).takes += 1
        if self.takes == 3 and not self.raised:
            type(self).raised = True
            raise Request("by the test", 130).interrupted()
        return taken


class Counting(Harmonic, HasObservables):
    """Oscillators that count how often all of them are measured."""

    calls: ClassVar[list[int]] = []

    def observables(self, x: Any) -> Any:
        self.calls.append(1)
        return {}


class Named(Largest):
    """Takes a name that the system has."""

    def attributes(self) -> Attributes:
        return {"energy": {"long_name": "energy", "units": "1"}}


class Half(Probe):
    """Takes nothing."""


def probing(path: Path | None = None, **tables: Any) -> dict[str, Any]:
    given = harmonic(output={"path": str(path or "")})
    given["record"] |= {"configurations": "always", "probes": {n: dict(t) for n, t in tables.items()}}
    return given


MOMENTS = {"use": "test_probes:Moments", "times": [0.0, 1.7, 2.0]}
LARGEST = {"use": "test_probes:Largest", "times": {"start": 0.1, "per_decade": 4}}


def test_a_probe_measures_at_its_own_times_and_changes_nothing_else() -> None:
    Moments.calls.clear()
    found = langevin.run(probing(moments=MOMENTS))
    assert Moments.calls == [0.0, 1.7, 2.0] == found["moments_time"].values.tolist()
    assert found["moment"].dims == ("replica", "moments_time", "order")
    assert found["outside"].dims == ("replica", "moments_time")
    x = found["configuration"].sel(configuration_time=found["moments_time"]).transpose("replica", ...)
    np.testing.assert_array_equal(found["moment"].sel(order=4), np.mean(x.to_numpy() ** 4, axis=2))
    np.testing.assert_array_equal(found["outside"], np.mean(np.abs(x.to_numpy()) > 1, axis=2))
    assert found["outside"].attrs == {"long_name": "part beyond a distance", "units": "1"}
    assert found["moments_time"].attrs == {"long_name": "time of moments", "units": "1"}
    assert found["order"].attrs["units"] == "1"
    plain = langevin.run(harmonic(record={"configurations": "always"}))
    assert 1.7 not in plain["configuration_time"]
    for name in ("energy", "msd", "correlation"):
        np.testing.assert_array_equal(found[name], plain[name])


def test_what_is_due_is_measured_and_nothing_else() -> None:
    Counting.calls.clear()
    given = probing()
    given["system"]["name"] = "test_probes:Counting"
    given["record"] |= {"times": [1.0, 3.0], "waiting_times": [0.5, 2.0], "lags": {"per_decade": 20}}
    found = langevin.run(given)
    assert found["time"].values.tolist() == [0.0, 1.0, 3.0, given["dynamics"]["t_max"]]
    assert len(Counting.calls) == found.sizes["time"] < found.sizes["configuration_time"] / 4
    assert found["energy"].notnull().all()
    # Both times of every pair are among those of the configurations.
    np.testing.assert_array_equal(
        two_time.msd(found["configuration"], found["waiting_time"], found["lag"]), found["msd"]
    )


@pytest.mark.parametrize("tick", [1, 5, 9])
def test_a_stopped_run_resumes_to_the_same_bits(
    tick: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation.execute(run_files.load(probing(tmp_path / "whole.nc", moments=MOMENTS, high=LARGEST)))
    paths = interrupted(probing(tmp_path / "a.nc", moments=MOMENTS, high=LARGEST), monkeypatch, tick)
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)
    with xr.open_dataset(paths.result) as found:
        count = found["high_count"].to_numpy()
        np.testing.assert_array_equal(count, [np.arange(1, count.shape[1] + 1)] * count.shape[0])


def test_what_is_interrupted_while_it_measures_is_measured_once(tmp_path: Path) -> None:
    """The first of two probes has measured; both measure again, and neither counts the stop twice."""
    Stopping.takes, Stopping.raised = 0, True
    given = probing(first=LARGEST, second={**LARGEST, "use": "test_probes:Stopping"})
    given["output"]["path"] = str(tmp_path / "whole.nc")
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "a.nc")
    Stopping.takes, Stopping.raised = 0, False
    with pytest.raises(Interrupted):
        simulation.execute(run_files.load(given))
    simulation.resume(tmp_path / "a.nc").close()
    assert_same(tmp_path / "whole.nc", tmp_path / "a.nc")


def test_members_of_a_sweep_have_their_probes(here: None) -> None:
    given = probing(moments=MOMENTS)
    given["sweep"] = {"record.probes.moments.beyond": [0.5, 2.0], "system.n": [5, 12]}
    dataset = langevin.run(given)
    assert dataset["moment"].dims == ("beyond", "n", "replica", "moments_time", "order")
    near, far = (dataset["outside"].sel(beyond=b) for b in (0.5, 2.0))
    assert bool((near > far).all())
    assert dataset["beyond"].attrs["sweep_key"] == "record.probes.moments.beyond"
    assert_members_are_single_runs(given, dataset)


def test_members_may_probe_at_other_times(here: None) -> None:
    given = probing(moments=MOMENTS)
    given["sweep"] = {"pair.record.probes.moments.times": [[0.0, 1.0], [2.0]], "pair.system.n": [5, 12]}
    assert_members_are_single_runs(given, langevin.run(given))


@pytest.mark.parametrize(
    ("probes", "words"),
    [
        (3, ["record.probes = 3: must hold tables, [record.probes.NAME]"]),
        ({"a b": MOMENTS}, ["record.probes.a b: the name of a probe must be a plain word"]),
        ({"m": 1}, ["record.probes.m = 1: must be a table, [record.probes.m]"]),
        ({"m": {}}, ["record.probes.m.use: needed:", "package.module:Class", "langevin.core.probe.Probe"]),
        ({"m": {"use": 2}}, ["record.probes.m.use = 2: needed:"]),
        ({"m": {"use": "test_probes:None_"}}, ["record.probes.m.use = 'test_probes:None_'", "no such class"]),
        ({"m": {"use": "test_probes:Counting"}}, ["must derive from langevin.Probe"]),
        ({"m": {"use": "test_probes:Half"}}, ["record.probes.m.use", "class Half lacks take"]),
        ({"m": {"use": "no_such_module_:X"}}, ["record.probes.m.use", "cannot import 'no_such_module_'"]),
        (
            {"m": {**MOMENTS, "beyon": 1.0}},
            ["record.probes.m.beyon: unknown key; nearest: record.probes.m.beyond"],
        ),
        ({"m": {**MOMENTS, "beyond": 0.0}}, ["record.probes.m.beyond = 0.0: allowed: number > 0"]),
        ({"m": {**MOMENTS, "times": "soon"}}, ['record.probes.m.times = "soon": allowed: a list of times']),
        ({"m": {**MOMENTS, "times": [1e9]}}, ["record.probes.m.times: 1e+09 lies beyond dynamics.t_max"]),
        ({"m": {**MOMENTS, "times": [0.123]}}, ["record.probes.m.times: 0.123 is between two steps"]),
    ],
)
def test_faults_are_one_line(probes: Any, words: list[str]) -> None:
    given = probing()
    given["record"]["probes"] = probes
    with pytest.raises(ConfigError) as caught:
        run_files.load(given)
    (line,) = caught.value.faults
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"m": {"use": "test_probes:Named"}}, ["record.probes.m", "'energy'", "the system or the schema"]),
        ({"snapshot": MOMENTS}, ["record.probes.snapshot", "'snapshot_time'"]),
        ({"m": MOMENTS, "n": MOMENTS}, ["record.probes.n", "'moment'", "of record.probes.m"]),
    ],
)
def test_names_that_are_taken_are_refused_before_the_run(
    tables: Any, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        langevin.run(probing(tmp_path / "a.nc", **tables))
    assert all(word in str(caught.value) for word in words), caught.value
    assert list(tmp_path.iterdir()) == []


SOURCE = """
import numpy as np
from langevin.core.probe import Probe

class Norm(Probe):
    def take(self, run, stop):
        return {"norm": ((), np.linalg.norm(run.configuration(), axis=1) * FACTOR)}

    def attributes(self):
        return {"norm": {"long_name": "norm", "units": "1"}}
"""


def test_code_of_a_probe_is_recorded_and_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "norms.py").write_text(SOURCE.replace("FACTOR", "1"))
    given = probing(tmp_path / "a.nc", norm={"use": "norms:Norm", "times": [0.0, 3.0]})
    paths = interrupted(given, monkeypatch, 5)
    with xr.open_dataset(paths.checkpoint) as found:
        assert list(json.loads(found.attrs["code"])) == ["norms:Norm"]
    (tmp_path / "norms.py").write_text(SOURCE.replace("FACTOR", "2"))
    said = CliRunner().invoke(main, ["resume", "a.nc"])
    assert said.exit_code == 2
    (line,) = said.output.strip().splitlines()
    assert "record.probes.norm.use = 'norms:Norm'" in line and "has changed" in line and "--trust" in line
    (tmp_path / "norms.py").write_text(SOURCE.replace("FACTOR", "1"))
    assert CliRunner().invoke(main, ["resume", "a.nc"]).exit_code == 0
    with xr.open_dataset("a.nc") as found:
        x = found["configuration"].sel(configuration_time=[0.0, 3.0])
        np.testing.assert_allclose(found["norm"], np.linalg.norm(x, axis=2).T)


def test_resume_with_another_probe_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = interrupted(probing(tmp_path / "a.nc", moments=MOMENTS), monkeypatch, 5)
    other = probing(tmp_path / "a.nc", moments={**MOMENTS, "beyond": 3.0})
    with pytest.raises(UserError, match=r"its record\.probes\.moments\.beyond is 1\.0, here 3\.0"):
        langevin.run(other, resume=True)
    langevin.run(probing(tmp_path / "a.nc", moments=MOMENTS), resume=True).close()
    assert paths.result.exists()


@pytest.mark.parametrize("name", ["pspin", "mlp", "kob_andersen"])
def test_every_system_takes_probes(name: str, small: Maker) -> None:
    given = small(name)
    last = float(given["dynamics"]["t_max"])
    given["record"]["probes"] = {"moments": {"use": "test_probes:Moments", "times": [0.0, last]}}
    found = langevin.run(given)
    assert found["moment"].notnull().all() and found.sizes["moments_time"] == 2
    assert found["moments_time"].attrs["units"] == found["time"].attrs["units"]


def test_a_system_without_a_configuration_says_so(small: Maker) -> None:
    given = small("cugliandolo_kurchan")
    given["record"]["probes"] = {"moments": {"use": "test_probes:Moments", "times": [0.0]}}
    with pytest.raises(langevin.errors.LangevinError, match="has no configuration"):
        langevin.run(given)


def earlier(dataset: xr.Dataset) -> xr.Dataset:
    """Return a result as earlier versions wrote it: one axis of times for the energy and what is stored."""
    times = dataset["configuration_time"].to_numpy()
    energy = dataset["energy"].reindex(time=times)
    stored = dataset[["configuration", "sketch"]].rename(configuration_time="time")
    rest = dataset.drop_vars(["configuration", "sketch", "energy", "time", "configuration_time"])
    return rest.merge({"energy": energy, **stored.data_vars}).assign_attrs(dataset.attrs)


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    given = probing(tmp_path / "new.nc")
    given["record"]["sketch"] = 8
    with langevin.run(given) as found:
        old = earlier(found.load())
    old.to_netcdf(tmp_path / "old.nc")
    with langevin.open(tmp_path / "old.nc") as old:
        assert old["configuration"].dims == ("time", "replica", "dof")
        pairs = old["waiting_time"], old["lag"]
        np.testing.assert_array_equal(two_time.msd(old["configuration"], *pairs), found["msd"])
        np.testing.assert_array_equal(sketch.msd(old, *pairs), sketch.msd(found, *pairs))
        np.testing.assert_array_equal(configurations.times(old), configurations.times(found))
        x, _ = configurations.configuration(old)
        np.testing.assert_array_equal(x, configurations.configuration(found)[0])
    begun = probing()
    begun["start"] = {"file": str(tmp_path / "old.nc"), "time": 1.0}
    np.testing.assert_array_equal(
        langevin.run(begun)["configuration"][0], found["configuration"].sel(configuration_time=1.0)
    )


class Faulty(Probe):
    """Returns what its key says."""

    class Parameters(Section):
        what: str = key("what it returns", default="")

    def take(self, run: Run, stop: Stop) -> Any:
        x = run.configuration()
        if self.keys.what == "writes":
            x[:] = 0
        if self.keys.what == "raises":
            raise ValueError("oh no")
        mean = x.mean(axis=1)
        return {
            "array": {"mean": mean},
            "none": None,
            "unnamed": {"other": ((), mean)},
            "complex": {"mean": ((), mean + 1j)},
            "replica": {"mean": (("replica",), np.stack([mean] * len(mean), axis=1))},
        }.get(self.keys.what, {"mean": ((), mean)})

    def attributes(self) -> Attributes:
        return {"mean": {"long_name": "mean coordinate", "units": "1"}}


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("writes", "take: .*read-only"),
        ("raises", "take: .*oh no"),
        ("array", "'mean' must be a tuple of dimensions and an array"),
        ("none", "take must return name → "),
        ("unnamed", "take returns 'other', which its attributes"),
        ("complex", "'mean' holds complex128; allowed: real numbers"),
        ("replica", "'mean' has dimensions .'replica',.; allowed: names of its own"),
    ],
)
def test_what_a_probe_does_wrong_is_said_with_its_name(what: str, words: str) -> None:
    given = harmonic(record={"probes": {"m": {"use": "test_probes:Faulty", "what": what}}})
    with pytest.raises(LangevinError, match=f"record.probes.m: {words}"):
        langevin.run(given)
