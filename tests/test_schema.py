"""The JSON Schema of run files: all that are published fulfil it, and mistakes do not."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from conftest import ROOT
from test_docs import RUN_FILES

from langevin.commands.cli import main
from langevin.config import registry, templates
from langevin.config.schema import schema

PSPIN: dict[str, Any] = {
    "system": {"name": "pspin", "p": 3, "n": 32},
    "dynamics": {"temperature": 0.5, "dt": 0.02, "t_max": 10.0},
}
NET: dict[str, Any] = {"system": {"name": "mlp"}, "dynamics": {"t_max": 10}}
GLASS: dict[str, Any] = {
    "system": {"name": "kob_andersen", "n": 100},
    "dynamics": {"temperature": 0.5, "dt": 1e-4, "t_max": 1.0},
}


@pytest.fixture(scope="module")
def known() -> jsonschema.Draft7Validator:
    made = schema()
    jsonschema.Draft7Validator.check_schema(made)
    return jsonschema.Draft7Validator(made)


def faults(known: jsonschema.Draft7Validator, given: dict[str, Any]) -> list[str]:
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in known.iter_errors(given)]


def test_every_run_file_fulfils_it(known: jsonschema.Draft7Validator) -> None:
    for file in RUN_FILES:
        assert faults(known, tomllib.loads((ROOT / file).read_text())) == [], file


def test_every_template_fulfils_it(known: jsonschema.Draft7Validator) -> None:
    for name in registry.SYSTEMS:
        text = templates.template(name)
        assert text.startswith("#:schema ./langevin.schema.json\n")
        assert faults(known, tomllib.loads(text)) == [], name


def changed(given: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Return tables with keys of theirs replaced; None takes a table away."""
    merged = {name: {**given.get(name, {}), **keys} for name, keys in sections.items() if keys is not None}
    return {k: v for k, v in {**given, **merged}.items() if sections.get(k, 0) is not None}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (changed(PSPIN, system={"nn": 3}), "system: Additional properties are not allowed ('nn'"),
        (changed(PSPIN, system={"name": "pspinn"}), "system.name: 'pspinn' is not valid"),
        (changed(PSPIN, system={"p": "three"}), "system.p: 'three' is not valid"),
        (changed(PSPIN, dynamics={"dt": -1}), "dynamics.dt: -1 is less than or equal to the minimum of 0"),
        (changed(PSPIN, dynamics={"scheme": "euler"}), "dynamics.scheme: 'euler' is not one of"),
        (changed(PSPIN, dynamics=None), ": 'dynamics' is a required property"),
        (changed(PSPIN, record={"times": {"per_decades": 3}}), "record.times: "),
        (changed(PSPIN, record={"layers": True}), "record: Additional properties are not allowed ('layers'"),
        (changed(PSPIN, output={"figure": "no"}), "output.figure: 'no' is not of type 'boolean'"),
        (changed(PSPIN, data={"name": "mnist"}), "data: {'name': 'mnist'} should not be valid"),
        (changed(PSPIN, sytem={}), ": Additional properties are not allowed ('sytem'"),
        (changed(PSPIN, ensemble={"replicas": 0}), "ensemble.replicas: 0 is less than the minimum of 1"),
        (changed(GLASS, record={"inherent_method": "newton"}), "record.inherent_method: 'newton' is not"),
        (changed(GLASS, sweep={"system.n": 100}), "sweep.system.n: 100 is not of type 'array', 'object'"),
        (changed(GLASS, record={"probes": {"a": {"times": []}}}), "record.probes.a: 'use' is a required"),
        # Keys of an optimiser, of a data set, and of the data set that a system has by default.
        (changed(NET, dynamics={"betas": [0.9, 0.9]}), "dynamics: Additional properties are not allowed"),
        (changed(NET, data={"name": "gaussian", "distances": 2}), "data: Additional properties are not all"),
        (changed(NET, data={"dimension": 2}), "data: Additional properties are not allowed ('dimension'"),
    ],
)
def test_a_mistake_is_found(known: jsonschema.Draft7Validator, given: dict[str, Any], said: str) -> None:
    found = faults(known, given)
    assert any(fault.startswith(said) for fault in found), found


@pytest.mark.parametrize(
    "given",
    [
        PSPIN,
        changed(NET, dynamics={"optimiser": "adam", "betas": [0.9, 0.99]}),
        changed(NET, dynamics={"optimiser": "mine:Signs", "strength": 3}),
        changed(NET, data={"name": "gaussian", "dimension": 2}),
        changed(NET, data={"name": "two_moons:TwoMoons", "noise": 0.2}),
        {"system": {"name": "mine:Wells", "depth": 3}, "dynamics": {"anything": 1}},
        # What is swept need not stand in its section, and other names bring other keys along.
        {"system": PSPIN["system"], "sweep": {"dynamics.t_max": [1.0, 2.0]}},
        changed(PSPIN, system={"depth": 1.0}, sweep={"system.name": ["pspin", "mine:Wells"]}),
        changed(PSPIN, system={"depth": 1.0}, sweep={"a": {"system.name": ["pspin", "mine:Wells"]}}),
    ],
)
def test_what_may_be_right_is_left_alone(known: jsonschema.Draft7Validator, given: dict[str, Any]) -> None:
    assert faults(known, given) == []


def test_the_command_prints_it_with_ones_own_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wells.py").write_text(
        "from langevin.config.keys import Section, key\nfrom langevin.systems.harmonic import Harmonic\n"
        "class Wells(Harmonic):\n    class Parameters(Section):\n        depth: float = key('depth', gt=0)\n"
    )
    done = CliRunner().invoke(main, ["schema", "wells:Wells"])
    assert done.exit_code == 0, done.output
    known = jsonschema.Draft7Validator(json.loads(done.stdout))
    dynamics = {"temperature": 1.0, "dt": 0.1, "t_max": 1.0}
    wrong = {"system": {"name": "wells:Wells", "depth": -1.0}, "dynamics": dynamics}
    assert faults(known, wrong)[0].startswith("system.depth: -1.0 is less than or equal to the minimum of 0")
    assert CliRunner().invoke(main, ["schema", "no_such:Wells"]).exit_code == 2
