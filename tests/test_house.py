"""The house keeps its order, and others build on it from outside."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest
from conftest import ROOT

import langevin
from langevin.errors import UserError
from langevin.sweep.executors.base import Job, Outcome, Report, Task


def tree(folder: Path) -> Path:
    """Return a folder that holds the package as it is installed: three folders in one."""
    package = folder / "langevin"
    package.mkdir()
    for part in [*(ROOT / "langevin").iterdir(), ROOT / "systems", ROOT / "observables"]:
        (package / part.name).symlink_to(part)
    return folder


def kept(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of pyproject.toml on a package in a folder."""
    command = [
        sys.executable,
        "-P",
        "-c",
        "from importlinter.cli import lint_imports_command as main; main()",
    ]
    command += [str(ROOT / "pyproject.toml"), "--no-cache"]
    environment = {"PYTHONPATH": str(folder), "PATH": "", "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_contracts_are_kept(tmp_path: Path) -> None:
    done = kept(tree(tmp_path))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("core/noise.py", "from langevin.config import keys", "Arrows lead downward"),
        ("files/disk.py", "from langevin.results import summary", "Arrows lead downward"),
        (
            "config/registry.py",
            "from langevin.systems import harmonic",
            "No system by name",
        ),
        (
            "systems/harmonic.py",
            "from langevin.running import session",
            "Systems use core, config, results",
        ),
        (
            "observables/statistics.py",
            "from langevin.core import noise",
            "Observables stand alone",
        ),
        ("observables/statistics.py", "from .training import regimes", "No circles"),
    ],
)
def test_what_breaks_a_contract_is_noticed(tmp_path: Path, file: str, line: str, contract: str) -> None:
    package = tree(tmp_path) / "langevin"
    room = package / Path(file).parts[0]
    source = room.resolve()
    room.unlink()
    shutil.copytree(source, room)
    broken = package / file
    broken.write_text(f"{broken.read_text()}\n{line}\n")
    done = kept(tmp_path)
    assert done.returncode == 1
    assert f"{contract} BROKEN" in done.stdout


class Backwards:
    """An executor from outside: one job after the other, the last one first."""

    threads = 1

    def __init__(self) -> None:
        self.order: list[int] = []

    def map(
        self, task: Task, jobs: Sequence[Job], report: Report, stopped: Callable[[], bool]
    ) -> Generator[tuple[int, Outcome], None, None]:
        for index in reversed(range(len(jobs))):
            self.order.append(index)
            task(jobs[index], self.threads, lambda part: None)
            yield index, Outcome("done")


def test_an_executor_from_outside_carries_a_sweep(tmp_path: Path) -> None:
    given = {
        "system": {"name": "harmonic", "n": 4},
        "dynamics": {"dt": 0.1, "t_max": 1.0},
        "sweep": {"dynamics.temperature": [0.5, 1.0, 2.0]},
    }
    executor = Backwards()
    swept = langevin.run(given, executor=executor)
    assert executor.order == [2, 1, 0]
    other = langevin.run(given, executor="in_process").drop_vars("wall_time_seconds")
    assert swept.drop_vars("wall_time_seconds").equals(other)
    with pytest.raises(UserError, match=r"executor = 'slurm': no such executor; allowed: dask, in_"):
        langevin.run(given, executor="slurm")
