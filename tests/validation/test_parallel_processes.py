"""Processes that share batches: all modules of the tests, deep nets, and processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import odd_modules
import pytest
from parallel_cases import ROUNDING, apart, carried, case, module, same_bits, torchrun

from langevin.config import run_files
from langevin.running import execution

pytestmark = pytest.mark.slow

IMAGES = {"name": "synthetic", "like": "cifar10", "train": 40, "test": 11}
RESNET = {"name": "resnet18", "width": 2}
#: Whose batches cannot be shared: something follows from all examples of a batch, in a way of its own.
MIXING = {"Running", "ActNorm", "instance_norm", "Centred"}


def alone(given: dict[str, Any], path: Path) -> Path:
    return execution.execute(run_files.load(given), path, threads=1)


@pytest.mark.parametrize("size", [2, 3])
def test_modules_of_all_kinds(size: int, tmp_path: Path) -> None:
    tiny = {"name": "tiny_images:TinyImages"}
    cases = {
        name: case(module(f"odd_modules:{name}"), data=tiny, batch_size=5) for name in odd_modules.CARRIED
    }
    said = carried(tmp_path, cases, size)
    assert {name for name in cases if name in said} == MIXING
    for name in cases.keys() - MIXING:
        differences = apart(alone(cases[name], tmp_path / f"{name}_alone.nc"), tmp_path / f"{name}.nc")
        assert max(differences.values()) < ROUNDING, (name, differences)


def test_deep_nets_over_fifty_steps(tmp_path: Path) -> None:
    record = {"times": [0, 50], "waiting_times": [0, 20], "lags": [10], "gradient_examples": 22}
    long: dict[str, Any] = {"data": IMAGES, "t_max": 50, "record": record}
    cases = {
        "sgd": case(RESNET, momentum=0.9, weight_decay=1e-3, schedule="cosine", cycles=2, **long),
        "adam": case(RESNET, optimiser="adam", learning_rate=1e-3, augment="crop_flip", **long),
        "adamw": case({"name": "small_net"}, optimiser="adamw", learning_rate=1e-3, t_max=50, record=record),
        "full": case({"name": "mlp", "widths": [9]}, batches="full", t_max=50, record=record),
    }
    said = carried(tmp_path, cases, 3)
    assert not said.keys() & cases.keys()
    for name, given in cases.items():
        differences = apart(alone(given, tmp_path / f"{name}_alone.nc"), tmp_path / f"{name}.nc")
        assert max(differences.values()) < ROUNDING, (name, differences)


RUN_FILE = """
[system]
name = "resnet18"
width = 2
[data]
name = "synthetic"
like = "cifar10"
train = 40
test = 11
[dynamics]
t_max = 60
batch_size = 11
[ensemble]
replicas = 1
[record]
times = [0, 20, 40, 60]
waiting_times = [0, 20]
energy_examples = 20
gradient_examples = 22
[output]
figure = false
checkpoint_interval = 0
"""


def started(folder: Path, *words: str, restarts: int = 0) -> subprocess.Popen[str]:
    (folder / "net.toml").write_text(RUN_FILE)
    command = [*torchrun(2, "--max-restarts", str(restarts)), "-m", "langevin", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)


def workers(agent: subprocess.Popen[str]) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(agent.pid)], capture_output=True, text=True)
    return sorted(map(int, listed.stdout.split()))


def wait_for(path: Path, agent: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert agent.poll() is None, agent.communicate()
        time.sleep(0.1)


def test_a_process_that_is_killed_and_a_signal_to_torchrun(tmp_path: Path) -> None:
    whole = started(tmp_path, "run", "net.toml", "--set", "output.path='whole.nc'")
    assert "result  whole.nc" in whole.communicate(timeout=300)[0]
    for victim in (0, 1):
        name = f"killed{victim}"
        path = tmp_path / f"{name}.nc"
        words = ("run", "--resume", "net.toml", "--set", f"output.path='{name}.nc'")
        agent = started(tmp_path, *words, restarts=1)
        wait_for(tmp_path / f"{name}.checkpoint.nc", agent)
        os.kill(workers(agent)[victim], signal.SIGKILL)
        out, error = agent.communicate(timeout=300)
        assert agent.returncode == 0, error
        assert out.count("result  ") == 1 and "goes on, t = " in error
        if victim:
            assert error.count("langevin: one of the 2 processes was lost (") == 1
        same_bits(tmp_path / "whole.nc", path)
    agent = started(tmp_path, "run", "net.toml", "--set", "output.path='stopped.nc'")
    wait_for(tmp_path / "stopped.checkpoint.nc", agent)
    agent.send_signal(signal.SIGTERM)
    assert agent.communicate(timeout=300)[1].count("langevin: stopped by SIGTERM at t = ") == 1
    agent = started(tmp_path, "resume", "stopped.nc")
    assert "result  stopped.nc" in agent.communicate(timeout=300)[0]
    same_bits(tmp_path / "whole.nc", tmp_path / "stopped.nc")


def test_faults_are_said_once(tmp_path: Path) -> None:
    agent = started(tmp_path, "run", "net.toml", "--set", "dynamics.momentum=7", "--set", "system.width=0")
    out, error = agent.communicate(timeout=120)
    assert out == "" and error.count("langevin: ") == 1 and error.count("dynamics.momentum = 7: allowed") == 1
    (tmp_path / "there.nc").write_text("")
    agent = started(tmp_path, "run", "net.toml", "--set", "output.path='there.nc'")
    out, error = agent.communicate(timeout=120)
    assert out == "" and error.count("langevin: ") == 1
    assert "there.nc exists; overwrite it with --force" in error and "exitcode  : 2" in error


ALONE = """
import sys
from langevin.errors import LangevinError, UserError
from langevin.machine import world
try:
    with world.joined() as processes:
        if processes.rank == 1:
            failed = UserError("this process alone cannot"), ZeroDivisionError("1/0")
            raise failed[sys.argv[1] == "unforeseen"]
        processes.gathered(0)
except LangevinError as error:
    print(f"{error} ({error.exit_code})", flush=True)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("said", "process 1: this process alone cannot (2)\n"),
        ("unforeseen", "process 1: unexpected ZeroDivisionError: 1/0 (1)\n"),
    ],
)
def test_the_leading_process_says_what_another_has_failed_of(how: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text(ALONE)
    ran = subprocess.run(
        [*torchrun(2), "alone.py", how], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert ran.stdout == words, ran.stderr
