"""In which numbers networks compute: no step is lost, little noise is made, torch is left as it was."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from small_nets import built, settings
from torch import Tensor

from langevin.errors import ConfigError, UserError
from langevin.systems.networks.arithmetic import Arithmetic
from langevin.systems.networks.replicas import lanes
from langevin.systems.networks.replicas.lanes import CapturedSteps, Lanes
from langevin.systems.networks.replicas.steppers import ReplicaSteppers
from langevin.systems.switches import chosen

NET = {"name": "small_net", "filters": [3, 4], "hidden": 12}
NORMALISED = {"name": "network", "module": "small_nets:Normalised"}
GPU = pytest.mark.gpu


def weights_after(steps: int, system: dict[str, Any] = NET, **dynamics: Any) -> tuple[Tensor, Tensor]:
    """Return weights at the start and after so many steps, in double precision."""
    network, noise = built(settings(system, **{"learning_rate": 0.05, **dynamics}))
    start = network.initial_state(noise)
    end = network.advance(start, 0, steps, noise)
    assert end.weights.dtype == (torch.float64 if dynamics.get("precision") == "double" else torch.float32)
    return start.weights.double().cpu(), end.weights.double().cpu()


# Rounded factors.


def gradients(network: Any, state: Any) -> Tensor:
    """Gradients of twelve batches at a state, in double precision."""
    units = network.units
    units.load(0, state)
    pieces = (torch.arange(32)[None] + k for k in range(12))
    rows = [torch.cat([g.double().flatten() for g in units.steppers[0].gradient(p)[1]]) for p in pieces]
    return torch.stack(rows)


@pytest.mark.parametrize("smooth", [True, False])
def test_noise_and_short_displacements_survive_rounded_factors(smooth: bool) -> None:
    """Gradients are off by δ, |δ|² = L 2⁻¹⁴/8 |g|² in a smooth net of L layers; the noise D by 2 |δ|/|g|.

    The latter by the inequality of Cauchy and Schwarz; so is Δ, whose displacements are sums of gradients.
    Where ReLU and pooling have kinks |δ| is larger, and D hardly changes (docs/networks.md).
    """
    system = {"name": "mlp", "widths": [30, 30], "activation": "tanh"} if smooth else NET
    measured = {}
    for precision in ("double", "bf16"):
        keys = {"backend": "torch", "execution": "sequential", "learning_rate": 0.05}
        network, streams = built(settings(system, precision=precision, **keys))
        state = network.initial_state(streams)
        slopes, noise = gradients(network, state), network.at_waiting(state)["gradient_noise"]
        later = network.advance(state, 0, 3, streams)
        moved = network.compare(network.reference(state), later)["msd"]
        measured[precision] = slopes, noise, moved
    (exact, *expected), (rounded, *values) = measured["double"], measured["bf16"]
    off = float(((rounded - exact) ** 2).sum() / (exact**2).sum())
    assert off > 1e-6, "nothing was rounded"
    if smooth:
        assert 0.5 < off / (3 * 2**-14 / 8) < 2
    np.testing.assert_allclose(values[0], expected[0], rtol=2 * off**0.5)
    np.testing.assert_allclose(values[1], expected[1], rtol=2 * off**0.5)


def test_steps_below_the_rounding_of_bfloat16_are_not_lost() -> None:
    """Steps of 10⁻⁵ of a weight add up; weights that are kept in 8 bits stand still."""
    kept: dict[str, Tensor] = {}
    for precision in ("double", "bf16"):
        start, end = weights_after(50, precision=precision, learning_rate=1e-4)
        kept[precision] = end - start
    stays = (start.bfloat16() + kept["double"].bfloat16() / 50).bfloat16() == start.bfloat16()
    assert stays.double().mean() > 0.9, "the steps are not small enough to be lost"
    # Each step's gradient is off by 0.6 % rms (above); over fifty steps of one direction likewise.
    gap = torch.linalg.vector_norm(kept["bf16"] - kept["double"]) / torch.linalg.vector_norm(kept["double"])
    assert gap < 0.03


def test_a_processor_takes_single_precision_for_tf32() -> None:
    (_, single), (_, rounded) = (weights_after(10, precision=p) for p in ("single", "tf32"))
    assert torch.equal(single, rounded)


def test_faults_of_precision_and_compiling() -> None:
    with pytest.raises(ConfigError, match=r'precision = \'half\'.*"single", "double", "tf32", "bf16"|half'):
        settings(NET, precision="half")
    with pytest.raises(ConfigError, match=r'backend = "numba": allowed: "auto", "torch" with dynamics.prec'):
        settings({"name": "mlp"}, precision="bf16", backend="numba")
    with pytest.raises(ConfigError, match=r"dynamics.compile = true: allowed: false with dynamics.batches"):
        settings({"name": "mlp"}, compile=True, batches="persistent")
    with pytest.raises(UserError, match=r"compile = true: allowed: false on a CPU .* of one pixel"):
        built(settings({"name": "resnet18", "width": 2}, {"name": "synthetic", "train": 64}, compile=True))


def test_an_operation_without_rounded_numbers_is_refused() -> None:
    with pytest.raises(UserError, match=r'precision = "bf16": Scattering does not compute so .*allowed: "si'):
        built(settings({"name": "network", "module": "small_nets:Scattering"}, precision="bf16"))


# What torch has once for a process.


def switches() -> tuple[Any, ...]:
    """What torch is set to; None where the older names cannot say it."""
    backends: Any = torch.backends
    readers = (torch.get_float32_matmul_precision, lambda: backends.cudnn.allow_tf32)
    older = []
    for read in readers:
        try:
            older.append(read())
        except RuntimeError:
            older.append(None)
    places = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    newer = [place.fp32_precision for place in places]
    return *newer, *older, backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()


def work(precision: Any, deterministic: bool = False) -> Any:
    """Return a block as on a GPU, which need not be there."""
    return chosen(precision in ("tf32", "bf16"), deterministic)


def as_before(found: tuple[Any, ...]) -> bool:
    """Return whether all is as it was found; the older names may say what they could not say then."""
    return all(then in (None, now) for then, now in zip(found, switches(), strict=True))


def by_the_newer_names() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"


@pytest.fixture
def kept() -> Iterator[None]:
    """Put back what a test sets by any name."""
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.fp32_precision = "none"


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    "before",
    [lambda: None, lambda: torch.set_float32_matmul_precision("medium"), by_the_newer_names],
    ids=["untouched", "older", "newer"],
)
def test_torch_is_left_as_it_was(before: Callable[[], None]) -> None:
    before()
    found = switches()
    # Inside, torch.compile reads the older names: they must be readable.
    with work("single", deterministic=True):
        assert switches()[3:] == ("highest", False, False, True)
    assert as_before(found)
    with work("bf16"), work("tf32"):
        assert switches() == ("tf32", "tf32", "tf32", "high", True, True, False)
    assert as_before(found)
    with Arithmetic(torch.device("cpu"), "tf32", deterministic=True).work():
        assert as_before(found)
    with pytest.raises(RuntimeError, match="cannot hold"), work("single"), work("tf32"):
        pass
    assert as_before(found)


def test_threads_of_other_precision_wait() -> None:
    """Without waiting the second would change what the first computes with."""
    seen: list[tuple[str, Any]] = []
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with work("single"):
            inside.set()
            leave.wait(10)
            seen.append(("first", switches()[3]))

    def second() -> None:
        inside.wait(10)
        with work("tf32"):
            seen.append(("second", switches()[3]))

    threads = [threading.Thread(target=task) for task in (first, second)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    threads[1].join(0.2)
    assert not seen
    leave.set()
    for thread in threads:
        thread.join(10)
    assert seen == [("first", "highest"), ("second", "high")]


# Lanes, and the memory of captured steps.


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("options", [{}, {"temperature": 0.01}, {"batches": "persistent"}], ids=str)
def test_replicas_that_take_turns_are_those_that_do_not(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "LANES", 2)
    ends = []
    for side_by_side in (False, True):
        made = settings(NET, replicas=3, execution="sequential", backend="torch", **options)
        network, noise = built(made)
        if side_by_side:
            assert isinstance(network.units, ReplicaSteppers)
            network.units._lanes = Lanes(3, torch.device("cpu"))
        state = network.advance(network.initial_state(noise), 0, 21, noise)
        ends.append(state.weights)
    assert torch.equal(*ends)


def test_turns_alternate() -> None:
    given: list[str] = []

    def task(name: str, turns: int) -> Any:
        for _ in range(turns):
            given.append(name)
            yield
        return name.upper()

    both = Lanes(3, torch.device("cpu"))
    assert both.take_turns([task("a", 3), task("b", 1), task("c", 2)]) == ["A", "B", "C"]
    assert given == ["a", "b", "c", "a", "c", "a"]


class Bound:
    """Stands for a stepper: remembers what it was bound to."""

    def bind(self, weights: Tensor, slots: Any) -> None:
        """Remember the weights."""
        self.weights = weights


def rows(value: float) -> tuple[Tensor, dict[str, Tensor]]:
    return torch.full((1, 3), value), {"velocity": torch.full((1, 3), 10 * value)}


def test_captured_steps_work_where_the_state_lies() -> None:
    """A run that moves its state has no second copy; another state is not overwritten."""
    stepper: Any = Bound()
    steps, state, other = CapturedSteps(Lanes(1, torch.device("cpu"))), rows(1.0), rows(2.0)
    for _ in range(2):
        steps.bind(0, stepper, state)
        assert stepper.weights.data_ptr() == state[0].data_ptr()
        stepper.weights += 1
        steps.store(0, state)
    assert state[0].tolist() == [[3.0] * 3]
    steps.bind(0, stepper, other)
    assert stepper.weights.data_ptr() not in (state[0].data_ptr(), other[0].data_ptr())
    stepper.weights += 5
    assert other[0].tolist() == [[2.0] * 3]
    steps.store(0, other)
    assert other[0].tolist() == [[7.0] * 3]
    assert state[0].tolist() == [[3.0] * 3]
    place = stepper.weights.data_ptr()
    steps.bind(0, stepper, state)
    assert stepper.weights.data_ptr() == place
    assert stepper.weights.tolist() == [[3.0] * 3]


# Compiled steps.


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
@pytest.mark.parametrize("precision", ["double", "bf16"])
def test_compiled_steps_are_the_plain_ones(precision: str) -> None:
    """To rounding: of double precision over ten steps; of factors of 8 bits, whose order of sums differs."""
    ends = {}
    for compile_it in (False, True):
        keys = {"execution": "sequential", "backend": "torch", "precision": precision, "compile": compile_it}
        start, ends[compile_it] = weights_after(10, NORMALISED, **keys)
    moved = torch.linalg.vector_norm(ends[False] - start)
    gap = torch.linalg.vector_norm(ends[True] - ends[False]) / moved
    assert gap < (1e-12 if precision == "double" else 0.03)


# On a GPU.


@GPU
@pytest.mark.parametrize("precision", ["single", "double", "tf32", "bf16"])
@pytest.mark.parametrize("system", [NET, NORMALISED], ids=["conv", "batch-norm"])
def test_captured_lanes_take_the_plain_steps(system: dict[str, Any], precision: str) -> None:
    ends = [
        weights_after(
            30,
            system,
            device="cuda",
            precision=precision,
            cuda_graph=capture,
            deterministic=True,
            momentum=0.5,
            execution="sequential",
        )[1]
        for capture in (False, True)
    ]
    assert torch.equal(*ends)


@GPU
def test_single_precision_is_single_on_a_gpu() -> None:
    """Factors of 11 bits would be off by 10⁻³; those of 24 by 10⁻⁷, more after 20 steps."""
    (start, double), (_, single), (_, rounded) = (
        weights_after(20, device="cuda", precision=p) for p in ("double", "single", "tf32")
    )
    size = torch.linalg.vector_norm(double - start)
    assert torch.linalg.vector_norm(single - double) < 1e-5 * size
    assert torch.linalg.vector_norm(rounded - double) > 1e-5 * size


@GPU
def test_captured_gradients_are_the_plain_ones() -> None:
    measured = []
    for capture in (False, True):
        made = settings(NORMALISED, device="cuda", cuda_graph=capture, deterministic=True)
        network, noise = built(made)
        state = network.initial_state(noise)
        measured.append({**network.measure(state), **network.at_waiting(state)})
    for name, value in measured[0].items():
        np.testing.assert_allclose(measured[1][name], value, rtol=1e-6, err_msg=name)


@GPU
@pytest.mark.parametrize("precision", ["single", "bf16"])
def test_compiled_steps_on_a_gpu(precision: str) -> None:
    ends = [
        weights_after(10, NET, device="cuda", precision=precision, compile=compile_it, execution="sequential")
        for compile_it in (False, True)
    ]
    moved = torch.linalg.vector_norm(ends[0][1] - ends[0][0])
    gap = torch.linalg.vector_norm(ends[1][1] - ends[0][1]) / moved
    assert gap < (1e-4 if precision == "single" else 0.03)


@GPU
def test_a_run_on_a_gpu_holds_one_copy_of_its_weights() -> None:
    network, noise = built(settings(NET, device="cuda", execution="sequential", momentum=0.9))
    state = network.initial_state(noise)
    place = state.weights.data_ptr()
    network.measure(state)
    moved = network.move(state, 0, 10, noise)
    assert moved.weights.data_ptr() == place
    assert isinstance(network.units, ReplicaSteppers)
    assert all(s.weights.untyped_storage().data_ptr() == place for s in network.units.steppers)
