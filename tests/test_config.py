"""Run files: every fault found at once, each saying the key, the value and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import curve_ends
import numpy as np
import pytest

from langevin.config import registry, run_files, templates, toml_text
from langevin.core.schedule import Grid
from langevin.errors import ConfigError, UserError

GOOD: dict[str, Any] = {
    "system": {"name": "pspin", "p": 3, "n": 32},
    "dynamics": {"temperature": 0.5, "initial_temperature": float("inf"), "dt": 0.02, "t_max": 10.0},
    "ensemble": {"replicas": 4, "samples": 2, "seed": 1},
}


def faults(overrides: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        run_files.load(GOOD, overrides)
    return caught.value.faults


def test_a_good_run_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "quench.toml"
    file.write_text(
        '[system]\nname = "pspin"\np = 3\nn = 32\n[dynamics]\ntemperature = 1\ndt = 0.02\nt_max = 10\n'
    )
    settings = run_files.load(file)
    assert settings.dynamics.temperature == 1.0
    assert settings.dynamics.initial_temperature == float("inf")
    assert settings.output.path == "quench.nc"
    assert settings.text == file.read_text()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("dynamics.temperature", -0.5, ["-0.5", "≥ 0", "energy"]),
        ("dynamics.temperature", float("nan"), ["nan"]),
        ("dynamics.temperature", float("inf"), ["inf", "number ≥ 0"]),
        ("dynamics.temperature", "cold", ['"cold"', "number"]),
        ("dynamics.dt", 0, ["0", "> 0", "unit: time"]),
        ("dynamics.dt", 0.25, ["0.25", "below 0.2000", "T = 0.5"]),
        ("dynamics.temprature", 0.5, ["nearest: dynamics.temperature"]),
        ("dynamics.initial_temperature", 0.5, ["0.5", "T_K = 0.586054"]),
        ("system.p", 5, ["5", "one of 2, 3, 4"]),
        ("system.n", 2.5, ["2.5", "integer ≥ 4"]),
        ("system.n", True, ["true", "integer"]),
        ("system.name", "pspinn", ["'pspinn'", "nearest: 'pspin'", "harmonic"]),
        ("system.name", 3, ["3", "must be a string", f"allowed: {', '.join(sorted(registry.names()))}"]),
        ("system.name", ":", ["cannot import ''"]),
        ("record.lags", [0.0], ["0", "no time step"]),
        ("record.lags", [0.005, 1.0], ["0.005", "no time step"]),
        ("record.waiting_times", [0.0, 0.004], ["0.004", "no time step"]),
        ("record.waiting_times", {"stop": 0.001, "per_decade": 2}, ["stop = 0.001", "leaves no time"]),
        ("record.times", {"per_decade": 1e12}, ["1e+12", "≤ 1000"]),
        ("output.path", "figure.png", ['"figure.png"', "ends in .nc"]),
        ("output.path", "a.checkpoint.nc", ["not in .checkpoint.nc"]),
        ("output.path", "a\0b.nc", ["ends in .nc"]),
        ("system.name", "no_such_module:System", ["no_such_module"]),
        ("system.name", "math:pi", ["math is of Python's library"]),
        ("system.name", "numpy:ndarray", ["must derive from langevin"]),
        ("ensemble.samples", 5, ["5", "replicas = 4"]),
        ("ensemble.seed", -1, ["-1", "≥ 0"]),
        ("record.lags", {"per_decade": -1}, ["per_decade = -1", "> 0"]),
        ("record.waiting_times", [1.0, 100.0], ["100", "t_max = 10"]),
        ("record.configurations", "sometimes", ['"sometimes"', '"auto"', '"never"']),
        ("record.response", "yes", ['"yes"', "true or false"]),
        ("output.checkpoint_interval", 100, ["100", "≤ 60"]),
        ("sytem.n", 3, ["sytem", "nearest: system"]),
    ],
)  # fmt: skip
def test_a_fault_names_key_value_and_what_is_allowed(key: str, value: Any, words: list[str]) -> None:
    (line,) = faults({key: value})
    for word in words:
        assert word in line
    assert "\n" not in line
    if not key.startswith(("sytem", "system.name")):
        assert line.startswith(key)


def test_all_faults_come_at_once() -> None:
    found = faults(
        {"dynamics.dt": -1, "system.n": "many", "ensemble.seed": 0.5, "record.lags": 3, "output.paht": "x"}
    )
    assert len(found) == 5


def test_faults_of_other_sections_show_beside_an_unknown_system() -> None:
    found = faults({"system.name": "foo", "dynamics.dt": -1, "ensemble.seed": -3, "junk.a": 1})
    assert {line.split(":")[0].split(" ")[0] for line in found} == {
        "system.name",
        "dynamics.dt",
        "ensemble.seed",
        "junk",
    }
    assert len(faults({"dynamics.dt": 0.25, "ensemble.samples": 100})) == 2


@pytest.mark.parametrize(
    ("changes", "also"),
    [
        ({"dynamics.temperature": -1, "dynamics.initial_temperature": 0.3}, "T_K = 0.586054"),
        ({"dynamics.temprature": 1, "dynamics.initial_temperature": 0.3}, "T_K = 0.586054"),
        ({"dynamics.dt": "long", "record.waiting_times": [99.0]}, "99 lies beyond dynamics.t_max = 10"),
        ({"ensemble.seed": -1, "ensemble.samples": 5}, "samples = 5: must be ≤ ensemble.replicas = 4"),
        ({"system.couplings": 3, "dynamics.dt": 0.25}, "must be below 0.2000"),
        ({"record.sketch": 1, "dynamics.dt": 0.25}, "must be below 0.2000"),
        ({"output.path": "a.png", "dynamics.initial_temperature": 0.3}, "T_K = 0.586054"),
    ],
)
def test_what_keys_show_together_is_said_beside_a_fault_of_one(changes: dict[str, Any], also: str) -> None:
    first, *_, last = faults(changes)
    assert also in last and also not in first


@pytest.mark.parametrize(
    "changes",
    [
        # What depends on the value at fault, or on one that is meant by an unknown key, is not known.
        {"ensemble.replicas": "many", "ensemble.samples": 3},
        {"dynamics.t_max": -1, "record.waiting_times": [500.0]},
        {"dynamics.dt": -1, "record.lags": [1e-9]},
        {"system.p": 9, "dynamics.initial_temperature": 0.56},
    ],
)
def test_what_depends_on_a_fault_is_not_guessed(changes: dict[str, Any]) -> None:
    assert len(faults(changes)) == 1


def test_what_an_unknown_key_means_is_not_guessed() -> None:
    given = {**GOOD, "ensemble": {"replica": 4, "samples": 2}}
    with pytest.raises(ConfigError) as caught:
        run_files.load(given)
    (line,) = caught.value.faults
    assert "nearest: ensemble.replicas" in line


def test_replicas_that_are_dealt_unevenly_are_said() -> None:
    assert run_files.load(GOOD).size == "pspin, 4 replicas"
    uneven = run_files.load(GOOD, {"ensemble.samples": 3})
    assert uneven.size == "pspin, 4 replicas dealt unevenly over 3 samples: 1 of 2, 2 of 1"


def test_a_title_is_short() -> None:
    (line,) = faults({"title": "x" * 2000})
    assert line.endswith("… (2,002 characters): must be a string of up to 1000 characters")


@pytest.mark.parametrize("name", ["curve", "network_curve"])
def test_a_template_says_what_only_the_user_knows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = templates.template(name)
    assert text.splitlines()[1].startswith("# To fill in before it is valid: system.start")
    Path("a.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r'^a.toml: system.start = "a.nc": no such file$'):
        run_files.load("a.toml")


def test_pythons_own_types_are_welcome() -> None:
    changes = {
        "system.n": np.int64(40), "ensemble.seed": np.uint8(3), "dynamics.temperature": np.float32(0.5),
        "record.lags": np.linspace(0.1, 0.5, 3), "record.waiting_times": Grid(per_decade=3.0),
        "output.path": Path("q.nc"),
    }  # fmt: skip
    settings = run_files.load(GOOD, changes)
    assert (settings.system.n, settings.output.path) == (40, "q.nc")
    assert run_files.load(json.loads(settings.as_json())).record == settings.record


def test_a_step_longer_than_the_run() -> None:
    (line,) = faults({"dynamics.t_max": 0.01})
    assert line == "dynamics.dt = 0.02: must be ≤ dynamics.t_max = 0.01"


def test_missing_keys_say_what_is_needed() -> None:
    with pytest.raises(ConfigError) as caught:
        run_files.load({"system": {"name": "pspin"}})
    assert {line.partition(":")[0] for line in caught.value.faults} == {
        "system.p", "system.n", "dynamics.temperature", "dynamics.dt", "dynamics.t_max",
    }  # fmt: skip


@pytest.mark.parametrize("table", ["system", "dynamics", "record", "output"])
def test_a_section_that_is_no_table(table: str) -> None:
    with pytest.raises(ConfigError, match=table):
        run_files.load({**GOOD, table: 3})


def test_overrides() -> None:
    key, value = toml_text.parse_assignment("dynamics.initial_temperature=inf")
    assert (key, value) == ("dynamics.initial_temperature", float("inf"))
    assert toml_text.parse_assignment("output.path=a file.nc")[1] == "a file.nc"
    settings = run_files.load(GOOD, {"dynamics.temperature": 0.7, "record.lags": {"per_decade": 3}})
    assert settings.dynamics.temperature == 0.7
    assert GOOD["dynamics"]["temperature"] == 0.5


@pytest.mark.parametrize("bad", ["dynamics.dt", "dt=3", "=3"])
def test_an_assignment_needs_a_section_and_a_value(bad: str) -> None:
    with pytest.raises(UserError, match=r"section\.key=value"):
        toml_text.parse_assignment(bad)


@pytest.mark.parametrize(
    ("content", "word"), [(b"[system\n", "TOML"), (b"\xff\xfe\x00", "UTF-8"), (None, "cannot read")]
)
def test_a_file_that_is_no_run_file(tmp_path: Path, content: bytes | None, word: str) -> None:
    file = tmp_path / "bad.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=word):
        run_files.load(file)


@pytest.mark.parametrize("name", sorted(registry.names()))
def test_the_template_of_every_system_validates(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    curve_ends.stand_by(name, tmp_path)
    file = tmp_path / "template.toml"
    file.write_text(templates.template(name))
    assert run_files.load(file).system_name == name


def test_settings_survive_json() -> None:
    settings = run_files.load(GOOD)
    again = run_files.load(json.loads(settings.as_json()))
    assert (again.system, again.dynamics, again.record) == (
        settings.system,
        settings.dynamics,
        settings.record,
    )
