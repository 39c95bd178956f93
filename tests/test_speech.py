"""Messages name options as their reader gives them; no message writes such a word by itself."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT

import langevin
from langevin import api, speech
from langevin.commands.cli import main
from langevin.errors import UserError
from langevin.machine import notices

ROOMS = ("langevin", "systems", "observables")

#: What an option of a command looks like in a message, and what an argument of Python does.
OPTION = re.compile(r"(?<![\w-])(?:--[a-z]|-o\b)|`langevin [a-z]")
ARGUMENT = re.compile(r"\b[a-z_]+=(?:True|False|None)\b|`langevin\.[a-z]+[(`]")

#: Sources that speak to other programs, or to the shell alone: options of Slurm, Dask and git.
OTHER_PROGRAMS = (
    "langevin/commands/",
    "langevin/speech.py",
    "langevin/sweep/slurm.py",
    "langevin/sweep/executors/cluster/clusters.py",
    "langevin/sweep/executors/cluster/keys.py",
    "langevin/sweep/executors/cluster/local_worker.py",
    "langevin/files/provenance.py",
)

#: Options of commands that have no function in Python.
SHELL_ALONE = {"every", "set"}


@cache
def sources() -> list[tuple[str, ast.Module]]:
    paths = (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))
    texts = ((path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths)
    # Others hold nothing that is looked for.
    spoken = re.compile(f"{OPTION.pattern}|--{{|[\"'].*(?:{ARGUMENT.pattern})|import .*speech|speech import")
    return [(file, ast.parse(text)) for file, text in texts if spoken.search(text)]


@cache
def said() -> list[tuple[str, int, str]]:
    """Return file, line and text of the strings of all sources that are no docstrings."""
    found = []
    for file, tree in sources():
        nodes = list(ast.walk(tree))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                # What is filled in may be the name of an option: f"--{name}".
                parts = (p.value if isinstance(p, ast.Constant) else "x" for p in node.values)
                found.append((file, node.lineno, "".join(map(str, parts))))
            elif isinstance(node, ast.Constant) and id(node) not in docstrings:
                found.append((file, node.lineno, str(node.value)))
    return found


def named(tree: ast.AST, function: str) -> Iterator[str]:
    """Yield the names that `speech.option` or `speech.command` are called with, where they stand there."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
            continue
        if ast.unparse(node.func) in (function, f"speech.{function}"):
            yield str(node.args[0].value)


def test_no_message_that_python_may_read_names_an_option() -> None:
    found = [
        f"{file}:{line}: {text!r}"
        for file, line, text in said()
        if not file.startswith(OTHER_PROGRAMS) and OPTION.search(text)
    ]
    assert not found, "\n".join(found)


def test_no_message_that_a_shell_may_read_names_an_argument() -> None:
    found = [
        f"{file}:{line}: {text!r}"
        for file, line, text in said()
        if file != "langevin/speech.py" and ARGUMENT.search(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["give --force", "with -o a.png", "`langevin resume a.nc` goes on"])
def test_what_the_first_looks_for(text: str) -> None:
    assert OPTION.search(text) and not ARGUMENT.search(text)


@pytest.mark.parametrize("text", ["pass force=True", "`langevin.resume('a.nc')` goes on"])
def test_what_the_second_looks_for(text: str) -> None:
    assert ARGUMENT.search(text) and not OPTION.search(text)


def test_options_that_are_named_exist_in_both_worlds() -> None:
    options = {
        name.removeprefix("--")
        for command in main.commands.values()
        for parameter in command.params
        for name in parameter.opts
    }
    functions = {name: getattr(api, name) for name in api.__all__}
    arguments = {p for function in functions.values() for p in inspect.signature(function).parameters}
    for file, tree in sources():
        for name in named(tree, "option") if file.startswith("langevin/") else ():
            if file.startswith("langevin/commands/"):
                continue
            assert name in options, (file, name)
            argument = speech.ARGUMENTS.get(name, name).replace("-", "_")
            assert name in SHELL_ALONE or argument in arguments, (file, name)
        for name in named(tree, "command") if "commands" not in file else ():
            assert name in {*main.commands, speech.MEMBERS}, (file, name)
    assert options >= speech.FLAGS
    assert set(speech.FUNCTIONS) <= set(main.commands) and set(speech.FUNCTIONS.values()) <= set(functions)
    # What has a function of the same name is called by it.
    assert {n for n in main.commands if n in functions} <= set(speech.FUNCTIONS)


def test_flags_are_arguments_that_may_be_true() -> None:
    for name in speech.FLAGS:
        defaults = {
            inspect.signature(getattr(api, function)).parameters[name].default
            for function in api.__all__
            if name in inspect.signature(getattr(api, function)).parameters
        }
        assert defaults == {False}, name


def test_an_error_says_what_its_reader_can_do(tmp_path: Path) -> None:
    here = tmp_path / "a.nc"
    here.write_text("")
    given = {
        "system": {"name": "harmonic", "n": 2},
        "dynamics": {"temperature": 1.0, "dt": 0.1, "t_max": 0.2},
        "output": {"path": str(here)},
    }
    with pytest.raises(UserError, match="overwrite it with force=True, or give another output"):
        langevin.run(given)
    file = tmp_path / "run.toml"
    file.write_text(
        '[system]\nname = "harmonic"\nn = 2\n[dynamics]\ntemperature = 1.0\ndt = 0.1\nt_max = 0.2\n'
        f'[output]\npath = "{here}"\n'
    )
    done = CliRunner().invoke(main, ["run", str(file)])
    assert done.exit_code == 2 and "overwrite it with --force, or give another output" in done.output
    # The command is over: Python reads again.
    assert speech.option("force") == "force=True"


def test_values_are_written_as_their_reader_writes_them() -> None:
    cases = {
        ("quantity", "aging"): ("--quantity aging", "quantity='aging'"),
        ("quantity", "'a b'"): ("--quantity 'a b'", "quantity='a b'"),
        ("size", 4): ("--size 4", "size=4"),
        ("at", "'n=1'"): ("--at 'n=1'", "at=['n=1']"),
        ("at", ""): ("--at", "at="),
        ("output", ""): ("--output", "output="),
        ("trust", ""): ("--trust", "trust=True"),
    }
    for given, (shell, python) in cases.items():
        assert speech.option(*given) == python
        with speech.to_shell():
            assert speech.option(*given) == shell
    assert speech.assigned("sweep.system.n", "[1]") == "overrides={'sweep.system.n': [1]}"
    with speech.to_shell():
        assert speech.assigned("sweep.system.n", "[1]") == "--set 'sweep.system.n=[1]'"


def test_processes_of_a_command_speak_to_the_same_reader() -> None:
    words = "from langevin import speech; print(speech.option('force'))"

    def child() -> str:
        command = [sys.executable, "-c", words]
        environment = dict(notices.environment(True))
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert child() == "force=True\n"
    with speech.to_shell():
        assert child() == "--force\n"
