"""Ratios of benchmarks over commits: what is read from their output, what is kept, what is marked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import track

HERE = "a processor, 2 cores"


def kept(commit: str, value: float, machine: str = HERE, benchmark: str = "curves") -> dict[str, object]:
    return {"commit": commit, "machine": machine, "benchmark": benchmark, "ratios": {"a step": value}}


def test_ratios_have_the_words_of_their_lines() -> None:
    lines = [f"a bend, ResNet: 3 ms, {ratio} times the plain step" for ratio in (2.5, 2.75)]
    assert track.ratios("curves", "\n".join([*lines, "9 others"])) == {
        "a bend, ResNet": 2.5,
        "a bend, ResNet #2": 2.75,
    }
    perceptron = "N =   100, P = 20: 5 us a step, replica; BLAS takes 3.10 times as long; floor 1\n"
    assert track.ratios("spherical_perceptron", perceptron) == {"N = 100, P = 20": 3.1}
    packed = "packed f32  256  1.2 ms  33.1  0.71   80 %\ndense f32 256 2 ms 1 1.0 7 %\n"
    assert list(track.ratios("pspin_force", packed)) == ["packed f32"]


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "ratios.jsonl"
    track.append(file, track.entry("curves", {"a step": 1.5}, "abc"))
    track.append(file, track.entry("curves", {"a step": 1.6}, "def"))
    first, second = track.read(file)
    assert first["ratios"] == {"a step": 1.5} and second["commit"] == "def"
    assert first["machine"] == track.machine() and "numba" in first["versions"]
    file.write_text(file.read_text() + "{}\n")
    with pytest.raises(SystemExit, match=r"ratios\.jsonl: line 3 is no run of a benchmark: '\{\}'"):
        track.read(file)


def test_the_newest_commit_is_compared_with_those_before() -> None:
    # Two runs of commit b count as one; another machine says nothing of this one.
    lines = [kept("a", 2.0), kept("b", 2.2), kept("b", 2.4), kept("x", 9.0, "another"), kept("c", 2.1)]
    (change,) = track.changes([*lines, kept("d", 2.0)], HERE)
    assert (change.commit, change.commits, change.now) == ("d", 3, 2.0)
    assert change.before == pytest.approx(2.1)
    assert not change.marked
    (change,) = track.changes([*lines, kept("d", 3.0)], HERE)
    assert change.marked and "+42.9 %  <-- off" in track.table([change])
    (change,) = track.changes([kept("a", 2.0), kept("b", 2.0), kept("c", 4.0)], HERE)
    assert not change.marked, "of two earlier commits nothing is said"
    (change,) = track.changes([kept("a", 2.0)], HERE)
    assert change.before is None and change.commits == 0


@pytest.mark.parametrize(("now", "marked"), [(1.04, False), (1.06, True)])
def test_equal_ratios_leave_five_percent(now: float, marked: bool) -> None:
    lines = [*(kept(name, 1.0) for name in "abc"), kept("d", now)]
    assert track.changes(lines, HERE)[0].marked is marked


def test_a_scatter_of_earlier_commits_is_no_change() -> None:
    lines = [kept(name, value) for name, value in zip("abcd", (1.0, 1.2, 0.8, 1.1), strict=True)]
    assert not track.changes([*lines, kept("e", 1.4)], HERE)[0].marked
    assert track.changes([*lines, kept("e", 1.8)], HERE)[0].marked


def test_percents_are_compared_in_points() -> None:
    lines = [
        kept(name, value, benchmark="engine_overhead")
        for name, value in zip("abc", (0.1, 0.2, 0.1), strict=True)
    ]
    (change,) = track.changes([*lines, kept("d", 2.0, benchmark="engine_overhead")], HERE)
    assert not change.marked and "+1.90 points" in track.table([change])


def test_the_command_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        track.main(["nonsense"])
    assert ended.value.code == 2
    assert "nonsense: no such benchmark with a ratio; allowed: channels, cluster" in capsys.readouterr().err
    file = tmp_path / "kept.jsonl"
    assert track.main(["--table", "--file", str(file)]) == 1
    assert "nothing is kept there yet" in capsys.readouterr().err
    failing = subprocess.CompletedProcess([], 1, "", "Traceback\nno card\n")
    monkeypatch.setattr(track, "commit", lambda: "abc")
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", lambda *a, **k: failing)
        track.append(file, {**kept("a", 1.0), "machine": track.machine()})
        assert track.main(["curves", "--file", str(file)]) == 1
    said = capsys.readouterr()
    assert "curves: not measured: no card" in said.err and "not measured: curves" in said.out
    assert len(file.read_text().splitlines()) == 1, "a failure leaves no ratio"
    monkeypatch.setattr(track, "run", lambda name: {"a step": 1.01})
    assert track.main(["curves", "--file", str(file)]) == 0
    assert [json.loads(line)["commit"] for line in file.read_text().splitlines()] == ["a", "abc"]


def test_every_benchmark_with_a_command_has_a_ratio() -> None:
    commands = {file.stem for file in ROOT.glob("benchmarks/*.py") if "__main__" in file.read_text()}
    assert commands == {*track.RATIOS, "track"}
