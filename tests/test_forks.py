"""Kernels in processes that were forked, and in several threads of Python at once: the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest

from langevin.systems import threads
from langevin.systems.cugliandolo_kurchan import direct, longtime, stepping
from langevin.systems.cugliandolo_kurchan.covariance import Covariance
from langevin.systems.networks import devices

#: Runs of a parent that uses threads in every way, and of children that are forked from it.
FORKS = """
import os, signal, sys
import langevin
from langevin.systems.cugliandolo_kurchan import direct, stepping

# Small slices are shared, too, and a child that waits for ever is ended.
stepping.PARALLEL = direct.PARALLEL = 0
signal.alarm(600)

LIMIT = {"system": {"name": "cugliandolo_kurchan", "p": 3}, "record": {"waiting_times": [1.0]}}
SYNTHETIC = {"name": "synthetic", "like": "mnist", "train": 40, "test": 40}
KEYS = {"energy_examples": 20, "gradient_examples": 20, "times": [0, 5], "waiting_times": [0], "lags": [5]}
NETWORK = {"system": {"name": "fully_connected"}, "data": SYNTHETIC, "record": KEYS}
RUNS = {
    "long-time": {**LIMIT, "dynamics": {"temperature": 0.5, "t_max": 2.0, "tolerance": 1e-4}},
    "direct": {**LIMIT, "dynamics": {"temperature": 0.5, "t_max": 2.0, "solver": "direct", "grid_step": 0.2}},
    "network": {**NETWORK, "dynamics": {"t_max": 5, "batch_size": 8, "backend": "torch"}},
}

def bits():
    return [langevin.run(given, threads=2)["energy"].to_numpy().tobytes() for given in RUNS.values()]

parent = bits()
for _ in range(2):
    child = os.fork()
    if not child:
        os._exit(0 if bits() == parent else 3)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit("a child differs, or waited for ever")
"""


@pytest.mark.slow
def test_children_of_a_parent_that_used_threads_have_its_bits(tmp_path: Path) -> None:
    made = subprocess.run([sys.executable, "-c", FORKS], cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert made.stderr == ""


def test_threads_of_python_do_not_disturb_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (stepping, direct):
        monkeypatch.setattr(module, "PARALLEL", 0)
    problem = stepping.Equations(Covariance.pure(3), 0.5, 0.0)

    def bits(count: int) -> list[bytes]:
        crew = threads.Pool(count)
        solvers = longtime.LongTime(problem, 1e-4, crew=crew), direct.Direct(problem, 0.2, 10, crew)
        sizes = [solver.reach(2.0) for solver in solvers]
        pairs = zip(solvers, sizes, strict=True)
        return [np.array(solver.two_time(2.0, 1.0, size)).tobytes() for solver, size in pairs]

    alone = bits(1)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(bits, (1, 2, 3))) == [alone] * 3


def test_no_thread_of_numba_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    # Numba allows as many threads as its own kernels may have.
    monkeypatch.setattr(numba, "get_num_threads", lambda: 3)
    assert [threads.allowed(count) for count in (1, 3, 4)] == [1, 3, 3]

    def missing() -> int:
        raise ValueError("No threading layer could be loaded.")

    # NUMBA_THREADING_LAYER = "tbb" where there is no such library.
    monkeypatch.setattr(numba, "get_num_threads", missing)
    assert threads.allowed(4) == 4


@pytest.mark.parametrize("team", [1, 2, 5])
def test_a_pool_shares_every_part_of_the_work(team: int) -> None:
    done = np.zeros(7, dtype=int)

    def kernel(step: int, rank: int, size: int) -> None:
        done[rank::size] += step

    threads.Pool(team).share(kernel, 3)
    assert (done == 3).all()


def test_a_forked_process_makes_its_pool_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = threads.Pool(2)
    before = pool.executor
    assert pool.executor is before
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert pool.executor is not before


def test_the_thread_that_forked_has_one_thread_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    state = devices._Forked()
    monkeypatch.setattr(devices, "_forked", state)
    devices.set_threads(4)
    state.note()
    devices.set_threads(4)
    later = threading.Thread(target=devices.set_threads, args=(4,))
    later.start()
    later.join()
    assert asked == [4, 1, 1, 4]
