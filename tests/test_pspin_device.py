"""The p-spin model by torch: the forces, steps and noise of a device are those of the compiled kernels."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import SIGMAS, z_score

import langevin
from langevin.core.dynamics import Langevin, LangevinState
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import ConfigError, LangevinError, UserError
from langevin.machine import processor
from langevin.running.session import Session
from langevin.systems.networks import devices
from langevin.systems.pspin import PSpin, philox, theory, tiles, torch_field, triton_force
from langevin.systems.pspin.model import PSpinDynamics
from langevin.systems.pspin.spread_field import SpreadField

INF = float("inf")
on_a_card = pytest.mark.gpu
#: What torch computes on: each test that has it is run on a GPU, too, where there is one.
DEVICES = ["cpu", pytest.param("cuda", marks=on_a_card)]
EPSILON = {"float32": 2.0**-24, "float64": 2.0**-53}


def model(
    p: int,
    n: int,
    device: str | None,
    ensemble: Ensemble | None = None,
    t_i: float = INF,
    couplings: str = "float64",
) -> PSpin:
    """Return the model by torch; on compiled kernels where the device is None."""
    placed = {"backend": "numba"} if device is None else {"backend": "torch", "device": device}
    dynamics = PSpinDynamics(temperature=0.8, initial_temperature=t_i, dt=0.01, t_max=1.0, **placed)
    parameters = PSpin.Parameters(p=p, n=n, couplings=couplings)
    return PSpin(parameters, dynamics, ensemble or Ensemble.regular(5, 2, 3, threads=1))


def advanced(
    system: PSpin, noise: Noise, *steps: int, t: float = 0.8, scheme: Any = "euler_maruyama"
) -> LangevinState:
    """Return the state after the steps, taken in as many calls as numbers are given, with the response."""
    whole = Langevin(system, t, 0.01, response=t > 0, scheme=scheme)
    state = whole.initial_state(noise)
    for first, last in itertools.pairwise(np.concatenate(([0], np.cumsum(steps)))):
        state = whole.advance(state, first * 0.01, last * 0.01, noise)
    return state


# Noise.


@pytest.mark.parametrize("device", DEVICES)
def test_philox_gives_the_published_words(device: str) -> None:
    """The vectors of Random123 (kat_vectors, philox4x32 10): counter, key, words."""
    table = """
    00000000 00000000 00000000 00000000  00000000 00000000  6627e8d5 e169c58d bc57ac4c 9b00dbd8
    ffffffff ffffffff ffffffff ffffffff  ffffffff ffffffff  408f276d 41c83b0e a20bc7c6 6d5451fd
    243f6a88 85a308d3 13198a2e 03707344  a4093822 299f31d0  d16cfe09 94fdcceb 5001e420 24126ea1
    """
    rows = [[int(word, 16) for word in line.split()] for line in table.split("\n") if line.strip()]
    columns = torch.tensor(rows, device=device).unbind(1)
    words = philox.philox(columns[:4], columns[4:6])
    assert all(torch.equal(found, known) for found, known in zip(words, columns[6:], strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_normals_are_standard_and_independent(device: str) -> None:
    keys = torch.tensor(philox.keys(Noise(1, range(4))), device=device)[None]
    drawn = philox.normals(keys, (1 << 32) - 50, 100, 250)[:, 0].cpu().numpy().ravel()
    # 10⁵ numbers; the step counter passes 2³² on the way.
    for values, expected in ((drawn, 0), (drawn**2, 1), (drawn**3, 0), (drawn**4, 3), (drawn**6, 15)):
        assert abs(z_score(values, expected)) < SIGMAS
    cube = drawn.reshape(100, 250, 4)
    neighbours = [cube[1:] * cube[:-1], cube[:, 1:] * cube[:, :-1], cube[..., 1:] * cube[..., :-1]]
    for products in (*neighbours, *((a**2 - 1) * (b**2 - 1) for a, b in ((cube[1:], cube[:-1]),))):
        assert abs(z_score(products.ravel(), 0)) < SIGMAS


def test_noise_is_the_same_in_any_company_and_cut() -> None:
    def drawn(labels: list[int], first: int, steps: int, n: int = 10, generation: int = 0) -> np.ndarray:
        keys = torch.tensor(philox.keys(Noise(1, labels, generation)))[None]
        return philox.normals(keys, first, steps, n)[:, 0].numpy()

    whole = drawn([0, 1, 2, 3, 4], 0, 7)
    np.testing.assert_array_equal(drawn([3, 1], 0, 7), whole[:, :, [3, 1]])
    np.testing.assert_array_equal(drawn([0, 1, 2, 3, 4], 4, 3), whole[4:])
    np.testing.assert_array_equal(drawn([0, 1, 2, 3, 4], 0, 7, 6), whole[:, :6])
    assert (drawn([0, 1, 2, 3, 4], 0, 7, generation=1) != whole).all()
    noise = Noise(1, range(5))
    noise.normal(3, philox.ROLE)
    np.testing.assert_array_equal(philox.keys(noise), philox.keys(Noise(1, range(5))))


# Couplings and forces.


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("couplings", ["float32", "float64"])
@pytest.mark.parametrize(("p", "n"), [(2, 4), (2, 45), (3, 4), (3, 17), (3, 18), (3, 66), (4, 5), (4, 24)])
def test_forces_are_those_of_the_kernels(p: int, n: int, couplings: str, device: str) -> None:
    """Of planted couplings, too: these are drawn by the same numbers. Samples have two and three replicas."""
    kernels = model(p, n, None, t_i=1.0, couplings=couplings)
    other = model(p, n, device, t_i=1.0, couplings=couplings)
    x = np.random.default_rng(0).standard_normal((5, n))
    # Sums of n^(p−1)/(p−1)! products of p factors, of which rounding errors add up as random signs do; 4 σ.
    bound = 4 * p * EPSILON[couplings] * math.sqrt(math.comb(n - 1, p - 1)) * np.abs(x).max() ** (p - 1)
    allowed = bound * max(np.abs(c.data).max() for c in kernels.couplings)
    np.testing.assert_allclose(other.force(x), kernels.force(x), rtol=0, atol=max(allowed, 1e-15))
    start = kernels.initial_configuration(Noise(3, range(5)))
    np.testing.assert_array_equal(other.initial_configuration(Noise(3, range(5))), start)
    np.testing.assert_allclose(other.energy(start), kernels.energy(start), rtol=0, atol=allowed)


def test_forces_are_those_of_the_dense_tensor() -> None:
    system, x = model(3, 20, "cpu", Ensemble.regular(2, 1, 3, threads=1)), np.random.default_rng(1)
    spins, tensor = x.standard_normal((2, 20)), system.couplings[0].dense()
    expected = np.einsum("ijk,rj,rk->ri", tensor, spins, spins) / 2
    np.testing.assert_allclose(system.force(spins), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("p", "n", "most"), [(2, 4096, 1.02), (3, 1024, 1.1), (3, 4096, 1.03), (4, 256, 1.31)]
)
def test_packing_is_near_the_number_of_couplings(p: int, n: int, most: float) -> None:
    tiling = tiles.Tiling(p, n)
    assert 1 < tiling.size / math.comb(n, p) < most
    # The 46 GB of N = 4096 fit a card of 80 GB with room to compute.
    assert 4 * tiles.Tiling(3, 4096).size < 48e9


def test_couplings_on_a_device_have_no_second_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the processor holds meanwhile is small against them."""
    tiling, largest = tiles.Tiling(3, 120), 0
    plain = torch.from_numpy

    def watched(array: np.ndarray) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, array.nbytes)
        return plain(array)

    monkeypatch.setattr(torch, "from_numpy", watched)
    system = model(3, 120, "cpu", Ensemble.regular(1, 1, 3, threads=1))
    system.force(np.ones((1, 120)))
    assert largest < 8 * tiling.size / 5
    assert "couplings" not in vars(system)


def test_tf32_is_float32_off_a_card() -> None:
    x = np.random.default_rng(0).standard_normal((5, 30))
    single, tf32 = (model(3, 30, "cpu", couplings=c).force(x) for c in ("float32", "tf32"))
    np.testing.assert_array_equal(single, tf32)


@on_a_card
def test_tf32_is_used_and_rounds_as_it_should() -> None:
    x = np.random.default_rng(0).standard_normal((64, 256))
    exact, single, tf32 = (
        model(3, 256, "cuda", Ensemble.regular(64, 1, 3, threads=1), couplings=c).force(x)
        for c in ("float64", "float32", "tf32")
    )
    scale = np.sqrt(np.mean(exact**2))
    errors = [np.sqrt(np.mean((found - exact) ** 2)) / scale for found in (single, tf32)]
    # A factor rounded to 11 bits is off by up to 2⁻¹¹; of random signs, errors grow as sums do.
    assert errors[0] < 1e-5 < errors[1] < 2e-3


# Steps.


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scheme", ["euler_maruyama", "leimkuhler_matthews"])
@pytest.mark.parametrize(("p", "n"), [(2, 20), (3, 21), (4, 11)])
def test_steps_equal_the_plain_step_with_the_same_noise(p: int, n: int, scheme: Any, device: str) -> None:
    """30 steps; the force of the plain step is that of the kernels. So are the sums of the response."""
    found = advanced(model(p, n, device, t_i=1.0), Noise(3, range(5)), 30, scheme=scheme)
    plain = Langevin(model(p, n, None, t_i=1.0), 0.8, 0.01, response=True, scheme=scheme)
    start, noise = plain.initial_state(Noise(3, range(5))), philox.CountedNoise(3, range(5))
    x, accumulated, held = start.x, np.zeros((2, *start.x.shape)), start.held
    for n_step in range(30):
        x = plain.step(x, n_step * 0.01, noise, accumulated, held)
    # 30 steps of rounding at 10⁻¹⁶, in numbers up to 5.
    np.testing.assert_allclose(found.x, x, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.accumulated, accumulated, rtol=0, atol=1e-13)
    assert found.held is None or np.abs(found.held - held).max() < 1e-14


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("t", [0.0, 0.8])
@pytest.mark.parametrize("scheme", ["euler_maruyama", "leimkuhler_matthews"])
def test_stretches_and_buffers_do_not_change_a_bit(
    t: float, scheme: Any, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = advanced(model(3, 21, device), Noise(3, range(5)), 25, t=t, scheme=scheme)
    # Noise of four steps is drawn at a time.
    monkeypatch.setattr(torch_field, "_NOISE_BUFFER", 4 * 2 * 21 * 3)
    cut = advanced(model(3, 21, device), Noise(3, range(5)), 1, 6, 18, t=t, scheme=scheme)
    np.testing.assert_array_equal(cut.x, whole.x)
    if t > 0:
        np.testing.assert_array_equal(cut.accumulated, whole.accumulated)
    if whole.held is not None:
        np.testing.assert_array_equal(cut.held, whole.held)


@pytest.mark.parametrize("device", DEVICES)
def test_a_replica_is_the_same_in_any_company(device: str) -> None:
    ensemble = Ensemble.regular(5, 2, 3, threads=1)
    whole = advanced(model(3, 21, device, ensemble), Noise(3, range(5)), 20).x
    for keep in ([2], [4, 1], [1, 3, 0]):
        part = model(3, 21, device, ensemble.subset(np.array(keep)))
        # To rounding, 20 steps of it: products of other shapes add in another order.
        np.testing.assert_allclose(advanced(part, Noise(3, keep), 20).x, whole[keep], rtol=0, atol=1e-13)


def test_cold_steps_draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(philox, "normals", lambda *_: pytest.fail("drawn"))
    system = model(3, 21, "cpu")
    state = advanced(system, Noise(3, range(5)), 50, t=0.0)
    assert (system.energy(state.x) < 0).all()


def test_short_times_are_those_of_the_closed_form() -> None:
    """E after one step against its mean slope at this N (docs/pspin.md), 3000 replicas of 750 samples."""
    n, dt = 16, 0.002
    system = model(3, n, "cpu", Ensemble.regular(3000, 750, 5, threads=1))
    whole, noise = Langevin(system, 0.8, dt), Noise(5, range(3000))
    start = whole.initial_state(noise)
    end = whole.advance(start, 0, 5 * dt, noise)
    change = (system.energy(end.x) - system.energy(start.x)) / (5 * dt)
    slope = theory.initial_slope(3, n)
    # What is of second order in t is a part of 10 dt of it; the bound is that and the statistical error.
    mean = change.reshape(-1, 750).mean(axis=0)
    assert abs(mean.mean() - slope) < SIGMAS * mean.std() / math.sqrt(750) + 10 * dt * abs(slope)


# Runs.


def settings(**dynamics: Any) -> dict[str, Any]:
    return {
        "system": {"name": "pspin", "p": 3, "n": 24},
        "dynamics": {"temperature": 0.6, "dt": 0.02, "t_max": 4.0, "backend": "torch", **dynamics},
        "ensemble": {"replicas": 4, "samples": 2, "seed": 1},
        "record": {
            "response": True,
            "waiting_times": [0.0, 0.5],
            "lags": {"per_decade": 3},
            "hessian": [1.0],
        },
        "output": {"path": "run.nc", "figure": False},
    }


@pytest.mark.parametrize("device", DEVICES)
def test_a_stopped_run_resumes_to_the_same_bits(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = settings(scheme="leimkuhler_matthews", device=device)
    whole = langevin.run(given | {"output": {"path": "whole.nc", "figure": False}}).load()
    ticks, plain = itertools.count(), Session._tick

    def tick(session: Session, run: Any) -> None:
        if next(ticks) == 5:
            raise KeyboardInterrupt
        plain(session, run)

    given["output"]["checkpoint_interval"] = 0.0
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Session, "_tick", tick)
        langevin.run(given)
    resumed = langevin.resume("run.nc")
    xr.testing.assert_identical(resumed.drop_attrs().load(), whole.drop_attrs())
    name = processor.device() if device == "cpu" else torch.cuda.get_device_name(0)
    assert resumed.attrs["device"] == name


def test_a_run_differs_from_that_of_the_kernels_by_its_noise_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch_run, numba_run = (
        langevin.run(
            settings(backend=backend, initial_temperature=1.0) | {"output": {"path": f"{backend}.nc"}}
        )
        for backend in ("torch", "numba")
    )
    first, last = {"time": 0}, {"time": -1}
    np.testing.assert_allclose(torch_run["energy"][first], numba_run["energy"][first], rtol=1e-6)
    assert (torch_run["energy"][last] != numba_run["energy"][last]).all()
    assert set(torch_run.variables) == set(numba_run.variables)
    assert np.isfinite(torch_run["integrated_response"].isel(lag=0)).all()


def test_a_run_begins_from_a_stored_configuration_with_other_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = settings()
    given["record"] = {"configurations": "always", "times": [0.0, 4.0], "waiting_times": [0.0], "lags": [4.0]}
    first = langevin.run(given).load()
    again = given | {"start": {"file": "run.nc"}, "output": {"path": "again.nc", "figure": False}}
    second = langevin.run(again).load()
    np.testing.assert_allclose(second["energy"][:, 0], first["energy"][:, -1], rtol=1e-6)
    # With the same noise both would move alike at first; these overlap as strangers do.
    assert abs(float(second["correlation"].mean()) - 1) > 0.1


@pytest.mark.parametrize("p", [2, 3, 4])
def test_the_hessian_is_that_of_the_kernels(p: int) -> None:
    kernels, other = model(p, 12, None), model(p, 12, "cpu")
    x = kernels.initial_configuration(Noise(3, range(5)))
    for position in (0, 3, 1):
        expected, found = kernels.hessian(x, position).dense(), other.hessian(x, position).dense()
        np.testing.assert_array_equal(found, expected)


# Keys.


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"dynamics": {"device": "cuda", "backend": "numba"}}, "dynamics.device = 'cuda': allowed: \"cpu\""),
        ({"system": {"couplings": "tf32"}}, 'system.couplings = "tf32": allowed: "float32", "float64"'),
        ({"dynamics": {"backend": "cupy"}}, "dynamics.backend"),
        ({"system": {"couplings": "bf16"}}, "system.couplings"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {
        "system": {"name": "pspin", "p": 3, "n": 12},
        "dynamics": {"temperature": 0.6, "dt": 0.02, "t_max": 4.0},
    }
    for section, values in keys.items():
        given[section] |= values
    with pytest.raises(ConfigError) as error:
        langevin.run(given)
    assert said in str(error.value)


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(UserError, match=f"dynamics.device = '{device}': this machine has 0 GPUs"):
            model(3, 12, device)
    with pytest.raises(UserError, match=r"dynamics.device = 'tpu': allowed"):
        model(3, 12, "tpu")
    dynamics = PSpinDynamics(temperature=0.8, dt=0.01, t_max=1.0, device="auto")
    ensemble, parameters = Ensemble.regular(1, 1, 3), PSpin.Parameters(p=3, n=12, couplings="tf32")
    with pytest.raises(UserError, match=r'"tf32": allowed.*there is no GPU'):
        PSpin(parameters, dynamics, ensemble)
    plain = PSpin(PSpin.Parameters(p=3, n=12), dynamics, ensemble)
    assert type(plain.field).__name__ == "ForceField" and plain.device_name == processor.device()


def test_a_card_without_room_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (49e9, 80e9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 40e9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10e9)
    tiling, card = tiles.Tiling(3, 4096), torch.device("cuda")
    torch_field._require_room([tiling], 1, torch.float32, card)
    with pytest.raises(
        UserError, match=r"system.n = 4096: .* 1 samples need 93.8 GB of the GPU, 79.0 GB are"
    ):
        torch_field._require_room([tiling], 1, torch.float64, card)
    with pytest.raises(LangevinError, match=r"reduce system.n"), torch_field.at(torch.device("cpu")):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")


def test_large_couplings_of_a_card_are_not_looked_for_on_the_host() -> None:
    given = settings(device="cuda")
    given["system"]["n"] = 100_000
    from langevin.config import run_files

    given["record"]["hessian"] = []
    run_files.load(given)
    # Of a sample whose spectrum is measured they are drawn there.
    with pytest.raises(ConfigError, match="couplings of 1 samples need"):
        run_files.load(given | {"record": given["record"] | {"hessian": [1.0]}})
    given["dynamics"]["device"] = "cpu"
    with pytest.raises(ConfigError, match="GB are free"):
        run_files.load(given)


def test_a_run_on_the_processor_needs_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys, langevin\n"
        "langevin.run({'system': {'name': 'pspin', 'p': 3, 'n': 8}, 'output': {'figure': False},\n"
        "  'dynamics': {'temperature': 0.6, 'dt': 0.02, 't_max': 0.1}})\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode == 0


# Kernels of Triton, by its interpreter.

INTERPRETED = """
import sys
import numpy as np, torch
from langevin.core.noise import stream
from langevin.systems.pspin import tiles, triton_force
from langevin.systems.pspin.couplings import Disorder
from langevin.systems.pspin.torch_force import TorchForce

few = triton_force.Blocks(columns=16, prefixes=8, lanes=16, warps=4)
for p, n, lanes, samples in ((2, 20, 3, 1), (3, 21, 1, 2), (3, 21, 19, 1), (4, 7, 1, 1), (4, 7, 2, 2)):
    tiling = tiles.Tiling(p, n)
    disorders = [Disorder(p, n, stream(1, "disorder", s)) for s in range(samples)]
    data = tiles.draw(tiling, disorders, torch.device("cpu"), torch.float32)
    plain, force = TorchForce(tiling, data), triton_force.TritonForce(tiling, data, several=few, one=few)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((samples, n, lanes)))
    found, expected = force(x), plain(x)
    # Rounding of some hundred numbers in single precision, each of up to the largest.
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-6, (p, n, lanes)
    assert torch.equal(force(x), found)
    if lanes > 1:
        rough = triton_force.TritonForce(tiling, data, tf32=True, several=few)(x)
        # Factors of 11 bits.
        assert 1e-5 < float((rough - expected).abs().max() / expected.abs().max()) < 2e-3, (p, n, lanes)

tiling = tiles.Tiling(3, 12)
data = tiles.draw(tiling, [Disorder(3, 12, stream(1, "disorder", 0))], torch.device("cpu"), torch.float32)
plain = TorchForce(tiling, data)
assert type(triton_force._checked(plain, 3)).__name__ == "TritonForce"
assert triton_force.fastest(tiling, data, False, 3).__class__ is TorchForce
sums = triton_force.TritonForce.sums
triton_force.TritonForce.sums = lambda *given: [1.001 * part for part in sums(*given)]
print("spoiled", file=sys.stderr)
assert triton_force._checked(plain, 3) is plain
"""


def test_kernels_of_triton_give_the_forces_of_torch() -> None:
    """And are not used where they do not, which one line says."""
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    ran = subprocess.run([sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True)
    if "only 0-dimensional arrays can be converted" in ran.stderr:
        pytest.skip("the interpreter of this Triton is older than numpy 2.4")
    assert ran.returncode == 0, ran.stderr
    said = ran.stderr.partition("spoiled\n")[2].splitlines()
    assert said == [
        "langevin: the p-spin kernels of Triton are not used, but products of torch (their forces differ by "
        "0.001 of the largest)"
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_kernels_that_cannot_run_are_not_used(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a GPU they cannot, or there is no Triton."""
    system = model(3, 20, "cpu", couplings="float32")
    plain = system.field._force
    assert triton_force._checked(plain, 3) is plain
    assert capsys.readouterr().err.startswith("langevin: the p-spin kernels of Triton are not used")


#: Of p, N, replicas, couplings; tiles have twice the rows from N = 1024 on, where drawing takes seconds.
ON_A_CARD = [
    *itertools.product((2,), (100, 1100), (1, 5, 64, 70), ("float32", "tf32")),
    *itertools.product((3,), (96,), (1, 5, 64, 70), ("float32", "tf32")),
    *itertools.product((4,), (24,), (1, 5, 64, 70), ("float32", "tf32")),
    *((3, 1030, replicas, "float32") for replicas in (1, 16, 64)),
]


@on_a_card
@pytest.mark.parametrize(("p", "n", "replicas", "couplings"), ON_A_CARD)
def test_kernels_of_triton_are_used_on_a_card(
    p: int, n: int, replicas: int, couplings: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is said, and forces are right to the rounding of three products with TF32, or of one."""
    ensemble = Ensemble.regular(replicas, 1, 3, threads=1)
    x = np.random.default_rng(0).standard_normal((replicas, n))
    exact, found = (model(p, n, "cuda", ensemble, couplings=c) for c in ("float64", couplings))
    assert type(found.field._force).__name__ == "TritonForce"
    expected = exact.force(x)
    off = np.abs(found.force(x) - expected).max() / np.abs(expected).max()
    assert off < (1e-5 if couplings == "float32" else 5e-3)
    np.testing.assert_array_equal(found.field.force(x), found.field.force(x))
    assert "langevin" not in capsys.readouterr().err


# A card.


@on_a_card
def test_a_card_gives_the_same_bits_again_and_the_steps_of_the_processor() -> None:
    ensemble = Ensemble.regular(8, 2, 3, threads=1)
    once, again = (advanced(model(3, 96, "cuda", ensemble), Noise(3, range(8)), 60) for _ in range(2))
    np.testing.assert_array_equal(once.x, again.x)
    on_cpu = advanced(model(3, 96, "cpu", ensemble), Noise(3, range(8)), 60)
    # Logarithms and cosines may differ in the last bit: 60 steps of rounding.
    np.testing.assert_allclose(once.x, on_cpu.x, rtol=0, atol=1e-11)


# Several cards.


@pytest.mark.parametrize("scheme", ["euler_maruyama", "leimkuhler_matthews"])
def test_samples_on_several_cards_are_those_on_one(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To rounding: samples with fewer replicas are no longer filled up to those with more."""
    ensemble = Ensemble.regular(7, 3, 3, threads=1)
    ends = []
    for count in (1, 2):
        cards = [torch.device("cpu")] * count
        monkeypatch.setattr(devices, "cards_of", lambda *given, cards=cards: cards)
        system, noise = model(3, 20, "cpu", ensemble, t_i=0.8), Noise(3, ensemble.replica)
        assert isinstance(system.field, SpreadField) == (count > 1)
        ends.append(advanced(system, noise, 4, 3, scheme=scheme))
    one, two = ends
    for name in ("x", "accumulated", "held"):
        if getattr(one, name) is not None:
            np.testing.assert_allclose(getattr(two, name), getattr(one, name), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(two.carried["step"], 7)
