"""The documents are executed: commands exist, run files validate, Python examples run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import curve_ends
import pytest
from click.testing import CliRunner
from conftest import ROOT
from matplotlib.figure import Figure

from langevin import config
from langevin.cli import main

DOCUMENTS = sorted(p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RUN_FILES = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("runs/**/*.toml"))


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.S | re.M)


@pytest.mark.parametrize("file", RUN_FILES)
def test_every_run_file_validates(file: str) -> None:
    config.load(ROOT / file)


@pytest.mark.parametrize("file", [f for f in RUN_FILES if f.startswith("runs/smoke/")])
def test_every_smoke_run_runs(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Two thirds of the time of a figure. That nothing overlaps is tested where figures are.
    monkeypatch.setattr(Figure, "get_layout_engine", lambda figure: None)
    path = ROOT / file
    began = tomllib.loads(path.read_text()).get("start")
    # What a run begins from is the result of the run file of the same name.
    for run in [*([path.with_name(began["file"]).with_suffix(".toml")] if began else []), path]:
        done = CliRunner().invoke(main, ["run", str(run), "--threads", "1"])
        assert done.exit_code == 0, done.output
        assert "figure" in done.output


def test_every_run_file_has_a_smoke_version() -> None:
    for file in RUN_FILES:
        if "smoke" not in file:
            assert (ROOT / "runs/smoke" / Path(file).name).exists(), file


@pytest.mark.parametrize("document", DOCUMENTS)
def test_run_files_in_documents_validate(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(document, "toml"):
        given = tomllib.loads(block)
        system = given["system"]
        # Of curves the ends must be there.
        for seed, end in enumerate(filter(None, (system.get("start"), system.get("end")))):
            if system["name"] in curve_ends.OF:
                curve_ends.make(system["name"], tmp_path / end, 4, 1, seed)
        config.load(given)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_in_documents_runs(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(ROOT / "runs")
    monkeypatch.syspath_prepend(tmp_path)
    namespace: dict[str, object] = {"__name__": "documented"}
    for block in blocks(document, "python"):
        # A block that begins with a file name is that file; the others are one session.
        file = re.match(r"# (\w+\.py)\n", block)
        if file:
            (tmp_path / file[1]).write_text(block)
        else:
            exec(compile(block, document, "exec"), namespace)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_in_documents_exist(document: str) -> None:
    for block in blocks(document, "(?:sh|console)"):
        for command, rest in re.findall(r"\blangevin (\w+)((?: +(?!&&)\S+)*)", block):
            assert command in main.commands, command
            options = {name for parameter in main.commands[command].params for name in parameter.opts}
            for option in re.findall(r"(?<!\S)--?[a-z]+", rest):
                assert option in options, (command, option)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / document).read_text()):
        assert (folder / target).exists(), target


def test_readme_has_the_two_commands_that_ci_runs() -> None:
    commands = [
        line
        for block in blocks("README.md", "sh")
        for line in block.splitlines()
        if line.startswith("pip install")
    ]
    assert len(commands) == 2
    assert commands[0].endswith("langevin run runs/pspin.toml")
    assert commands[1].endswith("pytest -n 2")
