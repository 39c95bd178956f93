"""Modules that have moved: a user's module of an older project goes on to work."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from langevin.former import TABLE

OLDER = """
from langevin.ensemble import Ensemble
from langevin.keys import Section, key
from langevin import storage
from langevin.systems.networks.datasets.base import Data, Examples, shares
from langevin.observables import hessian
import langevin.planes.command

import langevin
from langevin.errors import UserError

assert langevin.Ensemble is Ensemble and langevin.Section is Section and langevin.key is key
assert langevin.Examples is Examples and storage.Paths and hessian.Spectrum
assert not hasattr(storage, "nothing")
try:
    langevin.ensemble()
except UserError as error:
    assert "needs a file or more" in str(error)
else:
    raise AssertionError("the function is hidden by the module of its name")
"""


def test_former_paths_work_and_name_the_new_ones(tmp_path: Path) -> None:
    (tmp_path / "older.py").write_text(OLDER)
    done = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning", "older.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "older.py:2: DeprecationWarning: langevin.ensemble has moved: import langevin.core.e" in done.stderr
    )
    assert "langevin.keys has moved: import langevin.config.keys" in done.stderr


def test_what_has_moved_is_where_the_table_says() -> None:
    for former, now in TABLE.items():
        for place in now.split():
            assert importlib.util.find_spec(f"langevin.{place}") is not None, (former, place)
