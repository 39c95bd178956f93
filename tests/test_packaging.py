"""Three folders install as one package, and nothing is forgotten."""

from __future__ import annotations

import ast
import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from conftest import ROOT

FOLDERS = {"langevin": "langevin", "systems": "langevin/systems", "observables": "langevin/observables"}


def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        f"{target}/{file.relative_to(ROOT / folder)}"
        for folder, target in FOLDERS.items()
        for file in (ROOT / folder).rglob("*.py")
    } | {"langevin/py.typed"}
    assert packed == expected


def imports(file: Path) -> set[str]:
    """Names of the modules that a file imports anywhere, `if TYPE_CHECKING` included."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module or "")
    return found


def test_the_rooms_keep_to_themselves() -> None:
    for file in (ROOT / "langevin").rglob("*.py"):
        # What data sets of one's own are made of is found at the top.
        allowed = {"langevin.systems.networks.data.base"} if file.parent == ROOT / "langevin" else set()
        assert {name for name in imports(file) if name.startswith("langevin.systems")} <= allowed, file
    for file in (ROOT / "observables").rglob("*.py"):
        outside = {name.partition(".")[0] for name in imports(file)} - set(sys.stdlib_module_names)
        assert outside <= {"numpy", "scipy", "xarray"}, file


#: Rooms of observables that others rest on, by height; what stands in none is above all of them.
HEIGHTS = (
    {"pieces", "statistics", "sufficiency"},
    {"lazy_pairs"},
    {"pairs"},
    {"fits"},
    {"aging", "training", "landscape", "particles"},
)


def test_observables_import_only_what_lies_below() -> None:
    def height(room: str) -> int:
        return next((k for k, rooms in enumerate(HEIGHTS) if room in rooms), len(HEIGHTS))

    for file in (ROOT / "observables").rglob("*.py"):
        within = file.relative_to(ROOT / "observables")
        own = within.parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            # Relative imports that leave the folder, or, at the top, name a room.
            if isinstance(node, ast.ImportFrom) and node.level == len(within.parts):
                for room in [node.module] if node.module else [alias.name for alias in node.names]:
                    low, here = height(room.partition(".")[0]), height(own)
                    assert low < here or low == here in (0, len(HEIGHTS)), (file, room)


def test_every_dependency_is_pinned() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed = "".join([setup["options"]["install_requires"], *setup["options.extras_require"].values()])
    names = {line.partition(">=")[0].partition("[")[0].lower() for line in needed.splitlines() if line}
    # Builds of torch for GPUs bring the one version of Triton that they work with.
    names.remove("triton")
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower() for line in pins if line and not line.startswith("#")}
    assert names <= pinned


def test_changelog_and_citation_have_the_version() -> None:
    import langevin

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["version"] == langevin.__version__
    assert f"\nversion: {langevin.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {langevin.__version__}" in (ROOT / "CHANGELOG.md").read_text()
