"""Runs in several threads of one process, and a thread that looks at a running one: each as if alone."""

from __future__ import annotations

import ast
import contextlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

import langevin
from langevin.errors import UserError
from langevin.files import netcdf
from langevin.sweep import simulation

#: What the library's own names are, by which a module would get past the lock.
FORBIDDEN = {"netCDF4", "open_dataset", "load_dataset", "open_mfdataset", "to_netcdf", "open_dataarray"}


def test_no_module_but_one_calls_the_netcdf_library() -> None:
    """What others call `open_dataset` is that of `langevin.files.netcdf`."""
    found = set()
    for path in [
        p for folder in ("langevin", "systems", "observables") for p in (ROOT / folder).rglob("*.py")
    ]:
        if path == ROOT / "langevin/files/netcdf.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) != "netcdf":
                names = [node.attr]
            found |= {(path.name, name) for name in names if name.partition(".")[0] in FORBIDDEN}
    # Of a store of Zarr, in which no netCDF is.
    assert found == {("zarr_folder.py", "open_dataset")}


def test_the_lock_is_xarrays_own_and_can_be_taken_again() -> None:
    from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

    with netcdf.LOCK, netcdf.LOCK:
        assert not NETCDF4_PYTHON_LOCK.acquire(blocking=False)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(netcdf.LOCK.acquire, False).result() is False
    with ThreadPoolExecutor(1) as pool:

        def elsewhere() -> bool:
            with NETCDF4_PYTHON_LOCK:
                return True

        assert pool.submit(elsewhere).result(timeout=60)


PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
import threading
import langevin
from langevin.errors import UserError

def settings(temperature, path=None):
    given = {
        "system": {"name": "harmonic", "n": 50},
        "dynamics": {"temperature": temperature, "dt": 0.01, "t_max": 1.0},
    }
    return given | ({"output": {"path": path, "checkpoint_interval": 0.0}} if path else {})

def energies(temperature):
    return langevin.run(settings(temperature))["energy"].values.tobytes()

temperatures = (0.5, 1.0, 1.5, 2.0)
alone = [energies(t) for t in temperatures]
with ThreadPoolExecutor(4) as pool:
    for _ in range(3):
        assert alone == list(pool.map(energies, temperatures))

big = settings(1.0, "watched.nc")
big["system"]["n"], big["record"] = 20000, {"configurations": "never"}
thread = threading.Thread(target=lambda: langevin.run(big).close())
thread.start()
looked = 0
while thread.is_alive():
    try:
        with langevin.open("watched.checkpoint.nc") as found:
            found["energy"].load()
            looked += 1
    except UserError:
        pass  # not there yet, or not any more
thread.join()
assert looked > 3
print("as if alone")
"""


def test_runs_in_threads_are_as_if_alone(tmp_path: Path) -> None:
    """In a process of their own: what goes wrong is a crash."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "as if alone\n"), done.stderr[-2000:]


def test_a_dataset_that_is_let_go_unclosed_is_closed_under_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {
        "system": {"name": "harmonic", "n": 5},
        "dynamics": {"temperature": 1.0, "dt": 0.1, "t_max": 1.0},
        "output": {"path": str(tmp_path / "a.nc"), "figure": False},
    }
    dataset = langevin.run(given)
    held: list[bool] = []
    release = netcdf.Lock.release

    def watched(lock: netcdf.Lock) -> None:
        held.append(lock._owner == threading.get_ident())
        release(lock)

    monkeypatch.setattr(netcdf.Lock, "release", watched)
    del dataset
    assert held
    assert all(held)
    with pytest.raises(UserError, match="no such file"):
        simulation.open(tmp_path / "b.nc")


def test_initial_weights_are_drawn_by_one_thread_at_a_time() -> None:
    """torch's default generator is common to all threads: one that waits in the middle must harm nobody."""
    import torch

    from langevin.systems.networks.nets.layout import seeded

    barrier = threading.Barrier(2)

    def build() -> Any:
        first = torch.nn.Linear(3, 3)
        with contextlib.suppress(threading.BrokenBarrierError):
            # Where two are in here at once they meet; else the first of them gives up waiting.
            barrier.wait(timeout=0.3)
        return torch.nn.Sequential(first, torch.nn.Linear(3, 3))

    def weights(seed: int) -> list[Any]:
        return [p.tolist() for p in seeded(build, seed).parameters()]

    alone = [weights(1), weights(2)]
    barrier.reset()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(weights, (1, 2))) == alone


_BLAS = """
import threading
import scipy.linalg
from threadpoolctl import threadpool_info
from langevin.machine.blas import single_blas

def threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

def inside():
    with single_blas():
        seen.append(threads())

before, seen = threads(), []
inside()
other = threading.Thread(target=inside); other.start(); other.join()
entered, left = threading.Event(), threading.Event()
def first():
    with single_blas():
        entered.set()
        left.wait()
        seen.append(threads())
# The first to enter is the first to leave, and the last one lifts the limit.
longer = threading.Thread(target=first)
with single_blas():
    longer.start()
    entered.wait()
left.set()
longer.join()
print(seen == [{1}] * 3, threads() == before)
"""


def test_blas_has_one_thread_whichever_thread_asks() -> None:
    """Of threadpoolctl only the first thread that sets a limit may set others."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", _BLAS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr
