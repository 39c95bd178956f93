"""What commands load: those that compute nothing answer without torch, numba and scipy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import ROOT

import langevin
from langevin.config import registry

PROGRAM = """
import contextlib, io, sys
from langevin.commands.cli import main

def command(*words):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        main(list(words), standalone_mode=False)
    loaded = sorted({heavy} & set(sys.modules))
    assert not loaded, (words, loaded)
    return said.getvalue()
"""
#: Together longer than all the rest.
HEAVY = {"torch", "numba", "scipy", "matplotlib", "netCDF4", "xarray"}


def run(program: str, heavy: set[str], cwd: Path) -> None:
    head = PROGRAM.replace("{heavy}", repr(heavy))
    made = subprocess.run([sys.executable, "-c", head + program], cwd=cwd, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr


def test_run_files_are_checked_and_explained_with_little(tmp_path: Path) -> None:
    # Of one's own module what it imports is loaded, too; curves read the files that they join.
    named = [name for name in sorted(registry.SYSTEMS) if name not in ("network", "curve", "network_curve")]
    smoke = [str(path) for path in sorted((ROOT / "runs" / "smoke").glob("fashion_*.toml"))]
    assert smoke
    program = f"""
command("systems")
command("data", "list")
for name in {sorted(registry.SYSTEMS)}:
    command("systems", name)
    open(name + ".toml", "w").write(command("init", name))
for name in {named}:
    command("validate", name + ".toml")
for path in {smoke}:
    command("validate", path)
"""
    run(program, HEAVY, tmp_path)


def test_what_is_in_a_file_of_a_network_is_said_without_torch(
    tmp_path: Path, small: Callable[..., dict[str, Any]]
) -> None:
    given = small("mlp", output__path=str(tmp_path / "net.nc"), dynamics__backend="torch")
    langevin.run(given).close()
    run(
        "assert 'test_accuracy' in command('info', 'net.nc')",
        HEAVY - {"xarray", "netCDF4", "scipy"},
        tmp_path,
    )
