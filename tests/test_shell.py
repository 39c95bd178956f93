"""What the shell is told: completions of names and keys, examples in the help, `run -o`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from conftest import ROOT
from test_terminals import RUN

from langevin.commands.cli import main
from langevin.config import registry


def completed(*words: str) -> list[str]:
    """Return what the last of the words of a command may become."""
    *before, last = words
    found = ShellComplete(main, {}, "langevin", "_LANGEVIN_COMPLETE").get_completions(before, last)
    return [one.value for one in found]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sch"], ["schema"]),
        (["systems", "psp"], ["pspin"]),
        (["init", "kob"], ["kob_andersen"]),
        (["data", "list", "fash"], ["fashion_mnist"]),
        (["data", "fetch", "cifar"], ["cifar10", "cifar100"]),
        (["run", "runs/pspin.toml", "--set", "dynamics.t_m"], ["dynamics.t_max="]),
        (["run", "runs/pspin.toml", "--set", "system.n"], ["system.n=", "system.name="]),
        (["validate", "runs/mlp.toml", "--set", "data.nam"], ["data.name="]),
        (["validate", "runs/mlp.toml", "--set", "dynamics.mom"], ["dynamics.momentum="]),
        (["run", "runs/jamming_random_2.toml", "--set", "dynamics.bet"], ["dynamics.betas="]),
        (["run", "runs/pspin.toml", "--set", "record.configurations=al"], ["record.configurations=always"]),
        (["run", "runs/pspin.toml", "--set", "record.response=t"], ["record.response=true"]),
        (["run", "runs/pspin.toml", "--set", "record.response=u"], ["record.response=unset"]),
        (["run", "runs/mlp.toml", "--set", "data.name=mn"], ["data.name=mnist"]),
        (["run", "--set", "ensemble.se"], ["ensemble.seed="]),
        (["run", "no_such.toml", "--set", "output.fig"], ["output.figure="]),
        (["run", "runs/pspin.toml", "--executor", "in"], ["in_process"]),
        (["plot", "no_such.nc", "--quantity", "ag"], ["aging"]),
        (["run", "runs/own_network.toml", "--set", "ensemble.sha"], ["ensemble.shards="]),
    ],
)  # fmt: skip
def test_words_are_completed(words: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert completed(*words) == expected


def test_every_system_is_proposed() -> None:
    assert completed("systems", "") == sorted(registry.names())


def test_a_run_file_at_fault_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("a = = b")
    assert completed("run", str(tmp_path / "bad.toml"), "--set", "dynamics.t") == []


def test_figures_of_a_file_are_proposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quench.toml").write_text(RUN, encoding="utf-8")
    words = ["run", "quench.toml", "-q", "--set", "output.figure=false", "-o", "a.nc"]
    assert CliRunner().invoke(main, words).exit_code == 0
    proposed = completed("plot", "a.nc", "--quantity", "")
    assert {"msd", "correlation"} <= set(proposed)
    assert "hessian" not in proposed
    assert completed("compare", "a.nc", "a.nc", "--quantity", "corr") == ["correlation"]


def test_a_shell_asks_the_command() -> None:
    asked = {"_LANGEVIN_COMPLETE": "bash_complete", "COMP_WORDS": "langevin systems harm", "COMP_CWORD": "2"}
    line = [sys.executable, "-c", "from langevin.commands.cli import main; main(prog_name='langevin')"]
    done = subprocess.run(line, env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("plain,harmonic\n", "")


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(
    ("path", "command"), list(commands(main)), ids=lambda one: " ".join(one) if isinstance(one, tuple) else ""
)
def test_every_help_ends_with_examples(path: tuple[str, ...], command: click.Command) -> None:
    said = CliRunner().invoke(main, [*path, "--help"]).output
    examples = re.findall(r"^    (langevin .*)$", said.partition("\n  Examples:\n")[2], re.M)
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])[1:]
        parsed, node = main.make_context("langevin", list(words), resilient_parsing=False), main
        # Each is one that the command understands.
        while isinstance(node, click.Group):
            name, node, words = node.resolve_command(parsed, [*parsed._protected_args, *parsed.args])
            assert node is not None
            parsed = node.make_context(name, list(words), parent=parsed)
        for file in re.findall(r"runs/\w+\.toml", example):
            assert (ROOT / file).exists()


def test_output_names_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quench.toml").write_text(RUN, encoding="utf-8")
    words = ["run", "quench.toml", "-q", "--set", "output.figure=false"]
    done = CliRunner().invoke(main, [*words, "--output", "other.nc"])
    assert (done.exit_code, done.output) == (0, "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.nc", "quench.toml"]
    twice = CliRunner().invoke(main, [*words, "-o", "a.nc", "--set", "output.path=b.nc"])
    assert twice.exit_code == 2
    assert twice.output == "langevin: --output a.nc: --set output.path says it, too: give one of them\n"
    wrong = CliRunner().invoke(main, [*words, "-o", "a.png"])
    assert wrong.exit_code == 2
    assert 'output.path = "a.png": must be a file name that ends in .nc' in wrong.output
