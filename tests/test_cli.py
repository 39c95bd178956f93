"""The command line as a user meets it, mistakes included."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import curve_ends
import pytest
import xarray as xr
from click.testing import CliRunner, Result
from training_course import training

from langevin.commands.cli import main
from langevin.config import registry

QUENCH = """
title = "a quench"
[system]
name = "pspin"
p = 3
n = 24
[dynamics]
temperature = 0.5
dt = 0.02
t_max = 5.0
[ensemble]
replicas = 4
samples = 2
"""


@pytest.fixture
def quench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "quench.toml"
    file.write_text(QUENCH)
    return file


def langevin(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_run_plot_info(quench: Path) -> None:
    done = langevin("run", quench)
    assert done.exit_code == 0, done.output
    for word in ("energy at t = 5", "closed form", "waiting time", "quench.nc", "quench.png"):
        assert word in done.output
    assert {"quench.nc", "quench.png", "quench.toml"} == {p.name for p in quench.parent.iterdir()}
    with xr.open_dataset("quench.nc") as found:
        assert found.attrs["run_file"] == QUENCH
        assert "overlap" in found
    told = langevin("info", "quench.nc").output
    for word in (
        "a quench",
        "complete",
        "seed",
        "commit",
        "energy(replica, time)",
        "msd(replica, waiting_time, lag)",
    ):
        assert word in told
    assert langevin("plot", "quench.nc", "-o", "c.pdf", "--quantity", "correlation").output == "c.pdf\n"
    assert Path("c.pdf").stat().st_size > 1000


def test_what_a_training_run_says(tmp_path: Path) -> None:
    training().to_netcdf(tmp_path / "net.nc")
    training(1, bottom=False).to_netcdf(tmp_path / "small.nc")
    told = langevin("info", tmp_path / "net.nc").output
    for words in (
        r"at t = 1e\+06 +training +test\n +loss +1\.\d\de-04 ± .*0\.30",
        r"accuracy +0\.9999\d ± .* 0\.88",
        r"t1  1\d\d(\.\d)? \(± [\d.]+ statistical, .* systematic\): the loss begins to fall",
        r"t2  1\.?\d*e\+04 \(±",
    ):
        assert re.search(words, told), (words, told)
    assert "energy at" not in told
    told = langevin("info", tmp_path / "small.nc").output
    assert "t2  none: the loss has not come to a last level" in told


def test_overrides_and_quiet(quench: Path) -> None:
    done = langevin(
        "run", quench, "--set", "dynamics.t_max=1", "--set", "output.path=other.nc", "--quiet", "--threads", 1
    )
    assert (done.exit_code, done.output) == (0, "")
    with xr.open_dataset("other.nc") as found:
        assert float(found["time"][-1]) == 1.0
        assert '"t_max": 1' in found.attrs["settings"]


def test_a_result_is_not_overwritten(quench: Path) -> None:
    Path("quench.nc").write_text("precious")
    done = langevin("run", quench)
    assert done.exit_code == 2
    assert "quench.nc exists" in done.output
    assert "--force" in done.output
    assert Path("quench.nc").read_text() == "precious"
    assert langevin("run", quench, "--force", "-q").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "missing.toml"], 2, ["missing.toml", "No such file"]),
        (["run", "."], 2, ["cannot read", "Is a directory"]),
        (["run", "quench.toml", "--set", "dynamics.dt=-1"], 2, ["dynamics.dt = -1", "> 0"]),
        (["run", "quench.toml", "--set", "dt"], 2, ["section.key=value"]),
        (["run", "quench.toml", "--set", "output.path=."], 2, ['output.path = "."', "ends in .nc"]),
        (["validate", "quench.toml", "--set", "output.path=no/where.nc"], 2, ["no folder no"]),
        (["resume", "."], 2, ["name.nc"]),
        (["systems", "mine:Model"], 2, ["cannot import 'mine'"]),
        (["run", "quench.toml", "--set", "output.path=no/where.nc"], 2, ["no/where.nc", "no folder no"]),
        (["run", "quench.toml", "--set", "system.n=30000"], 2, ["system.n = 30000", "GB"]),
        (["run", "quench.toml", "--threads", "0"], 2, ["--threads"]),
        (["validate", "quench.toml", "--set", "system.p=7"], 2, ["system.p = 7", "one of 2, 3, 4"]),
        (["resume", "nothing.nc"], 2, ["nothing to resume"]),
        (["plot", "nothing.nc"], 2, ["nothing.nc", "no such file"]),
        (["plot", "quench.toml"], 2, ["quench.toml", "not a netCDF file"]),
        (["info", "quench.toml"], 2, ["not a netCDF file"]),
        (["systems", "pspinn"], 2, ["nearest: 'pspin'"]),
        (["init", "nothing"], 2, ["no such system"]),
        (["rnu"], 2, ["No such command"]),
    ],
)
def test_mistakes_are_one_clear_line(quench: Path, arguments: list[str], code: int, words: list[str]) -> None:
    done = langevin(*arguments)
    assert done.exit_code == code, done.output
    for word in words:
        assert word in done.output
    assert "Traceback" not in done.output
    assert {p.name for p in quench.parent.iterdir()} == {"quench.toml"}


def test_a_folder_as_path(quench: Path) -> None:
    Path("folder.nc").mkdir()
    done = langevin("run", quench, "--set", "output.path=folder.nc")
    assert (done.exit_code, "'folder.nc' is a folder" in done.output) == (2, True)


def test_a_figure_is_not_overwritten(quench: Path) -> None:
    Path("quench.png").write_text("precious")
    done = langevin("run", quench)
    assert (done.exit_code, "quench.png exists" in done.output) == (2, True)
    assert Path("quench.png").read_text() == "precious"
    assert langevin("run", quench, "-q", "--set", "output.figure=false").exit_code == 0
    assert Path("quench.png").read_text() == "precious"


FOREIGN = [
    xr.Dataset({"energy": ("x", [1.0, 2.0])}),
    xr.Dataset({"msd": 3.0}),
    xr.Dataset({"other": ("time", [1.0])}),
]


@pytest.mark.parametrize("dataset", FOREIGN)
def test_files_of_other_programs(quench: Path, dataset: xr.Dataset) -> None:
    dataset.to_netcdf("other.nc")
    for command in ("plot", "info"):
        done = langevin(command, "other.nc")
        assert (done.exit_code, "not a result of langevin" in done.output) == (2, True)
    dataset.to_netcdf("other.checkpoint.nc")
    done = langevin("resume", "other.nc")
    assert (done.exit_code, "not a checkpoint" in done.output) == (1, True)


MODEL = """
import numpy as np
from langevin.config.keys import Section, key
from langevin.core.capabilities import HasObservables
from langevin.core.system import Model
class Mine(Model):
    class Parameters(Section):
        n: int = key("size", example=3)
    def __init__(self, parameters, dynamics, ensemble):
        self.shape = ensemble.size, parameters.n
    def initial_configuration(self, noise):
        return np.ones(self.shape)
    def force(self, x, t, noise):
        return -x
"""


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("", 2, "lacks energy"),
        (
            "    def energy(self, x):\n        return x\n    def observables(self, x):\n        return {}\n",
            2,
            "class Mine defines observables, and must derive from langevin.core.capabilities.HasObservables",
        ),
        ("    def energy(self, x):\n        return x.mean()\n", 1, "'energy' has shape ()"),
        ("    def energy(self, x):\n        return x.mean(\n", 2, "cannot import 'mine'"),
        (
            "    def energy(self, x):\n        return x.mean(axis=1)\n"
            "class Measuring(Mine, HasObservables):\n"
            "    def observables(self, x):\n        return {'time': x.mean(axis=1)}\n"
            "Mine = Measuring\n",
            1,
            "'time': the name is taken",
        ),
    ],
)
def test_a_users_model_is_held_to_its_contract(quench: Path, body: str, code: int, words: str) -> None:
    (quench.parent / "mine.py").write_text(MODEL + body)
    quench.write_text(
        '[system]\nname = "mine:Mine"\nn = 3\n[dynamics]\ntemperature = 1.0\ndt = 0.1\nt_max = 9.0\n'
        "[ensemble]\nreplicas = 2\n"
    )
    command = [sys.executable, "-m", "langevin", "run", "-q", "quench.toml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=quench.parent, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert words in done.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write to")
def test_an_unwritable_folder_is_said_before_anything_is_computed(quench: Path) -> None:
    # /proc takes no new files, not even root's.
    done = langevin("run", quench, "--set", "output.path=/proc/result.nc")
    assert done.exit_code == 1
    assert done.output.startswith("langevin: cannot write /proc/result")
    assert done.output.count("\n") == 1


def test_a_divergent_run_keeps_what_it_measured(quench: Path) -> None:
    quench.write_text(
        '[system]\nname = "harmonic"\nn = 10\n[dynamics]\ntemperature = 1.0\ndt = 3.0\nt_max = 3000.0\n'
        "[record]\nwaiting_times = [0.0]\n"
    )
    done = langevin("run", quench)
    assert done.exit_code == 1
    for word in ("diverged between t =", "smaller dynamics.dt", "quench.nc"):
        assert word in done.output
    assert "Traceback" not in done.output
    with xr.open_dataset("quench.nc") as found:
        assert found.attrs["status"].startswith("diverged")
        assert found["energy"].notnull().any()
        assert found["energy"].isnull().any()
    assert langevin("plot", "quench.nc").exit_code == 0


def test_debug_shows_the_traceback(quench: Path) -> None:
    command = [sys.executable, "-m", "langevin", "--debug", "run", "missing.toml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=quench.parent, check=False)
    assert "Traceback" in done.stderr


def test_the_unforeseen_is_one_line_too(quench: Path) -> None:
    (quench.parent / "mine.py").write_text(
        "from langevin.systems.harmonic import Harmonic\n"
        "class Broken(Harmonic):\n    def force(self, x, t, noise):\n        return x / {}\n"
    )
    quench.write_text(
        '[system]\nname = "mine:Broken"\nn = 3\n[dynamics]\ntemperature = 1.0\ndt = 0.1\nt_max = 1.0\n'
    )
    command = [sys.executable, "-m", "langevin", "run", "-q", "quench.toml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=quench.parent, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("langevin: unexpected TypeError")
    assert done.stderr.count("\n") == 1


def test_a_users_own_system(quench: Path) -> None:
    (quench.parent / "own.py").write_text(
        '"""A double well."""\n'
        "from langevin.systems.harmonic import Harmonic\n"
        "class DoubleWell(Harmonic):\n"
        "    def force(self, x, t, noise):\n        return x - x**3\n"
        "    def energy(self, x):\n        return (x**4 / 4 - x**2 / 2).mean(axis=1)\n"
    )
    quench.write_text(
        '[system]\nname = "own:DoubleWell"\nn = 30\n[dynamics]\ntemperature = 0.01\ndt = 0.05\nt_max = 50.0\n'
    )
    command = [sys.executable, "-m", "langevin", "run", str(quench), "-q"]
    assert subprocess.run(command, cwd=quench.parent, check=False).returncode == 0
    with xr.open_dataset("quench.nc") as found:
        # Two wells of depth 1/4, and T/2 per degree of freedom around them.
        assert float(found["energy"][0, -1]) == pytest.approx(-0.25 + 0.005, abs=0.01)


@pytest.mark.parametrize("name", sorted(registry.names()))
def test_systems_and_init(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    curve_ends.stand_by(name, tmp_path)
    assert name in langevin("systems").output
    shown = langevin("systems", name)
    for word in ("[system]", "temperature", "default:", "unit: energy"):
        assert word in shown.output
    (tmp_path / "new.toml").write_text(langevin("init", name).output)
    assert "valid" in langevin("validate", tmp_path / "new.toml").output


@pytest.mark.parametrize(
    "code",
    ["import langevin", "from langevin.commands.cli import main; main(['--help'], standalone_mode=False)"],
)
def test_light_imports(code: str) -> None:
    heavy = "{'torch', 'numba', 'xarray', 'scipy', 'matplotlib', 'netCDF4', 'pydantic', 'numpy'}"
    program = f"{code}\nimport sys\nassert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
