"""The site holds every page once, its links lead to headings, and what surrounds the code agrees with it."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
from collections import Counter
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from conftest import ROOT

import langevin
from langevin.observables import aging, overlaps
from langevin.plotting import registry
from langevin.results import kinds

PAGES = sorted(ROOT.glob("docs/*.md")) + sorted(ROOT.glob("docs/reference/*.md"))
DOCUMENTS = [*PAGES, *sorted(ROOT.glob("*.md"))]


def loaded(file: str, name: str) -> ModuleType:
    """Import a file that no package holds."""
    loader = SourceFileLoader(name, str(ROOT / file))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def prose(file: Path) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", file.read_text(), flags=re.S | re.M)


def slugs(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ +(.*?)\s*$", text, re.M):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def test_anchors_are_made_as_github_makes_them() -> None:
    assert slugs("# A, b: *c*\n## `d_e` → [f](g.md)\n## A b c\n") == {"a-b-c", "d_e--f", "a-b-c-1"}


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_links_lead_to_headings(file: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", prose(file)):
        other = file.parent / target if target else file
        assert anchor in slugs(prose(other)), f"{target}#{anchor}"


def test_every_page_stands_once_in_the_tables_of_contents() -> None:
    listed: Counter[Path] = Counter()
    for file in PAGES:
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", file.read_text(), re.S | re.M):
            for line in block.splitlines():
                if line and not line.startswith(":") and "*" not in line:
                    name = re.sub(r".*<(.*)>", r"\1", line)
                    listed[(file.parent / name).resolve()] += 1
    generated = {ROOT / "docs/gallery/index"}
    expected = {file.with_suffix("") for file in PAGES} - {ROOT / "docs/index"}
    assert set(listed) - generated == expected
    assert set(listed.values()) == {1}


@pytest.mark.parametrize("file", sorted(ROOT.glob("docs/*.md")), ids=lambda file: file.name)
def test_a_page_begins_with_a_sentence(file: Path) -> None:
    title, _, text = file.read_text().partition("\n")
    assert title.startswith("# ")
    assert re.match(r"\n[\w`\"A-ZΑ-Ω][^|]*?[.:?]", text), "title, then prose, then the rest"


def test_the_page_of_the_file_names_what_a_file_holds() -> None:
    named = set(re.findall(r"`([\w-]+)`", (ROOT / "docs/file.md").read_text()))
    times = {"waiting_times": [1.0, 2.0], "lags": [1.0, 2.0], "times": [1.0]}
    physical = langevin.run(
        {
            "title": "oscillators",
            "system": {"name": "harmonic", "n": 4},
            "dynamics": {"temperature": [[0, 1.0], [1, 0.5]], "dt": 0.1, "t_max": 4.0},
            "ensemble": {"replicas": 2},
            "record": {**times, "response": True, "snapshots": [1.0], "hessian": [1.0], "inherent": [1.0]},
        }
    )
    network = langevin.run(
        {
            "system": {"name": "mlp", "widths": [3]},
            "data": {"name": "synthetic", "train": 20, "test": 10},
            "dynamics": {"learning_rate": 0.05, "batch_size": 10, "t_max": 4},
            "record": {"waiting_times": [1], "lags": [1, 2]},
        }
    )
    for ds in (physical, network):
        held = {str(name).removesuffix("_error") for name in (*ds.variables, *ds.dims, *ds.attrs)}
        assert held - named == set()


def test_figures_in_documents_exist() -> None:
    figures = {"train_error"}  # of planes, a quantity on the grid
    for kind in kinds.KINDS:
        assert registry.drawings(kind)
        figures |= set(registry._REGISTERED[kind.name])
    # Any variable over time, or over waiting times and lags, is drawn by its name.
    figures |= set(re.findall(r"`([\w-]+)`", (ROOT / "docs/file.md").read_text()))
    assert "response" not in figures
    for file in DOCUMENTS:
        for name in re.findall(r"--quantity ([\w-]+)", file.read_text()):
            assert name in figures, (file.name, name)


def test_the_reference_lists_what_modules_define_themselves() -> None:
    reference = loaded("docs/observables_reference.py", "observables_reference")
    assert set(reference.public(aging)) == set(aging.__all__)
    assert "average" in vars(overlaps), "an import that the reference must leave out"
    assert "average" not in reference.public(overlaps)
    assert "overlap_distribution" in reference.public(overlaps)


def test_pages_of_the_reference_are_written_once(tmp_path: Path) -> None:
    reference = loaded("docs/observables_reference.py", "observables_reference")
    (tmp_path / "gone.rst").write_text("of a module that is no more")
    names = reference.write(tmp_path)
    assert {"aging", "statistics", "two_time"} <= set(names)
    assert sorted(file.stem for file in tmp_path.iterdir()) == names
    os.utime(tmp_path / "aging.rst", (1, 1))
    reference.write(tmp_path)
    assert (tmp_path / "aging.rst").stat().st_mtime == 1


def test_signs_in_docstrings_stay_signs() -> None:
    conf = loaded("docs/conf.py", "conf")
    lines = ["|x| and t_ of `a|b_`, a_b:", "    ", "As code::", "", "    |kept|", "", ">>> a | b", "|z|"]
    conf.keep_signs(None, "function", "f", None, None, lines)
    assert lines[0] == r"\|x\| and t\_ of `a|b_`, a_b:"
    assert lines[4:7] == ["    |kept|", "", ">>> a | b"]


def test_a_release_has_the_notes_of_its_version() -> None:
    notes = loaded(".ci/notes", "notes")
    changelog = "# Changelog\n\n## 0.2.0 - 2027-01-31\n\n### Added\n\n- A.\n\n## 0.1.0 (unreleased)\n\n- B.\n"
    assert notes.section(changelog, "0.2.0") == "### Added\n\n- A."
    with pytest.raises(SystemExit, match=r"no section '## 0\.1\.0 - YYYY-MM-DD'"):
        notes.section(changelog, "0.1.0")
    with pytest.raises(SystemExit, match=r"setup\.cfg says"):
        notes.main("99")


def test_workflows_try_the_python_versions_that_the_package_states() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    stated = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    tried = tests["jobs"]["suite"]["strategy"]["matrix"]["python"]
    assert tried == [stated[0], stated[-1]]
    assert setup["options"]["python_requires"] == f">={stated[0]}"


def test_workflows_and_hooks_call_what_is_there() -> None:
    files = [*ROOT.glob(".github/workflows/*.yml"), ROOT / ".pre-commit-config.yaml", ROOT / ".ci/run"]
    called = {name for file in files for name in re.findall(r"(?<!\S)\.ci/\w+", file.read_text())}
    assert called == {".ci/avx2", ".ci/house", ".ci/notes"}
    assert all(os.access(ROOT / name, os.X_OK) for name in called)
    for name in re.findall(r"tests/\w+\.py", (ROOT / ".pre-commit-config.yaml").read_text()):
        assert (ROOT / name).exists()


@pytest.mark.parametrize("file", sorted(ROOT.glob(".github/ISSUE_TEMPLATE/[!c]*.yml")), ids=lambda f: f.name)
def test_issue_forms_have_what_a_form_needs(file: Path) -> None:
    form = yaml.safe_load(file.read_text())
    assert {"name", "description", "body"} <= set(form)
    asked = [item for item in form["body"] if item["type"] != "markdown"]
    assert asked and len({item["id"] for item in asked}) == len(asked)
    assert all(item["attributes"]["label"] for item in asked)
