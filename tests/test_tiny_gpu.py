"""Tiny nets on a GPU: kernels of Triton against the plain steps, by an interpreter where there is no GPU."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import interpreted_nets
import numpy as np
import pytest
import torch
from small_nets import built, settings

from langevin.core.noise import seeds
from langevin.errors import UserError
from langevin.systems.networks.replicas import drawn, tiny_gpu

HERE = Path(__file__).resolve().parent
GPU = pytest.mark.gpu


def script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the tests: how Triton is used is chosen once for a process."""
    pytest.importorskip("triton")
    command = [sys.executable, str(HERE / name), *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=HERE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the interpreter and the plain steps find."""
    file = tmp_path_factory.mktemp("interpreted") / "found"
    done = script("interpreted_nets.py", str(file), TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")
    assert "PyTorch takes the steps" not in done.stderr
    found: dict[str, Any] = pickle.loads(file.read_bytes())
    return found


@pytest.mark.parametrize("case", interpreted_nets.CASES)
def test_steps_are_those_of_torch(case: str, interpreted: dict[str, Any]) -> None:
    ours, plain = interpreted["both"][case]
    assert ours["by kernel"]
    # Three steps in single precision: some ten roundings of 6e-8, of numbers up to 1.
    for name in ours.keys() & {"weights", "velocity"}:
        np.testing.assert_allclose(ours[name], plain[name], rtol=1e-6, atol=1e-6, err_msg=name)
    assert ("velocity" in ours) == ("momentum" in interpreted_nets.CASES[case][1])


@pytest.mark.parametrize("case", interpreted_nets.CASES)
def test_measurements_are_those_of_torch(case: str, interpreted: dict[str, Any]) -> None:
    ours, plain = interpreted["both"][case]
    assert ours.keys() == plain.keys()
    for name in ours.keys() - {"weights", "velocity", "by kernel"}:
        # The plain ones are in single precision; |G|² of a subset is a difference of its own size.
        np.testing.assert_allclose(ours[name], plain[name], rtol=2e-5, atol=1e-7, err_msg=name)


def test_a_field_pushes_as_in_the_plain_step(interpreted: dict[str, Any]) -> None:
    for ours, plain in interpreted["pushed"]:
        np.testing.assert_allclose(ours, plain, rtol=1e-6, atol=1e-6)


def test_a_divergence_names_its_step_and_replica(interpreted: dict[str, Any]) -> None:
    assert "of replica 0 is not a finite number at step" in interpreted["diverged"]


def test_batches_are_those_of_a_cpu(interpreted: dict[str, Any]) -> None:
    for name, pairs in interpreted["tables"].items():
        for ours, known in pairs:
            np.testing.assert_array_equal(ours, known, err_msg=name)
            assert ours.size


def test_kernels_compile_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    # Once each: what differs from call to call is not compiled in.
    said = script("compiled_nets.py", TRITON_CACHE_DIR=str(tmp_path)).stdout.splitlines()
    assert said == ["descend 1", "descend_wide 1", "shuffle 1", "choose 1"]


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 3, 2**130 + 1])
def test_many_streams_begin_as_one_by_one(seed: int) -> None:
    labels = np.array([0, 5, 2**32 - 1])
    words = [
        np.random.SeedSequence(seed, spawn_key=(zlib.crc32(b"batch"), int(k), 9)).generate_state(4, np.uint64)
        for k in labels
    ]
    np.testing.assert_array_equal(seeds(seed, "batch", labels, 9), words)
    with pytest.raises(ValueError, match="labels"):
        seeds(seed, "batch", labels + 1)


def test_jumps_are_those_of_the_generator() -> None:
    pytest.importorskip("triton")
    for row, count in zip(drawn.jumps(3, 11).tolist(), (0, 11, 22), strict=True):
        power, total = row[0] << 64 | row[1], row[2] << 64 | row[3]
        stream = np.random.PCG64DXSM(5)
        start = stream.state["state"]
        stream.random_raw(count)
        end = (power * start["state"] + total * start["inc"]) % 2**128 if count else start["state"]
        assert end == stream.state["state"]["state"]


NET = {"name": "mlp", "widths": [4]}


@pytest.mark.parametrize(
    ("system", "keys", "fault"),
    [
        (NET, {}, "no GPU"),
        (NET, {"precision": "double"}, "double"),
        (NET, {"batches": "persistent"}, "persistent"),
        (NET, {"temperature": 0.1}, "temperature"),
        ({**NET, "widths": [70]}, {}, "494 weights"),
        ({**NET, "loss": "mse_loss"}, {}, "this network or loss"),
    ],
    ids=str,
)
def test_what_the_kernel_does_not_know_is_refused_in_one_line(
    system: dict[str, Any], keys: dict[str, Any], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_gpu, "interpreted", lambda: fault != "no GPU")
    monkeypatch.setattr(tiny_gpu, "_has_triton", lambda: True)
    with pytest.raises(UserError, match=rf'dynamics.backend = "triton": allowed: "auto".*{fault}') as raised:
        built(settings(system, interpreted_nets.LJAT, backend="triton", device="cpu", **keys))
    assert "\n" not in str(raised.value)


def test_keys_that_exclude_the_kernel_are_refused() -> None:
    for keys, fault in (({"execution": "stacked"}, "execution"), ({"optimiser": "adam"}, "optimiser")):
        with pytest.raises(UserError, match=rf"dynamics.{fault} = .*triton|triton.*dynamics.{fault}"):
            settings(NET, interpreted_nets.LJAT, backend="triton", **keys)


@pytest.mark.parametrize("own", [True, False])
def test_a_kernel_that_does_not_start_leaves_the_steps_to_torch(
    own: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = pytest.importorskip("triton.runtime.errors").TritonError if own else RuntimeError

    class Broken:
        def __init__(self, nets: Any) -> None:
            raise kind("no compiler\nanywhere")

    monkeypatch.setattr(tiny_gpu, "interpreted", lambda: True)
    monkeypatch.setattr(tiny_gpu, "_has_triton", lambda: True)
    monkeypatch.setattr(tiny_gpu, "_Kernel", Broken)
    monkeypatch.setattr(tiny_gpu.notices, "_said", set())
    ends = []
    for backend in ("triton", "torch"):
        network, noise = built(settings(NET, interpreted_nets.LJAT, 3, backend=backend, device="cpu"))
        ends.append(network.advance(network.initial_state(noise), 0, 5, noise).weights)
    assert "does not start (no compiler anywhere); PyTorch takes the steps" in capsys.readouterr().err
    torch.testing.assert_close(*ends, rtol=0, atol=0)


def test_a_kernel_that_is_wrong_leaves_the_steps_to_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wrong:
        def __init__(self, nets: Any) -> None:
            pass

        def calls(self, first: int, last: int) -> list[tuple[int, int]]:
            return [(first, last)]

        def descend(self, weights: torch.Tensor, *_: Any) -> torch.Tensor:
            weights += 1e-3
            return torch.full((len(weights),), -1, dtype=torch.int32)

    monkeypatch.setattr(tiny_gpu, "interpreted", lambda: True)
    monkeypatch.setattr(tiny_gpu, "_has_triton", lambda: True)
    monkeypatch.setattr(tiny_gpu, "_Kernel", Wrong)
    monkeypatch.setattr(tiny_gpu.notices, "_said", set())
    network, noise = built(settings(NET, interpreted_nets.LJAT, 3, backend="triton", device="cpu"))
    network.advance(network.initial_state(noise), 0, 5, noise)
    assert "is not the plain step's; PyTorch takes the steps" in capsys.readouterr().err


@GPU
@pytest.mark.parametrize("case", interpreted_nets.CASES)
def test_so_they_are_on_a_gpu(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    system, own, record = interpreted_nets.CASES[case]
    keys = {"learning_rate": 0.1, "batch_size": 16, "t_max": 700.0, "device": "cuda", **own}
    ends = []
    for backend in ("triton", "torch"):
        made = settings(
            {"name": "mlp", **system},
            interpreted_nets.IMAGES if "images" in case else interpreted_nets.LJAT,
            300,
            20,
            record=record,
            **{**keys, "backend": backend},
        )
        network, noise = built(made)
        state = network.advance(network.initial_state(noise), 0, 40, noise)
        ends.append((state.weights, {**network.measure(state), **network.at_waiting(state)}))
    assert "PyTorch takes the steps" not in capsys.readouterr().err
    # Forty steps in single precision.
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=1e-5, atol=1e-5)
    for name, values in ends[0][1].items():
        np.testing.assert_allclose(values, ends[1][1][name], rtol=1e-4, atol=1e-6, err_msg=name)


@GPU
def test_batches_on_a_gpu_are_those_of_a_cpu() -> None:
    pytest.importorskip("triton")
    for name, pairs in interpreted_nets.tables(torch.device("cuda")).items():
        for ours, known in pairs:
            np.testing.assert_array_equal(ours, known, err_msg=name)


@GPU
def test_bits_on_a_gpu_do_not_depend_on_company_or_calls() -> None:
    def end(replicas: int, *stops: int) -> torch.Tensor:
        made = settings(NET, interpreted_nets.LJAT, replicas, backend="triton", device="cuda")
        network, noise = built(made)
        state = network.initial_state(noise)
        for first, last in zip((0, *stops), stops, strict=False):
            state = network.advance(state, first, last, noise)
        weights: torch.Tensor = state.weights
        return weights

    torch.testing.assert_close(end(1, 2000)[0], end(300, 5, 1300, 2000)[0], rtol=0, atol=0)
