"""[data] of a run file, from its faults to the attributes of the result."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from learners import Linear

import langevin
from langevin.commands.cli import main
from langevin.config import registry, run_files, templates
from langevin.config.keys import Section
from langevin.config.settings import Settings
from langevin.core.capabilities import ChecksSettings
from langevin.core.ensemble import Ensemble
from langevin.core.system import DataSet
from langevin.errors import ConfigError, Interrupted, UserError
from langevin.machine.interruption import Request
from langevin.running.session import Session
from langevin.systems.networks.data.base import Data, DataKeys, Examples, shares
from langevin.systems.networks.data.synthetic import Synthetic

GOOD: dict[str, Any] = {
    "system": {"name": "learners:Linear"},
    "data": {"train": 50, "test": 20, "noise": 0.5},
    "dynamics": {"temperature": 0.0, "dt": 0.01, "t_max": 0.2},
    "ensemble": {"replicas": 4, "samples": 2, "seed": 3},
    "record": {"waiting_times": [0.0, 0.1], "lags": {"per_decade": 5}},
    "output": {"figure": False},
}


class Own(DataSet, ChecksSettings):
    """Two points, one of each class."""

    contents = "first"

    class Parameters(DataKeys):
        """What stands under [data]."""

    def __init__(self, parameters: Any) -> None:
        self.parameters = parameters

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        if settings.data.train != "all":
            yield f"data.train = {settings.data.train}: must be 1 at seed {settings.ensemble.seed}"

    def load(self, ensemble: Ensemble) -> Data:
        points = Examples(np.array([[1.0], [-1.0]], dtype=np.float32), np.array([0, 1]))
        one, zero = np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.float32)
        rows = shares(ensemble, "data", 2, self.parameters.train)
        return Data("own", points, points, 2, one, zero, rows, rows, {"hash": self.contents})


def faults(overrides: dict[str, Any], **changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        run_files.load({**GOOD, **changes}, overrides)
    return caught.value.faults


def test_the_default_data_set_needs_no_section() -> None:
    given = {name: table for name, table in GOOD.items() if name != "data"}
    settings = run_files.load(given)
    assert (settings.data_name, settings.data_class) == ("synthetic", Synthetic)
    assert (settings.data.train, settings.data.clusters) == (2000, 4)
    again = run_files.load(json.loads(run_files.load(GOOD).as_json()))
    assert again.data == run_files.load(GOOD).data != settings.data


def test_a_system_without_data_takes_none() -> None:
    harmonic = {"name": "harmonic", "n": 4}
    (line,) = faults({}, system=harmonic)
    assert line == "data: harmonic takes no data; allowed: no section [data]"
    given = {name: table for name, table in GOOD.items() if name != "data"}
    settings = run_files.load({**given, "system": harmonic})
    assert (settings.data_name, settings.data_class, settings.data) == ("", None, None)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("data.name", "sinthetic", ["'sinthetic'", "nearest: 'synthetic'", 'or your own "package']),
        ("data.name", 3, ["data.name = 3: must be a string", "synthetic"]),
        ("data.name", "math:pi", ["math is of Python's library"]),
        ("data.name", "no_such_module:Data", ["cannot import 'no_such_module'"]),
        ("data.name", "numpy:pi", ["no class 'pi'"]),
        ("data.name", "numpy:ndarray", ["must derive from langevin.DataSet; it lacks Parameters, load"]),
        ("data.name", "learners:Linear", ["must derive from langevin.DataSet; it lacks load"]),
        ("data.noise", -1.0, ["-1", "> 0"]),
        ("data.nois", 1.0, ["nearest: data.noise", "allowed: labels, ", "train, ", "name"]),
        ("data.nme", "x", ["nearest: data.name"]),
        ("data.train", 0, ["0", "integer ≥ 1"]),
        ("data.train", True, ["true", "integer"]),
        ("data.like", "imagenet", ['"imagenet"', '"cifar10"']),
        ("data.scaling", "unit", ['"unit"', '"standard"']),
        ("system.name", "learners:Undecided", ["'no such data'", "allowed: "]),
    ],
)  # fmt: skip
def test_a_fault_names_key_value_and_what_is_allowed(key: str, value: Any, words: list[str]) -> None:
    (line,) = faults({key: value})
    for word in words:
        assert word in line
    assert line.startswith("data.")
    assert "\n" not in line


@pytest.mark.parametrize("value", [0, -1, 2.5, "some", True, []])
def test_how_many_examples(value: Any) -> None:
    own = {"name": "test_data_section:Own"}
    (line,) = faults({"data.train": value}, data=own)
    assert line.startswith("data.train = ")
    assert line.endswith('must be an integer ≥ 1, or "all"')
    assert run_files.load({**GOOD, "data": own}, {"data.train": "all"}).data.train == "all"


def test_a_section_that_is_no_table() -> None:
    (line,) = faults({}, data="synthetic")
    assert line == 'data = "synthetic": must be a table, [data]'


def test_faults_of_data_come_with_all_others() -> None:
    found = faults({"data.noise": -1, "dynamics.dt": -1, "ensemble.samples": 9})
    assert {line.partition(" ")[0] for line in found} == {"data.noise", "dynamics.dt", "ensemble.samples"}


def test_a_data_set_checks_several_keys_together() -> None:
    (line,) = faults({"data.train": 7}, data={"name": "test_data_section:Own"})
    assert line == "data.train = 7: must be 1 at seed 3"


def test_a_systems_own_check_sees_valid_data_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(Linear, "check", classmethod(lambda cls, settings: seen.append(settings.data) or ()))
    faults({"data.noise": -1})
    assert all(data.noise >= 0 for data in seen)
    seen.clear()
    run_files.load(GOOD)
    assert [data.noise for data in seen] == [0.5]


def test_a_template_shows_the_default_data_set(tmp_path: Path) -> None:
    text = templates.template("learners:Linear")
    given = tomllib.loads(text)
    assert given["data"]["name"] == "synthetic"
    assert given["ensemble"]["samples"] == 1
    assert set(given["data"]) == {"name", *Synthetic.Parameters.model_fields}
    (tmp_path / "new.toml").write_text(text)
    assert run_files.load(tmp_path / "new.toml").data == Synthetic.Parameters()
    shown = CliRunner().invoke(main, ["systems", "learners:Linear"]).output
    assert '[data]\n  name (default: "synthetic")' in shown
    assert "noise (default: 5.0)" in shown
    assert "[data]" not in CliRunner().invoke(main, ["systems", "harmonic"]).output


def test_the_data_reach_the_system_and_their_origin_the_file() -> None:
    found = langevin.run(GOOD)
    # Gradient descent from equal odds: the loss begins at ln 10 and falls; by sample, not by replica.
    energy = found["energy"].to_numpy()
    np.testing.assert_allclose(energy[:, 0], np.log(10), rtol=1e-12)
    assert (np.diff(energy, axis=1) < 0).all()
    np.testing.assert_array_equal(energy[0], energy[2])
    assert (energy[0, 1:] != energy[1, 1:]).all()
    assert found.attrs["data"] == "synthetic"
    assert found.attrs["data_train_examples"] == "50"
    assert "Gaussian mixture" in found.attrs["data_source"]


def test_the_data_set_can_be_chosen_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(
        '[system]\nname = "learners:Linear"\n[dynamics]\ntemperature = 0.0\ndt = 0.1\nt_max = 1.0\n'
        "[output]\nfigure = false\n"
    )
    done = CliRunner().invoke(main, ["run", "own.toml", "-q", "--set", "data.name=test_data_section:Own"])
    assert done.exit_code == 0, done.output
    with langevin.open("own.nc") as found:
        assert (found.attrs["data"], found.attrs["data_hash"]) == ("test_data_section:Own", "first")
        # Two points, ±1, one weight a class: the loss of equal odds is ln 2.
        assert float(found["energy"][0, 0]) == pytest.approx(np.log(2), rel=1e-12)


def test_a_resumed_run_learns_from_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {**GOOD, "data": {"name": "test_data_section:Own"}, "output": {"path": str(tmp_path / "a.nc")}}
    plain = Session._tick

    def tick(session: Any, run: Any) -> None:
        session.stop.note(Request("by the test", 130))
        plain(session, run)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Session, "_tick", tick)
        langevin.run(given)
    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match="data of hash first; those found: second"),
    ):
        patch.setattr(Own, "contents", "second")
        langevin.resume(tmp_path / "a.nc")
    with langevin.resume(tmp_path / "a.nc") as found:
        assert found.attrs["data_hash"] == "first"


def test_other_packages_register_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("theirs", "test_data_section:Own", "langevin.datasets"),
        EntryPoint("synthetic", "test_data_section:Own", "langevin.datasets"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])
    assert run_files.load({**GOOD, "data": {"name": "theirs"}}).data_class is Own
    assert run_files.load(GOOD).data_class is Synthetic
    assert "theirs" not in registry.names()


def test_registered_data_sets_keep_the_contract() -> None:
    for name in registry.names(registry.DATA):
        found = registry.load(name, kind=registry.DATA)
        assert issubclass(found.Parameters, Section)
        assert (found.__doc__ or "").strip().partition("\n")[0].endswith(".")
        # Tokens are not scaled.
        keys = {"train", "test"} if name == "characters" else {"train", "test", "scaling"}
        assert keys <= set(found.Parameters.model_fields)
