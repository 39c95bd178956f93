"""The documents are executed: commands exist, run files validate, Python examples run."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import curve_ends
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from conftest import ROOT
from matplotlib.figure import Figure

from langevin.commands.cli import main
from langevin.config import run_files
from langevin.config.settings import Settings
from langevin.core.ensemble import Ensemble
from langevin.plotting import registry
from langevin.results import kinds
from langevin.running import start
from langevin.sweep.executors.cluster import keys as cluster_keys

DOCUMENTS = sorted(p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RUN_FILES = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("runs/**/*.toml"))


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.S | re.M)


def needed(file: Path) -> Path | None:
    """Return the run file whose result another one needs, as its start or as ends: that of the same name."""
    given = tomllib.loads(file.read_text())
    result = given.get("start", {}).get("file") or given["system"].get("start")
    return file.with_name(result).with_suffix(".toml") if result else None


def leave_result(settings: Settings, folder: Path) -> None:
    """Leave what stands for a result: two weights of each replica in place of millions."""
    replicas, times = settings.ensemble.replicas, settings.given["record"]["snapshots"]
    ensemble = Ensemble.regular(replicas, settings.ensemble.samples, 1)
    weights = np.random.default_rng(1).random((len(times), replicas, 2))
    found = xr.Dataset(
        {
            "snapshot": (("snapshot_time", "replica", "dof"), weights),
            "energy": (("replica", "time"), np.zeros((replicas, 1))),
        },
        {"snapshot_time": times, "replica": ensemble.replica, "sample": ("replica", ensemble.sample)},
        {"settings": settings.as_json()},
    )
    for key, values in settings.given.get("sweep", {}).items():
        # A list is swept by its label.
        labels = [json.dumps(value) for value in values]
        about = {"sweep_key": key, "sweep_values": json.dumps(dict(zip(labels, values, strict=True)))}
        found = found.expand_dims({"swept": len(labels)}).assign_coords(swept=("swept", labels, about))
        found.attrs["sweep_dimensions"] = "swept"
    found.to_netcdf(folder / Path(settings.output.path).name)


@pytest.mark.parametrize("file", RUN_FILES)
def test_every_run_file_validates(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if before := needed(ROOT / file):
        leave_result(run_files.load(before), tmp_path)
    # That the other run stores what this one begins from.
    start.read(run_files.load(ROOT / file))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all small runs share: some need the results of others."""
    return tmp_path_factory.mktemp("results")


#: Those of the small runs that take long, and that differ from others by a network or its data alone.
LONG = (
    "fashion_fge",
    "fashion_sse",
    "fully_connected",
    "fully_connected_fashion",
    "jamming_random_2",
    "jamming_random_3",
    "jamming_random_5",
    "jamming_sizes",
    "lenet",
    "mnist_1_hidden",
    "mnist_2_hidden",
    "mnist_3_hidden",
    "mnist_alpha",
    "preresnet164",
    "preresnet164_fge",
    "resnet18",
    "speed_up_kob_andersen",
    "speed_up_network",
    "structure_of_data",
    "toy",
    "vgg16_fge",
    "wide_resnet",
    "wide_resnet_fge",
)


def smoke_runs() -> list[Any]:
    """Return the small runs; those of `LONG` in the slow tests alone."""
    files = [f for f in RUN_FILES if f.startswith("runs/smoke/")]
    return [pytest.param(f, marks=pytest.mark.slow if Path(f).stem in LONG else ()) for f in files]


@pytest.mark.parametrize("file", smoke_runs())
def test_every_smoke_run_runs(file: str, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(results)
    # Two thirds of the time of a figure. That nothing overlaps is tested where figures are.
    monkeypatch.setattr(Figure, "get_layout_engine", lambda figure: None)
    runs = [["run", str(ROOT / file), "--threads", "1", "--force"]]
    before = needed(ROOT / file)
    if before and not Path(before.stem + ".nc").exists():
        # Its figure is drawn when it is tested itself.
        runs.insert(0, ["run", str(before), "--threads", "1", "--set", "output.figure=false"])
    for run in runs:
        done = CliRunner().invoke(main, run)
        assert done.exit_code == 0, done.output
    assert "figure" in done.output


def test_every_run_file_has_a_smoke_version() -> None:
    for file in RUN_FILES:
        if "smoke" not in file:
            assert (ROOT / "runs/smoke" / Path(file).name).exists(), file


def leave_modules(document: str, folder: Path) -> list[str]:
    """Write the blocks of Python that begin with the name of a file; return the others."""
    session = []
    for block in blocks(document, "python"):
        file = re.match(r"# (\w+\.py)\n", block)
        if file:
            (folder / file[1]).write_text(block)
        else:
            session.append(block)
    return session


@pytest.mark.parametrize("document", DOCUMENTS)
def test_run_files_in_documents_validate(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    leave_modules(document, tmp_path)
    for block in blocks(document, "toml"):
        given = tomllib.loads(block)
        if "cluster" in given:
            assert cluster_keys.parsed(given["cluster"], document).capacity > 1
            continue
        system = given["system"]
        # Of curves the ends must be there.
        for seed, end in enumerate(filter(None, (system.get("start"), system.get("end")))):
            if system["name"] in curve_ends.OF:
                curve_ends.make(system["name"], tmp_path / end, 4, 1, seed)
        run_files.load(given)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_in_documents_runs(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(ROOT / "runs")
    monkeypatch.syspath_prepend(tmp_path)
    # Figures that documents register are theirs alone; those of the package are registered once for all.
    for kind in kinds.KINDS:
        registry.drawings(kind)
    registered = {kind: dict(figures) for kind, figures in registry._REGISTERED.items()}
    monkeypatch.setattr(registry, "_REGISTERED", registered)
    namespace: dict[str, object] = {"__name__": "documented"}
    for block in leave_modules(document, tmp_path):
        exec(compile(block, document, "exec"), namespace)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_in_documents_exist(document: str) -> None:
    for block in blocks(document, "(?:sh|console)"):
        for command, rest in re.findall(r"\blangevin (\w+)((?: +(?!&&)\S+)*)", block):
            assert command in main.commands, command
            options = {name for parameter in main.commands[command].params for name in parameter.opts}
            for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest):
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
