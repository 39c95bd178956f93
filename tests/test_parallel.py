"""Several processes that share the batches of one network compute what one process computes."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from parallel_cases import ROUNDING, apart, carried, case, module, same_bits

from langevin.config import run_files
from langevin.errors import Interrupted, LangevinError, UserError
from langevin.machine import world
from langevin.machine.interruption import request
from langevin.running import execution
from langevin.systems.networks.devices import meet

MLP = {"name": "mlp", "widths": [6, 5]}
PLAIN = case(MLP, momentum=0.9, weight_decay=0.01, schedule="piecewise_linear")
#: Fewer products with the Hessian than a spectrum needs.
FEW = {"hessian_exact": 10, "hessian_steps": 4, "hessian_probes": 2}
CLOUDS = {"name": "loss_cases:Clouds"}

#: What both give.
EQUAL: dict[str, Any] = {
    "plain": PLAIN,
    "spectrum": case(MLP, {"hessian": [20], "ggn": True, "layers": True, **FEW}),
    "normalised": case(module("small_nets:Normalised"), optimiser="adam", learning_rate=0.003),
    "convolution": case(
        {"name": "small_net", "filters": [2, 3], "hidden": 5}, schedule="cosine", cycles=2, momentum=0.5
    ),
    "weights_of_classes": case(module("loss_cases:net", "loss_cases:weighted"), data=CLOUDS),
    "thermal": case(MLP, temperature=1e-3, batches="persistent", batch_size=4),
}
COMMAND = """
[system]
name = "mlp"
widths = [3]
[data]
name = "synthetic"
train = 20
test = 5
[dynamics]
t_max = 3
batch_size = 5
[ensemble]
replicas = 1
[record]
gradient_examples = 20
[output]
figure = false
"""


def alone(given: dict[str, Any], path: Path) -> Path:
    return execution.execute(run_files.load(given), path, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of pytest."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "parallel"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, Any]:
    """What two processes said of everything that they were asked for: once, for all workers."""
    heard = folder / "heard.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not heard.exists():
            heard.write_text(json.dumps(asked(folder)))
        return dict(json.loads(heard.read_text()))


def asked(folder: Path) -> dict[str, Any]:
    tiny = {"data": {"name": "tiny_images:TinyImages"}}
    images = {"name": "synthetic", "like": "cifar10", "train": 22, "test": 2}
    replicas = case(MLP)
    replicas["ensemble"]["replicas"] = 3
    # Stopped by one process, after its first stretch.
    with pytest.raises(Interrupted):
        execution.execute(run_files.load(PLAIN), folder / "resumed.nc", watch=lambda _: request())
    refused = {
        "centred": case(module("odd_modules:Centred"), **tiny),
        "instances": case(module("odd_modules:instance_norm"), **tiny),
        "replicas": replicas,
        "numba": case(MLP, backend="numba"),
        "few": case(MLP, batch_size=1),
        "persistent": case({"name": "resnet18", "width": 1}, data=images, batches="persistent"),
        "response": case(MLP, {"response": True}),
        "pspin": {
            "system": {"name": "pspin", "n": 20, "p": 3},
            "dynamics": {"temperature": 1.0, "t_max": 1.0, "dt": 0.05},
        },
        "sweep": {**PLAIN, "sweep": {"dynamics.momentum": [0.1, 0.2]}},
    }
    cases = {**EQUAL, "stopped": EQUAL["normalised"], "resumed": {}, **refused}
    (folder / "command.toml").write_text(COMMAND)
    return carried(folder, cases, 2)


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_compute_what_one_does(said: dict[str, Any], folder: Path, name: str) -> None:
    differences = apart(alone(EQUAL[name], folder / f"{name}_alone.nc"), folder / f"{name}.nc")
    assert max(differences.values()) < ROUNDING, differences
    with xr.open_dataset(folder / f"{name}.nc") as made:
        assert made.attrs["processes"] == 2 and made.attrs["status"] == "complete"
    with xr.open_dataset(folder / f"{name}_alone.nc") as made:
        assert "processes" not in made.attrs


def test_batch_norm_of_parts_is_that_of_the_whole(said: dict[str, Any]) -> None:
    # Inputs around 100 in double precision: 10⁻¹⁶ × 100 of the deviations, times ten for the sums.
    assert 0 < said["norms"] < 1e-12


def test_bits_are_the_same_again_though_it_was_stopped(said: dict[str, Any], folder: Path) -> None:
    # The last process got the signal, and all left at the same time.
    assert said["stopped"] == [["stopped by SIGTERM", 143]] * 2
    same_bits(folder / "normalised.nc", folder / "stopped.nc")


def test_other_numbers_of_processes_go_on(said: dict[str, Any], folder: Path) -> None:
    whole = alone(EQUAL["normalised"], folder / "whole.nc")
    differences = apart(whole, execution.execute_resume(folder / "apart" / "stopped.nc", threads=1))
    assert 0 < max(differences.values()) < ROUNDING
    whole = alone(PLAIN, folder / "whole_plain.nc")
    assert 0 < max(apart(whole, folder / "resumed.nc").values()) < ROUNDING
    with xr.open_dataset(folder / "resumed.nc") as made:
        assert made.attrs["history"].endswith("in 2 processes")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("centred", "Centred: it mixes the examples of a batch, which processes share"),
        ("instances", "1.running_mean is not that of parts: it mixes the examples of a batch"),
        ("replicas", "ensemble.replicas = 3: must be 1"),
        ("numba", 'dynamics.backend = "numba": allowed: "auto", "torch"'),
        ("few", "dynamics.batch_size = 1: must be ≥ 2, one for each process"),
        ("persistent", 'dynamics.batches = "persistent": allowed: "epochs", "iid", "full" with batch-norm'),
        ("response", "record.response = true: allowed: false"),
        ("pspin", "system.name = 'pspin' runs in one process; start it without torchrun"),
        ("sweep", "[sweep]: allowed: a single run"),
    ],
)
def test_what_processes_cannot_share_is_one_line(
    said: dict[str, Any], folder: Path, name: str, words: str
) -> None:
    assert said[name].startswith("torchrun") and words in said[name] and "\n" not in said[name]
    assert not (folder / f"{name}.nc").exists() and not (folder / f"{name}.checkpoint.nc").exists()


def test_a_process_works_alone_where_torchrun_does_not_say_otherwise() -> None:
    assert world.World.of({}) is None
    # What other programs set is none of ours, nor is a world of one.
    assert world.World.of({"RANK": "1", "WORLD_SIZE": "4", "SLURM_PROCID": "1"}) is None
    assert world.World.of({world.MARK: "none", "WORLD_SIZE": "1"}) is None
    with pytest.raises(LangevinError, match="RANK, LOCAL_RANK"):
        world.World.of({world.MARK: "none", "WORLD_SIZE": "2"})


class Elsewhere(world.World):
    """A process whose only other one is not like it."""

    def gathered(self, value: Any) -> list[Any]:
        return [value, "cuda, GPU-1" if isinstance(value, str) else value + 1]


def test_processes_are_of_one_kind() -> None:
    with pytest.raises(UserError, match='have cpu and cuda; allowed: "cpu", or a GPU for each'):
        meet(Elsewhere(0, 2), torch.device("cpu"))
    with pytest.raises(LangevinError, match="the weights are no longer the same in all 2 processes"):
        Elsewhere(0, 2).require_same(torch.ones(3), "the weights")


def test_parts_are_all_there_once() -> None:
    for size in (2, 3, 5):
        for count in (0, 1, 4, 17):
            parts = [world.World(0, size).part(count, rank) for rank in range(size)]
            assert [k for part in parts for k in range(count)[part]] == list(range(count))
            lengths = [part.stop - part.start for part in parts]
            assert max(lengths) - min(lengths) <= 1


def test_the_command_says_everything_once(said: dict[str, Any], folder: Path) -> None:
    assert said["stdout"].count("result  ") == 1 and said["stderr"].count("start, t = 0 of 3") == 1
    with xr.open_dataset(folder / "command.nc") as made:
        assert made.attrs["processes"] == 2
