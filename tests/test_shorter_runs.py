"""Published runs are tried in short: what lies beyond a nearer end is left out; and keys are removed."""

from __future__ import annotations

import re
import tomllib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from test_docs import RUN_FILES, leave_result, needed

import langevin
from langevin.commands.cli import main
from langevin.config import UNSET, run_files, toml_text
from langevin.errors import ConfigError, LangevinWarning

GIVEN: dict[str, Any] = {
    "system": {"name": "harmonic", "n": 3},
    "dynamics": {"temperature": 1.0, "dt": 0.5, "t_max": 100.0},
    "ensemble": {"replicas": 8, "samples": 4},
    "record": {
        "times": [0.0, 1.0, 10.0, 50.0],
        "waiting_times": [1.0, 4.0, 20.0, 30.0, 40.0, 50.0],
        "lags": {"start": 50.0, "per_decade": 3},
        "snapshots": [2.0, 100.0],
    },
}


#: One of every kind: spectra, probes, snapshots, collections, ends of curves, ends that are swept.
KINDS = (
    "ck_far",
    "fashion_fge",
    "kob_andersen",
    "ljat_1_hidden",
    "perceptron",
    "pspin_annealing",
    "pspin_spectrum",
)


def hundredth(given: dict[str, Any]) -> dict[str, Any]:
    """Return the override that leaves a hundredth of a run, in whole steps; of a sweep, of each member."""
    dynamics = given["dynamics"]
    # The equations for N → ∞ have a step only where one is given, networks count theirs.
    continuous = given["system"]["name"] == "cugliandolo_kurchan"
    step = dynamics.get("dt", dynamics.get("grid_step", 0.0 if continuous else 1))
    # Of steps a schedule needs as many as it has cycles.
    least = step * dynamics.get("cycles", 1)

    def part(t_max: float) -> float:
        return max(least, float(f"{round(t_max / 100 / step) * step:.10g}")) if step else t_max / 100

    swept = [key for key in given.get("sweep", {}) if key.endswith("dynamics.t_max")]
    if swept:
        return {f"sweep.{swept[0]}": [part(t) for t in given["sweep"][swept[0]]]}
    return {"dynamics.t_max": part(dynamics["t_max"])}


def files() -> list[Any]:
    """Return the run files; in the default suite one of every kind."""
    chosen = [f"runs/{name}.toml" for name in KINDS]
    return [pytest.param(f, marks=() if f in chosen else pytest.mark.slow) for f in RUN_FILES]


@pytest.mark.parametrize("file", files())
def test_a_hundredth_of_every_run_file_is_valid(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if before := needed(ROOT / file):
        leave_result(run_files.load(before), tmp_path)
    overrides = hundredth(toml_text.flat(tomllib.loads((ROOT / file).read_text()), []))
    short = run_files.load(ROOT / file, overrides)
    assert "\n" not in short.left_out
    # What is kept of it is valid by itself, and nothing more of it is left out.
    ends = [m.dynamics.t_max for m in (short.sweep.members if short.sweep else [short])]
    assert min(ends) == min(np.ravel(list(overrides.values())))


def left_out(overrides: dict[str, Any], **sections: Any) -> str:
    return run_files.load({**GIVEN, **sections}, overrides).left_out


def test_what_lies_beyond_is_left_out_and_said_in_one_line() -> None:
    short = run_files.load(GIVEN, {"dynamics.t_max": 10.0})
    assert short.left_out == (
        "dynamics.t_max = 10 in place of 100 leaves out record.times 50, "
        "record.waiting_times 20 … 50 (4 times), record.lags { start = 50.0, per_decade = 3 }, "
        "record.snapshots 100"
    )
    assert short.record.times.values == (0.0, 1.0, 10.0)
    assert short.record.waiting_times.values == (1.0, 4.0)
    assert (short.record.lags.values, short.record.lags.per_decade) == ((), None)
    # What a checkpoint keeps of it is valid alone.
    again = run_files.load(short.given)
    assert (again.record, again.left_out) == (short.record, "")


def test_nothing_is_left_out_where_the_end_is_not_nearer() -> None:
    assert left_out({}) == left_out({"dynamics.t_max": 200.0}) == left_out({"system.n": 4}) == ""


def test_a_contradiction_stays_one() -> None:
    """Of the run file, of the command line, and of a run file that is cut short where it stands."""
    beyond = {**GIVEN, "record": {"waiting_times": [1.0, 1000.0]}}
    for given, overrides in (
        (beyond, {}),
        (beyond, {"dynamics.t_max": 10.0}),
        (GIVEN, {"dynamics.t_max": 10.0, "record.waiting_times": [1.0, 20.0]}),
        ({**GIVEN, "dynamics": {**GIVEN["dynamics"], "t_max": 10.0}}, {}),
    ):
        with pytest.raises(ConfigError, match=r"record\.waiting_times: \d+ lies beyond dynamics\.t_max = "):
            run_files.load(given, overrides)


def test_what_says_more_of_times_goes_with_them() -> None:
    given = {
        "system": {"name": "pspin", "p": 3, "n": 16},
        "dynamics": {"temperature": 0.5, "dt": 0.02, "t_max": 10.0},
        "record": {
            "hessian": [0.0, 8.0],
            "hessian_vectors": 2,
            "inherent": [9.0],
            "inherent_tolerance": 1e-4,
            "probes": {"shape": {"use": "kurtosis:Kurtosis", "times": [9.0]}},
        },
    }
    # A probe of which nothing is left is not looked for, either.
    short = run_files.load(given, {"dynamics.t_max": 2.0})
    assert (short.record.hessian.values, short.record.hessian_vectors) == ((0.0,), 2)
    assert short.record.inherent_tolerance == 1e-5
    assert short.probes == ()
    given["record"]["hessian"] = [8.0]
    assert run_files.load(given, {"dynamics.t_max": 2.0}).record.hessian_vectors == 0


def test_samples_above_fewer_replicas() -> None:
    few = run_files.load(GIVEN, {"ensemble.replicas": 2})
    assert few.ensemble.samples == 2
    assert few.left_out == "ensemble.replicas = 2 in place of 8 leaves as many ensemble.samples, not 4"
    assert left_out({"ensemble.replicas": 5}) == ""
    for given, overrides in (
        ({**GIVEN, "ensemble": {"replicas": 2, "samples": 4}}, {}),
        ({**GIVEN, "ensemble": {"replicas": 3, "samples": 4}}, {"ensemble.replicas": 2}),
        (GIVEN, {"ensemble.replicas": 2, "ensemble.samples": 4}),
    ):
        with pytest.raises(ConfigError, match=r"samples = 4: must be ≤ ensemble\.replicas"):
            run_files.load(given, overrides)


def test_members_of_a_sweep_keep_what_all_have_room_for() -> None:
    given = {**GIVEN, "sweep": {"dynamics.t_max": [100.0, 200.0]}}
    short = run_files.load(given, {"sweep.dynamics.t_max": [20.0, 40.0]})
    assert short.sweep is not None
    assert [m.record.waiting_times.values for m in short.sweep.members] == [(1.0, 4.0, 20.0)] * 2
    assert short.left_out.startswith("dynamics.t_max = 20 in place of 100 leaves out record.times 50, ")
    # What is swept together with the end goes by the end of each member.
    given["sweep"] = {"a.dynamics.t_max": [100.0, 200.0], "a.record.hessian": [[5.0, 100.0], [30.0, 200.0]]}
    given["system"] = {"name": "pspin", "p": 3, "n": 16}
    given["dynamics"] = {**GIVEN["dynamics"], "dt": 0.05}
    short = run_files.load(given, {"sweep.a.dynamics.t_max": [20.0, 40.0]})
    assert [m.record.hessian.values for m in short.sweep.members] == [(5.0,), (30.0,)]


def test_python_is_warned_once(tmp_path: Path) -> None:
    with pytest.warns(LangevinWarning, match=r"t_max = 10 in place of 100 leaves out ") as said:
        short = langevin.run(GIVEN, {"dynamics.t_max": 10.0, "ensemble.replicas": 2})
    assert len(said) == 1
    assert said[0].filename == __file__
    assert float(short["time"][-1]) == 10.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        langevin.run(GIVEN)


def test_the_command_says_it_unless_it_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", str(ROOT / "runs/harmonic.toml"), "--set", "dynamics.t_max=1", "--set"]
    words += ["ensemble.replicas=2", "--set", "output.figure=false", "--set", "record.waiting_times=[0.1]"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert sum(line.startswith("langevin: note: ") for line in done.stderr.splitlines()) <= 1
    # Taken up again, it is the same run.
    again = CliRunner().invoke(main, [*words, "--resume", "--quiet"])
    assert (again.exit_code, again.output) == (0, "")


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("record.hessian=unset", ("record.hessian", UNSET)),
        ("start = unset ", ("start", UNSET)),
        ('title="unset"', ("title", "unset")),
    ],
)
def test_unset_is_read(assignment: str, expected: Any) -> None:
    assert toml_text.parse_assignment(assignment) == expected


def test_a_key_is_removed() -> None:
    assert run_files.load(GIVEN, {"record.waiting_times": UNSET}).record.waiting_times.per_decade == 2
    assert "record" not in run_files.load(GIVEN, {"record": UNSET}).given
    swept = {**GIVEN, "sweep": {"dynamics.temperature": [0.5, 1.0]}}
    assert run_files.load(swept, {"sweep.dynamics.temperature": UNSET}).sweep is None
    assert run_files.load(swept, {"sweep": UNSET, "dynamics.temperature": 2.0}).dynamics.temperature == 2.0


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("record.wating_times", "unset, but the run file has no such key; nearest: record.waiting_times"),
        ("record.times.start", "unset, but the run file has no such key; nearest: record.times"),
        ("dynamics.t_max", "dynamics.t_max: missing; needed: number > 0"),
        ("system.name", "system.name: missing; allowed: "),
        ("sweep.dynamics.dt", "unset, but the run file has no such key; nearest: dynamics.dt"),
    ],
)
def test_what_is_not_there_or_needed_cannot_be_removed(key: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        run_files.load(GIVEN, {key: UNSET})
    assert len(caught.value.faults) == 1
